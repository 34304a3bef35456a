"""``xception benchmark train|infer [MODEL…]``: networks in modes, interleaved."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xception.cli.benchmark_record import (
    add_record_options,
    check_numbers,
    conditions,
    show_table,
    tell,
)
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
    tell("measures the machine")
    machine = measure_machine(device, DTYPES[work.dtype])
    lanes = run_race(
        contenders,
        work,
        rounds=options.rounds,
        warm_up=options.warm_up,
        seed=options.seed,
        tell=tell,
    )
    wrong = disagreements(lanes, TOLERANCES[work.dtype])
    if wrong:
        raise RunFailedError(f"wrong results, no figure counts: {'; '.join(wrong)}")
    rows = rows_of(lanes, work, machine)
    if all(row.failure for row in rows):
        raise RunFailedError(f"nothing could be timed: {rows[0].model}: {rows[0].failure}")
    found = conditions(verb, arguments, options)
    _show(rows, work, machine, options.rounds)
    if options.json:
        figures = as_primitives(rows, work, machine, found)
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")
    if options.plot:
        draw(rows, work, Path(options.plot))
    if options.save:
        folder = Path(options.save)
        folder.mkdir(parents=True, exist_ok=True)
        path = result_path(folder, work, found)
        path.write_text(markdown(rows, work, machine, found))
        print(f"written to {path}")
    return 1 if any(row.failure for row in rows) else 0


def _show(rows: Any, work: Any, machine: Any, rounds: int) -> None:
    from xception.benchmark.report import HEADINGS, cells, conditions_sentence

    show_table(HEADINGS, [cells(row) for row in rows if not row.failure])
    for row in rows:
        if row.failure:
            print(f"{row.model}, {row.mode}: {row.failure}")
    counts = {row.parameters for row in rows if row.parameters}
    if len(counts) > 1:
        print("The networks differ in size: compare their ratios with that in mind.")
    print(f"\n{conditions_sentence(work, machine, rounds)}")


def _check(options: "Namespace") -> None:
    check_numbers(options, [("batch_size", 1), ("image_size", 1), ("rounds", 1), ("warm_up", 0)])
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
    add_record_options(parser, "<what>-<device>-<dtype>-<hardware>-<date>.md")
    return parse(parser, arguments)
