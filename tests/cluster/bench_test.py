"""Do the load generators count right? Their JSON is compared with what the cluster itself counted."""
import http.server
import json
import pathlib
import subprocess
import tempfile
import threading
import unittest

import cases
from cluster import PATIENCE, PROGRAM, TINY, Cluster


def bench(*words):
    """(exit code, result, output) of `fathom bench ... --json`."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "result.json"
        run = subprocess.run([PROGRAM, "bench", *words, "--json", str(out)], capture_output=True, text=True, timeout=PATIENCE)
        return run.returncode, json.loads(out.read_text()) if out.exists() else None, run.stdout + run.stderr


class OtherServer(http.server.BaseHTTPRequestHandler):
    """Streams text without token ids, as llama-server does; one piece holds two tokens, which only usage tells."""
    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["content-length"])))["max_tokens"]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for piece in [" a"] * (wanted - 1) + [""]:
            self.event({"choices": [{"index": 0, "text": piece}]})
        self.event({"choices": [], "usage": {"completion_tokens": wanted}})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")

    def log_message(self, *_):
        pass


class Serve(unittest.TestCase):
    def test_pieces_of_another_server_count_as_tokens_and_its_usage_settles_the_sum(self):
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherServer) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            code, result, text = bench("serve", "--url", f"http://127.0.0.1:{server.server_port}", "--model", "any", "--requests",
                                       "3", "--concurrency", "1", "--prompt-tokens", "4", "--output-tokens", "8")
            server.shutdown()
        self.assertEqual(code, 0, text)
        self.assertEqual(result["requests"], {"ok": 3, "failed": 0})
        self.assertEqual(result["output_tokens"], 24)
        self.assertEqual(result["inter_token_seconds"]["count"], 3 * 6)

    def test_a_closed_loop_counts_what_the_gateway_counts(self):
        with Cluster(("prefill", "decode")) as cluster:
            code, result, text = bench("serve", "--url", cluster.url.removesuffix("/v1"), "--requests", "40", "--concurrency", "7",
                                       "--prompt-tokens", "5-50", "--output-tokens", "10-20", "--seed", "3")
            self.assertEqual(code, 0, text)
            self.assertEqual(result["requests"], {"ok": 40, "failed": 0})
            self.assertEqual(result["in_flight_max"], 7)
            self.assertEqual(result["model"], "test-model")
            gateway = cluster.gateway
            self.assertEqual(result["output_tokens"], gateway.metric("fathom_gateway_generated_tokens_total"))
            self.assertEqual(result["prompt_tokens"], gateway.metric("fathom_gateway_prompt_tokens_total"))
            self.assertEqual(result["time_to_first_token_seconds"]["count"], 40)
            # Every token but those of the first events has a gap before it.
            self.assertLessEqual(result["inter_token_seconds"]["count"], result["output_tokens"] - 40)
            for row in ("time to first token", "inter-token", "end to end"):
                self.assertIn(row, text)

    def test_an_open_loop_keeps_its_rate_whatever_the_cluster_does(self):
        with Cluster(("both",), worker={"fake": {"step_ms": 20}}) as cluster:
            code, result, text = bench("serve", "--url", cluster.url.removesuffix("/v1"), "--rate", "50", "--duration", "2",
                                       "--prompt-tokens", "4", "--output-tokens", "20", "--seed", "1")
            self.assertEqual(code, 0, text)
            sent = result["requests"]["ok"]
            self.assertTrue(60 <= sent <= 140, sent)  # Poisson, mean 100: this is 4 deviations
            # Each takes at least 20 steps of 20 ms, so many were under way at once.
            self.assertGreater(result["in_flight_max"], 8)
            self.assertGreaterEqual(result["end_to_end_seconds"]["p50"], 0.38)

    def test_refusals_are_counted_by_their_message(self):
        with Cluster(("both",), worker={"fake": {"step_ms": 20}, "rows_max": 1}, router={"queue_max": 1}) as cluster:
            code, result, text = bench("serve", "--url", cluster.url.removesuffix("/v1"), "--requests", "12", "--concurrency", "6",
                                       "--prompt-tokens", "4", "--output-tokens", "10")
            self.assertEqual(code, 1)
            self.assertGreater(result["requests"]["failed"], 0)
            self.assertEqual(sum(result["errors"].values()), result["requests"]["failed"])
            self.assertTrue(all(message.startswith("429 ") for message in result["errors"]), result["errors"])
            self.assertEqual(result["requests"]["ok"] + result["requests"]["failed"], 12)

    def test_bad_words_are_named(self):
        for words, name in ((("--requests", "0"), "--requests"), (("--requests", "1", "--prompt-tokens", "x"), "--prompt-tokens"),
                            (("--requests", "1", "--url", "ftp://x"), "ftp://x"), (("--requests", "1", "--lengths", "/nowhere"), "/nowhere")):
            code, _, text = bench("serve", *words)
            self.assertEqual(code, 1, text)
            self.assertIn(name, text)


class Engine(unittest.TestCase):
    def test_it_measures_prefill_and_decode(self):
        code, result, text = bench("engine", "--model", str(TINY), "--tensor-parallel", "2", "--prompt-lengths", "8,64",
                                   "--batches", "1,4", "--decode-steps", "4", "--repeats", "1", "--threads", "2")
        self.assertEqual(code, 0, text)
        self.assertEqual([row["prompt_tokens"] for row in result["prefill"]], [8, 64])
        self.assertEqual([row["batch"] for row in result["decode"]], [1, 4])
        for row in result["prefill"] + result["decode"]:
            self.assertGreater(row["tokens_per_second"], 0)
        self.assertEqual(result["tensor_parallel"], 2)

    def test_a_model_that_is_not_there_is_named(self):
        code, _, text = bench("engine", "--model", "/nowhere")
        self.assertEqual(code, 1)
        self.assertIn("/nowhere", text)


if __name__ == "__main__":
    cases.main()
