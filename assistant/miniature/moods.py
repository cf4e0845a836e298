"""What a vague wish may mean: moods with the contexts, lights, styles, poses and accessories that suit them, and
reasons.

Reasons never name a value of the world other than the one they are about, so that a reply can be read back.
"""

from __future__ import annotations

from dataclasses import dataclass

from .vocabulary import split, table


@dataclass(frozen=True)
class Mood:
    """What suits a mood; every tuple names values of the world, an empty one leaves the choice as it is."""

    name: str  # adjective for "a ... picture"
    said: tuple[str, ...]  # adjectives people use
    contexts: tuple[str, ...]
    lights: tuple[str, ...]
    styles: tuple[str, ...]
    poses: tuple[str, ...]
    accessories: tuple[str, ...]
    colours: tuple[str, ...]  # of the accessories
    occasions: tuple[str, ...]  # what people want it for


def _mood(said: str, contexts: str, lights: str, styles: str, poses: str, accessories: str, colours: str,
          occasions: str) -> Mood:
    names = split(said)
    return Mood(names[0], names, *(split(x) for x in (contexts, lights, styles, poses, accessories, colours,
                                                      occasions)))


MOODS: tuple[Mood, ...] = (
    _mood("cosy", "library, kitchen, snow, farm", "night, sunset", "watercolour, pencil, papercut", "resting, standing",
          "scarf, hat", "red, orange, brown, yellow",
          "my living room, a rainy sunday, a tea shop, a bedtime story, a coffee shop menu, an autumn card, my blanket")
    , _mood("festive", "stage, castle, garden, city", "night, day", "papercut, flat, neon", "jumping, standing",
            "balloon, crown, hat, bow tie", "red, yellow, pink, purple",
            "a birthday card, a party invitation, my daughter's birthday, new year's eve, our anniversary, a wedding "
            "invitation, a carnival poster, a surprise party, an office party, my son's birthday")
    , _mood("calm", "beach, garden, mountains, underwater, clouds", "sunset, day", "watercolour, pencil",
            "resting, leaning", "flower, scarf", "teal, blue, white, pink",
            "my bedroom, a yoga studio, a waiting room, a spa, a meditation app, a get well card, my office wall")
    , _mood("dramatic", "volcano, mountains, castle, stage, desert", "night, sunset", "neon, watercolour, papercut",
            "jumping, leaning", "crown, scarf", "red, black, orange, purple",
            "a film poster, a heavy metal album, a theatre poster, a thriller cover, a stage backdrop, a game cover")
    , _mood("dreamy", "clouds, space, underwater, garden", "night, sunset", "watercolour, papercut", "resting, jumping",
            "flower, balloon, umbrella", "pink, purple, teal, white",
            "a lullaby, a poem, a perfume ad, my dream journal, a goodnight card, a mobile over the cot")
    , _mood("adventurous", "mountains, desert, forest, space, volcano, underwater", "day, sunset",
            "flat, watercolour, papercut", "jumping, leaning", "hat, scarf, sunglasses", "brown, red, green, orange",
            "a travel blog, a scout group, an explorer's club, a travel agency, a treasure hunt, a hiking club")
    , _mood("elegant", "stage, castle, library, city", "night, sunset", "papercut, pencil, watercolour",
            "standing, leaning", "bow tie, crown, umbrella", "black, white, purple, red",
            "a jazz night, a ball, a gala, a hotel lobby, a wine label, a fashion magazine, an opera poster, a "
            "restaurant")
    , _mood("spooky", "castle, forest, volcano, library", "night", "papercut, neon, pencil", "leaning, standing",
            "hat, scarf, umbrella", "black, purple, orange",
            "halloween, a ghost story, a horror film, a haunted house, a halloween party, a scary story")
    , _mood("summery", "beach, garden, farm, underwater", "day, sunset", "flat, watercolour", "jumping, resting",
            "sunglasses, hat, umbrella", "yellow, orange, teal, pink",
            "a holiday postcard, an ice cream shop, a pool party, a summer camp, a surf shop, a lemonade stand")
    , _mood("wintry", "snow, mountains, library", "day, night", "papercut, watercolour, pencil", "standing, jumping",
            "scarf, hat", "red, blue, white, green",
            "a christmas card, an advent calendar, a hot chocolate ad, a ski club, a winter market, the holidays")
    , _mood("romantic", "garden, beach, city, castle", "sunset, night", "watercolour, papercut, pencil",
            "leaning, resting", "flower, bow tie, balloon", "red, pink, purple",
            "valentine's day, a love letter, my girlfriend, my husband, a wedding card, a date night, my wife, my "
            "boyfriend")
    , _mood("sporty", "mountains, beach, city, snow", "day", "flat, neon, pixel", "jumping, leaning",
            "hat, sunglasses", "red, blue, green, yellow",
            "a running club, a football team, a gym, a sports day, a fitness app, a marathon, a school tournament")
    , _mood("futuristic", "space, city, stage", "night", "neon, pixel", "leaning, jumping, standing",
            "sunglasses, scarf", "teal, purple, pink, blue",
            "a sci-fi club, a tech company, a podcast about science, a start-up, a techno party, a hackathon")
    , _mood("retro", "city, space, beach, stage", "day, sunset, night", "pixel", "jumping, standing",
            "sunglasses, hat, bow tie", "red, yellow, teal, orange",
            "an arcade, a game night, a gamer's room, an 80s party, a computer club, a mix tape")
    , _mood("playful", "garden, clouds, farm, beach, space", "day", "flat, papercut, pixel", "jumping, leaning",
            "balloon, hat, sunglasses", "yellow, red, green, pink",
            "my kid's room, a children's book, a nursery, a kindergarten, a toddler, a toy shop, my little sister")
    , _mood("funny", "stage, kitchen, beach, farm", "day", "flat, pixel, papercut", "jumping, leaning",
            "sunglasses, bow tie, hat", "yellow, pink, green, orange",
            "a meme, a joke, a comedy night, my best friend, a silly sticker, a prank, the group chat")
    , _mood("royal", "castle, stage, clouds", "day, sunset", "papercut, watercolour", "standing, leaning",
            "crown", "yellow, purple, red",
            "a fantasy book, a coat of arms, a school play, a fantasy game, a puppet theatre, a bedtime book")
    , _mood("natural", "forest, garden, farm, mountains", "day, sunset", "watercolour, pencil", "resting, standing",
            "flower, scarf", "green, brown, white",
            "a honey label, a seed packet, an organic shop, a nature magazine, a garden centre, a farmers' market")
    , _mood("mysterious", "forest, underwater, library, space, castle", "night", "pencil, neon, papercut",
            "leaning, standing", "scarf, hat, umbrella", "black, purple, teal",
            "a detective story, an escape room, a mystery novel, a magic show, a riddle book, a crime podcast")
    , _mood("cute", "garden, clouds, farm, kitchen", "day", "watercolour, papercut, flat", "resting, jumping",
            "flower, bow tie, balloon", "pink, white, yellow, red",
            "a baby shower, my grandma, a sticker set, my niece, a thank-you card, a mother's day card, a keyring")
    , _mood("lively", "stage, city, beach, farm", "day, night", "neon, flat, pixel", "jumping",
            "balloon, sunglasses, hat", "red, orange, yellow, pink",
            "a dance class, a music festival, a street party, a concert poster, a disco, a samba school")
    , _mood("melancholy", "city, beach, library, mountains", "sunset, night", "pencil, watercolour",
            "resting, leaning", "umbrella, scarf", "blue, grey, black",
            "a sad song, a farewell card, a blues album, a rainy day, a goodbye letter, a slow song"),
)

