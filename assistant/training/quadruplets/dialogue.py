"""Has a language model write y and the reply of a quadruplet, from a prompt that ships with the code (the paper: Llama-2-70B-chat).

Any transformers model that generates text will do. What it writes is read strictly; the miniature's own dialogues come from
templates (`wishes.py`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from ...errors import MessageError

PROMPT = Path(__file__).parents[1] / "prompts" / "dialogue.txt"
_LINES = re.compile(r"User:[ \t]*(?P<y>[^\n]+)\n+Assistant:[ \t]*(?P<reply>[^\n]+)")
WORDS = {"y": (1, 40), "reply": (5, 80)}  # how many are accepted


def prompt_for(subject: str, instruction: str) -> str:
    """The prompt for one exchange.

    Args:
        subject: what class of thing is in the photo, "cat". instruction: what the target shows of it, "on the beach, in pencil".
    """
    return PROMPT.read_text(encoding="utf-8").replace("{subject}", subject).replace("{instruction}", instruction)


def parse(text: str, subject: str) -> tuple[str, str]:
    """What a model wrote -> (y, reply).

    Raises:
        MessageError: it is not two lines, one of them is too short or too long, holds a placeholder, or the reply does not name the
            subject.
    """
    found = _LINES.fullmatch(text.strip())
    remedy = "Ask the model again."
    if found is None:
        raise MessageError(f"The model's answer is not two lines, 'User: ...' and 'Assistant: ...': {text.strip()[:80]!r}.", remedy)
    said = {name: line.strip().strip('"').strip() for name, line in found.groupdict().items()}
    for name, (low, high) in WORDS.items():
        count = len(said[name].split())
        if not low <= count <= high:
            raise MessageError(f"The model's {name} has {count} words; {low} to {high} are accepted.", remedy)
        if re.search(r"[\[\]{}<>]", said[name]):
            raise MessageError(f"The model's {name} holds a placeholder: {said[name][:80]!r}.", remedy)
    if subject.lower() not in said["reply"].lower():
        raise MessageError(f"The model's reply does not name the subject, {subject!r}.", remedy)
    return said["y"], said["reply"]


def write_dialogue(model: Any, tokenizer: Any, subject: str, instruction: str, seed: int, tries: int = 3, max_new_tokens: int = 200,
                   temperature: float = 0.8) -> tuple[str, str]:
    """Ask a transformers text-generation model for one exchange, (y, reply).

    Args:
        model, tokenizer: any causal language model; a chat template is used if the tokenizer has one.
        seed: of the sampling; try k draws from (seed, k).

    Raises:
        MessageError: no try could be read (`parse`); the last one's reason.
    """
    text = prompt_for(subject, instruction)
    if getattr(tokenizer, "chat_template", None):
        text = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
    given = tokenizer(text, return_tensors="pt").to(model.device)
    for k in range(tries):
        with torch.random.fork_rng(), torch.no_grad():  # `generate` draws from the global state
            torch.manual_seed(seed * tries + k)
            out = model.generate(input_ids=given["input_ids"], attention_mask=given["attention_mask"], do_sample=True, temperature=temperature,
                                 max_new_tokens=max_new_tokens)
        try:
            return parse(tokenizer.decode(out[0, given["input_ids"].shape[1]:], skip_special_tokens=True), subject)
        except MessageError as error:
            failed = error
    raise failed
