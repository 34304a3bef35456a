"""CPU inference: every engine beside ONNX Runtime and OpenVINO fed with timm's model.

    python benchmarks/engines.py --hardware 'two cores of …' --save benchmarks/results

One set of weights (timm's ``legacy_xception``, random, with settled BatchNorm statistics) is run by
all. Every contender has a process of its own; each one's logits are compared with timm's eager ones
before anything is timed; then each takes one turn a round, in seeded random order.

``--avx2`` forbids newer instructions where a library can be told so: PyTorch and OpenVINO can, ONNX
Runtime can't. ``--folder`` keeps weights and conversions for the next time, but not what ``auto``
measured.
"""

import argparse
import contextlib
import datetime
import multiprocessing
import os
import random
import re
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

SIZE, CLASSES = 299, 1000
PEERS = ("timm: ONNX Runtime", "timm: OpenVINO", "timm: OpenVINO, fixed batch")
CONTENDERS = (
    "timm: PyTorch eager",
    *PEERS,
    "PyTorch eager",
    "torch",
    "compile",
    "onnxruntime",
    "openvino",
    "openvino-int8",
    "auto",
)
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"}
FLOAT32, INT8 = 1e-4, 0.2  # largest difference of the logits to timm's, over their largest


def prepare_weights(folder: Path) -> Path:
    """Writes timm's network, its ONNX file and ours with the same weights; returns ours."""
    import timm
    import torch

    from xception.data.preprocessing import Preprocessing
    from xception.weights.files import open_model, save_model

    path = folder / "model.safetensors"
    if path.is_file():
        return path
    torch.manual_seed(0)
    network = timm.create_model("legacy_xception", pretrained=False, num_classes=CLASSES)
    with torch.no_grad():
        for _ in range(20):  # momentum 0.1: the statistics settle, and with them the activations
            network(torch.rand(4, 3, 149, 149) * 2 - 1)
    torch.save(network.state_dict(), folder / "timm.pth")
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 3, SIZE, SIZE),),
        folder / "timm.onnx",
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    save_model(open_model(folder / "timm.pth").model, path, preprocessing=Preprocessing(size=SIZE))
    return path


def timm_network(folder: Path) -> Any:
    """The network of timm as its users get it, in evaluation mode."""
    import timm
    import torch

    network = timm.create_model("legacy_xception", pretrained=False, num_classes=CLASSES)
    network.load_state_dict(torch.load(folder / "timm.pth", weights_only=True))
    return network.eval()


def build_peer(name: str, folder: Path, batch: int, threads: int) -> Callable[[Any], Any]:
    """The model of timm in a runtime, by that runtime's own documentation."""
    import torch

    if name == "timm: PyTorch eager":
        return timm_network(folder)
    if name == "timm: ONNX Runtime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            str(folder / "timm.onnx"), options, providers=["CPUExecutionProvider"]
        )
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    import openvino

    model = openvino.convert_model(
        timm_network(folder),
        example_input=torch.zeros(2, 3, SIZE, SIZE),
        input=[batch if name.endswith("fixed batch") else -1, 3, SIZE, SIZE],
    )
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # by itself it takes bfloat16 where the CPU has it
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return lambda images: torch.from_numpy(compiled(images.numpy())[0].copy())


