"""What a Triton kernel's machine code for an H100 does: instructions, bytes, tensor operations.

Compiles for compute capability 9.0, which needs no GPU, and counts the disassembled instructions,
those of a loop as often as the loop runs. Branches that skip instructions are taken as not taken.
"""

import functools
import math
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
POINTERS = {
    torch.bfloat16: "*bf16",
    torch.float32: "*fp32",
    torch.int8: "*i8",
    torch.int64: "*i64",
}
# Comparisons, selections, minima, shifts, bytes and 32-bit integers share a unit of half the rate.
HALF_RATE = {"ISETP", "FSETP", "FSEL", "SEL", "FMNMX", "VIMNMX", "LOP3", "PLOP3", "PRMT", "SHF"}
HALF_RATE |= {"IADD3", "LEA", "VIADD", "MOV", "F2FP", "P2R", "R2P"}
LANES = 32


@dataclass(frozen=True)
class Code:
    """A compiled kernel.

    Attributes:
        registers: Of a thread.
        shared: Bytes of shared memory of a program.
        spills: Instructions that move registers to memory or back.
        instructions: In order, without addresses.
        loops: First and last instruction of each, the outer ones first.
    """

    registers: int
    shared: int
    spills: int
    instructions: tuple[str, ...]
    loops: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Work:
    """What one warp of a kernel does from its first instruction to its last.

    Attributes:
        issued: Instructions.
        half_rate: Those of the unit that takes two cycles for each.
        global_bytes: Loaded from or stored to global memory, through the first-level cache.
        local_bytes: Of shared memory, which is the same memory: loads, stores, exchanges between
            threads, and what products read there.
        flop: Of the tensor cores.
    """

    issued: float
    half_rate: float
    global_bytes: float
    local_bytes: float
    flop: float


def compiled(kernel: Any, arguments: Sequence[Any], options: dict[str, Any]) -> Code:
    """Compiles as a launch with these arguments would.

    Args:
        kernel: The function under ``triton.jit``.
        arguments: Tensors (of any device, meta too), integers and floats.
        options: Constants, ``num_warps`` and ``num_stages``.
    """
    names = kernel.arg_names
    constants = {name: value for name, value in options.items() if name in names}
    signature: dict[str, str] = {}
    aligned = []
    for name, value in zip([n for n in names if n not in constants], arguments, strict=True):
        if isinstance(value, Tensor):
            signature[name] = POINTERS[value.dtype]
            aligned.append(name)
        elif isinstance(value, float):
            signature[name] = "fp32"
        elif value == 1:
            constants[name] = 1
        else:
            signature[name] = "i32"
            if value % 16 == 0:
                aligned.append(name)
    launch = {name: options[name] for name in ("num_warps", "num_stages") if name in options}
    return _compiled(
        kernel,
        tuple(signature.items()),
        tuple(constants.items()),
        tuple(aligned),
        tuple(launch.items()),
    )


@functools.cache
def _compiled(
    kernel: Any,
    signature: tuple[tuple[str, str], ...],
    constants: tuple[tuple[str, Any], ...],
    aligned: tuple[str, ...],
    launch: tuple[tuple[str, Any], ...],
) -> Code:
    names, kinds = kernel.arg_names, dict(signature)
    source = ASTSource(
        fn=kernel,
        signature={name: kinds.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=dict(launch))
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(made.asm["cubin"])
        usage = _output("cuobjdump", "-res-usage", binary)
        listing = _output("nvdisasm", "-c", binary)
    found = re.search(r"REG:(\d+)", usage)
    assert found, usage
    instructions, loops = parse(listing)
    spills = sum(name_of(line).split(".")[0] in ("STL", "LDL") for line in instructions)
    return Code(int(found[1]), made.metadata.shared, spills, instructions, loops)


def _output(tool: str, *arguments: Any) -> str:
    command = [str(TOOLS / tool), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def parse(listing: str) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    """Instructions and loops of a listing of ``nvdisasm -c``."""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in listing.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        if instruction := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            instructions.append(instruction[1].strip())
    ends: dict[int, int] = {}
    for place, instruction_text in enumerate(instructions):
        jump = re.search(r"BRA.*\((\.L_x_\d+)\)", instruction_text)
        if jump and labels[jump[1]] < place:  # a jump to itself is the end of the listing
            ends[labels[jump[1]]] = place
    return tuple(instructions), tuple(sorted(ends.items()))


def work(code: Code, trips: Sequence[int]) -> Work:
    """Counts what a warp does.

    Args:
        code: The kernel.
        trips: How often its loops run, the outer ones first. A loop that runs once may be missing
            in the code, and an inner one that is unrolled, too.

    Raises:
        ValueError: The loops are not nested in one another, or are more than that.
    """
    trips = list(trips)
    nested = all(a[0] <= b[0] and b[1] <= a[1] for a, b in pairwise(code.loops))
    if not nested or len(code.loops) > len(trips):
        raise ValueError(f"loops at {code.loops}, expected {len(trips)}, one in the other")
    while len(trips) > len(code.loops):
        trips.pop(trips.index(1) if 1 in trips else -1)
    repeats = [1.0] * len(code.instructions)
    for (first, last), count in zip(code.loops, trips, strict=True):
        for place in range(first, last + 1):
            repeats[place] *= count
    totals = [0.0] * 5
    for line, times in zip(code.instructions, repeats, strict=True):
        for place, value in enumerate(_one(line)):
            totals[place] += times * value
    return Work(*totals)


def _one(line: str) -> tuple[float, float, float, float, float]:
    """Issue slots, half-rate ones, global bytes, local bytes and operations of an instruction."""
    full = name_of(line)
    name = full.split(".")[0]
    half = float(name in HALF_RATE)
    bytes_ = float(LANES * _width(full))
    if name in ("LDG", "STG", "LDGSTS"):
        return 1, half, bytes_, 0, 0
    if name in ("LDS", "STS"):
        return 1, half, 0, bytes_, 0
    if name in ("LDSM", "STSM"):
        return 1, half, 0, LANES * 16, 0
    if name == "SHFL":
        return 1, half, 0, LANES * 4, 0
    if name == "HGMMA":  # of four warps together
        rows, columns, inner = _shape(full)
        left_in_shared = re.search(r"HGMMA\S* \w+, gdesc", line)  # else a register is between
        from_shared = columns * inner + (rows * inner if left_in_shared else 0)
        return 1, half, 0, 2 * from_shared / 4, 2 * rows * columns * inner / 4
    if name == "HMMA":
        return 1, half, 0, 0, 2 * math.prod(_shape(full))
    return 1, half, 0, 0, 0


def name_of(line: str) -> str:
    """The name of an instruction with its suffixes, without its predicate."""
    return re.sub(r"^@!?U?P\w+\s+", "", line).split()[0]


def _width(name: str) -> int:
    parts = name.split(".")
    widths = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}
    return next((width for part, width in widths.items() if part in parts), 4)


def _shape(name: str) -> tuple[int, int, int]:
    found = re.search(r"(\d+)x(\d+)x(\d+)", name)
    if found:
        return int(found[1]), int(found[2]), int(found[3])
    return 16, 8, 16  # HMMA.16816
