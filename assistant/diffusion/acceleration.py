"""A UNet's step compiled in the background (torch.compile, on a GPU recorded as a CUDA graph); until it is ready the plain model answers.

It serves a `plain` context: one whose controls have no say from step to step, so that a step is a function of tensors alone. What is compiled
is taken only if it gives what the plain model gives and is faster; if it fails, one line is logged and the plain model goes on.
"""

from __future__ import annotations

import json
import logging
import statistics
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from . import attention
from .attention import AttentionContext, CachedKV, ControlledAttnProcessor, cross_layers, layers
from .latent_diffusion import LatentDiffusion
from ..errors import ConfigError
from ..files import write_whole

log = logging.getLogger(__name__)

# What a batch of rows is, without its tensors: its length, and layer -> of each part its first and last entry, its number of terms, and
# whether it has a constant.
Layout = tuple[int, tuple[tuple[str, tuple[tuple[int, int, int, bool], ...]], ...]]
Function = Callable[[torch.Tensor, torch.Tensor, list[torch.Tensor]], torch.Tensor]  # latents, timestep, tensors of the parts
TOLERANCE = 0.02  # of the largest number of a prediction; half precision rounds by more than that in no single step
REPEATS = 5  # measurements of each before one is chosen


class StaticContext:
    """A plain attention context's parts, ready made: what the attention processors ask of an attention context in a compiled step."""

    plain, images = True, 1

    def __init__(self, entries: int, held: Mapping[str, tuple[CachedKV, ...]]) -> None:
        self.rows, self._held = range(entries), held

    def parts(self, layer: str, attn: Any) -> tuple[CachedKV, ...]:
        return self._held[layer]


def flattened(unet: Any, context: AttentionContext) -> tuple[Layout, list[torch.Tensor]]:
    """All that the present batch of a plain context holds in the UNet's layers, as a layout and its tensors, each of one layout in memory:
    what is compiled for one image must serve the next without being compiled again."""
    layers, tensors = [], []
    for name, attn in cross_layers(unet).items():
        parts = context.parts(name, attn)
        for part in parts:
            tensors += [t for term in part.terms for t in term] + ([] if part.constant is None else [part.constant])
        layers.append((name, tuple((p.entries.start, p.entries.stop, len(p.terms), p.constant is not None) for p in parts)))
    return (len(context.rows) * context.images, tuple(layers)), [t.contiguous() for t in tensors]