MOOD_ALSO: dict[str, tuple[str, ...]] = {k: split(x) for k, x in {
    "cosy": "cozy, snug, homely, warm and quiet, comfy", "festive": "celebratory, party-like, joyful, happy, cheerful",
    "calm": "peaceful, quiet, relaxing, soothing, gentle, zen", "dramatic": "epic, intense, powerful, bold, cinematic",
    "dreamy": "magical, surreal, soft, poetic, whimsical, fantasy",
    "adventurous": "exciting, wild, daring, exotic, heroic",
    "elegant": "classy, fancy, stylish, chic, posh, sophisticated",
    "spooky": "scary, creepy, eerie, gothic, dark and scary",
    "summery": "tropical, sunny, beachy, fresh", "wintry": "frosty, chilly, christmassy, icy",
    "romantic": "lovely, tender, sweet and romantic", "sporty": "athletic, energetic, active, dynamic",
    "futuristic": "sci-fi, high-tech, modern, space age", "retro": "vintage, nostalgic, old school, 80s, gamer-like",
    "playful": "childlike, silly, for kids, colourful, bubbly", "funny": "fun, hilarious, goofy, crazy, weird, absurd",
    "royal": "majestic, noble, fairy-tale-like, grand, regal", "natural": "earthy, organic, rustic, outdoorsy",
    "mysterious": "enigmatic, secret, strange, moody, magical and dark",
    "cute": "adorable, sweet, kawaii, lovable, pretty",
    "lively": "vibrant, loud, cool, energetic and loud, full of life, awesome",
    "melancholy": "sad, wistful, lonely, thoughtful",
}.items()}

