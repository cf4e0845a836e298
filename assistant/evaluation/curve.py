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

from ..diffusion.conditions import PATCHES, SEMANTICS
from ..config import AssistantConfig
from ..controls.cafe import Cafe, SemanticValues
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import cafe_guidance
from ..world.captions import attributes
from ..world.renderer import render
from ..models.vision_encoders import VisionEncoders, pixels
from ..training import loop
from ..training.world_dataset import caption_tokenizer
from ..checkpoints import load_vae, load_vision
from .. import report
from .test_cases import BATCH, Tally, AttributeJudge, measure, pictures, scenes, text_to_image
from .overall import base_model

STRENGTHS = (2.0, 2.0)  # of E(x) and F(w)
WRITTEN = ("kind", "colour", "pattern", "context", "style", "accessory")


@dataclass(frozen=True)
class Snapshot:
    """A joint training's averaged weights."""

    decoder: LatentDiffusion
    vision: VisionEncoders
    samples: int


def snapshot(config: AssistantConfig, run: Path, model: Path, before: int = 0) -> Snapshot:
    """The averaged weights in a training's state.

    Args:
        run: folder of the joint training's state. model: folder with base/vae, dino and clip.
        before: samples seen before this run.
    """
    about = loop.read_progress(run)
    tokenizer = caption_tokenizer(config)
    text = CLIPTextModel(CLIPTextConfig(**config.decoder.text, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
                                        pad_token_id=tokenizer.pad_token_id))
    unet = UNet2DConditionModel(**config.decoder.unet, cross_attention_dim=config.decoder.text["hidden_size"])
    with safe_open(run / "state/state.safetensors", "pt") as file:
        values = SemanticValues.of(unet, config.language.semantic_width)
        for name, module in (("unet", unet), ("text", text), ("values", values)):
            prefix = f"ema.{name}."
            module.load_state_dict({k.removeprefix(prefix): file.get_tensor(k) for k in file.keys() if k.startswith(prefix)})
    decoder = LatentDiffusion(unet.eval(), load_vae(model / "base/vae"), config.decoder.scheduler, text.eval(), tokenizer, values.eval())
    return Snapshot(decoder, load_vision(config, model), before + about["step"] * about["batch"])


@torch.no_grad()
def cafe_alone(one: Snapshot, witness: AttributeJudge, count: int, size: int, steps: int) -> dict:
    """G(E(x), F(target)) of held-out individuals: what the decoder does with words that were understood."""
    tally, shown = Tally(), scenes(count, 2)
    for start in range(0, count, BATCH):
        views = shown[start:start + BATCH]
        photos, targets = (pixels([render(v[k], size).image for v in views]) for k in (0, 1))
        context = AttentionContext({PATCHES: one.vision.patches(photos).float()}, {SEMANTICS: one.vision.semantics(targets).float()},
                    (Cafe(one.decoder.semantic_values),))
        x = pictures(one.decoder, one.decoder.sample(cafe_guidance(*STRENGTHS), context, range(start, start + len(views)), steps).latents)
        for v, said in zip(views, witness.names(x)):
            tally.add(said, attributes(v[1]))
    return tally.shares()


def judge(config: AssistantConfig, one: Snapshot, witness: AttributeJudge, count: int, steps: int) -> dict:
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
    report.lines(place, {panel: {name: [(line["samples"] / 1000, line[panel][name]) for line in lines if name in line[panel]]
                               for name in dict.fromkeys(n for line in lines for n in line[panel])}
                       for panel in ("caption", "two heroes", "cafe")}, "thousand samples", 3)
