"""The sixteen contexts as display lists.

A context's telling things stand left, right and above, since a subject covers the middle. Every layout is drawn afresh from the scene's own seed.
"""

import math
import random

from .display_list import LAMP, WHITE, Colour, DisplayList, at, cactus, mix, palm, sides, sky, stars, tower, windmill, window
from .scene import Scene

GROUND = 0.86  # where a subject's feet are, as a fraction of the frame's height
SPINES = ((190, 62, 58), (52, 104, 160), (226, 170, 70), (70, 140, 96), (132, 84, 150), (222, 120, 70), (240, 226, 196), (60, 150, 150))


def space(s: DisplayList) -> None:
    """Day: a sunlit nebula. Sunset: a huge planet burning at the horizon. Night: black, with stars and a blue world."""
    s.gradient = s.by_light(((86, 70, 190), (128, 96, 222), (120, 168, 240)), ((40, 18, 62), (120, 40, 84), (240, 118, 60)),
                            ((4, 4, 14), (8, 8, 24), (14, 14, 38)))
    big, small = sides(s)
    if s.light == "day":
        for _ in range(4):
            s.glow(s.rng.uniform(0, 1), s.rng.uniform(0.05, 0.6), s.rng.uniform(0.22, 0.34), s.rng.choice(((255, 150, 226), (120, 220, 255))), 120)
    stars(s, 20 if s.light == "night" else 14, 0.66)
    x, y = at(big, s.rng.uniform(0.13, 0.19)), s.rng.uniform(0.16, 0.26)
    hue = s.rng.choice(((236, 150, 92), (226, 112, 140), (110, 196, 190), (240, 196, 110)))
    ringed(s, x, y, s.rng.uniform(0.09, 0.12), hue)
    x, y = at(small, s.rng.uniform(0.10, 0.18)), s.rng.uniform(0.10, 0.18)
    if s.light == "day":
        s.glow(x, y, 0.32, (255, 244, 170), 240)
        s.disc(x, y, 0.085, (255, 232, 110), lit=True)
    elif s.light == "sunset":
        s.glow(at(small, 0.16), 0.58, 0.52, (255, 190, 90), 220)
        s.disc(at(small, 0.16), 0.60, 0.25, (255, 166, 66), lit=True)
        s.oval(at(small, 0.16), 0.56, 0.19, 0.022, (244, 128, 54), edge=False, lit=True)
        s.disc(x, y, 0.045, (214, 150, 170), lit=True)
    else:
        s.disc(x, y, 0.085, (70, 140, 226), lit=True)
        s.bumpy(x - 0.02, y - 0.01, 0.042, 0.036, 5, 0.3, (94, 190, 116), edge=False, lit=True)
        s.disc(x + 0.045, y + 0.035, 0.018, (240, 246, 255), edge=False, lit=True)
    rocket(s, at(small, s.rng.uniform(0.10, 0.20)), s.rng.uniform(0.40, 0.48), -small * 0.35)
    s.land(0.735, 0.02, (150, 148, 172), 0.8)
    s.land(0.80, 0.014, (182, 180, 200), 0.7)
    for side in (-1, 1):
        cx, cy = at(side, s.rng.uniform(0.06, 0.26)), s.rng.uniform(0.87, 0.95)
        s.oval(cx, cy, 0.075, 0.026, (138, 136, 162))
        s.oval(at(-side, s.rng.uniform(0.04, 0.3)), 0.83, 0.045, 0.014, (150, 148, 172), edge=False)


def ringed(s: DisplayList, x: float, y: float, r: float, hue: Colour) -> None:
    def band(a0: int, a1: int):
        return [(x + r * 1.85 * math.cos(math.radians(a)), y + r * 0.45 * math.sin(math.radians(a)) - 0.25 * r * math.cos(math.radians(a)))
                for a in range(a0, a1 + 1, 15)]

    s.line(band(180, 360), 0.022, mix(hue, WHITE, 0.55), lit=True)
    s.disc(x, y, r, hue, lit=True)
    s.oval(x - r * 0.1, y - r * 0.35, r * 0.62, r * 0.14, mix(hue, WHITE, 0.3), edge=False, lit=True)
    s.line(band(0, 180), 0.022, mix(hue, WHITE, 0.55), lit=True)


def rocket(s: DisplayList, x: float, y: float, tilt: float) -> None:
    c, d, k = math.cos(tilt), math.sin(tilt), 0.105

    def turned(*points):
        return [(x + k * (u * c - v * d), y + k * (u * d + v * c)) for u, v in points]

    s.poly(turned((-0.3, 0.8), (0, 1.7), (0.3, 0.8)), (255, 190, 70), lit=True)
    s.poly(turned((-0.4, 0.2), (-0.85, 0.95), (-0.3, 0.8)), (222, 66, 70))
    s.poly(turned((0.4, 0.2), (0.85, 0.95), (0.3, 0.8)), (222, 66, 70))
    s.poly(turned((-0.34, 0.85), (-0.46, 0.1), (-0.32, -0.6), (0, -1.15), (0.32, -0.6), (0.46, 0.1), (0.34, 0.85)), (244, 244, 250))
    s.poly(turned((-0.32, -0.6), (0, -1.15), (0.32, -0.6)), (222, 66, 70), edge=False)
    s.disc(*turned((0, -0.1))[0], k * 0.21, (84, 160, 220), edge=False)


