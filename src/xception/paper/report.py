"""``report.md``, ``report.html`` and the CSV files of reproductions."""

import base64
import csv
import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from xception.paper.report_content import Section, sections
from xception.paper.report_tables import claims_table
from xception.paper.results import Results, read_results
from xception.paper.table_text import Table
from xception.weights.atomic import replacing

TITLE = "Xception, reproduced"
_STYLE = """
html{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:62rem;
margin:2rem auto;padding:0 1rem}
h1,h2,h3{line-height:1.2}h2{border-top:1px solid #ddd;padding-top:1rem;margin-top:2.5rem}
table{border-collapse:collapse;font-size:13px;margin:1rem 0;display:block;overflow-x:auto}
th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
td{font-variant-numeric:tabular-nums}td.whole{white-space:nowrap}th{border-bottom:2px solid #888}
figure{margin:1rem 0}figcaption{color:#555;font-size:13px}img{max-width:100%}
p.first{background:#fdf3d8;padding:.6rem .8rem;border-left:4px solid #E69F00}
"""


def write_paper_report(directories: Sequence[Path], output: Path) -> list[Path]:
    """Writes the report on reproductions: Markdown, one HTML page, CSVs, pictures.

    Args:
        directories: Made by ``xception reproduce``; several of one scale are taken together.
        output: Where to.

    Returns:
        ``report.html``, ``report.md``, ``results.csv``, ``claims.csv``.

    Raises:
        InputError: A directory holds no reproduction, or a file is damaged.
    """
    found = read_results(directories)
    output.mkdir(parents=True, exist_ok=True)
    every = [
        section
        for results, name in zip(found, _names(found), strict=True)
        for section in sections(results, output / "figures", name)
    ]
    paths = [output / "report.html", output / "report.md"]
    for path, text in zip(paths, (to_html(every), to_markdown(every, output)), strict=True):
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    paths += [output / "results.csv", output / "claims.csv"]
    _write_csv(paths[2], _RESULT_COLUMNS, (row for results in found for row in _rows(results)))
    tables = [(_start(results), claims_table(results)) for results in found]
    heading = (*_RESULT_COLUMNS[:3], *(tables[0][1].heading if tables else ()))
    rows = ((*start, *row) for start, table in tables for row in table.rows)
    _write_csv(paths[3], heading, rows)
    return paths


def _names(found: Sequence[Results]) -> list[str]:
    """A name for each group of runs: its scale, numbered where others have the same scale.

    Pictures and anchors carry it, so that those of one group don't take another's place.
    """
    names: list[str] = []
    for results in found:
        before = sum(other.scale.name == results.scale.name for other in found[: len(names)])
        names.append(results.scale.name + (f"-{before + 1}" if before else ""))
    return names


def to_markdown(found: Sequence[Section], output: Path) -> str:
    """The report as Markdown; pictures are files beside it.

    Args:
        found: Its sections.
        output: The directory that it will lie in.
    """
    lines = [f"# {TITLE}", ""]
    for section in found:
        mark = "##" if section.name in ("first", "claims") else "###"
        lines += [f"{mark} {section.title}", ""]
        for paragraph in section.paragraphs:
            lines += [paragraph.replace("\n", "  \n"), ""]
        if section.table:
            lines += [*_markdown_table(section.table), ""]
        for path, caption in section.figures:
            lines += [f"![{caption}]({Path(os.path.relpath(path, output)).as_posix()})", ""]
    return "\n".join(lines)


def to_html(found: Sequence[Section]) -> str:
    """The report as one page with everything inside it."""
    body = [f"<h1>{TITLE}</h1>"]
    contents = "".join(
        f"<li><a href='#{html.escape(section.anchor)}'>{html.escape(section.title)}</a></li>"
        for section in found
    )
    body.append(f"<details><summary>Contents</summary><ul>{contents}</ul></details>")
    for section in found:
        level = "h2" if section.name in ("first", "claims") else "h3"
        title, anchor = html.escape(section.title), html.escape(section.anchor)
        body.append(f"<{level} id='{anchor}'>{title}</{level}>")
        for i, paragraph in enumerate(section.paragraphs):
            kind = " class='first'" if section.name == "first" and i == 0 else ""
            text = html.escape(paragraph).replace("\n", "<br>")
            body.append(f"<p{kind}>{text}</p>")
        if section.table:
            body.append(_html_table(section.table))
        for path, caption in section.figures:
            data = base64.b64encode(path.read_bytes()).decode()
            text = html.escape(caption)
            body.append(
                f"<figure><img alt='{text}' src='data:image/svg+xml;base64,{data}'>"
                f"<figcaption>{text}</figcaption></figure>"
            )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{TITLE}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(table.heading), line(["---"] * len(table.heading)), *map(line, table.rows)]


def _html_table(table: Table) -> str:
    def line(cells: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(_html_cell(cell, tag) for cell in cells) + "</tr>"

    rows = "".join(line(row, "td") for row in table.rows)
    return f"<table><thead>{line(table.heading, 'th')}</thead><tbody>{rows}</tbody></table>"


def _html_cell(text: str, tag: str) -> str:
    """A cell; numbers and single words stay on one line."""
    whole = tag == "td" and (" " not in text or text.startswith(tuple("+-0123456789")))
    return f"<{tag}{' class=whole' if whole else ''}>{html.escape(text)}</{tag}>"


_RESULT_COLUMNS = (
    "scale",
    "data",
    "changes",
    "variant",
    "seed",
    "state",
    "top1",
    "top5",
    "map",
    "loss",
    "parameters",
    "epochs",
    "seconds",
    "images_per_second",
    "processor",
    "gpus",
    "commit",
)


def _start(results: Results) -> tuple[str, str, str]:
    """What tells a group of runs from others: scale, data, and the changes of every recipe."""
    return results.scale.name, results.data, " ".join(results.manifest.get("overrides") or [])


def _rows(results: Results) -> Iterable[tuple[object, ...]]:
    """One row for each cell that was begun."""
    start = _start(results)
    blank = ("",) * (len(_RESULT_COLUMNS) - 6)
    for variant in sorted(results.cells):
        for cell in results.of(variant):
            training, hardware = cell.summary["training"], cell.summary["hardware"]
            yield (
                *start,
                variant,
                cell.seed,
                "finished",
                *(cell.figure(name) for name in ("top1", "top5", "map", "loss")),
                cell.summary["parameters"],
                training["epochs"],
                training["seconds"],
                training["images_per_second"],
                hardware["processor"],
                " + ".join(hardware["gpus"]),
                cell.summary.get("commit"),
            )
    for (variant, seed), _ in sorted(results.failed.items()):
        yield (*start, variant, seed, "failed", *blank)
    for variant, seed in sorted(results.begun):
        yield (*start, variant, seed, "unfinished", *blank)


def _write_csv(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heading)
        writer.writerows(rows)
