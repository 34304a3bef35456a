"""``manifest.json``: whose a directory is. Several processes may claim one at the same time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xception.errors import InputError
from xception.training.run_directory import RunDirectory
from xception.weights.atomic import replacing

_LOCK = ".manifest.lock"


def manifest_path(output: Path) -> Path:
    """Where it lies."""
    return output / "manifest.json"


def refuse_foreign(output: Path, ours: str) -> None:
    """Sees to it that a directory is absent, empty, or has a manifest.

    Args:
        output: The directory.
        ours: What it is to hold, "a reproduction".

    Raises:
        InputError: It is a file, or holds something else.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; name a directory with --output")
    if not output.is_dir():
        return
    names = {path.name for path in output.iterdir()} - {_LOCK}  # of another process that begins
    foreign = any(not name.endswith(".partial") for name in names)
    if foreign and not manifest_path(output).exists():
        raise InputError(
            f"{output} is not empty and holds something else than {ours}; name another directory "
            "with --output"
        )


@contextmanager
def claiming(output: Path) -> Iterator[Path]:
    """Makes the directory, and lets one process at a time look at its manifest and write it.

    Args:
        output: The directory.

    Yields:
        The manifest's path.
    """
    from filelock import FileLock

    output.mkdir(parents=True, exist_ok=True)
    with FileLock(output / _LOCK):
        yield manifest_path(output)


def replace_manifest(path: Path, content: dict[str, Any]) -> None:
    """Writes it as a whole; inside ``claiming``."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def write_manifest(output: Path, content: dict[str, Any]) -> Path:
    """Writes what was asked of a reproduction, for the report.

    Raises:
        InputError: The directory holds something else, or the reproduction of another scale.
    """
    refuse_foreign(output, "a reproduction")
    with claiming(output) as path:
        if path.exists():
            before = read_manifest(output)
            begun = any(output.glob("cells/*/seed-*"))
            for key in ("scale", "overrides", "data") if begun else ("scale",):
                if before.get(key) != content.get(key):
                    raise InputError(
                        f"{output} holds a reproduction with {key} {before.get(key)!r}, not "
                        f"{content.get(key)!r}; name another directory with --output"
                    )
        replace_manifest(path, content)
    return path


def read_manifest(directory: Path) -> dict[str, Any]:
    """What was asked of a reproduction.

    Raises:
        InputError: The directory holds no reproduction, or the file is damaged.
    """
    path = manifest_path(directory)
    if not path.is_file():
        if (run := RunDirectory(directory)).is_run():
            raise InputError(
                f"{directory} is a training run, whose report is {run.report}; this verb reports "
                "on what `xception reproduce` has written"
            )
        raise InputError(
            f"{directory} holds no reproduction (no manifest.json); make one with `xception "
            f"reproduce --output {directory}`"
        )
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); delete it and reproduce again") from None
    if not isinstance(content, dict) or "scale" not in content:
        raise InputError(f"{path} is no manifest of a reproduction")
    return content
