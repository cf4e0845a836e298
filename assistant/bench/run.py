"""What `python -m assistant bench` does with its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..pipeline import load
from .loaded import concepts, mixing, paces, replies
from .steps import Case, beside
from .switches import switches
from .timing import Table, peak


@dataclass(frozen=True)
class Options:
    """The command's arguments."""

    preset: str = "miniature"
    device: str = "auto"
    steps: int | None = None  # of a picture; None: 20, or 2 of a full-size model on a CPU
    repeat: int = 5  # measurements of each thing
    markdown: Path | None = None
    random: bool = False
    without_llm: bool = False
    side: int = 512  # of a picture by random weights, pixels
    compiled: bool = False  # also measure torch.compile where it takes minutes


def run(options: Options) -> None:
    """Print the table, and write it as Markdown if that is asked for."""
    table = Table()
    if options.random:
        from .grown import measure

        measure(table, options)
    else:
        _loaded(table, options)
    if options.markdown is not None:
        table.write(options.markdown)


def _loaded(table: Table, options: Options) -> None:
    assistant = load(options.preset, options.device)
    info, steps, decoder = assistant.info(), options.steps or 20, assistant.decoder
    table.add("preset", info.preset, f"weights {info.weights}, {info.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    replies(table, assistant, steps, options.repeat)
    if assistant.subjects:
        paces(table, assistant, options.repeat)
    if decoder.semantic_values is not None:
        case = Case(decoder.unet, decoder.semantic_values, assistant.config.decoder.text["max_position_embeddings"])
        beside(table, case, 8 * options.repeat)
        switches(table, case, 8 * options.repeat, options.compiled)
    if assistant.teacher is not None:
        concepts(table, assistant.teacher.base, assistant.teacher.identity, steps, options.repeat)
    if assistant.subjects:
        mixing(table, assistant, steps, options.repeat)
    table.add("peak memory", f"{peak(decoder.device):.2f} GiB", "on the GPU" if decoder.device.type == "cuda" else "")
    if decoder.device.type != "cuda":
        table.add("the same on a GPU", note="this run had no CUDA device")
