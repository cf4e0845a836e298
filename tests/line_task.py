"""The smallest training task there is, for tests of the loop; child processes import it too."""

from pathlib import Path

import numpy as np
import torch
from assistant.training.loop import Task
from torch import nn


class Line(Task):
    """Fits a line."""

    name, batch_size, lr = "line", 8, 0.05

    def __init__(self, width: int = 3) -> None:
        self.net = nn.Linear(width, 1)
        with torch.no_grad():
            self.net.weight.zero_(), self.net.bias.zero_()
        self.exported = False

    def modules(self):
        return {"net": self.net}

    def batch(self, rng: np.random.Generator):
        x = torch.from_numpy(rng.normal(size=(8, self.net.in_features)).astype(np.float32))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def loss(self, batch, generator):
        noise = 0.01 * torch.randn(batch["y"].shape, generator=generator)
        return (self.net(batch["x"]) - batch["y"] + noise).square().mean(), {}

    def export(self, folder: Path) -> None:
        self.exported = True
