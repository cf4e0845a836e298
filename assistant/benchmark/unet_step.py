"""One guided step of CAFE beside one of stock diffusers: the same UNet object, its weights, dtype, latents and two rows. The peers are
text-to-image by diffusers' own processors, and IP-Adapter by its own, with random weights."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0, IPAdapterAttnProcessor2_0

from ..diffusion.conditions import PATCHES, SEMANTICS
from ..controls.cafe import Cafe, SemanticValues
from ..diffusion import acceleration, attention_backends, sampler
from ..diffusion.attention import AttentionContext, ControlledAttnProcessor, cross_layers, layers
from ..diffusion.acceleration import CompiledUNet
from ..diffusion.guidance import BatchRow, cafe_guidance
from ..timing import NOT_MEASURED, Step, Table, flops, in_turns, matmul_speed, ratio


@dataclass(frozen=True)
class Case:
    """What a step is made of.

    Args:
        unet: a UNet2DConditionModel with the attention context installed.
        values: V_H of its layers.
        text, patches: number of tokens of a prompt, and of E(x).
    """

    unet: torch.nn.Module
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
        linear = next(iter(self.values.layers.values()))
        return ({PATCHES: self.drawn(1, self.patches, self.unet.config.cross_attention_dim, seed=1)},
                {SEMANTICS: self.drawn(1, linear.in_features, seed=2)})


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


def ip_adapter_step(case: Case, tokens: int | None = None) -> Step:
    """IP-Adapter of stock diffusers on every cross-attention layer: a prompt, and `tokens` image tokens (as many as E(x) has, unless said
    otherwise). Its projection of the picture, which diffusers' pipeline repeats at each step, is left out."""
    unet, count = case.unet, tokens or case.patches
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


def _with(unet: torch.nn.Module, processors: Mapping[str, Any]):
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
        reason = attention_backends.refusal(name, sample)
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
def _recorded(unet: torch.nn.Module, batch: torch.Tensor, timestep: torch.Tensor, context: AttentionContext) -> torch.Tensor:
    """A step as pipelines usually run it."""
    return unet(batch, timestep, None, cross_attention_kwargs={"context": context}, return_dict=False)[0]


def _line(table: Table, what: str, on: bool, found: float, note: str = "") -> None:
    table.add(what, f"{found:.2f} x", f"{'on' if on else 'off'} by itself here" + (f"; {note}" if note else ""))
