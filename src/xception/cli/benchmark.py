"""``xception benchmark train|infer|data|kernels``: speed beside the peers', interleaved."""

from collections.abc import Sequence
from importlib import import_module

from xception.errors import InputError, nearest

SUMMARY = "speed of training, inference, data and kernels, beside the peers'"

VERBS = {
    "train": "training steps of our networks, timm's, torchvision's, Keras'",
    "infer": "the same networks' inference",
    "data": "input pipelines: ours, torchvision's, timm's",
    "kernels": "the fused kernels, on a CUDA GPU",
}


def main(arguments: Sequence[str]) -> int:
    """Runs one of the verbs."""
    words = list(arguments)
    if not words or words[0] in ("-h", "--help"):
        lines = "\n".join(f"  {verb:<8} {summary}" for verb, summary in VERBS.items())
        print(f"usage: xception benchmark VERB …\n\n{SUMMARY}\n\nverbs:\n{lines}")
        return 0 if words else 2
    verb, *rest = words
    if verb not in VERBS:
        hint = nearest(verb, list(VERBS))
        raise InputError(
            f"there is no verb 'benchmark {verb}'{hint}; see xception benchmark --help"
        )
    if verb == "kernels":
        from xception.benchmark.kernels import main as run_kernels

        return run_kernels(rest)
    if verb == "data":
        from xception.cli.benchmark_data import main as run_data

        return run_data(rest)
    return int(import_module("xception.cli.benchmark_networks").main(verb, rest))
