"""Learning beside the chat, with a teacher that needs no models: progress, Stop, what survives a crash, whose it is, whose turn."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from assistant.errors import AssistantError, BusyError, ConceptError, NotFoundError, PhotoError
from assistant.requests import Settings
from assistant.session import training_jobs as module
from assistant.session.jobs import DeviceLock
from assistant.session.manager import SessionManager
from assistant.session.store import Store
from tests.fake_engine import FakeEngine, photo_of
from tests.lessons import task, until

ME, OTHER = "local", "user:eve"
ROOT = Path(__file__).resolve().parents[2]


def status(manager, number, owner=ME):
    return manager.learning.lesson(number, owner).status


def test_it_learns_with_losses_and_previews_and_puts_the_concept_into_the_owners_library(engine, manager):
    lesson = manager.learning.begin(ME, task())
    until(lambda: status(manager, lesson.id) == "done")
    done = manager.learning.lesson(lesson.id, ME)
    assert (done.step, done.steps, len(done.losses), done.attempt) == (40, 40, 40, 1)
    assert [at for at, _ in done.previews] == [0, 8, 16, 24, 32, 40]
    library = manager.learning.library(ME)
    assert library.nouns() == {"mug-1": "mug"} and library.get("mug-1").steps == 40
    assert library.get("mug-1").thumbnail == manager.picture(done.previews[-1][1], ME)
    assert manager.learning.library(OTHER).entries() == [] and manager.learning.lessons(OTHER) == []
    list(manager.send(manager.new(ME).id, "<mug-1> at night", None, Settings(steps=1), ME))
    examples = engine.requests[-1].examples  # which a picture's likeness is told from
    assert [one.png for one in examples("Mug-1")] == [one.png for one in task().pictures] and examples("other") == ()
    for name in (*done.pictures, done.previews[0][1]):
        assert manager.picture(name, ME)
        with pytest.raises(NotFoundError):
            manager.picture(name, OTHER)
    for act in (manager.learning.stop, manager.learning.resume, manager.learning.drop):
        with pytest.raises(NotFoundError):
            act(lesson.id, OTHER)


@pytest.mark.slow
def test_stop_keeps_what_is_learned_and_it_can_be_gone_on_with(engine, manager):
    engine.trainer.pause = 0.01
    lesson = manager.learning.begin(ME, task(steps=60))
    until(lambda: manager.learning.lesson(lesson.id, ME).step >= 5)
    manager.learning.stop(lesson.id, ME)
    until(lambda: status(manager, lesson.id) == "stopped")
    stopped = manager.learning.lesson(lesson.id, ME)
    assert 5 <= stopped.step < 60 and manager.learning.library(ME).get("mug-1").steps == stopped.step
    manager.learning.rename(ME, "mug-1", "cup")
    manager.learning.resume(lesson.id, ME)
    until(lambda: status(manager, lesson.id) == "done")
    done = manager.learning.lesson(lesson.id, ME)
    assert (done.step, len(done.losses), done.attempt) == (60, 60, 2) and engine.trainer.courses[-1].began == stopped.step
    assert manager.learning.library(ME).nouns() == {"cup": "mug"} and manager.learning.library(ME).get("cup").steps == 60


def test_what_is_learned_one_way_is_learned_the_other_way_too_from_its_kept_photos(engine, manager):
    learning = manager.learning
    assert learning.expected(ME, "ico", 300) is None
    learning.begin(ME, task("both", steps=3, residuals=2), "ico")
    with pytest.raises(BusyError, match="<both> is being learned already"):
        learning.begin_also(ME, "both", "ico")
    one = learning.begin(ME, task("one", steps=3))
    until(lambda: status(manager, one.id) == "done")
    kinds = [(e.name, e.kind) for e in learning.library(ME).entries()]
    assert kinds == [("both", "infusion"), ("both", "ico"), ("one", "infusion")]
    assert engine.trainer.courses[1].task.options == {"steps": 3} and learning.expected(ME, "ico", 300) > 0 and learning.expected(OTHER, "ico", 300) is None
    also = learning.begin_also(ME, "One", "ico")
    until(lambda: status(manager, also.id) == "done")
    assert [p.png for p in engine.trainer.courses[-1].task.pictures] == [p.png for p in task().pictures]
    with pytest.raises(ConceptError, match="<one> already"):
        learning.begin_also(ME, "one", "ico")
    for owner, name in ((ME, "none"), (OTHER, "one")):
        with pytest.raises(NotFoundError, match="not kept here"):
            learning.begin_also(owner, name, "ico")
    learning.rename(ME, "one", "two")
    assert {learning.library(ME).get("two", kind).name for kind in ("infusion", "ico")} == {"two"}


def test_one_at_a_time_and_what_waits_can_be_stopped_and_discarded(engine, manager):
    engine.trainer.pause = 0.01
    first, second, third = (manager.learning.begin(ME, task(name)) for name in ("a", "b", "c"))
    until(lambda: status(manager, first.id) == "running")
    assert manager.learning.waiting(second.id) == 1 and manager.learning.waiting(third.id) == 2
    with pytest.raises(BusyError, match="<B> is being learned already"):
        manager.learning.begin(ME, task("B"))
    manager.learning.drop(second.id, ME)
    manager.learning.drop(first.id, ME)
    until(lambda: status(manager, third.id) == "done")
    assert [one.id for one in manager.learning.lessons(ME)] == [third.id]
    with pytest.raises(ConceptError, match="<c> already"):
        manager.learning.begin(ME, task("c"))


@pytest.mark.parametrize(("given", "error", "words"), [
    (task(pictures=0), PhotoError, "0 pictures"), (task(pictures=9), PhotoError, "9 pictures"),
    (task(name="two words"), ConceptError, "cannot be a concept's name")])
def test_what_cannot_be_learned_is_said_at_once_and_nothing_is_kept(manager, given, error, words):
    with pytest.raises(error, match=words):
        manager.learning.begin(ME, given)
    assert manager.learning.lessons(ME) == []


def test_a_failure_is_a_sentence_and_it_goes_on_from_what_was_saved(manager, monkeypatch):
    monkeypatch.setattr(module, "SAVE_EVERY", 0.0)
    lesson = manager.learning.begin(ME, task(noun="break"))
    until(lambda: status(manager, lesson.id) == "failed")
    assert "out of memory" in manager.learning.lesson(lesson.id, ME).error
    manager.learning.resume(lesson.id, ME)
    until(lambda: status(manager, lesson.id) == "done")


def test_a_turn_waits_for_one_step_at_most(engine, manager):
    engine.trainer.pause = 0.05
    lesson = manager.learning.begin(ME, task(steps=400))
    until(lambda: manager.learning.lesson(lesson.id, ME).step >= 2)
    conversation, photo = manager.new(ME).id, photo_of(1)
    before = manager.learning.lesson(lesson.id, ME).step
    list(manager.send(conversation, "hello", photo, Settings(steps=4), ME))
    assert manager.learning.lesson(lesson.id, ME).step <= before + 2  # the one in work, and the one that was already over
    until(lambda: manager.learning.lesson(lesson.id, ME).step > before + 4)
    manager.learning.stop(lesson.id, ME)


def test_turns_come_before_steps_and_a_cancelled_step_is_not_held():
    device, order, cancel = DeviceLock(), [], threading.Event()

    def step():
        with device.step(cancel) as mine:
            order.append(("step", mine))

    def turn():
        with device.turn():
            order.append("turn")

    with device.turn():
        threads = [threading.Thread(target=step), threading.Thread(target=turn)]
        [t.start() for t in threads]
        until(lambda: device._turns == 2)
    [t.join(5) for t in threads]
    assert order == ["turn", ("step", True)] and not device.wanted()
    with device.turn():
        thread = threading.Thread(target=step)
        thread.start()
        cancel.set()
        device.wake()
        thread.join(5)
    assert order[-1] == ("step", False)
    with device.step(threading.Event()) as mine:
        assert mine


@pytest.mark.slow
def test_ending_the_program_offers_to_go_on_at_the_next_start(engine, tmp_path):
    engine.trainer.pause = 0.01
    store = Store(tmp_path / "data")
    manager = SessionManager(engine, store)
    lesson, waiting = manager.learning.begin(ME, task(steps=100)), manager.learning.begin(ME, task("b"))
    until(lambda: manager.learning.lesson(lesson.id, ME).step >= 3)
    manager.close()
    store.close()
    store = Store(tmp_path / "data")
    manager = SessionManager(engine, store)
    kept = manager.learning.lesson(lesson.id, ME)
    assert kept.status == status(manager, waiting.id) == "interrupted" and kept.step >= 3
    assert all(manager.picture(name, ME) for name in (*kept.pictures, kept.previews[0][1]))
    findings = store.verify()
    assert not findings.missing and not findings.damaged
    manager.learning.resume(lesson.id, ME)
    until(lambda: status(manager, lesson.id) == "done")
    assert engine.trainer.courses[-1].began == kept.step
    with pytest.raises(BusyError, match="begun before"):
        manager.learning.begin(ME, task("b"))
    manager.close()
    store.close()


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_at_most_what_was_learned_since_the_last_save(tmp_path):
    program = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from assistant.session import training_jobs; training_jobs.SAVE_EVERY = 0.05
from assistant.requests import Settings, TrainingSpec
from assistant.session.manager import SessionManager
from assistant.session.store import Store
from tests.fake_engine import FakeEngine, photo_of
manager = SessionManager(FakeEngine(0.01), Store({str(tmp_path / "data")!r}))
list(manager.send(manager.new("local").id, "hello", photo_of(1), Settings(steps=2), "local"))
manager.learning.begin("local", TrainingSpec("done", "mug", (photo_of(1),), options={{"steps": 2}}))
manager.learning.begin("local", TrainingSpec("mug-1", "mug", (photo_of(1), photo_of(2)), options={{"steps": 500}}))
import time
while True:
    time.sleep(0.05)
    print(manager.learning.lessons("local")[0].step, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if int(line) >= 12:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    store = Store(tmp_path / "data")
    manager = SessionManager(FakeEngine(), store)
    cut, done = manager.learning.lessons(ME)
    assert cut.status == "interrupted" and cut.step >= 6 and done.status == "done"
    assert manager.learning.library(ME).nouns() == {"done": "mug"}
    [conversation] = manager.list(ME)
    assert manager.open(conversation.id, ME)[1][0].status == "done" and not store.verify().missing
    manager.learning.resume(cut.id, ME)
    until(lambda: status(manager, cut.id) == "done")
    assert manager.learning.lesson(cut.id, ME).attempt == 2 and manager.learning.library(ME).get("mug-1").steps == 500
    manager.close()
    store.close()


def test_files_of_lessons_and_concepts_are_for_their_owner_only(manager, store):
    lesson = manager.learning.begin(ME, task())
    until(lambda: status(manager, lesson.id) == "done")
    until(lambda: not list((store.folder / "lessons").iterdir()))  # its state goes after the word that it is done
    assert len(list((store.folder / "concepts").rglob("*.safetensors"))) == 1
    for path in [store.folder, *store.folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_errors_of_the_teacher_are_told(manager):
    lesson = manager.learning.begin(ME, task(noun=" "))
    until(lambda: status(manager, lesson.id) == "failed")
    assert "class noun" in manager.learning.lesson(lesson.id, ME).error
    assert isinstance(ConceptError("x"), AssistantError)


def test_one_that_is_over_is_so_at_every_look(manager, monkeypatch):
    """Also at those between its last word on disk and its leaving what runs."""
    seen, end = [], manager.learning._lessons.end

    def looked(number, *said):
        end(number, *said)
        seen.append(manager.learning.lesson(number, ME))

    monkeypatch.setattr(manager.learning._lessons, "end", looked)
    manager.learning.begin(ME, task(noun=" "))
    until(lambda: seen)
    assert [one.status for one in seen] == ["failed"] and "class noun" in seen[0].error
