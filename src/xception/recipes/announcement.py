"""What a run says before it starts."""

import os
from pathlib import Path

from xception.errors import count_of
from xception.recipes.load import Recipe
from xception.training.classifier import Classifier
from xception.training.run_directory import RunDirectory


def is_first_process() -> bool:
    """Whether this process was started by the user, and not by another one of the same run."""
    ranks = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # of torchrun, of Lightning, of srun
    return all(int(os.environ.get(name, "0")) == 0 for name in ranks)


def announce(
    recipe: Recipe, classifier: Classifier, directory: RunDirectory, checkpoint: Path | None
) -> None:
    """Prints model, length, learning rates and directory, in the first process only.

    Args:
        recipe: What will be trained.
        classifier: Its training step.
        directory: Of the run.
        checkpoint: Where it goes on from, if it does.
    """
    if not is_first_process():
        return
    steps = classifier.total_samples // classifier.batch_size
    first, last = classifier.current_learning_rate(0), classifier.current_learning_rate(steps - 1)
    parameters = sum(p.numel() for p in classifier.model.parameters())
    print(
        f"{recipe.name}: {recipe.keys['model']['name']} with {parameters:,} parameters, "
        f"{count_of(steps, 'step')} of {count_of(classifier.batch_size, 'image')}, "
        f"learning rate {first:.4g} at first, {last:.4g} at the end\n"
        f"directory: {directory.path}" + (f"; going on from {checkpoint}" if checkpoint else "")
    )
