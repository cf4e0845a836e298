"""Preset `sdxl`: two text encoders, added conditions, adapters, Infusion and DCI at miniature numbers; every width on the meta device."""

import io
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from transformers import CLIPImageProcessor

from assistant import model_factory
from assistant.controls.ip_adapter import IpAdapter
from assistant.customization.concept_prompt import embed, tokenize_with_placeholders
from assistant.diffusion.acceleration import shapes
from assistant.diffusion.attention import AttentionContext, TextStates, cross_layers
from assistant.diffusion.guidance import EMPTY, TEXT, text_guidance
from assistant.diffusion.latent_diffusion import LatentDiffusion
from assistant.engine import Assistant
from assistant.generation.text_to_image import TextToImageInputs
from assistant.hub import download
from assistant.hub.download import Remote
from assistant.model_factory import build, count
from assistant.presets import SDXL
from assistant.requests import Request, Settings, SweepRequest, TrainingSpec
from assistant.session.uploads import read_photo
from tests import tiny_open, tiny_sdxl as tiny
from tests.fake_engine import png_of

PICTURES = [np.random.default_rng(n).integers(0, 256, (tiny_open.SIDE, tiny_open.SIDE, 3), dtype=np.uint8) for n in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def engine(folder):
    image_generator = model_factory.load_drawer(tiny.CONFIG, folder)
    return Assistant(tiny.CONFIG, image_generator, "0" * 12, base=(image_generator.decoder, "base"))


@pytest.fixture(scope="module")
def photos():
    return tuple(read_photo(png_of(Image.fromarray(picture))) for picture in PICTURES)


@pytest.fixture
def pipe(folder):
    pipe = StableDiffusionXLPipeline(**tiny.modules(), add_watermarker=False, feature_extractor=CLIPImageProcessor(size=tiny_open.SIDE, crop_size=tiny_open.SIDE))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_the_latents_are_those_of_diffusers_pipeline_from_the_same_files(engine, folder, pipe, photos):
    """Subject, F(w), prompt, praise, negative prompt and both strengths, with pooled embeddings and time ids."""
    pipe.load_ip_adapter(str(folder), subfolder=["adapters"] * 2, weight_name=["plus.safetensors", "plain.safetensors"], image_encoder_folder=None)
    pipe.set_ip_adapter_scale([0.4 * 1.5, 0.6])
    theirs = pipe("a red cat, fine", negative_prompt="blur", num_inference_steps=4, guidance_scale=2.0 * 3.0, height=32, width=32, output_type="latent",
                  generator=torch.Generator().manual_seed(7), ip_adapter_image=[Image.fromarray(p) for p in PICTURES]).images
    seen = [engine.features.see(photo) for photo in photos]
    wish, settings = engine.image_generator.like(seen[1], "a red cat"), Settings(keep_subject=1.5, follow_words=3.0)
    ours = engine.image_generator.prepare(seen[:1], wish, settings, [7]).draw(4, "ddim").latents
    assert (ours - theirs).abs().max() < 1e-4
    words = TextToImageInputs(wish.prompts)
    assert (ours - engine.image_generator.prepare((), words, settings, [7]).draw(4, "ddim").latents).abs().max() > 1e-2, "the adapters must matter"


def test_words_alone_are_guided_away_from_zeros_as_in_the_pipeline(engine, pipe):
    base = engine.decoder
    theirs = pipe("a red cat", num_inference_steps=4, guidance_scale=5.0, height=32, width=32, output_type="latent", generator=torch.Generator().manual_seed(7)).images
    context = AttentionContext({TEXT: base.encode_text(["a red cat"]), EMPTY: base.encode_text([""])})
    assert (base.sample(text_guidance(5.0), context, [7], 4, "ddim").latents - theirs).abs().max() < 1e-4
    said = base.encode_text(["a red cat"])
    mute = TextStates(said.states, torch.cat([0 * said.added[:, :-6], said.added[:, -6:]], -1))
    other = base.sample(text_guidance(5.0), AttentionContext({TEXT: mute, EMPTY: base.encode_text([""])}), [7], 4, "ddim").latents
    assert (other - theirs).abs().max() > 1e-3, "the pooled embedding is heard"


@pytest.mark.parametrize("line", ["a red cat", "a very long line of words that goes on"])
def test_learned_words_stand_in_both_encoders_as_the_pipeline_encodes_them(engine, pipe, line):
    base, spelled = engine.decoder, tokenize_with_placeholders(engine.decoder.tokenizer, [line])
    states, _, pooled, _ = pipe.encode_prompt(line, do_classifier_free_guidance=False)
    plain = base.encode_text([line])
    learned = base.encode_embeddings(embed(base.words, spelled, (), torch.zeros(0, tiny.WIDTH))[None], spelled.end)
    for found in (plain, learned):
        torch.testing.assert_close(found.states, states, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.added[:, :-6], pooled, atol=1e-5, rtol=1e-5)
        assert found.added[0, -6:].tolist() == [32, 32, 0, 0, 32, 32]
    short = tokenize_with_placeholders(base.tokenizer, ["a", 1, "cat"])
    own = embed(base.words, short, short.at[1], base.words(torch.tensor(short.ids[1:2]), 1))[None]  # a learned word that is the word "a": padding stays behind it
    torch.testing.assert_close(base.encode_embeddings(own, short.end).added, base.encode_text(["a a cat"]).added, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["infusion", "ico"])
def test_a_concept_is_learned_and_changes_what_is_drawn(engine, photos, kind, tmp_path):
    library = engine.trainer.open(tmp_path)
    course = engine.trainer.begin(TrainingSpec("tom", "cat", photos, kind=kind, options={"steps": 4, "lr": 0.5}))
    losses = [course.advance() for _ in range(4)]
    course.keep(library, b"")
    assert np.isfinite(losses).all() and course.recipe.batch == 1
    settings = Settings(seed=1, steps=3, window=0.5, preview_every=0)
    ask = Request("<tom> in the snow", settings=settings, library=library)
    reply = list(engine.respond(ask, threading.Event()))[-1]
    assert reply.metadata["method"] == {"infusion": "Infusion", "ico": "ICO + DCI"}[kind]

    def drawn(png: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)

    if kind == "infusion":
        silent = list(engine.respond(replace(ask, settings=replace(settings, strengths={"tom": 0.0})), threading.Event()))[-1]
        assert np.abs(drawn(silent.png) - drawn(reply.png)).max() > 2
    else:
        strip = list(engine.strip(SweepRequest("<tom> in the snow", library, (-2.0, 2.0), settings), threading.Event()))[-1]
        assert strip.changes[0] > 0 and strip.masks is not None


# full size, on the meta device

@pytest.fixture(scope="module")
def full():
    return build(SDXL)


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def test_parameters_are_as_many_as_published(full):
    assert {name: count(full[name]) for name in ("unet", "vae", "text", "text_2", "image_encoder")} == {
        "unet": 2_567_463_684, "vae": 83_653_863, "text": 123_060_480, "text_2": 694_659_840, "image_encoder": 632_076_800}
    # h94's files, as duplicates of its pages list them, in half precision: 848 and 698 MB
    assert {name: count(adapter) for name, adapter in full["adapters"].items()} == {"subject": 423_748_864, "semantics": 349_188_096}
    assert [2 * count(full["adapters"][name]) / 1e6 for name in ("subject", "semantics")] == pytest.approx([848, 698], abs=1)


@pytest.mark.slow
def test_every_width_meets_its_neighbour(full):
    layers = cross_layers(full["unet"])
    assert len(layers) == 70 and {a.to_k.in_features for a in layers.values()} == {2048} and {a.inner_dim // a.heads for a in layers.values()} == {64}
    decoder = LatentDiffusion(full["unet"], full["vae"], SDXL.decoder.scheduler, full["text"], object(), adapters=full["adapters"], text_encoder_2=full["text_2"])
    states = decoder.encode_embeddings(meta(1, 77, 768 + 1280), 5)
    assert states.states.shape == (1, 77, 2048) and states.added.shape == (1, 1280 + 6)
    subject, general = full["adapters"]["subject"].tokens(meta(1, 257, 1280)), full["adapters"]["semantics"].tokens(meta(1, 1024))
    assert subject.shape == (1, 16, 2048) and general.shape == (1, 4, 2048)
    controls = [IpAdapter(name, adapter, {TEXT: tokens, EMPTY: tokens}) for (name, adapter), tokens in zip(full["adapters"].items(), (subject, general))]
    latents = decoder.sample(text_guidance(5.0), AttentionContext({TEXT: states, EMPTY: states}, controls=controls), [0], 1).latents
    assert latents.shape == (1, 4, 128, 128) and full["vae"].decode(latents).sample.shape == (1, 3, 1024, 1024)


def test_attention_shapes_are_read_off_a_unet_with_added_conditions(engine):
    assert len(shapes(engine.decoder.unet, 16)) == 2 * len(cross_layers(engine.decoder.unet))


def test_of_the_published_files_the_half_precision_ones_are_taken_once():
    offered = [Remote(f"{part}/{name}{half}.safetensors", 1 if half else 2) for half in ("", ".fp16") for part, name in (
        ("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "model"), ("text_encoder_2", "model"))]
    offered += [Remote(name, 1) for name in ("sd_xl_base_1.0.safetensors", "sd_xl_base_1.0_0.9vae.safetensors", "sd_xl_offset_example-lora_1.0.safetensors",
                                             "vae_1_0/config.json", "vae_1_0/diffusion_pytorch_model.safetensors", "unet/model.onnx", "unet/config.json",
                                             "vae/config.json", "text_encoder/config.json", "text_encoder_2/config.json", "model_index.json", "LICENSE.md",
                                             "scheduler/scheduler_config.json", *(f"tokenizer{n}/{file}" for n in ("", "_2") for file in (
                                                 "vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json")))]
    source = SDXL.sources["base"]
    below = download._halved(source, offered)
    chosen = [f for f in below if download._chosen(f.path, source, below)]
    assert len(chosen) == 4 + 4 + 2 + 8 and all(f.at.endswith(".fp16.safetensors") for f in chosen if f.path.endswith(".safetensors"))