def underwater(s: DisplayList) -> None:
    s.gradient = s.by_light(((120, 222, 236), (52, 170, 208), (28, 112, 172)), ((255, 178, 120), (192, 116, 150), (70, 70, 140)),
                            ((10, 30, 78), (8, 20, 62), (6, 12, 44)))
    ray = s.by_light((230, 255, 255), (255, 226, 160), (120, 160, 240))
    for i in range(3):
        x = 0.16 + 0.34 * i + s.rng.uniform(-0.08, 0.08)
        s.poly(((x - 0.03, -0.02), (x + 0.06, -0.02), (x + 0.16, 0.80), (x - 0.12, 0.80)), ray, edge=False, lit=True, alpha=s.by_light(58, 70, 26))
    big, small = sides(s)
    s.land(0.76, 0.02, (196, 176, 130), 0.9)
    s.land(0.81, 0.014, (236, 214, 158), 0.8)
    for side in (-1, 1):
        for _ in range(3):
            weed(s, at(side, s.rng.uniform(0.02, 0.17)), s.rng.uniform(0.82, 0.90), s.rng.uniform(0.30, 0.52),
                 s.rng.choice(((40, 150, 84), (86, 178, 74), (30, 128, 104))))
    coral(s, at(big, s.rng.uniform(0.17, 0.22)), 0.87, s.rng.choice(((240, 96, 110), (246, 140, 84), (214, 96, 178))))
    hues = [(250, 170, 50), (250, 220, 80), (244, 106, 96), (160, 110, 220)]
    s.rng.shuffle(hues)
    for (side, y), hue in zip(((small, 0.20), (big, 0.33), (small, 0.50), (big, 0.10)), hues):
        fish(s, at(side, s.rng.uniform(0.12, 0.24)), y + s.rng.uniform(-0.03, 0.03), s.rng.uniform(0.055, 0.07), s.rng.choice((-1, 1)), hue)
    for i in range(9):
        x, y, r = at((-1, 1)[i % 2], s.rng.uniform(0.04, 0.38)), s.rng.uniform(0.05, 0.70), s.rng.uniform(0.013, 0.026)
        s.disc(x, y, r, (214, 246, 255), lit=True, alpha=s.by_light(210, 190, 110))
        s.disc(x, y, r * 0.55, s.by_light((110, 206, 226), (226, 160, 150), (24, 52, 104)), edge=False, lit=True)
    if s.light == "night":
        for side in (-1, 1):  # jellyfish give light
            x, y = at(side, s.rng.uniform(0.10, 0.30)), s.rng.uniform(0.08, 0.24) + 0.34 * (side == small)
            s.glow(x, y, 0.17, (130, 220, 255), 170)
            s.dome(x, y, 0.06, 0.062, (176, 236, 255), lit=True)
            for dx in (-0.035, 0, 0.035):
                s.line(((x + dx, y), (x + dx + 0.012, y + 0.04), (x + dx - 0.008, y + 0.09)), 0.012, (150, 212, 250), edge=False, lit=True)
    s.star(at(small, s.rng.uniform(0.08, 0.24)), 0.935, 0.042, (240, 120, 84), 5, 0.5)


def weed(s: DisplayList, x: float, foot: float, h: float, hue: Colour) -> None:
    phase = s.rng.uniform(0, 6.28)
    s.strip([(x + 0.026 * math.sin(phase + 8 * t), foot - h * t, 0.024 * (1 - t) + 0.004) for t in (i / 12 for i in range(13))], hue)


def coral(s: DisplayList, x: float, foot: float, hue: Colour) -> None:
    for dx, h in ((-0.075, 0.13), (0.075, 0.12), (-0.03, 0.20), (0.04, 0.18)):
        s.line(((x, foot), (x + dx * 0.6, foot - h * 0.5), (x + dx, foot - h)), 0.030, hue)


def fish(s: DisplayList, x: float, y: float, r: float, way: int, hue: Colour) -> None:
    s.poly(((x - way * r * 0.7, y), (x - way * r * 1.7, y - r * 0.7), (x - way * r * 1.7, y + r * 0.7)), mix(hue, (120, 40, 40), 0.2))
    s.oval(x, y, r, r * 0.62, hue)
    s.line(((x, y - r * 0.5), (x, y + r * 0.5)), r * 0.26, mix(hue, WHITE, 0.6), edge=False)
    s.disc(x + way * r * 0.55, y - r * 0.12, r * 0.16, (30, 34, 50), edge=False)