def build_ours(name: str, path: Path, batch: int, threads: int) -> tuple[Callable[[Any], Any], str]:
    """One of the project's engines, and what it says of itself."""
    import torch

    from xception.export import load_engine
    from xception.export.calibration import make_calibration
    from xception.weights.files import open_model

    loaded = open_model(path)
    if name == "PyTorch eager":
        return loaded.model, ""
    pixels = torch.randint(
        0, 256, (10, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    calibration = make_calibration(list(pixels), "noise") if name == "openvino-int8" else None
    engine = load_engine(loaded, name, batch_size=batch, threads=threads, calibration=calibration)
    return engine, engine.facts.note


def take_turns(
    pipe: Connection, name: str, folder: Path, batch: int, threads: int, avx2: bool
) -> None:
    """A contender's process: builds, sends the logits, then runs once for every message."""
    if avx2:
        os.environ.update(AVX2)
    import torch

    torch.set_num_threads(threads)
    if avx2:  # as on a processor without VNNI; what auto measures is kept apart
        from unittest.mock import patch

        old = frozenset({"avx2"})
        patch("xception.export.quantisation.cpu_flags", return_value=old).start()
        patch("xception.export.choice.processor_name", return_value="AVX2 alone").start()
    images = torch.rand(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    note = ""
    if name.startswith("timm"):
        run = build_peer(name, folder, batch, threads)
    else:
        run, note = build_ours(name, folder / "model.safetensors", batch, threads)
    with torch.inference_mode():
        pipe.send((run(images).tolist(), note))
        while pipe.recv():
            run(images)  # the caches are another contender's
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
        arguments = (theirs, name, options.folder, batch, options.threads, options.avx2)
        context.Process(target=take_turns, args=arguments, daemon=True).start()
        theirs.close()
    receive(pipes, logits, notes, batch)
    reference = logits["timm: PyTorch eager"]
    largest = max(abs(value) for row in reference for value in row)
    for name, rows in logits.items():
        pairs = (
            pair for a, b in zip(rows, reference, strict=True) for pair in zip(a, b, strict=True)
        )
        difference = max(abs(a - b) for a, b in pairs) / largest
        if not difference < (INT8 if "int8" in name else FLOAT32):
            sys.exit(f"{name} computes something else than timm's network: {difference:.1e}")
        notes[name] = f"{notes[name]} [difference {difference:.1e}]"
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    generator = random.Random(0)
    rounds = options.rounds if batch == 1 else max(3, options.rounds // 3)
    for _ in range(rounds):
        for name in generator.sample(list(pipes), len(pipes)):
            pipes[name].send(True)
            seconds[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(False)
    return seconds, notes


def table(batch: int, seconds: dict[str, list[float]], notes: dict[str, str]) -> list[str]:
    """Markdown lines: one row for each contender."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    fastest = min((name for name in PEERS if name in median), key=lambda name: median[name])
    lines = [
        f"## Batch {batch}, {len(seconds[fastest])} rounds",
        "",
        "| contender | ms per image | quartiles | images/s | of timm eager "
        "| of timm in ONNX Runtime | of the fastest peer |",
        "|" + " --- |" * 7,
    ]
    for name, values in seconds.items():
        low, _, high = statistics.quantiles(values, n=4)
        over = (median[peer] / median[name] for peer in (CONTENDERS[0], PEERS[0], fastest))
        lines.append(
            f"| {name} | {1000 * median[name] / batch:.1f} "
            f"| {1000 * low / batch:.1f}–{1000 * high / batch:.1f} "
            f"| {batch / median[name]:.1f} | {' | '.join(f'{ratio:.2f}' for ratio in over)} |"
        )
    told = [f"- {name}: {note.strip()}" for name, note in notes.items()]
    return [*lines, "", f"The fastest peer: {fastest}.", "", *told, ""]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30, help="a third at larger batches")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--hardware", default="this machine")
    parser.add_argument("--save", type=Path, help="file or folder for the tables")
    return parser.parse_args()


def result_file(place: Path, hardware: str, date: str) -> Path:
    """The file for the tables: ``engines-<hardware>-<date>.md`` where a folder is given.

    What can't be written is refused now, not after minutes of measuring.
    """
    if place.is_dir():
        place /= f"engines-{re.sub(r'[^a-z0-9]+', '-', hardware.lower()).strip('-')}-{date}.md"
    try:
        place.open("a").close()
    except OSError as error:
        sys.exit(f"--save {place} can't be written ({error.strerror}); give a folder or a file")
    return place


def main() -> None:
    options = read_options()
    date = str(datetime.date.today())
    if options.save:
        options.save = result_file(options.save, options.hardware, date)
    with contextlib.ExitStack() as stack:
        options.folder = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        )
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options, date)


def measure(options: argparse.Namespace, date: str) -> None:
    """Races the contenders at every batch size; prints and saves the tables."""
    from xception.export.extras import versions_of

    for measured in options.folder.glob("*.engines/auto-*"):
        shutil.rmtree(measured)
    prepare_weights(options.folder)
    names = ("torch", "timm", "onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
    versions = ", ".join(f"{name} {version}" for name, version in versions_of(*names).items())
    what = (
        f"Instructions newer than AVX2 forbidden ({AVX2})" if options.avx2 else "All instructions"
    )
    lines = [
        f"# CPU engines on {options.hardware}",
        "",
        f"{SIZE}x{SIZE}, {options.threads} threads; medians and quartiles of interleaved turns. "
        f"{what}. Columns “of …”: speed over that contender's.",
        "",
        f"{date}; python {sys.version.split()[0]}, {versions}",
        "",
        f"    python {shlex.join(sys.argv)}",
        "",
    ]
    for batch in options.batch_sizes:
        lines += table(batch, *race(batch, options))
        if options.save:  # after each, should the next one be stopped
            options.save.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
