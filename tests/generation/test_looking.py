"""Looking at what was drawn: what of a plan a picture shows, and that another is drawn where something is missing."""

import io
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from assistant import engine
from assistant.generation.base import ImageFeatures, Verification, verify_picture
from assistant.errors import InputError
from assistant.requests import Photo, Progress, Reply, Request, Settings
from assistant.world.captions import plan_of
from assistant.world.renderer import render
from assistant.world.scene import CONTEXTS, STYLES
from assistant.models.vision_encoders import Finding, pixels
from assistant.plan import Plan, not_seen
from assistant.training.world_dataset import group

PLAN = Plan("draw", "red fox with yellow stripes", "garden", "night", "neon", "standing", ("blue hat",), "green owl")


class Stub:
    """Compares with fixed margins: text with a part scores what `found` says, text without it 0."""

    texts, attributes = staticmethod(lambda lines: None), None

    def __init__(self, found: dict[str, float]) -> None:
        self.found = found

    def compare(self, semantics: torch.Tensor, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[next((v for k, v in self.found.items() if k in text), 0.0) for text in texts]])


def test_what_a_text_without_it_fits_better_is_missing() -> None:
    shown = ImageFeatures(None, None)
    seen = verify_picture(Stub({"garden": 4.0, "night": -1.0, "neon": -2.0, "blue hat": -9.0, "green owl": 1.0}), shown, PLAN, True, 1.5)
    assert seen.missing == ("the style (neon)", "the blue hat")
    assert not_seen(seen.missing) == "The style (neon) and the blue hat did not come out."
    assert verify_picture(Stub({}), shown, PLAN, False, 1.5).missing == ("the red fox",)
    assert not_seen(()) == ""
    assert seen.doubtful and verify_picture(Stub({"night": -1.0}), shown, PLAN, True, 1.5) == Verification((), True, -2.0)  # another may show more, but nothing is said
    assert not verify_picture(Stub({"garden": 0.5}), shown, PLAN, True, 1.5).doubtful and verify_picture(Stub({}), shown, PLAN, False, 1.5).doubtful


@pytest.mark.slow
def test_drawings_show_their_own_plan_and_not_another(assistant) -> None:
    scenes = [s for g in range(40) for s in group(500_001, g, True)[:1]]
    missed, caught = 0, 0
    for k, scene in enumerate(scenes):
        shown, plan = assistant.image_generator.look(pixels([render(scene).image])), plan_of(scene)
        elsewhere = replace(plan, place=CONTEXTS[(CONTEXTS.index(plan.place) + 5 + k) % len(CONTEXTS)], style=STYLES[(STYLES.index(plan.style) + 1 + k % 5) % 6])
        missed += bool(verify_picture(assistant.vision, shown, plan, True, 1.5).missing)
        caught += bool(verify_picture(assistant.vision, shown, elsewhere, True, 1.5).missing)
    assert missed <= 4, missed  # of 40 whole plans, each of about five parts
    assert caught >= 38, caught


def test_chances_say_what_is_missing() -> None:
    def classified(by_clip: tuple[str, ...] = ("garden", "blue hat", "green owl"), **chances: float) -> Verification:
        found = [Finding("subject", "fox", chances.get("kind", 0.9)), Finding("subject", "red fox", chances.get("colour", 0.9)),
                 Finding("marks", "white stripes", chances.get("marks", 0.9)), Finding("place", "garden", chances.get("place", 0.9)),
                 Finding("worn", "blue hat", chances.get("hat", 0.9)), Finding("worn", "", chances.get("bare", 0.9)), Finding("other", "green owl", chances.get("other", 0.9))]
        classifier, clip = SimpleNamespace(to=lambda device: classifier, compare=lambda patches, semantics, plan: found), Stub(dict.fromkeys(by_clip, -9.0))
        clip.attributes = classifier
        return verify_picture(clip, ImageFeatures(torch.zeros(1), torch.zeros(1)), PLAN, not by_clip, 1.5)

    assert not classified().doubtful and classified().missing == () and classified().score > classified(colour=0.6).score
    assert classified(colour=0.05).missing == () and classified(colour=0.05).doubtful  # its colour has no sentence, and another picture may have it
    assert classified(bare=0.01).missing == () and classified(bare=0.01).doubtful
    assert classified(kind=0.01, place=0.05, hat=0.0, other=0.02).missing == ("the red fox", "the place (garden)", "the blue hat", "the green owl")
    assert classified(marks=0.01).missing == classified((), marks=0.01).missing == ("the white stripes",)  # of which CLIP says nothing
    assert classified(marks=0.01, kind=0.01).missing == ("the red fox",)
    assert classified(hat=0.3).missing == () and classified(hat=0.3).doubtful
    assert classified((), kind=0.01, place=0.05, hat=0.0).missing == ()  # CLIP finds them


