"""``--engine auto``: the installed engines are timed on this machine once, the fastest is kept."""

import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from xception.errors import InputError, RunFailedError
from xception.export.build import build_engine, identity_of
from xception.export.cache import stored_or_built
from xception.export.engine import Engine, EngineFacts
from xception.export.extras import is_installed, versions_of
from xception.export.processor import processor_name
from xception.weights.files import LoadedModel

LARGEST_TIMED = 8  # the order of the engines stays above that, and a larger batch takes long
MOST_ROUNDS, MOST_SECONDS = 9, 10.0
HOPELESS = 1.3  # times slower than the fastest after two rounds: timed no further

_NEEDS = {
    "torch": [],
    "onnxruntime": ["onnxruntime", "onnx", "onnxscript"],
    "openvino": ["openvino"],
}


def choose_engine(loaded: LoadedModel, batch_size: int, threads: int) -> Engine:
    """The fastest float32 engine for a batch size on this machine.

    "torch", "onnxruntime" and "openvino" are timed, as far as they are installed, and the medians
    are kept beside the weights, for this processor, batch size, number of threads and versions.
    "compile" takes half a minute to make and was slower than the other two wherever it was
    measured; 8 bits change the answers: neither is chosen unasked.

    Args:
        loaded: The model.
        batch_size: Images in a call. More than ``LARGEST_TIMED`` are timed as that.
        threads: How many.

    Raises:
        RunFailedError: The model can't be converted for any.
    """
    timed = min(batch_size, LARGEST_TIMED)
    candidates = [name for name, needs in _NEEDS.items() if is_installed(*needs)]
    identity = identity_of(
        loaded,
        "auto",
        candidates=candidates,
        batch_size=timed,
        threads=threads,
        processor=processor_name(),
    ) | {"versions": versions_of("torch", "onnx", "onnxscript", "onnxruntime", "openvino")}

    def measure(folder: Path) -> Mapping[str, Any]:
        seconds = time_engines(_load_all(loaded, candidates, timed, threads), timed)
        (folder / "seconds.json").write_text(json.dumps(seconds))
        return {}

    entry = stored_or_built(loaded.path, identity, measure)
    seconds: dict[str, float] = json.loads((entry / "seconds.json").read_text())
    best = min(seconds, key=lambda name: seconds[name])
    engine = build_engine(loaded, best, batch_size, threads)
    told = ", ".join(
        f"{name} {1000 * value / timed:.1f}"
        for name, value in sorted(seconds.items(), key=lambda item: item[1])
    )
    note = f"auto chose {best}; ms per image in batches of {timed} by {threads} threads: {told}"
    record = dict(engine.facts.record) | {"seconds": seconds}
    engine.facts = EngineFacts(best, threads, note, record)
    return engine


def _load_all(
    loaded: LoadedModel, names: list[str], batch_size: int, threads: int
) -> dict[str, Engine]:
    """Those that can be had: a model that one converter refuses may suit another."""
    engines = {}
    failure: Exception | None = None
    for name in names:
        try:
            engines[name] = build_engine(loaded, name, batch_size, threads)
        except (InputError, RunFailedError) as error:
            failure = error
    if not engines and failure:
        raise failure
    return engines


def time_engines(engines: Mapping[str, Engine], batch_size: int) -> dict[str, float]:
    """The median seconds of a call, rounds interleaved so that other load reaches all alike.

    Args:
        engines: By name, at least one.
        batch_size: Images in a call.
    """
    size = next(iter(engines.values())).size
    images = torch.rand(batch_size, 3, size, size) * 2 - 1
    taken: dict[str, list[float]] = {name: [] for name in engines}
    began = time.perf_counter()
    for number in range(MOST_ROUNDS):
        if number >= 3 and time.perf_counter() - began > MOST_SECONDS:
            break
        best = min((min(values) for values in taken.values() if values), default=float("inf"))
        for name, engine in engines.items():
            if number >= 2 and min(taken[name]) > HOPELESS * best:
                continue
            engine(images)  # drives the one before out of the caches and its threads to sleep
            start = time.perf_counter()
            engine(images)
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}
