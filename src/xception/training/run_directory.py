"""The directory of a run: what lies where, and whose it is."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xception.errors import InputError
from xception.weights.atomic import replacing


@dataclass(frozen=True)
class RunDirectory:
    """Names of the files that a run writes.

    Attributes:
        path: The directory.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The full recipe; this file runs the experiment again."""
        return self.path / "recipe.yaml"

    @property
    def metrics(self) -> Path:
        """The training profile."""
        return self.path / "metrics.csv"

    @property
    def images(self) -> Path:
        """The list of the images that it trains on and that it holds out."""
        return self.path / "images.csv"

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The final averaged weights."""
        return self.path / "model.safetensors"

    @property
    def evaluation(self) -> Path:
        """The outcome for every held-out image, with some of them as pictures."""
        return self.path / "evaluation.npz"

    @property
    def classes(self) -> Path:
        """The table of the classes, where the figure is MAP@k."""
        return self.path / "classes.csv"

    @property
    def summary(self) -> Path:
        """Figures, versions, hardware; there when the run is finished."""
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        """The page for a reader."""
        return self.path / "report.html"

    def is_run(self) -> bool:
        """Whether a run lives here."""
        return self.recipe.exists()

    def is_finished(self) -> bool:
        """Whether it came to its end."""
        return self.summary.exists()

    def claim(
        self,
        recipe: dict[str, Any],
        *,
        resume: bool,
        overwrite: bool,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        """Makes the directory this run's own, before anything is written into it.

        Args:
            recipe: The full recipe, as primitives.
            resume: Whether a run of the same recipe in it is meant to go on.
            overwrite: Whether another run in it may be deleted.
            defaults: Every key's default. A run that an earlier version of the package began has
                no entry for a key that is newer; it counts as the default.

        Raises:
            InputError: It holds another run, or something that is no run, or can't be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; name a directory with --output")
        if self.is_run():
            if resume:
                stored = self.stored_recipe()
                remedy = (
                    f"Leave these keys out, as `xception train {self.path} --resume` does, or "
                    "start another run with --output"
                )
                refuse_contradictions(stored, recipe, self.path, defaults, remedy)
                if not self.is_finished():
                    self._require_writable()
                self._note_new_place(stored, recipe)
                return
            if not overwrite:
                raise InputError(
                    f"{self.path} holds another run; go on with it (--resume), replace it "
                    "(--overwrite), or name another directory with --output"
                )
            try:
                shutil.rmtree(self.path)
            except OSError as error:
                raise InputError(
                    f"{self.path} can't be deleted ({error.strerror}); name another directory with "
                    "--output"
                ) from None
        elif self.path.exists() and any(
            path.name != ".recipe.yaml.partial" for path in self.path.iterdir()
        ):
            raise InputError(
                f"{self.path} is not empty and holds no run; name another directory with --output"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        self._write_recipe(recipe)

    def _require_writable(self) -> None:
        """Says before the first step, and in one sentence, that a run can't go on here."""
        try:
            for place in (self.path, self.checkpoints):
                if place.exists():
                    with tempfile.TemporaryFile(dir=place):
                        pass
        except OSError as error:
            raise InputError(
                f"the run in {self.path} can't go on there ({error.strerror}): copy the directory "
                "to where it can be written"
            ) from None

    def _write_recipe(self, recipe: dict[str, Any]) -> None:
        with replacing(self.recipe) as partial:
            text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
            partial.write_text(text, encoding="utf-8")

    def _note_new_place(self, stored: dict[str, Any], recipe: dict[str, Any]) -> None:
        """Keeps where the data lie now, for the evaluation of the run and its next resumption."""
        root = recipe.get("data", {}).get("root")
        if root is not None and root != stored.get("data", {}).get("root"):
            self._write_recipe({**stored, "data": {**stored.get("data", {}), "root": root}})

    def stored_recipe(self) -> dict[str, Any]:
        """The recipe that the run was started with."""
        try:
            stored = yaml.safe_load(self.recipe.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            raise InputError(f"{self.recipe} is damaged: it is not YAML") from None
        if not isinstance(stored, dict):
            raise InputError(f"{self.recipe} is not a recipe")
        return stored

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes ``summary.json``, which marks the run as finished."""
        with replacing(self.summary) as partial:
            partial.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


# Keys that change where and how fast a run happens, and not its result.
FREE_KEYS = (
    "data.root",
    "data.num_workers",
    "data.cache",
    "data.max_unreadable",
    "training.checkpoint_every_steps",
    "training.keep_memory",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.max_time",
    "trainer.enable_progress_bar",
    "asynchronous.ray_address",
    "asynchronous.cpus_per_worker",
    "asynchronous.gpus_per_worker",
    "asynchronous.max_restarts",
    "asynchronous.lease_seconds",
)


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys.

    Example:
        >>> flatten({"model": {"name": "xception"}, "seed": 0})
        {'model.name': 'xception', 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def completed(nested: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries with the entries that they lack.

    Example:
        >>> completed({"data": {"name": "digits"}}, {"data": {"name": "", "cache": "auto"}})
        {'data': {'name': 'digits', 'cache': 'auto'}}
    """
    found = dict(nested)
    for key, value in defaults.items():
        if key not in found:
            found[key] = value
        elif isinstance(found[key], dict) and isinstance(value, dict):
            found[key] = completed(found[key], value)
    return found


def refuse_contradictions(
    stored: dict[str, Any],
    asked: dict[str, Any],
    path: Path,
    defaults: dict[str, Any] | None = None,
    remedy: str = "Leave these keys out, or start another run with --output",
) -> None:
    """Raises where a resumed run is asked to be another one.

    Args:
        stored: The recipe that it was started with.
        asked: The recipe that it is to go on with.
        path: Where it lies, for the message.
        defaults: Every key's default, for those that the stored recipe is too old to have.
        remedy: The end of the message.

    Raises:
        InputError: Keys that decide the result differ; they are named with both values.
    """
    old, new = flatten(completed(stored, defaults or {})), flatten(asked)
    differing = [
        f"{key} is {old.get(key)!r} there and {new.get(key)!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key not in FREE_KEYS
    ]
    if differing:
        raise InputError(f"the run in {path} has another recipe: {'; '.join(differing)}. {remedy}")
