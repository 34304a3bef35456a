"""Average precision at k with class weights, read per image or per class: pure functions.

The paper (section 4.1) weights "the contribution of each class to MAP@100" by how common, and
therefore important, the class is, and gives no formula. Both readings of that sentence are here;
each function names its denominator.

All sums are in float64 on the CPU and in a fixed order, so that the figure does not depend on the
device.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xception.errors import InputError
from xception.metrics.ranked_images import RankedImages


def check_class_weights(class_weights: Tensor | Sequence[float] | None, num_classes: int) -> Tensor:
    """Returns the class weights as (num_classes,) float64 on the CPU; ones if there are none.

    Raises:
        InputError: Wrong number of weights, a NaN, infinite or negative one, or all zero.
    """
    if class_weights is None:
        return torch.ones(num_classes, dtype=torch.float64)
    weights = torch.as_tensor(class_weights).detach().to("cpu", torch.float64)
    if tuple(weights.shape) != (num_classes,):
        raise InputError(
            f"class weights of shape {tuple(weights.shape)} for {num_classes} classes; "
            "give one weight per class"
        )
    wrong = ~weights.isfinite() | (weights < 0)
    if wrong.any():
        class_id = int(wrong.nonzero()[0])
        raise InputError(
            f"the weight of class {class_id} is {float(weights[class_id])}; "
            "weights must be finite and not negative"
        )
    if not weights.any():
        raise InputError("all class weights are zero; at least one must be positive")
    return weights


def average_precision_per_image(ranked: RankedImages, class_weights: Tensor) -> Tensor:
    """AP(x) = Σ_{i≤k} w_{c_i} · rel_i · P(i) / D(x) of each image x.

    c_i is the class at rank i, rel_i is 1 if x has it, P(i) the share of hits among the first i
    ranks. D(x) is the sum of the min(|Y|, k) largest weights among the labels Y of x: what a
    perfect ranking reaches. With equal weights it is min(|Y|, k), and the mean over images is the
    MAP@k of the Google Landmarks benchmark (Weyand et al., arXiv:2004.01804, equation 2).

    Args:
        ranked: N images on the CPU.
        class_weights: (C,) float64 ≥ 0.

    Returns:
        (N,) float64 in [0, 1]; NaN where D is 0 (no label, or labels of no weight).

    Example:
        >>> from xception.metrics import SparseTargets, rank_images
        >>> ranked = rank_images(
        ...     torch.tensor([[4.0, 3.0, 2.0, 1.0]]), SparseTargets.from_lists([[0, 2, 3]]), k=3
        ... )
        >>> ones = torch.ones(4, dtype=torch.float64)
        >>> average_precision_per_image(ranked, ones).tolist()  # (1/1 + 2/3) / 3
        [0.5555555555555555]
    """
    k = ranked.class_ids.shape[1]
    hits = ranked.relevant.to(torch.float64)
    precision = hits.cumsum(1) / torch.arange(1, k + 1, dtype=torch.float64)  # (N, k)
    weights = class_weights[ranked.class_ids.clamp(min=0).long()]
    reached = (weights * hits * precision).sum(1)
    return reached / _largest_weight_sums(ranked, class_weights, k)  # 0 / 0 = NaN


def average_precision_per_class(ranked: RankedImages, num_classes: int) -> Tensor:
    """AP of each class over the images that have it among their top k; denominator: its positives.

    For class c the images with c among their k best are ranked by its score (equal scores: by
    key); AP_c = Σ_j rel_j · P(j) / (number of images labelled c, found or not).

    Args:
        ranked: N images on the CPU, ascending by key (see `unique_images`). Those without labels
            take part: there a class can only be wrong.
        num_classes: C.

    Returns:
        (C,) float64 in [0, 1]; NaN for a class that no image has.
    """
    listed = ranked.class_ids >= 0
    class_ids = ranked.class_ids[listed].long()  # (M,), row by row: equal scores stay by key
    order = ranked.scores[listed].sort(descending=True, stable=True).indices
    order = order[class_ids[order].sort(stable=True).indices]  # by class, then score, then key
    class_ids = class_ids[order]
    hits = ranked.relevant[listed][order].to(torch.int64)

    listed_per_class = torch.bincount(class_ids, minlength=num_classes)
    starts = listed_per_class.cumsum(0) - listed_per_class
    ranks = torch.arange(len(class_ids)) - starts[class_ids] + 1
    hits_so_far = hits.cumsum(0)
    before_class = torch.cat([hits_so_far.new_zeros(1), hits_so_far])[starts]
    precision = (hits_so_far - before_class[class_ids]).to(torch.float64) / ranks
    reached = torch.bincount(class_ids, weights=precision * hits, minlength=num_classes)
    return reached / positives_per_class(ranked, num_classes)  # 0 / 0 = NaN


def positives_per_class(ranked: RankedImages, num_classes: int) -> Tensor:
    """Number of images labelled with each class, (C,) int64."""
    return torch.bincount(ranked.labels.long(), minlength=num_classes)


def mean_over_images(per_image: Tensor) -> float:
    """Mean of the APs that are not NaN; NaN if none is."""
    defined = per_image[~per_image.isnan()]
    return float(defined.mean()) if len(defined) else math.nan


def mean_over_classes(per_class: Tensor, class_weights: Tensor) -> float:
    """Σ_c w_c · AP_c / Σ_c w_c over the classes that some image has; NaN if they weigh nothing."""
    weights = class_weights.where(~per_class.isnan(), 0.0)
    total = float(weights.sum())
    return float((weights * per_class.nan_to_num(0.0)).sum()) / total if total else math.nan


def _largest_weight_sums(ranked: RankedImages, class_weights: Tensor, k: int) -> Tensor:
    """Sum of each image's min(|Y|, k) largest label weights, (N,) float64."""
    weights, order = class_weights[ranked.labels.long()].sort(descending=True, stable=True)
    rows, by_image = ranked.label_rows[order].sort(stable=True)
    weights = weights[by_image]  # by image, then falling weight
    starts = ranked.label_counts.cumsum(0) - ranked.label_counts
    counted = torch.arange(len(rows)) - starts[rows] < k
    return torch.bincount(rows[counted], weights[counted], minlength=len(ranked.keys))
