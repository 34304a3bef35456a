"""``xception verify A B``: whether two models compute the same, and where they first differ."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from xception.cli.parsing import new_parser, parse
from xception.errors import count_of

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from rich.console import Console

    from xception.weights.comparison import ActivationComparison, TensorComparison
    from xception.weights.verification import Verification

SUMMARY = "compare two models layer by layer"

DESCRIPTION = """\
Compares two models: names and values of their tensors, and the output of every layer on the same
images, in the order in which the layers run. Tells the first layer whose output differs, the
largest and relative differences, names that only one side has, and differing settings. The exit
code is 0 when both compute the same, 1 when not. Settings without effect on the layers
(preprocessing, class names) are told and do not count."""

LISTED = 12


def main(arguments: Sequence[str]) -> int:
    """Runs the verb; returns 0 when both compute the same, else 1."""
    options = _parse(arguments)
    from itertools import islice

    from rich.console import Console

    from xception.weights.verification import verify

    images = None
    if options.images:
        from xception.inference.inputs import find_images, require_images

        require_images([options.images])
        images = list(islice(find_images([options.images]), options.limit))
    found = verify(
        options.first,
        options.second,
        images=images,
        size=options.size,
        seed=options.seed,
        kinds=(options.kind_first, options.kind_second),
    )
    console = Console(soft_wrap=True)
    _show_models(console, found)
    _show_tensors(console, found.tensors)
    if found.activations is None:
        console.print(f"layers: not compared, {found.obstacle}", markup=False)
    else:
        seen = count_of(len(images), "image") if images else f"random images, seed {options.seed}"
        _show_layers(console, found.activations, options.tolerance, seen)
    same = found.same(options.tolerance)
    verdict = "both compute the same" if same else "the models differ"
    console.print(f"{verdict} (tolerance {options.tolerance:g} of a layer's largest value)")
    return 0 if same else 1


def _show_models(console: "Console", found: "Verification") -> None:
    from rich.table import Column, Table

    from xception.cli.convert import preprocessing_in_words

    table = Table("", Column("A", overflow="fold"), Column("B", overflow="fold"), box=None)
    both = (found.first, found.second)
    table.add_row("file", *(str(one.path) for one in both))
    table.add_row("recognised as", *(f"{one.kind}: {one.container}" for one in both))
    table.add_row("numerics", *(one.description.numerics for one in both))
    told = (preprocessing_in_words(one.description.preprocessing) for one in both)
    table.add_row("preprocessing", *told)
    console.print(table)
    for name, first, second in found.settings:
        shown = [_short(value) for value in (first, second)]
        console.print(f"differs: {name} is {shown[0]} in A and {shown[1]} in B", markup=False)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _show_tensors(console: "Console", tensors: "TensorComparison") -> None:
    from xception.weights.matching import enumerate_names

    for side, names in (("A", tensors.only_first), ("B", tensors.only_second)):
        if names:
            listed = enumerate_names(names, LISTED)
            console.print(
                f"only in {side}, {count_of(len(names), 'tensor')}: {listed}", markup=False
            )
    differing = tensors.differing()
    number = len(tensors.differences)
    if not differing:
        console.print(f"tensors: all {number} in common are bitwise the same")
        return
    worst = max(differing, key=lambda d: d.relative)
    console.print(
        f"tensors: {len(differing)} of {number} in common differ: "
        f"{enumerate_names([d.name for d in differing], 4)}; "
        f"the most {worst.name} ({worst.reason or _figures(worst.largest, worst.relative)})",
        markup=False,
    )


def _show_layers(
    console: "Console", activations: "ActivationComparison", tolerance: float, seen: str
) -> None:
    first = activations.first_difference(tolerance)
    worst = activations.worst()
    rows = [] if first is None else [("first layer that differs", first.name, first)]
    rows += [("most different layer", worst.name, worst), ("logits", "", activations.logits)]
    number = len(activations.layers)
    console.print(f"layers: the outputs of {number} compared on {seen}", markup=False)
    for title, name, layer in rows:
        told = layer.reason or _figures(layer.largest, layer.relative)
        console.print(f"  {title}: {f'{name}, ' if name else ''}{told}", markup=False)
    if not activations.logits.reason:
        console.print(f"  same class for {activations.same_prediction:.0%} of the images")


def _figures(largest: float, relative: float) -> str:
    return f"largest difference {largest:.3g}, relative {relative:.3g}"


def _parse(arguments: Sequence[str]) -> "Namespace":
    parser = new_parser("verify", DESCRIPTION)
    add = parser.add_argument
    add("first", metavar="A", type=str, help="Weights file, run directory, address or name.")
    add("second", metavar="B", type=str, help="Another one, B in what is printed.")
    add(
        "--images",
        type=str | None,
        default=None,
        help="Image file, folder or glob; they come in through A's preprocessing. "
        "Seeded random images if not given.",
    )
    add("--limit", type=int, default=8, help="Most images to use.")
    add("--size", type=int | None, default=None, help="Height and width in pixels; A's own.")
    add("--seed", type=int, default=0, help="Of the random images.")
    add(
        "--tolerance",
        type=float,
        default=1e-4,
        help="Largest difference of a layer's output, as a share of its largest value.",
    )
    add(
        "--kind-first",
        type=str | None,
        default=None,
        help="What A, the first, is taken for, if not recognised.",
    )
    add(
        "--kind-second",
        type=str | None,
        default=None,
        help="What B, the second, is taken for, if not recognised.",
    )
    return parse(parser, arguments)
