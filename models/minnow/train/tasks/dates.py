"""Which questions about days, months, clocks and units can Minnow answer? Those of a calendar on the wall."""
from .arithmetic import add_lines, div_lines, mul_lines
from .item import Item, vary

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
LENGTH = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def weekday(rng):
    d, n = rng.randrange(7), rng.randrange(1, 31)
    if rng.random() < 0.35:
        n = 1
    after = rng.random() < 0.65
    out = DAYS[(d + n) % 7 if after else (d - n) % 7]
    side = "after" if after else "before"
    if n == 1:
        question = rng.choice(("What day comes {s} {d}?", "Which day is {s} {d}?", "What is the day {s} {d}?")).format(s=side, d=DAYS[d])
        run = [DAYS[d], out] if after else [out, DAYS[d]]
        return Item(f"day {side} {d}", vary(rng, question), " ".join(run), f"It is {out}.", {"kind": "contains", "want": out}, value=out, direct=True)
    question = rng.choice(("What day is {n} days {s} {d}?", "Which day of the week is {n} days {s} {d}?", "{n} days {s} {d}, what day is it?",
                           "If today is {d}, what day {w} {n} days {a}?"))
    question = question.format(n=n, s=side, d=DAYS[d], w="is it in" if after else "was it", a="from now" if after else "ago")
    if "in" in question and "from now" in question:
        question = question.replace(" from now", "")
    rest = n % 7
    walk = [DAYS[(d + (i if after else -i)) % 7] for i in range(rest + 1)]
    thought = f"{n}=7*{n // 7}+{rest}\n" + " ".join(f"{i} {w}" for i, w in enumerate(walk))
    return Item(f"day {side} {d} {n}", vary(rng, question), thought, f"It is {out}.", {"kind": "contains", "want": out}, value=out)


def month(rng):
    m, kind = rng.randrange(12), rng.random()
    name = MONTHS[m]
    if kind < 0.35:
        after = rng.random() < 0.6
        out, side = MONTHS[(m + (1 if after else -1)) % 12], "after" if after else "before"
        question = rng.choice(("What month comes {s} {m}?", "Which month is {s} {m}?")).format(s=side, m=name)
        return Item(f"month {side} {m}", vary(rng, question), f"{name} is month {m + 1}, {out} is month {(m + (1 if after else -1)) % 12 + 1}", f"It is {out}.",
                    {"kind": "contains", "want": out}, value=out, direct=True)
    if kind < 0.55:
        question = rng.choice(("Which number is the month {m}?", "What number is {m} among the months?", "{m} is which month of the year?"))
        return Item(f"month number {m}", vary(rng, question.format(m=name)), f"{name} is month {m + 1}", f"{name} is month {m + 1}.",
                    {"kind": "number", "want": str(m + 1)}, value=m + 1, direct=True)
    year = rng.randrange(1900, 2100) if m == 1 or rng.random() < 0.3 else None
    days = LENGTH[m] + (m == 1 and year is not None and leap(year))
    when = f"{name} {year}" if year else name
    question = rng.choice(("How many days are in {m}?", "How many days does {m} have?", "How long is {m}?")).format(m=when)
    thought = f"{name}: {LENGTH[m]}"
    if m == 1:
        thought = leap_thought(year) + f"\nFebruary: {days}"
    return Item(f"days in {when}", vary(rng, question), thought, f"{when} has {days} days.", {"kind": "contains", "want": f"{days} days"}, value=days)


def leap_thought(year):
    if year % 100 == 0:
        return f"{year} ends in 00: {year // 100}/4 rest {year // 100 % 4}, {'leap' if leap(year) else 'not leap'}"
    return f"{year} ends in {year % 100:02d}: rest of 4 is {year % 4}, {'leap' if leap(year) else 'not leap'}"


def leap_year(rng):
    year = rng.randrange(1800, 2200) if rng.random() < 0.85 else rng.randrange(16, 24) * 100
    question = rng.choice(("Is {y} a leap year?", "Was {y} a leap year?", "Is the year {y} a leap year?"))
    return Item(f"leap {year}", vary(rng, question.format(y=year)), leap_thought(year),
                f"Yes, {year} is a leap year." if leap(year) else f"No, {year} is not a leap year.",
                {"kind": "contains", "want": "yes" if leap(year) else "no,"}, value="yes" if leap(year) else "no")


