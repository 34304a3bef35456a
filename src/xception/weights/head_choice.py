"""Whether a trained head serves for the classes of other data, and in which order of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from xception.weights.description import ModelDescription
from xception.weights.transfer import create_model_arguments


@dataclass(frozen=True)
class HeadChoice:
    """What becomes of a file's head in a model for certain classes.

    Attributes:
        rows: For each class of the model its row in the file's classifier; None for a new head.
        words: The same for people.
    """

    rows: list[int] | None
    words: str


def choose_head(
    described: ModelDescription,
    model: nn.Module,
    class_names: Sequence[str],
    *,
    multi_label: bool,
) -> HeadChoice:
    """Keeps a head that was trained for the same classes, known by their names; else a new one.

    Args:
        described: What the file says.
        model: A network of `create_model` for the classes.
        class_names: One for each of its logits.
        multi_label: Whether an image may have several of them.
    """
    wanted, known = list(class_names), described.class_names
    if not described.num_classes:
        return HeadChoice(None, "new head: the weights have none")
    if described.num_classes != len(wanted):
        there = f"{described.num_classes:,}"
        return HeadChoice(None, f"new head: {_classes(len(wanted))}, the weights have {there}")
    if known is None or len(known) != len(wanted):
        return HeadChoice(
            None,
            "new head: the weights do not name their classes (xception convert --class-names does)",
        )
    same_order = known == wanted
    if not same_order and (set(known) != set(wanted) or len(set(known)) < len(known)):
        strange = next((name for name in known if name not in wanted), None)
        example = f", such as {strange}" if strange is not None else ""
        return HeadChoice(None, f"new head: the weights are for other classes{example}")
    if described.multi_label != multi_label:
        there, here = ("several", "one") if described.multi_label else ("one", "several")
        labels = f"{there} label{'s' if described.multi_label else ''}"
        return HeadChoice(
            None,
            f"new head: the weights were trained on {labels} to an image, the data have {here}",
        )
    if not _same_layers(described, model):
        return HeadChoice(None, "new head: that of the weights has other layers")
    kept = f"the head is kept: the same {_classes(len(wanted))}"
    if same_order:
        return HeadChoice(list(range(len(wanted))), kept)
    places = {name: row for row, name in enumerate(known)}
    return HeadChoice([places[name] for name in wanted], f"{kept}, in another order")


def _classes(number: int) -> str:
    return f"{number:,} class{'' if number == 1 else 'es'}"


def _same_layers(described: ModelDescription, model: nn.Module) -> bool:
    """Whether both heads have the same layers before the classifier, with the same activation."""
    there, here = create_model_arguments(described), dict(model.arguments)  # type: ignore[arg-type]
    units = there.get("fc_units")
    return units == here.get("fc_units") and (
        not units or there.get("fc_activation") == here.get("fc_activation")
    )
