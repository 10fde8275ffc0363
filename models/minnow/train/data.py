"""What does Minnow read while it learns? An endless stream of generated conversations, packed whole into
batches of a fixed number of tokens. Batch n of worker w depends on the seed, w and n only."""
import multiprocessing as mp
import os
import queue
import random

import numpy as np

import render
from tasks import TASKS
from tasks.item import held_out
from tasks import memory, talk

LEARN = 0x8000  # this bit of a stored token: it is learned
SYSTEMS = ("You are a helpful assistant.", "You are Minnow, a small and friendly model.", "You are Minnow.", "Be brief.", "Answer in plain English.",
           "You are a careful assistant. Think before you answer.", "You help people with small tasks.", "", "Be polite.", "You are the demo model of Fathom.")
NAMES, SHARES = list(TASKS), [share for share, _ in TASKS.values()]
EASY = ("chat", "unknown", "month", "next_letter", "repeat", "recall_inline", "told", "json_array")


def exercise(rng, name=None):
    """One item that may be trained on."""
    make = TASKS[name or rng.choices(NAMES, SHARES)[0]][1]
    while True:
        item = make(rng)
        if not held_out(item.key):
            return item


def earlier(rng):
    """One to three exchanges that stand before another item: easy ones are learned there, without thoughts."""
    out = []
    for _ in range(rng.randrange(1, 4)):
        if rng.random() < 0.6:
            item = exercise(rng, rng.choice(EASY))
        else:
            item = exercise(rng)
            if item.tools or item.system or item.before or item.call:
                continue
        out += item.before + [{"role": "user", "content": item.question}, {"role": "assistant", "content": item.answer, "learn": item.direct}]
    return out


def document(rng):
    """The pieces of one short conversation."""
    item = exercise(rng)
    r = rng.random()
    if not item.before and not item.tools and not item.system and r < 0.3 and not item.key.startswith("not told"):
        item.before = earlier(rng)
    if item.system is None and rng.random() < 0.3:
        item.system = rng.choice(SYSTEMS)
    return render.pieces_of(item, thinking=not (item.direct and rng.random() < 0.12))


def long_document(rng, most):
    """Many facts and questions about them; or a long conversation before one ordinary exercise."""
    if rng.random() < 0.35:
        item, turns = exercise(rng), rng.randrange(4, 4 + most // 120)
        if not item.tools and not item.system and not item.key.startswith("not told"):
            item.before = [m for _ in range(turns) for m in earlier(rng)] + item.before
        return render.pieces_of(item)
    item = memory.long_recall(rng, tokens=int(300 + (most - 900) * rng.random()), questions=rng.randrange(8, 40))
    while held_out(item.key):
        item = memory.long_recall(rng, tokens=600)
    if rng.random() < 0.3:
        item.before += talk.exchange(rng)
    return render.pieces_of(item)


class Encoder:
    """Pieces to arrays of tokens with the LEARN bit."""

    def __init__(self, folder):
        from tokenizers import Tokenizer
        self.tok = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.marks = {t: self.tok.token_to_id(t) for t in render.FIRST + render.ADDED}
        self.pad = self.marks[render.PAD]

    def __call__(self, documents):
        texts = [p for doc in documents for p, _ in doc if p and p not in self.marks]
        coded = iter(self.tok.encode_batch_fast(texts, add_special_tokens=False))
        out = []
        for doc in documents:
            ids = []
            for piece, learn in doc:
                flag = LEARN if learn else 0
                if piece in self.marks:
                    ids.append(self.marks[piece] | flag)
                elif piece:
                    ids += [i | flag for i in next(coded).ids]
            out.append(np.array(ids, np.uint16))
        return out


class Packer:
    """Documents to batches: (tokens uint16 [T], positions int16 [T], cuts int32 [docs + 1])."""

    def __init__(self, encoder, tokens, longest, make, chunk):
        self.encoder, self.tokens, self.longest, self.make, self.chunk, self.waiting = encoder, tokens, longest, make, chunk, []

    def batch(self):
        out, total = [], 0
        while True:
            if not self.waiting:
                docs = self.encoder([self.make() for _ in range(self.chunk)])
                self.waiting = [d for d in docs if len(d) <= self.longest]
            if total + len(self.waiting[-1]) > self.tokens:
                break
            out.append(self.waiting.pop())
            total += len(out[-1])
        while total < self.tokens:
            out.append(np.full(min(self.longest, self.tokens - total), self.encoder.pad, np.uint16))
            total += len(out[-1])
        cuts = np.concatenate(([0], np.cumsum([len(d) for d in out]))).astype(np.int32)
        positions = np.concatenate([np.arange(len(d), dtype=np.int16) for d in out])
        return np.concatenate(out), positions, cuts


def packers(folder, seed, worker, tokens, context, first=0):
    rng = random.Random(f"{seed} {worker} {first}")
    encoder = Encoder(folder)
    short = Packer(encoder, tokens, min(640, context), lambda: document(rng), 256)
    long = Packer(encoder, tokens, context, lambda: long_document(rng, context), 16)
    return short, long


def _work(out, folder, seed, worker, tokens, context, every, first):
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.nice(5)
    short, long = packers(folder, seed, worker, tokens, context, first)
    n = worker  # so that the workers' long batches come at different times
    while True:
        out.put((long if every and n % every == every - 1 else short).batch())
        n += 1


class Stream:
    """Batches made by `workers` processes ahead of their use. Where they fall behind, an old batch is read
    again instead of waiting (counted in `repeated`)."""

    def __init__(self, folder, seed, tokens, context, workers, every=8, first=0, ahead=6, keep=256):
        context_ = mp.get_context("fork")  # before anything of CUDA runs: spawn would load torch in each
        self.queues = [context_.Queue(ahead) for _ in range(workers)]
        self.procs = [context_.Process(target=_work, args=(q, folder, seed, i, tokens, context, every, first), daemon=True)
                      for i, q in enumerate(self.queues)]
        for p in self.procs:
            p.start()
        self.n, self.kept, self.keep, self.repeated = 0, [], keep, 0
        self.rng = random.Random(seed)

    def next(self):
        self.n += 1
        q = self.queues[self.n % len(self.queues)]
        try:
            batch = q.get(timeout=0.02 if len(self.kept) > 32 else 120)
        except queue.Empty:
            self.repeated += 1
            return self.rng.choice(self.kept)
        if len(self.kept) < self.keep:
            self.kept.append(batch)
        else:
            self.kept[self.rng.randrange(self.keep)] = batch
        return batch

    def close(self):
        for p in self.procs:
            p.terminate()
