"""What is drawn and written for training: both tokenizers, the training set, the dialogues; and what ships of it: ready subjects for the page, the weights.

The set is drawn by many processes into memory-mapped arrays, ready shard by shard while it still grows. Group g holds three pictures of one individual; in the
last of them a second hero may stand beside it. Everything about a group follows from (seed, g), so a set that is lost is drawn again, byte for byte.

M learns from dialogues sampled about photos of a drawn set, as token ids, with what each reply's picture would show. A dialogue needs no picture of its own
targets: H learns F's mean given their attributes (`losses.ConditionalMean`), which follows from labels.
"""

import json
import random
import shutil
import string
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, CLIPTokenizer, PreTrainedTokenizerFast

from ..checkpoints import drop_shards
from ..config import AssistantConfig
from ..dialogue_state import lines_of, names_in, stood
from ..manifest import CHECKPOINTS, write_manifest
from ..models.mllm import PromptBuilder
from ..plan import WORD, article
from ..requests import Turn
from ..world.captions import caption, describe, plan_of
from ..world.dialogues import Dialogue, dialogue
from ..world.renderer import render
from ..world.scene import (ACCESSORIES, COLOURS, CONTEXTS, EYES, KINDS, LIGHTS, PAIRS, PATTERNS, POSES, STYLES, Individual, Scene, can_pair,
                           individual_held_out, sample_individual, sample_scene, with_companion)
from ..world.vocabulary import bank


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
    bpe.train_from_iterator(_lines(random.Random(seed), count), trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=marks, show_progress=False,
                                                                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                            additional_special_tokens=marks[3:]).save_pretrained(folder)


def caption_tokenizer(config: AssistantConfig) -> Any:
    return _read(CLIPTokenizer, f"{config.folder}/base/tokenizer")


def dialogue_tokenizer(config: AssistantConfig) -> Any:
    return _read(AutoTokenizer, f"{config.folder}/llama")


@cache
def _read(kind: Any, place: str) -> Any:
    return kind.from_pretrained(CHECKPOINTS / place)


VIEWS = 3  # pictures in a group
CAPTIONS = 4  # captions of a picture
SHARD = 256  # groups a shard
BODY = 0.4  # how much a hero counts in a loss, of how much what it wears does, which is smaller and rarer
COMPANION = ("kind", "colour", "second", "pattern")  # what is noted of a second hero; -1 where there is none
ATTRIBUTES: dict[str, tuple[str, ...]] = {  # of a picture, and what each can be; of what may be worn its colour, "" for not worn
    "kind": KINDS, "colour": tuple(COLOURS), "second": tuple(COLOURS), "pattern": PATTERNS, "context": CONTEXTS,
    "light": LIGHTS, "style": STYLES, "pose": POSES, "eyes": EYES, **{a: ("", *COLOURS) for a in ACCESSORIES}}
LABELS, CLASSES = tuple(ATTRIBUTES), tuple(len(values) for values in ATTRIBUTES.values())


def group(seed: int, index: int, held_out: bool = False) -> tuple[Scene, ...]:
    """VIEWS scenes of one individual."""
    rng = random.Random(f"{seed}/{index}/{held_out}")
    who = sample_individual(rng, held_out)
    first = [sample_scene(rng, who, None if held_out else False) for _ in range(VIEWS)]
    return (*first[:-1], with_companion(rng, first[-1], held_out) if rng.random() < PAIRS else first[-1])


def labels(scene: Scene) -> list[int]:
    """Class numbers in the order of LABELS; accessories: 0 absent, else 1 + colour."""
    found = {**vars(scene), **vars(scene.individual), **{a.name: a.colour for a in scene.accessories}}
    return [values.index(found.get(name, "")) for name, values in ATTRIBUTES.items()]


def companion_labels(scene: Scene) -> list[int]:
    """Of a second hero, in the order of COMPANION; -1 where there is none."""
    return [-1] * len(COMPANION) if scene.companion is None else labels(replace(scene, individual=scene.companion))[:len(COMPANION)]


