"""From a recipe to a trained, evaluated and described model in a directory of its own."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xception.data.module import ImageData
from xception.data.preprocessing import Preprocessing
from xception.errors import InputError, RunFailedError, count_of
from xception.metrics import load_class_weights
from xception.models.freezing import freeze
from xception.models.parameter_groups import parameter_groups
from xception.models.registry import create_model
from xception.recipes.load import Recipe
from xception.recipes.schema import (
    FROM_WEIGHTS,
    ModelKeys,
    OptimizerKeys,
    TrainingKeys,
    builders,
    trainer_arguments,
)
from xception.training.checkpoints import last_good_checkpoint, newest_checkpoint
from xception.training.classifier import Classifier
from xception.training.fit import Run, fit, prepare
from xception.training.losses import MULTI_LABEL_LOSSES, Loss
from xception.training.optimizers import scaled_learning_rate
from xception.training.run_directory import RunDirectory
from xception.training.validation import MeanAveragePrecision
from xception.weights.description import ModelDescription
from xception.weights.files import read_description
from xception.weights.transfer import load_backbone


def build_data(recipe: Recipe) -> ImageData:
    """The recipe's data, ready: classes and sizes are known.

    A model that starts from a weights file brings its preprocessing with it; ``data.image_size``
    alone may differ.
    """
    keys = recipe.group("data")
    size = keys.pop("image_size")
    brought = starting_description(recipe)
    travelling = Preprocessing.from_dict((brought and brought.preprocessing) or {})
    data = ImageData(**keys, image_size=size or travelling.size, seed=recipe.keys["seed"])
    if brought is not None and brought.preprocessing:
        data.preprocessing = replace(travelling, size=data.preprocessing.size)
    data.setup()
    if data.steps_per_epoch == 0:
        raise InputError(
            f"the training set has {count_of(len(data.train_source), 'image')}, fewer than one "
            f"batch of {data.batch_size:,}; set data.batch_size to {len(data.train_source)} or less"
        )
    return data


def starting_description(recipe: Recipe) -> ModelDescription | None:
    """What the file of ``model.weights`` says of its model; ``None`` for random weights.

    Raises:
        InputError: ``model.name`` is from-weights, and there is no ``model.weights``.
    """
    source = recipe.keys["model"]["weights"]
    if source:
        return read_description(source)
    if recipe.keys["model"]["name"] == FROM_WEIGHTS:
        raise InputError(
            "this recipe starts from trained weights: name them, e.g. --model.weights "
            "runs/cifar10-xception/model.safetensors"
        )
    return None


def build_model(recipe: Recipe, data: ImageData) -> nn.Module:
    """The recipe's model for these data, with its starting weights.

    Raises:
        InputError: Its number of classes differs from the data's, or it needs larger images.
    """
    keys = recipe.group("model")
    name = keys.pop("name")
    shared = ModelKeys(**{field: keys.pop(field) for field in ModelKeys.__dataclass_fields__})
    num_classes = shared.num_classes or data.num_classes
    if num_classes != data.num_classes:
        raise InputError(
            f"model.num_classes is {num_classes} and the data have {data.num_classes} classes; "
            "leave model.num_classes out to take the data's"
        )
    if name == FROM_WEIGHTS:
        brought = starting_description(recipe)
        assert brought is not None
        changed = {key: value for key, value in keys.items() if value is not None}
        name, keys = brought.architecture, {**brought.arguments, **changed}
        keys.pop("num_classes", None)
    torch.manual_seed(recipe.keys["seed"])
    model = create_model(name, num_classes=num_classes, **keys)
    size, least = data.preprocessing.size, int(getattr(model, "minimum_input_size", 1))
    if size < least:
        raise InputError(
            f"data.image_size is {size} and {name} with these strides needs at least {least} "
            "pixels; enlarge data.image_size or lower the model's strides (model.stem_strides)"
        )
    if shared.weights:
        load_backbone(model, shared.weights)
    if shared.freeze != "nothing":
        freeze(model, None if shared.freeze == "backbone" else shared.freeze)
    _prepare_for_training(model, TrainingKeys(**recipe.group("training")))
    return model


def _prepare_for_training(model: nn.Module, keys: TrainingKeys) -> None:
    """What changes how a model is trained, and not what it computes afterwards."""
    momentum = keys.batch_norm_momentum
    if momentum is not None and not 0 < momentum <= 1:
        raise InputError(f"training.batch_norm_momentum must be in (0, 1], not {momentum}")
    for module in model.modules():
        if momentum is not None and isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
    if keys.gradient_checkpointing:
        model.set_grad_checkpointing()  # type: ignore[operator]


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Optimizer steps of the whole run.

    Raises:
        InputError: The recipe does not say where it ends.
    """
    trainer = recipe.group("trainer")
    limits = []
    limit = trainer.get("limit_train_batches")
    if limit is not None:  # a share of an epoch, or a number of batches
        batches = steps_per_epoch * limit if isinstance(limit, float) else limit
        accumulation = 1 if isinstance(limit, float) else trainer["accumulate_grad_batches"]
        steps_per_epoch = max(1, min(steps_per_epoch, int(batches // accumulation)))
    if trainer.get("max_steps") not in (None, -1):
        limits.append(int(trainer["max_steps"]))
    if trainer.get("max_epochs") not in (None, -1):
        limits.append(int(trainer["max_epochs"]) * steps_per_epoch)
    if not limits:
        raise InputError("the recipe has no end: give trainer.max_epochs or trainer.max_steps")
    return min(limits)


def build_classifier(recipe: Recipe, data: ImageData, model: nn.Module) -> Classifier:
    """The training step that the recipe describes."""
    keys = recipe.group("optimizer")
    optimizer = builders("optimizer")[keys.pop("name")]
    shared = OptimizerKeys(**{key: keys.pop(key) for key in OptimizerKeys.__dataclass_fields__})
    schedule = recipe.group("schedule")
    loss = recipe.group("loss")
    build_schedule = builders("schedule")[schedule.pop("name")]
    loss_name = loss.pop("name")
    _require_fitting_loss(loss_name, data)
    build_loss = builders("loss")[loss_name]
    training = recipe.group("training")
    try:
        loss_function = build_loss(**loss)
        groups = parameter_groups(
            model, weight_decay=shared.weight_decay, layer_decay=shared.layer_decay
        )
        optimizer([dict(group) for group in groups], **keys)  # a value out of range shows now
        return Classifier(
            model,
            data.preprocessing,
            loss_function,
            build_optimizer=lambda groups: optimizer(groups, **keys),
            parameter_groups=groups,
            learning_rate=scaled_learning_rate(
                keys["learning_rate"], data.batch_size, shared.reference_batch
            ),
            schedule=build_schedule(**schedule),
            batch_size=data.batch_size,
            samples_per_epoch=data.steps_per_epoch * data.batch_size,
            total_samples=total_steps(recipe, data.steps_per_epoch) * data.batch_size,
            seed=recipe.keys["seed"],
            channels_last=training["channels_last"],
            compile=training["compile"],
            validation=build_map(recipe, data, loss_function) if data.multi_label else None,
        )
    except ValueError as error:  # a value out of its range; the message names the key
        raise InputError(str(error)) from None


def build_map(recipe: Recipe, data: ImageData, loss: Loss) -> MeanAveragePrecision:
    """What multi-label images are validated by.

    Raises:
        InputError: k is above the number of classes, or the class weights are no such file.
    """
    keys = recipe.group("map")
    weights = keys.pop("class_weights")
    return MeanAveragePrecision(
        loss,
        data.num_classes,
        class_weights=load_class_weights(weights, data.class_names) if weights else None,
        **keys,
    )


def _require_fitting_loss(name: str, data: ImageData) -> None:
    if data.multi_label != (name in MULTI_LABEL_LOSSES):
        count, other = ("several labels", "sigmoid") if data.multi_label else ("a label", "softmax")
        raise InputError(
            f"loss.name is {name}, and each image of these data has {count}; set loss.name to "
            f"{other}"
        )


def is_first_process() -> bool:
    """Whether this process was started by the user, and not by another one of the same run."""
    ranks = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # of torchrun, of Lightning, of srun
    return all(int(os.environ.get(name, "0")) == 0 for name in ranks)


def run_recipe(
    recipe: Recipe,
    directory: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    trainer: dict[str, Any] | None = None,
) -> RunDirectory:
    """Trains, evaluates on the averaged weights, and describes the result.

    Args:
        recipe: What to do.
        directory: Where to; made if absent.
        resume: Go on with the run in it; afresh if it has no checkpoint, nothing if it is finished.
        overwrite: Replace the run in it.
        trainer: Arguments of Lightning's Trainer that a launcher gives, before the recipe's own.

    Returns:
        The run's directory.

    Raises:
        InputError: A wrong recipe, data that are not there, a directory of another run.
        RunFailedError: The loss became NaN, or the device has no space left.
    """
    run_directory = RunDirectory(directory)
    if resume and run_directory.is_finished():
        run_directory.claim(recipe.keys, resume=True, overwrite=False)
        print(f"{directory} is finished")
        return run_directory
    started = time.time()
    data = build_data(recipe)
    classifier = build_classifier(recipe, data, build_model(recipe, data))
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
    if is_first_process():
        run_directory.claim(recipe.keys, resume=resume, overwrite=overwrite)
    checkpoint = newest_checkpoint(run_directory.checkpoints) if resume else None
    _announce(recipe, classifier, run_directory, checkpoint)
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

        conclude(recipe, trained.finished(), run_directory, started)
    return run_directory


def _announce(
    recipe: Recipe, classifier: Classifier, directory: RunDirectory, checkpoint: Path | None
) -> None:
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
