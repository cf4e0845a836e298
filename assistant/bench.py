"""How fast the assistant is on this machine, and what a CAFE step costs beside stock diffusers at an equal UNet, and a picture with a
learned concept beside one of the base model, in one run.

A speed is a ratio to a peer in the same run: both are timed in turns, so that a busy machine is busy for both.
"""

from __future__ import annotations

import resource
import statistics
import sys
import threading
import time

import torch
from diffusers import UNet2DConditionModel

from .board import Mix, MixRequest, Source, grid
from .concepts.branches import WINDOW, branches
from .concepts.drawing import ready
from .concepts.file import Concept
from .concepts.ico import WITH_DCI, tuned_layers
from .concepts.mask_pictures import at_scale, overlaid, scales
from .concepts.tuned import Tuned
from .conditioning import EMPTY, TEXT, Conditioning
from .control.cafe import Cafe
from .control.dci import Seen
from .decoder import sampling
from .decoder.attention import Seam, cross_layers
from .decoder.diffusion import Diffusion
from .decoder.rows import Plan, cafe_plan, text_plan
from .messages import Progress, Reply, Request, Settings, Words
from .pipeline import Assistant, load


def _reply(assistant: Assistant, steps: int, seed: int) -> tuple[float, float, float]:
    """Seconds to the first word, words a second, seconds for the picture, of one vague request."""
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
        elif isinstance(event, Progress):
            pass
        else:
            reply = event
    count = len(reply.text.split())
    return first, max(1, count - 1) / max(1e-9, last - first), reply.seconds.get("picture", float("nan"))


def _cafe_step(assistant: Assistant, plan: Plan):
    """One guided step as the sampler runs it, K and V kept."""
    photo = assistant.see(assistant.subjects[0].photo)
    decoder = assistant.decoder
    condition = Conditioning(patches=photo.patches.to(decoder.unet.dtype), semantics=photo.semantics.to(decoder.unet.dtype))
    seam = Seam(condition.tokens(), condition.vectors(), (Cafe(decoder.semantic_values),))
    rows = plan.alive(0, 20)
    side = decoder.unet.config.sample_size
    unet, device = decoder.unet, decoder.device
    batch = sampling.draw_noise([0], (unet.config.in_channels, side, side), device).repeat(len(rows), 1, 1, 1).to(unet.dtype)

    @torch.no_grad()
    def step() -> None:
        seam.begin(rows, 1, 0, 20)
        unet(batch, torch.tensor(500, device=device), None, cross_attention_kwargs={"seam": seam})
        _wait(device)

    return step


def _stock_step(assistant: Assistant, tokens: int):
    """One guided step of stock diffusers text-to-image: the same UNet, stock processors, `tokens` text tokens, two rows."""
    decoder = assistant.decoder
    unet = UNet2DConditionModel.from_config(decoder.unet.config).to(decoder.device).eval()
    if unet.dtype != decoder.unet.dtype:
        unet.to(decoder.unet.dtype)
    side, width, device = unet.config.sample_size, unet.config.cross_attention_dim, decoder.device
    batch = sampling.draw_noise([0, 1], (unet.config.in_channels, side, side), decoder.device).to(unet.dtype)
    states = torch.randn(2, tokens, width, generator=torch.Generator().manual_seed(0)).to(decoder.device, unet.dtype)

    @torch.no_grad()
    def step() -> None:
        unet(batch, torch.tensor(500, device=device), states)
        _wait(device)

    return step


def _pictures(base: Diffusion, identity: str, steps: int):
    """A picture of the base model, and the same one with a learned concept (Infusion): equal prompt, seed and steps, first guess and
    decoding included."""
    prompt, guidance = "a cat on the beach", 3.0
    widths = {name: attn.inner_dim for name, attn in cross_layers(base.unet).items()}
    concept = Concept("bench", "cat", identity, {name: torch.full((1, width), 0.1) for name, width in widths.items()})

    def plain() -> None:
        plan, seam = text_plan(guidance), Seam({TEXT: base.encode_text([prompt]), EMPTY: base.encode_text([""])})
        base.decode(base.sample(plan, seam, [0], steps, guess=base.guess_words(plan, seam, [0])).latents)
        _wait(base.device)

    def infusion() -> None:
        base.decode(ready(base, "a <bench> on the beach", {"bench": "cat"}, lambda _: concept, guidance).draw([0], steps).latents)
        _wait(base.device)

    return {"base": plain, "infusion": infusion}


