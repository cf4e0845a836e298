"""CAFE's step beside stock diffusers' two, in one run, with the limits that are wanted of it."""

from __future__ import annotations

import statistics

import torch

from ..decoder.rows import cafe_plan
from .steps import Case, cafe_step, ip_adapter_step, stock_step
from .table import Table
from .timing import flops, in_turns, matmul_speed, ratio

TEXT_TO_IMAGE, IP_ADAPTER = 1.05, 0.90  # at most, of a stock step


def beside(table: Table, case: Case, rounds: int) -> None:
    """Lines of CAFE's step, both peers', the ratios, and the share of the machine's matrix-multiply speed."""
    device = case.unet.device
    functions = {"stock": stock_step(case), "adapter": ip_adapter_step(case), "cafe": cafe_step(case), "three": cafe_step(case, cafe_plan(2.0, 3.0).rows)}
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
