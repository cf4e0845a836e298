"""What a turn sets out to do, written before its words: what will be seen, or that nothing is drawn and why.

A language model writes a plan as one line (`written`) or one JSON object (`as_json`); the page shows it as chips, the store keeps it
with the turn, and what changed is told from two of them (`told`), so that words about a change are true by construction.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import InputError

ACTS = ("draw", "answer", "chat", "decline", "ask")
SEEN = ("subject", "place", "light", "style", "pose", "worn", "other")  # what a plan says of a picture, in the order of a line
LISTS = ("worn",)
LONGEST = 120  # characters of one value
MOST = 8  # things worn
NOTHING = ("", "none", "nothing", "n/a", "null", "-")  # what a chat model writes where there is nothing to say
WORD = re.compile(r"[a-z]+(?:['’-][a-z]+)*")  # of a text in lower case
NAMED = re.compile(r"<([^<>\s]+)>")  # a learned concept, as it is written in a text
_LEAD = re.compile(r"^(?:in|on|at|by|as|with|wearing|holding|carrying|and|plus|beside|alongside|near|next to|together with|along with) +(?=\S)", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:an?|the|some|another|my) +(?=\S)", re.IGNORECASE)


def named(text: str) -> tuple[str, ...]:
    """Every <name> in a text, in its order."""
    return tuple(found[1] for found in NAMED.finditer(text))


@dataclass(frozen=True)
class Plan:
    """`act` "draw": the picture after this turn. Other acts draw nothing: "answer" a question, "chat", "decline" a wish that can't be
    drawn, "ask" what was meant; `about` says of what: "changes", "undo", "picture", "app", ..."""

    act: str
    subject: str = ""  # "red fox with yellow stripes"
    place: str = ""
    light: str = ""
    style: str = ""
    pose: str = ""
    worn: tuple[str, ...] = ()  # "red hat", "blue balloon"
    other: str = ""  # another subject beside it: "blue dog"
    about: str = ""
    change: str = field(default="", compare=False)  # the operations that it came from (`dialogue_state.applied`), if it was planned by any

    @property
    def draws(self) -> bool:
        return self.act == "draw"

    @property
    def learned(self) -> tuple[str, ...]:
        """The learned concepts that it names: such a picture is drawn with them."""
        return named(f"{self.subject} {self.other}")

    def written(self, before: Plan | None = None) -> str:
        """As one line: `draw; red fox; garden; night; flat; standing; red hat, blue balloon`, or `answer; changes`. What a picture before it
        showed and it does not, is said behind: `...; red hat; ; off blue balloon`."""
        if not self.draws:
            return f"{self.act}; {self.about}".rstrip("; ")
        gone = ", ".join(change.before for change in changes(before, self) if not change.after) if before is not None else ""
        said = (", ".join(v) if isinstance(v := getattr(self, name), tuple) else v for name in SEEN)
        return "; ".join((self.act, *said, f"off {gone}" if gone else "")).rstrip("; ")

    def described(self) -> str:
        """A prompt for an image generator: what is to be seen, separated by commas."""
        wears = f"wearing {', '.join(map(_bare, self.worn))}" if self.worn else ""
        other = f"beside {_bare(self.other)}" if self.other else ""
        return ", ".join(part for part in (self.subject, wears, other, self.pose, self.place, self.light, self.style) if part)

    def told(self) -> str:
        """As a noun phrase for people: "a red fox, resting, wearing a blue scarf, beside a green owl (garden, sunset, watercolour)"."""
        wears = f"wearing {listing([article(_bare(w)) for w in self.worn])}" if self.worn else ""
        beside = f"beside {article(_bare(self.other))}" if self.other else ""
        stage = ", ".join(filter(None, (self.place, self.light, self.style)))
        return ", ".join(filter(None, (article(self.subject) if self.subject else "something", self.pose, wears, beside))) + (f" ({stage})" if stage else "")

    def as_json(self) -> dict[str, Any]:
        """Only what is said, as JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items() if v}


def read_line(line: str) -> Plan | None:
    """The plan that `Plan.written` wrote; None: it is none."""
    act, *rest = (part.strip() for part in line.strip().split(";"))
    if act not in ACTS:
        return None
    if act != "draw":
        return Plan(act, about=rest[0] if rest else "")
    if len(rest) > len(SEEN):
        return None
    values: dict[str, Any] = dict(zip(SEEN, rest))
    for name in LISTS:
        values[name] = tuple(w for w in (part.strip() for part in values.get(name, "").split(",")) if w)
    return Plan(act, **values)


def read_json(text: str) -> tuple[Plan, int]:
    """The plan in a reply of a chat model, its first JSON object, whatever stands around it; and where it ends.

    Raises:
        InputError: there is none, or it is not a plan; the sentence says what is wrong, for the model to try again.
    """
    start = text.find("{")
    if start < 0:
        raise InputError("There is no JSON object.", 'Write one, like {"act": "draw", "place": "garden"}.')
    try:
        said, end = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        raise InputError(f"The JSON object is broken: {str(error)[:80]}.", 'Write one, like {"act": "draw", "place": "garden"}.') from error
    return of_json(said), end


