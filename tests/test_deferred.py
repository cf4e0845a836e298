"""The page is there before the models: what is known without torch, and how whoever asks waits."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from assistant.deferred_engine import DeferredEngine, can_defer
from assistant.errors import WeightsError
from assistant.requests import Reply, Request
from assistant.presets import FULL, MINIATURE, OPEN
from tests.fake_engine import FakeEngine

ROOT = Path(__file__).resolve().parents[1]


def test_a_turn_waits_for_the_models() -> None:
    engine = DeferredEngine(MINIATURE, None, FakeEngine)
    assert engine.info().preset == "miniature" and engine.info().looks and len(engine.info().subjects) >= 8
    told = []
    worker = threading.Thread(target=lambda: told.extend(engine.respond(Request("hello", engine.info().subjects[0].photo), threading.Event())))
    worker.start()
    worker.join(0.2)
    assert worker.is_alive() and not told
    engine.arrive()
    worker.join(20)
    assert isinstance(told[-1], Reply) and told[-1].png is not None
    assert engine.info().preset == FakeEngine().info().preset  # its own from now on
    assert engine.trainer.advise([]) == FakeEngine().trainer.advise([])


def test_what_hinders_loading_reaches_whoever_waits() -> None:
    def broken():
        raise WeightsError("The weights are gone.", "Get them.")

    engine = DeferredEngine(MINIATURE, None, broken)
    with pytest.raises(WeightsError, match="gone"):
        engine.arrive()
    with pytest.raises(WeightsError, match="gone"):
        list(engine.respond(Request("hello"), threading.Event()))


def test_damaged_weights_are_seen_before_the_page_opens(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="manifest.json is missing"):
        DeferredEngine(MINIATURE, tmp_path, FakeEngine)


def test_what_may_be_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_defer(MINIATURE, "cpu") and not can_defer(MINIATURE, "cuda") and not can_defer(FULL, "cpu") and not can_defer(OPEN, "cpu")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    assert not can_defer(MINIATURE, "auto")


@pytest.mark.slow
def test_the_page_needs_no_torch() -> None:
    said = "import sys, assistant.deferred_engine, assistant.session.manager, ui.serve; print([m for m in ('torch', 'diffusers', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"
