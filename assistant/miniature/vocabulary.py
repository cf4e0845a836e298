"""Every word for what the drawn world knows: synonyms of its values and the phrases that place them in a sentence.

Knows words, not scenes: nothing is sampled here. `CONTEXT_PP`, `STYLE_PP`, ... begin with the canonical phrases that
replies and captions use (`CANON` of them); what follows is how people may say the same.
"""

from __future__ import annotations

KIND_WORDS: dict[str, str] = {  # first word: canonical
    "cat": "cat kitty kitten pussycat tomcat kittycat moggy", "dog": "dog puppy doggy pup hound doggo pooch",
    "bear": "bear teddy cub teddybear grizzly", "bunny": "bunny rabbit hare bunnyrabbit", "fox": "fox vixen foxy",
    "owl": "owl owlet", "duck": "duck duckling ducky duckie", "fish": "fish goldfish fishy",
    "turtle": "turtle tortoise",
    "robot": "robot bot android droid", "teapot": "teapot kettle", "mug": "mug cup teacup",
    "car": "car automobile auto", "boot": "boot shoe wellie sneaker", "backpack": "backpack rucksack bag schoolbag",
    "vase": "vase pot jar urn",
}

COLOUR_WORDS: dict[str, str] = {  # separated by commas; first: canonical
    "red": "red, crimson, scarlet, ruby, cherry red, ruby red, dark red, bright red, burgundy, maroon, tomato red",
    "orange": "orange, tangerine, amber, apricot, bright orange, ginger, pumpkin orange, burnt orange",
    "yellow": "yellow, gold, golden, lemon yellow, mustard, bright yellow, light yellow, sunny yellow, lemon",
    "green": "green, lime, emerald, olive, mint, dark green, light green, bright green, grass green, lime green",
    "teal": "teal, turquoise, aqua, cyan, aquamarine, dark teal, petrol, sea green",
    "blue": "blue, navy, azure, cobalt, royal blue, navy blue, light blue, dark blue, sky blue, bright blue, sapphire",
    "purple": "purple, violet, lilac, lavender, plum, mauve, indigo, dark purple, bright purple, light purple",
    "pink": "pink, magenta, fuchsia, salmon, hot pink, light pink, bright pink, pastel pink",
    "brown": "brown, chocolate, tan, beige, chestnut, caramel, dark brown, light brown, khaki",
    "white": "white, ivory, cream, off-white, pearl, snow-white",
    "grey": "grey, silver, slate, light grey, dark grey, ash grey",
    "black": "black, jet black, ebony, pitch black, onyx",
}

PATTERN_ADJ: dict[str, str] = {
    "plain": "plain, unpatterned, solid", "striped": "striped, stripy, stripey, banded, zebra-striped",
    "spotted": "spotted, dotted, speckled, polka-dot, spotty", "patched": "patched, patchy, blotchy",
    "checked": "checked, chequered, checkered, plaid, tartan", "starry": "starry, star-patterned",
}
PATTERN_NOUN: dict[str, str] = {
    "striped": "stripes, bands, lines", "spotted": "spots, dots, polka dots, speckles, freckles",
    "patched": "patches, blotches", "checked": "checks, squares, checkers", "starry": "stars",
}

ACCESSORY_WORDS: dict[str, str] = {  # first: canonical
    "hat": "hat, santa hat, witch hat, cap, beanie, beret, bonnet, sun hat, party hat, top hat, cowboy hat, straw "
           "hat, woolly hat",
    "crown": "crown, tiara, diadem, coronet, royal crown, king's crown",
    "scarf": "scarf, shawl, muffler, neckerchief, bandana, woolly scarf, warm scarf, knitted scarf",
    "sunglasses": "sunglasses, shades, glasses, goggles, specs, cool shades, spectacles, cool sunglasses",
    "bow tie": "bow tie, bowtie, bow-tie, bow, tie, necktie, dickie bow",
    "flower": "flower, rose, daisy, tulip, blossom, sunflower, lily, poppy, little flower",
    "balloon": "balloon, party balloon, air balloon, birthday balloon, helium balloon",
    "umbrella": "umbrella, parasol, brolly, sunshade, rain umbrella",
}
PLURAL = {"sunglasses", "shades", "glasses", "goggles", "specs", "cool shades", "spectacles", "cool sunglasses"}

JOIN = ("put {x} next to {s}", "add {x}", "add {x} beside {s}", "give {s} a friend, {x}", "let {x} join {s}", "place {x} next to {s}",
        "bring in {x}", "let {s} meet {x}", "draw {s} with {x}", "show {s} together with {x}", "put {x} in the picture too")
