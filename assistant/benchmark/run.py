"""What `python -m assistant bench` does with its options."""

import io
import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .. import machine
from ..board_requests import Mix, MixRequest, Source, grid
from ..customization.dci_sampling import WINDOW, branches
from ..customization.infusion_sampling import prepare_infusion
from ..customization.infusion_file import InfusionConcept
from ..customization.ico_training import WITH_DCI
from ..controls.mask_visualization import at_scale, scales, stretched
from ..customization.ico_file import IcoConcept
from ..diffusion.conditions import EMPTY, TEXT
from ..controls.dci import MaskSnapshot
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..diffusion.guidance import text_guidance
from ..requests import Pace, Reply, Request, Settings, Words
from ..engine import Assistant, load
from ..image_io import overlaid
from .unet_step import Case, beside, switches
from ..timing import Step, Table, in_turns, peak, ratio


@dataclass(frozen=True)
class Options:
    """The command's arguments."""

    preset: str = "miniature"
    device: str = "auto"
    steps: int | None = None  # of a picture; None: 20, or 2 of a full-size model on a CPU
    repeat: int = 5  # measurements of each thing
    markdown: Path | None = None
    save: Path | None = None  # one JSON file with the machine's versions and devices
    random: bool = False
    without_llm: bool = False
    side: int = 512  # of a picture by random weights, pixels
    compiled: bool = False  # also measure torch.compile where it takes minutes


def run(options: Options) -> None:
    """Print the table, and write it as Markdown if that is asked for."""
    table = Table()
    if options.random:
        from .random_weights import measure

        measure(table, options)
    else:
        _loaded(table, options)
    if options.markdown is not None:
        table.write(options.markdown)
    if options.save is not None:
        table.save(options.save, command="bench", preset=options.preset, random=options.random, versions=machine.versions(), devices=machine.devices())
        print(f"Kept in {options.save}: versions, devices and this table, nothing else.")


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
    if assistant.trainer is not None:
        concepts(table, assistant.trainer.base, assistant.trainer.identity, steps, options.repeat)
    if assistant.subjects:
        mixing(table, assistant, steps, options.repeat)
    table.add("peak memory", f"{peak(decoder.device):.2f} GiB", "on the GPU" if decoder.device.type == "cuda" else "")
    if decoder.device.type != "cuda":
        table.add("the same on a GPU", note="this run had no CUDA device")


def replies(table: Table, assistant: Assistant, steps: int, repeat: int) -> None:
    """Seconds to the first word, words a second and seconds for the picture, of one vague request about each of some subjects."""
    _reply(assistant, steps, 0)
    found = [_reply(assistant, steps, seed) for seed in range(1, repeat + 1)]
    first, pace, whole, picture = (statistics.median(column) for column in zip(*found))
    table.add("time to first word", f"{first * 1000:.0f} ms")
    table.add("words", f"{pace:.0f} /s")
    table.add("reply, words and picture", f"{whole:.2f} s")
    table.add(f"picture, {steps} steps", f"{picture:.2f} s")


def paces(table: Table, assistant: Assistant, repeat: int) -> None:
    """Few steps, the usual ones and many, of the same pictures: their time, and how far they are from the finest, of 255."""
    photos, known = [subject.photo for subject in assistant.subjects[:4]], {pace.name: pace for pace in assistant.info().paces}
    pictures: dict[str, list[np.ndarray]] = {}

    def draw(pace: Pace) -> None:
        pictures[pace.name] = []
        for seed, photo in enumerate(photos):
            settings = Settings(seed=seed, steps=pace.steps, scheduler=pace.scheduler, preview_every=0)
            request = Request("at night", photo, like=photos[seed - 1], settings=settings)
            *_, reply = assistant.respond(request, threading.Event())
            pictures[pace.name].append(np.asarray(Image.open(io.BytesIO(reply.png)).convert("RGB"), dtype=np.float32))

    times = in_turns({name: Step(lambda pace=pace: draw(pace)) for name, pace in known.items()}, repeat, assistant.decoder.device, warm=1)
    for name, pace in known.items():
        away = float(np.mean([np.abs(a - b).mean() for a, b in zip(pictures[name], pictures["fine"])]))
        table.add(f"{name}: {pace.scheduler}, {pace.steps} steps", f"{statistics.median(times[name]) / len(photos):.2f} s",
                  f"{ratio(times, name, 'usual'):.2f} x usual; {away:.1f} of 255 from the finest")