def city(s: DisplayList) -> None:
    sky(s, 0.62, 1)
    far, x = (150, 170, 200), -0.04
    while x < 1.0:
        w = s.rng.uniform(0.10, 0.15)
        s.rect(x, s.rng.uniform(0.30, 0.46), x + w, 0.80, far, edge=False)
        x += w
    pane = s.by_light((206, 232, 246), (255, 214, 120), LAMP)
    for side in (-1, 1):
        for offset, wide, top in ((0.31, 0.13, 0.42), (0.17, 0.17, 0.20), (0.03, 0.15, 0.34)):
            x, top = at(side, offset + s.rng.uniform(-0.02, 0.02)), top + s.rng.uniform(-0.07, 0.06)
            wall = s.rng.choice(((214, 112, 92), (92, 132, 176), (226, 176, 112), (126, 116, 164), (88, 152, 150), (190, 190, 196)))
            s.rect(x - wide / 2, top, x + wide / 2, 0.80, wall)
            if s.rng.random() < 0.5:
                s.line(((x, top), (x, top - 0.08)), 0.012, mix(wall, (40, 40, 60), 0.4), edge=False)
            for row in range(int((0.74 - top) / 0.085)):
                for col in (-1, 0, 1):
                    on = s.light != "night" or s.rng.random() < 0.62
                    wx, wy = x + col * wide * 0.29, top + 0.035 + row * 0.085
                    s.rect(wx - 0.016, wy, wx + 0.016, wy + 0.045, pane if on else (40, 48, 82), edge=False, lit=True)
    s.rect(-0.05, 0.775, 1.05, 1.05, (196, 196, 200))
    s.rect(-0.05, 0.905, 1.05, 1.05, (104, 108, 120))
    for i in range(5):
        s.rect(0.02 + i * 0.22, 0.945, 0.13 + i * 0.22, 0.965, (240, 226, 150), edge=False)
    x, way = (0.075, 1) if s.rng.random() < 0.5 else (0.925, -1)
    s.line(((x, 0.88), (x, 0.42), (x + 0.075 * way, 0.42)), 0.020, (58, 64, 82))
    if s.light != "day":
        s.glow(x + 0.08 * way, 0.46, 0.20, (255, 226, 130), 220)
    s.poly(((x + 0.04 * way, 0.455), (x + 0.08 * way, 0.405), (x + 0.12 * way, 0.455)), (58, 64, 82))
    s.oval(x + 0.08 * way, 0.462, 0.028, 0.022, s.by_light((240, 244, 236), (255, 240, 170), (255, 244, 184)), lit=True)


def garden(s: DisplayList) -> None:
    sky(s, 0.6, 1)
    for i in range(6):
        s.bumpy(i / 5 + s.rng.uniform(-0.05, 0.05), 0.60, 0.15, s.rng.uniform(0.14, 0.20), 7, 0.16, mix((72, 150, 84), (110, 180, 92), s.rng.random()))
    for i in range(9):
        x = 0.02 + i * 0.12
        s.poly(((x - 0.036, 0.80), (x - 0.036, 0.50), (x, 0.45), (x + 0.036, 0.50), (x + 0.036, 0.80)), (250, 248, 242))
    for y in (0.56, 0.70):
        s.rect(-0.05, y, 1.05, y + 0.034, (236, 232, 224))
    s.land(0.755, 0.010, (124, 188, 92), 1.0)
    hues = [(240, 92, 110), (250, 200, 70), (236, 130, 200), (160, 110, 220), (250, 140, 70)]
    for side in (-1, 1):
        for offset, foot, h in ((0.24, 0.82, 0.20), (0.04, 0.88, 0.28), (0.15, 0.90, 0.37 if s.rng.random() < 0.6 else 0.52)):
            x = at(side, offset + s.rng.uniform(-0.02, 0.02))
            h *= s.rng.uniform(0.9, 1.1)
            flower(s, x, foot, h, s.rng.choice(hues), h > 0.45)
    if s.rng.random() < 0.8 and s.light != "night":
        x, y, hue = at(s.rng.choice((-1, 1)), s.rng.uniform(0.16, 0.28)), s.rng.uniform(0.30, 0.40), s.rng.choice(hues)
        for way in (-1, 1):
            s.oval(x + way * 0.030, y - 0.018, 0.030, 0.032, hue)
            s.oval(x + way * 0.022, y + 0.022, 0.021, 0.021, mix(hue, WHITE, 0.3))


def flower(s: DisplayList, x: float, foot: float, h: float, hue: Colour, sunflower: bool) -> None:
    top, r = foot - h, 0.085 if sunflower else s.rng.uniform(0.056, 0.07)
    s.line(((x, foot), (x, top)), 0.018, (58, 136, 66))
    for way in (-1, 1):
        y = foot - h * 0.36
        s.poly(((x, y + 0.03), (x + way * 0.045, y - 0.035), (x + way * 0.075, y - 0.03), (x + way * 0.05, y + 0.015)), (84, 164, 74))
    s.bumpy(x, top, r, r, 12 if sunflower else s.rng.choice((5, 6, 8)), 0.36, (250, 200, 50) if sunflower else hue)
    s.disc(x, top, r * 0.42, (126, 80, 44) if sunflower else (255, 226, 120), edge=False)


