"""A queue that takes owners in turn, so that one with ten wishes does not keep another waiting. Knows no jobs."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Round-robin among owners, first come first served within one. Not thread-safe: the caller holds a lock."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()  # the next owner's line first

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def put(self, owner: str, item: Item) -> None:
        self._lines.setdefault(owner, deque()).append(item)

    def take(self) -> Item:
        """Raises KeyError: empty."""
        owner, line = self._lines.popitem(last=False)
        item = line.popleft()
        if line:
            self._lines[owner] = line  # behind everyone else
        return item

    def remove(self, item: Item) -> bool:
        """Whether it was there."""
        for owner, line in self._lines.items():
            if item in line:
                line.remove(item)
                if not line:
                    del self._lines[owner]
                return True
        return False

    def position(self, item: Item) -> int | None:
        """1 is next; None: not here."""
        return next((n for n, other in enumerate(self.order(), start=1) if other is item), None)

    def order(self) -> list[Item]:
        """All items, in the order in which `take` would give them if nothing more came."""
        lines = [list(line) for line in self._lines.values()]
        longest = max(map(len, lines), default=0)
        return [line[n] for n in range(longest) for line in lines if n < len(line)]
