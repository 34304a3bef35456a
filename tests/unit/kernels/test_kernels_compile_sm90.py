"""Compiles every kernel for Hopper (compute capability 9.0), without a GPU: none may spill."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from xception.kernels.depthwise_launch import backward_candidates, forward_candidates
from xception.kernels.pointwise_backward_launch import (
    backward_candidates as product_backward_candidates,
)
from xception.kernels.pointwise_launch import LIBRARY, product_candidates
from xception.kernels.separable_launch import SPLIT
from xception.kernels.separable_launch import candidates as separable_candidates

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton has no wheels for this platform", allow_module_level=True)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

HALF, FULL, BYTE, SIZE = "*bf16", "*fp32", "*i8", "i32"
WIDTHS = (64, 728)  # the widest maps and the middle flow
TILE = ("COLUMNS", "BLOCK_S", "BLOCK_C", "num_warps")


def resources(kernel, signature, constants, folder, num_warps=4, num_stages=3):
    """Registers per thread, bytes of local memory (spills and stack), and the machine code."""
    names = kernel.arg_names
    constants = {name: value for name, value in constants.items() if name in names}
    missing = set(names) - set(constants) - set(signature)
    assert not missing, missing
    source = ASTSource(
        fn=kernel,
        signature={name: "constexpr" if name in constants else signature[name] for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (names.index(name),): [["tt.divisibility", 16]]
            for name in names
            if name not in constants and signature[name].startswith("*")
        },
    )
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": num_warps, "num_stages": num_stages},
    )
    narrow = [name for name in names if name in LARGE and not wide(compiled.asm["ttir"], name)]
    assert not narrow, f"these tensors have more values than 32-bit offsets reach: {narrow}"
    binary = folder / "kernel.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    usage = run(tool, "-res-usage", binary)
    code = run(tool, "-sass", binary)
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found, usage
    spills = re.findall(r"\b(?:STL|LDL)\b", code)
    assert compiled.metadata.shared <= 227 * 1024, "more shared memory than an SM of Hopper has"
    return int(found[1]), int(found[2]), len(spills), code


# Tensors of a value for every pixel and channel: at batch 256 up to 0.7 billion, but batches grow.
LARGE = {"x_ptr", "z_ptr", "out_ptr", "residual_ptr", "spatial_ptr", "grad_out_ptr", "grad_z_ptr"}
LARGE |= {"grad_residual_ptr", "joined_ptr", "grad_ptr", "selected_ptr", "index_ptr", "tap_ptr"}
LARGE |= {"shortcut_ptr", "grad_shortcut_ptr", "grad_tap_ptr"}


def wide(code, pointer):
    """Whether an unused pointer, or one that a 64-bit offset is added to somewhere on its way."""
    reached, used, found = {f"%{pointer}"}, False, False
    for line in code.split(") attributes {noinline", 1)[-1].splitlines():
        result, _, operation = line.strip().partition(" = ")
        words = set(re.findall(r"%[\w#]+", operation or line))
        if not words & reached or line.lstrip().startswith("tt.func"):
            continue
        used = True
        first = re.findall(r"%[\w#]+", operation)[:1]
        if re.match(r"tt\.(addptr|splat|broadcast)", operation) and first and first[0] in reached:
            reached.add(result)
        if operation.startswith("tt.addptr"):
            found |= bool(re.search(r", (tensor<\S*x)?i64>? loc\(", operation))
    return found or not used


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def check_no_spills(*args, **kwargs):
    registers, stack, spills, code = resources(*args, **kwargs)
    assert (stack, spills) == (0, 0), f"{registers} registers, {stack} bytes of stack"
    # That path does not see what the kernel has written, such as a tile that is read again.
    assert "CONSTANT" not in code, "loads through the cache for what never changes"
    return code


def depthwise_cases():
    from xception.kernels.depthwise_backward_triton import depthwise_backward
    from xception.kernels.depthwise_triton import depthwise_forward

    kernels = {
        "forward": (depthwise_forward, forward_candidates),
        "backward": (depthwise_backward, backward_candidates),
    }
    flags = {  # AFFINE, RESIDUAL, RELU, TAP
        "inside": (True, False, True, 0),
        "middle": (True, True, True, 1),
        "shortcut": (False, False, True, 2),
        "first": (True, False, True, 3),
        "exit": (True, True, True, 2),
    }
    for direction, (kernel, candidates) in kernels.items():
        for channels in WIDTHS:
            z = torch.empty(256, channels, 19, 19, device="meta")
            tiles = {tuple(c[name] for name in TILE): None for c in candidates(z)}
            for place, flag in flags.items():
                for index, tile in enumerate(tiles):
                    quick = channels == 728 and index == 0 and place in ("inside", "middle")
                    yield pytest.param(
                        kernel,
                        channels,
                        flag,
                        tile,
                        id=f"{direction}-{place}-{channels}-{'x'.join(map(str, tile))}",
                        marks=[] if quick else [pytest.mark.slow],
                    )


@pytest.mark.parametrize(("kernel", "channels", "flag", "tile"), depthwise_cases())
def test_depthwise_does_not_spill(kernel, channels, flag, tile, tmp_path):
    signature = dict.fromkeys(("z_ptr", "residual_ptr", "out_ptr", "tap_ptr"), HALF)
    signature |= dict.fromkeys(("grad_out_ptr", "grad_tap_ptr", "grad_z_ptr"), HALF)
    signature |= {"grad_residual_ptr": HALF, "partial_ptr": FULL, "weight_ptr": FULL}
    signature |= {"scale_ptr": FULL, "shift_ptr": FULL}
    signature |= dict.fromkeys(("N", "H", "W", "ROWS", "REPEAT"), SIZE)
    constants = dict(zip(("AFFINE", "RESIDUAL", "RELU", "TAP"), flag, strict=True))
    constants |= dict(zip(TILE, tile, strict=True)) | {"C": channels, "OVERLAP": -19 % tile[0]}
    signature = {name: kind for name, kind in signature.items() if name in kernel.arg_names}
    code = check_no_spills(kernel, signature, constants, tmp_path, num_warps=tile[3])
    assert "LDG.E.U16" not in code, "activations are loaded one by one"


def product_cases():
    for index, config in enumerate(product_candidates(torch.bfloat16)):
        if config != LIBRARY:
            yield pytest.param(config, id=f"{index}", marks=[] if index == 2 else pytest.mark.slow)


@pytest.mark.parametrize("config", product_cases())
def test_product_uses_the_tensor_cores_and_does_not_spill(config, tmp_path):
    from xception.kernels.pointwise_triton import pointwise_forward

    signature = dict.fromkeys(("x_ptr", "weight_ptr", "out_ptr"), HALF) | {"M": SIZE}
    signature |= {"center_ptr": FULL, "partial_ptr": FULL}
    constants = {"N": 728, "K": 728, "STATISTICS": True, "PRECISION": "tf32"} | config
    code = check_no_spills(
        pointwise_forward,
        signature,
        constants,
        tmp_path,
        num_warps=config["num_warps"],
        num_stages=config["num_stages"],
    )
    assert "HGMMA" in code
    # The sums are of the tile that all threads have written.
    order = re.findall(r"\b(STG\.E\.128|BAR\.SYNC|LDG\.E\.128)", code)
    written = len(order) - 1 - order[::-1].index("STG.E.128")
    read = [i for i, name in enumerate(order) if name == "LDG.E.128" and i > written]
    assert read, "the tile is not read again"
    assert "BAR.SYNC" in order[written : read[0]]


def backward_product_cases():
    for index, config in enumerate(product_backward_candidates(torch.bfloat16, 728, 728)):
        if config != LIBRARY:
            yield pytest.param(config, id=f"{index}", marks=[] if index == 1 else pytest.mark.slow)


@pytest.mark.parametrize("config", backward_product_cases())
def test_backward_product_uses_the_tensor_cores_and_does_not_spill(config, tmp_path):
    from xception.kernels.pointwise_backward_triton import pointwise_backward_input

    signature = dict.fromkeys(("grad_ptr", "z_ptr", "weight_ptr", "joined_ptr", "out_ptr"), HALF)
    signature |= dict.fromkeys(("center_ptr", "grad_sum_ptr", "grad_squares_ptr"), FULL)
    code = check_no_spills(
        pointwise_backward_input,
        signature | {"M": SIZE},
        {"N": 728, "K": 728, "PRECISION": "tf32"} | config,
        tmp_path,
        num_warps=config["num_warps"],
        num_stages=config["num_stages"],
    )
    assert "HGMMA" in code


def whole_backward_cases():
    for inputs, outputs in ((64, 128), (128, 128), (128, 256)):
        for config in product_backward_candidates(torch.bfloat16, inputs, outputs):
            if "STAGES" in config:
                quick = (inputs, outputs) == (128, 128) and config["STAGES"] == 2
                marks = [] if quick else pytest.mark.slow
                name = f"{inputs}-{outputs}-{config['STAGES']}"
                yield pytest.param(inputs, outputs, config, id=name, marks=marks)


@pytest.mark.parametrize(("inputs", "outputs", "config"), whole_backward_cases())
def test_both_gradients_use_the_tensor_cores_and_do_not_spill(inputs, outputs, config, tmp_path):
    from xception.kernels.pointwise_backward_triton import pointwise_backward_whole

    signature = dict.fromkeys(("grad_ptr", "z_ptr", "x_ptr", "weight_ptr", "out_ptr"), HALF)
    signature |= dict.fromkeys(("center_ptr", "grad_sum_ptr", "grad_squares_ptr"), FULL)
    constants = {"N": outputs, "K": inputs, "BLOCK_N": outputs, "BLOCK_K": inputs}
    code = check_no_spills(
        pointwise_backward_whole,
        signature | {"partial_ptr": FULL, "M": SIZE, "TILES": SIZE},
        constants | {"PRECISION": "tf32"} | config,
        tmp_path,
        num_warps=config["num_warps"],
    )
    assert "HGMMA" in code
    assert "LDGSTS" in code, "tiles are not under way while others are in work"


def separable_cases():
    for outputs in (128, 256):
        for index, config in enumerate(separable_candidates(torch.bfloat16, outputs)):
            marks = [] if (outputs, index) == (256, 1) else pytest.mark.slow
            if config != SPLIT:
                yield pytest.param(outputs, config, id=f"{outputs}-{index}", marks=marks)


@pytest.mark.parametrize(("outputs", "config"), separable_cases())
def test_separable_uses_the_tensor_cores_and_does_not_spill(outputs, config, tmp_path):
    from xception.kernels.separable_triton import separable_forward

    signature = dict.fromkeys(("z_ptr", "pointwise_ptr", "out_ptr", "spatial_ptr"), HALF)
    signature |= dict.fromkeys(("scale_ptr", "shift_ptr", "depthwise_ptr", "center_ptr"), FULL)
    signature |= {"tap_ptr": HALF, "partial_ptr": FULL} | dict.fromkeys(("M", "H", "W"), SIZE)
    constants = {"N": outputs, "K": 128, "AFFINE": True, "RELU": True, "TAP": 3}
    constants |= {"STATISTICS": True, "SAVE": True, "PRECISION": "tf32"} | config
    code = check_no_spills(
        separable_forward,
        signature,
        constants,
        tmp_path,
        num_warps=config["num_warps"],
        num_stages=config["num_stages"],
    )
    assert "HGMMA" in code


def other_cases():
    from xception.kernels import pointwise_triton, pooling_triton

    rows = {"N": 728, "BLOCK_M": 32, "BLOCK_N": 64}
    pixels = {"C": 728, "SHORTCUT": True, "SAVE": True, "BLOCK_P": 16, "BLOCK_C": 64}
    return [
        pytest.param(pointwise_triton.column_statistics, rows, id="column_statistics"),
        pytest.param(pointwise_triton.combine_gradients, rows, id="combine_gradients"),
        pytest.param(pooling_triton.pool_forward, pixels, id="pool_forward"),
        pytest.param(pooling_triton.pool_backward, pixels, id="pool_backward"),
        pytest.param(pooling_triton.pool_sums, pixels, id="pool_sums"),
    ]


@pytest.mark.parametrize(("kernel", "constants"), other_cases())
def test_other_kernels_do_not_spill(kernel, constants, tmp_path):
    vectors = ("scale_ptr", "shift_ptr", "shortcut_scale_ptr", "shortcut_shift_ptr", "center_ptr")
    vectors += ("grad_sum_ptr", "grad_squares_ptr", "partial_ptr")
    signature = {}
    for name in kernel.arg_names:
        if name in vectors:
            signature[name] = FULL
        elif name == "index_ptr":
            signature[name] = BYTE
        else:
            signature[name] = HALF if name.endswith("_ptr") else SIZE
    check_no_spills(kernel, signature, constants, tmp_path)
