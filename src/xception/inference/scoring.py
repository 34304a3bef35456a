"""Runs a model over a labelled source: single model, single crop, every image exactly once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xception.data.preprocessing import Preprocessing
from xception.data.sources import ImageSource
from xception.errors import RunFailedError
from xception.inference.classes import match_classes, require_classifier
from xception.inference.devices import choose_device, choose_workers, inference_mode
from xception.inference.evaluation import Evaluation


def evaluate(
    model: nn.Module,
    source: ImageSource,
    preprocessing: Preprocessing,
    *,
    class_names: Sequence[str] | None = None,
    batch_size: int = 32,
    num_workers: int | None = None,
    device: str = "auto",
    progress: Callable[[int, int], Any] | None = None,
) -> Evaluation:
    """Classifies every image of a source and compares with its label.

    Args:
        model: Takes (N, 3, S, S) float32 in [-1, 1], returns (N, C) logits. It is moved to the
            device; its train or eval mode is as before afterwards.
        source: The images and labels. Where it has an attribute ``blacklisted`` (numbers of the
            images withdrawn by its makers), these rows are marked in the result.
        preprocessing: Geometry and scaling that the model was trained for.
        class_names: The model's class names in the order of its outputs. The data's labels are
            mapped to them by name. None: the data's order is the model's.
        batch_size: Images per forward pass.
        num_workers: Processes that decode images; None: none on the CPU, up to 8 for a GPU.
        device: ``auto`` (CUDA where there is a GPU), ``cpu`` or ``cuda``.
        progress: Called with (images done, images in all) after every batch.

    Returns:
        One row for each image that could be read, in the source's order; the others are listed.

    Raises:
        InputError: The classes differ, or the device is not there.
        RunFailedError: The model's output is not finite.
    """
    from xception.data.loading import EvaluationLoader

    num_classes = require_classifier(model, preprocessing)
    place = torch.tensor(match_classes(class_names, source.class_names, num_classes))
    target_device = choose_device(device)
    loader = EvaluationLoader(
        source,
        preprocessing,
        batch_size=batch_size,
        num_workers=choose_workers(
            num_workers, target_device, len(source), batch_size * 3 * preprocessing.size**2
        ),
    )
    parts: list[dict[str, Tensor]] = []
    skipped: list[tuple[int, str]] = []
    done = 0
    with inference_mode(model, target_device):
        for batch in loader:
            skipped += batch.skipped
            counted = batch.labels >= 0
            if counted.any():
                images = batch.images[counted].to(target_device, non_blocking=True)
                logits = (
                    model(
                        preprocessing.normalize(images).contiguous(
                            memory_format=torch.channels_last
                        )
                    )
                    .float()
                    .cpu()
                )
                part = score(logits, place[batch.labels[counted]])
                parts.append(part | {"indices": batch.indices[counted].cpu()})
                _require_finite(logits, part["losses"], source, parts[-1]["indices"])
            done += len(batch.labels)
            if progress:
                progress(min(done, len(source)), len(source))
    return _assemble(parts, skipped, source, class_names)


def score(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The rows of an :class:`Evaluation` for one batch.

    Args:
        logits: (N, C) float.
        labels: (N,) int64 in [0, C).

    Returns:
        labels, predictions, probabilities, ranks and losses, each (N,). Of equal logits the one
        of the smaller class number goes first, so that ``ranks == 0`` and
        ``predictions == labels`` are the same.

    Example:
        >>> rows = score(torch.tensor([[1.0, 3.0, 3.0]]), torch.tensor([2]))
        >>> rows["ranks"].tolist(), rows["predictions"].tolist()
        ([1], [1])
    """
    log_probabilities = logits.double().log_softmax(dim=1)
    own = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1])[None] < labels[:, None]
    ranks = ((logits > own) | ((logits == own) & earlier)).sum(dim=1)
    predictions = logits.argmax(dim=1)
    best = log_probabilities.gather(1, predictions[:, None])[:, 0].exp()
    return {
        "labels": labels,
        "predictions": predictions,
        "probabilities": best.float(),
        "ranks": ranks,
        "losses": -log_probabilities.gather(1, labels[:, None])[:, 0],
    }


def _require_finite(logits: Tensor, losses: Tensor, source: ImageSource, indices: Tensor) -> None:
    """A NaN compares as false with everything and would count as right: stop instead."""
    bad = ~(logits.isfinite().all(dim=1) & losses.isfinite())
    if bad.any():
        index = int(indices[bad][0])
        raise RunFailedError(
            f"the model's output for {source.describe(index)} is not finite (NaN or infinite); "
            "its weights are damaged or its training diverged: take an earlier checkpoint"
        )


def _assemble(
    parts: list[dict[str, Tensor]],
    skipped: list[tuple[int, str]],
    source: ImageSource,
    class_names: Sequence[str] | None,
) -> Evaluation:
    names = ("indices", "labels", "predictions", "probabilities", "ranks", "losses")
    columns: dict[str, Any] = {
        name: torch.cat([part[name] for part in parts]).numpy() if parts else np.zeros(0, np.int64)
        for name in names
    }
    order = np.argsort(columns["indices"], kind="stable")
    found = Evaluation(
        class_names=list(class_names or source.class_names),
        skipped=sorted(skipped),
        **{name: column[order] for name, column in columns.items()},
    )
    blacklisted = getattr(source, "blacklisted", None)
    if blacklisted is None or len(blacklisted) == 0:
        return found
    return replace(found, blacklisted=np.isin(found.indices, np.asarray(list(blacklisted))))
