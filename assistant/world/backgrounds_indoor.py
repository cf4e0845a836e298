"""Contexts seen from inside a hall or across a yard: library, stage, castle, farm. Same contract as scenery.py."""

from __future__ import annotations

import math

from .backgrounds_outdoor import LAMP, window
from .display_list import WHITE, Colour, DisplayList, at, mix, sides, sky, stars

SPINES = ((190, 62, 58), (52, 104, 160), (226, 170, 70), (70, 140, 96), (132, 84, 150), (222, 120, 70), (240, 226, 196),
          (60, 150, 150))


def library(s: DisplayList) -> None:
    s.indoors = True
    wall = s.rng.choice(((226, 200, 160), (196, 212, 190), (222, 190, 176)))
    s.gradient = s.by_light((mix(wall, WHITE, 0.35), wall), ((244, 160, 100), (252, 196, 128)),
                            ((36, 34, 66), (60, 50, 74)))
    s.rect(-0.05, 0.80, 1.05, 1.05, (156, 104, 66))
    window(s, s.rng.uniform(0.46, 0.54), 0.05, 0.24, 0.30, (150, 104, 66))
    carpet = s.rng.choice(((170, 62, 66), (64, 96, 142), (70, 124, 96)))
    s.oval(0.5, 0.91, 0.42, 0.085, carpet)
    s.oval(0.5, 0.91, 0.34, 0.062, mix(carpet, WHITE, 0.25), edge=False)
    big, small = sides(s)
    for side in (-1, 1):
        outer, inner = at(side, -0.03), at(side, s.rng.uniform(0.30, 0.335))
        x0, x1 = min(outer, inner), max(outer, inner)
        s.rect(x0, 0.03, x1, 0.87, (122, 78, 48))
        for row in range(4):
            top, foot = 0.065 + row * 0.20, 0.065 + row * 0.20 + 0.168
            s.rect(x0 + 0.018, top, x1 - 0.018, foot, (74, 46, 34), edge=False)
            x = x0 + 0.024
            while x < x1 - 0.05:
                w, h = s.rng.uniform(0.030, 0.046), s.rng.uniform(0.105, 0.155)
                s.rect(x, foot - h, x + w - 0.004, foot, s.rng.choice(SPINES))
                x += w
    x = at(big, 0.27)
    for dx in (0, 0.10 * big):  # a ladder leans on the fuller shelf
        s.line(((x + dx - 0.05 * big, 0.92), (x + dx, 0.10)), 0.018, (214, 164, 100))
    for i in range(6):
        y = 0.18 + i * 0.13
        u = x - 0.05 * big * (y - 0.10) / 0.82
        s.line(((u, y), (u + 0.10 * big, y)), 0.016, (214, 164, 100), edge=False)
    x = at(small, 0.17)
    if s.light != "day":
        s.glow(x, 0.66, 0.30, (255, 214, 120), 220)
    s.line(((x, 0.90), (x, 0.68)), 0.020, (196, 156, 76))
    s.poly(((x - 0.085, 0.70), (x - 0.045, 0.60), (x + 0.045, 0.60), (x + 0.085, 0.70)),
           s.by_light((66, 150, 100), (255, 226, 140), (255, 226, 140)), lit=s.light != "day")
    s.rect(x - 0.09, 0.87, x + 0.09, 0.91, (176, 120, 72))


