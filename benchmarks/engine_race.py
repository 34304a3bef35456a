"""The race of `engines.py`: a process for every contender, turns in seeded random order."""

import argparse
import multiprocessing
import random
import sys
import time
from multiprocessing.connection import Connection

from engine_contenders import (
    CONTENDERS,
    FLOAT32_TOLERANCE,
    SIZE,
    TOLERANCES,
    build_ours,
    build_peer,
)
from instruction_sampler import sample_instructions


def take_turns(pipe: Connection, name: str, batch: int, options: argparse.Namespace) -> None:
    """A contender's process: builds, sends the logits, then runs once for every message."""
    import torch

    torch.set_num_threads(options.threads)
    if options.avx2:  # what the operating system says of the processor is not held back
        from unittest.mock import patch

        old = frozenset({"avx2"})
        for module in ("quantisation", "build"):
            patch(f"xception.export.{module}.cpu_flags", return_value=old).start()
        patch("xception.export.choice.processor_name", return_value="AVX2 alone").start()
    images = torch.rand(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    note = ""
    if name.startswith("timm"):
        run = build_peer(name, options.folder, batch, options.threads)
    else:
        path = options.folder / "model.safetensors"
        run, note = build_ours(name, path, batch, options.threads)
    with torch.inference_mode():
        pipe.send((run(images).tolist(), note))
        while (word := pipe.recv()) != "leave":
            run(images)  # the caches are another contender's
            if word == "sample":
                pipe.send(str(sample_instructions(options.sampler, lambda: run(images))))
                continue
            began = time.perf_counter()
            run(images)
            pipe.send(time.perf_counter() - began)


def receive(
    pipes: dict[str, Connection],
    logits: dict[str, list[list[float]]],
    notes: dict[str, str],
    batch: int,
) -> None:
    """Waits for the contenders that have not reported yet."""
    for name, pipe in pipes.items():
        if name not in logits:
            logits[name], notes[name] = pipe.recv()
            print(f"batch {batch}: {name} is ready {notes[name]}", file=sys.stderr, flush=True)


def race(batch: int, options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, str]]:
    """The seconds of every contender's turns, and the notes."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    notes: dict[str, str] = {}
    logits: dict[str, list[list[float]]] = {}
    for name in options.contenders:
        if name == "auto":  # it measures: the others are ready and idle by then
            receive(pipes, logits, notes, batch)
        pipes[name], theirs = context.Pipe()
        arguments = (theirs, name, batch, options)
        context.Process(target=take_turns, args=arguments, daemon=True).start()
        theirs.close()
    receive(pipes, logits, notes, batch)
    reference = logits[CONTENDERS[0]]
    largest = max(abs(value) for row in reference for value in row)
    for name, rows in logits.items():
        pairs = (
            pair for a, b in zip(rows, reference, strict=True) for pair in zip(a, b, strict=True)
        )
        difference = max(abs(a - b) for a, b in pairs) / largest
        if not difference < TOLERANCES.get(name, FLOAT32_TOLERANCE):
            sys.exit(f"{name} computes something else than timm's network: {difference:.1e}")
        notes[name] = f"{notes[name]} [difference {difference:.1e}]"
    if options.sampler:
        for name, pipe in pipes.items():
            pipe.send("sample")
            notes[name] = f"{notes[name]} ({pipe.recv()})"  # two pairs of [] would be a link
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    generator = random.Random(0)
    for _ in range(options.rounds):
        for name in generator.sample(list(pipes), len(pipes)):
            pipes[name].send("run")
            seconds[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send("leave")
    return seconds, notes
