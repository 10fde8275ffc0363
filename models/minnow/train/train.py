"""How is Minnow trained? `run` calls this: data from a seed, one schedule that follows the clock (so that
it always ends annealed), evaluation and export at the end; resumable from --work."""
import argparse
import json
import os
import sys
import time

STARTED = time.time()

import numpy as np
import torch

import data
import export
import model
import optimizer
import tokenizer

SHAPES = {"minnow": model.Shape(),
          "toy": model.Shape(vocab=512, hidden=64, layers=2, heads=2, q_rank=32, kv_rank=32, nope=16, rope=16, value=16, inter=96, expert_inter=32,
                             experts=8, context=1024)}


def arguments():
    p = argparse.ArgumentParser(description="Train Minnow.")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--minutes", type=float, default=7.0, help="of training; 7 on an H200, 600 or more on a CPU")
    p.add_argument("--within", type=float, default=0, help="minutes for everything: compiling, training, 70 s of evaluation; overrides --minutes")
    p.add_argument("--work", default="/tmp/minnow-train", help="folder for the state; a later run goes on from it")
    p.add_argument("--out", default=None, help="folder for the checkpoint; default: WORK/export")
    p.add_argument("--seed", type=int, default=20261127)
    p.add_argument("--tokens", type=int, default=0, help="of a batch; default 131072 on a GPU, 8192 on a CPU")
    p.add_argument("--workers", type=int, default=0, help="processes that make data; default: the cores less 2")
    p.add_argument("--shape", default="minnow", choices=SHAPES)
    p.add_argument("--no-compile", action="store_true")
    p.add_argument("--peak", type=float, default=1.0, help="multiplies the learning rates")
    p.add_argument("--questions", type=int, default=100, help="of each task at the end")
    a = p.parse_args()
    a.tokens = a.tokens or (131072 if a.device == "cuda" else 8192)
    a.workers = a.workers or max(1, (os.cpu_count() or 2) - 2)
    a.out = a.out or f"{a.work}/export"
    return a


def schedule(share):
    """(share of the peak rate, weight of the module's loss, step of the router's bias) after `share` of the time."""
    rate = min(1.0, share / 0.01 + 0.02) * (1.0 if share < 0.45 else max(0.01, (1 - share) / 0.55))
    return rate, 0.3 if share < 0.7 else 0.1 + 0.2 * max(0.0, (1 - share) / 0.3), 2e-3 * rate if share < 0.9 else 0.0


class Feed:
    """Batches on the device, one ahead."""

    def __init__(self, stream, device):
        self.stream, self.device, self.next_one = stream, device, None

    def load(self):
        tokens, positions, cuts = self.stream.next()
        padded = np.full(8193, cuts[-1], np.int32)
        padded[: len(cuts)] = cuts
        longest = int(np.diff(cuts).max())
        pack = [torch.from_numpy(x) for x in (tokens.view(np.int16), positions, padded)]
        if self.device == "cuda":
            pack = [x.pin_memory().to("cuda", non_blocking=True) for x in pack]
        return pack, len(cuts) - 1, longest

    def next(self):
        now = self.next_one or self.load()
        self.next_one = self.load()
        (tokens, positions, cuts), model.Stream.sequences, model.Stream.longest = now
        tokens = tokens.to(torch.int64)
        learn = tokens < 0  # the bit 0x8000 as a sign
        # Words of others teach a little language, at a tenth.
        return tokens & 0x7FFF, positions.to(torch.int64), cuts, torch.where(learn, 1.0, 0.1)


