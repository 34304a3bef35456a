"""A whole Xception through fused units (their plain references) equals the plain modules."""

import copy
import logging

import pytest
import torch
from torch import nn

from xception.errors import InputError
from xception.kernels import support
from xception.kernels.batch_norm import center_of, scale_and_shift
from xception.kernels.flow import fused_features
from xception.models.xception import Xception


def small_model(**arguments):
    """Two middle modules, so that a pending residual sum meets both its successors."""
    torch.manual_seed(0)
    arguments = {"middle_flow_repeats": 2, "stem_strides": (1, 1)} | arguments
    model = Xception(num_classes=3, widths=(8, 8, 12, 16, 20, 24, 28, 32), **arguments)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # signs and centres that a fresh layer does not have
            nn.init.uniform_(module.weight, -0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
    return model


def plain_features(model, images):
    return model.exit_flow(model.middle_flow(model.entry_flow(images)))


def train_step(features, model, images, grad):
    out = features(model, images)
    out.backward(grad)
    return {
        "features": out.detach(),
        **{f"gradient of {k}": p.grad for k, p in model.named_parameters() if p.grad is not None},
        **{f"buffer {k}": b.clone() for k, b in model.named_buffers()},
    }


def assert_same(actual, expected, tolerance):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        # error over the largest value of the tensor
        limit = tolerance * max(value.abs().max().item(), 1e-3)
        torch.testing.assert_close(
            actual[name], value, rtol=0, atol=limit, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"numerics": "keras"}, (23, 22)),
        ({"numerics": "timm"}, (23, 22)),
        ({"residual": False}, (24, 21)),
        ({"stem_strides": (2, 1), "middle_flow_repeats": 0}, (75, 80)),
    ],
)
def test_train_step_equals_plain_modules(arguments, size):
    plain = small_model(**arguments).double()
    fused = copy.deepcopy(plain)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        grad = torch.randn_like(plain_features(copy.deepcopy(plain), images))
    expected = train_step(plain_features, plain, images, grad)
    # float64 against float64: only the order of sums differs
    assert_same(train_step(fused_features, fused, images, grad), expected, tolerance=1e-9)
    assert fused.state_dict().keys() == plain.state_dict().keys()
    plain.eval()
    fused.eval()
    torch.testing.assert_close(
        fused_features(fused, images), plain_features(plain, images), rtol=0, atol=1e-9
    )


def test_checkpointing_moves_running_statistics_once():
    plain = small_model().double()
    fused = copy.deepcopy(plain)
    fused.set_grad_checkpointing()
    images = torch.randn(2, 3, 21, 21, dtype=torch.float64)
    grad = torch.randn(2, 32, 2, 2, dtype=torch.float64)
    expected = train_step(plain_features, plain, images, grad)
    actual = train_step(fused_features, fused, images, grad)
    assert_same(actual, expected, tolerance=1e-9)
    assert actual["buffer exit_flow.separable2.norm.num_batches_tracked"] == 1


@pytest.mark.parametrize(
    "checkpointing",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["plain", "checkpointing"],
)
def test_compiles_without_graph_breaks(checkpointing):
    plain = small_model(middle_flow_repeats=1)
    fused = copy.deepcopy(plain)
    if checkpointing:
        fused.set_grad_checkpointing()
    images = torch.randn(2, 3, 21, 21).to(memory_format=torch.channels_last)
    grad = torch.randn(2, 32, 2, 2)
    torch._dynamo.reset()

    def features(model, images):
        support.takes_fused_path(model, images, "auto")  # must be traceable too
        assert support.unsupported_structure(model) is None
        return fused_features(model, images)

    compiled = torch.compile(features, fullgraph=True, backend="aot_eager")
    expected = train_step(plain_features, plain, images, grad)
    # float32 gradients of a network this deep, with BatchNorm over 8 values: 1e-3
    assert_same(train_step(compiled, fused, images, grad), expected, tolerance=1e-3)


def test_the_decision_for_the_kernels_can_be_traced(monkeypatch):
    # As for images on a GPU: every question is asked, none breaks the graph.
    model = small_model().eval()
    images = torch.randn(1, 3, 21, 21).to(memory_format=torch.channels_last)
    monkeypatch.setattr(support, "interpreting", lambda: True)
    torch._dynamo.reset()

    def decide(images):
        return images + 1 if support.takes_fused_path(model, images, "auto") else images

    compiled = torch.compile(decide, fullgraph=True, backend="eager")
    assert torch.equal(compiled(images), images + 1)


