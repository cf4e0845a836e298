"""`python -m assistant doctor | bench | download`: what this machine has, how fast the assistant is on it, and what is fetched for it."""

import argparse
import os
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser("python -m assistant", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="print versions, devices, memory, attention kernels and which presets can run")
    bench = commands.add_parser("bench", help="measure words, pictures, memory, and a CAFE step against stock diffusers")
    bench.add_argument("--preset", default="miniature", help="default: %(default)s")
    bench.add_argument("--random", action="store_true", help="random weights of the preset's shapes: nothing is downloaded")
    bench.add_argument("--device", default="auto", help="auto, cpu, cuda[:n] or mps (default: %(default)s)")
    bench.add_argument("--steps", type=int, help="denoising steps of a picture (default: 20; by random weights on a CPU 2)")
    bench.add_argument("--side", type=int, default=512, help="with --random: pixels of a picture (default: %(default)s)")
    bench.add_argument("--without-llm", action="store_true", help="with --random: leave the language model out")
    bench.add_argument("--repeat", type=int, default=5, help="measurements of each thing; medians are printed (default: %(default)s)")
    bench.add_argument("--compile", action="store_true", help="also measure torch.compile where it is off by itself (minutes)")
    bench.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    fetch = commands.add_parser("download", help="fetch the published weights of a preset, or list them")
    fetch.add_argument("preset", help="open, sd15, sd2, full, ...")
    fetch.add_argument("--llm", metavar="NAME", help="with open: another language model, by its hub id")
    fetch.add_argument("--to", type=Path, metavar="FOLDER", help="where to put them (default: CAFE_WEIGHTS_DIR, else beside your data)")
    fetch.add_argument("--from", type=Path, metavar="FOLDER", dest="source", help="take the parts from a folder that holds them, without network")
    fetch.add_argument("--dry", action="store_true", help="only list what would be fetched, from where, and how large it is")
    args = parser.parse_args()
    if args.command == "download":
        _download(args)
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if args.command == "doctor":
        from .doctor import report

        print(report())
    else:
        from .benchmark.run import Options, run

        run(Options(args.preset, args.device, args.steps, args.repeat, args.markdown, args.random, args.without_llm, args.side, args.compile))


def _download(args: argparse.Namespace) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from .errors import ConfigError
    from .hub.client import FolderClient, HubClient
    from .hub.download import download, look, told
    from .paths import weights_dir
    from .presets import preset, with_llm, with_safety

    config = with_safety(preset(args.preset) if args.llm is None else with_llm(preset(args.preset), args.llm))
    if not config.sources:
        raise ConfigError(f"The preset {config.name!r} ships with the code.", "There is nothing to download.")
    folder, client = args.to or weights_dir(config.name), FolderClient(args.source) if args.source else HubClient()
    errand = look(config, folder, client)
    print(told(config, errand, folder))
    if not args.dry:
        download(errand, folder, client)
        print(f"Done: {folder}")


if __name__ == "__main__":
    from .errors import AssistantError

    try:
        main()
    except AssistantError as error:
        raise SystemExit(str(error)) from None
