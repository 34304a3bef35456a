"""Parameter groups for an optimizer: who is decayed, and layer-wise learning rates."""

from typing import Any

from torch import nn

from xception.models.validation import check_positive


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    layer_decay: float = 1.0,
    learning_rate: float | None = None,
) -> list[dict[str, Any]]:
    """Groups the trainable parameters of a network for a torch optimizer.

    Weight decay acts on convolution and dense weights only, as in TF-Slim's recipes: BatchNorm's
    scales and shifts and all biases are left out.

    With a ``layer_decay`` below 1, level k of K (0 is nearest to the image, K - 1 is the head, or
    what comes last in a network without one) gets the learning rate
    ``learning_rate * layer_decay ** (K - 1 - k)``.

    Args:
        model: One of this package's networks.
        weight_decay: Decay of convolution and dense weights.
        layer_decay: Factor of the learning rate from one level to the one before it, above 0.
        learning_rate: Learning rate of the last level. Where given, each group has its own ``lr``.

    Returns:
        Groups with ``params``, ``weight_decay``, ``lr_scale`` (the factor above) and, with a
        ``learning_rate``, ``lr``. Frozen parameters are in none.

    Raises:
        InputError: ``layer_decay`` is not above 0.

    Example:
        >>> from xception.models.registry import create_model
        >>> model = create_model("xception", width=0.125, num_classes=2)
        >>> [group["weight_decay"] for group in parameter_groups(model, weight_decay=1e-5)]
        [1e-05, 0.0]
    """
    check_positive("layer_decay", layer_decay)
    levels = _levels_with_parameters(model)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = layer_decay ** (len(levels) - 1 - _level(name, levels))
        decay = weight_decay if parameter.ndim >= 2 else 0.0
        group = {"params": [], "weight_decay": decay, "lr_scale": scale}
        if learning_rate is not None:
            group["lr"] = learning_rate * scale
        groups.setdefault((scale, decay), group)["params"].append(parameter)
    return list(groups.values())


def _levels_with_parameters(model: nn.Module) -> list[tuple[str, ...]]:
    """The levels up to the last that has parameters: a network may have no head."""
    levels: list[tuple[str, ...]] = model.depth_levels()  # type: ignore[operator]
    last = max((_level(name, levels) for name, _ in model.named_parameters()), default=-1)
    return levels[: last + 1]


def _level(parameter: str, levels: list[tuple[str, ...]]) -> int:
    for i, names in enumerate(levels):
        if any(parameter.startswith(f"{name}.") for name in names):
            return i
    raise AssertionError(f"{parameter} belongs to no level of the network")
