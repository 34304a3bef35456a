"""``xception train … --launcher ray|slurm``: the same run, started by a cluster."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xception.cli.parsing import new_parser, parse
from xception.cli.train import default_directory
from xception.errors import InputError

LAUNCHERS = ("ray", "slurm")


@dataclass(frozen=True)
class Start:
    """What is to be started.

    Attributes:
        recipe: Name, YAML file or run directory.
        overrides: Dotted keys with their values.
        directory: Of the run.
        resume: Go on with the run in it.
        overwrite: Replace the run in it.
    """

    recipe: str
    overrides: list[str]
    directory: Path
    resume: bool
    overwrite: bool


def launch(
    name: str,
    recipe: str | None,
    words: list[str],
    *,
    output: str | None,
    resume: bool,
    overwrite: bool,
    wants_help: bool,
) -> int:
    """Takes the launcher's own options from the words and starts, or writes, the run.

    Args:
        name: The launcher.
        recipe: Name, YAML file or run directory.
        words: The launcher's options and the recipe's dotted keys.
        output: The run's directory.
        resume: Go on with the run in it.
        overwrite: Replace the run in it.
        wants_help: Show the launcher's options instead.

    Raises:
        InputError: No such launcher, or a wrong option.
    """
    if name not in LAUNCHERS:
        raise InputError(
            f"there is no launcher '{name}'; choose ray or slurm, "
            "or start torchrun yourself: torchrun --nproc-per-node 8 -m xception train …"
        )
    own, overrides = _split(words)
    begin, parser = (_ray, _ray_parser()) if name == "ray" else (_slurm, _slurm_parser())
    if wants_help:
        parser.print_help()
        return 0
    if recipe is None:
        raise InputError(f"which recipe? xception train RECIPE … --launcher {name}")
    options = parse(parser, own)
    from xception.recipes.load import load_recipe

    found = load_recipe(recipe, overrides)  # mistakes show now, not after hours in a queue
    directory = Path(output) if output else default_directory(recipe, found.name, resume=resume)
    start = Start(recipe, overrides, directory.absolute(), resume, overwrite)
    return begin(found, start, options)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The launcher's options, without a dot in their names, and the recipe's keys."""
    own: list[str] = []
    overrides: list[str] = []
    chosen = overrides
    for word in words:
        if word.startswith("--"):
            key = word.partition("=")[0]
            chosen = overrides if "." in key or key == "--seed" else own
        chosen.append(word)
    return own, overrides


def _slurm_parser() -> Any:
    parser = new_parser("train RECIPE --launcher slurm", "Writes a script for sbatch.")
    parser.add_argument("--nodes", type=int, default=1, help="Machines.")
    parser.add_argument(
        "--gpus-per-node", type=int, default=8, help="GPUs of each; 0: train on its CPU."
    )
    parser.add_argument("--cpus-per-gpu", type=int, default=8, help="CPU cores per process.")
    parser.add_argument("--time", type=str, default="24:00:00", help="Limit of one start.")
    parser.add_argument("--partition", type=str, default="", help="The queue.")
    parser.add_argument("--account", type=str, default="", help="Who pays.")
    parser.add_argument(
        "--notice-seconds", type=int, default=180, help="Time to save before the limit."
    )
    parser.add_argument(
        "--script", type=str, default=None, help="Where to (default: DIR.slurm beside the run)."
    )
    return parser


def _slurm(recipe: Any, start: Start, options: Any) -> int:
    from xception.distributed.slurm import SlurmJob, slurm_script

    if start.overwrite:
        raise InputError(
            f"--overwrite would delete the run again at each requeue; delete {start.directory} "
            "yourself, or name another directory with --output"
        )
    script = Path(options.script or f"{start.directory}.slurm")
    if script.exists():
        raise InputError(f"{script} is there already; delete it or name another with --script")
    job = SlurmJob(
        name=recipe.name,
        nodes=options.nodes,
        gpus_per_node=options.gpus_per_node,
        cpus_per_gpu=options.cpus_per_gpu,
        time=options.time,
        partition=options.partition,
        account=options.account,
        notice_seconds=options.notice_seconds,
        log=f"{start.directory}.%j.log",
    )
    train = [sys.executable, "-m", "xception", "train", start.recipe]
    if Path(start.recipe).exists():
        train[-1] = str(Path(start.recipe).absolute())
    keys = {
        "trainer.num_nodes": job.nodes,
        "trainer.devices": max(1, job.gpus_per_node),
        "trainer.accelerator": "gpu" if job.gpus_per_node else "cpu",
        "trainer.strategy": "ddp",
    }
    given = {word.partition("=")[0] for word in start.overrides}
    for key in ("trainer.num_nodes", "trainer.devices"):
        if f"--{key}" in given:
            raise InputError(f"--{key} follows from --nodes and --gpus-per-node; leave it out")
    more = [w for k, v in keys.items() if f"--{k}" not in given for w in (f"--{k}", str(v))]
    words = [*train, "--output", str(start.directory), "--resume", *start.overrides, *more]
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(slurm_script(job, words))
    script.chmod(0o755)
    print(f"{script} is written, and not verified on a cluster: read it, then\n"
          f"sbatch {shlex.quote(str(script))}")  # fmt: skip
    return 0


def _ray_parser() -> Any:
    parser = new_parser(
        "train RECIPE --launcher ray", "Trains on a Ray cluster, through Ray Train."
    )
    parser.add_argument("--workers", type=int, default=1, help="Training processes.")
    parser.add_argument("--gpus-per-worker", type=int, default=0, help="GPUs of each: 0 or 1.")
    parser.add_argument("--cpus-per-worker", type=int, default=1, help="CPU cores of each.")
    parser.add_argument(
        "--ray-address",
        type=str,
        default="local",
        help="The cluster: auto, HOST:PORT, or local for one on this machine.",
    )
    parser.add_argument(
        "--max-failures", type=int, default=3, help="How often the run goes on after a lost worker."
    )
    return parser


def _ray(recipe: Any, start: Start, options: Any) -> int:
    from xception.cli.results import print_results
    from xception.distributed.ray_launcher import Resources, train_on_ray
    from xception.training.run_directory import RunDirectory

    wanted = Resources(options.workers, options.cpus_per_worker, options.gpus_per_worker)
    run = RunDirectory(start.directory)
    if start.resume and run.is_finished():
        run.claim(recipe.keys, resume=True, overwrite=False, defaults=recipe.defaults())
        print(f"{start.directory} is finished")
        return 0
    train_on_ray(
        _train_here,
        {"recipe": start.recipe, "overrides": start.overrides, "directory": str(start.directory)},
        wanted,
        address=options.ray_address,
        max_failures=options.max_failures,
        # Claimed once, by this process: each attempt of the workers then goes on with it.
        before=lambda: run.claim(
            recipe.keys,
            resume=start.resume,
            overwrite=start.overwrite,
            defaults=recipe.defaults() if start.resume else None,
        ),
    )
    print_results(run)
    return 0


def _train_here(settings: dict[str, Any], trainer: dict[str, Any]) -> None:
    """What each worker does: the same run as without a cluster.

    Args:
        settings: Recipe, overrides, directory.
        trainer: Lightning's strategy and plugins for this cluster, instead of the recipe's.
    """
    from xception.recipes.load import load_recipe
    from xception.recipes.run import run_recipe

    recipe = load_recipe(settings["recipe"], settings["overrides"])
    run_recipe(recipe, Path(settings["directory"]), resume=True, trainer=trainer)
