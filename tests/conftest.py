"""Fixtures that more than one test file uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fake_engine import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    """Answers at once, without models."""
    return FakeEngine()


@pytest.fixture
def store(tmp_path: Path):
    from assistant.session.store import Store

    store = Store(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def manager(engine, store):
    from assistant.session.manager import SessionManager

    manager = SessionManager(engine, store)
    yield manager
    manager.close()
