"""``xception benchmark data [FOLDER]``: input pipelines, interleaved."""

import json
import sys
import tempfile
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

    from xception.benchmark.data_report import DataReport

DESCRIPTION = """\
Times how fast JPEGs become batches of training crops, of crops with changed colours and of
evaluation images: our pipeline, torchvision's and timm's, each in a process of its own with one
thread, in turns, on the same files. FOLDER holds the JPEGs, at any depth; without it, pictures are
generated that cost as much to decode as ImageNet's. Then the loader around it: the index of
1,281,167 files, the start of loader processes, and epoch after epoch."""

DECODERS = ("pillow", "simplejpeg")
_LEAST = [
    ("files", 1),
    ("batch_size", 2),
    ("image_size", 2),
    ("rounds", 1),
    ("warm_up", 0),
    ("workers", 0),
    ("epochs", 0),
]


def main(arguments: Sequence[str]) -> int:
    """Runs the verb; returns 1 when some pipeline did not run."""
    options = _parse(arguments)
    check_numbers(options, _LEAST)
    from xception.benchmark.data_images import find_jpegs, generate_jpegs
    from xception.benchmark.data_pipelines import PIPELINES, choose_pipelines, require_transforms
    from xception.benchmark.report import require_folder, require_picture

    pipelines = choose_pipelines(options.pipelines or list(PIPELINES))
    require_transforms(options.transforms or [])
    if options.plot:
        require_picture(Path(options.plot))
    if options.json:
        require_folder("--json", Path(options.json))
    with tempfile.TemporaryDirectory(prefix="xception-benchmark-") as made:
        folder = Path(options.folder or made)
        if options.folder:
            names = find_jpegs(folder, options.files)
        else:
            tell("generates pictures")
            names = generate_jpegs(folder, options.files)
        if len(names) < options.batch_size:
            raise InputError(
                f"there are {len(names)} JPEGs, fewer than a batch of {options.batch_size}; "
                f"give --batch-size {len(names)} or less, or more files"
            )
        report = _measure(arguments, options, pipelines, folder, names)
    _show(report)
    if options.json:
        Path(options.json).write_text(json.dumps(report.as_primitives(), indent=2) + "\n")
    if options.plot:
        from xception.benchmark.data_report import draw

        draw(report, Path(options.plot))
    if options.save:
        from xception.benchmark.data_report import markdown, result_path

        Path(options.save).mkdir(parents=True, exist_ok=True)
        path = result_path(Path(options.save), report.conditions)
        path.write_text(markdown(report))
        print(f"written to {path}")
    return 1 if any(row.failure for row in report.rows) else 0


def _measure(
    arguments: Sequence[str],
    options: "Namespace",
    pipelines: Sequence[Any],
    folder: Path,
    names: list[str],
) -> "DataReport":
    import torch

    from xception.benchmark import data_loader as loader
    from xception.benchmark.data_figures import compare_pixels, data_rows
    from xception.benchmark.data_pipelines import TRANSFORMS, takes_part
    from xception.benchmark.data_report import DataReport
    from xception.benchmark.data_work import DataWork, prepare_pipeline
    from xception.benchmark.machine import measure_machine
    from xception.benchmark.race import run_race
    from xception.training.environment import versions

    torch.set_num_threads(1)
    tell("measures the machine")
    machine = measure_machine(torch.device("cpu"), torch.float32)
    for name in names:  # into the page cache
        (folder / name).read_bytes()
    rows, first = [], None
    for transforms in options.transforms or list(TRANSFORMS):
        work = DataWork(
            folder=str(folder),
            names=tuple(names),
            transforms=transforms,
            batch_size=options.batch_size,
            image_size=options.image_size,
            threads=1,
        )
        first = first or work
        lanes = run_race(
            [pipeline for pipeline in pipelines if takes_part(pipeline, transforms)],
            work,
            rounds=options.rounds,
            warm_up=options.warm_up,
            seed=options.seed,
            prepare=prepare_pipeline,
            tell=lambda text, kind=transforms: tell(f"{kind}: {text}"),  # type: ignore[misc]
        )
        rows += data_rows(lanes, work, machine)
    if all(row.failure for row in rows):
        failure = rows[0].failure if rows else "no pipeline has these transforms"
        raise RunFailedError(f"nothing could be timed: {failure}")
    assert first is not None
    found = conditions("data", arguments, options)
    found["images"] = "a folder's" if options.folder else "generated"
    found["versions"] |= versions(DECODERS)
    index, starts, epochs = None, [], []
    if options.workers:
        size, workers = options.image_size, options.workers
        tell("builds the index")
        index = loader.measure_index()
        methods: list[Literal["fork", "spawn"]] = (
            ["fork", "spawn"] if sys.platform == "linux" else ["spawn"]
        )
        for method in methods:
            for files in (len(names), loader.IMAGENET_FILES):
                tell(f"starts loader processes ({method})")
                starts.append(
                    loader.measure_start(
                        folder, names, method, files=files, workers=workers, image_size=size
                    )
                )
        if options.epochs:
            tell("reads epochs")
            epochs = loader.measure_epochs(
                folder, names, epochs=options.epochs, workers=workers, image_size=size
            )
    both = {"xception:exact", "xception:fast"} <= {pipeline.name for pipeline in pipelines}
    difference = compare_pixels(first) if both else None
    return DataReport(first, machine, rows, difference, index, starts, epochs, found)


def _show(report: "DataReport") -> None:
    from xception.benchmark.data_report import HEADINGS, cells, conditions_sentence, sentences

    tell("")
    for transforms in dict.fromkeys(row.transforms for row in report.rows):
        rows = [row for row in report.rows if row.transforms == transforms]
        ran = [cells(row) for row in rows if not row.failure]
        show_table([transforms, *HEADINGS[1:]], ran)
        for row in rows:
            if row.failure:
                print(f"{row.pipeline}: {row.failure}")
        print()
    for sentence in sentences(report):
        print(sentence)
    print(f"\n{conditions_sentence(report)}")


def _parse(arguments: Sequence[str]) -> "Namespace":
    parser = new_parser("benchmark data", DESCRIPTION)
    add = parser.add_argument
    add("folder", type=str | None, nargs="?", help="Holds JPEGs; by default some are generated.")
    add(
        "--pipelines",
        type=str,
        nargs="+",
        help="xception:exact, xception:fast, torchvision (ImageFolder: PIL), torchvision:native "
        "(its own decoder), timm; by default all.",
    )
    add(
        "--transforms",
        type=str,
        nargs="+",
        help="crops (training), colors (the same, and colours changed), evaluation; by default "
        "all three, one after another.",
    )
    add("--files", type=int, default=500, help="How many, at most.")
    add("--batch-size", type=int, default=50, help="Files of a step.")
    add("--image-size", type=int, default=299, help="Height and width of the results, pixels.")
    add("--rounds", type=int, default=20, help="Timed batches of each pipeline.")
    add("--warm-up", type=int, default=1, help="Batches of each that do not count.")
    add("--seed", type=int, default=0, help="Decides the order of turns.")
    add("--workers", type=int, default=2, help="Loader processes for what follows; 0: leave out.")
    add("--epochs", type=int, default=3, help="Timed, of at least 3,000 images.")
    add_record_options(parser, "data-<hardware>-<date>.md")
    return parse(parser, arguments)
