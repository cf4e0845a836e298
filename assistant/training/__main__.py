"""`python -m assistant.training STAGE`: arguments -> task -> loop. Every stage resumes where it stopped."""

import argparse
import ctypes
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..config import AssistantConfig
from ..errors import AssistantError, ConfigError
from ..manifest import CHECKPOINTS
from ..presets import preset
from .recipe import BRIDGE, CAFE, CARDS, GROUPS, JUDGE_GROUPS, JUDGE_SEED, REDRAWN, STAGES, TALKS, TRAIN_SEED, Plan, Stage

if TYPE_CHECKING:
    from .loop import Task

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's malloc.h


def _common_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--minutes", type=float, help="training time of the stage, or of the whole recipe (default: 10, or 240)")
    p.add_argument("--steps", type=int, help="train a number of steps instead")
    p.add_argument("--device", default="cpu", help="cpu or cuda, of several processes each its own GPU (default: %(default)s)")
    p.add_argument("--batch", type=int, help="samples a step, of all processes together (default: the recipe's)")
    p.add_argument("--parts", type=int, help="cut each batch into so many parts, one after another in memory, shared out between "
                   "processes: the same curve whatever their number (default: as begun, at first the recipe's, or one a process)")
    p.add_argument("--lr", type=float, help="learning rate (default: the task's)")
    p.add_argument("--only", metavar="REGEX", help="parameters whose names begin so alone, as unet.up_blocks.1 (default: all)")
    p.add_argument("--clip", type=float, default=1.0, help="the gradient's norm, at most (default: %(default)s)")
    p.add_argument("--ema-device", choices=("cpu",), help="keep the averages in main memory (default: on the device)")
    p.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="arithmetic in bfloat16 (default: on CUDA; a CPU with AMX trains up to twice as fast with it)")
    p.add_argument("--seed", type=int, default=0, help="of weights, batches and noise; of 'draw' too: another one, other pictures (default: %(default)s)")
    p.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    p.add_argument("--log-every", type=float, default=10.0, help="seconds between lines of the log (default: %(default)s)")
    p.add_argument("--save-every", type=float, help="seconds between checkpoints (default: 60; of a set encoded beforehand 300, or 1800 for cafe)")
    p.add_argument("--rounded", action="store_true", help="round what was trained to 64 steps a row: its files pack half as large")
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


