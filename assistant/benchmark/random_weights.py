"""A preset's shapes with random weights, measured: nothing is downloaded, no number drawn means anything, and every second is real.

Modules are made on the device in the numbers they would be loaded in, one group after the other, so that the largest is what must fit.
"""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..model_factory import build, count
from ..diffusion.conditions import AUXILIARY_TEXT, EMPTY, TEXT
from ..config import AssistantConfig
from ..controls.cafe import Cafe, SemanticValues
from ..controls.dci import BranchTokens, Dci
from ..controls.infusion import Infusion, ConceptInstance, residual_mask
from ..diffusion.attention import AttentionControl, AttentionContext, cross_layers
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import GuidancePlan, cafe_guidance, dci_guidance, infusion_guidance, text_guidance
from ..errors import DeviceError
from ..loading import free_memory, pick_device, pick_dtype
from ..models.mllm import cache_of, sampled
from ..presets import preset
from ..memory.offloading import free
from .unet_step import Case, beside, switches
from ..timing import NOT_MEASURED, Step, Table, in_turns, peak, ratio, timed

if TYPE_CHECKING:
    from .run import Options

ROOM = 1.5  # times the weights: activations, the caches of kernels, and a picture's decoding
WORDS, PROMPT = 64, 320  # tokens of a reply; of a prompt with E(x)'s 257
PER_TOKEN = 0.75  # English words a token of Llama's


def measure(table: Table, options: Options) -> None:
    """Every line of a preset's shapes that this machine can hold.

    Raises:
        ConfigError: no such preset, or a side that does not fit it.
        DeviceError: not even the decoder fits.
    """
    config, device = preset(options.preset), pick_device(options.device)
    dtype = pick_dtype("auto", device)
    steps = options.steps or (20 if device.type == "cuda" else 2)
    config = _at_side(config, min(options.side, config.decoder.image_size))
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    table.add("preset", config.name, f"random weights, {config.decoder.image_size} px, {str(dtype).removeprefix('torch.')}, {where}, torch {torch.__version__}")
    if device.type != "cuda":
        table.add("the same on a GPU", NOT_MEASURED, "this run had no CUDA device")
    known = {name: count(module) for name, module in build(config).items()}
    apart = "cafe" in known  # CAFE has a UNet of its own
    unet = "cafe" if apart else "unet"
    _needs(known, (unet, "vae"), dtype, device)
    made = build(config, device, (unet, "vae"), dtype)
    decoder = _decoder(config, made[unet], made["vae"], config.language.semantic_width if "values" in known else 768)
    case = Case(decoder.unet, decoder.semantic_values, config.decoder.text["max_position_embeddings"])
    rounds = options.repeat if device.type == "cuda" else max(1, min(options.repeat, 3))
    beside(table, case, rounds)
    if device.type == "cuda" or options.compiled:
        switches(table, case, rounds, options.compiled)
    _pictures(table, decoder, case, steps, rounds, {"CAFE": _cafe(case)})
    if apart:
        del made, decoder, case
        gc.collect(), free(device)
        _needs(known, ("unet", "vae"), dtype, device)
        made = build(config, device, ("unet", "vae"), dtype)
        decoder = _decoder(config, made["unet"], made["vae"], 768)
        case = Case(decoder.unet, decoder.semantic_values, config.decoder.text["max_position_embeddings"])
    _pictures(table, decoder, case, steps, rounds, _words(decoder, case))
    table.add("peak memory, decoder", f"{peak(device):.2f} GiB", "on the GPU" if device.type == "cuda" else "")
    del made, decoder, case
    gc.collect(), free(device)
    _language(table, config, known, device, dtype, options)


