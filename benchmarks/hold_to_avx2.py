"""Holds a program to AVX2 on a newer processor, its libraries' own choice of instructions included.

    python benchmarks/hold_to_avx2.py python -c 'import torch; print(torch.cpu.get_capabilities())'

Libraries ask the processor what it can do by the instruction ``cpuid``, and most have no option to
ask for less. Here every such instruction of theirs is replaced, in the memory of the process, by
one that traps; what answers leaves AVX-512, VNNI and whatever else came after AVX2 out
(``hold_to_avx2.c``). Needs x86-64 Linux with glibc 2.35 or newer, a C compiler, and ``capstone``
from PyPI, which tells instructions from bytes that look like them. ``instruction_sampler.py`` shows
whether it worked.

What this is not: an older processor. Caches, clock, and the number of multiplications at a time
remain this one's.
"""

import argparse
import bisect
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = ("torch", "onnxruntime", "openvino", "numpy")
SYSTEM = ("libgcc_s.so.1", "libstdc++.so.6", "libgomp.so.1")
# glibc has asked before anything can be replaced: its copying of memory is told by its own option.
GLIBC = "glibc.cpu.hwcaps=-AVX512F,-AVX512BW,-AVX512CD,-AVX512DQ,-AVX512VL,-AVX512ER,-AVX512PF"
CPUID = b"\x0f\xa2"
_LOADED, _UNWINDING = 1, 0x6474E550  # kinds of segments of an ELF file


def restricted_environment(folder: Path, packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The variables that hold every process started with them to AVX2.

    Args:
        folder: Keeps what was found and compiled; looking through PyTorch takes a minute.
        packages: Whose libraries are held.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "hold_to_avx2.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(source)], check=True
    )
    lines = []
    for path in library_files(packages):
        about = path.stat()
        stored = folder / f"{path.name}-{about.st_size}-{about.st_mtime_ns}.sites"
        if not stored.is_file():
            found = "".join(f"{path} {place:x}\n" for place in find_cpuid(path.read_bytes()))
            stored.write_text(found)
        lines.append(stored.read_text())
    (folder / "sites").write_text("".join(lines))
    return {
        "LD_AUDIT": str(library),
        "HOLD_TO_AVX2_SITES": str(folder / "sites"),
        "GLIBC_TUNABLES": GLIBC,
    }


def library_files(packages: Sequence[str]) -> list[Path]:
    """The libraries that may ask, and the compiler, which is asked for the native instructions."""
    files = set()
    for name in packages:
        found = importlib.util.find_spec(name)
        for folder in (found.submodule_search_locations or []) if found else []:
            for place in (Path(folder), Path(f"{folder}.libs")):
                files |= {path.resolve() for path in place.rglob("*.so*") if path.is_file()}
    for name in SYSTEM:
        told = subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True)
        files.add(Path(told.stdout.strip()).resolve())
    compilers = [shutil.which(name) for name in ("gcc", "g++")]
    return sorted(
        path for path in files | {Path(c).resolve() for c in compilers if c} if path.is_file()
    )


def find_cpuid(content: bytes) -> list[int]:
    """Addresses of the ``cpuid`` instructions in an x86-64 ELF file.

    The two bytes also occur in constants and within longer instructions. So every function that has
    them, known from the table that exceptions are unwound by, is read instruction by instruction
    from its beginning.
    """
    if content[:6] != b"\x7fELF\x02\x01":
        return []
    code, functions = _segments(content)
    found = []
    for offset, address, size in code:
        starts = [start for start in functions if address <= start < address + size] or [address]
        place = content.find(CPUID, offset, offset + size)
        while place >= 0:
            wanted = place - offset + address
            start = starts[max(bisect.bisect_right(starts, wanted) - 1, 0)]
            if start <= wanted and _begins_instruction(content, offset - address, start, wanted):
                found.append(wanted)
            place = content.find(CPUID, place + 1, offset + size)
    return found


def _segments(content: bytes) -> tuple[list[tuple[int, int, int]], list[int]]:
    """(offset, address, size) of each executable segment; the functions' addresses, sorted."""
    (table,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    code, functions = [], []
    for index in range(count):
        kind, flags, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", content, table + index * size
        )
        if kind == _LOADED and flags & 1:
            code.append((offset, address, length))
        # the encodings that linkers write: a count, then pairs relative to the segment's address
        if kind == _UNWINDING and content[offset + 2 : offset + 4] == b"\x03\x3b":
            (pairs,) = struct.unpack_from("<I", content, offset + 8)
            numbers = struct.unpack_from(f"<{2 * pairs}i", content, offset + 12)
            functions = [address + number for number in numbers[::2]]
    return code, functions


def _begins_instruction(content: bytes, shift: int, start: int, wanted: int) -> bool:
    """Whether reading from ``start`` on comes to an instruction that begins at ``wanted``."""
    return any(place == wanted for place, _ in _instructions(content, shift, start, wanted))


def _instructions(content: bytes, shift: int, start: int, last: int) -> Iterator[tuple[int, int]]:
    """(address, size) of each instruction; the file's offset is the address plus ``shift``."""
    import capstone

    reader = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    while start <= last:
        step = min(last + 16, start + 2**16)
        before = start
        for place, size, _, _ in reader.disasm_lite(content[start + shift : step + shift], start):
            if place > last:
                return
            yield place, size
            start = place + size
        if start == before:
            return  # no instruction that is known


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("name a command")
    with tempfile.TemporaryDirectory() as temporary:
        environment = os.environ | restricted_environment(options.folder or Path(temporary))
        sys.exit(subprocess.run(options.command, env=environment).returncode)


if __name__ == "__main__":
    main()
