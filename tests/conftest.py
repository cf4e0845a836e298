"""Fixtures that more than one test file uses."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
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


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """The real page, with sign-in, in this process."""
    from assistant.session.manager import SessionManager
    from assistant.session.store import Store
    from ui.serve import Address, start

    store = Store(tmp_path_factory.mktemp("data"))
    manager = SessionManager(FakeEngine(), store)
    page, url = start(manager, Address(auth=(("ada", "one"), ("eve", "two"))), store.folder)
    yield manager, store, url
    page.close()
    manager.close()
    store.close()


@pytest.fixture(scope="session")
def assistant():
    """The miniature that ships."""
    from assistant import pipeline

    return pipeline.load("miniature", "cpu")


@pytest.fixture(scope="session")
def base():
    """Its base model, for tests that leave it as it is."""
    from assistant.presets import MINIATURE
    from assistant.manifest import CHECKPOINTS
    from assistant.weights import load_base

    return load_base(MINIATURE, CHECKPOINTS / MINIATURE.folder)


@pytest.fixture(scope="session")
def pictures():
    """Two scenes of one held-out cat, uint8 (2, 128, 128, 3)."""
    import torch

    from assistant.miniature.renderer import render
    from assistant.miniature.world import sample_individual, sample_scene

    rng = random.Random(4)
    one = replace(sample_individual(rng, held_out=True), kind="cat")
    return torch.from_numpy(np.stack([np.asarray(render(sample_scene(rng, one, None), 128).image) for _ in range(2)]))
