"""DreamBench for people: JSON, a Markdown table beside the papers' rows, a contact sheet a method. Makes nothing up: all is of cells."""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from .. import report
from .dreambench import MEASURES, DreamBench, Subject, slug
from .test_cases import mean, share

REAL = "real photos, among themselves"
CAFES = "CAFE's paper, table 1"  # 30 subjects x 25 prompts x 4 pictures
INFUSIONS = "Infusion's paper, table 1"  # 20 concepts x 25 prompts x 5 pictures
# DINO, CLIP-I, CLIP-T by DINO ViT-S/16 and CLIP ViT-B/32. ICO + DCI's paper gives curves and no numbers.
PUBLISHED: dict[tuple[str, str], tuple[float, float, float | None]] = {
    (CAFES, "real photos"): (0.774, 0.885, None), (CAFES, "Textual Inversion"): (0.569, 0.780, 0.255), (CAFES, "DreamBooth"): (0.668, 0.803, 0.305),
    (CAFES, "Custom Diffusion"): (0.643, 0.790, 0.305), (CAFES, "BLIP-Diffusion, fine-tuned"): (0.670, 0.805, 0.302),
    (CAFES, "BLIP-Diffusion"): (0.594, 0.779, 0.300), (CAFES, "Re-Imagen"): (0.600, 0.740, 0.270), (CAFES, "ELITE"): (0.621, 0.771, 0.293),
    (CAFES, "Subject-Diffusion"): (0.711, 0.787, 0.293), (CAFES, "SuTI"): (0.741, 0.819, 0.304), (CAFES, "Kosmos-G"): (0.694, 0.847, 0.287),
    (CAFES, "CAFE"): (0.715, 0.827, 0.294),
    (INFUSIONS, "DreamBooth"): (0.721, 0.838, 0.255), (INFUSIONS, "DreamBooth-LoRA"): (0.615, 0.791, 0.264),
    (INFUSIONS, "Textual Inversion"): (0.584, 0.780, 0.240), (INFUSIONS, "Custom Diffusion"): (0.643, 0.800, 0.256),
    (INFUSIONS, "Perfusion"): (0.505, 0.729, 0.242), (INFUSIONS, "Infusion"): (0.697, 0.816, 0.267)}
CELL, GAP, TOP, QUALITY = 96, 4, 40, 60  # pixels; of WebP


def summary(cells: dict[str, list[dict]]) -> dict[str, Any]:
    """Method -> every measure over its pictures with a 95 % interval, the share of requests that were drawn, and each subject's means."""
    out: dict[str, Any] = {}
    for method, found in cells.items():
        drawn = [picture for cell in found for picture in cell["pictures"] if picture is not None]
        names = [name for name in MEASURES if drawn and name in drawn[0]]
        by_subject = {}
        for subject in dict.fromkeys(cell["subject"] for cell in found):
            own = [p for cell in found if cell["subject"] == subject for p in cell["pictures"] if p is not None]
            by_subject[subject] = {name: sum(p[name] for p in own) / len(own) for name in names} if own else {}
        out[method] = {**{name: mean([p[name] for p in drawn]) for name in names}, "subjects": by_subject,
                       "drawn": share([p is not None for cell in found for p in cell["pictures"]])}
        learned = {cell["subject"]: cell["learned in"] for cell in found if "learned in" in cell}
        if learned:
            out[method]["seconds of learning"] = sum(learned.values()) / len(learned)
    return out


def write(bench: DreamBench, of: Sequence[Subject], cells: dict[str, list[dict]], out: Path) -> str:
    """`out`.json, `out`.md, and of each method `out`-METHOD.webp; returns the Markdown."""
    found = summary(cells)
    one, prompts = bench.assistant, max(len(s.prompts[:bench.prompts]) for s in of)
    about = {"preset": one.config.name, "weights": one.weights, "judges": bench.judged_by, "subjects": [s.name for s in of], "prompts": prompts, "pictures": bench.images}
    rows = {(REAL if method == "real" else method): [report.spread(row.get(m)) for m in MEASURES] +
            ["" if method == "real" else f"{row['drawn']['count']}", "" if method == "real" else f"{row.get('seconds of learning', 0):.0f}"] for method, row in found.items()}
    rows |= {f"{where}: {method}": [f"{v:.3f}" if v is not None else "" for v in values] + ["", ""] for (where, method), values in PUBLISHED.items()}
    text = report.write({**about, "methods": found, "published": {f"{where}: {method}": dict(zip(MEASURES, v)) for (where, method), v in PUBLISHED.items()}}, [
        *report.table((*MEASURES, "pictures", "seconds of learning a subject"), rows, f"preset {one.config.name}"), "",
        f"{len(of)} subjects x {prompts} prompts x {bench.images} pictures (the papers': 30 x 25 x 4, and 20 x 25 x 5), seeds fixed, none chosen; ±: half of a 95 % "
        f"interval over pictures. Judges: {bench.judged_by}. DINO and CLIP-I are to all photos of the subject, CLIP-T is to the prompt with the class noun. "
        f"{bench.steps or one.config.decoder.steps} steps of denoising; weights {one.weights}.",
        *(f"{method} answered {row['drawn']['value']:.0%} of its requests with a picture." for method, row in found.items() if row["drawn"]["value"] < 1)], out)
    for method in bench.methods:
        sheet(bench, of, method, out.with_name(f"{out.name}-{slug(method)}.webp"))
    return text


def sheet(bench: DreamBench, of: Sequence[Subject], method: str, place: Path) -> None:
    """A subject a row: its first photo, then the first picture of each prompt; none chosen. The first subject's prompts stand above."""
    blank = Image.new("RGB", (CELL, CELL), "white")
    rows = [[ImageOps.fit(Image.open(io.BytesIO(one.photos[0].png)), (CELL, CELL)), *(bench.shown(method, one, n) or blank for n in range(len(one.prompts[:bench.prompts])))] for one in of]
    whole = report.sheet(rows, CELL, GAP, TOP)
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(8)
    for n, prompt in enumerate(of[0].prompts[:bench.prompts], 1):
        pen.text((GAP + n * (CELL + GAP), 1), textwrap.fill(prompt.format("…"), 19, max_lines=4), (30, 30, 34), font)
    whole.save(place, quality=QUALITY, method=6)
