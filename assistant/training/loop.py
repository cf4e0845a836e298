"""The one training loop: budget in minutes or steps, warm-up and decay, EMA, log, sheets, exact resume after a kill.

A task says what is trained, draws a batch from (seed, step) and gives a loss; it never owns a loop. State is safetensors
and JSON, written to a temporary folder and renamed, so that a kill at any moment leaves the last whole checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import WeightsError
from .muon import Muon


class Task(Protocol):
    """One thing to train."""

    name: str
    batch_size: int
    lr: float

    def modules(self) -> Mapping[str, nn.Module]:
        """What is trained, on the device already; frozen helpers are left out."""

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """CPU tensors of one batch; called ahead of time from another thread."""

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise and what to log beside it."""

    def export(self, folder: Path) -> None:
        """Write the modules as they stand (the loop has put the EMA in) in their stock layout."""

    def sheet(self, path: Path) -> None:
        """Draw a picture of how it is doing, or nothing."""


@dataclass(frozen=True)
class Options:
    """How long and where."""

    minutes: float | None = 10.0  # budget of training time in all, earlier runs of the same state included
    steps: int | None = None  # or a number of steps; the schedule follows whichever is given
    device: str = "cpu"
    seed: int = 0
    ema: float = 0.999
    save_every: float = 60.0  # seconds between checkpoints
    log_every: float = 10.0  # seconds between log lines
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup: float = 0.02  # fraction of the budget