def _arrays(folder: Path, config: AssistantConfig, groups: int, mode: str) -> dict[str, np.ndarray]:
    side, context = config.decoder.image_size, config.decoder.text["max_position_embeddings"]
    pictures = groups * VIEWS
    return arrays(folder, {"images": (np.uint8, (pictures, side, side, 3)), "masks": (np.uint8, (pictures, side // 8, side // 8)),
                           "weights": (np.uint8, (pictures, side // 8, side // 8)), "companion_masks": (np.uint8, (pictures, side // 8, side // 8)),
                           "companion_labels": (np.int8, (pictures, len(COMPANION))), "captions": (np.int16, (pictures, CAPTIONS, context)),
                           "labels": (np.int8, (pictures, len(LABELS)))}, mode)


def arrays(folder: Path, shapes: dict[str, tuple[type, tuple[int, ...]]], mode: str) -> dict[str, np.ndarray]:
    """Memory-mapped arrays in a folder: made anew (mode "w+"), open to be written (other modes) or read ("r")."""
    folder.mkdir(parents=True, exist_ok=True)
    return {k: np.lib.format.open_memmap(folder / f"{k}.npy", mode=mode, dtype=d, shape=s) if mode != "r" else
            np.load(folder / f"{k}.npy", mmap_mode="r") for k, (d, s) in shapes.items()}


def _small(mask: Image.Image, side: int) -> np.ndarray:
    return np.asarray(mask.resize((side, side), Image.Resampling.BOX))


def _draw_shard(args: tuple) -> int:
    folder, config, seed, shard, groups, held_out = args
    out = _arrays(folder, config, groups, "r+")
    small = caption_tokenizer(config)
    side, context = config.decoder.image_size, config.decoder.text["max_position_embeddings"]
    for g in range(shard * SHARD, min(groups, (shard + 1) * SHARD)):
        rng = random.Random(f"{seed}/{g}/words")
        for v, scene in enumerate(group(seed, g, held_out)):
            drawn, at = render(scene, side), g * VIEWS + v
            out["images"][at] = np.asarray(drawn.image)
            out["masks"][at] = _small(drawn.mask, side // 8)
            out["weights"][at] = np.maximum(BODY * _small(drawn.heroes, side // 8), _small(drawn.worn, side // 8))
            out["labels"][at] = labels(scene)
            out["companion_labels"][at] = companion_labels(scene)
            if drawn.companion_mask is not None:
                out["companion_masks"][at] = _small(drawn.companion_mask, side // 8)
            texts = [caption(scene, rng).lower() for _ in range(CAPTIONS)]
            out["captions"][at] = small(texts, padding="max_length", truncation=True, max_length=context)["input_ids"]
    (folder / f"shard-{shard:05}.done").touch()
    return shard


def in_processes(draw_shard: Callable[[tuple], object], shards: list[tuple], workers: int) -> None:
    """Draw every shard, given by its arguments, and say now and then how many there are."""
    with ProcessPoolExecutor(workers) as pool:
        for k, _ in enumerate(pool.map(draw_shard, shards)):
            if k % 16 == 15 or k + 1 == len(shards):
                print(f"drawn {k + 1} of {len(shards)} shards", flush=True)


def _to_draw(folder: Path, about: dict[str, Any], count: int, shard: int, make: Callable[[], object]) -> list[int]:
    """Numbers of the shards of a set that are not drawn yet. Where none is begun, or another is there, `make` makes its arrays first."""
    note = folder / "about.json"
    if not note.exists() or json.loads(note.read_text()) != about:
        for stale in (*folder.glob("shard-*.done"), *folder.glob("encoded-*.safetensors"), *folder.glob("worn.npy")):
            stale.unlink()
        make()
        note.write_text(json.dumps(about))
    return [s for s in range(-(-count // shard)) if not (folder / f"shard-{s:05}.done").exists()]


def draw(folder: Path, config: AssistantConfig, groups: int, seed: int, workers: int, held_out: bool = False) -> None:
    """Draw `groups` groups of pictures; shards already drawn are kept."""
    about = {"groups": groups, "seed": seed, "held_out": held_out}
    shards = _to_draw(folder, about, groups, SHARD, lambda: _arrays(folder, config, groups, "w+"))
    in_processes(_draw_shard, [(folder, config, seed, s, groups, held_out) for s in shards], workers)


class WorldDataset:
    """A drawn set as it stands; `refresh` looks for new shards."""

    def __init__(self, folder: Path, config: AssistantConfig) -> None:
        self.folder = folder
        self.about = json.loads((folder / "about.json").read_text())
        self.arrays = _arrays(folder, config, self.about["groups"], "r")
        self.refresh()

    def refresh(self) -> None:
        done = sorted(int(p.stem[6:]) for p in self.folder.glob("shard-*.done"))
        groups = self.about["groups"]
        spans = [np.arange(s * SHARD, min(groups, (s + 1) * SHARD)) for s in done]
        self.groups = np.concatenate(spans) if spans else np.zeros(0, int)

    def pictures(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Indices of `count` random pictures."""
        return rng.choice(self.groups, count) * VIEWS + rng.integers(0, VIEWS, count)

    def pairs(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices of (photo, target): two different pictures of one individual, which is alone in the photo."""
        first = rng.integers(0, VIEWS - 1, count)
        second = (first + rng.integers(1, VIEWS, count)) % VIEWS
        base = rng.choice(self.groups, count) * VIEWS
        return base + first, base + second

    def rows(self, at: np.ndarray, *names: str) -> dict[str, torch.Tensor]:
        """Copies of what each array holds of these pictures."""
        return {name: torch.from_numpy(self[name][at]) for name in names}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


_CAST = bank("prompts")["ready"]  # kind, colour, pattern, context, style, wishes; the second colour is the first that makes the individual held out


def _cast(rng: random.Random, kind: str, colour: str, pattern: str) -> Individual:
    """A held-out individual of that kind and colour; if no second colour makes one with that pattern, another pattern."""
    for wanted in (pattern, *(p for p in PATTERNS if p != pattern)):
        for second in COLOURS:
            who = replace(sample_individual(rng), kind=kind, colour=colour, second=second, pattern=wanted)
            if second != colour and can_pair(colour, second) and individual_held_out(who):
                return who
    raise ValueError(f"every {colour} {kind} is trained on")


def write_ready_subjects(folder: Path, size: int) -> None:
    """Write eight PNG files and subjects.json."""
    folder.mkdir(parents=True, exist_ok=True)
    listing = []
    for number, (kind, colour, pattern, context, style, wishes) in enumerate(_CAST):
        rng = random.Random(f"ready/{number}")
        who = _cast(rng, kind, colour, pattern)
        scene = replace(sample_scene(rng, who, None), context=context, style=style, light="day", pose="standing", accessories=(), scale=0.65, x=0.5)
        name = f"{number}-{kind}.png"
        render(scene, size).image.save(folder / name)
        listing.append({"file": name, "name": describe(who), "wishes": list(wishes)})
    (folder / "subjects.json").write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")


def overlay(model: Path, folder: Path) -> None:
    """Put what a run made over what a folder of weights holds, with its manifest."""
    for place in {weights.parent.relative_to(model) for weights in model.rglob("*model*.safetensors*")}:
        drop_shards(folder / place)
    shutil.copytree(model, folder, dirs_exist_ok=True)
    write_manifest(folder)


def install(config: AssistantConfig, model: Path) -> None:
    """Put it into what ships, with the ready subjects."""
    folder = CHECKPOINTS / config.folder
    write_ready_subjects(folder / "subjects", config.decoder.image_size)
    overlay(model, folder)


TURNS = (30, 22, 18, 14, 8, 5, 3)  # weights of the numbers of exchanges of a dialogue
LINE = 384  # tokens of a dialogue without its picture, at most
DIALOGUE_SHARD = 2048  # dialogues a shard
ALONE = 0.06  # share of dialogues without a photo
LOOKS = 0.1  # share of rows that end with what the photo shows
PLANS = 0.6  # share of rows that end with the operations of their last picture, before its words
TOKEN_WEIGHTS = {"plan": 4, "seen": 2, "words": 1}  # how much a token of each counts: of the words, most could be others as well


@dataclass
class DialogueRow:
    """Token ids, how much each counts in the loss (0: M does not say it), and where the learnable token takes an id's place, -1: nowhere."""

    ids: list[int]
    counts: list[int]
    token_at: int = -1

    def add(self, ids: Sequence[int], count: int = 0) -> None:
        self.ids += ids
        self.counts += [count] * len(ids)


def row_of(talk: Dialogue, builder: PromptBuilder, plans_only: bool = False) -> DialogueRow:
    """A dialogue as M reads it at its last exchange: of pictures before that the plans, not the words, and of what was before the last few
    exchanges what stood after them. `plans_only`: it ends with the operations of the last picture, if it has any."""
    turns = [Turn(e.user, e.reply, drew=e.target is not None, plan=e.plan) for e in talk.exchanges]
    before = stood(turns, plan_of(talk.photo) if talk.photo is not None else None)
    first, w = max(0, len(turns) - builder.config.plan_turns), TOKEN_WEIGHTS
    while True:
        row = DialogueRow([], [])
        for k in range(first, len(turns)):
            turn, last = turns[k], k == len(turns) - 1
            seen = there.written() if k == first and (there := before[k]) is not None else ""
            asked, look = builder.opening(turn.user, True, seen=seen), len(builder.plan(seen))
            row.add(asked.ids)
            if k == first == 0 and asked.picture is not None:
                row.counts[asked.picture:asked.picture + look] = [w["seen"]] * look
            lines = lines_of(turn.plan, before[k])
            row.add(builder.plan(lines[0]), w["plan"])
            if last and plans_only and turn.drew and turn.plan is not None and turn.plan.change:
                break
            row.add(builder.plan(*lines[1:]))
            row.add(builder.reply("" if turn.drew and not last else turn.reply, turn.drew), w["words"] if last or not turn.drew else 0)
            if last and turn.drew:  # the learnable token stands in the end's place
                row.token_at, row.counts[-1] = len(row.ids) - 1, 0
        if len(row.ids) <= LINE or first == len(turns) - 1:
            return row
        first += 1


def _dialogue_arrays(folder: Path, count: int, mode: str) -> dict[str, np.ndarray]:
    return arrays(folder, {"lines": (np.int16, (count, LINE)), "counts": (np.uint8, (count, LINE)), "lengths": (np.int16, (count,)),
                           "token_at": (np.int16, (count,)), "photos": (np.int32, (count,)), "targets": (np.int8, (count, len(LABELS) + len(COMPANION)))}, mode)


def _write_dialogues(args: tuple) -> None:
    folder, config, count, shard, seed, pictures, of = args
    out, builder = _dialogue_arrays(folder, count, "r+"), PromptBuilder(config.mllm, dialogue_tokenizer(config))
    rng = random.Random(f"{seed}/talks/{shard}/{of['held_out']}")
    for at in range(shard * DIALOGUE_SHARD, min(count, (shard + 1) * DIALOGUE_SHARD)):
        picture = -1 if rng.random() < ALONE else int(rng.choice(pictures))
        while True:
            photo = None if picture < 0 else group(of["seed"], picture // VIEWS, of["held_out"])[picture % VIEWS]
            talk = dialogue(rng, of["held_out"], rng.choices(range(1, len(TURNS) + 1), TURNS)[0], photo, quiet=True)
            if (talk.photo is None) == (picture < 0):
                break
        row = row_of(talk, builder, rng.random() < PLANS)
        if photo is not None and rng.random() < LOOKS:
            asked = builder.opening("", True, seen=plan_of(photo).written())
            picture_at = asked.picture or 0
            end = picture_at + len(builder.plan(plan_of(photo).written()))
            row = DialogueRow([*asked.ids[:end]], [0] * picture_at + [TOKEN_WEIGHTS["seen"]] * (end - picture_at))
        length = min(len(row.ids), LINE)
        out["lines"][at, :length], out["counts"][at, :length], out["lengths"][at] = row.ids[:length], row.counts[:length], length
        out["photos"][at], out["token_at"][at] = picture, row.token_at if row.token_at < length else -1
        if out["token_at"][at] >= 0 and (target := talk.exchanges[-1].target) is not None:
            out["targets"][at] = [*labels(target), *companion_labels(target)]
    (folder / f"shard-{shard:05}.done").touch()


def write_dialogues(folder: Path, config: AssistantConfig, world: WorldDataset, count: int, seed: int, workers: int) -> None:
    """Sample `count` dialogues about the ready pictures of `world` that show one hero; shards already written are kept."""
    words = zlib.crc32(json.dumps(dialogue_tokenizer(config).get_vocab(), sort_keys=True).encode())
    about = {"count": count, "seed": seed, "world": world.about, "groups": len(world.groups), "vocabulary": words}
    pictures = [int(g) * VIEWS + v for g in world.groups for v in range(VIEWS - 1)]  # in a group's last picture there may be two
    shards = _to_draw(folder, about, count, DIALOGUE_SHARD, lambda: _dialogue_arrays(folder, count, "w+"))
    in_processes(_write_dialogues, [(folder, config, count, s, seed, pictures, world.about) for s in shards], workers)


IDIOM = 10  # so often people name it when they ask for what can be drawn: "between the trees", "the sky on fire"


def outside_words(count: int = 20_000) -> dict[str, str]:
    """What the decoder cannot draw, in lower case and the singular -> as it is said, but for what is more than IDIOM times named in `count` conversations
    where all that is asked for can be drawn."""
    outside, said = bank("outside"), Counter()
    names = {thing.removesuffix("s") if thing.endswith("s") and not thing.endswith("ss") else thing: article(thing) for thing in outside["things"]}
    names |= {thing: thing for thing in outside["stuff"]} | {one.split(" ", 1)[1]: one for one in outside["breeds"]} | outside["weather"]
    keys = {name: name for name in names}
    for number in range(count):
        for one in dialogue(random.Random(f"outside/{number}")).exchanges:
            if one.wish is not None and not one.wish.missing:
                said.update(names_in(one.user, keys))
    return {name: names[name] for name in sorted(names) if said[name] <= IDIOM}


class DialogueDataset:
    """A written set of dialogues.

    Attributes:
        seen: rows with a photo. alone: rows without.
    """

    def __init__(self, folder: Path) -> None:
        self.arrays = _dialogue_arrays(folder, json.loads((folder / "about.json").read_text())["count"], "r")
        photos = self["photos"]
        ready = np.zeros(len(photos), bool)
        for done in folder.glob("shard-*.done"):
            ready[(first := int(done.stem[6:]) * DIALOGUE_SHARD):first + DIALOGUE_SHARD] = True
        self.seen, self.alone = np.flatnonzero(ready & (photos >= 0)), np.flatnonzero(ready & (photos < 0))

    def taught(self, tokenizer: Any) -> list[str]:
        """Every word that a reply of the set says, in lower case, sorted."""
        said = (tokenizer.decode(line[count == TOKEN_WEIGHTS["words"]]) for line, count in zip(self["lines"], self["counts"]))
        return sorted({word for text in said for word in WORD.findall(text.lower())})

    def padded(self, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """`lines` and `spoken` of rows, as long as the longest of them."""
        longest = int(self["lengths"][rows].max())
        return {"lines": torch.from_numpy(self["lines"][rows, :longest].astype(np.int64)), "spoken": torch.from_numpy(self["counts"][rows, :longest].astype(np.float32))}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]
