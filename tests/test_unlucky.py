"""Unlucky users, of conversations and servers: what a locked disk, a wrong number or a strange environment does must end in a sentence, and pass."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager

import pytest
import torch

from assistant import loading, presets
from assistant.board_requests import Mix, MixRequest, Source
from assistant.customization.trainer import ConceptTrainer
from assistant.diffusion import sampler
from assistant.errors import NotFiniteError, StorageError
from assistant.memory.budget import tier
from assistant.memory.offloading import OffloadManager
from assistant.memory.oom_retry import OomRetryEngine
from assistant.requests import Request, Settings, Words
from assistant.session import store as storing
from assistant.session.manager import SessionManager
from assistant.session.store import Store
from tests import tiny_open
from tests.fake_engine import FakeEngine, photo_of
from tests.lessons import task, until
from tests.test_session import QUICK, GatedEngine


# --- a database that cannot be written ----------------------------------------------------------------------------------

@contextmanager
def locked(store: Store):
    """Another program holds the database."""
    other = sqlite3.connect(store.folder / "conversations.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def full(store: Store):
    """No page more fits on the disk."""
    store._db.execute("PRAGMA max_page_count = 1")  # as many as there are
    try:
        yield
    finally:
        store._db.execute("PRAGMA max_page_count = 1073741823")


@pytest.fixture
def gated(store, monkeypatch):
    monkeypatch.setattr(storing, "PATIENCE", 0.1)
    engine = GatedEngine()
    manager = SessionManager(engine, store)
    yield engine, manager, store
    engine.gate.set()
    manager.close()


def test_locked_database_stop_of_a_waiting_turn_leaves_nothing_stuck(gated):
    engine, manager, store = gated
    first, second = manager.new("ada"), manager.new("bob")
    running = manager.send(first.id, "one", None, QUICK, "ada")
    engine.began.wait(5)
    manager.send(second.id, "two", None, QUICK, "bob")
    with locked(store):
        assert manager.stop(second.id, "bob")
        assert manager.attach(second.id, "bob") is None and manager.open(second.id, "bob")[1][0].status == "stopped"
        with pytest.raises(StorageError, match="locked"):
            manager.send(second.id, "three", None, QUICK, "bob")
    events = manager.send(second.id, "three", None, QUICK, "bob")
    engine.gate.set()
    assert list(events)[-1].png and list(running)[-1].png
    assert [row[0] for row in store.rows("SELECT status FROM turns ORDER BY id")] == ["done", "stopped", "done"]


@pytest.mark.parametrize("trouble", [locked, full])
def test_a_turn_that_cannot_be_kept_fails_with_a_sentence_and_the_next_is_answered(gated, trouble):
    engine, manager, store = gated
    one = manager.new("ada")
    events = manager.send(one.id, "hello " * 640, photo_of(), QUICK, "ada")
    engine.began.wait(5)
    with trouble(store):
        engine.gate.set()
        with pytest.raises(StorageError, match="cannot be saved"):
            list(events)
        [turn] = manager.open(one.id, "ada")[1]
        assert turn.status == "failed" and turn.reply.startswith("I see. I took") and "cannot be saved" in turn.error
        assert manager.attach(one.id, "ada") is None
    assert list(manager.redraw(turn.id, "ada", QUICK))[-1].png
    assert [t.status for t in manager.open(one.id, "ada")[1]] == ["failed", "done"]
    assert [row[0] for row in store.rows("SELECT status FROM turns ORDER BY id")] == ["failed", "done"]


def test_locked_database_is_not_in_the_way_of_other_conversations(gated, monkeypatch):
    engine, manager, store = gated
    monkeypatch.setattr(storing, "PATIENCE", 3.0)
    one, other = manager.new("ada"), manager.new("bob")
    events = manager.send(one.id, "one", None, QUICK, "ada")
    engine.began.wait(5)
    with locked(store):
        sending = threading.Thread(target=lambda: pytest.raises(StorageError, manager.send, other.id, "two", None, QUICK, "bob"))
        sending.start()
        watched = []
        watching = threading.Thread(target=lambda: watched.extend((next(events), manager.open(one.id, "ada"), manager.list("eve"))))
        watching.start()
        watching.join(1.5)
        assert isinstance(watched[0], Words) and len(watched) == 3 and sending.is_alive()
        sending.join(10)


def test_locked_database_a_lesson_that_waits_can_be_stopped_and_gone_on_with(store, monkeypatch):
    monkeypatch.setattr(storing, "PATIENCE", 0.1)
    manager = SessionManager(FakeEngine(pause=0.01), store)
    learning = manager.learning
    learning.begin("ada", task("one", steps=2000))
    second = learning.begin("ada", task("two", steps=4))
    with locked(store):
        learning.stop(second.id, "ada")
        assert learning.lesson(second.id, "ada").status == "interrupted"
    learning.resume(second.id, "ada")
    learning.stop(next(one.id for one in learning.lessons("ada") if one.name == "one"), "ada")
    until(lambda: learning.lesson(second.id, "ada").status == "done")
    manager.close()


def test_locked_database_a_lesson_that_runs_is_not_left_running(store, monkeypatch):
    monkeypatch.setattr(storing, "PATIENCE", 0.1)
    monkeypatch.setattr("assistant.session.training_jobs.SAVE_EVERY", 0.05)
    manager = SessionManager(FakeEngine(pause=0.01), store)
    lesson = manager.learning.begin("ada", task("one", steps=200))
    until(lambda: manager.learning.lesson(lesson.id, "ada").step > 3)
    with locked(store):
        until(lambda: manager.learning.lesson(lesson.id, "ada").status == "failed")
    manager.learning.resume(lesson.id, "ada")
    until(lambda: manager.learning.lesson(lesson.id, "ada").status in ("running", "done"))
    manager.close()


# --- numbers that are not finite ------------------------------------------------------------------------------------------

def overflowing(monkeypatch, kinds=(torch.float32, torch.bfloat16), first=3):
    """From the `first` step of a drawing on the UNet's predictions are NaN, in numbers of these kinds."""
    plain = sampler.predict

    def predict(unet, batch, timestep, context):
        out = plain(unet, batch, timestep, context)
        return torch.full_like(out, torch.nan) if context.step >= first - 1 and out.dtype in kinds else out

    monkeypatch.setattr(sampler, "predict", predict)


