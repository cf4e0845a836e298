"""What the two decoder tasks share: cached latents, the v-prediction loss at zero terminal SNR, a sheet of samples."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..config import AssistantConfig
from ..world.scene import ACCESSORIES
from ..models.mllm import pooled
from ..models.vision_encoders import VisionEncoders
from .world_dataset import CLASSES, WorldDataset

# how much each attribute counts: shapes, patterns and eyes are learned far more slowly than colours
WEIGHTS = (10, 2, 1, 10, 2, 1, 1, 1, 4, *(0.5,) * len(ACCESSORIES))

CHUNK = 256  # pictures encoded at once
CPU_CHUNK = 16  # what a core's cache holds: 2.6 times as fast there
SKEW = 0.6  # exponent of a uniform draw: more of the timesteps at high noise, where the conditions decide
MIDDLE = 0.4  # share of the draws that are logit-normal in place of it, around t = 0.45: what is finer than a body, its pattern, is decided at 0.3 to 0.6
EMPHASIS = 6.0  # how much what is worn counts in a loss beside the backdrop; a hero's body is between
LAYOUT = 0.1  # how much the layout's loss counts beside v's
ALIGN = 5.0  # how much E's features count in it


def attribute_loss(logits: Tensor, labels: Tensor, weights: tuple[float, ...] = WEIGHTS) -> tuple[Tensor, Tensor]:
    """Weighted mean cross-entropy over the first attributes, those that both `weights` and `labels` have, and each one's accuracy.

    Args:
        logits: (B, sum of their CLASSES, or more). labels: (B, 17), or the first of them.
    """
    weights = weights[:labels.shape[1]]
    sizes = CLASSES[:len(weights)]
    parts = logits.float()[:, :sum(sizes)].split(sizes, dim=1)
    loss = 0.0
    for i, (weight, part) in enumerate(zip(weights, parts)):
        rare = None
        if i >= len(CLASSES) - len(ACCESSORIES):  # nine in ten do not wear it, which is soon known and teaches nothing
            rare = part.new_ones(part.shape[1])
            rare[0] = 0.2
        loss = loss + weight / sum(weights) * F.cross_entropy(part, labels[:, i].long(), rare)
    return torch.as_tensor(loss), torch.stack([(p.argmax(1) == labels[:, i]).float().mean() for i, p in enumerate(parts)]).detach()


def contrast(logits: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE both ways of similarities (N, N), and the share found."""
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2, (logits.argmax(1) == own).float().mean()


def encode_latents(world: WorldDataset, device: str, vae: Any) -> Tensor:
    """(N, C, h, w) scaled latents of every ready picture. Leaves `vae` in channels-last order, which is a third faster on CPUs."""
    vae.to(memory_format=torch.channels_last)
    return encode_all(world, device, lambda x: {"latents": latents_of(vae, x)}, world.folder, f"vae{_tag(vae.encoder.conv_in.weight)}")["latents"]


def latents_of(vae: Any, x: Tensor) -> Tensor:
    """(B, C, h, w) scaled latents of pictures (B, 3, H, W) in [0, 1]."""
    return vae.encode(x * 2 - 1).latent_dist.mean.float() * vae.config.scaling_factor


def encode_patches(world: WorldDataset, device: str, vision: VisionEncoders) -> Tensor:
    """(N, 257, d_E): E of every ready picture."""
    return encode_all(world, device, lambda x: {"patches": vision.patches(x).float()}, world.folder,
                      f"dino{_tag(vision.dino.embeddings.patch_embeddings.projection.weight)}")["patches"]


def read_patches(world: WorldDataset, device: str, vision: VisionEncoders, side: int | None) -> Tensor:
    """(N, P, d_E): E of every ready picture as M reads it (`pooled`)."""
    return torch.cat([pooled(part, side) for part in encode_patches(world, device, vision).split(CHUNK)])


def encode_semantics(world: WorldDataset, device: str, vision: VisionEncoders) -> Tensor:
    """(N, d_F): F of every ready picture."""
    return encode_all(world, device, lambda x: {"semantics": vision.semantics(x).float()}, world.folder,
                      f"clip{_tag(vision.clip.visual.conv1.weight)}")["semantics"]


def _tag(weight: Tensor) -> str:
    return hashlib.sha256(weight.detach().cpu().numpy().tobytes()).hexdigest()[:8]


