"""Trains E and F.

E is a Dinov2Model whose tokens keep who is in a picture (class token) and what each patch shows (patch tokens). Two pictures of one individual attract each other
(InfoNCE); linear heads name the picture's attributes, mark the subject and paint each patch; each patch of the subject names its kind, colours and pattern too,
which teaches shapes far sooner than the class token alone. The heads are thrown away. Most of the training sees VISIBLE random patches of a picture, which is two
to three times as fast; the last part sees them all.

F is a CLIP. `RobustTask` teaches it to read what the decoder draws: the decoder redraws pictures of the set from noised latents (image-to-image, SDEdit, Meng et
al., 2021, arXiv 2108.01073), and F of a redrawn picture comes near what F gave of the original, while F of the original stays. The targets are the features of the
encoder as it was, so everything that was trained on those (V_H, H, the texts' side of CLIP) keeps its meaning (feature distillation, as FARE does against attacks,
Schlarmann et al., 2024, arXiv 2402.12336).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model

from ..checkpoints import build_clip, load_clip, save_clip, save_module
from ..config import AssistantConfig
from ..diffusion.attention import AttentionContext
from ..diffusion.guidance import EMPTY, TEXT, guide, text_guidance
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.sampler import estimate_x0, make_scheduler, predict
from ..models.vision_encoders import normalised, resize
from ..world.scene import ACCESSORIES
from .loop import Task
from .losses import WEIGHTS, attribute_loss, contrast, latents_of
from .world_dataset import CAPTIONS, CLASSES, WorldDataset, arrays, caption_tokenizer

VISIBLE = 112  # patches of 256
WHOLE = 0.85  # from here on all of them


class Heads(nn.Module):
    """What hangs on E while it learns."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.who = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, 128))
        self.names = nn.Linear(width, sum(CLASSES))
        self.pooled = nn.Linear(width, sum(CLASSES))
        self.paint = nn.Linear(width, 3 * patch * patch)
        self.subject = nn.Linear(width, 1)
        self.local = nn.Linear(width, sum(CLASSES[:4]))
        self.temperature = nn.Parameter(torch.tensor(2.5))


