"""How good is Minnow? Held-out questions of every task, answered greedily in batches, checked by
tasks/checks.py; and how many guesses of the module are what the model then says.

`python evaluate.py questions FILE N` only writes the questions, as JSON lines that another client can ask
over HTTP: {"task", "messages", "tools"?, "check"}."""
import json
import random
import sys
import time

import torch
import torch.nn.functional as F

import data
import model
import render
from tasks import TASKS, memory
from tasks.checks import right
from tasks.item import held_out

LONG = {"recall_long_1k": 1000, "recall_long_2k": 2000, "recall_long_3k": 3000}


def questions(seed, each, long_each):
    """{task: [Item]}, all held out and all different where the task has that many."""
    out = {}
    makers = {n: (make, each) for n, (_, make) in TASKS.items()}
    makers |= {n: ((lambda r, t=t: memory.long_recall(r, tokens=t, questions=4)), long_each) for n, t in LONG.items()}
    for name, (make, wanted) in makers.items():
        rng, found = random.Random(f"evaluation {seed} {name}"), {}
        for _ in range(wanted * 400):
            if len(found) == wanted:
                break
            item = make(rng)
            if held_out(item.key):
                found.setdefault(item.key, item)
        out[name] = list(found.values())
    return out


def record(name, item):
    """An item for other clients. What was said before goes without our training marks."""
    messages = [{k: v for k, v in m.items() if k != "learn"} for m in render.messages_of(item)]
    out = {"task": name, "messages": messages, "check": item.check}
    if item.tools:
        out["tools"] = item.tools
    return out


def parse(text, thinking):
    """(visible answer, call or None) of what was generated behind the prompt."""
    if thinking:
        _, closed, text = text.partition(render.THINK_END)
        if not closed:
            return "", None
    text = text.removesuffix(render.EOS)
    before, called, rest = text.partition(render.CALLS)
    if not called:
        return text.strip(), None
    try:
        head, _, body = rest.partition(render.SEP)
        name, _, body = body.partition("\n```json\n")
        return before.strip(), {"name": name, "arguments": json.loads(body.split("\n```")[0])}
    except ValueError:
        return before.strip(), {"name": "", "arguments": None}


class Generator:
    """Greedy decoding of many prompts together, keys and values cached whole."""

    def __init__(self, shape, weights, bias, device):
        self.s, self.w, self.bias, self.device = shape, weights, bias, device
        self.parts = model.layers_of(shape, weights)

    def layer(self, i, x, positions, cache, mask):
        """x [B, n, h] at `positions` [B, n]; cache [2, B, H, room, d]; mask [B, n, room]."""
        s, w = self.s, self.parts[i]
        b, n, _ = x.shape
        dt = w["o"].dtype
        cos, sin = (t.view(b, n, -1) for t in model.angles(s, positions.reshape(-1)))
        u = model.rms(x, w["in_norm"]).to(dt)
        q = (model.rms(u @ w["q_a"].T, w["q_norm"]).to(dt) @ w["q_b"].T).view(b, n, s.heads, -1)
        a = u @ w["kv_a"].T
        kv = (model.rms(a[..., : s.kv_rank], w["kv_norm"]).to(dt) @ w["kv_b"].T).view(b, n, s.heads, -1)

        def turn(t):
            c, d = (cos, sin) if t.dim() == 3 else (cos[:, :, None], sin[:, :, None])
            x0, x1 = t.float().unflatten(-1, (-1, 2)).unbind(-1)
            return torch.stack((x0 * c - x1 * d, x0 * d + x1 * c), -1).flatten(-2).to(dt)
        q = torch.cat((q[..., : s.nope], turn(q[..., s.nope:])), -1)
        k = torch.cat((kv[..., : s.nope], turn(a[..., s.kv_rank:])[:, :, None].expand(-1, -1, s.heads, -1)), -1)
        rows = torch.arange(b, device=x.device)[:, None]
        keys, values = cache
        keys[rows, positions], values[rows, positions] = k, kv[..., s.nope:]
        o = F.scaled_dot_product_attention(q.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask[:, None],
                                           scale=(s.nope + s.rope) ** -0.5).transpose(1, 2)
        x = x + (o.reshape(b, n, -1) @ w["o"].T).float()
        y, _ = model.feed(s, w, self.bias[i], model.rms(x, w["post_norm"]).flatten(0, 1))
        return x + y.view(b, n, -1).float()

    def logits(self, tokens, positions, caches, room):
        mask = torch.arange(room, device=self.device) <= positions[..., None]
        x = self.w["embed"][tokens].float()
        for i in range(self.s.layers):
            x = self.layer(i, x, positions, caches[i], mask)
        return x

    @torch.no_grad()
    def __call__(self, prompts, most):
        """Lists of ids -> lists of generated ids, up to EOS (included) or `most`."""
        s, w = self.s, self.w
        b, longest = len(prompts), max(map(len, prompts))
        room = (longest + most + 7) // 8 * 8
        ids = torch.full((b, longest), 2, dtype=torch.int64)
        for i, p in enumerate(prompts):
            ids[i, : len(p)] = torch.tensor(p)
        ids, lengths = ids.to(self.device), torch.tensor([len(p) for p in prompts], device=self.device)
        caches = [[torch.zeros(b, room, s.heads, d, dtype=w["embed"].dtype, device=self.device) for d in (s.nope + s.rope, s.value)] for _ in range(s.layers)]
        at = torch.arange(longest, device=self.device).expand(b, -1)
        x = self.logits(ids, at, caches, room)
        x = x[torch.arange(b, device=self.device), lengths - 1]
        out, done = [], torch.zeros(b, dtype=torch.bool, device=self.device)
        for step in range(most):
            token = (model.rms(x, w["norm"]).to(w["embed"].dtype) @ w["head"].T).argmax(-1)
            token = torch.where(done, 1, token)
            out.append(token)
            done |= token == 1
            if step % 8 == 7 and bool(done.all()) or step == most - 1:
                break
            x = self.logits(token[:, None], (lengths + step)[:, None], caches, room)[:, 0]
        rows = torch.stack(out, 1).tolist()
        return [r[: r.index(1) + 1] if 1 in r else r for r in rows]


