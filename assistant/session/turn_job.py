"""One turn that is waiting or being answered, and what has come of it so far. Anyone may watch it, at any time.

The work goes on whether or not a page looks. Knows no engine and no disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from ..errors import AssistantError
from ..requests import Event, Progress, Reply, Request, Waiting, Words


class TurnJob:
    """The state of one turn between `send` and its last event.

    Args:
        changed: one condition for all jobs of a manager; notified whenever anything here or in the queue changes.
        position: this job's place in the queue, None once it has left; called with `changed` held.
        work, fail: answer the turn, and keep why that failed.
    """

    def __init__(self, turn_id: int, conversation_id: str, owner: str, request: Request,
                 changed: threading.Condition, position: Callable[[TurnJob], int | None],
                 work: Callable[[TurnJob], None], fail: Callable[[TurnJob, AssistantError], None]) -> None:
        self.turn_id, self.conversation_id, self.owner, self.request = turn_id, conversation_id, owner, request
        self.cancel = threading.Event()
        self.text = ""
        self.progress: Progress | None = None
        self.preview: bytes | None = None
        self.reply: Reply | None = None
        self.error: AssistantError | None = None
        self._changed, self._position, self._work, self._fail = changed, position, work, fail

    def run(self) -> None:
        self._work(self)

    def end(self, error: AssistantError | None) -> None:
        if error is not None:
            self._fail(self, error)

    def tell(self, event: Event | AssistantError) -> None:
        """Take in an event, and wake whoever watches."""
        with self._changed:
            if isinstance(event, Words):
                self.text += event.delta
            elif isinstance(event, Progress):
                self.progress = event
                self.preview = event.preview or self.preview
            elif isinstance(event, Reply):
                self.reply = event
            elif isinstance(event, AssistantError):
                self.error = event
            self._changed.notify_all()

    def watch(self) -> Iterator[Event]:
        """Yield what there is so far, then what comes, up to the Reply. A slow watcher gets the newest, not a backlog.

        Raises:
            AssistantError: the turn failed.
        """
        place, letters, progress = None, 0, None
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._has_news(place, letters, progress))
                now, text, latest = self._position(self), self.text, self.progress
                reply, error = self.reply, self.error
            if now is not None and now != place and not (reply or error):
                yield Waiting(now)
            place = now
            if len(text) > letters:
                yield Words(text[letters:])
                letters = len(text)
            if latest is not None and latest is not progress:
                yield latest
                progress = latest
            if error is not None:
                raise error
            if reply is not None:
                yield reply
                return

    def _has_news(self, place: int | None, letters: int, progress: Progress | None) -> bool:
        return bool(self.reply or self.error or len(self.text) > letters or self.progress is not progress
                    or self._position(self) != place)

