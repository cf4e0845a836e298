"""What `python -m assistant bench` measures: a preset's answers on this machine, and one guided step of CAFE beside stock diffusers' in the same run.

The step's peers use the same UNet object, its weights, dtype, latents and two rows: text-to-image by diffusers' own processors, and IP-Adapter by its own, with
random weights. With random weights a preset's shapes are measured: nothing is downloaded, no number drawn means anything, and every second is real. Modules are
made on the device in the numbers they would be loaded in, one group after the other, so that the largest is what must fit.
"""

from __future__ import annotations

import copy
import gc
import io
import statistics
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0
from torch import nn

from . import machine
from .requests import Mix, MixRequest, Pace, Reply, Request, Settings, Source, Words, grid
from .config import AssistantConfig
from .controls.cafe import Cafe, SemanticValues
from .controls.dci import BranchTokens, Dci, MaskSnapshot, at_scale, scales, stretched
from .controls.infusion import ConceptInstance, Infusion, residual_mask
from .customization.dci_sampling import WINDOW, branches
from .customization.concept_library import IcoConcept, InfusionConcept
from .customization.concept_training import WITH_DCI
from .customization.infusion_sampling import prepare_infusion
from .deferred_engine import ready_subjects
from .diffusion import acceleration, attention, sampler
from .diffusion.acceleration import CompiledUNet
from .diffusion.attention import AttentionContext, AttentionControl, ControlledAttnProcessor, cross_layers, layers
from .diffusion.guidance import (AUXILIARY_TEXT, EMPTY, PATCHES, SEMANTICS, TEXT, BatchRow, GuidancePlan, cafe_guidance, dci_guidance, infusion_guidance,
                                 text_guidance)
from .diffusion.latent_diffusion import LatentDiffusion
from .engine import Assistant
from .errors import ConfigError, DeviceError
from .files import overlaid
from .generation.base import ImageFeatures
from .generation.cafe import CafeGenerator, CafeInputs
from .loading import free_memory, load_assistant, pick_device, pick_dtype
from .manifest import CHECKPOINTS
from .memory.offloading import free
from .model_factory import build, count
from .models.mllm import cache_of, sampled
from .presets import MINIATURE, preset
from .machine import NOT_MEASURED, Step, Table, flops, in_turns, matmul_speed, peak, ratio, timed


