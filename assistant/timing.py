"""Seconds in turns, memory and the machine's own speed. A speed is a ratio to a peer in the same run: both are timed in turns, so that a
busy machine is busy for both, and of the ratios of the turns the median counts."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Step:
    """Something to time, and what has to be set right before it, untimed."""

    run: Callable[[], object]
    before: Callable[[], object] = lambda: None


def wait(device: torch.device) -> None:
    """Until a GPU has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(step: Step, device: torch.device) -> float:
    """Seconds."""
    step.before()
    wait(device)
    started = time.perf_counter()
    step.run()
    wait(device)
    return time.perf_counter() - started


def in_turns(steps: Mapping[str, Step], rounds: int, device: torch.device, warm: int = 2) -> dict[str, list[float]]:
    """Seconds of each step, `rounds` of them, after `warm` untimed ones."""
    for step in steps.values():
        for _ in range(warm):
            timed(step, device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(timed(step, device))
    return times


def ratio(times: Mapping[str, list[float]], one: str, other: str) -> float:
    """The median over the rounds of one's time in the other's."""
    return statistics.median(a / b for a, b in zip(times[one], times[other]))


def peak(device: torch.device) -> float:
    """GiB that this process has needed at most: of the GPU's memory, or of the machine's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource  # which Windows has not

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def matmul_speed(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of large matrix multiplications, the best of a few: the roof under which a network runs."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    step = Step(lambda: a @ b)
    return 2 * side**3 / min(in_turns({"matmul": step}, 10, device)["matmul"])


def flops(run: Callable[[], object]) -> int:
    """Of everything that `run` multiplies, attention and convolutions included."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


NOT_MEASURED = "not measured"


@dataclass
class Table:
    """Lines of what, value and note."""

    lines: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, value: str = NOT_MEASURED, note: str = "") -> None:
        """Print a line and keep it. A value that was not measured carries the reason as its note."""
        self.lines.append((what, value, note))
        print(f"{what:<44}{value:>14}   {note}".rstrip(), flush=True)

    def ratio(self, what: str, found: float, peer: str, most: float | None = None) -> None:
        """Of two times in one run; `most` is the largest that is wanted."""
        self.add(what, f"{found:.2f} x", peer + (f", at most {most:.2f} wanted" if most is not None else ""))

    def markdown(self) -> str:
        rows = [f"| {what} | {value} | {note} |" for what, value, note in self.lines]
        return "\n".join(["| | | |", "|---|---|---|", *rows]) + "\n"

    def save(self, path: Path, **about: Any) -> None:
        """As one JSON file: the lines, and what is said about them."""
        lines = [{"what": what, "value": value, "note": note} for what, value, note in self.lines]
        path.write_text(json.dumps({**about, "lines": lines}, indent=1) + "\n", encoding="utf-8")
