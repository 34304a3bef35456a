"""On a GPU: the last image of a batch beyond 2^31 values comes out as it does alone."""

import pytest
import torch

from xception.kernels import tuning
from xception.kernels.depthwise import depthwise
from xception.kernels.pointwise import pointwise
from xception.kernels.pooling import pool_and_add
from xception.kernels.separable import separable

TILE = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32, "num_warps": 4, "num_stages": 3}
PINS = {
    "pointwise": TILE,
    "pointwise_backward": TILE | {"BLOCK_N": 32, "BLOCK_K": 128, "num_warps": 8},
    "separable": TILE | {"BLOCK_M": 64, "num_warps": 8, "num_stages": 2},
}
# Tiles begin at the same pixels of an image wherever it lies in the batch: 128 divides its pixels.
IMAGES, SIDE, CHANNELS = 1100, 128, 128


def operators(device):
    """What is run on (N, 128, 128, 128), by name; each of its outputs belongs to one image."""
    vector = torch.randn(CHANNELS, device=device).abs() + 0.5
    shift = torch.randn(CHANNELS, device=device)
    filters = torch.randn(CHANNELS, 1, 3, 3, device=device) / 3
    matrix = torch.randn(CHANNELS, CHANNELS, 1, 1, device=device).bfloat16() / 11
    center = torch.zeros(CHANNELS, device=device)
    affine = {"scale": vector, "shift": shift}
    return {
        "depthwise": lambda z: depthwise(z, filters, **affine, tap="sum"),
        "pointwise": lambda z: pointwise(z, matrix, center=center)[:1],
        "separable": lambda z: separable(z, filters, matrix, **affine, center=center)[:1],
        "pool": lambda z: (pool_and_add(z, vector, shift),),
    }


def run(function, z):
    """The last image's outputs and gradient."""
    z = z.detach().requires_grad_()
    with tuning.pinned(PINS):
        outputs = function(z)
        (grad,) = torch.autograd.grad(sum(out[-1:].float().square().sum() for out in outputs), z)
    return [out[-1:].detach().clone() for out in outputs] + [grad[-1:].clone()]


@pytest.mark.gpu
def test_the_last_image_of_a_large_batch_comes_out_as_it_does_alone():
    if torch.cuda.mem_get_info()[0] < 45 * 2**30:
        pytest.skip("needs 45 GiB of free memory")
    assert IMAGES * SIDE * SIDE * CHANNELS > 2**31
    torch.manual_seed(0)
    size = (IMAGES, CHANNELS, SIDE, SIDE)
    z = torch.empty(
        size, device="cuda", dtype=torch.bfloat16, memory_format=torch.channels_last
    ).normal_()
    for name, function in operators("cuda").items():
        for left, right in zip(run(function, z), run(function, z[-1:]), strict=True):
            assert right.abs().max() > 0
            # The statistics differ, and get no gradient here: every pixel is computed as before.
            assert torch.equal(left, right), name
