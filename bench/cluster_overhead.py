#!/usr/bin/env python3
"""What do gateway and router add to the work of the workers? Runs a cluster of real processes whose workers have the fake engine
(a step costs nothing), loads it with `fathom bench serve`, and prints latency, tokens per second and the processor time of
every process per token. Usage: bench/cluster_overhead.py [--json FILE]; FATHOM names another program than build/release's.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/cluster"))
from cluster import PROGRAM, Cluster, samples  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(service):
    fields = pathlib.Path(f"/proc/{service.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def load(cluster, *words):
    with tempfile.NamedTemporaryFile() as out:
        url = f"http://127.0.0.1:{cluster.gateway.http_port}"
        subprocess.run([PROGRAM, "bench", "serve", "--url", url, "--model", "test-model", "--json", out.name, *words],
                       check=True, stdout=subprocess.DEVNULL)
        return json.load(open(out.name))


def added(cluster):
    """The gateway's own part of every time to first token so far: upper bound of each bucket -> requests below it."""
    name = "fathom_gateway_added_seconds_bucket"
    return {float(labels["le"]): value for sample, labels, value in samples(cluster.gateway.metrics()) if sample == name}


def quantile(before, after, share):
    """Of the requests between two looks at a histogram, in us; linear inside a bucket, as Prometheus does it."""
    below = {bound: after[bound] - before[bound] for bound in sorted(after)}
    wanted = share * max(below.values())
    lower, counted = 0.0, 0.0
    for bound, count in below.items():
        if count >= wanted:
            return (lower + (bound - lower) * (wanted - counted) / (count - counted)) * 1e6
        lower, counted = bound, count
    return lower * 1e6


def latency(cluster):
    """One user, one token: the whole way there and back, with nothing else going on."""
    load(cluster, "--concurrency", "1", "--requests", "200", "--prompt-tokens", "16", "--output-tokens", "1")
    routed = [cluster.router.metric(f"fathom_router_time_to_first_token_seconds_{part}") for part in ("sum", "count")]
    inside = added(cluster)
    result = load(cluster, "--concurrency", "1", "--requests", "3000", "--prompt-tokens", "16", "--output-tokens", "1")
    after = [cluster.router.metric(f"fathom_router_time_to_first_token_seconds_{part}") for part in ("sum", "count")]
    whole = result["time_to_first_token_seconds"]
    inside_after = added(cluster)
    return {"gateway_added_us": {f"p{share}": quantile(inside, inside_after, share / 100) for share in (50, 90, 99)},
            "whole_way_us": {key: whole[key] * 1e6 for key in ("mean", "p50", "p90", "p99")},
            "behind_the_gateway_us": (after[0] - routed[0]) / (after[1] - routed[1]) * 1e6}


def throughput(cluster, users):
    load(cluster, "--concurrency", str(users), "--requests", str(users), "--prompt-tokens", "32", "--output-tokens", "64")
    before = {service.name: cpu_seconds(service) for service in cluster.services}
    result = load(cluster, "--concurrency", str(users), "--requests", str(users * 4), "--prompt-tokens", "32",
                  "--output-tokens", "512")
    tokens = result["output_tokens"]
    cpu = {service.name: (cpu_seconds(service) - before[service.name]) / tokens * 1e6 for service in cluster.services}
    brain = cpu["gateway"] + cpu["router"]
    return {"users": users, "failed": result["requests"]["failed"], "tokens_per_second": result["output_tokens_per_second"],
            "cpu_us_per_token": cpu, "gateway_and_router_tokens_per_core_second": 1e6 / brain}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", type=pathlib.Path)
    options = options.parse_args()
    worker = {"fake": {"read_everything": False, "context_max": 4096}, "kv_blocks": 16384, "rows_max": 1024}
    with Cluster(("prefill", "decode"), worker=worker) as cluster:
        result = {"split_latency": latency(cluster), "throughput": [throughput(cluster, users) for users in (16, 64, 256)]}
    with Cluster(("both",), worker=worker) as cluster:
        result["both_latency"] = latency(cluster)
    for name in ("both_latency", "split_latency"):
        way = result[name]["whole_way_us"]
        inside = result[name]["gateway_added_us"]
        print(f"{name}: gateway adds p50 {inside['p50']:.0f} us, p99 {inside['p99']:.0f} us; first token p50 {way['p50']:.0f} us, p99 {way['p99']:.0f} us; of the mean {way['mean']:.0f} us "
              f"{way['mean'] - result[name]['behind_the_gateway_us']:.0f} us are client and gateway")
    for row in result["throughput"]:
        cpu = ", ".join(f"{name} {value:.1f}" for name, value in row["cpu_us_per_token"].items())
        print(f"{row['users']} users: {row['tokens_per_second']:.0f} tokens/s; us of processor per token: {cpu}; "
              f"gateway and router together {row['gateway_and_router_tokens_per_core_second']:.0f} tokens/s of one core")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
