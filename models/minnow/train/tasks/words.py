"""Which words do the exercises use? Common English ones, listed here, and made-up ones of syllables."""

NAMES = """Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Maria Noah Olivia Paul Rosa Sam Tina Victor Alice
Bob Carol Dan Eve Frank Gina Hugo Ida James Karen Liam Mona Nina Oscar Peter Quinn Ruth Simon Tom Uma Vera Walter Xena Yara Zoe
Adam Bella Chris Diana Ethan Fiona George Hanna Ivan Julia Kevin Laura Max Nora Omar Paula Rita Steve Tara Will Amir Chen Devi
Elena Fatima Hiro Ingrid Jorge Kofi Lena Mei Nadia Priya Raj Sara Yuki Lucas Sofia Martin Helen Robert Linda Thomas""".split()
ANIMALS = """cat dog horse cow sheep goat pig duck goose hen fox wolf bear lion tiger mouse rat rabbit frog toad snake whale shark
dolphin salmon trout minnow otter beaver badger hedgehog squirrel deer moose camel zebra giraffe elephant monkey parrot eagle hawk
owl crow raven swan pigeon spider beetle ant bee wasp turtle lizard crab lobster penguin seal donkey""".split()
FOODS = """apple pear plum cherry peach lemon orange banana grape melon mango fig berry strawberry blueberry carrot potato tomato
onion garlic pepper cabbage lettuce bean pea corn rice bread butter cheese milk honey sugar salt soup cake cookie pancake noodle
pasta pizza salad egg nut almond walnut olive mushroom pumpkin spinach""".split()
COLOURS = "red blue green yellow black white brown pink purple orange grey silver golden violet".split()
THINGS = """book pencil table chair lamp window door key box bottle cup plate spoon fork knife bag coat hat shoe sock shirt
button coin ring clock mirror candle basket bucket hammer nail rope ladder wheel bell drum flute violin ball kite card stamp
letter photo map ticket stone shell flower leaf tree apple pear plum egg cookie marble brick""".split()
PLACES = """kitchen garden cellar attic garage library office school station market harbour forest museum bakery hospital castle
tower bridge church theatre hotel park farm beach island mountain valley village workshop stable""".split()
CITIES = """Paris London Berlin Madrid Rome Oslo Vienna Lisbon Dublin Prague Warsaw Athens Cairo Tokyo Delhi Seoul Boston Chicago
Denver Toronto Sydney Lima Quito Nairobi Lagos Munich Hamburg Milan Geneva Zurich Lyon Porto Krakow Bergen Helsinki Stockholm
Budapest Istanbul Mumbai Beijing Shanghai Osaka Bangkok Hanoi Manila Jakarta Havana Bogota Santiago""".split()
OTHERS = """time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money story fact
month lot right study business issue side kind head house service friend father power hour game line end member law car city
community name president team minute idea body information back parent face others level office health person art war history
party result change morning reason research girl guy moment air teacher force education summer winter spring autumn river ocean
planet rocket engine keyboard computer screen program memory network server cluster router gateway worker token block cache
letter word sentence language grammar alphabet paper picture music song dance movie theatre football tennis swim run jump walk
talk write read draw paint build break carry catch bring think know learn teach listen speak answer happy sad angry brave clever
gentle honest kind lazy proud quiet rapid silly strong tiny warm young ancient bright careful dark early famous great heavy
important little narrow open perfect quick ready simple tall useful wide yellow mississippi banana balloon coffee committee
success address butterfly hippopotamus occurrence parallel bookkeeper necessary tomorrow different beginning disappear
excellent possible wonderful beautiful remember september calendar umbrella chocolate dictionary adventure blackboard""".split()
WORDS = sorted(set(ANIMALS + FOODS + COLOURS + THINGS + PLACES + OTHERS))

ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p pl pr qu r s sc sh sk sl sm sn sp st str t th tr v w y z".split()
VOWELS = "a e i o u a e i o ai ea ee oo ou".split()
CODAS = [""] * 10 + "n r l s t m d k p ck ng nt st rd ll ss sh x".split()


def made_up(rng, most=3):
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.randrange(1, most + 1)))


def some_word(rng):
    """Mostly real ones, but any spelling may come."""
    r = rng.random()
    if r < 0.55:
        return rng.choice(WORDS)
    if r < 0.65:
        return rng.choice(NAMES if rng.random() < 0.5 else CITIES).lower()
    if r < 0.93:
        return made_up(rng)
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(3, 9)))
