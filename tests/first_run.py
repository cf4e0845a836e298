"""The real program on the tiny preset `open`, whose weights only a stand-in hub has: `python tests/first_run.py --data-dir D --port P`.

The hub is slow until the download is paused, breaks off in the middle of the UNet, and does not give one file, which its mirror has.
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file, save

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.stand_in_hub import StandInHub  # noqa: E402

HUB = StandInHub({})
os.environ["HF_ENDPOINT"] = HUB.url  # the hub's library reads it when it is imported

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


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, HUB as hub:
        hub.repositories = repositories(tiny_open.write(Path(folder)))
        base = tiny_open.CONFIG.sources["base"]
        hub.pace, hub.hurries, hub.cuts[UNET] = int(os.environ.get("PACE", 150_000)), True, [60_000]
        hub.refuses[f"{base.hubs[0]}/vae/config.json"] = 503
        from assistant import presets

        sources = {**tiny_open.CONFIG.sources, "base": replace(base, hubs=(*base.hubs, "bob/mirror"))}
        presets.PRESETS["open"] = replace(tiny_open.CONFIG, sources=sources)
        import app

        return app.main(["--preset", "open", "--device", "cpu", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
