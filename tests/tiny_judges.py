"""DINO ViT-S/16 and CLIP ViT-B/32 at miniature numbers, with random weights in the layouts of timm and open_clip."""

import json
from pathlib import Path

import open_clip
import timm
import torch
from safetensors.torch import save_file

DINO = dict(img_size=32, embed_dim=48, depth=2, num_heads=2)
CLIP = dict(embed_dim=24, quick_gelu=True, vision_cfg=dict(image_size=32, layers=2, width=64, patch_size=16), text_cfg=dict(context_length=77, vocab_size=49408, width=32, heads=4, layers=1))


def write(folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dino = timm.create_model("vit_small_patch16_224.dino", pretrained=False, **DINO)
        dino.pretrained_cfg["input_size"] = (3, 32, 32)
        timm.models.save_for_hf(dino, folder / "dino", model_args=DINO, safe_serialization=True)
        clip = open_clip.CLIP(**{k: v for k, v in CLIP.items()})
    (folder / "clip").mkdir()
    preprocess = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711], "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "clip/open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": preprocess}))
    save_file({k: t.contiguous() for k, t in clip.state_dict().items()}, folder / "clip/open_clip_model.safetensors", {"format": "pt"})
    return folder
