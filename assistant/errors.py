"""One tree of errors. Each carries the sentence a user reads and the remedy; it knows nothing of models or pages."""

from __future__ import annotations


class AssistantError(Exception):
    """Base of every error the project raises on purpose.

    Args:
        sentence: what went wrong, naming the value and the limit, in words for people.
        remedy: what to do about it, in one imperative sentence.
    """

    def __init__(self, sentence: str, remedy: str = "") -> None:
        super().__init__(f"{sentence} {remedy}".strip())
        self.sentence = sentence
        self.remedy = remedy


class ConfigError(AssistantError):
    """A configuration that cannot be built."""


class WeightsError(AssistantError):
    """A model file that is missing, damaged, of another shape or of a format that is never loaded."""


class InputError(AssistantError):
    """Something the user handed over cannot be used."""


class UnsafeError(InputError):
    """A picture that the safety checker holds back."""


class PhotoError(InputError):
    """A picture that cannot be read or must not be opened."""


class MessageError(InputError):
    """Words that cannot be answered: empty, or over the limit."""


class ConceptError(InputError):
    """A concept, or a file that should hold one, that cannot be used here."""


class NotFoundError(InputError):
    """A conversation, picture or concept that is not there (or is not this user's)."""


class BusyError(AssistantError):
    """The queue is full, or this conversation is already being answered."""


class StorageError(AssistantError):
    """The data directory cannot be read or written."""


class NotFiniteError(AssistantError):
    """Numbers that overflowed or are no numbers: what is drawn or learned of them is nothing to be shown or kept."""


class DeviceError(AssistantError):
    """A device, dtype or attention kernel that this machine does not have, or that ran out of memory."""


def is_shortage(error: BaseException) -> bool:
    """Whether an error, of torch's too, says that memory ran out, on whatever device."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said))
