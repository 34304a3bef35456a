"""A short training run is the same with fused units and with plain modules, by its loss curve."""

import copy

import pytest
import torch
import torch.nn.functional as F

from xception.kernels import compilation, support, tuning
from xception.kernels.flow import fused_features
from xception.models.xception import Xception


def loss_curve(features, model, steps, dtype, batch):
    """Losses of SGD steps on one batch of random images, which a network can learn by heart."""
    device = next(model.parameters()).device.type
    generator = torch.Generator().manual_seed(1)
    size = model.minimum_input_size + 4
    images = torch.randn(batch, 3, size, size, generator=generator).to(device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % model.num_classes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(model.head(features(model, images)), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def plain_features(model, images):
    return model.exit_flow(model.middle_flow(model.entry_flow(images)))


def test_loss_curves_are_equal_on_the_cpu():
    torch.manual_seed(0)
    plain = Xception(
        num_classes=4,
        widths=(8, 8, 12, 16, 20, 24, 28, 32),
        stem_strides=(1, 1),
        middle_flow_repeats=1,
        numerics="timm",
    )
    fused = copy.deepcopy(plain)
    expected = loss_curve(plain_features, plain, 12, torch.float32, batch=8)
    actual = loss_curve(fused_features, fused, 12, torch.float32, batch=8)
    assert expected[-1] < 0.8 * expected[0], "the run does not learn, so that it proves nothing"
    # Rounding differs in the last bits and grows from step to step.
    assert actual[:6] == pytest.approx(expected[:6], rel=1e-3)
    assert actual == pytest.approx(expected, rel=5e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_loss_curves_are_equal_on_a_gpu(compiled):
    torch.manual_seed(0)
    plain = Xception(num_classes=10, width=0.5, numerics="timm").cuda()
    plain.to(memory_format=torch.channels_last)
    fused, exact = copy.deepcopy(plain), copy.deepcopy(plain)
    features = torch.compile(fused_features, fullgraph=True) if compiled else fused_features
    reference = loss_curve(plain_features, exact, 30, torch.float32, batch=32)
    expected = loss_curve(plain_features, plain, 30, torch.bfloat16, batch=32)
    with tuning.pinned():  # tuning is not what is tested, and takes minutes
        with compilation.side_by_side():
            loss_curve(fused_features, copy.deepcopy(fused), 1, torch.bfloat16, batch=32)
        actual = loss_curve(features, fused, 30, torch.bfloat16, batch=32)
    assert reference[-1] < 0.8 * reference[0], "the run does not learn, so that it proves nothing"
    # In bfloat16 the fused run may stray from float32 no further than the plain one, times two.
    strays = [
        max(abs(a - b) for a, b in zip(run, reference, strict=True)) for run in (expected, actual)
    ]
    assert strays[1] < 2 * strays[0] + 0.05, (reference, expected, actual)


@pytest.mark.gpu
@pytest.mark.parametrize("training", [False, True])
def test_auto_takes_the_kernels_on_a_gpu_compiled_too(training):
    torch.manual_seed(0)
    plain = Xception(num_classes=10, width=0.25, numerics="timm").double().cuda().train(training)
    model = Xception(num_classes=10, width=0.25, numerics="timm", fused="auto").cuda()
    model.load_state_dict(plain.state_dict())
    model.to(memory_format=torch.channels_last).train(training)
    images = torch.randn(4, 3, 107, 107, device="cuda").to(memory_format=torch.channels_last)
    assert support.why_not_fused(model, images) is None
    with tuning.pinned(), torch.no_grad():
        with compilation.side_by_side():
            fused_features(copy.deepcopy(model), images)
        expected = plain(images.double())
        compiled = torch.compile(copy.deepcopy(model), fullgraph=True)
        for network in (model, compiled):
            # float32 against float64 through 36 layers: 1e-3 of the largest logit
            error = (network(images).double() - expected).abs().max()
            assert error < 1e-3 * expected.abs().max()


@pytest.mark.gpu
def test_a_cuda_graph_replays_the_fused_network():
    torch.manual_seed(0)
    model = Xception(num_classes=10, width=0.5).cuda().eval().bfloat16()
    images = torch.randn(2, 3, 299, 299, device="cuda", dtype=torch.bfloat16)
    images = images.to(memory_format=torch.channels_last)
    with torch.no_grad(), tuning.pinned():
        with compilation.side_by_side():
            fused_features(model, images)
        for _ in range(3):
            expected = fused_features(model, images)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = fused_features(model, images)
        graph.replay()
    torch.testing.assert_close(captured, expected, rtol=0, atol=0)
