"""What memory that a training step gives back to the system costs it: page faults, step by step.

    python benchmarks/freed_memory.py --dtypes float32 bfloat16

``plain`` is the step of ``cpu_training.py step`` with glibc as it is, one step after the other in a
process of its own: the gradients of the step before are freed before the forward pass. In
``gradients stay`` they are freed after it, as Lightning does it. ``kept`` is ``keep_memory``.
"""

import argparse
import multiprocessing
import resource
import shlex
import statistics
import sys
import time

SETTINGS = ("plain", "gradients stay", "kept")


def run_steps(setting: str, dtype_name: str, options: argparse.Namespace) -> None:
    """A process: two steps of warming up, then the steps that count."""
    import torch
    import torch.nn.functional as F

    from xception.benchmark.contenders import build_network
    from xception.training.memory import keep_freed_memory

    torch.set_num_threads(options.threads)
    if setting == "kept":
        keep_freed_memory()
    network = build_network("xception").train().to(memory_format=torch.channels_last)
    shape = options.batch_size, 3, options.size, options.size
    images = (torch.rand(shape) * 2 - 1).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(1000, (options.batch_size,))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-5)
    dtype = getattr(torch, dtype_name)

    def step() -> None:
        if setting != "gradients stay":
            optimizer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(network(images), labels)
        if setting == "gradients stay":
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(2):
        step()
    rows = []
    for _ in range(options.steps):
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        step()
        seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
        faults = after.ru_minflt - before.ru_minflt
        rows.append((seconds, faults, after.ru_stime - before.ru_stime))
    seconds, faults, system = (statistics.median(column) for column in zip(*rows, strict=True))
    print(
        f"| {dtype_name} | {setting} | {1000 * seconds:,.0f} | {faults:,.0f} "
        f"| {1000 * system:,.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--size", type=int, default=299)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    print(f"    python {shlex.join(sys.argv)}\n")
    print("| dtype | setting | ms a step | page faults | processor time in the system, ms |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    context = multiprocessing.get_context("spawn")
    for dtype in options.dtypes:
        for setting in options.settings:
            process = context.Process(target=run_steps, args=(setting, dtype, options))
            process.start()
            process.join()


if __name__ == "__main__":
    main()
