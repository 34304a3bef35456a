"""The head of the JFT networks alone: 17,000 classes, memory and where the time of a step goes.

2,048 pooled features to 17,000 logits, without and with two layers of 4,096 units, the recipe's
loss (from sparse targets), RMSprop and Polyak average. float32 on the CPU.

    OMP_NUM_THREADS=2 python benchmarks/classifier_head.py
"""

import argparse
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from xception.data.targets import ImageTargets, collate_targets
from xception.models.head import Head
from xception.training.losses import LOSSES
from xception.training.optimizers import OPTIMIZERS
from xception.training.polyak import PolyakAverage

CLASSES, FEATURES, LABELS = 17_000, 2048, 5
PARTS = ("forward", "loss", "backward", "RMSprop", "Polyak average")
MEBIBYTE = 2**20


def anonymous_mib() -> float:
    """Anonymous memory of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / MEBIBYTE
    raise RuntimeError("this kernel does not report RssAnon")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 64, 128, 256])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {threads} threads\n")
    told = " | ".join(f"{part}, ms" for part in PARTS)
    print(f"| fully connected | batch | {told} | step, ms | MiB at the peak |")
    print("| --- " * (4 + len(PARTS)) + "|")
    rng = np.random.default_rng(0)
    start_mib = anonymous_mib()
    for fc_units in ((), (4096, 4096)):
        torch.manual_seed(0)
        head = Head(FEATURES, CLASSES, fc_units=fc_units)
        loss_function = LOSSES["sigmoid"]()
        optimizer = OPTIMIZERS["rmsprop"]([{"params": list(head.parameters())}])
        polyak = PolyakAverage(0.9999)
        polyak.start(head.state_dict())
        for batch in options.batches:
            features = torch.randn(batch, FEATURES, 1, 1).requires_grad_()  # as the network's are
            images = [
                ImageTargets(np.sort(rng.choice(CLASSES, LABELS, replace=False)))
                for _ in range(batch)
            ]
            targets = collate_targets(images)
            rounds, peak = [], 0.0
            for number in range(options.rounds + 2):  # two to warm up
                features.grad = None
                optimizer.zero_grad(set_to_none=True)
                marks = [time.perf_counter()]
                logits = head(features)
                marks.append(time.perf_counter())
                loss = loss_function(logits, targets)
                marks.append(time.perf_counter())
                peak = max(peak, anonymous_mib())
                loss.backward()
                marks.append(time.perf_counter())
                optimizer.step()
                peak = max(peak, anonymous_mib())
                marks.append(time.perf_counter())
                polyak.update(head.state_dict())
                marks.append(time.perf_counter())
                if number > 1:
                    rounds.append([1000 * t for t in np.diff(marks)])
                del logits, loss
            parts = [statistics.median(column) for column in zip(*rounds, strict=True)]
            whole = statistics.median(sum(row) for row in rounds)
            cells = " | ".join(f"{part:.1f}" for part in parts)
            units = " + ".join(map(str, fc_units)) or "none"
            print(
                f"| {units} | {batch} | {cells} | {whole:.0f} | {peak - start_mib:.0f} |",
                flush=True,
            )
        size = sum(p.numel() for p in head.parameters())
        mib = 5 * 4 * size / MEBIBYTE
        print(f"<!-- {size:,} parameters; times 5 tensors of 4 bytes: {mib:.0f} MiB -->")
        del head, optimizer, polyak


if __name__ == "__main__":
    main()
