"""`python -m assistant.training quadruplets|sid`, and `encode|bridge|cafe|targets` on such sets, at any preset's size: arguments -> a run's folder,
encoders, or a task."""

import argparse
from pathlib import Path

from ..config import AssistantConfig
from ..errors import ConfigError

STAGES = ("encode", "bridge", "cafe", "targets")


def add_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--attempts", type=int, default=1024, help="quadruplets, sid, targets: targets made for each set (default: %(default)s)")
    p.add_argument("--rounds", type=int, default=1, help="sid: rounds after the first (default: %(default)s)")
    p.add_argument("--alpha", type=float, nargs=2, default=(0.7, 1.0), metavar=("LOW", "HIGH"), help="sid, targets: eq. 4's alpha (default: 0.7 1.0)")
    p.add_argument("--reference", choices=("store", "base"), default="base", help="sid: w is retrieved, or drawn from the instruction (default: %(default)s)")
    p.add_argument("--data", type=Path, nargs="+", metavar="FOLDER", help="encode, targets: sets of quadruplets; bridge, cafe: sets encoded "
                   "beforehand, in place of the drawn world")
    p.add_argument("--out", type=Path, metavar="FOLDER", help="encode, targets: where to put the set that is made")
    p.add_argument("--weights", type=Path, metavar="FOLDER", help="encode, targets, and bridge and cafe with --data: a preset's parts (default: "
                   "where `python -m assistant download` puts them, or what ships)")
    p.add_argument("--round", type=int, default=1, help="targets: number of the SID round (default: %(default)s)")
    p.add_argument("--least", type=float, nargs=2, metavar=("CLIP", "DINO"), help="targets: the filter's thresholds (default: found on the sets)")
    p.add_argument("--drawing-steps", type=int, help="targets, quadruplets, sid: steps of denoising (default: the preset's)")
    p.add_argument("--checkpointing", action="store_true", help="bridge, cafe: compute activations twice instead of keeping them")
    p.add_argument("--language-dtype", choices=("float32", "bfloat16", "4bit"), help="bridge: of the frozen language model "
                   "(default: bfloat16 on cuda)")


def run_sid(args: argparse.Namespace, config: AssistantConfig) -> None:
    """The first round's data, or all rounds, by one process or many as `accelerate launch` and `torchrun` start them: shards in turns.

    Raises:
        ConfigError: the folder was begun with other sizes or weights.
    """
    import torch

    from ..evaluation.plot import figure
    from ..manifest import CHECKPOINTS
    from .distributed import join
    from ..data.self_distillation import Parts, Run, Sizes

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


def run(args: argparse.Namespace, config: AssistantConfig) -> None:
    """Raises AssistantError: nothing to learn from, parts that are missing, or a folder of other data."""
    if args.stage not in STAGES:
        raise ConfigError(f"There is no stage {args.stage!r} at the preset {config.name!r}.", f"Choose one of: {', '.join(STAGES)}, cost.")
    if config.vision is None or config.adapters is not None:
        raise ConfigError(f"The preset {config.name!r} has no CAFE to train.", "Choose full or miniature.")
    if not args.data:
        raise ConfigError("There is nothing to learn from.", "Name a set with --data FOLDER.")
    from ..hub.inventory import place_of

    weights = place_of(config, args.weights)
    if args.stage in ("encode", "targets") and args.out is None:
        raise ConfigError("There is no place for the set.", "Name one with --out FOLDER.")
    if args.stage == "encode":
        _encode(args, config, weights)
    elif args.stage == "targets":
        _targets(args, config, weights)
    else:
        _train(args, config, weights)


def _missing(config: AssistantConfig, weights: Path, *parts: str) -> None:
    for part in parts:
        if not (weights / part).exists():
            raise ConfigError(f"The part {part!r} is not in {weights}.", f"Run: python -m assistant download {config.name}"
                              if config.sources else "Name the folder that holds it with --weights.")


def _encode(args: argparse.Namespace, config: AssistantConfig, weights: Path) -> None:
    _missing(config, weights, "dino", "clip", "base/vae")
    import torch

    from ..checkpoints import load_vae, load_vision
    from .encoded_dataset import Encoder, encode
    from .distributed import join

    device = join(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    encoder = Encoder(config, load_vision(config, weights), load_vae(weights / "base/vae"), device)
    encode(args.out, args.data, config.name, encoder, args.batch or 16, lambda what: print(what, flush=True))


def _targets(args: argparse.Namespace, config: AssistantConfig, weights: Path) -> None:
    _missing(config, weights, "dino", "clip", "base/unet", "cafe")
    from .distributed import join
    from ..data.distillation_targets import make_targets

    make_targets(args.out, args.data, config, weights, join(args.device), args.attempts, args.round, tuple(args.alpha),
                 tuple(args.least) if args.least else None, args.drawing_steps, lambda what: print(what, flush=True))


def _train(args: argparse.Namespace, config: AssistantConfig, weights: Path) -> None:
    from .encoded_dataset import Encoded
    from .datasets import EncodedPairs, EncodedDialogues
    from .hyperparameters import BRIDGE, CAFE
    from .cli_common import train

    encoded, numbers = Encoded(config, *args.data), {"cafe": CAFE, "bridge": BRIDGE}[args.stage]

    def make(device: str, batch: int):
        if args.stage == "cafe":
            from .cafe import CafeTask
            _missing(config, weights, "base/unet", "base/vae")
            return CafeTask(config, EncodedPairs(encoded), device, weights, batch, args.init, args.compile, numbers=CAFE,
                            checkpointing=args.checkpointing)
        from ..models.chat_template import PromptBuilder
        from .mllm_projector import ProjectorTask
        from .mllm_projector import frozen_llama
        _missing(config, weights, "llama")
        llama = frozen_llama(weights / "llama", device, args.language_dtype or ("float32" if device == "cpu" else "bfloat16"))
        source = EncodedDialogues(config, encoded, PromptBuilder(config.language, llama[1]))
        return ProjectorTask(config, source, device, weights, batch, numbers=BRIDGE, llama=llama, checkpointing=args.checkpointing, warm=args.init)

    # where a preset's parts are published, what was trained joins them; what ships is left alone
    export = (weights if config.sources else args.run / "model") / args.stage
    if train(make, args, args.run / args.stage, export, numbers.batch, numbers.parts, epochs=numbers.epochs,
             save_every=numbers.save_every):
        if config.sources:
            _list(weights, args.stage)
        print(f"{args.stage}: {export}")


def _list(weights: Path, part: str) -> None:
    """Make a trained part known to the folder's manifest, if it has one."""
    from ..manifest import read_listing, sha256, write_listing

    if listing := read_listing(weights):
        files = [p for p in sorted((weights / part).rglob("*")) if p.is_file()]
        others = {k: v for k, v in listing.items() if not k.startswith(f"{part}/")}
        write_listing(weights, others | {p.relative_to(weights).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in files})
