"""The bar that says how many images are done and how long the rest will take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def progress_bar(console: "Console", total: int) -> Iterator[Callable[[int], None]]:
    """Shows a bar as long as the block lasts; nothing where the console is no terminal.

    Args:
        console: Where to.
        total: How many images there are.

    Yields:
        A function that takes the number of images done since it was last called.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    speed = TextColumn("{task.fields[speed]}")
    with Progress(
        TextColumn("images"),
        BarColumn(),
        MofNCompleteColumn(),
        speed,
        TimeLeft(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        task = progress.add_task("images", total=total, speed="")

        def advance(images: int) -> None:
            progress.advance(task, images)
            rate = progress.tasks[0].speed
            progress.update(task, speed=f"{rate:.1f}/s" if rate else "")

        yield advance
