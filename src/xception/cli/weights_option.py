"""``--weights``: which of a run's two sets of weights."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def add_weights_option(parser: "ArgumentParser") -> None:
    """Adds the option to a verb that opens a model."""
    parser.add_argument(
        "--weights",
        type=Literal["polyak", "raw"],
        default="polyak",
        help="Averaged weights, or those of the last step (run directory and .ckpt only).",
    )