def function(unet: Any, layout: Layout) -> Function:
    """The UNet's step over the tensors of a layout."""
    entries, layers = layout

    def step(batch: torch.Tensor, timestep: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        held, at = {}, 0
        for name, parts in layers:
            made = []
            for start, stop, terms, constant in parts:
                pairs = tuple((tensors[at + 2 * k], tensors[at + 2 * k + 1]) for k in range(terms))
                at += 2 * terms
                made.append(CachedKV(slice(start, stop), pairs, tensors[at] if constant else None))
                at += constant
            held[name] = tuple(made)
        return unet(batch, timestep, None, cross_attention_kwargs={"context": StaticContext(entries, held)}, return_dict=False)[0]

    return step


class CapturedGraph:
    """A function recorded as a CUDA graph: one launch for all of its kernels. Its inputs lie where they were when it was recorded."""

    def __init__(self, step: Function, batch: torch.Tensor, timestep: torch.Tensor, tensors: list[torch.Tensor]) -> None:
        self.batch, self.timestep, self.tensors = batch.clone(), timestep.clone(), [t.clone() for t in tensors]
        self.last: list[torch.Tensor] = []  # whose numbers lie in `tensors`; held, so that no other list can be taken for it
        side = torch.cuda.Stream(batch.device)
        side.wait_stream(torch.cuda.current_stream(batch.device))
        with torch.cuda.stream(side):
            for _ in range(3):
                step(self.batch, self.timestep, self.tensors)
        torch.cuda.current_stream(batch.device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):  # other threads may use the GPU meanwhile
            self.out = step(self.batch, self.timestep, self.tensors)

    def __call__(self, batch: torch.Tensor, timestep: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        self.batch.copy_(batch)
        self.timestep.copy_(timestep)
        if tensors is not self.last:  # once an image
            for own, given in zip(self.tensors, tensors):
                own.copy_(given)
            self.last = tensors
        self.graph.replay()
        return self.out.clone()


def compiled(step: Function, batch: torch.Tensor, timestep: torch.Tensor, tensors: list[torch.Tensor]) -> Function:
    """The function compiled for tensors like these, and recorded where they are on a GPU."""
    made = torch.compile(step, dynamic=False)
    made(batch, timestep, tensors)
    return CapturedGraph(made, batch, timestep, tensors) if batch.device.type == "cuda" else made


class CompiledUNet:
    """In the place of a UNet in the denoising loop. Called like it; of another context than a plain one the UNet itself makes the step.

    Args:
        unet: with the attention context installed.
        make: compiles a function for example inputs; it may take minutes and may fail.
        start: begins work in the background.
        most: shapes that are kept compiled at a time; a strip or a grid of another length is another shape.
    """

    def __init__(self, unet: Any, make: Callable[..., Function] = compiled,
                 start: Callable[[Callable[[], None]], None] | None = None, most: int = 4) -> None:
        self.unet, self.dtype, self.config = unet, unet.dtype, unet.config
        self.state = "waiting for a first picture"  # for people
        self._make, self._start, self._most = make, start or _thread, most
        self._ready: dict[Hashable, Function | None] = {}  # None: being made, or not worth it
        self._lock = threading.Lock()  # a recorded graph has one set of inputs; and nothing compiled runs while more is compiled

    def __call__(self, batch: torch.Tensor, timestep: torch.Tensor, states: None = None, *, cross_attention_kwargs: Mapping[str, Any],
                 added_cond_kwargs: Mapping[str, torch.Tensor] | None = None, return_dict: bool = False) -> tuple[torch.Tensor]:
        context = cross_attention_kwargs["context"]
        if context.plain and context.cache and added_cond_kwargs is None:
            layout, tensors = context.once(("compiled", context.batch), lambda: flattened(self.unet, context))
            key = (layout, batch.shape, tuple(t.shape for t in tensors))
            if key not in self._ready and len(self._ready) < self._most:
                self._ready[key] = None
                example = (batch.clone(), timestep.clone(), [t.clone() for t in tensors])
                self._start(lambda: self._warm(key, function(self.unet, layout), example))
            step = self._ready.get(key)
            if step is not None and self._lock.acquire(blocking=False):
                try:
                    return (step(batch.clone(), timestep.clone(), tensors),)  # clones, for tensors of the kind it was compiled for
                except Exception as error:
                    self._give_up(key, error)
                finally:
                    self._lock.release()
        return self.unet(batch, timestep, states, cross_attention_kwargs=cross_attention_kwargs, added_cond_kwargs=added_cond_kwargs, return_dict=False)

    def _warm(self, key: Hashable, step: Function, example: tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]) -> None:
        """Compiles one shape, and takes it if it is right and pays."""
        try:
            with self._lock, torch.inference_mode():
                self.state = "compiling"
                began = time.perf_counter()
                made = self._make(step, *example)
                seconds = time.perf_counter() - began
                plain, quick = step(*example), made(*example)
                wrong = float((quick - plain).abs().max() / plain.abs().max())
                if not wrong <= TOLERANCE:
                    raise RuntimeError(f"it is off by {wrong:.3g}")
                before, after = (min(_seconds(f, example) for _ in range(REPEATS)) for f in (step, made))
                if after < before:
                    self._ready[key] = made
                self.state = f"{'taken' if after < before else 'not taken'}: {after / before:.2f} x a plain step, compiled in {seconds:.0f} s"
        except Exception as error:
            self._give_up(key, error)

    def _give_up(self, key: Hashable, error: Exception) -> None:
        self._ready[key], self.state = None, f"failed ({type(error).__name__})"
        log.warning("The compiled step failed, the plain one goes on: %s", str(error).strip().splitlines()[0] if str(error).strip() else error)


def _seconds(step: Function, example: tuple) -> float:
    began = time.perf_counter()
    step(*example)
    if example[0].device.type == "cuda":
        torch.cuda.synchronize(example[0].device)
    return time.perf_counter() - began


def _thread(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="compile", daemon=True).start()


@dataclass(frozen=True)
class Acceleration:
    """The switches, all off until they are asked for: on a GPU nobody has measured them yet. What always pays has none: K and V once an image,
    all rows in one batch, inference mode."""

    channels_last: bool = False  # memory layout of UNet and autoencoder: for half precision's kernels; on a CPU a step takes 1.09 times as long
    compiled: bool = False  # torch.compile and a CUDA graph, made in the background; on a CPU it takes minutes of all cores
    probed: bool = False  # attention kernels by measurement, layer by layer; a CPU has one
    static_cache: bool = False  # the language model's keys and values in a place of fixed size; see `models.mllm.cache_of`

    def changed(self, switches: Sequence[str]) -> Acceleration:
        """With switches as they come from a command line, NAME=on or NAME=off.

        Raises:
            ConfigError: not of that form, or no such switch.
        """
        names = {field.name.replace("_", "-"): field.name for field in fields(self)}
        found: dict[str, bool] = {}
        for switch in switches:
            name, _, state = switch.partition("=")
            if name not in names or state not in ("on", "off"):
                raise ConfigError(f"There is no switch {switch!r}.", f"Say NAME=on or NAME=off; the names are {', '.join(names)}.")
            found[names[name]] = state == "on"
        return replace(self, **found)


def tune(decoder: LatentDiffusion, tuning: Acceleration, tokens: int, memory: Path | None = None) -> None:
    """Set a decoder that is on its device up for speed.

    Args:
        tokens: how many its rows attend to, usually.
        memory: the file in which measured attention kernels are remembered.
    """
    if tuning.channels_last:
        decoder.unet.to(memory_format=torch.channels_last)
        decoder.vae.to(memory_format=torch.channels_last)
    if tuning.probed:
        fit(decoder.unet, tokens, memory)
    decoder.step = CompiledUNet(decoder.unet) if tuning.compiled else decoder.unet


Shape = tuple[int, int, int, int, int]  # batch, heads, Nq, N, d
CANDIDATES = tuple(name for name in attention.KERNELS if name != "auto")
PROBES = 9
LARGE = 300.0  # of queries and keys: scores beyond what half precision holds, as some trained models have them
WINS = 0.95  # of torch's own choice's time, at most, for another kernel to be taken


def shapes(unet: Any, tokens: int) -> dict[str, Shape]:
    """What each attention layer computes, layer -> shape, where two rows attend to `tokens` tokens: read off one pass of the UNet."""
    found, rows = {}, 2
    crossing, hooks = cross_layers(unet), []
    for name, layer in layers(unet).items():

        def look(attn: Any, given: tuple, name: str = name) -> None:
            queries = given[0].shape[1]
            found[name] = (rows, attn.heads, queries, tokens if name in crossing else queries, attn.inner_dim // attn.heads)

        hooks.append(layer.register_forward_pre_hook(look))
    side = unet.config.sample_size
    height, width = (side, side) if isinstance(side, int) else side
    like = dict(device=unet.device, dtype=unet.dtype)
    if unet.config.addition_embed_type is None:
        told = {}
    else:
        pooled = unet.config.projection_class_embeddings_input_dim - attention.TIME_IDS * unet.config.addition_time_embed_dim
        told = {"added_cond_kwargs": {"text_embeds": torch.zeros(rows, pooled, **like), "time_ids": torch.zeros(rows, attention.TIME_IDS, **like)}}
    try:
        with torch.inference_mode():
            unet(torch.zeros(rows, unet.config.in_channels, height, width, **like), torch.tensor(500, device=unet.device),
                 torch.zeros(rows, tokens, unet.config.cross_attention_dim, **like), return_dict=False, **told)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def measured(shape: Shape, sample: torch.Tensor, candidates: Iterable[str] = CANDIDATES) -> dict[str, float]:
    """Seconds of each kernel that runs on tensors like `sample` of this shape, and gives what torch's own choice gives."""
    batch, heads, queries, tokens, width = shape
    q, k, v = (torch.zeros(batch, n, heads, width, device=sample.device, dtype=sample.dtype).normal_(generator=torch.Generator(sample.device).manual_seed(0)).transpose(1, 2)
               for n in (queries, tokens, tokens))
    running = [name for name in candidates if not attention.refusal(name, sample, shape)]
    with torch.inference_mode():
        large = LARGE * q, LARGE * k, v
        expected = attention.attend("sdpa", *large, width**-0.5).float()
        running = [name for name in running if torch.allclose(attention.attend(name, *large, width**-0.5).float(), expected, TOLERANCE, TOLERANCE)]
        times: dict[str, list[float]] = {name: [] for name in running}
        for turn in range(PROBES + 2):
            for name in running:
                began = time.perf_counter()
                for _ in range(4):
                    attention.attend(name, q, k, v, width**-0.5)
                if sample.device.type == "cuda":
                    torch.cuda.synchronize(sample.device)
                if turn >= 2:
                    times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) / 4 for name, seconds in times.items()}