def encode_all(world: WorldDataset, device: str, encode: Callable[[Tensor], dict[str, Tensor]], folder: Path, tag: str) -> dict[str, Tensor]:
    """Run `encode` on every ready picture, (B, 3, H, W) in [0, 1], once; kept in half precision on the device.

    The result is cached beside the set under `tag` (a hash of the encoders' weights), so that a resumed run skips it.
    """
    world.refresh()
    first = int(world.groups[-1] + 1) * 3
    place = folder / f"encoded-{tag}-{len(world.groups)}.safetensors"
    if place.exists():
        return load_file(place, device=device)
    out: dict[str, Tensor] = {}
    chunk = CPU_CHUNK if device == "cpu" else CHUNK
    for start in range(0, first, chunk):
        x = torch.from_numpy(world["images"][start:start + chunk].copy()).to(device)
        with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device != "cpu"):
            found = encode(x.permute(0, 3, 1, 2).float() / 255)
        for k, t in found.items():
            out.setdefault(k, torch.empty(first, *t.shape[1:], dtype=torch.float16, device=device))[start:start + len(t)] = t.half()
    fresh = place.with_suffix(f".{os.getpid()}")
    save_file({k: t.cpu() for k, t in out.items()}, fresh)
    os.replace(fresh, place)  # another process may be looking for it
    return out


@torch.no_grad()
def ridge(layer: nn.Linear, x: Tensor, y: Tensor, ones: Tensor, strength: float = 1e-3) -> None:
    """Set a linear layer to the ridge regression of y (N, b) on x (N, a); `ones` (N,) weighs the rows."""
    x = torch.cat([x, ones[:, None]], 1).double()
    gram = x.T @ x
    gram += strength * gram.diagonal().mean() * torch.eye(len(gram), device=x.device, dtype=x.dtype)
    solution = torch.linalg.solve(gram, x.T @ y.double()).float()
    layer.weight.copy_(solution[:-1].T)
    layer.bias.copy_(solution[-1])


class ConditionalMean:
    """F's mean given a picture's attributes, by ridge regression on their one-hots, fitted on every ready picture.

    What remains of F is a picture's own chance (where exactly a stripe lies), which no words foretell: H's best value in eq. 2 is the
    same with it and without it, but is known from far fewer pictures without.
    """

    @torch.no_grad()
    def __init__(self, world: WorldDataset, semantics: Tensor) -> None:
        names = np.concatenate([world["labels"][:len(semantics)], world["companion_labels"][:len(semantics)]], 1)
        self.labels = torch.from_numpy(names).to(semantics.device)
        x = self._ones(self.labels)
        self.mean = nn.Linear(x.shape[1], semantics.shape[1]).to(semantics.device)
        ridge(self.mean, x, semantics.float(), torch.ones(len(x), device=x.device), 1e-6)

    @staticmethod
    def _ones(labels: Tensor) -> Tensor:
        """(N, 21) class numbers, -1 for what a missing second hero is -> (N, sum of sizes)."""
        second = CLASSES[:labels.shape[1] - len(CLASSES)]
        sizes = (*CLASSES, *(1 + size for size in second))
        rows = torch.cat([labels[:, :len(CLASSES)], labels[:, len(CLASSES):] + 1], 1).long()
        return torch.cat([F.one_hot(rows[:, i], size).float() for i, size in enumerate(sizes)], 1)

    @torch.no_grad()
    def __call__(self, labels: Tensor | None = None) -> Tensor:
        """(N, 21) labels, a second hero's last (-1: there is none) -> (N, d_F); None: of every ready picture."""
        return self.mean(self._ones(self.labels if labels is None else labels.to(self.mean.weight.device)))


def noisy_semantic_targets(vision: VisionEncoders, semantics: Tensor, means: Tensor, at: Tensor, generator: torch.Generator) -> Tensor:
    """F(target) of the pictures `at`, (B, d_F), or half the time its mean given their attributes (`ConditionalMean`), which is what H(s) comes
    near to; shaken a little: H(s) and mixtures of F never lie exactly where F does."""
    known = torch.rand(len(at), device=means.device, generator=generator) < 0.5
    f = torch.where(known[:, None], means[at], semantics[at].float())
    level = 0.4 * torch.rand(len(f), 1, device=f.device, generator=generator)
    return vision.at_norm(f + level * torch.randn(f.shape, device=f.device, generator=generator))


def loss_weight(weights: Tensor) -> Tensor:
    """0..255 as a set holds them -> 1 to EMPHASIS; a body, 0.4 of it, counts 4.2."""
    return 1 + (EMPHASIS - 1) * (weights / 255).sqrt()


