"""Xception: image classification with depthwise separable convolutions (Chollet, 2016).

The public names resolve on first use (PEP 562), so that ``import xception`` loads nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xception.export.exporting import export_model as export_model
    from xception.export.load import load_engine as load_engine
    from xception.models.freezing import freeze as freeze
    from xception.models.layers import SeparableConv2d as SeparableConv2d
    from xception.models.parameter_groups import parameter_groups as parameter_groups
    from xception.models.registry import create_model as create_model
    from xception.models.registry import list_models as list_models
    from xception.models.xception import Xception as Xception
    from xception.weights.files import load_model as load_model
    from xception.weights.files import open_model as open_model
    from xception.weights.files import save_model as save_model

__version__ = "0.1.0"

_HOME = {
    "Xception": "xception.models.xception",
    "SeparableConv2d": "xception.models.layers",
    "create_model": "xception.models.registry",
    "list_models": "xception.models.registry",
    "export_model": "xception.export.exporting",
    "freeze": "xception.models.freezing",
    "load_engine": "xception.export.load",
    "load_model": "xception.weights.files",
    "open_model": "xception.weights.files",
    "parameter_groups": "xception.models.parameter_groups",
    "save_model": "xception.weights.files",
}

__all__ = [
    "SeparableConv2d",
    "Xception",
    "create_model",
    "export_model",
    "freeze",
    "list_models",
    "load_engine",
    "load_model",
    "open_model",
    "parameter_groups",
    "save_model",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'xception' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
