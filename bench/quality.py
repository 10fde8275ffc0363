#!/usr/bin/env python3
"""Does every way to run a model answer as well? Asks the questions that travel with Fathom of one configuration after the other
(FP8 and BF16 or float32 weights, tensor parallel 1 and 2, prefill and decode apart or together, guessing ahead or not, prompts
found in a cache or not, compute in float32 or bfloat16, KV in 8 bits), compares each with the one it should equal, and prints a
table. Minutes on two cores. Usage: bench/quality.py [--per-task N] [--task NAME ...] [--only NAME ...] [--json FILE] [--keep DIR]
"""
import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/cluster"))
import quality  # noqa: E402
from quality import BFLOAT16, GUESSING  # noqa: E402


@dataclasses.dataclass
class Way:
    name: str
    beside: str = ""  # what it is compared with
    same: bool = False  # promised: the same text
    roles: tuple = ("both",)
    weights: str = "fp8"
    worker: dict = dataclasses.field(default_factory=dict)
    words: tuple = ()
    again: bool = False  # asked twice of one cluster; the second time counts


SPLIT = ("prefill", "decode")
SAMPLED = ("--temperature", "1", "--seed", "11")  # feels what greedy text, sure of itself, does not
WAYS = [
    Way("float32"),
    Way("float32, one at a time", "float32", True, words=("--concurrency", "1")),
    Way("float32, prompts cached", "float32", True, again=True),
    Way("float32, no prefix cache", "float32", True, worker={"prefix_cache": False}),
    Way("float32, split", "float32", True, SPLIT),
    Way("float32, speculative", "float32", True, worker=GUESSING),
    Way("float32, split, speculative", "float32", True, SPLIT, worker=GUESSING),
    Way("float32, sampled", words=SAMPLED),
    Way("float32, split, speculative, sampled", "float32, sampled", True, SPLIT, worker=GUESSING, words=SAMPLED),
    Way("float32, tensor parallel 2, sampled", "float32, sampled", worker={"tensor_parallel": 2}, words=SAMPLED),
    Way("float32, tensor parallel 2", "float32", worker={"tensor_parallel": 2}),
    Way("float32, tensor parallel 2, split", "float32, tensor parallel 2", True, SPLIT, worker={"tensor_parallel": 2}),
    Way("float32, weights dequantised to float32", "float32", weights="float32"),
    Way("float32, weights dequantised to bf16", "float32", weights="bfloat16"),
    Way("bfloat16", "float32", worker=BFLOAT16),
    Way("bfloat16, prompts cached", "bfloat16", True, worker=BFLOAT16, again=True),
    Way("bfloat16, split, speculative", "bfloat16", True, SPLIT, worker=BFLOAT16 | GUESSING),
    Way("bfloat16, tensor parallel 2", "bfloat16", worker=BFLOAT16 | {"tensor_parallel": 2}),
    Way("bfloat16, weights dequantised to bf16", "bfloat16", weights="bfloat16", worker=BFLOAT16),
    Way("bfloat16, KV in int8", "bfloat16", worker=BFLOAT16 | {"kv_dtype": "int8"}),
]


def ask(way, folder, chosen):
    """(result, accepted share of guesses or None) of one configuration."""
    model = quality.MINNOW
    if way.weights != "fp8":
        model = folder / way.weights
        if not model.exists():
            quality.export(folder, way.weights == "float32")
    words = [*chosen, "--answers", folder / f"{way.name}.jsonl", *way.words]
    if way.beside:
        words += ["--against", folder / f"{way.beside}.jsonl"]
    with quality.start(way.roles, model, **way.worker) as cluster:
        if way.again:
            quality.evaluate(cluster, *chosen)
        _, result = quality.evaluate(cluster, *words)
        guessed, accepted = quality.drafts(cluster)
    return result, accepted / guessed if guessed else None


def row(way, result, accepted):
    total, against, tokens = result["total"], result["against"], result["tokens"]
    low, high = (100 * end for end in total["interval"])
    text = f"| {way.name} | {total['right']} of {total['answered']} | {100 * total['accuracy']:.1f} ({low:.1f} to {high:.1f}) | "
    if against:
        ends = " to ".join(f"{100 * end:+.1f}" for end in against["accuracy_difference_interval"])
        text += f"{way.beside}{', promised' if way.same else ''} | {against['same_text']} of {against['pairs']} | {ends} | "
    else:
        text += "| | | "
    notes = [f"{total['failed']} without an answer"] if total["failed"] else []
    if tokens["cached"]:
        notes.append(f"{100 * tokens['cached'] / tokens['prompt']:.0f} % of the prompts cached")
    if accepted is not None:
        notes.append(f"{100 * accepted:.1f} % of drafts accepted")
    return text + "; ".join(notes) + " |"


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--per-task", type=int, default=0)
    options.add_argument("--task", nargs="+", default=[])
    options.add_argument("--only", nargs="+", default=[])
    options.add_argument("--json", type=pathlib.Path)
    options.add_argument("--keep", type=pathlib.Path, help="keep answers and weights there")
    options = options.parse_args()
    results, broken = {}, []
    chosen = ["--per-task", options.per_task] + (["--task", *options.task] if options.task else [])
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print("| configuration | right | accuracy, % | compared with | same text | difference, 95 % | |\n|---|---|---|---|---|---|---|")
        for way in WAYS:
            if options.only and way.name not in options.only:
                continue
            result, accepted = ask(way, folder, chosen)
            results[way.name] = result | {"drafts_accepted": accepted}
            print(row(way, result, accepted), flush=True)
            if way.same and result["against"]["same_text"] < result["against"]["pairs"]:
                broken.append(way.name)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if broken:
        sys.exit("not the same text although promised: " + "; ".join(broken))


if __name__ == "__main__":
    main()
