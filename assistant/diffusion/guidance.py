"""Names the rows of the UNet's batch and its conditions: what each row sees, when it is alive, how predictions become guidance.

It knows names and weights only: no conditions' tensors, no network, no scheduler.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from ..errors import ConfigError

TEXT = "text"  # text encoder's states of the prompt, (b, N, d_text)
EMPTY = "empty"  # text encoder's states of the empty (or negative) prompt
AUXILIARY_TEXT = "auxiliary text"  # the same of DCI's auxiliary prompt
PATCHES = "patches"  # E(x), (b, 257, d_E)
SEMANTICS = "semantics"  # F(w) or H(s), (b, d_F)


UNCONDITIONAL = "unconditional"  # e(0,0), or the empty prompt
CONDITIONAL = "conditional"  # e(E,F), or the prompt
SUBJECT_ONLY = "subject_only"  # e(E,0)
SEMANTICS_ONLY = "semantics_only"  # e(0,F)
CAPTION = "caption"  # e(c): a caption, as the base model in CAFE's own UNet draws it
FOUNDATION = "foundation"  # Infusion: the prompt as the base model draws it; its stream's name too
FOUNDATION_UNCONDITIONAL = "foundation_unconditional"  # Infusion: the empty prompt on that stream
CUSTOMIZED = "customized"  # Infusion: the same with the learned concept
CONCEPT = "concept"  # DCI: the prompt with the learned concept
AUXILIARY = "auxiliary"  # DCI: the prompt with an auxiliary noun in the concept's place; its stream's name too
AUXILIARY_UNCONDITIONAL = "auxiliary_unconditional"  # DCI, where the unconditional row is not shared: the empty prompt on that stream

IMAGE = "image"  # the stream whose latents become the picture


@dataclass(frozen=True)
class BatchRow:
    """One row of the batch (times the number of images drawn together)."""

    name: str
    tokens: str | None = None  # the token source it attends to; None: dropped, its attention term is exactly zero
    vector: str | None = None  # the one-vector source it sees; None: dropped, contributes exactly zero
    stream: str = IMAGE  # whose latents it denoises


@dataclass(frozen=True)
class LatentStream:
    """Latents of their own, moved by a weighted sum of rows. The weights of a stream sum to one."""

    guidance: tuple[tuple[str, float], ...]  # (row name, weight); rows of another stream may be shared
    name: str = IMAGE
    until: float = 1.0  # alive for the first `until` of the steps, 0 to 1
    guided: float = 1.0  # guided for the first `guided` of the steps, then moved by the row `alone`; 1: to the end
    alone: str = ""
    every: int = 1  # of the guided steps, those that compute all rows; between them `alone` is, and what the others added to it last is added again
    carried: bool = False  # that this is such a step, of `GuidancePlan.active_streams`


@dataclass(frozen=True)
class GuidancePlan:
    """The rows and streams of one request. The first stream's latents are the result.

    Raises:
        ConfigError: a name used twice or never defined, weights that do not sum to one, `until` or `guided` outside 0 to 1, `every` below 1,
            or a stream guided by a row that dies before it.
    """

    rows: tuple[BatchRow, ...]
    streams: tuple[LatentStream, ...]

    def __post_init__(self) -> None:
        twice = [n for names in (self.rows, self.streams) for n, k in Counter(x.name for x in names).items() if k > 1]
        if twice or not self.rows or not self.streams:
            raise ConfigError(f"A plan needs rows and streams, each name once; twice: {twice}.", "Give it one of each at least, under names of their own.")
        until = {stream.name: stream.until for stream in self.streams}
        home = {row.name: row.stream for row in self.rows}
        for row in self.rows:
            if row.stream not in until:
                raise ConfigError(f"The row '{row.name}' belongs to '{row.stream}', which is no stream of the plan.", f"Name one of {', '.join(until)}.")
        for stream in self.streams:
            total = sum(weight for _, weight in stream.guidance)
            alone = [stream.alone] if stream.guided < 1.0 or stream.every > 1 else []
            unknown = [name for name in (*(name for name, _ in stream.guidance), *alone) if name not in home]
            if unknown or abs(total - 1.0) > 1e-6 or not 0.0 <= stream.until <= 1.0 or not 0.0 <= stream.guided <= 1.0 or stream.every < 1:
                raise ConfigError(
                    f"The stream '{stream.name}' has weights that sum to {total} (1 is needed), unknown rows {unknown}"
                    f" or until={stream.until}, guided={stream.guided} (0 to 1), every={stream.every} (1 at least).",
                    f"Let the weights of {', '.join(home)} sum to 1, until and guided be shares of the steps, and every a number of them."
                )
            if any(until[home[name]] < stream.until for name, _ in stream.guidance):
                raise ConfigError(f"The stream '{stream.name}' outlives a row that guides it.", "End it with that row's stream, or before.")

    def active_streams(self, step: int, steps: int) -> tuple[LatentStream, ...]:
        """Streams that move at `step` (0-based) of `steps`, with what guides them there."""
        found = []
        for stream in self.streams:
            if step >= stream.until * steps - 1e-9:
                continue
            ended = step >= stream.guided * steps - 1e-9
            if ended or step % stream.every:
                stream = replace(stream, guidance=((stream.alone, 1.0),), carried=not ended)
            found.append(stream)
        return tuple(found)

    def active_rows(self, step: int, steps: int) -> tuple[BatchRow, ...]:
        """Rows to compute at `step` (0-based) of `steps`, in the batch's order: those of the streams that move, without those that guide no more."""
        moving = {stream.name: stream.guidance for stream in self.active_streams(step, steps)}
        ended = {name for s in self.streams for name, _ in s.guidance} - {name for guidance in moving.values() for name, _ in guidance}
        return tuple(row for row in self.rows if row.stream in moving and row.name not in ended)


