"""Preset `flux`: its sizes against what was published, and the whole engine at miniature numbers, with random weights, beside diffusers' own pipeline."""

import hashlib
import io
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image

from assistant import loading, model_factory, presets
from assistant.requests import FLOW, Mix, MixReply, MixRequest, Photo, Progress, Request, Settings, Source, TrainingSpec, Words, strip
from assistant.checkpoints import load_base
from assistant.engine import Assistant
from assistant.errors import ConfigError, InputError, WeightsError
from assistant.generation.flow import instruction
from assistant.memory.budget import GIB, TIERS, Budget, tier
from assistant.memory.offloading import OffloadManager
from assistant.model_factory import build, count
from assistant.plan import Plan
from assistant.presets import FLUX
from assistant.session.uploads import ImageRoles, numbered
from assistant.session.manager import SessionManager
from assistant.session.store import Store
from tests import tiny_flux as tiny
from ui import presenters
from ui.generation_panel import settings as read_settings
from ui.page import PANELS, build as build_page

QUICK = Settings(seed=4, steps=3, scheduler=FLOW, preview_every=1, temperature=0.7)


def photo(seed: int, width: int = 80, height: int = 64) -> Photo:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(out, "PNG")
    return Photo(out.getvalue(), width, height, hashlib.sha256(out.getvalue()).hexdigest())