def kitchen(s: DisplayList) -> None:
    s.indoors = True
    wall = s.rng.choice(((250, 232, 198), (214, 236, 224), (252, 222, 206), (214, 228, 244)))
    s.gradient = s.by_light((mix(wall, WHITE, 0.3), wall), ((250, 176, 116), (255, 206, 140)), ((40, 44, 86), (66, 64, 104)))
    big, small = sides(s)
    tile = mix(wall, WHITE, 0.6)
    s.rect(-0.05, 0.44, 1.05, 0.80, tile, edge=False)
    for i in range(12):
        s.line(((i * 0.095, 0.44), (i * 0.095, 0.80)), 0.010, mix(wall, (150, 150, 160), 0.28), edge=False)
    for y in (0.44, 0.535, 0.63, 0.725):
        s.line(((-0.02, y), (1.02, y)), 0.010, mix(wall, (150, 150, 160), 0.28), edge=False)
    floor = s.rng.choice(((198, 110, 84), (96, 140, 166), (120, 160, 120)))
    s.rect(-0.05, 0.79, 1.05, 1.05, mix(floor, WHITE, 0.62))
    for row in range(3):
        for col in range(-1, 9):
            if (row + col) % 2 == 0:
                y, spread = 0.79 + 0.075 * row, 1 + 0.12 * row
                xs = [0.5 + (col * 0.14 - 0.5 + dx) * spread for dx in (0, 0.14)]
                s.poly(((xs[0], y), (xs[1], y), (0.5 + (xs[1] - 0.5) * 1.1, y + 0.075), (0.5 + (xs[0] - 0.5) * 1.1, y + 0.075)), mix(floor, WHITE, 0.32),
                       edge=False)
    x = at(small, s.rng.uniform(0.16, 0.19))
    window(s, x, s.rng.uniform(0.12, 0.15), 0.22, 0.26, (250, 248, 240))
    cloth = s.rng.choice(((226, 84, 84), (84, 150, 200), (240, 180, 70)))
    s.poly(((x - 0.15, 0.075), (x + 0.15, 0.075), (x + 0.15, 0.16), (x + 0.09, 0.135), (x, 0.165), (x - 0.09, 0.135), (x - 0.15, 0.16)), cloth)
    wood = s.rng.choice(((176, 124, 80), (232, 224, 210), (110, 158, 160)))
    s.rect(x - 0.22, 0.62, x + 0.17, 0.88, wood)
    s.rect(x - 0.24, 0.595, x + 0.19, 0.63, mix(wood, (80, 60, 50), 0.35))
    for dx in (-0.10, 0.065):
        s.rect(x + dx - 0.065, 0.665, x + dx + 0.065, 0.85, mix(wood, WHITE, 0.25))
    s.poly(((x - 0.045, 0.53), (x + 0.045, 0.53), (x + 0.032, 0.597), (x - 0.032, 0.597)), (214, 106, 72))
    s.bumpy(x, 0.49, 0.065, 0.055, 6, 0.25, (84, 164, 84))
    stove(s, at(big, 0.155))
    lx = s.rng.uniform(0.44, 0.56)
    s.line(((lx, -0.02), (lx, 0.06)), 0.012, (80, 70, 80), edge=False)
    if s.light != "day":
        s.glow(lx, 0.13, 0.42 if s.light == "night" else 0.26, (255, 216, 120), 200)
    s.poly(((lx - 0.10, 0.12), (lx - 0.035, 0.05), (lx + 0.035, 0.05), (lx + 0.10, 0.12)), cloth)
    s.oval(lx, 0.125, 0.045, 0.022, s.by_light((255, 250, 226), (255, 240, 170), (255, 240, 160)), edge=False, lit=True)


def stove(s: DisplayList, x: float) -> None:
    steel = s.rng.choice(((232, 234, 238), (206, 84, 78), (120, 190, 186)))
    s.poly(((x - 0.15, 0.30), (x - 0.07, 0.17), (x - 0.07, -0.02), (x + 0.07, -0.02), (x + 0.07, 0.17), (x + 0.15, 0.30)), (196, 202, 210))
    s.rect(x - 0.155, 0.29, x + 0.155, 0.325, (150, 156, 168))
    s.rect(x - 0.155, 0.60, x + 0.155, 0.89, steel)
    s.rect(x - 0.165, 0.585, x + 0.165, 0.615, (70, 72, 84))
    for i in range(4):
        s.disc(x - 0.105 + 0.07 * i, 0.645, 0.016, (60, 62, 74), edge=False)
    s.rect(x - 0.115, 0.685, x + 0.115, 0.85, (62, 60, 72))
    s.rect(x - 0.085, 0.715, x + 0.085, 0.82, s.by_light((240, 150, 70), (255, 140, 50), (255, 150, 50)), edge=False, lit=True)
    s.line(((x - 0.10, 0.68), (x + 0.10, 0.68)), 0.014, (160, 164, 174), edge=False)
    s.rect(x - 0.085, 0.475, x + 0.085, 0.588, (84, 124, 178))
    s.line(((x - 0.125, 0.51), (x + 0.125, 0.51)), 0.020, (60, 92, 140))
    s.oval(x, 0.472, 0.092, 0.016, (120, 160, 206))
    s.disc(x, 0.45, 0.017, (60, 92, 140), edge=False)