@dataclass(frozen=True)
class Case:
    """What a step is made of.

    Args:
        unet: a UNet2DConditionModel with the attention context installed.
        values: V_H of its layers.
        text, patches: number of tokens of a prompt, and of E(x).
    """

    unet: Any
    values: SemanticValues
    text: int = 77
    patches: int = 257

    @property
    def side(self) -> tuple[int, int]:
        side = self.unet.config.sample_size
        return (side, side) if isinstance(side, int) else tuple(side)

    def drawn(self, *shape: int, seed: int = 0) -> torch.Tensor:
        """Random numbers of the UNet's kind, the same on every device."""
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(self.unet.device, self.unet.dtype)

    def latents(self, rows: int) -> torch.Tensor:
        return self.drawn(1, self.unet.config.in_channels, *self.side).repeat(rows, 1, 1, 1)

    def conditions(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """E(x) and F(w), of numbers of unit size: (1, patches, d_E), (1, d_F)."""
        linear = cast(nn.Linear, next(iter(self.values.layers.values())))
        return ({PATCHES: self.drawn(1, self.patches, self.unet.config.cross_attention_dim, seed=1)}, {SEMANTICS: self.drawn(1, linear.in_features, seed=2)})


def cafe_step(case: Case, rows: Sequence[BatchRow] = cafe_guidance(2.0, 2.0).rows, cache: bool = True, unet: Any = None,
              predict: Callable[..., torch.Tensor] = sampler.predict) -> Step:
    """As the sampler runs it: K and V kept (unless not `cache`), all rows at once. `unet`: what is called in the place of the case's own."""
    context, batch, t = AttentionContext(*case.conditions(), (Cafe(case.values),), cache=cache), case.latents(len(rows)), _middle(case)
    called, ours = case.unet if unet is None else unet, dict(case.unet.attn_processors)
    return Step(lambda: predict(called, batch, t, context.begin(rows, 1, 0, 20)), _with(case.unet, ours))


def stock_step(case: Case, tokens: int | None = None) -> Step:
    """Text-to-image of stock diffusers, two rows of `tokens` text tokens, as its pipelines run it."""
    batch, t = case.latents(2), _middle(case)
    states = case.drawn(2, tokens or case.text, case.unet.config.cross_attention_dim, seed=3)
    stock = {name: AttnProcessor2_0() for name in case.unet.attn_processors}

    @torch.no_grad()
    def run() -> torch.Tensor:
        return case.unet(batch, t, states, return_dict=False)[0]

    return Step(run, _with(case.unet, stock))


def ip_adapter_step(case: Case) -> Step:
    """IP-Adapter of stock diffusers on every cross-attention layer: a prompt, and as many image tokens as E(x) has. Its projection of the picture, which
    diffusers' pipeline repeats at each step, is left out."""
    unet, count = case.unet, case.patches
    width, batch, t = unet.config.cross_attention_dim, case.latents(2), _middle(case)
    words, picture = case.drawn(2, case.text, width, seed=3), case.drawn(2, count, width, seed=4)
    processors: dict[str, Any] = {name: AttnProcessor2_0() for name in unet.attn_processors}
    for name, attn in cross_layers(unet).items():
        made = IPAdapterAttnProcessor2_0(attn.inner_dim, attn.cross_attention_dim, (count,), 1.0)
        processors[f"{name}.processor"] = made.to(unet.device, unet.dtype).eval().requires_grad_(False)

    @torch.no_grad()
    def run() -> torch.Tensor:
        return unet(batch, t, (words, [picture]), return_dict=False)[0]

    return Step(run, _with(unet, processors))


def _middle(case: Case) -> torch.Tensor:
    return torch.tensor(500, device=case.unet.device)


def _with(unet: Any, processors: Mapping[str, Any]):
    # set_attn_processor empties the dict that it is given.
    return lambda: unet.set_attn_processor(dict(processors))


TEXT_TO_IMAGE, IP_ADAPTER = 1.05, 0.90  # at most, of a stock step


def beside(table: Table, case: Case, rounds: int) -> None:
    """Lines of CAFE's step, both peers', the ratios, and the share of the machine's matrix-multiply speed."""
    device = case.unet.device
    functions = {"stock": stock_step(case), "adapter": ip_adapter_step(case), "cafe": cafe_step(case), "three": cafe_step(case, cafe_guidance(2.0, 3.0).rows)}
    if case.text != 77:
        functions["stock 77"] = stock_step(case, 77)
    times = in_turns(functions, rounds, device)
    table.add("stock text-to-image step", _ms(times["stock"]), f"2 rows, {case.text} text tokens")
    table.add("stock IP-Adapter step", _ms(times["adapter"]), f"2 rows, {case.text} text and {case.patches} image tokens")
    table.add("CAFE step", _ms(times["cafe"]), f"2 rows, {case.patches} patch tokens")
    table.ratio("CAFE, of stock text-to-image", ratio(times, "cafe", "stock"), f"{case.text} tokens", TEXT_TO_IMAGE)
    if "stock 77" in times:
        table.ratio("CAFE, of stock text-to-image", ratio(times, "cafe", "stock 77"), "77 tokens, as published models have")
    table.ratio("CAFE, of stock IP-Adapter", ratio(times, "cafe", "adapter"), f"{case.patches} image tokens", IP_ADAPTER)
    table.ratio("CAFE with two strengths", ratio(times, "three", "stock"), "of stock text-to-image; 3 rows")
    functions["cafe"].before()
    needed, roof = flops(functions["cafe"].run), matmul_speed(device, case.unet.dtype)
    table.add("share of matrix-multiply speed", f"{100 * needed / statistics.median(times['cafe']) / roof:.0f} %",
              f"{needed / 1e9:.1f} GFLOP a CAFE step, {roof / 1e12:.2f} TFLOP/s measured ({_name(case.unet.dtype)})")


def _ms(times: list[float]) -> str:
    return f"{statistics.median(times) * 1000:.1f} ms"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def switches(table: Table, case: Case, rounds: int, compiling: bool) -> None:
    """A line for each.

    Args:
        compiling: also measure torch.compile where it is off, which takes minutes on a CPU.
    """
    device, unet = case.unet.device, case.unet
    cafe = cafe_step(case)
    alone = [cafe_step(case, (row,)) for row in cafe_guidance(2.0, 2.0).rows]
    without = {"K and V of the conditions once an image": cafe_step(case, cache=False),
               "rows of guidance in one batch": Step(lambda: [step.run() for step in alone], cafe.before),
               "inference mode": cafe_step(case, predict=_recorded)}
    times = in_turns({"on": cafe, **without}, rounds, device)
    for name in without:
        _line(table, name, True, ratio(times, "on", name))

    def laid(layout: torch.memory_format) -> Step:
        return Step(cafe.run, lambda: (cafe.before(), unet.to(memory_format=layout)))

    times = in_turns({"on": laid(torch.channels_last), "off": laid(torch.contiguous_format)}, max(3, rounds // 2), device)
    unet.to(memory_format=torch.contiguous_format)
    _line(table, "channels last", False, ratio(times, "on", "off"))
    _attention(table, case, rounds)
    if not compiling:
        table.add("compiled step", NOT_MEASURED, "off by itself: it takes minutes; --compile measures it")
        return
    quick = CompiledUNet(unet, start=lambda work: work())  # here, so that it is ready before it is timed
    step = cafe_step(case, unet=quick)
    step.before(), step.run()
    if quick.state.startswith("failed"):
        table.add("compiled step", NOT_MEASURED, quick.state)
        return
    _line(table, "compiled step", False, ratio(in_turns({"on": step, "off": cafe}, rounds, device), "on", "off"), quick.state)


def _attention(table: Table, case: Case, rounds: int) -> None:
    """Each kernel on every layer of the step, and the mixture that the probe chooses, against SDPA."""
    sample = next(case.unet.parameters())

    def of(kernel) -> Step:
        processors = {f"{layer}.processor": ControlledAttnProcessor(layer, kernel(layer)) for layer in layers(case.unet)}
        return Step(step.run, lambda: case.unet.set_attn_processor(dict(processors)))

    step = cafe_step(case)
    steps, refused = {"sdpa": of(lambda _: "sdpa")}, {}
    for name in acceleration.CANDIDATES[1:]:
        reason = attention.refusal(name, sample)
        if reason:
            refused[name] = reason
        else:
            steps[name] = of(lambda _, name=name: name)
    if len(steps) > 2:
        chosen = acceleration.fit(case.unet, case.patches)
        steps["probed"] = of(chosen.__getitem__)
    times = in_turns(steps, rounds, sample.device)
    for name in steps:
        if name != "sdpa":
            _line(table, f"attention: {name}", False, ratio(times, name, "sdpa"), "of sdpa's step")
    for name, reason in refused.items():
        table.add(f"attention: {name}", NOT_MEASURED, f"its kernels do not run on {sample.device} ({reason})")
    step.before()


@torch.no_grad()
def _recorded(unet: Any, batch: torch.Tensor, timestep: torch.Tensor, context: AttentionContext) -> torch.Tensor:
    """A step as pipelines usually run it."""
    return unet(batch, timestep, None, cross_attention_kwargs={"context": context}, return_dict=False)[0]


def _line(table: Table, what: str, on: bool, found: float, note: str = "") -> None:
    table.add(what, f"{found:.2f} x", f"{'on' if on else 'off'} by itself here" + (f"; {note}" if note else ""))


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
    if config.decoder.text_2 is not None:
        raise ConfigError(f"Random weights are not measured for {config.name!r}: CAFE's rows do not fit its UNet.", "Leave --random out.")
    dtype = pick_dtype("auto", device)
    steps = options.steps or (20 if device.type == "cuda" else 2)
    config = _at_side(config, min(options.side, config.decoder.image_size))
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    table.add("preset", config.name, f"random weights, {config.decoder.image_size} px, {_name(dtype)}, {where}, torch {torch.__version__}")
    if device.type != "cuda":
        table.add("the same on a GPU", NOT_MEASURED, "this run had no CUDA device")
    known = {name: count(module) for name, module in build(config).items()}
    apart = "cafe" in known  # CAFE has a UNet of its own
    rounds = options.repeat if device.type == "cuda" else max(1, min(options.repeat, 3))

    def made(unet: str, width: int) -> tuple[LatentDiffusion, Case]:
        if lacking := _missing(known, (unet, "vae"), dtype, device):
            raise DeviceError(f"The decoder {lacking} on {device}.", "Close other programs, or take a smaller preset.")
        modules = build(config, device, (unet, "vae"), dtype)
        decoder = _decoder(config, modules[unet], modules["vae"], width)
        return decoder, Case(decoder.unet, decoder.semantic_values, config.decoder.text["max_position_embeddings"])

    decoder, case = made("cafe" if apart else "unet", config.mllm.semantic_width if "values" in known else 768)
    beside(table, case, rounds)
    if device.type == "cuda" or options.compiled:
        switches(table, case, rounds, options.compiled)
    _pictures(table, decoder, case, steps, rounds, {"CAFE": (cafe_guidance(2.0, 2.0), AttentionContext(*case.conditions(), (Cafe(case.values),)))})
    if apart:
        del decoder, case
        gc.collect(), free(device)
        decoder, case = made("unet", 768)
    _pictures(table, decoder, case, steps, rounds, _words(decoder, case))
    table.add("peak memory, decoder", f"{peak(device):.2f} GiB", "on the GPU" if device.type == "cuda" else "")
    del decoder, case
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


def _decoder(config: AssistantConfig, unet: Any, vae: Any, semantic_width: int) -> LatentDiffusion:
    values = SemanticValues.of(unet, semantic_width).to(unet.device, unet.dtype).requires_grad_(False)
    for weight in values.parameters():
        nn.init.normal_(weight, std=0.02, generator=torch.Generator(weight.device).manual_seed(0))
    return LatentDiffusion(unet, vae.float(), config.decoder.scheduler, semantic_values=values).to(unet.device)


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
    llama = cast(Any, build(config, device, ("llama",), dtype)["llama"])
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


def _spoken(llama: Any, prompt: torch.Tensor, cache: object, device: torch.device) -> tuple[float, float]:
    """Seconds to the first token, and for the others."""
    tokens = sampled(llama, {"inputs_embeds": prompt}, cache, WORDS + 1, 0.0, torch.Generator().manual_seed(0), threading.Event())
    first = timed(Step(lambda: next(tokens)), device)
    started = time.perf_counter()
    for _ in range(WORDS):
        next(tokens)
    return first, time.perf_counter() - started


@dataclass(frozen=True)
class Options:
    """The command's arguments."""

    preset: str = "miniature"
    device: str = "auto"
    steps: int | None = None  # of a picture; None: 20, or 2 of a full-size model on a CPU
    repeat: int = 5  # measurements of each thing
    markdown: Path | None = None
    save: Path | None = None  # one JSON file with the machine's versions and devices
    random: bool = False
    without_llm: bool = False
    side: int = 512  # of a picture by random weights, pixels
    compiled: bool = False  # also measure torch.compile where it takes minutes


def run(options: Options) -> None:
    """Print the table, and write it as Markdown if that is asked for."""
    table = Table()
    if options.random:
        measure(table, options)
    else:
        _loaded(table, options)
    if options.markdown is not None:
        options.markdown.write_text(table.markdown(), encoding="utf-8")
    if options.save is not None:
        table.save(options.save, command="bench", preset=options.preset, random=options.random, versions=machine.versions(), devices=machine.devices())
        print(f"Kept in {options.save}: versions, devices and this table, nothing else.")


def _loaded(table: Table, options: Options) -> None:
    assistant = load_assistant(options.preset, options.device)
    info, steps, decoder = assistant.info(), options.steps or 20, cast(Any, assistant.decoder)
    table.add("preset", info.preset, f"weights {info.weights}, {info.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    replies(table, assistant, steps, options.repeat)
    if assistant.subjects:
        paces(table, assistant, options.repeat)
    if isinstance(generator := assistant.image_generator, CafeGenerator) and generator.guided_every > 1 and assistant.subjects:
        carried_guidance(table, generator, [assistant.features.known(s.photo) for s in assistant.subjects[:2]], steps, 4 * options.repeat)
    if decoder.semantic_values is not None:
        case = Case(decoder.unet, decoder.semantic_values, assistant.config.decoder.text["max_position_embeddings"])
        beside(table, case, 8 * options.repeat)
        switches(table, case, 8 * options.repeat, options.compiled)
    if assistant.trainer is not None:
        concepts(table, assistant.trainer.base, assistant.trainer.identity, steps, options.repeat)
    if assistant.subjects:
        mixing(table, assistant, steps, options.repeat)
    table.add("peak memory", f"{peak(decoder.device):.2f} GiB", "on the GPU" if decoder.device.type == "cuda" else "")
    if decoder.device.type != "cuda":
        table.add("the same on a GPU", note="this run had no CUDA device")


def replies(table: Table, assistant: Assistant, steps: int, repeat: int) -> None:
    """Seconds to the first word, words a second and seconds for the picture, of one vague request about each of some subjects."""
    _reply(assistant, steps, 0)
    found = [_reply(assistant, steps, seed) for seed in range(1, repeat + 1)]
    first, pace, whole, picture = (statistics.median(column) for column in zip(*found))
    table.add("time to first word", f"{first * 1000:.0f} ms")
    table.add("words", f"{pace:.0f} /s")
    table.add("reply, words and picture", f"{whole:.2f} s")
    table.add(f"picture, {steps} steps", f"{picture:.2f} s")


def paces(table: Table, assistant: Assistant, repeat: int) -> None:
    """Few steps, the usual ones and many, of the same pictures: their time, and how far they are from the finest, of 255."""
    photos, known = [subject.photo for subject in assistant.subjects[:4]], {pace.name: pace for pace in assistant.info().paces}
    pictures: dict[str, list[np.ndarray]] = {}

    def draw(pace: Pace) -> None:
        pictures[pace.name] = []
        for seed, photo in enumerate(photos):
            settings = Settings(seed=seed, steps=pace.steps, scheduler=pace.scheduler, preview_every=0)
            request = Request("at night", photo, like=photos[seed - 1], settings=settings)
            *_, reply = assistant.respond(request, threading.Event())
            assert isinstance(reply, Reply) and reply.png is not None
            pictures[pace.name].append(np.asarray(Image.open(io.BytesIO(reply.png)).convert("RGB"), dtype=np.float32))

    times = in_turns({name: Step(lambda pace=pace: draw(pace)) for name, pace in known.items()}, repeat, assistant.decoder.device, warm=1)
    for name, pace in known.items():
        away = float(np.mean([np.abs(a - b).mean() for a, b in zip(pictures[name], pictures["fine"])]))
        table.add(f"{name}: {pace.scheduler}, {pace.steps} steps", f"{statistics.median(times[name]) / len(photos):.2f} s",
                  f"{ratio(times, name, 'usual'):.2f} x usual; {away:.1f} of 255 from the finest")


def concepts(table: Table, base: LatentDiffusion, identity: str, steps: int, repeat: int) -> None:
    """Pictures of the base model, with a learned concept (Infusion), fine-tuned (ICO), and in two branches (DCI)."""
    times = in_turns(_infusion(base, identity, steps), 2 * repeat, base.device)
    table.add(f"base picture, {steps} steps", f"{statistics.median(times['base']):.2f} s")
    table.add(f"infusion, {steps} steps", f"{statistics.median(times['infusion']):.2f} s",
              f"{ratio(times, 'infusion', 'base'):.2f} x base, at most 2.00 wanted")
    times = in_turns(_likeness(base, identity, steps), 2 * repeat, base.device)
    table.add(f"fine-tuned (ICO), {steps} steps", f"{statistics.median(times['tuned']):.2f} s")
    for name, what, most in (("dci", "DCI, T_a = 0.15 T", 1.1), ("masks", "DCI with masks kept", 1.5)):
        table.add(what, f"{statistics.median(times[name]):.2f} s", f"{ratio(times, name, 'tuned'):.2f} x fine-tuned, guided at every step, at most {most:.2f} wanted")


def carried_guidance(table: Table, generator: CafeGenerator, seen: Sequence[ImageFeatures], steps: int, repeat: int) -> None:
    """Denoising of one subject like another with the plan's words, guided as the preset is, and by all rows at every guided step."""
    full, wish = copy.copy(generator), CafeInputs(seen[1].semantics, "red fox, in the snow")
    full.guided_every = 1
    times = in_turns({name: Step(lambda one=one: one.prepare(seen[:1], wish, Settings(), [0]).draw(steps, "dpm++"))
                      for name, one in (("on", generator), ("off", full))}, repeat, generator.decoder.device, warm=1)
    _line(table, f"guidance at every {generator.guided_every}. step", True, ratio(times, "on", "off"), "denoising alone")


def mixing(table: Table, assistant: Assistant, steps: int, repeat: int) -> None:
    """A mixed picture and a grid of 5 x 5, in turns; everything on the board is encoded beforehand, for both: the singles are as cheap as
    they can be."""
    photos = [subject.photo for subject in assistant.subjects[:3]]
    one = Mix((photos[0],), (Source(photos[1]), Source(photos[2])), 0.5)
    settings = Settings(seed=0, steps=steps, preview_every=0)

    def seconds(*mixes: Mix) -> float:
        started = time.perf_counter()
        for _ in assistant.mix(MixRequest(mixes, settings), threading.Event()):
            pass
        return time.perf_counter() - started

    seconds(one)
    before, singles, grids = peak(assistant.decoder.device), [], []
    for _ in range(repeat):
        singles += [seconds(one) for _ in range(4)]
        grids.append(seconds(*grid(one)))
        singles += [seconds(one) for _ in range(4)]
    single, many = statistics.median(singles), statistics.median(grids)
    more = peak(assistant.decoder.device) - before
    table.add("mixed picture", f"{single:.2f} s")
    table.add("grid of 5 x 5", f"{many:.2f} s", f"{many / (25 * single):.2f} x 25 pictures, {1024 * more:.0f} MiB more at its peak")


def _reply(assistant: Assistant, steps: int, seed: int) -> tuple[float, float, float, float]:
    subjects = assistant.subjects or ready_subjects(CHECKPOINTS / MINIATURE.folder)  # a preset of downloaded weights has none of its own
    photo = subjects[seed % len(subjects)].photo
    started = time.perf_counter()
    first = last = 0.0
    reply: Reply | None = None
    request = Request("I want something creative for this one, can you help?", photo, settings=Settings(seed=seed, steps=steps, preview_every=0))
    for event in assistant.respond(request, threading.Event()):
        now = time.perf_counter() - started
        if isinstance(event, Words):
            first, last = first or now, now
        elif isinstance(event, Reply):
            reply = event
    assert reply is not None  # always the last
    count = len(reply.text.split())
    return (first, max(1, count - 1) / max(1e-9, last - first), time.perf_counter() - started, reply.seconds.get("picture", float("nan")))


def _infusion(base: LatentDiffusion, identity: str, steps: int) -> dict[str, Step]:
    """Equal prompt, seed and steps, decoding included."""
    prompt, guidance = "a cat on the beach", 3.0
    widths = {name: attn.inner_dim for name, attn in base.cross_layers().items()}
    concept = InfusionConcept("bench", "cat", identity, {name: torch.full((1, width), 0.1) for name, width in widths.items()})

    def plain() -> None:
        plan, context = text_guidance(guidance), AttentionContext({TEXT: base.encode_text([prompt]), EMPTY: base.encode_text([""])})
        base.decode(base.sample(plan, context, [0], steps).latents)

    def infusion() -> None:
        base.decode(prepare_infusion(base, "a <bench> on the beach", {"bench": "cat"}, lambda _: concept, guidance).draw([0], steps).latents)

    return {"base": Step(plain), "infusion": Step(infusion)}


def _likeness(base: LatentDiffusion, identity: str, steps: int) -> dict[str, Step]:
    """Plain sampling of the fine-tuned model, guided at every step, DCI at its usual window, and DCI with its masks kept and one laid over: equal prompt, seed and
    steps, decoding included."""
    generator, width = torch.Generator().manual_seed(0), len(base.word_spread())
    added = {name: cast(tuple[torch.Tensor, torch.Tensor], tuple(0.01 * torch.randn(linear.weight.shape, generator=generator) for linear in (attn.to_k, attn.to_v)))
             for name, attn in base.cross_layers().items()}
    concept = IcoConcept("bench", "cat", identity, 0.1 * torch.randn(3, width, generator=generator), added, WITH_DCI)

    plain = copy.copy(base)
    plain.guided_every = 1

    def draw(window: float, seen: MaskSnapshot | None = None) -> None:
        both = branches(base if window else plain, concept, "a <bench> on the beach", "dog" if window else None)
        picture = base.decode(both.draw([0], 1.0, window, steps=steps, seen=seen).latents)[0]
        if seen is not None:
            overlaid(picture, stretched(at_scale(seen.auxiliary, list(scales(seen.auxiliary))[-1])[0]).numpy(), 0.6)

    return {"tuned": Step(lambda: draw(0.0)), "dci": Step(lambda: draw(WINDOW)), "masks": Step(lambda: draw(WINDOW, MaskSnapshot()))}
