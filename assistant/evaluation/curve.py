"""How good a training is so far: the judge's figures of its averaged weights by samples seen, added to a log and drawn as a curve.

`python -m assistant.evaluation curve --run runs/miniature` reads the joint training's state, while it goes on or after it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel

from ..conditioning import PATCHES, SEMANTICS
from ..config import AssistantConfig
from ..control.cafe import Cafe, SemanticValues
from ..decoder.attention import Seam
from ..decoder.diffusion import Diffusion
from ..decoder.rows import cafe_plan
from ..miniature.reading import attributes
from ..miniature.renderer import render
from ..mllm.vision import Vision, pixels
from ..training import state
from ..training.tokens import caption_tokenizer
from ..weights import load_vae, load_vision
from . import plot
from .cases import BATCH, Tally, Witness, measure, pictures, scenes, text_to_image
from .miniature import base_model

STRENGTHS = (2.0, 2.0)  # of E(x) and F(w)
WRITTEN = ("kind", "colour", "pattern", "context", "style", "accessory")


@dataclass(frozen=True)
class Snapshot:
    """A joint training's averaged weights."""

    decoder: Diffusion
    vision: Vision
    samples: int


def snapshot(config: AssistantConfig, run: Path, model: Path, before: int = 0) -> Snapshot:
    """The averaged weights in a training's state.

    Args:
        run: folder of the joint training's state. model: folder with base/vae, dino and clip.
        before: samples seen before this run.
    """
    about = state.about(run)
    tokenizer = caption_tokenizer(config)
    text = CLIPTextModel(CLIPTextConfig(**config.decoder.text, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                                        pad_token_id=tokenizer.pad_token_id))
    unet = UNet2DConditionModel(**config.decoder.unet, cross_attention_dim=config.decoder.text["hidden_size"])
    with safe_open(run / "state/state.safetensors", "pt") as file:
        values = SemanticValues.of(unet, config.language.semantic_width)
        for name, module in (("unet", unet), ("text", text), ("values", values)):
            prefix = f"ema.{name}."
            module.load_state_dict({k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)})
    decoder = Diffusion(unet.eval(), load_vae(model / "base/vae"), config.decoder.scheduler, text.eval(), tokenizer, values.eval())
    return Snapshot(decoder, load_vision(config, model), before + about["step"] * about["batch"])


@torch.no_grad()
def cafe_alone(one: Snapshot, witness: Witness, count: int, size: int, steps: int) -> dict:
    """G(E(x), F(target)) of held-out individuals: what the decoder does with words that were understood."""
    tally, shown = Tally(), scenes(count, 2)
    for start in range(0, count, BATCH):
        views = shown[start:start + BATCH]
        photos, targets = (pixels([render(v[k], size).image for v in views]) for k in (0, 1))
        seam = Seam({PATCHES: one.vision.patches(photos).float()}, {SEMANTICS: one.vision.semantics(targets).float()},
                    (Cafe(one.decoder.semantic_values),))
        x = pictures(one.decoder, one.decoder.sample(cafe_plan(*STRENGTHS), seam, range(start, start + len(views)), steps).latents)
        for v, said in zip(views, witness.names(x)):
            tally.add(said, attributes(v[1]))
    return tally.shares()


def judge(config: AssistantConfig, one: Snapshot, witness: Witness, count: int, steps: int) -> dict:
    """What the judge finds of captions, of two heroes and of CAFE alone, `count` of each; shares as plain numbers."""
    size, guidance = config.decoder.image_size, config.decoder.guidance
    base, _ = base_model(one.decoder, witness, [v[0] for v in scenes(count)], size, steps, guidance)
    two = measure(lambda lines, seeds: text_to_image(one.decoder, lines, seeds, steps, guidance), witness, count)
    cafe = cafe_alone(one, witness, count, size, steps)

    def plain(found: dict, names: tuple[str, ...]) -> dict:
        return {name: round(found[name]["value"], 3) for name in names if name in found}

    return {"samples": one.samples, "count": count, "steps": steps, "guidance": guidance, "caption": plain(base, WRITTEN),
            "two heroes": plain(two, tuple(two)), "cafe": plain(cafe, WRITTEN)}


def draw(log: Path, place: Path) -> None:
    """The log's shares over samples as an SVG: a panel each for captions, two heroes and CAFE."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    plot.lines(place, {panel: {name: [(line["samples"] / 1000, line[panel][name]) for line in lines if name in line[panel]]
                               for name in dict.fromkeys(n for line in lines for n in line[panel])}
                       for panel in ("caption", "two heroes", "cafe")}, "thousand samples", 3)
