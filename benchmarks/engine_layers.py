"""Where an engine's time goes: OpenVINO's profile of the 8-bit model beside the float32 one.

    python benchmarks/engine_layers.py --avx2 --folder engines

Both run the network of ``engines.py``, in turns, and OpenVINO times each layer. The layers are
summed by their kind, with the products that they compute and the kernels that the runtime chose.
"""

import argparse
import collections
import math
import multiprocessing
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from engine_contenders import SIZE, calibration_noise, prepare_weights
from hold_to_avx2 import restricted_environment

Layers = dict[str, tuple[str, str, float]]
"""By name: kind, kernel, milliseconds."""


def kinds_and_products(model: Any) -> dict[str, tuple[str, int]]:
    """The kind of every convolution and its multiplications, from an ``openvino.Model``."""
    found = {}
    for node in model.get_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        weights = list(node.input(1).get_shape())
        kernel, strides = weights[-1], node.get_attributes()["strides"]
        kind = f"{kernel}x{kernel}, stride {strides[0]}"
        if node.get_type_name() == "GroupConvolution":
            kind, weights = f"depthwise {kernel}x{kernel}", [1, *weights[2:]]
        elif weights[1] == 3:
            kind = f"first convolution, {kind}"
        products = math.prod(node.output(0).get_shape()) * math.prod(weights[1:])
        found[node.get_friendly_name()] = kind, products
    return found


def profile(request: Any, kinds: dict[str, tuple[str, int]], images: Any) -> Layers:
    """One run's layers."""
    request.infer([images])
    return {
        layer.node_name: (
            kinds.get(layer.node_name, (layer.node_type, 0))[0],
            layer.exec_type,
            1000 * layer.real_time.total_seconds(),
        )
        for layer in request.get_profiling_info()
        if layer.real_time.total_seconds() > 0
    }


def open_request(path: str, batch: int, threads: int) -> tuple[Any, dict[str, tuple[str, int]]]:
    """A model as ``run_openvino`` compiles it, but timed layer by layer."""
    import openvino

    model = openvino.Core().read_model(path)
    model.reshape([batch, 3, SIZE, SIZE])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": True,
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return compiled.create_infer_request(), kinds_and_products(model)


def report(options: argparse.Namespace) -> None:
    """Prints the tables; in a process that may be held to AVX2."""
    import torch

    from xception.export.build import build_engine
    from xception.weights.files import open_model

    torch.set_num_threads(options.threads)
    if options.avx2:
        from unittest.mock import patch

        patch("xception.export.quantisation.cpu_flags", return_value=frozenset({"avx2"})).start()
    loaded = open_model(options.folder / "model.safetensors")
    requests = {}
    for name in ("openvino", "openvino-int8"):
        calibration = calibration_noise() if name == "openvino-int8" else None
        engine = build_engine(loaded, name, options.batch_size, options.threads, calibration)
        path = f"{engine.facts.record['entry']}/model.xml"
        requests[name] = open_request(path, options.batch_size, options.threads)
    images = torch.rand(options.batch_size, 3, SIZE, SIZE).numpy() * 2 - 1
    runs: dict[str, list[Layers]] = {name: [] for name in requests}
    for _ in range(options.rounds):
        for name, (request, kinds) in requests.items():
            request.infer([images])  # the caches are the other's
            runs[name].append(profile(request, kinds, images))
    for name, (_, kinds) in requests.items():
        print_table(name, runs[name], kinds, options)


def print_table(
    name: str, runs: list[Layers], kinds: dict[str, tuple[str, int]], options: argparse.Namespace
) -> None:
    """A row for each kind of layer and kernel: medians over the runs, of layers summed."""
    sums: dict[tuple[str, str], list[float]] = collections.defaultdict(lambda: [0.0] * len(runs))
    count: collections.Counter[tuple[str, str]] = collections.Counter()
    products: collections.Counter[tuple[str, str]] = collections.Counter()
    for layer, (kind, kernel, _) in runs[-1].items():
        count[kind, kernel] += 1
        products[kind, kernel] += kinds.get(layer, ("", 0))[1]
        for number, run in enumerate(runs):
            sums[kind, kernel][number] += run[layer][2] if layer in run else 0.0
    whole = statistics.median(map(sum, zip(*sums.values(), strict=True)))
    print(f"{name}, batch {options.batch_size}: {whole / options.batch_size:.2f} ms per image\n")
    print("| layers | kernel | number | ms per image | share | 10^9 products/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for key in sorted(sums, key=lambda key: -statistics.median(sums[key])):
        taken = statistics.median(sums[key])
        rate = f"{products[key] / taken / 1e6:.0f}" if products[key] else ""
        print(
            f"| {key[0]} | {key[1]} | {count[key]} | {taken / options.batch_size:.2f} "
            f"| {taken / whole:.1%} | {rate} |"
        )
    print(flush=True)
    if options.each:
        for layer, (kind, kernel, _) in runs[-1].items():
            taken = statistics.median(run[layer][2] for run in runs if layer in run)
            made = kinds.get(layer, ("", 0))[1]
            print(f"{taken:8.3f} ms {made / taken / 1e6:6.0f} {kind} {kernel} {layer[:70]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="keeps weights and conversions")
    parser.add_argument("--avx2", action="store_true", help="no newer instructions")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--each", action="store_true", help="every layer, too")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    prepare_weights(options.folder)
    if options.avx2:
        os.environ.update(restricted_environment(options.folder / "avx2"))
    process = multiprocessing.get_context("spawn").Process(target=report, args=(options,))
    process.start()
    process.join()
    sys.exit(process.exitcode)


if __name__ == "__main__":
    main()
