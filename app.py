"""Arguments -> preset -> assistant -> page -> launch."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path


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
        help="another language model for the preset open, one that sees or not: a folder, or a hub id that was downloaded (python -m assistant "
             "download open --llm NAME), like llava-hf/llava-1.5-7b-hf")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add("--dtype", default="auto", choices=("auto", "float32", "float16", "bfloat16"),
        help="numbers the models are held in; auto: float32 on a CPU, half precision on a GPU")
    add("--memory", default="auto", choices=("auto", "whole", "4bit", "turns", "4bit-turns", "layers"),
        help="how a large preset lives on a GPU; auto: the first that fits. whole: all of it stays there; 4bit: the language model in 4 bits "
             "(needs bitsandbytes); turns: language model and decoder one after the other; layers: every layer when it is needed")
    add("--attention", default="auto", choices=("auto", "sdpa", "xformers", "flash", "efficient", "cudnn", "math"),
        help="attention kernel; auto: on an NVIDIA GPU the fastest for each layer, measured at the first start")
    add("--speed", action="append", default=[], metavar="NAME=on|off",
        help="an optimisation that is not to be as it usually is on the device: channels-last, compiled, probed, static-cache; repeat for more")
    add("--safety", choices=("auto", "on", "off"), default="auto",
        help="whether a safety checker looks at every picture of a preset with downloaded weights before it is shown; auto: where other people "
             "may reach the page")
    add("--host", default="0.0.0.0" if on_spaces else "127.0.0.1",
        help="address to listen on; 0.0.0.0 lets others in the network in")
    add("--port", type=_port, default=None, help="port to listen on; default: the first free one from 7860")
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
    print(f"Starting the {options.preset} preset ...", flush=True)
    try:
        import spaces  # noqa: F401  # Hugging Face's ZeroGPU wants to be imported before torch; absent elsewhere
    except ImportError:
        pass
    from assistant.errors import AssistantError
    try:
        from assistant.deferred_engine import DeferredEngine, can_defer
        from assistant.paths import default_data_dir
        from assistant.presets import preset
        from assistant.session.manager import SessionManager
        from assistant.session.store import Store
        from ui.serve import Address, start

        address = Address(options.host, options.port, options.share, users(options.auth),
                          framed=bool(os.environ.get("SPACE_ID")))
        store = Store(options.data_dir or default_data_dir())
        plain = (options.dtype, options.attention, options.memory, options.speed, options.llm) == ("auto", "auto", "auto", [], None)
        deferred = plain and "spaces" not in sys.modules and can_defer(preset(options.preset), options.device)
        engine = DeferredEngine(preset(options.preset), options.weights, lambda: load(options)) if deferred else load(options, address.public)
        manager = SessionManager(engine, store, options.queue_size)
        page, url = start(manager, address, store.folder)
        info = engine.info()
        print(f"CAFE ({info.preset} on {info.device}) is at {url}  -  conversations in {store.folder}  -  Ctrl+C ends it", flush=True)
    except AssistantError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    try:
        if deferred:
            engine.arrive()
        page.block_thread()  # returns on Ctrl+C
    except AssistantError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        manager.close()
        store.close()
    return 0


def load(options: argparse.Namespace, public: bool = False):
    """The engine of the arguments. `public`: whether other people may reach the page. Raises AssistantError."""
    from assistant import engine as pipeline

    return pipeline.load(options.preset, options.device, options.dtype, options.attention, options.weights, options.llm, options.speed,
                         options.memory, options.safety == "on" or (options.safety == "auto" and public))


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
                lines += [line.strip() for line in Path(value[1:]).read_text("utf-8").splitlines() if line.strip()]
            except OSError as error:
                raise ConfigError(f"The file of users {value[1:]} cannot be read ({error.strerror}).",
                                  "Give --auth @FILE with one USER:PASSWORD a line.") from error
        else:
            lines.append(value)
    pairs = [tuple(line.split(":", 1)) for line in lines]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ConfigError("--auth takes USER:PASSWORD, both not empty.", "For example --auth ada:correct-horse.")
    return tuple(pairs)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port (1 to 65535)")
    return int(text)


def _queue(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of turns from 1 to 1000")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
