"""Arguments -> preset -> assistant -> page -> launch."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assistant.requests import Engine

MOST_WAIT = 600.0  # seconds that a switch to another preset waits for what is being answered


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line. Only the standard library is imported, so that --help is instant."""
    on_spaces = bool(os.environ.get("SPACE_ID"))
    parser = argparse.ArgumentParser(
        prog="app.py", formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="CAFE, a customization assistant: a photo and words in, an explanation and a picture out.")
    add = parser.add_argument
    add("--preset", default=os.environ.get("CAFE_PRESET", "miniature"), metavar="NAME",
        help="which models answer: miniature ships with the code and runs on any computer; the others need their own "
             "weights (python -m assistant doctor says which can run here)")
    add("--weights", type=Path, default=None, metavar="FOLDER",
        help="the preset's weights, as `python -m assistant download` lays them; default: where it puts them")
    add("--llm", default=os.environ.get("CAFE_LLM") or None, metavar="NAME",
        help="another language model for the preset open, one that sees or not: a folder, a GGUF file, or a hub id that was downloaded (python -m assistant "
             "download open --llm NAME), like llava-hf/llava-1.5-7b-hf")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--dtype", default="auto", choices=("auto", "float32", "float16", "bfloat16"),
        help="numbers the models are held in; auto: float32 on a CPU, half precision on a GPU")
    add("--memory", default="auto", choices=("auto", "whole", "4bit", "turns", "4bit-turns", "layers"),
        help="how a large preset lives on a GPU; auto: the first that fits. whole: all of it stays there; 4bit: the language model in 4 bits "
             "(needs bitsandbytes); turns: language model and decoder one after the other; layers: every layer when it is needed")
    add("--attention", default="auto", choices=("auto", "sdpa", "xformers", "flash", "efficient", "cudnn", "math"),
        help="attention kernel; auto: torch's own choice, or with --speed probed=on the fastest for each layer, measured at the first start")
    add("--speed", action="append", default=[], metavar="NAME=on|off",
        help="switch an optimisation on: channels-last, compiled, probed (attention kernels by measurement), static-cache; repeat for more")
    add("--quick", action="store_true",
        help="load LCM-LoRA beside the presets sd15, open and sdxl: the pace Quick then takes four steps without guidance, for CPUs and Macs")
    add("--safety", choices=("auto", "on", "off"), default="auto",
        help="whether a safety checker looks at every picture of a preset with downloaded weights before it is shown; auto: where other people "
             "may reach the page")
    add("--host", type=_host, default="0.0.0.0" if on_spaces else "127.0.0.1",
        help="address to listen on; 0.0.0.0 lets others in the network in")
    add("--port", type=_port, default=os.environ.get("GRADIO_SERVER_PORT") or None, help="port to listen on; default: the first free one from 7860")
    add("--root-path", type=_root_path, default=os.environ.get("GRADIO_ROOT_PATH", ""), metavar="PATH",
        help="behind a reverse proxy: the path that it serves this page at, like /cafe, or the whole address, like https://example.com/cafe, "
             "where it does not tell of HTTPS by X-Forwarded-Proto")
    add("--share", action="store_true", help="also offer the page at a public gradio.live address (needs the internet)")
    add("--auth", action="append", default=[], metavar="USER:PASSWORD",
        help="require a sign-in; repeat for more users, or @FILE with one USER:PASSWORD a line")
    add("--data-dir", type=Path, default=None, metavar="FOLDER",
        help="where conversations and pictures are kept; default: CAFE_DATA_DIR, else the platform's folder for "
             "user data")
    add("--queue-size", type=_queue, default=16, metavar="N", help="turns that may wait; more are turned away, kindly")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted. Returns the exit status."""
    options = arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter of a path or a name shows it as \x..
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    print(f"Starting the {options.preset} preset ...", flush=True)
    try:
        import spaces  # noqa: F401  # pyright: ignore[reportMissingImports]  # Hugging Face's ZeroGPU wants to be imported before torch; absent elsewhere
    except ImportError:
        pass
    from assistant.errors import AssistantError
    try:
        settle_proxies(options)
        serve(options)
    except AssistantError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def settle_proxies(options: argparse.Namespace) -> None:
    """The page is reached without a proxy, whatever the environment says; downloads and the public address go by it. Raises ConfigError."""
    from assistant.presets import preset

    if options.share or preset(options.preset).sources:
        from assistant.hub.client import check_proxies

        check_proxies()
        given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        os.environ["no_proxy"] = ",".join(filter(None, (given, "localhost,127.0.0.1,::1", options.host.strip("[]"))))
    else:
        os.environ["no_proxy"] = "*"


def serve(options: argparse.Namespace) -> None:
    """Open the page and keep it open. Raises AssistantError, KeyboardInterrupt."""
    from assistant.deferred_engine import DeferredEngine
    from assistant.files import default_data_dir
    from assistant.session.manager import SessionManager
    from assistant.session.store import Store
    from ui.serve import Address, start

    address = Address(options.host, options.port, options.share, users(options.auth), framed=bool(os.environ.get("SPACE_ID")), root_path=options.root_path)
    store, job, page, manager = Store(options.data_dir or default_data_dir()), download_of(options), None, None
    try:
        engine = miniature() if job is not None else engine_of(options)
        while True:
            manager = SessionManager(engine, store, options.queue_size)
            page, url = start(manager, address, store.folder, job, page)
            info = engine.info()
            print(f"CAFE ({info.preset} on {info.device}) is at {url}  -  conversations in {store.folder}  -  Ctrl+C ends it", flush=True)
            if page.own_link:
                print(f"What you made here without --share or --auth is at {page.own_link}  -  keep this link to yourself", flush=True)
            if isinstance(engine, DeferredEngine):
                engine.arrive()
            if job is None:
                page.block_thread()  # returns on Ctrl+C
                return
            engine, job = fetched(job, options), None
            manager.drain(MOST_WAIT)  # what was asked of the miniature is answered
            address = replace(address, port=page.server_port)
            page.close(verbose=False)
            manager.close()
    finally:
        if job is not None:
            job.close()
        if manager is not None:
            manager.close()
        store.close()


def config_of(options: argparse.Namespace):
    """The preset of the arguments. Raises ConfigError."""
    from assistant.presets import preset

    return preset(options.preset, options.llm, options.quick, is_checked(options))


def is_checked(options: argparse.Namespace) -> bool:
    """Whether a safety checker looks at pictures before anyone sees them."""
    from ui.serve import Address

    public = Address(options.host, share=options.share, framed=bool(os.environ.get("SPACE_ID")), root_path=options.root_path).public
    return options.safety == "on" or (options.safety == "auto" and public)


def download_of(options: argparse.Namespace):
    """The download of the preset's published weights, where some are not here; None: they are, or what is missing is published nowhere."""
    from assistant.hub.client import HubClient
    from assistant.hub.download_job import DownloadJob
    from assistant.hub.download import missing, place_of
    from assistant.zero_gpu import is_here

    config = config_of(options)
    folder = place_of(config, options.weights)
    gone = missing(config, folder)
    if not gone or not set(gone) <= config.sources.keys():
        return None
    unattended = os.environ.get("CAFE_DOWNLOAD", "") not in ("", "0")
    if is_here():  # models must be on the device before the page is launched
        if not unattended:
            return None  # loading says what is missing
        print(f"Fetching the preset {config.name} into {folder} before the page opens ...", flush=True)
        DownloadJob(config, folder, HubClient(), unattended).wait(patiently=False)
        return None
    print(f"The preset {config.name} is not here yet: the page opens with the miniature and {'fetches' if unattended else 'offers to fetch'} it into {folder}.", flush=True)
    return DownloadJob(config, folder, HubClient(), unattended)


