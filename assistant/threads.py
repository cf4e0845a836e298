"""Work in a thread of its own whose events can be yielded; closing the iterator, or a flag, stops it. Knows no models."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from .requests import Cancel


class AnyCancelled:
    """Set when either flag is."""

    def __init__(self, one: Cancel, other: Cancel) -> None:
        self.one, self.other = one, other

    def is_set(self) -> bool:
        return self.one.is_set() or self.other.is_set()


def iterate_in_thread(work: Callable[[Callable[[Any], None], Cancel], Any], cancel: Cancel) -> Iterator[Any]:
    """Yield what `work(emit, stop)` emits, and at last what it returns; what it raises is raised here.

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
            yield item
            if kind == "last":
                return
    finally:
        closed.set()
        worker.join()
