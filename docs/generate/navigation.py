"""The order of the pages. A page that is missing is left out, one that is new goes under "More"."""

from pathlib import PurePosixPath
from typing import Any

from xception.cli.main import VERBS

ORDER: list[tuple[str, list[str]]] = [
    ("Get started", ["index.md", "get-started.md"]),
    ("Commands", ["verbs/"]),
    ("Recipes", ["recipes/", "recipe-keys.md"]),
    (
        "Guides",
        [
            "pytorch.md",
            "multi-label.md",
            "weights.md",
            "metrics.md",
            "export.md",
            "serving.md",
        ],
    ),
    (
        "Training at scale",
        ["scaling.md", "asynchronous.md", "synchronous-and-asynchronous.md", "distributed.md"],
    ),
    (
        "Speed",
        ["speed.md", "engines.md", "kernels.md", "benchmark.md", "quantization.md", "inference.md"],
    ),
    ("The paper", ["reproduction.md", "tuning.md", "models.md", "assumptions.md", "deviations.md"]),
    ("Measurements", ["results/"]),
    ("Inside", ["architecture.md", "contributing.md", "changes.md"]),
    ("API", ["api/"]),
]


def build(pages: list[str]) -> list[Any]:
    """The navigation as MkDocs takes it.

    Args:
        pages: Every page by its place in the site. Pages of a folder are sorted, its ``index.md``
            first.
    """
    left = set(pages)
    sections: list[Any] = []
    for title, places in ORDER:
        entries: list[Any] = []
        for place in places:
            if place == "api/":
                entries += _rooms(left)
            else:
                inside = place.endswith("/")
                entries += _take(left, place if inside else None, None if inside else place)
        if entries:
            sections.append({title: entries})
    if left:
        sections.insert(-1, {"More": sorted(left)})
    return sections


def _take(left: set[str], folder: str | None, page: str | None) -> list[str]:
    found = [place for place in left if place == page or (folder and place.startswith(folder))]
    left.difference_update(found)
    verbs = [f"verbs/{verb}.md" for verb in VERBS]
    return sorted(
        found,
        key=lambda place: (
            not place.endswith("/index.md"),
            verbs.index(place) if place in verbs else len(verbs),
            place,
        ),
    )


def _rooms(left: set[str]) -> list[Any]:
    """The API's pages, those of a room under its name."""
    rooms = sorted({place.split("/")[1] for place in left if place.count("/") > 1})
    entries: list[Any] = []
    for room in rooms:
        if any(place.startswith(f"api/{room}/") for place in left):
            index, *modules = _take(left, f"api/{room}/", None)
            named = [{PurePosixPath(place).stem: place} for place in modules]
            entries.append({room: [index, *named]})
    return _take(left, "api/", None) + entries
