"""A download beside a running page: begun, paused and gone on with by a button or by itself, and told about. One preset, one thread. Knows no page."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from ..config import AssistantConfig
from ..errors import AssistantError
from ..presets import LICENCES
from .download import Client, Interrupted, download, free_disk, look, missing

WINDOW = 10.0  # seconds that a pace is told from
RETRY = (5.0, 15.0, 60.0, 300.0)  # seconds before an unattended download tries again; the last for ever

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One part that is to be fetched, for people to read before."""

    name: str
    repository: str
    licence: str  # its name; empty: its page says
    gib: float  # about; 0: unknown
    accept: str = ""  # where the licence must be accepted first


@dataclass(frozen=True)
class DownloadStatus:
    """One moment of a download."""

    preset: str
    state: str  # "offered", "running", "paused", "failed", "loading" (all is here, the models are being loaded), "unusable" (they could not be)
    parts: tuple[Part, ...]
    folder: Path
    free: int  # bytes of disk
    total: int = 0  # bytes, those that were here before included; 0: not known yet
    done: int = 0  # bytes
    pace: float = 0.0  # bytes a second over the network
    file: str = ""  # what is being fetched
    error: str = ""  # a sentence and what to do

    @property
    def left(self) -> float | None:
        """Seconds, as far as known."""
        return (self.total - self.done) / self.pace if self.pace > 0 and self.total else None


class Paused(Exception):
    """Somebody pressed Pause."""


class DownloadJob:
    """Thread-safe.

    Args:
        unattended: begin at once, and try again by itself where the network fails.
        retry: for tests.
    """

    def __init__(self, config: AssistantConfig, folder: Path, client: Client, unattended: bool = False, retry: tuple[float, ...] = RETRY) -> None:
        self.config, self.folder, self._client, self._unattended, self._retry = config, folder, client, unattended, retry
        gone = missing(config, folder)
        self._parts = tuple(Part(name, source.hubs[0], LICENCES.get(source.hubs[0], ""), source.gib, source.licence)
                            for name, source in config.sources.items() if name in gone)
        self._changed = threading.Condition()
        self._state, self._file, self._total, self._done = "offered", "", 0, 0
        self._error: AssistantError | None = None
        self._heard: deque[tuple[float, int]] = deque()  # when, and how many bytes came
        self._stop, self._closed = threading.Event(), False
        self._thread: threading.Thread | None = None
        if unattended:
            self.begin()

    def begin(self) -> None:
        """Start, or go on; nothing happens where it runs already."""
        with self._changed:
            if self._closed or self._state not in ("offered", "paused", "failed", "unusable") or (self._thread is not None and self._thread.is_alive()):
                return
            self._state, self._error, self._total, self._done = "running", None, 0, 0
            self._heard.clear()
            self._stop.clear()
            self._thread = threading.Thread(target=self._work, name="download", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Break off as soon as the next bytes come; what is here stays."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def status(self) -> DownloadStatus:
        with self._changed:
            now = time.monotonic()
            recent = [(when, count) for when, count in self._heard if now - when <= WINDOW]
            pace = sum(count for _, count in recent) / max(1.0, now - recent[0][0]) if recent and self._state == "running" else 0.0
            return DownloadStatus(self.config.name, self._state, self._parts, self.folder, free_disk(self.folder), self._total, self._done, pace, self._file,
                                  str(self._error or ""))

    def wait(self, patiently: bool = True) -> None:
        """Until everything is here.

        Args:
            patiently: also after a failure, which somebody may mend and try again.

        Raises:
            AssistantError: it failed, and nobody is waited for.
        """
        with self._changed:
            while self._state != "loading":
                if self._error is not None and not patiently:
                    raise self._error
                self._changed.wait(0.5)  # a wait without an end cannot be interrupted on Windows

    def unusable(self, error: AssistantError) -> None:
        """What was fetched cannot be run here."""
        self._end("unusable", error)

    def close(self) -> None:
        with self._changed:
            self._closed = True
        self.pause()
        if self._thread is not None:
            self._thread.join(5)

    # inside

    def _work(self) -> None:
        tries = 0
        while True:
            before = self._done
            try:
                self._say("Looking what there is")
                plan = look(self.config, self.folder, self._client)
                with self._changed:
                    self._total, self._done = plan.bytes, 0
                download(plan, self.folder, self._client, self._say, self._came)
                self._end("loading")
                return
            except Paused:
                self._end("paused")
                return
            except Interrupted as error:
                tries = 0 if self._done > before else tries
                wait = self._retry[min(tries, len(self._retry) - 1)]
                tries += 1
                if not self._unattended:
                    self._end("failed", error)
                    return
                log.warning("The download of %s: %s It is tried again in %.0f s.", self.config.name, error.sentence, wait)
                self._say(f"{error.sentence} Trying again in {wait:.0f} s")
                if self._stop.wait(wait):
                    self._end("paused")
                    return
            except AssistantError as error:
                self._end("failed", error)
                return
            except Exception as error:
                log.exception("the download failed")
                self._end("failed", AssistantError(f"A fault in the program ended the download ({type(error).__name__}).",
                                                   "Try again; if it happens again, the server's log says more."))
                return

    def _say(self, line: str) -> None:
        with self._changed:
            self._file = line.strip()

    def _came(self, count: int, kept: bool) -> None:
        if self._stop.is_set():
            raise Paused
        with self._changed:
            self._done += count
            if count > 0 and not kept:
                now = time.monotonic()
                self._heard.append((now, count))
                while now - self._heard[0][0] > WINDOW:
                    self._heard.popleft()

    def _end(self, state: str, error: AssistantError | None = None) -> None:
        with self._changed:
            self._state, self._error, self._file = state, error, ""
            self._changed.notify_all()
        if error is not None:
            log.warning("The download of %s: %s", self.config.name, error)