class Log:
    def __init__(self, path):
        self.path, self.rows = path, []
        if os.path.exists(path):
            self.rows = [json.loads(x) for x in open(path)]

    def add(self, **row):
        self.rows.append(row)
        with open(self.path, "a") as f:
            f.write(json.dumps(row) + "\n")
        print(" ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def save(path, content):
    torch.save(content, path + ".new")
    os.replace(path + ".new", path)


def main():
    a = arguments()
    os.makedirs(a.work, exist_ok=True)
    os.makedirs(a.out, exist_ok=True)
    shape = SHAPES[a.shape]
    if not os.path.exists(f"{a.work}/tokenizer.json"):
        tokenizer.write(a.work, a.seed, shape.vocab, shape.context)
    spent, state, saved = 0.0, f"{a.work}/state.pt", None
    if os.path.exists(state):
        saved = torch.load(state, map_location="cpu")
    stream = data.Stream(a.work, a.seed, a.tokens, shape.context, a.workers, first=saved["weights"]["steps"] if saved else 0)
    torch.set_float32_matmul_precision("high")
    dtype = torch.bfloat16 if a.device == "cuda" else torch.float32
    weights = optimizer.Weights(shape, model.initial(shape, a.seed, a.device), a.device, dtype)
    if saved:
        weights.load(saved["weights"])
        spent = saved["spent"]
        print(f"going on after {spent:.0f} s and {weights.steps} steps", flush=True)
    count = sum(m.numel() for m in weights.masters().values())
    print(f"{count} parameters, {a.tokens} tokens a step, {a.workers} data workers, {a.device}", flush=True)
    feed, log = Feed(stream, a.device), Log(f"{a.work}/log.jsonl")

    run, judge = model.layer, model.score
    if a.device == "cuda" and not a.no_compile:
        run = torch.compile(run, fullgraph=True, dynamic=False)  # twice: the dense layer and one for all others
        judge = torch.compile(judge, fullgraph=True, dynamic=False)
    budget, began, mark, marked = a.minutes * 60, time.time(), None, 0
    mtp_weight = torch.zeros((), device=a.device)
    last_save = time.time()
    clock = None  # starts when the compiler is through
    print(f"starting {time.time() - STARTED:.1f} s after the program", flush=True)
    while spent < budget:
        rate, mtp, bias_rate = schedule(spent / budget)
        mtp_weight.fill_(mtp)
        batch = feed.next()
        if weights.steps == 0:
            print(f"first batch after {time.time() - began:.1f} s", flush=True)
        total, main_loss, ahead, right, loads = model.loss(shape, weights.work, weights.bias, *batch, mtp_weight, run, judge)
        total.backward()
        weights.step(rate * a.peak, loads, bias_rate)
        report = weights.steps % 50 == 0 or weights.steps in (1, 2, 3, 10, 20)
        if report or a.device == "cpu" or weights.steps % 4 == 0:
            values = torch.stack((main_loss, ahead, *right)).tolist()  # waits for the device
        now = time.time()
        if clock is None or weights.steps == 3:
            clock, base = now, spent  # the first steps compile
            if a.within:
                budget = a.within * 60 - 70 - (now - STARTED) + base
            print(f"first step after {now - began:.1f} s", flush=True)
        spent = base + now - clock
        if report:
            speed = 0 if mark is None or now == mark else (weights.steps - marked) * a.tokens / (now - mark)
            mark, marked = now, weights.steps
            spread = (loads[shape.dense:].amax(-1) / loads[shape.dense:].mean(-1)).max().item()
            log.add(step=weights.steps, s=round(spent, 1), loss=round(values[0], 4), mtp=round(values[1], 4), right=round(values[2], 4),
                    mtp_right=round(values[3], 4), rate=round(rate, 3), tok_s=int(speed), repeated=stream.repeated, busiest=round(spread, 2))
        if now - last_save > 110 and spent < budget - 20:
            last_save = now
            save(state, {"weights": weights.state(), "spent": spent})
            export.write(a.out, shape, weights.masters(), weights.bias, a.work)
            if os.environ.get("OUT"):
                export.carry(os.environ["OUT"], a.out, a.work, None)
    stream.close()
    save(state, {"weights": weights.state(), "spent": spent})
    if a.device == "cuda":
        print(f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most", flush=True)
    export.write(a.out, shape, weights.masters(), weights.bias, a.work)
    masters = {n: m.to(torch.bfloat16).cpu() for n, m in weights.masters().items()}
    if os.environ.get("OUT"):
        export.carry(os.environ["OUT"], a.out, a.work, masters)
    if a.questions:
        import evaluate
        evaluate.report(a.work, shape, weights.work, weights.bias, a.device, a.questions, a.seed, 65 if a.within else 1e9)
    export.curve(log.rows, f"{a.work}/loss.svg")
    if os.environ.get("OUT"):
        export.carry(os.environ["OUT"], a.out, a.work, masters)
    print("done", flush=True)


if __name__ == "__main__":
    sys.exit(main())
