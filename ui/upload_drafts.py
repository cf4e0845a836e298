"""Pictures chosen to learn from, before anything is learned: kept per owner, so that a reload loses nothing. Knows no components."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from assistant.errors import PhotoError
from assistant.requests import DatasetAdvice, Photo
from assistant.session.uploads import read_photo
from assistant.session.training_jobs import MOST_PICTURES

MAX_DRAFTS = 256  # owners that are remembered


@dataclass
class Draft:
    """Pictures in their order, what was painted on each, and what is to be said of them."""

    photos: list[Photo] = field(default_factory=list)
    masks: list[Photo | None] = field(default_factory=list)
    advice: DatasetAdvice = DatasetAdvice()


class Drafts:
    """Args: advise: what can be said of pictures."""

    def __init__(self, advise: Callable[[Sequence[Photo]], DatasetAdvice]) -> None:
        self._advise = advise
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, owner: str) -> Draft:
        with self._lock:
            draft = self._drafts.setdefault(owner, Draft())
            self._drafts.move_to_end(owner)
            while len(self._drafts) > MAX_DRAFTS:
                self._drafts.popitem(last=False)
            return draft

    def forget(self, owner: str) -> None:
        with self._lock:
            self._drafts.pop(owner, None)

    def take(self, owner: str, photo: Photo) -> None:
        """Raises PhotoError: it is there already, or there are as many as can be learned from."""
        draft = self.of(owner)
        if any(photo.sha256 == one.sha256 for one in draft.photos):
            raise PhotoError("This picture is among them already.", "Choose another one.")
        if len(draft.photos) >= MOST_PICTURES:
            raise PhotoError(f"{MOST_PICTURES} pictures are chosen, which is as many as can be learned from.", "Take one away first.")
        draft.photos.append(photo)
        draft.masks.append(None)
        draft.advice = self._advise(draft.photos)

    def remove(self, owner: str, at: int) -> None:
        draft = self.of(owner)
        if 0 <= at < len(draft.photos):
            del draft.photos[at], draft.masks[at]
            draft.advice = self._advise(draft.photos)

    def paint(self, owner: str, at: int, address: str) -> None:
        """Where the subject is in a picture: a PNG in a data address, "" to take it away again. Raises PhotoError."""
        draft, body = self.of(owner), address.partition(",")[2]
        if 0 <= at < len(draft.masks):
            try:
                draft.masks[at] = read_photo(base64.b64decode(body, validate=True)) if body else None
            except binascii.Error as error:
                raise PhotoError("What was painted did not arrive whole.", "Paint it again.") from error
