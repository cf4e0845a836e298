"""Trains the base model and CAFE's decoder as one UNet: half of each step draws from captions (base.py), half from E(x) and
F(target) (cafe.py).

Text states and E(x) have one width, so both pass the same keys and values; V_H alone is CAFE's.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..config import AssistantConfig
from ..controls.cafe import training_context
from ..checkpoints import load_tensors, save_cafe
from .base import BaseTask
from .cafe import WHOLE, CafeTask
from .world_dataset import WorldDataset
from .losses import LAYOUT
from .datasets import WorldPairs


class JointTask:
    name, lr = "trunk", 2e-3
    done = 0.0  # the training loop sets it

    def __init__(self, config: AssistantConfig, world: WorldDataset, device: str, init: Path, batch_size: int = 64, warm: Path | None = None) -> None:
        """`init`: a folder with the trained vae, dino and clip. `warm`: a folder whose base and cafe to go on from."""
        self.batch_size = batch_size
        self.base = BaseTask(config, world, device, init / "base/vae", batch_size // 2, warm and warm / "base")
        self.cafe = CafeTask(config, WorldPairs(config, world, device, init), device, init, batch_size - batch_size // 2,
                             shared=(self.base.unet, self.base.layout))
        if warm:
            load_tensors(warm / "cafe/semantic_values.safetensors", self.cafe.values)
        self.matrices = self.base.matrices

    def modules(self) -> Mapping[str, nn.Module]:
        return {**self.base.modules(), **self.cafe.modules()}

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return {f"{of}.{k}": t for of, task in (("base", self.base), ("cafe", self.cafe)) for k, t in task.batch(rng).items()}

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """One call of the UNet for both halves while as many patches are seen as a caption has tokens; near the end all patches are."""
        base, cafe = ({k.removeprefix(f"{of}."): t for k, t in batch.items() if k.startswith(f"{of}.")} for of in ("base", "cafe"))
        if self.done >= WHOLE:
            self.cafe.done = self.done
            (first, said), (second, shown) = self.base.loss(base, generator), self.cafe.loss(cafe, generator)
            return (first + second) / 2, {"base_v": said["v"], "cafe_v": shown["v"], "layout": (said["layout"] + shown["layout"]) / 2, "kind": shown["kind"]}
        shown, h, at = self.cafe.source.shown(cafe, generator), self.base.heroes, base["at"]
        states = self.base.text(input_ids=base["texts"]).last_hidden_state  # (b, N, d)
        patches = shown.patches[:, cafe["seen"][:states.shape[1]]].to(states.dtype)  # (b, N, d)
        captions, none = states.new_ones(len(states)), states.new_zeros(len(states))
        noised, t, target = self.base.vloss.draw(torch.cat([self.base.latents[at].float(), shown.latents]), generator)
        context = training_context(self.cafe.values, torch.cat([states, patches]), torch.cat([shown.semantics[:1].expand(len(states), -1), shown.semantics]),
                             torch.cat([captions, cafe["keep"][0]]), torch.cat([none, cafe["keep"][1]]))
        predicted = self.base.unet(noised, t, None, cross_attention_kwargs={"context": context}, return_dict=False)[0]
        weights, masks, labels = (torch.cat(pair) for pair in ((h.weights[at], shown.weights), (h.masks[at], shown.masks), (h.labels[at], shown.labels)))
        companions = tuple(torch.cat(pair) for pair in zip(h.companions(at), shown.companions))
        features = self.cafe.source.patches[torch.cat([at, cafe["target"]]), 1:]
        v = [self.base.vloss(*(part[half] for part in (predicted, target, weights))) for half in (slice(len(states)), slice(len(states), None))]
        layout, kind = self.base.layout(masks, labels, companions, features)
        return (v[0] + v[1]) / 2 + LAYOUT * layout, {"base_v": v[0].detach(), "cafe_v": v[1].detach(), "layout": layout.detach(), "kind": kind}

    def export(self, folder: Path) -> None:
        """`base` and `cafe` below `folder`, as those two tasks write them."""
        self.base.export(folder / "base")
        save_cafe(None, self.cafe.values, folder / "cafe")

    def sheet(self, path: Path) -> None:
        """Two sheets: of words, and beside it of photos."""
        self.base.sheet(path)
        self.cafe.sheet(path.with_stem(path.stem + "-cafe"))
