"""What a side panel is: one class in one module. It is laid out in the right column by one line in `page.PANELS`.

A panel may add values to every message that is sent, answer to its own buttons wherever they are on the page, put a button
under every drawn picture, serve addresses of its own, and bring a look and a script (`<name>.css` and `<name>.js` beside its
module). It needs no edit in `page` or `chat` for any of that.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from starlette.routing import Route

from assistant.errors import NotFoundError, PhotoError, StorageError
from assistant.files import png_size, write_whole
from assistant.requests import Photo, Settings
from assistant.session.manager import SessionManager
from assistant.session.records import StoredTurn
from assistant.session.uploads import MAX_BYTES, read_photo
from ui.auth import Belongings, Owners

Updates = dict[Any, Any]  # component: its new value
# Of a handler that wants no more of the message box than its words: a file in it that is not there any more must not make the handler fail.
WORDS_ONLY = "(...values) => values.map((one) => one?.files ? { text: one.text || '', files: [] } : one)"
QUIET: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")  # of a listener: no endpoint, and nothing that turns

Part = TypeVar("Part")


def needed(part: Part | None) -> Part:
    """A part of the session. Raises NotFoundError: this engine has it not, though a panel's `fits` should have seen that."""
    if part is None:
        raise NotFoundError("These models learn no concepts.", "Start a preset that has a base model, for instance miniature.")
    return part


@dataclass(frozen=True)
class PanelContext:
    """What a panel is given of the page around it."""

    manager: SessionManager
    owners: Owners
    scratch: Path  # private, temporary; for files that a component shows
    belongings: Belongings

    def uploaded(self, file: str, owner: str) -> Path:
        """A file that a browser says was uploaded. Raises NotFoundError: it was not, or not by this owner, or it is not there any more."""
        path = Path(file).resolve()
        inside = any(folder.resolve() in path.parents for folder in (self.belongings.folder, self.scratch))
        if not inside or not self.belongings.may_use(file, owner) or not path.is_file():
            raise NotFoundError("This upload is not here any more.", "Add the picture again.")
        return path

    def kept(self, name: str, owner: str) -> Photo:
        """A picture of this owner's as it is kept, under its name. Raises NotFoundError."""
        png = self.manager.picture(name, owner)
        return Photo(png, *png_size(png), name)

    def upload(self, path: str, owner: str) -> Path:
        """As `uploaded`. Raises PhotoError too: it is too large."""
        file = self.uploaded(path, owner)
        if file.stat().st_size > MAX_BYTES:
            read_photo(file)  # raises, with the size
        return file

    def forget(self, *files: str) -> None:
        """Remove uploads: what was to be kept of them is."""
        for file in map(Path, files):
            if self.belongings.folder.resolve() in file.resolve().parents:
                file.unlink(missing_ok=True)

    def shown(self, photo: Photo) -> str:
        """A photo as a file that a component can show; made anew where the system has cleaned up. Raises StorageError."""
        file = self.scratch / f"picture-{photo.sha256[:16]}.png"
        try:
            if not file.exists():
                self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(file, photo.png)
        except OSError as error:
            raise StorageError(f"The temporary folder {self.scratch} cannot be written ({error.strerror}).", "Free some space, or start again.") from error
        return str(file)


@dataclass(frozen=True)
class ButtonEvent:
    """A button with data-act="<panel>.<act>" was pressed; in the chat, where data attributes are dropped, one with the
    classes do-<panel>.<act> and to-<argument>."""

    act: str  # without the panel's name
    argument: str  # data-arg; of a button under a picture the turn's id
    fields: dict[str, str]  # data-field of each input, textarea and select in the nearest data-form: what it holds


