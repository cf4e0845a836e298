"""Words for what the drawn world does not have: things, places, styles and doings, so that refusals learn to copy "
"them."""

from __future__ import annotations

from .vocabulary import split

THINGS = split("""
guitar, violin, piano, drum, trumpet, flute, saxophone, banjo, harp, accordion, cello, ukulele, microphone, tambourine,
harmonica, trombone, clarinet, xylophone, drum kit, electric guitar, keyboard, speaker, radio, gramophone, record
player,
sword, shield, spear, bow and arrow, wand, magic wand, staff, axe, hammer, wrench, screwdriver, drill, saw, shovel,
rake,
ladder, bucket, broom, mop, brush, paintbrush, pencil case, pen, notebook, newspaper, magazine, letter, envelope, stamp,
suitcase, briefcase, handbag, purse, wallet, basket, box, gift, present, parcel, ribbon, candle, lantern, torch, lamp,
flashlight, light bulb, chandelier, mirror, clock, alarm clock, watch, pocket watch, hourglass, compass, telescope,
microscope, camera, phone, smartphone, laptop, tablet, computer, television, screen, remote control, joystick,
controller,
headphones, earphones, bicycle, bike, scooter, skateboard, surfboard, snowboard, sledge, sled, canoe, boat, ship, yacht,
submarine, aeroplane, plane, helicopter, hot air balloon, jetpack, parachute, train, tram, bus, truck, lorry, van, taxi,
ambulance, fire engine, police car, motorbike, wheelchair, pram, trolley, wagon, carriage, unicycle, hoverboard,
ball, football, basketball, tennis racket, baseball bat, golf club, hockey stick, trophy, medal, whistle, kite, yo-yo,
frisbee, doll, puppet, puzzle, dice, playing card, chess board, domino, jigsaw, spinning top, marble, toy train,
lollipop,
pizza, burger, hot dog, sandwich, taco, burrito, sushi roll, noodle soup, pancake, waffle, croissant, baguette, pretzel,
bagel, muffin, cupcake, cake, birthday cake, wedding cake, pie, cookie, biscuit, doughnut, donut, brownie, chocolate
bar,
ice cream, ice cream cone, milkshake, smoothie, juice box, bottle, beer, glass of wine, cocktail, coffee pot, lemonade,
apple, banana, pear, peach, pineapple, watermelon, melon, strawberry, raspberry, grape, kiwi, mango, coconut, avocado,
carrot, potato, cabbage, broccoli, cucumber, onion, garlic bulb, mushroom, pumpkin, corn cob, pea pod, turnip, radish,
egg, fried egg, sausage, steak, cheese wheel, loaf of bread, jam sandwich, honey jar, bowl of soup, popcorn bag, candy
cane,
spoon, fork, knife, plate, bowl, frying pan, saucepan, rolling pin, whisk, toaster, blender, fridge, oven, dishwasher,
chair, armchair, sofa, couch, table, desk, bed, wardrobe, cupboard, drawer, bench, stool, rocking chair, hammock,
cushion,
pillow, blanket, quilt, carpet, rug, curtain rod, door, window, gate, fence, wall, bridge, fountain, statue, tent,
igloo,
house, treehouse, lighthouse, windmill, greenhouse, doghouse, chimney, staircase, elevator, swing, slide, seesaw,
trampoline, carousel, roller coaster, ferris wheel, merry-go-round, traffic light, road sign, mailbox, phone box,
lamppost,
shirt, t-shirt, jacket, coat, raincoat, sweater, hoodie, vest, dress, skirt, tutu, kimono, suit, tuxedo, apron, cape,
cloak, belt, sock, glove, mitten, slipper, sandal, high heel, boxing glove, helmet, crash helmet, wig, mask, eye patch,
moustache, beard, necklace, bracelet, ring, earring, brooch, pearl necklace, gold chain, badge, backstage pass, bell,
monocle, veil, halo, pair of wings, wing, tail feather, horn, antler, fang, tattoo, lipstick, nail varnish, ponytail,
horse, pony, cow, pig, sheep, goat, donkey, chicken, rooster, goose, swan, turkey, pigeon, parrot, eagle, hawk, penguin,
flamingo, peacock, ostrich, seagull, crow, bat, mouse, rat, hamster, guinea pig, squirrel, hedgehog, mole, badger,
otter,
beaver, raccoon, skunk, deer, moose, reindeer, wolf, lion, tiger, leopard, cheetah, panther, elephant, giraffe, zebra,
hippo, rhino, monkey, gorilla, chimpanzee, sloth, koala, kangaroo, panda, camel, llama, alpaca, buffalo, crocodile,
alligator, snake, lizard, chameleon, frog, toad, salamander, shark, whale, dolphin, seal, walrus, octopus, squid,
jellyfish, crab, lobster, shrimp, snail, slug, worm, ant, bee, wasp, butterfly, moth, dragonfly, ladybird, beetle,
spider,
scorpion, mosquito, grasshopper, caterpillar, dragon, unicorn, phoenix, griffin, mermaid, fairy, elf, dwarf, goblin,
troll,
ogre, giant, witch, wizard, vampire, zombie, ghost, skeleton, mummy, werewolf, monster, alien, dinosaur, t-rex, yeti,
pirate, ninja, samurai, knight, king, queen, prince, princess, cowboy, clown, magician, policeman, fireman, nurse,
doctor,
teacher, builder, farmer, postman, dentist, waiter, baker, sailor, soldier, superhero, santa claus, snowman, scarecrow,
baby, child, boy, girl, man, woman, grandmother, grandfather, mother, father, sister, brother, bride, friend, crowd,
cactus pot, bonsai, christmas tree, mushroom ring, four-leaf clover, acorn, pine cone, feather, leaf, log, rock,
crystal,
diamond, treasure chest, gold coin, bag of money, map, treasure map, globe, flag, banner, poster, sign, megaphone,
anchor,
fishing rod, net, lifebuoy, paddle, snorkel, diving mask, flipper, key, padlock, chain, rope, magnet, battery, plug,
cable,
gear, spring coil, robot arm, satellite, ufo, flying saucer, meteor, comet, black hole, lightsaber, laser gun, cannon,
bomb,
firework, sparkler, bonfire, campfire, fireplace, rainbow, tornado, lightning bolt, puddle, waterfall, river, lake,
iceberg, geyser, pyramid, sphinx, temple, totem pole, gravestone, coffin, crystal ball, cauldron, potion, spell book,
tooth, bone, skull, heart, eyeball, brain, footprint, paw print, nest, beehive, cobweb, cage, leash, collar, saddle,
birdhouse, dog bowl, litter tray, scratching post, ball of wool, knitting needle, sewing machine, button, zip, safety
pin,
scissors case, stapler, paper clip, ruler, calculator, blackboard, school bus, diploma, microwave, kettle bell,
dumbbell,
yoga mat, skipping rope, treadmill, stopwatch, thermometer, syringe, bandage, stethoscope, toothbrush, bathtub, shower,
toilet, sink, bar of soap, towel, hairdryer, comb, razor, perfume bottle, vacuum cleaner, washing machine, iron,
radiator,
fan, heater, barbecue, picnic basket, cool box, deckchair, sandcastle, seashell, starfish, pearl, message in a bottle,
chef outfit, police outfit, firefighter outfit, wizard outfit, pirate costume, superhero costume, wooden floor,
purple rug, white rug, dirt road, wheat sheaf, piece of fabric, cobblestone, wooden crate, tree trunk, santa beard,
logo, speech bubble, qr code, barcode, wristwatch, walking stick, fidget spinner, rubik's cube, tarot card, lava lamp
""".replace("\n", " "))