def library(s: DisplayList) -> None:
    s.indoors = True
    wall = s.rng.choice(((226, 200, 160), (196, 212, 190), (222, 190, 176)))
    s.gradient = s.by_light((mix(wall, WHITE, 0.35), wall), ((244, 160, 100), (252, 196, 128)), ((36, 34, 66), (60, 50, 74)))
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
    s.gradient = s.by_light(((255, 238, 190), (255, 214, 150)), ((214, 84, 78), (255, 150, 72)), ((16, 16, 48), (34, 30, 82)))
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
    s.oval(0.5, 0.875, 0.34, 0.058, s.by_light((255, 244, 214), (255, 226, 160), (196, 196, 226)), edge=False, lit=True, alpha=s.by_light(210, 180, 120))
    cloth = s.rng.choice(((196, 40, 52), (176, 34, 66), (206, 56, 44)))
    for side in (-1, 1):
        edge = s.rng.uniform(0.18, 0.27)
        for i in range(4):
            o0, o1 = edge * (1 - i / 4) + 0.01, edge * (1 - (i + 1) / 4) - 0.02
            tuck = 0.055 * (1 - i / 4)
            s.poly(((at(side, o0), 0.0), (at(side, o0 - 0.01), 0.34), (at(side, o0 - tuck), 0.56), (at(side, o0 + 0.01), 0.85), (at(side, o1), 0.85),
                    (at(side, o1 - tuck * 0.3), 0.5), (at(side, o1), 0.0)), mix(cloth, (90, 10, 40), 0.40 * (i % 2)))
        s.line(((at(side, edge - 0.035), 0.555), (at(side, -0.02), 0.60)), 0.028, (246, 200, 90))
    for i in range(6):
        s.dome(i / 5, 0.075, 0.115, -0.085, mix(cloth, (90, 10, 40), 0.3 * (i % 2)))
    s.rect(-0.05, -0.02, 1.05, 0.085, cloth)
    s.rect(-0.05, 0.07, 1.05, 0.088, (246, 200, 90), edge=False)
    for beam, way in lamps:
        s.poly(((beam - 0.045, 0.10), (beam + 0.02, 0.075), (beam + 0.055 * way, 0.165), (beam - 0.02 * way, 0.18)), (52, 52, 66))
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


def farm(s: DisplayList) -> None:
    sky(s, 0.55, 1)
    big, small = sides(s)
    s.land(0.545, 0.02, (150, 196, 110), 1.0)
    s.land(0.615, 0.012, (236, 206, 96), 1.2)
    for i in range(9):
        x = 0.5 + (i - 4) * 0.16
        s.poly(((0.5 + (x - 0.5) * 0.5, 0.64), (0.5 + (x - 0.5) * 0.5 + 0.02, 0.64), (x + 0.04, 0.80), (x - 0.03, 0.80)), (206, 168, 66), edge=False)
    silo = at(big, 0.335)
    s.rect(silo - 0.05, 0.34, silo + 0.05, 0.72, (206, 212, 220))
    s.dome(silo, 0.345, 0.055, 0.065, (150, 162, 180))
    x, red = at(big, s.rng.uniform(0.13, 0.16)), s.rng.choice(((200, 58, 50), (184, 50, 56), (206, 76, 50)))
    s.poly(((x - 0.16, 0.78), (x - 0.16, 0.47), (x - 0.115, 0.34), (x, 0.25), (x + 0.115, 0.34), (x + 0.16, 0.47), (x + 0.16, 0.78)), red)
    s.line(((x - 0.18, 0.49), (x - 0.125, 0.335), (x, 0.24), (x + 0.125, 0.335), (x + 0.18, 0.49)), 0.030, (108, 72, 70))
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


