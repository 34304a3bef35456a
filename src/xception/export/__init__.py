"""A trained network as other engines run it: BatchNorm folded, converted, quantised, kept."""

from xception.export.calibration import Calibration as Calibration
from xception.export.calibration import read_calibration as read_calibration
from xception.export.engine import Engine as Engine
from xception.export.folding import fold_batch_norms as fold_batch_norms
from xception.export.load import load_engine as load_engine

__all__ = ["Calibration", "Engine", "fold_batch_norms", "load_engine", "read_calibration"]
