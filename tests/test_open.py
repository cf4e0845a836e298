"""Preset `open`: every width on the meta device against what was published, and the whole engine at miniature numbers with random weights."""

import hashlib
import io
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import AutoModelForImageTextToText, CLIPImageProcessor, LlavaConfig, Qwen3VLConfig

from assistant import benchmark, loading, model_factory, presets
from assistant.model_factory import build, count
from assistant.requests import Mix, MixReply, MixRequest, Photo, Progress, Reply, Request, Settings, Sketch, Source, TrainingSpec, Turn, Words
from assistant.diffusion.guidance import EMPTY, TEXT, text_guidance
from assistant.controls.ip_adapter import IpAdapter
from assistant.diffusion.attention import AttentionContext, cross_layers
from assistant.diffusion.latent_diffusion import LatentDiffusion
from assistant.generation.text_to_image import TextToImageGenerator
from assistant.errors import ConfigError, InputError, WeightsError
from assistant.models.vision_encoders import ClipVision
from assistant.engine import Assistant
from assistant.machine import Table
from assistant.presets import CHAT_MODELS, OPEN, SD15, with_llm
from assistant.session.uploads import read_photo
from assistant.session.manager import SessionManager
from tests import tiny_open as tiny, tiny_vlm
from ui import presenters

QUICK = Settings(seed=4, steps=3, preview_every=2, temperature=0.7)


def photo(seed: int, side: int = 40) -> Photo:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(out, "PNG")
    return Photo(out.getvalue(), side, side, hashlib.sha256(out.getvalue()).hexdigest())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module")
def engine(folder):
    image_generator = model_factory.load_drawer(tiny.CONFIG, folder)
    return Assistant(tiny.CONFIG, image_generator, "0" * 12, base=(image_generator.decoder, "base"))


def respond(engine, text: str = "a red cat in the snow", **request):
    request.setdefault("settings", QUICK)
    return list(engine.respond(Request(text, **request), threading.Event()))


