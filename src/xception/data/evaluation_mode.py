"""The ways in which an image becomes a square at evaluation: see `Preprocessing`."""

from typing import Literal

EvaluationMode = Literal["central-crop", "resize-crop", "squash", "pad"]
