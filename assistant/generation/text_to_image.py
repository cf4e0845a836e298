"""The way of published weights alone: a chat model writes a prompt, the base model draws it, adapters bring in E(x) and F(w).

z' = (attention to the words) + s_E (attention to the subject's tokens) + s_F (attention to F(w)'s): eq. 1's shape, with the words where
H(s) was. Each part may be missing: without adapters pictures are left aside, without a chat model the words themselves are the prompt.
How strongly: `follow_words` is guidance away from the negative prompt and from no picture at all, as in diffusers' pipelines, and
`keep_subject` the subject's scale in attention, which is what these adapters were made to be steered by: two rows, not three.
Knows no requests and no files.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers.models.embeddings import ImageProjection
from PIL import Image
from torch import Tensor, nn

from ..diffusion.guidance import EMPTY, TEXT, text_guidance
from ..config import AdaptersConfig, ClipVisionConfig
from ..controls.ip_adapter import Adapter, IpAdapter, plus_projection
from ..diffusion.attention import AttentionContext, TextStates, join_states
from ..dialogue_state import changed, standing, undone
from ..requests import Cancel, Photo, Settings, Turn
from .base import ImageFeatures, ReplyState, SamplingJob, blend, decoded, encoded, subject_semantics
from ..models.chat_llm import ChatModel, ChatOutput
from ..models.vision_encoders import pad_square
from ..plan import Plan

SUBJECT, SEMANTICS = "subject", "semantics"  # the adapters, in `LatentDiffusion.adapters`


@dataclass(frozen=True, eq=False)
class TextToImageInputs:
    """What b pictures should be like."""

    prompts: tuple[tuple[tuple[str, float], ...], ...]  # of each picture: words, and how much they count
    semantics: Tensor | None = None  # F(w) or a mix, (b, d_F)
    shares: tuple[float, ...] = ()  # how much F(w) counts, of each picture


def adapters_of(unet: Any, about: AdaptersConfig, vision: ClipVisionConfig) -> nn.ModuleDict:
    """Both adapters for a UNet2DConditionModel, with random weights."""
    width = unet.config.cross_attention_dim
    plus = plus_projection(vision.patch_width, width, about.subject.tokens, about.subject.hidden, about.subject.depth)
    plain = ImageProjection(vision.clip["projection_dim"], width, about.semantics.tokens)
    return nn.ModuleDict({SUBJECT: Adapter.of(unet, plus), SEMANTICS: Adapter.of(unet, plain)})


class TextToImageGenerator:
    """See `base.ImageGenerator`. A wish is an `TextToImageInputs`.

    Args:
        decoder: a `LatentDiffusion` with a text encoder, and the adapters that `adapters` describes.
        vision, adapters: a `ClipVision` and what reads it, together, or neither.
        guidance_unit: guidance for each unit of `follow_words`.
    """

    needs_photo, far = False, 0.0

    def __init__(self, decoder: Any, guidance_unit: float = 1.0, chat: ChatModel | None = None, vision: Any = None,
                 adapters: AdaptersConfig | None = None) -> None:
        self.decoder, self.guidance_unit, self.language, self.vision, self.adapters = decoder, guidance_unit, chat, vision, adapters
        self.method = "text-to-image" if adapters is None else "IP-Adapter"

    def look(self, pixels: Tensor) -> ImageFeatures | None:
        if self.vision is None:
            return None
        patches, semantics = self.vision.look(pad_square(pixels))
        return ImageFeatures(patches.float(), semantics.float())

    def subject(self, pixels: Tensor, words: str) -> Tensor | None:
        return self.vision.subject(pixels, words) if self.vision is not None else None

    def alone(self, pixels: Tensor, seen: ImageFeatures, words: str, mask: Tensor | None = None) -> ImageFeatures:
        """E of the subject alone, so that nothing around it is drawn; F of the whole photo."""
        patches = self.vision.alone(pixels, words, mask) if self.vision is not None else None
        return seen if patches is None else ImageFeatures(patches.float(), seen.semantics)

    def speak(self, history: Sequence[Turn], text: str, seen: ImageFeatures | None, said: ReplyState, temperature: float, chance: torch.Generator,
              cancel: Cancel, plan: Plan | None = None, picture: Photo | None = None) -> Iterator[str]:
        if self.language is None:
            said.text, said.wish = f"Drawn from your words: “{text}”.{self.decoder.left_out(text)}", self.wished(text)
            yield said.text
            return
        heard = [t for t in history if t.plan is None or not t.plan.learned]  # of what was learned it knows nothing
        turns = [(t.user, t.reply, t.plan) for t in heard]
        drawn = next((t.picture for t in reversed(heard) if t.picture is not None), None)
        pictures = [(about, Image.open(io.BytesIO(one.png)).convert("RGB")) for about, one in (
            ("The photo:", picture), ("The picture that you drew last:", drawn)) if one is not None]

        language = self.language

        def again(fault: str) -> Mapping[str, Tensor]:
            return language.prompt(turns, f"{text} (Your JSON was wrong. {fault} Write the JSON object only.)", seen is not None, pictures)

        plan = plan if plan is not None else undone(text, standing(heard))
        asked = text if plan is None else f"{text} (The JSON object is decided: {json.dumps(plan.as_json(), ensure_ascii=False)})"
        told, prompt = ChatOutput(), self.language.prompt(turns, asked, seen is not None, pictures)
        # A model that does not keep to the form is not trusted to have meant a picture where there is none to start from.
        for delta in self.language.stream(prompt, self.language.clean(text) if seen is not None else "", told, temperature, chance, cancel, again,
                                          lambda now: changed(now, [t.plan for t in history if t.drew]) if plan is None else None):
            said.text = told.text
            yield delta
        if plan is not None and not told.stopped:
            told.plan, told.prompt = plan, plan.described() or told.prompt
        said.text, said.plan, said.stopped = told.text, told.plan, told.stopped
        said.wish = None if told.prompt is None else self.wished(told.prompt)
        if told.prompt and (cut := self.decoder.left_out(told.prompt)):
            said.text += cut
            yield cut

    def wished(self, words: str) -> TextToImageInputs:
        """The wish for a picture of words."""
        return TextToImageInputs((((words, 1.0),),))

    def like(self, seen: ImageFeatures, text: str) -> TextToImageInputs:
        return TextToImageInputs((((text, 1.0),) if text.strip() else (),), seen.semantics, (1.0,))

    def hear(self, words: str, seen: ImageFeatures | None, cancel: Cancel) -> str:
        return words

    def mix(self, subject: Sequence[ImageFeatures], sources: Sequence[ImageFeatures | str], coefficients: Sequence[Sequence[float]],
            words: str = "") -> TextToImageInputs:
        """F(x) and pictures are mixed as vectors, and all of them together count what sentences leave; a sentence counts as a prompt."""
        pictured = [k for k, source in enumerate(sources, 1) if isinstance(source, ImageFeatures)]
        spoken = [k for k in range(1, 1 + len(sources)) if k not in pictured]
        shares = [max(0.0, 1.0 - sum(row[k] for k in spoken)) for row in coefficients]
        rows = [[row[0], *(row[k] for k in pictured)] for row in coefficients]
        # Where sentences are all that counts, the vector is not heard: any will do.
        rows = [row if share > 0 else [1.0, *[0.0] * len(pictured)] for row, share in zip(rows, shares)]
        prompts = tuple(tuple((str(sources[k - 1]), row[k]) for k in spoken if row[k] != 0) for row in coefficients)
        vectors = [source.semantics for source in sources if isinstance(source, ImageFeatures)]
        return TextToImageInputs(prompts, blend(subject_semantics([s.semantics for s in subject]), vectors, rows), tuple(shares))

    @torch.no_grad()
    def prepare(self, subject: Sequence[ImageFeatures], wish: TextToImageInputs, settings: Settings, seeds: Sequence[int]) -> SamplingJob:
        """All pictures in one batch; what one subject's adapter makes of it is shared by all of them."""
        about, controls = self.adapters, []
        if about is not None and subject and settings.keep_subject > 0:
            adapter = self.decoder.adapters[SUBJECT]
            seen = torch.cat([adapter.tokens(s.patches) for s in subject], 1)  # photos side by side: (1, N * photos, d_text)
            tokens = {TEXT: seen, EMPTY: self._nothing[0].repeat(1, len(subject), 1)}
            controls.append(IpAdapter(SUBJECT, adapter, tokens, min(about.subject.unit * settings.keep_subject, about.subject.most)))
        if about is not None and wish.semantics is not None and any(wish.shares):
            adapter = self.decoder.adapters[SEMANTICS]
            scale = about.semantics.unit * torch.tensor(wish.shares, device=self.decoder.device)
            controls.append(IpAdapter(SEMANTICS, adapter, {TEXT: adapter.tokens(wish.semantics), EMPTY: self._nothing[1]}, scale))
        context = AttentionContext({TEXT: self._states(wish), EMPTY: self.decoder.encode_text([about.negative if about else ""])}, controls=controls)
        plan = text_guidance(self.guidance_unit * settings.follow_words)
        return SamplingJob(self.decoder, plan, context, seeds)

    @cached_property
    def _nothing(self) -> tuple[Tensor, Tensor]:
        """The image tokens of no picture, of either adapter, (1, N, d_text)."""
        states, vector = self.vision.nothing(self.decoder.device)
        return self.decoder.adapters[SUBJECT].tokens(states), self.decoder.adapters[SEMANTICS].tokens(vector)

    def _states(self, wish: TextToImageInputs) -> Tensor | TextStates:
        """Text states of the prompts, (1 or b, N, d_text); words that count in part lie between those of no words and their own."""
        praise = self.adapters.praise if self.adapters else ""
        texts = list(dict.fromkeys(["", *(words for prompt in wish.prompts for words, _ in prompt)]))
        states = dict(zip(texts, self.decoder.encode_text([", ".join(part for part in (text, praise) if part) for text in texts]).split(1)))

        def of(prompt: tuple[tuple[str, float], ...]) -> Any:
            if len(prompt) == 1 and prompt[0][1] == 1.0:
                return states[prompt[0][0]]
            return sum((weight * (states[words] - states[""]) for words, weight in prompt), states[""])

        return join_states([of(prompt) for prompt in wish.prompts])

    def note(self, wish: TextToImageInputs, number: int = 0) -> dict[str, Any]:
        prompt = wish.prompts[number]
        about = {"read": ", ".join(words for words, _ in prompt), "prompts": [list(part) for part in prompt]}
        return about if wish.semantics is None else {**about, "semantics": encoded(wish.semantics[number]), "share": wish.shares[number]}

    def recall(self, metadata: Mapping[str, Any], others: Sequence[ImageFeatures] = ()) -> TextToImageInputs:
        prompt = tuple((str(words), float(weight)) for words, weight in metadata["prompts"])
        if metadata.get("semantics") is None:
            return TextToImageInputs((prompt,))
        return TextToImageInputs((prompt,), decoded(metadata["semantics"], self.decoder.device), (float(metadata["share"]),))

    def trait(self, seen: ImageFeatures) -> Tensor:
        """F: of what an adapter's encoder gives, its global embedding is made to be compared."""
        return seen.semantics

    def meant(self, wish: TextToImageInputs) -> Tensor | None:
        return wish.semantics
