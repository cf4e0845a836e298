"""The one training loop: budget in minutes or steps, warm-up and decay, Muon, EMA, log, sheets, several processes, exact resume after a kill.

A task says what is trained, draws a batch from a random state and gives a loss; it never owns a loop. A step's batch is a fixed number of parts, each with a
random state of its own that follows from (seed, step, part) alone: whoever computes a part, one process after another part or another process beside it, the
step is the same. `accelerate launch` and `torchrun` start several processes, on one machine or more, and say in the environment who is who.

A state on disk is safetensors and JSON, written to a folder of its own that then takes the old one's place. Nothing in it depends on how many processes there were.
"""

import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import ConfigError, DeviceError, WeightsError
from ..files import SHARED, add_line, write_whole

_A, _B, _C = 3.4445, -4.7750, 2.0315  # the quintic of the original


def orthogonal(update: Tensor, steps: int = 5, bf16: bool = False) -> Tensor:
    """(m, n) -> the same singular vectors with singular values near 1, by Newton-Schulz iteration.

    All iterates are polynomials of one Gram matrix, so that they are carried out on it: the long side is met only twice. In bfloat16
    that would lose too much; there each iterate is a matrix of the update's own shape, as in the original.
    """
    wide = update.shape[0] <= update.shape[1]
    x = update if wide else update.T
    x = x / (x.norm() + 1e-7)
    if bf16:
        x = x.bfloat16()
        for _ in range(steps):
            gram = x @ x.T
            x = torch.addmm(x, _B * gram + _C * (gram @ gram), x, beta=_A)
        return x.to(update.dtype) if wide else x.T.to(update.dtype)
    gram = x @ x.T
    product = one = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(steps):
        factor = _A * one + _B * gram + _C * gram @ gram
        product, gram = factor @ product, factor @ gram @ factor
    x = product @ x
    return x if wide else x.T


class Muon(torch.optim.Optimizer):
    """Of parameters with two dimensions or more; `momentum` is Nesterov's, `weight_decay` decoupled, `bf16` the iteration's arithmetic."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.01, bf16: bool = False) -> None:
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.bf16 = bf16

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step on the gradients as they are. Several processes with equal gradients share the work."""
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            # the largest first, in turns, so that each process has as much to do
            order = sorted(range(len(params)), key=lambda i: -params[i].numel())
            owner = {i: turn % world for turn, i in enumerate(order)}
            updates = []
            for i, p in enumerate(params):
                state = self.state[p]
                if not state:
                    state["exp_avg"] = torch.zeros_like(p)
                mean = state["exp_avg"].lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(mean, group["momentum"]).flatten(1)
                updates.append(orthogonal(update, bf16=self.bf16) if owner[i] == rank else torch.zeros_like(update))
            if world > 1:
                flat = torch.cat([u.flatten() for u in updates])
                dist.all_reduce(flat)
                updates = [part.view_as(u) for part, u in zip(flat.split([u.numel() for u in updates]), updates)]
            for p, update in zip(params, updates):
                size = 0.2 * max(update.shape) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update.view_as(p), alpha=-group["lr"] * size)


BUCKET = 16 * 2**20  # numbers that are summed in one call: a copy of 64 MB in float32, however large the model is


