"""What stands in a conversation, told from the plans of its turns, and what a turn's operations make of it.

A language model writes only what changes (dialogue state tracking by operations, as SOM-DST: Kim et al., 2020), in one line:

    draw; place castle; light night; style pencil; pose jumping     the field's new value
    wear red hat; wear scarf as hat; again hat                      in a colour; in that of another thing; as it was last worn
    off hat; off all; with blue dog; alone                          what goes; another subject beside it, or none
    back; back two; back first; back photo; back castle             steps back; to picture number one; to the photo; to the last that says so

What is not mentioned stays. Knows no models and no pages.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .requests import Turn
from .plan import ACTS, MOST, WORD, Plan, told

_AS_IT_WAS = r"(?:as|how|like|what|the way) (?:it|that|things) (?:was|were|looked)(?: (?:before|earlier|at first))?(?: that)?"
_UNDO = re.compile(rf"(?:(?:no|oh|ok|okay|hm+|wait|sorry|please|actually|can you|could you|let's|i want to)[\s,]+)*(?:"
                   rf"undo(?: (?:that|it|this|the last (?:one|change|step|thing)|your last change|(?P<all>everything)))?"
                   rf"|revert(?: (?:that|it|the last (?:one|change)))?|take (?:that|it) back"
                   rf"|(?:go|step|one step|a step) back(?: (?:one|a) step)?(?: to {_AS_IT_WAS})?"
                   rf"|(?:(?:put|make|set|change|turn|have|leave) (?:it|that) )?(?:back )?(?:to )?(?:be )?{_AS_IT_WAS}"
                   rf"|(?:go )?back to the (?:previous|last|earlier|one) (?:one|picture|version|before)"
                   rf")(?P<often> (?:twice|two times|two steps|three times))?(?:[\s,]+(?:please|pls|plz|again|then|thanks|thank you))*[\s.!]*", re.IGNORECASE)
_GONE = re.compile(r"\b(?:took off|take off|without|in place of)\b([^.,;:]*)")
_WITHOUT = re.compile(r"(?<!not )(?<!never )(?<!don't )\b(?:without|minus|remove|lose|take off|get rid of|take(?= (?:the|its|his|her|that|this) [a-z]+(?: tie)? off\b)) "
                      r"(?:the|its|his|her|that|this) (?=([a-z ]+))")
_REMARK = re.compile(r".*[^\s,.;:!-][,.;:!-]+\s+(?=\S)")  # before a message's last clause
FIELDS = ("place", "light", "style", "pose")  # what one word sets
_OFTEN = {"twice": 2, "two times": 2, "two steps": 2, "three times": 3}
def steps_back(text: str) -> int:
    """How many pictures a message goes back, and asks nothing else; 0: it is no undo."""
    found = _UNDO.fullmatch(" ".join(text.split()))
    if found is None or not text.strip():
        return 0
    if found["all"]:
        return 10**6
    return _OFTEN.get((found["often"] or "").strip().lower(), 1)


@dataclass(frozen=True)
class Standing:
    """Plans of what was seen, the photo's first where it is known."""

    shown: tuple[Plan, ...] = ()  # in the order of the conversation
    stack: tuple[Plan, ...] = ()  # those that an undo goes back through, what stands now last
    photo: bool = False  # whether the first is the photo's

    @property
    def now(self) -> Plan | None:
        """What stands."""
        return self.stack[-1] if self.stack else None

    def after(self, plan: Plan, back: int = 0) -> Standing:
        """With one more picture, which went back by `back` pictures: what it undid is gone, so that two in a row go back two."""
        stack = self.stack[:max(1, len(self.stack) - back)] if back else self.stack
        return Standing((*self.shown, plan), stack if back and plan == stack[-1] else (*stack, plan), self.photo)


def standing(history: Sequence[Turn], photo: Plan | None = None) -> Standing:
    """What stands after these turns, oldest first. `photo`: what the photo shows, if that is known."""
    now = Standing((photo,), (photo,), True) if photo is not None else Standing()
    for turn in history:
        if turn.drew and turn.plan is not None and turn.plan.draws:
            now = now.after(turn.plan, steps_back(turn.user) or backs(turn.plan.change) if now.stack else 0)
    return now


def lines_of(plan: Plan | None, stood: Plan | None) -> tuple[str, ...]:
    """What a language model reads of a turn's plan: the operations, if it came from any, and what they made of what stood before it."""
    if plan is None:
        return ()
    return (plan.change, plan.written(stood)) if plan.draws else (plan.written(),)