def _likeness(base: Diffusion, identity: str, steps: int):
    """A picture with an ICO concept: plain sampling of the fine-tuned model, DCI at its usual window, and DCI with its masks kept and one
    laid over: equal prompt, seed and steps, first guess and decoding included."""
    generator, width = torch.Generator().manual_seed(0), base.text_encoder.config.hidden_size
    added = {name: tuple(0.01 * torch.randn(linear.weight.shape, generator=generator) for linear in (attn.to_k, attn.to_v))
             for name, attn in tuned_layers(base).items()}
    concept = Tuned("bench", "cat", identity, 0.1 * torch.randn(3, width, generator=generator), added, WITH_DCI)

    def draw(window: float, seen: Seen | None = None) -> None:
        both = branches(base, concept, "a <bench> on the beach", "dog" if window else None)
        picture = base.decode(both.draw([0], 1.0, window, steps=steps, seen=seen).latents)[0]
        if seen is not None:
            overlaid(picture, at_scale(seen.auxiliary, list(scales(seen.auxiliary))[-1])[0], 0.6)
        _wait(base.device)

    return {"tuned": lambda: draw(0.0), "dci": lambda: draw(WINDOW), "masks": lambda: draw(WINDOW, Seen())}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _in_turns(steps: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each step function, timed in turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step(), step()
    for _ in range(rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - started)
    return times


def _grid(assistant: Assistant, steps: int, repeat: int) -> tuple[float, float, float]:
    """Seconds of one mixed picture and of a grid of 5 x 5, in turns, and what the grid adds to the peak memory, in GiB.

    Everything on the board is encoded beforehand, for both: the singles are as cheap as they can be.
    """
    photos = [subject.photo for subject in assistant.subjects[:3]]
    one = Mix((photos[0],), (Source(photos[1]), Source(photos[2])), 0.5)
    settings = Settings(seed=0, steps=steps, preview_every=0)

    def seconds(*mixes: Mix) -> float:
        started = time.perf_counter()
        for _ in assistant.mix(MixRequest(mixes, settings), threading.Event()):
            pass
        return time.perf_counter() - started

    seconds(one)
    before, singles, grids = _peak(assistant.decoder.device), [], []
    for _ in range(repeat):
        singles += [seconds(one) for _ in range(4)]
        grids.append(seconds(*grid(one)))
        singles += [seconds(one) for _ in range(4)]
    return statistics.median(singles), statistics.median(grids), _peak(assistant.decoder.device) - before


def _peak(device: torch.device) -> float:
    """GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def run(preset: str, device: str, steps: int, repeat: int) -> None:
    """Print the table."""
    assistant = load(preset, device)
    info = assistant.info()
    print(f"preset {info.preset}, weights {info.weights}, {info.device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    _reply(assistant, steps, 0)
    replies = [_reply(assistant, steps, seed) for seed in range(1, repeat + 1)]
    first, pace, picture = (statistics.median(column) for column in zip(*replies))
    print(f"time to first word        {first * 1000:8.0f} ms")
    print(f"words                     {pace:8.0f} /s")
    print(f"picture, {steps:3d} steps        {picture:8.2f} s")
    length = assistant.config.decoder.text["max_position_embeddings"]
    functions = {"stock": _stock_step(assistant, length), "cafe": _cafe_step(assistant, cafe_plan(2.0, 2.0)),
                 "cafe, two strengths": _cafe_step(assistant, cafe_plan(2.0, 3.0))}
    times = _in_turns(functions, 8 * repeat)
    stock = times["stock"]
    print(f"stock text-to-image step  {statistics.median(stock) * 1000:8.1f} ms   (2 rows, {length} tokens)")
    for name in list(functions)[1:]:
        ratio = statistics.median(a / b for a, b in zip(times[name], stock))
        print(f"{name + ' step':<26}{statistics.median(times[name]) * 1000:8.1f} ms   {ratio:.2f} x stock")
    if assistant.teacher is not None:
        times = _in_turns(_pictures(assistant.teacher.base, assistant.teacher.identity, steps), 2 * repeat)
        ratio = statistics.median(a / b for a, b in zip(times["infusion"], times["base"]))
        print(f"{f'base picture, {steps} steps':<26}{statistics.median(times['base']):8.2f} s")
        print(f"{f'infusion, {steps} steps':<26}{statistics.median(times['infusion']):8.2f} s    {ratio:.2f} x base, at most 2.00 wanted")
        times = _in_turns(_likeness(assistant.teacher.base, assistant.teacher.identity, steps), 2 * repeat)
        ratios = {name: statistics.median(a / b for a, b in zip(times[name], times["tuned"])) for name in ("dci", "masks")}
        print(f"{f'fine-tuned, {steps} steps':<26}{statistics.median(times['tuned']):8.2f} s")
        print(f"{'dci, T_a = 0.15 T':<26}{statistics.median(times['dci']):8.2f} s    {ratios['dci']:.2f} x fine-tuned, at most 1.10 wanted")
        print(f"{'dci with masks kept':<26}{statistics.median(times['masks']):8.2f} s    {ratios['masks']:.2f} x fine-tuned, at most 1.50 wanted")
    single, grid_of_25, more = _grid(assistant, steps, repeat)
    print(f"mixed picture             {single:8.2f} s")
    print(f"grid of 5 x 5             {grid_of_25:8.2f} s    {grid_of_25 / (25 * single):.2f} x 25 pictures, {1024 * more:.0f} MiB more at its peak")
    where = " on the GPU" if assistant.decoder.device.type == "cuda" else ""
    print(f"peak memory               {_peak(assistant.decoder.device):8.2f} GiB{where}")
