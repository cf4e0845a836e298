"""CAFE's way: E(x) and F(x), M's reply with H(s) after it, and G over both (eq. 1). Knows no requests and no files.

A UNet that draws captions too (`DecoderConfig.joint`) follows the plan's words beside H(s), as one more row of the guidance.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..diffusion.guidance import PATCHES, SEMANTICS, TEXT, cafe_guidance
from ..controls.cafe import Cafe
from ..diffusion.attention import AttentionContext
from ..diffusion.latent_diffusion import LatentDiffusion
from ..dialogue_state import Standing, agrees, agrees_to_nothing, applied, changed, corrected, lines_of, passed_over, read_off, standing, stood, taken_away, undone, undone_behind
from ..languages import SAY, other_language
from ..requests import Cancel, Photo, Settings, Turn
from .base import ImageFeatures, ReplyState, SamplingJob, blend, decoded, encoded, subject_semantics
from ..models.mllm import MllmOutput, MultimodalLLM, Prompt
from ..models.vision_encoders import VisionEncoders, pad_square
from ..plan import WORD, Plan, read_line

_PLAIN = {"decline": "That is nothing that I can draw.", "ask": "What shall I draw?", "chat": "Tell me what to draw next."}
_NOT_ALL = "Not all of that is something that I can draw."
_UNCLEAR = "I'm not sure what you mean. Tell me what to draw next."
_SENTENCE = re.compile(r"[.!?](?=\s)")


@dataclass(frozen=True, eq=False)
class CafeInputs:
    """What b pictures should be like, beside their subject."""

    semantics: Tensor  # H(s), F(w) or a mix, (b, d_F)
    caption: str = ""  # the plan in words, which a decoder that draws captions too follows beside it; "": there is none


class CafeGenerator:
    """See `base.ImageGenerator`. A wish is a `CafeInputs`.

    Args:
        picture_tokens: how many a picture takes in M's input.
        caption_share, guided, guided_every, swap_subject: see `config.DecoderConfig`.
    """

    method, needs_photo = "CAFE", True
    far = 0.45  # DINO similarity: of 128 held-out individuals 4 % look less like themselves in another scene, of others 98 % do

    def __init__(self, vision: VisionEncoders, language: MultimodalLLM, decoder: LatentDiffusion, picture_tokens: int, caption_share: float = 0.0,
                 guided: float = 1.0, swap_subject: bool = False, guided_every: int = 1) -> None:
        self.vision, self.language, self.decoder, self.picture_tokens = vision, language, decoder, picture_tokens
        self.caption_share, self.guided, self.swap_subject, self.guided_every = caption_share, guided, swap_subject, guided_every

    def look(self, pixels: Tensor) -> ImageFeatures:
        pixels = pad_square(pixels)
        return ImageFeatures(self.vision.patches(pixels).float(), self.vision.semantics(pixels).float())

    def subject(self, pixels: Tensor, words: str) -> None:
        """All of it."""

    def alone(self, pixels: Tensor, seen: ImageFeatures, words: str, mask: Tensor | None = None) -> ImageFeatures:
        return seen

    def speak(self, history: Sequence[Turn], text: str, seen: ImageFeatures | None, said: ReplyState, temperature: float, chance: torch.Generator,
              cancel: Cancel, plan: Plan | None = None, picture: Photo | None = None) -> Iterator[str]:
        drawn = [t.plan for t in history if t.drew]
        unfamiliar = seen is not None and self.vision.unfamiliar(seen.patches, seen.semantics)
        foreign = other_language(text) if plan is None else None
        instead = SAY[foreign] if foreign is not None else _UNCLEAR if plan is None and agrees_to_nothing(text, history) else None

        def known(now: Plan) -> str | None:
            """What changed between two pictures is read from their plans, not asked of M, and so is what is drawn of a photo that it cannot
            read; what is said in another language is known."""
            if instead is not None:
                return instead
            if not now.draws and not unfamiliar and (words := read_off(text, stands.now, (*self.vision.noun_names, *self.vision.config.worn_things))) is not None:
                return words
            if (words := changed(now, drawn, None if unfamiliar else photo)) is not None:
                return words
            return _unfamiliar(now, history) if unfamiliar and now.act != "chat" and now.about != "app" else None

        language, heard = self.language, [t for t in history if t.plan is None or not t.plan.learned]  # M knows nothing of what was learned
        photo = self._shown(seen, cancel, unfamiliar) if seen is not None else None
        now = stands = standing(heard, photo)
        given = plan if instead is None else Plan("ask", about="unclear" if foreign is None else "language")
        spoken = MllmOutput(plan=given if given is not None else undone(text, now))
        prompt = self._prompt(heard, text, photo, seen is not None, spoken.plan)
        stream = language.stream(prompt, seen.patches if seen else None, spoken, temperature, chance, cancel, known=known,
                                 settled=lambda line: self._settled(line, text, now))
        yield from self._true(stream, spoken, said, now, unfamiliar, text)
        said.plan, said.stopped = _nameless(spoken.plan, unfamiliar), spoken.stopped
        if spoken.hidden is not None:
            named = said.plan is not None and said.plan.subject and self.caption_share > 0
            said.wish = CafeInputs(self.vision.at_norm(self.language.semantics(spoken.hidden).float()), said.plan.described() if said.plan is not None and named else "")

    def _true(self, stream: Iterator[str], spoken: MllmOutput, said: ReplyState, now: Standing, unfamiliar: bool, text: str) -> Iterator[str]:
        """Words of M about a message, sentence by sentence: in place of the first that does not agree with its plan, or that holds a made-up word, and of all
        behind it, is said what the plan says; what the message asks for and cannot be drawn is said where M does not. Answers are not checked: they are told
        from plans."""
        heard, false, vision, outside = 0, False, self.vision.config, self.language.outside
        words = self.language.taught and self.language.taught.union(WORD.findall(text.lower()))
        for delta in chain(stream, (None,)):
            said.plan = _nameless(spoken.plan, unfamiliar)
            if unfamiliar or spoken.plan is None or spoken.plan.act == "answer":
                said.text = spoken.text
                if delta:
                    yield delta
                continue
            end = max((m.end() for m in _SENTENCE.finditer(spoken.text)), default=0) if delta is not None else len(spoken.text)
            draws, part = spoken.plan.draws, ""
            if end > heard and not false:
                part, heard = spoken.text[heard:end], end
                made_up = bool(words) and not words.issuperset(WORD.findall(part.lower()))
                if made_up or draws and not agrees(part, spoken.plan, now, vision.worn_things, vision.worn_colours):
                    lacking = passed_over(text, spoken.plan, said.text, outside) or (_NOT_ALL if draws and "can't" in part else "")
                    drawn = f"I drew {spoken.plan.told()}." if draws else "" if lacking else _PLAIN[spoken.plan.act]
                    part, false = f"{' ' * bool(said.text)}{' '.join(filter(None, (lacking, drawn)))}", True
            if delta is None and draws and (lacking := passed_over(text, spoken.plan, said.text + part, outside)):
                part += f" {lacking}"
            if part:
                said.text += part
                yield part

    def _shown(self, seen: ImageFeatures, cancel: Cancel, unfamiliar: bool = False) -> Plan | None:
        """What a photo shows, as the attribute classifier reads it; where there is none, or of more than one subject, in M's words, of a photo that it
        cannot read without things worn. None: it does not say."""
        if self.vision.attributes is not None and not unfamiliar:
            read = self.vision.attributes.to(seen.semantics.device).read(seen.patches, seen.semantics)
            if read.subject:
                return read
        plan = read_line(self.language.scene(seen.patches, cancel))
        return dataclasses.replace(plan, worn=()) if plan is not None and unfamiliar else plan

    def _prompt(self, heard: Sequence[Turn], text: str, photo: Plan | None, picture: bool, plan: Plan | None) -> Prompt:
        """What M reads. Where it plans, of earlier turns that drew it reads the plans and not its words, and of turns before the last few
        what stood after them."""
        builder, before = self.language.builder, stood(heard, photo)
        if not builder.plan_ids:
            return builder.build([(t.user, t.reply, t.drew, ()) for t in heard], text, picture, self.picture_tokens)
        first = max(0, len(heard) + 1 - self.language.config.plan_turns)
        turns = [(t.user, "" if t.drew and t.plan is not None else t.reply, t.drew, lines_of(t.plan, was)) for t, was in zip(heard, before)][first:]
        standing_before = before[first]
        return builder.build(turns, text, picture, self.picture_tokens, lines_of(plan, before[-1]), standing_before.written() if standing_before else "")

    def _settled(self, line: str, text: str, now: Standing) -> tuple[Plan | None, str]:
        """The plan that a line of operations about a message leads to, and the line that M reads behind it: all that will be seen."""
        apart, most = self.language.config.worn_apart, self.language.config.worn_most
        values = self.vision.attributes.values if self.vision.attributes is not None else {}
        plan = applied(taken_away(corrected(line, text, values), text, now, apart, most), now, apart, most)
        if plan is not None and plan.act == "chat":
            plan = undone_behind(text, now) or plan
        return plan, plan.written(now.shown[-1] if now.shown else None) if plan is not None and plan.draws else ""

    def like(self, seen: ImageFeatures, text: str) -> CafeInputs:
        return CafeInputs(seen.semantics)

    def hear(self, words: str, seen: ImageFeatures | None, cancel: Cancel) -> Tensor | None:
        said = ReplyState()
        for _ in self.speak((), words, seen, said, 0.0, torch.Generator("cpu").manual_seed(0), cancel):
            pass
        return said.wish.semantics if said.wish is not None else None

    def mix(self, subject: Sequence[ImageFeatures], sources: Sequence[ImageFeatures | Tensor], coefficients: Sequence[Sequence[float]],
            words: str = "") -> CafeInputs:
        known = [self.reference(s, subject[0]) if isinstance(s, ImageFeatures) else s for s in sources]
        return CafeInputs(blend(subject_semantics([s.semantics for s in subject]), known, coefficients))

    def reference(self, seen: ImageFeatures, subject: ImageFeatures) -> Tensor:
        """F(w) of a reference, (1, d_F), which brings w's subject along; with `swap_subject`, with x's in its place, so that its place and look are left.

        F's text encoder says in which direction one is from the other, F(w) + T(w's scene with x's subject) - T(w's scene), as directional CLIP
        edits do (Gal et al., 2021, StyleGAN-NADA, arXiv 2108.00946, eq. 3). F(w) as it is where the classifier cannot name either of the two.
        """
        vision = self.vision
        if not self.swap_subject or vision.attributes is None or vision.texts is None or any(vision.unfamiliar(s.patches, s.semantics) for s in (seen, subject)):
            return seen.semantics
        theirs, ours = (vision.attributes.read(s.patches, s.semantics) for s in (seen, subject))
        if not theirs.subject or not ours.subject:
            return seen.semantics
        now, then = vision.texts([theirs.described(), dataclasses.replace(theirs, subject=ours.subject).described()])
        return vision.at_norm(normalize(seen.semantics.float(), dim=-1) + (then - now).to(seen.semantics.device)).to(seen.semantics.dtype)

    def prepare(self, subject: Sequence[ImageFeatures], wish: CafeInputs, settings: Settings, seeds: Sequence[int]) -> SamplingJob:
        """All pictures in one batch; E's keys and values are made once and shared by all of them. Of several photos of the subject each query finds the one that
        shows what it looks for; a photo given twice changes nothing, for a softmax over every key twice is the same softmax."""
        share = self.caption_share if wish.caption else 0.0
        said = {TEXT: self.decoder.encode_text([wish.caption])} if share else {}
        patches = torch.cat([s.patches for s in subject], 1)  # side by side, (1, 257 * photos, d_E)
        context = AttentionContext({PATCHES: patches, **said}, {SEMANTICS: wish.semantics}, (Cafe(self.decoder.semantic_values),))
        plan = cafe_guidance(settings.keep_subject, settings.follow_words, caption=share * settings.follow_words, guided=self.guided, every=self.guided_every)
        return SamplingJob(self.decoder, plan, context, seeds)

    def note(self, wish: CafeInputs, number: int = 0) -> dict[str, Any]:
        return {"semantics": encoded(wish.semantics[number]), **({"caption": wish.caption} if wish.caption else {})}

    def recall(self, metadata: Mapping[str, Any], others: Sequence[ImageFeatures] = ()) -> CafeInputs:
        return CafeInputs(decoded(metadata["semantics"], self.decoder.device), str(metadata.get("caption", "")))

    def trait(self, seen: ImageFeatures) -> Tensor:
        """E's class token."""
        return seen.patches[:, 0]

    def meant(self, wish: CafeInputs) -> Tensor:
        return wish.semantics


