"""`python -m assistant doctor | bench | download | eval | sentences`: what this machine has, how fast the assistant is on it, what is fetched for it, how good
it is, what it says when something cannot be done."""

import argparse
import os
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser("python -m assistant", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="print versions, devices, memory, attention kernels and which presets can run; or try one")
    doctor.add_argument("--run", metavar="PRESET", help="draw one picture, learn ten steps, draw one strip and one grid, and print a table of it")
    doctor.add_argument("--cards", action="store_true", help="print how each preset would live on cards of 8, 12, 16 and 24 GB, as a table")
    doctor.add_argument("--device", default="auto", help="with --run: auto, cpu, cuda[:n] or mps (default: %(default)s)")
    doctor.add_argument("--dtype", default="auto", help="with --run: auto, float32, float16 or bfloat16 (default: %(default)s)")
    doctor.add_argument("--memory", default="auto", help="with --run: as app.py takes it (default: %(default)s)")
    doctor.add_argument("--weights", type=Path, metavar="FOLDER", help="with --run: the preset's weights")
    doctor.add_argument("--llm", metavar="NAME", help="with --run: another language model")
    doctor.add_argument("--steps", type=int, help="with --run: denoising steps of a picture (default: the preset's usual)")
    doctor.add_argument("--save", type=Path, metavar="FILE", help="with --run: also keep the table, with versions and devices, as one JSON file")
    bench = commands.add_parser("bench", help="measure words, pictures, memory, and a CAFE step against stock diffusers")
    bench.add_argument("--preset", default="miniature", help="default: %(default)s")
    bench.add_argument("--random", action="store_true", help="random weights of the preset's shapes: nothing is downloaded")
    bench.add_argument("--device", default="auto", help="auto, cpu, cuda[:n] or mps (default: %(default)s)")
    bench.add_argument("--steps", type=int, help="denoising steps of a picture (default: 20; by random weights on a CPU 2)")
    bench.add_argument("--side", type=int, default=512, help="with --random: pixels of a picture (default: %(default)s)")
    bench.add_argument("--without-llm", action="store_true", help="with --random: leave the language model out")
    bench.add_argument("--repeat", type=int, default=5, help="measurements of each thing; medians are printed (default: %(default)s)")
    bench.add_argument("--compile", action="store_true", help="also measure torch.compile where it is off by itself (minutes)")
    bench.add_argument("--save", type=Path, nargs="?", const=Path("cafe-bench.json"), metavar="FILE",
                       help="also keep the table, with versions and devices, as one JSON file to send (default: cafe-bench.json)")
    bench.add_argument("--markdown", type=Path, metavar="FILE", help="also write the table there")
    fetch = commands.add_parser("download", help="fetch the published weights of a preset, or list them")
    fetch.add_argument("preset", help="open, sd15, sd2, full, ...")
    fetch.add_argument("--llm", metavar="NAME", help="with open: another language model, by its hub id")
    fetch.add_argument("--quick", action="store_true", help="with LCM-LoRA, for app.py --quick")
    fetch.add_argument("--to", type=Path, metavar="FOLDER", help="where to put them (default: CAFE_WEIGHTS_DIR, else beside your data)")
    fetch.add_argument("--from", type=Path, metavar="FOLDER", dest="source", help="take the parts from a folder that holds them, without network")
    fetch.add_argument("--dry", action="store_true", help="only list what would be fetched, from where, and how large it is")
    commands.add_parser("eval", add_help=False, help="measure: dreambench, and every table of the papers; eval --help lists them")
    commands.add_parser("sentences", help="print every sentence with which something is refused, as docs/sentences.md has it")
    args, rest = parser.parse_known_args()
    if args.command == "eval":
        from .evaluation.__main__ import main as evaluate

        evaluate(rest)
        return
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if args.command == "download":
        _download(args)
        return
    if args.command == "sentences":
        from .sentences import page

        print(page(), end="")
        return
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["no_proxy"] = "*"  # nothing here needs the network
    if args.command == "doctor":
        from .doctor import cards, report, run as try_out

        if args.run:
            raise SystemExit(try_out(args.run, args.device, args.dtype, args.memory, args.weights, args.llm, args.steps, args.save))
        print(cards() if args.cards else report())
    else:
        from .benchmark import Options, run

        run(Options(args.preset, args.device, args.steps, args.repeat, args.markdown, args.save, args.random, args.without_llm, args.side, args.compile))


def _download(args: argparse.Namespace) -> None:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from .errors import ConfigError
    from .hub.client import FolderClient, HubClient
    from .hub.download import download, look, told
    from .files import weights_dir
    from .presets import preset

    config = preset(args.preset, args.llm, args.quick, safety=True)
    if not config.sources:
        raise ConfigError(f"The preset {config.name!r} ships with the code: nothing is to be downloaded.", f"Start it with: python app.py --preset {config.name}")
    folder, client = args.to or weights_dir(config.name), FolderClient(args.source) if args.source else HubClient()
    errand = look(config, folder, client)
    print(told(config, errand, folder))
    if args.dry:
        return
    from tqdm import tqdm

    with tqdm(total=errand.bytes, unit="B", unit_scale=True, disable=None) as bar:

        def came(count: int, kept: bool) -> None:
            if kept and not bar.disable:
                bar.initial += count  # what was here already does not count for the pace
            bar.update(count)

        download(errand, folder, client, bar.write, came)
    print(f"Done: {folder}")


if __name__ == "__main__":
    from .errors import AssistantError

    try:
        main()
    except AssistantError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Ended. A download goes on where it stopped: run the same command again.") from None
