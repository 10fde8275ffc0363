"""Do chat templates render as Python's jinja2 renders them? Templates in the published shapes over random conversations,
every expression and whole templates about white space and scopes: the same text, byte for byte, and an error where
jinja2 raises. Where we refuse a construct when the template is loaded, jinja2 must not have a text for it either, unless
docs/text.md names the construct as unsupported."""
import glob
import json
import os
import random
import sys

from chat_templates import EXPRESSIONS, SHAPES, TEMPLATES
from hf_jinja import render
from ours import Ours

GOLDEN = os.path.join(os.path.dirname(__file__), "../golden/data/tokenizer/templates")
NOW = 1732456789

VARIABLES = {
    "s": "hello", "u": "Grüße, 中文 ΣΑΣ 😀!", "l": [1, 2, 3], "d": {"k": "v", "n": 1},
    "dl": [{"n": 2, "x": "b"}, {"n": 1}, {"n": 3, "x": ""}],
    "nested": {"z": 1, "a": [1, 2.5, None, True, "é\n\"\u0001\u007f<&>"], "deep": {"b": {}, "c": []}, "list": ["p", "q"]},
}

# What jinja2 renders and we refuse or render in another way, each with its reason.
KNOWN = {
    "7 // 2, -7 // 2": "a tuple without brackets in an output",
    "{% for a, (b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}": "nested targets",
    "d.items": "the repr of a method", "d['items']": "the same", "5 | items": "the repr of a generator",
    "l | map('nope') | list": "refused at load, jinja2 at rendering",
}

WORDS = ["Hello", "world", " ", "\n", "  \n", "\t", "é", "中文", "😀", "<think>", "</think>", "\n\n", "<|im_end|>", "{{ x }}",
         "{% if %}", "\\n", "\"quoted\"", "it's", "&<>", "\u00a0", "\u3000", "1.5", "[INST]", "<tool_response>", "\r\n", "\u2028"]


class Conversations:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self):
        return "".join(self.random.choice(WORDS) for _ in range(self.random.randrange(8)))

    def json_value(self, depth=2):
        r = self.random.randrange(8 if depth else 6)
        if r < 2:
            return self.text()
        if r < 6:
            return [self.random.randrange(-100, 10**12), self.random.choice([1.5, 0.1, 1e22, -2.0]), True, None][r - 2]
        if r == 6:
            return [self.json_value(depth - 1) for _ in range(self.random.randrange(3))]
        return {self.text(): self.json_value(depth - 1) for _ in range(self.random.randrange(3))}

    def tool(self):
        properties = {}
        for name in self.random.sample(["city", "Unit", "days", "tags"], self.random.randrange(4)):
            properties[name] = self.random.choice([
                {"type": "string", "description": self.text()}, {"type": "integer"}, {"enum": ["a", "b"]},
                {"type": "array", "items": {"type": "string"}}, {"type": "array"}, {"type": ["string", "null"]}])
        parameters = {"type": "object", "properties": properties}
        if self.random.random() < 0.5:
            parameters["required"] = list(properties)[:1]
        function = {"name": self.random.choice(["get_weather", "calc"]), "parameters": parameters}
        if self.random.random() < 0.8:
            function["description"] = self.text()
        return {"type": "function", "function": function}

    def call(self):
        arguments = {k: self.json_value() for k in self.random.sample(["a", "b c", "城市"], self.random.randrange(4))}
        call = {"type": "function", "function": {
            "name": "calc", "arguments": arguments if self.random.random() < 0.6 else json.dumps(arguments)}}
        if self.random.random() < 0.8:
            call["id"] = self.random.choice(["call_1", "123456789"])
        return call

    def message(self, role):
        message = {"role": role, "content": self.text()}
        if role == "assistant":
            if self.random.random() < 0.2:
                message["tool_calls"] = [self.call() for _ in range(self.random.randrange(1, 3))]
                message["content"] = self.random.choice([None, "", self.text()])
            if self.random.random() < 0.2:
                message["reasoning_content"] = self.text()
        if role == "tool":
            message["tool_call_id"] = "call_1"
        return message

    def variables(self):
        messages = []
        if self.random.random() < 0.4:
            messages.append(self.message("system"))
        if self.random.random() < 0.7:  # taking turns
            for i in range(self.random.randrange(1, 7)):
                messages.append(self.message(["user", "assistant"][i % 2]))
        for _ in range(self.random.randrange(3)):
            messages.append(self.message(self.random.choice(["system", "user", "assistant", "tool"])))
        out = {"messages": messages or [self.message("user")], "bos_token": "<s>", "eos_token": "</s>"}
        if self.random.random() < 0.9:
            out["add_generation_prompt"] = self.random.random() < 0.7
        if self.random.random() < 0.4:
            out["tools"] = [self.tool() for _ in range(self.random.randrange(3))]
        elif self.random.random() < 0.3:
            out["tools"] = None
        for flag in ["thinking", "enable_thinking", "documents", "controls"]:
            if self.random.random() < 0.2:
                out[flag] = self.random.choice([True, False, {"length": "long"}])
        return out


class Comparison:
    def __init__(self, ours):
        self.ours, self.failures, self.cases, self.rendered = ours, [], 0, 0

    def check(self, name, source, variables):
        self.cases += 1
        theirs = render(source, variables, NOW)
        answer = self.ours.ask({"template": source, "variables": variables, "now": NOW})
        if theirs == answer.get("text"):
            self.rendered += theirs is not None
            return
        if name in KNOWN or source in KNOWN:
            return
        self.failures.append(f"{name}\n  jinja2: {theirs!r}\n  ours:   {answer.get('text')!r} {answer.get('error', '')}")


def main():
    with Ours() as ours:
        comparison = Comparison(ours)
        for expression in EXPRESSIONS:
            comparison.check(expression, "{{ " + expression + " }}", VARIABLES)
        for source in TEMPLATES:
            comparison.check(source, source, VARIABLES)
        sources = dict(SHAPES)
        for path in sorted(glob.glob(os.path.join(GOLDEN, "*.jinja"))):
            with open(path, encoding="utf-8", newline="") as file:
                sources[os.path.basename(path)] = file.read()
        rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 150
        for name, source in sources.items():
            conversations = Conversations(name)
            before = comparison.rendered
            for i in range(rounds):
                comparison.check(f"{name} #{i}", source, conversations.variables())
            assert comparison.rendered > before + rounds // 10, f"{name} hardly ever renders: nothing is compared"
        print(f"{comparison.cases} cases, {comparison.rendered} rendered, {len(comparison.failures)} differ")
        for failure in comparison.failures[:40]:
            print(failure)
        assert not comparison.failures


if __name__ == "__main__":
    main()