class Trainer:
    """Runs one task; `folder` holds its state, log and sheet, `export` takes the finished weights.

    Raises:
        WeightsError: a state in `folder` does not fit the task's parameters.
    """

    def __init__(self, task: Task, folder: Path, export: Path, options: Options) -> None:
        self.task, self.folder, self.export, self.options = task, folder, export, options
        folder.mkdir(parents=True, exist_ok=True)
        self.params = {f"{m}.{n}": p for m, module in task.modules().items() for n, p in module.named_parameters()
                       if p.requires_grad}
        self.ema = {n: p.detach().clone() for n, p in self.params.items()}
        inner = getattr(task, "matrices", set())  # names of what Muon takes; AdamW takes the rest
        self.optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(
            [p for n, p in self.params.items() if n not in inner], lr=task.lr, betas=options.betas,
            weight_decay=options.weight_decay, fused=True)]
        if inner:
            self.optimizers.append(Muon([self.params[n] for n in inner], task.lr, weight_decay=options.weight_decay))
        self.step, self.elapsed = 0, 0.0
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self._resume()

    def _resume(self) -> None:
        place = self.folder / "state"
        if not place.exists() and (self.folder / "state.old").exists():
            place = self.folder / "state.old"  # killed between two renames
        if not place.exists():
            return
        about = json.loads((place / "state.json").read_text())
        tensors = load_file(place / "state.safetensors", device=self.options.device)
        if {k[6:] for k in tensors if k.startswith("param.")} != set(self.params):
            raise WeightsError(f"The training state in {place} is of another model.", "Choose another --run folder.")
        self.step, self.elapsed = about["step"], about["elapsed"]
        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(tensors[f"param.{name}"])
                self.ema[name].copy_(tensors[f"ema.{name}"])
                if self.step:
                    self._optimizer(p).state[p] = {
                        "step": torch.tensor(float(self.step), device=p.device), "exp_avg": tensors[f"m.{name}"].clone(),
                        "exp_avg_sq": tensors[f"v.{name}"].clone()}

    def _optimizer(self, p: nn.Parameter) -> torch.optim.Optimizer:
        return next(o for o in self.optimizers if any(p is q for g in o.param_groups for q in g["params"]))

    def save(self) -> None:
        """Write the whole state; the old one is replaced only once the new one is on disk."""
        new, place, old = (self.folder / n for n in ("state.new", "state", "state.old"))
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        tensors = {}
        for name, p in self.params.items():
            tensors[f"param.{name}"], tensors[f"ema.{name}"] = p.detach(), self.ema[name]
            state = self._optimizer(p).state.get(p, {})
            tensors[f"m.{name}"] = state.get("exp_avg", torch.zeros_like(p))
            tensors[f"v.{name}"] = state.get("exp_avg_sq", torch.zeros_like(p))
        save_file({k: t.contiguous() for k, t in tensors.items()}, new / "state.safetensors")
        (new / "state.json").write_text(json.dumps({"task": self.task.name, "step": self.step, "elapsed": self.elapsed}))
        for file in new.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            os.replace(place, old)
        os.replace(new, place)
        shutil.rmtree(old, ignore_errors=True)

    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        o = self.options
        return self.step / o.steps if o.steps is not None else self.elapsed / (60 * o.minutes)

    def _rate(self) -> float:
        done, warm = self.progress(), self.options.warmup
        if done < warm:
            return max(done / warm, 1e-3)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm) / (1 - warm))))

    def _batch(self, step: int) -> dict[str, Tensor]:
        batch = self.task.batch(np.random.default_rng((self.options.seed, step, self.rank)))
        return {k: t.pin_memory() if self.options.device != "cpu" else t for k, t in batch.items()}

    def run(self) -> None:
        """Train until the budget is spent, then export the EMA and draw the last sheet."""
        o, device = self.options, torch.device(self.options.device)
        started, saved, logged, done_at_log = time.monotonic(), time.monotonic(), time.monotonic(), self.step
        first_elapsed = self.elapsed
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self._batch, self.step + k) for k in range(3)]
            while self.progress() < 1:
                batch = {k: t.to(device, non_blocking=True) for k, t in ahead.pop(0).result().items()}
                ahead.append(pool.submit(self._batch, self.step + 3))
                generator = torch.Generator(device).manual_seed((o.seed + 97 * self.rank) * 1_000_003 + self.step)
                self.task.done = self.progress()  # a task may look at it: a curriculum, or the last part on the whole thing
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    loss, parts = self.task.loss(batch, generator)
                for optimizer in self.optimizers:
                    optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if self.world > 1:
                    self._share()
                norm = torch.nn.utils.clip_grad_norm_(self.params.values(), 1.0)
                for optimizer in self.optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = self.task.lr * self._rate()
                    optimizer.step()
                self.step += 1
                keep = min(o.ema, (1 + self.step) / (10 + self.step))
                with torch.no_grad():
                    torch._foreach_lerp_(list(self.ema.values()), [p.detach() for p in self.params.values()], 1 - keep)
                now = time.monotonic()
                self.elapsed = self._agreed(first_elapsed + now - started)
                if self.rank:
                    continue
                if now - logged > o.log_every or self.progress() >= 1:
                    rate = (self.step - done_at_log) * self.task.batch_size * self.world / (now - logged)
                    self._log(loss=loss, norm=norm, samples_per_s=rate, **parts)
                    logged, done_at_log = now, self.step
                if now - saved > o.save_every:
                    self.save()
                    saved = time.monotonic()
            for waiting in ahead:
                waiting.cancel()
        if self.rank == 0:
            self.save()
            self.finish()

    def _share(self) -> None:
        """Average the gradients over the processes; each drew a batch of its own."""
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.params.values()]
        flat = torch.cat([g.flatten() for g in grads])
        dist.all_reduce(flat)
        for p, mean in zip(self.params.values(), (flat / self.world).split([g.numel() for g in grads])):
            p.grad = mean.view_as(p)

    def _agreed(self, elapsed: float) -> float:
        """The first process's clock, so that all of them stop at the same step."""
        if self.world == 1:
            return elapsed
        clock = torch.tensor([elapsed], dtype=torch.float64, device=self.options.device)
        dist.broadcast(clock, 0)
        return float(clock)

    def finish(self) -> None:
        """Put the EMA into the modules, export them and draw the sheet."""
        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(self.ema[name])
        for module in self.task.modules().values():
            module.eval()
        self.export.mkdir(parents=True, exist_ok=True)
        self.task.export(self.export)
        self.task.sheet(self.folder / "sheet.png")

    def _log(self, **values: Tensor | float) -> None:
        line = {"step": self.step, "minutes": round(self.elapsed / 60, 3), "done": round(self.progress(), 4),
                **{k: round(float(v.detach() if isinstance(v, Tensor) else v), 5) for k, v in values.items()}}
        with open(self.folder / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        print(f"{self.task.name:>9} " + "  ".join(f"{k} {v:g}" for k, v in line.items()), flush=True)
