"""`python -m assistant.evaluation sheet|miniature`: arguments -> assistant -> protocol."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..errors import AssistantError


def main() -> None:
    parser = argparse.ArgumentParser("python -m assistant.evaluation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sheet = commands.add_parser("sheet", help="draw answers to vague requests on held-out individuals, none chosen")
    sheet.add_argument("--preset", default="miniature", help="default: %(default)s")
    sheet.add_argument("--count", type=int, default=128, help="seeds 0 to this less one (default: %(default)s)")
    sheet.add_argument("--columns", type=int, default=8, help="default: %(default)s")
    sheet.add_argument("--steps", type=int, default=20, help="default: %(default)s")
    sheet.add_argument("--out", type=Path, default=Path("checkpoints/sheet.webp"), help="default: %(default)s")
    whole = commands.add_parser("miniature", help="measure every part, and answers, by the judge; write JSON and Markdown")
    for name, count, what in (("answers", 512, "requests answered"), ("base", 512, "captions drawn by the base model"),
                              ("renders", 512, "drawings for the judge and the autoencoder"), ("retrieval", 256, "to retrieve among")):
        whole.add_argument(f"--{name}", type=int, default=count, help=f"{what} (default: %(default)s)")
    whole.add_argument("--steps", type=int, default=20, help="default: %(default)s")
    whole.add_argument("--out", type=Path, default=Path("checkpoints/evaluation"), help="without suffix (default: %(default)s)")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.command == "sheet":
        _sheet(args)
    else:
        _miniature(args)


def _sheet(args: argparse.Namespace) -> None:
    from ..pipeline import load
    from .sheet import draw_sheet

    found = draw_sheet(load(args.preset), args.count, args.out, args.columns, args.steps)
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))


def _miniature(args: argparse.Namespace) -> None:
    from ..pipeline import load
    from ..weights import CHECKPOINTS, load_base
    from .cases import load_witness
    from .miniature import evaluate, write

    assistant, folder = load("miniature"), CHECKPOINTS / "miniature"
    witness, base = load_witness(assistant.config, folder), load_base(assistant.config, folder, first_guess=assistant.decoder.first_guess)
    counts = {name: getattr(args, name) for name in ("answers", "base", "renders", "retrieval")}
    found = evaluate(assistant, base, witness, counts, args.steps, lambda what: print(f"measuring: {what}", flush=True))
    print(write(found, args.out, {"weights": assistant.weights, "steps": args.steps, "seeds": "from 0", **counts}))


if __name__ == "__main__":
    try:
        main()
    except AssistantError as error:
        raise SystemExit(str(error)) from None
