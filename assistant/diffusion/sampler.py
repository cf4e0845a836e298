"""THE denoising loop: a plan of rows, a scheduler, latents in and latents out.

It knows no conditions, no control and no autoencoder; progress goes to a callback, cancel is a flag read each step. A loop may run in a thread of its own,
whose events can be yielded.
"""

import copy
import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler, UniPCMultistepScheduler

from .attention import AttentionContext
from .guidance import GuidancePlan, guide
from ..errors import ConfigError, NotFiniteError

LCM = "lcm"  # for a UNet with LCM-LoRA; it draws noise at each step but the last
SCHEDULERS = {"ddim": DDIMScheduler, "dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler, LCM: LCMScheduler}

# step done (1-based), steps, the x0 estimate (B, C, h, w) every few steps and else None
OnStep = Callable[[int, int, torch.Tensor | None], None]


class CancelFlag(Protocol):
    """`threading.Event` fits."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class Denoised:
    """What the loop hands back."""

    latents: torch.Tensor  # (B, C, h, w) float32 of the plan's first stream
    streams: Mapping[str, torch.Tensor]  # of every stream, by name; of one that ended before the last step its last x0 estimate
    stopped: bool  # cancelled: the latents are the last step's x0 estimate, or noise if none was done
    steps_done: int


def make_scheduler(name: str, config: Mapping[str, Any]) -> Any:
    """A fresh scheduler for one request.

    Args:
        name: "ddim", "dpm++" (DPM-Solver++ 2M), "unipc" or "lcm".
        config: the one stored diffusers scheduler configuration, whichever of them it was saved by.

    Raises:
        ConfigError: an unknown name, or noise prediction with zero terminal SNR, where x0 cannot be told.
    """
    if name not in SCHEDULERS:
        raise ConfigError(f"There is no scheduler '{name}'.", f"Choose one of {', '.join(SCHEDULERS)}.")
    if config.get("rescale_betas_zero_snr") and config.get("prediction_type", "epsilon") == "epsilon":
        raise ConfigError("Noise prediction cannot start from pure noise.", "Use v_prediction with zero terminal SNR.")
    # Latents are not bounded by 1, yet DDIM would clip them unless told; and each class has another default spacing.
    common = {"clip_sample": False, "timestep_spacing": "leading", **config}
    common = {key: value for key, value in common.items() if not key.startswith("_")}
    return SCHEDULERS[name].from_config(common)


def draw_noise(seeds: Sequence[int | torch.Generator], shape: tuple[int, int, int], device: torch.device | str = "cpu") -> torch.Tensor:
    """Starting latents, (len(seeds), *shape) float32: drawn on the CPU, so that a seed means the same on any device.

    Args:
        seeds: one per image, or a generator that goes on behind it. shape: (C, h, w).
    """
    chances = [seed if isinstance(seed, torch.Generator) else torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    drawn = [torch.randn((1, *shape), generator=chance) for chance in chances]
    return torch.cat(drawn).to(device)


def estimate_x0(scheduler: Any, prediction: torch.Tensor, timestep: int, latents: torch.Tensor) -> torch.Tensor:
    """The clean latents that a prediction implies at a timestep, (B, C, h, w)."""
    kept = scheduler.alphas_cumprod[timestep].to(latents)
    signal, noise = kept.sqrt(), (1.0 - kept).sqrt()
    kind = scheduler.config.prediction_type
    if kind == "v_prediction":
        return signal * latents - noise * prediction
    return prediction if kind == "sample" else (latents - noise * prediction) / signal


def _set_timesteps(scheduler: Any, steps: int) -> None:
    """Timesteps on the CPU, where the schedulers keep the tables that they look up."""
    scheduler.set_timesteps(steps)
    if len(scheduler.timesteps) > steps:
        # "trailing" spacing divides in floating point, and for some counts (61 of 1000) goes one too far, to -1.
        scheduler.timesteps = scheduler.timesteps[:steps]
        scheduler.num_inference_steps = steps
        if hasattr(scheduler, "sigmas"):
            scheduler.sigmas = torch.cat([scheduler.sigmas[:steps], scheduler.sigmas[-1:]])


def predict(unet: Any, batch: torch.Tensor, timestep: torch.Tensor, context: AttentionContext) -> torch.Tensor:
    """The UNet's predictions for the rows that the attention context was begun with, (rows * B, C, h, w) each: one step, as the sampler runs it.

    In inference mode a layer records nothing for gradients, which saves a few percent of a small UNet's step. What an attention context keeps from
    here is not for training.
    """
    with torch.inference_mode():
        return unet(batch, timestep, None, **context.arguments(), return_dict=False)[0]


@torch.no_grad()
def denoise(unet: Any, plan: GuidancePlan, scheduler: Any, latents: torch.Tensor, steps: int, context: AttentionContext, on_step: OnStep | None = None,
            preview_every: int = 0, cancel: CancelFlag | None = None, chances: Sequence[torch.Generator] = ()) -> Denoised:
    """Denoise B images together.

    Args:
        unet: UNet2DConditionModel with the attention context installed.
        plan: rows, streams and guidance. Every stream starts from `latents`.
        scheduler: fresh, of `make_scheduler`; used up by this call.
        latents: (B, C, h, w) noise, of `draw_noise`.
        steps: 1 to the number of training timesteps.
        context: the request's conditions and controls.
        on_step: called after each step.
        preview_every: every how many steps `on_step` gets the x0 estimate; 0: never. The last step never brings one.
        cancel: read before each step.
        chances: generators of a sampler that draws noise, one per image; every stream sees the same.

    Raises:
        ConfigError: a number of steps that the scheduler cannot take.
        NotFiniteError: latents overflowed; that is looked at where an estimate is asked for, and at the end.
    """
    most = getattr(scheduler.config, "original_inference_steps", scheduler.config.num_train_timesteps)
    if not 1 <= steps <= most:
        raise ConfigError(f"{steps} steps were asked for; 1 to {most} can be taken.", "Choose a number in between.")
    _set_timesteps(scheduler, steps)
    current = {stream.name: latents.float() for stream in plan.streams}
    # Solvers of several steps remember their past, so each stream needs its own.
    solvers = {stream.name: copy.deepcopy(scheduler) for stream in plan.streams}
    drawing = {stream.name: {"generator": [chance.clone_state() for chance in chances]} if chances else {} for stream in plan.streams}
    last: dict[str, tuple[torch.Tensor, int, torch.Tensor]] = {}  # stream -> prediction, timestep, latents before
    added: dict[str, torch.Tensor] = {}  # stream -> what guidance added to the row that goes on alone between guided steps

    def x0(name: str) -> torch.Tensor:
        return estimate_x0(scheduler, *last[name]) if name in last else current[name]

    def whole(found: Denoised) -> Denoised:
        check_finite(f"latents after step {found.steps_done} of {steps}", dtype, *found.streams.values())
        return found

    main, dtype = plan.streams[0].name, unet.dtype  # a property that walks through every module, so it is asked once
    for step, timestep in enumerate(scheduler.timesteps):
        if cancel is not None and cancel.is_set():
            return whole(Denoised(x0(main), {name: x0(name) for name in current}, stopped=True, steps_done=step))
        rows = plan.active_rows(step, steps)
        context.begin(rows, latents.shape[0], step, steps)
        batch = torch.cat([current[row.stream] for row in rows]).to(dtype)  # (rows * B, C, h, w)
        output = predict(unet, batch, timestep.to(batch.device), context).float()
        predictions = dict(zip((row.name for row in rows), output.chunk(len(rows))))
        for stream in plan.active_streams(step, steps):
            guided = guide(stream, predictions)
            if stream.carried:
                guided = guided + added[stream.name]
            elif stream.every > 1:
                added[stream.name] = guided - predictions[stream.alone]
            before = current[stream.name]
            last[stream.name] = (guided, int(timestep), before)
            current[stream.name] = solvers[stream.name].step(guided, timestep, before, return_dict=False, **drawing[stream.name])[0]
        if on_step is not None:
            wanted = preview_every > 0 and (step + 1) % preview_every == 0 and step + 1 < steps
            if wanted:
                check_finite(f"latents after step {step + 1} of {steps}", dtype, current[main])
            on_step(step + 1, steps, x0(main) if wanted else None)
    to_the_end = {stream.name for stream in plan.active_streams(steps - 1, steps)}
    ended = {name: latents if name in to_the_end else x0(name) for name, latents in current.items()}
    return whole(Denoised(current[main], ended, stopped=False, steps_done=steps))


def check_finite(what: str, dtype: torch.dtype, *tensors: torch.Tensor) -> None:
    """Raises NotFiniteError: there is a number in these tensors that is not finite."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors if not tensor.is_meta):  # a trace has no numbers
        kind = str(dtype).removeprefix("torch.")
        raise NotFiniteError(f"Nothing could be drawn: the {what} are not finite numbers, in {kind}.",
                             "Choose another seed; if each one ends so, "
                             + ("get the weights again: a file of them is damaged." if dtype == torch.float32 else "start with --dtype float32."))


Told = TypeVar("Told")
Made = TypeVar("Made")


@dataclass(frozen=True)
class AnyCancelled:
    """Set when either flag is."""

    one: CancelFlag
    other: CancelFlag

    def is_set(self) -> bool:
        return self.one.is_set() or self.other.is_set()


def iterate_in_thread(work: Callable[[Callable[[Told], None], CancelFlag], Made], cancel: CancelFlag) -> Generator[Told, None, Made]:
    """Yield what `work(emit, stop)` emits, and return what it returns; what it raises is raised here.

    Whoever stops iterating sets the flag that `work` was given, and waits until it has ended.
    """
    events: queue.Queue[tuple[str, Any]] = queue.Queue()
    closed = threading.Event()

    def run() -> None:
        try:
            events.put(("last", work(lambda event: events.put(("event", event)), AnyCancelled(closed, cancel))))
        except BaseException as error:  # handed over to the caller's thread, whole
            events.put(("error", error))

    worker = threading.Thread(target=run, name="denoise", daemon=True)
    worker.start()
    try:
        while True:
            kind, item = events.get()
            if kind == "error":
                raise item
            if kind == "last":
                return item
            yield item
    finally:
        closed.set()
        worker.join()
