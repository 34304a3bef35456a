"""From crops to the most probable classes: the step that predicting and serving share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xception.errors import RunFailedError
from xception.inference.devices import inference_mode
from xception.weights.files import LoadedModel


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image, or why it says nothing.

    Attributes:
        path: The file.
        classes: The names of the k most probable classes, the most probable first.
        indices: Their numbers among the model's outputs.
        probabilities: Their probabilities in [0, 1].
        error: None, or the reason why the image could not be read; then the others are empty.
    """

    path: str
    classes: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str | None = None


class MostProbable(NamedTuple):
    """The k most probable classes of one image, the most probable first.

    Attributes:
        indices: Their numbers among the model's outputs.
        probabilities: In [0, 1]; NaN where the network's output was.
    """

    indices: list[int]
    probabilities: list[float]


def names_of(loaded: LoadedModel) -> list[str]:
    """The model's class names; their numbers where its file does not tell them."""
    count = loaded.model.num_classes
    assert isinstance(count, int)
    return list(loaded.class_names or (str(index) for index in range(count)))


def most_probable(
    loaded: LoadedModel, crops: Sequence[Tensor], k: int, device: torch.device
) -> list[MostProbable]:
    """Runs a network on crops, in one batch.

    Args:
        loaded: A model with its preprocessing. One that was trained for several labels answers
            with sigmoids, any other with the softmax.
        crops: N images as its preprocessing cuts them: (3, S, S) uint8.
        k: How many classes, 1 to the number that there are.
        device: Where to compute.

    Returns:
        One row for each crop.
    """
    if not crops:
        return []
    # Not around a yield: whoever consumes the predictions keeps his own gradient mode.
    with inference_mode(loaded.model, device):
        images = loaded.preprocessing.normalize(torch.stack(list(crops)).to(device))
        logits = loaded.model(images.contiguous(memory_format=torch.channels_last)).float()
        if loaded.description.multi_label:
            best = logits.topk(k, dim=1)  # of the logits: many sigmoids round to one
            values = best.values.sigmoid()
        else:
            best = logits.softmax(dim=1).topk(k, dim=1)
            values = best.values
    return [MostProbable(*row) for row in zip(best.indices.tolist(), values.tolist(), strict=True)]


def prediction_of(path: str, row: MostProbable, names: Sequence[str]) -> Prediction:
    """Names the classes of one image.

    Args:
        path: The image's.
        row: What the network says.
        names: The model's class names.

    Raises:
        RunFailedError: A probability is NaN.
    """
    if any(p != p for p in row.probabilities):
        raise RunFailedError(
            f"the model's output for {path} is NaN; its weights are damaged or its "
            "training diverged: take an earlier checkpoint"
        )
    return Prediction(
        path=path,
        classes=tuple(names[index] for index in row.indices),
        indices=tuple(row.indices),
        probabilities=tuple(row.probabilities),
    )