def of_json(said: Mapping[str, Any]) -> Plan:
    """A plan of plain values; what it does not know is left out.

    Raises:
        InputError: its act is none of ACTS, or a value is not text.
    """
    act = said.get("act")
    if act not in ACTS:
        raise InputError(f"There is no act {act!r}.", f"Write one of {', '.join(ACTS)}.")
    values: dict[str, Any] = {}
    for name in (*SEEN, "about", "change"):
        value = said.get(name) or ""
        many = value.split(",") if name in LISTS and isinstance(value, str) else value if name in LISTS else [value]
        if not isinstance(many, (list, tuple)) or len(many) > MOST or not all(isinstance(v, str) and len(v) <= LONGEST for v in many):
            raise InputError(f"The value of {name} is {repr(value)[:60]}, which is not words, or too much.", f"Write words, at most {LONGEST} letters{f' each, {MOST} at most' if name in LISTS else ''}.")
        clean = [w for w in (" ".join(v.encode("utf-8", "ignore").decode().split()) for v in many) if w.lower() not in NOTHING]
        values[name] = tuple(clean) if name in LISTS else "".join(clean)
    return Plan(str(act), **values)


def plan_in(metadata: Mapping[str, Any]) -> Plan | None:
    """The plan that a turn's or a picture's metadata holds; None: there is none that can be read."""
    said = metadata.get("plan")
    try:
        return of_json(said) if isinstance(said, Mapping) else None
    except InputError:
        return None


@dataclass(frozen=True)
class Part:
    """One thing that a plan says: a chip on the page. `without`: the plan without it; None: a picture always has one."""

    name: str  # one of SEEN
    words: str
    without: Plan | None = None

    @property
    def asked(self) -> str:
        """What a person says who wants it to go."""
        return f"without {_the(self.words)}"


def parts_of(plan: Plan) -> list[Part]:
    """What a plan says of a picture beside its subject, in the order of a line. Of a picture with learned concepts, all of it can go:
    where nothing is said, the base model chooses."""
    if not plan.draws:
        return []
    plan = dataclasses.replace(plan, change="")  # without a part it is another plan, which came from no words
    found = [Part(name, thing(value), dataclasses.replace(plan, **{name: ""}) if plan.learned else None)
             for name in ("place", "light", "style", "pose") if (value := getattr(plan, name))]
    found += [Part("worn", thing(one), dataclasses.replace(plan, worn=tuple(w for w in plan.worn if w != one))) for one in plan.worn]
    return found + ([Part("other", thing(plan.other), dataclasses.replace(plan, other=""))] if plan.other else [])


@dataclass(frozen=True)
class Change:
    """One thing that differs between two pictures; `before` or `after` empty: it came or went."""

    name: str  # one of SEEN
    before: str
    after: str


def changes(before: Plan, after: Plan) -> list[Change]:
    """What differs, in the order of SEEN; each thing worn on its own."""
    found = []
    for name in SEEN:
        was, now = getattr(before, name), getattr(after, name)
        if name in LISTS:
            gone, come = [w for w in was if w not in now], [w for w in now if w not in was]
            for thing in list(come):  # the same thing in another colour is one change
                if old := next((w for w in gone if w.split()[-1] == thing.split()[-1]), None):
                    found.append(Change(name, old, thing))
                    gone.remove(old)
                    come.remove(thing)
            found += [Change(name, w, "") for w in gone] + [Change(name, "", w) for w in come]
        elif _bare(was) != _bare(now):
            found.append(Change(name, was, now))
    return found


def told(before: Plan | None, after: Plan) -> str:
    """What changed, as a sentence; true, since it is read from the two plans. Without a plan before it, what is seen."""
    if before is None:
        return f"It is the first picture that I drew for you: {after.told()}."
    parts = [_told(change) for change in changes(before, after)]
    if not parts:
        return "Nothing that you asked for: it is the same wish, drawn anew."
    return f"I {listing(parts)}. The rest stayed as it was."


def not_seen(missing: Sequence[str]) -> str:
    """What a picture lacks of its plan, as a sentence; empty if nothing."""
    sentence = f"{listing(missing)} did not come out." if missing else ""
    return sentence[:1].upper() + sentence[1:]


def _told(change: Change) -> str:
    name, was, now = change.name, change.before, change.after
    if name == "other" and was and now.startswith(f"{was} and "):  # one more
        was, now = "", now.removeprefix(was).strip()
    if name in ("worn", "other"):
        gone, come = _the(thing(was)), article(thing(now))
        if name == "worn":
            return f"changed {gone} to {come}" if was and now else f"added {come}" if now else f"took off {gone}"
        return f"put {come} beside it in place of {gone}" if was and now else f"put {come} beside it" if now else f"took {gone} away"
    noun = {"place": "the place", "light": "the light", "style": "the style", "pose": "the pose", "subject": "the subject"}[name]
    was, now = _bare(was), _bare(now)
    return f"changed {noun} from {was} to {now}" if was and now else f"set {noun} to {now}" if now else f"left {noun} open"


def _bare(words: str) -> str:
    """"in the snow" -> "the snow"."""
    return _LEAD.sub("", words)


def thing(words: str) -> str:
    """"with a red hat" -> "red hat"."""
    return _ARTICLE.sub("", _bare(words))


def _the(thing: str) -> str:
    return thing if thing.startswith("<") else f"the {thing}"


def article(thing: str) -> str:
    """A thing with "a" or "an" before it; without where it is many."""
    noun = thing.split(" with ")[0]
    if noun.endswith("s") and not noun.endswith("ss") or thing.startswith("<"):
        return thing
    return f"{a_or_an(thing)} {thing}"


def a_or_an(noun: str) -> str:
    """The article of a noun, by its first letter."""
    return "an" if noun[:1].lower() in tuple("aeiou") else "a"


def listing(parts: Sequence[str]) -> str:
    """"a", "a and b", "a, b and c"."""
    return " and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])} and {parts[-1]}"
