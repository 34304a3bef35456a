"""8-bit sums on a processor without VNNI: the accuracy with and without the guard of 7-bit weights.

    python benchmarks/saturation.py MODEL DATA --data-root FOLDER --calibration IMAGES

``xception evaluate --engine openvino-int8`` runs four times: with weights of 8 bits and of 7, on
this processor and held to AVX2 (``hold_to_avx2.py``). Both runs of a pair use the same quantised
model, which is made in a temporary folder.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from hold_to_avx2 import restricted_environment

FLAGS = {8: {"avx512_vnni"}, 7: {"avx2"}}  # what makes the project choose these bits


def run_command(bits: int, words: list[str]) -> None:
    """The command line of ``xception``, as on a processor that needs these bits."""
    from unittest.mock import patch

    from xception.cli.main import main

    with patch("xception.export.quantisation.cpu_flags", return_value=frozenset(FLAGS[bits])):
        sys.exit(main(words))


def evaluate(bits: int, words: list[str], environment: dict[str, str]) -> dict[str, float]:
    """What ``xception evaluate --json`` prints."""
    command = [sys.executable, __file__, "--bits", str(bits), "--", *words]
    told = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, float] = json.loads(told.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="keeps where cpuid stands for the next time")
    parser.add_argument("--weights", type=int, nargs="+", default=list(FLAGS), choices=list(FLAGS))
    parser.add_argument("model", type=Path, help="a .safetensors file")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="the rest of xception evaluate's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        held = restricted_environment((options.folder or Path(temporary)) / "avx2")
        path = shutil.copy(options.model, temporary)
        words = ["evaluate", path, *options.words, "--engine", "openvino-int8", "--json"]
        print(f"    python {shlex.join(sys.argv)}\n")
        print("| weights | processor | top-1 | top-1 in float32 | cross-entropy |")
        print("| --- | --- | --- | --- | --- |")
        for bits in options.weights:
            for name, environment in (("as it is", {}), ("held to AVX2", held)):
                found = evaluate(bits, words, environment)
                print(
                    f"| {bits} bits | {name} | {found['top1']:.4f} | {found['float32_top1']:.4f} "
                    f"| {found['loss']:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bits"]:
        run_command(int(sys.argv[2]), sys.argv[4:])
    main()
