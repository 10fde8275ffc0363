"""How does the cluster page look with sixty-four workers, and what does it do when things break? A server that tells a made-up
cluster through the two routes of docs/cluster.md: any number of workers under a load that rises and falls, with events. Tests
push views by hand; alone it plays in real time, for work on the page:

    tests/pages/scripted_cluster.py 8080 --workers 64
"""
import argparse
import json
import math
import random
import threading
import time
import urllib.parse

from front import Call, Front

OUTCOMES = ("stop", "length", "cancelled", "refused", "timeout", "failed")
LATENCIES = {"queue": 0.02, "first_token": 0.4, "inter_token": 0.031, "request": 9.0}


def percentiles(name, load):
    base = LATENCIES[name] * (0.7 + load)
    return {"count": 100, "p50_seconds": base, "p90_seconds": base * 1.6, "p99_seconds": base * (2.2 + 2 * load)}


class Story:
    """A cluster at one second after another; the same seed tells the same story."""

    def __init__(self, workers=6, seed=1, start=1_764_000_000):
        self.random = random.Random(seed)
        self.start, self.now, self.number = start, start, 0
        self.workers = [self.worker(i, workers) for i in range(workers)]
        self.events = []

    def worker(self, i, all_of_them):
        role = "both" if all_of_them == 1 else "prefill" if i < max(1, all_of_them // 4) else "decode"
        return {"address": f"10.0.{i // 16}.{10 + i % 16}:7100", "role": role, "state": "up", "state_seconds": 0, "why": "",
                "tensor_parallel": 8, "blocks": 4096, "block_tokens": 64, "rows_max": 256, "offset": self.random.random()}

    def load(self, second):
        return 0.55 + 0.3 * math.sin(second / 47) + 0.1 * math.sin(second / 7)

    def event(self, kind, worker="", peer="", text="", count=1):
        self.number = max(self.number + 1, self.now * 1_000_000)
        event = {"number": self.number, "time": self.number / 1e6, "kind": kind, "worker": worker, "peer": peer, "text": text, "count": count}
        self.events.append(event)
        return event

    def kill(self, index, why="UNAVAILABLE: Connection reset by peer"):
        worker = self.workers[index]
        worker |= {"state": "down", "state_seconds": 0, "why": why}
        return [self.event("worker_down", worker["address"], text=why),
                self.event("recovered", worker["address"], text="7 sequences lost with a worker and placed again", count=7)]

    def second(self, at):
        load = self.load(at - self.start)
        noise = lambda: self.random.uniform(0.93, 1.07)  # noqa: E731
        up = sum(worker["state"] == "up" for worker in self.workers)
        values = {"time": at, "waiting": round(max(0, load - 0.7) * 60), "running": round(up * 20 * load), "moving": round(4 * load),
                  "prefilling": round(up * 2 * load), "decoding": round(up * 17 * load), "workers_up": up, "blocks": 4096 * up,
                  "blocks_reserved": round(4096 * up * load * 0.8), "arrived": round(up * load * noise()), "admitted": round(up * load),
                  "prompt_tokens": round(up * 800 * load * noise()), "cached_tokens": round(up * 450 * load * noise()),
                  "generated_tokens": round(up * 500 * load * noise()), "moves": round(up * load), "preemptions": 0, "recoveries": 0}
        values |= {f"ended_{name}": round(up * load) if name == "stop" else 0 for name in OUTCOMES}
        for name in LATENCIES:
            for rank in ("p50", "p90", "p99"):
                values[f"{name}_{rank}_seconds"] = percentiles(name, load * noise())[f"{rank}_seconds"]
        return values

    def step_means(self, worker, seconds):
        base = 0.19 if worker["role"] == "prefill" else 0.028
        return [base * (0.8 + self.load(at - self.start + 20 * worker["offset"])) if worker["state"] == "up" else None for at in seconds]

    def worker_view(self, worker, seconds):
        load = self.load(self.now - self.start + 20 * worker["offset"])
        here = worker["state"] == "up"
        kind = "prefill" if worker["role"] == "prefill" else "decode"
        none = {"count": 0, "p50_seconds": 0, "p99_seconds": 0}
        mean = self.step_means(worker, [self.now])[0] or 0
        steps = {name: none for name in ("prefill", "decode", "mixed")}
        if here:
            steps[kind] = {"count": 200, "p50_seconds": mean, "p99_seconds": mean * 1.7}
        shown = {key: value for key, value in worker.items() if key != "offset"}
        reads = kind == "prefill" or worker["role"] == "both"
        return shown | {
            "steps": steps, "step_mean_seconds": self.step_means(worker, seconds), "rows": 20 * load * here,
            "prompt_tokens_per_step": 400 * load * reads, "prompt_tokens_per_second": 1900 * load * reads * here,
            "cached_tokens_per_second": 900 * load * reads * here, "generated_tokens_per_second": 610 * load * here * (not reads or worker["role"] == "both"),
            "cached_share": 0.32 * reads, "draft_acceptance": None, "sequences": round(20 * load) * here,
            "uncomputed_tokens": round(2400 * load) * reads * here, "blocks_reserved": round(4096 * load * 0.8) * here,
            "blocks_held": round(4096 * load * 0.6) * here}

    def view(self, past):
        last = self.second(self.now - 1)
        seconds = range(self.now - 120, self.now) if past else [self.now - 1]
        prompt, cached = last["prompt_tokens"], last["cached_tokens"]
        return {"time": self.now + 0.01, "router_started": self.start - 4000, "model": "minnow", "ready": True, "draining": False, "gateways": 2,
                "requests": {"waiting": last["waiting"], "waiting_max": 1024, "running": last["running"], "moving": last["moving"],
                             "prefilling": last["prefilling"], "decoding": last["decoding"], "arrived_per_second": last["arrived"],
                             "admitted_per_second": last["admitted"], "moved_per_second": last["moves"],
                             "ended_per_second": {name: last[f"ended_{name}"] for name in OUTCOMES}},
                "tokens": {"prompt_per_second": prompt, "cached_per_second": cached, "generated_per_second": last["generated_tokens"],
                           "cached_share": cached / max(1, cached + prompt)},
                "kv": {"blocks": last["blocks"], "blocks_reserved": last["blocks_reserved"], "blocks_held": last["blocks_reserved"] // 2},
                "latency": {name: percentiles(name, self.load(self.now - self.start)) for name in LATENCIES},
                "workers": [self.worker_view(worker, seconds) for worker in self.workers]}

    def history(self, first, end):
        rows = [self.second(at) for at in range(first, end)]
        return {name: [row[name] for row in rows] for name in self.second(first)}

    def id(self):
        return f"{self.now - 1}-{self.number}"

    def state(self):
        return {"id": self.id(), "lost": None, "view": self.view(True), "history": self.history(self.now - 600, self.now), "events": self.events[-500:]}

    def tick(self):
        self.now += 1
        for worker in self.workers:
            worker["state_seconds"] += 1
        return {"view": self.view(False), "history": self.history(self.now - 1, self.now)}


class ClusterFront(Front):
    """Serves a story. Everything pushed goes to every open stream; `cut` breaks them all. `refuse` answers instead."""

    def __init__(self, story, port=0):
        super().__init__(port)
        self.story, self.refusal, self.streams, self.changed = story, None, [], threading.Condition()
        self.keys = []

    def push(self, name, data):
        with self.changed:
            for stream in self.streams:
                stream.append(f"event: {name}\nid: {self.story.id()}\ndata: {json.dumps(data)}\n\n")
            self.changed.notify_all()

    def tick(self, *events):
        for event in events:
            self.push("happened", event)
        self.push("view", self.story.tick())

    def cut(self):
        with self.changed:
            for stream in self.streams:
                stream.append(None)
            self.changed.notify_all()

    def get(self, handler):
        path = urllib.parse.urlsplit(handler.path).path
        if path not in ("/cluster/state", "/cluster/events"):
            return super().get(handler)
        call = Call(handler, b"")
        self.keys.append(handler.headers.get("authorization", ""))
        if self.refusal:
            return call.refuse(*self.refusal(self.keys[-1])) if self.refusal(self.keys[-1]) else self.tell(call, path)
        return self.tell(call, path)

    def tell(self, call, path):
        if path == "/cluster/state":
            return call.json(200, self.story.state())
        stream = []
        with self.changed:
            self.streams.append(stream)
        call.begin().raw(": connected\n\n")
        try:
            while True:
                with self.changed:
                    self.changed.wait_for(lambda: stream)
                    text = stream.pop(0)
                if text is None:
                    return call.cut()
                call.raw(text)
        finally:
            with self.changed:
                self.streams = [other for other in self.streams if other is not stream]


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("port", type=int)
    words.add_argument("--workers", type=int, default=6)
    given = words.parse_args()
    story = Story(given.workers, start=int(time.time()))
    with ClusterFront(story, given.port) as front:
        print(front.url, flush=True)
        while True:
            time.sleep(1)  # it plays in real time
            front.tick(*(story.kill(1) if story.now - story.start == 20 else []))


if __name__ == "__main__":
    main()