SECOND_SUBJECT = THINGS  # "draw a horse instead": the same words, and the world's other kinds

PLACES: dict[str, str] = {  # what people name -> nearest context
    "in paris": "city", "in london": "city", "in berlin": "city", "in rome": "city", "in venice": "city",
    "in hong kong": "city", "in dubai": "city", "in chicago": "city", "in madrid": "city", "in istanbul": "city",
    "in moscow": "city", "in amsterdam": "city", "under the eiffel tower": "city", "at the airport": "city",
    "at a train station": "city", "in the office": "library", "in a museum": "library", "in a classroom": "library",
    "in a hospital": "library", "at the bank": "city", "in the bathroom": "kitchen", "in the bedroom": "library",
    "in the living room": "library", "in the cellar": "kitchen", "in the attic": "library",
    "in a supermarket": "kitchen",
    "in a shopping mall": "city", "at the gym": "stage", "in a football stadium": "stage", "in a nightclub": "stage",
    "in a casino": "stage", "at the cinema": "stage", "in hollywood": "stage", "in las vegas": "stage",
    "on broadway": "stage", "in a swimming pool": "underwater", "in a river": "underwater", "in a lake": "garden",
    "at the titanic": "underwater", "in a submarine": "underwater", "on a pirate ship": "beach", "on a boat": "beach",
    "on a bridge": "city", "in ibiza": "beach", "in miami": "beach", "on a cruise ship": "beach",
    "in a church": "castle",
    "in a temple": "castle", "at hogwarts": "castle", "in narnia": "castle", "in a prison": "castle",
    "at stonehenge": "farm", "at the zoo": "garden", "on a golf course": "garden", "in a greenhouse": "garden",
    "in the swamp": "forest", "in a treehouse": "forest", "on a savanna": "desert", "in the grand canyon": "desert",
    "in dubai's sands": "desert", "at the pyramids": "desert", "on route 66": "desert", "in a cave": "mountains",
    "in norway": "mountains", "in switzerland": "mountains", "on a cable car": "mountains", "in nepal": "mountains",
    "in an igloo": "snow", "in siberia": "snow", "in greenland": "snow", "in santa's workshop": "snow",
    "in a time machine": "space", "in a black hole": "space", "in star wars": "space", "on an aeroplane": "clouds",
    "in a hot air balloon basket": "clouds", "on olympus": "clouds", "in hell": "volcano", "in mordor": "volcano",
    "in jurassic park": "volcano", "in pompeii": "volcano", "in a stable": "farm", "in texas": "farm",
    "in a henhouse": "farm", "in ireland": "farm", "in provence": "farm", "in a vineyard": "farm",
}

