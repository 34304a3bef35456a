"""What fine-tuning is worth: half of CIFAR-10's classes to begin with, a few images of the others.

    python benchmarks/finetuning.py --data-root cifar10 --output runs/finetuning

CIFAR-10 as image folders, ``train/`` and ``test/``. A small Xception is trained on five classes
(``cifar10-xception``, fewer epochs). Then the recipe ``finetune`` as it is shipped sees some images
of each of the other five classes, drawn anew for every seed, and is evaluated on all their test
images: from the trained weights, from those with the backbone frozen, and from random ones. The
learning rate is the recipe's, unless others are given to compare.
"""

import argparse
import datetime
import json
import random
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

FIRST = ("airplane", "automobile", "bird", "cat", "deer")
SECOND = ("dog", "frog", "horse", "ship", "truck")
WAYS = {
    "from trained weights": ("trained", []),
    "from trained weights, head alone": ("trained", ["--model.freeze", "backbone"]),
    "from random weights": ("random", []),
}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="what is there is not run again")
    parser.add_argument("--epochs", type=int, default=12, help="on the first five classes")
    parser.add_argument("--images", type=int, nargs="+", default=[50], help="of each other class")
    parser.add_argument(
        "--learning-rates", nargs="+", default=["0.01"], help="the recipe's is 0.01"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--hardware", default="this machine")
    parser.add_argument("--save", type=Path, help="folder for the table")
    return parser.parse_args()


def link(files: list[Path], folder: Path) -> None:
    """Makes a class folder of links."""
    folder.mkdir(parents=True)
    for file in files:
        (folder / file.name).symlink_to(file.resolve())


def prepare(root: Path, output: Path, images: int, seed: int) -> Path:
    """The images to fine-tune on, ``train/``, and all test images of their classes, ``val/``."""
    folder = output / f"images-{images}-seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    draw = random.Random(seed)
    for name in SECOND:
        link(
            draw.sample(sorted((root / "train" / name).iterdir()), images), folder / "train" / name
        )
        link(sorted((root / "test" / name).iterdir()), folder / "val" / name)
    return folder


def train(words: list[str], run: Path) -> float:
    """Top-1 of a run on its held-out images; begins it or takes what is there."""
    if not (run / "summary.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        command = [sys.executable, "-m", "xception", "train", *words, "--output", str(run)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return float(json.loads((run / "summary.json").read_text())["evaluation"]["top1"])


def starting_weights(options: argparse.Namespace) -> tuple[dict[str, Path], float]:
    """Trained and random weights of the same network, and the trained ones' top-1."""
    import torch

    from xception import create_model, open_model, save_model

    halves = options.output / "first"
    if not halves.is_dir():
        for part in ("train", "test"):
            for name in FIRST:
                link(sorted((options.data_root / part / name).iterdir()), halves / part / name)
    trained = options.output / "trained"
    words = ["cifar10-xception", "--data.root", str(halves), "--data.name", "folder"]
    words += ["--trainer.max_epochs", str(options.epochs)]
    top1 = train([*words, "--trainer.precision", options.precision], trained)
    loaded = open_model(trained)
    torch.manual_seed(0)
    fresh = create_model(loaded.description.architecture, **loaded.description.arguments)
    save_model(fresh, options.output / "random.safetensors", preprocessing=loaded.preprocessing)
    weights = {"trained": trained / "model.safetensors"}
    return {**weights, "random": options.output / "random.safetensors"}, top1


def main() -> None:
    options = read_options()
    options.output.mkdir(parents=True, exist_ok=True)
    weights, first = starting_weights(options)
    date = str(datetime.date.today())
    lines = [
        f"# Fine-tuning on {options.hardware}",
        "",
        f"The small network of `cifar10-xception`, {options.epochs} epochs on five classes of "
        f"CIFAR-10 ({', '.join(FIRST)}; top-1 {first:.4f} on their test images). Then the recipe "
        f"`finetune` on a few images of {', '.join(SECOND)}: top-1 on their 5,000 test images "
        f"(chance: 0.2), mean and range over {options.seeds} draws.",
        "",
        f"{date}; python {sys.version.split()[0]}, precision {options.precision}",
        "",
        f"    python {shlex.join(sys.argv)}",
        "",
        "| images of each class | learning rate | start | top-1 | range |",
        "| --- | --- | --- | --- | --- |",
    ]
    for images in options.images:
        roots = [
            prepare(options.data_root, options.output, images, s) for s in range(options.seeds)
        ]
        for rate in options.learning_rates:
            for way, (start, extra) in WAYS.items():
                found = []
                for seed, root in enumerate(roots):
                    place = re.sub(r"\W+", "-", f"{way}-{images}-{rate}-{seed}")
                    words = ["finetune", "--model.weights", str(weights[start]), *extra]
                    words += ["--data.root", str(root), "--seed", str(seed)]
                    words += ["--optimizer.learning_rate", rate]
                    # 5,000 held-out images cost more than the few that are trained on.
                    words += ["--trainer.check_val_every_n_epoch", "5"]
                    words += ["--trainer.precision", options.precision]
                    found.append(train(words, options.output / place))
                mean, low, high = statistics.mean(found), min(found), max(found)
                told = f"{mean:.3f} | {low:.3f}–{high:.3f}"
                lines.append(f"| {images} | {rate} | {way} | {told} |")
                print(lines[-1], file=sys.stderr, flush=True)
    print("\n".join(lines))
    if options.save:
        hardware = re.sub(r"[^a-z0-9]+", "-", options.hardware.lower()).strip("-")
        (options.save / f"finetuning-{hardware}-{date}.md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