def stood(history: Sequence[Turn], photo: Plan | None = None) -> list[Plan | None]:
    """What was seen last before each turn, and after all of them."""
    found = [photo]
    for turn in history:
        found.append(turn.plan if turn.drew and turn.plan is not None and turn.plan.draws else found[-1])
    return found


def undone_behind(text: str, now: Standing) -> Plan | None:
    """As `undone` of a message whose last clause alone is an undo: "that looks off, undo"."""
    return undone(remark.string[remark.end():], now) if (remark := _REMARK.match(text)) is not None else None


def undone(text: str, now: Standing) -> Plan | None:
    """The plan that an undo goes back to, as one that came from that; None: the message is no undo, or there is no earlier picture."""
    count = steps_back(text)
    return replace(now.stack[max(0, len(now.stack) - 1 - count)], change="draw; back") if count and len(now.stack) > 1 else None


def gone_back_to(plan: Plan | None, history: Sequence[Turn]) -> Turn | None:
    """The earlier turn whose picture a plan goes back to, if it does."""
    if plan is None or not plan.draws or not backs(plan.change):
        return None
    return next((turn for turn in reversed(history) if turn.drew and turn.plan == plan), None)


def changed(now: Plan, drawn: Sequence[Plan | None], photo: Plan | None = None) -> str | None:
    """The answer to what changed, read from the plans of the last two pictures; None: nobody asked that, or the last one has none.

    Args:
        now: what is answered. drawn: the plans of all turns that drew, oldest first. photo: what the photo shows, if that is known.
    """
    before, last = (photo, drawn[0]) if len(drawn) == 1 else (None, None, *drawn)[-2:]
    if (now.act, now.about) != ("answer", "changes") or last is None or not last.draws:
        return None
    if before is None and len(drawn) > 1:  # drawn from a board
        return f"I drew {last.told()}; what the picture before it was asked for was not kept."
    return told(before, last)


_THERE = re.compile(r"\s*(?:is|are|was) there (?:still )?(?:an?|any|some|another)(?: [a-z]+)?? (?P<thing>[a-z]+(?: tie)?)(?: (?:in|on|beside|with|there)\b.*)?[\s?!.]*", re.IGNORECASE)
_MANY = re.compile(r"\s*how many (?:[a-z]+ )??(?:(?P<heroes>animals|subjects|figures|characters|heroes|creatures|of them|are there)(?: (?:are|is|do|can|in)\b.*)?"
                   r"|(?P<parts>eyes|ears|legs|feet|paws|arms|hands|wings|tails|fingers|teeth|wheels|windows|buttons|spots|stars|stripes|checks|patches|trees|flowers|clouds)\b.*)[\s?!.]*",
                   re.IGNORECASE)
_ASKS = re.compile(r"\s*(?:and |so |ok |please )?(?:what|where|who|which|is|how|tell me|describe)\b(?!.*\b(?:why|know|can|could|should|would)\b)", re.IGNORECASE)
_ASKED = tuple(re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for words in (  # what questions are about
    "where|place|background|behind|setting|scene", "style|drawn|technique|medium|painted", "time of day|day or night|light|lighting", "doing|pose|posing",
    r"wear(?:s|ing)?|accessor(?:y|ies)", "who|what kind|which kind|what animal|which animal|colou?rs?"))


def read_off(text: str, now: Plan | None, things: Collection[str]) -> str | None:
    """The answer to "is there a cat in the picture?", "how many animals are there?" and to a question about several things, "where is it and what is it
    wearing?", read from what stands; None: nobody asked that, or of what is none of `things`, nouns in the singular."""
    if now is None:
        return None
    if many := _MANY.fullmatch(text):
        return f"I don't count {many['parts'].lower()}; it shows {now.told()}." if many["parts"] else f"{'Two' if now.other else 'One'}: it shows {now.told()}."
    if _ASKS.match(text) and sum(pattern.search(text) is not None for pattern in _ASKED) > 1:
        return f"It shows {now.told()}."
    asked = _THERE.fullmatch(text)
    thing = asked["thing"].lower() if asked is not None else ""
    thing = thing if thing in things else thing.removesuffix("s")
    if thing not in things:
        return None
    said = f"{now.subject} {now.other} {' '.join(now.worn)}".split()
    return f"{'Yes' if set(thing.split()) <= set(said) else 'No'}: it shows {now.told()}."


