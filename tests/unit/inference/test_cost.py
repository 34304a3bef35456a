import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from xception import create_model, list_models
from xception.errors import InputError
from xception.inference.cost import measure_cost


@pytest.fixture(scope="module")
def xception():
    return measure_cost("xception", {})


def row(cost, name):
    return next(layer for layer in cost.layers if layer.name == name)


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "multiply_adds"),
    [
        # kernel height x width x input channels / groups, for every output
        ("entry_flow.conv1.conv", (32, 149, 149), 32 * 3 * 9, 32 * 149 * 149 * 27),
        ("entry_flow.conv2.conv", (64, 147, 147), 64 * 32 * 9, 64 * 147 * 147 * 288),
        ("entry_flow.module1.separable1.conv.depthwise", (64, 147, 147), 64 * 9, 64 * 147**2 * 9),
        ("entry_flow.module1.separable1.conv.pointwise", (128, 147, 147), 8192, 128 * 147**2 * 64),
        ("entry_flow.module1.shortcut.conv", (128, 74, 74), 64 * 128, 128 * 74 * 74 * 64),
        ("entry_flow.module1.pool", (128, 74, 74), 0, 0),
        ("middle_flow.7.separable3.conv.pointwise", (728, 19, 19), 728**2, 728**2 * 19 * 19),
        ("middle_flow.0.separable1.norm", (728, 19, 19), 2 * 728, 0),
        # three separable convolutions (728·9 + 728·728 weights) and their BatchNorms (2·728)
        ("middle_flow.3", (728, 19, 19), 3 * (728 * 9 + 728**2 + 1456), 3 * 361 * (6552 + 728**2)),
        ("exit_flow.separable2", (2048, 10, 10), 13824 + 1536 * 2048 + 4096, 315955200),
        ("head.classifier", (1000,), 2048 * 1000 + 1000, 2048 * 1000),
    ],
)
def test_cost_of_a_layer_is_the_hand_count(xception, name, shape, parameters, multiply_adds):
    layer = row(xception, name)
    assert layer.output_shape == shape
    assert layer.parameters == parameters
    assert layer.multiply_adds == multiply_adds


def test_cost_of_xception_is_the_papers_number_of_parameters_and_8_4_billion(xception):
    assert xception.total.parameters == 22_855_952
    assert xception.total.multiply_adds == pytest.approx(8.4e9, rel=0.01)
    assert xception.total.output_shape == (1000,)


def test_cost_of_the_flows_adds_up_to_the_total(xception):
    flows = xception.at_depth(1)
    assert [flow.name for flow in flows] == ["entry_flow", "middle_flow", "exit_flow", "head"]
    for depth in (1, 2, 3, 0):
        layers = xception.at_depth(depth)
        assert sum(layer.parameters for layer in layers) == 22_855_952
        assert sum(layer.multiply_adds for layer in layers) == xception.total.multiply_adds
        assert sum(layer.activations for layer in layers) == xception.total.activations


def test_cost_counts_every_convolution_of_figure_5(xception):
    kinds = [layer.kind for layer in xception.at_depth(0)]
    # 2 regular, 34 separable (two convolutions each), 4 shortcuts
    assert kinds.count("Conv2d") == 2 + 2 * 34 + 4
    assert kinds.count("BatchNorm2d") == 40


@pytest.mark.parametrize("name", list_models())
def test_multiply_adds_agree_with_torchs_counter(name):
    """An operation that no layer's hook sees would be missing on our side."""
    cost = measure_cost(name, {})
    _, size, _ = cost.image_shape
    with torch.device("meta"):
        model = create_model(name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, size, size, device="meta"))
    assert 2 * cost.total.multiply_adds == counter.get_total_flops()


def test_activations_are_the_outputs_of_the_innermost_layers():
    arguments = {"width": 0.125, "middle_flow_repeats": 0, "num_classes": 3, "dropout": 0.5}
    cost = measure_cost("xception", arguments, 96)
    model = create_model("xception", **arguments).eval()
    numbers = []
    for module in model.modules():
        if not list(module.children()) and not isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(
                lambda module, given, output: numbers.append(
                    0 if output is given[0] else output.numel()
                )
            )
    model(torch.zeros(1, 3, 96, 96))
    assert cost.total.activations == sum(numbers)


def test_measure_cost_refuses_too_small_an_image_and_a_negative_depth(xception):
    with pytest.raises(InputError, match="70 pixels are too small for this model; give 71"):
        measure_cost("xception", {}, 70)
    with pytest.raises(InputError, match="depth is -1"):
        xception.at_depth(-1)
