"""What a live module does, step by step: the drawings of figures 1 to 5 are made from this."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import fx, nn
from torchvision.ops import StochasticDepth

from xception.models.layers import ConvBN, SameMaxPool2d, SeparableConvBN

Kind = Literal["convolution", "separable", "pooling", "activation", "dense"]


@dataclass(frozen=True)
class Operation:
    """One box of a drawing.

    Attributes:
        kind: Its colour.
        text: What stands in it.
        kernel: Height and width of its kernel, "3×3"; empty if it has none.
        in_channels: Channels that it reads; 0 if it takes any number.
        out_channels: Channels that it puts out; 0 if as many as it reads.
        groups: Segments of the channels that it treats apart.
    """

    kind: Kind
    text: str
    kernel: str = ""
    in_channels: int = 0
    out_channels: int = 0
    groups: int = 1


_SILENT = (StochasticDepth, nn.Dropout, nn.Identity)
_LEAVES = (nn.Conv2d, ConvBN, SeparableConvBN, SameMaxPool2d, nn.MaxPool2d, nn.Linear, *_SILENT)


class _Tracer(fx.Tracer):
    def __init__(self, opaque: tuple[str, ...]) -> None:
        super().__init__()
        self.opaque = opaque

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, (*_LEAVES, nn.AdaptiveAvgPool2d))
        return known or module_qualified_name in self.opaque


def branches(module: nn.Module) -> list[list[Operation]]:
    """The branches of an Inception module, each from its input to the concatenation.

    Args:
        module: A module of figures 1 to 4. One that does not concatenate has a single branch.
    """
    output = _output(_Tracer(()).trace(module))
    ends = output.args[0] if output.target is torch.cat else [output]
    assert isinstance(ends, (list, tuple))
    return [_path(module, end) for end in ends]


def residual_paths(module: nn.Module) -> tuple[list[Operation], list[Operation] | None]:
    """The main path of a module of figure 5 and its shortcut.

    Args:
        module: A downsampling or middle module.

    Returns:
        Main path; shortcut: None without one, empty if it is the identity.
    """
    output = _output(_Tracer(()).trace(module))
    if output.op == "call_function" and getattr(output.target, "__name__", "") == "add":
        main, shortcut = output.args[:2]
        assert isinstance(main, fx.Node)
        assert isinstance(shortcut, fx.Node)
        return _path(module, main), _path(module, shortcut)
    return _path(module, output), None


def steps(flow: nn.Module) -> list[Operation | str]:
    """What a flow of figure 5 does, in order.

    Args:
        flow: Entry flow, exit flow or head.

    Returns:
        Operations, and the names of the modules that have paths of their own.
    """
    named = tuple(name for name, _ in flow.named_children() if name.startswith("module"))
    graph = _Tracer(named).trace(flow)
    found: list[Operation | str] = []
    for node in graph.nodes:
        if node.op == "call_module" and node.target in named:
            found.append(str(node.target))
        else:
            found += _operation(flow, node)
    return found


def _output(graph: fx.Graph) -> fx.Node:
    last = next(node for node in graph.nodes if node.op == "output").args[0]
    assert isinstance(last, fx.Node)
    return last


def _path(module: nn.Module, end: fx.Node) -> list[Operation]:
    """The operations that lead to a node, from the input on."""
    path: list[Operation] = []
    node = end
    while node.op != "placeholder":
        path = [*_operation(module, node), *path]
        before = node.args[0]
        assert isinstance(before, fx.Node)
        node = before
    return path


def _operation(module: nn.Module, node: fx.Node) -> list[Operation]:
    """The box of a node: none for what the paper's figures leave out."""
    if node.op == "call_function":
        if node.target is F.relu:
            return [Operation("activation", "ReLU")]
        if node.target is F.avg_pool2d:
            kernel = _by(node.args[1])
            return [Operation("pooling", f"{kernel} avg pool", kernel)]
        return []
    if node.op != "call_module":
        return []
    return _module_operation(module.get_submodule(str(node.target)))


def _module_operation(layer: nn.Module) -> list[Operation]:
    if isinstance(layer, SeparableConvBN):
        spatial, pointwise = layer.conv.depthwise, layer.conv.pointwise
        kernel = _by(spatial.kernel_size)
        name = "SeparableConv" if spatial.groups == spatial.in_channels else "SegmentedConv"
        inputs, out = pointwise.in_channels, pointwise.out_channels
        text = f"{name} {out}, {kernel}"
        return [Operation("separable", text, kernel, inputs, out, spatial.groups)]
    if isinstance(layer, (ConvBN, nn.Conv2d)):
        conv = layer.conv if isinstance(layer, ConvBN) else layer
        kernel, stride = _by(conv.kernel_size), conv.stride[0]
        text = f"Conv {conv.out_channels}, {kernel}" + (f", stride {stride}" if stride > 1 else "")
        return [
            Operation("convolution", text, kernel, conv.in_channels, conv.out_channels, conv.groups)
        ]
    if isinstance(layer, (SameMaxPool2d, nn.MaxPool2d)):
        kernel = _by(layer.kernel_size)
        return [Operation("pooling", f"MaxPool {kernel}, stride {layer.stride}", kernel)]
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return [Operation("pooling", "GlobalAveragePool")]
    if isinstance(layer, nn.Linear):
        out = layer.out_features
        return [Operation("dense", f"Dense {out:,}", "", layer.in_features, out)]
    if isinstance(layer, (nn.ReLU, nn.ELU)):
        return [Operation("activation", type(layer).__name__)]
    return []


def _by(kernel: Any) -> str:
    height, width = kernel if isinstance(kernel, (tuple, list)) else (kernel, kernel)
    return f"{height}×{width}"
