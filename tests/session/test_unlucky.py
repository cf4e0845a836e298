"""Unlucky users, of conversations and servers: what a locked disk, a wrong number or a strange environment does must end in a sentence, and pass."""

import asyncio
import re
import socket
import sqlite3
import threading
import tracemalloc
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import torch
from PIL import Image

from assistant import loading, presets
from assistant.requests import Mix, MixRequest, Request, Settings, Source, Words
from assistant.customization import infusion_sampling
from assistant.customization.concept_dialogue import understand
from assistant.customization.concept_library import ConceptLibrary, IcoConcept, InfusionConcept
from assistant.customization.concept_prompt import write
from assistant.customization.dci_sampling import branches
from assistant.customization.infusion_sampling import prepare_infusion
from assistant.customization.trainer import ConceptTrainer
from assistant.diffusion import sampler
from assistant.errors import InputError, NotFiniteError, NotFoundError, StorageError
from assistant.generation.base import ReplyState
from assistant.generation.text_to_image import TextToImageGenerator
from assistant.memory.budget import tier
from assistant.memory.offloading import OffloadManager
from assistant.memory.oom_retry import OomRetryEngine
from assistant.plan import named
from assistant.session import store as storing
from assistant.session.manager import SessionManager
from assistant.session.store import Store
from assistant.session.uploads import read_photo
from tests import tiny_open
from tests.client import Window, handler, sign_in
from tests.fake_engine import QUICK, FakeEngine, GatedEngine, draw, photo_of, png_of
from tests.lessons import task, until
from ui.auth import Belongings, Owners, PageHeaders
from ui.generation_panel import read_seed
from ui.image_routes import enlarge
from ui.mixing_panel import MixingPanel
from ui.panel import ButtonEvent, PanelContext
from ui.presenters import gallery, reply_message
from ui.serve import Address, start


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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [locked, full])
def test_whatever_is_kept_while_the_database_cannot_be_written_is_one_sentence_and_works_afterwards(manager, store, monkeypatch, trouble):
    monkeypatch.setattr(storing, "PATIENCE", 0.1)
    one, boards = manager.new("ada"), manager.board_jobs.boards
    board = boards.create("ada")
    acts = [lambda: manager.rename(one.id, "ada", "x" * 60), lambda: boards.set(board.id, "ada", alpha=0.25),
            lambda: [manager.new("ada") for _ in range(99)], lambda: manager.learning.begin("ada", task("tom", steps=1)),
            lambda: boards.add_reference(board.id, "ada", words="a harbour " * 30), lambda: manager.delete(one.id, "ada")]
    with trouble(store):
        for act in acts[2:3] if trouble is full else acts:  # what fits on pages that are there may be written
            with pytest.raises(StorageError, match="cannot be saved"):
                for _ in range(99):
                    act()
    for act in acts:
        act()
    assert boards.get(board.id, "ada").alpha == 0.25 and one.id not in {kept.id for kept in manager.list("ada")}


# --- pictures that cannot be written, or are lost -------------------------------------------------------------------------

def test_pictures_that_cannot_be_written_fail_the_turn_with_its_words_and_the_next_is_answered(gated):
    engine, manager, store = gated
    one, pictures, away = manager.new("ada"), store.files.folder, store.folder / "away"
    events = manager.send(one.id, "hello", photo_of(), QUICK, "ada")
    engine.began.wait(5)
    pictures.rename(away)
    pictures.write_bytes(b"")  # whoever runs this may write to any folder, but not into a file
    engine.gate.set()
    with pytest.raises(StorageError, match="A picture could not be saved in .*Free some space"):
        list(events)
    [turn] = manager.open(one.id, "ada")[1]
    assert turn.status == "failed" and turn.reply.startswith("I see. I took") and turn.picture is None
    with pytest.raises(StorageError, match="could not be saved"):
        manager.send(one.id, "and this", photo_of(2), QUICK, "ada")
    pictures.unlink()
    away.rename(pictures)
    assert list(manager.redraw(turn.id, "ada", QUICK))[-1].png


def test_pictures_that_are_lost_are_a_sentence_where_they_are_needed_and_nowhere_else(manager, store):
    one = manager.new("ada")
    list(manager.send(one.id, "hello", photo_of(), QUICK, "ada"))
    [turn] = manager.open(one.id, "ada")[1]
    board = manager.board_jobs.begin("ada", Mix((photo_of(),), (Source(photo_of(2)),)), QUICK)
    for file in store.files.folder.glob("*/*.png"):
        file.unlink()
    for act in (lambda: manager.redraw(turn.id, "ada", QUICK), lambda: manager.picture_as_photo(turn.id, "ada"), lambda: manager.picture(turn.picture, "ada"),
                lambda: manager.board_jobs.draw(board.id, "ada", QUICK)):
        with pytest.raises(NotFoundError, match="missing from the data folder. Add the picture again"):
            act()
    assert manager.open(one.id, "ada")[1] == [turn] and list(manager.send(one.id, "go on", None, QUICK, "ada"))[-1].png


