"""Triton's own runtime for an H100 that is not there: it binds, compiles, and launches nothing.

The interpreter and ``triton.compile`` go past what a launch on a GPU goes through: arguments bound
to a signature, options, specialisation, threads that compile side by side.
"""

import importlib.util
import threading

import pytest
import torch

from xception.kernels import (
    activation,
    batch_norm,
    compilation,
    convolution,
    depthwise,
    pointwise,
    pooling,
    separable,
    tuning,
)
from xception.kernels.dispatch import KERNEL_DTYPES
from xception.kernels.flow import fused_features
from xception.models.xception import Xception

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton has no wheels for this platform", allow_module_level=True)

from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction


class Driver:
    """An H100 as Triton asks for one. Notes what would be launched."""

    def __init__(self):
        self.utils = self
        self.launched = []

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_device_properties(self, device):
        return {"max_shared_mem": 227 * 1024, "multiprocessor_count": 132, "warpSize": 32}

    def load_binary(self, *arguments):
        return 1, 2, 32, 0, 1024  # module, function, registers, spills, threads

    def launcher_cls(self, source, metadata):
        def launch(*arguments):
            assert all(0 < n <= limit for n, limit in zip(arguments[:3], LIMITS, strict=True))
            self.launched.append(source.fn.__name__)

        return launch


LIMITS = (2**31 - 1, 65535, 65535)  # programs along each axis of CUDA's grid


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """The driver; and the threads in which something was compiled, by kernel."""
    found, compiled = Driver(), []
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for module in (activation, batch_norm, convolution, depthwise, pointwise, pooling, separable):
        monkeypatch.setattr(module, "runs_kernel", lambda tensor: tensor.dtype in KERNEL_DTYPES)
    monkeypatch.setattr(tuning, "_may_choose", lambda: True)
    monkeypatch.setattr(tuning, "cache_file", lambda: tmp_path / "choices.json")
    monkeypatch.setattr(tuning, "_milliseconds", lambda run: 0.0 if run() else 1.0)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    compile_one = JITFunction._do_compile

    def noted(self, *arguments, **options):
        compiled.append((self.__name__, threading.current_thread().name))
        return compile_one(self, *arguments, **options)

    monkeypatch.setattr(JITFunction, "_do_compile", noted)
    tuning.forget()
    monkeypatch.setattr(driver, "_active", found)
    yield found, compiled
    tuning.forget()


KERNELS = {"activation_forward", "activation_backward", "add_and_part", "add_rows"}
KERNELS |= {"column_statistics", "combine_gradients", "depthwise_forward", "depthwise_backward"}
KERNELS |= {"move_running", "normalizer_forward", "normalizer_backward", "pointwise_forward"}
KERNELS |= {"pointwise_backward_input", "pointwise_backward_whole", "pool_forward", "pool_backward"}
KERNELS |= {"pool_sums", "separable_forward"}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_all_kernels_of_a_step_are_compiled_ahead_and_launched(gpu):
    found, compiled = gpu
    # Few numbers of channels, as every one is compiled for.
    model = Xception(
        num_classes=2,
        widths=(16, 64, 64, 64, 64, 64, 64, 64),
        middle_flow_repeats=1,
        numerics="timm",
    )
    model.to(memory_format=torch.channels_last).train()

    def step(batch):
        images = torch.randn(batch, 3, 75, 75).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            features = fused_features(model, images)
        features.backward(torch.ones_like(features))

    # As the benchmark does: with few images, for many.
    with tuning.as_if_larger(2), compilation.side_by_side() as jobs:
        step(16)
    failed = [(key[0].__name__, error) for key, job in jobs.items() if (error := job.exception())]
    assert not failed
    assert found.launched == []
    ahead = len(compiled)
    step(32)
    assert set(found.launched) == KERNELS
    # What is left are sizes that 16 divides with one batch and not with the other.
    assert len(compiled) < 1.2 * ahead
    assert all("ThreadPool" in thread for _, thread in compiled)
    launches, all_compiled = len(found.launched), len(compiled)
    step(32)
    assert len(found.launched) < 1.5 * launches  # nothing is timed again
    assert len(compiled) == all_compiled