def train(make: "Callable[[str, int], Task]", args: argparse.Namespace, folder: Path, export: Path, batch: int, parts: int | None = None,
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

    from .loop import Options, ProcessGroup, Trainer, join, parts_of, train_only

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = join(args.device)
    keep_memory()
    torch.manual_seed(args.seed)  # only the layers' initial weights; every other draw has a generator of its own
    if args.threads:
        torch.set_num_threads(args.threads)
    team, batch = ProcessGroup(device), args.batch or batch
    number = parts_of(folder, batch, args.parts, parts, team)
    task = make(device, batch // number)
    if args.only:
        train_only(task, args.only)
    if args.lr:
        task.lr = args.lr
    minutes, steps = args.minutes if args.minutes is not None else minutes, args.steps
    if minutes is None and steps is None:
        assert epochs is not None
        steps = max(1, round(epochs * len(cast(Any, task).source) / batch))
    options = Options(minutes=minutes, steps=steps, parts=number, device=device, seed=args.seed, save_every=save_every if args.save_every is None else args.save_every,
                      log_every=args.log_every, ema_device=args.ema_device, clip=args.clip, sheet=not args.no_sheet, rounded=args.rounded, bf16=args.bf16)
    Trainer(task, folder, export, options).run()
    return team.rank == 0


AT_SIZE = ("encode", "bridge", "cafe", "targets")


def _quadruplet_arguments(p: argparse.ArgumentParser) -> None:
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
    p.add_argument("--language-dtype", choices=("float32", "bfloat16", "4bit"), help="bridge: of the frozen language model " "(default: bfloat16 on cuda)")


def _run_sid(args: argparse.Namespace, config: AssistantConfig) -> None:
    """The first round's data, or all rounds, by one process or many as `accelerate launch` and `torchrun` start them: shards in turns.

    Raises:
        ConfigError: the folder was begun with other sizes or weights.
    """
    import torch

    from ..report import figure
    from .loop import join
    from .self_distillation import Parts, Run, Sizes

    figure(1, 1)  # before hours of work: raises where none can be drawn
    join("cpu")
    if args.threads:
        torch.set_num_threads(args.threads)
    batch = args.batch or Sizes.batch
    sizes = Sizes(attempts=args.attempts, rounds=args.rounds, samples=args.steps * batch if args.steps else Sizes.samples, batch=batch, seed=args.seed,
                  parts=args.parts or Sizes.parts, alpha=tuple(args.alpha), reference=args.reference, steps=args.drawing_steps or config.decoder.steps)
    one = Run(args.run / "sid", Parts.load(config, CHECKPOINTS / config.folder), sizes, lambda what: print(what, flush=True))
    if args.stage == "sid":
        print(f"decoder: {one.rounds()}")
    else:
        data = one.first_data()
        one.plot([data])
        print(f"{data}: {(data / 'manifest.json').stat().st_size} bytes of manifest; thresholds {one.thresholds()}")


def _run_at_size(args: argparse.Namespace, config: AssistantConfig) -> None:
    """Raises AssistantError: nothing to learn from, parts that are missing, or a folder of other data."""
    if args.stage not in AT_SIZE:
        raise ConfigError(f"There is no stage {args.stage!r} at the preset {config.name!r}.", f"Choose one of: {', '.join(AT_SIZE)}, cost.")
    if config.vision is None or config.adapters is not None:
        raise ConfigError(f"The preset {config.name!r} has no CAFE to train.", "Choose full or miniature.")
    if not args.data:
        raise ConfigError("There is nothing to learn from.", "Name a set with --data FOLDER.")
    from ..hub.download import place_of

    weights = place_of(config, args.weights)
    if args.stage in ("encode", "targets") and args.out is None:
        raise ConfigError("There is no place for the set.", "Name one with --out FOLDER.")
    if args.stage == "encode":
        _encode(args, config, weights)
    elif args.stage == "targets":
        _targets(args, config, weights)
    else:
        _train_encoded(args, config, weights)


def _missing(config: AssistantConfig, weights: Path, *parts: str) -> None:
    for part in parts:
        if not (weights / part).exists():
            raise ConfigError(f"The part {part!r} is not in {weights}.", f"Run: python -m assistant download {config.name}"
                              if config.sources else "Name the folder that holds it with --weights.")


def _encode(args: argparse.Namespace, config: AssistantConfig, weights: Path) -> None:
    _missing(config, weights, "dino", "clip", "base/vae")
    import torch

    from ..checkpoints import load_vae, load_vision
    from .datasets import Encoder, encode
    from .loop import join

    device = join(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    encoder = Encoder(config, load_vision(config, weights), load_vae(weights / "base/vae"), device)
    encode(args.out, args.data, config.name, encoder, args.batch or 16, lambda what: print(what, flush=True))


def _targets(args: argparse.Namespace, config: AssistantConfig, weights: Path) -> None:
    _missing(config, weights, "dino", "clip", "base/unet", "cafe")
    from .loop import join
    from .self_distillation import make_targets

    make_targets(args.out, args.data, config, weights, join(args.device), args.attempts, args.round, tuple(args.alpha),
                 tuple(args.least) if args.least else None, args.drawing_steps, lambda what: print(what, flush=True))


def _train_encoded(args: argparse.Namespace, config: AssistantConfig, weights: Path) -> None:
    from .datasets import Encoded, EncodedDialogues, EncodedPairs

    encoded, numbers = Encoded(config, *args.data), {"cafe": CAFE, "bridge": BRIDGE}[args.stage]

    def make(device: str, batch: int):
        if args.stage == "cafe":
            from .decoder import CafeTask
            _missing(config, weights, "base/unet", "base/vae")
            return CafeTask(config, EncodedPairs(encoded), device, weights, batch, args.init, args.compile, numbers=CAFE, checkpointing=args.checkpointing)
        from ..models.mllm import PromptBuilder
        from .mllm import ProjectorTask, frozen_llama
        _missing(config, weights, "llama")
        llama = frozen_llama(weights / "llama", device, args.language_dtype or ("float32" if device == "cpu" else "bfloat16"))
        source = EncodedDialogues(config, encoded, PromptBuilder(config.mllm, llama[1]))
        return ProjectorTask(config, source, device, weights, batch, numbers=BRIDGE, llama=llama, checkpointing=args.checkpointing, warm=args.init)

    # where a preset's parts are published, what was trained joins them; what ships is left alone
    export = (weights if config.sources else args.run / "model") / args.stage
    if train(make, args, args.run / args.stage, export, numbers.batch, numbers.parts, epochs=numbers.epochs, save_every=numbers.save_every):
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


DRAWN = {"vae": "draw", "language": "talks", "judge": "draw-judge", "sharp": "redraw-near", "robust": "redraw"}  # what each stage is the first to need


def _task(stage: Stage, config: AssistantConfig, args: argparse.Namespace, device: str, batch: int):
    from . import classifiers, decoder, mllm, vae, vision_encoders
    from ..checkpoints import load_vae
    from .datasets import WorldDialogues
    from .losses import encode_latents
    from .world_dataset import DialogueDataset, WorldDataset

    model = args.run / "model"
    data = args.run / ("judge-data" if stage.task in ("judge", "likeness") else "data")
    world = WorldDataset(data, config) if (data / "about.json").exists() else None
    if world is None or not len(world.groups):
        raise ConfigError(f"The set in {data} has no picture yet.", f"Run: python -m assistant.training {DRAWN['judge' if data.name == 'judge-data' else 'vae']} --run {args.run}")
    warm = args.init or (model / stage.writes if args.go_on else None)

    def talks() -> DialogueDataset:
        return DialogueDataset(_needed(args.run / "talks", "about.json", "talks"))

    def bridge() -> mllm.ProjectorTask:
        before = model / "bridge"  # of the stage before it, which trained M with a V of its own
        return mllm.ProjectorTask(config, WorldDialogues(config, world, talks(), device, model), device, model, batch, checkpointing=args.checkpointing,
                                  warm=args.init or (before if before.exists() else None))

    return {"vae": lambda: vae.VaeTask(config, world, device, batch, warm),
            "dino": lambda: vision_encoders.DinoTask(config, world, device, batch, warm),
            "clip": lambda: vision_encoders.ClipTask(config, world, device, batch, warm),
            "language": lambda: mllm.LanguageTask(config, world, talks(), device, model, batch, warm), "bridge": bridge,
            "judge": lambda: classifiers.JudgeTask(config, world, device, batch, warm),
            "likeness": lambda: classifiers.LikenessTask(config, world, device, model / "judge", batch),
            "sharp": lambda: vae.SharpTask(config, world, encode_latents(world, device, load_vae(model / stage.writes)), _needed(args.run / "redrawn-near", "at.npy", "redraw-near"),
                                           device, args.init or model / stage.writes, batch),
            "trunk": lambda: decoder.JointTask(config, world, device, model, batch, warm),
            "robust": lambda: vision_encoders.RobustTask(config, world, _needed(args.run / "redrawn", "at.npy", "redraw"), device,
                                                         args.init or model / stage.writes, batch)}[stage.task]()


def _needed(folder: Path, file: str, stage: str) -> Path:
    if not (folder / file).exists():
        raise ConfigError(f"There is nothing in {folder} yet.", f"Run: python -m assistant.training {stage} --run {folder.parent}")
    return folder


def _begin(args: argparse.Namespace, config: AssistantConfig) -> None:
    """Give a run every part that it lacks of the weights that ship, for its stages to go on from."""
    shipped, model = CHECKPOINTS / config.folder, args.run / "model"
    files = [p.relative_to(shipped) for p in shipped.rglob("*") if p.is_file() and p.relative_to(shipped).parts[0] not in ("subjects", "manifest.json")]
    weighty = {f.parent for f in files if f.suffix == ".safetensors"}
    own = {part for part in weighty if any((model / part).glob("*.safetensors"))}  # trained by the run: no file of the other is put beside
    for file in files:
        if file.parent not in own and (file.parent in weighty or not (model / file).exists()):
            (model / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shipped / file, model / file)


def _train(stage: Stage, args: argparse.Namespace, config: AssistantConfig, minutes: float) -> None:
    train(lambda device, batch: _task(stage, config, args, device, batch), args, args.run / stage.name, args.run / "model" / stage.writes, stage.batch,
          minutes=minutes)


def _cost_arguments(p: argparse.ArgumentParser) -> None:
    p.add_argument("--samples", type=int, default=Plan.samples, help="cost: quadruplets to learn from (default: the paper's %(default)s)")
    p.add_argument("--epochs", type=float, default=Plan.epochs, help="cost: how often each is seen (default: %(default)s)")
    p.add_argument("--keep", type=float, default=Plan.keep, help="cost: share of a round's targets that the filter keeps (default: %(default)s)")
    p.add_argument("--card", choices=CARDS, default=Plan.card, help="cost: for which GPU to compute what is not measured (default: %(default)s)")
    p.add_argument("--share", type=float, default=Plan.share, help="cost: of its peak that training is assumed to reach (default: %(default)s)")


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("python -m assistant.training", description=__doc__)
    p.add_argument("stage", choices=["tokenizers", *DRAWN.values(), *(s.name for s in STAGES), "cafe", "encode", "targets", "cost", "quadruplets", "sid", "ood", "attributes", "miniature", "install"],
                   help="one stage, or 'miniature' for the whole recipe, or 'install' to put the result into checkpoints/, "
                        "or 'ood' to fit what tells drawings from photos, 'attributes' what reads a picture's attributes; or 'quadruplets' for the data of CAFE's first round, 'sid' for all its rounds; "
                        "or 'encode' to encode such data once for 'bridge' and 'cafe' at any size, 'targets' for a further SID round's; 'cost': what that takes")
    p.add_argument("--preset", default="miniature", help="sizes to train (default: %(default)s)")
    p.add_argument("--run", type=Path, help="folder of data, states, logs, sheets (default: runs/PRESET)")
    _common_arguments(p)
    _quadruplet_arguments(p)
    _cost_arguments(p)
    p.add_argument("--init", type=Path, help="a folder of finished weights of the stage to go on from (language, trunk: one that holds its parts)")
    p.add_argument("--go-on", action="store_true", help="a run that has no weights of a part takes those that ship, and goes on from them")
    p.add_argument("--compile", action="store_true", help="cafe: torch.compile what is trained")
    p.add_argument("--groups", type=int, help=f"draw: groups of three pictures (default: {GROUPS}; draw-judge: {JUDGE_GROUPS})")
    p.add_argument("--talks", type=int, help=f"talks: dialogues about the pictures of 'draw' (default: {TALKS})")
    p.add_argument("--pictures", type=int, help=f"redraw, redraw-near: how many (default: {REDRAWN})")
    p.add_argument("--photos", type=Path, help="ood: a folder of real photos")
    p.add_argument("--workers", type=int, default=os.cpu_count(), help="draw, talks: processes (default: %(default)s)")
    return p


def _tokenizers(config: AssistantConfig) -> None:
    from .world_dataset import train_caption_tokenizer, train_dialogue_tokenizer

    folder = CHECKPOINTS / config.folder
    train_caption_tokenizer(folder / "base/tokenizer", config.decoder.text["vocab_size"], config.decoder.text["max_position_embeddings"])
    shutil.copytree(folder / "base/tokenizer", folder / "clip", dirs_exist_ok=True)
    train_dialogue_tokenizer(folder / "llama", config.mllm.llama["vocab_size"])


def _draw(args: argparse.Namespace, config: AssistantConfig, what: str) -> None:
    from .world_dataset import WorldDataset, draw, write_dialogues

    if what == "talks":
        write_dialogues(args.run / "talks", config, WorldDataset(args.run / "data", config), args.talks or TALKS, TRAIN_SEED, args.workers)
    elif what.startswith("redraw"):
        from ..checkpoints import load_base
        from .vision_encoders import KEPT, LATEST, redraw

        name, latest = ("redrawn-near", KEPT) if what == "redraw-near" else ("redrawn", LATEST)
        redraw(WorldDataset(args.run / "data", config), load_base(config, args.run / "model"), args.run / name, args.pictures or REDRAWN, TRAIN_SEED, latest)
    elif what == "draw-judge":
        draw(args.run / "judge-data", config, args.groups or JUDGE_GROUPS, JUDGE_SEED, args.workers)
    else:
        draw(args.run / "data", config, args.groups or GROUPS, TRAIN_SEED + args.seed, args.workers)


def main() -> None:
    args = _parser().parse_args()
    config = preset(args.preset)
    args.run = args.run or Path("runs") / config.name
    if args.stage == "cost":
        from . import cost

        print(cost.run(args, config))
    elif args.stage in ("encode", "targets", "cafe") or args.data or config.sources:
        _run_at_size(args, config)
    elif args.stage == "tokenizers":
        _tokenizers(config)
    elif args.stage == "install":
        from .world_dataset import install

        install(config, args.run / "model")
    elif args.stage in ("quadruplets", "sid"):
        _run_sid(args, config)
    elif args.stage == "ood" and args.photos is None:
        raise ConfigError("There are no photos to learn from.", "Name a folder of real photos with --photos.")
    else:
        if args.go_on:
            _begin(args, config)
        _run_here(args, config)


def _run_here(args: argparse.Namespace, config: AssistantConfig) -> None:
    """A stage that draws, fits or trains on the drawn world, or all that train."""
    if args.stage in DRAWN.values():
        _draw(args, config, args.stage)
    elif args.stage in ("ood", "attributes"):
        from .classifiers import fit_attributes, fit_ood
        from .world_dataset import WorldDataset

        if args.stage == "ood":
            fit_ood(config, args.run / "model", args.photos)
        else:
            fit_attributes(config, WorldDataset(args.run / "data", config), args.run / "model", _needed(args.run / "redrawn-near", "at.npy", "redraw-near"), args.go_on, args.steps)
    elif args.stage == "miniature":
        total, args.minutes = args.minutes if args.minutes is not None else 240.0, None  # of the whole
        for stage in STAGES:
            if stage.name in DRAWN:
                _draw(args, config, DRAWN[stage.name])
            _train(stage, args, config, total * stage.share)
    else:
        _train(next(stage for stage in STAGES if stage.name == args.stage), args, config, 10.0)


if __name__ == "__main__":
    try:
        main()
    except AssistantError as error:
        raise SystemExit(f"{error}") from None
