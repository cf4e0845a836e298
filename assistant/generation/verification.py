"""Looks at a drawn picture: what of its plan it shows, by CLIP zero-shot (Radford et al., 2021, arXiv 2103.00020), so that a picture that
lacks something can be drawn again and what is still missing is said.

Each part of a plan makes two texts, one with it and one without; a picture that is nearer to the second is worth another try, and lacks the
part if it is nearer by more than `margin`: a try costs seconds, a wrong word about the picture costs trust.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..models.vision_encoders import VisionEncoders
from ..plan import Plan, article, parts_of

CAP = 3.0  # logits: a part that is seen this clearly is there, and adds no more to the score
SUBJECT = 6.0  # a subject that is not there counts as much as this many logits


@dataclass(frozen=True)
class Verification:
    """What a picture shows of its plan. `missing`: in words, in the plan's order; `doubtful`: another one may show more; `score`: the
    higher, the more of it is seen: the whole plan's logit, and each part's as far as CAP."""

    missing: tuple[str, ...]
    doubtful: bool
    score: float


def can_verify(vision: object) -> bool:
    """Whether these encoders compare pictures with words."""
    return getattr(vision, "texts", None) is not None


def verify_picture(vision: VisionEncoders, semantics: Tensor, plan: Plan, subject_there: bool, margin: float) -> Verification:
    """Compare a picture with its plan.

    Args:
        semantics: F of the picture, (1, d_F).
        subject_there: whether the encoders find the planned subject in it.
        margin: logits by which the text without a part may be nearer before the part counts as missing.
    """
    subject = plan.subject.split(" with ")[0] or "something"
    parts = parts_of(plan)
    pairs = [(_with(subject, part.name, part.words), article(subject) if part.name in ("worn", "other") else subject) for part in parts]
    whole, *logits = vision.compare(semantics, [plan.described(), *(text for pair in pairs for text in pair)])[0].tolist()
    margins = [a - b for a, b in zip(logits[::2], logits[1::2])]
    missing = [_named(part.name, part.words) for part, found in zip(parts, margins) if found < -margin]
    score = whole + sum(min(found, CAP) for found in margins) - (0.0 if subject_there else SUBJECT)
    return Verification((*(() if subject_there else (f"the {subject}",)), *missing), not subject_there or any(found < 0 for found in margins), score)


def _with(subject: str, name: str, words: str) -> str:
    if name == "worn":
        return f"{article(subject)} wearing {article(words)}"
    return f"{article(subject)} and {article(words)}" if name == "other" else f"{subject}, {words}"


def _named(name: str, words: str) -> str:
    return f"the {words}" if name in ("worn", "other") else f"the {name} ({words})"
