"""Chat models that see, in the layouts of Qwen3-VL and LLaVA: what they are shown, what they say, and the whole way from a photo to a picture."""

import copy
import io
import json
import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from transformers import DynamicCache, Qwen3_5Config, Qwen3_5ForConditionalGeneration

from assistant import model_factory
from assistant.models import chat_llm
from assistant.config import ChatConfig
from assistant.engine import Assistant
from assistant.errors import DeviceError, WeightsError
from assistant.memory.budget import tier
from assistant.memory.offloading import Group, OffloadManager
from assistant.models.chat_llm import SEEING_EXAMPLES, SEEING_RULES, ChatModel, ChatOutput
from assistant.models.mllm import cache_of, sampled
from assistant.plan import Plan
from assistant.requests import Photo, Request, Settings, Turn
from assistant.session.manager import SessionManager
from assistant.session.uploads import read_photo
from tests import tiny_open, tiny_vlm

NEVER = threading.Event()
WRITERS = {"qwen3-vl": tiny_vlm.qwen, "llava": tiny_vlm.llava}
FILES = {"qwen3-vl": tiny_vlm.QWEN_FILES, "llava": tiny_vlm.LLAVA_FILES}


def picture(seed: int, width: int = 90, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def photo_of(image: Image.Image) -> Photo:
    out = io.BytesIO()
    image.save(out, "PNG")
    return read_photo(out.getvalue())


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module", params=WRITERS)
def folder(request, tmp_path_factory):
    return WRITERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(folder) -> ChatModel:
    return model_factory.load_chat(ChatConfig(max_new_tokens=12), folder)


def read(model: ChatModel, prompt) -> str:
    return model.tokenizer.decode(prompt["input_ids"][0])


def spoken(model: ChatModel, prompt, temperature: float = 0.0) -> str:
    told = ChatOutput()
    assert "".join(model.stream(prompt, "", told, temperature, chance(), NEVER)) == told.text
    return told.text


def test_the_tiny_ones_lie_in_the_published_files(folder):
    name = "qwen3-vl" if (folder / "vocab.json").exists() else "llava"
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES[name])
    tied = json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    with safe_open(folder / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    published = {"qwen3-vl": {"model.language_model.embed_tokens.weight", "model.language_model.layers.0.self_attn.q_norm.weight", "model.visual.pos_embed.weight",
                              "model.visual.patch_embed.proj.bias", "model.visual.blocks.0.attn.qkv.weight", "model.visual.merger.linear_fc2.weight",
                              "model.visual.deepstack_merger_list.1.norm.weight"},
                 "llava": {"language_model.model.embed_tokens.weight", "language_model.lm_head.weight", "multi_modal_projector.linear_1.weight",
                           "vision_tower.vision_model.embeddings.class_embedding", "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.bias"}}[name]
    assert published <= names and tied == (name == "qwen3-vl") and tied != any("lm_head" in n for n in names)


def test_tokens_are_those_of_greedy_generate_with_a_picture_and_without(model, monkeypatch):
    """Also after another picture: the positions of the last one's tokens are not this prompt's."""
    prompts = [model.prompt([("a cat", "Here.", None)], "what is it?", True, shown) for shown in (
        (), (("The photo:", picture(1)),), (("The photo:", picture(1, 60, 90)), ("The picture that you drew last:", picture(2, 64, 64))))]
    theirs = [model.llm.generate(**p, max_new_tokens=12, do_sample=False, eos_token_id=-1)[0, p["input_ids"].shape[1]:].tolist() for p in prompts]
    said: list[int] = []
    monkeypatch.setattr(chat_llm, "sampled", lambda *given: (said.append(token) or token for token in sampled(*given)))
    monkeypatch.setattr(model, "_ends", set())
    for count in (2, 0, 1, 0, 2):
        for static in (False, True):
            monkeypatch.setattr(model, "static_cache", static)
            said.clear()
            list(model._said(prompts[count], 12, 0.0, chance(), NEVER))
            assert said == theirs[count], (count, static)
    assert model.sees and len(set(map(tuple, theirs))) == 3


def test_it_is_told_to_look_and_shown_the_photo_and_what_was_drawn_last(model):
    prompt = model.prompt([("a cat", "Here.", Plan("draw", place="sea"))], "what changed?", True,
                          (("The photo:", picture(1)), ("The picture that you drew last:", picture(2))))
    told = " ".join(read(model, prompt).split())
    for part in (SEEING_RULES, SEEING_EXAMPLES[1][1], 'You: {"act": "draw", "place": "sea"} Here.', "Now the person says: what changed?", "The picture that you drew last:"):
        assert " ".join(part.split()) in told
    assert "never see" not in told and "There is a photo." not in told and len(prompt["pixel_values"])
    assert "There is no photo." in read(model, model.prompt([], "hello", False)) and "pixel_values" not in model.prompt([], "hello", False)
    image = model.processor.image_token
    assert read(model, model.prompt([], f"a cat {image}{image}", True)).count(image) == 0, "nobody can claim a picture"


def test_what_is_seen_is_in_the_words(model):
    words = [spoken(model, model.prompt([], "what is it?", True, (("The photo:", picture(n)),)), 1.0) for n in (1, 2, 1)]
    assert words[0] == words[2] != words[1]


def test_a_large_photo_takes_few_tokens_and_a_long_one_is_not_cut(model):
    small = ChatModel(replace(model.config, picture_side=96), model.llm, model.processor)
    sized = [small._sized(picture(1, *size)).size for size in ((1024, 1024), (1024, 256), (40, 40))]
    cut = model.processor.image_processor.__class__.__name__.startswith("CLIP")
    assert sized == ([(96, 96), (96, 96), (40, 40)] if cut else [(96, 96), (96, 24), (40, 40)])
    marked = picture(1, 300, 100)
    marked.paste((255, 0, 0), (0, 0, 30, 100))
    seen = [small.prompt([], "", True, (("The photo:", one),))["pixel_values"] for one in (picture(1, 300, 100), marked)]
    assert not torch.equal(*seen), "its left end is seen"


def test_the_oldest_turns_go_and_the_pictures_stay(model):
    shown = (("The photo:", picture(1)),)
    fixed = model.prompt([], "", True, shown)["input_ids"].shape[1]
    small = ChatModel(ChatConfig(max_new_tokens=12, context=fixed + 312), model.llm, model.processor)
    prompt = small.prompt([(f"wish {n} " + "more " * 10, "Here.", None) for n in range(20)], "the newest wish", True, shown)
    assert prompt["input_ids"].shape[1] <= fixed + 300 and "pixel_values" in prompt
    assert "wish 19" in read(small, prompt) and "wish 0 " not in read(small, prompt)


@pytest.mark.parametrize("name", ("turns", "layers"))
def test_every_weight_is_there_when_it_is_needed(model, name):
    """Weights that nobody lent are not numbers."""
    prompt = model.prompt([], "what is it?", True, (("The photo:", picture(1)),))
    words = spoken(model, prompt)
    moved = ChatModel(model.config, copy.deepcopy(model.llm), model.processor)
    group = Group([moved.llm], [moved.llm, moved.llm.base_model, moved.llm.get_input_embeddings()])
    OffloadManager(torch.device("cpu"), {"words": group}, tier=tier(name))
    for weight in group.kept:
        if weight.kept.is_floating_point():
            weight.put(torch.full_like(weight.kept, float("nan")))
    assert spoken(moved, prompt) == words != ""


# what it says is checked

class Scripted(torch.nn.Module):
    """A model that says what a script holds, reply after reply, and remembers what it was given."""

    def __init__(self, model: ChatModel, *replies: str) -> None:
        super().__init__()
        self.config, self.generation_config, self.dtype, self.tokenizer = model.llm.config, SimpleNamespace(eos_token_id=None), torch.float32, model.tokenizer
        self.replies, self.given = list(replies), []

    def forward(self, input_ids, pixel_values=None, **_):
        if input_ids.shape[1] > 1:
            self.ids = self.tokenizer.encode(self.replies.pop(0), add_special_tokens=False) + [self.tokenizer.eos_token_id]
            self.given.append((self.tokenizer.decode(input_ids[0]), pixel_values))
        logits = torch.full((1, 1, len(self.tokenizer)), -1e9)
        logits[0, 0, self.ids.pop(0)] = 0.0
        return SimpleNamespace(logits=logits)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tiny_open.write(tmp_path_factory.mktemp("open"))


@pytest.fixture
def engine(model, place):
    """The whole of preset `open` with a language model that sees."""
    image_generator = model_factory.load_drawer(tiny_open.CONFIG, place)
    image_generator.language = ChatModel(replace(model.config, max_new_tokens=300), model.llm, model.processor)
    return Assistant(tiny_open.CONFIG, image_generator, "0" * 12, base=(image_generator.decoder, "base"))


def answer(engine, text, **request):
    return list(engine.respond(Request(text, settings=Settings(seed=4, steps=2), **request), NEVER))[-1]


def test_from_a_photo_to_words_a_plan_and_a_picture(engine, model):
    script = Scripted(model, '{"act": "draw", "subject": "a white mug", "place": "on the moon"}\nI see a white mug. To the moon!')
    engine.image_generator.language.llm = script
    reply = answer(engine, "something creative", photo=photo_of(picture(1)))
    assert reply.text.startswith("I see a white mug. To the moon!") and reply.plan == Plan("draw", "a white mug", "on the moon") and reply.png
    assert reply.metadata["read"] == "a white mug, on the moon"
    ((told, pixels),) = script.given
    assert "something creative" in told and torch.equal(pixels, model.prompt([], "x", True, (("The photo:", picture(1)),))["pixel_values"])


def test_a_question_about_the_photo_is_answered_and_nothing_is_drawn(engine, model):
    engine.image_generator.language.llm = Scripted(model, '{"act": "answer", "about": "photo"}\nIt is a mug, and it is white.')
    reply = answer(engine, "what is it?", photo=photo_of(picture(1)))
    assert reply.png is None and reply.text == "It is a mug, and it is white."


def test_the_picture_that_was_drawn_last_is_seen_and_what_changed_is_told_from_plans(engine, model):
    plans = (Plan("draw", "a white mug", "on the moon"), Plan("draw", "a white mug", "at the sea"))
    history = (Turn("a mug", "Here.", photo_of(picture(1)), True, plans[0]), Turn("at the sea", "Here.", None, True, plans[1], photo_of(picture(2))))
    script = engine.image_generator.language.llm = Scripted(model, '{"act": "answer", "about": "changes"}\nI painted it green.')
    reply = answer(engine, "what did you change?", history=history)
    assert reply.text == "I changed the place from the moon to the sea. The rest stayed as it was." and reply.png is None
    shown = (("The photo:", picture(1)), ("The picture that you drew last:", picture(2)))
    assert torch.equal(script.given[0][1], model.prompt([], "x", True, shown)["pixel_values"])


@pytest.mark.parametrize("first, said", [('{"act": "draw", "place": 7}\nTo the moon!', "place is 7"), ("To the moon!", "There is no JSON object.")])
def test_a_line_that_is_no_plan_is_asked_for_once_more_with_the_photo(engine, model, first, said):
    script = engine.image_generator.language.llm = Scripted(model, first, '{"act": "draw", "subject": "a mug", "place": "on the moon"}')
    reply = answer(engine, "something", photo=photo_of(picture(1)))
    assert reply.text == "To the moon!" and reply.metadata["read"] == "a mug, on the moon"
    assert len(script.given) == 2 and said in script.given[1][0] and torch.equal(script.given[0][1], script.given[1][1])


@pytest.mark.slow
def test_random_weights_go_the_whole_way_through_the_session(engine, store):
    manager = SessionManager(engine, store)
    try:
        conversation = manager.new("ann").id
        *_, first = manager.send(conversation, "a red cat", photo_of(picture(1)).png, Settings(seed=1, steps=2), "ann")
        *_, then = manager.send(conversation, "and at night", None, Settings(seed=1, steps=2), "ann")
        assert first.png and then.png and first.text and then.text
        turns = manager._history(manager.open(conversation, "ann")[1], None)
        assert [t.picture is not None for t in turns] == [False, True] and turns[1].picture.png == then.png
    finally:
        manager.close()


# faults that were there

def test_layers_of_several_kinds_have_a_cache(tmp_path):
    """Qwen3.5's linear layers keep a state and no keys: an IndexError without the configuration."""
    config = Qwen3_5Config(
        text_config=dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
                         layer_types=["linear_attention", "full_attention"], linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2,
                         linear_num_value_heads=2, rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5, mrope_section=[2, 1, 1])),
        vision_config=dict(depth=1, hidden_size=32, intermediate_size=48, num_heads=2, out_hidden_size=32, num_position_embeddings=16))
    torch.manual_seed(0)
    llm, prompt = Qwen3_5ForConditionalGeneration(config).eval(), {"input_ids": torch.tensor([[1, 2, 3, 4]])}
    with pytest.raises(Exception):
        list(sampled(llm, prompt, DynamicCache(), 4, 0.0, chance(), NEVER))
    own = list(sampled(llm, prompt, cache_of(llm, 8, False), 4, 0.0, chance(), NEVER))
    assert own == llm.generate(**prompt, max_new_tokens=4, do_sample=False, eos_token_id=None)[0, 4:].tolist()


@pytest.mark.parametrize("temperature", (0.0, 0.7))
def test_numbers_that_overflow_are_one_sentence(model, temperature):
    class Overflowing(Scripted):
        def forward(self, input_ids, **_):
            return SimpleNamespace(logits=torch.full((1, 1, 9), float("nan"), dtype=torch.float16))

    broken = ChatModel(model.config, Overflowing(model), model.processor)
    with pytest.raises(DeviceError, match="NaN in float16.*--dtype bfloat16, or float32"):
        list(broken.stream(broken.prompt([], "a", True), "a", ChatOutput(), temperature, chance(), NEVER))


def test_a_folder_without_its_processor_is_told_in_a_sentence(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    for name in ("preprocessor_config.json", "processor_config.json"):
        (tmp_path / "copy" / name).unlink(missing_ok=True)
    with pytest.raises(WeightsError, match="processor in 'copy' cannot be read"):
        model_factory.load_chat(ChatConfig(), tmp_path / "copy")
