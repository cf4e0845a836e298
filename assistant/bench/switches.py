"""Each optimisation of a step: its time with it in its time without, in one run, and whether it is on here by itself."""

from __future__ import annotations

import torch

from ..decoder import compiled, kernels
from ..decoder.attention import Seam, SeamProcessor, layers
from ..decoder.compiled import Tuning, Warmed
from ..decoder.rows import cafe_plan
from .steps import Case, cafe_step
from .timing import NOT_MEASURED, Step, Table, in_turns, ratio


def switches(table: Table, case: Case, rounds: int, compiling: bool) -> None:
    """A line for each.

    Args:
        compiling: also measure torch.compile where it is off, which takes minutes on a CPU.
    """
    device, unet = case.unet.device, case.unet
    usual, cafe = Tuning.usual(device), cafe_step(case)
    alone = [cafe_step(case, (row,)) for row in cafe_plan(2.0, 2.0).rows]
    without = {"K and V of the conditions once an image": cafe_step(case, cache=False),
               "rows of guidance in one batch": Step(lambda: [step.run() for step in alone], cafe.before),
               "inference mode": cafe_step(case, predict=_recorded)}
    times = in_turns({"on": cafe, **without}, rounds, device)
    for name in without:
        _line(table, name, True, ratio(times, "on", name))

    def laid(layout: torch.memory_format) -> Step:
        return Step(cafe.run, lambda: (cafe.before(), unet.to(memory_format=layout)))

    times = in_turns({"on": laid(torch.channels_last), "off": laid(torch.contiguous_format)}, max(3, rounds // 2), device)
    unet.to(memory_format=torch.channels_last if usual.channels_last else torch.contiguous_format)
    _line(table, "channels last", usual.channels_last, ratio(times, "on", "off"))
    _attention(table, case, rounds, usual.probed)
    if not (usual.compiled or compiling):
        table.add("compiled step", NOT_MEASURED, "off by itself on a CPU: it takes minutes; --compile measures it")
        return
    quick = Warmed(unet, start=lambda work: work())  # here, so that it is ready before it is timed
    step = cafe_step(case, unet=quick)
    step.before(), step.run()
    if quick.state.startswith("failed"):
        table.add("compiled step", NOT_MEASURED, quick.state)
        return
    _line(table, "compiled step", usual.compiled, ratio(in_turns({"on": step, "off": cafe}, rounds, device), "on", "off"), quick.state)


def _attention(table: Table, case: Case, rounds: int, probed: bool) -> None:
    """Each kernel on every layer of the step, and the mixture that the probe chooses, against SDPA."""
    sample = next(case.unet.parameters())

    def of(kernel) -> Step:
        processors = {f"{layer}.processor": SeamProcessor(layer, kernel(layer)) for layer in layers(case.unet)}
        return Step(step.run, lambda: case.unet.set_attn_processor(dict(processors)))

    step = cafe_step(case)
    steps, refused = {"sdpa": of(lambda _: "sdpa")}, {}
    for name in compiled.CANDIDATES[1:]:
        reason = kernels.refusal(name, sample)
        if reason:
            refused[name] = reason
        else:
            steps[name] = of(lambda _, name=name: name)
    if len(steps) > 2:
        chosen = compiled.fit(case.unet, case.patches)
        steps["probed"] = of(chosen.__getitem__)
    times = in_turns(steps, rounds, sample.device)
    for name in steps:
        if name != "sdpa":
            _line(table, f"attention: {name}", name == "probed" and probed, ratio(times, name, "sdpa"), "of sdpa's step")
    for name, reason in refused.items():
        table.add(f"attention: {name}", NOT_MEASURED, f"its kernels do not run on {sample.device} ({reason})")
    step.before()


@torch.no_grad()
def _recorded(unet: torch.nn.Module, batch: torch.Tensor, timestep: torch.Tensor, seam: Seam) -> torch.Tensor:
    """A step as pipelines usually run it."""
    return unet(batch, timestep, None, cross_attention_kwargs={"seam": seam}, return_dict=False)[0]


def _line(table: Table, what: str, on: bool, found: float, note: str = "") -> None:
    table.add(what, f"{found:.2f} x", f"{'on' if on else 'off'} by itself here" + (f"; {note}" if note else ""))
