"""Which images of an evaluation are worth looking at, and how they are kept for the report."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xception.data.preprocessing import Preprocessing
from xception.data.sources import ImageSource
from xception.inference.evaluation import Evaluation
from xception.weights.atomic import replacing

THUMBNAIL_PIXELS = 160  # the largest side that is stored: sharp on a page, small in a file


def choose_examples(
    evaluation: Evaluation, *, wrong: int = 24, right: int = 16
) -> NDArray[np.int64]:
    """Row numbers of the most confident mistakes, then of some of the images that are right.

    Args:
        evaluation: What was found.
        wrong: At most so many mistakes, the most confident first.
        right: At most so many right ones, evenly spread over the order of the classes.

    Returns:
        (m,) int64 rows of the evaluation.
    """
    mistakes = np.flatnonzero(evaluation.ranks > 0)
    confident = np.argsort(-evaluation.probabilities[mistakes], kind="stable")
    hits = np.flatnonzero(evaluation.ranks == 0)
    by_class = hits[np.argsort(evaluation.labels[hits], kind="stable")]
    places = np.linspace(0, max(len(hits) - 1, 0), min(right, len(hits))).round().astype(np.int64)
    return np.concatenate([mistakes[confident[:wrong]], by_class[places]]).astype(np.int64)


def store_evaluation(
    path: str | Path,
    evaluation: Evaluation,
    source: ImageSource,
    preprocessing: Preprocessing,
    *,
    wrong: int = 24,
    right: int = 16,
) -> None:
    """Writes an ``evaluation.npz``: all rows, and small pictures of some of the images.

    Args:
        path: The file; an existing one is replaced, atomically.
        evaluation: What was found.
        source: The images that were evaluated.
        preprocessing: Crops the pictures to what the model saw.
        wrong: At most so many mistakes are kept as pictures.
        right: At most so many right ones.

    Beside :meth:`Evaluation.arrays` the file has ``example_rows`` (m,) int64, ``example_names``
    (m,) text and ``example_images`` (m, T, T, 3) uint8.
    """
    rows = choose_examples(evaluation, wrong=wrong, right=right)
    indices = [int(evaluation.indices[row]) for row in rows]
    stored: dict[str, Any] = evaluation.arrays() | {
        "example_rows": rows,
        "example_names": np.array([source.describe(index) for index in indices], np.str_),
        "example_images": thumbnails(source, indices, preprocessing),
    }
    with replacing(Path(path)) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **stored)


def thumbnails(
    source: ImageSource, indices: list[int], preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """(m, T, T, 3) uint8: the crops that the model saw, at most 160 pixels on a side."""
    side = min(preprocessing.size, THUMBNAIL_PIXELS)
    pictures = np.zeros((len(indices), side, side, 3), np.uint8)
    for place, index in enumerate(indices):
        crop = preprocessing(source[index][0])  # (3, S, S)
        if side < preprocessing.size:
            crop = (
                torch.nn.functional.interpolate(
                    crop[None].float(), (side, side), mode="bilinear", antialias=True
                )[0]
                .round()
                .clamp(0, 255)
                .to(torch.uint8)
            )
        pictures[place] = crop.permute(1, 2, 0).numpy()
    return pictures
