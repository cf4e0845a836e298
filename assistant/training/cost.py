"""`python -m assistant.training cost`: what training at a preset's size takes, in GPU hours, memory and disk, as Markdown.

What is measured on this machine and what is computed from counted arithmetic stand in tables of their own and are never mixed.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import AssistantConfig
from ..errors import ConfigError
from ..presets import MINIATURE
from .hyperparameters import BRIDGE, CAFE

if TYPE_CHECKING:  # its libraries are slow to load, and not every command needs them
    from .flops import Counts, Timing

COARSE = 0.56  # bytes of a weight in 4 bits, with its scales and what stays in half precision
CARDS = {"H100": 989.0, "A100": 312.0, "L40S": 362.0, "4090": 165.0}  # dense bfloat16 TFLOP/s, as their maker states them
ROWS, BASE_ROWS, STEPS = 3, 2, 20  # of a target by eq. 4: G's guided rows, the base model's for w, and steps of denoising


@dataclass(frozen=True)
class Plan:
    """How much is trained."""

    samples: int = 1_000_000  # quadruplets that a filter kept, the paper's number
    epochs: float = CAFE.epochs
    keep: float = 0.5  # share of targets that it keeps
    card: str = "H100"
    share: float = 0.4  # of its peak that training reaches
    part: int = 4  # samples in memory at once

    def __post_init__(self) -> None:
        if self.card not in CARDS:
            raise ConfigError(f"The card {self.card!r} is not known.", f"Choose one of: {', '.join(CARDS)}.")
        if not (self.samples > 0 and self.epochs > 0 and 0 < self.keep <= 1 and 0 < self.share <= 1 and self.part > 0):
            raise ConfigError("Samples, epochs and part are above 0, keep and share above 0, to 1.", "Change them.")


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--samples", type=int, default=Plan.samples, help="cost: quadruplets to learn from (default: the paper's %(default)s)")
    p.add_argument("--epochs", type=float, default=Plan.epochs, help="cost: how often each is seen (default: %(default)s)")
    p.add_argument("--keep", type=float, default=Plan.keep, help="cost: share of a round's targets that the filter keeps (default: %(default)s)")
    p.add_argument("--card", choices=CARDS, default=Plan.card, help="cost: for which GPU to compute what is not measured (default: %(default)s)")
    p.add_argument("--share", type=float, default=Plan.share, help="cost: of its peak that training is assumed to reach (default: %(default)s)")


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count < 1e12 else f"{count / 1e12:.2f} TB"


def memory(config: AssistantConfig, counts: Counts, plan: Plan) -> dict[str, str]:
    """Computed bytes of each stage, in words: weights, gradients, AdamW's two moments and the averages in float32, and activations."""
    from .flops import WORDS, decoder_activations

    p = counts.parameters
    trained, m, bridge = p.get("cafe", p["unet"]) + p["values"], p["llama"], 20 * p["bridge"]
    kept = {again: decoder_activations(config, plan.part, again) for again in (False, True)}
    layers = config.language.llama["num_hidden_layers"] * config.language.llama["hidden_size"]
    held = 2 * layers * plan.part * (WORDS + config.picture_tokens)  # with checkpointing: what goes into each layer, in half precision
    return {
        "encode": f"{_gb(4 * (p['dino'] + p['clip'] + p['vae']))} of weights",
        "bridge": f"{_gb(2 * m + bridge + held)} with M in bfloat16, {_gb(COARSE * m + bridge + held)} in 4 bits; of these activations {_gb(held)}",
        "decoder": f"{_gb(20 * trained + kept[True])} with --checkpointing, {_gb(16 * trained + kept[True])} with --ema-device cpu too; of these "
                   f"activations {_gb(kept[True])} (without checkpointing {_gb(kept[False])}), and for a while the block being computed again"}


def disk(config: AssistantConfig, counts: Counts, plan: Plan) -> dict[str, str]:
    from .encoded_dataset import Shapes

    trained = counts.parameters.get("cafe", counts.parameters["unet"]) + counts.parameters["values"]
    one = Shapes.of(config).bytes
    return {"encode": f"{_gb(one * plan.samples)} ({one:,} bytes a sample)", "bridge": _gb(16 * counts.parameters["bridge"]),
            "decoder": f"{_gb(16 * trained)} of state, {_gb(2 * trained)} of weights"}


def work(counts: Counts, plan: Plan) -> dict[str, tuple[float, float]]:
    """Stage -> (samples, floating-point operations a sample), checkpointing included."""
    target = STEPS * (ROWS + BASE_ROWS) * counts.row + counts.encode
    return {"encode": (plan.samples, counts.encode), "bridge": (plan.samples * plan.epochs, counts.bridge + counts.bridge_again),
            "decoder": (plan.samples * plan.epochs, counts.decoder + counts.decoder_again),
            "SID round: targets": (plan.samples / plan.keep, target)}


def computed(config: AssistantConfig, plan: Plan) -> list[str]:
    """The table of what is computed."""
    from .flops import WORDS, counted

    counts, speed = counted(config), CARDS[plan.card] * 1e12 * plan.share
    room, place = memory(config, counts, plan), disk(config, counts, plan)
    lines = [f"### Computed for `{config.name}`: {plan.samples:,} quadruplets, {plan.epochs:g} epochs", "",
             f"Nothing here is measured. Arithmetic is counted on the meta device, and {plan.card} hours follow from an assumed {plan.share:.0%} of its "
             f"{CARDS[plan.card]:g} bfloat16 TFLOP/s. Activations are counted for parts of {plan.part} samples; M reads {config.picture_tokens} tokens of "
             f"the picture and {WORDS} of words.", "",
             f"| stage | samples | TFLOP a sample | {plan.card} hours | memory | disk |", "|---|---|---|---|---|---|"]
    for name, (samples, each) in work(counts, plan).items():
        lines.append(f"| {name} | {samples:,.0f} | {each / 1e12:.3g} | {samples * each / speed / 3600:,.3g} | {room.get(name, '')} | {place.get(name, '')} |")
    lines += ["", f"A further SID round is its targets ({STEPS} steps of {ROWS} guided rows of G and {BASE_ROWS} of the base model for w, {plan.keep:.0%} "
              "kept; a w that is retrieved costs nothing), encoding them, and the decoder's row once more on all data so far."]
    return lines


def _tried(measure: Callable[[], Timing]) -> Timing | str:
    import torch

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
    import torch

    from .flops import measured_bridge, measured_decoder, measured_encode

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
        import torch

        torch.set_num_threads(args.threads)
    cuda = args.device == "cuda"
    parts = [measured(config if cuda else MINIATURE, args.device, plan), computed(config, plan)]
    return "\n".join("\n".join(part) + "\n" for part in parts)
