"""Trains the autoencoder (AutoencoderKL, encoder and decoder together) so that a small UNet can diffuse its latents.

Crops of pictures are encoded, noise is added to the latents, and the decoder restores the crop (latent denoising, Yang et al., 2025, arXiv 2507.15856). A latent
that its neighbours foretell survives the noise, one that they do not is worth little, and the decoder learns to forgive what a sampler leaves. In a quarter of the
steps the latents are halved in size and decoded to the halved picture (scale equivariance, Kouzelis et al., 2025, arXiv 2502.09509). Then the decoder alone
is taught to draw sharply what the UNet leaves (`SharpTask`); the encoder, and so all cached latents, stay as they are.

On a CPU in bfloat16, oneDNN's convolutions are about twice as fast with channels last where pictures are large (here; a UNet of 16x16 latents gains nothing), but
PyTorch's own GroupNorm backward is five to fifteen times slower there than it need be, and takes the gain away. `ChannelsLastGroupNorm` is written with
whole-tensor operations: sums over positions, then one scale and one shift for each channel (Wu and He, 2018, arXiv 1803.08494, eq. 1 to 3, and their derivative).
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torchvision.utils import save_image

from ..checkpoints import load_vae, save_module, save_preview
from ..config import AssistantConfig
from .loop import Task
from .losses import inner_matrices, loss_weight
from .world_dataset import WorldDataset

RUN = 64  # positions that are summed in bfloat16's own kernel (which accumulates in float32) before the sums are summed in float32


def _sums(x: Tensor) -> Tensor:
    """(B, n, C) -> (B, C), in float32."""
    batch, n, channels = x.shape
    return x.sum(1, dtype=torch.float32) if n % RUN else x.view(batch, n // RUN, RUN, channels).sum(2).float().sum(1)


def _rows(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h w, C), a view where channels come last in memory."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, x.shape[1])


class ChannelsLastGroupNorm(torch.autograd.Function):
    """(B, C, h, w), weight (C,), bias (C,), groups, eps -> (B, C, h, w) of the same type, channels last."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        rows, (batch, channels, h, w) = _rows(x), x.shape
        count = rows.shape[1] * channels // groups
        sums, squares = (_sums(t).view(batch, groups, -1).sum(-1, keepdim=True) / count for t in (rows, rows * rows))
        inverse = (squares - sums * sums).clamp_min(0).add(eps).rsqrt()  # (B, groups, 1)
        scale = inverse * weight.float().view(1, groups, -1)
        shift = bias.float().view(1, groups, -1) - sums * scale
        y = torch.addcmul(*(t.view(batch, 1, channels).to(x.dtype) if t is not rows else t for t in (shift, rows, scale)))
        ctx.save_for_backward(x, weight, sums, inverse)
        return y.view(batch, h, w, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight, mean, inverse = ctx.saved_tensors
        batch, channels, h, w = x.shape
        groups = mean.shape[1]
        grad, rows = _rows(grad), _rows(x)
        along, plain = (_sums(t).view(batch, groups, -1) for t in (grad * rows, grad))  # (B, groups, C / groups)
        d_weight, d_bias = ((along - plain * mean) * inverse).sum(0).view(channels), plain.sum(0).view(channels)
        scales, count = weight.float().view(1, groups, -1), rows.shape[1] * channels // groups
        along, plain = ((t * scales).sum(-1, keepdim=True) for t in (along, plain))
        by_x = (plain * mean - along) * inverse ** 3 / count
        constant = -by_x * mean - plain * inverse / count
        wide = [t.expand(batch, groups, channels // groups).reshape(batch, 1, channels).to(x.dtype) for t in (inverse * scales, by_x, constant)]
        d_x = torch.addcmul(torch.addcmul(wide[2], rows, wide[1]), grad, wide[0])
        return d_x.view(batch, h, w, channels).permute(0, 3, 1, 2), d_weight, d_bias, None, None


def use_channels_last(network: nn.Module) -> None:
    """Lay a network's kernels out with channels last and give its GroupNorms this function under bfloat16 autocast; its results stay."""
    cast(Any, network).to(memory_format=torch.channels_last)  # of the stub's overloads none has this argument alone
    for module in network.modules():
        if isinstance(module, nn.GroupNorm) and "forward" not in vars(module):
            cast(Any, module).forward = _forward_of(module)


def _forward_of(norm: nn.GroupNorm):
    def forward(x: Tensor) -> Tensor:
        if x.ndim == 4 and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
            return cast(Tensor, ChannelsLastGroupNorm.apply(x.to(torch.bfloat16), norm.weight, norm.bias, norm.num_groups, norm.eps))
        return nn.GroupNorm.forward(norm, x)

    return forward


CROP = 64  # pixels, each way
NOISE = 0.5  # the strongest noise on the latents, in units of their spread
HALVED = 0.25  # share of the steps at half the scale
KL = 1e-4  # weight of the posterior's divergence from a standard normal distribution


class VaeTask(Task):
    name, lr = "vae", 2e-3

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, batch_size: int = 32, init: Path | None = None) -> None:
        """`init`: a folder of weights to go on from."""
        self.world, self.device, self.batch_size = world, device, batch_size
        self.vae: Any = load_vae(init) if init else AutoencoderKL(**config.decoder.vae, scaling_factor=1.0)
        self.vae.to(device)
        if torch.device(device).type == "cpu":
            use_channels_last(self.vae)
        for module in self.modules().values():
            module.requires_grad_(True).train()
        self.matrices = {n for name, module in self.modules().items() for n in inner_matrices(name, module) if "quant" not in n}

    def modules(self) -> Mapping[str, nn.Module]:
        return {name: getattr(self.vae, name) for name in ("encoder", "quant_conv", "decoder", "post_quant_conv")}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        at = self.world.pictures(rng, self.batch_size)
        side = self.world["images"].shape[1]
        corners = 8 * rng.integers(0, (side - CROP) // 8 + 1, (self.batch_size, 2))
        mirror = rng.random(self.batch_size) < 0.5
        images = [self.world["images"][i, y:y + CROP, x:x + CROP] for i, (y, x) in zip(at, corners)]
        weights = [self.world["weights"][i, y // 8:(y + CROP) // 8, x // 8:(x + CROP) // 8] for i, (y, x) in zip(at, corners)]
        images, weights = ([t[:, ::-1] if m else t for t, m in zip(all_, mirror)] for all_ in (images, weights))
        return {"images": torch.from_numpy(np.stack(images)), "weights": torch.from_numpy(np.stack(weights)), "halved": torch.tensor(rng.random() < HALVED)}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["images"].permute(0, 3, 1, 2).float() / 127.5 - 1  # (B, 3, CROP, CROP)
        posterior = self.vae.encode(x).latent_dist
        mean, logvar = posterior.mean.float(), posterior.logvar.float().clamp(-12, 4)
        z = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, device=mean.device, generator=generator)
        level = NOISE * torch.rand(len(z), 1, 1, 1, device=z.device, generator=generator)
        # one spread for all channels: what matters more to the picture gets more of it, and is heard longer through noise
        z = z + level * mean.detach().std() * torch.randn(z.shape, device=z.device, generator=generator)
        weight = loss_weight(F.interpolate(batch["weights"][:, None].float(), x.shape[-2:]))
        if batch["halved"]:
            z, x, weight = (F.interpolate(t, scale_factor=0.5, mode="bilinear", antialias=True) for t in (z, x, weight))
        difference = self.vae.decode(z).sample.float() - x
        pixel = (weight * difference.abs()).mean()
        edges = sum((difference.diff(dim=d).abs() * weight.narrow(d, 1, weight.shape[d] - 1)).mean() for d in (2, 3))
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        psnr = 10 * torch.log10(4 / difference.detach().square().mean(dim=(1, 2, 3)).clamp_min(1e-6)).mean()
        return pixel + 0.5 * edges + KL * divergence, {"pixel": pixel.detach(), "psnr": psnr, "kl": divergence.detach()}

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """The autoencoder, with latents of mean 0 in each channel and spread 1 over all, and the linear preview beside it."""
        at = np.sort(self.world.pictures(np.random.default_rng(7), 512))
        x = torch.from_numpy(self.world["images"][at]).to(self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        encode = lambda: torch.cat([self.vae.encode(part).latent_dist.mean for part in x.split(64)])  # noqa: E731
        z = encode()
        mean, spread = z.mean((0, 2, 3)), (z - z.mean((0, 2, 3), keepdim=True)).std()
        into, out, channels = self.vae.quant_conv, self.vae.post_quant_conv, len(mean)
        out.bias += out.weight[:, :, 0, 0] @ mean  # first, while its weights still take unscaled latents
        out.weight *= spread
        into.bias[:channels] = (into.bias[:channels] - mean) / spread
        into.weight[:channels] /= spread
        into.bias[channels:] -= 2 * spread.log()
        z, side = encode(), x.shape[-1] // z.shape[-1]
        small = F.avg_pool2d(x, side).movedim(1, -1).flatten(0, -2) / 2 + 0.5
        flat = z.movedim(1, -1).flatten(0, -2)
        fit = torch.linalg.lstsq(torch.cat([flat, torch.ones_like(flat[:, :1])], 1), small).solution
        save_module(self.vae, folder)
        save_preview(folder, fit[:-1], fit[-1])

    @torch.no_grad()
    def sheet(self, path: Path) -> None:
        """Pairs of picture and reconstruction."""
        x = torch.from_numpy(self.world["images"][np.sort(self.world.pictures(np.random.default_rng(5), 32))]).to(self.device)
        x = x.movedim(-1, 1) / 255
        y = self.vae.decode(self.vae.encode(2 * x - 1).latent_dist.mean).sample / 2 + 0.5
        save_image(torch.stack([x, y], 1).flatten(0, 1).clamp(0, 1), path, nrow=8, pad_value=1)


RESTORED = 0.5  # share of a batch whose latents the UNet has denoised
ADVERSARIAL, MATCHED = 1.5, 1.0  # how much the critic's two gradients count beside that of the restoration's error, each at that one's length


class SharpTask(VaeTask):
    """Teaches the decoder alone to draw outlines in place of their average: an L1 loss blurs what the latents do not say.

    A critic of patches (Isola et al., 2017, arXiv 1611.07004; hinge loss) tells drawings from what is decoded, as in VQGAN (Esser et al., 2021, arXiv 2012.09841),
    and its features of both are brought together (Wang et al., 2018, arXiv 1711.11585, eq. 4). Half of the latents are pictures of the set that the UNet denoised
    (`vision_encoders.redraw`), since that is what the decoder is given in use. The critic is not exported.

    Args:
        latents: (N, C, h, w) of every ready picture. redrawn: a folder of `vision_encoders.redraw`. init: the autoencoder as it is.
    """

    name, lr = "sharp", 5e-4

    def __init__(self, config: AssistantConfig, world: WorldDataset, latents: Tensor, redrawn: Path, device: str, init: Path, batch_size: int = 16) -> None:
        widths = (3, 32, 64, 128)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the critic's first weights
            stages = [nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(a, b, 4, 2, 1)), nn.LeakyReLU(0.2)) for a, b in zip(widths, widths[1:])]
            self.critic = nn.ModuleList([*stages, nn.Conv2d(widths[-1], 1, 3, 1, 1)]).to(device)
        super().__init__(config, world, device, batch_size, init)
        self.matrices = {name for name in self.matrices if not name.startswith("critic.")}
        self.init, self.latents, self.redrawn = init, latents, {name: np.load(redrawn / f"{name}.npy", mmap_mode="r") for name in ("latents", "at")}

    def modules(self) -> Mapping[str, nn.Module]:
        trained = super().modules()
        return {"decoder": trained["decoder"], "post_quant_conv": trained["post_quant_conv"], "critic": self.critic}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        own = round(RESTORED * self.batch_size)
        again, at = rng.integers(0, len(self.redrawn["at"]), own), self.world.pictures(rng, self.batch_size - own)
        images = self.world["images"][np.concatenate([self.redrawn["at"][again], at])]
        latents = torch.cat([torch.from_numpy(self.redrawn["latents"][again]), self.latents[torch.from_numpy(at)].cpu()]).float()
        side, ratio = latents.shape[-1], images.shape[1] // latents.shape[-1]
        n, room = CROP // ratio, side - CROP // ratio + 1
        corners = rng.integers(0, room, (self.batch_size, 2))
        return {"latents": torch.stack([z[:, y:y + n, x:x + n] for z, (y, x) in zip(latents, corners)]),
                "images": torch.from_numpy(np.stack([i[ratio * y:ratio * y + CROP, ratio * x:ratio * x + CROP] for i, (y, x) in zip(images, corners)]))}

    def _features(self, x: Tensor, frozen: bool) -> list[Tensor]:
        out = []
        for stage in self.critic:
            weights: dict[str, Tensor] = {n: t.detach() if frozen else t for n, t in stage.named_parameters()}
            x = torch.func.functional_call(stage, weights, (x,))
            out.append(x)
        return out

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x = batch["images"].permute(0, 3, 1, 2).float() / 127.5 - 1
        z, own = batch["latents"], round(RESTORED * self.batch_size)
        level = NOISE * torch.rand(len(z), 1, 1, 1, device=z.device, generator=generator)
        level[:own] = 0  # what the UNet leaves is theirs
        drawn = self.vae.decode(z + level * torch.randn(z.shape, device=z.device, generator=generator)).sample.float()
        real, fake = self._features(x, False), self._features(drawn.detach(), False)
        critic = F.relu(1 - real[-1]).mean() + F.relu(1 + fake[-1]).mean()
        seen = self._features(drawn, True)
        difference = drawn - x
        edges = torch.stack([difference.diff(dim=d).abs().mean() for d in (2, 3)]).sum()
        matched = torch.stack([(a - b.detach()).abs().mean() for a, b in zip(seen[:-1], real[:-1])]).sum()
        errors = (difference.abs().mean() + 0.5 * edges, -seen[-1].mean(), matched)
        gradients = [torch.autograd.grad(error, drawn, retain_graph=True)[0] for error in errors]
        first = gradients[0].norm()
        along = torch.stack([weight * g * (first / g.norm().clamp_min(1e-12)) for weight, g in zip((1.0, ADVERSARIAL, MATCHED), gradients)]).sum(0)
        psnr = 10 * torch.log10(4 / difference.detach().square().mean(dim=(1, 2, 3)).clamp_min(1e-6))
        return (drawn * along).sum() + critic, {"restored": psnr[:own].mean(), "psnr": psnr[own:].mean(), "critic": critic.detach(), "matched": matched.detach()}

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """The autoencoder, with its linear preview, which is of the latents alone."""
        save_module(self.vae, folder)
        if self.init != folder:
            shutil.copyfile(self.init / "preview.safetensors", folder / "preview.safetensors")
