"""Figure 5: shapes, counts, arguments and names."""

import inspect
import json

import pytest
import torch

from xception.errors import InputError
from xception.models.registry import create_model
from xception.models.xception import Xception

SMALL = {"width": 0.125, "num_classes": 5, "stem_strides": (1, 1), "middle_flow_repeats": 2}

# By hand: VALID 3x3/2, VALID 3x3, then four poolings that round n / 2 up.
SIZES = {
    299: [149, 147, 74, 37, 19, 19, 10],
    256: [127, 125, 63, 32, 16, 16, 8],
    224: [111, 109, 55, 28, 14, 14, 7],
    150: [74, 72, 36, 18, 9, 9, 5],
    71: [35, 33, 17, 9, 5, 5, 3],
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("numerics", ["keras", "timm"])
def test_table_of_output_shapes(size, numerics):
    with torch.device("meta"):
        model = Xception(numerics=numerics).eval()
        images = torch.empty(2, 3, size, size)
    stages = ["entry_flow.conv1", "entry_flow.conv2"]
    stages += [f"entry_flow.module{i}" for i in (1, 2, 3)] + ["middle_flow", "exit_flow"]
    shapes = []
    for name in stages:
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output: shapes.append(tuple(output.shape))
        )
    assert model(images).shape == (2, 1000)
    channels = [32, 64, 128, 256, 728, 728, 2048]
    assert shapes == [(2, c, n, n) for c, n in zip(channels, SIZES[size], strict=True)]


def test_counts_of_the_paper():
    with torch.device("meta"):
        model = Xception()
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 22_855_952  # table 3
    convolutions = [
        name
        for name, _ in model.named_modules()
        if name.endswith((".conv", ".conv1", ".conv2")) and "shortcut" not in name
    ]
    units = [n for n in convolutions if n.endswith(".conv")]
    assert len(units) == 36  # section 3: "36 convolutional layers"
    modules = {".".join(name.split(".")[:2]) for name in units if "separable" in name}
    modules -= {"exit_flow.separable1", "exit_flow.separable2"}
    assert len(modules) + 2 == 14  # 12 residual modules, the stem and the last separable pair
    shortcuts = [n for n, _ in model.named_modules() if n.endswith("shortcut")]
    assert len(shortcuts) == 4


def test_minimum_input_size_is_derived_and_enforced():
    assert Xception(width=0.125).minimum_input_size == 71
    small = Xception(**SMALL).eval()
    assert small.minimum_input_size == 21  # 21 -> 19 -> 17 -> 9 -> 5 -> 3 -> 2
    assert small.forward_features(torch.zeros(1, 3, 21, 30)).shape[2:] == (2, 2)
    with pytest.raises(InputError, match=r"20x30 pixels are too small.*at least 21x21"):
        small(torch.zeros(1, 3, 20, 30))
    for strides, smallest in (((2, 1), 71), ((1, 2), 69), ((2, 2), 135)):
        model = Xception(width=0.125, stem_strides=strides, middle_flow_repeats=0)
        assert model.minimum_input_size == smallest
        assert model.eval().forward_features(torch.zeros(1, 3, smallest, smallest)).shape[2] == 3


def test_forward_reads_like_figure_5():
    model = Xception(**SMALL).eval()
    x = torch.randn(2, 3, 32, 32)
    by_flows = model.head(model.exit_flow(model.middle_flow(model.entry_flow(x))))
    assert torch.equal(model(x), by_flows)
    source = inspect.getsource(Xception.forward)
    assert "self.head(self.exit_flow(self.middle_flow(self.entry_flow(images))))" in source


def test_every_branch_is_linear_around_its_shortcut():
    """With the branches' last scale at 0 the middle flow is the identity (figure 5)."""
    model = Xception(**SMALL).eval()
    for module in model.middle_flow:
        torch.nn.init.zeros_(module.separable3.norm.weight)
    x = torch.randn(1, 88, 4, 4)
    assert torch.equal(model.middle_flow(x), x)


def test_without_residuals_there_are_no_shortcuts():
    model = Xception(**SMALL, residual=False).eval()
    assert not [n for n in model.state_dict() if "shortcut" in n]
    for module in model.middle_flow:
        torch.nn.init.zeros_(module.separable3.norm.weight)
    assert not model.middle_flow(torch.randn(1, 88, 4, 4)).any()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"in_channels": 1, "residual": False, "intermediate_activation": "elu"},
        {"fc_units": (12, 7), "fc_activation": None, "dropout": 0.5},
        {"widths": (8, 16, 16, 16, 24, 24, 32, 40), "segments": 4, "order": "pointwise-first"},
        {"drop_path": 0.3, "output_stride": 16, "numerics": "timm"},
        {"features_only": True},
    ],
)
def test_arguments_rebuild_the_model(arguments):
    model = Xception(**(SMALL | arguments)).eval()
    stored = json.loads(json.dumps(model.arguments))
    assert stored == model.arguments  # JSON primitives
    # All but the switch between two ways to compute the same.
    assert {*stored, "fused"} == set(inspect.signature(Xception).parameters)
    again = create_model(model.architecture, **stored).eval()
    again.load_state_dict(model.state_dict())
    x = torch.randn(1, model.in_channels, 32, 32)
    for own, other in zip(_flat(model(x)), _flat(again(x)), strict=True):
        assert torch.equal(own, other)