# virtues: "the beach is ...", "watercolour is ..."; and effects: "the beach makes it feel ..."
CONTEXT_IS = table({
    "beach": "open and sunny, full of fresh air, wide and bright, easy-going",
    "forest": "quiet and green, deep and full of secrets, wild and calm, rich in shade",
    "mountains": "grand and clear, high and free, big enough for an adventure, cool and wide",
    "desert": "wide and warm, bare and striking, hot and empty, simple and bold",
    "snow": "bright and crisp, soft and silent, clean and cold, calm and pure",
    "space": "endless and full of wonder, vast and quiet, far from everything, strange and free",
    "underwater": "weightless and strange, cool and flowing, quiet and full of bubbles, deep and dreamlike",
    "city": "busy and tall, full of life, bright and loud, lively at any hour",
    "garden": "fresh and full of blooms, gentle and green, lush and friendly, sweet and lively",
    "kitchen": "warm and homely, full of good smells, tidy and cheerful, snug and familiar",
    "library": "hushed and warm, full of stories, quiet and wise, snug and thoughtful",
    "stage": "made for a big entrance, grand and bright, full of drama, ready for applause",
    "castle": "noble and old, full of legends, proud and grand, made for heroes",
    "clouds": "light and floating, soft as cotton, airy and free, dreamlike and gentle",
    "volcano": "fiery and wild, full of power, hot and daring, loud and dangerous",
    "farm": "honest and cheerful, simple and friendly, rustic and warm, full of country air",
})
STYLE_IS = table({
    "flat": "clear and bold, simple and cheerful, clean and easy to read, crisp and friendly",
    "pencil": "quiet and personal, delicate, handmade and honest, light and thoughtful",
    "pixel": "playful and retro, chunky and fun, crisp and nostalgic, full of game spirit",
    "watercolour": "soft and gentle, light and flowing, dreamy and loose, tender and warm",
    "neon": "bold and electric, glowing and modern, loud and exciting, bright and futuristic",
    "papercut": "layered and crafty, handmade and warm, graphic and neat, full of depth",
})
LIGHT_MAKES = table({
    "day": "clear, fresh, cheerful, bright and open", "sunset": "warm, tender, romantic, warm and a little wistful",
    "night": "mysterious, quiet, secret, deep and still",
})
POSE_MAKES = table({
    "standing": "calm, proud, sure of itself", "jumping": "lively, full of energy, full of joy, playful",
    "leaning": "relaxed and cheeky, casual, curious", "resting": "peaceful, calm, at ease, cosy",
})
ACCESSORY_ADDS = table({
    "hat": "character, a bit of style, a cheeky touch", "crown": "a royal touch, some grandeur, a festive shine",
    "scarf": "some warmth, a soft accent, a cosy touch", "sunglasses": "a cool look, some attitude, a holiday feeling",
    "bow tie": "a touch of class, some elegance, a smart look",
    "flower": "a sweet accent, some tenderness, a fresh touch",
    "balloon": "a party feeling, some lightness, a playful touch",
    "umbrella": "a bit of charm, a curious touch, a dash of whimsy",
})
TWEAKS: dict[str, dict[str, str]] = {  # "warmer": what changes
    "warmer": {"light": "sunset"}, "darker": {"light": "night"}, "brighter": {"light": "day"},
    "lighter": {"light": "day"},
    "colder": {"context": "snow"}, "cooler in temperature": {"context": "snow"}, "hotter": {"context": "desert"},
    "softer": {"style": "watercolour"}, "bolder": {"style": "flat"}, "simpler": {"style": "flat"},
    "more handmade": {"style": "papercut"}, "more artistic": {"style": "watercolour"}, "sketchier": {"style": "pencil"},
    "more electric": {"style": "neon"}, "glowing": {"style": "neon"}, "blockier": {"style": "pixel"},
    "more painterly": {"style": "watercolour"}, "rougher": {"style": "pencil"}, "cleaner": {"style": "flat"},
    "more energetic": {"pose": "jumping"}, "sleepier": {"pose": "resting"}, "lazier": {"pose": "resting"},
    "more relaxed": {"pose": "resting"}, "more active": {"pose": "jumping"}, "greener": {"context": "forest"},
    "more tropical": {"context": "beach"}, "more urban": {"context": "city"}, "less dark": {"light": "day"},
    "less bright": {"light": "sunset"}, "sunnier": {"light": "day"}, "gloomier": {"light": "night"},
    "more cosmic": {"context": "space"}, "higher up": {"context": "clouds"}, "deeper": {"context": "underwater"},
    "more fiery": {"context": "volcano"}, "more rural": {"context": "farm"}, "fancier": {"wear": "bow tie"},
    "more royal": {"wear": "crown"}, "cooler": {"wear": "sunglasses"}, "girlier": {"wear": "flower"},
    "more stylish": {"wear": "hat"}, "more festive": {"wear": "balloon"}, "wetter": {"context": "underwater"},
    "more golden": {"light": "sunset"}, "moodier": {"light": "night"}, "less colourful": {"style": "pencil"},
    "more colourful": {"style": "flat"}, "more modern": {"style": "neon"}, "more nostalgic": {"style": "pixel"},
}
