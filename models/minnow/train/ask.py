"""What does a running server answer? Asks the questions of a JSON-lines file (see evaluate.py) over HTTP and
prints the share of right answers by task: `python ask.py http://127.0.0.1:8000 ../questions.jsonl [MAX_PER_TASK] [AT_ONCE]`.

Questions that the server refuses are counted apart."""
import collections
import concurrent.futures
import json
import sys
import urllib.error
import urllib.request

from tasks.checks import right


def ask(url, name, question):
    body = {"model": name, "messages": question["messages"], "temperature": 0, "max_tokens": 300}
    if question.get("tools"):
        body["tools"] = question["tools"]
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        reply = json.load(urllib.request.urlopen(request, timeout=600))
    except urllib.error.HTTPError as e:
        return None, json.loads(e.read())["error"]["message"], {}
    message = reply["choices"][0]["message"]
    calls = message.get("tool_calls") or []
    call = {"name": calls[0]["function"]["name"], "arguments": json.loads(calls[0]["function"]["arguments"])} if calls else None
    said = (message.get("content") or "").strip()
    return right(question["check"], said, call), said, reply["usage"]


def main(url, path, most=10 ** 9, at_once=8):
    asked, count = [], collections.Counter()
    for line in open(path):
        question = json.loads(line)
        count[question["task"]] += 1
        if count[question["task"]] <= most:
            asked.append(question)
    name = json.load(urllib.request.urlopen(f"{url}/v1/models"))["data"][0]["id"]
    scores, refused, wrong = {}, collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for question, (good, said, _) in zip(asked, pool.map(lambda q: ask(url, name, q), asked)):
            if good is None:
                refused[said] += 1
                continue
            tally = scores.setdefault(question["task"], [0, 0])
            tally[0] += good
            tally[1] += 1
            if not good:
                wrong.append((question["task"], question["messages"][-1]["content"], said, question["check"]["want"]))
    for task, (good, total) in sorted(scores.items(), key=lambda kv: kv[1][0] / kv[1][1]):
        print(f"{task:18} {good:4} of {total:4}  {100 * good / total:.1f} %")
    print(f"all {sum(g for g, _ in scores.values())} of {sum(t for _, t in scores.values())}")
    for why, n in refused.items():
        print(f"{n} refused: {why}")
    for row in wrong[:20]:
        print("wrong:", *row, sep=" | ")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
