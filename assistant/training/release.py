"""Puts what a run made where the application finds it."""

import shutil
from pathlib import Path

from ..checkpoints import drop_shards
from ..config import AssistantConfig
from ..manifest import CHECKPOINTS, write_manifest
from .world_dataset import write_ready_subjects


def overlay(model: Path, folder: Path) -> None:
    """Put what a run made over what a folder of weights holds, with its manifest."""
    for place in {weights.parent.relative_to(model) for weights in model.rglob("*model*.safetensors*")}:
        drop_shards(folder / place)
    shutil.copytree(model, folder, dirs_exist_ok=True)
    write_manifest(folder)


def install(config: AssistantConfig, model: Path) -> None:
    """Put it into what ships, with the ready subjects."""
    folder = CHECKPOINTS / config.folder
    write_ready_subjects(folder / "subjects", config.decoder.image_size)
    overlay(model, folder)
