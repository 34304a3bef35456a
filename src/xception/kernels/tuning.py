"""Chooses a launch configuration per kernel and shape by timing, and remembers it.

The choice is kept in memory and in one JSON file per GPU model and version of torch, triton and
kernels. The file lies in ``$XCEPTION_KERNEL_CACHE`` (by default ``~/.cache/xception/kernels``).

A reduction may add in another order under another configuration. Where the same bits are wanted on
every run, pin the configurations: with :func:`pinned`, with ``XCEPTION_PIN_KERNELS=1``, or with
``torch.use_deterministic_algorithms(True)``. Then the first candidate is taken, nothing is timed.
"""

import contextlib
import hashlib
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from xception.kernels import compilation
from xception.kernels.dispatch import interpreting

Config = dict[str, int]

# Errors after which a process can use its GPU no more: nothing can be timed against them.
STICKY = (
    "illegal memory access",
    "misaligned address",
    "unspecified launch failure",
    "device-side assert",
)

_log = logging.getLogger(__name__)
_chosen: dict[str, Config] = {}  # by kernel and key as text, as in the file
_ready: dict[tuple[str, tuple[Any, ...]], Config] = {}  # of them those that have been asked for
_read_files: set[Path] = set()
_pins: list[Mapping[str, Config]] = []
_times = 1  # see as_if_larger


@contextlib.contextmanager
def pinned(configs: Mapping[str, Config] | None = None) -> Iterator[None]:
    """Takes the first candidate of every kernel, or the one that is given for it; times nothing.

    Args:
        configs: Configurations by kernel name that are taken instead of the first candidate.

    Example:
        >>> with pinned({"depthwise": {"BLOCK_W": 4}}):
        ...     choose("depthwise", (1, 2), [{"BLOCK_W": 8}], launch=print)
        {'BLOCK_W': 4}
    """
    _pins.append(dict(configs or {}))
    try:
        yield
    finally:
        _pins.pop()


def choose(
    kernel: str,
    key: tuple[Any, ...],
    candidates: Sequence[Config],
    launch: Callable[[Config], object],
) -> Config:
    """Returns the fastest candidate for this kernel and shape, timing them the first time.

    Args:
        kernel: Name of the kernel.
        key: What the best configuration depends on: data type, sizes, flags.
        candidates: Configurations, the safest first: it is taken where timing is impossible
            (configurations pinned, interpreter, capture of a CUDA graph before any choice).
        launch: Runs the kernel once with a configuration; its result is thrown away.

    Raises:
        RuntimeError: If every candidate fails, with the last error as the cause.
    """
    for pin in reversed(_pins):
        if kernel in pin:
            return pin[kernel]
    if _pins or len(candidates) == 1 or not _may_choose():
        return candidates[0]
    if ready := _ready.get((kernel, key)):
        return ready
    name = f"{kernel}{json.dumps(key)}"
    if name not in _chosen:
        _read_cache()
    if _chosen.get(name) in candidates:
        _ready[kernel, key] = _chosen[name]
        return _chosen[name]
    if torch.cuda.is_current_stream_capturing():  # what was chosen before holds, nothing is timed
        return candidates[0]
    if compilation.collecting():
        _hand_over(candidates, launch)
        return candidates[0]
    start = time.perf_counter()
    with compilation.side_by_side():
        _hand_over(candidates, launch)
    _chosen[name] = fastest(kernel, candidates, launch, _milliseconds)
    _write_cache()
    took = time.perf_counter() - start
    _log.info("kernel %s: chose among %d in %.1f s", name, len(candidates), took)
    return _chosen[name]


def _hand_over(candidates: Sequence[Config], launch: Callable[[Config], object]) -> None:
    """Lets every candidate be compiled; one that fails will say so when it is timed."""
    for config in candidates:
        with contextlib.suppress(Exception):
            launch(config)


