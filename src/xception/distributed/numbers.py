"""A set of whole numbers that are added nearly in order, in memory that does not grow with them."""

from typing import Any


class NumberSet:
    """Numbers from 0; all below ``floor`` are in it, and few above.

    Example:
        >>> seen = NumberSet()
        >>> seen.add(1), seen.add(0), seen.add(0), seen.floor, len(seen)
        (True, True, False, 2, 2)
    """

    def __init__(self) -> None:
        self.floor = 0
        self._above: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return number < self.floor or number in self._above

    def __len__(self) -> int:
        return self.floor + len(self._above)

    def add(self, number: int) -> bool:
        """Adds a number; says whether it was new."""
        if number in self:
            return False
        self._above.add(number)
        while self.floor in self._above:
            self._above.remove(self.floor)
            self.floor += 1
        return True

    def snapshot(self) -> dict[str, Any]:
        """Primitives."""
        return {"floor": self.floor, "above": sorted(self._above)}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes a snapshot back."""
        self.floor, self._above = int(state["floor"]), set(state["above"])