@torch.no_grad()
def accepted(shape, weights, bias, device, prompts, answers, limit=65536):
    """Of the module's guesses inside the answers, the share that is the model's own next but one token."""
    ids, positions, cuts, inside = [], [], [0], []
    for p, a in zip(prompts, answers):
        if cuts[-1] + len(p) + len(a) > limit:
            break
        ids += p + a
        positions += range(len(p) + len(a))
        inside += [False] * (len(p) + 1) + [True] * (len(a) - 1)
        cuts.append(len(ids))
    if not ids:
        return 0.0
    model.Stream.sequences, model.Stream.longest = len(cuts) - 1, max(b - a for a, b in zip(cuts, cuts[1:]))
    tokens = torch.tensor(ids, device=device)
    _, guesses, _ = model.forward(shape, weights, bias, tokens, torch.tensor(positions, device=device), torch.tensor(cuts, dtype=torch.int32, device=device))
    hit = (guesses.argmax(-1)[:-2] == tokens[2:]) & torch.tensor(inside, device=device)[2:]
    return hit.sum().item() / max(1, sum(inside[2:]))


def report(folder, shape, weights, bias, device, each, seed, seconds, most=280):
    """Asks everything, within about so many seconds; writes eval.json into `folder` and prints a table."""
    began = time.time()
    encoder, tok = data.Encoder(folder), None
    tok = encoder.tok
    weights = {n: w.detach() for n, w in weights.items()}
    generator = Generator(shape, weights, bias, device)
    asked = [(n, it) for n, its in questions(seed, each, max(1, each // 3)).items() for it in its]
    encode = encoder([render.prompt_pieces(render.messages_of(it), it.tools) for _, it in asked])
    order = sorted(range(len(asked)), key=lambda i: len(encode[i]))
    scores, samples, all_prompts, all_answers = {}, [], [], []
    size = 1024 if device == "cuda" else 32
    groups, long = [], [i for i in order if len(encode[i]) > 700]
    for part, n in ((long, 32), (order[: len(order) - len(long)], size)):
        groups += [part[i: i + n] for i in range(0, len(part), n)]
    for part in groups:
        if time.time() - began > seconds:
            print("the time is over, the rest is not asked", flush=True)
            break
        prompts = [(encode[i] & 0x7FFF).astype(int).tolist() for i in part]
        answers = generator(prompts, most)
        all_prompts += prompts
        all_answers += answers
        for i, a in zip(part, answers):
            name, it = asked[i]
            text = tok.decode(a, skip_special_tokens=False)
            said, call = parse(text, not it.after_tool)
            good = right(it.check, said, call)
            tally = scores.setdefault(name, [0, 0])
            tally[0] += good
            tally[1] += 1
            samples.append({"task": name, "right": good, "question": it.question, "said": text, "want": it.answer or it.call})
    order = list(range(len(all_prompts)))
    random.Random(1).shuffle(order)
    draft = accepted(shape, weights, bias, device, [all_prompts[i] for i in order if len(all_prompts[i]) < 700], [all_answers[i] for i in order if len(all_prompts[i]) < 700],
                     65536 if device == "cuda" else 2048)
    table = {n: {"right": g, "asked": t, "accuracy": round(g / t, 4)} for n, (g, t) in scores.items()}
    wrong = [s for s in samples if not s["right"]]
    random.Random(2).shuffle(wrong)
    with open(f"{folder}/eval.json", "w") as f:
        json.dump({"tasks": table, "drafts_accepted": round(draft, 4), "wrong": wrong[:150], "right": [s for s in samples if s["right"]][::97]}, f,
                  ensure_ascii=False, indent=1)
    for n, t in sorted(table.items(), key=lambda kv: kv[1]["accuracy"]):
        print(f"{n:18} {t['right']:4} of {t['asked']:4}  {100 * t['accuracy']:.1f} %", flush=True)
    print(f"drafts accepted {100 * draft:.1f} %; all {100 * sum(g for g, _ in scores.values()) / sum(t for _, t in scores.values()):.2f} %; "
          f"evaluated in {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1] != "questions":
        sys.exit(__doc__)
    with open(sys.argv[2], "w") as file:
        for task, items in questions(20261127, int(sys.argv[3]), max(1, int(sys.argv[3]) // 5)).items():
            for one in items:
                file.write(json.dumps(record(task, one), ensure_ascii=False) + "\n")