def fetched(job, options: argparse.Namespace) -> Engine:
    """The engine of the arguments, once its weights are here and it runs."""
    from assistant.errors import AssistantError

    while True:
        job.wait()
        try:
            return load(options)
        except AssistantError as error:
            print(error, file=sys.stderr)
            job.unusable(error)


def engine_of(options: argparse.Namespace) -> Engine:
    """The engine of the arguments; where that can be, its models are loaded behind the page. Raises AssistantError."""
    from assistant.deferred_engine import DeferredEngine, can_defer
    from assistant.zero_gpu import is_here

    config = config_of(options)
    plain = (options.dtype, options.attention, options.memory, options.speed, options.llm) == ("auto", "auto", "auto", [], None)
    if plain and not is_here() and can_defer(config, options.device):
        return DeferredEngine(config, options.weights, lambda: load(options))
    return load(options)


def miniature() -> Engine:
    """What ships with the code answers meanwhile."""
    from assistant import presets
    from assistant.deferred_engine import DeferredEngine

    def arrive() -> Engine:
        from assistant.loading import load as load_preset

        return load_preset("miniature", "cpu")

    return DeferredEngine(presets.MINIATURE, None, arrive)


def load(options: argparse.Namespace) -> Engine:
    """The engine of the arguments. Raises AssistantError."""
    from assistant import loading, zero_gpu
    from assistant.deferred_engine import info_of

    engine = loading.load(options.preset, options.device, options.dtype, options.attention, options.weights, options.llm, options.speed,
                           options.memory, is_checked(options), options.quick)
    if not zero_gpu.is_here():
        return engine
    import spaces  # pyright: ignore[reportMissingImports]

    about = loading.assistant_of(engine)
    return zero_gpu.ZeroGpuEngine(engine, info_of(about.config, "cuda (ZeroGPU)", about.weights, about.subjects), spaces.GPU)


def users(given: list[str]) -> tuple[tuple[str, str], ...]:
    """USER:PASSWORD, or @FILE with such lines, to pairs.

    Raises:
        ConfigError: not of that form, or no such file.
    """
    from assistant.errors import ConfigError

    lines: list[str] = []
    for value in given:
        if value.startswith("@"):
            try:
                data = Path(value[1:]).read_bytes()  # as editors save it: with a byte order mark, or in UTF-16
                text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
                lines += [line.strip() for line in text.splitlines() if line.strip()]
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8 or UTF-16"
                raise ConfigError(f"The file of users {value[1:]} cannot be read ({why}).", "Give --auth @FILE with one USER:PASSWORD a line.") from error
        else:
            lines.append(value)
    pairs = [(name, password) for name, _, password in (line.partition(":") for line in lines)]
    if any(not all(pair) for pair in pairs):
        raise ConfigError("--auth takes USER:PASSWORD, both not empty.", "Write for example --auth ada:correct-horse.")
    return tuple(pairs)


def _host(text: str) -> str:
    if not text.strip("[] "):
        raise argparse.ArgumentTypeError("an address cannot be empty; 127.0.0.1 is this computer alone, 0.0.0.0 every way to it")
    return text.strip()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return int(text)


def _root_path(text: str) -> str:
    if text and not text.startswith(("/", "http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text} is neither a path like /cafe nor an address like https://example.com/cafe")
    return text.rstrip("/")


def _queue(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of turns from 1 to 1000")
    return int(text)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl+C does
    sys.exit(main())
