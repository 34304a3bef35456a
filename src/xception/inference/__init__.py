"""Asking a trained model: evaluation on labelled images, prediction on any others, its cost."""

from xception.inference.evaluation import Evaluation as Evaluation
from xception.inference.examples import store_evaluation as store_evaluation
from xception.inference.map_scoring import MapEvaluation as MapEvaluation
from xception.inference.map_scoring import evaluate_map as evaluate_map
from xception.inference.prediction import Prediction as Prediction
from xception.inference.prediction import predict as predict
from xception.inference.scoring import evaluate as evaluate

__all__ = [
    "Evaluation",
    "MapEvaluation",
    "Prediction",
    "evaluate",
    "evaluate_map",
    "predict",
    "store_evaluation",
]
