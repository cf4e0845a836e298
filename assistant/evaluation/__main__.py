"""`python -m assistant.evaluation sheet|miniature|conversation|journeys|guidance|curve|promote|mixing|dci|infusion|dreambench|table3|table4|table6|surface`: arguments -> assistant -> protocol."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import AssistantError
from ..manifest import CHECKPOINTS
from ..presets import MINIATURE

if TYPE_CHECKING:
    from ..config import AssistantConfig
    from ..diffusion.latent_diffusion import LatentDiffusion
    from ..engine import Assistant
    from .test_cases import AttributeJudge


STEPS = (None, "default: the preset's")  # of denoising
EVERY = "of the guided steps, those that compute every row (default: the preset's)"


def _command(commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], None], about: str, out: str = "",
             folder: tuple[str, str] = ("", ""), **numbers: tuple[int | None, str]) -> argparse.ArgumentParser:
    """A command with its numbers (default, what it is), the folder of its run (default, what lies there) and where it writes."""
    p = commands.add_parser(name, help=about)
    p.set_defaults(run_command=run)
    if folder[0]:
        p.add_argument("--run", type=Path, default=Path(folder[0]), help=f"folder of {folder[1]} (default: %(default)s)")
    for option, (default, what) in numbers.items():
        p.add_argument(f"--{option}", type=int, default=default, help=what if default is None else f"{what} (default: %(default)s)".strip())
    if out:
        p.add_argument("--out", type=Path, default=Path(out), help="without suffix (default: %(default)s)")
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Args: arguments: None takes the command line's."""
    parser = argparse.ArgumentParser("python -m assistant.evaluation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sheet = _command(commands, "sheet", _sheet, "draw answers to vague requests on held-out individuals, or captions of one hero, or of two, none chosen",
                     count=(128, "seeds 0 to this less one"), columns=(8, ""), steps=STEPS)
    sheet.add_argument("of", nargs="?", choices=("answers", "captions", "pairs"), default="answers", help="default: %(default)s")
    sheet.add_argument("--preset", default="miniature", help="default: %(default)s")
    sheet.add_argument("--out", type=Path, help="default: checkpoints/sheet.webp, captions.webp or pairs.webp")
    whole = _command(commands, "miniature", _miniature, "measure every part, and answers, by the judge; write JSON and Markdown", "checkpoints/evaluation",
             answers=(512, "requests answered"), base=(512, "captions drawn by the base model"),
             renders=(512, "drawings for the judge and the autoencoder"), retrieval=(256, "to retrieve among"), steps=STEPS)
    whole.add_argument("--caption-share", type=float, metavar="S", help="of the words' strength, with which answers follow the plan as a caption (default: the preset's)")
    whole.add_argument("--guided", type=float, metavar="S", help="share of the steps in which answers are guided (default: the preset's)")
    whole.add_argument("--guided-every", type=int, metavar="N", help=EVERY)
    talk = _command(commands, "conversation", _conversation, "acts, plans and claims on exchanges and conversations that were written by hand")
    talk.add_argument("sets", nargs="*", default=["exchanges", "conversations"], help="files of assistant/evaluation/sets, without suffix (default: %(default)s)")
    talk.add_argument("--wrong", action="store_true", help="show each case that went wrong")
    trip = _command(commands, "journeys", _journeys, "say again what a designer said; write what was answered then and now", learn=(60, "steps of learning what <name> stands for"))
    trip.add_argument("--photos", type=Path, default=Path("photos"), metavar="DIR", help="the DreamBooth data set (default: %(default)s); what it lacks is left out")
    trip.add_argument("--out", type=Path, default=Path("docs/journeys.md"), help="default: %(default)s")
    strength = _command(commands, "guidance", _guidance, "what strengths of guidance do to captions, and to photos with pictures to be like, on validation individuals",
                        "checkpoints/guidance", count=(96, "captions, and pairs of pictures"), steps=STEPS)
    strength.add_argument("--captions", type=float, nargs="*", default=[3.0, 4.5, 6.0], metavar="G", help="default: 3 4.5 6")
    strength.add_argument("--cafe", type=float, nargs=2, action="append", metavar=("E", "F"), help="may be given again; default: 2 2, 3 3 and 2 3")
    curve = _command(commands, "curve", _curve, "judge a joint training's averaged weights as they are now; add them to the log and its curve",
                     folder=("runs/miniature", "the training"), before=(0, "samples that the weights it began with had seen"),
                     count=(128, "captions, pairs of heroes and photos, of each"), steps=STEPS)
    curve.add_argument("--stage", default="trunk", help="its stage (default: %(default)s)")
    curve.add_argument("--log", type=Path, default=Path("docs/training-curve.jsonl"), help="default: %(default)s")
    _command(commands, "promote", _promote, "put what a training made into what ships, only if the judge finds it better and nowhere worse",
             folder=("runs/miniature", "the training"), cases=(256, "requests, and captions, to judge by"))
    third = _command(commands, "table3", _table3, "CAFE's table 3: make the data, train on D1 to D4, measure; goes on where it stopped", "checkpoints/table3",
                     ("runs/table3", "data, decoders, logs"), attempts=(1024, "targets made for D1, and for D3"),
                     samples=(12_800, "samples that each training sees"), seeds=(2, "trainings of each row"), cases=(256, "held-out instructions measured on"))
    third.add_argument("--judge", action="store_true", help="the judge stands for people, and measures")
    for name, what, steps in (("table4", "CAFE's table 4: eq. 2 with MSE and with cosine", 300),
                              ("table6", "CAFE's table 6: a decoder that goes on with F only, E only, both", 400),
                              ("surface", "what the two guidance strengths do to the shipped weights", 0)):
        _command(commands, name, _table, f"{what}; goes on where it stopped", f"checkpoints/{name}", ("runs/tables", "data and trainings"),
                 groups=(2048, "groups of three drawings to learn from"), requests=(256, "held-out requests measured on"),
                 seeds=(2, "trainings of each row"), train=(steps, "steps of each training"))
    _command(commands, "mixing", _mixing, "what alpha does (eq. 4), on held-out pairs of pictures", "checkpoints/mixing", pairs=(64, ""), steps=STEPS)
    dci = _command(commands, "dci", _dci, "ICO and DCI: lambda, curves along fine-tuning, schemes, ablations, auxiliary nouns, windows, masks; "
                   "goes on where it stopped", folder=("runs/dci", "what was learned and judged"), subjects=(8, "held-out individuals"), prompts=(12, "of each, 1 to 24"))
    dci.add_argument("study", choices=("sweep", "narrow", "overfit", "curves", "schemes", "ablations", "nouns", "windows", "masks"))
    dci.add_argument("--full", action="store_true", help="16 subjects and 24 prompts")
    dci.add_argument("--guided-every", type=int, metavar="N", help=EVERY)
    dci.add_argument("--out", type=Path, help="without suffix (default: checkpoints/dci-STUDY)")
    infusion = _command(commands, "infusion", _infusion, "Infusion beside four baselines, and studies of it; goes on where it stopped", "checkpoints/infusion",
                        ("runs/infusion", "what was measured"), individuals=(16, "held-out individuals for Infusion"),
                        compared=(4, "of them, for all methods, curves and W2"), studied=(4, "individuals, and pairs, of the studies"))
    infusion.add_argument("--full", action="store_true", help="steps up to 2000, not 200")
    infusion.add_argument("--guided-every", type=int, metavar="N", help=EVERY)
    bench = _command(commands, "dreambench", _dreambench, "DreamBench: subjects x prompts x pictures by DINO, CLIP-I and CLIP-T; goes on where it stopped",
                     "checkpoints/dreambench", ("runs/dreambench", "what was learned, drawn and measured"), images=(4, "pictures of each prompt"),
                     subjects=(None, "how many, in the listing's order; default: all"), prompts=(None, "of each; default: all"), steps=STEPS,
                     learn=(None, "steps of every method's learning; default: the preset's, or the method's own"))
    bench.add_argument("--preset", default="miniature", help="default: %(default)s")
    bench.add_argument("--photos", type=Path, required=True, metavar="DIR", help="the DreamBooth data set: a folder a subject, and prompts_and_classes.txt")
    bench.add_argument("--judges", type=Path, metavar="DIR", help="DINO ViT-S/16 in DIR/dino, CLIP ViT-B/32 in DIR/clip; default: the preset's own E and F")
    bench.add_argument("--weights", type=Path, metavar="DIR", help="the preset's; default: where downloads are put")
    bench.add_argument("--device", default="auto", help="default: %(default)s")
    bench.add_argument("--methods", nargs="+", default=(), metavar="NAME", help="default: all that the preset has; a wrong name lists them")
    args = parser.parse_args(arguments)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.command in ("curve", "mixing", "dci", "infusion", "table3"):
        from ..report import figure

        figure(1, 1)  # before hours of work: raises where none can be drawn
    args.run_command(args)


