"""A talk about learned concepts: what a turn sets out to do, told from its words and the plan of the picture before it.

The language model is not asked: it knows nothing of what was learned. Sentences are read by tables and patterns, in English: "on the beach at night, with a red hat"
-> which clauses say where, when, what is worn. What they do not know stays in the prompt as it was said.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..dialogue_state import standing, steps_back, undone
from ..plan import MOST, NAMED, Plan, article, named, plan_in, thing, told
from ..requests import Request, Turn
from .concept_library import ConceptLibrary
from .concept_prompt import caption, not_learned, plain, unmarked
from .dci_sampling import COMMON, LIKELY

LIGHTS = frozenset("light lighting night nighttime day daytime noon midday midnight dawn dusk sunset sunrise twilight evening morning afternoon moonlight sunlight "
                   "daylight starlight candlelight hour dark darkness".split())
STYLES = frozenset("watercolour watercolor watercolours aquarelle art pencil sketch drawing painting oil oils ink crayon crayons charcoal pastel pastels chalk cartoon "
                   "comic anime manga photo photograph photography render engraving etching woodcut mosaic collage poster style flat hatching origami lego".split())
WORN = frozenset("hat cap beanie beret scarf shawl sunglasses glasses goggles crown tiara bow tie flower balloon umbrella coat jacket shirt jumper sweater dress skirt "
                 "suit trousers shoes boots socks gloves mittens cape cloak mask helmet necklace collar ribbon costume uniform apron".split())
WEATHER = frozenset("rain fog mist storm thunderstorm wind".split())
HEAVEN = frozenset("moon stars sun".split())  # light where it is under them, a place where it is on them
PLACES = frozenset(word for words, _ in LIKELY[:-1] for phrase in words for word in phrase.split()[-1:]) - LIGHTS
NOUNS = frozenset([noun for _, nouns in LIKELY for noun in nouns] + list(COMMON))  # where a preset does not say what it knows

_BESIDE = ("and", "plus", "next to", "together with", "along with", "beside", "alongside")
_WEAR = ("wearing", "holding", "carrying")
_WHERE = ("in front of", "on top of", "close to", "inside", "outside", "behind", "between", "among", "around", "under", "above", "over", "near", "through", "into",
          "onto", "in", "on", "at", "by", "during")
_OPENS = re.compile(rf"\b(?:dressed (?:up )?(?:as|in|like)|without|{'|'.join((*_WEAR, *_BESIDE[1:], *_WHERE))}|with|as|to(?= (?:the|an?) ))\b"
                    r"(?! (?:it|its|his|her|him|their|them)\b)(?= *\S)|\band (?=(?:an?|the|my|some|another) |<)", re.IGNORECASE)
_DOES = re.compile(r"(?:^|(?<=> )|(?<=>))(?=\w{2,}ing\b(?<!\bking)(?<!thing)(?<!\bring)(?<!\bwing))", re.IGNORECASE)
_STILL = ("on", "over", "through", "at", "with", "into")  # "sitting on a chair" is one thing that is done, "sitting on the beach" is two
_INSTEAD = {"to": "at", "into": "in", "onto": "on"}  # where it goes is where it will be
_AN = re.compile(r"^(?:the|my|his|her|its|that|another)\b *", re.IGNORECASE)


@dataclass(frozen=True)
class Clause:
    """`kind`: one of `plan.SEEN`, "gone" (what should not be there), or "" (it can't be told)."""

    kind: str
    opener: str  # "in", "with", ...; empty: none
    words: str

    @property
    def written(self) -> str:
        """As a part of a prompt."""
        return f"{self.opener} {self.words}".strip()


def heads(words: str) -> set[str]:
    """The nouns that a phrase may be about: its last word, and the last before "of" or "with"; in the singular too."""
    found = {one.split()[-1].lower() for one in (words, re.split(r" (?:of|with) ", words)[0]) if one.split()}
    return found | {one[:-1] for one in found if one.endswith("s")}


def clauses(text: str, kinds: Collection[str]) -> list[Clause]:
    """Cut a text into clauses, in its order.

    Args:
        kinds: nouns of what can be a subject, beside the <name>s.
    """
    found: list[Clause] = []
    for segment in re.split(r"[,;:!?]+|\.(?!\d)", text):
        first = len(found)
        cuts = sorted({0, len(segment), *(m.start() for m in _OPENS.finditer(segment)), *(m.start() for m in _DOES.finditer(segment))})
        for piece in (" ".join(segment[a:b].split()) for a, b in zip(cuts, cuts[1:])):
            opened = _OPENS.match(piece + " ") if piece else None
            opener = opened[0].strip().lower() if opened else ""
            words = re.sub(r"\s+(?:and|but)$", "", piece[len(opened[0].rstrip()):].strip() if opened else piece)
            if not words:
                continue
            before = found[-1] if found else None
            kind = _kind(opener, words, kinds, before)
            if before is not None and len(found) > first and _one(before, opener, words, kind):
                found[-1] = Clause(before.kind, before.opener, f"{before.words} {piece}")
                continue
            if opener == "and" and kind == "worn":
                opener = before.opener if before is not None and before.kind == "worn" else "with"
            if kind in ("worn", "other"):
                words = indefinite(words)
            found.append(Clause(kind, _INSTEAD.get(opener, opener) if kind != "gone" else "", words))
    return found


def indefinite(words: str) -> str:
    """"the robot" -> "a robot"; a <name> as it is."""
    bare = _AN.sub("", words)
    if bare == words or not bare or bare.startswith("<"):
        return bare or words
    return article(bare)


def _kind(opener: str, words: str, kinds: Collection[str], before: Clause | None) -> str:
    """What a clause is about, by its preposition and its noun."""
    about, first = heads(words), words.split()[0].lower()
    someone = bool(named(words) or about & set(kinds))
    if opener == "without" or (opener == "and" and before is not None and before.kind == "gone"):
        return "gone"
    if opener.startswith("dressed"):
        return "pose"
    if about & LIGHTS and opener in ("", "in", "at", "by", "under", "during") or (opener in ("under", "in") and about & HEAVEN):
        return "light"
    if opener in ("", "in", "as") and (about & STYLES or "style of" in words) or (opener == "by" and first not in ("the", "a", "an")):
        return "style"
    if opener in _WEAR or (opener == "with" and not someone):
        return "worn"
    if opener in _BESIDE[2:] and about & PLACES and not someone:
        return "place"
    if opener in _BESIDE or (someone and opener in ("with", "near")):
        worn = opener == "and" and not someone and (about & WORN or (before is not None and before.kind == "worn"))
        return "worn" if worn else "other"
    if opener in ("", "in") and about & WORN:
        return "worn"
    if opener == "as" or about & WEATHER or (not opener and re.fullmatch(r"\w{2,}ing", first) and first not in ("something", "nothing", "king")):
        return "pose"
    return "place" if opener or about & PLACES else ""


def _one(before: Clause, opener: str, words: str, kind: str) -> bool:
    """Whether a clause belongs to the one before it."""
    if kind == "place" and before.kind == "pose" and opener in _STILL and before.words.count(" ") < 2 and before.words.endswith("ing"):
        return not heads(words) & PLACES
    return opener == "and" and before.kind == "place" and bool(heads(words) & PLACES)


LONGEST = 800  # characters of a sentence that are read; a text encoder reads 77 tokens

# Words that a name may be too: such a concept is meant only where it is written <so>, or where the talk is about it already.
_WORDS = frozenset(
    "the an and or but of to in on at by for from with it its is be was are do did can could will would may might must now then so too not no yes all any some "
    "more less very me my you your we us our he him his she her they this that one what who how why please thanks hi hello ok draw make give put show take add let "
    "go get set change like love want need see look keep try new old big small little happy sad good nice red orange yellow green teal blue purple pink brown white "
    "grey gray black gold silver violet amber ruby jade ginger olive rose lily daisy iris ivy poppy holly hope grace joy faith mark bill jack rob drew art dawn eve "
    "summer winter spring autumn june may april august sunny sky star sun moon cloud rain stone rock wood fire water tree leaf animal thing picture photo "
    "lambda imagination".split()) | LIGHTS | STYLES | WORN | PLACES | WEATHER | NOUNS

_LAMBDA = re.compile(r"(?:\b(?:set|put|use|with|at|and)\s+)?(?:\bthe\s+)?(?:\blambda|λ|\bimagination)\s*(?:=|:|to\b|at\b|of\b|is\b)?\s*"
                     r"((?:minus )?[-+−–]?\d+(?:[.,]\d+)?)"
                     r"(?![\d%]|\s*times\b)\s*[,;.]?", re.IGNORECASE)
_ASKS = re.compile(r"^\W*(?:what|who|whose|why|when|where|which|how|did|does|do you|is|are|was|were|have you|has"
                   r"|(?:can|could|will|would) you (?:tell|say|explain|describe|see))\b"
                   r"(?! about (?!it\b))", re.IGNORECASE)
_KINDLY = re.compile(r"^\W*(?:please )?(?:(?:can|could|would|will) (?:you|we|i)|how about|what about|why not)\b", re.IGNORECASE)  # "can you draw it?"
_UNKNOWN = re.compile(r"<([^\W\d][\w-]+)>")  # as a name is written
_WHO = re.compile(r"^\W*(?:who|what)(?:'s| is| are) <", re.IGNORECASE)
_CHANGES = re.compile(r"\b(?:chang\w*|differ\w*|did you do|have you done|is new)\b", re.IGNORECASE)
_ADDS = re.compile(r"^\W*(?:now |ok |okay )?(?:and|also|plus|add|include|bring in|put in)\b|\b(?:too|as well)\W*$", re.IGNORECASE)
_GOES_ON = re.compile(r"^\W*(?:<\S+>,? )?(?:now|and|also|then|but|instead|this time|again|let|make|give|put|place|move|add|turn|take|bring|send"
                      r"|keep|change|with|without|remove)\b", re.IGNORECASE)
_NOW = re.compile(r"^\W*(?:now|instead)\W+<", re.IGNORECASE)  # another one in the same picture
_CHATTER = frozenset("thanks thank thx cheers great nice lovely perfect wonderful beautiful amazing awesome cool good wow super fine yes ok okay hi hello hey bye "
                     "goodbye haha you so very much a lot work job picture drawing that this it it's that's is looks look one really i love like well done for the there no".split())
_GREETS = frozenset("thanks thank thx cheers great nice lovely perfect wonderful beautiful amazing awesome cool wow super yes ok okay hi hello hey bye goodbye haha well "
                    "i that this it it's that's really good fine".split())  # how it begins
_CHANGE = re.compile(r"^\W*(?:now |and |please )*(?:change|switch|set|turn|make) the (place|background|setting|scenery|light|lighting|time|style|pose)"
                     r"(?: of day)? (?:to|into|be|as)? *(.+)$", re.IGNORECASE)
_MADE = re.compile(r"^\W*(?:now |and |please )*(?:(?:make|turn|change|paint) )?(?:the|his|her|its) ([\w-]+) "
                   r"(?:should be |must be |is |to |into )?([\w-]+)\W*$", re.IGNORECASE)
_PARTS = {"background": "place", "setting": "place", "scenery": "place", "lighting": "light", "time": "light"}
_PICTURE_OF = re.compile(r"^(?:an? |the )?(?:picture|image|scene) of ", re.IGNORECASE)
_STYLE_OF = re.compile(r"^(an? [\w -]*?) of (?=.*\S)", re.IGNORECASE)
_NEW = re.compile(r"^(?:an?|another|some|two|three|four) (?=\S)", re.IGNORECASE)
_LAST = re.compile(r"\s*\b(?:instead|please|too|as well|also|again|this time|then|rather|next|maybe|perhaps)(?=\s*(?:$|[,.;:!?]))", re.IGNORECASE)
_FIRST = re.compile(r"^\W*(?:(?:now|and|but|also|then|please|instead|this time|again|maybe|perhaps|just|rather|let's|keep it but|(?:how|what) about|why not"
                    r"|(?:can|could|would|will) (?:you|we|i)|i(?:'d| would)? (?:want|like|need)(?: to)?(?: (?:see|have))?)\b[\s,]*)+", re.IGNORECASE)
_JOINS = re.compile(r"(?:and|plus|with|without|wearing|holding|carrying|dressed|beside|alongside|together|along|next|in|on|at|by|as|to|inside|outside|behind|between|among"
                    r"|around|under|above|over|near|close|through|during|\w{2,}ing)\b", re.IGNORECASE)


@dataclass(frozen=True)
class ConceptRequest:
    """What a turn about concepts sets out to do."""

    plan: Plan
    prompt: str = ""  # what is drawn, with <name>s; empty: nothing
    words: str = ""  # the answer, where nothing is drawn
    settings: Mapping[str, float] = field(default_factory=dict)  # that the sentence names


def understand(request: Request, library: ConceptLibrary, known: Sequence[str] = ()) -> ConceptRequest | None:
    """What a turn sets out to do with learned concepts; None: it is not about them.

    Args:
        library: the owner's concepts.
        known: nouns that the base model knows; empty: any.
    """
    if request.mix is not None:
        return None
    text, said = settings_in(request.text)
    if request.redraw is not None:  # an earlier picture, as it was asked for
        plan = plan_in(request.redraw)
        if plan is not None and plan.learned:
            return ConceptRequest(plan, str(request.redraw.get("wish") or prompt_of(plan)), settings=said)
        if "concepts" not in request.redraw:
            return None
    if request.plan is not None:
        return ConceptRequest(request.plan, prompt_of(request.plan)) if request.plan.draws and request.plan.learned else None
    reader = _Reader(library, known)
    before, drawn = reader.so_far(request.history)
    text = reader.bracketed(text, before, request.photo is None and request.like is None)
    names = named(text)
    if not names and (before is None or request.photo is not None or request.like is not None):
        return None
    before = None if request.photo is not None else before
    if before is not None and not names and (unknown := _UNKNOWN.search(request.text)) is not None and f"</{unknown[1]}>" not in request.text:
        return _says(before, "concept", str(not_learned(unknown[1], library.names())))
    meant = reader.answered(text, before, drawn, request.history) or reader.wished(text, before)
    return dataclasses.replace(meant, settings=said) if meant is not None else None


def settings_in(text: str) -> tuple[str, dict[str, float]]:
    """A sentence without the settings that it names, and those: "lambda -2 in the snow" -> "in the snow", {"imagination": -2}."""
    text = " ".join(text.split())[:LONGEST]
    found = _LAMBDA.search(text)
    if found is None:
        return text, {}
    number = float(re.sub("(?i:minus )|−|–", "-", found[1]).replace(",", "."))
    return " ".join(f"{text[:found.start()].rstrip(' ,;')} {text[found.end():]}".split()), {"imagination": number}


def prompt_of(plan: Plan) -> str:
    """A plan with <name>s as one caption: subject, worn, beside it, what it does, where, when, how it is made."""
    line, joined, apart = _PICTURE_OF.sub("", plan.subject), [], []
    other = plan.other.replace("and ", "beside ", 1) if plan.worn and plan.other.startswith("and ") else plan.other  # it is not worn
    for value in (*_one_lead(plan.worn), other, plan.pose, plan.place, plan.light, plan.style):
        if value:
            (joined if _JOINS.match(value) else apart).append(value)
    style = f"{apart.pop()} of " if apart and apart[-1] == plan.style and _NEW.match(plan.style) else ""  # "a watercolour of"
    return style + ", ".join([" ".join([line, *joined]), *apart])


class _Reader:
    """Reads sentences of one talk. The library is opened only where it is needed: most turns are not about concepts."""

    def __init__(self, library: ConceptLibrary, known: Sequence[str]) -> None:
        self._library, self._kinds, self._nouns = library, frozenset(known) or NOUNS, None
        self._names = library.names()

    @property
    def nouns(self) -> Mapping[str, str]:
        if self._nouns is None:
            self._nouns = {name.lower(): noun for name, noun in self._library.nouns().items()}
        return self._nouns

    @property
    def kinds(self) -> Collection[str]:
        return self._kinds | {noun.lower() for noun in self.nouns.values()}

    def so_far(self, history: Sequence[Turn]) -> tuple[Plan | None, list[Plan | None]]:
        """The plan of the picture that the talk is about, if concepts are in it; and the plans of all that were drawn, the newest last."""
        now, drawn = None, []
        for turn in history:
            if turn.photo is not None:
                now = None  # another picture is the subject
            if turn.drew:
                plan = turn.plan
                if plan is None:  # older turns kept none
                    text = self.bracketed(settings_in(turn.user)[0], now, turn.photo is None)
                    meant = self.wished(text, now) if named(text) or now is not None else None
                    plan = meant.plan if meant is not None else None
                drawn.append(plan)
                now = plan if plan is not None and plan.draws and plan.learned else None
        return now, drawn

    def bracketed(self, text: str, now: Plan | None, bare: bool = True) -> str:
        """A text with every learned name in it written <so>, and no other word.

        Args:
            now: of the picture the talk is about; its names are meant even if they are words of their own.
            bare: whether names without < > count at all.
        """
        text = unmarked(text, self._names)
        for name in sorted(self._names, key=len, reverse=True) if bare else ():
            spelled = re.compile(rf"(?<![\w<-]){re.escape(name)}(?![\w>-])", re.IGNORECASE)
            if not spelled.search(text):
                continue
            mine, word = name.lower() in {n.lower() for n in now.learned} if now is not None else False, name.lower()
            doubtful = len(word) < 2 or word.isdigit() or word in _WORDS or word in self.kinds
            if doubtful and not mine:
                continue
            end = rf"(?=\W*$|\W*[,.;:!?]| {_JOINS.pattern})" if doubtful else ""  # "red at night", not "a red hat"
            text = re.sub(spelled.pattern + end, f"<{name}>", text, flags=re.IGNORECASE)
        return text

    def answered(self, text: str, now: Plan | None, drawn: Sequence[Plan | None], history: Sequence[Turn]) -> ConceptRequest | None:
        """A question, thanks, or going back; None: it is a wish."""
        if now is not None and steps_back(text):
            last = undone(text, standing(history))
            if last is None or not last.learned:
                return _says(now, "undo", "There is no picture with it before this one. Say what should change, and I draw that.")
            return ConceptRequest(last, prompt_of(last))
        chatter = re.findall(r"[\w']+", NAMED.sub("", text.lower()))
        if chatter and chatter[0] in _GREETS and _CHATTER.issuperset(chatter) and not text.rstrip().endswith("?"):
            about = now or Plan("draw", " ".join(f"<{name}>" for name in named(text)))
            return _says(about, "", "I am glad. Say what should change, and I draw it anew.", "chat")
        asks = text.rstrip().endswith("?") and not _KINDLY.match(text)
        if not _ASKS.match(text) and not (asks and not any(c.kind for c in clauses(plain(text), self.kinds))):
            return None
        if now is None or _WHO.match(text) or not {n.lower() for n in named(text)} <= {n.lower() for n in now.learned}:
            name = named(text)[0]
            if name.lower() not in self.nouns:
                return None  # said where it is drawn
            return _says(Plan("draw", f"<{name}>"), "concept", f"<{name}> is {indefinite(f'the {self.nouns[name.lower()]}')} that I learned from pictures. "
                         f"Say where you would like to see it, for instance: <{name}> on the beach.")
        if _CHANGES.search(text):
            last = drawn[-2] if len(drawn) > 1 else None
            if last is None and len(drawn) > 1:
                return _says(now, "changes", f"I drew {prompt_of(now)}; what the picture before it was asked for was not kept.")
            return _says(now, "changes", told(last, now))
        return _says(now, "picture", f"I drew {prompt_of(now)}. More than these words I cannot tell of it.")

    def wished(self, text: str, now: Plan | None) -> ConceptRequest | None:
        """What is to be drawn; None: something without concepts."""
        mine = {name.lower() for name in now.learned} if now is not None else set()
        others = [name for name in named(text) if name.lower() not in mine]
        if now is not None and not named(text) and self._another(text):
            return None
        if now is None or (named(text) and not _ADDS.search(text) and (others and not _NOW.match(text) or not _GOES_ON.match(text)) and not self._joins(text)):
            return self._fresh(text)
        if (found := _CHANGE.match(text)) is not None:
            name = found[1].lower()
            part, value = _PARTS.get(name, name), _LAST.sub("", found[2]).strip(" .!?")
            changed = dataclasses.replace(now, **{part: f"in {value}" if part == "place" and not _JOINS.match(value) else value})
            return ConceptRequest(changed, prompt_of(changed))
        if (found := _MADE.match(_LAST.sub("", text))) is not None and (part := self._found(now, found[1])) in (*now.worn, now.other):
            one = Clause("other" if part == now.other else "worn", part.split()[0], indefinite(f"the {found[2]} {found[1]}"))
            return self._revised(now, [one], False)
        adds = bool(_ADDS.search(text))
        return self._revised(now, clauses(self._simply(text, now), self.kinds), adds)

    def _joins(self, text: str) -> bool:
        """Whether a text names a concept beside the subject only: "now with <mugsy>"."""
        found = [one for one in clauses(plain(text), self.kinds) if named(one.words)]
        return all(one.kind == "other" for one in found)

    def _another(self, text: str) -> bool:
        """Whether a text wishes for another subject in the concept's place: "draw a dog"."""
        wish = _PICTURE_OF.sub("", plain(_FIRST.sub("", text)))
        first = next(iter(clauses(wish, self.kinds)), None)
        beside = re.search(r"\b(?:it|him|her|them)\W*$", wish)
        new = first is not None and not first.opener and bool(heads(first.words) & set(self.kinds))
        return new and _NEW.match(wish) is not None and not beside and not _ADDS.search(text)

    def _fresh(self, text: str) -> ConceptRequest:
        """A picture of its own; what is drawn is what was said."""
        wish = re.sub(r"^(<\S+>) (?:is|should|must|can)(?: be)? ", r"\1 ", _PICTURE_OF.sub("", _LAST.sub("", plain(text))))
        wish = re.sub(r"(?<=> )wears? ", "wearing ", wish)
        plan, rest = Plan("draw"), wish
        if (style := _STYLE_OF.match(wish)) is not None and heads(style[1]) & STYLES:
            plan, rest = Plan("draw", style=style[1]), wish[style.end():]
        found = clauses(rest, self.kinds)
        at = next((k for k, one in enumerate(found) if not one.opener and named(one.words)), None)
        if at is None:
            at = next((k for k, one in enumerate(found) if one.kind == "" or named(one.words)), 0)
        subject, others = found[at], [one for k, one in enumerate(found) if k != at]
        astray = [one.written for one in others if one.kind == "gone" or (named(one.words) and one.kind != "other")]  # stays as it was said
        plan = dataclasses.replace(plan, subject=" ".join([subject.written, *astray]))
        meant = self._revised(plan, [one for one in others if one.written not in astray], False)
        return dataclasses.replace(meant, prompt=caption(wish, self.nouns))

    def _revised(self, before: Plan, said: Sequence[Clause], adds: bool) -> ConceptRequest:
        """A plan and what was said of it since."""
        now: dict[str, object] = {name: getattr(before, name) for name in ("place", "light", "style", "pose", "other")}
        worn, subject, fresh = list(before.worn), before.subject, set()
        mine = {name.lower() for name in before.learned}
        for one in said:
            kind = one.kind
            if kind == "gone":
                lost = self._found(before, one.words)
                if lost is None:
                    return _says(before, "picture", f"I drew {prompt_of(before)}; nothing of it is called “{thing(one.words)}”, so there is nothing to take away.")
                worn = [w for w in worn if w != lost]
                now = {name: "" if value == lost else value for name, value in now.items()}
                continue
            if kind == "" and named(one.words):
                if {n.lower() for n in named(one.words)} <= mine and not adds:
                    continue
                if not adds:
                    subject = one.words
                    continue
            if kind == "" and (named(one.words) or heads(one.words) & set(self.kinds) or (adds and re.match(r"(?:the|an?|another) ", one.words))):
                kind, one = "other", Clause("other", "and", indefinite(one.words))
            if kind == "worn":
                opener = one.opener if one.opener not in ("", "and") else "with"
                own = indefinite(one.words)
                worn = [w for w in worn if heads(thing(w)).isdisjoint(heads(own))] + [f"{opener} {own}"]
            elif kind == "other":
                more = bool(now["other"]) and (adds or "other" in fresh)
                now["other"] = f"{now['other']} and {one.words}" if more else one.written
                fresh.add("other")
            else:
                kind = kind or "pose"
                keep = kind in fresh or (kind == "pose" and not re.match(r"(?:\w+ing|as|dressed)\b", one.written))
                joined = (str(now[kind]) + (" " if _JOINS.match(one.written) and "," not in str(now[kind]) else ", ") + one.written) if now[kind] and keep else one.written
                now[kind] = joined
                fresh.add(kind)
        plan = dataclasses.replace(before, subject=subject, worn=tuple(worn[-MOST:]), **now)
        return ConceptRequest(plan, prompt_of(plan))

    def _found(self, plan: Plan, words: str) -> str | None:
        """The part of a plan that some words mean."""
        about = heads(thing(words))
        values = [*plan.worn, plan.other, plan.place, plan.light, plan.style, plan.pose]
        return next((value for value in values if value and about & {w.strip("<>") for w in (*value.lower().split(), *heads(value))}), None) if about else None

    def _simply(self, text: str, now: Plan) -> str:
        """A wish about what is there, without what speaks of it: "put a red hat on him" -> "with a red hat"."""
        names = "|".join(re.escape(f"<{name}>") for name in now.learned)
        nouns = "|".join(re.escape(self.nouns.get(name.lower(), name)) for name in now.learned)
        it = rf"(?:it|him|her|them|he|she|{names}|(?:the|my|our|your) (?:{nouns}|picture|image|scene|subject))"
        adds = _ADDS.match(text) is not None
        text = ", ".join(part for part in re.split(r"[,;!]+|\.(?!\d)", text) if not (words := re.findall(r"[\w']+", part.lower())) or not _CHATTER.issuperset(words))
        text = _FIRST.sub("", _LAST.sub("", text)).strip(" .!?")
        for pattern, by in (
                (rf"\b(?:give|get) {it} (?=\w)", "with "),
                (r"\bwears? ", "wearing "), (r"\bholds? ", "holding "), (r"^(?:go|goes|come) (?=to |in)", ""),
                (rf"\b(?:put|place|add) ([^,.;]+?) on(?:to)? {it}(?:'s \w+)?(?=\W*$|[,.;!])", r"with \1"),
                (rf"\b(?:(?:put|place|add|bring|show) )?((?:an?|the|another|some|<)[^,.;]+?) (?:beside|next to|near|behind|with|by) {it}(?=\W*$|[,.;!])", r"and \1"),
                (r"\b(?:take|pull|get) (?:off|away) ", "without "), (r"\b(?:take|pull) ((?:the|his|her|its|that) .+?) (?:off|away|out)\b", r"without \1"),
                (r"\b(?:remove|drop|lose|delete|leave out|no more|no|not (?:in|on|at|by|as)) (?=\w)", "without "),
                (rf"\b(?:let|make|have|show|turn|move|put|place|take|bring|send|keep|change|leave|set|draw|paint|sketch|create|generate"
                 rf"|imagine|see) {it}(?: to be| be)?(?=\W|$)", ""),
                (rf"^{it}(?:'s| is| should| must| can| could)?(?: be)?(?=\W|$)", "")):
            text = re.sub(pattern, by, text, flags=re.IGNORECASE).strip()
        text = plain(text) or text
        return re.sub(r"^(?:add|include|bring in|put in|plus) ", "", text, flags=re.IGNORECASE) if adds else text


def _one_lead(worn: Sequence[str]) -> list[str]:
    """"with a hat", "with a scarf" -> "with a hat", "and a scarf"."""
    leads = ["", *(one.split()[0] for one in worn)]
    return [f"and {one.partition(' ')[2]}" if leads[k + 1] == leads[k] else one for k, one in enumerate(worn)]


def _says(plan: Plan, about: str, words: str, act: str = "answer") -> ConceptRequest:
    """Words alone; the plan says of which concepts."""
    return ConceptRequest(Plan(act, " ".join(f"<{name}>" for name in plan.learned), about=about), words=words)
