"""`python -m assistant.training cost`: what training at a preset's size takes, in GPU hours, memory and disk, as Markdown.

Of one sample of each stage, arithmetic is counted on the meta device, memory on fake tensors, time on a real device; nothing but the measurements allocates a
full-size model. What is measured on this machine and what is computed from counted arithmetic stand in tables of their own and are never mixed.
"""

import argparse
import gc
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ..config import AssistantConfig
from ..controls.cafe import SemanticValues, training_context
from ..diffusion import attention
from ..errors import ConfigError
from ..model_factory import build, count
from ..models.mllm import Bridge, pooled
from ..presets import MINIATURE
from ..machine import Step, flops, in_turns
from .datasets import LATENTS, PATCHES, SEMANTICS, EncodedDialogues, EncodedPairs, Encoder, Shapes
from .loop import Options, Task, Trainer
from .recipe import BRIDGE, CAFE, CARDS, Plan

WORDS = 160  # tokens of y and the reply, about


def decoder_modules(config: AssistantConfig) -> tuple[Any, SemanticValues]:
    """G's UNet and V_H, to be trained, on the default device."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(**config.decoder.unet, cross_attention_dim=config.encoders.patch_width).train()
    attention.install(unet, "sdpa")
    return unet, SemanticValues.of(unet, config.mllm.semantic_width)


def _decoded(config: AssistantConfig, unet: Any, values: SemanticValues, batch: int, device: str) -> Tensor:
    shapes = Shapes.of(config)
    latents, patches, semantics = (torch.empty(batch, *s, device=device) for s in (shapes.latents, shapes.patches, shapes.semantics))
    context = training_context(values, patches, semantics, *torch.empty(2, batch, device=device))
    t = torch.zeros(batch, dtype=torch.long, device=device)
    return unet(latents, t, None, cross_attention_kwargs={"context": context}, return_dict=False)[0].float().mean()


def _answered(llama: Any, bridge: Bridge, config: AssistantConfig, batch: int, device: str) -> Tensor:
    """Eq. 2 on a picture and `WORDS` tokens."""
    dtype = llama.get_input_embeddings().weight.dtype
    seen = bridge.V(torch.empty(batch, config.picture_tokens, config.encoders.patch_width, device=device)).to(dtype)
    words = llama.get_input_embeddings()(torch.zeros(batch, WORDS, dtype=torch.long, device=device))
    whole = torch.cat([seen, words], 1)
    causal = torch.zeros(batch, 1, whole.shape[1], whole.shape[1], dtype=dtype, device=device)  # ready made: M's own needs numbers to look at
    hidden = llama.model(inputs_embeds=whole, attention_mask=causal, use_cache=False).last_hidden_state
    spoken = llama.lm_head(hidden[:, -WORDS // 2:])
    return spoken.float().mean() + bridge.H(hidden[:, -1].float()).mean()


@dataclass(frozen=True)
class Counts:
    """Of one sample: floating-point operations. Of a whole model: parameters."""

    encode: float  # E, F and the autoencoder
    bridge: float  # one step's share, M computed once forwards and once backwards, without its weights' gradients
    bridge_again: float  # a second forward of M, with checkpointing
    decoder: float
    row: float  # one row of G at one step of denoising: its second forward too, with checkpointing
    parameters: dict[str, int]


def counted(config: AssistantConfig) -> Counts:
    """On the meta device; multiply-adds count as two, and attention in full."""
    parts, d = cast(dict[str, Any], build(config, "meta")), config.decoder
    side, clip_side = config.encoders.side, parts["clip"].visual.image_size
    clip_side = clip_side[0] if isinstance(clip_side, (tuple, list)) else clip_side

    def pixels(side: int) -> Tensor:
        return torch.empty(1, 3, side, side, device="meta")

    with torch.no_grad():
        encode = sum(map(flops, (lambda: parts["dino"](pixel_values=pixels(side)), lambda: parts["clip"].encode_image(pixels(clip_side)),
                                  lambda: parts["vae"].encode(pixels(d.image_size)))))
        with torch.device("meta"):
            unet, values = decoder_modules(config)
            bridge = Bridge(config.mllm, config.encoders.patch_width)
        row = flops(lambda: _decoded(config, unet, values, 1, "meta"))
        answer = flops(lambda: _answered(parts["llama"], bridge, config, 1, "meta"))
    decoder = flops(lambda: _decoded(config, unet, values, 1, "meta").backward())
    learned = flops(lambda: _answered(parts["llama"], bridge, config, 1, "meta").backward())
    numbers = {name: count(module) for name, module in parts.items()}
    return Counts(encode, learned, answer, decoder, row, numbers)


@contextmanager
def kept(own: set[int]) -> Iterator[dict[int, Tensor]]:
    """What autograd keeps for the backward pass inside, by storage, beside the storages `own`."""
    found: dict[int, Tensor] = {}

    def keep(t: Tensor) -> Tensor:
        place = t.untyped_storage()._cdata
        if place not in own:
            found.setdefault(place, t)  # held, so that no later storage takes its place
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        yield found


def decoder_activations(config: AssistantConfig, batch: int, checkpointing: bool) -> int:
    """Bytes that a forward pass of `batch` samples keeps, in bfloat16 autocast and without attention maps; the copies of weights that
    autocast makes are among them. What a backward pass needs for the block it is in comes on top."""
    with FakeTensorMode():
        unet, values = decoder_modules(config)
        if checkpointing:
            unet.enable_gradient_checkpointing()
        own = {p.untyped_storage()._cdata for module in (unet, values) for p in module.parameters()}
        with kept(own) as found, torch.autocast("cpu", torch.bfloat16):
            _decoded(config, unet, values, batch, "cpu")
        return sum(t.untyped_storage().nbytes() for t in found.values())


# --- measured -----------------------------------------------------------------------------------------------------------

class Noise(EncodedPairs, EncodedDialogues):
    """A source of pairs and dialogues of a preset's shapes with nothing in them, read as encoded ones are."""

    def __init__(self, config: AssistantConfig) -> None:
        self.config, self.shapes = config, Shapes.of(config)

    def __len__(self) -> int:
        return 2**20

    def _rows(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        return {name: torch.from_numpy(rng.standard_normal((count, *getattr(self.shapes, name)), np.float32)).half() for name in (LATENTS, PATCHES, SEMANTICS)}

    def pairs(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        return self._rows(rng, count)

    def batch(self, rng: np.random.Generator, count: int) -> dict[str, Tensor]:
        lines = torch.from_numpy(rng.integers(3, self.config.mllm.llama["vocab_size"], (count, WORDS)))
        rows = self._rows(rng, count)
        return {"lines": lines, "spoken": torch.arange(WORDS).expand(count, -1) >= WORDS // 2, "token_at": torch.full((count,), WORDS - 1),
                PATCHES: pooled(rows[PATCHES].float(), self.config.mllm.picture_side).half(), SEMANTICS: rows[SEMANTICS]}


class NoWords:
    """In a tokenizer's place, where ids mean nothing."""

    bos_token_id, eos_token_id, unk_token_id, all_special_tokens = 1, 2, 0, ["</s>"]

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return [3]

    def convert_tokens_to_ids(self, token: str) -> int:
        return 3


@dataclass(frozen=True)
class Timing:
    """Seconds and bytes, measured."""

    part: float  # a part's forward and backward pass; of the encoders, a batch
    update: float  # clipping, optimizer and averages
    samples: int  # in that part
    peak: int | None  # bytes of GPU memory, all in all; None on a CPU


def _clock(device: torch.device, run: Callable[[], object]) -> float:
    """The faster of two runs after one that warms up."""
    return min(in_turns({"": Step(run)}, 2, device, warm=1)[""])


def _timed(task: Task, device: str) -> Timing:
    where = torch.device(device)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(task, Path(folder), Path(folder), Options(steps=1000, device=device, parts=1))
        drawn = trainer.batches(0)
        part = _clock(where, lambda: trainer.gradients(drawn))

        def update() -> None:
            for p in trainer.params.values():
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            trainer.update()

        whole = _clock(where, update)
    return Timing(part, whole, task.batch_size, torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None)


def measured_decoder(config: AssistantConfig, device: str, samples: int, checkpointing: bool) -> Timing:
    """Steps of the decoder's own task, with random weights."""
    from .decoder import CafeTask

    with torch.device(device):
        unet, _ = decoder_modules(config)
    return _timed(CafeTask(config, Noise(config), device, Path(), samples, shared=(unet, None), numbers=CAFE, checkpointing=checkpointing), device)


def measured_bridge(config: AssistantConfig, device: str, samples: int, checkpointing: bool) -> Timing:
    """Steps of the bridge's own task, with an M of random weights: in bfloat16 on a GPU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from .mllm import ProjectorTask

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32)
    try:
        with torch.device(device):
            llama = LlamaForCausalLM(LlamaConfig(**config.mllm.llama)).eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
    return _timed(ProjectorTask(config, Noise(config), device, Path(), samples, numbers=BRIDGE, llama=(llama, NoWords()), checkpointing=checkpointing), device)


def measured_encode(config: AssistantConfig, device: str, samples: int) -> Timing:
    """E, F and the autoencoder as `encode` runs them, with random weights."""
    from diffusers import AutoencoderKL
    from transformers import Dinov2Config, Dinov2Model

    from ..models.vision_encoders import VisionEncoders
    from ..checkpoints import build_clip

    where = torch.device(device)
    with where:
        vision = VisionEncoders(config.encoders, Dinov2Model(Dinov2Config(**config.encoders.dino)), build_clip(config.encoders.clip))
        encoder = Encoder(config, vision.eval(), AutoencoderKL(**config.decoder.vae).eval(), device)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    pictures = torch.rand(samples, 3, config.decoder.image_size, config.decoder.image_size)
    seconds = _clock(where, lambda: encoder.encode(pictures, pictures))
    return Timing(seconds, 0.0, samples, torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None)


COARSE = 0.56  # bytes of a weight in 4 bits, with its scales and what stays in half precision
ROWS, BASE_ROWS, STEPS = 3, 2, 20  # of a target by eq. 4: G's guided rows, the base model's for w, and steps of denoising


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count < 1e12 else f"{count / 1e12:.2f} TB"


def memory(config: AssistantConfig, counts: Counts, plan: Plan) -> dict[str, str]:
    """Computed bytes of each stage, in words: weights, gradients, AdamW's two moments and the averages in float32, and activations."""
    p = counts.parameters
    trained, m, bridge = p.get("cafe", p["unet"]) + p["values"], p["llama"], 20 * p["bridge"]
    kept = {again: decoder_activations(config, plan.part, again) for again in (False, True)}
    layers = config.mllm.llama["num_hidden_layers"] * config.mllm.llama["hidden_size"]
    held = 2 * layers * plan.part * (WORDS + config.picture_tokens)  # with checkpointing: what goes into each layer, in half precision
    return {"encode": f"{_gb(4 * (p['dino'] + p['clip'] + p['vae']))} of weights",
            "bridge": f"{_gb(2 * m + bridge + held)} with M in bfloat16, {_gb(COARSE * m + bridge + held)} in 4 bits; of these activations {_gb(held)}",
            "decoder": f"{_gb(20 * trained + kept[True])} with --checkpointing, {_gb(16 * trained + kept[True])} with --ema-device cpu too; of these "
            f"activations {_gb(kept[True])} (without checkpointing {_gb(kept[False])}), and for a while the block being computed again"}


def disk(config: AssistantConfig, counts: Counts, plan: Plan) -> dict[str, str]:
    trained = counts.parameters.get("cafe", counts.parameters["unet"]) + counts.parameters["values"]
    one = Shapes.of(config).bytes
    return {"encode": f"{_gb(one * plan.samples)} ({one:,} bytes a sample)", "bridge": _gb(16 * counts.parameters["bridge"]),
            "decoder": f"{_gb(16 * trained)} of state, {_gb(2 * trained)} of weights"}


def work(counts: Counts, plan: Plan) -> dict[str, tuple[float, float]]:
    """Stage -> (samples, floating-point operations a sample), checkpointing included."""
    target = STEPS * (ROWS + BASE_ROWS) * counts.row + counts.encode
    return {"encode": (plan.samples, counts.encode), "bridge": (plan.samples * plan.epochs, counts.bridge + counts.bridge_again),
            "decoder": (plan.samples * plan.epochs, counts.decoder + counts.row), "SID round: targets": (plan.samples / plan.keep, target)}


def computed(config: AssistantConfig, plan: Plan) -> list[str]:
    """The table of what is computed."""
    counts, speed = counted(config), CARDS[plan.card] * 1e12 * plan.share
    room, place = memory(config, counts, plan), disk(config, counts, plan)
    lines = [f"### Computed for `{config.name}`: {plan.samples:,} quadruplets, {plan.epochs:g} epochs", "",
             f"Nothing here is measured. Arithmetic is counted on the meta device, and {plan.card} hours follow from an assumed {plan.share:.0%} of its "
             f"{CARDS[plan.card]:g} bfloat16 TFLOP/s. Activations are counted for parts of {plan.part} samples; M reads {config.picture_tokens} tokens of "
             f"the picture and {WORDS} of words.", "", f"| stage | samples | TFLOP a sample | {plan.card} hours | memory | disk |", "|---|---|---|---|---|---|"]
    for name, (samples, each) in work(counts, plan).items():
        lines.append(f"| {name} | {samples:,.0f} | {each / 1e12:.3g} | {samples * each / speed / 3600:,.3g} | {room.get(name, '')} | {place.get(name, '')} |")
    lines += ["", f"A further SID round is its targets ({STEPS} steps of {ROWS} guided rows of G and {BASE_ROWS} of the base model for w, {plan.keep:.0%} "
              "kept; a w that is retrieved costs nothing), encoding them, and the decoder's row once more on all data so far."]
    return lines


def _tried(measure: Callable[[], Timing]) -> Timing | str:
    try:
        return measure()
    except torch.OutOfMemoryError:
        return "does not fit on this GPU"
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measured(config: AssistantConfig, device: str, plan: Plan) -> list[str]:
    """The table of what is measured here: real steps of the real tasks on random weights."""
    cuda = torch.device(device).type == "cuda"
    where = torch.cuda.get_device_name(device) if cuda else f"this machine's CPU, {torch.get_num_threads()} threads"
    lines = [f"### Measured with `{config.name}` on {where}", "",
             f"Steps with random weights, {'bfloat16 and checkpointing' if cuda else 'float32'}, parts of {plan.part} samples; hours are for "
             f"{plan.samples:,} quadruplets and {plan.epochs:g} epochs.", "",
             "| stage | batch | seconds a step | samples a second | hours on one | peak memory |", "|---|---|---|---|---|---|"]
    stages = {"encode": (plan.part, 1.0, lambda: measured_encode(config, device, plan.part)),
              "bridge": (BRIDGE.batch, plan.epochs, lambda: measured_bridge(config, device, plan.part, cuda)),
              "decoder": (CAFE.batch, plan.epochs, lambda: measured_decoder(config, device, plan.part, cuda))}
    for name, (batch, epochs, measure) in stages.items():
        found = _tried(measure)
        if isinstance(found, str):
            lines.append(f"| {name} | {batch} | {found} | | | |")
            continue
        step = found.part * batch / found.samples + found.update
        peak = _gb(found.peak) if found.peak is not None else "not measured"
        lines.append(f"| {name} | {batch} | {step:.3g} | {batch / step:.3g} | {plan.samples * epochs * step / batch / 3600:,.3g} | {peak} |")
    return lines


def run(args: argparse.Namespace, config: AssistantConfig) -> str:
    """The whole report. On a CPU only the miniature is measured, whatever the preset: nobody trains the others there."""
    if config.vision is None or config.adapters is not None:
        raise ConfigError(f"The preset {config.name!r} has no CAFE to train.", "Choose full or miniature.")
    plan = Plan(args.samples, args.epochs, args.keep, args.card, args.share)
    if args.threads:
        torch.set_num_threads(args.threads)
    cuda = args.device == "cuda"
    parts = [measured(config if cuda else MINIATURE, args.device, plan), computed(config, plan)]
    return "\n".join("\n".join(part) + "\n" for part in parts)
