"""What can be in the drawn world, how individuals and scenes are sampled, and which are held out. Draws nothing.

An *individual* is one particular cat, teapot, ...: a kind with its own colours, pattern, proportions and eyes. A *scene*
puts it in a context, light and style, in a pose, at a size and place, with accessories. Everything is a value that can be
made again from a seed; no draw is global.
"""

import random
import zlib
from dataclasses import dataclass, replace

KINDS = ("cat", "dog", "bear", "bunny", "fox", "owl", "duck", "fish", "turtle", "robot", "teapot", "mug", "car", "boot", "backpack", "vase")
ANIMALS = KINDS[:9]

COLOURS: dict[str, tuple[int, int, int]] = {  # the hue a person would name; a renderer may shade around it
    "red": (214, 52, 50), "orange": (240, 136, 36), "yellow": (248, 208, 56), "green": (74, 160, 70),
    "teal": (30, 168, 164), "blue": (52, 100, 208), "purple": (136, 76, 184), "pink": (244, 140, 180),
    "brown": (128, 82, 46), "white": (246, 244, 238), "grey": (146, 150, 156), "black": (46, 44, 50),
}
PATTERNS = ("plain", "striped", "spotted", "patched", "checked", "starry")
ACCESSORIES = ("hat", "crown", "scarf", "sunglasses", "bow tie", "flower", "balloon", "umbrella")
SLOTS = {"hat": "head", "crown": "head", "flower": "head", "sunglasses": "face", "scarf": "neck", "bow tie": "neck",
         "balloon": "side", "umbrella": "side"}  # two accessories of one scene never share a slot
CONTEXTS = ("beach", "forest", "mountains", "desert", "snow", "space", "underwater", "city",
            "garden", "kitchen", "library", "stage", "castle", "clouds", "volcano", "farm")
LIGHTS = ("day", "sunset", "night")
STYLES = ("flat", "pencil", "pixel", "watercolour", "neon", "papercut")
POSES = ("standing", "jumping", "leaning", "resting")
STAGE = {"context": CONTEXTS, "light": LIGHTS, "style": STYLES, "pose": POSES}
EYES = ("dots", "round", "big", "sleepy")

# Each place is one stage set, and a hero alone stands in its middle and faces right, as in a picture book: whatever neither words nor
# a photo can say (which side the palm is on, how large the hero is) costs a small decoder training time.
BACKDROP = 8  # seed of the sets
SIZES = (0.645, 0.655)
MIDDLES = (0.495, 0.505)
PAIR_SIZE, PAIR_MIDDLES = 0.46, (0.27, 0.73)  # of two heroes side by side, the first on the left
PAIRS = 0.6  # how often the last picture of a group of three shows two: a fifth of all do
LAYOUTS = 4  # of each pattern


@dataclass(frozen=True)
class Individual:
    """One particular subject. `second` is the colour of its pattern, or of its belly, handle, wheels, ... if plain."""

    kind: str
    colour: str
    second: str
    pattern: str
    eyes: str
    layout: int  # 0 to LAYOUTS - 1: where its stripes, spots, patches lie
    width: float  # 0.96 to 1.04: body width
    height: float  # 0.97 to 1.03: body height
    head: float  # 0.95 to 1.05: head size (lid, screen, ... of a thing)
    part: float  # 0.90 to 1.10: ears, tail, spout, handle, laces, ...


@dataclass(frozen=True)
class Accessory:
    name: str
    colour: str


@dataclass(frozen=True)
class Scene:
    """An individual somewhere. `x` and `scale` are fractions of the frame; `seed` lays out the backdrop's details."""

    individual: Individual
    context: str
    light: str
    style: str
    pose: str
    accessories: tuple[Accessory, ...]  # none, one or two; the one put on first comes first
    scale: float  # height of a standing subject of average build, in SIZES
    x: float  # its centre, in MIDDLES
    flip: bool  # True: facing left
    seed: int
    companion: Individual | None = None  # a second hero on the right, in the same pose, with nothing on


