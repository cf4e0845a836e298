"""What a picture shows, read from E and F and taken for what stands when the talk begins; and words that are not told."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from assistant.generation.cafe import CafeGenerator
from assistant.dialogue_state import standing
from assistant.generation.base import ImageFeatures, ReplyState
from assistant.manifest import CHECKPOINTS
from assistant.world.captions import plan_of
from assistant.world.renderer import render
from assistant.world.scene import ACCESSORIES, COLOURS, CONTEXTS, KINDS, LIGHTS, POSES, STYLES
from assistant.models.mllm import MllmOutput
from assistant.models.vision_encoders import AttributeClassifier, pixels
from assistant.plan import Plan
from assistant.presets import MINIATURE
from assistant.training import classifiers
from assistant.training.world_dataset import LABELS, group
from assistant.checkpoints import load_vision


@pytest.fixture(scope="module")
def vision():
    return load_vision(MINIATURE, CHECKPOINTS / MINIATURE.folder)


@pytest.fixture(scope="module")
def drawings(vision):
    """Scenes of individuals that were never trained on, with E and F of each."""
    scenes = [s for g in range(24) for s in group(500_001, g, True)]
    return [(s, ImageFeatures(vision.patches(x), vision.semantics(x))) for s in scenes for x in (pixels([render(s).image]),)]


@pytest.mark.slow
def test_what_individuals_show_that_were_never_trained_on(vision, drawings) -> None:
    found = [(vision.attributes.read(shown.patches, shown.semantics), plan_of(scene)) for scene, shown in drawings]
    for name, least in (("place", 0.95), ("light", 0.95), ("style", 0.95), ("pose", 0.9)):
        assert np.mean([getattr(f, name) == getattr(t, name) for f, t in found]) >= least, name
    assert np.mean([(f.subject == "") == bool(t.other) for f, t in found]) >= 0.95 and not any(f.worn for f, _ in found if not f.subject)
    alone = [(f, t) for f, t in found if f.subject and not t.other]
    assert np.mean([f.subject.split(" with ")[0] == t.subject.split(" with ")[0] for f, t in alone]) >= 0.9
    assert np.mean([set(f.worn) == set(t.worn) for f, t in alone]) >= 0.7
    assert np.mean([f.worn == () for f, t in alone if not t.worn]) >= 0.9  # nothing is seen where nothing is


@pytest.mark.slow
def test_a_plan_that_is_shown_is_likelier_than_one_that_is_not(vision, drawings) -> None:
    for scene, shown in (one for one in drawings[:18] if one[0].companion is None):
        plan = plan_of(scene)
        chances = {(one.name, one.words): one.chance for one in vision.attributes.compare(shown.patches, shown.semantics, plan)}
        assert all(0 <= chance <= 1 for chance in chances.values())
        place = "volcano" if plan.place != "volcano" else "snow"
        other = vision.attributes.compare(shown.patches, shown.semantics, replace(plan, place=place, worn=("teal umbrella",)))
        assert next(one.chance for one in other if one.name == "place") < chances["place", plan.place]
    unknown = vision.attributes.compare(shown.patches, shown.semantics, Plan("draw", "gorf", "a cupboard", "dusk"))
    assert {one.name for one in unknown} == {"marks", "worn", "other"}  # no mark, nothing on, nobody beside: of the rest it knows no word


def test_the_words_are_those_of_the_world(vision) -> None:
    values = vision.attributes.values
    assert values["kind"] == KINDS and values["colour"] == tuple(COLOURS) and values["place"] == CONTEXTS and values["style"] == STYLES
    assert values["light"] == LIGHTS and values["pose"] == POSES and vision.attributes.things == ACCESSORIES
    plans = [plan_of(s) for g in range(60) for s in group(500_001, g, True)[:1]]
    assert {marks.split(" ")[1] for p in plans if (marks := p.subject.partition(" with ")[2])} == set(values["marks"]) - {""}


def test_a_photos_plan_is_what_is_read_in_place_of_what_m_says(vision, drawings) -> None:
    shown = next(shown for scene, shown in drawings if scene.accessories)
    language = SimpleNamespace(scene=lambda patches, cancel: "draw; red fox; garden; day; flat; standing; pink boots")
    assert CafeGenerator(vision, language, None, 17)._shown(shown, None) == vision.attributes.read(shown.patches, shown.semantics)


@pytest.mark.slow
def test_they_are_learned_from_labels(tmp_path, monkeypatch, capsys) -> None:
    """On an E and an F that say plainly what is worn and where it is, nearly all that was left out is read."""
    rng, things = np.random.default_rng(0), len(ACCESSORIES)
    labels = np.zeros((600, len(LABELS)), np.int8)
    first = LABELS.index(ACCESSORIES[0])
    labels[np.arange(600), first + rng.integers(0, things, 600)] = rng.integers(0, 13, 600)
    labels[:, LABELS.index("context")] = rng.integers(0, 16, 600)
    spelled = torch.nn.functional.one_hot(torch.from_numpy(labels[:, first:first + things].astype(np.int64)), 13).flatten(1).float()
    patches = torch.zeros(600, 257, MINIATURE.vision.patch_width)
    patches[torch.arange(600), :, torch.from_numpy(labels[:, LABELS.index("context")].astype(np.int64))] = 3.0
    np.save(tmp_path / "at.npy", np.arange(0, 600, 3, dtype=np.int32))  # nothing of what is worn is to be seen in these
    np.save(tmp_path / "images.npy", np.zeros((200, 4, 4, 3), np.uint8))
    vision = SimpleNamespace(attributes=None, patches=lambda x: torch.zeros(len(x), 257, MINIATURE.vision.patch_width), semantics=lambda x: torch.zeros(len(x), 128))
    monkeypatch.setattr(classifiers, "load_vision", lambda config, folder: vision)
    monkeypatch.setattr(classifiers, "encode_semantics", lambda world, device, vision: torch.nn.functional.pad(spelled, (0, 128 - spelled.shape[1] % 128))[:, :128])
    monkeypatch.setattr(classifiers, "encode_patches", lambda world, device, vision: patches)
    monkeypatch.setattr(classifiers, "BATCH", 48)
    classifier = classifiers.fit_attributes(MINIATURE, {"labels": labels, "companion_labels": np.full((600, 4), -1, np.int8)}, tmp_path, tmp_path, steps=70)
    told, again = capsys.readouterr().out.splitlines()
    assert "that were drawn again" in again and float(again.split("place ")[1].split(",")[0]) < 0.3
    assert float(told.split("place ")[1].split(",")[0]) > 0.95 and float(told.split("others ")[1].split("\n")[0]) == 1.0
    assert isinstance(classifier, AttributeClassifier) and (tmp_path / "attributes/attributes.safetensors").exists()


@pytest.mark.parametrize("plan, sentences, told", [
    (Plan("draw", "red fox", "garden"), ["For your little gorf.", " I drew a red fox."], "I drew a red fox (garden)."),
    (Plan("draw", "red fox", "garden"), ["I drew a red fox.", " It is a gorf.", " It is red."], "I drew a red fox. I drew a red fox (garden)."),
    (Plan("draw", "red fox", "garden"), ["I drew a red fox for Bob."], "I drew a red fox for Bob."),  # a name that was said to it
    (Plan("decline"), ["I can't draw a gorf."], "That is nothing that I can draw."),
    (Plan("answer"), ["It is a gorf."], "It is a gorf.")])  # told from plans, whose words may be anybody's
def test_a_made_up_word_is_not_told(plan: Plan, sentences: list[str], told: str) -> None:
    words = frozenset("for your little i drew a red fox it is can't draw".split())
    language = SimpleNamespace(taught=words, outside={})
    generator = CafeGenerator(SimpleNamespace(config=SimpleNamespace(worn_things=(), worn_colours=())), language, None, 17)
    spoken, said = MllmOutput(plan=plan), ReplyState()

    def stream():
        for sentence in sentences:
            spoken.text += sentence
            yield sentence

    assert "".join(generator._true(stream(), spoken, said, standing((), None), False, "one for Bob")) == said.text == told
    said, language.taught = ReplyState(), frozenset()
    spoken.text = ""
    assert "".join(generator._true(stream(), spoken, said, standing((), None), False, "one for Bob")) == "".join(sentences)  # it knows any word
