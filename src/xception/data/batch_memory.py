"""Memory for the pixels of a batch: a loader process hands it over without a copy."""

import math

import torch
from torch import Tensor
from torch.utils.data import get_worker_info


def batch_memory(shape: tuple[int, ...], layout: torch.memory_format) -> Tensor:
    """Memory for a batch, with whatever happens to be in it.

    In a loader process it is shared from the start, as in PyTorch's own collate function: handing
    the batch over then costs no copy into memory that is new, and so slow, once more.

    Args:
        shape: (N, C, H, W).
        layout: ``torch.contiguous_format`` or ``torch.channels_last``.

    Returns:
        uint8 of that shape and layout.

    Example:
        >>> batch_memory((2, 3, 4, 5), torch.channels_last).stride()
        (60, 1, 15, 3)
    """
    if layout == torch.channels_last:
        n, c, h, w = shape
        return batch_memory((n, h, w, c), torch.contiguous_format).permute(0, 3, 1, 2)
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    shared = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(shared, 0, shape)  # type: ignore[call-overload]