def test_an_exported_model_has_plain_layers(monkeypatch):
    monkeypatch.setattr(support, "interpreting", lambda: True)  # as for images on a GPU
    model = small_model(middle_flow_repeats=0, fused="auto").eval()
    images = torch.randn(1, 3, 21, 21).to(memory_format=torch.channels_last)
    assert support.why_not_fused(model, images) is None
    graph = str(torch.export.export(model, (images,)).graph)
    assert "conv2d" in graph
    assert "xception." not in graph


def test_autocast_computes_in_its_type():
    model = small_model().eval()
    images = torch.randn(2, 3, 21, 21)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        actual = fused_features(model, images)
    with torch.no_grad():
        expected = plain_features(model, images)
    assert actual.dtype == torch.bfloat16
    # bfloat16 has 8 bits; 14 layers of rounding
    assert (actual.float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm_vectors_equal_torch(momentum, affine):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5, momentum=momentum, affine=affine).double()
    nn.init.normal_(norm.running_mean)
    twin = copy.deepcopy(norm)
    for _ in range(3):
        z = torch.randn(4, 5, 3, 2, dtype=torch.float64)
        center = center_of(norm, z)
        centered = z - center.view(1, -1, 1, 1)
        sums = centered.sum((0, 2, 3)), centered.square().sum((0, 2, 3))
        scale, shift = scale_and_shift(norm, *sums, center, count=24)
        actual = z * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        torch.testing.assert_close(actual, twin(z), rtol=0, atol=1e-12)
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"intermediate_activation": "elu"}, "activation between"),
        ({"order": "pointwise-first"}, "pointwise-first"),
        ({"drop_path": 0.2}, "stochastic depth"),
        ({"output_stride": 16}, "does not pool with stride 2"),
        ({"segments": 4}, "segments of several channels"),
    ],
)
def test_unsupported_structures_are_named(arguments, words):
    assert words in support.unsupported_structure(small_model(**arguments))
    assert support.unsupported_structure(small_model()) is None


def test_hooks_and_replaced_layers_are_not_passed_over():
    model = small_model()
    handle = model.middle_flow[1].register_forward_hook(lambda *args: None)
    assert support.unsupported_structure(model).startswith("middle_flow.1 has hooks")
    handle.remove()

    class Adapter(nn.Conv2d):
        pass

    model.exit_flow.separable1.conv.pointwise = Adapter(24, 28, 1, bias=False)
    words = "exit_flow.separable1.conv has replaced convolutions"
    assert support.unsupported_structure(model) == words


def test_auto_falls_back_with_one_log_line_and_true_is_an_error(caplog, monkeypatch):
    monkeypatch.setattr(support, "_told", set())
    model, images = small_model(), torch.randn(1, 3, 21, 21)
    with caplog.at_level(logging.INFO):
        assert not support.takes_fused_path(model, images, "auto")
        assert not support.takes_fused_path(model, images, "auto")
    assert [r.getMessage() for r in caplog.records] == [
        "plain layers instead of fused kernels: the images are on cpu, the kernels run on CUDA GPUs"
    ]
    with pytest.raises(InputError, match="set fused='auto'"):
        support.takes_fused_path(model, images, True)
    assert not support.takes_fused_path(model, images, False)


@pytest.mark.parametrize("fused", ["auto", False])
def test_a_model_with_auto_runs_plain_layers_on_a_cpu_and_says_so_once(fused, caplog, monkeypatch):
    monkeypatch.setattr(support, "_told", set())
    plain, model = small_model(), small_model(fused=fused)
    assert plain.state_dict().keys() == model.state_dict().keys()
    model.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 21, 21)
    with caplog.at_level(logging.INFO), torch.no_grad():
        for call in (model.eval(), model, model.forward_features):
            found = call(images)
        assert torch.equal(found, plain.eval().forward_features(images))  # the same layers ran
    told = [record.getMessage() for record in caplog.records]
    line = "plain layers instead of fused kernels: the images are on cpu, "
    line += "the kernels run on CUDA GPUs"
    assert told == [line] * bool(fused)


def test_a_model_with_fused_true_refuses_a_cpu():
    with pytest.raises(InputError, match="fused=True is impossible: the images are on cpu"):
        small_model(fused=True)(torch.randn(1, 3, 21, 21))


def test_a_model_with_auto_compiles_without_graph_breaks_on_a_cpu():
    model = small_model(middle_flow_repeats=1, fused="auto").eval()
    images = torch.randn(1, 3, 21, 21)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        assert torch.equal(compiled(images), model(images))
