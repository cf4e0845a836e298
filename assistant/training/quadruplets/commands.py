"""`python -m assistant.training quadruplets|sid`: arguments -> a run's folder."""

from __future__ import annotations

import argparse


def add_arguments(p: argparse.ArgumentParser) -> None:
    """What these two stages take beside the others' --run, --seed, --batch and --steps."""
    p.add_argument("--attempts", type=int, default=1024, help="quadruplets, sid, targets: targets made for each set (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=1, help="sid: rounds after the first (default: %(default)s)")
    p.add_argument("--alpha", type=float, nargs=2, default=(0.7, 1.0), metavar=("LOW", "HIGH"), help="sid: eq. 4's alpha (default: 0.7 1.0)")
    p.add_argument("--reference", choices=("store", "base"), default="base", help="sid: w is retrieved, or drawn from the instruction (default: %(default)s)")


def run(args: argparse.Namespace, config) -> None:
    """One process, or many as `accelerate launch` and `torchrun` start them: the same folder, shards in turns.

    Raises:
        ConfigError: the folder was begun with other sizes or weights.
    """
    import torch

    from ...evaluation.plot import figure
    from ...manifest import CHECKPOINTS
    from ..processes import join
    from ..sid import Parts, Run, Sizes

    figure(1, 1)  # before hours of work: raises where none can be drawn
    join("cpu")
    if args.threads:
        torch.set_num_threads(args.threads)
    batch = args.batch or Sizes.batch
    sizes = Sizes(attempts=args.attempts, rounds=args.rounds, samples=args.steps * batch if args.steps else Sizes.samples, batch=batch,
                  parts=args.parts or Sizes.parts, alpha=tuple(args.alpha), reference=args.reference,
                  steps=args.drawing_steps or config.decoder.steps, seed=args.seed)
    one = Run(args.run / "sid", Parts.load(config, CHECKPOINTS / config.folder), sizes, lambda what: print(what, flush=True))
    if args.stage == "sid":
        print(f"decoder: {one.rounds()}")
    else:
        data = one.first_data()
        one.plot([data])
        print(f"{data}: {(data / 'manifest.json').stat().st_size} bytes of manifest; thresholds {one.thresholds()}")
