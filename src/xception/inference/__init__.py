"""Asking a trained model: evaluation on labelled images, prediction on any others, its cost."""

from xception.inference.evaluation import Evaluation as Evaluation
from xception.inference.examples import store_evaluation as store_evaluation
from xception.inference.prediction import Prediction as Prediction
from xception.inference.prediction import predict as predict
from xception.inference.scoring import evaluate as evaluate

__all__ = ["Evaluation", "Prediction", "evaluate", "predict", "store_evaluation"]