def fastest(
    kernel: str,
    candidates: Sequence[Config],
    launch: Callable[[Config], object],
    milliseconds: Callable[[Callable[[], object]], float],
) -> Config:
    """Times every candidate and returns the fastest; one that fails to run is left out.

    Args:
        kernel: Name of the kernel, for messages.
        candidates: Configurations to time.
        launch: Runs the kernel once with a configuration.
        milliseconds: Times a function.

    Raises:
        torch.OutOfMemoryError: The GPU's memory is full.
        RuntimeError: If every candidate fails, with the last error as the cause.

    Example:
        >>> fastest("k", [{"B": 8}, {"B": 4}], lambda config: config["B"], lambda run: run())
        {'B': 4}
    """
    times: list[float] = []
    error: Exception | None = None
    for config in candidates:
        try:
            times.append(milliseconds(lambda config=config: launch(config)))  # type: ignore[misc]
        except torch.OutOfMemoryError:  # of all candidates alike, and gone on the next run
            raise
        except Exception as caught:  # out of shared memory or registers on this GPU
            if any(words in str(caught) for words in STICKY):
                raise
            error = caught
            times.append(math.inf)
    best = min(range(len(times)), key=times.__getitem__)
    if math.isinf(times[best]):
        raise RuntimeError(f"no configuration of the kernel {kernel!r} runs here") from error
    _log.debug(
        "%s: %s of %d candidates, %.4f ms", kernel, candidates[best], len(times), times[best]
    )
    return candidates[best]


def power_of_two(count: int) -> int:
    """A number of images or pixels rounded up to a power of two: neighbours share a configuration.

    It is part of the key, and larger than it is in :func:`as_if_larger`: no size of anything else.

    Example:
        >>> power_of_two(5), power_of_two(8)
        (8, 8)
    """
    return (1 << max(count - 1, 0).bit_length()) * _times


@contextlib.contextmanager
def as_if_larger(times: int) -> Iterator[None]:
    """Takes the configurations that were chosen for a larger batch, to check them on a small one.

    Args:
        times: How many times as large; a power of two.

    Example:
        >>> with as_if_larger(16):
        ...     power_of_two(8)
        128
    """
    global _times
    before, _times = _times, times
    try:
        yield
    finally:
        _times = before


def forget() -> None:
    """Forgets the choices of this process (the file stays)."""
    _chosen.clear()
    _ready.clear()
    _read_files.clear()


def cache_file() -> Path:
    """The JSON file that keeps the choices for this GPU, these versions and these kernels."""
    import triton

    folder = os.environ.get("XCEPTION_KERNEL_CACHE")
    directory = Path(folder) if folder else Path.home() / ".cache" / "xception" / "kernels"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no gpu"
    digest = hashlib.sha256(f"{gpu} {torch.__version__} {triton.__version__}".encode())
    digest.update(source_digest("*_triton.py").encode())
    return directory / f"{digest.hexdigest()[:16]}.json"


def source_digest(pattern: str = "*.py") -> str:
    """Short hash of the kernels' source files.

    Args:
        pattern: Of the names of the files of this folder.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob(pattern)):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _may_choose() -> bool:
    if interpreting() or not (torch.cuda.is_initialized() or torch.cuda.is_available()):
        return False
    if os.environ.get("XCEPTION_PIN_KERNELS", "0") == "1":
        return False
    return not torch.are_deterministic_algorithms_enabled()


def _milliseconds(run: Callable[[], object]) -> float:
    from triton.testing import do_bench

    return float(do_bench(run, warmup=5, rep=25, return_mode="median"))


def _read_cache() -> None:
    """Adds the choices of the cache file, once per process."""
    path = cache_file()
    if path not in _read_files:
        _read_files.add(path)
        for name, config in _stored(path).items():
            _chosen.setdefault(name, config)


def _stored(path: Path) -> dict[str, Config]:
    """The choices in a cache file; none if it does not exist or is damaged."""
    try:
        stored = json.loads(path.read_text())
        return {
            name: {key: int(value) for key, value in config.items()}
            for name, config in stored.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        _log.warning("kernel cache %s is not readable (%s): tuning again", path, error)
        return {}


def _write_cache() -> None:
    """Writes the choices beside those that other processes wrote meanwhile; atomic."""
    path = cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        merged = _stored(path) | _chosen
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            json.dump(merged, file, indent=0, sort_keys=True)
        Path(file.name).replace(path)
    except OSError as error:  # a read-only home must not stop a training run
        _log.debug("kernel cache %s cannot be written: %s", path, error)