def asked(**settings) -> Request:
    return Request("at night", photo_of(), settings=Settings(steps=5, seed=7, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["prediction", "autoencoder"])
def test_numbers_not_finite_end_a_turn_a_board_and_words_with_a_sentence(assistant, monkeypatch, store, fault):
    if fault == "prediction":
        overflowing(monkeypatch)
    else:
        weight = next(p for name, p in assistant.decoder.vae.named_parameters() if name.startswith("decoder") and p.ndim == 4)
        kept = weight.data.clone()
        weight.data[0, 0, 0, 0] = torch.inf
    try:
        for drawing in (lambda: list(assistant.respond(asked(preview_every=1), threading.Event())),
                        lambda: list(assistant.mix(MixRequest((Mix((photo_of(),), (Source(photo_of(2)),), 0.5),) * 2, Settings(steps=5, seed=7)), threading.Event())),
                        lambda: assistant.imagine("a cat", Settings(steps=5, seed=7), threading.Event())):
            with pytest.raises(NotFiniteError, match="not finite numbers, in float32") as caught:
                drawing()
            assert "another seed" in caught.value.remedy
        manager = SessionManager(assistant, store)
        one = manager.new("ada")
        with pytest.raises(NotFiniteError):
            list(manager.send(one.id, "at night", photo_of(), Settings(steps=5, seed=7), "ada"))
        [turn] = manager.open(one.id, "ada")[1]
        assert turn.status == "failed" and turn.picture is None and turn.reply and manager.gallery("ada") == []
        manager.close()
    finally:
        if fault == "autoencoder":
            weight.data.copy_(kept)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["miniature", "open"])
def test_numbers_not_finite_in_half_precision_are_tried_once_in_single(preset, monkeypatch, tmp_path):
    if preset == "open":
        monkeypatch.setitem(presets.PRESETS, "open", tiny_open.CONFIG)
    engine = loading.build(preset, "cpu", "bfloat16", "auto", tiny_open.write(tmp_path / "open") if preset == "open" else None)
    decoders = {engine.decoder, engine.base}
    retrying = OomRetryEngine(engine, OffloadManager(torch.device("cpu"), {}, tier=tier("whole")), lambda: loading.in_single_precision(*decoders))
    overflowing(monkeypatch, (torch.bfloat16,))
    weights = {name: p.data_ptr() for name, p in engine.decoder.unet.named_parameters()}
    assert retrying.imagine("a cat", Settings(steps=5, seed=7), threading.Event())
    events = list(retrying.respond(asked(), threading.Event()))
    assert events[-1].png and "".join(e.delta for e in events if isinstance(e, Words)) == events[-1].text
    assert {name: p.data_ptr() for name, p in engine.decoder.unet.named_parameters()} == weights and engine.decoder.unet.dtype == torch.bfloat16
    overflowing(monkeypatch)
    with pytest.raises(NotFiniteError, match="float32"):
        list(retrying.respond(asked(), threading.Event()))


def test_numbers_not_finite_are_no_loss_of_a_lesson(base, monkeypatch):
    trainer = ConceptTrainer(base, "base", 128, lambda photos: [])
    course = trainer.begin(task(pictures=1, steps=20))
    losses = iter([0.5, float("nan"), 0.4, *[float("inf")] * 9])

    def step():
        course.learner.step_count += 1
        return next(losses)

    monkeypatch.setattr(course.learner, "step", step)
    assert [course.advance(), course.advance()] == [0.5, 0.4] and course.step == 3
    with pytest.raises(NotFiniteError, match="<mug-1> was given up at step 6"):
        course.advance()
