"""The real program on the tiny preset `open`, whose weights only a stand-in hub has: `python tests/first_run.py --data-dir D --port P`.

The hub is slow until there is a file HURRY, breaks off in the middle of the UNet, and does not give one file, which its mirror has.
"""

import os
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file, save

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.stand_in_hub import StandInHub  # noqa: E402

HUB = StandInHub({})
os.environ |= {"HF_ENDPOINT": HUB.url, "HF_HUB_OFFLINE": "0"}  # the hub's library reads them when it is imported

from tests import tiny_open  # noqa: E402

UNET = "unet/diffusion_pytorch_model.fp16.safetensors"


def repositories(folder: Path) -> dict[str, dict[str, bytes]]:
    """The tiny preset as the hub has it: with a half-precision UNet beside the whole one, and a mirror of the base model."""
    found: dict[str, dict[str, bytes]] = {}
    for part, source in tiny_open.CONFIG.sources.items():
        for path in sorted((folder / part).rglob("*")):
            if path.is_file():
                name = path.relative_to(folder / part).as_posix()
                found.setdefault(source.hubs[0], {})[f"{source.root}/{name}" if source.root else name] = path.read_bytes()
    base = found[tiny_open.CONFIG.sources["base"].hubs[0]]
    base[UNET] = save({name: tensor.half() for name, tensor in load_file(folder / "base" / UNET.replace(".fp16", "")).items()})
    return {**found, "bob/mirror": dict(base)}


def hurry(hub: StandInHub, when: Path) -> None:
    """Ten times as fast once this file is there."""
    while not when.exists():
        time.sleep(0.1)
    hub.pace *= 10


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, HUB as hub:
        hub.repositories = repositories(tiny_open.write(Path(folder)))
        base = tiny_open.CONFIG.sources["base"]
        hub.pace, hub.cuts[UNET] = int(os.environ.get("PACE", 150_000)), [60_000]
        threading.Thread(target=hurry, args=(hub, Path(os.environ.get("HURRY", "never"))), daemon=True).start()
        hub.refuses[f"{base.hubs[0]}/vae/config.json"] = 503
        from assistant import presets

        sources = {**tiny_open.CONFIG.sources, "base": replace(base, hubs=(*base.hubs, "bob/mirror"))}
        presets.PRESETS["open"] = replace(tiny_open.CONFIG, sources=sources)
        import app

        return app.main(["--preset", "open", "--device", "cpu", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