_LONGEST = 4  # words of a name
_NOT = frozenset(("no", "not", "without", "never", "don't", "isn't", "stop", "instead", "for", "from", "as", "like"))  # "a card for my mother", "like a rubber ball"


def names_in(text: str, names: Mapping[str, str]) -> list[str]:
    """What a text names of `names`, in lower case and the singular -> as it is said, the longest first found at each word; not what follows a "no", a "for" or a "like"."""
    words, found, k = WORD.findall(text.lower()), [], 0
    while k < len(words):
        for count in range(min(_LONGEST, len(words) - k), 0, -1):
            name = " ".join(words[k:k + count])
            said = names.get(name) or names.get(name.removesuffix("s"))
            if said is not None:
                if not _NOT.intersection(words[max(0, k - 3):k]):
                    found.append(said)
                k += count - 1
                break
        k += 1
    return list(dict.fromkeys(found))


def passed_over(text: str, plan: Plan, reply: str, names: Mapping[str, str]) -> str:
    """A sentence about what a message asks for, the decoder cannot draw and the reply is silent about; empty: there is nothing of the kind.

    Args:
        names: what cannot be drawn, as `names_in` takes it.
    """
    shown = set(WORD.findall(f"{plan.described()} {reply}".lower()))
    lacking = [said for said in names_in(text, names) if not shown.intersection(part for word in WORD.findall(said) if word not in _SMALL for part in (word, f"{word}s"))]
    return f"I can't draw {' or '.join(filter(None, (', '.join(lacking[:-1]), lacking[-1])))}." if lacking else ""


_SMALL = frozenset(("a", "an", "the", "of", "in", "and"))


_YES = re.compile(r"\W*(?:yes|yeah|yep|yes please|please do|go ahead|do it)\W*", re.IGNORECASE)


def agrees_to_nothing(text: str, history: Sequence[Turn]) -> bool:
    """Whether a message is a mere yes, where the last reply asked nothing."""
    return bool(history) and _YES.fullmatch(text) is not None and "?" not in history[-1].reply


_STEPS = {"": 1, "two": 2, "three": 3}
_NUMBERS = ("photo", "first", "second", "third", "fourth", "fifth")


def backs(line: str) -> int:
    """How many steps back a line of operations goes."""
    return next((_STEPS.get(item[4:].strip(), 0) for item in _items(line) if item.split()[0] == "back"), 0)


def _items(line: str) -> list[str]:
    return [item for item in (part.strip() for part in line.split(";")[1:]) if item]


def applied(line: str, now: Standing, apart: Sequence[Sequence[str]] = (), most: int = MOST) -> Plan | None:
    """The plan that a line of operations leads to from what stands; None: the line is none. An operation that says nothing is passed over.

    Args:
        apart: groups of things of which one is worn at a time: a crown takes the hat's place.
        most: how many things are worn at once; the oldest goes.
    """
    act, _, about = (part.strip() for part in line.partition(";"))
    if act not in ACTS:
        return None
    if act != "draw":
        return Plan(act, about=about)
    plan = before = now.now or Plan("draw")
    for item in _items(line):
        command, _, value = item.partition(" ")
        if command == "back":
            plan = _back(value.strip(), now) or plan
        elif command in FIELDS and value:
            plan = replace(plan, **{command: value})
        elif command in ("wear", "again") and (piece := _piece(command, value, before, now)):
            group = next((g for g in apart if _noun(piece) in g), (_noun(piece),))
            plan = replace(plan, worn=(*(w for w in plan.worn if _noun(w) not in group), piece)[-most:])
        elif command == "off" and value:
            plan = replace(plan, worn=() if value == "all" else tuple(w for w in plan.worn if value not in (w, _noun(w))))
        elif command in ("with", "alone"):
            plan = replace(plan, other=value if command == "with" else "")
    return replace(plan, change=line)


def taken_away(line: str, text: str, now: Standing, apart: Sequence[Sequence[str]] = (), most: int = MOST) -> str:
    """A line of operations with what a message takes away in so many words, "without the owl", where the line leaves it: a small language model now and then
    passes over it, or answers that there is none. What stands decides what it can be.

    Args:
        apart, most: as `applied` takes them.
    """
    said, before, after = [part.strip() for part in _WITHOUT.findall(text.lower())], now.now, applied(line, now, apart, most)
    if not said or before is None or after is None:
        return line
    if not after.draws:
        if "?" in text or after.act not in ("decline", "ask"):
            return line
        after = before

    def gone(name: str) -> bool:
        return any(re.match(rf"{re.escape(name)}\b", part) for part in said)

    other = _kind(after.other)
    found = [f"off {_noun(piece)}" for piece in before.worn if piece in after.worn and gone(_noun(piece))]
    if other and other == _kind(before.other) and gone(other):
        found.append("alone")
    return "; ".join((line if line.startswith("draw") else "draw", *found)) if found else line


