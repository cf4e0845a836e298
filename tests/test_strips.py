"""Strips in the session: the newest of each owner is its own, one at a time, Stop, and a failure leaves what was there."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from assistant.concepts.mask_pictures import at_scale, overlaid, overlap, scales
from assistant.errors import BusyError, ConceptError, NotFoundError
from assistant.messages import Progress, Settings
from assistant.session.strips import Strips
from assistant.strip import StripReply, Struck


class Engine:
    """Draws a strip of nothing, in two steps; waits in the first one if told to."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.go.set()

    def strip(self, request, cancel):
        if not request.prompt.strip():
            raise ConceptError("There are no words to draw.")
        self.begun.set()
        self.go.wait(10)
        yield Progress(1, 2)
        pictures = tuple(Struck(s, b"png", {"prompt": request.prompt, "owner": request.library}) for s in request.strengths)
        yield StripReply(pictures, b"", "a <rex>", "a dog", "dog", "rex", request.settings, None, 1.0, cancel.is_set())


@pytest.fixture
def strips():
    return Strips(Engine(), lambda owner: f"library of {owner}", nullcontext)


def test_each_owner_sees_its_own_newest_and_a_pick_says_how_it_is_drawn_again(strips):
    for owner, prompt in (("ann", "<rex> here"), ("bob", "<rex> there")):
        assert isinstance(list(strips.draw(owner, prompt, Settings(seed=3, window=0.3)))[-1], StripReply)
    assert strips.newest("ann").pictures[0].metadata == {"prompt": "<rex> here", "owner": "library of ann"}
    chosen = strips.settings_of("bob", 5)
    assert (chosen.imagination, chosen.seed, chosen.window, chosen.auxiliary) == (1.5, 3, 0.3, "dog")
    with pytest.raises(NotFoundError, match="no strip yet"):
        strips.newest("eve")
    with pytest.raises(NotFoundError, match="no picture 8"):
        strips.settings_of("bob", 7)


def test_a_failure_or_a_stop_leaves_the_strip_before(strips):
    list(strips.draw("ann", "<rex> here", Settings(seed=1)))
    with pytest.raises(ConceptError):
        list(strips.draw("ann", " ", Settings(seed=2)))
    engine = strips._engine
    engine.go.clear(), engine.begun.clear()
    found: list = []
    worker = threading.Thread(target=lambda: found.extend(strips.draw("ann", "<rex> there", Settings(seed=3))))
    worker.start()
    engine.begun.wait(10)
    with pytest.raises(BusyError):
        next(strips.draw("ann", "<rex> again", Settings(seed=4)))
    strips.stop("ann")
    engine.go.set()
    worker.join(10)
    assert found[-1].stopped and strips.newest("ann").settings.seed == 1
    list(strips.draw("ann", "<rex> again", Settings(seed=5)))
    assert strips.newest("ann").settings.seed == 5


def test_masks_are_told_apart_by_grid_and_way_and_averaged_as_asked():
    masks = {"down_blocks.0.attn2": [torch.full((2, 3, 16), 0.25), torch.full((2, 3, 16), 0.75)],
             "up_blocks.1.attn2": [torch.arange(64.0).expand(2, 3, 64) / 64, torch.ones(2, 3, 64)]}
    assert list(scales(masks)) == ["4 down", "8 up"]
    assert at_scale(masks, "4 down").unique().tolist() == [0.5] and at_scale(masks, "4 down", step=1).unique().tolist() == [0.75]
    assert at_scale(masks, "8 up", step=0, head=2).shape == (2, 8, 8)
    with pytest.raises(ConceptError, match="no head 4 among 3"):
        at_scale(masks, "8 up", head=3)
    with pytest.raises(ConceptError, match="scale '9 up'"):
        at_scale(masks, "9 up")
    truth = torch.zeros(1, 16, 16)
    truth[:, :8] = 1
    assert overlap(torch.cat([torch.ones(1, 4, 8), torch.zeros(1, 4, 8)], 1), truth) == [1.0]
    picture = np.full((16, 16, 3), 200, np.uint8)
    assert (overlaid(picture, torch.rand(4, 4), 0.0) == 200).all() and (overlaid(picture, torch.zeros(4, 4), 1.0) == 0).all()
