"""The preprocessing that published weights were evaluated with: `Preprocessing.to_dict()` each.

A file of another project does not carry its preprocessing. These are the ones with which the
published ImageNet weights reach their published accuracy. Those of Xception and Inception V3 scale
to [-1, 1].
"""

from typing import Any

_SCALE = {"size": 299, "antialias": True, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}

KERAS_IMAGENET: dict[str, Any] = {
    **_SCALE,
    "mode": "central-crop",
    "crop_fraction": 0.875,
    "interpolation": "bilinear",
}
"""Keras documents only the scale; the crop is that of the paper's era."""

KERAS_FINETUNED: dict[str, Any] = {
    **_SCALE,
    "mode": "squash",
    "interpolation": "bilinear",
    "antialias": False,
}
"""Keras' ``image_dataset_from_directory``: the whole image, squashed, without antialias."""

TIMM_XCEPTION: dict[str, Any] = {
    **_SCALE,
    "mode": "resize-crop",
    "crop_fraction": 0.8975,
    "interpolation": "bicubic",
}
"""timm's legacy_xception.tf_in1k: short side to 333, centre crop 299."""

TORCHVISION_INCEPTION_V3: dict[str, Any] = {
    **_SCALE,
    "mode": "resize-crop",
    "crop_fraction": 0.8742,
    "interpolation": "bilinear",
}
"""torchvision's IMAGENET1K_V1: short side to 342, centre crop 299.

torchvision normalizes with ImageNet's mean and deviation, and its model's ``transform_input`` turns
that into [-1, 1] again; both steps are left out here.
"""

TIMM_INCEPTION_V3: dict[str, Any] = {
    **_SCALE,
    "mode": "resize-crop",
    "crop_fraction": 0.875,
    "interpolation": "bicubic",
}
"""timm's inception_v3.tv_in1k and .tf_in1k: short side to 341, centre crop 299."""

TORCHVISION_IMAGENET: dict[str, Any] = {
    "size": 224,
    "mode": "resize-crop",
    "crop_fraction": 0.875,
    "interpolation": "bilinear",
    "antialias": True,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
"""torchvision's VGG-16 and ResNets: short side to 256, centre crop 224, ImageNet's statistics."""
