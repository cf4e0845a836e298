"""One device, one piece of work at a time; turns of a chat before steps of training. Knows neither."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..requests import Cancel


class DeviceLock:
    """A lock with two kinds of holders. Who holds it for a step gives it back soon; a turn that comes is next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = False
        self._turns = 0  # waiting, or held

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Held while a turn is answered."""
        with self._changed:
            self._turns += 1
            self._changed.wait_for(lambda: not self._held)
            self._held = True
        try:
            yield
        finally:
            with self._changed:
                self._turns -= 1
                self._held = False
                self._changed.notify_all()

    @contextmanager
    def step(self, cancel: Cancel) -> Iterator[bool]:
        """Held for a step of something long, once no turn wants it; False, and not held, if cancelled before that.
        Whoever sets the cancel flag calls `wake`."""
        with self._changed:
            self._changed.wait_for(lambda: cancel.is_set() or not (self._held or self._turns))
            mine = not cancel.is_set()
            self._held = self._held or mine
        try:
            yield mine
        finally:
            if mine:
                with self._changed:
                    self._held = False
                    self._changed.notify_all()

    def wanted(self) -> bool:
        """Whether a turn waits, or holds it: what can be broken off and done later should be."""
        return self._turns > 0

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
