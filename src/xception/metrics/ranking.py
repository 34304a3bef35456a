"""The k best classes of each image, the same on every device."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Literal

import torch
from torch import Tensor

from xception.errors import InputError
from xception.metrics.ranked_images import RankedImages
from xception.metrics.targets import SparseTargets, canonical_targets

Unannotated = Literal["masked", "negative"]

# On the CPU scores are ranked in blocks of this many: 1 MB stays in the cache, and the small state
# kept between batches does not tear holes of a whole batch into the heap.
_CPU_BLOCK_SCORES = 2**18


@contextmanager
def _one_cpu_thread() -> Iterator[None]:
    """Keeps CPU work of the block, each piece well under a millisecond, on the calling thread.

    One thread ranks 14,000 x 17,000 scores in about a second; two that meet after every piece
    need many times that as soon as something else runs on the machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_cpu_thread()
def top_classes(scores: Tensor, k: int, annotated: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Returns the k best classes of each image, ties going to the lower class id.

    ``torch.topk`` leaves open which of several equal scores it takes, and CPU and GPU choose
    differently. So one score more is taken: if it equals the k-th, the classes of that score are
    picked anew.

    Args:
        scores: (N, C) floating point, logits rather than probabilities (float32 probabilities
            near 1 are all equal). Compared as float32; -0.0 equals 0.0.
        k: 1 ≤ k ≤ C.
        annotated: (N, C) or (1, C) bool: classes that may be predicted; all if None.

    Returns:
        Class ids (N, k) int64 and scores (N, k) float32, best first. If fewer than k classes are
        annotated, the rest has class id -1 and score -inf.

    Example:
        >>> top_classes(torch.tensor([[0.5, 2.0, 0.5, 0.5]]), k=3)[0].tolist()
        [[1, 0, 2]]
    """
    if scores.device.type == "cpu":
        rows = max(1, _CPU_BLOCK_SCORES // scores.shape[1])
    else:
        rows = max(1, len(scores))
    masks = [None] if annotated is None else annotated.split(rows)
    blocks = zip(scores.split(rows), cycle(masks), strict=False)  # one mask may serve all
    class_ids, values = zip(*(_top_of_block(block, k, mask) for block, mask in blocks), strict=True)
    return torch.cat(class_ids), torch.cat(values)


def _top_of_block(scores: Tensor, k: int, annotated: Tensor | None) -> tuple[Tensor, Tensor]:
    num_classes = scores.shape[1]
    scores = scores.detach().to(torch.float32) + 0.0  # -0.0 becomes 0.0, which radix sorts need
    if annotated is not None:
        # A score of -inf becomes finite: it still ranks above every masked class.
        lowest = torch.finfo(torch.float32).min
        scores.clamp_(min=lowest).masked_fill_(~annotated, -torch.inf)  # the sum above is a copy
    values, class_ids = scores.topk(min(k + 1, num_classes), dim=1)
    if k < num_classes:
        tied = (values[:, k - 1] == values[:, k]).nonzero()[:, 0]
        values, class_ids = values[:, :k], class_ids[:, :k]
        if len(tied):
            class_ids[tied] = _lowest_ids_at_threshold(scores[tied], values[tied], class_ids[tied])
    class_ids, order = class_ids.sort(dim=1)  # ties inside the top k: by class id …
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    class_ids = class_ids.gather(1, order)  # … which the stable sort by score keeps
    if annotated is not None:
        class_ids = class_ids.where(values > -torch.inf, -1)
    return class_ids, values


def _lowest_ids_at_threshold(scores: Tensor, values: Tensor, class_ids: Tensor) -> Tensor:
    """Replaces the classes whose score equals the k-th by the lowest ids that have that score.

    Args:
        scores: (M, C).
        values: (M, k) best scores, falling.
        class_ids: (M, k) their classes; of the last equal ones any.
    """
    threshold = values[:, -1:]
    rows, equal_ids = (scores == threshold).nonzero(as_tuple=True)  # ids ascend within a row
    counts = torch.bincount(rows, minlength=len(scores))
    nth_of_row = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    column = (values > threshold).sum(1)[rows] + nth_of_row
    fits = column < values.shape[1]
    return class_ids.index_put((rows[fits], column[fits]), equal_ids[fits])


@_one_cpu_thread()
def rank_images(
    scores: Tensor,
    targets: Tensor | tuple[Tensor, Tensor],
    k: int = 100,
    *,
    annotated: Tensor | tuple[Tensor, Tensor] | None = None,
    unannotated: Unannotated = "masked",
    keys: Tensor | None = None,
) -> RankedImages:
    """Checks one batch and reduces it to what MAP@k needs.

    Args:
        scores: (N, C) floating point, no NaN.
        targets: (N, C) multi-hot or a pair (offsets, class ids), see `SparseTargets`.
        k: Predictions kept per image, 1 ≤ k ≤ C.
        annotated: Classes whose presence or absence is known: (C,) for all images, (N, C) bool,
            or a pair (offsets, class ids) per image. None: all are. A label is annotated.
        unannotated: ``"masked"``: other classes are taken out before the top k are chosen;
            ``"negative"``: they stay, and count as wrong.
        keys: (N,) int64, naming the image over all processes; negative: padding, left out.

    Raises:
        InputError: k outside [1, C], wrong shapes or types, NaN scores, targets that
            `canonical_targets` refuses, a label outside the annotated classes.
    """
    if scores.ndim != 2 or not scores.is_floating_point():
        raise InputError(
            "scores must be floating point of shape (images, classes), not "
            f"{scores.dtype} of shape {tuple(scores.shape)}"
        )
    num_images, num_classes = scores.shape
    check_k(k, num_classes)
    scores_keys = _checked_keys(keys, num_images, scores.device)
    not_numbers = scores.detach().amax(dim=1).isnan()  # amax lets a NaN through
    if not_numbers.any():
        image = int(not_numbers.nonzero()[0])
        raise InputError(
            f"the scores of {_name(image, scores_keys)} hold NaN; they cannot be ranked: "
            "look for the overflow in the model (or its precision) that made them"
        )
    sparse = canonical_targets(targets, num_images, num_classes)
    sparse = SparseTargets(*(part.to(scores.device) for part in sparse))
    mask = _annotation_mask(annotated, num_images, num_classes, scores.device)
    if mask is not None:
        _check_labels_annotated(sparse, mask, scores_keys)
    class_ids, values = top_classes(scores, k, mask if unannotated == "masked" else None)
    ranked = RankedImages(
        class_ids.to(torch.int32),
        values,
        _hits(class_ids, sparse, num_classes),
        sparse.counts,
        sparse.class_ids.to(torch.int32),
        scores_keys.clamp(min=-1),
    )
    if keys is not None and (scores_keys < 0).any():
        return ranked.select((scores_keys >= 0).nonzero()[:, 0])
    return ranked


def check_k(k: int, num_classes: int) -> None:
    """Refuses a k that is no number of classes.

    Raises:
        InputError: k is below 1 or above the number of classes.
    """
    if not 1 <= k <= num_classes:
        raise InputError(
            f"k={k} is not between 1 and the number of classes, {num_classes}; "
            f"choose k={max(1, min(k, num_classes))} or fewer"
        )


def _name(image: int, keys: Tensor) -> str:
    key = int(keys[image])
    return f"image {image} of the batch" + (f" (key {key})" if key >= 0 else "")


def _checked_keys(keys: Tensor | None, num_images: int, device: torch.device) -> Tensor:
    if keys is None:
        return torch.full((num_images,), -1, dtype=torch.int64, device=device)
    keys = torch.as_tensor(keys, device=device)
    if keys.shape != (num_images,) or keys.is_floating_point() or keys.dtype == torch.bool:
        raise InputError(
            f"keys must be one integer for each of the {num_images} images, not {keys.dtype} "
            f"of shape {tuple(keys.shape)}"
        )
    return keys.to(torch.int64)


def _annotation_mask(
    annotated: Tensor | tuple[Tensor, Tensor] | None,
    num_images: int,
    num_classes: int,
    device: torch.device,
) -> Tensor | None:
    if annotated is None:
        return None
    if isinstance(annotated, Tensor):
        if annotated.dtype != torch.bool or tuple(annotated.shape) not in (
            (num_classes,),
            (num_images, num_classes),
        ):
            raise InputError(
                f"annotated must be boolean of shape {(num_classes,)} or "
                f"{(num_images, num_classes)}, or a pair (offsets, class ids), not "
                f"{annotated.dtype} of shape {tuple(annotated.shape)}"
            )
        return annotated.to(device).reshape(-1, num_classes)
    sparse = canonical_targets(annotated, num_images, num_classes, "annotated")
    mask = torch.zeros(num_images, num_classes, dtype=torch.bool, device=device)
    mask[sparse.rows.to(device), sparse.class_ids.to(device)] = True
    return mask


def _check_labels_annotated(targets: SparseTargets, mask: Tensor, keys: Tensor) -> None:
    known = mask.expand(len(keys), -1)[targets.rows, targets.class_ids]
    if not known.all():
        at = int((~known).nonzero()[0])
        image = _name(int(targets.rows[at]), keys)
        raise InputError(
            f"{image} has label {int(targets.class_ids[at])}, which is not among its annotated "
            "classes; annotate the class or remove the label"
        )


def _hits(class_ids: Tensor, targets: SparseTargets, num_classes: int) -> Tensor:
    """Whether each image has each of its top classes: (N, k) bool, by search in sorted labels."""
    if not len(targets.class_ids):
        return torch.zeros_like(class_ids, dtype=torch.bool)
    labels = targets.rows * num_classes + targets.class_ids  # ascending: canonical
    rows = torch.arange(len(class_ids), device=class_ids.device)[:, None]
    wanted = rows * num_classes + class_ids
    found = torch.searchsorted(labels, wanted).clamp(max=len(labels) - 1)
    return (labels[found] == wanted) & (class_ids >= 0)
