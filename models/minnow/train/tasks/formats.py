"""In which form must the answer be? A simple task, and an instruction how its answer has to look."""
import json

from . import arithmetic, dates, lettering, memory
from .item import Item
from .words import ANIMALS, CITIES, COLOURS, FOODS, NAMES, THINGS, made_up

SIMPLE = (lambda r: arithmetic.addition(r, 3), lambda r: arithmetic.subtraction(r, 3),
          lambda r: arithmetic.multiplication(r, ((1, 1), (2, 1))), arithmetic.comparison, lettering.count_letter, lettering.reverse,
          lettering.nth_letter, lettering.next_letter, dates.weekday, dates.month, dates.clock, dates.units, memory.inline, memory.recall, lettering.sort_words)
KEYS = ("answer", "result", "value", "solution", "output", "reply", "number", "out", "final", "text")


def upper(rng, it):
    return (("Answer in capital letters.", "Write your answer in upper case.", "Always answer in capitals.", "Use only capital letters."),
            it.answer.upper(), "capital letters", {"kind": "exact", "want": it.answer.upper()})


def lower(rng, it):
    return (("Answer in lower case.", "Write everything in small letters.", "Use only lower case letters."),
            it.answer.lower(), "lower case", {"kind": "exact", "want": it.answer.lower()})


def bare(rng, it):
    return (("Answer with the result only.", "Reply only with the result.", "Give only the answer, nothing else.", "Just the result, no sentence.",
             "Answer as short as possible."), str(it.value), "only the result", {"kind": "exact", "want": str(it.value)})


def starts(rng, it):
    word = rng.choice((rng.choice(NAMES), rng.choice(COLOURS).capitalize(), made_up(rng, 2).capitalize(), "Ahoy", "Sure", "Captain", "Yes sir"))
    out = f"{word}! {it.answer}"
    return ((f'Start every answer with "{word}!".', f'Begin your answer with "{word}!".', f'Always say "{word}!" first.'),
            out, f'start with "{word}!"', {"kind": "exact", "want": out})


def ends(rng, it):
    word = rng.choice((rng.choice(NAMES), rng.choice(FOODS), made_up(rng, 2), "over", "done", "ahoy", "sir"))
    word = word.capitalize()
    out = f"{it.answer} {word}!"
    return ((f'End every answer with "{word}!".', f'Finish your answer with "{word}!".', f'Always say "{word}!" at the end.'),
            out, f'end with "{word}!"', {"kind": "exact", "want": out})


def brackets(rng, it):
    left, right, name = rng.choice((("[", "]", "square brackets"), ("(", ")", "round brackets"), ("**", "**", "bold"), ("`", "`", "code marks"), ("<", ">", "angle brackets")))
    out = f"{left}{it.value}{right}"
    return ((f"Give only the result, in {name}.", f"Write only the result, put into {name}.", f"Reply with the result in {name}."),
            out, f"only the result in {name}", {"kind": "exact", "want": out})


def as_json(rng, it):
    key = rng.choice(KEYS) if rng.random() < 0.6 else made_up(rng, 2)
    want = {key: it.value}
    out = json.dumps(want, ensure_ascii=False)
    return ((f'Answer in JSON with the key "{key}".', f'Reply as JSON: one object with the key "{key}".', f'Give the result as JSON with key "{key}".',
             f'Respond only in JSON, with the key "{key}".', f'Use JSON with the key "{key}" for your answer.'), out, f'JSON with key "{key}"', {"kind": "json", "want": want})


WAYS = ((upper, 2), (lower, 1.5), (bare, 2), (starts, 2), (ends, 2), (brackets, 1.5), (as_json, 5))


def formatted(rng, ways=WAYS):
    it = rng.choice(SIMPLE)(rng)
    way = rng.choices([w for w, _ in ways], [n for _, n in ways])[0]
    asks, out, note, check = way(rng, it)
    ask = rng.choice(asks)
    r = rng.random()
    if r < 0.6:
        first = it.system or ("You are a helpful assistant." if rng.random() < 0.4 else "")
        it.system = f"{first} {ask}".strip()
    elif r < 0.85:
        it.question = f"{it.question} {ask}"
    else:
        it.question = f"{ask} {it.question}"
    it.before = [m | {"learn": False} for m in it.before]  # those answers do not follow the instruction
    it.key = f"format {way.__name__} {it.key}"
    it.thought, it.answer, it.check, it.direct = f"{it.thought}\nForm: {note}", out, check, False
    return it


FIELDS = {"name": NAMES, "city": CITIES, "pet": ANIMALS, "colour": COLOURS, "food": FOODS, "item": THINGS, "age": None, "price": None, "count": None}
SAY = {"name": "the name is {}", "city": "the city is {}", "pet": "the pet is a {}", "colour": "the colour is {}", "food": "the food is {}", "item": "the item is a {}",
       "age": "the age is {}", "price": "the price is {}", "count": "the count is {}"}
PERSON = {"name": "{} is my name", "city": "I live in {}", "pet": "I have a {}", "colour": "I like {}", "food": "I eat {}", "item": "I own a {}", "age": "I am {} years old",
          "price": "I paid {}", "count": "I have {} of them"}


def extract(rng):
    """Facts of a sentence as a JSON object with the keys asked for."""
    keys = rng.sample(list(FIELDS), rng.randrange(1, 5))
    values = {k: rng.choice(FIELDS[k]) if FIELDS[k] else rng.randrange(1, 100) for k in keys}
    told = list(keys)
    rng.shuffle(told)
    extra = [k for k in FIELDS if k not in keys]
    if rng.random() < 0.4 and extra:
        more = rng.choice(extra)
        told.insert(rng.randrange(len(told) + 1), more)
        values[more] = rng.choice(FIELDS[more]) if FIELDS[more] else rng.randrange(1, 100)
    forms = rng.choice((SAY, PERSON))
    text = ", ".join(forms[k].format(values[k]) for k in told)
    text = text[0].upper() + text[1:] + "."
    names = ", ".join(keys) if len(keys) == 1 or rng.random() < 0.5 else ", ".join(keys[:-1]) + " and " + keys[-1]
    question = rng.choice(("Turn this into JSON with the keys {k}: {t}", "Extract {k} as JSON: {t}", "{t} Give me JSON with the keys {k}.",
                           "Write a JSON object with {k}. {t}")).format(k=names, t=text)
    want = {k: values[k] for k in keys}
    out = json.dumps(want, ensure_ascii=False)
    return Item(f"extract {names} {text}", question, ", ".join(f"{k} {values[k]}" for k in keys), out, {"kind": "json", "want": want})


def array(rng):
    words = rng.sample(rng.choice((ANIMALS, FOODS, COLOURS, NAMES, THINGS)), rng.randrange(2, 6))
    if rng.random() < 0.3:
        words = [rng.randrange(100) for _ in words]
    text = ", ".join(map(str, words))
    question = rng.choice(("Write this list as a JSON array: {t}", "Make a JSON list of {t}.", "Turn {t} into a JSON array."))
    out = json.dumps(words)
    return Item(f"array {text}", question.format(t=text), "A JSON array.", out, {"kind": "json", "want": words}, direct=True)


TASKS = {"format": (9, formatted), "json_extract": (3, extract), "json_array": (1, array)}
