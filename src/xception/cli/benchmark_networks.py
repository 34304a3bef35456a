"""``xception benchmark train|infer [MODEL…]``: networks in modes, interleaved."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xception.cli.parsing import new_parser, parse
from xception.errors import InputError, RunFailedError

if TYPE_CHECKING:
    from jsonargparse import Namespace

DESCRIPTION = """\
Times networks on the same work, each in a process of its own, one step a round in seeded random
order, after checking that all modes of a network compute the same. MODEL is one of our networks, or
timm:NAME, torchvision:NAME, keras:NAME. The first network in the first mode is what the ratios
refer to."""

DEFAULT_MODELS = ["timm:legacy_xception", "xception"]
# Largest difference between two modes of a network, over the largest value: sums in another order,
# through 40 BatchNorms in training mode, in the precision of the dtype.
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.03}


def main(verb: str, arguments: Sequence[str]) -> int:
    """Runs the verb; returns 1 when some contender did not run."""
    options = _parse(verb, arguments)
    _check(options)

    from xception.benchmark.contenders import choose_contenders
    from xception.benchmark.report import require_folder, require_picture

    contenders = choose_contenders(options.models or DEFAULT_MODELS, options.modes)
    if options.plot:
        require_picture(Path(options.plot))
    if options.json:
        require_folder("--json", Path(options.json))

    import torch

    from xception.benchmark.figures import as_primitives, disagreements, rows_of
    from xception.benchmark.machine import measure_machine
    from xception.benchmark.race import run_race
    from xception.benchmark.report import draw, markdown, result_path
    from xception.benchmark.work import DTYPES, Work
    from xception.inference.devices import choose_device

    device = choose_device(options.device)
    threads = options.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    work = Work(
        kind="train" if verb == "train" else "infer",
        batch_size=options.batch_size,
        image_size=options.image_size,
        dtype=options.dtype,
        threads=threads,
        device=str(device),
    )
    _tell("measures the machine")
    machine = measure_machine(device, DTYPES[work.dtype])
    lanes = run_race(
        contenders,
        work,
        rounds=options.rounds,
        warm_up=options.warm_up,
        seed=options.seed,
        tell=_tell,
    )
    wrong = disagreements(lanes, TOLERANCES[work.dtype])
    if wrong:
        raise RunFailedError(f"wrong results, no figure counts: {'; '.join(wrong)}")
    rows = rows_of(lanes, work, machine)
    if all(row.failure for row in rows):
        raise RunFailedError(f"nothing could be timed: {rows[0].model}: {rows[0].failure}")
    conditions = _conditions(verb, arguments, options)
    _show(rows, work, machine, options.rounds)
    if options.json:
        found = as_primitives(rows, work, machine, conditions)
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")
    if options.plot:
        draw(rows, work, Path(options.plot))
    if options.save:
        folder = Path(options.save)
        folder.mkdir(parents=True, exist_ok=True)
        path = result_path(folder, work, conditions)
        path.write_text(markdown(rows, work, machine, conditions))
        print(f"written to {path}")
    return 1 if any(row.failure for row in rows) else 0


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _show(rows: Any, work: Any, machine: Any, rounds: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from xception.benchmark.report import HEADINGS, cells, conditions_sentence

    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        if not row.failure:
            table.add_row(*cells(row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 140)
    console.print(table)
    for row in rows:
        if row.failure:
            print(f"{row.model}, {row.mode}: {row.failure}")
    counts = {row.parameters for row in rows if row.parameters}
    if len(counts) > 1:
        print("The networks differ in size: compare their ratios with that in mind.")
    print(f"\n{conditions_sentence(work, machine, rounds)}")


def _conditions(verb: str, arguments: Sequence[str], options: "Namespace") -> dict[str, Any]:
    import datetime

    from xception.training.environment import commit, hardware, versions

    machine = hardware()
    name = options.hardware or (machine["gpus"] or [machine["processor"]])[0]
    return {
        "rounds": options.rounds,
        "warm_up": options.warm_up,
        "seed": options.seed,
        "command": shlex.join(["xception", "benchmark", verb, *arguments]),
        "hardware_name": name,
        "hardware": machine,
        "versions": versions(),
        "commit": commit(),
        "date": str(datetime.date.today()),
    }


def _check(options: "Namespace") -> None:
    limits = (("batch_size", 1), ("image_size", 1), ("rounds", 1), ("warm_up", 0))
    for key, least in limits:
        if getattr(options, key) < least:
            flag = key.replace("_", "-")
            raise InputError(f"--{flag} is {getattr(options, key)}; give {least} or more")
    if options.threads is not None and options.threads < 1:
        raise InputError(f"--threads is {options.threads}; give 1 or more")


def _parse(verb: str, arguments: Sequence[str]) -> "Namespace":
    parser = new_parser(f"benchmark {verb}", DESCRIPTION)
    add = parser.add_argument
    add("models", type=str, nargs="*", help=f"By default {' '.join(DEFAULT_MODELS)}.")
    add(
        "--modes",
        type=str,
        nargs="+",
        default=["eager", "channels_last"],
        help="eager, channels_last, compile, keep_memory, or several joined by +.",
    )
    add("--batch-size", type=int, default=8, help="Images in a step.")
    add("--image-size", type=int, default=299, help="Their height and width, pixels.")
    add(
        "--dtype",
        type=Literal["float32", "bfloat16", "float16"],
        default="float32",
        help="Half precision trains by autocast, and casts the weights for inference.",
    )
    add("--rounds", type=int, default=10, help="Timed steps of each contender.")
    add("--warm-up", type=int, default=2, help="Steps of each that do not count.")
    add("--seed", type=int, default=0, help="Decides the order of turns.")
    add("--threads", type=int | None, help="Of the CPU; by default as many as torch takes.")
    add("--device", type=Literal["auto", "cpu", "cuda"], default="auto", help="Where to compute.")
    add("--json", type=str, help="File to write all figures to.")
    add("--plot", type=str, help="Picture to write: .svg, .png or .pdf.")
    add("--save", type=str, help="Folder to write <what>-<device>-<dtype>-<hardware>-<date>.md to.")
    add("--hardware", type=str, help="The hardware's name in that file; by default as it says.")
    return parse(parser, arguments)