def stage(s: DisplayList) -> None:
    """The painted cloth behind the actors shows the light: a bright morning, a setting sun, a moonlit night."""
    s.indoors = True
    s.gradient = s.by_light(((255, 238, 190), (255, 214, 150)), ((214, 84, 78), (255, 150, 72)),
                            ((16, 16, 48), (34, 30, 82)))
    x = s.rng.uniform(0.40, 0.60)
    if s.light == "sunset":
        s.disc(x, 0.58, 0.30, (255, 206, 96), lit=True)
    elif s.light == "night":
        stars(s, 12, 0.6)
        s.disc(s.rng.choice((0.31, 0.69)), 0.24, 0.07, (250, 244, 212), lit=True)
    lamps = ((s.rng.uniform(0.18, 0.26), 1), (s.rng.uniform(0.74, 0.82), -1))
    for _ in range(s.rng.randint(2, 4)):  # stars of gilt card hang on strings
        hx, hy = s.rng.uniform(0.30, 0.70), s.rng.uniform(0.19, 0.36)
        s.line(((hx, 0.08), (hx, hy)), 0.009, (120, 84, 60), edge=False)
        s.star(hx, hy, 0.042, (250, 206, 92), 5, 0.45, lit=True)
    for beam, way in lamps:
        s.poly(((beam - 0.02, 0.12), (beam + 0.02, 0.12), (beam + 0.43 * way, 0.84), (beam + 0.13 * way, 0.84)),
               s.by_light((255, 255, 244), (255, 240, 190), (190, 210, 255)), edge=False, lit=True,
               alpha=s.by_light(150, 100, 90))
    s.rect(-0.05, 0.79, 1.05, 1.05, (188, 128, 80))
    for y in (0.845, 0.91, 0.97):
        s.line(((-0.02, y), (1.02, y)), 0.009, (152, 98, 60), edge=False)
    s.oval(0.5, 0.875, 0.34, 0.058, s.by_light((255, 244, 214), (255, 226, 160), (196, 196, 226)), edge=False, lit=True,
           alpha=s.by_light(210, 180, 120))
    cloth = s.rng.choice(((196, 40, 52), (176, 34, 66), (206, 56, 44)))
    for side in (-1, 1):
        edge = s.rng.uniform(0.18, 0.27)
        for i in range(4):
            o0, o1 = edge * (1 - i / 4) + 0.01, edge * (1 - (i + 1) / 4) - 0.02
            tuck = 0.055 * (1 - i / 4)
            s.poly(((at(side, o0), 0.0), (at(side, o0 - 0.01), 0.34), (at(side, o0 - tuck), 0.56),
                    (at(side, o0 + 0.01), 0.85),
                    (at(side, o1), 0.85), (at(side, o1 - tuck * 0.3), 0.5), (at(side, o1), 0.0)),
                   mix(cloth, (90, 10, 40), 0.40 * (i % 2)))
        s.line(((at(side, edge - 0.035), 0.555), (at(side, -0.02), 0.60)), 0.028, (246, 200, 90))
    for i in range(6):
        cx = i / 5
        s.poly([(cx + 0.115 * math.cos(a / 8 * 3.1416), 0.075 + 0.085 * math.sin(a / 8 * 3.1416)) for a in range(9)],
               mix(cloth, (90, 10, 40), 0.3 * (i % 2)))
    s.rect(-0.05, -0.02, 1.05, 0.085, cloth)
    s.rect(-0.05, 0.07, 1.05, 0.088, (246, 200, 90), edge=False)
    for beam, way in lamps:
        s.poly(((beam - 0.045, 0.10), (beam + 0.02, 0.075), (beam + 0.055 * way, 0.165), (beam - 0.02 * way, 0.18)),
               (52, 52, 66))
        s.glow(beam + 0.018 * way, 0.175, 0.07, (255, 250, 210), 255)
    for i in range(7):
        s.disc(0.08 + i * 0.14, 0.99, 0.030, LAMP, lit=True)


def castle(s: DisplayList) -> None:
    sky(s, 0.62, 1)
    big, small = sides(s)
    stone = s.rng.choice(((198, 190, 196), (220, 204, 178), (190, 198, 212)))
    roof = s.rng.choice(((204, 74, 74), (84, 108, 190), (128, 86, 170), (60, 140, 140)))
    s.land(0.62, 0.02, (126, 180, 116), 1.0)
    wall = mix(stone, (90, 90, 120), 0.12)
    s.rect(0.16, 0.47, 0.84, 0.82, wall)
    for i in range(6):
        s.rect(0.20 + i * 0.11, 0.425, 0.255 + i * 0.11, 0.475, wall)
    s.rect(0.40, 0.26, 0.60, 0.60, mix(stone, (90, 90, 120), 0.2))
    s.poly(((0.37, 0.27), (0.5, 0.08), (0.63, 0.27)), mix(roof, WHITE, 0.12))
    for side, top, half in ((big, s.rng.uniform(0.26, 0.31), 0.105), (small, s.rng.uniform(0.34, 0.40), 0.095)):
        tower(s, at(side, s.rng.uniform(0.14, 0.18)), top, half, stone, roof)
    s.land(0.785, 0.010, (144, 196, 112), 1.0)
    s.poly(((0.38, 0.78), (0.62, 0.78), (0.80, 1.02), (0.20, 1.02)), (226, 208, 170))
    for side in (-1, 1):
        s.bumpy(at(side, s.rng.uniform(0.06, 0.14)), 0.83, 0.10, 0.06, 7, 0.18, (86, 156, 84))


def tower(s: DisplayList, x: float, top: float, half: float, stone: Colour, roof: Colour) -> None:
    s.rect(x - half, top, x + half, 0.82, stone)
    s.rect(x + half * 0.35, top, x + half, 0.82, mix(stone, (80, 80, 120), 0.2), edge=False)
    s.rect(x - half * 1.2, top, x + half * 1.2, top + 0.04, mix(stone, WHITE, 0.25))
    peak = top - half * 1.75
    s.poly(((x - half * 1.3, top), (x, peak), (x + half * 1.3, top)), roof)
    s.line(((x, peak + 0.01), (x, peak - 0.085)), 0.012, (96, 84, 84), edge=False)
    s.poly(((x, peak - 0.085), (x + 0.085, peak - 0.058), (x, peak - 0.03)), (246, 190, 60))
    glass = s.by_light((74, 82, 116), (255, 220, 120), LAMP)
    for y in (top + 0.10, top + 0.25):
        if s.light == "night":
            s.glow(x, y + 0.03, 0.09, LAMP, 160)
        s.poly(((x - 0.026, y + 0.075), (x - 0.026, y + 0.02), (x, y - 0.012), (x + 0.026, y + 0.02),
                (x + 0.026, y + 0.075)), glass, lit=True)