def _say(what: str) -> None:
    print(what, flush=True)


def _shipped() -> tuple[Assistant, AttributeJudge]:
    """The miniature and its judge."""
    from ..loading import load_assistant
    from .test_cases import load_witness

    assistant = load_assistant()
    return assistant, load_witness(assistant.config, CHECKPOINTS / assistant.config.folder)


def _base(guided_every: int | None) -> tuple[AssistantConfig, Path, LatentDiffusion, AttributeJudge]:
    """The miniature's sizes, folder and base model, and its judge."""
    from ..checkpoints import load_base
    from .test_cases import load_witness

    folder = CHECKPOINTS / MINIATURE.folder
    base = load_base(MINIATURE, folder)
    base.guided_every = guided_every or base.guided_every
    return MINIATURE, folder, base, load_witness(MINIATURE, folder)


def _sheet(args: argparse.Namespace) -> None:
    from ..loading import load_assistant
    from .test_cases import caption_of, caption_of_pair, pairs, scenes
    from .overall import draw_captions, draw_sheet

    assistant, out = load_assistant(args.preset), args.out or Path("checkpoints") / f"{'sheet' if args.of == 'answers' else args.of}.webp"
    about = assistant.config.decoder
    if args.of != "answers":
        assert assistant.base is not None  # every preset that is loaded has one
        lines = [caption_of(views[0], k) for k, views in enumerate(scenes(args.count))] if args.of == "captions" else \
            [caption_of_pair(scene, k) for k, scene in enumerate(pairs(args.count))]
        draw_captions(assistant.base, lines, out, args.columns, args.steps or about.steps, about.guidance)
        return
    found = draw_sheet(assistant, args.count, out, args.columns, args.steps or about.steps)
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))