def guide(stream: LatentStream, predictions: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The guided prediction: the weighted sum of its rows' predictions, (B, C, h, w) each.

    Written as first + sum of weight * (row - first), equal because the weights sum to one, so that two rows give
    exactly the customary `u + g * (c - u)`. Linear, hence right for epsilon, v and sample predictions alike.
    """
    (first, _), *others = stream.guidance
    base = predictions[first]
    guided = base
    for name, weight in others:
        guided = guided + weight * (predictions[name] - base)
    return guided


def _plan(weighted: list[tuple[BatchRow, float]], guided: float = 1.0, every: int = 1) -> GuidancePlan:
    """One stream; a row of weight zero would change nothing, so it is left out and never computed. Where there is a conditional row, it is guided for the first
    `guided` of the steps, by all rows at every `every`-th of them."""
    kept = {row.name: (row, weight) for row, weight in weighted if weight != 0.0}
    if CONDITIONAL not in kept:
        guided, every = 1.0, 1
    guidance = tuple((name, weight) for name, (_, weight) in kept.items())
    return GuidancePlan(tuple(row for row, _ in kept.values()), (LatentStream(guidance, guided=guided, alone=CONDITIONAL, every=every),))


def _streams(guidance: float, every: int, rows: tuple[BatchRow, ...], *named: tuple[str, str, str, float]) -> GuidancePlan:
    """Streams (name, unconditional row, conditional row, until), each guided like plain text-to-image; an unconditional row of weight zero is left out, and
    otherwise computed at every `every`-th step."""
    streams = tuple(LatentStream(tuple((row, weight) for row, weight in ((unconditional, 1.0 - guidance), (conditional, guidance)) if weight != 0.0), name, until,
                                 alone=conditional, every=every if guidance != 1.0 else 1) for name, unconditional, conditional, until in named)
    needed = {row for stream in streams for row, _ in stream.guidance} | {conditional for _, _, conditional, _ in named}
    return GuidancePlan(tuple(row for row in rows if row.name in needed), streams)


def text_guidance(guidance: float) -> GuidancePlan:
    """Plain text-to-image, e(empty) + g (e(text) - e(empty)): two rows, or one at g = 1 or g = 0.

    The attention context's tokens must hold TEXT and EMPTY.
    """
    return _plan([(BatchRow(UNCONDITIONAL, EMPTY), 1.0 - guidance), (BatchRow(CONDITIONAL, TEXT), guidance)])


def cafe_guidance(keep_subject: float, follow_words: float, patches: bool = True, semantics: bool = True, caption: float = 0.0, guided: float = 1.0,
                  every: int = 1) -> GuidancePlan:
    """CAFE's guidance with a strength for each source.

    e = e(0,0) + w_E (e(E,0) - e(0,0)) + w_F (e(E,F) - e(E,0)): three rows; two where the strengths are equal or
    w_F = 0; one where both are 1. Without a subject, e(0,0) + w_F (e(0,F) - e(0,0)); without words, the same with E.

    Args:
        keep_subject: w_E, strength of E(x).
        follow_words: w_F, strength of F(w) or H(s).
        patches: whether there is an E(x). With False `keep_subject` has no effect.
        semantics: whether there is an F(w) or H(s). With False `follow_words` has no effect.
        caption: strength of a caption beside the two, w_C (e(c) - e(0,0)), one row more: composed diffusion (Liu et al., 2022,
            arXiv 2206.01714, eq. 11). The attention context's tokens must hold TEXT.
        guided: share of the steps that are guided; behind it e(E,F) moves the latents alone, one row for all (Kynkäänniemi et al., 2024,
            arXiv 2404.07724).
        every: of the guided steps, those that compute all rows; between them e(E,F) is one row, and the guidance of the last of them is added to it
            (Compress Guidance: Dinh et al., 2024, arXiv 2408.11194).
    """
    follow = follow_words if semantics else 0.0
    strength = keep_subject if patches else follow
    sources = [(BatchRow(SUBJECT_ONLY, tokens=PATCHES), strength - follow), (BatchRow(CONDITIONAL, tokens=PATCHES, vector=SEMANTICS), follow)] if patches \
        else [(BatchRow(SEMANTICS_ONLY, vector=SEMANTICS), follow)]
    return _plan([(BatchRow(UNCONDITIONAL), 1.0 - strength - caption), *sources, (BatchRow(CAPTION, tokens=TEXT), caption)], guided, every)


def infusion_guidance(guidance: float, every: int = 1) -> GuidancePlan:
    """Infusion's two streams (Zeng et al., 2024, fig. 4), each guided like plain text-to-image: four rows, or two at g = 1.

    Both start from the same noise, and each needs an unconditional row of its own: their latents part after the first step.
    The attention context's tokens must hold TEXT and EMPTY. `every`: as in `cafe_guidance`; between guided steps there are two rows.
    """
    rows = (BatchRow(UNCONDITIONAL, EMPTY), BatchRow(FOUNDATION_UNCONDITIONAL, EMPTY, stream=FOUNDATION), BatchRow(FOUNDATION, TEXT, stream=FOUNDATION),
            BatchRow(CUSTOMIZED, TEXT))
    return _streams(guidance, every, rows, (IMAGE, UNCONDITIONAL, CUSTOMIZED, 1.0), (FOUNDATION, FOUNDATION_UNCONDITIONAL, FOUNDATION, 1.0))


def dci_guidance(guidance: float, window: float, shared: bool = True, every: int = 1) -> GuidancePlan:
    """DCI's two branches: the concept's, whose latents become the picture, and the auxiliary one, alive for the first `window` of the
    steps: three rows there and two behind it (one fewer each at g = 1, where nothing is unconditional).

    Both branches are guided away from one unconditional prediction, which is made on the concept's latents; the two start from the
    same noise. `shared` False gives the auxiliary branch an unconditional row of its own, as a reference to compare with.
    The attention context's tokens must hold TEXT, AUXILIARY_TEXT and EMPTY.

    Args:
        window: T_a / T, 0 to 1; 0 is plain sampling of the fine-tuned model.
        every: as in `cafe_guidance`; between guided steps the unconditional row rests.

    Raises:
        ConfigError: a window outside 0 to 1.
    """
    if not 0.0 <= window <= 1.0:
        raise ConfigError(f"The window is {window}; it can be 0 to 1, a share of the steps.", "Choose a value in between.")
    none, concept = BatchRow(UNCONDITIONAL, EMPTY), BatchRow(CONCEPT, TEXT)
    if window == 0.0:
        return _streams(guidance, every, (none, concept), (IMAGE, UNCONDITIONAL, CONCEPT, 1.0))
    apart = AUXILIARY_UNCONDITIONAL if not shared else UNCONDITIONAL
    rows = (none, concept, BatchRow(AUXILIARY, AUXILIARY_TEXT, stream=AUXILIARY), *(() if shared else (BatchRow(apart, EMPTY, stream=AUXILIARY),)))
    return _streams(guidance, every, rows, (IMAGE, UNCONDITIONAL, CONCEPT, 1.0), (AUXILIARY, apart, AUXILIARY, window))
