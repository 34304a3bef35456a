"""FastEval14k's weighted MAP@100: a pure function, and the metric that gathers it over batches.

torchmetrics' ``RetrievalMAP(top_k=100)`` divides by the hits inside the top k instead of by the
labels and knows no class weights; its ``MultilabelAveragePrecision`` stores every score.
"""

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from xception.errors import InputError, nearest
from xception.metrics.average_precision import check_class_weights
from xception.metrics.map_result import MapResult, Reading, measure
from xception.metrics.ranked_images import RankedImages, concatenate
from xception.metrics.ranking import Unannotated, check_k, rank_images


def weighted_mean_average_precision(
    scores: Tensor,
    targets: Tensor | tuple[Tensor, Tensor],
    *,
    k: int = 100,
    class_weights: Tensor | Sequence[float] | None = None,
    reading: Reading = "image",
    annotated: Tensor | tuple[Tensor, Tensor] | None = None,
    unannotated: Unannotated = "masked",
    keys: Tensor | None = None,
) -> MapResult:
    """MAP@k of images that are all at hand; `WeightedMeanAveragePrecision` takes them in batches.

    Args:
        scores: (N, C) floating point, logits rather than probabilities.
        targets: (N, C) multi-hot or a pair (offsets, class ids), see `SparseTargets`.
        k: Predictions scored per image, 1 ≤ k ≤ C.
        class_weights: (C,) ≥ 0; equal weights if None.
        reading: ``"image"`` or ``"class"``, see `WeightedMeanAveragePrecision`.
        annotated: Classes whose presence or absence is known, see `rank_images`.
        unannotated: ``"masked"`` or ``"negative"``, see `rank_images`.
        keys: (N,) int64 names of the images; a name's second image is dropped.

    Raises:
        InputError: Anything that `rank_images` or `check_class_weights` refuses.

    Example:
        Two images; the second one's label 2 is ranked third, behind the k = 2 that are scored.

        >>> scores = torch.tensor([[0.9, 0.1, 0.3], [0.8, 0.5, 0.2]])
        >>> targets = torch.tensor([[0, 0, 1], [1, 0, 1]])
        >>> result = weighted_mean_average_precision(scores, targets, k=2)
        >>> result.value  # ((1/2) / 1 + (1/1) / 2) / 2
        0.5
        >>> weights = [3.0, 1.0, 1.0]
        >>> weighted_mean_average_precision(scores, targets, k=2, class_weights=weights).value
        0.625
    """
    _check_choices(reading, unannotated)
    ranked = rank_images(
        scores, targets, k, annotated=annotated, unannotated=unannotated, keys=keys
    )
    return measure(
        ranked,
        check_class_weights(class_weights, scores.shape[1]),
        reading=reading,
        unannotated="all-annotated" if annotated is None else unannotated,
        weighted=class_weights is not None,
    )


