"""A run that goes on needs nothing but its directory and its images: no file that it began from."""

from dataclasses import replace
from pathlib import Path

from xception.recipes.load import Recipe
from xception.recipes.schema import FROM_WEIGHTS


def going_on(recipe: Recipe, checkpoint: Path | None) -> Recipe:
    """The recipe as it is built: a checkpoint of its own run takes the place of ``model.weights``.

    The checkpoint says what the network and its preprocessing are, as the file did that training
    began with, and has all tensors, the frozen ones too. That file may be gone by now, or hold
    something else.

    Args:
        recipe: Of the run; it is left as it is.
        checkpoint: What the run goes on from; None for one that begins.
    """
    model = recipe.keys["model"]
    if checkpoint is None or not (model["weights"] or model["name"] == FROM_WEIGHTS):
        return recipe
    model = {**model, "weights": str(checkpoint)}
    return replace(recipe, keys={**recipe.keys, "model": model})
