"""The weights that a run ends with: those of its last step, or of its best validation.

Deviation: the paper evaluates the weights of the end of training. The best of several validations
is chosen by the held-out images, which makes the accuracy on these same images optimistic.
"""

import warnings
from typing import Any, Literal

from torch import nn

from xception.training.checkpoints import BEST, ExactCheckpoints
from xception.weights.containers import read_pickled

Keep = Literal["last", "best"]


def choose_weights(model: nn.Module, checkpoints: ExactCheckpoints, keep: Keep) -> dict[str, Any]:
    """Puts the chosen weights into the model, and says which validation was the best.

    Args:
        model: Holds the last weights, averaged where they are.
        checkpoints: Knows the best validation.
        keep: Which weights are wanted.

    Returns:
        For ``summary.json``, below ``training``: ``kept``; and of the best validation, if there was
        any, ``best_validation`` (top-1, or MAP@k), ``best_step`` and ``validations``.
    """
    if checkpoints.best is None:
        if keep == "best":
            warnings.warn(
                "training.keep is best, but nothing was validated: the last weights are kept",
                stacklevel=2,
            )
        return {"kept": "last"}
    content = read_pickled(checkpoints.directory / BEST) if keep == "best" else {}
    if keep == "best" and content["global_step"] != checkpoints.best_step:
        # Killed after writing it inside an epoch, the run went on elsewhere with other last bits,
        # by which another validation was the best.
        warnings.warn(
            f"training.keep is best, but {BEST} is of step {content['global_step']}, and the best "
            f"validation was that of step {checkpoints.best_step}: the last weights are kept",
            stacklevel=2,
        )
        keep = "last"
    if keep == "best":
        averaged = content.get("polyak")
        state = averaged["state_dict"] if averaged else content["state_dict"]
        prefix = "" if averaged else "model."
        model.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
    return {
        "kept": keep,
        "best_validation": checkpoints.best,
        "best_step": checkpoints.best_step,
        "validations": checkpoints.validations,
    }