def beach(s: DisplayList) -> None:
    sky(s, 0.52, 1)
    big, small = sides(s)
    s.rect(-0.05, 0.50, 1.05, 0.80, (42, 150, 205))
    for _ in range(7):
        x, y = s.rng.uniform(0, 1), s.rng.uniform(0.53, 0.64)
        s.line(((x - 0.05, y), (x + 0.05, y)), 0.011, (150, 218, 240), edge=False)
    bx, by = at(small, s.rng.uniform(0.10, 0.22)), 0.535
    s.poly(((bx - 0.075, by), (bx + 0.075, by), (bx + 0.045, by + 0.04), (bx - 0.045, by + 0.04)), (176, 76, 60))
    s.poly(((bx, by - 0.17), (bx + 0.075, by - 0.02), (bx, by - 0.02)), WHITE)
    s.poly(((bx - 0.012, by - 0.14), (bx - 0.06, by - 0.02), (bx - 0.012, by - 0.02)), (244, 200, 120))
    s.land(0.685, 0.012, (238, 248, 246), 1.0)
    s.land(0.705, 0.014, (246, 220, 160), 1.0)
    palm(s, at(big, s.rng.uniform(0.10, 0.17)), 0.82, s.rng.uniform(0.52, 0.60), -big)
    px, py = at(small, s.rng.uniform(0.10, 0.16)), 0.80
    if s.rng.random() < 0.5:  # a parasol
        s.line(((px, py - 0.22), (px, py + 0.02)), 0.014, (160, 110, 70))
        arc = [(px + 0.15 * math.cos(a), py - 0.17 - 0.12 * math.sin(a)) for a in (0, .4, .8, 1.2, 1.57, 1.94, 2.34, 2.74, 3.14)]
        s.poly(arc, (232, 84, 78))
        s.poly((arc[2], arc[4], (px, py - 0.17), (px + 0.07, py - 0.17)), WHITE, edge=False)
        s.poly((arc[8], arc[6], arc[4], (px - 0.07, py - 0.17)), WHITE, edge=False)
    else:  # a sandcastle
        for dx, h in ((-0.075, 0.11), (0.075, 0.11), (0, 0.17)):
            s.rect(px + dx - 0.042, py - h, px + dx + 0.042, py + 0.03, (226, 184, 116))
        s.poly(((px, py - 0.25), (px, py - 0.19), (px + 0.07, py - 0.22)), (232, 84, 78), edge=False)
    sx, sy = s.rng.uniform(0.10, 0.90), s.rng.uniform(0.915, 0.955)
    s.star(sx, sy, 0.036, (240, 130, 96), 5, 0.5)


def forest(s: DisplayList) -> None:
    sky(s, 0.66, 0, ((150, 214, 226), (226, 242, 200)))
    s.land(0.52, 0.03, (150, 196, 138), 2.0, edge=False)
    for i in range(6):
        x = (i + s.rng.uniform(0.2, 0.8)) / 6
        s.fir(x, 0.75, s.rng.uniform(0.40, 0.56), (118, 172, 118))
    s.land(0.685, 0.012, (104, 164, 84), 1.0)
    for side in (-1, 1):
        for offset, foot, h in ((0.25, 0.76, 0.52), (0.08, 0.83, 0.70)):
            x = at(side, offset + s.rng.uniform(-0.03, 0.03))
            h *= s.rng.uniform(0.92, 1.08)
            green = mix((34, 104, 60), (72, 140, 62), s.rng.random())
            if s.rng.random() < 0.45:
                s.fir(x, foot, h * 1.08, green)
            else:
                s.poly(((x - 0.034, foot), (x - 0.022, foot - h * 0.6), (x + 0.022, foot - h * 0.6), (x + 0.034, foot)), (122, 82, 54))
                s.bumpy(x, foot - h * 0.72, 0.15, h * 0.32, 9, 0.16, green)
    for _ in range(2):
        side = s.rng.choice((-1, 1))
        x, y = at(side, s.rng.uniform(0.06, 0.26)), s.rng.uniform(0.87, 0.93)
        s.rect(x - 0.016, y - 0.05, x + 0.016, y, (244, 232, 210))
        s.dome(x, y - 0.04, 0.052, 0.058, (220, 62, 54))
        for dx, dy in ((-0.016, 0.062), (0.018, 0.066)):
            s.disc(x + dx, y - dy, 0.010, WHITE, edge=False)


def mountains(s: DisplayList) -> None:
    sky(s, 0.45, 1)
    for x, top, half, stone in ((s.rng.uniform(0.42, 0.58), s.rng.uniform(0.16, 0.24), 0.40, (150, 160, 196)),
                                (at(-1, s.rng.uniform(0.12, 0.20)), s.rng.uniform(0.17, 0.27), 0.36, (118, 128, 170)),
                                (at(1, s.rng.uniform(0.10, 0.20)), s.rng.uniform(0.17, 0.27), 0.36, (126, 132, 168))):
        foot = 0.76
        h = foot - top
        s.poly(((x - half, foot), (x - half * 0.36, top + h * 0.40), (x, top), (x + half * 0.44, top + h * 0.44), (x + half, foot)), stone)
        s.poly(((x, top), (x + half * 0.44, top + h * 0.44), (x + half, foot), (x + half * 0.30, foot), (x + half * 0.12, top + h * 0.46)),
               mix(stone, (70, 76, 120), 0.35), edge=False)
        s.poly(((x, top), (x - half * 0.28, top + h * 0.31), (x - half * 0.12, top + h * 0.26), (x - half * 0.02, top + h * 0.36),
                (x + half * 0.12, top + h * 0.27), (x + half * 0.30, top + h * 0.32)), (250, 252, 255))
    s.land(0.66, 0.02, (112, 160, 116), 1.5)
    for _ in range(7):
        s.fir(at(s.rng.choice((-1, 1)), s.rng.uniform(0.02, 0.30)), s.rng.uniform(0.72, 0.80), s.rng.uniform(0.11, 0.17), (52, 112, 78))
    s.land(0.775, 0.014, (142, 190, 108), 1.0)


