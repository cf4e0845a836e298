"""`python -m assistant.evaluation sheet`: arguments -> assistant -> protocol."""

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
    sheet.add_argument("--count", type=int, default=64, help="seeds 0 to this less one (default: %(default)s)")
    sheet.add_argument("--columns", type=int, default=16, help="default: %(default)s")
    sheet.add_argument("--steps", type=int, default=20, help="default: %(default)s")
    sheet.add_argument("--out", type=Path, default=Path("checkpoints/sheet.png"), help="default: %(default)s")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from ..pipeline import load
    from .sheet import draw_sheet

    found = draw_sheet(load(args.preset), args.count, args.out, args.columns, args.steps)
    print(", ".join(f"{name} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    try:
        main()
    except AssistantError as error:
        raise SystemExit(str(error)) from None
