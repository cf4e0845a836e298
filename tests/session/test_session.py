"""Conversations survive restarts, stops, faults, closed pages and each other."""

import os
import stat
from dataclasses import replace

import pytest

from assistant.errors import AssistantError, BusyError, MessageError, NotFoundError, PhotoError, StorageError
from assistant.requests import Progress, Reply, Waiting, Words
from assistant.plan import parts_of, plan_in
from assistant.session.manager import SessionManager
from assistant.session.jobs import FairQueue
from assistant.session.store import Store
from tests.fake_engine import PLAN, QUICK, FakeEngine, GatedEngine, draw, photo_of, png_of


@pytest.fixture
def gated(store):
    engine = GatedEngine()
    manager = SessionManager(engine, store, queue_size=4)
    yield engine, manager
    engine.gate.set()
    manager.close()


def test_a_turn_streams_and_is_kept_before_it_is_told(manager, store):
    one = manager.new("ada")
    events = list(manager.send(one.id, " a red hat ", png_of(draw(1)), QUICK, "ada"))
    reply = events[-1]
    assert isinstance(reply, Reply) and [type(e) for e in events].count(Reply) == 1
    assert "".join(e.delta for e in events if isinstance(e, Words)).strip() == reply.text
    [turn] = manager.open(one.id, "ada")[1]
    assert (turn.text, turn.reply, turn.status, turn.seed, turn.settings) == ("a red hat", reply.text, "done", 7, QUICK)
    assert turn.metadata["seed"] == 7 and turn.likeness["subject"] == 0.81
    assert manager.picture(turn.picture, "ada") == reply.png  # the file is the engine's picture, to the byte
    assert store.verify().missing == store.verify().damaged == store.verify().strays == ()
    assert manager.list("ada")[0].title == "a red hat"


def test_history_keeps_the_photo_and_what_was_said(manager, engine):
    one = manager.new("ada")
    photo = photo_of()
    list(manager.send(one.id, "on a beach", photo, QUICK, "ada"))
    list(manager.send(one.id, "now at night", None, QUICK, "ada"))
    [earlier] = engine.requests[-1].history
    assert earlier.photo == photo and earlier.user == "on a beach" and earlier.drew and earlier.reply
    assert engine.requests[-1].photo is None


def test_plans_are_kept_told_and_a_part_of_one_can_go(manager, engine):
    one = manager.new("ada")
    list(manager.send(one.id, "on a beach", photo_of(), QUICK, "ada"))
    [first] = manager.open(one.id, "ada")[1]
    assert plan_in(first.metadata) == PLAN
    words = [part.words for part in parts_of(PLAN)]
    assert words == ["hill", "day", "flat", "red hat", "blue scarf", "grey dog"]
    list(manager.without(first.id, words.index("red hat"), QUICK, "ada"))
    asked = engine.requests[-1]
    assert asked.text == "without the red hat" and asked.plan == replace(PLAN, worn=("blue scarf",)) and asked.history[0].plan == PLAN
    for number in (0, 6):  # a picture is always somewhere; there is no seventh part
        with pytest.raises(NotFoundError, match="no such part"):
            manager.without(first.id, number, QUICK, "ada")
    list(manager.send(one.id, "words only", None, QUICK, "ada"))
    spoken = manager.open(one.id, "ada")[1][-1]
    list(manager.redraw(spoken.id, "ada", QUICK))
    assert engine.requests[-1].redraw is None  # what was answered in words is answered again


def test_long_history_is_cut_but_the_newest_photo_stays(manager, engine, monkeypatch):
    monkeypatch.setattr("assistant.session.manager.HISTORY_TURNS", 2)
    one = manager.new("ada")
    list(manager.send(one.id, "first", photo_of(), QUICK, "ada"))
    for n in range(3):
        list(manager.send(one.id, f"words only {n}", None, QUICK, "ada"))
    assert [t.user for t in engine.requests[-1].history] == ["first", "words only 0", "words only 1"]