class VLoss:
    """Eq. 3's noise-prediction loss over all timesteps, of what the scheduler's configuration says that the UNet predicts: the noise,
    or v = sqrt(abar) eps - sqrt(1 - abar) x0 (Salimans and Ho, 2022, arXiv 2202.00512).

    `skew`: exponent of the uniform draw of timesteps; 1: all alike. `middle`: share of them that is drawn logit-normal instead, in the middle
    (Esser et al., 2024, arXiv 2403.03206, section 3.1).
    """

    def __init__(self, config: AssistantConfig, device: str, skew: float = SKEW, middle: float = MIDDLE) -> None:
        scheduler: Any = DDIMScheduler(**config.decoder.scheduler)
        self.abar, self.predicts = scheduler.alphas_cumprod.to(device), scheduler.config.prediction_type
        self.skew, self.middle = skew, middle

    def draw(self, latents: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, h, w) -> noised latents, timesteps (B,), what is to be predicted."""
        where = torch.rand(len(latents), device=latents.device, generator=generator) ** self.skew
        if self.middle:
            drawn = (0.5 * torch.randn(len(latents), device=latents.device, generator=generator) - 0.2).sigmoid()
            where = torch.where(torch.rand(len(latents), device=latents.device, generator=generator) < self.middle, drawn, where)
        t = (where * len(self.abar)).long().clamp_max(len(self.abar) - 1)
        noise = torch.randn(latents.shape, device=latents.device, generator=generator)
        signal, spread = (a.view(-1, 1, 1, 1) for a in (self.abar[t].sqrt(), (1 - self.abar[t]).sqrt()))
        target = noise if self.predicts == "epsilon" else signal * noise - spread * latents
        return signal * latents + spread * noise, t, target

    @staticmethod
    def at_side(masks: Tensor, side: int) -> Tensor:
        """(N, h, w) subject masks at the latents' side."""
        return F.adaptive_avg_pool2d(masks.float(), side) if masks.shape[-1] != side else masks

    def __call__(self, predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean squared error, weighed by `weights` (B, h, w) in 0..255."""
        if weights is None:
            return (predicted.float() - target).square().mean()
        weight = loss_weight(weights[:, None].float())
        return (weight * (predicted.float() - target).square()).sum() / (weight.sum() * target.shape[1])


class LayoutHead(nn.Module):
    """A head on the UNet's last hidden grid that says where the subject is and what it is, thrown away afterwards.

    The noise drowns what conditions mean; this asks for it directly: for the drawn world's own truth, and for E's features of the clean
    picture (representation alignment, Yu et al., 2024, arXiv 2410.06940).
    """

    def __init__(self, unet: Any, feature_width: int) -> None:
        super().__init__()
        widths = unet.config.block_out_channels
        self.head = nn.Conv2d(widths[1], 1 + sum(CLASSES), 1)
        self.features = nn.Sequential(nn.Conv2d(widths[1], 2 * widths[1], 1), nn.SiLU(), nn.Conv2d(2 * widths[1], feature_width, 1))
        self.grid: Tensor | None = None
        unet.up_blocks[-2].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, out: Tensor) -> None:
        self.grid = out

    def forward(self, masks: Tensor, labels: Tensor, companions: tuple[Tensor, Tensor] | None = None, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of the UNet's last call: masks (B, h, w) in 0..255, labels (B, 17), the same of second heroes, whose labels (B, 4) are -1
        where there is none, and E's patches (B, h w, d_E) of the picture -> loss, share of kinds named rightly."""
        found, share = self.head(self.grid), masks.float() / 255
        aligned = 0.0
        if features is not None:
            seen = self.features(self.grid).flatten(2).movedim(1, 2).float()
            aligned = ALIGN * (1 - F.cosine_similarity(seen, features.float(), dim=-1)).mean()
        self.grid = None  # with its graph; a UNet that holds one cannot be copied
        names, right = self._named(found, share, labels)
        if companions is not None and bool((there := companions[1][:, 0] >= 0).any()):
            second = companions[0].float() / 255
            names = names + there.float().mean() * self._named(found[there], second[there], companions[1][there])[0]
            share = torch.maximum(share, second)
        return aligned + names + F.binary_cross_entropy_with_logits(found[:, 0].float(), share), right[0]

    @staticmethod
    def _named(found: Tensor, share: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        of, y, x = (share > 0.5).nonzero(as_tuple=True)
        width = sum(CLASSES[:labels.shape[1]])
        return attribute_loss(found[of, 1:1 + width, y, x], labels[of], WEIGHTS[:labels.shape[1]])


def training_kernel(device: str) -> str:
    """The attention kernel to train with: on a CPU the flash kernel's backward pass takes twenty times as long as three products."""
    return "math" if torch.device(device).type == "cpu" else "sdpa"


def inner_matrices(prefix: str, network: nn.Module) -> set[str]:
    """Names of the kernels and matrices of a UNet or a decoder between its first and its last convolution, for Muon."""
    return {f"{prefix}.{n}" for n, p in network.named_parameters() if p.ndim >= 2 and not n.startswith(("conv_in", "conv_out"))}
