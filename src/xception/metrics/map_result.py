"""MAP@k of ranked images with everything that must be said beside the figure."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xception.metrics.average_precision import (
    average_precision_per_class,
    average_precision_per_image,
    mean_over_classes,
    mean_over_images,
    positives_per_class,
)
from xception.metrics.ranked_images import RankedImages, unique_images
from xception.metrics.ranking import Unannotated

Reading = Literal["image", "class"]


@dataclass(frozen=True)
class MapResult:
    """A weighted MAP@k and how it was computed.

    Attributes:
        value: The figure of the chosen reading, in [0, 1]; NaN if nothing could be averaged.
        per_image_map: The figure read per image.
        per_class_map: The figure read per class.
        reading: ``"image"`` or ``"class"``.
        k: Predictions scored per image.
        num_images: Images scored, each once.
        num_unlabeled: Those without a label. Read per image they are left out of the mean; read
            per class every prediction on them is wrong.
        num_weightless: Those with labels, all of weight 0: left out when read per image.
        num_duplicates: Padding dropped because its key had come before.
        unannotated: How predictions outside the annotated classes were treated;
            ``"all-annotated"`` if no update named annotated classes.
        weighted: Whether class weights were given.
        class_weights: (C,) float64.
        class_average_precision: (C,) float64; NaN for a class that no image has.
        class_positives: (C,) int64, images that have the class.
        class_predictions: (C,) int64, images with the class among their k best.
        class_hits: (C,) int64, those of them that have it.
    """

    value: float
    per_image_map: float
    per_class_map: float
    reading: Reading
    k: int
    num_images: int
    num_unlabeled: int
    num_weightless: int
    num_duplicates: int
    unannotated: Unannotated | Literal["all-annotated"]
    weighted: bool
    class_weights: Tensor
    class_average_precision: Tensor
    class_positives: Tensor
    class_predictions: Tensor
    class_hits: Tensor


def measure(
    ranked: RankedImages,
    class_weights: Tensor,
    *,
    reading: Reading = "image",
    unannotated: Unannotated | Literal["all-annotated"] = "all-annotated",
    weighted: bool = True,
) -> MapResult:
    """Drops repeated images and computes both readings of MAP@k.

    Args:
        ranked: Images of all batches and processes, in any order, on any device.
        class_weights: (C,) float64 on the CPU, as `check_class_weights` returns them.
        reading: Which reading is ``value``.
        unannotated: What is said about it; the masking itself took place in `rank_images`.
        weighted: What is said about it.

    Raises:
        InputError: Two images with one key have different labels.
    """
    num_classes = len(class_weights)
    ranked, num_duplicates = unique_images(RankedImages(*(part.cpu() for part in ranked)))
    per_image = average_precision_per_image(ranked, class_weights)
    per_class = average_precision_per_class(ranked, num_classes)
    per_image_map = mean_over_images(per_image)
    per_class_map = mean_over_classes(per_class, class_weights)
    num_unlabeled = int((ranked.label_counts == 0).sum())
    listed = ranked.class_ids[ranked.class_ids >= 0]
    return MapResult(
        value=per_image_map if reading == "image" else per_class_map,
        per_image_map=per_image_map,
        per_class_map=per_class_map,
        reading=reading,
        k=ranked.class_ids.shape[1],
        num_images=len(ranked.keys),
        num_unlabeled=num_unlabeled,
        num_weightless=int(per_image.isnan().sum()) - num_unlabeled,
        num_duplicates=num_duplicates,
        unannotated=unannotated,
        weighted=weighted,
        class_weights=class_weights,
        class_average_precision=per_class,
        class_positives=positives_per_class(ranked, num_classes),
        class_predictions=torch.bincount(listed, minlength=num_classes),
        class_hits=torch.bincount(ranked.class_ids[ranked.relevant], minlength=num_classes),
    )
