import re

import pytest

from xception.training.report_charts import MOST_POINTS, points, training_charts


def test_curves_of_long_runs_are_averaged():
    rows = [{"step": float(i), "train_loss": float(i % 2)} for i in range(6000)]
    steps, values = points(rows, "train_loss")
    assert len(steps) == MOST_POINTS
    assert set(values) == {0.5}
    assert steps[0] == 4.5


@pytest.mark.parametrize("final", [0.5, 0.01])  # a linear and a logarithmic axis
def test_loss_curves_lie_inside_the_axes(final):
    rows = [{"step": 1.0, "train_loss": 1.0}, {"step": 3.0, "train_loss": final}]
    rows += [{"step": 2.0, "validation_loss": 8.0}, {"step": 3.0, "validation_loss": final}]
    ((_, svg),) = training_charts(rows)
    box = re.search(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg)
    left, top, width, height = map(float, box.groups())
    for colour in ("first", "second"):
        curve = rf'<path d="([^"]+)" clip-path="[^"]+" style="fill: none; stroke: var\(--{colour}\)'
        ends = re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", re.search(curve, svg)[1])
        assert len(ends) == 2
        for x, y in ends:
            assert left <= float(x) <= left + width
            assert top <= float(y) <= top + height
    assert ("logarithmic" in svg) == (final == 0.01)


def test_curves_without_finite_values_are_left_out():
    rows = [{"step": 1.0, "train_loss": float("nan"), "learning_rate": 0.1}]
    assert [title for title, _ in training_charts(rows)] == ["Learning rate"]
    assert training_charts([]) == []