def principal(patches: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(N, d) -> the `count` leading principal directions (count, d) and their standard deviations (count,). Not centred."""
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    return vectors.flip(1)[:, :count].T.contiguous(), values.flip(0)[:count].clamp_min(1e-12).sqrt()


@torch.no_grad()
def begin_from_pixels(projection: nn.Conv2d, positions: nn.Parameter, examples: Tensor) -> None:
    """Give a vision transformer a start that random weights would spend most of a short training on.

    Its patch embedding becomes the patches' principal components, its positions become two-dimensional sines and cosines.

    Args:
        positions: (1, 1 + side * side, d) or (1 + side * side, d), the class token's first.
        examples: normalised pictures (B, 3, H, W).
    """
    width, patch = projection.out_channels, projection.kernel_size[0]
    x = examples.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
    directions, spread = principal(x, min(width, x.shape[1]))
    directions = directions / spread[:, None].clamp_min(0.05 * spread.max()).sqrt()
    projection.weight[:len(directions)] = directions.view(-1, 3, patch, patch)
    if projection.bias is not None:
        projection.bias.zero_()
    table = positions.view(-1, positions.shape[-1])
    side, quarter = int((len(table) - 1) ** 0.5), width // 4
    waves = 1.0 / 100 ** (torch.arange(quarter) / quarter)
    at = torch.arange(side)[:, None] * waves  # (side, d/4)
    one = torch.cat([at.sin(), at.cos()], 1)
    both = torch.cat([one[:, None].expand(-1, side, -1), one[None].expand(side, -1, -1)], -1).flatten(0, 1)
    table[1:, :both.shape[1]] = 0.5 * both


@torch.no_grad()
def begin_local(dino: Dinov2Model, generator: torch.Generator) -> None:
    """Mimetic initialisation (Trockman and Kolter, 2023): queries and keys start alike, so that each patch first looks at
    patches like itself and near it, and values times output start near a negative identity."""
    width = dino.config.hidden_size
    size = width // dino.config.num_attention_heads
    for layer in cast(Any, dino).modules():
        if not (hasattr(layer, "q_proj") and hasattr(layer, "k_proj")):
            continue
        for h in range(dino.config.num_attention_heads):
            noise = torch.randn(width, width, generator=generator) / width ** 0.5
            u, s, v = torch.linalg.svd(0.7 * noise + 0.7 * torch.eye(width))
            part = slice(h * size, (h + 1) * size)
            layer.q_proj.weight[part] = (u[:, :size] * s[:size].sqrt()).T
            layer.k_proj.weight[part] = s[:size].sqrt()[:, None] * v[:size]
        noise = torch.randn(width, width, generator=generator) / width ** 0.5
        u, s, v = torch.linalg.svd(0.4 * noise - 0.4 * torch.eye(width))
        layer.v_proj.weight.copy_(s.sqrt()[:, None] * v)
        layer.o_proj.weight.copy_(u * s.sqrt())


class DinoTask(Task):
    name, lr = "dino", 1.5e-3

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, batch_size: int = 32, warm: Path | None = None) -> None:
        self.config, self.world, self.device, self.batch_size = config, world, device, batch_size
        if warm:
            self.dino = Dinov2Model.from_pretrained(warm, dtype=torch.float32, attn_implementation="sdpa")
        else:
            self.dino = Dinov2Model(Dinov2Config(**config.encoders.dino, attn_implementation="sdpa"))  # pyright: ignore[reportCallIssue]  # every config takes it
            begin_from_pixels(self.dino.embeddings.patch_embeddings.projection, self.dino.embeddings.position_embeddings,
                              self._pixels(torch.from_numpy(world["images"][:128].copy())))
            begin_local(self.dino, torch.Generator().manual_seed(0))
        self.dino.to(device).train()  # pyright: ignore[reportArgumentType]  # the libraries wrap `to`, and its self gets lost
        self.patch = config.encoders.dino["patch_size"]
        self.heads = Heads(config.encoders.patch_width, self.patch).to(device)
        self.matrices = {f"dino.{n}" for n, p in self.dino.named_parameters() if p.ndim == 2 and ".layer." in n}

    def modules(self) -> Mapping[str, nn.Module]:
        return {"dino": self.dino, "heads": self.heads}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        a, b = self.world.pairs(rng, self.batch_size // 2)
        at = np.concatenate([a, b])
        seen = np.argsort(rng.random((len(at), 256)), axis=1)[:, :VISIBLE]
        return {**self.world.rows(at, "images", "labels", "masks"), "seen": torch.from_numpy(seen)}

    def _pixels(self, images: Tensor) -> Tensor:
        return normalised(images.permute(0, 3, 1, 2).float() / 255, self.config.encoders.dino_mean, self.config.encoders.dino_std)

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = self._pixels(batch["images"])
        p, side = self.patch, x.shape[-1] // self.patch
        target = x.unflatten(2, (side, p)).unflatten(4, (side, p)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2)
        share = batch["masks"].flatten(1).float() / 255
        tokens = self.dino.embeddings(x)
        if self.done < WHOLE:
            at = batch["seen"]
            tokens = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, at[..., None].expand(-1, -1, tokens.shape[-1]))], 1)
            share, target = share.gather(1, at), target.gather(1, at[..., None].expand(-1, -1, target.shape[-1]))
        out = self.dino.layernorm(self.dino.encoder(tokens).last_hidden_state)
        first, patches = out[:, 0], out[:, 1:]
        who = F.normalize(self.heads.who(first).float(), dim=-1)
        a, b = who.chunk(2)
        same, found = contrast(self.heads.temperature.exp().clamp(max=50) * a @ b.T)
        names, right = attribute_loss(self.heads.names(first), batch["labels"])
        # the class token learns where to look only slowly; the subject's own patches, pooled, show it the way
        pooled = (patches * share[..., None]).sum(1) / share.sum(1, keepdim=True).clamp_min(1)
        pooled_names, pooled_right = attribute_loss(self.heads.pooled(pooled), batch["labels"])
        on, at = (share > 0.5).nonzero(as_tuple=True)
        local_names, local_right = attribute_loss(self.heads.local(patches[on, at]), batch["labels"][on], WEIGHTS[:4])
        paint = (self.heads.paint(patches).float() - target).abs().mean()
        subject = F.binary_cross_entropy_with_logits(self.heads.subject(patches).squeeze(-1).float(), share)
        loss = 0.3 * same + 4 * names + 4 * pooled_names + 4 * local_names + paint + subject
        return loss, {"same": found, "kind": right[0], "pooled_kind": pooled_right[0], "pooled_pattern": pooled_right[3],
                      "local_kind": local_right[0], "colour": right[1], "second": right[2], "pattern": right[3], "eyes": right[8], "style": right[6],
                      "worn": right[9:].mean(), "paint": paint.detach(), "subject": subject.detach()}

    def export(self, folder: Path) -> None:
        save_module(self.dino, folder)


# what is worn is small and mostly absent: counted like the kind, or it is never learned
CLIP_WEIGHTS = (6, 2, 1, 6, 2, 1, 1, 2, 0.2, *(4.0,) * len(ACCESSORIES))


def inner_clip_matrices(clip: Any) -> set[str]:
    """Names of the kernels and matrices inside both towers, for Muon."""
    return {f"clip.{n}" for n, p in clip.named_parameters() if p.ndim == 4 and n.startswith("visual.layer") or p.ndim == 2 and ".resblocks." in n}


def image_features(clip: Any, images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> unit vectors (B, d_F), at the tower's own size."""
    tower, side = clip.visual, clip.visual.image_size
    x = resize(images.permute(0, 3, 1, 2).float() / 255, side[0] if isinstance(side, (tuple, list)) else side)
    return F.normalize(clip.encode_image(normalised(x, tower.image_mean, tower.image_std)).float(), dim=-1)


class ClipTask(Task):
    name, lr = "clip", 1.5e-3

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, batch_size: int = 64, warm: Path | None = None) -> None:
        self.config, self.world, self.device, self.batch_size = config, world, device, batch_size
        self.clip = load_clip(config, warm).requires_grad_(True) if warm else build_clip(config.encoders.clip)
        self.clip.to(device).train()
        self.matrices = inner_clip_matrices(self.clip)
        self.names = nn.Linear(config.mllm.semantic_width, sum(CLASSES)).to(device)
        self.local = nn.Linear(16 * cast(Mapping[str, Any], config.encoders.clip)["vision_cfg"]["width"], sum(CLASSES)).to(device)
        self.stage: Tensor | None = None
        self.clip.visual.layer3.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, out: Tensor) -> None:
        self.stage = out

    def modules(self) -> Mapping[str, nn.Module]:
        return {"clip": self.clip, "names": self.names, "local": self.local}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        if rng.random() < 0.02:
            self.world.refresh()
        at = np.sort(self.world.pictures(rng, self.batch_size))
        texts = self.world["captions"][at, rng.integers(0, CAPTIONS, len(at))]
        return {**self.world.rows(at, "images", "labels", "masks"), "texts": torch.from_numpy(texts)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        seen = image_features(self.clip, batch["images"])
        said = self.names(seen * cast(float, self.config.encoders.semantic_norm))
        names, named = attribute_loss(said, batch["labels"], CLIP_WEIGHTS)
        assert self.stage is not None  # the hook has just kept it
        share = F.adaptive_avg_pool2d(batch["masks"].float() / 255, self.stage.shape[-1])
        of, y, x = (share > 0.4).nonzero(as_tuple=True)
        local, found = attribute_loss(self.local(self.stage[of, :, y, x]), batch["labels"][of], CLIP_WEIGHTS)
        read = F.normalize(self.clip.encode_text(batch["texts"].long()).float(), dim=-1)
        loss, right = contrast(self.clip.logit_scale.exp().clamp(max=100) * seen @ read.T)
        return loss + 8 * names + 8 * local, {"kind": named[0], "local_kind": found[0], "colour": named[1], "context": named[4], "style": named[6],
                                              "worn": self._worn(said.detach(), batch["labels"]), "right": right,
                                              "scale": self.clip.logit_scale.detach().exp()}

    @staticmethod
    def _worn(logits: Tensor, labels: Tensor) -> Tensor:
        """Of what is worn, the share that is named with its colour."""
        right = torch.stack([p.argmax(1) for p in logits.split(CLASSES, 1)[9:]], 1) == labels[:, 9:]
        return right[labels[:, 9:] > 0].float().mean()

    def export(self, folder: Path) -> None:
        save_clip(self.clip, cast(Mapping[str, Any], self.config.encoders.clip), folder)
        caption_tokenizer(self.config).save_pretrained(folder)


GUIDANCE = 3.0
EARLIEST, LATEST, KEPT = 250, 850, 500  # timesteps from which a picture is redrawn: at the least, at most, and at most for what is worn to stay
EACH = 150  # timesteps a step takes
TOGETHER = 32
CLEAN = 0.5  # share of a batch that is as it was drawn


@torch.no_grad()
def redraw(world: WorldDataset, decoder: LatentDiffusion, folder: Path, count: int, seed: int, latest: int = LATEST) -> None:
    """Write `count` pictures that were redrawn from timesteps before `latest`: their latents, float16 (count, C, h, w), as pictures, uint8 (count, H, W, 3),
    and which of the set's each one was, (count,)."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    side = world["images"].shape[1]
    begun = folder.with_name(f"{folder.name}-begun")
    latents = (decoder.vae.config.latent_channels, *[side // 2 ** (len(decoder.vae.config.block_out_channels) - 1)] * 2)
    out = arrays(begun, {"latents": (np.float16, (count, *latents)), "images": (np.uint8, (count, side, side, 3)), "at": (np.int32, (count,))}, "w+")
    scheduler, plan = make_scheduler("ddim", decoder.scheduler_config), text_guidance(GUIDANCE)
    empty, rows, abar = decoder.encode_text([""]), plan.active_rows(0, 1), scheduler.alphas_cumprod
    for start in range(0, count, TOGETHER):
        at = np.sort(world.pictures(rng, min(TOGETHER, count - start)))
        texts = torch.from_numpy(world["captions"][at, rng.integers(0, CAPTIONS, len(at))].astype(np.int64))
        context = AttentionContext({TEXT: decoder.text_encoder(texts).last_hidden_state, EMPTY: empty})
        first = int(rng.integers(EARLIEST, latest))
        times = np.linspace(first, 0, 1 + max(1, round(first / EACH))).astype(int)
        x = latents_of(decoder.vae, torch.from_numpy(world["images"][at]).permute(0, 3, 1, 2).float() / 255)
        x = abar[first].sqrt() * x + (1 - abar[first]).sqrt() * torch.randn(x.shape, generator=generator)
        for k, (t, after) in enumerate(zip(times, times[1:])):
            context.begin(rows, len(at), k, len(times) - 1)
            said = predict(decoder.unet, torch.cat([x] * len(rows)), torch.tensor(int(t)), context)
            v = guide(plan.streams[0], dict(zip((row.name for row in rows), said.chunk(len(rows)))))
            clean, noise = estimate_x0(scheduler, v, int(t), x), abar[t].sqrt() * v + (1 - abar[t]).sqrt() * x
            x = abar[after].sqrt() * clean + (1 - abar[after]).sqrt() * noise if after else clean
        for name, found in (("latents", x.half().numpy()), ("images", decoder.decode(x)), ("at", at)):
            out[name][start:start + len(at)] = found
        print(f"redrawn {start + len(at)} of {count}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    begun.rename(folder)


class RobustTask(Task):
    """Args: folder: of `redraw`. init: the encoder as it is."""

    name, lr = "robust", 5e-4

    def __init__(self, config: AssistantConfig, world: WorldDataset, folder: Path, device: str, init: Path, batch_size: int = 64) -> None:
        self.config, self.world, self.device, self.batch_size = config, world, device, batch_size
        self.redrawn = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "at")}
        self.clip, self.before = (load_clip(config, init).to(device) for _ in range(2))
        self.clip.visual.requires_grad_(True)  # its batch norms stay as they are
        self.matrices = inner_clip_matrices(self.clip)

    def modules(self) -> Mapping[str, nn.Module]:
        return {"clip": self.clip}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        redrawn = np.sort(rng.integers(0, len(self.redrawn["at"]), self.batch_size - round(CLEAN * self.batch_size)))
        at = np.sort(self.world.pictures(rng, self.batch_size - len(redrawn)))
        clean = self.world["images"][np.concatenate([self.redrawn["at"][redrawn], at])]
        return {"clean": torch.from_numpy(clean), "images": torch.from_numpy(np.concatenate([self.redrawn["images"][redrawn], clean[len(redrawn):]]))}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            wanted = image_features(self.before, batch["clean"])
        apart = 1 - (image_features(self.clip, batch["images"]) * wanted).sum(-1)
        redrawn = self.batch_size - round(CLEAN * self.batch_size)
        return apart.mean(), {"redrawn": apart[:redrawn].mean().detach(), "clean": apart[redrawn:].mean().detach()}

    def export(self, folder: Path) -> None:
        save_clip(self.clip, cast(Mapping[str, Any], self.config.encoders.clip), folder)
        caption_tokenizer(self.config).save_pretrained(folder)