def _at_side(config: AssistantConfig, side: int) -> AssistantConfig:
    """The preset for pictures of another side: its UNet and autoencoder are convolutions."""
    factor = 2 ** (len(config.decoder.vae["block_out_channels"]) - 1)
    unet, vae = dict(config.decoder.unet, sample_size=side // factor), dict(config.decoder.vae, sample_size=side)
    return replace(config, decoder=replace(config.decoder, unet=unet, vae=vae, image_size=side))


def _missing(known: Mapping[str, int], parts: Collection[str], dtype: torch.dtype, device: torch.device) -> str:
    """How much memory lacks for parts; empty: they fit."""
    needed = ROOM * dtype.itemsize * sum(known[part] for part in parts)
    there = free_memory(device)
    return "" if needed <= there else f"needs about {needed / 2**30:.0f} GiB, {there / 2**30:.0f} are free"


def _needs(known: Mapping[str, int], parts: Collection[str], dtype: torch.dtype, device: torch.device) -> None:
    lacking = _missing(known, parts, dtype, device)
    if lacking:
        raise DeviceError(f"The decoder {lacking} on {device}.", "Close other programs, or take a smaller preset.")


def _decoder(config: AssistantConfig, unet: nn.Module, vae: nn.Module, semantic_width: int) -> LatentDiffusion:
    values = SemanticValues.of(unet, semantic_width).to(unet.device, unet.dtype).requires_grad_(False)
    for weight in values.parameters():
        nn.init.normal_(weight, std=0.02, generator=torch.Generator(weight.device).manual_seed(0))
    return LatentDiffusion(unet, vae.float(), config.decoder.scheduler, semantic_values=values).to(unet.device)


def _cafe(case: Case) -> tuple[GuidancePlan, AttentionContext]:
    return cafe_guidance(2.0, 2.0), AttentionContext(*case.conditions(), (Cafe(case.values),))


def _words(decoder: LatentDiffusion, case: Case) -> dict[str, tuple[GuidancePlan, AttentionContext]]:
    """Text-to-image, Infusion with one concept, and DCI at its usual window, each guided."""
    length, guidance = case.text, 8.0
    states = {name: case.drawn(1, length, decoder.unet.config.cross_attention_dim, seed=n) for n, name in enumerate((TEXT, EMPTY, AUXILIARY_TEXT))}
    learned = {name: torch.full((1, attn.inner_dim), 0.01, device=decoder.device) for name, attn in cross_layers(decoder.unet).items()}
    own = BranchTokens.of(length, range(1, 8), (2, 3))

    def context(*controls: AttentionControl) -> AttentionContext:
        return AttentionContext(states, controls=controls)

    return {"text-to-image": (text_guidance(guidance), context()),
            "Infusion": (infusion_guidance(guidance), context(Infusion([ConceptInstance(learned, residual_mask([[2]], length).to(decoder.device))]))),
            "DCI": (dci_guidance(guidance, 0.15), context(Dci(own, own, 1.0)))}


def _pictures(table: Table, decoder: LatentDiffusion, case: Case, steps: int, rounds: int, ways: Mapping[str, tuple[GuidancePlan, AttentionContext]]) -> None:
    """Seconds per picture, decoding included, in turns."""

    def draw(plan: GuidancePlan, context: AttentionContext) -> Step:
        fresh = lambda: AttentionContext(context.tokens, context.vectors, context.controls)  # noqa: E731  # nothing kept from one picture to the next
        return Step(lambda: decoder.decode(decoder.sample(plan, fresh(), [0], steps, "ddim").latents))

    drawn = {name: draw(*way) for name, way in ways.items()}
    times = in_turns(drawn, rounds, decoder.device, warm=1)
    side = case.side[0] * decoder.factor
    for name in drawn:
        note = f"{steps} steps" + (f"; {ratio(times, name, 'text-to-image'):.2f} x text-to-image" if "text-to-image" in drawn and name != "text-to-image" else "")
        table.add(f"{name} picture, {side} px", f"{statistics.median(times[name]):.2f} s", note)


def _language(table: Table, config: AssistantConfig, known: Mapping[str, int], device: torch.device, dtype: torch.dtype, options: Options) -> None:
    """Time to the first token and words a second, with the cache that is usual here and the other."""
    what = "words of the language model"
    if "llama" not in known:
        table.add(what, NOT_MEASURED, "the preset names its language model by its folder only")
        return
    lacking = "--without-llm" if options.without_llm else _missing(known, ("llama",), dtype, device)
    if lacking:
        table.add(what, NOT_MEASURED, lacking)
        return
    llama = build(config, device, ("llama",), dtype)["llama"]
    prompt = torch.randn(1, PROMPT, llama.config.hidden_size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    paces = {}
    for static in (False, True):
        cache = lambda static=static: cache_of(llama, PROMPT + WORDS + 2, static)  # noqa: E731
        firsts, rests = zip(*(_spoken(llama, prompt, cache(), device) for _ in range(2)))
        paces[static] = WORDS / rests[-1]
        if len(paces) == 1:
            table.add("time to first token", f"{firsts[-1] * 1000:.0f} ms", f"of a prompt of {PROMPT} tokens")
            table.add(what, f"{PER_TOKEN * paces[static]:.1f} /s", f"{paces[static]:.1f} tokens a second")
    table.add("static cache of keys and values", f"{paces[False] / paces[True]:.2f} x", "off by itself here; of the time with a growing one")
    table.add("peak memory, language model", f"{peak(device):.2f} GiB", "on the GPU" if device.type == "cuda" else "the process's, decoder included")


def _spoken(llama: nn.Module, prompt: torch.Tensor, cache: object, device: torch.device) -> tuple[float, float]:
    """Seconds to the first token, and for the others."""
    tokens = sampled(llama, {"inputs_embeds": prompt}, cache, WORDS + 1, 0.0, torch.Generator().manual_seed(0), threading.Event())
    first = timed(Step(lambda: next(tokens)), device)
    started = time.perf_counter()
    for _ in range(WORDS):
        next(tokens)
    return first, time.perf_counter() - started
