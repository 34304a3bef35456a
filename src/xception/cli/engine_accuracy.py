"""What short numbers cost on labelled images: measured by ``xception evaluate``, kept."""

import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from xception.weights.files import LoadedModel


def engine_figures(
    plain: "LoadedModel",
    model: nn.Module,
    measure: Callable[[nn.Module], float],
    *,
    figure: str,
    found: float,
    images: int,
    data: str,
    batch_size: int,
) -> dict[str, Any]:
    """What to say of the engine of an evaluation; of short numbers, what they lose.

    The loss of 8 bits or bfloat16 is measured by the same evaluation in float32, and stored in the
    record of the conversion: from then on, ``predict`` tells it.

    Args:
        plain: The network.
        model: What was evaluated: an ``Engine``, or the network.
        measure: Evaluates a module.
        figure: The name of what it measures: "top1", or "map@100".
        found: What it measured of ``model``.
        images: How many.
        data: What to call them.
        batch_size: Images in a call.

    Returns:
        Primitives for the output; empty without an engine.
    """
    from xception.export.cache import add_to_record
    from xception.export.engine import REDUCED, Engine
    from xception.export.load import load_engine

    if not isinstance(model, Engine):
        return {}
    name, threads = model.facts.name, model.facts.threads
    if name not in REDUCED:
        return {"engine": name, "threads": threads}
    float32 = measure(load_engine(plain, "openvino", batch_size=batch_size, threads=threads))
    told = {"engine": name, "threads": threads}
    if not (isfinite(found) and isfinite(float32)):  # no image had a label
        return told
    accuracy = {"figure": figure, "found": found, "float32": float32, "loss": float32 - found}
    entry = Path(model.facts.record["entry"])
    if not add_to_record(entry, {"accuracy": accuracy | {"images": images, "data": data}}):
        print(f"xception: the loss of accuracy can't be stored in {entry}", file=sys.stderr)
    return told | {f"float32_{figure}": float32, f"{figure}_loss": float32 - found}