# --- seeds ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", [0, 2**32, 2**53 + 1, 2**63 - 1])
def test_seeds_are_exact_to_the_last_digit_however_often_they_are_kept(manager, store, seed):
    one = manager.new("ada")
    list(manager.send(one.id, "hello", photo_of(), Settings(steps=1, seed=read_seed(str(seed))), "ada"))
    [turn] = manager.open(one.id, "ada")[1]
    list(manager.redraw(turn.id, "ada", turn.settings))
    assert [kept.seed for kept in manager.open(one.id, "ada")[1]] == [seed, seed] and f">Seed {seed}<" in reply_message(turn)["content"]
    board = manager.board_jobs.begin("ada", Mix((photo_of(),), (Source(photo_of(2)),)), Settings(seed=seed))
    assert manager.board_jobs.boards.get(board.id, "ada").seed == seed
    again, _ = manager.board_jobs.boards.rebuild("ada", next(finished(manager, board)))
    assert again.seed == seed


def finished(manager, board):
    list(manager.board_jobs.watch(manager.board_jobs.draw(board.id, board.owner, QUICK)))
    yield manager.picture(manager.board_jobs.boards.get(board.id, board.owner).result.picture, board.owner)


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
    engine = loading.load(preset, "cpu", "bfloat16", "auto", tiny_open.write(tmp_path / "open") if preset == "open" else None)
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


# --- words in angle brackets ----------------------------------------------------------------------------------------------

MARKERS = ("my cat <lora:detail_tweaker:0.7> at night", "<b>bold</b> cat", "<image> what is this?", "<|im_end|>", "</s>", "I <3> you", "<s0><s1> in snow",
           "embedding:EasyNegative", "(red hat:1.3), [hat|cap], {a|b}, __colour__, 50% off, %s %d", "<tmo> on the beach")


@pytest.fixture
def learned(tmp_path):
    library = ConceptLibrary(tmp_path / "library", "base", {"layer": 4})
    library.add(InfusionConcept("tom", "cat", "base", {"layer": torch.ones(1, 4)}))
    return library


@pytest.mark.parametrize("text", MARKERS)
def test_markers_in_angle_brackets_are_words_unless_they_are_learned(learned, text):
    assert understand(Request(text, photo_of()), learned) is None and understand(Request(text), learned) is None
    meant = understand(Request(f"<tom> {text}"), learned)
    assert meant.plan.learned == ("tom",) and set(named(meant.prompt)) <= {"tom"} and "lora" not in meant.prompt
    write(meant.prompt, learned.nouns())  # raises, if one is left


def test_markers_of_two_lines_are_shown_as_they_were_typed(manager):
    one = manager.new("ada")
    list(manager.send(one.id, "```a|b``` $x$ &lt;\n<b>two</b>", photo_of(), QUICK, "ada"))
    shown = gallery(manager.gallery("ada"))
    assert 'title="```a|b``` $x$ &amp;lt; &lt;b&gt;two&lt;/b&gt;"' in shown and "<br>" not in shown


@pytest.mark.slow
def test_markers_end_no_turn_of_the_real_engine(assistant, store):
    manager = SessionManager(assistant, store)
    one = manager.new("ada")
    for text in MARKERS[:4]:
        assert list(manager.send(one.id, text, photo_of(), Settings(steps=2, seed=7), "ada"))[-1].text
    manager.close()


# --- what a browser may send ----------------------------------------------------------------------------------------------

def test_sent_cookie_that_is_malformed_is_replaced():
    async def cookies(sent):
        told = []

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message):
            told.extend(value for name, value in message["headers"] if name == b"set-cookie")

        await PageHeaders(app, Owners(guests=True), False)({"type": "http", "path": "/", "headers": [(b"cookie", sent)]}, None, send)
        return told

    good = b"x" * 43
    for sent, fresh in ((b"", 1), (b"a=b; cafe-guest=" + good, 0), (b"cafe-guest=" + good[:39], 1), (b"cafe-guest=", 1), (b"not-cafe-guest=" + good, 1),
                        (b"cafe-guest=\xff" + good, 1)):
        assert len(asyncio.run(cookies(sent))) == fresh, sent


