"""What a run says before it starts."""

import os
import sys
from pathlib import Path

import numpy as np

from xception.data.module import ImageData
from xception.data.sources import require_one_label
from xception.errors import count_of
from xception.recipes.build import starting_head
from xception.recipes.load import Recipe
from xception.recipes.schema import FROM_WEIGHTS
from xception.training.classifier import Classifier
from xception.training.run_directory import RunDirectory

UNBALANCED = 5
"""Times as many images in the largest class as in the smallest one, from which on it is told."""


def is_first_process() -> bool:
    """Whether this process was started by the user, and not by another one of the same run."""
    ranks = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # of torchrun, of Lightning, of srun
    return all(int(os.environ.get(name, "0")) == 0 for name in ranks)


def images_in_words(data: ImageData) -> str:
    """How many images there are of how many classes; and if some classes are far larger."""
    train = data.train_source
    classes = f"{data.num_classes:,} class{'' if data.num_classes == 1 else 'es'}"
    words = (
        f"{count_of(len(train), 'training image')}, {len(data.evaluation_source):,} held out, "
        f"{classes}"
    )
    if data.multi_label:
        return words
    sizes = np.bincount(require_one_label(train).labels, minlength=data.num_classes)
    least, most = int(sizes.argmin()), int(sizes.argmax())
    if sizes[most] < UNBALANCED * max(sizes[least], 1):
        return words
    return (
        f"{words}, very unequal: {sizes[least]:,} of {data.class_names[least]} to "
        f"{sizes[most]:,} of {data.class_names[most]}"
    )


_PREPROCESSING = {  # key → field of Preprocessing
    "evaluation_mode": "mode",
    "crop_fraction": "crop_fraction",
    "interpolation": "interpolation",
    "antialias": "antialias",
}


def keys_that_weights_replace(recipe: Recipe, data: ImageData) -> list[str]:
    """Keys of the recipe that the preprocessing of ``model.weights`` took the place of, in words.

    Keys that have their default are left out: the weights' preprocessing is meant to replace it.

    Args:
        recipe: What will be trained.
        data: Its images.
    """
    if not recipe.keys["model"]["weights"]:
        return []
    asked, defaults = recipe.keys["data"], recipe.defaults()["data"]
    taken = {key: getattr(data.preprocessing, field) for key, field in _PREPROCESSING.items()}
    return [
        f"data.{key} {asked[key]} (it is {taken[key]})"
        for key in taken
        if asked[key] not in (taken[key], defaults[key])
    ]


def announce(
    recipe: Recipe,
    classifier: Classifier,
    data: ImageData,
    directory: RunDirectory,
    checkpoint: Path | None,
) -> None:
    """Prints model, length, learning rates, images, what becomes of the head of the weights that it
    starts from, and directory, in the first process only.

    Args:
        recipe: What will be trained.
        classifier: Its training step.
        data: Its images.
        directory: Of the run.
        checkpoint: Where it goes on from, if it does.
    """
    if not is_first_process():
        return
    steps = classifier.total_samples // classifier.batch_size
    first, last = classifier.current_learning_rate(0), classifier.current_learning_rate(steps - 1)
    network = recipe.keys["model"]["name"]
    if network == FROM_WEIGHTS:
        network = getattr(classifier.model, "architecture", network)
    parameters = sum(p.numel() for p in classifier.model.parameters())
    images = images_in_words(data)
    if recipe.keys["model"]["weights"] and checkpoint is None:
        images += f"\n{starting_head(recipe, classifier.model, data).words}"
    print(
        f"{recipe.name}: {network} with {parameters:,} parameters, "
        f"{count_of(steps, 'step')} of {count_of(classifier.batch_size, 'image')}, "
        f"learning rate {first:.4g} at first, {last:.4g} at the end\n"
        f"{images}\n"
        f"directory: {directory.path}" + (f"; going on from {checkpoint}" if checkpoint else "")
    )
    if replaced := keys_that_weights_replace(recipe, data):
        print(
            "xception: model.weights bring their own preprocessing for the evaluation, which "
            f"replaces {', '.join(replaced)}; xception convert changes it in a file",
            file=sys.stderr,
        )