def _bucket(*words: str) -> int:
    return zlib.crc32("|".join(words).encode()) % 10


def individual_held_out(individual: Individual) -> bool:
    """A tenth of all (kind, colour, second colour, pattern) are never trained on."""
    return _bucket("who", individual.kind, individual.colour, individual.second, individual.pattern) == 0


def combination_held_out(scene: Scene) -> bool:
    """A tenth of all (kind, context, style) are never trained on."""
    return _bucket("where", scene.individual.kind, scene.context, scene.style) == 0


def sample_individual(rng: random.Random, held_out: bool = False) -> Individual:
    """Draw an individual that is (or is not) held out for evaluation."""
    while True:
        colour = rng.choice(tuple(COLOURS))
        one = Individual(kind=rng.choice(KINDS), colour=colour, second=rng.choice([c for c in COLOURS if c != colour and can_pair(colour, c)]),
                         pattern=rng.choice(PATTERNS), eyes=rng.choice(EYES), layout=rng.randrange(LAYOUTS), width=rng.uniform(0.96, 1.04),
                         height=rng.uniform(0.97, 1.03), head=rng.uniform(0.95, 1.05), part=rng.uniform(0.90, 1.10))
        if individual_held_out(one) == held_out:
            return one


def can_pair(a: str, b: str) -> bool:
    """Whether two colours can be told apart as body and pattern."""
    return {a, b} not in ({"white", "grey"}, {"grey", "black"}, {"brown", "black"}, {"orange", "yellow"}, {"red", "orange"}, {"teal", "green"},
                          {"teal", "blue"}, {"blue", "purple"}, {"red", "pink"}, {"red", "brown"}, {"orange", "brown"}, {"white", "yellow"}, {"purple", "pink"},
                          {"pink", "white"}, {"green", "blue"}, {"grey", "teal"}, {"grey", "blue"}, {"purple", "black"}, {"blue", "black"}, {"grey", "purple"})


def sample_accessories(rng: random.Random) -> tuple[Accessory, ...]:
    """Half of the time none, in two fifths one, else two of different slots."""
    roll, chosen = rng.random(), []
    for _ in range(0 if roll < 0.5 else 1 if roll < 0.9 else 2):
        free = [a for a in ACCESSORIES if SLOTS[a] not in {SLOTS[c.name] for c in chosen}]
        chosen.append(Accessory(rng.choice(free), rng.choice(tuple(COLOURS))))
    return tuple(sorted(chosen, key=lambda a: ACCESSORIES.index(a.name)))


def sample_scene(rng: random.Random, individual: Individual, held_out: bool | None = False) -> Scene:
    """Draw a scene for an individual; `held_out` None takes any combination of kind, context and style."""
    while True:
        scene = Scene(individual=individual, context=rng.choice(CONTEXTS), light=rng.choices(LIGHTS, (6, 2, 2))[0], style=rng.choice(STYLES),
                      pose=rng.choices(POSES, (5, 2, 2, 2))[0], accessories=sample_accessories(rng), scale=rng.uniform(*SIZES), x=rng.uniform(*MIDDLES),
                      flip=False, seed=BACKDROP)
        if held_out is None or combination_held_out(scene) == held_out:
            return scene


def with_companion(rng: random.Random, scene: Scene, held_out: bool = False) -> Scene:
    """The scene with a second hero of another kind, held out or not as the first is. What the first holds is put away: its place is taken."""
    while True:
        other = sample_individual(rng, held_out)
        if other.kind != scene.individual.kind:
            return restage(rng, scene, companion=other, accessories=tuple(a for a in scene.accessories if SLOTS[a.name] != "side"))


def restage(rng: random.Random, scene: Scene, **changes: object) -> Scene:
    """The same individual in a new picture: fresh size and place, attributes as given; with a companion, on the left."""
    scene = replace(scene, **changes)
    if scene.companion is not None:
        return replace(scene, scale=PAIR_SIZE, x=PAIR_MIDDLES[0])
    return replace(scene, scale=rng.uniform(*SIZES), x=rng.uniform(*MIDDLES))