def _miniature(args: argparse.Namespace) -> None:
    from ..generation.cafe import CafeGenerator
    from .overall import evaluate, write

    assistant, witness = _shipped()
    assert assistant.base is not None and isinstance(assistant.image_generator, CafeGenerator)
    about = assistant.config.decoder
    steps = args.steps or about.steps
    for name in ("caption_share", "guided", "guided_every"):
        if getattr(args, name) is not None:
            setattr(assistant.image_generator, name, getattr(args, name))
    counts = {name: getattr(args, name) for name in ("answers", "base", "renders", "retrieval")}
    found = evaluate(assistant, assistant.base, witness, counts, steps, lambda what: _say(f"measuring: {what}"))
    print(write(found, args.out, {"weights": assistant.weights, "steps": steps, "guidance": about.guidance, "caption share": assistant.image_generator.caption_share,
                                  "guided": assistant.image_generator.guided, "guided every": assistant.image_generator.guided_every, "seeds": "from 0", **counts}))


def _conversation(args: argparse.Namespace) -> None:
    from ..loading import load_assistant
    from .conversation import report

    assistant = load_assistant()
    found, wrong = report(assistant.image_generator, assistant.config.decoder.image_size, args.sets)
    if args.wrong:
        print("\n".join(wrong))
    for name, measures in found.items():
        print(f"{name}: " + ", ".join(f"{k} {m['value']:.3f} ({m['low']:.3f} to {m['high']:.3f}; {m['count']})" for k, m in measures.items() if m["count"]))


def _journeys(args: argparse.Namespace) -> None:
    from ..loading import load_assistant
    from .journeys import report

    args.out.write_text("\n".join((*report(load_assistant(), args.photos, args.learn), "")), encoding="utf-8")


def _guidance(args: argparse.Namespace) -> None:
    from ..report import spread, table, write
    from .overall import WRITTEN, guidance_rows

    assistant, witness = _shipped()
    steps = args.steps or assistant.config.decoder.steps
    rows, names = guidance_rows(assistant, witness, args.count, steps, args.captions, args.cafe or [(2.0, 2.0), (3.0, 3.0), (2.0, 3.0)]), (*WRITTEN, "second", "its colour")
    lines = table(names, {label: [spread(row.get(name)) for name in names] for label, row in rows.items()})
    said = f"{args.count} validation individuals each, {steps} steps, weights {assistant.weights}; ±: half of a 95 % interval."
    _say(write({"weights": assistant.weights, "count": args.count, "steps": steps, "rows": rows}, [*lines, "", said], args.out))


def _curve(args: argparse.Namespace) -> None:
    from ..files import add_line
    from . import overall
    from .test_cases import load_witness

    witness = load_witness(MINIATURE, CHECKPOINTS / MINIATURE.folder)
    one = overall.snapshot(MINIATURE, args.run / args.stage, args.run / "model", args.before)
    add_line(args.log, line := overall.judge(MINIATURE, one, witness, args.count, args.steps or MINIATURE.decoder.steps))
    overall.draw(args.log, args.log.with_suffix(".svg"))
    print(line)