def opened(one: Photo | bytes) -> Image.Image:
    return Image.open(io.BytesIO(one if isinstance(one, bytes) else one.png)).convert("RGB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("flux"))


@pytest.fixture(scope="module")
def engine(folder) -> Assistant:
    return Assistant(tiny.CONFIG, model_factory.load_flow(tiny.CONFIG, folder), "0" * 12, base=(load_base(tiny.CONFIG, folder), "base"))


def respond(engine, text: str = "a red cat in the snow", cancel=None, **request):
    request.setdefault("settings", QUICK)
    return list(engine.respond(Request(text, **request), cancel or threading.Event()))


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """But for the rounding of sums, whose order follows from where numbers lie in memory."""
    return bool(np.abs(a.astype(int) - b.astype(int)).max() <= 2)


def mixed(engine, *mixes: Mix, **changes) -> MixReply:
    return list(engine.mix(MixRequest(mixes, replace(QUICK, **changes)), threading.Event()))[-1]


class Counted:
    """How often a module is called."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.calls, self.handle = [], module.register_forward_hook(lambda _m, _a, out: self.calls.append(out[0]))

    def __enter__(self) -> list:
        return self.calls

    def __exit__(self, *_) -> None:
        self.handle.remove()


# the engine

@pytest.mark.slow
@pytest.mark.parametrize("references", [0, 1, 3])
def test_the_latents_are_those_of_diffusers_pipeline_from_the_same_files(engine, folder, references) -> None:
    stock = Flux2KleinPipeline.from_pretrained(folder / "flux", local_files_only=True)
    stock.set_progress_bar_config(disable=True)
    photos = [photo(n, 80 + 16 * n) for n in range(references)]
    seen = [engine.features.see(p) for p in photos]
    own, others = seen[:1], [(s, "mostly") for s in seen[1:]]
    wish = replace(engine.image_generator.wished("a cat at night"), followed=(tuple(others),))
    done = engine.image_generator.prepare(own, wish, QUICK, [7]).draw(4, FLOW)
    prompt = instruction(len(own), "a cat at night", ["mostly"] * len(others))
    theirs = stock(prompt=prompt, image=[opened(p) for p in photos] or None, num_inference_steps=4, guidance_scale=1.0, height=tiny.SIDE, width=tiny.SIDE,
                   generator=torch.Generator().manual_seed(7), output_type="latent").images
    assert theirs.shape == (1, 4, 32, 32) and (done.latents - theirs).abs().max() < 1e-4 and not done.stopped and done.steps_done == 4
    picture = stock.image_processor.postprocess(stock.vae.decode(theirs, return_dict=False)[0].detach(), output_type="np")
    assert np.abs(engine.decoder.decode(done.latents)[0] / 255 - picture[0]).max() < 0.01


@pytest.mark.slow
def test_a_photo_and_words_get_words_previews_and_a_picture(engine) -> None:
    events = respond(engine, photo=photo(1))
    reply = events[-1]
    assert "".join(e.delta for e in events if isinstance(e, Words)) == reply.text != ""
    shown = [e for e in events if isinstance(e, Progress)]
    assert [e.step for e in shown] == [1, 2, 3] and all(opened(e.preview).size == (64, 64) for e in shown[:2]) and shown[2].preview is None
    assert opened(reply.png).size == (64, 64) and np.asarray(opened(reply.png)).std() > 1 and set(reply.likeness) == {"subject"}
    told = json.loads(Image.open(io.BytesIO(reply.png)).text["assistant"])
    assert told["method"] == "FLUX.2 klein, tiny" and told["scheduler"] == "flow" and told["read"] == "a red cat in the snow" and told["reference"] == photo(1).sha256


@pytest.mark.slow
def test_same_seed_same_reply_and_its_metadata_draws_it_again(engine) -> None:
    first, second = (respond(engine, photo=photo(1))[-1] for _ in range(2))
    assert first.text == second.text and first.png == second.png
    again = respond(engine, "", photo=photo(1), redraw=first.metadata)[-1]
    assert again.text == first.text and np.array_equal(opened(again.png), opened(first.png))
    assert not np.array_equal(opened(respond(engine, photo=photo(2))[-1].png), opened(first.png)), "another subject is seen"
    assert not np.array_equal(opened(respond(engine, "a blue car", photo=photo(1))[-1].png), opened(first.png))
    drawn = respond(engine, "surprise me", plan=Plan("draw", "red cat", "snow"))[-1]
    assert drawn.metadata["read"] and not np.array_equal(opened(drawn.png), opened(first.png)), "it draws without a photo too"
    assert respond(engine, photo=photo(1), settings=replace(QUICK, scheduler="unipc"))[-1].settings.scheduler == FLOW, "it has one sampler"


def test_the_text_encoder_is_the_chat_model_once_in_memory(engine, folder) -> None:
    assert engine.decoder.text_encoder is engine.language.llm
    config = replace(tiny.CONFIG, language=replace(tiny.CONFIG.language, folder=str(folder / "flux/text_encoder")))
    with pytest.raises(WeightsError, match="no chat template"):  # another folder is another model, with its own tokenizer
        model_factory.load_flow(config, folder)


@pytest.mark.slow
def test_a_stop_ends_within_a_step_with_what_there_is(engine) -> None:
    class AfterOne(threading.Event):
        def is_set(self) -> bool:
            return len(calls) > 0

    with Counted(engine.decoder.transformer) as calls:
        events = respond(engine, photo=photo(1), cancel=AfterOne())
    reply = events[-1]
    assert len(calls) == 1 and reply.stopped and reply.metadata["steps_done"] == 1
    noise = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(4))
    clean = noise.flatten(2).transpose(1, 2) - calls[0][:, :256]  # from pure noise, along the velocity, to the end
    assert alike(np.asarray(opened(reply.png)), engine.decoder.decode(engine.decoder._unpacked(clean))[0])
    with Counted(engine.decoder.transformer) as calls:
        calls.append(None)
        done = engine.decoder.sample("a cat", (), 1, 3, cancel=AfterOne())
    assert calls == [None] and done.stopped and done.steps_done == 0 and done.latents.shape == (1, 4, 32, 32)


# several pictures

def test_a_board_shows_its_references_in_order_and_says_how_much_each_counts(engine) -> None:
    x, a, b = photo(1), photo(2, 64), photo(3, 96)
    asked = engine.image_generator.mix(None, [engine.features.see(a), "at night", engine.features.see(b)], [[0.0, 0.5, 0.2, 0.3], [0.1, 0.9, 0.0, 0.0]])
    assert asked.words == ("slightly at night", "") and [[how for _, how in one] for one in asked.followed] == [["partly", "partly"], ["entirely"]]
    prepared = engine.image_generator.prepare([engine.features.see(x)], asked, QUICK, [1, 1])
    assert [[p.size for p in pictures] for _, pictures in prepared.asked] == [[(80, 64), (64, 64), (96, 64)], [(80, 64), (64, 64)]]
    assert "partly from image 2" in prepared.asked[0][0] and "partly from image 3" in prepared.asked[0][0] and "Show: slightly at night." in prepared.asked[0][0]
    said = engine.image_generator.mix(None, [engine.features.see(a)], [[0.5, 0.5]], "image 1 in the style of image 2")
    (prompt, pictures), = engine.image_generator.prepare([engine.features.see(x)], said, QUICK, [1]).asked
    assert "Show: image 1 in the style of image 2." in prompt and "Take" not in prompt and len(pictures) == 2
    one, other = (mixed(engine, Mix((x,), sources, 1.0)) for sources in ((Source(a), Source(b)), (Source(b), Source(a))))
    assert not np.array_equal(opened(one.pictures[0].png), opened(other.pictures[0].png)), "their order is heard"
    assert len(one.pictures[0].sources) == 2 and all(0 <= v <= 1 for v in (*one.pictures[0].sources, one.pictures[0].subject))


def test_alpha_0_is_the_subject_alone_and_what_is_said_twice_is_drawn_once(engine) -> None:
    mix = Mix((photo(1),), (Source(photo(2)),))
    with Counted(engine.decoder.transformer) as calls:
        reply = mixed(engine, *strip(mix))
    alone = engine.image_generator.prepare([engine.features.see(photo(1))], engine.image_generator.wished(""), QUICK, [4]).draw(3, FLOW)
    assert np.array_equal(opened(reply.pictures[0].png), engine.decoder.decode(alone.latents)[0])
    assert len(reply.pictures) == 7 and len(calls) == 5 * 3, "none, slightly, partly, mostly, entirely"
    assert len({opened(p.png).tobytes() for p in reply.pictures}) == 5


@pytest.mark.slow
def test_what_the_model_cannot_do_is_said_with_the_number_and_the_limit(engine) -> None:
    with pytest.raises(InputError, match="Reference 1 counts -0.5.*weight of 0 or more"):
        mixed(engine, Mix((photo(1),), (Source(photo(2), weight=-0.5),), 1.0))
    four = tuple(Source(photo(n)) for n in range(2, 6))
    with pytest.raises(InputError, match="5 pictures count here, 1 of the subject and 4 references; this model takes 4"):
        mixed(engine, Mix((photo(1),), four, 1.0))
    assert mixed(engine, Mix((photo(1),), (*four[:3], replace(four[3], on=False)), 1.0)).pictures[0].png
    with pytest.raises(InputError, match="640 x 64 pixels.*up to 8 times.*Crop"):
        respond(engine, photo=photo(1, 640))
    assert respond(engine, photo=photo(1, 16, 8))[-1].png, "a small picture is enlarged"
    liked = respond(engine, photo=photo(1), like=photo(2))[-1]
    with pytest.raises(InputError, match="cannot be drawn again"):
        respond(engine, "", photo=photo(1), redraw=liked.metadata)


def test_two_pictures_and_words_in_one_message_are_drawn_as_they_were_said_and_drawn_again(engine, tmp_path) -> None:
    store = Store(tmp_path)
    manager = SessionManager(engine, store, 2)
    try:
        conversation = manager.new("me")
        *_, reply = manager.send(conversation.id, "put the hat of the first picture on the second", photo(1), QUICK, "me", others=(photo(2, 64),))
        assert reply.metadata["read"] == "put the hat of image 1 on image 2" and reply.metadata["following"] == [""] and reply.metadata["reference"] == photo(1).sha256
        (turn,) = store.turns(conversation.id, "me")
        *_, again = manager.redraw(turn.id, "me", replace(QUICK, seed=reply.seed))
        assert np.array_equal(opened(again.png), opened(reply.png)) and again.metadata["read"] == reply.metadata["read"]
    finally:
        manager.close()
        store.close()


def test_pictures_that_are_mentioned_by_their_place_get_their_number() -> None:
    assert numbered("the dog in picture 2 in the style of the first one", ImageRoles(1, (0,))) == "the dog in image 1 in the style of image 2"
    assert numbered("this one in the style of that one", ImageRoles(0, (1,))) == "image 1 in the style of image 2"
    assert numbered("make it festive", ImageRoles(0, (1, 2))) == "make it festive"


def test_words_on_a_board_become_a_reference_of_the_same_model(engine) -> None:
    with Counted(engine.decoder.transformer) as calls:
        png = engine.imagine("a harbour at night", QUICK, threading.Event())
    assert opened(png).size == (64, 64) and len(calls) == 3


# concepts, beside it

def test_concepts_are_learned_and_drawn_on_the_base_model_with_its_own_steps_and_sampler(engine, tmp_path) -> None:
    library = engine.trainer.open(tmp_path)
    course = engine.trainer.begin(TrainingSpec("tom", "cat", (photo(1), photo(2))))
    while course.step < course.steps:
        course.advance()
    course.keep(library, b"")
    with Counted(engine.decoder.transformer) as calls:
        reply = respond(engine, "a <tom> in snow", library=library)[-1]
    assert not calls and opened(reply.png).size == (32, 32)
    assert (reply.settings.scheduler, reply.settings.steps) == (tiny.CONFIG.decoder.sampler, tiny.CONFIG.decoder.steps)
    asked = replace(QUICK, scheduler="ddim", steps=2)
    assert respond(engine, "a <tom> in snow", library=library, settings=asked)[-1].settings.steps == 2, "what was asked for in numbers stays"


def test_the_page_says_which_model_draws_where_and_shows_no_control_that_does_nothing(engine, tmp_path) -> None:
    info = engine.info()
    assert (info.size, info.steps, info.sampler, info.samplers, [p.steps for p in info.paces]) == (64, 3, FLOW, (FLOW,), [2, 3, 8])
    page = presenters.header(info)
    assert all(f"{part}: FLUX.2 klein, tiny." in page for part in ("Chat", "Mix")) and all(f"{part}: Stable Diffusion, tiny." in page for part in ("Concepts", "Likeness"))
    assert set(info.models) == {"Chat", *(panel.title for panel in PANELS)} - {"Drawing"}
    assert read_settings("", 2, 2, 3, FLOW).scheduler == FLOW
    store = Store(tmp_path)
    manager = SessionManager(engine, store, 2)
    try:
        import gradio as gr

        from ui.auth import Owners
        from ui.generation_panel import GenerationPanel
        from ui.panel import PanelContext

        shown = str(build_page(manager, Owners(()), tmp_path, tmp_path).config)
        assert "Draws with FLUX.2 klein, tiny." in shown and shown.count("Draws with Stable Diffusion, tiny.") >= 2
        with gr.Blocks():
            panel = GenerationPanel(PanelContext(manager, Owners(()), tmp_path, tmp_path))
        keep, follow, sampler = panel.inputs[1], panel.inputs[2], panel.inputs[4]
        assert (keep.visible, follow.visible) == (False, False) and [value for _, value in sampler.choices] == [FLOW]
    finally:
        manager.close()
        store.close()


# files and sizes

@pytest.mark.slow
def test_the_command_line_loads_it_and_a_model_of_other_numbers_is_refused(folder, monkeypatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "flux", tiny.CONFIG)
    whole = loading.load("flux", "cpu", folder=folder)
    assert respond(whole, photo=photo(1))[-1].metadata["preset"] == "flux"
    other = replace(tiny.CONFIG, flow=replace(tiny.CONFIG.flow, transformer=dict(tiny.TRANSFORMER, num_single_layers=3)))
    with pytest.raises(WeightsError, match="num_single_layers 2, but the preset was made for 3"):
        model_factory.load_flow(other, folder)
    with pytest.raises(ConfigError, match="text states of 96"):
        replace(tiny.CONFIG.flow, text=dict(tiny.TEXT, hidden_size=40))


def test_parts_have_the_published_numbers() -> None:
    made = {name: count(module) for name, module in build(FLUX, only=("transformer", "flow_vae", "qwen", "dino")).items()}
    assert made == {"transformer": 3_875_544_576, "flow_vae": 84_046_115, "qwen": 4_022_468_096, "dino": 22_056_576}
    assert 2 * made["transformer"] == pytest.approx(7.75e9, rel=0.01) and 2 * made["qwen"] == pytest.approx(4.97e9 + 3.08e9, rel=0.01)  # of the files, in bytes
    assert sum(2 * made[part] for part in ("transformer", "flow_vae", "qwen")) / GIB == pytest.approx(FLUX.sources["flux"].gib, abs=0.1)


def test_it_is_planned_for_cards_from_24_gb_down() -> None:
    needs = {one.name: Budget(FLUX, 2).need(one).device / GIB for one in TIERS}
    assert 19 < needs["whole"] < 26 and needs["turns"] < 16 and needs["layers"] < 8 and needs["4bit"] < needs["whole"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["turns", "layers"])
def test_on_a_small_card_weights_come_and_go_and_the_picture_is_the_same(engine, folder, name) -> None:
    whole = respond(engine, photo=photo(1))[-1]
    generator, base = loading.hands(tiny.CONFIG, folder, "auto", torch.float32, torch.device("cpu"))
    assert set(groups := loading.groups_of(generator, base)) == {"base", "cafe", "words", "eyes"}
    OffloadManager(torch.device("cpu"), groups, (), tier(name))
    again = respond(Assistant(tiny.CONFIG, generator, "0" * 12, base=(base, "base")), photo=photo(1))[-1]
    assert again.text == whole.text and alike(np.asarray(opened(again.png)), np.asarray(opened(whole.png)))
    assert len(groups["words"].kept) > 0 and generator.decoder.text_encoder is generator.language.llm


@pytest.mark.slow
def test_it_is_measured_on_dreambench_under_its_own_name(engine) -> None:
    from assistant.evaluation.dreambench import DreamBench

    bench = DreamBench(engine, None, "none", Path("unused"))
    assert bench.methods[0] == "FLUX.2 klein, tiny" and "Infusion" in bench.methods
    answered = bench._answer(type("One", (), {"noun": "cat", "photos": (photo(1),)}), "a {} in the snow", 0)
    assert answered.shape == (64, 64, 3)


def test_prompts_name_pictures_by_their_order() -> None:
    assert instruction(0, "a cat", ()) == "a cat" and instruction(0, "", ()) == "A picture."
    two = instruction(2, "at night", ("slightly",))
    assert two.startswith("Images 1 to 2 show the subject") and "Show: at night." in two and two.endswith("slightly from image 3, but not its subject.")