def desert(s: DisplayList) -> None:
    sky(s, 0.55, 0, ((104, 190, 232), (252, 232, 184), (252, 232, 184)))
    big, small = sides(s)
    mx, my = at(small, s.rng.uniform(0.14, 0.24)), s.rng.uniform(0.40, 0.44)
    s.poly(((mx - 0.17, 0.66), (mx - 0.11, my), (mx + 0.10, my), (mx + 0.16, 0.66)), (206, 124, 82))
    s.rect(mx - 0.12, my + 0.07, mx + 0.112, my + 0.095, (180, 100, 70), edge=False)
    s.land(0.58, 0.035, (238, 186, 108), 1.0)
    s.land(0.665, 0.030, (228, 168, 90), 0.8)
    cactus(s, at(big, s.rng.uniform(0.12, 0.17)), 0.83, s.rng.uniform(0.50, 0.58))
    cactus(s, at(small, s.rng.uniform(0.09, 0.15)), 0.80, s.rng.uniform(0.26, 0.36))
    s.land(0.80, 0.016, (246, 202, 124), 0.9)
    for _ in range(2):
        x, y = at(s.rng.choice((-1, 1)), s.rng.uniform(0.06, 0.3)), s.rng.uniform(0.89, 0.96)
        s.oval(x, y, 0.035, 0.02, (196, 140, 90))