def _flat(output):
    return output if isinstance(output, list) else [output]


def test_fully_connected_layers_of_section_4_5():
    with torch.device("meta"):
        model = Xception(fc_units=(4096, 4096))
    extra = 2048 * 4096 + 4096 + 4096 * 4096 + 4096 + (4096 - 2048) * 1000
    assert sum(p.numel() for p in model.parameters()) == 22_855_952 + extra


def test_fully_connected_layers_have_relu_and_dropout_stands_last():
    model = Xception(**SMALL, fc_units=(6,), dropout=0.5).eval()
    features = torch.randn(3, 256, 2, 2)
    hidden = torch.relu(model.head.fc[0](features.mean((2, 3))))
    torch.testing.assert_close(model.head(features), model.head.classifier(hidden))
    seen = []
    model.head.classifier.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    torch.manual_seed(0)
    model.train().head(features)
    kept = seen[0] != 0
    torch.testing.assert_close(seen[0][kept], 2 * hidden[kept])  # scaled by 1 / (1 - 0.5)


def test_intermediate_activation_reaches_every_separable_convolution():
    model = Xception(**SMALL, intermediate_activation="elu")
    layers = [m for n, m in model.named_modules() if n.endswith(("1.conv", "2.conv", "3.conv"))]
    separable = [m.activation for m in layers if hasattr(m, "pointwise")]
    assert len(separable) == 16
    assert all(isinstance(m, torch.nn.ELU) for m in separable)


def test_weights_are_drawn_as_keras_draws_them():
    torch.manual_seed(0)
    model = Xception(width=0.5)
    depthwise = model.middle_flow[0].separable1.conv.depthwise.weight
    pointwise = model.middle_flow[0].separable1.conv.pointwise.weight
    channels = 368  # round(728 / 2 / 8) * 8
    for weight, fans in ((depthwise, 9 * channels + 9), (pointwise, 2 * channels)):
        bound = (6 / fans) ** 0.5
        assert 0.97 * bound < weight.abs().max() <= bound
    assert not model.head.classifier.bias.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": -1}, "num_classes=-1 is not possible"),
        ({"num_classes": 2.5}, "num_classes=2.5 is not possible"),
        ({"in_channels": 0}, "in_channels=0 is not possible"),
        ({"width": 0}, "width=0 is not possible: give a number above 0"),
        ({"widths": (8, 8)}, r"widths=\[8, 8\] has 2 entries: give 8"),
        ({"residual": 1}, "residual=1 is not possible: give true or false"),
        ({"intermediate_activation": "gelu"}, "choose one of None, 'relu', 'elu'"),
        ({"fc_units": 4096}, "fc_units=4096 is not possible: give a list"),
        ({"fc_units": (0,)}, "fc_units=0 is not possible"),
        ({"dropout": 1.0}, "dropout=1.0 is not possible: give a number from 0 to below 1"),
        ({"middle_flow_repeats": -1}, "middle_flow_repeats=-1"),
        ({"stem_strides": (2,)}, r"stem_strides=\[2\] has 1 entries: give 2"),
        ({"segments": 3}, "nearest to it are 2 and 4, or 'depthwise'; create_model"),
        ({"numerics": "tims"}, "did you mean 'timm'"),
        ({"output_stride": 4}, "output_stride=4 is not possible"),
        ({"drop_path": 0.1, "residual": False}, "needs residual connections"),
    ],
)
def test_arguments_are_validated(arguments, message):
    with pytest.raises(InputError, match=message):
        Xception(**arguments)


def test_arguments_are_keywords_only():
    with pytest.raises(TypeError):
        Xception(3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 32, 32), r"shape \(3, 32, 32\) do not fit: give \(N, 3, H, W\)"),
        (torch.zeros(1, 1, 32, 32), r"give \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "torch.uint8 do not fit.*127.5"),
    ],
)
def test_images_are_checked(images, message):
    with pytest.raises(InputError, match=message):
        Xception(**SMALL)(images)


def test_fused_is_a_switch_and_no_part_of_the_architecture():
    small = {"num_classes": 2, "width": 0.125, "stem_strides": (1, 1), "middle_flow_repeats": 1}
    plain, automatic = Xception(**small).eval(), Xception(**small, fused="auto").eval()
    assert "fused" not in automatic.arguments
    automatic.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(plain(images), automatic(images))  # on the CPU both are the plain layers
    with pytest.raises(InputError, match=r"fused=True is impossible.*CUDA"):
        Xception(**small, fused=True)(images)
    with pytest.raises(InputError, match="fused"):
        Xception(**small, fused="always")
