"""Freezing the first part of a network, its BatchNorm statistics included."""

import torch.nn.functional as F
from torch import Tensor, nn

from xception.errors import InputError, nearest


class FrozenBatchNorm2d(nn.Module):
    """A BatchNorm whose statistics stay as they are, whatever ``.train()`` says.

    It shares the tensors of the BatchNorm that it stands for, under the same names. It is no
    subclass of torch's, so that the conversion to SyncBatchNorm leaves it alone.

    Args:
        norm: The BatchNorm to stand for.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = norm.num_features, norm.eps, norm.momentum
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, num_features, H, W) to the same shape."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    def thawed(self) -> nn.BatchNorm2d:
        """Returns an ordinary BatchNorm with the same tensors."""
        norm = nn.BatchNorm2d(self.num_features, eps=self.eps, momentum=self.momentum)
        norm.weight, norm.bias = self.weight, self.bias
        for name, buffer in self.named_buffers():
            setattr(norm, name, buffer)
        return norm.train(self.training)

    def extra_repr(self) -> str:
        """Shows the arguments in the printed model."""
        return f"{self.num_features}, eps={self.eps}"


def freeze(model: nn.Module, up_to: str | None = None) -> list[str]:
    """Freezes a network from its input up to and including one module.

    Frozen parameters take no gradient. Frozen BatchNorms use their stored statistics and never
    update them, also after ``.train()``. The names in the state dict stay.

    Args:
        model: One of this package's networks; it is changed in place.
        up_to: Name of the last module to freeze, such as "entry_flow" or "middle_flow.3"; None
            freezes all but the head.

    Returns:
        The names of the frozen parameters.

    Raises:
        InputError: There is no such module.

    Example:
        >>> from xception.models.registry import create_model
        >>> model = create_model("xception", width=0.125, num_classes=2)
        >>> len(freeze(model, up_to="entry_flow.conv1"))
        3
        >>> model.entry_flow.conv2.conv.weight.requires_grad
        True
    """
    if up_to is None:
        levels = model.depth_levels()  # type: ignore[operator]
        up_to = levels[-2][-1]
    modules = dict(model.named_modules())
    if not up_to or up_to not in modules:
        hint = nearest(str(up_to), list(modules))
        children = ", ".join(name for name, _ in model.named_children())
        raise InputError(
            f"there is no module '{up_to}' to freeze up to{hint} (the network's parts: {children})"
        )
    names = _names_up_to(list(modules), up_to)
    for name in names:
        module = modules[name]
        if isinstance(module, nn.BatchNorm2d):
            _replace(model, name, FrozenBatchNorm2d(module))
    frozen = []
    owners = set(names)
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[0] in owners:
            parameter.requires_grad_(False)
            frozen.append(name)
    return frozen


def unfreeze(model: nn.Module) -> None:
    """Makes every parameter trainable again, and every frozen BatchNorm an ordinary one.

    Args:
        model: A network that ``freeze`` changed; it is changed in place.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, FrozenBatchNorm2d):
            _replace(model, name, module.thawed())
    model.requires_grad_(True)


def _names_up_to(names: list[str], up_to: str) -> list[str]:
    """Returns the modules registered before ``up_to``, which is the order they run in, and it.

    Modules that contain it are left out: they begin before it, but reach beyond.
    """
    inside = [i for i, name in enumerate(names) if name == up_to or name.startswith(f"{up_to}.")]
    return [name for name in names[: inside[-1] + 1] if name and not up_to.startswith(f"{name}.")]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
