"""Is an answer right? The rules that the evaluation set names, small enough to be written again in any
language: docs in ../README.md."""
import json
import re


def last_number(text):
    found = re.findall(r"-?\d+(?:\.\d+)?", text.replace(",", ""))
    return found[-1] if found else None


def right(check, answer, call=None):
    """check: {"kind": ..., "want": ...}; answer: the visible text; call: {"name", "arguments"} or None."""
    kind, want, answer = check["kind"], check["want"], answer.strip()
    if kind == "call":
        return call is not None and call["name"] == want["name"] and call["arguments"] == want["arguments"]
    if call is not None:
        return False
    if kind == "number":
        got = last_number(answer)
        return got is not None and float(got) == float(want)
    if kind == "contains":
        return want.lower() in answer.lower()
    if kind == "exact":
        return answer == want
    if kind == "json":
        try:
            return json.loads(answer) == want
        except ValueError:
            return False
    raise ValueError(f"no check is called {kind}")
