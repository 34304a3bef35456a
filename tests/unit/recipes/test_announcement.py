from types import SimpleNamespace

import pytest
import torch

from xception.data.preprocessing import Preprocessing
from xception.data.sources import ArraySource
from xception.recipes.announcement import images_in_words, keys_that_weights_replace
from xception.recipes.load import load_recipe


def data(*sizes):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    names = [f"class-{label}" for label in range(len(sizes))]
    images = torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8)
    source = ArraySource(images, labels, names)
    return SimpleNamespace(
        train_source=source,
        evaluation_source=range(3),
        num_classes=len(names),
        class_names=names,
        multi_label=False,
    )


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((4, 19), "23 training images, 3 held out, 2 classes"),
        (
            (20, 8, 4),  # five times as many
            "32 training images, 3 held out, 3 classes, very unequal: 4 of class-2 to 20 of "
            "class-0",
        ),
        ((1,), "1 training image, 3 held out, 1 class"),
    ],
)
def test_images_in_words_counts_and_names_gross_imbalance(sizes, words):
    assert images_in_words(data(*sizes)) == words


def test_keys_that_weights_replace_are_those_that_someone_set():
    def found(words, taken):
        recipe = load_recipe("finetune", words)
        return keys_that_weights_replace(recipe, SimpleNamespace(preprocessing=taken))

    brought = Preprocessing(crop_fraction=1.0, interpolation="bicubic")
    words = ["--data.evaluation_mode", "pad", "--data.interpolation", "bicubic"]
    assert found([*words, "--model.weights", "runs/x"], brought) == [
        "data.evaluation_mode pad (it is central-crop)"
    ]
    assert found(words, brought) == []  # random weights bring nothing
