"""The sixteen contexts as display lists: open country and what is seen from inside here, five more in `backgrounds_outdoor`.

A context's telling things stand left, right and above, since a subject covers the middle. Every layout is drawn afresh from the scene's own seed.
"""

import math
import random

from .backgrounds_outdoor import LAMP, PLACES, window
from .display_list import WHITE, Colour, DisplayList, at, mix, sides, sky, stars
from .scene import Scene

SPINES = ((190, 62, 58), (52, 104, 160), (226, 170, 70), (70, 140, 96), (132, 84, 150), (222, 120, 70), (240, 226, 196), (60, 150, 150))


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
        s.poly(((x - 0.026, y + 0.075), (x - 0.026, y + 0.02), (x, y - 0.012), (x + 0.026, y + 0.02), (x + 0.026, y + 0.075)), glass, lit=True)


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


GROUND = 0.86  # where a subject's feet are, as a fraction of the frame's height


def sheet_of(scene: Scene) -> DisplayList:
    """The scene's backdrop as shapes, laid out by `scene.seed`.

    Raises:
        KeyError: the context is not one of `world.CONTEXTS`.
    """
    sheet = DisplayList(scene.light, random.Random(scene.seed))
    {**COUNTRY, **PLACES, **HALLS}[scene.context](sheet)
    return sheet


# ---- open country

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


def palm(s: DisplayList, x: float, foot: float, h: float, lean: float) -> None:
    bend = lean * s.rng.uniform(0.02, 0.09)
    s.strip([(x + bend * t * t, foot - h * t, 0.030 - 0.012 * t) for t in (i / 8 for i in range(9))], (156, 108, 66))
    top, crown = foot - h, x + bend
    for angle in (200, 160, 235, 128, 340, 20, 300, 52):
        a = math.radians(angle + s.rng.uniform(-8, 8))
        length, droop = s.rng.uniform(0.19, 0.24), 0.10
        upper, lower = [], []
        for i in range(7):
            t = i / 6
            px = crown + length * t * math.cos(a)
            py = top + length * t * math.sin(a) * 0.62 - 0.03 * math.sin(3.14 * t) + droop * t * t
            half = 0.034 * math.sin(3.14 * min(0.95, 0.15 + t * 0.85))
            upper.append((px, py - half))
            lower.append((px, py + half))
        s.poly((*upper, *reversed(lower)), mix((50, 146, 74), (116, 190, 80), s.rng.random()))
    for dx in (-0.022, 0.022):
        s.disc(crown + dx, top + 0.025, 0.022, (112, 70, 44), edge=False)


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


def cactus(s: DisplayList, x: float, foot: float, h: float) -> None:
    green, w = (64, 148, 84), h * 0.19
    for side, low, high in ((-1, 0.34, 0.74), (1, 0.46, 0.88)):
        reach = side * h * 0.25
        s.line(((x, foot - h * low), (x + reach, foot - h * low), (x + reach, foot - h * high)), w * 0.62, green)
    s.line(((x, foot), (x, foot - h)), w, mix(green, (120, 190, 100), 0.25))
    s.line(((x, foot), (x, foot - h * 0.96)), w * 0.18, (44, 116, 70), edge=False)
    s.bumpy(x, foot - h - w * 0.45, w * 0.36, w * 0.34, 5, 0.3, (240, 110, 150), edge=False)


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


COUNTRY = {"beach": beach, "forest": forest, "mountains": mountains, "desert": desert, "snow": snow, "clouds": clouds, "volcano": volcano}
