"""Work in a thread of its own whose events can be yielded; closing the iterator, or a flag, stops it. Knows no models."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import Any, TypeVar

from .requests import Cancel

Told = TypeVar("Told")
Made = TypeVar("Made")


class AnyCancelled:
    """Set when either flag is."""

    def __init__(self, one: Cancel, other: Cancel) -> None:
        self.one, self.other = one, other

    def is_set(self) -> bool:
        return self.one.is_set() or self.other.is_set()


def iterate_in_thread(work: Callable[[Callable[[Told], None], Cancel], Made], cancel: Cancel) -> Generator[Told, None, Made]:
    """Yield what `work(emit, stop)` emits, and return what it returns; what it raises is raised here.

    Whoever stops iterating sets the flag that `work` was given, and waits until it has ended.
    """
    events: queue.Queue[tuple[str, Any]] = queue.Queue()
    closed = threading.Event()

    def run() -> None:
        try:
            events.put(("last", work(lambda event: events.put(("event", event)), AnyCancelled(closed, cancel))))
        except BaseException as error:  # handed over to the caller's thread, whole
            events.put(("error", error))

    worker = threading.Thread(target=run, name="denoise", daemon=True)
    worker.start()
    try:
        while True:
            kind, item = events.get()
            if kind == "error":
                raise item
            if kind == "last":
                return item
            yield item
    finally:
        closed.set()
        worker.join()
