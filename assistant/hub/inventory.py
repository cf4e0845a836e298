"""A preset's parts: which are there, which are missing, and the command that brings them. Knows no network and no models."""

from __future__ import annotations

import json
from pathlib import Path

from ..config import AssistantConfig, ChatConfig, Source
from ..errors import WeightsError
from ..manifest import CHECKPOINTS
from ..files import weights_dir
from ..plan import listing
from ..requests import LCM


def place_of(config: AssistantConfig, folder: Path | None = None) -> Path:
    """The folder of a preset's weights: the one that is named, the one that ships, or where downloads go."""
    return folder or (CHECKPOINTS / config.folder if config.folder else weights_dir(config.name))


def has(folder: Path, source: Source) -> bool:
    """Whether a part's folder holds its weights and configurations, as far as that is told by names."""
    return all(_there(folder, pattern) for pattern in source.files if is_needed(pattern))


def is_needed(pattern: str) -> bool:
    return pattern.endswith((".safetensors", "/config.json")) or pattern == "config.json"


def _there(folder: Path, pattern: str) -> bool:
    index = [p for p in folder.glob(f"{pattern}.index.json")]
    for path in index:  # sharded: all of them
        try:
            shards = set(json.loads(path.read_text())["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return False
        if not all((path.parent / shard).exists() for shard in shards):
            return False
    return bool(index) or any(folder.glob(pattern))


def missing(config: AssistantConfig, folder: Path) -> list[str]:
    """Parts of a preset that a folder does not hold, those to be downloaded first."""
    parts = [part for part, source in config.sources.items() if not has(folder / part, source)]
    return parts + [part for part in config.trained if not any((folder / part).glob("*.safetensors"))]


def require(config: AssistantConfig, folder: Path) -> None:
    """Raise WeightsError, in one sentence with the exact next command, unless a folder holds every part of a preset."""
    gone = missing(config, folder)
    published, untrained = [p for p in gone if p in config.sources], [p for p in gone if p in config.trained]
    if published:
        gated = [f"{p} needs its licence accepted at {config.sources[p].licence}" for p in published if config.sources[p].licence]
        also = f", and {listing(untrained)}, which nobody published" if untrained else ""
        raise WeightsError(f"The preset {config.name!r} lacks {listing(published)} in {folder}{also}{f' ({gated[0]})' if gated else ''}.",
                           f"Run: {command(config, folder)}")
    if untrained:
        raise WeightsError(f"The preset {config.name!r} lacks {listing(untrained)} in {folder}: nobody published {'them' if len(untrained) > 1 else 'it'}, "
                           "so that they must be trained.", f"Run: {config.trained[untrained[0]]}")


def command(config: AssistantConfig, folder: Path) -> str:
    """What fetches a preset's published parts into a folder, and mends those that are not whole."""
    named = config.language.named if isinstance(config.language, ChatConfig) else ""
    return (f"python -m assistant download {config.name}{f' --llm {named}' if named else ''}{' --quick' if LCM in config.sources else ''}"
            f"{'' if folder == weights_dir(config.name) else f' --to {folder}'}")