def _nameless(plan: Plan | None, unfamiliar: bool) -> Plan | None:
    """A plan without the name that M gave to what it cannot read."""
    return dataclasses.replace(plan, subject="") if plan is not None and unfamiliar else plan


_DRAWINGS = "I know drawings only"


def _unfamiliar(plan: Plan, history: Sequence[Turn]) -> str:
    """What is said of a photo that is out of distribution: that it is, what was drawn all the same, what can be done; less where that was said before."""
    drawn, told_before = dataclasses.replace(plan, subject=""), any(turn.reply.startswith(_DRAWINGS) for turn in history)
    if told_before and plan.draws:
        return f"What I make of your photo, once more: {drawn.told()}."
    if told_before and plan.act == "decline":
        return f"{_PLAIN['decline']} I can put what I make of your photo in other places, light and styles."
    last = next((turn.plan for turn in reversed(history) if turn.drew and turn.plan is not None), None)
    if told_before and last is not None:
        return f"{_DRAWINGS}, so I can't tell what your photo shows. What I made of it is {dataclasses.replace(last, subject='').told()}."
    done = f" I drew what I make of its colours and shapes: {drawn.told()}. It may look like something else." if plan.draws else ""
    return (f"{_DRAWINGS}, and this picture is not like any of them, so I cannot tell what it shows.{done}"
            " Tell me in words what to draw, or try one of the ready subjects.")
