"""Settings of every test."""

import os

os.environ["KERAS_BACKEND"] = "torch"  # before anything imports Keras
