"""``xception data inspect FOLDER``: what shards hold, with a contact sheet."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xception.cli.parsing import new_parser, parse

if TYPE_CHECKING:
    from xception.data.manifest import Manifest

DESCRIPTION = "Shows the counts of a folder of shards, its label frequencies, and some images."

CLASSES_SHOWN = 10
_SIDE = 96  # pixels of an image on the contact sheet


def main(arguments: Sequence[str]) -> int:
    """Runs the verb."""
    parser = new_parser("data inspect", DESCRIPTION)
    parser.add_argument("folder", type=str, help="The shards, with their manifest.json.")
    parser.add_argument("--json", action="store_true", help="Print the figures as JSON.")
    parser.add_argument("--contact-sheet", type=str, help="File (.png, .jpg) for a contact sheet.")
    parser.add_argument("--images", type=int, default=64, help="Images on it, evenly spaced.")
    parser.add_argument("--overwrite", action="store_true", help="Replace it if it exists.")
    options = parse(parser, arguments)

    from xception.data.manifest import read_manifest
    from xception.inference.destinations import require_writable

    folder = Path(options.folder)
    sheet = Path(options.contact_sheet) if options.contact_sheet else None
    if sheet:
        require_writable(sheet, overwrite=options.overwrite)
    manifest = read_manifest(folder)
    if options.json:
        print(json.dumps(facts(manifest), ensure_ascii=False, indent=2))
    else:
        _show(manifest)
    if sheet:
        from xception.data.contact_sheet import draw_contact_sheet

        draw_contact_sheet(folder, manifest, sheet, images=options.images, side=_SIDE)
    return 0


def facts(manifest: "Manifest") -> dict[str, Any]:
    """All figures as JSON primitives."""
    labels = sum(manifest.images_per_class)
    return {
        "packing": manifest.packing,
        "images": manifest.images,
        "shards": len(manifest.shards),
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "skipped": sum(len(shard.skipped) for shard in manifest.shards),
        "several_labels": manifest.multi_label,
        "reencoding": manifest.reencoding and vars(manifest.reencoding),
        "classes": len(manifest.class_names),
        "classes_without_images": manifest.images_per_class.count(0),
        "labels": labels,
        "labels_per_image": round(labels / manifest.images, 4),
        "images_per_class": dict(zip(manifest.class_names, manifest.images_per_class, strict=True)),
    }


def _show(manifest: "Manifest") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    told = facts(manifest)
    table = Table("", "", box=None, show_header=False, pad_edge=False)
    for name, value in told.items():
        if name != "images_per_class":
            text = f"{value:,}" if isinstance(value, int | float) else str(value or "none")
            table.add_row(name.replace("_", " "), str(value) if value in (True, False) else text)
    console.print(table)
    counts = told["images_per_class"]
    order = sorted(counts, key=lambda name: -counts[name])
    for title, names in (
        ("the commonest labels", order[:CLASSES_SHOWN]),
        (
            "the rarest labels",
            order[::-1][: max(0, min(CLASSES_SHOWN, len(order) - CLASSES_SHOWN))],
        ),
    ):
        if names:
            console.print()
            table = Table(title, box=None, pad_edge=False, header_style="bold")
            table.add_column("images", justify="right")
            for name in names:
                table.add_row(Text(name), f"{counts[name]:,}")
            console.print(table)