def test_everything_is_there_after_a_restart(tmp_path, engine):
    store = Store(tmp_path)
    manager = SessionManager(engine, store)
    one = manager.new("ada")
    reply = list(manager.send(one.id, "hello", photo_of(), QUICK, "ada"))[-1]
    manager.close()
    store.close()
    again = SessionManager(engine, Store(tmp_path))
    assert [c.id for c in again.list("ada")] == [one.id]
    [turn] = again.open(one.id, "ada")[1]
    assert turn.reply == reply.text and again.picture(turn.picture, "ada") == reply.png
    again.close()


def test_a_killed_process_leaves_interrupted_turns_with_their_words(tmp_path):
    store = Store(tmp_path)
    one = store.create("ada")
    turn = store.add_turn(one.id, "ada", "hello", photo_of(), QUICK)
    store.update_turn(turn.id, status="running", reply="I was about to")
    store.files.keep(png_of(draw(3)))  # durable, but its row never came
    (store.files.folder / "ab").mkdir()
    (store.files.folder / "ab" / ".new-x").write_bytes(b"half")
    store.close()
    again = Store(tmp_path)
    [turn] = again.turns(one.id, "ada")
    assert (turn.status, turn.reply) == ("interrupted", "I was about to")
    assert again.verify().missing == again.verify().damaged == again.verify().strays == ()
    assert not list(again.files.folder.glob("*/.new-*"))
    again.close()


def test_verify_finds_damage_and_loss(manager, store):
    one = manager.new("ada")
    list(manager.send(one.id, "hello", photo_of(), QUICK, "ada"))
    [turn] = manager.open(one.id, "ada")[1]
    (store.files.folder / turn.picture[:2] / f"{turn.picture}.png").write_bytes(b"not any more")
    (store.files.folder / turn.photo[:2] / f"{turn.photo}.png").unlink()
    found = store.verify()
    assert found.damaged == (turn.picture,) and found.missing == (turn.photo,)
    assert list(manager.send(one.id, "go on", None, QUICK, "ada"))[-1].png  # a lost photo does not end a conversation


@pytest.mark.slow
def test_stop_while_drawing_keeps_what_there_is(store):
    manager = SessionManager(FakeEngine(pause=0.02), store)
    one = manager.new("ada")
    events = manager.send(one.id, "hello", photo_of(), replace(QUICK, steps=100), "ada")
    for event in events:
        if isinstance(event, Progress) and event.step >= 2:
            assert manager.stop(one.id, "ada")
            break
    last = list(events)[-1]
    assert last.stopped and last.png
    [turn] = manager.open(one.id, "ada")[1]
    assert turn.status == "stopped" and turn.picture and turn.reply
    assert not manager.stop(one.id, "ada")
    manager.close()


def test_stop_while_waiting(gated):
    engine, manager = gated
    first, second = manager.new("ada"), manager.new("bob")
    running = manager.send(first.id, "one", None, QUICK, "ada")
    engine.began.wait(5)
    waiting = manager.send(second.id, "two", None, QUICK, "bob")
    assert next(waiting) == Waiting(1)
    assert manager.stop(second.id, "bob")
    assert list(waiting)[-1].stopped and manager.open(second.id, "bob")[1][0].status == "stopped"
    engine.gate.set()
    assert not list(running)[-1].stopped and engine.order == ["one"]


def test_owners_take_turns(gated):
    engine, manager = gated
    opening = manager.send(manager.new("ada").id, "a0", None, QUICK, "ada")
    engine.began.wait(5)
    sent = [manager.send(manager.new(owner).id, text, None, QUICK, owner)
            for owner, text in (("ada", "a1"), ("ada", "a2"), ("ada", "a3"), ("bob", "b1"))]
    assert [next(s).position for s in sent] == [1, 3, 4, 2]
    engine.gate.set()
    for events in (opening, *sent):
        list(events)
    assert engine.order == ["a0", "a1", "b1", "a2", "a3"]


