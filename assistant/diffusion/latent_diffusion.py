"""The decoder's modules together: pictures to latents and back, words to text states, and a sampler over them.

It is given modules and reads no file; it knows neither controls nor requests. diffusers' and transformers' modules are `Any`: no type knows the fields of their
`config`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from . import attention, sampler
from .attention import TIME_IDS, TextStates
from .low_rank import LowRank
from .guidance import GuidancePlan
from ..errors import ConfigError, UnsafeError


class LatentDiffusion:
    """UNet, autoencoder and scheduler configuration, and what may go with them.

    Args:
        unet: UNet2DConditionModel; the attention context is installed on it.
        vae: AutoencoderKL.
        scheduler_config: the stored diffusers scheduler configuration.
        text_encoder, tokenizer: CLIPTextModel and CLIPTokenizer of a text-to-image model, or None.
        semantic_values: V_H of CAFE's cross-attention layers, or None; kept here because it moves with the UNet.
        preview: matrix (C, 3) and bias (3,) from scaled latents to RGB in 0..1, or None for no previews.
        kernel: "auto", "sdpa" or "xformers".
        adapters: by name, or None; kept here because they move with the UNet.
        guided_every: of the steps that draw a learned concept, those that compute the unconditional rows, see `guidance.LatentStream`.
        text_encoder_2, tokenizer_2: SDXL's second, CLIPTextModelWithProjection, and its CLIPTokenizer, which differs in its padding; or None.

    Raises:
        ConfigError: modules that do not fit each other.
        DeviceError: an attention kernel that this machine does not have.
    """

    def __init__(self, unet: Any, vae: Any, scheduler_config: Mapping[str, Any], text_encoder: Any = None, tokenizer: Any = None, semantic_values: Any = None,
                 preview: tuple[torch.Tensor, torch.Tensor] | None = None, kernel: str = "auto", adapters: nn.ModuleDict | None = None,
                 text_encoder_2: nn.Module | None = None, tokenizer_2: Any = None, guided_every: int = 1) -> None:
        channels = vae.config.latent_channels
        if unet.config.in_channels != channels or unet.config.out_channels != channels:
            raise ConfigError(f"The UNet takes {unet.config.in_channels} channels, the autoencoder makes {channels}.", "Take two that were trained together.")
        if (text_encoder is None) != (tokenizer is None):
            raise ConfigError(f"There is {'a tokenizer' if text_encoder is None else 'a text encoder'} alone; the two come together.", "Give both or neither.")
        if preview is not None and (tuple(preview[0].shape), tuple(preview[1].shape)) != ((channels, 3), (3,)):
            raise ConfigError(f"The preview is of {tuple(preview[0].shape)} and {tuple(preview[1].shape)}; it must be of ({channels}, 3) and (3,).",
                              "Take the preview map of this autoencoder.")
        self.unet, self.vae, self.scheduler_config = unet, vae, dict(scheduler_config)
        self.text_encoder, self.tokenizer, self.semantic_values = text_encoder, tokenizer, semantic_values
        self.text_encoder_2, self.tokenizer_2 = text_encoder_2, tokenizer_2
        self.preview = preview
        self.device = unet.device  # that the UNet computes on; its weights may be elsewhere between calls
        self.adapters = adapters
        self.guided_every = guided_every
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)  # pixels per latent, each way
        attention.install(unet, kernel)
        self.unsafe: Callable[[np.ndarray], Sequence[bool]] | None = None  # of uint8 RGB (B, H, W, 3); None: nobody checks
        self.low_rank: LowRank | None = None  # LCM-LoRA, which the sampler "lcm" draws with
        self.step: Any = unet  # what the sampler calls for a step: the UNet, or a faster way through it

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> LatentDiffusion:
        """Move every module; `dtype` of UNet, V_H and text encoder. The autoencoder stays in float32: it overflows in half."""
        for module in self._movable():
            module.to(device)
            if dtype is not None and next(module.parameters()).dtype != dtype:
                module.to(dtype)
        self.vae.to(device)
        self.device = torch.device(device)
        return self

    @contextmanager
    def in_single_precision(self) -> Iterator[None]:
        """Meanwhile all that draws computes in float32, which does not overflow where half precision does; its weights are copied, and put back after it."""
        kept = [(t, t.data) for module in self._movable() for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
        kernels, step = [(p, p.kernel) for p in self.unet.attn_processors.values()], self.step
        try:
            for tensor, data in kept:
                tensor.data = data.float()
            for processor, _ in kernels:  # some kernels are for half precision alone
                processor.kernel = "sdpa"
            self.step = self.unet
            yield
        finally:
            for tensor, data in kept:
                tensor.data = data
            for processor, kernel in kernels:
                processor.kernel = kernel
            self.step = step

    def _movable(self) -> list[nn.Module]:
        """All but the autoencoder."""
        return [module for module in (self.unet, self.semantic_values, self.text_encoder, self.text_encoder_2, self.adapters, self.low_rank) if module is not None]

    def cross_layers(self) -> dict[str, Any]:
        """The UNet's cross-attention layers by name."""
        return attention.cross_layers(self.unet)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> torch.Tensor | TextStates:
        """Text states (len(prompts), N, d_text), padded and cut to the tokenizer's length as stock pipelines do; those of no words are zero in SDXL.

        Raises:
            ConfigError: this decoder has no text encoder.
        """
        if self.text_encoder is None:
            raise ConfigError("This decoder has no text encoder.", "Use the base text-to-image model.")
        length = self.tokenizer.model_max_length
        ids = self.tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        if self.text_encoder_2 is None:
            return self.text_encoder(ids.to(self.text_encoder.device))[0]
        end = (ids == self.tokenizer.eos_token_id).int().argmax(-1)
        found = self._encode_two(self.words(ids, end), end)
        silent = torch.tensor([not prompt for prompt in prompts], device=found.states.device)
        found.states[silent] = 0.0
        found.added[silent, :-TIME_IDS] = 0.0
        return found

    def words(self, ids: torch.Tensor, end: torch.Tensor | int) -> torch.Tensor:
        """Token embeddings (..., N, d_text) of tokens (..., N), those of two text encoders side by side. Both read the same tokens: stock pipelines give the
        second padding for an exclamation mark.

        Args:
            end: (...), of each text's end; what is behind it is padding.
        """
        tables, ids = [encoder.get_input_embeddings() for encoder in self._text_encoders], ids.to(self.text_encoder.device)
        if self.text_encoder_2 is None:
            return tables[0](ids)
        padding = torch.arange(ids.shape[-1], device=ids.device) > torch.as_tensor(end, device=ids.device)[..., None]
        return torch.cat([tables[0](ids), tables[1](ids.masked_fill(padding, self.tokenizer_2.pad_token_id))], -1)

    def word_spread(self) -> torch.Tensor:
        """Standard deviation of token embeddings, (d_text,) float32; one for each text encoder."""
        tables = [encoder.get_input_embeddings().weight for encoder in self._text_encoders]
        return torch.cat([table.std().float().expand(table.shape[1]) for table in tables])

    @property
    def _text_encoders(self) -> list[Any]:
        return [encoder for encoder in (self.text_encoder, self.text_encoder_2) if encoder is not None]

    def left_out(self, prompt: str) -> str:
        """A sentence that says which end of a prompt `encode_text` cuts off; empty: it reads all of it."""
        at = self.tokenizer(prompt, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        last = self.tokenizer.model_max_length - 1  # where the end token stands when it is cut
        return unread(prompt[at[last][0]:]) if len(at) > last + 1 else ""

    def encode_embeddings(self, embeddings: torch.Tensor, end: torch.Tensor | int = 0) -> torch.Tensor | TextStates:
        """Text states (b, N, d_text) of token embeddings (b, N, d_text), learned ones among them; gradients flow through. SDXL reads the last states
        but one of both text encoders, and the second's projection of the last one at the text's end.

        Args:
            end: one, or (b,), of the texts' ends.

        Raises:
            ConfigError: this decoder has no text encoder.
        """
        if self.text_encoder is None:
            raise ConfigError("This decoder has no text encoder.", "Use the base text-to-image model.")
        if self.text_encoder_2 is not None:
            return self._encode_two(embeddings, end)
        model = getattr(self.text_encoder, "text_model", self.text_encoder)
        return model.final_layer_norm(_through(model, embeddings)[-1])

    def _encode_two(self, embeddings: torch.Tensor, end: torch.Tensor | int) -> TextStates:
        models = [getattr(encoder, "text_model", encoder) for encoder in self._text_encoders]
        parts = embeddings.split([model.config.hidden_size for model in models], -1)
        (_, first), (last, second) = (_through(model, part)[:-3:-1] for model, part in zip(models, parts))
        at = end if isinstance(end, int) else end.to(last.device)
        pooled = self._text_encoders[1].text_projection(models[1].final_layer_norm(last)[torch.arange(len(last), device=last.device), at])
        height, width = (side * self.factor for side in self._sides)
        told = pooled.new_tensor([height, width, 0, 0, height, width]).expand(len(pooled), -1)
        return TextStates(torch.cat([first, second], -1), torch.cat([pooled, told], -1))

    @torch.no_grad()
    def encode_image(self, pixels: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Scaled latents (B, C, h, w) float32 of uint8 RGB (B, H, W, 3): the posterior's mode."""
        x = torch.as_tensor(pixels).permute(0, 3, 1, 2).to(self.vae.device, self.vae.dtype) / 127.5 - 1.0
        latents = self.vae.encode(x).latent_dist.mode()
        return ((latents - self._shift) * self.vae.config.scaling_factor).float()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """uint8 RGB (B, H, W, 3) of scaled latents (B, C, h, w).

        Raises:
            NotFiniteError: the autoencoder makes no numbers of them.
            UnsafeError: `unsafe` says so of one of them.
        """
        unscaled = latents / self.vae.config.scaling_factor + self._shift
        x = self.vae.decode(unscaled.to(self.vae.device, self.vae.dtype), return_dict=False)[0]
        return finished(x, self.unsafe)

    def decode_preview(self, latents: torch.Tensor) -> list[Image.Image]:
        """Rough pictures of scaled latents (B, C, h, w) at full size, without running the autoencoder.

        Raises:
            ConfigError: no preview matrix was given.
        """
        if self.preview is None:
            raise ConfigError("This decoder has no preview matrix.", "Set preview_every to 0.")
        matrix, bias = (part.to(latents) for part in self.preview)
        small = to_uint8(latents.movedim(1, -1) @ matrix + bias)  # (B, h, w, 3)
        size = (small.shape[2] * self.factor, small.shape[1] * self.factor)
        return [Image.fromarray(array).resize(size, Image.Resampling.BICUBIC) for array in small]

    def sample(self, plan: GuidancePlan, context: attention.AttentionContext, seeds: Sequence[int], steps: int, scheduler: str = "dpm++",
               on_step: sampler.OnStep | None = None, preview_every: int = 0, cancel: sampler.CancelFlag | None = None) -> sampler.Denoised:
        """Draw one image's latents per seed, at the size the UNet was made for. See `sampler.denoise`. Where pictures are checked there are no
        previews: what is not finished cannot be."""
        preview_every = preview_every if self.unsafe is None else 0
        chances = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        start = sampler.draw_noise(chances, (self.unet.config.in_channels, *self._sides), self.device)
        made = sampler.make_scheduler(scheduler, self.scheduler_config)
        if scheduler != sampler.LCM:
            return sampler.denoise(self.step, plan, made, start, steps, context, on_step, preview_every, cancel)
        if self.low_rank is None:
            raise ConfigError("There is no LCM-LoRA here to draw so few steps with.", "Choose another sampler.")
        with self.low_rank.applied():
            return sampler.denoise(self.unet, plan, made, start, steps, context, on_step, preview_every, cancel, chances)

    @property
    def _sides(self) -> tuple[int, int]:
        """Height and width of the latents."""
        side = self.unet.config.sample_size
        return (side, side) if isinstance(side, int) else tuple(side)

    @property
    def _shift(self) -> float:
        return getattr(self.vae.config, "shift_factor", None) or 0.0


def _through(model: Any, embeddings: torch.Tensor) -> list[torch.Tensor]:
    """States (b, N, d) of a CLIP text model before and behind each of its layers, of token embeddings (b, N, d)."""
    states = [model.embeddings(inputs_embeds=embeddings)]
    length, like = embeddings.shape[1], states[0]
    future = torch.full((length, length), torch.finfo(like.dtype).min, dtype=like.dtype, device=like.device).triu(1)
    for layer in model.encoder.layers:
        states.append(layer(states[-1], future[None, None]))
    return states


def unread(words: str) -> str:
    """A sentence that says that words were left out; empty: there are none."""
    words = " ".join(words.split())
    shown = words if len(words) <= 80 else f"{words[:38].rstrip()} … {words[-38:].lstrip()}"
    return f" The text encoder reads no further than this: left out was “{shown}”." if words else ""


def finished(decoded: torch.Tensor, unsafe: Callable[[np.ndarray], Sequence[bool]] | None) -> np.ndarray:
    """uint8 RGB (B, H, W, 3) of what an autoencoder decoded, (B, 3, H, W) in -1..1.

    Raises:
        NotFiniteError: it holds numbers that are none.
        UnsafeError: `unsafe` says so of one of the pictures.
    """
    sampler.check_finite("autoencoder's pixels", decoded.dtype, decoded)
    pictures = to_uint8(decoded.float().permute(0, 2, 3, 1) / 2 + 0.5)
    if unsafe is not None and (held := sum(unsafe(pictures))):
        raise UnsafeError(f"The safety checker holds {'this picture' if len(pictures) == 1 else f'{held} of {len(pictures)} pictures'} back.",
                          "Say it in other words, or draw with another seed; it errs now and then.")
    return pictures


def to_uint8(unit: torch.Tensor) -> np.ndarray:
    """RGB in 0..1, clipped and rounded."""
    return (unit.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
