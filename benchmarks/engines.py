"""CPU inference: every engine beside ONNX Runtime and OpenVINO fed with timm's model.

    python benchmarks/engines.py --hardware 'two cores of …' --save benchmarks/results

One set of weights (timm's ``legacy_xception``, random, with settled BatchNorm statistics) is run by
all. Every contender has a process of its own; each one's logits are compared with timm's eager ones
before anything is timed; then each takes one turn a round, in seeded random order.

``--avx2`` holds every contender to AVX2 (see ``hold_to_avx2.py``). ``--sample`` counts which kind
of vector instruction each one runs. ``--folder`` keeps weights and conversions for the next time,
but not what ``auto`` measured.
"""

import argparse
import contextlib
import datetime
import os
import re
import shlex
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from engine_contenders import BFLOAT16, CONTENDERS, PEERS, SIZE, prepare_weights
from engine_race import race
from hold_to_avx2 import restricted_environment
from instruction_sampler import build_sampler


def table(batch: int, seconds: dict[str, list[float]], notes: dict[str, str]) -> list[str]:
    """Markdown lines: one row for each contender."""
    median = {name: statistics.median(values) for name, values in seconds.items()}
    peers = [name for name in (CONTENDERS[0], *PEERS) if name in median]
    fastest = min(peers, key=lambda name: median[name])
    lines = [
        f"## Batch {batch}, {len(seconds[fastest])} rounds",
        "",
        "| contender | ms per image | quartiles | images/s | of timm eager "
        "| of timm in ONNX Runtime | of the fastest peer |",
        "|" + " --- |" * 7,
    ]
    for name, values in seconds.items():
        low, _, high = statistics.quantiles(values, n=4)
        over = [
            f"{median[peer] / median[name]:.2f}" if peer in median else ""
            for peer in (CONTENDERS[0], PEERS[0], fastest)
        ]
        lines.append(
            f"| {name} | {1000 * median[name] / batch:.1f} "
            f"| {1000 * low / batch:.1f}–{1000 * high / batch:.1f} "
            f"| {batch / median[name]:.1f} | {' | '.join(over)} |"
        )
    told = [f"- {name}: {note.strip()}" for name, note in notes.items()]
    return [*lines, "", f"The fastest peer in float32: {fastest}.", "", *told, ""]


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, help="by default all")
    parser.add_argument("--avx2", action="store_true", help="no newer instructions; and --sample")
    parser.add_argument("--sample", action="store_true", help="tell which instructions are run")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--hardware", default="this machine")
    parser.add_argument("--save", type=Path, help="file or folder for the tables")
    options = parser.parse_args()
    if options.contenders is None:  # AVX2 has no products of bfloat16 numbers
        names = [name for name in CONTENDERS if not (options.avx2 and name in BFLOAT16)]
        options.contenders = names
    return options


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
    what = "All instructions of the processor"
    if options.avx2:
        what = "All contenders held to AVX2 by hold_to_avx2.py"
        os.environ.update(restricted_environment(options.folder / "avx2"))
    sampled = options.avx2 or options.sample
    options.sampler = build_sampler(options.folder / "sampler") if sampled else None
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
