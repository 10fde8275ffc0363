"""How does Minnow see letters, though it reads tokens? It spells the word out first, then works on the spelling."""
from .item import Item, vary
from .words import ANIMALS, COLOURS, FOODS, NAMES, THINGS, WORDS, some_word

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")


def quoted(rng, word):
    return rng.choice(('"{}"', "'{}'", "{}", "the word {}", 'the word "{}"')).format(word)


def spelled(word):
    return " ".join(word)


def count_letter(rng):
    word = some_word(rng)
    if rng.random() < 0.25:
        at = rng.randrange(len(word) + 1)
        word = word[:at] + rng.choice(word) * rng.randrange(1, 3) + word[at:]
    letter = rng.choice(word) if rng.random() < 0.85 else rng.choice("abcdefghijklmnopqrstuvwxyz")
    seen, steps = 0, []
    for c in word:
        seen += c == letter
        steps.append(f"{c}{seen}")
    question = rng.choice(("How many {l}'s are in {w}?", "How many times does the letter {l} occur in {w}?", "Count the letter {l} in {w}.",
                           "How often does {l} appear in {w}?", "How many {l} are there in {w}?", "How many letters {l} does {w} have?",
                           'How many "{l}" are in {w}?')).format(l=letter, w=quoted(rng, word))
    return Item(f"count {letter} {word}", vary(rng, question), f"{letter} in {word}: {' '.join(steps)}", f"There {'is' if seen == 1 else 'are'} {seen}.",
                {"kind": "number", "want": str(seen)}, value=seen)


def count_letters(rng):
    word = some_word(rng)
    steps = " ".join(f"{c}{i + 1}" for i, c in enumerate(word))
    question = rng.choice(("How many letters are in {w}?", "How long is {w}?", "Count the letters of {w}.", "How many letters does {w} have?"))
    return Item(f"length {word}", vary(rng, question.format(w=quoted(rng, word))), steps, f"There are {len(word)}." if len(word) != 1 else "There is 1.",
                {"kind": "number", "want": str(len(word))}, value=len(word))


def count_vowels(rng):
    word, seen, steps = some_word(rng), 0, []
    for c in word:
        seen += c in "aeiou"
        steps.append(f"{c}{seen}")
    question = rng.choice(("How many vowels are in {w}?", "Count the vowels in {w}.", "How many vowels does {w} have?"))
    return Item(f"vowels {word}", vary(rng, question.format(w=quoted(rng, word))), f"vowels: {' '.join(steps)}", f"There {'is' if seen == 1 else 'are'} {seen}.",
                {"kind": "number", "want": str(seen)}, value=seen)


def sentence(rng, fewest=3, most=9):
    return [rng.choice(WORDS) for _ in range(rng.randrange(fewest, most + 1))]


def count_words(rng):
    words = sentence(rng)
    text = " ".join(words)
    steps = " ".join(f"{w} {i + 1}" for i, w in enumerate(words))
    question = rng.choice(('How many words are in "{t}"?', "Count the words: {t}", "How many words does this have: {t}", 'Count the words in "{t}".'))
    return Item(f"words {text}", vary(rng, question.format(t=text)), steps, f"There are {len(words)}.",
                {"kind": "number", "want": str(len(words))}, value=len(words))


def spell(rng):
    word = some_word(rng)
    out = "-".join(word)
    question = rng.choice(("Spell {w}.", "How do you spell {w}?", "Spell out {w}.", "Spell {w} letter by letter."))
    return Item(f"spell {word}", vary(rng, question.format(w=quoted(rng, word))), spelled(word), out, {"kind": "exact", "want": out}, value=out)


def reverse(rng):
    word = some_word(rng)
    question = rng.choice(("Reverse {w}.", "Spell {w} backwards.", "Write {w} backwards.", "What is {w} backwards?", "Reverse the letters of {w}.",
                           "What is {w} reversed?", "Turn {w} around."))
    return Item(f"reverse {word}", vary(rng, question.format(w=quoted(rng, word))), f"{spelled(word)}\n{spelled(word[::-1])}", word[::-1],
                {"kind": "contains", "want": word[::-1]}, value=word[::-1])


def sort_letters(rng):
    word = some_word(rng)[:9]
    order = "".join(sorted(word))
    question = rng.choice(("Sort the letters of {w}.", "Put the letters of {w} in alphabetical order.", "Sort the letters in {w} alphabetically.",
                           "What are the letters of {w} in order?"))
    return Item(f"letters {word}", vary(rng, question.format(w=quoted(rng, word))), f"{spelled(word)}\n{spelled(order)}", order,
                {"kind": "contains", "want": order}, value=order)


def nth_letter(rng):
    word = some_word(rng)
    n = rng.randrange(min(len(word), len(ORDINALS)))
    if rng.random() < 0.2:
        n, name = len(word) - 1, "last"
    else:
        name = ORDINALS[n]
    steps = " ".join(f"{c}{i + 1}" for i, c in enumerate(word))
    question = rng.choice(("What is the {n} letter of {w}?", "Which letter is the {n} one in {w}?", "Tell me the {n} letter of {w}.", "{n} letter of {w}?"))
    return Item(f"nth {name} {word}", vary(rng, question.format(n=name, w=quoted(rng, word))), steps, f"The {name} letter is {word[n]}.",
                {"kind": "contains", "want": f"is {word[n]}."}, value=word[n])


