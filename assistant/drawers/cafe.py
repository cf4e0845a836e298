"""CAFE's way: E(x) and F(x), M's reply with H(s) after it, and G over both (eq. 1). Knows no requests and no files."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..conditioning import PATCHES, SEMANTICS
from ..control.cafe import Cafe
from ..decoder.attention import Seam
from ..decoder.diffusion import Diffusion
from ..decoder.rows import cafe_plan
from ..dialogue_state import repaired, undone
from ..messages import Cancel, Settings, Turn
from ..mixing.vectors import blend, subject_tokens
from ..mllm.language import LanguageModel, Spoken
from ..mllm.vision import Vision
from ..plan import Plan, told
from .drawer import Prepared, Said, Seen, decoded, encoded


_SENTENCE = re.compile(r"[.!?](?:\s|$)")


class CafeDrawer:
    """See `drawer.Drawer`. A wish is H(s), F(w) or a mix, (b, d_F).

    Args:
        picture_tokens: how many a picture takes in M's input.
    """

    method, needs_photo = "CAFE", True
    far = 0.45  # DINO similarity: of 128 held-out individuals 4 % look less like themselves in another scene, of others 98 % do

    def __init__(self, vision: Vision, language: LanguageModel, decoder: Diffusion, picture_tokens: int) -> None:
        self.vision, self.language, self.decoder, self.picture_tokens = vision, language, decoder, picture_tokens

    def look(self, pixels: Tensor) -> Seen:
        return Seen(self.vision.patches(pixels).float(), self.vision.semantics(pixels).float())

    def speak(self, history: Sequence[Turn], text: str, seen: Seen | None, said: Said, temperature: float, chance: torch.Generator,
              cancel: Cancel, plan: Plan | None = None) -> Iterator[str]:
        drawn = [t.plan for t in history if t.drew][-2:]

        unfamiliar = seen is not None and self.vision.unfamiliar(seen.patches, seen.semantics)

        def known(now: Plan) -> str | None:
            """What changed between two drawn pictures is read from their plans, not asked of M, and so is what is drawn of a photo that it
            cannot read; what a photo shows is in no plan."""
            if (now.act, now.about) == ("answer", "changes") and drawn and all(p is not None and p.draws for p in drawn):
                return told(drawn[0] if len(drawn) == 2 else None, drawn[-1])
            return _unfamiliar(now) if unfamiliar and now.act != "chat" and now.about != "app" else None

        heard = [t for t in history if t.plan is None or not t.plan.learned]  # M knows nothing of what was learned
        turns = [(t.user, t.reply, t.drew, t.plan.written() if t.plan is not None else "") for t in heard]
        plan = plan if plan is not None else undone(text, heard)
        while True:
            prompt = self.language.builder.build(turns, text, seen is not None, self.picture_tokens, plan.written() if plan is not None else "")
            spoken, held = Spoken(plan=plan), plan is None  # the first sentence of a plan of M's own, until it is known to agree with it
            for delta in self.language.stream(prompt, seen.patches if seen else None, spoken, temperature, chance, cancel, known=known):
                said.text, said.plan = spoken.text, _nameless(spoken.plan, unfamiliar)
                if held and spoken.plan is not None and spoken.plan.draws:
                    if not _SENTENCE.search(spoken.text):
                        continue
                    if (plan := repaired(spoken.text, spoken.plan)) is not None:
                        break
                    delta = spoken.text
                held = False
                yield delta
            if plan is None or plan == spoken.plan:
                break
        if held and spoken.text:
            yield spoken.text
        said.text, said.plan, said.stopped = spoken.text, _nameless(spoken.plan, unfamiliar), spoken.stopped
        if spoken.hidden is not None:
            said.wish = self.vision.at_norm(self.language.semantics(spoken.hidden).float())

    def like(self, seen: Seen, text: str) -> Tensor:
        return seen.semantics

    def hear(self, words: str, seen: Seen | None, cancel: Cancel) -> Tensor | None:
        said = Said()
        for _ in self.speak((), words, seen, said, 0.0, torch.Generator("cpu").manual_seed(0), cancel):
            pass
        return said.wish

    def mix(self, own: Tensor, sources: Sequence[Tensor], coefficients: Sequence[Sequence[float]]) -> Tensor:
        return blend(own, sources, coefficients)

    def prepare(self, subject: Sequence[Seen], wish: Tensor, settings: Settings, seeds: Sequence[int]) -> Prepared:
        """All pictures in one batch; E's keys and values are made once and shared by all of them."""
        seam = Seam({PATCHES: subject_tokens([s.patches for s in subject])}, {SEMANTICS: wish}, (Cafe(self.decoder.semantic_values),))
        return Prepared(self.decoder, cafe_plan(settings.keep_subject, settings.follow_words), seam, seeds)

    def note(self, wish: Tensor, number: int = 0) -> dict[str, Any]:
        return {"semantics": encoded(wish[number])}

    def recall(self, metadata: Mapping[str, Any]) -> Tensor:
        return decoded(metadata["semantics"], self.decoder.device)

    def trait(self, seen: Seen) -> Tensor:
        """E's class token."""
        return seen.patches[:, 0]

    def meant(self, wish: Tensor) -> Tensor:
        return wish


def _nameless(plan: Plan | None, unfamiliar: bool) -> Plan | None:
    """A plan without the name that M gave to what it cannot read."""
    return dataclasses.replace(plan, subject="") if plan is not None and unfamiliar else plan


def _unfamiliar(plan: Plan) -> str:
    """What is said of a photo that is out of distribution: that it is, what was drawn all the same, what can be done."""
    drawn = dataclasses.replace(plan, subject="").described()
    done = f" I drew what I make of its colours and shapes{f': {drawn}' if drawn else ''}. It may look like something else." if plan.draws else ""
    return ("I know drawings only, and this picture is not like any of them, so I cannot tell what it shows." + done +
            " Tell me in words what to draw, or try one of the ready subjects.")
