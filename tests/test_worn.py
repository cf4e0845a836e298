"""What a photo's subject wears, read from F and taken for what stands when the talk begins; and words that are not told."""

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
from assistant.models.mllm import MllmOutput
from assistant.models.vision_encoders import WornReader, pixels
from assistant.plan import Plan
from assistant.presets import MINIATURE
from assistant.training import classifiers
from assistant.training.world_dataset import LABELS, group
from assistant.checkpoints import load_vision


@pytest.fixture(scope="module")
def vision():
    return load_vision(MINIATURE, CHECKPOINTS / MINIATURE.folder)


def test_things_worn_by_individuals_that_were_never_trained_on(vision) -> None:
    scenes = [s for g in range(20) for s in group(500_001, g, True)[:2]]
    found = [vision.worn.read(vision.semantics(pixels([render(s).image]))) for s in scenes]
    truth = [set(plan_of(s).worn) for s in scenes]
    bare = [f == () for f, t in zip(found, truth) if not t]
    assert sum(bare) >= 0.9 * len(bare) and len(bare) >= 8  # nothing is seen where nothing is
    assert sum(set(f) == t for f, t in zip(found, truth)) >= 0.65 * len(scenes)


def test_a_photos_plan_has_what_is_read_in_place_of_what_m_says(vision) -> None:
    scene = next(s for g in range(9) for s in group(1, g)[:2] if s.accessories)
    x = pixels([render(scene).image])
    language = SimpleNamespace(scene=lambda patches, cancel: "draw; red fox; garden; day; flat; standing; pink boots")
    shown = CafeGenerator(vision, language, None, 17)._shown(ImageFeatures(vision.patches(x), vision.semantics(x)), None)
    assert shown.subject == "red fox" and shown.worn == vision.worn.read(vision.semantics(x)) and "pink boots" not in shown.worn


def test_it_is_learned_from_labels(tmp_path, monkeypatch, capsys) -> None:
    """On an F that says plainly what is worn, nearly all that was left out is read."""
    rng, things = np.random.default_rng(0), len(MINIATURE.vision.worn_things)
    labels = np.zeros((600, len(LABELS)), np.int8)
    first = LABELS.index(MINIATURE.vision.worn_things[0])
    labels[np.arange(600), first + rng.integers(0, things, 600)] = rng.integers(0, 13, 600)
    spelled = torch.nn.functional.one_hot(torch.from_numpy(labels[:, first:first + things].astype(np.int64)), 13).flatten(1).float()
    monkeypatch.setattr(classifiers, "load_vision", lambda config, folder: None)
    monkeypatch.setattr(classifiers, "encode_semantics", lambda world, device, vision: spelled)
    reader = classifiers.fit_worn(MINIATURE, {"labels": labels}, tmp_path, steps=150)
    assert float(capsys.readouterr().out.split("Of 150 drawings left out, ")[1].split(" ")[0]) > 0.95
    assert isinstance(reader, WornReader) and (tmp_path / "worn/worn.safetensors").exists()


@pytest.mark.parametrize("plan, sentences, told", [
    (Plan("draw", "red fox", "garden"), ["For your little gorf.", " I drew a red fox."], "I drew a red fox, garden."),
    (Plan("draw", "red fox", "garden"), ["I drew a red fox.", " It is a gorf.", " It is red."], "I drew a red fox. I drew a red fox, garden."),
    (Plan("draw", "red fox", "garden"), ["I drew a red fox for Bob."], "I drew a red fox for Bob."),  # a name that was said to it
    (Plan("decline"), ["I can't draw a gorf."], "That is nothing that I can draw."),
    (Plan("answer"), ["It is a gorf."], "It is a gorf.")])  # told from plans, whose words may be anybody's
def test_a_made_up_word_is_not_told(plan: Plan, sentences: list[str], told: str) -> None:
    generator = CafeGenerator(SimpleNamespace(config=SimpleNamespace(worn_things=(), worn_colours=())), None, None, 17)
    spoken, said = MllmOutput(plan=plan), ReplyState()

    def stream():
        for sentence in sentences:
            spoken.text += sentence
            yield sentence

    words = frozenset("for your little i drew a red fox it is can't draw bob".split())
    assert "".join(generator._true(stream(), spoken, said, standing((), None), False, words)) == said.text == told
    said = ReplyState()
    spoken.text = ""
    assert "".join(generator._true(stream(), spoken, said, standing((), None), False, frozenset())) == "".join(sentences)  # it knows any word
