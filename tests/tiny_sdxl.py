"""A preset like `sdxl` at miniature numbers, with random weights in the published layout."""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from assistant.presets import SDXL
from tests import tiny_open as tiny

WORDS_2 = dict(tiny.WORDS, hidden_size=48, projection_dim=40)
WIDTH = tiny.TEXT + WORDS_2["hidden_size"]
UNET = dict(tiny.UNET, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2), attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=8, projection_class_embeddings_input_dim=WORDS_2["projection_dim"] + 6 * 8)
CONFIG = replace(tiny.CONFIG, name="sdxl", decoder=replace(tiny.CONFIG.decoder, unet=UNET, text_2=WORDS_2, recipes=SDXL.decoder.recipes),
                 sources={**SDXL.sources, "adapters": tiny.CONFIG.sources["adapters"]})


def modules(seed: int = 0) -> dict[str, object]:
    """By their folders' names; the second tokenizer's padding is another, as in the published files."""
    parts = tiny.modules(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        about = CLIPTextConfig(vocab_size=len(parts["tokenizer"]), bos_token_id=53, eos_token_id=2, **WORDS_2)  # 2: as the published files have it
        return {**parts, "unet": UNet2DConditionModel(cross_attention_dim=WIDTH, **UNET).eval(), "text_encoder_2": CLIPTextModelWithProjection(about).eval(),
                "tokenizer_2": tiny.tokenizer(pad_token=",</w>")}


def write(folder: Path) -> Path:
    """The whole preset as its loaders want it."""
    return tiny.write(folder, modules())
