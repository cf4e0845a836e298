"""Strips over lambda, drawn beside the chat: the newest of each owner is held, with its masks. Knows no torch and no page."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from assistant.errors import BusyError, NotFoundError
from assistant.messages import Progress, Settings
from assistant.strip import STRENGTHS, Striker, StripReply, StripRequest

HELD = 32  # owners whose newest strip is held in memory


class Strips:
    """Thread-safe; what an owner drew is its own.

    Args:
        library: an owner's concepts. device: a context in which the device is this drawing's.
    """

    def __init__(self, engine: Striker, library: Callable[[str], object], device: Callable[[], AbstractContextManager]) -> None:
        self._engine, self._library, self._device = engine, library, device
        self._lock = threading.Lock()
        self._newest: OrderedDict[str, StripReply] = OrderedDict()
        self._running: dict[str, threading.Event] = {}

    def draw(self, owner: str, prompt: str, settings: Settings, strengths: tuple[float, ...] = STRENGTHS) -> Iterator[Progress | StripReply]:
        """Draw a strip; its newest is then `newest`. One of an owner at a time.

        Raises:
            BusyError: one is being drawn. Others as of the engine; the strip before is still there then.
        """
        cancel = threading.Event()
        with self._lock:
            if owner in self._running:
                raise BusyError("A strip is being drawn already.", "Wait for it, or stop it.")
            self._running[owner] = cancel
        try:
            with self._device():
                for event in self._engine.strip(StripRequest(prompt, self._library(owner), strengths, settings), cancel):
                    if isinstance(event, StripReply) and not event.stopped:
                        self._keep(owner, event)
                    yield event
        finally:
            with self._lock:
                self._running.pop(owner, None)

    def stop(self, owner: str) -> None:
        with self._lock:
            if owner in self._running:
                self._running[owner].set()

    def newest(self, owner: str) -> StripReply:
        """Raises NotFoundError: nothing has been drawn since the program began."""
        with self._lock:
            if owner not in self._newest:
                raise NotFoundError("There is no strip yet.", "Draw one.")
            return self._newest[owner]

    def settings_of(self, owner: str, number: int) -> Settings:
        """What a picture of the newest strip is drawn again with, in the chat.

        Raises:
            NotFoundError: there is no such picture.
        """
        reply = self.newest(owner)
        if not 0 <= number < len(reply.pictures):
            raise NotFoundError(f"There is no picture {number + 1} in this strip of {len(reply.pictures)}.", "Choose one of them.")
        return replace(reply.settings, imagination=reply.pictures[number].strength, auxiliary=reply.noun)

    def _keep(self, owner: str, reply: StripReply) -> None:
        with self._lock:
            self._newest[owner] = reply
            self._newest.move_to_end(owner)
            while len(self._newest) > HELD:
                self._newest.popitem(last=False)
