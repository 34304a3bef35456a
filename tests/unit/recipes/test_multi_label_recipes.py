"""The paper's recipe for JFT, and that a step of it is what TensorFlow would do."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xception.data.batches import Batch
from xception.data.targets import ImageTargets, collate_targets
from xception.recipes.announcement import announce
from xception.recipes.build import total_steps
from xception.recipes.load import load_recipe
from xception.recipes.schema import builders
from xception.training.run_directory import RunDirectory
from xception.training.schedules import LearningRate, Position

JFT = ("jft-xception", "jft-xception-fc", "jft-inception-v3", "jft-inception-v3-fc")


@pytest.mark.parametrize("name", JFT)
def test_jft_recipes_are_the_papers(name):
    keys = load_recipe(name).keys
    assert keys["model"]["num_classes"] == 17_000
    assert keys["model"]["dropout"] == 0
    assert keys["model"]["name"] == ("xception" if "-xception" in name else "inception_v3")
    assert (keys["model"]["fc_units"] or []) == ([4096, 4096] if name.endswith("fc") else [])
    optimizer, schedule = keys["optimizer"], keys["schedule"]
    assert (optimizer["name"], optimizer["momentum"]) == ("rmsprop", 0.9)
    assert optimizer["learning_rate"] == 0.001
    assert optimizer["weight_decay"] == (1e-5 if "-xception" in name else 4e-5)
    assert (schedule["factor"], schedule["every"], schedule["unit"]) == (0.9, 3_000_000, "samples")
    assert keys["trainer"]["max_steps"] == 30_000_000
    assert (keys["loss"]["name"], keys["map"]["k"]) == ("sigmoid", 100)
    assert keys["polyak"]["decay"] is not None


@pytest.mark.parametrize(("unit", "rungs"), [("samples", 319), ("steps", 9)])
def test_the_learning_rate_that_jft_ends_with(unit, rungs):
    """0.9 every 3,000,000 samples of 960 million, or every 3,000,000 steps of 30 million."""
    recipe = load_recipe("jft-xception", ["--schedule.unit", unit])
    keys = recipe.group("schedule")
    steps, batch = total_steps(recipe, 10**7), recipe.keys["data"]["batch_size"]
    at = builders("schedule")[keys.pop("name")](**keys)
    place = Position((steps - 1) * batch, 350_000_000, batch, steps * batch)
    assert 0.001 * at(place) == pytest.approx(0.001 * 0.9**rungs, rel=1e-12)


@pytest.mark.parametrize(("unit", "last"), [("samples", "2.531e-18"), ("steps", "0.0003874")])
def test_a_run_of_jft_says_what_learning_rate_it_ends_with(unit, last, tmp_path, capsys):
    """By hand: 0.001 x 0.9^319 and 0.001 x 0.9^9."""
    recipe = load_recipe("jft-xception", ["--schedule.unit", unit])
    keys = recipe.group("schedule")
    schedule = builders("schedule")[keys.pop("name")](**keys)
    batch, images = recipe.keys["data"]["batch_size"], 350_000_000
    samples = total_steps(recipe, images // batch) * batch
    run = SimpleNamespace(
        batch_size=batch,
        total_samples=samples,
        current_learning_rate=LearningRate(0.001, schedule, batch, images, samples),
        model=nn.Linear(2, 3),
    )
    data = SimpleNamespace(
        multi_label=True,
        train_source=range(images),
        evaluation_source=range(14_000),
        num_classes=17_000,
    )
    announce(recipe, run, data, RunDirectory(tmp_path), None)
    told = capsys.readouterr().out
    assert "350,000,000 training images, 14,000 held out, 17,000 classes" in told
    assert "30,000,000 steps of 32 images" in told
    assert f"learning rate 0.001 at first, {last} at the end" in told


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_steps_are_those_of_tensorflow_by_hand(reduction):
    """Logistic regression of 3 classes; sigmoid cross-entropy, L2 decay and RMSprop in scalars."""
    images = [[0.5, -1.0], [2.0, 0.25]]
    labels = [[0, 2], [1]]
    weights = [[0.1, -0.2], [0.3, 0.4], [-0.5, 0.6]]
    rate, decay, momentum, rho, eps = 0.001, 1e-5, 0.9, 0.9, 1.0

    model = nn.Linear(2, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weights, dtype=torch.float64))
    recipe = load_recipe("jft-xception", ["--loss.reduction", reduction])
    loss_keys, optimizer_keys = recipe.group("loss"), recipe.group("optimizer")
    loss = builders("loss")[loss_keys.pop("name")](**loss_keys)
    build = builders("optimizer")[optimizer_keys.pop("name")]
    group = {"params": [model.weight], "weight_decay": optimizer_keys.pop("weight_decay")}
    for shared in ("reference_batch", "layer_decay"):
        optimizer_keys.pop(shared)
    optimizer = build([group], **optimizer_keys)
    targets = collate_targets([ImageTargets(torch.tensor(row).numpy()) for row in labels])

    mean_square = [[1.0] * 2 for _ in range(3)]  # TensorFlow starts it at one
    moving = [[0.0] * 2 for _ in range(3)]
    entries = 3 if reduction == "mean" else 1
    for _ in range(4):
        gradient = [[0.0] * 2 for _ in range(3)]
        for x, own in zip(images, labels, strict=True):
            for c in range(3):
                z = sum(w * v for w, v in zip(weights[c], x, strict=True))
                error = 1 / (1 + math.exp(-z)) - (c in own)
                for i in range(2):
                    gradient[c][i] += error * x[i] / len(images) / entries
        for c in range(3):
            for i in range(2):
                g = gradient[c][i] + decay * weights[c][i]
                mean_square[c][i] = rho * mean_square[c][i] + (1 - rho) * g * g
                step = rate * g / math.sqrt(mean_square[c][i] + eps)
                moving[c][i] = momentum * moving[c][i] + step
                weights[c][i] -= moving[c][i]
        optimizer.zero_grad()
        loss(model(torch.tensor(images, dtype=torch.float64)), targets).backward()
        optimizer.step()
        # float64 on both sides
        assert model.weight.detach().flatten().tolist() == pytest.approx(
            [w for row in weights for w in row], abs=1e-14
        )


def test_training_validates_by_the_map_of_the_definition():
    from xception.metrics import weighted_mean_average_precision
    from xception.training.sigmoid_loss import sigmoid_cross_entropy
    from xception.training.validation import MeanAveragePrecision

    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 6, generator=generator)
    rows = [[0, 3], [5], [1, 2], None, [4], [], [2, 5]]  # the fourth could not be read
    images = [
        None if row is None else ImageTargets(torch.tensor(row).long().numpy()) for row in rows
    ]
    weights = [1.0, 0.0, 2.0, 3.0, 1.0, 0.5]
    measured = MeanAveragePrecision(
        sigmoid_cross_entropy(reduction="sum"), 6, k=3, class_weights=weights
    )
    for part in (slice(0, 4), slice(4, 7)):
        some = images[part]
        batch = Batch(
            torch.zeros(len(some), 3, 1, 1, dtype=torch.uint8),
            torch.tensor([-1 if image is None else 0 for image in some]),
            torch.arange(7)[part],
            [],
            collate_targets(some),
        )
        measured.update(logits[part], batch)
    kept = torch.tensor([0, 1, 2, 4, 5, 6])
    dense = torch.zeros(7, 6)
    for place, row in enumerate(rows):
        dense[place, row or []] = 1
    expected = weighted_mean_average_precision(
        logits[kept], dense[kept], k=3, class_weights=weights
    ).value
    loss = nn.functional.binary_cross_entropy_with_logits(
        logits[kept], dense[kept], reduction="sum"
    )
    figures = measured.figures()
    assert float(figures["validation_map"]) == pytest.approx(expected, abs=1e-7)
    assert float(figures["validation_loss"]) == pytest.approx(float(loss) / 6, rel=1e-6)
    measured.reset()
    assert measured.map.keys == []
