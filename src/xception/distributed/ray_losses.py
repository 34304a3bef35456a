"""How many processes of a run on Ray may be lost before the run gives up."""

from collections import Counter

from xception.errors import RunFailedError

MOST_LIVES = 3
"""Of a process without an update between: then the fault is not its machine's."""


class Losses:
    """Counts the processes that died or were stopped.

    Args:
        most: ``asynchronous.max_restarts``.
    """

    def __init__(self, most: int) -> None:
        self._most, self._total = most, 0
        self._lives: Counter[str] = Counter()

    def add(self, name: str, reason: str) -> None:
        """Counts one.

        Args:
            name: "worker 0", "server 0", …
            reason: Of its end.

        Raises:
            RunFailedError: They are too many.
        """
        self._total += 1
        self._lives[name] += 1
        if self._lives[name] >= MOST_LIVES:
            raise RunFailedError(
                f"{name} was lost {MOST_LIVES} times without an update between; the last time: "
                f"{reason}"
            )
        if self._total > self._most:
            raise RunFailedError(
                f"{name} was lost ({reason}), and asynchronous.max_restarts allows for {self._most}"
            )

    def has_updated(self, worker: str) -> None:
        """A worker has pushed an update: it and the servers work."""
        self._lives = Counter(
            {name: n for name, n in self._lives.items() if name != worker and "server" not in name}
        )
