"""Runs a model over labelled images and ranks its classes: MAP@k (section 4.1 of the paper)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from xception.data.batches import Batch
from xception.data.preprocessing import Preprocessing
from xception.data.sources import AnySource
from xception.errors import InputError, RunFailedError, nearest
from xception.inference.classes import match_classes, require_classifier
from xception.inference.devices import choose_device, choose_workers, inference_mode
from xception.metrics import MapResult, SparseTargets, WeightedMeanAveragePrecision
from xception.metrics.class_report import denominator
from xception.metrics.map_result import Reading
from xception.metrics.ranking import Unannotated


@dataclass(frozen=True, eq=False)
class MapEvaluation:
    """MAP@k of a model on a data set.

    Attributes:
        result: The figure, with all that must be said beside it.
        class_names: C names, in the order of the model's outputs.
        skipped: Index and reason of each image that could not be read. They are in no figure.
    """

    result: MapResult
    class_names: list[str]
    skipped: list[tuple[int, str]] = field(default_factory=list)

    def figures(self) -> dict[str, float | int | str | None]:
        """The headline figures as JSON primitives; ``map`` is the chosen reading's."""
        result = self.result
        return {
            "images": result.num_images,
            "skipped": len(self.skipped),
            "map": _or_none(result.value),
            "k": result.k,
            "reading": result.reading,
            "denominator": denominator(result),
            "map_per_image": _or_none(result.per_image_map),
            "map_per_class": _or_none(result.per_class_map),
            "weighted": result.weighted,
            "unlabeled_images": result.num_unlabeled,
            "unannotated": result.unannotated,
        }


def evaluate_map(
    model: nn.Module,
    source: AnySource,
    preprocessing: Preprocessing,
    *,
    k: int,
    class_weights: Tensor | Sequence[float] | None = None,
    reading: Reading = "image",
    unannotated: Unannotated = "masked",
    annotated_classes: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int = 32,
    num_workers: int | None = None,
    device: str = "auto",
    progress: Callable[[int, int], Any] | None = None,
) -> MapEvaluation:
    """Ranks the classes of every image of a source and compares with its labels.

    Args:
        model: Takes (N, 3, S, S) float32 in [-1, 1], returns (N, C) logits. It is moved to the
            device; its train or eval mode is as before afterwards.
        source: The images; those with one label are taken too.
        preprocessing: Geometry and scaling that the model was trained for.
        k: Predictions scored per image, at most C.
        class_weights: (C,) ≥ 0 in the order of the model's outputs; None: equal.
        reading: Averaged per "image" or per "class".
        unannotated: Predictions of classes that were not annotated: "masked" or "negative".
        annotated_classes: The classes that were annotated in every image, by name. None: what the
            data say, else all.
        class_names: The model's class names in the order of its outputs; the data's are mapped to
            them by name. None: the data's order is the model's.
        batch_size: Images per forward pass.
        num_workers: Processes that decode images; None: none on the CPU, up to 8 for a GPU.
        device: ``auto`` (CUDA where there is a GPU), ``cpu`` or ``cuda``.
        progress: Called with (images done, images in all) after every batch.

    Raises:
        InputError: The classes differ, k is above their number, the weights are no weights, or an
            image has a label outside the annotated classes.
        RunFailedError: The model's output is not finite.
    """
    from xception.data.loading import EvaluationLoader

    num_classes = require_classifier(model, preprocessing)
    place = torch.tensor(match_classes(class_names, source.class_names, num_classes))
    metric = WeightedMeanAveragePrecision(
        k,
        num_classes=num_classes,
        class_weights=class_weights,
        reading=reading,
        unannotated=unannotated,
    )
    everywhere = None
    if annotated_classes is not None:
        everywhere = _class_mask(annotated_classes, list(class_names or source.class_names))
    target_device = choose_device(device)
    loader = EvaluationLoader(
        source,
        preprocessing,
        batch_size=batch_size,
        num_workers=choose_workers(
            num_workers, target_device, len(source), batch_size * 3 * preprocessing.size**2
        ),
    )
    skipped: list[tuple[int, str]] = []
    done = 0
    with inference_mode(model, target_device):
        for batch in loader:
            skipped += batch.skipped
            counted = batch.labels >= 0
            if counted.any():
                images = preprocessing.normalize(batch.images[counted].to(target_device))
                logits = model(images.contiguous(memory_format=torch.channels_last)).float()
                _require_finite(logits, source, batch.indices[counted])
                positives, told = _labels(batch, counted, place)
                annotated = told if everywhere is None else _only(everywhere, told)
                keys = batch.indices[counted]
                metric.update(logits.cpu(), positives, keys=keys, annotated=annotated)
            done += len(batch.labels)
            if progress:
                progress(min(done, len(source)), len(source))
    names = list(class_names or source.class_names)
    return MapEvaluation(metric.result(), names, sorted(skipped))


def _labels(
    batch: Batch, counted: Tensor, place: Tensor
) -> tuple[SparseTargets, SparseTargets | None]:
    """The classes that the counted images have, and those that were annotated, as model outputs."""
    if batch.targets is None:
        labels = place[batch.labels[counted]]
        return SparseTargets(torch.arange(len(labels) + 1), labels), None
    targets = batch.targets.select(counted)
    annotated = targets.annotated
    return SparseTargets(targets.offsets, place[targets.class_ids]), (
        None if annotated is None else SparseTargets(annotated[0], place[annotated[1]])
    )


def _class_mask(names: Sequence[str], class_names: list[str]) -> Tensor:
    """(C,) bool: the classes that are among the names."""
    mask = torch.zeros(len(class_names), dtype=torch.bool)
    place = {name: index for index, name in enumerate(class_names)}
    for name in names:
        if name not in place:
            hint = nearest(name, class_names) if len(class_names) <= 20_000 else ""
            raise InputError(f"the annotated class '{name}' is none of the model's{hint}")
        mask[place[name]] = True
    return mask


def _only(everywhere: Tensor, annotated: SparseTargets | None) -> Tensor:
    if annotated is not None:
        raise InputError(
            "the data say of each image which classes were annotated; leave the annotated classes "
            "of all images out"
        )
    return everywhere


def _require_finite(logits: Tensor, source: AnySource, indices: Tensor) -> None:
    bad = ~logits.isfinite().all(dim=1).cpu()
    if bad.any():
        raise RunFailedError(
            f"the model's output for {source.describe(int(indices[bad][0]))} is not finite (NaN or "
            "infinite); its weights are damaged or its training diverged: take an earlier "
            "checkpoint"
        )


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
