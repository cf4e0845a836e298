"""The paper's tables in miniature: 4 (MSE against cosine), 6 (F only, E only, both), and the guidance surface.

Every variant of a table goes on from the weights that ship, sees as many samples, and answers the same held-out requests. What was
trained is kept in the table's folder, so that a command that was stopped goes on.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config import AssistantConfig
from ..diffusion.latent_diffusion import LatentDiffusion
from ..models.mllm import Bridge, MultimodalLLM
from ..engine import Assistant
from ..training.mllm import ProjectorTask
from ..training.world_dataset import DialogueDataset, WorldDataset
from ..training.datasets import WorldDialogues, WorldPairs
from ..training.self_distillation import FurtherTask
from ..training.loop import Options, Trainer
from ..training.recipe import BridgeNumbers
from ..checkpoints import load_cafe, load_tensors
from .. import report
from .test_cases import Asked, AttributeJudge, ask, draw, score

STRENGTH = 2.0  # of a source that is given, as the page has it
BATCHES = {"table4": 32, "table6": 64}
GRID = (0.0, 0.5, 1.0, 2.0, 4.0)  # strengths of the surface
Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """What every table is made with.

    Args:
        weights: folder of the weights that variants start from.
        run: folder of the table's states; `world`, `talks`: the drawn set that variants learn from, and dialogues about it.
        requests: held-out requests that each variant answers, in `steps` of denoising. `seeds`: runs of each variant.
    """

    assistant: Assistant
    witness: AttributeJudge
    weights: Path
    run: Path
    world: WorldDataset | None
    talks: DialogueDataset | None = None
    requests: int = 256
    seeds: int = 2
    steps: int = 20

    @property
    def config(self) -> AssistantConfig:
        return self.assistant.config

    def asked(self, language: MultimodalLLM | None = None) -> Asked:
        a = self.assistant
        return ask(a.vision, language or a.language, a.config.picture_tokens, self.requests, a.config.decoder.image_size)

    def drawn(self, decoder: LatentDiffusion, asked: Asked, keep_subject: float, follow_words: float) -> Tensor:
        return draw(decoder, asked, keep_subject, follow_words, self.steps)


def table4(bench: Bench, steps: int, say: Say) -> dict:
    """V, H and the token trained by eq. 2 with MSE, and with negative cosine in its place: from V and the token that ship and a fresh H."""
    rows = {}
    for objective in ("mse", "cosine"):
        for seed in range(bench.seeds):
            place = bench.run / f"table4/{objective}-{seed}"
            torch.manual_seed(seed)  # only the fresh layers' initial weights
            task = ProjectorTask(bench.config, WorldDialogues(bench.config, bench.world, bench.talks, "cpu", bench.weights), "cpu", bench.weights, BATCHES["table4"], objective,
                              replace(BridgeNumbers(), fitted=False), warm=bench.weights / "bridge")
            for layer in task.bridge.H.modules():
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
            if not (place / "out/bridge.safetensors").exists():
                Trainer(task, place / "state", place / "out", Options(steps=steps, seed=seed)).run()
            bridge = Bridge(bench.config.language, bench.config.vision.patch_width)
            load_tensors(place / "out/bridge.safetensors", bridge)
            shipped = bench.assistant.language
            asked = bench.asked(MultimodalLLM(shipped.config, shipped.llama, bridge.eval().requires_grad_(False), shipped.builder))
            drawn = bench.drawn(bench.assistant.decoder, asked, STRENGTH, STRENGTH)
            rows[f"{objective}, seed {seed}"] = score(bench.witness, asked, drawn)
            say(f"table 4: {objective}, seed {seed}")
    return {"samples each": steps * BATCHES["table4"], "rows": rows}


def table6(bench: Bench, steps: int, say: Say) -> dict:
    """The decoder gone on with by eq. 3 with F only, E only, and both, and drawn from what each was given."""
    source, asked, rows = WorldPairs(bench.config, bench.world, "cpu", bench.weights), bench.asked(), {}
    for name, sources in (("F only", ("F",)), ("E only", ("E",)), ("both", ("E", "F"))):
        for seed in range(bench.seeds):
            place = bench.run / f"table6/{''.join(sources)}-{seed}"
            if not (place / "out/base/vae").exists():
                torch.manual_seed(seed)  # only the initial weights of what is thrown away afterwards
                task = FurtherTask(bench.config, bench.world, source, "cpu", bench.weights, BATCHES["table6"], sources)
                Trainer(task, place / "state", place / "out", Options(steps=steps, seed=seed, sheet=False)).run()
                shutil.copytree(bench.weights / "base/vae", place / "out/base/vae")
            decoder = load_cafe(bench.config, place / "out")
            drawn = bench.drawn(decoder, asked, STRENGTH * ("E" in sources), STRENGTH * ("F" in sources))
            rows[f"{name}, seed {seed}"] = score(bench.witness, asked, drawn)
            say(f"table 6: {name}, seed {seed}")
    return {"samples each": steps * BATCHES["table6"], "rows": rows}


def surface(bench: Bench, say: Say) -> dict:
    """What the two strengths do to the shipped weights' pictures."""
    asked, rows = bench.asked(), {}
    for keep in GRID:
        for follow in GRID:
            if keep or follow:
                rows[f"keep {keep:g}, follow {follow:g}"] = score(bench.witness, asked, bench.drawn(bench.assistant.decoder, asked, keep, follow))
        say(f"surface: keep subject {keep:g}")
    return {"rows": rows}


COLUMNS = ("DINO-I", "CLIP-I", "CLIP-T", "kind", "colour", "pattern", "context", "style", "accessory")


def make(name: str, bench: Bench, steps: int, say: Say) -> dict:
    """The table of that name, with what it cost."""
    started = time.monotonic()
    found = {"table4": lambda: table4(bench, steps, say), "table6": lambda: table6(bench, steps, say), "surface": lambda: surface(bench, say)}[name]()
    return {"table": name, "weights": bench.assistant.weights, "requests": bench.requests, "steps": bench.steps, **found,
            "minutes": round((time.monotonic() - started) / 60, 1), "threads": torch.get_num_threads()}


def write(found: dict, out: Path, columns: tuple[str, ...] = COLUMNS) -> str:
    """`out`.json and `out`.md, a row each with half the width of its 95 % intervals; returns the Markdown."""
    samples = f"{found['samples each']:,} samples each; " if "samples each" in found else ""
    return report.write(found, [*report.table(columns, {name: [report.spread(row.get(c)) for c in columns] for name, row in found["rows"].items()}), "",
                                f"{found['requests']} held-out requests; {samples}{found['steps']} steps; {found['minutes']} minutes on "
                                f"{found['threads']} threads; weights {found['weights']}."], out)
