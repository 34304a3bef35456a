"""Time and memory of MAP@100 at FastEval14k's size: 14,000 images times 17,000 classes.

Writes random logits to a temporary file (0.95 GB as float32), evaluates them from a memory map in
batches, and removes the file. Memory is the process's anonymous memory (RssAnon of Linux'
/proc/self/status; pages of the mapped file are not in it), sampled every 5 ms.

    python benchmarks/metrics_map100.py
    python benchmarks/metrics_map100.py --dtype float16 --annotated 6000
"""

import argparse
import platform
import signal
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torchmetrics

from xception.metrics import MapResult, SparseTargets, WeightedMeanAveragePrecision

SAMPLING_SECONDS = 0.005
MEBIBYTE = 2**20


def anonymous_mib() -> float:
    """Anonymous memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / MEBIBYTE
    raise RuntimeError("this kernel does not report RssAnon")


class PeakMemory:
    """The highest anonymous memory while the block runs."""

    def __enter__(self) -> "PeakMemory":
        self.mib = anonymous_mib()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._done.wait(SAMPLING_SECONDS):
            self.mib = max(self.mib, anonymous_mib())

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def write_logits(
    path: Path, num_images: int, num_classes: int, dtype: str, labels: list[list[int]]
) -> np.ndarray:
    """Random normal logits; an image's labels are raised, so that some of them are found."""
    logits = np.memmap(path, dtype=dtype, mode="w+", shape=(num_images, num_classes))
    rng = np.random.default_rng(0)
    for image in range(num_images):
        row = rng.standard_normal(num_classes, dtype=np.float32)
        row[labels[image]] += 2
        logits[image] = row
    logits.flush()
    return logits


def evaluate(
    logits: np.ndarray,
    labels: list[list[int]],
    weights: torch.Tensor,
    annotated: torch.Tensor | None,
    batch_size: int,
) -> tuple[MapResult, int]:
    """One evaluation; returns its result and the bytes of the metric's state."""
    metric = WeightedMeanAveragePrecision(k=100, class_weights=weights)
    for start in range(0, len(labels), batch_size):
        rows = slice(start, min(start + batch_size, len(labels)))
        metric.update(
            torch.from_numpy(logits[rows]),
            SparseTargets.from_lists(labels[rows]),
            keys=torch.arange(rows.start, rows.stop),
            annotated=annotated,
        )
    states = metric.metric_state.values()
    parts = (part for state in states if isinstance(state, list) for part in state)
    size = sum(part.numel() * part.element_size() for part in parts)
    return metric.result(), size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--images", type=int, default=14_000)
    parser.add_argument("--classes", type=int, default=17_000)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--annotated", type=int, help="classes that are annotated; default: all")
    parser.add_argument("--labels", type=int, default=36, help="mean labels per image")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the file is removed then too
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(1)
    pool = rng.permutation(options.classes)[: options.annotated]
    annotated = None
    if options.annotated:
        annotated = torch.zeros(options.classes, dtype=torch.bool)
        annotated[torch.from_numpy(pool)] = True
    sizes = rng.poisson(options.labels, options.images)
    labels = [rng.choice(pool, size, replace=False).tolist() for size in sizes]
    weights = torch.from_numpy(rng.random(options.classes))
    seconds, processor_seconds = [], []
    with tempfile.TemporaryDirectory(prefix="map100-") as folder:
        path = Path(folder) / "logits"
        logits = write_logits(path, options.images, options.classes, options.dtype, labels)
        before = anonymous_mib()
        with PeakMemory() as peak:
            for _ in range(options.repeats):
                start, processor_start = time.perf_counter(), time.process_time()
                result, state_bytes = evaluate(
                    logits, labels, weights, annotated, options.batch_size
                )
                seconds.append(time.perf_counter() - start)
                processor_seconds.append(time.process_time() - processor_start)
        del logits
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{versions}, torchmetrics {torchmetrics.__version__}, {options.threads} threads")
    print(
        f"{options.images} images x {options.classes} classes, {options.dtype}, "
        f"annotated: {options.annotated or 'all'}, batches of {options.batch_size}"
    )
    print(f"seconds: median {statistics.median(seconds):.1f}, all {[round(s, 1) for s in seconds]}")
    print(f"processor seconds: median {statistics.median(processor_seconds):.1f}")
    print(f"anonymous memory: {before:.0f} MiB before, {peak.mib:.0f} MiB at the peak")
    print(f"metric's state: {state_bytes / MEBIBYTE:.1f} MiB")
    print(f"MAP@100: per image {result.per_image_map:.6f}, per class {result.per_class_map:.6f}")


if __name__ == "__main__":
    main()