def test_busy_conversation_and_full_queue(gated):
    engine, manager = gated
    one = manager.new("ada")
    manager.send(one.id, "first", None, QUICK, "ada")
    engine.began.wait(5)
    with pytest.raises(BusyError, match="still being answered"):
        manager.send(one.id, "second", None, QUICK, "ada")
    for n in range(4):
        manager.send(manager.new("bob").id, f"b{n}", None, QUICK, "bob")
    with pytest.raises(BusyError, match="4 others are waiting"):
        manager.send(manager.new("eve").id, "me too", None, QUICK, "eve")
    assert len(manager.open(one.id, "ada")[1]) == 1  # what was refused is not kept


def test_a_closed_page_changes_nothing_and_another_can_attach(gated):
    engine, manager = gated
    one = manager.new("ada")
    events = manager.send(one.id, "hello", photo_of(), QUICK, "ada")
    next(events)
    events.close()  # what a dropped connection does
    attached = manager.attach(one.id, "ada")
    engine.gate.set()
    seen = list(attached)
    assert "".join(e.delta for e in seen if isinstance(e, Words)).startswith("I see. I took")
    assert isinstance(seen[-1], Reply) and manager.open(one.id, "ada")[1][0].status == "done"
    assert manager.attach(one.id, "ada") is None


def test_a_failed_turn_is_kept_with_its_sentence(manager):
    one = manager.new("ada")
    with pytest.raises(AssistantError, match="ran out of memory"):
        list(manager.send(one.id, "break it", photo_of(), QUICK, "ada"))
    [turn] = manager.open(one.id, "ada")[1]
    assert turn.status == "failed" and "ran out of memory" in turn.error and turn.text == "break it" and turn.photo
    assert list(manager.send(one.id, "go on", None, QUICK, "ada"))[-1].text


def test_a_bug_in_the_engine_is_one_sentence_and_the_worker_lives(store, caplog):
    class Broken(FakeEngine):
        def respond(self, request, cancel):
            if request.text == "bug":
                raise ZeroDivisionError
            if request.text == "nothing":
                return
            yield from super().respond(request, cancel)

    manager = SessionManager(Broken(), store)
    one = manager.new("ada")
    with pytest.raises(AssistantError, match="fault in the program.*ZeroDivisionError"):
        list(manager.send(one.id, "bug", None, QUICK, "ada"))
    with pytest.raises(AssistantError, match="before it was complete"):
        list(manager.send(one.id, "nothing", None, QUICK, "ada"))
    assert list(manager.send(one.id, "fine", None, QUICK, "ada"))[-1].png
    assert "ZeroDivisionError" in caplog.text  # the traceback goes to the log
    manager.close()


def test_bad_input_is_refused_before_anything_is_kept(manager):
    one = manager.new("ada")
    for text, photo, error in (("", None, MessageError), ("x" * 5000, None, MessageError), ("hi", b"text", PhotoError)):
        with pytest.raises(error):
            manager.send(one.id, text, photo, QUICK, "ada")
    assert manager.open(one.id, "ada")[1] == []


def test_nobody_reaches_anothers_things(manager):
    one = manager.new("ada")
    list(manager.send(one.id, "hello", photo_of(), QUICK, "ada"))
    [turn] = manager.open(one.id, "ada")[1]
    for attempt in (lambda: manager.open(one.id, "eve"), lambda: manager.send(one.id, "hi", None, QUICK, "eve"),
                    lambda: manager.stop(one.id, "eve"), lambda: manager.attach(one.id, "eve"),
                    lambda: manager.redraw(turn.id, "eve", QUICK), lambda: manager.picture_as_photo(turn.id, "eve"),
                    lambda: manager.picture(turn.picture, "eve"), lambda: manager.picture(turn.photo, "eve"),
                    lambda: manager.preview(turn.id, "eve"), lambda: manager.delete(one.id, "eve"),
                    lambda: manager.rename(one.id, "eve", "mine"), lambda: manager.restore(one.id, "eve"),
                    lambda: manager.picture("../../conversations.sqlite3", "ada")):
        with pytest.raises(NotFoundError):
            attempt()
    assert manager.list("eve") == [] and manager.gallery("eve") == []


