"""How does Minnow calculate? On paper, digit by digit from the right, one line a column.

Every line of one kind has the same number of tokens, whatever the digits are: the next line is found at
a fixed distance, so carrying never moves anything.
"""
from .item import Item, vary


def number(rng, digits):
    return rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10 ** digits)


def digits_of(rng, most):
    """Sizes 1..most; larger ones a little more often, since they are harder."""
    return min(most, 1 + int((rng.random() ** 0.8) * most))


def add_lines(a, b):
    width = max(len(str(a)), len(str(b)))
    x, y, carry = str(a).zfill(width), str(b).zfill(width), 0
    lines = [f"{x}+{y}"]
    for p, q in zip(reversed(x), reversed(y)):
        total = int(p) + int(q) + carry
        lines.append(f"{p}+{q}+{carry}={total:02d}")
        carry = total // 10
    return lines


def sub_lines(a, b):
    """a >= b."""
    width = len(str(a))
    x, y, borrow = str(a), str(b).zfill(width), 0
    lines = [f"{x}-{y}"]
    for p, q in zip(reversed(x), reversed(y)):
        d = int(p) - int(q) - borrow
        lines.append(f"{p}-{q}-{borrow}={d % 10},{int(d < 0)}")
        borrow = int(d < 0)
    return lines


def mul_lines(a, b):
    """The number with fewer digits is the one worked through."""
    if len(str(a)) < len(str(b)):
        a, b = b, a
    lines, parts = [f"{a}*{b}"], []
    for place, digit in enumerate(reversed(str(b))):
        lines.append(f"x{digit}")
        carry = 0
        for p in reversed(str(a)):
            total = int(p) * int(digit) + carry
            lines.append(f"{p}*{digit}+{carry}={total:02d}")
            carry = total // 10
        parts.append(a * int(digit) * 10 ** place)
        lines.append(f"={parts[-1]}")
    total = parts[0]
    for part in parts[1:]:
        lines += add_lines(total, part)
        total += part
    return lines


