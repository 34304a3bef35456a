"""The paper's claims as comparisons of two variants; the list that Holm's correction counts."""

from dataclasses import dataclass
from typing import Literal

from xception.paper.items import Metric
from xception.paper.published import PublishedStatement, statement
from xception.paper.scale import VGG_STYLE, Scale
from xception.paper.variants import point


@dataclass(frozen=True)
class Claim:
    """A comparison that decides something.

    Attributes:
        item: Where its cells come from.
        text: What is claimed.
        statement: The paper's words, with their place.
        kind: "better": the first variant is better; "equal": it is as good.
        ours: The first variant.
        theirs: The second.
        metric: What they are compared by: "top1", or "map" on the multi-label task.
        beside: Where the claim is that the first variant's relative gain over the second is larger
            than that of one on the other task: the latter two variants, compared by top-1.
    """

    item: str
    text: str
    statement: PublishedStatement
    kind: Literal["better", "equal"]
    ours: str
    theirs: str
    metric: Metric = "top1"
    beside: tuple[str, str] | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        """Everything that must be trained to decide it."""
        return (self.ours, self.theirs, *(self.beside or ()))


def claims(scale: Scale) -> list[Claim]:
    """The whole list at a scale, in the report's order."""
    found = [] if scale.single_label_elsewhere else _single_label(scale)
    return found + (_multi_label(scale) if scale.multi_label else [])


def _multi_label(scale: Scale) -> list[Claim]:
    """What is claimed of JFT's task: table 2 and section 4.6's stack."""
    xception, inception = "multi-label-xception", "multi-label-inception-v3"

    def better(item: str, text: str, said: str, ours: str, theirs: str) -> Claim:
        return Claim(item, text, statement(said), "better", ours, theirs, "map")

    found = [
        better(
            "table-2",
            f"Xception is better than Inception V3 on the multi-label task, {condition}",
            "jft",
            xception + ending,
            inception + ending,
        )
        for condition, ending in (
            ("no fully-connected layers", ""),
            ("with fully-connected layers", "-fc"),
        )
    ]
    found += [
        better(
            "table-2",
            f"fully-connected layers help {title} on the multi-label task",
            "fully-connected",
            f"{network}-fc",
            network,
        )
        for title, network in (("Xception", xception), ("Inception V3", inception))
    ]
    found.append(
        better(
            VGG_STYLE,
            "a VGG-like stack of separable convolutions is better than Inception V3",
            "vgg-style",
            VGG_STYLE,
            inception,
        )
    )
    gain = Claim(
        "table-2",
        "Xception's relative gain over Inception V3 is larger on the multi-label task",
        statement("jft"),
        "better",
        xception,
        inception,
        "map",
        beside=("xception", "inception-v3"),
    )
    return [*found, gain]


def _single_label(scale: Scale) -> list[Claim]:
    """What is claimed of ImageNet's task."""
    found = [
        Claim(
            "table-1",
            "Xception is better than Inception V3 at equal size",
            statement("imagenet"),
            "better",
            "xception",
            "inception-v3",
        ),
        Claim(
            "figure-9",
            "Xception is better with residual connections than without",
            statement("residual"),
            "better",
            "xception",
            "no-residual",
        ),
    ]
    found += [
        Claim(
            "learning-rates",
            f"Xception is better than without residual connections at learning rate {rate}",
            statement("residual"),
            "better",
            "xception",
            f"no-residual-rate-{rate}",
        )
        for rate in scale.learning_rates
    ]
    found += [
        Claim(
            "figure-10",
            f"no intermediate activation is better than {activation.upper()}".replace(
                "RELU", "ReLU"
            ),
            statement("activation"),
            "better",
            "xception",
            f"activation-{activation}",
        )
        for activation in scale.activations
    ]
    return [
        *found,
        Claim(
            "order",
            "the order of the two operations makes no difference",
            statement("order"),
            "equal",
            "xception",
            "pointwise-first",
        ),
        Claim(
            "weight-decay",
            "Xception is better with its own weight decay than with Inception V3's",
            statement("weight-decay"),
            "better",
            "xception",
            "weight-decay-of-inception-v3",
        ),
        Claim(
            "spectrum",
            "with one segment (deep feature spaces) an intermediate ReLU helps",
            statement("depth-of-features"),
            "better",
            point(1, "relu"),
            point(1, "none"),
        ),
    ]