def _promote(args: argparse.Namespace) -> None:
    from ..training.world_dataset import install, overlay
    from .overall import judge_candidate
    from .test_cases import load_witness

    shipped, model = CHECKPOINTS / MINIATURE.folder, args.run / "model"
    with tempfile.TemporaryDirectory() as scratch:
        candidate = Path(scratch) / "candidate"
        shutil.copytree(shipped, candidate)
        overlay(model, candidate)
        counts = {"answers": args.cases, "base": args.cases, "renders": 64, "retrieval": 64}
        verdict = judge_candidate(MINIATURE, shipped, candidate, load_witness(MINIATURE, shipped), counts, MINIATURE.decoder.steps, _say)
    print("\n".join(verdict.lines))
    if not verdict.better:
        raise SystemExit("What ships stays as it is.")
    install(MINIATURE, model)


def _mixing(args: argparse.Namespace) -> None:
    from . import cafe_tables

    assistant, witness = _shipped()
    steps = args.steps or assistant.config.decoder.steps
    print(cafe_tables.write_mixing(cafe_tables.measure_mixing(assistant, witness, args.pairs, steps, _say), args.out))


def _dci(args: argparse.Namespace) -> None:
    from ..manifest import base_identity
    from .dci import Lab, masks, study, write, write_masks

    config, folder, base, witness = _base(args.guided_every)
    counts = (16, 24) if args.full else (args.subjects, args.prompts)
    lab = Lab(config, base, base_identity(folder), witness, args.run, *counts, say=_say, group="narrow" if args.study in ("narrow", "overfit") else "test")
    out = args.out or Path(f"checkpoints/dci-{args.study}")
    print(write_masks(masks(lab), out) if args.study == "masks" else write(study(args.study, lab), out))


def _table3(args: argparse.Namespace) -> None:
    from ..training.self_distillation import Parts, Run, Sizes
    from .cafe_tables import table3, write_table3

    assistant, judge = _shipped()
    parts = Parts.load(assistant.config, CHECKPOINTS / assistant.config.folder)
    run = Run(args.run, parts, Sizes(attempts=args.attempts, samples=args.samples, steps=assistant.config.decoder.steps), _say)
    witness = judge if args.judge else None
    print(write_table3(table3(run, assistant, witness or parts.eyes, args.cases, args.seeds, witness), args.out))


def _infusion(args: argparse.Namespace) -> None:
    from ..manifest import verify
    from .infusion import SHORT, WHOLE, Protocol, layers_and_bits, pairs, write

    config, folder, base, witness = _base(args.guided_every)
    protocol = Protocol(base, witness, verify(folder), args.run, WHOLE if args.full else SHORT,
                        args.individuals, min(args.compared, args.individuals), config.decoder.image_size, _say)
    cells = protocol.cells()
    studies = {"layers and bits": layers_and_bits(protocol, min(args.studied, args.individuals)),
               "two concepts": pairs(protocol, min(args.studied, args.individuals // 2))}
    print(write(protocol, cells, studies, args.out))


def _dreambench(args: argparse.Namespace) -> None:
    from ..loading import load_assistant
    from . import dreambench
    from .dreambench import judges

    of = dreambench.subjects(args.photos)[:args.subjects]
    assistant = load_assistant(args.preset, args.device, args.weights)
    bench = dreambench.DreamBench(assistant, *judges(assistant, args.judges), args.run, args.images, args.prompts, args.steps, args.learn, say=_say,
                                  methods=tuple(args.methods))
    print(dreambench.write(bench, of, bench.measure(of), args.out))


def _table(args: argparse.Namespace) -> None:
    from ..training.recipe import TRAIN_SEED
    from ..training.world_dataset import DialogueDataset, WorldDataset, draw, write_dialogues
    from . import cafe_tables

    (assistant, witness), data = _shipped(), args.run / "data"
    if args.command != "surface":
        draw(data, assistant.config, args.groups, TRAIN_SEED, os.cpu_count() or 1)
    world = WorldDataset(data, assistant.config) if args.command != "surface" else None
    talks = None
    if args.command == "table4":
        assert world is not None
        write_dialogues(args.run / "talks", assistant.config, world, 4 * args.groups, TRAIN_SEED, os.cpu_count() or 1)
        talks = DialogueDataset(args.run / "talks")
    bench = cafe_tables.Bench(assistant, witness, CHECKPOINTS / assistant.config.folder, args.run, world, talks, args.requests, args.seeds,
                         assistant.config.decoder.steps)
    found = cafe_tables.make(args.command, bench, args.train, _say)
    print(cafe_tables.write(found, args.out))


if __name__ == "__main__":
    try:
        main()
    except AssistantError as error:
        raise SystemExit(str(error)) from None
