"""What the cells of one or several directories left behind."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from xception.errors import InputError
from xception.paper.manifest import read_manifest
from xception.paper.scale import Scale
from xception.paper.scales import find_scale
from xception.paper.spectrum_speed import spectrum_speed_path
from xception.paper.speed import speed_path
from xception.paper.statistics import PairedComparison, Spread, compare_paired, spread
from xception.training.metrics_file import read_rows

Row = dict[str, float | None]
_SUMMARY = ("evaluation", "training", "hardware", "versions", "parameters")
_REMEDY = "delete it, and `xception reproduce` makes it again"


@dataclass(frozen=True)
class CellResult:
    """A finished cell.

    Attributes:
        variant: What was trained.
        seed: Its seed.
        path: Its run directory.
        summary: ``summary.json``.
        keys: The recipe, nested.
        profile: The rows of ``metrics.csv``.
    """

    variant: str
    seed: int
    path: Path
    summary: dict[str, Any]
    keys: dict[str, Any]
    profile: list[Row]

    def figure(self, name: str) -> float | None:
        """A figure of the final evaluation, such as "top1"; None if there is none."""
        value = self.summary["evaluation"].get(name)
        return None if value is None else float(value)


@dataclass
class Results:
    """All that was found for one scale and data set.

    Attributes:
        scale: The scale.
        data: The data set's name.
        manifest: Of the first directory.
        cells: Finished ones: variant to seed to result.
        failed: Variant and seed to the reason.
        begun: Variant and seed of cells that are neither finished nor failed.
        speed: The content of ``speed.json``, if table 3 was measured.
        spectrum_speed: The content of ``spectrum-speed.json``, if it was measured.
        directories: Where all of it came from.
        single_label: The results of ImageNet's task, where that belongs to another scale.
    """

    scale: Scale
    data: str
    manifest: dict[str, Any]
    cells: dict[str, dict[int, CellResult]] = field(default_factory=dict)
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    begun: list[tuple[str, int]] = field(default_factory=list)
    speed: dict[str, Any] | None = None
    spectrum_speed: dict[str, Any] | None = None
    directories: list[Path] = field(default_factory=list)
    single_label: "Results | None" = None

    def of(self, variant: str) -> list[CellResult]:
        """The finished cells of a variant, by seed."""
        return [cell for _, cell in sorted(self.cells.get(variant, {}).items())]

    def values(self, variant: str, name: str = "top1") -> list[float]:
        """A figure of each finished cell."""
        found = (cell.figure(name) for cell in self.of(variant))
        return [value for value in found if value is not None]

    def spread(self, variant: str, name: str = "top1") -> Spread | None:
        """Mean and deviation over seeds; None if nothing was run."""
        values = self.values(variant, name)
        return spread(values) if values else None

    def compare_gains(
        self, pair: tuple[str, str], name: str, beside: tuple[str, str], beside_name: str = "top1"
    ) -> PairedComparison | None:
        """The relative gain of a pair of variants minus that of a pair on ImageNet's task.

        Args:
            pair: A and B: the gain is (A - B) / B.
            name: The figure that it is taken of.
            beside: The pair whose gain is taken off.
            beside_name: Its figure.
        """
        gains = [
            self.gains(*pair, name),
            (self.single_label or self).gains(*beside, beside_name),
        ]
        seeds = sorted(gains[0].keys() & gains[1].keys())
        if not seeds:
            return None
        return compare_paired(*([gain[seed] for seed in seeds] for gain in gains))

    def gains(self, ours: str, theirs: str, name: str) -> dict[int, float]:
        """(ours - theirs) / theirs for every seed that both have, where theirs is not 0."""
        return {
            seed: (a - b) / b
            for seed, cell in self.cells.get(ours, {}).items()
            if (other := self.cells.get(theirs, {}).get(seed)) is not None
            and (a := cell.figure(name)) is not None
            and (b := other.figure(name))
        }

    def compare(self, ours: str, theirs: str, name: str = "top1") -> PairedComparison | None:
        """Ours minus theirs over the seeds that both have; None without any."""
        seeds = sorted(self.cells.get(ours, {}).keys() & self.cells.get(theirs, {}).keys())
        pairs = [
            (a, b)
            for seed in seeds
            if (a := self.cells[ours][seed].figure(name)) is not None
            and (b := self.cells[theirs][seed].figure(name)) is not None
        ]
        return compare_paired(*map(list, zip(*pairs, strict=True))) if pairs else None


def read_results(directories: Sequence[Path]) -> list[Results]:
    """Reads the directories of reproductions.

    Args:
        directories: Each made by ``xception reproduce``. Those of the same scale, data set and
            overrides are one reproduction whose seeds were spread over machines.

    Returns:
        One result for each scale and data set; that of jft knows that of imagenet beside it.

    Raises:
        InputError: A directory holds no reproduction, a file is damaged, or a cell is there twice.
    """
    found: dict[str, Results] = {}
    for directory in directories:
        manifest = read_manifest(directory)
        data = str(manifest.get("data", ""))
        key = json.dumps([manifest["scale"], data, manifest.get("overrides")])
        if key not in found:
            found[key] = Results(find_scale(str(manifest["scale"])), data, manifest)
        results = found[key]
        results.directories.append(directory)
        if speed_path(directory).exists():
            results.speed = _json(speed_path(directory))
        if spectrum_speed_path(directory).exists():
            results.spectrum_speed = _json(spectrum_speed_path(directory))
        for path in sorted(directory.glob("cells/*/seed-*")):
            _read_cell(results, path)
    for results in found.values():
        _leave_out_what_others_finished(results)
        if results.scale.single_label_elsewhere:
            imagenet = (other for other in found.values() if other.scale.name == "imagenet")
            results.single_label = next(imagenet, None)
    return list(found.values())


def _leave_out_what_others_finished(results: Results) -> None:
    """A cell counts once: finished in any directory, else failed in any, else unfinished."""
    finished = {(variant, seed) for variant, cells in results.cells.items() for seed in cells}
    for cell in finished & results.failed.keys():
        del results.failed[cell]
    results.begun = sorted({*results.begun} - results.failed.keys() - finished)


def _read_cell(results: Results, path: Path) -> None:
    seed_text = path.name.removeprefix("seed-").removesuffix(".failed.json")
    if not seed_text.isdigit():
        return
    variant, seed = path.parent.name, int(seed_text)
    if path.name.endswith(".failed.json"):
        results.failed[variant, seed] = str(_json(path)["reason"])
    elif not (path / "summary.json").exists():
        if (path / "recipe.yaml").exists():
            results.begun.append((variant, seed))
    elif seed in results.cells.get(variant, {}):
        other = results.cells[variant][seed].path
        raise InputError(f"{other} and {path} are the same cell; report on one of them")
    else:
        metrics = path / "metrics.csv"
        try:
            keys = yaml.safe_load((path / "recipe.yaml").read_text())
            profile = read_rows(metrics) if metrics.exists() else []
        except (yaml.YAMLError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"a file of the run {path} is damaged: {reason}; {_REMEDY}") from None
        summary = _json(path / "summary.json")
        lacking = [key for key in _SUMMARY if key not in summary]
        if lacking or not isinstance(keys, dict):
            what = f"summary.json lacks {lacking[0]!r}" if lacking else "recipe.yaml holds no keys"
            raise InputError(f"a file of the run {path} is damaged: {what}; {_REMEDY}")
        results.cells.setdefault(variant, {})[seed] = CellResult(
            variant, seed, path, summary, keys, profile
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; {_REMEDY}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds no mapping; {_REMEDY}")
    return content
