"""Where a model runs when it is only asked, not trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from xception.data.shared_memory import processes_that_fit
from xception.data.worker_process import cpu_cores
from xception.errors import InputError


def choose_device(device: str = "auto") -> torch.device:
    """The device of a name: ``auto`` is CUDA where there is a GPU, otherwise the CPU.

    Raises:
        InputError: The device does not exist, or is not there.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"there is no device '{device}'; give auto, cpu or cuda") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device {device}: PyTorch sees {torch.cuda.device_count()} GPUs here; "
            "give --device cpu"
        )
    return chosen


def choose_workers(
    num_workers: int | None, device: torch.device, num_images: int, batch_bytes: int = 0
) -> int:
    """How many processes decode images.

    Decoding takes about 2 ms an image. On a CPU the network takes a hundred times that, so
    processes would only compete with it; a GPU has to be fed.

    Args:
        num_workers: So many; None: what suits the device, and the shared memory.
        device: Where the network is.
        num_images: How many there are.
        batch_bytes: Size of a batch of them.

    Raises:
        InputError: A negative number.

    Example:
        >>> cpu = torch.device("cpu")
        >>> choose_workers(None, cpu, 1000), choose_workers(3, cpu, 1000)
        (0, 3)
    """
    if num_workers is not None:
        if num_workers < 0:
            raise InputError(f"the number of workers is {num_workers}; give 0 or more")
        return num_workers
    if device.type == "cpu" or num_images < 64:
        return 0
    return processes_that_fit(min(8, cpu_cores()), batch_bytes)


@contextmanager
def inference_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Puts a model on the device, in eval mode and without gradients, as long as the block lasts.

    The memory layout becomes channels_last, in which convolutions are faster on both kinds of
    device. Afterwards every module is in train or eval mode as it was.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
