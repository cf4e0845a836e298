"""A turn in work, as a message that grows: words, then previews with the time left. Knows no gradio."""

from __future__ import annotations

import time
from collections.abc import Iterator

from assistant.messages import Event, Progress, Reply, Waiting, Words
from ui import presenters


def live_messages(turn_id: int, events: Iterator[Event]) -> Iterator[tuple[presenters.Message, str | None]]:
    """Events to the message of a turn in work, as often as it changes, and the address of its newest preview."""
    text, waiting, progress, shown, started = "", None, None, (), None
    for event in events:
        left = None
        if isinstance(event, Waiting):
            waiting = event.position
        elif isinstance(event, Words):
            text, waiting = text + event.delta, None
        elif isinstance(event, Progress):
            waiting, progress = None, event
            shown = (*shown[-1:], event.step) if event.preview else shown
            if started is None:
                started = (time.monotonic(), event.step)
            elif event.step > started[1]:
                pace = (time.monotonic() - started[0]) / (event.step - started[1])
                left = pace * (event.steps - event.step)
        elif isinstance(event, Reply):
            return
        yield (presenters.live_message(turn_id, text, waiting, progress, shown, left),
               presenters.live_address(turn_id, shown[-1]) if shown else None)
