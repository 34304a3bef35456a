"""Gradient checkpointing that leaves BatchNorm's running statistics alone when it recomputes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@contextmanager
def _fixed_statistics(module: nn.Module) -> Iterator[None]:
    """Within it, train-mode BatchNorms normalise by their batch but do not count it again.

    They still read and write their running statistics, with weight 0: the recomputation must save
    the same tensors as the forward pass did.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def run_checkpointed(module: nn.Module, x: Tensor, enabled: bool) -> Tensor:
    """Returns ``module(x)``; where enabled, keeps only ``x`` and recomputes the rest for gradients.

    The random numbers of dropout and stochastic depth are replayed, and the running statistics of
    BatchNorm are updated once, not twice.

    Args:
        module: Any module of one tensor.
        x: Its input.
        enabled: False calls the module plainly.
    """
    if not enabled or not torch.is_grad_enabled():
        return module(x)
    if torch.compiler.is_compiling():  # the compiler recomputes without touching any buffer
        return checkpoint(module, x, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _fixed_statistics(module)

    return checkpoint(module, x, use_reentrant=False, context_fn=contexts)
