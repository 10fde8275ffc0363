"""How are configurations of a cluster compared? Each is started with Minnow, asked the same questions by `fathom eval`, and its
answers laid against those of the first. What the engine promises (docs/limits.md, "Sameness of answers") says whether
the texts must be equal.
"""
import json
import pathlib
import subprocess
import sys

from cluster import PROGRAM, ROOT, Cluster, samples

sys.path.insert(0, str(ROOT / "bench"))
import dequantise_fp8  # noqa: E402

MINNOW = ROOT / "models/minnow"
FLOAT32 = {"compute": "float32", "kv_memory_mb": 256}
BFLOAT16 = {"compute": "bfloat16", "kv_memory_mb": 256}
GUESSING = {"speculative": "auto", "speculative_tokens": 1}


def start(roles=("both",), model=MINNOW, **worker):
    threads = 0 if len(roles) == 1 else 1  # several workers share two cores badly
    return Cluster(roles, engine="model", model=model, worker=FLOAT32 | {"threads": threads} | worker)


def evaluate(cluster, *words, program=PROGRAM):
    """(exit code, result) of `fathom eval --json`."""
    url = f"http://127.0.0.1:{cluster.gateway.http_port}"
    run = subprocess.run([program, "eval", "--url", url, "--json", *map(str, words)], capture_output=True, text=True, timeout=3600)
    assert run.stdout, run.stderr
    return run.returncode, json.loads(run.stdout)


def drafts(cluster):
    """(guessed, accepted) tokens of all workers so far."""
    counted = {"draft": 0.0, "accepted_draft": 0.0}
    for worker in cluster.workers:
        for name, _, value in samples(worker.metrics()):
            for kind in counted:
                if name == f"fathom_worker_{kind}_tokens_total":
                    counted[kind] += value
    return counted["draft"], counted["accepted_draft"]


def export(folder, float32=False):
    """Minnow's weights without FP8."""
    target = pathlib.Path(folder) / ("float32" if float32 else "bfloat16")
    dequantise_fp8.export(MINNOW, target, float32)
    return target
