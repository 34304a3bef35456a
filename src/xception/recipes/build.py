"""From a recipe's keys to what is trained: data, model, and the training step around it."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from xception.data.image_record import ImageRecord
from xception.data.module import ImageData
from xception.data.preprocessing import Preprocessing
from xception.errors import InputError, count_of
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
)
from xception.training.classifier import Classifier
from xception.training.losses import MULTI_LABEL_LOSSES, Loss
from xception.training.optimizers import scaled_learning_rate
from xception.training.validation import MeanAveragePrecision
from xception.weights.description import ModelDescription
from xception.weights.files import read_description
from xception.weights.head_choice import HeadChoice, choose_head
from xception.weights.reading import locate
from xception.weights.sources import NoSuchSourceError
from xception.weights.transfer import load_backbone


def build_data(
    recipe: Recipe, record: ImageRecord | None = None, *, by_position: bool = False
) -> ImageData:
    """The recipe's data, ready: classes and sizes are known.

    A model that starts from a weights file brings its preprocessing with it; ``data.image_size``
    alone may differ.

    Args:
        recipe: What to do.
        record: The list of its images, for a run that goes on.
        by_position: Goes on with a run that has no such list.

    Raises:
        InputError: The data are not what they should be, have a single class, or fill no batch.
    """
    keys = recipe.group("data")
    size = keys.pop("image_size")
    brought = starting_description(recipe)
    travelling = Preprocessing.from_dict((brought and brought.preprocessing) or {})
    data = ImageData(**keys, image_size=size or travelling.size, seed=recipe.keys["seed"])
    if brought is not None and brought.preprocessing:
        data.preprocessing = replace(travelling, size=data.preprocessing.size)
    data.record, data.by_position = record, by_position
    data.setup()
    if data.num_classes < 2 and not data.multi_label:
        raise InputError(
            f"the training images have a single class, '{data.class_names[0]}': there is nothing "
            "to tell apart; put images of another class into a folder beside it"
        )
    if data.steps_per_epoch == 0:
        raise InputError(
            f"the training set has {count_of(len(data.train_source), 'image')}, fewer than one "
            f"batch of {data.batch_size:,}; set data.batch_size to {len(data.train_source)} or less"
        )
    return data


def starting_description(recipe: Recipe) -> ModelDescription | None:
    """What the file of ``model.weights`` says of its model; ``None`` for random weights.

    Raises:
        InputError: ``model.name`` is from-weights, and there is no ``model.weights``; or no model
            can be read there.
    """
    source = recipe.keys["model"]["weights"]
    if source:
        try:
            return read_description(source)
        except InputError as error:
            own = _weights_of_its_run(recipe)
            if own is None or not isinstance(error, NoSuchSourceError):
                raise InputError(f"model.weights: {error}") from None
            raise InputError(
                f"model.weights: there is no {source}, which the run in {own} began with: say "
                f"where it lies now, or begin with what that run learned (--model.weights {own})"
            ) from None
    if recipe.keys["model"]["name"] == FROM_WEIGHTS:
        raise InputError(
            "this recipe starts from trained weights: name them, e.g. --model.weights "
            "runs/cifar10-xception/model.safetensors"
        )
    return None


def _weights_of_its_run(recipe: Recipe) -> Path | None:
    """The directory of the run whose recipe this is, if it holds weights."""
    if recipe.file is None or recipe.file.name != "recipe.yaml":
        return None
    try:
        locate(recipe.file.parent)
    except InputError:
        return None
    return recipe.file.parent


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
        chosen = starting_head(recipe, model, data)
        load_backbone(model, shared.weights, head_rows=chosen.rows)
    if shared.freeze != "nothing":
        freeze(model, None if shared.freeze == "backbone" else shared.freeze)
    _prepare_for_training(model, TrainingKeys(**recipe.group("training")))
    return model


def starting_head(recipe: Recipe, model: nn.Module, data: ImageData) -> HeadChoice:
    """What becomes of the head of ``model.weights``.

    Args:
        recipe: One that starts from weights.
        model: Its network, for the classes of the data.
        data: Its images.

    Raises:
        InputError: No model can be read at ``model.weights``.
    """
    if recipe.keys["model"]["head"] == "new":
        return HeadChoice(None, "new head: model.head is new")
    brought = starting_description(recipe)
    assert brought is not None
    return choose_head(brought, model, data.class_names, multi_label=data.multi_label)


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
