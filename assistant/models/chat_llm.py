"""Any chat model (a causal language model with a chat template) as the language side: from words to an explanation and a prompt.

It stands where CAFE has M with V and H: what is to be drawn leaves it as a plan, so nothing has to be trained. It does not see the
picture, and knows nothing of decoders or requests. What the model says is parsed, and never trusted to be in the form asked for: a plan
that is none is asked for once more, a line PROMPT: is taken in its place, and so at last are the person's own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..config import ChatConfig
from ..errors import InputError, WeightsError
from ..requests import Cancel
from ..plan import Plan, read_json
from .mllm import cache_of, sampled

RULES = (
    "You are the voice of a drawing program. A person shows a photo of a thing, an animal or someone, and says what they would like, often "
    "vaguely. You never see the photo; the program keeps what it shows. Answer in two parts. First write, on one line, a JSON object in English that "
    "says what the picture will show after this turn: act, subject (as the person calls it), place, light, style, pose, worn (a list), other (another "
    "subject beside it). Carry over earlier wishes that still hold; leave out what nobody chose. act is draw, or, where nothing is to be drawn, answer "
    "(a question), chat (thanks, a greeting), decline (it can't be drawn) or ask (it is unclear). Then, on the next line, speak to the person in one or "
    "two short, friendly sentences, in their own language: what you will draw and why, and nothing that the JSON does not say.")
EXAMPLES = (
    ("There is a photo.\n\nNow the person says: I want something creative for my mug, can you help?",
     '{"act": "draw", "subject": "a mug", "place": "on a small grey planet", "light": "deep blue starry sky", "style": "whimsical detailed illustration"}\n'
     "Let us send your mug to the stars: a small planet of its own gives it something to tell, and the dark sky lets its colour shine."),
    ("There is a photo.\n\nSo far:\nPerson: my dog at the sea\n"
     'You: {"act": "draw", "subject": "a dog", "place": "on a wide beach"} Your dog gets a whole beach to itself.\n\n'
     "Now the person says: what did you change?",
     '{"act": "answer", "about": "changes"}\nI moved your dog to a wide beach by the sea and left everything else as it was.'))
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
_TAIL = re.compile(r"[\s*`]*")  # and behind it
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
        llm: a transformers causal language model.
        tokenizer: its tokenizer, with a chat template.

    Raises:
        WeightsError: there is no chat template.
    """

    def __init__(self, config: ChatConfig, llm: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        if not tokenizer.chat_template:
            raise WeightsError("The language model has no chat template, so it was not made to talk.", "Name an instruct or chat model.")
        self.config, self.llm, self.tokenizer = config, llm, tokenizer
        self.static_cache = False  # keep keys and values in a place of fixed size
        self.where = torch.device("cpu")  # that the model computes on; its weights may be elsewhere between calls
        ends = getattr(llm.generation_config, "eos_token_id", None)
        self._ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, (list, tuple)) else [ends])}
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

    def prompt_ids(self, history: Sequence[tuple[str, str, Plan | None]], text: str, picture: bool) -> list[int]:
        """Token ids of all that the model is told: rules, examples, and the conversation in one message, so that its form is the examples'.

        The oldest turns are left out until all fits into the context.
        """
        def said(reply: str, plan: Plan | None) -> str:
            return self.clean(f"{json.dumps(plan.as_json(), ensure_ascii=False)} {reply}" if plan is not None else reply)

        turns = [f"Person: {self.clean(user)}\nYou: {said(reply, plan)}" for user, reply, plan in history]
        about = "There is a photo." if picture else "There is no photo."
        words = self.clean(text)
        while True:
            before = "So far:\n" + "\n".join(turns) + "\n\n" if turns else ""
            ids = self._templated(f"{about}\n\n{before}Now the person says: {words}")
            if len(ids) <= self.config.context - self.config.max_new_tokens or not (turns or len(words) > 100):
                return ids
            if turns:
                turns.pop(0)
            else:
                words = words[:len(words) // 2]

    def _templated(self, asked: str) -> list[int]:
        said = [message for user, reply in EXAMPLES for message in ({"role": "user", "content": user}, {"role": "assistant", "content": reply})]
        said.append({"role": "user", "content": asked})
        options = dict(tokenize=False, add_generation_prompt=True, enable_thinking=False)  # a template takes what it knows
        try:
            whole = self.tokenizer.apply_chat_template([{"role": "system", "content": RULES}, *said], **options)
        except Exception:  # a template may refuse a system's message, and each in its own way: then the first user's holds the rules
            first = {"role": "user", "content": f"{RULES}\n\n{said[0]['content']}"}
            whole = self.tokenizer.apply_chat_template([first, *said[1:]], **options)
        return self.tokenizer.encode(whole, add_special_tokens=False)

    @torch.no_grad()
    def stream(self, ids: Sequence[int], words: str, told: ChatOutput, temperature: float, generator: torch.Generator, cancel: Cancel,
               again: Callable[[str], Sequence[int]] | None = None) -> Iterator[str]:
        """Yield the explanation piece by piece and fill `told`.

        Args:
            ids: of `prompt_ids`.
            words: the prompt where the model gives none, because it does not keep to the form; empty: nothing is drawn then.
            generator: a CPU generator; the only source of chance.
            again: `prompt_ids` with what was wrong with the plan, for a second try at it; None: there is none.
        """
        whole = ""
        for whole in self._said(ids, self.config.max_new_tokens, temperature, generator, cancel):
            yield from self._tell(told, shown(whole))
        told.stopped = cancel.is_set()
        told.plan, fault, rest = planned(_spoken(whole))
        if fault and again is not None and not told.stopped:
            second = ""
            for second in self._said(again(fault), REPAIR, 0.0, generator, cancel):
                pass
            told.plan, told.stopped = planned(_spoken(second))[0], cancel.is_set()
        explanation, prompt = split(rest)
        yield from self._tell(told, explanation)
        if told.stopped:
            return
        if told.plan is not None:
            prompt = (told.plan.described()[:LONGEST] or words) if told.plan.draws else None
        told.prompt = (words or None) if prompt == "" else prompt
        if not told.text:
            yield from self._tell(told, f"Here is what I make of it: {told.prompt}." if told.prompt else "Tell me how it should look, and I draw it.")

    def _said(self, ids: Sequence[int], most: int, temperature: float, generator: torch.Generator, cancel: Cancel) -> Iterator[str]:
        """Yield all that the model has said, whenever it has said more."""
        table = self.llm.get_input_embeddings()
        embeddings = table(torch.tensor([list(ids)], device=self.where)).to(self.where)
        cache, said = cache_of(self.llm, embeddings.shape[1] + most, self.static_cache), []
        for token in sampled(self.llm, embeddings, cache, most, temperature, generator, cancel):
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
    head = whole[lead.end():]
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
        return None, str(error), head[end:][_TAIL.match(head[end:]).end():]
    rest = head[end:]
    return plan, "", rest[_TAIL.match(rest).end():]


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
    return whole[:mark.start() if mark else _HELD.search(whole).start()].strip()


def _spoken(whole: str) -> str:
    """Without what a model thinks to itself beforehand."""
    head = whole.lstrip()
    if head.startswith("<think>"):
        return whole.partition("</think>")[2]
    return "" if "<think>".startswith(head) else whole
