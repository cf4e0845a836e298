"""Boards: what is kept of them, who may see them, what is drawn of them, and two pictures in one message."""

import io
import json
import threading
import time

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from assistant.requests import GRID, STRIP, Settings
from assistant.errors import BusyError, InputError, NotFoundError, PhotoError
from assistant.session import uploads
from assistant.session.boards import board_in
from assistant.session.manager import SessionManager
from assistant.session.store import Store
from tests.fake_engine import FakeEngine, draw, photo_of, png_of
from ui.presenters import result

ME = "ada"


@pytest.fixture
def board_jobs(manager):
    return manager.board_jobs


@pytest.fixture
def board(board_jobs):
    """A subject and two references."""
    one = board_jobs.boards.create(ME)
    board_jobs.boards.add_subject(one.id, ME, photo_of(1))
    board_jobs.boards.add_reference(one.id, ME, photo_of(2))
    return board_jobs.boards.add_reference(one.id, ME, photo_of(3), "a hill", "drawn")


def finished(board_jobs, sitting):
    *_, last = board_jobs.watch(sitting)
    assert last.done
    return last


def test_a_board_is_drawn_kept_and_there_after_a_restart(board_jobs, board, store, manager):
    board_jobs.boards.set(board.id, ME, alpha=0.25, weights=[0.5, -0.5])
    finished(board_jobs, board_jobs.draw(board.id, ME, Settings(steps=3)))
    finished(board_jobs, board_jobs.draw(board.id, ME, Settings(steps=3), "strip"))
    before = board_jobs.boards.get(board.id, ME)
    assert before.result.alpha == 0.25 and before.result.weights == (0.5, -0.5) and len(before.cells) == STRIP
    manager.close()
    store.close()
    again = Store(store.folder)
    later = SessionManager(FakeEngine(), again)
    assert later.board_jobs.boards.of(ME) == [before]
    assert again.verify().missing == () and set(before.pictures()) <= again.files.names()
    assert later.picture(before.result.picture, ME).startswith(b"\x89PNG")
    later.close()
    again.close()


def test_a_board_and_its_pictures_are_its_owners(board_jobs, board, manager):
    for act in (lambda: board_jobs.boards.get(board.id, "eve"), lambda: board_jobs.boards.duplicate(board.id, "eve"), lambda: board_jobs.boards.delete(board.id, "eve"),
                lambda: board_jobs.draw(board.id, "eve", Settings()), lambda: board_jobs.film(board.id, "eve"), lambda: manager.picture(board.subjects[0], "eve")):
        with pytest.raises(NotFoundError):
            act()
    assert board_jobs.now(board.id, "eve") is None and board_jobs.boards.of("eve") == []
    assert manager.picture(board.subjects[0], ME) == photo_of(1).png


def test_a_copy_goes_its_own_way_and_a_deleted_board_comes_back(board_jobs, board):
    copy = board_jobs.boards.duplicate(board.id, ME)
    board_jobs.boards.take(copy.id, ME, "reference", 0)
    assert len(board_jobs.boards.get(board.id, ME).references) == 2 and copy.title == f"{board.title} (copy)" and copy.seed == board.seed
    board_jobs.boards.delete(board.id, ME)
    assert [b.id for b in board_jobs.boards.of(ME)] == [copy.id]
    assert board_jobs.boards.restore(board.id, ME) == board


def test_a_cell_of_the_grid_can_be_gone_on_from(board_jobs, board, engine):
    finished(board_jobs, board_jobs.draw(board.id, ME, Settings(steps=3), "grid"))
    one = board_jobs.boards.pick(board.id, ME, 9)
    assert len(one.cells) == GRID * GRID and one.result == one.cells[9]
    assert [r.weight for r in one.references] == [0.75, 1.0] and one.alpha == 1.0
    assert len({request.settings.seed for request in engine.mixed}) == 1 and engine.mixed[0].settings.seed == board.seed
    board_jobs.boards.take(board.id, ME, "reference", 0)
    with pytest.raises(NotFoundError, match="have changed since"):
        board_jobs.boards.pick(board.id, ME, 3)


def test_roles_can_be_changed(board_jobs, board):
    one = board_jobs.boards.swap(board.id, ME, 1)
    assert one.subjects == (board.references[1].picture,) and one.references[1].picture == board.subjects[0]
    one = board_jobs.boards.turn(board.id, ME, 0)
    assert [r.on for r in one.references] == [False, True]
    with pytest.raises(InputError, match="only one is on"):
        board_jobs.draw(board.id, ME, Settings(), "grid")


