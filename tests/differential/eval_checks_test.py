"""Does `fathom eval` judge answers as Minnow's training does? Every question that ships with the model and many made-up checks,
each with right answers, answers that nearly are, and text in many scripts: the C++ checks and tasks/checks.py agree on all.
"""
import json
import os
import pathlib
import random
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models/minnow/train"))
from tasks.checks import right  # noqa: E402

WORDS = ["7", "-7", "007", "3.50", "1,234", "-", ".", "1.2.3", "4-5", "٤٢", "१२", "x²", "½", "1e5", "yes", "No", "É", "İ", "straße", "ΣΑΣ", "ﬁ", " ",
         "\n", "\t", "\u00a0", "\u3000", "\u200b", "\x1f", ",", "is", "[1, 2]", "{\"a\": 1}", "null", "true", "\"", "😀", "99999999999999999999"]
VALUES = [0, 1, -1, 2, 10 ** 15, 2 ** 53 + 1, 2 ** 63, -2 ** 63, 1.0, 0.5, 1e300, True, False, None, "", "1", "a", "é\n", [], {}]


class Made:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, most=6):
        return "".join(self.random.choice(WORDS) for _ in range(self.random.randrange(most + 1)))

    def value(self, depth=2):
        kind = self.random.randrange(5 if depth else 3)
        if kind < 3:
            return self.random.choice(VALUES)
        if kind == 3:
            return [self.value(depth - 1) for _ in range(self.random.randrange(3))]
        return {self.random.choice("abc"): self.value(depth - 1) for _ in range(self.random.randrange(3))}

    def written(self, value):
        """The value as JSON, perhaps with another order, other spaces, or damage."""
        if isinstance(value, dict):
            items = list(value.items())
            self.random.shuffle(items)
            value = dict(items)
        text = json.dumps(value, ensure_ascii=self.random.random() < 0.5, indent=self.random.choice([None, 1]))
        damage = self.random.randrange(6)
        if damage == 0:
            return text[:-1]
        if damage == 1:
            return text + self.random.choice([",", " ", "\u00a0", "x", "}"])
        if damage == 2:
            return text.replace("1", self.random.choice(["1.0", "true", "01", "1e0", "2"]), 1)
        return text

    def check(self):
        kind = self.random.choice(["number", "contains", "exact", "json", "call"])
        if kind == "number":
            want = self.random.choice(["7", "-7", "42", "3.5", "1234", "0", "-0", "1e5", "12", 7, 3.5])
        elif kind == "json":
            want = self.value()
        elif kind == "call":
            want = {"name": self.random.choice(["f", "get"]), "arguments": {self.random.choice("abc"): self.value(1)}}
        else:
            want = self.text(2).strip()
        return {"kind": kind, "want": want}

    def answer(self, check):
        kind, want = check["kind"], check["want"]
        near = self.random.random() < 0.7
        if near and kind == "json":
            said = self.written(want)
        elif near and kind != "call":
            said = self.text(3) + self.random.choice([str(want), str(want).upper(), str(want).lower()]) + self.text(2)
        else:
            said = self.text()
        call = None
        if self.random.random() < (0.9 if kind == "call" else 0.05):
            wanted = want if kind == "call" else {"name": "f", "arguments": {}}
            call = {"name": wanted["name"] if near else self.random.choice(["f", "get", ""]), "arguments": self.written(wanted["arguments"])}
        return said, call


def theirs(check, said, call):
    """As evaluate.py does it: arguments that are not JSON are no arguments."""
    if call is not None:
        try:
            call = {"name": call["name"], "arguments": json.loads(call["arguments"])}
        except ValueError:
            call = {"name": call["name"], "arguments": None}
    return right(check, said, call)


def questions():
    with open(ROOT / "models/minnow/questions.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def cases():
    made = Made(20261127)
    for question in questions():
        want = question["check"]["want"]
        for said in (want if isinstance(want, str) else json.dumps(want), made.text(), "It is " + str(want) + "."):
            yield question["check"], said, None
        if question["check"]["kind"] == "call":
            yield question["check"], "", {"name": want["name"], "arguments": json.dumps(want["arguments"])}
    for _ in range(40000):
        check = made.check()
        said, call = made.answer(check)
        yield check, said, call


def main():
    asked = list(cases())
    lines = "".join(json.dumps({"question": {"task": "t", "messages": [{"role": "user"}], "check": check}, "answer": said, "call": call}) + "\n"
                    for check, said, call in asked)
    run = subprocess.run([os.environ["CHECK_LINES"]], input=lines, capture_output=True, text=True, check=True)
    ours = run.stdout.splitlines()
    assert len(ours) == len(asked), (len(ours), len(asked))
    passed, failed = {True: 0, False: 0}, 0
    for (check, said, call), line in zip(asked, ours, strict=True):
        wanted = theirs(check, said, call)
        if line == ("true" if wanted else "false"):
            passed[wanted] += 1
            continue
        failed += 1
        if failed <= 20:
            print(f"ours {line}, checks.py {wanted}: {check} said {said!r} call {call}")
    print(f"{passed[True]} answers right and {passed[False]} wrong for both")
    assert min(passed.values()) > 5000, "the cases are one-sided"
    print(f"{1 if not failed else 0} passed, {1 if failed else 0} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
