"""Trains the miniature's two tokenizers on its own captions and dialogues. Reads and writes stock Hugging Face layouts."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from .captions import caption
from .dialogues import dialogue
from .scene import sample_individual, sample_scene


def train_caption_tokenizer(folder: Path, vocab_size: int, context: int, count: int = 40_000, seed: int = 0) -> None:
    """A CLIP tokenizer (its own splitting and marks) with a vocabulary learned from the world's captions."""
    rng = random.Random(seed)
    lines = [caption(sample_scene(rng, sample_individual(rng)), rng).lower() for _ in range(count)]
    # every letter alone and at the end of a word, so that no word a user writes is an unknown token
    lines += [f"{letter} {letter}{letter}" for letter in string.printable.lower() + "äöüéèñç" for _ in range(3)]
    trained = CLIPTokenizer().train_new_from_iterator(lines, vocab_size, show_progress=False)
    trained.model_max_length = context
    trained.save_pretrained(folder)


def _lines(rng: random.Random, count: int) -> Iterator[str]:
    for _ in range(count):
        for exchange in dialogue(rng).exchanges:
            yield exchange.user.lower()
            yield exchange.plan.written()
            yield exchange.reply


def train_dialogue_tokenizer(folder: Path, vocab_size: int, count: int = 40_000, seed: int = 1) -> None:
    """A byte-level BPE tokenizer with Llama's marks, the draw mark and the plan's as single tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    marks = ["<s>", "</s>", "<pad>", "[INST]", "[/INST]", "<draw>", "<plan>", "</plan>"]
    bpe.train_from_iterator(_lines(random.Random(seed), count), trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=marks, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                            additional_special_tokens=marks[3:]).save_pretrained(folder)
