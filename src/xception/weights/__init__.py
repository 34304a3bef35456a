"""Weights in files: the project's own, and those of Keras, timm, Cadene and torchvision."""