def snow(s: DisplayList) -> None:
    sky(s, 0.6, 0, ((168, 202, 238), (222, 234, 246)))
    big, small = sides(s)
    s.land(0.56, 0.03, (224, 234, 246), 1.3)
    for i in range(4):
        s.fir(at((-1, 1)[i % 2], s.rng.uniform(0.20, 0.36)), 0.68, s.rng.uniform(0.22, 0.32), (110, 160, 150), True)
    s.land(0.66, 0.02, (236, 242, 250), 1.0)
    s.fir(at(big, s.rng.uniform(0.10, 0.15)), 0.83, s.rng.uniform(0.60, 0.70), (46, 120, 88), True)
    x, y = at(small, s.rng.uniform(0.13, 0.17)), 0.82
    if s.rng.random() < 0.6:  # a snowman
        for high, r in ((0.085, 0.095), (0.225, 0.068), (0.335, 0.050)):
            s.disc(x, y - high, r, (250, 252, 255))
        s.rect(x - 0.038, y - 0.45, x + 0.038, y - 0.372, (58, 60, 78))
        s.rect(x - 0.06, y - 0.385, x + 0.06, y - 0.368, (58, 60, 78))
        s.poly(((x, y - 0.34), (x - 0.06 * small, y - 0.328), (x, y - 0.318)), (240, 130, 50), edge=False)
    else:
        s.fir(x, y, s.rng.uniform(0.44, 0.54), (56, 130, 100), True)
    s.land(0.80, 0.014, (250, 252, 255), 1.0)
    for i in range(22):
        fx, fy = (i % 6 + s.rng.uniform(0.1, 0.9)) / 6, (i // 6 + s.rng.uniform(0.1, 0.9)) / 4 * 0.84
        s.star(fx, fy, s.rng.uniform(0.014, 0.024), s.by_light(WHITE, (255, 244, 232), (224, 232, 255)), 6, 0.55, edge=False, lit=True)


def clouds(s: DisplayList) -> None:
    sky(s, 0.5, 0)
    if s.light != "night" and s.rng.random() < 0.7:
        cx = s.rng.uniform(0.4, 0.6)
        for i, hue in enumerate(((236, 96, 92), (248, 172, 84), (250, 226, 110), (128, 204, 130), (110, 170, 236), (160, 128, 214))):
            arc = [(cx - (0.50 - 0.026 * i) * math.cos(a * 0.1745), 0.68 - (0.56 - 0.026 * i) * math.sin(a * 0.1745)) for a in range(19)]
            s.line(arc, 0.028, hue, edge=False, lit=True, alpha=205)
    soft = (s.by_light((226, 240, 252), (246, 160, 146), (72, 90, 156)), s.by_light((240, 248, 254), (252, 186, 160), (96, 114, 178)),
            s.by_light((254, 254, 254), (255, 214, 190), (132, 148, 204)))
    _, low = sides(s)
    for side in (-1, 1):
        s.cloud(at(side, s.rng.uniform(0.12, 0.24)), s.rng.uniform(0.22, 0.28) + 0.09 * (side == low), s.rng.uniform(0.34, 0.44), soft[2], lit=True)
        s.cloud(at(side, s.rng.uniform(0.06, 0.18)), s.rng.uniform(0.45, 0.50) + 0.10 * (side == low), s.rng.uniform(0.40, 0.50), soft[1], lit=True)
    x, y = at(s.rng.choice((-1, 1)), s.rng.uniform(0.26, 0.36)), s.rng.uniform(0.08, 0.13)
    for wing in (-1, 1):
        s.line(((x, y), (x + wing * 0.025, y - 0.022), (x + wing * 0.052, y - 0.008)), 0.012, (70, 84, 120), edge=False)
    for i, x in enumerate((-0.04, 0.34, 0.70, 1.05)):
        s.cloud(x + s.rng.uniform(-0.05, 0.05), 1.0, 0.68, soft[1 if i % 2 else 0], lit=True)
    for x, y, w in ((0.02, 1.0, 0.62), (0.98, 1.0, 0.62), (0.5, 1.05, 1.1)):
        s.cloud(x, y, w, soft[2], lit=True)


def volcano(s: DisplayList) -> None:
    sky(s, 0.5, 0, ((176, 196, 214), (244, 206, 170), (240, 176, 130)))
    big, small = sides(s)
    lava, hot = (250, 92, 30), (255, 206, 70)
    x, top = at(big, s.rng.uniform(0.20, 0.27)), s.rng.uniform(0.25, 0.31)
    ash = s.by_light((120, 104, 112), (128, 78, 92), (64, 56, 88))
    for i, (dx, dy, r) in enumerate(((0.0, 0.09, 0.085), (0.05 * big, 0.17, 0.11), (-0.06 * big, 0.23, 0.12))):
        s.bumpy(x + dx, top - dy, r * 1.2, r, 7, 0.18, mix(ash, (200, 180, 180), 0.10 * i), lit=True)
    s.glow(x, top, 0.26, (255, 130, 40), 230)
    for dx, h in ((-0.07, 0.10), (0.0, 0.16), (0.075, 0.09)):
        s.line(((x + dx * 0.3, top + 0.02), (x + dx, top - h)), 0.026, hot if dx == 0 else lava, lit=True)
    cone(s, at(small, 0.14), 0.44, 0.26, 0.05, (112, 86, 92))
    cone(s, x, top, 0.42, 0.085, (92, 66, 72))
    for dx, reach in ((-0.045, 0.24), (0.0, 0.36), (0.045, 0.29)):
        bend = s.rng.uniform(-0.02, 0.02)
        s.line(((x + dx, top + 0.01), (x + dx * 1.8 + bend, top + reach * 0.5), (x + dx * 2.4, top + reach)), 0.034, lava, lit=True)
    s.oval(x, top + 0.008, 0.085, 0.022, hot, lit=True)
    s.land(0.71, 0.02, (86, 64, 68), 1.2)
    s.land(0.795, 0.012, (118, 94, 92), 1.0)
    for side in (-1, 1):
        y, inner = s.rng.uniform(0.85, 0.93), s.rng.uniform(0.22, 0.30)
        stream = ((at(side, -0.04), y), (at(side, inner * 0.4), y + 0.022), (at(side, inner * 0.7), y - 0.01), (at(side, inner), y + 0.012))
        s.line(stream, 0.046, lava, lit=True)
        s.line(stream, 0.016, hot, edge=False, lit=True)
        rx = at(side, s.rng.uniform(0.04, 0.10))
        s.poly(((rx - 0.10, 0.83), (rx - 0.05, 0.71), (rx + 0.03, 0.68), (rx + 0.09, 0.83)), (66, 50, 58))


def cone(s: DisplayList, x: float, top: float, half: float, mouth: float, stone: Colour) -> None:
    s.poly(((x - half, 0.80), (x - half * 0.42, top + (0.8 - top) * 0.42), (x - mouth, top), (x + mouth, top),
            (x + half * 0.42, top + (0.8 - top) * 0.42), (x + half, 0.80)), stone)


DRAW = {"beach": beach, "forest": forest, "mountains": mountains, "desert": desert, "snow": snow, "space": space, "underwater": underwater, "city": city,
        "garden": garden, "kitchen": kitchen, "library": library, "stage": stage, "castle": castle, "clouds": clouds, "volcano": volcano, "farm": farm}


def sheet_of(scene: Scene) -> DisplayList:
    """The scene's backdrop as shapes, laid out by `scene.seed`.

    Raises:
        KeyError: the context is not one of `world.CONTEXTS`.
    """
    sheet = DisplayList(scene.light, random.Random(scene.seed))
    DRAW[scene.context](sheet)
    return sheet
