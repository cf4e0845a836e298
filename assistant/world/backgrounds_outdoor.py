"""Five more contexts: space, underwater, city, garden, kitchen. Same contract as `backgrounds`."""

import math

from .display_list import WHITE, Colour, DisplayList, at, mix, sides, sky, stars

LAMP = (255, 222, 130)


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


def window(s: DisplayList, x: float, y: float, w: float, h: float, frame: Colour) -> None:
    """A window whose panes show the light outside."""
    s.rect(x - w / 2 - 0.018, y - 0.018, x + w / 2 + 0.018, y + h + 0.018, frame)
    s.rect(x - w / 2, y, x + w / 2, y + h, s.by_light((158, 216, 248), (255, 150, 84), (20, 28, 80)), lit=True)
    if s.light == "day":
        s.cloud(x + w * 0.08, y + h * 0.56, w * 0.62, WHITE, edge=False, lit=True)
        s.rect(x - w / 2, y + h * 0.76, x + w / 2, y + h, (128, 190, 104), edge=False)
    elif s.light == "sunset":
        s.rect(x - w / 2, y + h * 0.5, x + w / 2, y + h, (255, 196, 100), edge=False, lit=True)
        s.disc(x - w * 0.14, y + h * 0.56, w * 0.22, (255, 244, 180), edge=False, lit=True)
    else:
        s.disc(x + w * 0.20, y + h * 0.28, w * 0.13, (250, 244, 212), edge=False, lit=True)
        s.star(x - w * 0.24, y + h * 0.24, 0.020, LAMP, edge=False, lit=True)
        s.star(x - w * 0.20, y + h * 0.72, 0.017, LAMP, edge=False, lit=True)
    s.line(((x, y), (x, y + h)), 0.014, frame, edge=False)
    s.line(((x - w / 2, y + h / 2), (x + w / 2, y + h / 2)), 0.014, frame, edge=False)


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


PLACES = {"space": space, "underwater": underwater, "city": city, "garden": garden, "kitchen": kitchen}
