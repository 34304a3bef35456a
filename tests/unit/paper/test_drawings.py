"""Figures 1 to 5 follow the live modules."""

import re

import pytest
import torch
from torch import nn

from xception.models.registry import create_model
from xception.paper.architecture_drawing import draw_architecture, paper_network
from xception.paper.drawing import save
from xception.paper.module_drawing import draw_module, paper_modules
from xception.paper.operations import branches, residual_paths, steps

KERNELS = {
    "figure-1": [["1×1"], ["1×1", "3×3"], ["1×1", "3×3", "3×3"], ["3×3", "1×1"]],
    "figure-2": [["1×1", "3×3"]] * 3,
    "figure-3": [["1×1", "3×3"]],
    "figure-4": [["1×1", "3×3"]],
}
BOXES = {  # as drawn in the paper; figure 4 has as many 3x3 boxes as there are channels
    "figure-1": {"1×1 conv": 4, "3×3 conv": 3, "3×3 avg pool": 1},
    "figure-2": {"1×1 conv": 3, "3×3 conv": 3},
    "figure-3": {"1×1 conv": 1, "3×3 conv": 3},
    "figure-4": {"1×1 conv": 1, "3×3": 8},
}


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("item", KERNELS)
def test_branches_are_the_papers(item):
    _, module = paper_modules()[item]
    found = [[step.kernel for step in path if step.kernel] for path in branches(module)]
    assert found == KERNELS[item]


@pytest.mark.parametrize("item", BOXES)
def test_every_operation_has_its_box(item):
    caption, module = paper_modules()[item]
    found = texts(draw_module(module, caption))
    assert {label: found.count(label) for label in BOXES[item]} == BOXES[item]
    assert {"Input", "Concat", caption} <= set(found)


@pytest.mark.parametrize("item", BOXES)
def test_a_changed_kernel_changes_the_drawing(item):
    caption, module = paper_modules()[item]
    before = texts(draw_module(module, caption))
    owner, conv = next(
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)
    )
    other = nn.Conv2d(conv.in_channels, conv.out_channels, 5, padding=2, groups=conv.groups)
    module.set_submodule(owner, other)
    after = texts(draw_module(module, caption))
    # figures 3 and 4 draw one box for each segment of the convolution
    changed = conv.groups
    label = next(text for text in ("3×3", "3×3 conv") if text in before)
    assert before.count(label) == after.count(label) + changed
    assert after.count(label.replace("3×3", "5×5")) == changed


def test_a_changed_kernel_changes_figure_5():
    model = create_model("xception")
    before = texts(draw_architecture(model))
    wide = nn.Conv2d(728, 728, 5, padding=2, groups=728, bias=False)
    model.middle_flow[3].separable2.conv.depthwise = wide
    after = texts(draw_architecture(model))
    assert "SeparableConv 728, 5×5" not in before
    assert after.count("SeparableConv 728, 5×5") == 1
    # the one module is drawn between the three before and the four after it
    assert {"3 times, one after the other", "4 times, one after the other"} <= set(after)
    more = 728 * (25 - 9)
    assert f"{12_911_808 + more:,} parameters" in after  # of the middle flow
    assert model.middle_flow[3].separable2.conv.depthwise is wide


def test_a_changed_pool_changes_figure_5(monkeypatch):
    monkeypatch.setattr("xception.models.layers.SameMaxPool2d.kernel_size", 2)
    with torch.device("meta"):
        found = texts(draw_architecture(create_model("xception"), 300))
    assert found.count("MaxPool 2×2, stride 2") == 4
    assert "MaxPool 3×3, stride 2" not in found


def test_more_segments_draw_more_boxes():
    from xception.models.inception_module import ReformulatedInceptionModule

    found = texts(draw_module(ReformulatedInceptionModule(8, 4, 4, segments=4), "four"))
    assert found.count("3×3 conv") == 4


def test_files_are_written_as_vectors_and_pixels(tmp_path):
    caption, module = paper_modules()["figure-2"]
    svg, png = save(draw_module(module, caption), tmp_path / "figures", "figure-2")
    assert "1×1 conv" in svg.read_text()  # text stays text
    assert png.read_bytes().startswith(b"\x89PNG")
    again, _ = save(draw_module(module, caption), tmp_path / "again", "figure-2")
    assert svg.read_text() == again.read_text()


def test_a_middle_module_is_three_separable_convolutions_beside_the_identity():
    model = create_model("xception", width=0.125, middle_flow_repeats=1)
    main, shortcut = residual_paths(model.middle_flow[0])
    assert [step.text for step in main] == ["ReLU", "SeparableConv 88, 3×3"] * 3
    assert shortcut == []
    main, shortcut = residual_paths(model.entry_flow.module1)
    assert main[0].text == "SeparableConv 16, 3×3"  # the first module has no leading ReLU
    assert [step.text for step in shortcut] == ["Conv 16, 1×1, stride 2"]


def test_without_residual_there_is_no_shortcut():
    model = create_model("xception", width=0.125, residual=False)
    assert residual_paths(model.exit_flow.module1)[1] is None
    assert residual_paths(model.middle_flow[0])[1] is None


def test_the_entry_flow_begins_with_two_convolutions():
    model = create_model("xception", width=0.125)
    found = [step if isinstance(step, str) else step.text for step in steps(model.entry_flow)]
    assert found[:4] == ["Conv 8, 3×3, stride 2", "ReLU", "Conv 8, 3×3", "ReLU"]
    assert found[4:] == ["module1", "module2", "module3"]


def test_figure_5_states_shapes_and_parameters():
    found = texts(draw_architecture(paper_network()))
    shapes = ["147×147×64", "74×74×128", "37×37×256", "19×19×728", "10×10×1024", "10×10×2048"]
    assert set(shapes) <= set(found)
    assert "8 times, one after the other" in found
    flows = [text for text in found if text.endswith(" parameters")]
    counts = [int(re.sub(r"\D", "", text)) for text in flows]
    assert len(counts) == 3
    assert sum(counts) == 22_855_952
    separable = [text for text in found if text.startswith("SeparableConv")]
    assert len(separable) == 6 + 3 + 4  # entry, middle once, exit


def test_figure_5_follows_the_arguments():
    small = {"width": 0.25, "middle_flow_repeats": 2, "stem_strides": (1, 1), "residual": False}
    model = create_model("xception", **small, fc_units=(64,), num_classes=10)
    found = texts(draw_architecture(model, 32))
    assert "2 times, one after the other" in found
    assert "+" not in found
    assert {"Conv 8, 3×3", "Dense 64", "Dense 10", "32×32×3 images"} <= set(found)
