"""`python -m assistant.evaluation sheet|miniature|conversation|curve|mixing|dci|infusion|table3|table4|table6|surface`: arguments -> assistant -> protocol."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..errors import AssistantError


def main() -> None:
    parser = argparse.ArgumentParser("python -m assistant.evaluation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sheet = commands.add_parser("sheet", help="draw answers to vague requests on held-out individuals, or captions of one hero, or of two, none chosen")
    sheet.add_argument("of", nargs="?", choices=("answers", "captions", "pairs"), default="answers", help="default: %(default)s")
    sheet.add_argument("--preset", default="miniature", help="default: %(default)s")
    sheet.add_argument("--count", type=int, default=128, help="seeds 0 to this less one (default: %(default)s)")
    sheet.add_argument("--columns", type=int, default=8, help="default: %(default)s")
    sheet.add_argument("--steps", type=int, help="default: the preset's")
    sheet.add_argument("--out", type=Path, help="default: checkpoints/sheet.webp, captions.webp or pairs.webp")
    whole = commands.add_parser("miniature", help="measure every part, and answers, by the judge; write JSON and Markdown")
    for name, count, what in (("answers", 512, "requests answered"), ("base", 512, "captions drawn by the base model"),
                              ("renders", 512, "drawings for the judge and the autoencoder"), ("retrieval", 256, "to retrieve among")):
        whole.add_argument(f"--{name}", type=int, default=count, help=f"{what} (default: %(default)s)")
    whole.add_argument("--steps", type=int, help="default: the preset's")
    whole.add_argument("--out", type=Path, default=Path("checkpoints/evaluation"), help="without suffix (default: %(default)s)")
    talk = commands.add_parser("conversation", help="acts, plans and claims on exchanges and conversations that were written by hand")
    talk.add_argument("sets", nargs="*", default=["exchanges", "conversations"], help="files of assistant/evaluation/sets, without suffix (default: %(default)s)")
    talk.add_argument("--wrong", action="store_true", help="show each case that went wrong")
    curve = commands.add_parser("curve", help="judge a joint training's averaged weights as they are now; add them to the log and its curve")
    curve.add_argument("--run", type=Path, default=Path("runs/miniature"), help="folder of the training (default: %(default)s)")
    curve.add_argument("--stage", default="trunk", help="its stage (default: %(default)s)")
    curve.add_argument("--before", type=int, default=0, help="samples that the weights it began with had seen (default: %(default)s)")
    curve.add_argument("--count", type=int, default=128, help="captions, pairs of heroes and photos, of each (default: %(default)s)")
    curve.add_argument("--steps", type=int, help="default: the preset's")
    curve.add_argument("--log", type=Path, default=Path("docs/training-curve.jsonl"), help="default: %(default)s")
    third = commands.add_parser("table3", help="CAFE's table 3: make the data, train on D1 to D4, measure; goes on where it stopped")
    third.add_argument("--run", type=Path, default=Path("runs/table3"), help="folder of data, decoders, logs (default: %(default)s)")
    third.add_argument("--attempts", type=int, default=1024, help="targets made for D1, and for D3 (default: %(default)s)")
    third.add_argument("--samples", type=int, default=12_800, help="samples that each training sees (default: %(default)s)")
    third.add_argument("--seeds", type=int, default=2, help="trainings of each row (default: %(default)s)")
    third.add_argument("--cases", type=int, default=256, help="held-out instructions measured on (default: %(default)s)")
    third.add_argument("--judge", action="store_true", help="the judge stands for people, and measures")
    third.add_argument("--out", type=Path, default=Path("checkpoints/table3"), help="without suffix (default: %(default)s)")
    for name, what, steps in (("table4", "CAFE's table 4: eq. 2 with MSE and with cosine", 300),
                              ("table6", "CAFE's table 6: a decoder that goes on with F only, E only, both", 400),
                              ("surface", "what the two guidance strengths do to the shipped weights", 0)):
        table = commands.add_parser(name, help=f"{what}; goes on where it stopped")
        table.add_argument("--run", type=Path, default=Path("runs/tables"), help="folder of data and trainings (default: %(default)s)")
        table.add_argument("--groups", type=int, default=2048, help="groups of three drawings to learn from (default: %(default)s)")
        table.add_argument("--requests", type=int, default=256, help="held-out requests measured on (default: %(default)s)")
        table.add_argument("--seeds", type=int, default=2, help="trainings of each row (default: %(default)s)")
        table.add_argument("--train", type=int, default=steps, help="steps of each training (default: %(default)s)")
        table.add_argument("--out", type=Path, default=Path(f"checkpoints/{name}"), help="without suffix (default: %(default)s)")
    mixing = commands.add_parser("mixing", help="what alpha does (eq. 4), on held-out pairs of pictures")
    mixing.add_argument("--pairs", type=int, default=64, help="default: %(default)s")
    mixing.add_argument("--steps", type=int, help="default: the preset's")
    mixing.add_argument("--out", type=Path, default=Path("checkpoints/mixing"), help="without suffix (default: %(default)s)")
    dci = commands.add_parser("dci", help="ICO and DCI: lambda, curves along fine-tuning, schemes, ablations, auxiliary nouns, windows, masks; "
                              "goes on where it stopped")
    dci.add_argument("study", choices=("sweep", "narrow", "overfit", "curves", "schemes", "ablations", "nouns", "windows", "masks"))
    dci.add_argument("--run", type=Path, default=Path("runs/dci"), help="folder of what was learned and judged (default: %(default)s)")
    dci.add_argument("--subjects", type=int, default=8, help="held-out individuals (default: %(default)s)")
    dci.add_argument("--prompts", type=int, default=12, help="of each, 1 to 24 (default: %(default)s)")
    dci.add_argument("--full", action="store_true", help="16 subjects and 24 prompts")
    dci.add_argument("--out", type=Path, help="without suffix (default: checkpoints/dci-STUDY)")
    infusion = commands.add_parser("infusion", help="Infusion beside four baselines, and studies of it; goes on where it stopped")
    infusion.add_argument("--run", type=Path, default=Path("runs/infusion"), help="folder of what was measured (default: %(default)s)")
    infusion.add_argument("--individuals", type=int, default=16, help="held-out individuals for Infusion (default: %(default)s)")
    infusion.add_argument("--compared", type=int, default=4, help="of them, for all methods, curves and W2 (default: %(default)s)")
    infusion.add_argument("--full", action="store_true", help="steps up to 2000, not 200")
    infusion.add_argument("--studied", type=int, default=4, help="individuals, and pairs, of the studies (default: %(default)s)")
    infusion.add_argument("--out", type=Path, default=Path("checkpoints/infusion"), help="without suffix (default: %(default)s)")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.command == "sheet":
        _sheet(args)
    elif args.command == "conversation":
        _conversation(args)
    elif args.command == "curve":
        _curve(args)
    elif args.command == "table3":
        _table3(args)
    elif args.command == "mixing":
        _mixing(args)
    elif args.command == "dci":
        _dci(args)
    elif args.command == "infusion":
        _infusion(args)
    elif args.command in ("table4", "table6", "surface"):
        _table(args)
    else:
        _miniature(args)


def _sheet(args: argparse.Namespace) -> None:
    from ..pipeline import load
    from .cases import caption_of, scenes
    from .sheet import draw_captions, draw_sheet
    from .two_heroes import caption_of_pair, pairs

    assistant, out = load(args.preset), args.out or Path("checkpoints") / f"{'sheet' if args.of == 'answers' else args.of}.webp"
    about = assistant.config.decoder
    if args.of != "answers":
        lines = [caption_of(views[0], k) for k, views in enumerate(scenes(args.count))] if args.of == "captions" else \
            [caption_of_pair(scene, k) for k, scene in enumerate(pairs(args.count))]
        draw_captions(assistant.base, lines, out, args.columns, args.steps or about.steps, about.guidance)
        return
    found = draw_sheet(assistant, args.count, out, args.columns, args.steps or about.steps)
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))


def _miniature(args: argparse.Namespace) -> None:
    from ..pipeline import load
    from ..weights import CHECKPOINTS
    from .cases import load_witness
    from .miniature import evaluate, write

    assistant = load("miniature")
    about, witness = assistant.config.decoder, load_witness(assistant.config, CHECKPOINTS / "miniature")
    steps = args.steps or about.steps
    counts = {name: getattr(args, name) for name in ("answers", "base", "renders", "retrieval")}
    found = evaluate(assistant, assistant.base, witness, counts, steps, lambda what: print(f"measuring: {what}", flush=True))
    print(write(found, args.out, {"weights": assistant.weights, "steps": steps, "guidance": about.guidance, "seeds": "from 0", **counts}))


def _conversation(args: argparse.Namespace) -> None:
    from ..pipeline import load
    from .conversation import report

    assistant = load("miniature")
    found, wrong = report(assistant.drawer, assistant.config.decoder.image_size, args.sets)
    if args.wrong:
        print("\n".join(wrong))
    for name, measures in found.items():
        print(f"{name}: " + ", ".join(f"{k} {m['value']:.3f} ({m['low']:.3f} to {m['high']:.3f}; {m['count']})" for k, m in measures.items() if m["count"]))


def _curve(args: argparse.Namespace) -> None:
    from ..presets import MINIATURE
    from ..weights import CHECKPOINTS
    from . import curve
    from .cases import load_witness

    witness = load_witness(MINIATURE, CHECKPOINTS / MINIATURE.folder)
    one = curve.snapshot(MINIATURE, args.run / args.stage, args.run / "model", args.before)
    curve.add(line := curve.judge(MINIATURE, one, witness, args.count, args.steps or MINIATURE.decoder.steps), args.log)
    curve.draw(args.log, args.log.with_suffix(".svg"))
    print(line)


def _mixing(args: argparse.Namespace) -> None:
    from ..pipeline import load
    from ..weights import CHECKPOINTS
    from . import mixing
    from .cases import load_witness

    assistant = load("miniature")
    witness = load_witness(assistant.config, CHECKPOINTS / "miniature")
    steps = args.steps or assistant.config.decoder.steps
    print(mixing.write(mixing.measure(assistant, witness, args.pairs, steps, lambda what: print(what, flush=True)), args.out))


def _dci(args: argparse.Namespace) -> None:
    from ..presets import MINIATURE
    from ..weights import CHECKPOINTS, base_identity, load_base
    from .cases import load_witness
    from .likeness import Lab, masks, study, write, write_masks

    folder = CHECKPOINTS / MINIATURE.folder
    counts = (16, 24) if args.full else (args.subjects, args.prompts)
    lab = Lab(MINIATURE, load_base(MINIATURE, folder), base_identity(folder), load_witness(MINIATURE, folder), args.run, *counts,
              say=lambda what: print(what, flush=True), group="narrow" if args.study in ("narrow", "overfit") else "test")
    out = args.out or Path(f"checkpoints/dci-{args.study}")
    print(write_masks(masks(lab), out) if args.study == "masks" else write(study(args.study, lab), out))


def _table3(args: argparse.Namespace) -> None:
    from ..pipeline import load
    from ..training.sid import Parts, Run, Sizes
    from ..weights import CHECKPOINTS
    from .cases import load_witness
    from .table3 import table3, write

    assistant = load("miniature")
    folder = CHECKPOINTS / assistant.config.folder
    parts = Parts.load(assistant.config, folder)
    run = Run(args.run, parts, Sizes(attempts=args.attempts, samples=args.samples, steps=assistant.config.decoder.steps), lambda what: print(what, flush=True))
    witness = load_witness(assistant.config, folder) if args.judge else None
    print(write(table3(run, assistant, witness or parts.eyes, args.cases, args.seeds, witness), args.out))


def _infusion(args: argparse.Namespace) -> None:
    from ..presets import preset
    from ..weights import CHECKPOINTS, load_base, verify
    from .cases import load_witness
    from .concept_studies import layers_and_bits, pairs
    from .infusion import SHORT, WHOLE, Protocol
    from .infusion_report import write

    config, folder = preset("miniature"), CHECKPOINTS / "miniature"
    protocol = Protocol(load_base(config, folder), load_witness(config, folder), verify(folder), args.run, WHOLE if args.full else SHORT,
                        args.individuals, min(args.compared, args.individuals), config.decoder.image_size, lambda what: print(what, flush=True))
    cells = protocol.cells()
    studies = {"layers and bits": layers_and_bits(protocol, min(args.studied, args.individuals)),
               "two concepts": pairs(protocol, min(args.studied, args.individuals // 2))}
    print(write(protocol, cells, studies, args.out))


def _table(args: argparse.Namespace) -> None:
    from ..miniature.recipe import TRAIN_SEED
    from ..pipeline import load
    from ..training.data import World, draw
    from ..training.talks import Talks, write
    from ..weights import CHECKPOINTS
    from . import tables
    from .cases import load_witness

    assistant, folder, data = load("miniature"), CHECKPOINTS / "miniature", args.run / "data"
    if args.command != "surface":
        draw(data, assistant.config, args.groups, TRAIN_SEED, os.cpu_count() or 1)
    world = World(data, assistant.config) if args.command != "surface" else None
    talks = None
    if args.command == "table4":
        write(args.run / "talks", assistant.config, world, 4 * args.groups, TRAIN_SEED, os.cpu_count() or 1)
        talks = Talks(args.run / "talks")
    bench = tables.Bench(assistant, load_witness(assistant.config, folder), folder, args.run, world, talks, args.requests, args.seeds,
                         assistant.config.decoder.steps)
    found = tables.make(args.command, bench, args.train, lambda what: print(what, flush=True))
    print(tables.write(found, args.out))


if __name__ == "__main__":
    try:
        main()
    except AssistantError as error:
        raise SystemExit(str(error)) from None