def test_redraw_is_a_new_turn_on_the_same_history(manager, engine):
    one = manager.new("ada")
    photo = photo_of()
    list(manager.send(one.id, "first", photo, QUICK, "ada"))
    list(manager.send(one.id, "second", None, QUICK, "ada"))
    first, second = manager.open(one.id, "ada")[1]
    list(manager.redraw(second.id, "ada", replace(QUICK, seed=8)))
    again = manager.open(one.id, "ada")[1][-1]
    assert (again.text, again.redraw_of, again.seed) == ("second", second.id, 8)
    assert [t.user for t in engine.requests[-1].history] == ["first"]
    assert engine.requests[-1].redraw == second.metadata and engine.requests[0].redraw is None
    list(manager.send(one.id, "third", None, QUICK, "ada"))
    assert [t.user for t in engine.requests[-1].history] == ["first", "second"]  # once, in its newest form


def test_a_failed_turn_can_be_tried_again(manager, engine):
    one = manager.new("ada")
    with pytest.raises(AssistantError):
        list(manager.send(one.id, "break it", photo_of(), QUICK, "ada"))
    with pytest.raises(AssistantError):
        list(manager.redraw(manager.open(one.id, "ada")[1][0].id, "ada", QUICK))
    again = engine.requests[-1]
    assert again.redraw is None and again.text == "break it" and again.photo == photo_of() and again.history == ()


def test_a_drawn_picture_becomes_a_subject(manager):
    one = manager.new("ada")
    list(manager.send(one.id, "hello", photo_of(), QUICK, "ada"))
    [turn] = manager.open(one.id, "ada")[1]
    photo = manager.picture_as_photo(turn.id, "ada")
    assert (photo.width, photo.height) == (128, 128) and b"tEXt" not in photo.png


def test_delete_can_be_undone_until_it_is_final(manager, store, tmp_path, monkeypatch):
    one = manager.new("ada")
    list(manager.send(one.id, "hello", photo_of(), QUICK, "ada"))
    manager.delete(one.id, "ada")
    assert manager.list("ada") == [] and manager.gallery("ada") == []
    manager.restore(one.id, "ada")
    assert len(manager.list("ada")) == 1
    manager.delete(one.id, "ada")
    manager.close()
    store.close()
    monkeypatch.setattr("assistant.session.store.TRASH_SECONDS", -1)
    later = Store(tmp_path / "data")
    assert not later.files.names()  # gone from the disk
    with pytest.raises(NotFoundError):
        later.restore(one.id, "ada")
    later.close()


def test_files_are_for_their_owner_only(manager, store):
    list(manager.send(manager.new("ada").id, "hello", photo_of(), QUICK, "ada"))
    for path in [store.folder, *store.folder.rglob("*")]:
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, path


def test_two_processes_do_not_share_a_folder(store):
    with pytest.raises(StorageError, match="already uses"):
        Store(store.folder)


def test_a_folder_of_a_later_version_is_refused(tmp_path):
    import sqlite3

    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "conversations.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="later version"):
        Store(tmp_path)


def test_a_full_disk_is_one_sentence(manager, store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        manager.send(manager.new("ada").id, "hello", photo_of(), QUICK, "ada")
    assert not list(store.files.folder.glob("*/*"))  # no half-written file stays


def test_fair_queue():
    queue = FairQueue()
    for owner, item in (("a", 1), ("a", 2), ("b", 3), ("c", 4), ("b", 5)):
        queue.put(owner, item)
    assert queue.order() == [1, 3, 4, 2, 5] and queue.position(2) == 4 and len(queue) == 5
    assert queue.remove(3) and not queue.remove(3)
    expected = queue.order()
    assert [queue.take() for _ in expected] == expected and not len(queue)
