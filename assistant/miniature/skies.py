"""Skies by day, sunset and night, and the two sides of a frame. Knows no context."""

from __future__ import annotations

from assistant.miniature.sheet import Colour, Sheet

WHITE = (252, 252, 250)
BLUE = ((96, 182, 240), (196, 232, 250))


def sides(s: Sheet) -> tuple[float, float]:
    """The two sides of the frame in random order, as -1 and 1: where the larger and the smaller telling thing go."""
    return s.rng.choice(((-1, 1), (1, -1)))


def at(side: float, offset: float) -> float:
    """The x that lies `offset` inside the frame from its left (-1) or right (1) edge."""
    return offset if side < 0 else 1 - offset


def stars(s: Sheet, count: int, low: float = 0.5) -> None:
    for i in range(count):
        x = (i + s.rng.uniform(0.1, 0.9)) / count
        s.star(x, s.rng.uniform(0.03, low), s.rng.uniform(0.014, 0.026), (255, 246, 206), edge=False, lit=True)


def sky(s: Sheet, horizon: float = 0.6, clouds: int = 2, day: tuple[Colour, ...] = BLUE) -> None:
    """Gradient, sun or moon, and clouds or stars; `day` is the gradient by day."""
    s.gradient = s.by_light(day, ((112, 74, 150), (238, 112, 92), (255, 190, 96), (255, 222, 150)),
                            ((10, 14, 50), (26, 38, 96), (56, 74, 140)))
    side = s.rng.choice((-1, 1))
    x = at(side, s.rng.uniform(0.12, 0.24))
    if s.light == "day":
        y = s.rng.uniform(0.11, 0.17)
        s.glow(x, y, 0.26, (255, 250, 200), 190)
        s.disc(x, y, 0.075, (255, 226, 92), lit=True)
    elif s.light == "sunset":
        y = horizon - s.rng.uniform(0.10, 0.16)
        s.glow(x, y, 0.55, (255, 232, 130), 220)
        s.disc(x, y, 0.115, (255, 240, 164), lit=True)
    else:
        y = s.rng.uniform(0.12, 0.18)
        s.glow(0.5, horizon, 1.25, (92, 126, 206), 235, 0.46)  # haze in moonlight, for things to stand out against
        stars(s, 15, horizon - 0.08)
        s.glow(x, y, 0.24, (150, 176, 240), 150)
        s.disc(x, y, 0.078, (250, 244, 212), lit=True)
        s.disc(x - 0.022, y - 0.018, 0.017, (222, 214, 184), edge=False, lit=True)
        s.disc(x + 0.026, y + 0.022, 0.022, (222, 214, 184), edge=False, lit=True)
    fluff = s.by_light(WHITE, (255, 176, 140), (66, 84, 146))
    for i in range(clouds if s.light != "night" else min(1, clouds)):
        s.cloud(at(-side if i % 2 == 0 else side, s.rng.uniform(0.14, 0.34)), s.rng.uniform(0.16, 0.30) + 0.1 * (i > 0),
                s.rng.uniform(0.24, 0.34), fluff, lit=True)