JOINED = ("with {x}", "with {x} beside it", "next to {x}", "together with {x}", "and {x}", "with {x} as a friend", "alongside {x}", "plus {x}")

CANON = 2  # of every list below, this many phrases at the front are what replies and captions say
CONTEXT_PP: dict[str, str] = {
    "beach": "on the beach, at the beach, at the seaside, by the sea, on the sand, on the shore, at the coast, on a "
             "tropical island, on an island, by the ocean, on holiday by the sea, on a sandy beach, in hawaii, "
             "at the lido, on the seashore, under a palm tree",
    "forest": "in the forest, in a forest, in the woods, among the trees, in the jungle, in the rainforest, under the "
              "trees, between the trees, in a deep dark wood, in a woodland, in nature, in the wild, in an enchanted "
              "forest, in the amazon",
    "mountains": "in the mountains, in front of the mountains, in the alps, on a mountain, on top of a mountain, "
                 "in the himalayas, on everest, in the hills, on a peak, on a summit, on a cliff, in the highlands, "
                 "in the rockies, on mount everest, on a hike",
    "desert": "in the desert, in a desert, in the sahara, on the dunes, among cactuses, in the dunes, next to a "
              "cactus, "
              "in the wild west, in arizona, in a sandy desert, in the gobi, in egypt, at an oasis, in the outback",
    "snow": "in the snow, on the snow, in winter, at christmas, on the ice, in a snowstorm, at the north pole, "
            "in antarctica, in a blizzard, on a ski slope, in the arctic, in a snowy place, in a winter wonderland, "
            "in the cold, in lapland, on a glacier",
    "space": "in space, in outer space, on mars, on the moon, in the galaxy, in orbit, in the cosmos, among the "
             "planets, "
             "in the universe, on another planet, in a spaceship, as an astronaut, in a rocket, among the stars, "
             "on the space station, in the milky way, on jupiter, on saturn",
    "underwater": "underwater, under water, under the sea, on the ocean floor, in the ocean, in a coral reef, in the "
                  "sea, "
                  "at the bottom of the sea, beneath the waves, in the deep sea, in an aquarium, among the corals, "
                  "at the reef, on the seabed, under the ocean, in atlantis",
    "city": "in the city, in a city, in town, downtown, in new york, among skyscrapers, in the street, on a street, "
            "in a big city, in front of a skyline, in tokyo, in manhattan, in a metropolis, on a busy road, "
            "in the suburbs, between tall buildings",
    "garden": "in the garden, in a garden, in the park, in the backyard, among the flowers, in a meadow, on the lawn, "
              "in a flower bed, in the yard, in a field of flowers, in a flower garden, on the grass, in an orchard, "
              "in spring",
    "kitchen": "in the kitchen, in a kitchen, at the stove, on the kitchen table, on the counter, in a bakery, "
               "in a restaurant, while cooking, in a cafe, on the worktop, at breakfast, in the pantry, as a chef, "
               "on a dining table",
    "library": "in the library, in a library, among the books, in a bookshop, in front of a bookshelf, in a bookstore, "
               "at school, in a reading room, next to the bookshelves, in the study, between old books, "
               "at the university, in the archive",
    "stage": "on stage, on a stage, in a theatre, in the spotlight, at a concert, in the theater, at the opera, "
             "in a show, on a concert stage, at a festival, in the circus, in front of an audience, as a rock star, "
             "at a talent show, as a singer",
    "castle": "in front of the castle, by the castle, in a castle, at a castle, at the palace, in a fairy tale, in a "
              "fortress, in a kingdom, in a medieval castle, in the middle ages, near a tower, in disneyland, "
              "in front of a fort, in a fairytale castle",
    "clouds": "in the clouds, above the clouds, in the sky, up in the sky, on a cloud, in heaven, up in the air, "
              "high in the sky, in the heavens, among the clouds, in cloud land, on cloud nine, between the clouds",
    "volcano": "by the volcano, near the volcano, at a volcano, next to lava, near a volcano, on a volcano, in front "
               "of "
               "a volcano, by the lava, beside an erupting volcano, in iceland, on lava rocks, at vesuvius, "
               "in the land of fire",
    "farm": "on the farm, at the farm, on a farm, in the countryside, by the barn, in a barn, in a field, "
            "in the country, by a red barn, at the ranch, on a ranch, next to a tractor, in the village, in a "
            "farmyard, "
            "in a cornfield",
}
CONTEXT_NOUN: dict[str, str] = {  # bare words a terse user types; first: canonical
    "beach": "beach, seaside, sea, sand, shore, coast, island, palm trees, palm tree, tropical island, seashore",
    "forest": "forest, woods, trees, jungle, rainforest, woodland, wood, amazon, nature",
    "mountains": "mountains, alps, mountain, himalayas, hills, peak, summit, mountain top, cliffs, everest",
    "desert": "desert, sahara, dunes, cactus, wild west, oasis, sand dunes, outback",
    "snow": "snow, winter, ice, christmas, ski, arctic, north pole, blizzard, antarctica, snowy, skiing, xmas, glacier",
    "space": "space, mars, the moon, galaxy, orbit, cosmos, astronaut, planets, universe, outer space, rocket, "
             "spaceship, milky way, planet",
    "underwater": "underwater, ocean, ocean floor, reef, coral reef, deep sea, aquarium, corals, seabed, diving",
    "city": "city, new york, downtown, skyscrapers, street, skyline, town, tokyo, metropolis, manhattan, urban",
    "garden": "garden, park, meadow, backyard, lawn, flower bed, yard, spring, orchard, flower garden",
    "kitchen": "kitchen, cooking, bakery, restaurant, cafe, chef, stove, kitchen table, breakfast",
    "library": "library, books, bookshelf, bookshop, school, bookstore, reading room, bookshelves, university",
    "stage": "stage, theatre, spotlight, concert, theater, opera, show, circus, festival, curtain, rock star",
    "castle": "castle, palace, fairy tale, fairytale, fortress, kingdom, medieval, tower, knight's castle, fort",
    "clouds": "clouds, sky, heaven, cloud, cloud nine, heavens",
    "volcano": "volcano, lava, magma, eruption, vesuvius, volcanic",
    "farm": "farm, countryside, barn, field, ranch, farmyard, village, tractor, cornfield",
}
CONTEXT_THE = {c: f"the {c}" for c in CONTEXT_NOUN} | {"space": "space", "underwater": "the underwater world"}
CONTEXT_MANY = {"mountains", "clouds"}  # take a plural verb

