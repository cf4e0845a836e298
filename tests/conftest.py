"""Fixtures that more than one test file uses, and how test files share a machine's cores."""

import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is loaded: workers are the parallelism, their programs get a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.dont_write_bytecode = False  # dozens of programs are started that import the same modules: they are compiled once
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from tests.fake_engine import FakeEngine  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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
    from assistant import loading

    return loading.load("miniature", "cpu")


@pytest.fixture(scope="session")
def base():
    """Its base model, for tests that leave it as it is."""
    from assistant.presets import MINIATURE
    from assistant.manifest import CHECKPOINTS
    from assistant.checkpoints import load_base

    return load_base(MINIATURE, CHECKPOINTS / MINIATURE.folder)


@pytest.fixture(scope="session")
def pictures():
    """Two scenes of one held-out cat, uint8 (2, 128, 128, 3)."""
    import torch

    from assistant.world.renderer import render
    from assistant.world.scene import sample_individual, sample_scene

    rng = random.Random(4)
    one = replace(sample_individual(rng, held_out=True), kind="cat")
    return torch.from_numpy(np.stack([np.asarray(render(sample_scene(rng, one, None), 128).image) for _ in range(2)]))
