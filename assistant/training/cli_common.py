"""Arguments that every training takes, and one task run by them: alone, or as one of several processes. Knows no task by name."""

import argparse
import ctypes
from collections.abc import Callable
from pathlib import Path

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--minutes", type=float, help="training time of the stage, or of the whole recipe (default: 10, or 240)")
    p.add_argument("--steps", type=int, help="train a number of steps instead")
    p.add_argument("--device", default="cpu", help="cpu or cuda, of several processes each its own GPU (default: %(default)s)")
    p.add_argument("--batch", type=int, help="samples a step, of all processes together (default: the recipe's)")
    p.add_argument("--parts", type=int, help="cut each batch into so many parts, one after another in memory, shared out between "
                   "processes: the same curve whatever their number (default: as begun, at first the recipe's, or one a process)")
    p.add_argument("--lr", type=float, help="learning rate (default: the task's)")
    p.add_argument("--clip", type=float, default=1.0, help="the gradient's norm, at most (default: %(default)s)")
    p.add_argument("--ema-device", choices=("cpu",), help="keep the averages in main memory (default: on the device)")
    p.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="arithmetic in bfloat16 (default: on CUDA; a CPU with AMX trains up to twice as fast with it)")
    p.add_argument("--seed", type=int, default=0, help="of weights, batches and noise (default: %(default)s)")
    p.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    p.add_argument("--log-every", type=float, default=10.0, help="seconds between lines of the log (default: %(default)s)")
    p.add_argument("--save-every", type=float, help="seconds between checkpoints (default: 60; of a set encoded beforehand 300, or 1800 for cafe)")
    p.add_argument("--no-sheet", action="store_true", help="draw no samples at the end")


def keep_memory() -> None:
    """Let glibc keep freed memory: a training frees and asks for the same hundreds of megabytes at every step, and giving the pages back
    to the system and clearing them again takes a third of a step on a CPU. Elsewhere than on glibc nothing is done."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((_TOP_PAD, 64 * 2**20), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1)):
        mallopt(parameter, value)


def train(make: Callable[[str, int], object], args: argparse.Namespace, folder: Path, export: Path, batch: int, parts: int | None = None,
          minutes: float | None = None, epochs: float | None = None, save_every: float = 60.0) -> bool:
    """Train one task to the end of its budget; says whether this is the process that wrote the result.

    Args:
        make: device, samples a part -> the task.
        batch, parts: the recipe's, where the arguments and the state say nothing.
        minutes: where the arguments give neither minutes nor steps; None: `epochs` over the task's source.

    Raises:
        AssistantError: as `Trainer` does.
    """
    import torch

    from .loop import Options, Trainer
    from .distributed import ProcessGroup, join
    from .training_state import cut

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = join(args.device)
    keep_memory()
    torch.manual_seed(args.seed)  # only the layers' initial weights; every other draw has a generator of its own
    if args.threads:
        torch.set_num_threads(args.threads)
    team, batch = ProcessGroup(device), args.batch or batch
    number = cut(folder, batch, args.parts, parts, team)
    task = make(device, batch // number)
    if args.lr:
        task.lr = args.lr
    minutes, steps = args.minutes if args.minutes is not None else minutes, args.steps
    if minutes is None and steps is None:
        steps = max(1, round(epochs * len(task.source) / batch))
    options = Options(minutes=minutes, steps=steps, parts=number, device=device, seed=args.seed, save_every=save_every if args.save_every is None else args.save_every,
                      log_every=args.log_every, ema_device=args.ema_device, clip=args.clip, sheet=not args.no_sheet, bf16=args.bf16)
    Trainer(task, folder, export, options).run()
    return team.rank == 0
