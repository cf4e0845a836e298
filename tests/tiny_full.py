"""The preset `full` in miniature numbers: the same structure, small random weights, saved as the published repositories save theirs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from assistant.model_factory import build
from assistant.config import VisionConfig
from assistant.presets import FULL, MINIATURE
from assistant.manifest import CHECKPOINTS
from assistant.checkpoints import save_tensors

BASE = replace(
    FULL.decoder, image_size=64, steps=2,
    unet=dict(FULL.decoder.unet, sample_size=8, layers_per_block=1, block_out_channels=(32, 32, 64, 64), attention_head_dim=(1, 1, 2, 2), norm_num_groups=8),
    vae=dict(FULL.decoder.vae, sample_size=64, layers_per_block=1, block_out_channels=(16, 16, 32, 32), norm_num_groups=8),
    text=dict(FULL.decoder.text, vocab_size=1024, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
              max_position_embeddings=48))
TINY = replace(
    FULL, name="tiny", decoder=BASE,
    vision=VisionConfig(
        dino=dict(FULL.vision.dino, image_size=70, hidden_size=48, num_hidden_layers=2, num_attention_heads=4), dino_side=42,
        dino_mean=FULL.vision.dino_mean, dino_std=FULL.vision.dino_std, semantic_norm=None,
        clip=dict(embed_dim=24, quick_gelu=True, vision_cfg=dict(image_size=28, layers=2, width=64, patch_size=14),
                  text_cfg=dict(context_length=48, vocab_size=1024, width=32, heads=4, layers=1))),
    language=replace(FULL.language, semantic_width=24, max_new_tokens=6, context=256, llama=dict(
        FULL.language.llama, vocab_size=2048, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        max_position_embeddings=256)))
TINY_BASE = replace(TINY, name="tiny-base", vision=None, language=None, sources={"base": FULL.sources["base"]}, trained={})


def write(folder: Path, seed: int = 0) -> None:
    """All parts of TINY, in the stock layouts and with the published files' own old names and leftovers."""
    torch.manual_seed(seed)
    parts, shipped = build(TINY, "cpu"), CHECKPOINTS / MINIATURE.folder
    for name, at in (("dino", "dino"), ("unet", "base/unet"), ("vae", "base/vae"), ("text", "base/text_encoder"), ("cafe", "cafe")):
        parts[name].save_pretrained(folder / at)
    parts["llama"].save_pretrained(folder / "llama", max_shard_size="200KB")
    for file in (shipped / "llama").glob("tokenizer*"):
        shutil.copy(file, folder / "llama" / file.name)
    shutil.copytree(shipped / "base/tokenizer", folder / "base/tokenizer")
    (folder / "base/scheduler").mkdir()
    (folder / "base/scheduler/scheduler_config.json").write_text(json.dumps(dict(TINY.decoder.scheduler)))
    (folder / "clip").mkdir()
    (folder / "clip/open_clip_config.json").write_text(json.dumps({"model_cfg": TINY.vision.clip}))
    save_file({k: t.contiguous() for k, t in parts["clip"].state_dict().items()}, folder / "clip/open_clip_model.safetensors", {"format": "pt"})
    (folder / "bridge").mkdir()
    save_tensors(folder / "bridge/bridge.safetensors", parts["bridge"].state_dict(), {})
    save_tensors(folder / "cafe/semantic_values.safetensors", parts["values"].state_dict(), {})
    _renamed(folder / "base/text_encoder/model.safetensors", lambda k: k if k.startswith("text_model.") else f"text_model.{k}",
             {"text_model.embeddings.position_ids": torch.arange(48)[None]})
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    _renamed(folder / "base/vae/diffusion_pytorch_model.safetensors",
             lambda k: next((k.replace(new, before) for new, before in old.items() if f".{new}." in k), k), {})


def _renamed(path: Path, name, more) -> None:
    save_file({name(k): t for k, t in load_file(path).items()} | more, path, {"format": "pt"})
