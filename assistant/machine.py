"""What this machine has, for a report: versions, devices, and whether torch was built for them; and how fast it is. Knows no models; nothing here names a
user, a folder or a computer.

Seconds are taken in turns: a speed is a ratio to a peer in the same run, and both are timed in turns, so that a busy machine is busy for both; of the ratios
of the turns the median counts.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

GIB = 2**30
PACKAGES = ("torch", "torchvision", "xformers", "diffusers", "transformers", "accelerate", "gradio", "open_clip_torch", "pillow",
            "safetensors", "huggingface_hub", "bitsandbytes")
BUILDS = ((12, 6), (12, 8), (13, 0))  # CUDA versions that the pinned torch is published for
PINNED = "torch==2.10.0 torchvision==0.25.0"  # as requirements.txt has them

Version = tuple[int, int]


def versions() -> dict[str, str]:
    """Of Python and of the packages that matter, by name; "not installed" where one is not."""
    found = {"python": f"{platform.python_version()} on {platform.platform()}"}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def devices() -> dict[str, str]:
    """CPU, GPUs and what is free on them, by name."""
    memory = psutil.virtual_memory()
    found = {"cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, memory {memory.total / GIB:.1f} GiB, {memory.available / GIB:.1f} GiB free"}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        major, minor = torch.cuda.get_device_capability(i)
        found[f"cuda:{i}"] = f"{torch.cuda.get_device_name(i)}, sm_{major}{minor}, {total / GIB:.1f} GiB, {free / GIB:.1f} GiB free"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU"
    return found


def driver_cuda() -> Version | None:
    """The newest CUDA that the NVIDIA driver runs; None: there is no driver, or it says nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        said = subprocess.run([program], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else None


def _named(cuda: Version) -> str:
    return f"{cuda[0]}.{cuda[1]}"


def torch_advice(driver: Version | None, built: Version | None, available: bool, capability: Version | None = None, codes: tuple[str, ...] = ()) -> str:
    """What is wrong between the driver and torch, with the command that mends it; empty: nothing.

    Args:
        driver: see `driver_cuda`. built: the CUDA version that torch was built for; None: a build without CUDA.
        available: whether torch can use a GPU. capability: the first GPU's. codes: the GPUs that torch has code for, "sm_90", ...
    """
    if driver is None:
        return ""
    fits = [one for one in BUILDS if one[0] <= driver[0]]  # within a major version newer builds run on older drivers
    if not fits:
        return (f"The NVIDIA driver runs CUDA {_named(driver)}, and torch is built for {_named(BUILDS[0])} or newer. "
                f"Install a newer driver: https://www.nvidia.com/drivers")
    best = max((one for one in fits if one <= driver), default=fits[0])
    if built is None:
        return f"There is an NVIDIA GPU (its driver runs CUDA {_named(driver)}), but this torch is built for CPUs only. Run: {install(best)}"
    if built[0] > driver[0]:
        return f"The NVIDIA driver runs CUDA {_named(driver)}, but this torch is built for {_named(built)}. Run: {install(best)}"
    if available and capability is not None and codes and not _covered(capability, codes):
        other = BUILDS[0] if capability < (7, 5) else max(fits)
        return f"This torch has no code for the GPU (sm_{capability[0]}{capability[1]}; it has {', '.join(codes)}). Run: {install(other)}"
    if not available:
        return (f"The driver runs CUDA {_named(driver)} and torch is built for {_named(built)}, but torch finds no GPU. "
                "Look at CUDA_VISIBLE_DEVICES, and restart the computer after a driver was changed.")
    return ""


def _covered(capability: Version, codes: tuple[str, ...]) -> bool:
    """Whether there is code for a GPU: of its major version, and of a minor one that is not newer."""
    numbers = [divmod(int(code.partition("_")[2].rstrip("af")), 10) for code in codes if code.startswith("sm_")]
    return any(major == capability[0] and minor <= capability[1] for major, minor in numbers)


def install(cuda: Version) -> str:
    """The command that puts torch for a CUDA version in the present one's place; pip's usual index has only one build for each system."""
    return f"pip install uv, then: uv pip install --reinstall {PINNED} --torch-backend=cu{cuda[0]}{cuda[1]}"


def torch_here() -> str:
    """See `torch_advice`, of this machine."""
    built = None
    if torch.version.cuda:
        major, minor = torch.version.cuda.split(".")[:2]
        built = int(major), int(minor)
    available = torch.cuda.is_available()
    return torch_advice(driver_cuda(), built, available, torch.cuda.get_device_capability() if available else None,
                        tuple(torch.cuda.get_arch_list()) if available else ())


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
