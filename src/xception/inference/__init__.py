"""Asking a trained model: evaluation on labelled images, prediction on any others, its cost.

The names resolve on first use, as those of the package do: prediction needs no metrics, whose
libraries take a second to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xception.inference.classification import Prediction as Prediction
    from xception.inference.evaluation import Evaluation as Evaluation
    from xception.inference.examples import store_evaluation as store_evaluation
    from xception.inference.map_scoring import MapEvaluation as MapEvaluation
    from xception.inference.map_scoring import evaluate_map as evaluate_map
    from xception.inference.prediction import predict as predict
    from xception.inference.scoring import evaluate as evaluate

_HOME = {
    "Evaluation": "evaluation",
    "MapEvaluation": "map_scoring",
    "Prediction": "classification",
    "evaluate": "scoring",
    "evaluate_map": "map_scoring",
    "predict": "prediction",
    "store_evaluation": "examples",
}

__all__ = [
    "Evaluation",
    "MapEvaluation",
    "Prediction",
    "evaluate",
    "evaluate_map",
    "predict",
    "store_evaluation",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