STYLES: dict[str, str] = {  # "as ..." -> nearest style
    "a lego figure": "pixel", "a voxel model": "pixel", "a mosaic": "pixel", "a cross-stitch": "pixel",
    "an ascii picture": "pixel", "a roblox character": "pixel", "a tetris game": "pixel", "embroidery": "pixel",
    "an oil painting": "watercolour", "a van gogh": "watercolour", "a monet": "watercolour", "a fresco": "watercolour",
    "an impressionist picture": "watercolour", "an acrylic canvas": "watercolour", "a pastel": "watercolour",
    "a turner seascape": "watercolour", "a rembrandt": "watercolour", "a batik": "watercolour",
    "a dream": "watercolour",
    "a photo": "flat", "a photograph": "flat", "a photorealistic render": "flat", "a 3d render": "flat",
    "a pixar film": "flat", "an anime": "flat", "a manga": "pencil", "a disney film": "flat",
    "a simpsons character": "flat",
    "a pop art print": "flat", "a warhol print": "flat", "a bauhaus poster": "flat", "a picasso": "papercut",
    "a matisse": "papercut", "a cubist picture": "papercut", "a south park episode": "papercut", "a stop-motion film":
    "papercut", "a felt toy": "papercut", "a quilt pattern": "papercut", "a clay figure": "papercut", "a marionette":
    "papercut", "a wooden toy": "papercut", "a shadow play": "papercut", "a linocut": "pencil", "a woodcut": "pencil",
    "an etching": "pencil", "a copper engraving": "pencil", "a blueprint": "pencil", "an ink drawing": "pencil",
    "a da vinci study": "pencil", "a comic strip by hand": "pencil", "a chalkboard picture": "pencil",
    "a tattoo": "pencil",
    "a stained glass window": "neon", "a hologram": "neon", "a graffiti": "neon", "an x-ray": "neon",
    "a tron film": "neon", "a lightbulb sculpture": "neon", "a laser show": "neon", "a disco poster": "neon",
    "a marble statue": "pencil", "a bronze statue": "flat", "a wax figure": "flat", "a balloon animal": "flat",
    "a glass sculpture": "watercolour", "a knitted toy": "papercut", "a renaissance portrait": "watercolour",
}

