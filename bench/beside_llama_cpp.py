#!/usr/bin/env python3
"""How does the CPU engine compare with llama.cpp on the same model, in the same minutes? Runs both programs in turn, round by
round, on one checkpoint in both formats, and prints medians and ratios: prefill by length, decode by batch, and the whole
cluster beside llama-server under the same load. Nothing else should run on the machine.

  bench/beside_llama_cpp.py --llama-cpp BIN --pair bf16=DIR,FILE.gguf --pair fp8=DIR,FILE.gguf [--json FILE]

BIN holds llama-bench, llama-batched-bench and llama-server. A pair is a name, our checkpoint and theirs. FATHOM names another
program than build/release's.
"""
import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
FATHOM = os.environ.get("FATHOM", str(ROOT / "build/release/services/cli/fathom"))


def say(text):
    print(text, file=sys.stderr, flush=True)


def json_of(command):
    """Runs a program that writes its result into the file given last."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([*command, out.name], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.load(open(out.name))


def fathom_engine(model, options, prompts=(), batches=(), context=64):
    result = json_of([FATHOM, "bench", "engine", "--model", model, "--compute", "bfloat16", "--threads", str(options.threads),
                      "--prompt-lengths", ",".join(map(str, prompts)) or "0", "--batches", ",".join(map(str, batches)) or "0",
                      "--decode-context", str(context), "--decode-steps", "32", "--repeats", "1", "--json"])
    figures = {f"prefill {row['prompt_tokens']}": row["tokens_per_second"] for row in result["prefill"]}
    return figures | {f"decode {row['batch']} after {context}": row["tokens_per_second"] for row in result["decode"]}


def llama_bench(options, gguf, prompts=(), generated=0):
    command = [options.llama_cpp / "llama-bench", "-m", gguf, "-t", str(options.threads), "-r", "1", "-o", "json",
               "-p", ",".join(map(str, prompts)) or "0", "-n", str(generated)]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {f"prefill {row['n_prompt']}" if row["n_prompt"] else "decode 1 after 64": row["avg_ts"] for row in rows}


def llama_batched(options, gguf, batches, context):
    command = [options.llama_cpp / "llama-batched-bench", "-m", gguf, "-t", str(options.threads), "-c", "32768", "-npp",
               str(context), "-ntg", "32", "-npl", ",".join(map(str, batches)), "--output-format", "jsonl"]
    # It prints what it generated from random weights, which need not be text.
    done = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
    lines = done.stdout.splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    return {f"decode {row['pl']} after {context}": row["speed_tg"] for row in rows}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(url):
    for _ in range(600):
        try:
            if urllib.request.urlopen(url, timeout=1).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"{url} did not become ready")


def load(url, model, users, options):
    """The same client for both: `fathom bench serve`, 512 tokens in, 128 out, and prompts that no cache has seen."""
    result = json_of([FATHOM, "bench", "serve", "--url", url, "--model", model, "--concurrency", str(users), "--requests",
                      str(max(4, users * options.turns)), "--prompt-tokens", "512", "--output-tokens", "128", "--seed", str(users), "--json"])
    figures = {f"serve {users}: output tokens/s": result["output_tokens_per_second"]}
    for name, key in (("TTFT", "time_to_first_token_seconds"), ("inter-token", "inter_token_seconds")):
        for share in ("p50", "p99"):
            figures[f"serve {users}: {name} {share} ms"] = result[key][share] * 1e3
    if result["requests"]["failed"]:
        say(f"  {result['requests']['failed']} requests failed at {url}")
    return figures


def served_by_fathom(model, options):
    port = free_port()
    with tempfile.TemporaryDirectory() as run:
        words = ["--model", model, "--both", "1", "--tensor-parallel", "1", "--compute", "bfloat16", "--port", str(port)]
        subprocess.run([FATHOM, "up", *words, "--no-question", "--detach", "--run-dir", run], check=True,
                       stdout=subprocess.DEVNULL)
        try:
            served = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models"))["data"][0]["id"]
            return {k: v for n in options.users for k, v in load(f"http://127.0.0.1:{port}", served, n, options).items()}
        finally:
            subprocess.run([FATHOM, "down", "--run-dir", run], check=False, stdout=subprocess.DEVNULL)


def served_by_llama(gguf, options):
    port = free_port()
    out = {}
    for users in options.users:
        server = subprocess.Popen([options.llama_cpp / "llama-server", "-m", gguf, "-t", str(options.threads), "--port",
                                   str(port), "-np", str(users), "-c", str(users * 704)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/health")
            out |= load(f"http://127.0.0.1:{port}", "any", users, options)
        finally:
            server.terminate()
            server.wait()
    return out


def one_round(ours, theirs, options):
    """(name, our figures, their figures) of every part, each pair right after the other."""
    short = [n for n in options.prompts if n <= 4096]
    if options.prompts:
        yield fathom_engine(ours, options, prompts=options.prompts), llama_bench(options, theirs, prompts=short)
    if options.batches:
        yield fathom_engine(ours, options, batches=[1]), llama_bench(options, theirs, generated=64)
        yield fathom_engine(ours, options, batches=options.batches, context=512), llama_batched(options, theirs,
                                                                                                  options.batches, 512)
    if options.users:
        yield served_by_fathom(ours, options), served_by_llama(theirs, options)


def numbers(text):
    return [int(word) for word in text.split(",") if word]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--llama-cpp", type=pathlib.Path, required=True)
    options.add_argument("--pair", action="append", required=True, help="name=DIR,FILE.gguf")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--prompts", type=numbers, default=[512, 2048])
    options.add_argument("--batches", type=numbers, default=[1, 8, 32])
    options.add_argument("--users", type=numbers, default=[1, 8, 32])
    options.add_argument("--turns", type=int, default=1, help="requests of each user")
    options.add_argument("--json", type=pathlib.Path)
    options = options.parse_args()
    found = {}
    for turn in range(options.rounds):
        for pair in options.pair:
            name, _, files = pair.partition("=")
            ours, _, theirs = files.partition(",")
            for pieces in one_round(ours, theirs, options):
                for side, figures in zip(("fathom", "llama.cpp"), pieces):
                    for case, value in figures.items():
                        found.setdefault(f"{name} {case}", {}).setdefault(side, []).append(value)
                for case in pieces[0]:
                    say(f"round {turn + 1}, {name}: {case}: {pieces[0][case]:.1f} beside {pieces[1].get(case, float('nan')):.1f}")
    print(f"{'case':44} {'fathom':>10} {'llama.cpp':>10} {'ratio':>7}")
    for case, sides in found.items():
        ours, theirs = (statistics.median(sides.get(side, [float('nan')])) for side in ("fathom", "llama.cpp"))
        print(f"{case:44} {ours:10.1f} {theirs:10.1f} {ours / theirs:7.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
