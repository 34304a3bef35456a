"""The continuum of section 1.2 at equal parameter count."""

import inspect

import pytest
import torch

from xception.errors import InputError
from xception.models.continuum import continuum_widths, parameter_count, xception_continuum
from xception.models.registry import create_model
from xception.models.xception import Xception

ORDERS = ["depthwise-first", "pointwise-first"]


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "segments", [1, 2, 3, 4, 5, 7, 8, 16, 32, 64, 91, 128, 182, 256, 364, 728, "depthwise"]
)
def test_every_point_is_as_large_as_xception(segments, order):
    model = on_meta("xception_continuum", segments=segments, order=order)
    assert abs(count(model) / 22_855_952 - 1) < 0.01
    spatial = [m for n, m in model.named_modules() if n.endswith("depthwise")]
    assert len(spatial) == 34
    for convolution in spatial:
        expected = convolution.in_channels if segments == "depthwise" else segments
        assert convolution.groups == expected
    assert model(torch.empty(1, 3, 96, 96, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("segments", [3, 16])
def test_small_siblings_keep_their_size_too(segments):
    small = {"width": 0.5, "num_classes": 10, "middle_flow_repeats": 4, "residual": False}
    small |= {"fc_units": (64,), "in_channels": 1}
    model = on_meta("xception_continuum", segments=segments, stem_strides=(1, 1), **small)
    assert abs(count(model) / count(on_meta("xception", **small)) - 1) < 0.01


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"order": "pointwise-first"},
        {"segments": 4},
        {"segments": 2, "order": "pointwise-first", "residual": False},
        {"fc_units": (32, 16), "num_classes": 7, "in_channels": 1, "middle_flow_repeats": 3},
        {"num_classes": 0},
    ],
)
def test_counting_by_arithmetic_equals_counting_the_model(arguments):
    widths = (8, 16, 24, 32, 40, 48, 56, 64)
    with torch.device("meta"):
        assert parameter_count(widths, **arguments) == count(Xception(widths=widths, **arguments))


def test_xceptions_own_widths_divide_by_1_2_4_8_and_per_channel():
    for segments in (1, 2, 4, 8, "depthwise"):
        assert on_meta("xception", segments=segments).arguments["segments"] == segments
    for segments, near in ((3, "2 and 4"), (5, "4 and 8"), (16, "8"), (91, "8")):
        with pytest.raises(InputError, match=f"nearest to it are {near}, or 'depthwise'"):
            on_meta("xception", segments=segments)


def test_too_many_segments_are_refused_with_the_nearest_that_work():
    with pytest.raises(InputError, match="segments=1024 has no widths") as caught:
        continuum_widths(1024)
    nearest = int(str(caught.value).split("that have are ")[1].split(",")[0].split(" ")[0])
    assert continuum_widths(nearest)
    with pytest.raises(InputError, match="no widths"):
        continuum_widths(nearest + 1)


def test_a_point_rebuilds_from_its_arguments():
    model = create_model("xception_continuum", segments=3, width=0.125, num_classes=4)
    assert model.architecture == "xception"
    again = create_model("xception", **model.arguments)
    again.load_state_dict(model.state_dict())


def test_the_builder_takes_xceptions_arguments_but_widths():
    parameters = set(inspect.signature(Xception).parameters) - {"widths"}
    assert set(inspect.signature(xception_continuum).parameters) == parameters
    with pytest.raises(InputError, match="no argument 'widths'"):
        create_model("xception_continuum", segments=3, widths=(1,) * 8)
    with pytest.raises(InputError, match="order='last'"):
        create_model("xception_continuum", segments=3, order="last")