LIGHT_PP: dict[str, str] = {
    "day": "by day, in daylight, in the daytime, in the morning, at noon, in broad daylight, in bright sunshine, "
           "on a sunny day, in the sunshine, at midday, during the day, in bright light, in full daylight",
    "sunset": "at sunset, in the sunset, at dusk, at dawn, at sunrise, at golden hour, in the evening, in the "
              "evening sun, "
              "at twilight, as the sun goes down, when the sun sets, in the evening light, in golden light, at "
              "daybreak",
    "night": "at night, by night, at midnight, in the dark, under the moon, in the moonlight, by moonlight, after "
             "dark, "
             "by starlight, in the middle of the night, at nighttime, at night time, under a starry sky, "
             "under the stars, late at night",
}
LIGHT_NOUN: dict[str, str] = {
    "day": "day, daylight, daytime, morning, noon, sunshine, sunny, midday, bright light",
    "sunset": "sunset, dusk, golden hour, evening, twilight, sunrise, dawn, evening light, sundown",
    "night": "night, midnight, dark, moonlight, nighttime, night time, starry sky, starry night, darkness",
}
STYLE_PP: dict[str, str] = {
    "flat": "in flat colours, as a flat drawing, as a flat illustration, as a vector illustration, as a cartoon, "
            "in a cartoon style, as clip art, in flat style, as a sticker, as a comic, in a flat design, as an icon, "
            "like a children's book, as a simple illustration",
    "pencil": "in pencil, as a pencil sketch, as a pencil drawing, as a sketch, hand drawn, as a line drawing, "
              "in graphite, in charcoal, as a doodle, as a scribble, like a sketchbook page, sketched, "
              "drawn with a pencil, in crayon",
    "pixel": "in pixel art, as pixel art, in pixels, pixelated, as an 8-bit sprite, like a retro video game, "
             "in 8-bit style, as a sprite, like in minecraft, in arcade style, like a gameboy game, in 16-bit, "
             "as an old computer game, in pixel style",
    "watercolour": "in watercolour, as a watercolour, as a watercolour painting, painted, as a painting, as an "
                   "aquarelle, "
                   "in gouache, in soft washes, painted with a brush, in aquarelle, in wet paint, in watercolours, "
                   "painted in soft colours, as a soft painting",
    "neon": "in neon, in neon lines, as a neon sign, in neon lights, in glowing lines, in cyberpunk style, "
            "in synthwave style, glowing in the dark, like a neon sign, in vaporwave style, with laser lines, "
            "in neon style, in electric light, as a light sign",
    "papercut": "in cut paper, as a papercut, as a paper cutout, cut from paper, as a paper collage, as a collage, "
                "as a paper cut, in layered paper, as origami, in craft paper, made of paper, in papercut style, "
                "as a paper craft, out of paper",
}
STYLE_NOUN: dict[str, str] = {
    "flat": "flat drawing, flat, cartoon, vector, clip art, flat design, comic, sticker, illustration, icon",
    "pencil": "pencil sketch, pencil, sketch, pencil drawing, line drawing, charcoal, doodle, scribble, graphite",
    "pixel": "pixel art, pixel, pixels, 8-bit, 8 bit, 16-bit, sprite, minecraft, video game, pixelart, 8bit",
    "watercolour": "watercolour, painting, aquarelle, gouache, watercolours, watercolour painting, washes",
    "neon": "neon, neon lights, neon sign, cyberpunk, synthwave, glow, glowing lines, vaporwave",
    "papercut": "papercut, paper cutout, collage, paper, origami, cut paper, paper cut, paper art, kirigami",
}
STYLE_THE = {"flat": "flat colour", "pencil": "pencil", "pixel": "pixel art", "watercolour": "watercolour",
             "neon": "neon", "papercut": "cut paper"}