def concepts(table: Table, base: LatentDiffusion, identity: str, steps: int, repeat: int) -> None:
    """Pictures of the base model, with a learned concept (Infusion), fine-tuned (ICO), and in two branches (DCI)."""
    times = in_turns(_infusion(base, identity, steps), 2 * repeat, base.device)
    table.add(f"base picture, {steps} steps", f"{statistics.median(times['base']):.2f} s")
    table.add(f"infusion, {steps} steps", f"{statistics.median(times['infusion']):.2f} s",
              f"{ratio(times, 'infusion', 'base'):.2f} x base, at most 2.00 wanted")
    times = in_turns(_likeness(base, identity, steps), 2 * repeat, base.device)
    table.add(f"fine-tuned (ICO), {steps} steps", f"{statistics.median(times['tuned']):.2f} s")
    for name, what, most in (("dci", "DCI, T_a = 0.15 T", 1.1), ("masks", "DCI with masks kept", 1.5)):
        table.add(what, f"{statistics.median(times[name]):.2f} s", f"{ratio(times, name, 'tuned'):.2f} x fine-tuned, at most {most:.2f} wanted")


def mixing(table: Table, assistant: Assistant, steps: int, repeat: int) -> None:
    """A mixed picture and a grid of 5 x 5, in turns; everything on the board is encoded beforehand, for both: the singles are as cheap as
    they can be."""
    photos = [subject.photo for subject in assistant.subjects[:3]]
    one = Mix((photos[0],), (Source(photos[1]), Source(photos[2])), 0.5)
    settings = Settings(seed=0, steps=steps, preview_every=0)

    def seconds(*mixes: Mix) -> float:
        started = time.perf_counter()
        for _ in assistant.mix(MixRequest(mixes, settings), threading.Event()):
            pass
        return time.perf_counter() - started

    seconds(one)
    before, singles, grids = peak(assistant.decoder.device), [], []
    for _ in range(repeat):
        singles += [seconds(one) for _ in range(4)]
        grids.append(seconds(*grid(one)))
        singles += [seconds(one) for _ in range(4)]
    single, many = statistics.median(singles), statistics.median(grids)
    more = peak(assistant.decoder.device) - before
    table.add("mixed picture", f"{single:.2f} s")
    table.add("grid of 5 x 5", f"{many:.2f} s", f"{many / (25 * single):.2f} x 25 pictures, {1024 * more:.0f} MiB more at its peak")


def _reply(assistant: Assistant, steps: int, seed: int) -> tuple[float, float, float, float]:
    photo = assistant.subjects[seed % len(assistant.subjects)].photo
    started = time.perf_counter()
    first = last = 0.0
    reply: Reply | None = None
    request = Request("I want something creative for this one, can you help?", photo,
                      settings=Settings(seed=seed, steps=steps, preview_every=0))
    for event in assistant.respond(request, threading.Event()):
        now = time.perf_counter() - started
        if isinstance(event, Words):
            first, last = first or now, now
        elif isinstance(event, Reply):
            reply = event
    count = len(reply.text.split())
    return (first, max(1, count - 1) / max(1e-9, last - first), time.perf_counter() - started,
            reply.seconds.get("picture", float("nan")))


def _infusion(base: LatentDiffusion, identity: str, steps: int) -> dict[str, Step]:
    """Equal prompt, seed and steps, decoding included."""
    prompt, guidance = "a cat on the beach", 3.0
    widths = {name: attn.inner_dim for name, attn in base.cross_layers().items()}
    concept = InfusionConcept("bench", "cat", identity, {name: torch.full((1, width), 0.1) for name, width in widths.items()})

    def plain() -> None:
        plan, context = text_guidance(guidance), AttentionContext({TEXT: base.encode_text([prompt]), EMPTY: base.encode_text([""])})
        base.decode(base.sample(plan, context, [0], steps).latents)

    def infusion() -> None:
        base.decode(prepare_infusion(base, "a <bench> on the beach", {"bench": "cat"}, lambda _: concept, guidance).draw([0], steps).latents)

    return {"base": Step(plain), "infusion": Step(infusion)}


def _likeness(base: LatentDiffusion, identity: str, steps: int) -> dict[str, Step]:
    """Plain sampling of the fine-tuned model, DCI at its usual window, and DCI with its masks kept and one laid over: equal prompt, seed and
    steps, decoding included."""
    generator, width = torch.Generator().manual_seed(0), base.text_encoder.config.hidden_size
    added = {name: tuple(0.01 * torch.randn(linear.weight.shape, generator=generator) for linear in (attn.to_k, attn.to_v))
             for name, attn in base.cross_layers().items()}
    concept = IcoConcept("bench", "cat", identity, 0.1 * torch.randn(3, width, generator=generator), added, WITH_DCI)

    def draw(window: float, seen: MaskSnapshot | None = None) -> None:
        both = branches(base, concept, "a <bench> on the beach", "dog" if window else None)
        picture = base.decode(both.draw([0], 1.0, window, steps=steps, seen=seen).latents)[0]
        if seen is not None:
            overlaid(picture, stretched(at_scale(seen.auxiliary, list(scales(seen.auxiliary))[-1])[0]).numpy(), 0.6)

    return {"tuned": Step(lambda: draw(0.0)), "dci": Step(lambda: draw(WINDOW)), "masks": Step(lambda: draw(WINDOW, MaskSnapshot()))}
