"""The paper's claims as comparisons of two variants; the list that Holm's correction counts."""

from dataclasses import dataclass
from typing import Literal

from xception.paper.items import point
from xception.paper.published import PublishedStatement, statement
from xception.paper.scales import Scale


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
    """

    item: str
    text: str
    statement: PublishedStatement
    kind: Literal["better", "equal"]
    ours: str
    theirs: str


def claims(scale: Scale) -> list[Claim]:
    """The whole list at a scale, in the report's order."""
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
            f"it is also better than without them at learning rate {rate}",
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