DOINGS = split("""
riding a horse, riding a bike, playing football, playing the guitar, playing chess, playing tennis, playing the piano,
playing video games, eating pizza, eating a burger, eating an apple, drinking coffee, drinking tea, drinking beer,
reading a book, reading the newspaper, writing a letter, painting a wall, cooking soup, baking bread, washing the
dishes,
driving a car, driving a tractor, flying a plane, flying a kite, sailing a boat, rowing a boat, surfing a wave,
riding a skateboard, riding a dragon, riding a unicorn, riding a motorbike, climbing a tree, climbing a ladder,
chasing a mouse, chasing a butterfly, catching a ball, throwing a ball, kicking a ball, lifting weights, doing yoga,
doing karate, doing a handstand, swinging a sword, fighting a dragon, fighting a shark, holding a sign, holding a baby,
holding hands, hugging a friend, kissing a frog, shaking hands, waving goodbye, waving a flag, crying, laughing,
smiling,
winking, shouting, singing a song, juggling, blowing bubbles, blowing out candles, building a house, digging a hole,
fishing, camping, shopping, swimming, running, walking, marching, crawling, knitting a sock, taking a selfie,
talking on the phone, typing on a laptop, watching tv, doing homework, brushing its teeth, taking a bath, taking a
shower,
getting married, giving a speech, robbing a bank, arresting a thief, playing poker, playing drums, roller skating,
ice skating, skydiving, doing a backflip, breathing fire, shooting lasers, casting a spell, turning into a pumpkin
""".replace("\n", " "))

DOING_POSE = {"running": "jumping", "swimming": "jumping", "skydiving": "jumping", "doing a backflip": "jumping",
              "kicking a ball": "jumping", "catching a ball": "jumping", "watching tv": "resting",
              "reading a book": "resting", "taking a bath": "resting", "doing yoga": "leaning", "camping": "resting",
              "playing football": "jumping", "roller skating": "leaning", "surfing a wave": "leaning"}

TOPICS = split("""
what's the weather today, will it rain tomorrow, what is 2+2, what is 17 times 23, solve x^2 = 9, who is the president,
who won the election, what do you think about politics, write a python function, print hello world, write me a poem,
write an essay about history, translate this to german, what is the capital of france, who won the world cup,
tell me a joke, tell me a story, how do i cook pasta, what is love, what is the meaning of life, is there a god,
what time is it, what day is it, how tall is mount everest, give me stock tips, should i buy bitcoin, play some music,
book me a flight, order a pizza, call my mum, set an alarm for 7, write my homework, explain quantum physics,
what is ai, are you chatgpt, how does a car engine work, what's in the news, recommend a film, sing a song,
how old is the earth, what is the speed of light, fix my computer, what's your opinion on taxes, help me with maths,
calculate 45 percent of 300, what rhymes with orange, how many people live in china, diagnose my headache,
can you search the web, send an email, what did you eat today, do you have feelings, are you human, where do you live
""".replace("\n", " ").replace("  ", " "))
