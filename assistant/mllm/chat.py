"""Any chat model (a causal language model with a chat template) as the language side: from words to an explanation and a prompt.

It stands where CAFE has M with V and H: what is to be drawn leaves it as words, so nothing has to be trained. It does not see the
picture, and knows nothing of decoders or requests. What the model says is parsed, and never trusted to be in the form asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..config import ChatConfig
from ..errors import WeightsError
from ..messages import Cancel
from .cache import cache_of
from .sampling import sampled

RULES = (
    "You are the voice of a drawing program. A person shows a photo of a thing, an animal or someone, and says what they would like, often "
    "vaguely. You never see the photo; the program keeps what it shows. Answer in two parts. First speak to the person in one or two short, "
    "friendly sentences, in their own language: what you will draw, and why. Then write, on a line of its own, PROMPT: followed by an English "
    "description of the new picture for an image generator: the subject as the person calls it, what it does or wears, place, light, style. "
    "At most 40 words, separated by commas. Carry over earlier wishes that still hold. If the person only asks or greets, write PROMPT: none")
EXAMPLES = (
    ("There is a photo.\n\nNow the person says: I want something creative for my mug, can you help?",
     "Let us send your mug to the stars: a small planet of its own gives it something to tell, and the dark sky lets its colour shine.\n"
     "PROMPT: a mug on a small grey planet, deep blue starry sky, soft rim light, whimsical, detailed illustration"),
    ("There is a photo.\n\nSo far:\nPerson: my dog at the sea\nYou: Your dog gets a whole beach to itself.\n\n"
     "Now the person says: what did you change?",
     "I moved your dog to a wide beach by the sea and left everything else to the light.\nPROMPT: none"))
_DECORATION = r"[\s*_#>`~-]*"
_NAMES = ("prompt", "refined prompt", "new prompt", "image prompt", "final prompt")
_MARK = re.compile(rf"(?:^|\n){_DECORATION}(?i:{'|'.join(_NAMES)}){_DECORATION}:|\bPROMPT{_DECORATION}:")
# What may still become the mark, at the end of what has been said so far: it is held back until the next token tells.
_BEGUN = "|".join(sorted({re.escape(name[:n]) for name in _NAMES for n in range(1, len(name) + 1)}, key=len, reverse=True))
_HELD = re.compile(rf"(?:(?:^|\n){_DECORATION}(?i:{_BEGUN})?{_DECORATION}|{_DECORATION}\bP(?:R(?:O(?:M(?:PT?)?)?)?)?{_DECORATION}|{_DECORATION})$")
_NOTHING = re.compile(r"(?i)(?:none\b.*|no picture\b.*|nothing|n/?a|-*)[.!]?")
LONGEST = 400  # characters of a prompt: the text encoder reads 77 tokens


@dataclass
class Told:
    """What a reply has become so far; complete once `stream` is exhausted."""

    text: str = ""
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

    def prompt_ids(self, history: Sequence[tuple[str, str]], text: str, picture: bool) -> list[int]:
        """Token ids of all that the model is told: rules, examples, and the conversation in one message, so that its form is the examples'.

        The oldest turns are left out until all fits into the context.
        """
        turns = [f"Person: {self.clean(user)}\nYou: {self.clean(reply)}" for user, reply in history]
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
    def stream(self, ids: Sequence[int], words: str, told: Told, temperature: float, generator: torch.Generator, cancel: Cancel) -> Iterator[str]:
        """Yield the explanation piece by piece and fill `told`.

        Args:
            ids: of `prompt_ids`.
            words: the prompt where the model gives none, because it does not keep to the form; empty: nothing is drawn then.
            generator: a CPU generator; the only source of chance.
        """
        table = self.llm.get_input_embeddings()
        embeddings = table(torch.tensor([list(ids)], device=self.where)).to(self.where)
        said, whole = [], ""
        cache = cache_of(self.llm, embeddings.shape[1] + self.config.max_new_tokens, self.static_cache)
        for token in sampled(self.llm, embeddings, cache, self.config.max_new_tokens, temperature, generator, cancel):
            if token in self._ends:
                break
            said.append(token)
            decoded = self.tokenizer.decode(said, skip_special_tokens=True)
            if decoded.endswith("\ufffd"):  # a character may need several tokens
                continue
            whole = decoded
            yield from self._tell(told, shown(whole))
        else:
            told.stopped = cancel.is_set()
        explanation, prompt = split(whole)
        yield from self._tell(told, explanation)
        if told.stopped:
            return
        told.prompt = (words or None) if prompt == "" else prompt
        if not told.text:
            yield from self._tell(told, f"Here is what I make of it: {told.prompt}." if told.prompt else "Tell me how it should look, and I draw it.")

    @staticmethod
    def _tell(told: Told, text: str) -> Iterator[str]:
        """Only ever longer: what was told is never taken back."""
        if len(text) > len(told.text) and text.startswith(told.text):
            delta, told.text = text[len(told.text):], text
            yield delta


def split(whole: str) -> tuple[str, str | None]:
    """What a model said -> (explanation, prompt); the prompt is "" where there is none, and None where it says that nothing is to be drawn."""
    whole = _spoken(whole)
    mark = _MARK.search(whole)
    if mark is None:
        return whole.strip(), ""
    after = whole[mark.end():].strip(" \t*_`~\"'“”\n")
    lines = [line for line in after.splitlines() if line.strip()]
    prompt = " ".join(lines[0].strip(" \t*_`~\"'“”[]").split())[:LONGEST] if lines else ""
    return re.sub(f"{_DECORATION}$", "", whole[:mark.start()]).strip(), None if lines and _NOTHING.fullmatch(prompt) else prompt


def shown(whole: str) -> str:
    """As much of the explanation as can be told while the model still speaks."""
    whole = _spoken(whole)
    mark = _MARK.search(whole)
    return whole[:mark.start() if mark else _HELD.search(whole).start()].strip()


def _spoken(whole: str) -> str:
    """Without what a model thinks to itself beforehand."""
    head = whole.lstrip()
    if head.startswith("<think>"):
        return whole.partition("</think>")[2]
    return "" if "<think>".startswith(head) else whole