@pytest.mark.slow
def test_sent_numbers_and_paths_of_any_kind_are_refused_not_raised(served):
    _, _, url = served
    ada = sign_in(url, "ada", "one")
    for path in ("live/" + "9" * 24, "masks/" + "9" * 24, "subjects/" + "9" * 24, "live/-1", "pictures/" + "a" * 64):
        assert ada.get(f"{url}{path}.png").status_code == 404, path
    for text in ("[" * 100_000, "{", "7", '[7]', '["\\u0000"]', '["/etc/passwd"]'):
        panel = SimpleNamespace(place=PanelContext(None, None, Path("/tmp/none"), Belongings(None, Path("/tmp/none"))), _upload=None)
        with pytest.raises(InputError):
            MixingPanel._act_put(panel, "ada", "", ButtonEvent("put", "auto", {"paths": text}), None)


def test_pictures_that_were_looked_at_are_not_held():
    pngs = [png_of(Image.effect_noise((200, 200), 90 + n)) for n in range(40)]
    tracemalloc.start()
    for png in pngs:
        enlarge(png)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 2**20


# --- what another visitor may know ----------------------------------------------------------------------------------------

PICTURE = {"files": ("cat.png", png_of(Image.new("RGB", (40, 40), "teal")))}


def test_known_uploads_of_one_picture_by_two_are_two_files_each_its_owners(served):
    _, _, url = served
    ada, eve = sign_in(url, "ada", "one"), sign_in(url, "eve", "two")
    paths = [one.post(f"{url}gradio_api/upload", files=PICTURE).json()[0] for one in (ada, eve, ada)]
    assert len(set(paths)) == 3 and all(Path(path).is_file() for path in paths)
    assert [one.get(f"{url}gradio_api/file={paths[0]}").status_code for one in (ada, eve)] == [200, 404]
    place = PanelContext(None, None, Path("/tmp/none"), Belongings(None, Path(paths[0]).parents[1]))
    place.belongings.brought(paths[0], "user:ada")
    assert place.uploaded(paths[0], "user:ada") == Path(paths[0]).resolve()
    for path, owner in ((paths[0], "user:eve"), ("/etc/passwd", "user:ada"), (paths[0] + "x", "user:ada")):
        with pytest.raises(NotFoundError, match="not here any more"):
            place.uploaded(path, owner)
    place.forget(paths[0])
    assert not Path(paths[0]).exists() and Path(paths[2]).exists()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(1, 2), (3, 3)], ids=["two of one name", "one twice"])
def test_known_names_of_pictures_are_not_believed_in_one_message_or_in_two(served, seeds):
    manager, _, url = served
    window, photos = Window(sign_in(url, "ada", "one"), steps=1), [png_of(draw(seed, 160)) for seed in seeds]
    window.say("this one like that one", *photos)
    window.say("and this", photos[1])
    first, second = manager.open(window.conversation, "user:ada")[1]
    kept = [read_photo(photo).sha256 for photo in photos]
    assert [first.photo, *first.others] == kept and second.photo == kept[1] and second.status == "done"
    assert first.picture or "cancel each other out" in first.error


