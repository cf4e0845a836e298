"""Any chat model as the language side, one that sees or one that does not: from words and pictures to an explanation and a prompt.

It stands where CAFE has M with V and H: what is to be drawn leaves it as a plan, so nothing has to be trained. One that sees reads the photo
and the picture that was drawn last; both are told what was planned, and know nothing of decoders or requests. What the model says is parsed,
and never trusted to be in the form asked for: a plan that is none is asked for once more, a line PROMPT: is taken in its place, and so at last
are the person's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from ..config import ChatConfig
from ..errors import InputError, WeightsError
from ..requests import Cancel
from ..plan import Plan, read_json
from .mllm import cache_of, sampled

_TASK = ("You are the voice of a drawing program. A person shows a photo of a thing, an animal or someone, and says what they would like, often "
         "vaguely. {eyes} Answer in two parts. First write, on one line, a JSON object in English that says what the picture will show after this "
         "turn: act, subject ({subject}), place, light, style, pose, worn (a list), other (another subject beside it). Carry over earlier wishes that "
         "still hold; leave out what nobody chose. act is draw, or, where nothing is to be drawn, answer (a question; about is changes, picture or "
         "photo), chat (thanks, a greeting), decline (it can't be drawn) or ask (it is unclear). Then, on the next line, speak to the person in one or "
         "two short, friendly sentences, in their own language: {reply}; promise nothing that the JSON does not say.")
RULES = _TASK.format(eyes="You never see the photo; the program keeps what it shows.", subject="as the person calls it",
                     reply="what you will draw and why")
SEEING_RULES = _TASK.format(
    eyes="You see the photo, and the picture that you drew last: name what is in them, and answer questions about them by what is to be seen there.",
    subject="what the photo shows, its kind, colours and marks, in a few words", reply="what you see in the photo, what you will draw and why")
_MUG = '{"act": "draw", "subject": "%s", "place": "on a small grey planet", "light": "deep blue starry sky", "style": "whimsical detailed illustration"}\n'
_BEACH = ('Now the person says: what did you change?',
          '{"act": "answer", "about": "changes"}\nI moved your dog to a wide beach by the sea and left everything else as it was.')
EXAMPLES = (
    ("There is a photo.\n\nNow the person says: I want something creative for my mug, can you help?",
     _MUG % "a mug" + "Let us send your mug to the stars: a small planet of its own gives it something to tell, and the dark sky lets its colour shine."),
    ("There is a photo.\n\nSo far:\nPerson: my dog at the sea\n"
     'You: {"act": "draw", "subject": "a dog", "place": "on a wide beach"} Your dog gets a whole beach to itself.\n\n' + _BEACH[0], _BEACH[1]))
SEEING_EXAMPLES = (
    ("[The photo: a white mug with a blue rim on a desk.]\n\nNow the person says: I want something creative for this, can you help?",
     _MUG % "a white mug with a blue rim" + "I see a white mug with a blue rim. Let us send it to the stars, where the dark sky lets its white shine."),
    ("[The photo: a brown dachshund with a red collar on a sofa.]\n\nNow the person says: what kind of dog is it?",
     '{"act": "answer", "about": "photo"}\nIt looks like a brown dachshund, and it wears a red collar.'),
    ("[The photo: a brown dachshund with a red collar on a sofa.]\n\nSo far:\nPerson: my dog at the sea\n"
     'You: {"act": "draw", "subject": "a brown dachshund with a red collar", "place": "on a wide beach"} Your dachshund gets a whole beach to itself.\n\n'
     + _BEACH[0], _BEACH[1]))
_DECORATION = r"[\s*_#>`~-]*"
_NAMES = ("prompt", "refined prompt", "new prompt", "image prompt", "final prompt")
_MARK = re.compile(rf"(?:^|\n){_DECORATION}(?i:{'|'.join(_NAMES)}){_DECORATION}:|\bPROMPT{_DECORATION}:")
# What may still become the mark, at the end of what has been said so far: it is held back until the next token tells.
_BEGUN = "|".join(sorted({re.escape(name[:n]) for name in _NAMES for n in range(1, len(name) + 1)}, key=len, reverse=True))
_HELD = re.compile(rf"(?:(?:^|\n){_DECORATION}(?i:{_BEGUN})?{_DECORATION}|{_DECORATION}\bP(?:R(?:O(?:M(?:PT?)?)?)?)?{_DECORATION}|{_DECORATION})$")
_NOTHING = re.compile(r"(?i)(?:none\b.*|no picture\b.*|nothing|n/?a|-*)[.!]?")
LONGEST = 400  # characters of a prompt: the text encoder reads 77 tokens
REPAIR = 160  # tokens of a second try at a plan, at most
_LEAD = re.compile(r"\s*(?:```\w*\s*)?(?:(?i:json|plan)\s*:)?[\s*`]*")  # what may stand before a plan
_TAIL = re.compile(r"\A[\s*`]*")  # and behind it
_BROKEN_LINE = re.compile(r"\{[^\n]*\n\s*[^\s\"}]")  # a broken plan of one line, with words below it


@dataclass
class ChatOutput:
    """What a reply has become so far; complete once `stream` is exhausted."""

    text: str = ""
    plan: Plan | None = None  # that it wrote first; None: it did not
    prompt: str | None = None  # what to draw, in words; None: nothing
    stopped: bool = False


class ChatModel(nn.Module):
    """The language model and its template.

    Args:
        llm: a transformers causal language model; or an image-text-to-text one, which sees.
        processor: its tokenizer; or its processor, which has one. Either has a chat template.

    Raises:
        WeightsError: there is no chat template.
    """

    def __init__(self, config: ChatConfig, llm: Any, processor: Any) -> None:
        super().__init__()
        if not processor.chat_template:
            raise WeightsError("The language model has no chat template, so it was not made to talk.", "Name an instruct or chat model.")
        self.config, self.llm, self.processor = config, llm, processor
        self.tokenizer = tokenizer = getattr(processor, "tokenizer", processor)
        self.sees = processor is not tokenizer
        self.static_cache = False  # keep keys and values in a place of fixed size
        self.where = torch.device("cpu")  # that the model computes on; its weights may be elsewhere between calls
        ends = getattr(llm.generation_config, "eos_token_id", None)
        template = str(processor.chat_template)  # what begins a turn ends a reply, too: else the model goes on as the person
        turns = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special and token.content in template}
        self._ends = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id, *turns,
                      *(ends if isinstance(ends, (list, tuple)) else [ends])} - {None}
        marks = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        self._marks = re.compile("|".join(re.escape(m) for m in sorted(marks, key=len, reverse=True) if m.strip()) or r"(?!)")

    def at(self, device: torch.device | str) -> ChatModel:
        """Compute on a device; the weights are brought there by whoever loads or lends them."""
        self.where = torch.device(device)
        return self

    @property
    def model(self) -> nn.Module:
        """What takes up memory."""
        return self.llm

    def clean(self, text: str) -> str:
        """A person's words in one line; marks of the template are taken out, so that nobody can speak for the assistant."""
        return " ".join(self._marks.sub(" ", text).split())

    def prompt(self, history: Sequence[tuple[str, str, Plan | None]], text: str, photo: bool,
               pictures: Sequence[tuple[str, Image.Image]] = ()) -> Mapping[str, Tensor]:
        """All that the model is told, as its first call takes it: rules, examples, and the conversation in one message, so that its form is the
        examples'. The oldest turns are left out until all fits into the context.

        Args:
            photo: whether there is one, for a model that does not see it.
            pictures: those that a model which sees is shown, in RGB, each with the words before it.

        Returns:
            input_ids, (1, N), and what the template returns beside them: attention_mask, pixel_values, ...
        """
        def said(reply: str, plan: Plan | None) -> str:
            return self.clean(f"{json.dumps(plan.as_json(), ensure_ascii=False)} {reply}" if plan is not None else reply)

        shown = [(about, self._sized(picture)) for about, picture in pictures] if self.sees else []
        turns = [f"Person: {self.clean(user)}\nYou: {said(reply, plan)}" for user, reply, plan in history]
        about = "" if shown else "There is a photo.\n\n" if photo else "There is no photo.\n\n"
        words = self.clean(text)
        while True:
            before = "So far:\n" + "\n".join(turns) + "\n\n" if turns else ""
            prompt = self._templated(f"{about}{before}Now the person says: {words}", shown)
            if prompt["input_ids"].shape[1] <= self.config.context - self.config.max_new_tokens or not (turns or len(words) > 100):
                return prompt
            if turns:
                turns.pop(0)
            else:
                words = words[:len(words) // 2]

    def _sized(self, picture: Image.Image) -> Image.Image:
        """At most so many tokens; with a border where the processor would cut off what is not square."""
        side = self.config.picture_side
        picture = ImageOps.contain(picture, (side, side)) if max(picture.size) > side else picture
        cuts = getattr(self.processor.image_processor, "do_center_crop", False)
        return ImageOps.pad(picture, (max(picture.size), max(picture.size)), color=(127, 127, 127)) if cuts else picture

    def _templated(self, asked: str, shown: Sequence[tuple[str, Image.Image]]) -> Mapping[str, Tensor]:
        def message(role: str, *parts: str | Image.Image) -> dict[str, Any]:
            if not self.sees:  # where a picture is, templates read a list of parts; others a text
                return {"role": role, "content": parts[0]}
            return {"role": role, "content": [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "image": p} for p in parts]}

        rules, examples = (SEEING_RULES, SEEING_EXAMPLES) if self.sees else (RULES, EXAMPLES)
        said = [m for user, reply in examples for m in (message("user", user), message("assistant", reply))]
        said.append(message("user", *(part for pair in shown for part in pair), asked))
        template = str(self.processor.chat_template)
        options = dict(tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True,
                       **({"enable_thinking": False} if "enable_thinking" in template else {}))
        try:
            return self.processor.apply_chat_template([message("system", rules), *said], **options)
        except Exception:  # a template may refuse a system's message, and each in its own way: then the first user's holds the rules
            return self.processor.apply_chat_template([message("user", f"{rules}\n\n{examples[0][0]}"), *said[1:]], **options)

    @torch.no_grad()
    def stream(self, prompt: Mapping[str, Tensor], words: str, told: ChatOutput, temperature: float, generator: torch.Generator, cancel: Cancel,
               again: Callable[[str], Mapping[str, Tensor]] | None = None, known: Callable[[Plan], str | None] = lambda plan: None) -> Iterator[str]:
        """Yield the explanation piece by piece and fill `told`.

        Args:
            prompt: of `prompt`.
            words: the prompt where the model gives none, because it does not keep to the form; empty: nothing is drawn then.
            generator: a CPU generator; the only source of chance.
            again: `prompt` with what was wrong with the plan, for a second try at it; None: there is none.
            known: told the plan once it is written; what it returns, if anything, is the reply then, and the model's own words are not heard.

        Raises:
            DeviceError: as `mllm.sampled`.
        """
        whole = ""
        for whole in self._said(prompt, self.config.max_new_tokens, temperature, generator, cancel):
            plan = planned(_spoken(whole), ended=False)[0] if not told.text else None
            if plan is not None and (answer := known(plan)) is not None:
                told.plan = plan
                yield from self._tell(told, answer)
                return
            yield from self._tell(told, shown(whole))
        told.stopped = cancel.is_set()
        told.plan, fault, rest = planned(_spoken(whole))
        if not fault and told.plan is None and split(rest)[1] == "":
            fault = "There is no JSON object."
        if fault and again is not None and not told.stopped:
            second = ""
            for second in self._said(again(fault), REPAIR, 0.0, generator, cancel):
                pass
            told.plan, told.stopped = planned(_spoken(second))[0], cancel.is_set()
        explanation, drawn = split(rest)
        yield from self._tell(told, explanation)
        if told.stopped:
            return
        if told.plan is not None:
            drawn = (told.plan.described()[:LONGEST] or words) if told.plan.draws else None
        told.prompt = (words or None) if drawn == "" else drawn
        if not told.text:
            yield from self._tell(told, f"Here is what I make of it: {told.prompt}." if told.prompt else "Tell me how it should look, and I draw it.")

    def _said(self, prompt: Mapping[str, Tensor], most: int, temperature: float, generator: torch.Generator, cancel: Cancel) -> Iterator[str]:
        """Yield all that the model has said, whenever it has said more."""
        for module in self.llm.modules():  # transformers keeps where the positions of the last pictures ended (M-RoPE), and takes it for any prompt
            if getattr(module, "rope_deltas", None) is not None:
                module.rope_deltas = None
        given = {name: t.to(self.where, self.llm.dtype) if t.is_floating_point() else t.to(self.where) for name, t in prompt.items()}
        cache, said = cache_of(self.llm, given["input_ids"].shape[1] + most, self.static_cache), []
        for token in sampled(self.llm, given, cache, most, temperature, generator, cancel):
            if token in self._ends:
                return
            said.append(token)
            decoded = self.tokenizer.decode(said, skip_special_tokens=True)
            if not decoded.endswith("\ufffd"):  # a character may need several tokens
                yield decoded

    @staticmethod
    def _tell(told: ChatOutput, text: str) -> Iterator[str]:
        """Only ever longer: what was told is never taken back."""
        if len(text) > len(told.text) and text.startswith(told.text):
            delta, told.text = text[len(told.text):], text
            yield delta


