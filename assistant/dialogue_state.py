"""What stands in a conversation, told from the plans of its turns: what an undo goes back to, and whether words agree with their plan.

A language model may misread a wish; what its own words say of the plan beside them shows it. Knows no models and no pages.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from .messages import Turn
from .plan import Plan

_AS_IT_WAS = r"(?:as|how|like|what|the way) (?:it|that|things) (?:was|were|looked)(?: (?:before|earlier|at first))?(?: that)?"
_UNDO = re.compile(rf"(?:(?:no|oh|ok|okay|hm+|wait|sorry|please|actually|can you|could you|let's|i want to)[\s,]+)*(?:"
                   rf"undo(?: (?:that|it|this|the last (?:one|change|step|thing)|your last change|(?P<all>everything)))?"
                   rf"|revert(?: (?:that|it|the last (?:one|change)))?|take (?:that|it) back"
                   rf"|(?:go|step|one step|a step) back(?: (?:one|a) step)?(?: to {_AS_IT_WAS})?"
                   rf"|(?:(?:put|make|set|change|turn|have|leave) (?:it|that) )?(?:back )?(?:to )?(?:be )?{_AS_IT_WAS}"
                   rf"|(?:go )?back to the (?:previous|last|earlier|one) (?:one|picture|version|before)"
                   rf")(?P<often> (?:twice|two times|two steps|three times))?(?:[\s,]+(?:please|pls|plz|again|then|thanks|thank you))*[\s.!]*", re.IGNORECASE)
_OFTEN = {"twice": 2, "two times": 2, "two steps": 2, "three times": 3}
_GONE = re.compile(r"\b(?:took off|take off|took away|removed?|in place of|without|no more|no longer|is gone|are gone)\b"
                   r"(?P<what>(?:(?!\b(?:it|i|so|but|now|with|wearing|wears|for|gave|put|added)\b)[^.,;:])*)", re.IGNORECASE)
_FREE = frozenset("the a an its his her their your any that this of and".split())


def steps_back(text: str) -> int:
    """How many pictures a message goes back, and asks nothing else; 0: it is no undo."""
    found = _UNDO.fullmatch(" ".join(text.split()))
    if found is None or not text.strip():
        return 0
    if found["all"]:
        return 10**6
    return _OFTEN.get((found["often"] or "").strip().lower(), 1)


def undone(text: str, history: Sequence[Turn]) -> Plan | None:
    """The plan that an undo goes back to; None: the message is no undo, or there is no earlier picture with a plan.

    Args:
        history: oldest first. An undo among them took away what it undid, so that two in a row go back two pictures.
    """
    count = steps_back(text)
    if not count:
        return None
    stack: list[Plan] = []
    for turn in history:
        if not turn.drew or turn.plan is None or not turn.plan.draws:
            continue
        before = steps_back(turn.user)
        if before and len(stack) > 1:
            del stack[max(1, len(stack) - before):]
        else:
            stack.append(turn.plan)
    if len(stack) < 2:
        return None
    return stack[max(0, len(stack) - 1 - count)]


def repaired(words: str, plan: Plan) -> Plan | None:
    """The plan without what its own words say to be gone; None: they agree. A hat that takes the place of one of another colour is not gone."""
    gone = " ".join(found["what"] for found in _GONE.finditer(words)).lower()

    def is_gone(thing: str) -> bool:
        colour, _, noun = thing.rpartition(" ")
        before = (gone[:at.start()].split() for at in re.finditer(rf"\b{re.escape(noun)}\b", gone))
        return any(not said or said[-1] in _FREE | {colour} for said in before)

    worn = tuple(thing for thing in plan.worn if not is_gone(thing))
    other = "" if plan.other and is_gone(plan.other.split(" with ")[0]) else plan.other
    return dataclasses.replace(plan, worn=worn, other=other) if (worn, other) != (plan.worn, plan.other) else None
