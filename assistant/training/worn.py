"""Trains what reads the things worn (mllm/worn.py) on F of a drawn set, by cross-entropy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ..config import AssistantConfig
from ..models.worn import WornReader
from ..checkpoints import load_vision, save_worn
from .world_dataset import LABELS, WorldDataset
from .losses import encode_semantics

BATCH, STEPS, LEFT_OUT = 128, 1500, 1024


def fit(config: AssistantConfig, world: WorldDataset, model: Path, steps: int = STEPS, seed: int = 0) -> WornReader:
    """Train on all pictures but the last LEFT_OUT, print how many of those are read whole, and write `worn` below `model`."""
    vision = config.vision
    first = LABELS.index(vision.worn_things[0])
    semantics = encode_semantics(world, "cpu", load_vision(config, model)).float()
    labels = torch.from_numpy(world["labels"][:len(semantics), first:first + len(vision.worn_things)].astype(np.int64))  # 0: absent, else 1 + the colour
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # the layers' first weights
    reader = WornReader(semantics.shape[1], vision.worn_things, vision.worn_colours)
    optimizer = torch.optim.AdamW(reader.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    left = min(LEFT_OUT, len(semantics) // 4)
    for _ in range(steps):
        at = torch.randint(len(semantics) - left, (BATCH,), generator=generator)
        loss = F.cross_entropy(reader(semantics[at]).flatten(0, 1), labels[at].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        found, truth = reader(semantics[-left:]).argmax(2), labels[-left:]
    whole, bare = (found == truth).all(1).float(), (truth == 0).all(1)
    print(f"Of {left} drawings left out, {whole.mean():.3f} are read whole, things and colours; of those that wear nothing {whole[bare].mean():.3f}.", flush=True)
    save_worn(reader, model)
    return reader