def asked(assistant, monkeypatch: pytest.MonkeyPatch, looks: list[Verification | None], candidates: int, cancel: threading.Event | None = None):
    """A turn whose pictures are found to be like `looks`; its events and the seeds that were drawn."""
    drawn = []

    def found(self, denoised, seed, seen, said):
        drawn.append(seed)
        return engine._Candidate(denoised, np.full((8, 8, 3), len(drawn), np.uint8), seed, {}, looks[len(drawn) - 1])

    monkeypatch.setattr(engine.Assistant, "_look", found)
    photo = assistant.subjects[0].photo
    events = list(assistant.respond(Request("put it in the snow", photo, settings=Settings(seed=7, steps=2, candidates=candidates, temperature=0.0)),
                                    cancel or threading.Event()))
    assert isinstance(events[-1], Reply) and events[-1].plan.draws
    return events, drawn


@pytest.mark.parametrize("looks, candidates, seeds, kept", [
    ([Verification((), False, 0.0)], 4, [7], 7),  # all is seen: one is enough
    ([Verification(("the hat",), True, 0.0), Verification((), False, 1.0)], 4, [7, 8], 8),
    ([Verification(("the hat",), True, 1.0), Verification(("the hat",), True, 0.0)], 2, [7, 8], 7),  # the better of two that both lack it
    ([Verification(("the hat",), True, 0.0)], 1, [7], 7),
    ([None], 4, [7], 7),  # nobody can look
])
def test_another_is_drawn_while_something_is_missing(assistant, monkeypatch, looks, candidates, seeds, kept) -> None:
    events, drawn = asked(assistant, monkeypatch, looks, candidates)
    reply = events[-1]
    best = looks[seeds.index(kept)]
    assert drawn == seeds and reply.seed == reply.metadata["seed"] == kept and reply.settings.candidates == 1
    assert np.asarray(Image.open(io.BytesIO(reply.png)))[0, 0, 0] == 1 + seeds.index(kept)
    assert reply.missing == (best.missing if best else ()) and tuple(reply.metadata.get("missing", ())) == reply.missing
    assert reply.metadata.get("tried", 1) == len(seeds)
    steps = [(e.step, e.steps) for e in events if isinstance(e, Progress)]
    assert steps == sorted(steps) and steps[-1] == (2 * len(seeds), 2 * len(seeds))


def test_candidates_have_a_limit(assistant) -> None:
    with pytest.raises(InputError, match="candidates is 9; it can be 1 to 8"):
        list(assistant.respond(Request("x", assistant.subjects[0].photo, settings=Settings(candidates=9)), threading.Event()))


@pytest.mark.slow
def test_a_kept_candidate_is_drawn_again_from_its_seed(assistant) -> None:
    """The seed and the settings that a reply tells give its picture, whichever candidate it was."""
    photo: Photo = assistant.subjects[1].photo
    *_, reply = assistant.respond(Request("give it a crown and an umbrella, at night", photo, settings=Settings(seed=3, steps=3, candidates=3, temperature=0.0)),
                                  threading.Event())
    *_, again = assistant.respond(Request("", photo, settings=reply.settings, redraw=reply.metadata), threading.Event())
    assert again.seed == reply.seed and again.missing == reply.missing
    assert (np.asarray(Image.open(io.BytesIO(again.png))) == np.asarray(Image.open(io.BytesIO(reply.png)))).all()
    seen = assistant.image_generator.look(pixels([Image.open(io.BytesIO(reply.png))]))
    assert isinstance(seen, ImageFeatures)
    named = assistant.config.nouns[int(assistant.vision.classify(seen.semantics)[0].argmax())] in reply.plan.subject
    there = named or reply.likeness["subject"] >= assistant.image_generator.far / 2
    assert verify_picture(assistant.vision, seen, reply.plan, there, assistant.config.vision.margin).missing == reply.missing