def drawn(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


# the engine

def test_the_latents_are_those_of_diffusers_pipeline_from_the_same_files(engine, folder) -> None:
    """Subject, F(w), prompt, praise, negative prompt and both strengths, as this preset puts them together."""
    pipe = StableDiffusionPipeline(**tiny.modules(), safety_checker=None, requires_safety_checker=False,
                                   feature_extractor=CLIPImageProcessor(size=tiny.SIDE, crop_size=tiny.SIDE))
    pipe.set_progress_bar_config(disable=True)
    pipe.load_ip_adapter(str(folder), subfolder=["adapters"] * 2, weight_name=["plus.safetensors", "plain.safetensors"], image_encoder_folder=None)
    pipe.set_ip_adapter_scale([0.4 * 1.5, 0.6])
    x, w = photo(1, tiny.SIDE), photo(2, tiny.SIDE)
    theirs = pipe("a red cat, fine", negative_prompt="blur", num_inference_steps=4, guidance_scale=2.0 * 3.0, height=32, width=32,
                  output_type="latent", generator=torch.Generator().manual_seed(7),
                  ip_adapter_image=[Image.open(io.BytesIO(p.png)) for p in (x, w)]).images
    image_generator, settings = engine.image_generator, Settings(keep_subject=1.5, follow_words=3.0)
    prepared = image_generator.prepare([engine.features.see(x)], image_generator.like(engine.features.see(w), "a red cat"), settings, [7])
    assert (prepared.draw(4, "ddim").latents - theirs).abs().max() < 1e-4


def test_a_photo_and_words_get_words_previews_and_a_picture(engine) -> None:
    events = respond(engine, photo=photo(1))
    reply = events[-1]
    assert "".join(e.delta for e in events if isinstance(e, Words)) == reply.text != ""
    assert [type(e) for e in events if not isinstance(e, Words)] == [Progress] * 3 + [Reply] and events[-3].preview
    assert drawn(reply.png).shape == (32, 32, 3) and drawn(reply.png).std() > 1 and set(reply.likeness) == {"subject"}
    told = json.loads(Image.open(io.BytesIO(reply.png)).text["assistant"])
    assert told["method"] == "IP-Adapter" and told["seed"] == 4 and told["read"] == "a red cat in the snow" and told["reference"] == photo(1).sha256


def test_same_seed_same_reply_and_its_metadata_draws_it_again(engine, folder) -> None:
    first = respond(engine, photo=photo(1))[-1]
    other = model_factory.load_drawer(tiny.CONFIG, folder)
    second = respond(Assistant(tiny.CONFIG, other, "0" * 12), photo=photo(1))[-1]
    assert first.text == second.text and first.png == second.png
    told = json.loads(Image.open(io.BytesIO(first.png)).text["assistant"])
    again = respond(engine, "", photo=photo(1), redraw=told)[-1]
    assert again.text == first.text and np.array_equal(drawn(again.png), drawn(first.png))
    assert not np.array_equal(drawn(respond(engine, "", photo=photo(1), redraw=told, settings=replace(QUICK, seed=5))[-1].png), drawn(first.png))


def test_the_subject_the_words_and_both_strengths_are_heard(engine) -> None:
    seen = drawn(respond(engine, photo=photo(1))[-1].png)
    for other in (respond(engine, photo=photo(2)), respond(engine, "a blue car", photo=photo(1)),
                  respond(engine, photo=photo(1), settings=replace(QUICK, keep_subject=0.5)),
                  respond(engine, photo=photo(1), settings=replace(QUICK, follow_words=0.5))):
        assert not np.array_equal(drawn(other[-1].png), seen)
    without = [drawn(respond(engine, photo=photo(n), settings=replace(QUICK, keep_subject=0.0))[-1].png) for n in (1, 2)]
    assert np.array_equal(*without), "a subject that is not kept is not seen"


def test_a_follow_up_is_about_the_same_photo(engine) -> None:
    history = (Turn("a red cat", "Here it is.", photo(1), True),)
    reply = respond(engine, "now at night", history=history)[-1]
    assert reply.png and reply.metadata["reference"] == photo(1).sha256
    assert reply.text != respond(engine, "now at night", photo=photo(1))[-1].text, "what was said before is read"


def test_without_a_photo_and_without_a_prompt_it_only_speaks(engine) -> None:
    assert respond(engine)[-1].png is None


def test_another_picture_takes_the_words_place(engine) -> None:
    one, two = (respond(engine, "", photo=photo(1), like=photo(n))[-1] for n in (2, 3))
    assert one.text == "" and one.metadata["like"] == photo(2).sha256 and set(one.likeness) == {"subject", "words"}
    assert not np.array_equal(drawn(one.png), drawn(two.png))


def test_stopping_is_heard_while_speaking_and_while_drawing(engine) -> None:
    stop = threading.Event()
    stop.set()
    assert list(engine.respond(Request("a cat", photo(1), settings=QUICK), stop))[-1].stopped
    stop = threading.Event()
    for event in engine.respond(Request("a cat", photo(1), settings=replace(QUICK, steps=50)), stop):
        if isinstance(event, Progress):
            stop.set()
    assert event.stopped and event.png and event.metadata["steps_done"] < 10


def board(engine, *mixes: Mix, settings: Settings = QUICK) -> tuple[list, MixReply]:
    *events, reply = engine.mix(MixRequest(mixes, settings), threading.Event())
    return events, reply


def test_a_board_mixes_pictures_by_the_global_adapter(engine) -> None:
    mix = Mix((photo(1),), (Source(photo(2)), Source(photo(3))), 0.5)
    cells = (replace(mix, alpha=0.0), mix, replace(mix, alpha=1.0))
    events, together = board(engine, *cells)
    assert [type(e) for e in events] == [Progress] * 3 and all(0 <= v <= 1 for v in together.pictures[1].sources)
    for cell, one in zip(cells, together.pictures):
        alone = board(engine, cell)[1].pictures[0]
        assert np.abs(drawn(alone.png).astype(int) - drawn(one.png)).max() <= 2
    assert not np.array_equal(drawn(together.pictures[0].png), drawn(together.pictures[2].png))
    liked = respond(engine, "", photo=photo(1), like=photo(2))[-1]
    assert np.abs(drawn(board(engine, Mix((photo(1),), (Source(photo(2)),), 1.0))[1].pictures[0].png).astype(int) - drawn(liked.png)).max() <= 2


def test_a_board_takes_sentences_as_prompts_that_count(engine) -> None:
    mix = Mix((photo(1),), (Source(words="a blue car"), Source(photo(2), weight=0.5)), 1.0)
    full = board(engine, replace(mix, sources=mix.sources[:1]))[1].pictures[0]
    half, none = (board(engine, replace(mix, alpha=alpha))[1].pictures[0] for alpha in (0.5, 0.0))
    assert half.sources[0] is None and 0 <= half.sources[1] <= 1
    said = respond(engine, "", photo=photo(1), redraw={"reply": "", "prompts": [["a blue car", 1.0]]})[-1]
    assert np.array_equal(drawn(full.png), drawn(said.png)), "alone and in full, a sentence is the prompt"
    assert len({drawn(one.png).tobytes() for one in (full, half, none)}) == 3
    again = respond(engine, "", photo=photo(1), redraw=json.loads(Image.open(io.BytesIO(half.png)).text["assistant"]))[-1]
    assert np.abs(drawn(again.png).astype(int) - drawn(half.png)).max() <= 2


def test_several_photos_of_the_subject_and_one_given_twice(engine) -> None:
    one, twice, two = (board(engine, Mix(tuple(photo(n) for n in numbers)))[1].pictures[0] for numbers in ((1,), (1, 1), (1, 2)))
    assert np.abs(drawn(one.png).astype(int) - drawn(twice.png)).max() <= 2 and not np.array_equal(drawn(one.png), drawn(two.png))


def test_a_long_board_is_sketched_first(engine) -> None:
    assert isinstance(board(engine, Mix((photo(1),)), settings=replace(QUICK, steps=9))[0][0], Sketch)


def test_a_base_model_alone_draws_what_it_is_told_and_leaves_pictures_aside(engine) -> None:
    config = replace(tiny.CONFIG, name="base", vision=None, language=None, adapters=None)
    alone = Assistant(config, TextToImageGenerator(engine.decoder, 2.0), "0" * 12, base=(engine.decoder, "base"))
    with_photo, without = (respond(alone, photo=p)[-1] for p in (photo(1), None))
    assert np.array_equal(drawn(with_photo.png), drawn(without.png)) and "a red cat in the snow" in without.text and with_photo.likeness == {}
    with pytest.raises(InputError, match="does not look at pictures"):
        board(alone, Mix((photo(1),)))


@pytest.mark.slow
def test_the_session_and_the_page_get_along_with_it(engine, store) -> None:
    """One conversation and one board through the session, as the page asks for them."""
    manager, one = SessionManager(engine, store), "ann"
    try:
        conversation = manager.new(one).id
        *_, first = manager.send(conversation, "a red cat", photo(1).png, QUICK, one)
        *_, then = manager.send(conversation, "now at night", None, QUICK, one)
        *_, again = manager.redraw(manager.open(conversation, one)[1][0].id, one, QUICK)
        *_, mixed = manager.send(conversation, "this one in the style of that one", photo(1).png, QUICK, one, [photo(2).png])
        assert first.png and then.png and mixed.png and np.array_equal(drawn(again.png), drawn(first.png))
        board_ = manager.board_jobs.boards.create(one)
        manager.board_jobs.boards.add_subject(board_.id, one, read_photo(photo(1).png))
        manager.board_jobs.boards.add_reference(board_.id, one, words="a blue car")
        manager.board_jobs.boards.add_reference(board_.id, one, read_photo(photo(2).png))
        for kind in ("", "grid"):
            *_, last = manager.board_jobs.watch(manager.board_jobs.draw(board_.id, one, QUICK, kind))
            assert last.error is None
        kept = manager.board_jobs.boards.get(board_.id, one)
        assert kept.result.sources[0] is None and 0 <= kept.result.sources[1] <= 1 and len(kept.cells) == 25
        assert "Reference 2" in presenters.nearness(kept, kept.result) and "Reference 1" not in presenters.nearness(kept, kept.result)
    finally:
        manager.close()


# loading

@pytest.mark.parametrize("harm, says", [
    (lambda f: (f / "adapters/plus.safetensors").rename(f / "adapters/plus.bin"), "plus.bin beside it is pickled, and never opened"),
    (lambda f: (f / "adapters/plain.safetensors").write_bytes(b"\x80\x04 not safetensors"), "plain.safetensors cannot be read"),
    (lambda f: shutil.copy(f / "adapters/plain.safetensors", f / "adapters/plus.safetensors"), r"plus.safetensors lacks image_proj\.latents"),
    (lambda f: shutil.rmtree(f / "llm"), "There is no language model at"),
    (lambda f: (f / "llm/chat_template.jinja").unlink(), "no chat template"),
    (lambda f: shutil.copytree(f / "base/text_encoder", f / "image_encoder", dirs_exist_ok=True), "image_encoder|CLIPVision"),
], ids=["pickled", "damaged", "another kind", "no language model", "no template", "another encoder"])
def test_what_is_not_as_published_is_told_in_a_sentence(folder, tmp_path, harm, says) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    harm(copy)
    with pytest.raises(WeightsError, match=says):
        model_factory.load_drawer(tiny.CONFIG, copy)


@pytest.mark.slow
def test_the_preset_is_loaded_by_its_name_from_a_folder_and_another_llm_may_be_named(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "open", tiny.CONFIG)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    engine = loading.load("open", "cpu", folder=copy)
    reply = respond(engine, photo=photo(1))[-1]
    assert engine.info().notice == "Tiny. The words come from a language model that does not see your picture."
    assert engine.trainer.base is engine.decoder and len(engine.weights) == 12 and reply.metadata["weights"] == engine.weights
    for part in tiny.speaker(seed=1):
        part.save_pretrained(tmp_path / "other")
    other = respond(loading.load("open", "cpu", folder=copy, llm=str(tmp_path / "other")), photo=photo(1))[-1]
    assert other.text != reply.text and np.array_equal(drawn(other.png), drawn(reply.png)), "neither keeps to the form: the words are the prompt"
    seeing = loading.load("open", "cpu", folder=copy, llm=str(tiny_vlm.qwen(tmp_path / "seeing")))
    assert seeing.language.sees and seeing.info().notice == "Tiny." and respond(seeing, photo=photo(1))[-1].png
    shutil.rmtree(copy / "llm")
    with pytest.raises(WeightsError, match=r"lacks llm in .* Run: python -m assistant download open --to"):
        loading.load("open", "cpu", folder=copy)
    with pytest.raises(WeightsError, match=r"Run: python -m assistant download open --llm some-org/Chat --to"):
        loading.load("open", "cpu", folder=copy, llm="some-org/Chat")


def test_a_concept_is_learned_and_drawn_on_the_same_base(engine, tmp_path) -> None:
    library = engine.trainer.open(tmp_path)
    course = engine.trainer.begin(TrainingSpec("tom", "cat", (photo(1), photo(2)), options={"steps": 2}))
    while course.step < course.steps:
        course.advance()
    course.keep(library, b"")
    reply = respond(engine, "<tom> in the snow", library=library)[-1]
    assert reply.png and reply.metadata["method"] == "Infusion"
    # a request's strength is worth the preset's unit of guidance: 2 x 2 here is 1 x 4 elsewhere
    about = replace(tiny.CONFIG, decoder=replace(tiny.CONFIG.decoder, guidance_unit=1.0))
    other = Assistant(about, engine.image_generator, "0" * 12, base=(engine.decoder, "base"))
    for follow, same in ((4.0, True), (2.0, False)):
        again = respond(other, "<tom> in the snow", library=library, settings=replace(QUICK, follow_words=follow))[-1]
        assert np.array_equal(drawn(again.png), drawn(reply.png)) == same


def test_half_precision_is_close(folder, engine) -> None:
    image_generator = model_factory.load_drawer(tiny.CONFIG, folder, dtype=torch.bfloat16)
    assert {p.dtype for p in image_generator.decoder.adapters.parameters()} == {torch.bfloat16} and image_generator.vision.encoder.dtype == torch.bfloat16
    half = Assistant(tiny.CONFIG, image_generator, "0" * 12)
    wish = {"reply": "", "prompts": [["a blue car", 1.0]]}
    one, two = (drawn(respond(e, "", photo=photo(1), redraw=wish)[-1].png).astype(int) for e in (engine, half))
    assert 0 < np.abs(one - two).mean() < 6
    assert respond(half, photo=photo(1))[-1].png


def test_any_chat_model_can_be_named(tmp_path) -> None:
    named = with_llm(OPEN, "some-org/A.Chat-Model")
    assert named.sources["llm-some-org--A.Chat-Model"].hubs == ("some-org/A.Chat-Model",) and "llm" not in named.sources
    assert named.language.folder == "llm-some-org--A.Chat-Model"
    local = with_llm(OPEN, str(tmp_path))
    assert Path(local.language.folder) == tmp_path and "llm" not in local.sources
    for config, name, says in ((OPEN, "no such thing", "neither a folder nor a hub id"), (SD15, "some/model", "takes no other")):
        with pytest.raises(ConfigError, match=says):
            with_llm(config, name)


# full size, on the meta device

WIDTHS = [320] * 2 + [640] * 2 + [1280] * 2 + [1280] * 3 + [640] * 3 + [320] * 3 + [1280]  # published adapters count down, up, mid


def test_the_bench_asks_about_the_miniatures_drawings_where_a_preset_has_none(engine) -> None:
    table = Table()
    assert not engine.subjects
    benchmark.replies(table, engine, 2, 1)
    assert [line[0] for line in table.lines][:2] == ["time to first word", "words"]


@pytest.fixture(scope="module")
def full():
    return build(OPEN)


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_parameters_are_as_many_as_published(full) -> None:
    assert {name: count(full[name]) for name in ("unet", "vae", "text", "image_encoder")} == {
        "unet": 859_520_964, "vae": 83_653_863, "text": 123_060_480, "image_encoder": 632_076_800}
    # h94's files hold half-precision tensors and a header of a few kilobytes: 98,183,288 and 44,642,768 bytes
    assert {name: count(adapter) for name, adapter in full["adapters"].items()} == {"subject": 49_087_488, "semantics": 22_319_616}
    assert 0 < 98_183_288 - 2 * 49_087_488 < 10_000 and 0 < 44_642_768 - 2 * 22_319_616 < 10_000


@pytest.mark.parametrize("config, numbers", [
    (Qwen3VLConfig(  # Qwen/Qwen3-VL-2B-Instruct
        text_config=dict(vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8,
                         head_dim=128, max_position_embeddings=262144, tie_word_embeddings=True,
                         rope_parameters=dict(rope_type="default", rope_theta=5e6, mrope_section=[24, 20, 20], mrope_interleaved=True)),
        vision_config=dict(depth=24, hidden_size=1024, intermediate_size=4096, num_heads=16, patch_size=16, out_hidden_size=2048,
                           num_position_embeddings=2304, deepstack_visual_indexes=[5, 11, 17]), tie_word_embeddings=True), 2_127_532_032),
    (LlavaConfig(text_config=dict(model_type="llama", vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32,
                                  num_attention_heads=32)), 7_063_427_072)], ids=("qwen3-vl", "llava"))
def test_chat_models_that_see_are_as_large_as_published(config, numbers) -> None:
    with torch.device("meta"):
        llm = AutoModelForImageTextToText.from_config(config)
    assert count(llm) == numbers
    (source,) = (s for name, s in CHAT_MODELS.items() if ("VL" in name) == (config.model_type == "qwen3_vl") and "2.5" not in name)
    assert source.gib == pytest.approx(2 * numbers / 2**30, abs=0.1)


def test_the_adapters_published_names_and_shapes(full) -> None:
    layers = cross_layers(full["unet"])
    assert [attn.inner_dim for attn in layers.values()] == WIDTHS and {attn.heads for attn in layers.values()} == {8}
    assert all(attn.to_k.in_features == 768 for attn in layers.values())
    shapes = {f"ip_adapter.{2 * n + 1}.to_{part}_ip.weight": meta(width, 768) for n, width in enumerate(WIDTHS) for part in "kv"}
    plain = shapes | {"image_proj.proj.weight": meta(3072, 1024), "image_proj.proj.bias": meta(3072), "image_proj.norm.weight": meta(768),
                      "image_proj.norm.bias": meta(768)}
    plus = shapes | {"image_proj.latents": meta(1, 16, 768), "image_proj.proj_in.weight": meta(768, 1280), "image_proj.proj_in.bias": meta(768),
                     "image_proj.proj_out.weight": meta(768, 768), "image_proj.proj_out.bias": meta(768),
                     "image_proj.norm_out.weight": meta(768), "image_proj.norm_out.bias": meta(768)}
    for n in range(4):
        layer = f"image_proj.layers.{n}"
        plus |= {f"{layer}.{norm}.{part}": meta(768) for norm in ("0.norm1", "0.norm2", "1.0") for part in ("weight", "bias")}
        plus |= {f"{layer}.0.to_q.weight": meta(768, 768), f"{layer}.0.to_kv.weight": meta(1536, 768), f"{layer}.0.to_out.weight": meta(768, 768),
                 f"{layer}.1.1.weight": meta(3072, 768), f"{layer}.1.3.weight": meta(768, 3072)}
    for name, tensors in (("subject", plus), ("semantics", plain)):
        own = full["adapters"][name].state_dict()
        renamed = {key: tensor.shape for key, tensor in full["adapters"][name].renamed(tensors).items()}
        assert renamed == {key: tensor.shape for key, tensor in own.items()}


def test_every_width_meets_its_neighbour(full) -> None:
    vision = ClipVision(full["image_encoder"])
    patches, semantics = vision.look(meta(1, 3, 640, 480))
    assert patches.shape == (1, 257, 1280) and semantics.shape == (1, 1024) and OPEN.vision.patch_tokens == 257 and OPEN.vision.patch_width == 1280
    subject, general = full["adapters"]["subject"], full["adapters"]["semantics"]
    seen, like = subject.tokens(patches), general.tokens(semantics)
    assert seen.shape == (1, 16, 768) and like.shape == (1, 4, 768)
    assert OPEN.adapters.subject.tokens == 16 and OPEN.adapters.semantics.tokens == 4
    ids = torch.zeros(1, 77, dtype=torch.long, device="meta")
    assert full["text"].config.max_position_embeddings == 77 and full["text"](ids)[0].shape == (1, 77, 768)
    decoder = LatentDiffusion(full["unet"], full["vae"], OPEN.decoder.scheduler, adapters=full["adapters"])
    controls = [IpAdapter(name, adapter, {TEXT: tokens, EMPTY: tokens}) for (name, adapter), tokens in zip(full["adapters"].items(), (seen, like))]
    context = AttentionContext({TEXT: meta(1, 77, 768), EMPTY: meta(1, 77, 768)}, controls=controls)
    latents = decoder.sample(text_guidance(7.5), context, [0], 1).latents
    assert latents.shape == (1, 4, 64, 64) and full["vae"].decode(latents).sample.shape == (1, 3, 512, 512)
