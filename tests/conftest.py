"""Settings of every test."""

import os

import torch

os.environ["KERAS_BACKEND"] = "torch"  # before anything imports Keras
torch.set_num_threads(1)  # the tests' tensors are small: more threads wait for one another