def test_what_does_not_fit_is_said_and_nothing_is_lost(board_jobs, board):
    empty = board_jobs.boards.create(ME)
    with pytest.raises(InputError, match="no subject yet"):
        board_jobs.draw(empty.id, ME, Settings())
    for n in range(6):
        board_jobs.boards.add_reference(board.id, ME, photo_of(n + 4))
    with pytest.raises(InputError, match="8 references already"):
        board_jobs.boards.add_reference(board.id, ME, photo_of(20))
    with pytest.raises(InputError, match="no words"):
        board_jobs.boards.add_reference(empty.id, ME, words="  ")
    assert len(board_jobs.boards.get(board.id, ME).references) == 8


def test_the_newest_wish_wins(store):
    engine = FakeEngine(pause=0.05)
    manager = SessionManager(engine, store)
    board_jobs = manager.board_jobs
    one = board_jobs.boards.create(ME)
    board_jobs.boards.add_subject(one.id, ME, photo_of(1))
    board_jobs.boards.add_reference(one.id, ME, photo_of(2))
    first = board_jobs.draw(one.id, ME, Settings(steps=3))
    while not first.sketches:
        time.sleep(0.01)
    board_jobs.boards.set(one.id, ME, alpha=0.9)
    second = board_jobs.draw(one.id, ME, Settings(steps=3))
    assert finished(board_jobs, first).cancel.is_set() and finished(board_jobs, second).error is None
    assert board_jobs.boards.get(one.id, ME).result.alpha == 0.9 and board_jobs.now(one.id, ME) is second
    assert first.work is second.work is None  # and with it the pictures that it was drawn from
    manager.close()


@pytest.mark.parametrize("kind, said", [("", "the picture"), ("grid", "the grid"), ("imagine", "a reference")])
def test_a_drawing_that_the_end_of_the_program_cut_off_is_offered_again(board_jobs, board, engine, manager, store, kind, said):
    def draw():
        return board_jobs.imagine(board.id, ME, "a castle at night", Settings()) if kind == "imagine" else board_jobs.draw(board.id, ME, Settings(), kind)

    engine.pause = 0.05
    draw()
    board_jobs.stop(board.id, ME)
    assert board_jobs.boards.get(board.id, ME).asked is None  # what was stopped is over
    draw()
    assert board_jobs.boards.duplicate(board.id, ME).asked is None
    manager.close()
    store.close()
    again = Store(store.folder)
    later = SessionManager(FakeEngine(), again)
    one = later.board_jobs.boards.get(board.id, ME)
    assert f"The program ended while {said} was drawn." in result(one) and 'data-act="mix.again"' in result(one)
    assert finished(later.board_jobs, later.board_jobs.again(board.id, ME, Settings())).error is None
    one = later.board_jobs.boards.get(board.id, ME)
    assert one.asked is None and "mix.again" not in result(one) and (one.result or one.cells or len(one.references) == 3)
    with pytest.raises(NotFoundError, match="No drawing of this board was interrupted"):
        later.board_jobs.again(board.id, ME, Settings())
    later.close()
    again.close()


def test_a_drawing_that_fails_says_why_and_the_board_stays(board_jobs, board, engine, monkeypatch):
    def broken(request, cancel):
        raise InputError("These references cancel each other out.", "Change a weight.")
        yield

    monkeypatch.setattr(engine, "mix", broken)
    assert str(finished(board_jobs, board_jobs.draw(board.id, ME, Settings())).error) == "These references cancel each other out. Change a weight."
    assert board_jobs.boards.get(board.id, ME) == board


def test_words_become_a_picture_on_the_board_and_a_film_is_made_when_asked(board_jobs, board):
    finished(board_jobs, board_jobs.imagine(board.id, ME, "a castle at night", Settings()))
    assert board_jobs.boards.get(board.id, ME).references[2].words == "a castle at night"
    assert board_jobs.film(board.id, ME) is None
    finished(board_jobs, board_jobs.draw(board.id, ME, Settings(), "film"))
    assert board_jobs.film(board.id, ME).startswith(b"GIF89a")


def test_two_threads_do_not_undo_each_other(board_jobs, board):
    def move(k):
        for n in range(10):
            board_jobs.boards.set(board.id, ME, **{"alpha" if k else "keep_subject": n / 10})

    threads = [threading.Thread(target=move, args=(k,)) for k in (0, 1)]
    [t.start() for t in threads], [t.join() for t in threads]
    one = board_jobs.boards.get(board.id, ME)
    assert one.alpha == one.keep_subject == 0.9


