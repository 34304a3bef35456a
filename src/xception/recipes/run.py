"""From a recipe to a trained, evaluated and described model in a directory of its own."""

import time
from pathlib import Path
from typing import Any

from xception.data.image_record import ImageRecord
from xception.errors import RunFailedError
from xception.recipes.announcement import announce, is_first_process
from xception.recipes.build import build_classifier, build_data, build_model
from xception.recipes.going_on import going_on
from xception.recipes.load import Recipe
from xception.recipes.run_list import images_to_go_on_with, keep_list_of_images
from xception.recipes.schema import trainer_arguments
from xception.training.best_weights import choose_weights
from xception.training.checkpoints import last_good_checkpoint, newest_checkpoint
from xception.training.fit import Preparation, Run, fit, prepare
from xception.training.full_device import space_needed
from xception.training.interruption import interruptible
from xception.training.memory import keep_memory_on_cpu
from xception.training.run_directory import RunDirectory


def run_recipe(
    recipe: Recipe,
    directory: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    trainer: dict[str, Any] | None = None,
    record: ImageRecord | None = None,
) -> RunDirectory:
    """Trains, evaluates on the averaged weights, and describes the result.

    Args:
        recipe: What to do.
        directory: Where to; made if absent.
        resume: Go on with the run in it; afresh if it has no checkpoint, nothing if it is finished.
        overwrite: Replace the run in it.
        trainer: Arguments of Lightning's Trainer that a launcher gives, before the recipe's own.
        record: The images of another run, for one that begins and is to be compared with it.

    Returns:
        The run's directory.

    Raises:
        InputError: A wrong recipe, data that are not there, a directory of another run.
        RunFailedError: The loss became NaN, or the device has no space left.
        RunInterrupted: A signal came once the directory was this run's.
    """
    run_directory = RunDirectory(directory)
    if resume and run_directory.is_finished():
        run_directory.claim(recipe.keys, resume=True, overwrite=False, defaults=recipe.defaults())
        print(f"{directory} is finished")
        return run_directory
    started = time.time()
    checkpoint = newest_checkpoint(run_directory.checkpoints) if resume else None
    begun = going_on(recipe, checkpoint)
    images = images_to_go_on_with(recipe, run_directory, resume=resume) or {"record": record}
    data = build_data(begun, **images)
    classifier = build_classifier(begun, data, build_model(begun, data))
    run = Run(
        classifier=classifier,
        data=data,
        directory=run_directory,
        polyak_decay=recipe.keys["polyak"]["decay"],
        checkpoint_every_steps=recipe.keys["training"]["checkpoint_every_steps"],
        total_steps=classifier.total_samples // data.batch_size,
    )
    if recipe.keys["asynchronous"]["workers"]:
        from xception.recipes.asynchronous import train_asynchronously

        return train_asynchronously(recipe, run, resume, overwrite, started, trainer is not None)
    prepared = prepare(run, trainer_arguments(recipe.group("trainer")) | (trainer or {}))
    data.check_loaders(prepared.trainer)
    if recipe.keys["training"]["keep_memory"]:
        keep_memory_on_cpu(prepared.trainer.strategy.root_device)
    if is_first_process():
        defaults = recipe.defaults() if resume else None
        run_directory.claim(recipe.keys, resume=resume, overwrite=overwrite, defaults=defaults)
        keep_list_of_images(recipe, data, run_directory)
    with interruptible(lambda: prepared.checkpoints.saved_step), space_needed():
        _train(recipe, prepared, checkpoint, started)
    return run_directory


def _train(recipe: Recipe, prepared: Preparation, checkpoint: Path | None, started: float) -> None:
    run_directory = prepared.run.directory
    announce(recipe, prepared.run.classifier, prepared.run.data, run_directory, checkpoint)
    try:
        trained = fit(prepared, checkpoint)
    except RunFailedError as error:
        good = last_good_checkpoint(run_directory.checkpoints)
        where = f"the last good checkpoint is {good}" if good else "there is no good checkpoint yet"
        diverged = "Lower optimizer.learning_rate, or look at the data"
        advice = diverged if "the loss" in str(error) else "Go on with --resume"
        raise RunFailedError(f"{error}; {where}. {advice}") from None
    if trained.trainer.is_global_zero:
        from xception.recipes.conclude import conclude

        finished = trained.finished()
        finished.details |= choose_weights(
            prepared.run.classifier.model, prepared.checkpoints, recipe.keys["training"]["keep"]
        )
        conclude(recipe, finished, run_directory, started)