@pytest.mark.slow
def test_known_addresses_of_other_computers_are_asked_by_nobody(manager, store, monkeypatch):
    plain, asked = socket.socket.connect, []

    def connect(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            asked.append(address)
            raise OSError("there is no network here")
        return plain(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    page, url = start(manager, Address(auth=(("ada", "one"),)), store.folder)
    try:
        login = sign_in(url).get("").text
        assert "auth_required" in login and not re.search(r"(?:src|href|url\()=?[\"'(]?(?:https?:)?//(?!127\.0\.0\.1)", login)
        ada = sign_in(url, "ada", "one")
        assert "to-1" in Window(ada, steps=1).say("the first picture", png_of(draw(1, 160)))
        assert ada.get("gradio_api/runs").status_code == 404  # gradio's own history of runs, which it would keep in the browser or at Hugging Face
    finally:
        page.close()
    assert asked == []


def test_a_message_that_is_sent_before_the_sliders_are_there_is_answered(served):
    _, _, url = served
    window = Window(sign_in(url, "ada", "one"), steps=1)
    sliders = {number for number, name in window.names.items() if name in ("keep", "follow", "steps", "tries", "likeness-lambda", "likeness-window")}
    assert len(sliders) == 6
    window.held.update(dict.fromkeys(sliders))
    assert "words only, at once" in window.say("words only, at once")
    assert "words only, again" in window.say("words only, again")  # what an answer may move, Gradio has made anew


def test_known_windows_that_are_left_are_not_held_and_nobody_closes_anothers(manager, store):
    page, url = start(manager, Address(auth=(("ada", "one"), ("eve", "two"))), store.folder)
    try:
        window = Window(sign_in(url, "ada", "one"), steps=1)
        held = page.app.state_holder.session_data
        assert len(held) == 1
        assert sign_in(url, "eve", "two").post("left", params={"session_hash": window.hash}).status_code == 204 and len(held) == 1
        window.leave()
        assert len(held) == 0
    finally:
        page.close()


def test_known_hash_of_a_session_brings_nothing_of_anothers(served):
    _, _, url = served
    ada, eve = sign_in(url, "ada", "one"), sign_in(url, "eve", "two")
    at = handler(ada, "load")
    sent = ada.post(f"{url}gradio_api/queue/join", json={"data": [""], "fn_index": at, "session_hash": "known"})
    assert sent.status_code == 200
    lines = []
    with suppress(httpx.RemoteProtocolError), eve.stream("GET", f"{url}gradio_api/queue/data", params={"session_hash": "known"}) as stream:
        lines.extend(stream.iter_lines())  # it breaks off: there is no such session of hers
    assert not any("process_" in line for line in lines)
    with ada.stream("GET", f"{url}gradio_api/queue/data", params={"session_hash": "known"}) as stream:
        assert any("process_completed" in line for line in stream.iter_lines())


@pytest.mark.slow
def test_known_address_of_uploads_takes_nothing_from_a_guest_without_a_cookie_or_beyond_the_limit(manager, store, monkeypatch):
    page, url = start(manager, Address("0.0.0.0"), store.folder)
    try:
        with httpx.Client(base_url=url, timeout=20) as guest:
            assert guest.post("gradio_api/upload", files=PICTURE).status_code == 403
            guest.get("")
            assert guest.post("gradio_api/upload", files=PICTURE).status_code == 200
            monkeypatch.setattr("ui.auth.MOST_WAITING", 1000)
            paths = [Path(guest.post("gradio_api/upload", files=PICTURE).json()[0]) for _ in range(9)]
            assert paths[-1].is_file() and not paths[0].is_file() and sum(path.is_file() for path in paths) * len(PICTURE["files"][1]) <= 1000
            monkeypatch.setattr("ui.auth.MOST_BODY", 100)
            assert guest.post("gradio_api/upload", files=PICTURE).status_code == 413
        assert page.state_session_capacity <= 1000
    finally:
        page.close()


@pytest.mark.slow
def test_a_proxy_with_tls_outside_hears_https_and_holds_nothing_back(manager, store):
    page, url = start(manager, Address("0.0.0.0"), store.folder)
    try:
        with httpx.Client(base_url=url, timeout=20, headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cafe.example", "Host": "cafe.example"}) as guest:
            answer = guest.get("")
            assert "secure" in answer.headers["set-cookie"].lower() and answer.headers["x-accel-buffering"] == "no"
            assert guest.get("config").json()["root"] == "https://cafe.example"
            assert not re.search(r"http://(?:cafe\.example|127\.0\.0\.1)", answer.text)  # the browser would refuse it on a page that came by HTTPS
        assert "secure" not in httpx.get(url).headers["set-cookie"].lower()
    finally:
        page.close()


def test_swept_temporary_folder_is_made_anew_when_a_picture_is_shown(tmp_path):
    place = PanelContext(None, None, tmp_path / "gone" / "ours", Belongings(None, tmp_path / "gone"))
    file = Path(place.shown(photo_of()))
    assert read_photo(file) == photo_of() and file.stat().st_mode & 0o077 == 0
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="temporary folder"):
        PanelContext(None, None, tmp_path / "file" / "ours", place.belongings).shown(photo_of())


# --- words beyond what the text encoder reads -----------------------------------------------------------------------------

LONG = f"in the snow {'and a tree ' * 60}with a red hat"


def test_long_prompts_are_said_to_be_cut_exactly_where_they_are(base):
    for words in (30, 44, 45, 46, 47, 60, 90):
        one, other = ("cat " * words + last for last in ("dog", "tree"))
        read = not torch.equal(*base.encode_text([one, other]).split(1))
        assert (base.left_out(one) == "") is read, words
    assert "with a red hat”" in base.left_out(LONG) and len(base.left_out(LONG)) < 180


def test_long_prompts_of_concepts_and_of_words_alone_say_what_was_left_out(base):
    layers = {name: attn for name, attn in base.cross_layers().items()}
    infused = InfusionConcept("tom", "cat", "b", {name: torch.zeros(1, attn.inner_dim) for name, attn in layers.items()})
    for words, cut in ((LONG, True), ("in the snow", False)):
        made = prepare_infusion(base, f"<tom> {words}", {"tom": "cat"}, lambda name: infused, 3.0)
        assert ("left out was" in infusion_sampling._said(made, False)) is cut
        tuned = IcoConcept("tom", "cat", "b", torch.zeros(2, base.text_encoder.config.hidden_size), {}, "T2 E")
        assert branches(base, tuned, f"<tom> {words}", "dog").concept.cut.endswith("red hat") is cut
        said = ReplyState()
        list(TextToImageGenerator(base).speak((), words, None, said, 0.0, torch.Generator(), threading.Event()))
        assert ("red hat”." in said.text.split("left out was")[-1]) is cut
