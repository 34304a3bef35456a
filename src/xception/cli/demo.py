"""``xception demo``: the main job in half a minute, on images that need no download."""

from collections.abc import Sequence
from pathlib import Path

SUMMARY = "train, evaluate and predict on the embedded digits"
DESCRIPTION = """\
Trains a small Xception on scikit-learn's handwritten digits, evaluates it on held-out ones,
predicts some of them, and writes a report."""
SHOWN = 10  # held-out images that are predicted


def main(arguments: Sequence[str]) -> int:
    """Runs the verb."""
    from xception.cli.parsing import new_parser, parse

    parser = new_parser("demo", DESCRIPTION)
    parser.add_argument(
        "--output", type=str, default="runs/demo", help="Directory of the run; replaced if a run."
    )
    parser.add_argument(
        "--epochs", type=int, default=15, help="Epochs of training; fewer learn less."
    )
    options = parse(parser, list(arguments))
    output = Path(options.output)

    from xception.cli import predict, train
    from xception.cli.results import print_results
    from xception.training.run_directory import RunDirectory

    code = train.train(
        "digits-xception",
        [f"--trainer.max_epochs={options.epochs}"],
        output,
        overwrite=True,
        print_table=False,
    )
    if code:
        return code
    images = write_images(output / "images")
    print(f"\nprediction on {len(images)} held-out images, in {output / 'images'}:")
    code = predict.main([str(output), *map(str, images), "--top-k", "1"])
    print()
    print_results(RunDirectory(output))
    return code


def write_images(directory: Path) -> list[Path]:
    """Writes some of the held-out digits as PNG files; their names tell what they show."""
    from torchvision.io import write_png

    from xception.data.digits import open_digits

    held_out = open_digits("evaluation")
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(SHOWN):
        image, label = held_out[index]
        paths.append(directory / f"scan-{index:02d}-of-a-{held_out.class_names[label]}.png")
        write_png(image, str(paths[-1]))
    return paths
