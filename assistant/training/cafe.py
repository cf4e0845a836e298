"""Trains CAFE's decoder G (eq. 3): the base UNet with new two-source cross-attention, on (E(x), F(target), noised target).

x and target are two pictures of one individual. E and F are dropped independently with probability 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..conditioning import PATCHES, SEMANTICS
from ..config import AssistantConfig
from ..control.cafe import Cafe, SemanticValues, training_seam
from ..decoder import attention
from ..decoder.attention import Seam
from ..decoder.diffusion import Diffusion
from ..decoder.rows import cafe_plan
from ..weights import load_tensors, load_vae, load_vision, save_cafe
from .data import World
from .diffusion import LAYOUT, Layout, VLoss, aims, encode_latents, encode_patches, encode_semantics, expected, inner_matrices
from .sheets import grid


def decoder_from_base(base_unet: Path, patch_width: int, semantic_width: int) -> tuple[UNet2DConditionModel, SemanticValues]:
    """The base UNet with fresh keys and values of E(x)'s width in every cross-attention, and zero V_H."""
    base = UNet2DConditionModel.from_pretrained(base_unet, torch_dtype=torch.float32)
    unet = UNet2DConditionModel.from_config({**base.config, "cross_attention_dim": patch_width})
    kept = {k: v for k, v in base.state_dict().items() if not k.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    unet.load_state_dict(kept, strict=False)
    attention.install(unet, "sdpa")
    return unet, SemanticValues.of(unet, semantic_width)


SEEN = 128  # patches of E(x) that a training step attends to, beside the class token
WHOLE = 0.85  # from here on all of them


class CafeTask:
    """`init` is a folder with dino, clip and base; `warm` a CAFE decoder to go on from instead of the base UNet, `shared` a
    UNet that is being trained elsewhere too, with its layout."""

    name, lr = "cafe", 1e-3
    done = 0.0  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: World, device: str, init: Path, batch_size: int = 32,
                 warm: Path | None = None, compiled: bool = False,
                 shared: tuple[UNet2DConditionModel, Layout] | None = None) -> None:
        self.config, self.world, self.device, self.batch_size = config, world, device, batch_size
        self.vision = load_vision(config, init).to(device)
        self.vae = load_vae(init / "base" / "vae").to(device)
        if shared:
            self.unet = shared[0]
            attention.install(self.unet, "sdpa")
            self.values = SemanticValues.of(self.unet, config.language.semantic_width)
        else:
            self.unet, self.values = decoder_from_base(warm or init / "base" / "unet", config.vision.patch_width,
                                                       config.language.semantic_width)
        if warm:
            self.unet.load_state_dict(UNet2DConditionModel.from_pretrained(warm, torch_dtype=torch.float32).state_dict())
            load_tensors(warm / "semantic_values.safetensors", self.values)
        self.unet.to(device).train(), self.values.to(device).train()
        if compiled:
            self.unet.compile()
        self.layout = shared[1] if shared else Layout(self.unet).to(device)
        self.matrices = inner_matrices("unet", self.unet)
        self.latents, self.semantics = encode_latents(world, device, self.vae), encode_semantics(world, device, self.vision)
        self.expected = expected(world, self.semantics)
        self.vloss = VLoss(config, device, self.latents)
        self.patches = encode_patches(world, device, self.vision)
        self.masks = VLoss.at_side(torch.from_numpy(world["masks"][:len(self.latents)].copy()).to(device), self.latents.shape[-1])

    def modules(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet, "values": self.values, "layout": self.layout}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        photo, target = self.world.pairs(rng, self.batch_size)
        same = rng.random(len(photo)) < 0.05  # eq. 4 at alpha = 0 asks for x from E(x) and F(x)
        keep = (rng.random((2, len(photo))) >= 0.1).astype(np.float32)
        seen = np.concatenate([[0], 1 + rng.permutation(self.config.vision.patch_tokens - 1)])
        return {"photo": torch.from_numpy(np.where(same, target, photo)), "target": torch.from_numpy(target),
                "seen": torch.from_numpy(seen), "keep": torch.from_numpy(keep), "labels": torch.from_numpy(self.world["labels"][target])}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        latents = self.latents[batch["target"]].float()
        noised, t, target = self.vloss.draw(latents, generator, self.done)
        seen = batch["seen"][:1 + SEEN] if self.done < WHOLE else batch["seen"]
        patches = self.patches[batch["photo"]][:, seen].float()
        semantics = aims(self.vision, self.semantics, self.expected, batch["target"], generator)
        seam = training_seam(self.values, patches, semantics, *batch["keep"])
        predicted = self.unet(noised, t, None, cross_attention_kwargs={"seam": seam}, return_dict=False)[0]
        masks = self.masks[batch["target"]]
        v, (layout, kind) = self.vloss(predicted, target, masks), self.layout(masks, batch["labels"])
        return v + LAYOUT * layout, {"v": v.detach(), "layout": layout.detach(), "kind": kind}

    def export(self, folder: Path) -> None:
        save_cafe(self.unet, self.values, folder)

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        """Rows of photo, a target, G(E(photo), F(target)) for 24 pairs."""
        rng = np.random.default_rng(3)
        photo, target = self.world.pairs(rng, 24)
        decoder = Diffusion(self.unet, self.vae, self.config.decoder.scheduler, semantic_values=self.values)
        seam = Seam({PATCHES: self.patches[torch.from_numpy(photo).to(self.device)].float()},
                    {SEMANTICS: self.semantics[torch.from_numpy(target).to(self.device)].float()}, (Cafe(self.values),))
        drawn = decoder.decode(decoder.sample(cafe_plan(2.0, 2.0), seam, range(24), 20, "dpm++").latents)
        shown = np.stack([self.world["images"][photo], self.world["images"][target], drawn], 1).reshape(-1, *drawn.shape[1:])
        grid(path, shown, 12)
