"""Strips as jobs: whose they are, whose turn it is, Stop, and what is there after a restart."""

import pytest

from assistant.errors import NotFoundError
from assistant.requests import Settings
from assistant.session.manager import SessionManager
from assistant.session.store import Store
from tests.fake_engine import FakeEngine

ANN, BOB = "ann", "bob"


def drawn(strips, owner, prompt, **settings):
    *_, last = strips.watch(strips.draw(owner, prompt, Settings(**settings)))
    return last


def test_each_owner_sees_its_own_newest_and_a_pick_says_how_it_is_drawn_again(manager):
    strips = manager.strips
    for owner, prompt in ((ANN, "<rex> here"), (BOB, "<rex> there")):
        assert drawn(strips, owner, prompt, seed=3, window=0.3).error is None
    assert strips.newest(ANN).prompt == "<rex> here" and strips.newest(BOB).prompt == "<rex> there"
    chosen = strips.settings_of(BOB, 5)
    assert (chosen.imagination, chosen.seed, chosen.window, chosen.auxiliary) == (1.5, 3, 0.3, "dog")
    with pytest.raises(NotFoundError, match="no strip yet"):
        strips.newest("eve")
    with pytest.raises(NotFoundError, match="no picture 8"):
        strips.settings_of(BOB, 7)
    [name, *_] = strips.newest(ANN).pictures
    assert manager.picture(name, ANN)
    with pytest.raises(NotFoundError):
        manager.picture(name, "eve")


def test_a_failure_or_a_stop_leaves_the_strip_before_and_owners_take_turns(manager, engine):
    strips = manager.strips
    drawn(strips, ANN, "<rex> here", seed=1)
    assert "no words to draw" in str(drawn(strips, ANN, " ", seed=2).error) and strips.newest(ANN).settings.seed == 1
    engine.pause = 0.02
    running, waiting = strips.draw(ANN, "<rex> there", Settings(seed=3)), strips.draw(BOB, "<rex> there", Settings(seed=4))
    next(one for one in strips.watch(running) if one.step)
    assert strips.waiting(running) is None and strips.waiting(waiting) == 1
    third = strips.draw("eve", "<rex> too", Settings(seed=5))
    assert strips.waiting(third) == 2
    strips.stop("eve")
    assert third.done and strips.waiting(third) is None
    strips.stop(ANN)
    assert list(strips.watch(waiting))[-1].error is None and running.done
    assert strips.newest(ANN).settings.seed == 1 and strips.newest(BOB).settings.seed == 4
    assert strips.interrupted(ANN) is None
    with pytest.raises(NotFoundError):
        strips.newest("eve")


def test_a_strip_and_its_masks_are_there_after_a_restart_and_what_was_cut_off_is_offered(manager, engine, store):
    strips = manager.strips
    drawn(strips, ANN, "<rex> here", seed=1)
    before, masks = strips.newest(ANN), strips.masks(ANN).over(0, "8 up", 0.6, step=1)
    engine.pause = 0.05
    strips.draw(ANN, "<rex> later", Settings(seed=9))
    manager.close()
    store.close()
    again = Store(store.folder)
    later = SessionManager(FakeEngine(), again)
    strips = later.strips
    assert strips.newest(ANN) == before and strips.masks(ANN).over(0, "8 up", 0.6, step=1) == masks
    assert strips.masks(ANN).where(0, "8 up") == "the top"
    assert strips.interrupted(ANN) == "<rex> later" and not again.verify().missing
    *_, last = strips.watch(strips.again(ANN))
    assert last.error is None and strips.newest(ANN).settings.seed == 9 and strips.interrupted(ANN) is None
    later.close()
    again.close()
