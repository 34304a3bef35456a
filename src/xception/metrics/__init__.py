"""What torchmetrics lacks: the weighted MAP@100 of FastEval14k (section 4.1 of the paper)."""

from xception.metrics.average_precision import (
    average_precision_per_class,
    average_precision_per_image,
)
from xception.metrics.class_report import (
    describe,
    ranked_classes,
    read_class_table,
    write_class_table,
)
from xception.metrics.class_weights import load_class_weights
from xception.metrics.map_result import MapResult
from xception.metrics.mean_average_precision import (
    WeightedMeanAveragePrecision,
    weighted_mean_average_precision,
)
from xception.metrics.ranking import rank_images, top_classes
from xception.metrics.targets import SparseTargets

__all__ = [
    "MapResult",
    "SparseTargets",
    "WeightedMeanAveragePrecision",
    "average_precision_per_class",
    "average_precision_per_image",
    "describe",
    "load_class_weights",
    "rank_images",
    "ranked_classes",
    "read_class_table",
    "top_classes",
    "weighted_mean_average_precision",
    "write_class_table",
]