def date(rng):
    """A few days on from a date, over the end of a month."""
    m = rng.randrange(12)
    d, n = rng.randrange(1, LENGTH[m] + 1), rng.randrange(1, 29)
    name, total = MONTHS[m], d + n
    lines = [f"{d}+{n}={total}", f"{name}: {LENGTH[m]}"]
    if total <= LENGTH[m]:
        out = f"{name} {total}"
        lines.append(f"{total} fits")
    else:
        out = f"{MONTHS[(m + 1) % 12]} {total - LENGTH[m]}"
        lines.append(f"{total}-{LENGTH[m]}={total - LENGTH[m]}, {MONTHS[(m + 1) % 12]}")
    question = rng.choice(("What date is {n} days after {m} {d}?", "Which date comes {n} days after {m} {d}?", "{n} days after {m} {d} is which date?",
                           "Today is {m} {d}. What is the date in {n} days?"))
    if m == 1:
        question = question.replace("{d}", "{d} in a normal year", 1) if "Today" not in question else question
    return Item(f"date {m} {d} {n}", vary(rng, question.format(n=n, m=name, d=d)), "\n".join(lines), f"It is {out}.", {"kind": "contains", "want": f"{out}."}, value=out)


def clock(rng):
    h, m = rng.randrange(0, 24), rng.randrange(0, 12) * 5
    n = rng.randrange(1, 20) * 5
    total = m + n
    lines, hour = [f"{m}+{n}={total}"], h
    while total >= 60:
        lines.append(f"{total}-60={total - 60}")
        total, hour = total - 60, (hour + 1) % 24
    if hour != h:
        lines.append(f"hour {h} to {hour}")
    out = f"{hour}:{total:02d}"
    question = rng.choice(("What time is it {n} minutes after {h}:{m:02d}?", "It is {h}:{m:02d}. What time is it in {n} minutes?",
                           "{n} minutes after {h}:{m:02d} is what time?", "What time will it be {n} minutes after {h}:{m:02d}?"))
    return Item(f"clock {h} {m} {n}", vary(rng, question.format(n=n, h=h, m=m)), "\n".join(lines), f"It is {out}.", {"kind": "contains", "want": f"{out}."}, value=out)


UNITS = (("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7), ("years", "months", 12),
         ("kilometers", "meters", 1000), ("meters", "centimeters", 100), ("centimeters", "millimeters", 10), ("kilograms", "grams", 1000),
         ("tons", "kilograms", 1000), ("liters", "milliliters", 1000), ("feet", "inches", 12), ("yards", "feet", 3), ("dozens", "pieces", 12),
         ("centuries", "years", 100), ("decades", "years", 10), ("gigabytes", "megabytes", 1000))
ONE = {"hours": "hour", "minutes": "minute", "days": "day", "weeks": "week", "years": "year", "kilometers": "kilometer", "meters": "meter",
       "centimeters": "centimeter", "kilograms": "kilogram", "tons": "ton", "liters": "liter", "feet": "foot", "yards": "yard", "dozens": "dozen",
       "centuries": "century", "decades": "decade", "gigabytes": "gigabyte", "seconds": "second", "months": "month", "inches": "inch"}


def units(rng):
    big, small, factor = rng.choice(UNITS)
    if rng.random() < 0.7:
        n = rng.randrange(1, 100) if rng.random() < 0.8 else rng.randrange(100, 1000)
        result = n * factor
        unit = ONE[big] if n == 1 else big
        question = rng.choice(("How many {s} are {n} {b}?", "How many {s} are in {n} {b}?", "Convert {n} {b} to {s}.", "{n} {b} in {s}?",
                               "What is {n} {b} in {s}?")).format(n=n, b=unit, s=small)
        lines = [f"1 {ONE[big]} = {factor} {small}"]
        lines += [f"{n} and {str(factor).count('0')} zeros"] if factor in (10, 100, 1000) else mul_lines(n, factor)
        return Item(f"unit {big} {small} {n}", vary(rng, question), "\n".join(lines), f"{n} {unit} = {result} {small}.",
                    {"kind": "contains", "want": f"{result} {small}"}, value=result)
    n = rng.randrange(1, 60)
    given, unit = n * factor, ONE[big] if n == 1 else big
    question = rng.choice(("How many {b} are {n} {s}?", "Convert {n} {s} to {b}.", "{n} {s} in {b}?", "What is {n} {s} in {b}?")).format(n=given, b=big, s=small)
    lines = [f"1 {ONE[big]} = {factor} {small}"]
    if factor in (10, 100, 1000):
        lines.append(f"{given} without {str(factor).count('0')} zeros")
    elif factor < 10:
        lines += div_lines(given, factor)
    else:
        lines += [f"{n}*{factor}={given}"]
    return Item(f"unit {small} {big} {given}", vary(rng, question), "\n".join(lines), f"{given} {small} = {n} {unit}.",
                {"kind": "contains", "want": f"{n} {unit}"}, value=n)


TASKS = {"weekday": (3, weekday), "month": (2, month), "leap_year": (1.5, leap_year), "date": (3, date), "clock": (3, clock), "units": (3, units)}