def join(device: str) -> str:
    """Meet the other processes, if there are any; returns the device of this one.

    Args:
        device: "cpu", or "cuda" for the GPU of this process's local rank.

    Raises:
        DeviceError: `accelerate launch --cpu` was asked for several processes, of which it starts one only.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world == 1:
        if "MASTER_ADDR" in os.environ and "ACCELERATE_USE_CPU" in os.environ and "RANK" not in os.environ:
            raise DeviceError("`accelerate launch --cpu` starts one process, whatever --num_processes says.",
                              "Run: accelerate launch --multi_gpu --num_processes N -m assistant.training ... (it serves a CPU too).")
        return device
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("gloo" if device == "cpu" else "nccl")
    return device


class ProcessGroup:
    """The processes of one training, or the only one.

    Attributes:
        rank: of this process. world: how many there are.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)

    def mine(self, parts: int) -> range:
        """Which of a step's parts this process computes.

        Raises:
            ConfigError: there are fewer parts than processes.
        """
        if parts < self.world:
            raise ConfigError(f"{self.world} processes cannot share a batch of {parts} part{'s' * (parts > 1)}.",
                              f"Start no more than {parts}, or begin anew in another folder with --parts {self.world}.")
        return range(self.rank, parts, self.world)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Put into each tensor, of one dtype, its sum over the processes."""
        if self.world == 1:
            return
        for some in _buckets(list(tensors)):
            flat = torch.cat([t.flatten() for t in some])
            dist.all_reduce(flat)
            for t, part in zip(some, flat.split([t.numel() for t in some])):
                t.copy_(part.view_as(t))

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Put the first process's into everyone's."""
        if self.world > 1:
            for t in tensors:
                dist.broadcast(t, 0)

    def agreed(self, *numbers: float) -> list[float]:
        """The first process's numbers."""
        if self.world == 1:
            return list(numbers)
        said = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.broadcast(said, 0)
        return said.tolist()

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.barrier()


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    some: list[Tensor] = []
    for t in tensors:
        if some and sum(s.numel() for s in some) + t.numel() > BUCKET:
            yield some
            some = []
        some.append(t)
    if some:
        yield some


def _place(folder: Path) -> Path | None:
    # between two renames only the old one is there
    return next((p for p in (folder / "state", folder / "state.old") if p.exists()), None)


def read_progress(folder: Path) -> dict[str, Any] | None:
    """What the state in `folder` says of itself; None: there is none."""
    place = _place(folder)
    return json.loads((place / "state.json").read_text()) if place else None


def same_batch(found: Mapping[str, Any], batch: int, parts: int) -> None:
    """Raises ConfigError if a state was trained with another batch, or one cut differently: its curve would break."""
    for name, value, option in (("batch", batch, "--batch"), ("parts", parts, "--parts")):
        if found.get(name, value) != value:
            what = "a batch of {} samples" if name == "batch" else "a batch in {} parts"
            raise ConfigError(f"This training was begun with {what.format(found[name])}, not {value}.",
                              f"Go on with {option} {found[name]}, or begin anew in another --run folder.")


def parts_of(folder: Path, batch: int, asked: int | None, recipe: int | None, team: ProcessGroup) -> int:
    """Into how many parts a batch is cut: as asked, as it was begun, as the recipe says, or one a process.

    Raises:
        ConfigError: they do not divide it.
    """
    begun = (read_progress(folder) if team.rank == 0 else None) or {}
    (number,) = team.agreed(asked or begun.get("parts") or recipe or team.world)
    if batch % int(number):
        raise ConfigError(f"A batch of {batch} cannot be cut into {int(number)} equal parts.", "Change --batch or --parts.")
    return int(number)


def read_state(folder: Path, names: set[str]) -> dict[str, Tensor]:
    """`param.`, `ema.`, `m.` and `v.` of every name, in main memory. Raises WeightsError if they are another model's."""
    place = _place(folder)
    assert place is not None  # its progress was read before
    found = load_file(place / "state.safetensors")
    if {k.removeprefix("param.") for k in found if k.startswith("param.")} != names:
        raise WeightsError(f"The training state in {place} is of another model.", "Choose another --run folder.")
    return found


