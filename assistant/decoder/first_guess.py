"""A first guess of the whole picture, from which a small decoder need not invent everything out of noise.

E's class token and F are read into names (which kind, which colours, which place), and a book of each kind, linear in what was
read and fitted in closed form, lays the subject on a background, and what it wears over both: a picture book is made of a stage
set, a hero and a wardrobe. The decoder
takes it from there, as SDEdit (Meng et al., 2022) goes on from a drawn sketch. That what a picture shows passes through names is
a concept bottleneck (Koh et al., 2020). Not part of CAFE: full size has none.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..config import GuessConfig

DECIDED = 5.0  # times as sure of all but colours: between two colours there is a colour, between two styles or places a fog
SURE = 15.0  # and of what there is a whole of or nothing: half a hat, two layouts of spots at once
WHOLE = ("coat", "eyes", "pose", "worn")
VOICE = 0.3  # how much what F says of the subject counts beside what E says, who has seen it
SHADES = 5  # what a colour is to a linear form: red, green, blue, whether its outline is light, whether it is dark beside a sky
INKS = 1 + SHADES  # one, and the shades


def subject_names(config: GuessConfig) -> dict[str, int]:
    """What is read of the subject, and how many there are of each; the first coat is the plain one."""
    return {"kind": config.kinds, "colour": config.colours, "second": config.colours,
            "coat": 1 + config.patterns * config.layouts, "eyes": config.eyes}


def scene_names(config: GuessConfig) -> dict[str, int]:
    """What is read of the scene; what is worn, by its colour, 0 for nothing."""
    return {"context": config.contexts, "light": config.lights, "style": config.styles, "pose": config.poses,
            **{f"worn{k}": 1 + config.colours for k in range(config.worn)}}


class Reader(nn.Module):
    """(B, width) -> logits (B, count) of every name."""

    def __init__(self, width: int, hidden: int, counts: Mapping[str, int]) -> None:
        super().__init__()
        self.counts = dict(counts)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(),
                                    nn.Linear(hidden, sum(counts.values())))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))

    @torch.no_grad()
    def standardise(self, x: Tensor) -> None:
        """Take the middle and the spread of what is read from (N, width)."""
        self.mean.copy_(x.float().mean(0)), self.deviation.copy_(x.float().std(0) + 1e-3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        out = self.layers((x.to(self.mean.dtype) - self.mean) / self.deviation)
        return dict(zip(self.counts, out.split(list(self.counts.values()), 1)))


def both(a: Tensor, b: Tensor) -> Tensor:
    """(B, n), (B, m) -> (B, n * m): every product."""
    return (a[:, :, None] * b[:, None]).flatten(1)


class FirstGuess(nn.Module):
    """E's class token and F(target) or H(s) -> latents: a background, a subject, and an outline that lays one over the other.

    Args:
        patch_width, semantic_width: d_E and d_F.
        config: how many there are of each name.
        shape: (C, h, w) of the latents.
    """

    def __init__(self, patch_width: int, semantic_width: int, config: GuessConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config, self.shape = config, shape
        subject, scene = subject_names(config), scene_names(config)
        self.subject = Reader(patch_width, config.hidden, subject)
        self.scene = Reader(semantic_width, config.hidden, {**scene, **subject})
        self.register_buffer("palette", torch.zeros(config.colours, SHADES))
        places, size = shape[1] * shape[2], shape[0] * shape[1] * shape[2]
        blank = self.features({k: torch.zeros(1, n) for k, n in {**scene, **subject}.items()})[0]
        self.background = nn.Parameter(torch.zeros(config.contexts * config.lights * config.styles, size))
        self.outline = nn.Parameter(torch.zeros(config.kinds * config.poses * config.styles, places))
        self.index = nn.ParameterList(torch.zeros(blank.shape[1], config.rank) for _ in range(config.kinds))
        self.pages = nn.ParameterList(torch.zeros(config.rank, size) for _ in range(config.kinds))
        looks = config.poses * config.worn * (1 + config.styles) * INKS
        self.cover = nn.Parameter(torch.zeros(config.kinds * config.poses * config.worn, places))
        self.wardrobe = nn.ParameterList(torch.zeros(looks, config.worn_rank) for _ in range(config.kinds))
        self.cloth = nn.ParameterList(torch.zeros(config.worn_rank, size) for _ in range(config.kinds))

    def features(self, read: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Shares of every name, (B, count) each -> what a kind's book is linear in (B, f), and each one's ridge (f,).

        A picture of painted shapes is linear in their colours once the shapes are known, and a pattern only exchanges one
        colour for the other where its marks are: hence products, and the difference of the two colours. The less often a
        product is seen, and the less it should matter, the more it is held at zero.
        """
        one = torch.ones_like(read["kind"][:, :1])
        shades = self.palette[:, :-1]
        first, second = read["colour"] @ shades, read["second"] @ shades
        paint, change = torch.cat([one, first, second], 1), second - first
        pose, style, coat = read["pose"], read["style"], read["coat"]
        marks = coat[:, 1:]
        pattern = marks.unflatten(1, (self.config.patterns, -1)).sum(2)
        tone = both(read["colour"] @ self._tone(), read["second"] @ self._tone())  # a halo is light or dark, by what it is behind
        groups = ((both(pose, paint), 0.3), (both(both(pose, style), paint), 1.0), (both(both(pose, marks), change), 1.0),
                  (both(both(style, pattern), change), 2.0), (both(both(pose, coat[:, :1]), paint), 1.0),
                  (both(pose, read["eyes"]), 1.0), (both(both(pose, read["light"]), paint), 2.0), (both(pose, read["context"]), 3.0),
                  (both(style, read["eyes"]), 2.0), (both(both(pose, style), tone), 2.0))
        ridge = torch.cat([torch.full_like(g[0], weight) for g, weight in groups])
        return torch.cat([g for g, _ in groups], 1), ridge

    def _tone(self) -> Tensor:
        """(colours, 2): dark, or not."""
        dark = self.palette[:, -1:]
        return torch.cat([dark, 1 - dark], 1)

    def looks(self, read: Mapping[str, Tensor]) -> Tensor:
        """What each kind's wardrobe is linear in, (B, poses * worn * (1 + styles) * INKS): a thing's colours, and what a style makes
        of them."""
        things = [w for k, w in read.items() if k.startswith("worn")]
        inks = torch.cat([torch.cat([1 - w[:, :1], w[:, 1:] @ self.palette], 1) for w in things], 1)  # (B, worn * INKS)
        style = torch.cat([torch.ones_like(inks[:, :1]), read["style"]], 1)
        return both(both(read["pose"], style), inks)

    def read(self, patches: Tensor | None, semantics: Tensor | None, keep_subject: float = 1.0,
             follow_words: float = 1.0) -> dict[str, Tensor]:
        """The share of every name, (B, count), that E(x) (B, N, d_E), the class token first, and F (B, d_F) speak for.

        A strength multiplies the logits: 0 leaves every name as likely as the others, more than 1 makes the likeliest
        surer. Of the subject F speaks as far as E is left out, and else with a small VOICE.
        """
        given = patches if patches is not None else semantics
        if given is None:
            raise ValueError("A first guess needs E(x) or F.")
        logits = {k: torch.zeros(len(given), n, device=given.device, dtype=self.palette.dtype) for k, n in self.scene.counts.items()}
        if semantics is not None:
            left = 1.0 if patches is None else max(VOICE, 1.0 - keep_subject)
            for k, found in self.scene(semantics).items():
                logits[k] = follow_words * (left if k in self.subject.counts else 1.0) * found
        if patches is not None:
            for k, found in self.subject(patches[:, 0]).items():
                logits[k] = logits[k] + keep_subject * found
        return {k: ((1.0 if k in ("colour", "second") else SURE if k.startswith(WHOLE) else DECIDED) * v).softmax(1) for k, v in logits.items()}

    def background_of(self, read: Mapping[str, Tensor]) -> Tensor:
        """(B, C, h * w)."""
        return (both(both(read["context"], read["light"]), read["style"]) @ self.background).unflatten(1, (self.shape[0], -1))

    def outline_of(self, read: Mapping[str, Tensor]) -> Tensor:
        """(B, h * w) in [0, 1]: how much of each place the subject hides."""
        return (both(both(read["kind"], read["pose"]), read["style"]) @ self.outline).clamp(0, 1)

    def cover_of(self, read: Mapping[str, Tensor]) -> Tensor:
        """(B, h * w) in [0, 1]: how much of each place is hidden by what the subject wears."""
        worn = torch.cat([1 - w[:, :1] for k, w in read.items() if k.startswith("worn")], 1)
        return (both(both(read["kind"], read["pose"]), worn) @ self.cover).clamp(0, 1)

    def draw(self, read: Mapping[str, Tensor], least: float = 0.0) -> Tensor:
        """Shares of every name -> scaled latents (B, C, h, w). A kind with no more than the share `least` in a picture is left out of
        it, which is as much faster as most kinds are."""
        told, looks = self.features(read)[0], self.looks(read)
        subject = told.new_zeros(2, len(told), self.background.shape[1])  # and what it wears
        books = zip(self.index, self.pages, self.wardrobe, self.cloth)
        for k, (index, pages, wardrobe, cloth) in enumerate(books):
            at = (read["kind"][:, k] > least).nonzero()[:, 0]
            drawn = torch.stack([told[at] @ index @ pages, looks[at] @ wardrobe @ cloth])
            subject = subject.index_add(1, at, read["kind"][at, k:k + 1] * drawn)
        bare, worn = subject.unflatten(2, (self.shape[0], -1))
        bare = bare + (1 - self.outline_of(read))[:, None] * self.background_of(read)
        return ((1 - self.cover_of(read))[:, None] * bare + worn).unflatten(2, self.shape[1:])

    @torch.no_grad()
    def forward(self, patches: Tensor | None, semantics: Tensor | None, keep_subject: float = 1.0, follow_words: float = 1.0) -> Tensor:
        """What `read` finds, drawn: float32 (B, C, h, w)."""
        return self.draw(self.read(patches, semantics, keep_subject, follow_words)).float()
