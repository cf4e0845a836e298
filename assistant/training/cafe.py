"""Trains CAFE's decoder G (eq. 3): the base UNet with new two-source cross-attention, on (E(x), F(target), noised target).

x and target are two pictures of one individual. E and F are dropped independently. It knows the drawn world and sets encoded
beforehand by one interface (examples.py).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torchvision.utils import save_image

from ..diffusion.conditions import PATCHES, SEMANTICS
from ..config import AssistantConfig
from ..controls.cafe import Cafe, SemanticValues, training_context
from ..diffusion import attention
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import cafe_guidance
from ..checkpoints import load_tensors, load_vae, save_cafe
from .losses import LAYOUT, LayoutHead, VLoss, inner_matrices, training_kernel
from .datasets import PairSource
from .hyperparameters import CafeNumbers


def decoder_from_base(base_unet: Path, patch_width: int, semantic_width: int) -> tuple[UNet2DConditionModel, SemanticValues]:
    """The base UNet with fresh keys and values of E(x)'s width in every cross-attention, and zero V_H."""
    base = UNet2DConditionModel.from_pretrained(base_unet, torch_dtype=torch.float32)
    unet = UNet2DConditionModel.from_config({**base.config, "cross_attention_dim": patch_width})
    kept = {k: v for k, v in base.state_dict().items() if not k.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    unet.load_state_dict(kept, strict=False)
    attention.install(unet, "sdpa")
    return unet, SemanticValues.of(unet, semantic_width)


WHOLE = 0.85  # from here on a step attends to all patches of E(x)
SHEET = 24 * 128**2  # pixels of the last sheet's pictures


class CafeTask:
    """`init` is a folder with base; `warm` a CAFE decoder to go on from instead of the base UNet, `shared` a UNet that is being
    trained elsewhere too, with its layout. `checkpointing` computes activations twice instead of keeping them."""

    name = "cafe"
    done = 0.0  # the training loop sets it

    def __init__(self, config: AssistantConfig, source: PairSource, device: str, init: Path, batch_size: int = 32,
                 warm: Path | None = None, compiled: bool = False, shared: tuple[UNet2DConditionModel, LayoutHead] | None = None,
                 numbers: CafeNumbers = CafeNumbers(), checkpointing: bool = False) -> None:
        self.config, self.source, self.device, self.init, self.batch_size = config, source, device, init, batch_size
        self.numbers, self.lr = numbers, numbers.lr
        if shared:
            self.unet = shared[0]
            self.values = SemanticValues.of(self.unet, config.language.semantic_width)
        else:
            self.unet, self.values = decoder_from_base(warm or init / "base" / "unet", config.vision.patch_width,
                                                       config.language.semantic_width)
        if warm:
            self.unet.load_state_dict(UNet2DConditionModel.from_pretrained(warm, torch_dtype=torch.float32).state_dict())
            load_tensors(warm / "semantic_values.safetensors", self.values)
        self.unet.to(device).train(), self.values.to(device).train()
        attention.install(self.unet, training_kernel(device))
        if checkpointing:
            self.unet.enable_gradient_checkpointing()
        if compiled:
            self.unet.compile()
        self.layout = None if not source.labelled else shared[1] if shared else LayoutHead(self.unet, config.vision.patch_width).to(device)
        self.matrices = inner_matrices("unet", self.unet) if numbers.muon else set()
        self.vloss = VLoss(config, device, numbers.skew)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet, "values": self.values, **({"layout": self.layout} if self.layout else {})}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        drawn = self.source.pairs(rng, self.batch_size)
        keep = (rng.random((2, self.batch_size)) >= self.numbers.dropped).astype(np.float32)
        seen = np.concatenate([[0], 1 + rng.permutation(self.config.vision.patch_tokens - 1)])
        return {**drawn, "seen": torch.from_numpy(seen), "keep": torch.from_numpy(keep)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        shown = self.source.shown(batch, generator)
        noised, t, target = self.vloss.draw(shown.latents, generator)
        few = self.numbers.seen is not None and self.done < WHOLE
        patches = (shown.patches[:, batch["seen"][:1 + self.numbers.seen]] if few else shown.patches).float()
        context = training_context(self.values, patches, shown.semantics, *batch["keep"])
        predicted = self.unet(noised, t, None, cross_attention_kwargs={"context": context}, return_dict=False)[0]
        if self.layout is None:
            return self.vloss(predicted, target), {}
        v = self.vloss(predicted, target, shown.weights)
        layout, kind = self.layout(shown.masks, shown.labels, shown.companions, shown.features)
        return v + LAYOUT * layout, {"v": v.detach(), "layout": layout.detach(), "kind": kind}

    def export(self, folder: Path) -> None:
        save_cafe(self.unet, self.values, folder)

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        """Rows of photo (where it is at hand), target, G(E(photo), F(target))."""
        count = min(len(self.source), max(2, SHEET // self.config.decoder.image_size**2))
        batch = {k: t.to(self.device) for k, t in self.source.pairs(np.random.default_rng(3), count).items()}
        shown = self.source.shown(batch)
        decoder = LatentDiffusion(self.unet, load_vae(self.init / "base/vae").to(self.device), self.config.decoder.scheduler, semantic_values=self.values)
        context = AttentionContext({PATCHES: shown.patches.float()}, {SEMANTICS: shown.semantics}, (Cafe(self.values),))
        drawn = decoder.sample(cafe_guidance(2.0, 2.0), context, range(count), 20, "dpm++").latents
        columns = [decoder.decode(x) for x in (shown.latents, drawn)]
        if (photos := self.source.photos(batch)) is not None:
            columns.insert(0, photos)
        save_image(torch.from_numpy(np.stack(columns, 1)).flatten(0, 1).movedim(-1, 1) / 255, path, nrow=4 * len(columns), pad_value=1)
