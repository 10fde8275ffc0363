"""What was said before? Facts told earlier in the conversation, among distractions, asked for at the end.

The long form fills up to some thousand tokens with records and asks for many of them: a wrong block of
the KV cache shows here at once.
"""
from .item import Item, held_out, vary
from .words import ANIMALS, CITIES, COLOURS, FOODS, NAMES, PLACES, THINGS, made_up

# subject kind -> (how it is told, how it is asked, the answer)
FACTS = (
    ("My name is {v}.", ("What is my name?", "Who am I?", "Do you remember my name?", "What's my name?"), "Your name is {v}.", "name", NAMES),
    ("My favourite colour is {v}.", ("What is my favourite colour?", "Which colour do I like most?"), "Your favourite colour is {v}.", "colour", COLOURS),
    ("I live in {v}.", ("Where do I live?", "Which city do I live in?", "What city am I from?"), "You live in {v}.", "city", CITIES),
    ("My favourite food is {v}.", ("What is my favourite food?", "What do I like to eat?"), "Your favourite food is {v}.", "food", FOODS),
    ("I have a {v} at home.", ("Which pet do I have?", "What animal do I have at home?"), "You have a {v}.", "pet", ANIMALS),
    ("My {k} is called {v}.", ("What is my {k} called?", "What is the name of my {k}?"), "Your {k} is called {v}.", ANIMALS, NAMES),
    ("My {k} is {v}.", ("What colour is my {k}?", "Which colour does my {k} have?"), "Your {k} is {v}.", THINGS, COLOURS),
    ("The {k} is in the {v}.", ("Where is the {k}?", "In which place is the {k}?", "Where can I find the {k}?"), "The {k} is in the {v}.", THINGS, PLACES),
    ("{k} lives in {v}.", ("Where does {k} live?", "Which city does {k} live in?"), "{k} lives in {v}.", NAMES, CITIES),
    ("{k} likes {v}.", ("What does {k} like?", "Which food does {k} like?"), "{k} likes {v}.", NAMES, FOODS),
    ("The code of {k} is {v}.", ("What is the code of {k}?", "Which code does {k} have?", "Tell me the code of {k}."), "The code of {k} is {v}.", NAMES, "code"),
    ("The code for the {k} is {v}.", ("What is the code for the {k}?", "Which code opens the {k}?"), "The code for the {k} is {v}.", THINGS, "code"),
    ("{k} is {v} years old.", ("How old is {k}?", "What is the age of {k}?"), "{k} is {v} years old.", NAMES, "age"),
    ("The password of {k} is {v}.", ("What is the password of {k}?", "Tell me {k}'s password."), "The password of {k} is {v}.", NAMES, "made up"),
    ("Room {k} belongs to {v}.", ("Who has room {k}?", "To whom does room {k} belong?"), "Room {k} belongs to {v}.", "room", NAMES),
)
PLAIN = {f[3] for f in FACTS if isinstance(f[3], str)}


def draw(rng, source):
    if isinstance(source, list):
        return rng.choice(source)
    if source == "code":
        return str(rng.randrange(100, 10000))
    if source == "age":
        return str(rng.randrange(1, 100))
    if source == "room":
        return str(rng.randrange(1, 500))
    if source == "made up":
        return made_up(rng)
    return source


class Fact:
    def __init__(self, rng, form=None):
        self.form = form if form is not None else rng.randrange(len(FACTS))
        self.tell_form, self.ask_forms, self.answer_form, keys, values = FACTS[self.form]
        self.k, self.v = draw(rng, keys), draw(rng, values)
        self.slot = (self.form, self.k)

    def tell(self):
        return self.tell_form.format(k=self.k, v=self.v)

    def ask(self, rng):
        return rng.choice(self.ask_forms).format(k=self.k, v=self.v)

    def answer(self):
        return self.answer_form.format(k=self.k, v=self.v)

    def key(self):
        return f"fact {self.form} {self.k} {self.v}"


ACK = ("I will remember that.",)
TELL = ("{t}", "{t}", "Remember this: {t}", "Please remember: {t}", "Note: {t}", "You should know: {t}")


def facts(rng, n, form=None):
    found = {}
    while len(found) < n:
        fact = Fact(rng, form)
        found.setdefault(fact.slot, fact)
    return list(found.values())


