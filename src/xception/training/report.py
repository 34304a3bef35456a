"""``report.html`` of a run: one page for a reader, with everything inside it."""

from pathlib import Path

from xception.errors import InputError
from xception.training.report_page import page
from xception.training.report_record import read_record
from xception.training.run_directory import RunDirectory
from xception.weights.atomic import replacing


def write_report(run_directory: str | Path, evaluation: str | Path | None = None) -> Path:
    """Writes ``report.html`` from the files of a run.

    The page needs no network: style, curves and pictures are inside. It reads ``recipe.yaml``,
    ``metrics.csv``, ``summary.json`` and the file that ``store_evaluation`` wrote, each where it
    is there.

    Args:
        run_directory: The run.
        evaluation: The stored evaluation; ``evaluation.npz`` in the run directory by default.

    Returns:
        The page's path.

    Raises:
        InputError: The directory holds no run, or one of the files is damaged.
    """
    directory = RunDirectory(Path(run_directory))
    if not directory.path.is_dir():
        raise InputError(f"there is no run directory {run_directory}; train one first")
    stored = Path(evaluation) if evaluation else directory.evaluation
    text = page(read_record(directory, stored))
    with replacing(directory.report) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")
    return directory.report