STYLE_A = {"flat": ("flat drawing", "flat picture"), "pencil": ("pencil sketch", "pencil drawing"),
           "pixel": ("pixel art picture", "pixel picture"), "watercolour": ("watercolour", "watercolour picture"),
           "neon": ("neon drawing", "neon picture"), "papercut": ("papercut", "papercut picture")}
POSE_PP: dict[str, str] = {
    "standing": "standing, standing still, standing upright, just standing, standing up, on its feet, upright",
    "jumping": "jumping, in mid-jump, leaping, hopping, bouncing, jumping for joy, dancing, skipping, jumping high, "
               "jumping around, jumping up and down, doing a jump, leaping about",
    "leaning": "leaning, leaning to one side, tilted, tilting, leaning over, at an angle, leaning sideways, slanted, "
               "tilted to one side, leaning a bit",
    "resting": "resting, taking a rest, lying down, sleeping, napping, relaxing, asleep, lounging, snoozing, "
               "taking a nap, chilling, lazing around, dozing, having a rest",
}
POSE_VERB: dict[str, str] = {  # "make it ..."
    "standing": "stand, stand still, stand up, stand upright", "jumping": "jump, leap, hop, bounce, dance, jump up",
    "leaning": "lean, tilt, lean to one side, lean over, lean sideways",
    "resting": "rest, sleep, lie down, relax, nap, take a nap, have a rest, lie down and rest",
}
POSE_DOES = {"standing": ("stands",), "jumping": ("jumps", "leaps"), "leaning": ("leans", "leans to one side"),
             "resting": ("rests", "is resting")}


def split(text: str) -> tuple[str, ...]:
    """The items of a comma-separated list."""
    return tuple(item.strip() for item in text.split(","))


def table(source: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """A dictionary of comma-separated lists, split."""
    return {key: split(value) for key, value in source.items()}


def an(phrase: str) -> str:
    """The phrase with "a" or "an", decided by sound for the words used here."""
    word = phrase.lower()
    vowel = word[:1] in "aeiou" and not word.startswith(("uni", "use", "eu", "one", "ufo", "uk", "ukulele"))
    return f"{'an' if vowel or word.startswith(('8', 'hour', 'x-ray', 'mri', 'sms', 'led')) else 'a'} {phrase}"


def wear(name: str, colour: str | None = None) -> str:
    """An accessory as a noun phrase: "a red hat", "green sunglasses"."""
    phrase = f"{colour} {name}" if colour else name
    return phrase if name in PLURAL else an(phrase)


def listing(items: list[str]) -> str:
    """"a", "a and b", "a, b and c"."""
    return " and ".join(items) if len(items) < 3 else ", ".join(items[:-1]) + " and " + items[-1]


KIND_SAID = {k: tuple(v.split()) for k, v in KIND_WORDS.items()}
COLOUR_SAID, PATTERN_ADJ_SAID, PATTERN_NOUN_SAID = table(COLOUR_WORDS), table(PATTERN_ADJ), table(PATTERN_NOUN)
ACCESSORY_SAID = table(ACCESSORY_WORDS)
CONTEXT_SAID, CONTEXT_TERSE = table(CONTEXT_PP), table(CONTEXT_NOUN)
LIGHT_SAID, LIGHT_TERSE = table(LIGHT_PP), table(LIGHT_NOUN)
STYLE_SAID, STYLE_TERSE = table(STYLE_PP), table(STYLE_NOUN)
POSE_SAID, POSE_BARE = table(POSE_PP), table(POSE_VERB)