def farm(s: DisplayList) -> None:
    sky(s, 0.55, 1)
    big, small = sides(s)
    s.land(0.545, 0.02, (150, 196, 110), 1.0)
    s.land(0.615, 0.012, (236, 206, 96), 1.2)
    for i in range(9):
        x = 0.5 + (i - 4) * 0.16
        s.poly(((0.5 + (x - 0.5) * 0.5, 0.64), (0.5 + (x - 0.5) * 0.5 + 0.02, 0.64), (x + 0.04, 0.80),
                (x - 0.03, 0.80)), (206, 168, 66), edge=False)
    silo = at(big, 0.335)
    s.rect(silo - 0.05, 0.34, silo + 0.05, 0.72, (206, 212, 220))
    s.poly([(silo + 0.055 * math.cos(a / 8 * 3.1416), 0.345 - 0.065 * math.sin(a / 8 * 3.1416)) for a in range(9)],
           (150, 162, 180))
    x, red = at(big, s.rng.uniform(0.13, 0.16)), s.rng.choice(((200, 58, 50), (184, 50, 56), (206, 76, 50)))
    s.poly(((x - 0.16, 0.78), (x - 0.16, 0.47), (x - 0.115, 0.34), (x, 0.25), (x + 0.115, 0.34), (x + 0.16, 0.47),
            (x + 0.16, 0.78)), red)
    s.line(((x - 0.18, 0.49), (x - 0.125, 0.335), (x, 0.24), (x + 0.125, 0.335), (x + 0.18, 0.49)), 0.030,
           (108, 72, 70))
    s.rect(x - 0.085, 0.56, x + 0.085, 0.78, WHITE)
    s.rect(x - 0.065, 0.58, x + 0.065, 0.78, mix(red, (90, 20, 30), 0.25), edge=False)
    for way in (-1, 1):
        s.line(((x - 0.065 * way, 0.585), (x + 0.065 * way, 0.775)), 0.018, WHITE, edge=False)
    if s.light == "night":
        s.glow(x, 0.41, 0.12, LAMP, 180)
    s.rect(x - 0.04, 0.375, x + 0.04, 0.445, s.by_light((250, 240, 214), LAMP, LAMP), lit=True)
    if s.rng.random() < 0.5:
        windmill(s, at(small, s.rng.uniform(0.13, 0.18)))
    else:
        s.rect(at(small, 0.14) - 0.02, 0.52, at(small, 0.14) + 0.02, 0.74, (120, 82, 54))
        s.bumpy(at(small, 0.14), 0.44, 0.15, 0.16, 8, 0.16, (92, 160, 76))
        for dx, dy in ((-0.07, 0.0), (0.05, -0.06), (0.02, 0.07), (0.09, 0.04)):
            s.disc(at(small, 0.14) + dx, 0.44 + dy, 0.020, (224, 62, 56), edge=False)
    s.land(0.775, 0.010, (146, 190, 92), 1.0)
    for side in (-1, 1):
        for i in range(3):
            fx = at(side, 0.02 + i * 0.125)
            s.rect(fx - 0.016, 0.72, fx + 0.016, 0.86, (166, 116, 74))
        for y in (0.75, 0.81):
            s.line(((at(side, -0.02), y), (at(side, 0.30), y)), 0.020, (186, 134, 88))
    bx, by = at(small, s.rng.uniform(0.10, 0.20)), 0.885
    s.oval(bx, by, 0.085, 0.075, (232, 190, 84))
    s.oval(bx, by, 0.05, 0.044, (206, 158, 62), edge=False)


def windmill(s: DisplayList, x: float) -> None:
    s.poly(((x - 0.075, 0.76), (x - 0.045, 0.38), (x + 0.045, 0.38), (x + 0.075, 0.76)), (240, 226, 204))
    s.poly(((x - 0.06, 0.385), (x, 0.31), (x + 0.06, 0.385)), (176, 90, 70))
    turn = s.rng.uniform(0, 1.57)
    for i in range(4):
        a = turn + i * 1.5708
        u, v, r = math.cos(a), math.sin(a), 0.17
        s.poly(((x, 0.385), (x + u * r, 0.385 + v * r), (x + u * r - v * 0.045, 0.385 + v * r + u * 0.045),
                (x + u * 0.04 - v * 0.045, 0.385 + v * 0.04 + u * 0.045)), (206, 120, 84))


HALLS = {"library": library, "stage": stage, "castle": castle, "farm": farm}