def quickest(seconds: Mapping[str, float]) -> str:
    """The kernel to take: torch's own choice, unless another clearly wins."""
    best = min(seconds, key=seconds.__getitem__, default="sdpa")
    return best if seconds.get(best, 0.0) < WINS * seconds.get("sdpa", float("inf")) else "sdpa"


def fit(unet: Any, tokens: int, memory: Path | None = None) -> dict[str, str]:
    """Give each attention layer the fastest kernel for what it computes; returns layer -> kernel.

    Args:
        unet: with the attention context installed, on its device; changed in place.
        tokens: how many its rows attend to, usually.
        memory: the file of what was measured before, on this device with this torch; None: measure.
    """
    sample = next(unet.parameters())
    known = _read(memory)
    chosen: dict[str, str] = {}
    for layer, shape in shapes(unet, tokens).items():
        key = _key(sample, shape)
        if known.get(key) not in CANDIDATES:
            seconds = measured(shape, sample)
            known[key] = quickest(seconds)
        chosen[layer] = known[key]
    _write(memory, known)
    unet.set_attn_processor({f"{layer}.processor": ControlledAttnProcessor(layer, kernel) for layer, kernel in chosen.items()})
    return chosen


def _key(sample: torch.Tensor, shape: Shape) -> str:
    device = torch.cuda.get_device_name(sample.device) if sample.device.type == "cuda" else sample.device.type
    return f"{device} {torch.__version__} {sample.dtype} {'x'.join(map(str, shape))}"


def _read(memory: Path | None) -> dict[str, str]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8")) if memory is not None else {}
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        return {}


def _write(memory: Path | None, known: dict[str, str]) -> None:
    """What cannot be kept is measured again."""
    if memory is None:
        return
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_whole(memory, json.dumps(known, indent=1).encode())
    except OSError as error:
        log.info("The attention kernels that were measured are not kept: %s", error)