def test_a_picture_brings_its_board_back(board_jobs, board, manager):
    board_jobs.boards.set(board.id, ME, alpha=0.25, keep_subject=3.5)
    finished(board_jobs, board_jobs.draw(board.id, ME, Settings()))
    png = manager.picture(board_jobs.boards.get(board.id, ME).result.picture, ME)
    one, missing = board_jobs.boards.rebuild(ME, png)
    assert missing == 0 and one.id != board.id
    assert (one.subjects, one.alpha, one.keep_subject, one.seed) == (board.subjects, 0.25, 3.5, board.seed)
    assert [r.picture for r in one.references] == [r.picture for r in board.references]
    stranger, missing = board_jobs.boards.rebuild("eve", png)  # names of pictures are no key to them
    assert missing == 3 and stranger.subjects == () and stranger.references == ()
    with pytest.raises(PhotoError, match="no board in this picture"):
        board_jobs.boards.rebuild(ME, png_of(draw(1)))


def text_png(text: str) -> bytes:
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("assistant", text)
    Image.new("RGB", (16, 16)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", json.dumps({"board": {"subjects": ["/etc/passwd"]}}),
                                  json.dumps({"board": {"subjects": [], "sources": [{"weight": "x"}], "alpha": 1}})])
def test_a_picture_that_lies_about_its_board_is_one_sentence(board_jobs, text):
    with pytest.raises(InputError, match="board in this picture"):
        board_jobs.boards.rebuild(ME, text_png(text))
    assert board_jobs.boards.of(ME) == []
    assert board_in(b"not a picture") is None


# two pictures in one message


@pytest.mark.parametrize("text, subject", [
    ("this one in the style of that one", 0), ("", 0), ("put this there", 0), ("make the second look like the first", 1),
    ("the first one like the second", 0), ("in the style of the first", 1), ("use the style of the first on the second", 1),
    ("use the style of the second one", 0), ("picture 2 with the mood of picture 1", 1), ("make this match that", 0),
    ("what is in the fourth?", 0)])
def test_who_is_who(text, subject):
    assert uploads.infer(text, 2) == uploads.ImageRoles(subject, (1 - subject,))


def test_three_pictures_have_one_subject():
    assert uploads.infer("the last one in the style of the first", 3) == uploads.ImageRoles(2, (0, 1))
    assert "the third picture as the subject and the first and the second as" in uploads.sentence(uploads.ImageRoles(2, (0, 1)))


def test_two_pictures_fill_a_board_and_are_answered_in_chat(manager, engine):
    one = manager.new(ME)
    *_, reply = manager.send(one.id, "make the second look like the first", photo_of(1), Settings(steps=2), ME, [photo_of(2)])
    assert "the second picture as the subject and the first as" in reply.text and reply.png
    turn = manager.open(one.id, ME)[1][0]
    board = manager.board_jobs.boards.get(turn.board, ME)
    assert board.subjects == (photo_of(2).sha256,) == (turn.photo,) and [r.picture for r in board.references] == [photo_of(1).sha256] == list(turn.others)
    assert board.seed == reply.seed and manager.picture(turn.others[0], ME) == photo_of(1).png
    assert engine.requests[0].mix.alpha == board.alpha
    *_, again = manager.redraw(turn.id, ME, Settings(seed=4))
    assert engine.requests[1].redraw == reply.metadata and engine.requests[1].mix is None


def test_pictures_that_cannot_be_mixed_leave_nothing_behind(manager):
    one = manager.new(ME)
    with pytest.raises(PhotoError):
        manager.send(one.id, "mix", photo_of(1), Settings(), ME, [b"no picture"])
    with pytest.raises(InputError, match="9 references; it can have 8"):
        manager.send(one.id, "mix", photo_of(1), Settings(), ME, [photo_of(n) for n in range(2, 11)])
    assert manager.open(one.id, ME)[1] == [] and manager.board_jobs.boards.of(ME) == []


@pytest.mark.slow
def test_a_board_is_not_begun_for_a_turn_that_is_turned_away(store):
    manager = SessionManager(FakeEngine(pause=0.05), store)
    one = manager.new(ME)
    events = manager.send(one.id, "hello", photo_of(1), Settings(steps=2), ME)
    with pytest.raises(BusyError):
        manager.send(one.id, "mix", photo_of(1), Settings(), ME, [photo_of(2)])
    assert manager.board_jobs.boards.of(ME) == []
    list(events)
    manager.close()