def write_state(folder: Path, values: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Write the whole state; the old one is replaced only once the new one is on disk."""
    new, place, old = (folder / n for n in ("state.new", "state", "state.old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    save_file({k: t.contiguous() for k, t in values.items()}, new / "state.safetensors")
    (new / "state.json").write_text(json.dumps(said))
    for file in new.iterdir():
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)


def forget_after(log: Path, step: int) -> None:
    """Take the lines of later steps, which a kill undid, out of a log."""
    if log.exists():
        lines = log.read_text().splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        if kept != lines:
            write_whole(log, "".join(f"{line}\n" for line in kept).encode(), SHARED)


AHEAD = 3  # steps whose batches are drawn before they are needed


class Task(Protocol):
    """One thing to train. Every task inherits this, and with it what it has no need of.

    The loop sets `done`, the share of the budget that is spent, before each step, and `share` before each part whose task has a tally.
    """

    name: str
    batch_size: int  # samples in a part
    lr: float
    done: float = 0.0
    share: Mapping[str, float] = MappingProxyType({})
    matrices: Set[str] = frozenset()  # names of what Muon takes; AdamW takes the rest

    def tally(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """How many things each of a loss's means is over, where that differs from part to part (words, say). `loss` multiplies each such mean by `self.share[name]`:
        what this part has of it, times the number of parts, over what all have. The mean over the parts is that over all things then."""
        return {}

    def sheet(self, path: Path) -> None:
        """Draw a picture of how it is doing; here, none."""

    def modules(self) -> Mapping[str, nn.Module]:
        """What is trained, on the device already; frozen helpers are left out."""
        ...

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        """CPU tensors of one part; called ahead of time from another thread, so that it must follow from `rng` alone."""
        ...

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise and what to log beside it, under the same names every time; NaN where there is nothing to say."""
        ...

    def export(self, folder: Path) -> None:
        """Write the modules as they stand (the loop has put the EMA in) in their stock layout."""
        ...


@dataclass(frozen=True)
class Options:
    """How long and where."""

    minutes: float | None = 10.0  # budget of training time in all, earlier runs of the same state included
    steps: int | None = None  # or a number of steps; the schedule follows whichever is given
    parts: int | None = None  # of each step's batch; None: as many as there are processes
    device: str = "cpu"
    seed: int = 0
    ema: float = 0.999
    ema_device: str | None = None  # where the averages are kept; None: on the device
    clip: float = 1.0  # the gradient's norm, at most
    save_every: float = 60.0  # seconds between checkpoints
    log_every: float = 10.0  # seconds between log lines
    sheet: bool = True  # draw one at the end
    rounded: bool = False  # what is exported: by `rounded`, whose files pack half as large
    bf16: bool | None = None  # arithmetic in bfloat16 under autocast; None: on CUDA only. A CPU with AMX gains, an older one loses
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    warmup: float = 0.02  # fraction of the budget


def rounded(weight: Tensor, steps: int = 64) -> Tensor:
    """A weight with each row (of its first dimension) in whole multiples of a power of two, at most `steps` of them on either side of zero; a vector as it is."""
    if weight.ndim < 2:
        return weight
    largest = weight.flatten(1).abs().amax(1).clamp_min(1e-12)
    unit = torch.exp2(torch.ceil(torch.log2(largest / steps))).view(-1, *(1,) * (weight.ndim - 1))
    return torch.round(weight / unit) * unit


def train_only(task: Task, names: str) -> None:
    """Train the parameters alone whose names begin as a regular expression says.

    Raises:
        ConfigError: it is none, or nothing would be left to train.
    """
    try:
        pattern, kept = re.compile(names), 0
    except re.error as error:
        raise ConfigError(f"--only {names!r} is no regular expression: {error}.", "Write one, like unet.up_blocks.1.") from error
    for module, network in task.modules().items():
        for name, p in network.named_parameters():
            p.requires_grad_(p.requires_grad and pattern.match(f"{module}.{name}") is not None)
            kept += p.requires_grad
    if not kept:
        raise ConfigError(f"No parameter's name begins with {names!r}.", f"They begin with one of: {', '.join(task.modules())}.")


class Trainer:
    """Runs one task, alone or as one of several processes; `folder` holds its state, log and sheet, `export` takes the finished
    weights. The first process alone reads and writes, and keeps the EMA.

    Raises:
        WeightsError: a state in `folder` does not fit the task's parameters.
        ConfigError: it was trained with another batch or other parts, or there are more processes than parts.
    """

    def __init__(self, task: Task, folder: Path, export: Path, options: Options) -> None:
        self.task, self.folder, self.export, self.options = task, folder, export, options
        self.team = ProcessGroup(options.device)
        self.rank, self.world = self.team.rank, self.team.world
        folder.mkdir(parents=True, exist_ok=True)
        self.params = {f"{m}.{n}": p for m, module in task.modules().items() for n, p in module.named_parameters() if p.requires_grad}
        kept = options.ema_device or options.device
        self.ema = {} if self.rank else {n: p.detach().to(kept, copy=True) for n, p in self.params.items()}
        # in one order in every process, which a set of names has not
        inner, others = ([p for n, p in self.params.items() if (n in task.matrices) == is_inner] for is_inner in (True, False))
        self.optimizers: list[torch.optim.Optimizer] = []
        if others:
            self.optimizers.append(torch.optim.AdamW(others, lr=task.lr, betas=options.betas, weight_decay=options.weight_decay, fused=True))
        if inner:
            self.optimizers.append(Muon(inner, task.lr, weight_decay=options.weight_decay, bf16=bool(options.bf16)))
        self.step, self.elapsed = 0, 0.0
        self._resume()

    def _resume(self) -> None:
        """Go on from the state, if there is one. The first process reads it and tells the others, who need not see its disk."""
        found = read_progress(self.folder) if self.rank == 0 else None
        before = found or {"step": 0, "elapsed": 0.0}
        step, self.elapsed = self.team.agreed(before["step"], before["elapsed"])
        self.step, self.parts = int(step), self.options.parts or self.world
        self.mine = self.team.mine(self.parts)
        moments = {}
        with torch.no_grad():
            if found:
                same_batch(found, self.parts * self.task.batch_size, self.parts)
                moments = read_state(self.folder, set(self.params))
                forget_after(self.folder / "log.jsonl", self.step)
                for name, p in self.params.items():
                    p.copy_(moments[f"param.{name}"])
                    self.ema[name].copy_(moments[f"ema.{name}"])
            self.team.spread(p.detach() for p in self.params.values())
        for name, p in self.params.items() if self.step else ():
            mean, square = (moments[f"{m}.{name}"].to(p.device, copy=True) if moments else torch.empty_like(p) for m in "mv")
            self.team.spread((mean, square))
            self._optimizer(p).state[p] = {"step": torch.tensor(float(self.step), device=p.device), "exp_avg": mean, "exp_avg_sq": square}

    def _optimizer(self, p: nn.Parameter) -> torch.optim.Optimizer:
        return next(o for o in self.optimizers if any(p is q for g in o.param_groups for q in g["params"]))

    def save(self) -> None:
        """Write the whole state; the old one is replaced only once the new one is on disk."""
        values = {}
        for name, p in self.params.items():
            values[f"param.{name}"], values[f"ema.{name}"] = p.detach(), self.ema[name]
            moments = self._optimizer(p).state.get(p, {})
            values[f"m.{name}"] = moments.get("exp_avg", torch.zeros_like(p))
            values[f"v.{name}"] = moments.get("exp_avg_sq", torch.zeros_like(p))
        write_state(self.folder, values, {"task": self.task.name, "step": self.step, "elapsed": self.elapsed, "parts": self.parts,
                                         "batch": self.parts * self.task.batch_size})

    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        o = self.options
        return self.step / o.steps if o.steps is not None else self.elapsed / (60 * cast(float, o.minutes))

    def _rate(self) -> float:
        done, warm = self.progress(), self.options.warmup
        if done < warm:
            return max(done / warm, 1e-3)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm) / (1 - warm))))

    def batches(self, step: int) -> list[dict[str, Tensor]]:
        """This process's parts of a step's batch."""
        drawn = [self.task.batch(np.random.default_rng((self.options.seed, step, part))) for part in self.mine]
        return [{k: t.pin_memory() if self.options.device != "cpu" else t for k, t in batch.items()} for batch in drawn]

    def _shares(self, batches: list[dict[str, Tensor]]) -> list[dict[str, float]]:
        """How much of each of the task's tallies lies in this process's parts, 1 on average."""
        own = [self.task.tally(batch) for batch in batches]
        if not any(own):
            return []
        total = torch.tensor([sum(c[name] for c in own) for name in own[0]], dtype=torch.float64, device=self.options.device)
        self.team.sum_([total])
        return [{name: c[name] * self.parts / t if t else 0.0 for name, t in zip(c, total.tolist())} for c in own]

    def gradients(self, batches: list[dict[str, Tensor]]) -> tuple[list[str], Tensor]:
        """Put the gradients of the mean over all parts into the parameters, as the sums of all processes.

        Returns:
            Names of what is logged, and this process's values of them, (parts, names), zero where a part is another's.
        """
        o, device = self.options, torch.device(self.options.device)
        names, rows = [], {}
        shares = self._shares(batches)
        for i, (part, batch) in enumerate(zip(self.mine, batches)):
            if shares:
                self.task.share = shares[i]
            generator = torch.Generator(device).manual_seed((o.seed + 97 * part) * 1_000_003 + self.step)
            batch = {k: t.to(device, non_blocking=True) for k, t in batch.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=o.bf16 if o.bf16 is not None else device.type == "cuda"):
                loss, said = self.task.loss(batch, generator)
            (loss / self.parts).backward()
            names = ["loss", *said]
            rows[part] = torch.stack([torch.as_tensor(v, dtype=torch.float32, device=device).detach() for v in (loss, *said.values())])
        for p in self.params.values():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        self.team.sum_(cast(list[Tensor], [p.grad for p in self.params.values()]))
        nothing = torch.zeros(len(names), device=device)
        return names, torch.stack([rows.get(part, nothing) for part in range(self.parts)])

    def update(self) -> Tensor:
        """One step of the optimizers and the EMA on the gradients as they are, which are cleared; returns their norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.params.values(), self.options.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.task.lr * self._rate()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(self.options.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, mean in self.ema.items():
                mean.lerp_(self.params[name].detach().to(mean.device), 1 - keep)
        return norm

    def run(self) -> None:
        """Train until the budget is spent, then export the EMA and draw the last sheet."""
        started, saved, logged, done_at_log = time.monotonic(), time.monotonic(), time.monotonic(), self.step
        first_elapsed = self.elapsed
        with ThreadPoolExecutor(1) as pool:
            ahead = [pool.submit(self.batches, self.step + k) for k in range(AHEAD)]
            while self.progress() < 1:
                batches = ahead.pop(0).result()
                ahead.append(pool.submit(self.batches, self.step + AHEAD))
                self.task.done = self.progress()
                names, values = self.gradients(batches)
                norm = self.update()
                now = time.monotonic()
                self.elapsed, due = self.team.agreed(first_elapsed + now - started, now - logged > self.options.log_every)
                if due or self.progress() >= 1:
                    self.team.sum_([values])
                    if self.rank == 0:
                        rate = (self.step - done_at_log) * self.task.batch_size * self.parts / (now - logged)
                        self._log(**dict(zip(names, values.nanmean(0))), norm=norm, samples_per_s=rate, minutes_left=self._left(rate))
                    logged, done_at_log = now, self.step
                if self.rank == 0 and now - saved > self.options.save_every:
                    self.save()
                    saved = time.monotonic()
            for waiting in ahead:
                waiting.cancel()
        if self.rank == 0:
            self.save()
            self.finish()
        self.team.wait()  # the first process writes what all may go on from

    def finish(self) -> None:
        """Put the EMA into the modules, export them and draw the sheet."""
        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(rounded(self.ema[name]) if self.options.rounded else self.ema[name])
        for module in self.task.modules().values():
            module.eval()
        self.export.mkdir(parents=True, exist_ok=True)
        self.task.export(self.export)
        if self.options.sheet:
            self.task.sheet(self.folder / "sheet.png")

    def _left(self, rate: float) -> float:
        """Minutes to the end of the budget, at `rate` samples per second."""
        o = self.options
        if o.steps is None:
            return max(0.0, cast(float, o.minutes) - self.elapsed / 60)
        return (o.steps - self.step) * self.task.batch_size * self.parts / max(rate, 1e-6) / 60

    def _log(self, **values: Tensor | float) -> None:
        line = {"step": self.step, "minutes": round(self.elapsed / 60, 3), "done": round(self.progress(), 4),
                **{k: float(f"{float(v):.7g}") for k, v in values.items() if not math.isnan(v)}}
        add_line(self.folder / "log.jsonl", line)
        print(f"{self.task.name:>9} " + "  ".join(f"{k} {v:g}" for k, v in line.items()), flush=True)