def sort_words(rng):
    pool = rng.choice((WORDS, ANIMALS, FOODS, COLOURS, THINGS, [n.lower() for n in NAMES]))
    words = rng.sample(pool, rng.randrange(3, 7))
    order = sorted(words)
    text, out = ", ".join(words), ", ".join(order)
    question = rng.choice(("Sort these words: {t}", "Put these words in alphabetical order: {t}", "Sort alphabetically: {t}", "Alphabetize {t}.",
                           "Sort the words {t}.", "Order these words from a to z: {t}"))
    steps = " ".join(f"{w[0]}" for w in words) + "\n" + " ".join(w[0] for w in order)
    return Item(f"sort {text}", vary(rng, question.format(t=text)), steps, out + ".", {"kind": "contains", "want": out}, value=out)


def reverse_words(rng):
    words = sentence(rng, 3, 6)
    text, out = " ".join(words), " ".join(reversed(words))
    question = rng.choice(('Reverse the order of the words: {t}', 'Write these words in reverse order: {t}', 'Say the words of "{t}" from last to first.'))
    return Item(f"back {text}", vary(rng, question.format(t=text)), f"last word: {words[-1]}", out, {"kind": "contains", "want": out}, value=out)


def repeat(rng):
    words = sentence(rng, 1, 6)
    if rng.random() < 0.3:
        words = [some_word(rng)]
    text = " ".join(words)
    if rng.random() < 0.4:
        n = rng.randrange(2, 6)
        question = rng.choice(("Say {t} {n} times.", "Repeat {t} {n} times.", "Write {t} {n} times."))
        out = " ".join([text] * n)
        thought = f"{n} times: " + " ".join(f"{i + 1}" for i in range(n))
        return Item(f"repeat {n} {text}", question.format(t=f'"{text}"', n=n), thought, out, {"kind": "exact", "want": out})
    question = rng.choice(("Repeat after me: {t}", 'Say "{t}".', 'Repeat "{t}"', "Repeat this: {t}", 'Echo "{t}".', "Copy this text: {t}"))
    return Item(f"echo {text}", question.format(t=text), "I repeat it.", text, {"kind": "exact", "want": text}, direct=True)


def capitals(rng):
    word = some_word(rng)
    if rng.random() < 0.7:
        question = rng.choice(("Write {w} in capital letters.", "Put {w} in upper case.", "What is {w} in capitals?", "Capitalize all of {w}."))
        out, source = word.upper(), word
    else:
        question = rng.choice(("Write {w} in small letters.", "Put {w} in lower case.", "What is {w} in lower case?"))
        out, source = word, word.upper()
    return Item(f"case {source}", vary(rng, question.format(w=quoted(rng, source)), keep_case=True), f"{spelled(source)}\n{spelled(out)}", out,
                {"kind": "contains", "want": out}, value=out)


def next_letter(rng):
    abc = "abcdefghijklmnopqrstuvwxyz"
    after = rng.random() < 0.6
    i = rng.randrange(25) + (0 if after else 1)
    out = abc[i + 1] if after else abc[i - 1]
    side = "after" if after else "before"
    question = rng.choice(("Which letter comes {s} {l}?", "What letter is {s} {l} in the alphabet?", "What comes {s} the letter {l}?"))
    run = " ".join(abc[max(0, i - 2): i + 3])
    return Item(f"abc {side} {abc[i]}", vary(rng, question.format(s=side, l=abc[i])), run, f"The letter {side} {abc[i]} is {out}.",
                {"kind": "contains", "want": f"is {out}."}, value=out, direct=True)


def palindrome(rng):
    word = some_word(rng)
    if rng.random() < 0.5:
        word = word[:4]
        word = word + word[::-1][rng.randrange(2):]
    yes = word == word[::-1]
    question = rng.choice(("Is {w} a palindrome?", "Does {w} read the same backwards?"))
    return Item(f"palindrome {word}", vary(rng, question.format(w=quoted(rng, word))), f"{spelled(word)}\n{spelled(word[::-1])}\n{'same' if yes else 'not the same'}",
                f"Yes, {word} is a palindrome." if yes else f"No, {word} is not a palindrome.",
                {"kind": "contains", "want": "yes" if yes else "no,"}, value="yes" if yes else "no")


TASKS = {"count_letter": (5, count_letter), "count_letters": (2, count_letters), "count_vowels": (1.5, count_vowels), "count_words": (2, count_words),
         "spell": (2, spell), "reverse": (3, reverse), "sort_letters": (3, sort_letters), "nth_letter": (2, nth_letter), "sort_words": (4, sort_words),
         "reverse_words": (1.5, reverse_words), "repeat": (2, repeat), "capitals": (1.5, capitals), "next_letter": (1, next_letter), "palindrome": (1, palindrome)}