class Panel:
    """Base of all panels. Build the components in `__init__`: the context is the panel's tab.

    Gradio renders a tab when it is first opened; listeners that must live from the start go through `wire`.
    """

    name = ""  # in acts, in the tab's id (panel-<name>) and in the names of its files
    title = ""  # on the tab
    turn_acts: tuple[tuple[str, str], ...] = ()  # (act, label) of a button under every drawn picture; it opens the panel

    def __init__(self, place: PanelContext) -> None:
        self.place = place
        self.inputs: list[gr.components.Component] = []  # their values are given to `settings` with every message, and outlast a reload
        self.moved: list[gr.components.Component | gr.Column] = []  # that `answered` may change

    @staticmethod
    def fits(manager: SessionManager) -> bool:
        """Whether this engine can do what the panel is for. Where it cannot, there is no tab."""
        return True

    @staticmethod
    def routes(manager: SessionManager, owners: Owners) -> list[Route]:
        """The panel's own addresses. Each must ask for the owner, as `pictures.routes` do."""
        return []

    def settings(self, so_far: Settings, *values: Any) -> Settings:
        """Add the panel's values, as a browser sent them, to what a message is drawn with. Raises AssistantError."""
        return so_far

    def answered(self, turn: StoredTurn, owner: str) -> Updates:
        """What a turn of this owner that has just been answered changes in the panel."""
        return {}

    def wire(self, desk: Any, courier: gr.HTML) -> None:
        """Connect the panel's own handlers.

        Args:
            desk: the `chat.ChatController`: `owner(request)`, `parts` (components of the page around), `page`.
            courier: `courier.click(handler, inputs, outputs)` gets every press of this panel's buttons: see `pressed`.
        """


def read_number(value: Any, usual: float) -> float:
    """What a browser sent as a number, or what is usual; not brought into range."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return usual
    return number if abs(number) < 1e6 else usual


def read_index(text: str) -> int:
    """What a browser sent as the number of a thing. Raises NotFoundError."""
    if not text.isdecimal() or len(text) > 15:
        raise NotFoundError(f"There is no “{text[:24]}” here any more.", "Reload the page.")
    return int(text)


def read_data(address: str) -> bytes:
    """What a data address that a browser sent holds. Raises PhotoError."""
    try:
        return base64.b64decode(address.partition(",")[2], validate=True)
    except ValueError as error:  # not base64, or not ASCII
        raise PhotoError("What was painted did not arrive whole.", "Paint it again.") from error


# Gradio makes a component anew, of its class, where a handler leaves it as it is; `class Slider(gr.Slider)` would have Gradio write a .pyi file beside this one.
_Slider: Any = type.__new__(type(gr.Slider), "Slider", (gr.Slider,), {"is_template": True, "preprocess": lambda self, payload: payload})


def slider(*limits: float, **about: Any) -> gr.Slider:
    """Gradio's, which hands on what a browser sends: nothing where the page has just begun to load, anything from a hand-made request. The panel's
    `settings` bring it into range; Gradio by itself fails the whole message."""
    return _Slider(*limits, **about)


def own_line(panel: str) -> gr.HTML:
    """A panel's line for what the page itself has to say: see `tell` in page.js."""
    return gr.HTML(f'<div id="{panel}-status" class="quiet" role="status" aria-live="polite"></div>', elem_classes="own-line")


def fresh_pulse() -> str:
    """A value that has not been before: what listens to it looks again."""
    return str(time.monotonic_ns())


def pressed(event: gr.EventData) -> ButtonEvent:
    """What a courier's event says. A browser can send anything: only strings come through."""
    data = event._data if isinstance(event._data, dict) else {}
    fields = given if isinstance(given := data.get("fields"), dict) else {}
    return ButtonEvent(str(data.get("act") or "").rpartition(".")[2], str(data.get("arg") or ""),
                 {str(k): str(v) for k, v in fields.items()})


def courier(panel: str = "") -> gr.HTML:
    """One listener for all buttons of a panel ("": the chat's own) that presenters write, wherever they appear."""
    script = f"""
document.addEventListener('click', (event) => {{
  const act = window.cafe.read(event.target);
  if (act && act.panel === '{panel}') trigger('click', act);
}});
"""
    return gr.HTML("", js_on_load=script, elem_id=f"courier-{panel}" if panel else "courier", elem_classes="courier")