def planned(whole: str, ended: bool = True) -> tuple[Plan | None, str, str]:
    """What a model said -> (the plan that it began with, what is wrong with that, what follows it).

    While it still speaks, nothing follows what may become a plan. Of a plan that stays broken, all is left out that is not plainly words.
    """
    lead = _LEAD.match(whole)
    head = whole[lead.end():] if lead else whole
    if not head.startswith("{"):
        begun = any(start.startswith(head.strip().lower()) for start in ("```json", "json:", "plan:"))
        return None, "", "" if begun and not ended else whole.lstrip()
    try:
        plan, end = read_json(head)
    except InputError as error:
        if not ended:
            return None, "", ""
        try:
            end = json.JSONDecoder().raw_decode(head)[1]
        except (ValueError, RecursionError):
            end = head.rfind("}") + 1 or (head.find("\n") + 1 if _BROKEN_LINE.match(head) else len(head))
        return None, str(error), _TAIL.sub("", head[end:], count=1)
    rest = head[end:]
    return plan, "", _TAIL.sub("", rest, count=1)


def split(whole: str) -> tuple[str, str | None]:
    """What follows a plan -> (explanation, prompt); the prompt is "" where there is none, and None where it says that nothing is to be drawn."""
    mark = _MARK.search(whole)
    if mark is None:
        return whole.strip(), ""
    after = whole[mark.end():].strip(" \t*_`~\"'“”\n")
    lines = [line for line in after.splitlines() if line.strip()]
    prompt = " ".join(lines[0].strip(" \t*_`~\"'“”[]").split())[:LONGEST] if lines else ""
    return re.sub(f"{_DECORATION}$", "", whole[:mark.start()]).strip(), None if lines and _NOTHING.fullmatch(prompt) else prompt


def shown(whole: str) -> str:
    """As much of the explanation as can be told while the model still speaks."""
    whole = planned(_spoken(whole), ended=False)[2]
    mark = _MARK.search(whole)
    held = mark or _HELD.search(whole)
    return whole[:held.start() if held else None].strip()


def _spoken(whole: str) -> str:
    """Without what a model thinks to itself beforehand."""
    head = whole.lstrip()
    if head.startswith("<think>"):
        return whole.partition("</think>")[2]
    return "" if "<think>".startswith(head) else whole
