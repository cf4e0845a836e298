"""The mixing board as HTML: what lies on it, what came of it, maps to pick from. Pure functions: no gradio, no disk.

Everything that a person wrote is escaped. Sliders carry data-change: what they ask for when they are let go.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from assistant.board import GRID, MOST_SOURCES, MOST_SUBJECTS
from assistant.errors import AssistantError
from assistant.messages import EngineInfo
from assistant.session.runner import Drawing
from assistant.session.records import Board, Cell, Reference, StoredTurn
from ui.presenters import notice as fault
from ui.presenters import picture_address, say

ACCEPT = "image/*,.heic,.heif,.avif"


def notice(error: AssistantError | str = "", undo: str = "") -> str:
    """One sentence in the panel. `undo`: the board that a press brings back."""
    if not error or isinstance(error, AssistantError):
        return fault(error)
    back = f' <button type="button" class="act" data-act="mix.restore" data-arg="{escape(undo)}">Undo</button>' if undo else ""
    return f'<div class="note" role="status">{say(error)}{back}</div>'


def bar(boards: Sequence[Board], current: Board | None) -> str:
    """Which board, and what can be done with it as a whole."""
    line = '<p class="quiet">Draw your subject with the look of other pictures.</p>'
    if current is None and not boards:
        return line
    options = "".join(f'<option value="{b.id}">{say(b.title)}</option>' for b in boards if current is None or b.id != current.id)
    others = (f'<select data-change="mix.open" aria-label="Open another board"><option value="" selected>Boards</option>{options}</select>'
              if options else "")
    title, acts = "", _act("new", "New")
    if current is not None:
        title = f'<input type="text" value="{say(current.title)}" maxlength="60" data-change="mix.rename" aria-label="Name of this board">'
        acts += _act("copy", "Duplicate") + _act("delete", "Delete")
    return f'{line}<div class="mix-bar" data-form>{title}{others}<span class="mix-acts">{acts}</span></div>'


def form(board: Board | None, info: EngineInfo, gallery: Sequence[StoredTurn]) -> str:
    """What lies on the board. All values of the form go along with whatever is pressed in it."""
    subjects = board.subjects if board else ()
    references = board.references if board else ()
    photos = "".join(_photo(name, k) for k, name in enumerate(subjects))
    if len(subjects) < MOST_SUBJECTS:
        photos += _adder("subject", "Add a photo of the subject", "small" if subjects else "")
    tiles = "".join(_tile(r, k) for k, r in enumerate(references))
    more = ""
    if len(references) < MOST_SOURCES:
        more = (f'<div class="mix-more">{_adder("reference", "Add a reference", "wide")}'
                '<div class="mix-words"><input type="text" data-field="words" maxlength="400" placeholder="or in words: a harbour at night" '
                'aria-label="A reference in words">'
                '<span class="mix-acts">' + _act("imagine", "Draw it", title="The base model draws these words; the drawing is the reference")
                + _act("words", "Use the words", title="The language model says what a picture of your subject with these words would be like")
                + "</span></div></div>")
    keep, follow = (board.keep_subject, board.follow) if board else (info.keep_subject, info.follow_words)
    strengths = "".join(
        f'<label class="mix-strength"><span>{label} <output>{value:.1f}</output></span><input type="range" min="0" max="10" step="0.1" '
        f'value="{value:g}" data-field="{name}" data-change="mix.set" aria-label="{label}"></label>'
        for name, label, value in (("keep", "Keep the subject", keep), ("follow", "Follow the references", follow)))
    board_id = f' data-board="{board.id}"' if board else ""
    return (f'<div class="mix-form" data-form{board_id}>'
            f'<section data-drop="subject"><h4>Subject</h4><div class="mix-photos">{photos}</div></section>'
            f'<section data-drop="reference"><h4>Should be like</h4>{tiles}{more}{_shelf(info, gallery, bool(subjects))}</section>'
            f'<details class="mix-details"><summary>Strengths</summary>{strengths}<p class="quiet">Both are usually 2.</p></details></div>')


def alpha(board: Board | None) -> str:
    """The slider of eq. 4, once there is something to slide towards."""
    if board is None or not board.references:
        return ""
    return ('<div class="mix-form" data-form><label class="mix-alpha"><span class="mix-ends"><span>As its own picture</span>'
            f'<output title="Alpha">{board.alpha:.2f}</output><span>Like the references</span></span>'
            f'<input type="range" min="0" max="1" step="0.05" value="{board.alpha:g}" data-field="alpha" data-change="mix.set" '
            'aria-label="Alpha: from the subject\'s own picture to the references"></label></div>')


def _photo(name: str, number: int) -> str:
    return (f'<figure class="mix-photo"><img src="{picture_address(name)}" alt="Photo {number + 1} of the subject">'
            f'<button type="button" class="mix-x" data-act="mix.take" data-arg="subject.{number}" '
            f'aria-label="Take photo {number + 1} of the subject away">&#10005;</button></figure>')


def _tile(one: Reference, number: int) -> str:
    place = number + 1
    face = (f'<img src="{picture_address(one.picture)}" alt="Reference {place}" title="{say(one.words)}">' if one.picture else
            f'<span class="mix-said" title="{say(one.words)}">{say(one.words)}</span>')
    swap = _act("swap", "Make subject", number, "This picture becomes the subject, and the subject a reference") if one.picture else ""
    state = "on" if one.on else "off"
    return (f'<div class="mix-ref {state}"><div class="mix-face">{face}<b>{place}</b>'
            f'<button type="button" class="mix-x" data-act="mix.take" data-arg="reference.{number}" aria-label="Take reference {place} away">&#10005;</button>'
            '</div><div class="mix-hold">'
            f'<label><span class="mix-ends"><span>Weight</span><output>{one.weight:.2f}</output></span>'
            f'<input type="range" min="-1" max="1" step="0.05" value="{one.weight:g}" data-field="w{number}" data-change="mix.set" '
            f'aria-label="Weight of reference {place}, below 0: away from it"></label>'
            f'<span class="mix-acts"><button type="button" class="act" data-act="mix.turn" data-arg="{number}" aria-pressed="{str(one.on).lower()}">'
            f'{state.capitalize()}</button>{swap}</span></div></div>')


def _adder(what: str, label: str, kind: str = "") -> str:
    return (f'<label class="mix-add {kind}"><span>+ Picture</span><input type="file" multiple accept="{ACCEPT}" data-put="{what}" '
            f'aria-label="{label}"></label>')


def _shelf(info: EngineInfo, gallery: Sequence[StoredTurn], has_subject: bool) -> str:
    """Pictures that are here already, to be taken with one press."""
    kept = dict.fromkeys(t.picture for t in gallery if t.picture)
    what = "reference" if has_subject else "subject"
    tiles = "".join(f'<button type="button" data-act="mix.bring" data-arg="{what}.{name}" aria-label="Add this picture">'
                    f'<img src="{picture_address(name)}" alt="" loading="lazy"></button>' for name in list(kept)[:12])
    tiles += "".join(f'<button type="button" data-act="mix.bring" data-arg="{what}.ready{n}" aria-label="Add {say(s.name)}">'
                     f'<img src="subjects/{n}.png" alt="" loading="lazy"></button>' for n, s in enumerate(info.subjects))
    title = "Pictures at hand" if has_subject else "Or take one of these as the subject"
    return f'<details class="mix-shelf"{"" if has_subject else " open"}><summary>{title}</summary><div class="tiles">{tiles}</div></details>'


# what came of it


def result(board: Board | None, sitting: Drawing | None = None) -> str:
    """The picture with its nearness, and the map under it."""
    if board is None:
        return ""
    busy = sitting is not None and not sitting.done
    here, big = sitting.kind if sitting else "", board.result
    parts = []
    if busy and here == "" and sitting.sketches:
        parts.append(_picture(sketch_address(sitting, 0), "The picture so far"))
    elif big is not None:
        parts.append(_picture(picture_address(big.picture), "The mixed picture"))
    elif board.subjects:
        parts.append('<div class="mix-picture blank"></div>')
    else:
        return '<div class="mix-empty quiet">Your subject first, then what it should be like.</div>'
    parts.append(_doing(sitting) if busy else "")
    if sitting is not None and sitting.error is not None:
        parts.append(notice(sitting.error))
    if big is not None:
        parts.append(_nearness(board, big))
        parts.append(_acts(board, big))
    parts.append(_map(board, sitting if busy and here in ("strip", "grid") else None))
    if sitting is not None and sitting.done and here == "film" and sitting.error is None and not sitting.cancel.is_set():
        address = f"boards/{board.id}/film.gif?v={id(sitting)}"
        parts.append(f'<div class="mix-map"><h4>The path</h4><img class="mix-film" src="{address}" alt="From the subject\'s own picture to the references">'
                     f'<a class="act" href="{address}" download="cafe-path.gif">Download the GIF</a></div>')
    return f'<div class="mix-result">{"".join(parts)}</div>'


def sketch_address(sitting: Drawing, number: int) -> str:
    return f"boards/{sitting.key}/sketch/{number}.png?v={id(sitting)}"


def _picture(address: str, alt: str) -> str:
    return f'<div class="mix-picture"><img src="{address}" alt="{alt}"></div>'


def _doing(sitting: Drawing) -> str:
    what = {"": "Drawing", "strip": "Drawing the strip", "grid": "Drawing the grid", "film": "Drawing the path", "imagine": "Drawing your words"}[sitting.kind]
    share = 100 * sitting.step / sitting.steps if sitting.steps else 0
    left = f", about {sitting.left:.0f} s left" if sitting.left is not None and sitting.left >= 1 else ""
    return (f'<div class="mix-doing">{what}{left}<span class="bar"><span style="width:{share:.0f}%"></span></span>'
            f'{_act("stop", "Stop")}</div>')


def _nearness(board: Board, one: Cell) -> str:
    rows = [("Subject", one.subject, "How alike the subject is")]
    rows += [(f"Reference {k}", value, "How alike the whole picture is") for k, value in enumerate(one.sources, 1) if value is not None]
    bars = "".join(f'<span title="{why}">{name}</span><span class="bar"><span style="width:{100 * value:.0f}%"></span></span><span>{100 * value:.0f}%</span>'
                   for name, value, why in rows)
    advice = f'<p class="mix-advice">{say(one.advice)}</p>' if one.advice else ""
    return f'<div class="mix-near">{bars}</div>{advice}<div class="facts"><span class="seed">Seed {board.seed}</span>{_act("seed", "Another seed")}</div>'


def _acts(board: Board, one: Cell) -> str:
    on = sum(r.on for r in board.references)
    maps = _act("strip", "Strip", title="From its own picture to the references") if on else ""
    maps += _act("grid", "Grid", title="Over the weights of two references") if on > 1 else ""
    maps += _act("film", "Film", title="The strip as a moving picture") if on else ""
    more = f'<div class="mix-acts mix-explore"><span class="quiet">See more of it:</span>{maps}</div>' if maps else ""
    return (f'<div class="mix-acts"><button type="button" class="mix-send" data-act="mix.send" data-ui="close">Send to chat</button>'
            f'<a class="act" href="{picture_address(one.picture, show=False)}" download>Download</a></div>{more}')


def _map(board: Board, drawing: Drawing | None) -> str:
    """A strip or a grid: every cell can be picked. While it is drawn, its sketches."""
    kind = drawing.kind if drawing else board.kind
    if drawing is not None:
        cells = "".join(f'<span class="mix-cell"><img src="{sketch_address(drawing, k)}" alt=""></span>' for k in range(len(drawing.sketches)))
        return _framed(kind, board, cells) if drawing.sketches else ""
    if not board.cells:
        return ""
    fits = len(board.cells[0].weights) == len(board.references)
    cells = "".join(
        f'<button type="button" class="mix-cell" data-act="mix.pick" data-arg="{k}" aria-pressed="{str(cell == board.result).lower()}" '
        f'title="{_told(kind, board, cell)}: subject {100 * cell.subject:.0f}%"{"" if fits else " disabled"}>'
        f'<img src="{picture_address(cell.picture)}" alt="{_told(kind, board, cell)}"></button>' for k, cell in enumerate(board.cells))
    return _framed(kind, board, cells, "" if fits else '<p class="quiet">The references have changed since; draw it again to pick from it.</p>')


def _on(board: Board) -> list[int]:
    return [k for k, r in enumerate(board.references) if r.on]


def _told(kind: str, board: Board, cell: Cell) -> str:
    if kind == "strip":
        return f"alpha {cell.alpha:.2f}"
    first, second = [k for k, on in enumerate(cell.on) if on][:2]
    return f"reference {first + 1} at {cell.weights[first]:.2f}, reference {second + 1} at {cell.weights[second]:.2f}"


def _framed(kind: str, board: Board, cells: str, under: str = "") -> str:
    if kind == "strip":
        ends = '<span class="mix-ends"><span>Its own picture</span><span>The references</span></span>'
        return f'<div class="mix-map"><h4>Strip over alpha</h4><div class="mix-strip">{cells}</div>{ends}{under}</div>'
    found = (*_on(board), 0, 1)[:2]
    down, across = found[0] + 1, found[1] + 1
    return (f'<div class="mix-map"><h4>Grid over two weights</h4><div class="mix-axes"><span class="mix-y">reference {down} &rarr;</span>'
            f'<div class="mix-grid" style="--side:{GRID}">{cells}</div><span class="mix-x-axis">reference {across} &rarr;</span></div>{under}</div>')


def _act(act: str, label: str, argument: object = "", title: str = "") -> str:
    hint = f' title="{title}"' if title else ""
    return f'<button type="button" class="act" data-act="mix.{act}" data-arg="{argument}"{hint}>{label}</button>'