_DENIED = re.compile(r"\b(?:no|not|isn't|instead of|rather than)(?: (?:a|an|the|in|on|at|by|as|so|it|its|that|this|be|to))* ([a-z]+)")


def corrected(line: str, text: str, values: Mapping[str, Sequence[str]]) -> str:
    """A line of operations with what a message corrects in so many words, "no pencil, papercut": the one value of a field that it names, where it denies
    another one.

    Args:
        values: what each of FIELDS can be, in a plan's words.
    """
    if not line.startswith("draw") or "?" in text:
        return line
    words, denied = WORD.findall(text.lower()), set(_DENIED.findall(text.lower()))
    for field in FIELDS:
        named = {value for value in values.get(field, ()) if value in words}
        if len(named) == 2 and len(named & denied) == 1:
            items, (value,) = [item for item in _items(line) if not item.startswith(f"{field} ")], named - denied
            line = "; ".join(("draw", *items, f"{field} {value}"))
    return line


def _kind(subject: str) -> str:
    """"blue owl with grey spots" -> "owl"."""
    return subject.split(" with ")[0].rpartition(" ")[2]


def agrees(words: str, plan: Plan, now: Standing, things: Sequence[str] = (), colours: Sequence[str] = ()) -> bool:
    """Whether words hold nothing against the plan that they come with: a thing that it lacks or has in another colour, one in place of
    itself or gone that is there, a place, light, style or pose that was seen before.

    Args:
        now: what stood before the plan.
        things, colours: names of what can be worn.
    """
    text = words.lower()
    worn = {_noun(piece): piece.partition(" ")[0] for piece in plan.worn}
    before = {_noun(piece): piece for piece in (now.shown[-1].worn if now.shown else ())}
    gone = _GONE.findall(text)
    if any(re.search(rf"\b{re.escape(noun)}\b", said) for noun in worn for said in gone):
        return False
    kept = _GONE.sub(" ", text)
    for thing in {*things, *before} - worn.keys():
        if re.search(rf"\b{re.escape(thing)}\b", kept) or thing not in before and any(re.search(rf"\b{re.escape(thing)}\b", said) for said in gone):
            return False
    if any(colour != worn[noun] for noun in worn for colour in re.findall(rf"\b({'|'.join(map(re.escape, colours)) or '(?!)'}) {re.escape(noun)}\b", kept)):
        return False
    other = plan.other.split(" with ")[0]
    if "beside it" in text and not (other and other in text.split("beside it")[1]):
        return False
    earlier = ((name, getattr(p, name)) for p in now.shown for name in FIELDS)
    return not any(value and value != getattr(plan, name) and re.search(rf"\b{re.escape(value)}\b", text) for name, value in earlier)


def _back(to: str, now: Standing) -> Plan | None:
    """The earlier picture that words name."""
    if not now.stack:
        return None
    if to in _STEPS:
        return now.stack[max(0, len(now.stack) - 1 - _STEPS[to])]
    if to in _NUMBERS:
        number = _NUMBERS.index(to) - (not now.photo)
        return now.shown[max(0, number)] if number < len(now.shown) else None
    earlier = (p for p in reversed(now.shown[:-1]) if any(to in (getattr(p, name), *map(_noun, p.worn)) for name in FIELDS))
    return next((p for p in earlier if p != now.now), None)


def _noun(piece: str) -> str:
    """"red bow tie" -> "bow tie"."""
    return piece.partition(" ")[2] or piece


def _piece(command: str, value: str, before: Plan, now: Standing) -> str:
    """What "wear red hat", "wear hat as scarf" and "again hat" put on; "wear hat" puts on one that was worn, if any was. Empty: it cannot be told."""
    earlier = next((w for p in reversed(now.shown) for w in p.worn if _noun(w) == value), "")
    if command == "again" or earlier:
        return earlier
    noun, _, like = value.partition(" as ")
    heroes = (part for hero in (before.subject, before.other) for part in hero.split(" with "))
    return next((f"{w.split(' ')[0]} {noun}" for w in (*before.worn, *heroes) if like in (_noun(w), w)), "") if like else noun
