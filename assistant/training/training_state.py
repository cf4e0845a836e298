"""A training's state on disk: weights, their averages, moments and how far it is, whole after a kill at any moment.

Safetensors and JSON, written to a folder of its own that then takes the old one's place. Nothing in it depends on how many
processes there were.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import ConfigError, WeightsError
from ..files import SHARED, write_whole
from .distributed import ProcessGroup


def _place(folder: Path) -> Path | None:
    # between two renames only the old one is there
    return next((p for p in (folder / "state", folder / "state.old") if p.exists()), None)


def about(folder: Path) -> dict[str, Any] | None:
    """What the state in `folder` says of itself; None: there is none."""
    place = _place(folder)
    return json.loads((place / "state.json").read_text()) if place else None


def same_batch(found: Mapping[str, Any], batch: int, parts: int) -> None:
    """Raises ConfigError if a state was trained with another batch, or one cut differently: its curve would break."""
    for name, value, option in (("batch", batch, "--batch"), ("parts", parts, "--parts")):
        if found.get(name, value) != value:
            what = "a batch of {} samples" if name == "batch" else "a batch in {} parts"
            raise ConfigError(f"This training was begun with {what.format(found[name])}, not {value}.",
                              f"Go on with {option} {found[name]}, or begin anew in another --run folder.")


def cut(folder: Path, batch: int, asked: int | None, recipe: int | None, team: ProcessGroup) -> int:
    """Into how many parts a batch is cut: as asked, as it was begun, as the recipe says, or one a process.

    Raises:
        ConfigError: they do not divide it.
    """
    begun = (about(folder) if team.rank == 0 else None) or {}
    (number,) = team.agreed(asked or begun.get("parts") or recipe or team.world)
    if batch % int(number):
        raise ConfigError(f"A batch of {batch} cannot be cut into {int(number)} equal parts.", "Change --batch or --parts.")
    return int(number)


def tensors(folder: Path, names: set[str]) -> dict[str, Tensor]:
    """`param.`, `ema.`, `m.` and `v.` of every name, in main memory. Raises WeightsError if they are another model's."""
    place = _place(folder)
    found = load_file(place / "state.safetensors")
    if {k.removeprefix("param.") for k in found if k.startswith("param.")} != names:
        raise WeightsError(f"The training state in {place} is of another model.", "Choose another --run folder.")
    return found


def save(folder: Path, values: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Write the whole state; the old one is replaced only once the new one is on disk."""
    new, place, old = (folder / n for n in ("state.new", "state", "state.old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    save_file({k: t.contiguous() for k, t in values.items()}, new / "state.safetensors")
    (new / "state.json").write_text(json.dumps(said))
    for file in new.iterdir():
        with open(file, "rb") as handle:
            os.fsync(handle.fileno())
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)


def forget_after(log: Path, step: int) -> None:
    """Take the lines of later steps, which a kill undid, out of a log."""
    if log.exists():
        lines = log.read_text().splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        if kept != lines:
            write_whole(log, "".join(f"{line}\n" for line in kept).encode(), SHARED)