class WeightedMeanAveragePrecision(Metric):
    """Weighted MAP@k over batches and processes, exact whatever the split (section 4.1).

    The two readings of the paper's sentence:

    - ``"image"``: the mean over images with labels of
      AP(x) = Σ_{i≤k} w_{c_i}·rel_i·P(i) / D, D the sum of the min(|Y|, k) largest weights in Y.
    - ``"class"``: the mean, weighted by w_c, over classes with positives of the AP of class c over
      the images that have it among their k best, denominator all its positives.

    The state is k ids, scores and hits, the labels and a key per image: about 1 kB at k = 100.
    ``compute`` returns the figure as float32 on the metric's device, as torchmetrics' own do;
    ``result`` returns it in float64 with both readings, the classes and what to print beside it.

    Deviation: the paper's weights (how common a class is on social media) and its FastEval14k
    images are not public; weights and images are the user's.

    Args:
        k: Predictions scored per image, at most the number of classes.
        num_classes: C. If None, taken from the weights or the first scores.
        class_weights: (C,) ≥ 0; equal weights if None.
        reading: Which reading ``compute`` returns.
        unannotated: ``"masked"``: predictions outside the annotated classes are taken out before
            the k best are chosen; ``"negative"``: they stay, and are wrong.
        kwargs: torchmetrics' own: ``process_group``, ``dist_sync_fn``, ``sync_on_compute``, …

    Raises:
        InputError: k above the number of classes, weights that `check_class_weights` refuses,
            an unknown reading or treatment.

    Example:
        >>> metric = WeightedMeanAveragePrecision(k=2)
        >>> metric.update(
        ...     torch.tensor([[0.9, 0.1, 0.3], [0.8, 0.5, 0.2]]),
        ...     (torch.tensor([0, 1, 3]), torch.tensor([2, 0, 2])),  # offsets, class ids
        ...     keys=torch.tensor([0, 1]),
        ... )
        >>> metric.compute()
        tensor(0.5000)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    class_ids: list[Tensor]
    classes: Tensor
    annotations_given: Tensor

    def __init__(
        self,
        k: int = 100,
        *,
        num_classes: int | None = None,
        class_weights: Tensor | Sequence[float] | None = None,
        reading: Reading = "image",
        unannotated: Unannotated = "masked",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_choices(reading, unannotated)
        if num_classes is None and class_weights is not None:
            num_classes = len(class_weights)
        if num_classes is not None:
            check_k(k, num_classes)
            check_class_weights(class_weights, num_classes)
        elif k < 1:
            raise InputError(f"k={k} must be at least 1")
        self.k = k
        self.num_classes = num_classes
        self.class_weights = None if class_weights is None else torch.as_tensor(class_weights)
        self.reading: Reading = reading
        self.unannotated: Unannotated = unannotated
        for field in RankedImages._fields:
            self.add_state(field, [], dist_reduce_fx="cat")
        self.add_state("classes", torch.tensor(num_classes or 0), dist_reduce_fx="max")
        self.add_state("annotations_given", torch.tensor(0), dist_reduce_fx="max")
        # Constant. It keeps a MetricCollection from sharing one state between a metric that masks
        # and one that does not because their first batch happened to give the same state.
        self.add_state("masks", torch.tensor(int(unannotated == "masked")), dist_reduce_fx="max")

    def update(
        self,
        scores: Tensor,
        targets: Tensor | tuple[Tensor, Tensor],
        *,
        keys: Tensor | None = None,
        annotated: Tensor | tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Takes one batch; see `rank_images` for the arguments and the errors.

        Without keys every image counts, padding too: give each image's index in the data set.
        """
        num_classes = int(self.classes)
        if num_classes and scores.ndim == 2 and scores.shape[1] != num_classes:
            raise InputError(
                f"scores of {scores.shape[1]} classes in an evaluation of {num_classes} classes"
            )
        ranked = rank_images(
            scores,
            targets,
            self.k,
            annotated=annotated,
            unannotated=self.unannotated,
            keys=keys,
        )
        self.classes = self.classes.new_tensor(scores.shape[1])
        if annotated is not None:
            self.annotations_given = torch.ones_like(self.annotations_given)
        for field, part in zip(RankedImages._fields, ranked, strict=True):
            getattr(self, field).append(part.to(self.device))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gathers the state of all processes; one that had no image takes part with none."""
        if isinstance(self.class_ids, list) and not self.class_ids:
            for field, part in zip(RankedImages._fields, RankedImages.none(self.k), strict=True):
                getattr(self, field).append(part.to(self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> Tensor:
        """The figure of the chosen reading, float32; NaN if no image could be scored."""
        return torch.tensor(self._measure().value, dtype=torch.float32, device=self.device)

    def result(self) -> MapResult:
        """The figure with both readings, the classes and the counts; every process must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            return self._measure()

    def _measure(self) -> MapResult:
        state = [getattr(self, field) for field in RankedImages._fields]
        if isinstance(self.class_ids, Tensor):  # gathered: already in one piece
            ranked = RankedImages(*state)
        else:
            empty = RankedImages(*(part.to(self.device) for part in RankedImages.none(self.k)))
            ranked = concatenate(
                [empty, *(RankedImages(*parts) for parts in zip(*state, strict=True))]
            )
        return measure(
            ranked,
            check_class_weights(self.class_weights, int(self.classes)),
            reading=self.reading,
            unannotated=self.unannotated if int(self.annotations_given) else "all-annotated",
            weighted=self.class_weights is not None,
        )


def _check_choices(reading: str, unannotated: str) -> None:
    for name, value, choices in (
        ("reading", reading, get_args(Reading)),
        ("unannotated", unannotated, get_args(Unannotated)),
    ):
        if value not in choices:
            raise InputError(
                f"{name} must be {' or '.join(map(repr, choices))}, not {value!r}"
                f"{nearest(str(value), list(choices))}"
            )
