"""The three kinds of Hugging Face Spaces, with a stand-in `spaces` package: ZeroGPU (a GPU only in forked processes), a GPU of its own, a CPU."""

import pickle
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import app
import pytest

from assistant import presets
from assistant.requests import Mix, MixReply, MixRequest, Progress, Reply, Request, Settings, Source, SweepReply, SweepRequest, TrainingSpec, Words
from assistant.deferred_engine import DeferredEngine
from assistant.engine import Assistant
from assistant.errors import DeviceError, InputError
from assistant.session.manager import SessionManager
from assistant.zero_gpu import ZeroGpuEngine
from tests import tiny_open
from tests.photos import photos
from tests.stand_in_spaces import StandInSpaces


PHOTOS = photos("cat", 3)
QUICK = Settings(seed=3, steps=3, preview_every=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_open.write(tmp_path_factory.mktemp("open"))


@pytest.fixture
def spaces(monkeypatch):
    """ZeroGPU's: `zero` False makes it what the package is on the other kinds of hardware."""
    stand_in = StandInSpaces(zero=True)
    monkeypatch.setitem(sys.modules, "spaces", stand_in)
    monkeypatch.setitem(presets.PRESETS, "open", tiny_open.CONFIG)
    monkeypatch.setenv("SPACE_ID", "ada/cafe")
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    return stand_in


def options(folder, *more):
    return app.arguments(["--preset", "open", "--weights", str(folder), "--device", "cpu", *more])


@pytest.fixture
def engine(spaces, folder):
    """On ZeroGPU; whatever computes outside a forked process fails, as it would there."""
    engine = app.engine_of(options(folder))

    def only_inside(module, args):
        assert spaces.inside, f"{type(module).__name__} was called outside of spaces.GPU"

    inner = engine._engine
    for module in (inner.decoder.unet, inner.decoder.vae.decoder, inner.decoder.text_encoder, inner.language.llm, inner.vision.encoder):
        module.register_forward_pre_hook(only_inside)
    return engine


@pytest.mark.slow
def test_a_turn_is_answered_in_a_forked_process_and_asks_for_its_time(engine, spaces, store):
    assert isinstance(engine, ZeroGpuEngine) and engine.info().device == "cuda (ZeroGPU)" and spaces.asked == []
    manager = SessionManager(engine, store)
    conversation = manager.new("ada").id
    events = list(manager.send(conversation, "a red cat in the snow", PHOTOS[1], QUICK, "ada"))
    manager.close()
    assert any(isinstance(e, Words) for e in events) and any(isinstance(e, Progress) for e in events)
    assert isinstance(events[-1], Reply) and events[-1].png
    (_, seconds), = spaces.asked
    assert 12 < seconds <= 120 and engine._reply_seconds(Request("x", settings=replace(QUICK, steps=100, candidates=8)), None) >= seconds


@pytest.mark.slow
def test_boards_lessons_and_strips_run_there_and_what_is_learned_stays(engine, spaces, tmp_path):
    board = MixRequest((Mix((PHOTOS[1],), (Source(PHOTOS[2]),)),), QUICK)
    assert [e for e in engine.mix(board, threading.Event()) if isinstance(e, MixReply)][0].pictures[0].png
    library = engine.trainer.open(tmp_path / "concepts")
    for kind in ("infusion", "ico"):
        run = engine.trainer.begin(TrainingSpec("rex", "cat", (PHOTOS[1], PHOTOS[2]), kind=kind, options={"steps": 3}))
        losses = [run.advance() for _ in range(run.steps)]
        assert run.step == 3 and len(set(losses)) == 3 and run.preview(threading.Event())
        again = engine.trainer.begin(TrainingSpec("rex", "cat", (PHOTOS[1], PHOTOS[2]), kind=kind, options={"steps": 3}), run.state())
        assert again.step == 3
        run.keep(library, b"")
    assert {entry.kind for entry in library.entries()} >= {"infusion"} and library.get("rex", "ico").steps == 3
    strip = [e for e in engine.strip(SweepRequest("a <rex> on the beach", library, (0.0, 1.0), replace(QUICK, window=0.5)), threading.Event())][-1]
    assert isinstance(strip, SweepReply) and len(strip.pictures) == 2 and strip.masks.over(0, strip.masks.scales[0], 0.5)
    asked = Request("draw <rex> in the snow", library=library, examples=lambda name: [PHOTOS[1]], settings=QUICK)
    reply = list(engine.respond(asked, threading.Event()))[-1]
    assert reply.png and "subject" in reply.likeness  # compared with the photos, which went along
    assert all(12 <= seconds <= 120 for _, seconds in spaces.asked)


@pytest.mark.slow
def test_errors_keep_their_sentences_stop_is_heard_and_a_refused_gpu_is_said(engine, spaces):
    with pytest.raises(InputError, match="steps is 500; it can be 1 to 100") as raised:
        list(engine.respond(Request("x", settings=replace(QUICK, steps=500)), threading.Event()))
    assert raised.value.remedy
    cancel, seen = threading.Event(), []
    for event in engine.respond(Request("a cat", PHOTOS[1], settings=replace(QUICK, steps=100, preview_every=0)), cancel):
        seen.append(event)
        if isinstance(event, Progress):
            cancel.set()
    assert seen[-1].stopped and seen[-1].png
    engine._streams["respond"] = lambda request, flag: (_ for _ in ()).throw(RuntimeError("You have exceeded your GPU quota"))
    with pytest.raises(DeviceError, match="exceeded your GPU quota. Try again"):
        list(engine.respond(Request("x"), threading.Event()))


def test_stop_is_heard_by_what_tells_nothing_before_it_ends(engine, monkeypatch):
    def until_stopped(words, settings, flag):
        until = time.monotonic() + 30
        while not flag.is_set():
            assert time.monotonic() < until
            time.sleep(0.01)
        return b"stopped"

    monkeypatch.setattr(engine._engine, "imagine", until_stopped)
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    assert engine.imagine("a cat", QUICK, cancel) == b"stopped"


def test_a_request_of_the_session_cannot_be_copied_as_it_is():
    """Why requests are packed: this is what failed."""
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(Request("x", library=threading.Lock()))


def test_on_a_gpu_of_its_own_and_on_a_cpu_the_package_changes_nothing(spaces, folder, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU")
    spaces.zero = False
    engine = app.engine_of(options(folder))
    assert isinstance(engine, Assistant) and app.arguments([]).host == "0.0.0.0"
    assert list(engine.respond(Request("a red cat", PHOTOS[1], settings=QUICK), threading.Event()))[-1].png and spaces.asked == []
    plain = app.arguments([])
    assert isinstance(app.engine_of(plain), DeferredEngine)  # a CPU Space: the page is there at once, although `spaces` is installed
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")  # a GPU of its own: loaded there before the page opens
    monkeypatch.setattr(app, "load", lambda given: ("loaded", given.device))
    assert app.engine_of(plain) == ("loaded", "auto")


def test_on_zero_gpu_weights_are_fetched_before_the_page_opens(spaces, tmp_path, monkeypatch):
    from assistant.hub import download_job

    begun = []
    monkeypatch.setattr(download_job.DownloadJob, "begin", lambda self: begun.append(self.folder))
    monkeypatch.setattr(download_job.DownloadJob, "wait", lambda self, patiently: begun.append(patiently))
    assert app.download_of(options(tmp_path / "w")) is None and begun == []  # loading says what is missing
    monkeypatch.setenv("CAFE_DOWNLOAD", "1")
    assert app.download_of(options(tmp_path / "w")) is None and begun == [tmp_path / "w", False]
