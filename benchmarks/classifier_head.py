"""The head of the JFT networks alone: 17,000 classes, memory and where the time of a step goes.

2,048 pooled features to 17,000 logits, without and with two layers of 4,096 units, in float32 on
the CPU. "xception": the recipe's loss from sparse targets, RMSprop as TensorFlow computes it, the
Polyak average. "dense": what PyTorch has for the same: a matrix of targets, its sigmoid
cross-entropy, its RMSprop and its moving average. Both take turns, step by step, in one process;
the memory of each is that of a process of its own.

    OMP_NUM_THREADS=2 python benchmarks/classifier_head.py
    OMP_NUM_THREADS=2 python benchmarks/classifier_head.py --fully-connected
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from xception.data.targets import BatchTargets, ImageTargets, collate_targets
from xception.models.head import Head
from xception.training.losses import LOSSES
from xception.training.optimizers import OPTIMIZERS
from xception.training.polyak import PolyakAverage

CLASSES, FEATURES, LABELS = 17_000, 2048, 5
PARTS = ("forward", "loss", "backward", "RMSprop", "average")
CONTENDERS = ("xception", "dense")
WARM_UP = 2
MEBIBYTE = 2**20


class Contender:
    """A head with loss, optimizer and average, and a step of it.

    Args:
        name: "xception" or "dense".
        fc_units: Units of the fully-connected layers.
    """

    def __init__(self, name: str, fc_units: tuple[int, ...]) -> None:
        self.name = name
        torch.manual_seed(0)
        self.head = Head(FEATURES, CLASSES, fc_units=fc_units)
        parameters = list(self.head.parameters())
        self.parameters = sum(parameter.numel() for parameter in parameters)
        self.update: Callable[[], None]
        if name == "xception":
            loss = LOSSES["sigmoid"]()
            self.loss: Callable[[Tensor, BatchTargets], Tensor] = loss
            self.optimizer = OPTIMIZERS["rmsprop"]([{"params": parameters}], learning_rate=1e-3)
            polyak = PolyakAverage(0.9999)
            polyak.start(self.head.state_dict())
            self.update = lambda: polyak.update(self.head.state_dict())
        else:
            self.loss = dense_loss
            self.optimizer = torch.optim.RMSprop(
                parameters, lr=1e-3, alpha=0.9, eps=1.0, momentum=0.9
            )
            average = AveragedModel(self.head, multi_avg_fn=get_ema_multi_avg_fn(0.9999))
            self.update = lambda: average.update_parameters(self.head)

    def step(self, features: Tensor, targets: BatchTargets) -> tuple[list[float], float]:
        """Milliseconds of each part of a step, and the loss."""
        features.grad = None
        self.optimizer.zero_grad(set_to_none=True)
        marks = [time.perf_counter()]
        logits = self.head(features)
        marks.append(time.perf_counter())
        loss = self.loss(logits, targets)
        marks.append(time.perf_counter())
        loss.backward()
        marks.append(time.perf_counter())
        self.optimizer.step()
        marks.append(time.perf_counter())
        self.update()
        marks.append(time.perf_counter())
        return [1000 * (end - start) for start, end in pairwise(marks)], loss.item()


def dense_loss(logits: Tensor, targets: BatchTargets) -> Tensor:
    """PyTorch's sigmoid cross-entropy of a matrix of targets, which is built here."""
    dense = torch.zeros_like(logits)
    dense[targets.rows, targets.class_ids] = 1
    summed = functional.binary_cross_entropy_with_logits(logits, dense, reduction="sum")
    return summed / len(logits)


def batches(size: int) -> Iterator[tuple[Tensor, BatchTargets]]:
    """Random features, of which a network wants the gradient too, with five labels to an image."""
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    while True:
        features = torch.randn(size, FEATURES, 1, 1, generator=generator).requires_grad_()
        images = [
            ImageTargets(np.sort(rng.choice(CLASSES, LABELS, replace=False))) for _ in range(size)
        ]
        yield features, collate_targets(images)


def status_mib(field: str) -> float:
    """A field of Linux' /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / MEBIBYTE
    raise RuntimeError(f"this kernel does not report {field}")


def tell_memory(name: str, fc_units: tuple[int, ...], size: int) -> None:
    """Prints MiB that the head takes, and those at the peak of its steps, in this process."""
    warm = Contender(name, ())  # libraries are loaded, threads are started
    warm.step(*next(batches(1)))
    del warm
    # What that has left behind counts for both.
    before = status_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here on
    contender = Contender(name, fc_units)
    for _, (features, targets) in zip(range(3), batches(size), strict=False):
        contender.step(features, targets)
    print(status_mib("VmHWM") - before)


def memory_of(name: str, fully_connected: bool, size: int) -> float:
    """The same, in a process of its own."""
    words = [sys.executable, __file__, "--memory-of", name, "--batches", str(size)]
    words += ["--fully-connected"] if fully_connected else []
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--fully-connected", action="store_true", help="two layers of 4,096 units")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    fc_units = (4096, 4096) if options.fully_connected else ()
    if options.memory_of:
        tell_memory(options.memory_of, fc_units, options.batches[0])
        return
    memory = {
        (name, size): memory_of(name, options.fully_connected, size)
        for size in options.batches
        for name in CONTENDERS
    }
    contenders = [Contender(name, fc_units) for name in CONTENDERS]
    count = contenders[0].parameters
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; {count:,} parameters; parameters, gradient, two of "
        f"RMSprop and average: {5 * 4 * count / MEBIBYTE:,.0f} MiB\n"
    )
    told = " | ".join(f"{part}, ms" for part in PARTS)
    print(f"| batch | | {told} | step, ms | to the dense | MiB at the peak |")
    print("| --- " * (5 + len(PARTS)) + "|")
    for size in options.batches:
        rounds: dict[str, list[list[float]]] = {name: [] for name in CONTENDERS}
        source = batches(size)
        for number in range(options.rounds + WARM_UP):
            features, targets = next(source)
            order = contenders if number % 2 else contenders[::-1]
            losses = {}
            for contender in order:
                parts, losses[contender.name] = contender.step(features, targets)
                if number >= WARM_UP:
                    rounds[contender.name].append(parts)
            if number == 0 and size == options.batches[0]:  # later the weights differ
                assert abs(losses["xception"] / losses["dense"] - 1) < 1e-5, losses
        whole = {name: [sum(row) for row in rows] for name, rows in rounds.items()}
        ratios = [ours / peer for ours, peer in zip(*whole.values(), strict=True)]
        for name in CONTENDERS:
            columns = zip(*rounds[name], strict=True)
            cells = " | ".join(f"{statistics.median(column):.1f}" for column in columns)
            ratio = f"{statistics.median(ratios):.2f}" if name == "xception" else "1"
            print(
                f"| {size} | {name} | {cells} | {statistics.median(whole[name]):.0f} | {ratio} | "
                f"{memory[name, size]:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