def div_lines(a, d):
    lines, rest, quotient = [f"{a}/{d}"], 0, ""
    for p in str(a):
        top = rest * 10 + int(p)
        lines.append(f"{top:02d}:{d}={top // d}r{top % d}")
        quotient += str(top // d)
        rest = top % d
    return lines


def compare_lines(x, y):
    """Texts of two numbers, perhaps with decimals; the lines, and '<', '=' or '>'."""
    (xi, _, xf), (yi, _, yf) = x.partition("."), y.partition(".")
    if len(xi) != len(yi):
        sign = "<" if len(xi) < len(yi) else ">"
        return [f"{len(xi)} digits{sign}{len(yi)} digits"], sign
    places = max(len(xf), len(yf))
    p, q = xi + xf.ljust(places, "0"), yi + yf.ljust(places, "0")
    lines = [f"{xi}.{xf.ljust(places, '0')} {yi}.{yf.ljust(places, '0')}"] if places else []
    steps = []
    for c, d in zip(p, q):
        sign = "=" if c == d else "<" if c < d else ">"
        steps.append(f"{c}{sign}{d}")
        if sign != "=":
            return lines + [" ".join(steps)], sign
    return lines + [" ".join(steps)], "="


ASK = {
    "+": ("What is {a} + {b}?", "{a}+{b}", "{a} + {b} =", "Calculate {a} + {b}.", "Add {a} and {b}.", "What is {a} plus {b}?",
          "What is the sum of {a} and {b}?", "How much is {a} plus {b}?", "What's {a} + {b}?", "Compute {a}+{b}",
          "{a} plus {b}", "Find {a} + {b}.", "Work out {a} + {b}.", "If I add {b} to {a}, what do I get?", "{a}+{b}=?"),
    "-": ("What is {a} - {b}?", "{a}-{b}", "{a} - {b} =", "Calculate {a} - {b}.", "Subtract {b} from {a}.", "What is {a} minus {b}?",
          "How much is {a} minus {b}?", "What's {a} - {b}?", "Compute {a}-{b}", "{a} minus {b}", "Find {a} - {b}.",
          "Take {b} away from {a}.", "Work out {a} - {b}.", "What is left when I take {b} from {a}?", "{a}-{b}=?"),
    "*": ("What is {a} * {b}?", "{a}*{b}", "{a} x {b}", "{a} * {b} =", "Calculate {a} * {b}.", "Multiply {a} by {b}.", "What is {a} times {b}?",
          "What is the product of {a} and {b}?", "How much is {a} times {b}?", "What's {a} x {b}?", "Compute {a}*{b}",
          "{a} times {b}", "Find {a} * {b}.", "Work out {a} x {b}.", "Multiply {a} and {b}.", "{a}*{b}=?"),
    "/": ("What is {a} / {b}?", "{a}/{b}", "Calculate {a} / {b}.", "Divide {a} by {b}.", "What is {a} divided by {b}?",
          "How much is {a} divided by {b}?", "{a} divided by {b}", "Work out {a} / {b}."),
}


def item(rng, op, a, b, lines, result):
    question = vary(rng, rng.choice(ASK[op]).format(a=a, b=b))
    return Item(f"{op} {a} {b}", question, "\n".join(lines), f"{a} {op} {b} = {result}.",
                {"kind": "number", "want": str(result)}, value=result)


def addition(rng, most=7):
    a, b = number(rng, digits_of(rng, most)), number(rng, digits_of(rng, most))
    return item(rng, "+", a, b, add_lines(a, b), a + b)


def subtraction(rng, most=7):
    a, b = number(rng, digits_of(rng, most)), number(rng, digits_of(rng, most))
    if a < b and rng.random() < 0.7:
        a, b = b, a
    steps, sign = compare_lines(str(a), str(b))
    lines = steps + (["minus"] + sub_lines(b, a) if sign == "<" else sub_lines(a, b))
    return item(rng, "-", a, b, lines, a - b)


def multiplication(rng, sizes=((1, 1), (2, 1), (3, 1), (4, 1), (2, 2), (3, 2), (4, 2), (5, 1), (3, 2), (4, 2))):
    m, n = rng.choice(sizes)
    a, b = number(rng, m), number(rng, n)
    if rng.random() < 0.2:
        a, b = b, a
    return item(rng, "*", a, b, mul_lines(a, b), a * b)


def division(rng):
    d = rng.randrange(2, 10)
    a = number(rng, digits_of(rng, 5))
    if rng.random() < 0.5:
        a = a // d * d
    result = f"{a // d}" if a % d == 0 else f"{a // d} remainder {a % d}"
    it = item(rng, "/", a, d, div_lines(a, d), result)
    it.check = {"kind": "contains", "want": f"= {result}."}
    it.value = a // d if a % d == 0 else result
    return it


def chain(rng):
    """Three numbers added."""
    a, b, c = (number(rng, digits_of(rng, 3)) for _ in range(3))
    lines = add_lines(a, b) + add_lines(a + b, c)
    question = vary(rng, rng.choice(("What is {a} + {b} + {c}?", "{a}+{b}+{c}", "Add {a}, {b} and {c}.",
                                     "What is the sum of {a}, {b} and {c}?")).format(a=a, b=b, c=c))
    return Item(f"+++ {a} {b} {c}", question, "\n".join(lines), f"{a} + {b} + {c} = {a + b + c}.",
                {"kind": "number", "want": str(a + b + c)}, value=a + b + c)


LARGER = ("Which is larger, {a} or {b}?", "Which number is bigger: {a} or {b}?", "What is greater, {a} or {b}?",
          "{a} or {b}, which is larger?", "Which one is larger: {a} or {b}?", "Compare {a} and {b}.", "Is {a} or {b} bigger?",
          "{a} vs {b}, which is bigger?")
SMALLER = ("Which is smaller, {a} or {b}?", "Which number is smaller: {a} or {b}?", "What is less, {a} or {b}?",
           "{a} or {b}, which is smaller?")


def comparison(rng):
    if rng.random() < 0.3:
        i = number(rng, digits_of(rng, 2))
        a = f"{i}.{rng.randrange(1, 10 ** rng.randrange(1, 3))}"
        b = f"{i if rng.random() < 0.8 else number(rng, 2)}.{rng.randrange(1, 10 ** rng.randrange(1, 4))}"
    else:
        n = digits_of(rng, 7)
        a = number(rng, n)
        b = number(rng, n if rng.random() < 0.8 else digits_of(rng, 7))
        if rng.random() < 0.5:  # one digit apart, anywhere
            p = 10 ** rng.randrange(n)
            b = max(0, a + rng.choice((-1, 1)) * p * rng.randrange(1, 4))
        a, b = str(a), str(b)
    lines, sign = compare_lines(a, b)
    less = rng.random() < 0.3
    question = vary(rng, rng.choice(SMALLER if less else LARGER).format(a=a, b=b))
    if sign == "=":
        return Item(f"? {a} {b}", question, "\n".join(lines), f"{a} and {b} are equal.", {"kind": "contains", "want": "equal"}, value="equal")
    pick = (a if sign == "<" else b) if less else (b if sign == "<" else a)
    word = "smaller" if less else "larger"
    return Item(f"? {a} {b}", question, "\n".join(lines), f"{pick} is {word}.",
                {"kind": "contains", "want": f"{pick} is {word}"}, value=pick if "." in pick else int(pick))


def sorting(rng):
    numbers = [number(rng, rng.randrange(1, 4)) for _ in range(rng.randrange(3, 7))]
    down = rng.random() < 0.3
    order = sorted(numbers, reverse=down)
    text = ", ".join(map(str, numbers))
    ask = (("Sort these numbers from large to small: {t}", "Sort in descending order: {t}.", "Put these numbers in order, largest first: {t}")
           if down else ("Sort these numbers: {t}", "Sort in ascending order: {t}.", "Put these numbers in order, smallest first: {t}",
                         "Sort the numbers {t} from small to large."))
    sizes = sorted({len(str(n)) for n in numbers}, reverse=down)
    lines = [f"{k} digits: " + " ".join(str(n) for n in order if len(str(n)) == k) for k in sizes]
    out = ", ".join(map(str, order))
    return Item(f"sort {text} {down}", vary(rng, rng.choice(ask).format(t=text)), "\n".join(lines), out + ".",
                {"kind": "contains", "want": out}, value=out)


STORIES = (
    ("{n} has {a} {t} and buys {b} more. How many {t} does {n} have now?", "+"),
    ("There are {a} {t} in one box and {b} in another. How many {t} are there in all?", "+"),
    ("{n} counted {a} {t} on Monday and {b} on Tuesday. How many {t} is that together?", "+"),
    ("{n} had {a} {t} and gave away {b}. How many {t} are left?", "-"),
    ("A shop had {a} {t} and sold {b}. How many {t} remain?", "-"),
    ("{n} has {a} {t} and loses {b} of them. How many {t} does {n} still have?", "-"),
    ("There are {a} boxes with {b} {t} each. How many {t} are there?", "*"),
    ("{n} buys {a} {t} for {b} coins each. How many coins does {n} pay?", "*"),
    ("Each of {a} children has {b} {t}. How many {t} do they have together?", "*"))


def story(rng):
    from .words import NAMES, THINGS
    text, op = rng.choice(STORIES)
    if op == "*":
        a, b = number(rng, rng.randrange(1, 4)) + 2, rng.randrange(2, 10)
    else:
        a, b = number(rng, rng.randrange(1, 5)) + 1, number(rng, rng.randrange(1, 5)) + 1
        if op == "-" and a < b:
            a, b = b, a
    things, name = rng.choice(THINGS) + "s", rng.choice(NAMES)
    lines, result = {"+": (add_lines, a + b), "-": (sub_lines, a - b), "*": (mul_lines, a * b)}[op]
    return Item(f"story {op} {a} {b}", text.format(n=name, a=a, b=b, t=things), "\n".join(lines(a, b)), f"The answer is {result}.",
                {"kind": "number", "want": str(result)}, value=result)


TASKS = {"add": (7, addition), "subtract": (8, subtraction), "multiply": (12, multiplication), "divide": (3, division),
         "add3": (2, chain), "compare": (3, comparison), "sort_numbers": (2, sorting), "story": (3, story)}
