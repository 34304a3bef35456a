"""The keys of a recipe, read off the signatures of the code that they reach.

``model.*`` are the arguments of the model that ``model.name`` names, ``data.*`` those of
`xception.data.module.ImageData`, ``optimizer.*``, ``schedule.*`` and ``loss.*`` those of the
function that their ``name`` names, ``map.*``, ``polyak.*`` and ``training.*`` those of the classes
here, ``trainer.*`` those of Lightning's ``Trainer``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jsonargparse import ArgumentParser

DEFAULT_NAMES = {
    "model": "xception",
    "optimizer": "sgd",
    "schedule": "exponential",
    "loss": "softmax",
}


FROM_WEIGHTS = "from-weights"


def from_weights(*, dropout: float | None = None, drop_path: float | None = None) -> None:
    """Architecture and arguments are those of the file that ``model.weights`` names.

    Args:
        dropout: Another probability of dropout before the logistic regression.
        drop_path: Another probability of stochastic depth.
    """


@dataclass
class ModelKeys:
    """What is done with the model, beside its own arguments.

    Args:
        num_classes: Classes of the model; null takes the number that the data have.
        weights: Where training starts: a run directory, a checkpoint or a weights file. Random
            weights when absent.
        head: "auto": the head of those weights is kept where they name exactly the classes of the
            data, in any order, and else replaced by a new one. "new": it is replaced.
        freeze: What stays as loaded, BatchNorm's statistics included: "nothing", "backbone" (all
            but the head), or everything up to a module, by its name, such as "entry_flow".
    """

    num_classes: int | None = None
    weights: str | None = None
    head: Literal["auto", "new"] = "auto"
    freeze: str = "nothing"


def network_arguments(model_keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of ``model.*`` that are arguments of the network alone: of no ``ModelKeys``."""
    shared = {"name", *ModelKeys.__dataclass_fields__}
    return {key: value for key, value in model_keys.items() if key not in shared}


@dataclass
class OptimizerKeys:
    """What every optimizer shares.

    Args:
        weight_decay: L2 decay of convolution and dense weights; never of BatchNorm and biases.
        reference_batch: The global batch that the learning rate is meant for: it is multiplied by
            batch / reference. Without it the learning rate is taken as it is.
        layer_decay: Factor on the learning rate for every layer further from the head; 1 is none.
    """

    weight_decay: float = 0.0
    reference_batch: int | None = None
    layer_decay: float = 1.0


@dataclass
class PolyakKeys:
    """Averaging of the weights.

    Args:
        decay: The average's decay d; min(d, (1+n)/(10+n)) after n steps. null: no averaging.
    """

    decay: float | None = 0.9999


@dataclass
class MapKeys:
    """How images with several labels are evaluated; of no effect on those with one.

    Args:
        k: Predictions scored per image, at most the number of classes (MAP@k; 100 in the paper).
        class_weights: File of class weights: CSV with the header class,weight, or a JSON object.
            null: equal weights.
        reading: Average precision averaged per "image" or per "class".
        unannotated: Predictions of classes that were not annotated in an image: "masked" takes them
            out before the k best are chosen, "negative" counts them as wrong.
    """

    k: int = 100
    class_weights: str | None = None
    reading: Literal["image", "class"] = "image"
    unannotated: Literal["masked", "negative"] = "masked"


@dataclass
class TrainingKeys:
    """How a step is computed and what is kept.

    Args:
        channels_last: Memory layout of images and weights.
        compile: Whether the forward pass goes through torch.compile.
        keep_memory: On a CPU with glibc: whether memory that a step frees stays with the process
            for the next one instead of going back to the system. The same numbers, faster.
        gradient_checkpointing: Whether activations are recomputed instead of kept: less memory,
            about a third more time.
        batch_norm_momentum: Share of the newest batch in BatchNorm's moving statistics (torch's
            sense); null: 0.01 as in Keras, or timm's 0.1, by model.numerics. Runs of less than
            a few thousand steps want 0.1.
        checkpoint_every_steps: Steps between checkpoints inside an epoch; null: only between
            epochs.
        keep: Which weights the run ends with: "last", of the end of training, as the paper; "best",
            of the best validation (top-1 or MAP@k; of equals, the lowest loss), which makes the
            accuracy on the held-out images optimistic, for they chose it.
    """

    channels_last: bool = True
    compile: bool = False
    keep_memory: bool = True
    gradient_checkpointing: bool = False
    batch_norm_momentum: float | None = None
    checkpoint_every_steps: int | None = 1000
    keep: Literal["last", "best"] = "last"


def builders(group: str) -> dict[str, Any]:
    """The things that ``<group>.name`` can name."""
    if group == "model":
        from xception.models.registry import list_models, model_class

        return {name: model_class(name) for name in list_models()} | {FROM_WEIGHTS: from_weights}
    if group == "optimizer":
        from xception.training.optimizers import OPTIMIZERS

        return dict(OPTIMIZERS)
    if group == "schedule":
        from xception.training.schedules import SCHEDULES

        return dict(SCHEDULES)
    from xception.training.losses import LOSSES

    return dict(LOSSES)


def recipe_parser(names: dict[str, str], prog: str = "xception train") -> ArgumentParser:
    """A parser for all keys of a recipe.

    Args:
        names: ``model.name`` and its like, by group: they decide which further keys there are.
        prog: How the help calls the command.
    """
    from lightning.pytorch import Trainer

    from xception.data.module import ImageData
    from xception.distributed.settings import AsynchronousKeys

    parser = ArgumentParser(prog=prog, exit_on_error=False, allow_abbrev=False)
    parser.add_argument(
        "--seed", type=int, default=0, help="Seed of weights, order, augmentation, dropout."
    )
    for group, shared in (
        ("model", ModelKeys),
        ("optimizer", OptimizerKeys),
        ("schedule", None),
        ("loss", None),
    ):
        known = builders(group)
        parser.add_argument(
            f"--{group}.name",
            type=Literal[tuple(known)],
            default=names[group],
            help=f"The {group}: {', '.join(known)}.",
        )
        builder = known[names[group]]
        add = (
            parser.add_class_arguments
            if isinstance(builder, type)
            else parser.add_function_arguments
        )
        skip: set[str | int] = {"groups"} if group == "optimizer" else set()
        if group == "model":
            skip = {"num_classes", "features_only"}
        add(builder, group, skip=skip)
        if shared:
            parser.add_class_arguments(shared, group, as_group=False)
    parser.add_class_arguments(ImageData, "data", skip={"seed", "image_size"})
    parser.add_argument(
        "--data.image_size",
        type=int | None,
        default=None,
        help="Height and width of the network's input, in pixels. null: those that the weights of "
        "model.weights were trained on, else 299.",
    )
    parser.add_class_arguments(MapKeys, "map")
    parser.add_class_arguments(PolyakKeys, "polyak")
    parser.add_class_arguments(TrainingKeys, "training")
    parser.add_class_arguments(AsynchronousKeys, "asynchronous")
    parser.add_class_arguments(Trainer, "trainer", skip={"default_root_dir"})
    return parser


def trainer_arguments(keys: dict[str, Any]) -> dict[str, Any]:
    """The recipe's ``trainer.*`` as Lightning takes them, callbacks and their like instantiated."""
    from lightning.pytorch import Trainer

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Trainer, "trainer", instantiate=False, skip={"default_root_dir"})
    config = parser.parse_object({"trainer": keys}, defaults=True)
    return dict(parser.instantiate(config).trainer.items())