def recall(rng):
    """A few facts over a few turns, other talk in between, then one question."""
    from . import talk
    known = facts(rng, rng.randrange(1, 7))
    asked, before = rng.choice(known), []
    told, i = list(known), 0
    rng.shuffle(told)
    while told:
        part = [told.pop() for _ in range(min(len(told), rng.randrange(1, 4)))]
        text = " ".join(f.tell() for f in part)
        before += [{"role": "user", "content": rng.choice(TELL).format(t=text)}, {"role": "assistant", "content": rng.choice(ACK), "learn": True}]
        if rng.random() < 0.5:
            before += talk.exchange(rng)
    changed = rng.random() < 0.15
    if changed:
        new = Fact(rng, asked.form)
        new.k, new.slot = asked.k, asked.slot
        asked = new
        before += [{"role": "user", "content": f"This changed: {asked.tell()}"}, {"role": "assistant", "content": ACK[0], "learn": True}]
    it = Item(asked.key(), vary(rng, asked.ask(rng), keep_case=True), f"I was told: {asked.tell()}", asked.answer(),
              {"kind": "contains", "want": asked.answer()[:-1]}, value=int(asked.v) if asked.v.isdigit() else asked.v, direct=True)
    it.before = before
    return it


def inline(rng):
    """The facts stand in the question itself."""
    known = facts(rng, rng.randrange(1, 9))
    asked = rng.choice(known)
    text = " ".join(f.tell() for f in known)
    r = rng.random()
    question = asked.ask(rng) if r < 0.2 else f"{text} {asked.ask(rng)}" if r < 0.75 else f"{text}\n\n{asked.ask(rng)}"
    return Item(asked.key(), question, f"I was told: {asked.tell()}", asked.answer(), {"kind": "contains", "want": asked.answer()[:-1]},
                value=int(asked.v) if asked.v.isdigit() else asked.v, direct=True, system=text if r < 0.2 else None)


def told(rng):
    """Facts, and no question yet."""
    known = facts(rng, rng.randrange(1, 6))
    text = rng.choice(TELL).format(t=" ".join(f.tell() for f in known))
    return Item("told " + text, text, "I am told something.", ACK[0], {"kind": "exact", "want": ACK[0]}, direct=True)


def not_told(rng):
    known = facts(rng, rng.randrange(0, 5))
    while True:
        asked = Fact(rng)
        if asked.slot not in {f.slot for f in known}:
            break
    before = []
    if known:
        before = [{"role": "user", "content": rng.choice(TELL).format(t=" ".join(f.tell() for f in known))},
                  {"role": "assistant", "content": rng.choice(ACK), "learn": True}]
    it = Item("not told " + asked.key(), vary(rng, asked.ask(rng), keep_case=True), "I was not told that.", "I do not know, you have not told me.",
              {"kind": "contains", "want": "not told me"}, direct=True)
    it.before = before
    return it


def long_recall(rng, tokens=2000, questions=12):
    """One long text of records (about `tokens`), questions about them in several turns; the last is the item's."""
    forms = rng.sample([i for i in range(len(FACTS)) if not isinstance(FACTS[i][3], str) or FACTS[i][3] == "room"], rng.randrange(4 if tokens > 1500 else 1, 7))
    n = max(4, tokens * 2 // 19)
    found = {}
    for _ in range(3 * n):
        fact = Fact(rng, rng.choice(forms))
        found.setdefault(fact.slot, fact)
        if len(found) == n:
            break
    known = list(found.values())
    rng.shuffle(known)
    sep = rng.choice((" ", "\n"))
    head = rng.choice(("Here is what you must remember.", "Remember all of this.", "This is my list.", "Read this carefully."))
    before = [{"role": "user", "content": head + sep + sep.join(f.tell() for f in known)}, {"role": "assistant", "content": ACK[0], "learn": True}]
    pool = [f for f in known if not held_out(f.key())] or known
    for fact in rng.sample(pool, min(len(pool), questions - 1)):
        before += [{"role": "user", "content": fact.ask(rng)}, {"role": "assistant", "content": fact.answer(), "learn": True}]
    asked = rng.choice(known)
    it = Item(asked.key(), asked.ask(rng), f"I was told: {asked.tell()}", asked.answer(), {"kind": "contains", "want": asked.answer()[:-1]},
              value=asked.v, direct=True)
    it.before = before
    return it


TASKS = {"recall": (8, recall), "recall_inline": (4, inline), "told": (1, told), "not_told": (2, not_told)}
