"""Pages whose text lies elsewhere in the repository, and links between all of them."""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = "benchmarks/results"
MOVED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    RESULTS: "results/index.md",
}
LINK = re.compile(r"(?P<before>!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\()(?P<to>[^)\s]+)\)")
ATTACHED_ENDINGS = {".csv", ".json", ".svg", ".png", ".yaml", ".txt", ".html"}


def pages() -> dict[str, str]:
    """README, changes, contributing, and every measurement, by their places in the site."""
    found = {
        site: (ROOT / repository).read_text(encoding="utf-8")
        for repository, site in MOVED.items()
        if repository.endswith(".md")
    }
    results = {
        site_place(path.relative_to(ROOT).as_posix()): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / RESULTS).rglob("*.md"))
    }
    results.pop("results/README.md", None)
    return {**found, **results, "results/index.md": _list_of_results(results)}


def attachments() -> dict[str, Path]:
    """Tables and pictures beside the measurements."""
    return {
        site_place(path.relative_to(ROOT).as_posix()): path
        for path in sorted((ROOT / RESULTS).rglob("*"))
        if path.suffix in ATTACHED_ENDINGS
        and path.is_file()
        and not (path.suffix == ".html" and path.with_suffix(".md").exists())
    }


def _list_of_results(results: dict[str, str]) -> str:
    lines = ["# Measurements", "", "What was measured, on what, by which command.", ""]
    for place, text in results.items():
        title = re.search(r"^# (.*)$", text, re.MULTILINE)
        name = title[1] if title else Path(place).stem
        lines.append(f"- [{name}]({place.removeprefix('results/')})")
    return "\n".join(lines)


def site_place(path: str) -> str:
    """Where a file of the repository lies in the site.

    Example:
        >>> site_place("docs/weights.md"), site_place("benchmarks/results/a.csv")
        ('weights.md', 'results/a.csv')
    """
    if path in MOVED:
        return MOVED[path]
    if path.startswith(f"{RESULTS}/"):
        return "results/" + path.removeprefix(f"{RESULTS}/")
    return path.removeprefix("docs/")


def repository_path(place: str) -> str:
    """The file of the repository that a page of the site is made from."""
    for path, moved in MOVED.items():
        if place == moved:
            return path
    if place.startswith("results/"):
        return f"{RESULTS}/{place.removeprefix('results/')}"
    return f"docs/{place}"


def rewrite_links(markdown: str, place: str) -> str:
    """Links between files of the repository, turned into links between pages of the site.

    A link to a file that the site does not show (source, tests) becomes its name. Code is left
    alone.

    Args:
        markdown: The page's text.
        place: The page's place in the site.
    """
    parts = re.split(r"(^```.*?^```$|`[^`\n]+`(?!\]))", markdown, flags=re.MULTILINE | re.DOTALL)
    folder = posixpath.dirname(repository_path(place))

    def rewrite(link: re.Match[str]) -> str:
        target, hash_sign, anchor = link["to"].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target)).rstrip("/")
        shown = site_place(path)
        if not (path.startswith(("docs/", RESULTS)) or path in MOVED):
            return link["text"] if (ROOT / path).exists() else link[0]
        relative = posixpath.relpath(shown, posixpath.dirname(place) or ".")
        return f"{link['before']}{relative}{hash_sign}{anchor})"

    return "".join(part if i % 2 else LINK.sub(rewrite, part) for i, part in enumerate(parts))
