"""`python -m assistant.training STAGE`: arguments -> task -> loop. Every stage resumes where it stopped."""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from ..config import AssistantConfig
from ..errors import AssistantError, ConfigError
from ..world.recipe import GROUPS, JUDGE_GROUPS, JUDGE_SEED, REDRAWN, STAGES, TALKS, TRAIN_SEED, Stage
from ..presets import preset
from . import quadruplet_training, cost, cli_common

DRAWN = {"vae": "draw", "language": "talks", "judge": "draw-judge", "robust": "redraw"}  # what each stage is the first to need


def _task(stage: Stage, config: AssistantConfig, args: argparse.Namespace, device: str, batch: int):
    from .world_dataset import WorldDataset

    model = args.run / "model"
    data = args.run / ("judge-data" if stage.task in ("judge", "likeness") else "data")
    world = WorldDataset(data, config) if (data / "about.json").exists() else None
    if world is None or not len(world.groups):
        raise ConfigError(f"The set in {data} has no picture yet.", f"Run: python -m assistant.training {DRAWN['judge' if data.name == 'judge-data' else 'vae']} --run {args.run}")
    warm = args.init or (model / stage.writes if args.go_on or args.decoder_only else None)
    if stage.task == "vae":
        from .vae import VaeTask
        return VaeTask(config, world, device, batch, warm, args.decoder_only)
    if stage.task == "clip":
        from .vision_encoders import ClipTask
        return ClipTask(config, world, device, batch, warm)
    if stage.task == "dino":
        from .vision_encoders import DinoTask
        return DinoTask(config, world, device, batch, warm)
    if stage.task == "language":
        from .language import LanguageTask
        return LanguageTask(config, world, _talks(args), device, model, batch, warm)
    if stage.task == "robust":
        from .robust_encoder import RobustTask
        return RobustTask(config, world, _needed(args.run / "redrawn", "at.npy", "redraw"), device, args.init or model / stage.writes, batch)
    if stage.task == "judge":
        from .attribute_classifier import JudgeTask
        return JudgeTask(config, world, device, batch, warm)
    if stage.task == "likeness":
        from .attribute_classifier import LikenessTask
        return LikenessTask(config, world, device, model / "judge", batch)
    if stage.task == "bridge":
        from .mllm_projector import ProjectorTask
        from .datasets import WorldDialogues
        before = model / "bridge"  # of the stage before it, which trained M with a V of its own
        return ProjectorTask(config, WorldDialogues(config, world, _talks(args), device, model), device, model, batch, checkpointing=args.checkpointing,
                          warm=args.init or (before if before.exists() else None))
    from .joint import JointTask
    return JointTask(config, world, device, model, batch, warm)


def _talks(args: argparse.Namespace):
    from .dialogue_dataset import DialogueDataset

    return DialogueDataset(_needed(args.run / "talks", "about.json", "talks"))


def _needed(folder: Path, file: str, stage: str) -> Path:
    if not (folder / file).exists():
        raise ConfigError(f"There is nothing in {folder} yet.", f"Run: python -m assistant.training {stage} --run {folder.parent}")
    return folder


def _begin(args: argparse.Namespace, config: AssistantConfig) -> None:
    """Give a run every part that it lacks of the weights that ship, for its stages to go on from."""
    from ..manifest import CHECKPOINTS

    shipped, model = CHECKPOINTS / config.folder, args.run / "model"
    files = [p.relative_to(shipped) for p in shipped.rglob("*") if p.is_file() and p.relative_to(shipped).parts[0] not in ("subjects", "manifest.json")]
    for part in sorted({f.parent for f in files if f.suffix == ".safetensors"}):
        if not any((model / part).glob("*.safetensors")):
            (model / part).mkdir(parents=True, exist_ok=True)
            for file in files:
                if file.parent == part:
                    shutil.copyfile(shipped / file, model / file)


def _train(stage: Stage, args: argparse.Namespace, config: AssistantConfig, minutes: float) -> None:
    cli_common.train(lambda device, batch: _task(stage, config, args, device, batch), args, args.run / stage.name,
                  args.run / "model" / stage.writes, stage.batch, minutes=minutes)


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("python -m assistant.training", description=__doc__)
    p.add_argument("stage", choices=["tokenizers", *DRAWN.values(), *(s.name for s in STAGES), "cafe", "encode", "targets", "cost", "quadruplets", "sid", "ood", "worn", "miniature", "install", "promote"],
                   help="one stage, or 'miniature' for the whole recipe, or 'install' to put the result into checkpoints/, "
                        "or 'promote' to do so only if the judge finds it better than what is there; "
                        "or 'ood' to fit what tells drawings from photos, 'worn' what reads the things worn; or 'quadruplets' for the data of CAFE's first round, 'sid' for all its rounds; "
                        "or 'encode' to encode such data once for 'bridge' and 'cafe' at any size, 'targets' for a further SID round's; 'cost': what that takes")
    p.add_argument("--preset", default="miniature", help="sizes to train (default: %(default)s)")
    p.add_argument("--run", type=Path, help="folder of data, states, logs, sheets (default: runs/PRESET)")
    cli_common.add_arguments(p)
    quadruplet_training.add_arguments(p)
    cost.add_arguments(p)
    p.add_argument("--init", type=Path, help="a folder of finished weights of the stage to go on from (language, trunk: one that holds its parts)")
    p.add_argument("--go-on", action="store_true", help="a run that has no weights of a part takes those that ship, and goes on from them")
    p.add_argument("--decoder-only", action="store_true", help="vae: the encoder, and so all latents, stay as they are")
    p.add_argument("--compile", action="store_true", help="cafe: torch.compile what is trained")
    p.add_argument("--groups", type=int, help=f"draw: groups of three pictures (default: {GROUPS}; draw-judge: {JUDGE_GROUPS})")
    p.add_argument("--talks", type=int, help=f"talks: dialogues about the pictures of 'draw' (default: {TALKS})")
    p.add_argument("--photos", type=Path, help="ood: a folder of real photos")
    p.add_argument("--workers", type=int, default=os.cpu_count(), help="draw, talks: processes (default: %(default)s)")
    p.add_argument("--cases", type=int, default=256, help="promote: requests, and captions, to judge by (default: %(default)s)")
    return p


