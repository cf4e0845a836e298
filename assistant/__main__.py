"""`python -m assistant doctor | bench`: what this machine has, and how fast the assistant is on it."""

from __future__ import annotations

import argparse
import os


def main() -> None:
    parser = argparse.ArgumentParser("python -m assistant", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="print versions, devices, memory, attention kernels and which presets can run")
    bench = commands.add_parser("bench", help="measure words, pictures, memory, and a CAFE step against stock diffusers")
    bench.add_argument("--preset", default="miniature", help="default: %(default)s")
    bench.add_argument("--device", default="auto", help="auto, cpu, cuda[:n] or mps (default: %(default)s)")
    bench.add_argument("--steps", type=int, default=20, help="denoising steps of a picture (default: %(default)s)")
    bench.add_argument("--repeat", type=int, default=5, help="measurements of each thing; medians are printed (default: %(default)s)")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.command == "doctor":
        from .doctor import report

        print(report())
    else:
        from .bench import run

        run(args.preset, args.device, args.steps, args.repeat)


if __name__ == "__main__":
    from .errors import AssistantError

    try:
        main()
    except AssistantError as error:
        raise SystemExit(str(error)) from None
