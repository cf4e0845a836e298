"""A UNet's step compiled in the background (torch.compile, on a GPU recorded as a CUDA graph); until it is ready the plain model answers.

It serves a `plain` seam: one whose controls have no say from step to step, so that a step is a function of tensors alone. What is compiled
is taken only if it gives what the plain model gives and is faster; if it fails, one line is logged and the plain model goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch

from assistant.decoder.attention import cross_layers
from assistant.decoder.seam import Part, Seam

log = logging.getLogger(__name__)

# What a batch of rows is, without its tensors: its length, and layer -> of each part its first and last entry, its number of terms, and
# whether it has a constant.
Layout = tuple[int, tuple[tuple[str, tuple[tuple[int, int, int, bool], ...]], ...]]
Function = Callable[[torch.Tensor, torch.Tensor, list[torch.Tensor]], torch.Tensor]  # latents, timestep, tensors of the parts
TOLERANCE = 0.02  # of the largest number of a prediction; half precision rounds by more than that in no single step
REPEATS = 5  # measurements of each before one is chosen


class Given:
    """A plain seam's parts, ready made: what the attention processors ask of a seam in a compiled step."""

    plain, images = True, 1

    def __init__(self, entries: int, held: Mapping[str, tuple[Part, ...]]) -> None:
        self.rows, self._held = range(entries), held

    def parts(self, layer: str, attn: Any) -> tuple[Part, ...]:
        return self._held[layer]


def flattened(unet: torch.nn.Module, seam: Seam) -> tuple[Layout, list[torch.Tensor]]:
    """All that the present batch of a plain seam holds in the UNet's layers, as a layout and its tensors, each of one layout in memory:
    what is compiled for one image must serve the next without being compiled again."""
    layers, tensors = [], []
    for name, attn in cross_layers(unet).items():
        parts = seam.parts(name, attn)
        for part in parts:
            tensors += [t for term in part.terms for t in term] + ([] if part.constant is None else [part.constant])
        layers.append((name, tuple((p.entries.start, p.entries.stop, len(p.terms), p.constant is not None) for p in parts)))
    return (len(seam.rows) * seam.images, tuple(layers)), [t.contiguous() for t in tensors]


def function(unet: torch.nn.Module, layout: Layout) -> Function:
    """The UNet's step over the tensors of a layout."""
    entries, layers = layout

    def step(batch: torch.Tensor, timestep: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
        held, at = {}, 0
        for name, parts in layers:
            made = []
            for start, stop, terms, constant in parts:
                pairs = tuple((tensors[at + 2 * k], tensors[at + 2 * k + 1]) for k in range(terms))
                at += 2 * terms
                made.append(Part(slice(start, stop), pairs, tensors[at] if constant else None))
                at += constant
            held[name] = tuple(made)
        return unet(batch, timestep, None, cross_attention_kwargs={"seam": Given(entries, held)}, return_dict=False)[0]

    return step


class Graph:
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
    return Graph(made, batch, timestep, tensors) if batch.device.type == "cuda" else made


class Warmed:
    """In the place of a UNet in the denoising loop. Called like it; of another seam than a plain one the UNet itself makes the step.

    Args:
        unet: with the seam installed.
        make: compiles a function for example inputs; it may take minutes and may fail.
        start: begins work in the background.
        most: shapes that are kept compiled at a time; a strip or a grid of another length is another shape.
    """

    def __init__(self, unet: torch.nn.Module, make: Callable[..., Function] = compiled,
                 start: Callable[[Callable[[], None]], None] | None = None, most: int = 4) -> None:
        self.unet, self.dtype, self.config = unet, unet.dtype, unet.config
        self.state = "waiting for a first picture"  # for people
        self._make, self._start, self._most = make, start or _thread, most
        self._ready: dict[Hashable, Function | None] = {}  # None: being made, or not worth it
        self._lock = threading.Lock()  # a recorded graph has one set of inputs; and nothing compiled runs while more is compiled

    def __call__(self, batch: torch.Tensor, timestep: torch.Tensor, states: None = None, *, cross_attention_kwargs: Mapping[str, Any],
                 return_dict: bool = False) -> tuple[torch.Tensor]:
        seam = cross_attention_kwargs["seam"]
        if seam.plain and seam.cache:
            layout, tensors = seam.once(("compiled", seam.batch), lambda: flattened(self.unet, seam))
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
        return self.unet(batch, timestep, states, cross_attention_kwargs=cross_attention_kwargs, return_dict=False)

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