def _overlay(model: Path, folder: Path) -> None:
    """Put what a run made over what a folder of weights holds, with its manifest."""
    from ..manifest import write_manifest
    from ..checkpoints import drop_shards

    for place in {weights.parent.relative_to(model) for weights in model.rglob("*model*.safetensors*")}:
        drop_shards(folder / place)
    shutil.copytree(model, folder, dirs_exist_ok=True)
    write_manifest(folder)


def _install(config: AssistantConfig, model: Path) -> None:
    from ..world.sample_subjects import write_ready_subjects
    from ..manifest import CHECKPOINTS

    folder = CHECKPOINTS / config.folder
    write_ready_subjects(folder / "subjects", config.decoder.image_size)
    _overlay(model, folder)


def _promote(config: AssistantConfig, model: Path, cases: int) -> None:
    from ..evaluation.test_cases import load_witness
    from ..manifest import CHECKPOINTS
    from .model_selection import judge_candidate

    shipped = CHECKPOINTS / config.folder
    with tempfile.TemporaryDirectory() as scratch:
        candidate = Path(scratch) / "candidate"
        shutil.copytree(shipped, candidate)
        _overlay(model, candidate)
        counts = {"answers": cases, "base": cases, "renders": 64, "retrieval": 64}
        verdict = judge_candidate(config, shipped, candidate, load_witness(config, shipped), counts, config.decoder.steps, lambda what: print(what, flush=True))
    print("\n".join(verdict.lines))
    if not verdict.better:
        raise SystemExit("What ships stays as it is.")
    _install(config, model)


def _tokenizers(config: AssistantConfig) -> None:
    from ..world.tokenizers import train_caption_tokenizer, train_dialogue_tokenizer
    from ..manifest import CHECKPOINTS

    folder = CHECKPOINTS / config.folder
    train_caption_tokenizer(folder / "base/tokenizer", config.decoder.text["vocab_size"],
                            config.decoder.text["max_position_embeddings"])
    shutil.copytree(folder / "base/tokenizer", folder / "clip", dirs_exist_ok=True)
    train_dialogue_tokenizer(folder / "llama", config.language.llama["vocab_size"])


def _draw(args: argparse.Namespace, config: AssistantConfig, what: str) -> None:
    from .world_dataset import draw

    if what == "talks":
        from .world_dataset import WorldDataset
        from .dialogue_dataset import write
        write(args.run / "talks", config, WorldDataset(args.run / "data", config), args.talks or TALKS, TRAIN_SEED, args.workers)
    elif what == "redraw":
        from ..checkpoints import load_base
        from .world_dataset import WorldDataset
        from .robust_encoder import redraw
        redraw(WorldDataset(args.run / "data", config), load_base(config, args.run / "model"), args.run / "redrawn", REDRAWN, TRAIN_SEED)
    elif what == "draw-judge":
        draw(args.run / "judge-data", config, args.groups or JUDGE_GROUPS, JUDGE_SEED, args.workers)
    else:
        draw(args.run / "data", config, args.groups or GROUPS, TRAIN_SEED, args.workers)


def main() -> None:
    args = _parser().parse_args()
    config = preset(args.preset)
    args.run = args.run or Path("runs") / config.name
    if args.stage == "cost":
        print(cost.run(args, config))
    elif args.stage in ("encode", "targets", "cafe") or args.data or config.sources:
        quadruplet_training.run(args, config)
    elif args.stage == "tokenizers":
        _tokenizers(config)
    elif args.stage in DRAWN.values():
        if args.go_on:
            _begin(args, config)
        _draw(args, config, args.stage)
    elif args.stage == "ood":
        if args.photos is None:
            raise ConfigError("There are no photos to learn from.", "Name a folder of real photos with --photos.")
        if args.go_on:
            _begin(args, config)
        from .out_of_distribution import fit
        fit(config, args.run / "model", args.photos)
    elif args.stage == "install":
        _install(config, args.run / "model")
    elif args.stage == "promote":
        _promote(config, args.run / "model", args.cases)
    elif args.stage == "worn":
        from .world_dataset import WorldDataset
        from .worn import fit
        if args.go_on:
            _begin(args, config)
        fit(config, WorldDataset(args.run / "data", config), args.run / "model")
    elif args.stage in ("quadruplets", "sid"):
        quadruplet_training.run_sid(args, config)
    else:
        total = args.minutes if args.minutes is not None else 240.0
        if args.go_on:
            _begin(args, config)
        if args.stage == "miniature":
            args.minutes = None  # of the whole
        for stage in STAGES:
            if args.stage == stage.name:
                _train(stage, args, config, 10.0)
            elif args.stage == "miniature":
                if stage.name in DRAWN:
                    _draw(args, config, DRAWN[stage.name])
                _train(stage, args, config, total * stage.share)


if __name__ == "__main__":
    try:
        main()
    except AssistantError as error:
        raise SystemExit(f"{error}") from None
