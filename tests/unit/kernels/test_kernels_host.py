"""What the launches do before a kernel runs: device, precision, what a GPU must be able to do."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from xception.kernels import convolution, support
from xception.kernels.dispatch import as_given
from xception.kernels.flow import fused_features
from xception.kernels.pointwise_backward_launch import _weight_gradient
from xception.models.xception import Xception


class Calls(TorchDispatchMode):
    """Records the operators that run, and cuDNN's precision at that time."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen[str(function)] = torch.backends.cudnn.conv.fp32_precision
        return function(*args, **(kwargs or {}))


def test_launches_run_on_the_device_of_their_tensor_without_autocast(monkeypatch):
    entered = []
    original = torch.cuda.device_of

    class DeviceOf(original):
        def __enter__(self):
            entered.append(self.idx)

        def __exit__(self, *error):
            entered.append("left")

    monkeypatch.setattr(torch.cuda, "device_of", DeviceOf)

    @as_given
    def launch(z, scale):
        return entered.copy(), torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")

    with FakeTensorMode():
        tensor = torch.empty(2, device="cuda:3")
    with torch.autocast("cpu"), torch.autocast("cuda"):
        assert launch(tensor, 1.0) == ([3], False, False)
    assert entered == [3, "left"]


def test_the_stem_convolves_float32_without_tf32():
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"  # PyTorch's own default
    x, weight = torch.randn(1, 3, 7, 7), torch.randn(4, 3, 3, 3)
    with Calls() as calls:
        z, total, _ = convolution._with_sums(x, weight, torch.empty(0), False, 2, 0)
        convolution._gradients(torch.ones_like(z), z, x, weight, None, 2, 0, True)
    assert calls.seen["aten.convolution.default"] == "ieee"
    assert calls.seen["aten.convolution_backward.default"] == "ieee"
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
    torch.testing.assert_close(z, F.conv2d(x, weight, stride=2), rtol=0, atol=1e-5)
    assert total.numel() == 0


def test_a_convolution_in_evaluation_mode_has_torchs_gradients():
    x = torch.randn(2, 3, 7, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    z, total, squares = convolution.convolution(x, weight, stride=2, padding=1)
    expected = F.conv2d(x, weight, None, 2, 1)
    assert total.numel() == squares.numel() == 0
    grad = torch.randn_like(expected)
    ours, torchs = (torch.autograd.grad(out, (x, weight), grad) for out in (z, expected))
    torch.testing.assert_close((z, *ours), (expected, *torchs), rtol=0, atol=1e-12)


def test_the_weight_gradient_is_added_up_in_float32_on_a_gpu():
    # Otherwise the library may round the sums of parts of the pixels to half precision.
    with FakeTensorMode():
        grad, x = (torch.empty(64, n, device="cuda", dtype=torch.bfloat16) for n in (8, 4))
        with Calls() as calls:
            result = _weight_gradient(grad, x)
    assert "aten.mm.dtype" in calls.seen
    assert (result.dtype, result.shape) == (torch.bfloat16, (8, 4))
    grad, x = torch.randn(64, 8), torch.randn(64, 4)
    assert torch.equal(_weight_gradient(grad, x), grad.t() @ x)


def test_outputs_that_nothing_uses_get_no_gradients_of_zeros():
    # Autograd would fill them before every backward kernel, some as large as a map.
    model = Xception(num_classes=2, width=0.125).to(memory_format=torch.channels_last).train()
    features = fused_features(model, torch.randn(2, 3, 75, 75))
    with Calls() as calls:
        features.sum().backward()
    assert "xception.separable.default" not in calls.seen  # the backward pass alone
    assert "xception.pool_backward.default" in calls.seen
    assert "aten.zeros.default" not in calls.seen


@pytest.fixture
def images():
    with FakeTensorMode():
        fake = torch.empty(1, 3, 71, 71, device="cuda").to(memory_format=torch.channels_last)
    support._unfit.cache_clear()
    yield fake
    support._unfit.cache_clear()


def why_not(images):
    return support.why_not_fused(Xception(num_classes=2, width=0.125), images)


@pytest.mark.parametrize(
    ("capability", "reason"),
    [
        ((9, 0), None),
        ((8, 0), None),
        ((7, 5), "the GPU has compute capability 7.5, and Triton needs 8.0"),
    ],
)
def test_gpus_for_which_triton_does_not_compile_are_refused(
    images, capability, reason, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert why_not(images) == reason


def test_other_makers_gpus_are_refused(images, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert why_not(images) == "the kernels were made for NVIDIA's GPUs"


def test_images_that_need_64_bit_offsets_are_refused(images, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with FakeTensorMode():
        huge = torch.empty(1, 3, 4096, 4096, device="cuda").to(memory_format=torch.channels_last)
    assert why_not(huge) == "the images have 16,777,216 pixels or more"
    # its largest map has 128 channels: one value more than 32 bits can count
    assert 4096 * 4096 * 128 == 2**31
