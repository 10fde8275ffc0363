"""What does a client lose when a process dies? Nothing: processes are killed with SIGKILL in mid-stream and every token still
comes, once, the same as if nothing had happened. And what stays behind when a client leaves? Nothing either.
"""
import json
import time
import unittest

import cases
from cluster import SIGKILL, Answer, Cluster, undisturbed, wait_for

TOKENS = 150
PROMPTS = [[3 + (i * 7 + k) % 400 for k in range(5 + 13 * i)] for i in range(6)]
SLOW = {"fake": {"step_ms": 4}}  # a step long enough that a kill falls into the middle of a stream


def read_some(answers, tokens):
    for answer in answers:
        while len(answer.token_ids()) < tokens:
            assert answer.next() is not None, answer.events[-1:]


class Deaths(unittest.TestCase):
    def survive(self, cluster, victims, after=None):
        """Streams, kills in the middle, and compares with the answers of a cluster left in peace."""
        expected = [undisturbed(cluster, prompt, TOKENS) for prompt in PROMPTS]
        answers = [cluster.complete(prompt, TOKENS) for prompt in PROMPTS]
        read_some(answers, 20)
        for victim in victims:
            victim.signal(SIGKILL)
            victim.wait()
        if after:
            after()
        for answer, tokens in zip(answers, expected, strict=True):
            answer.read_all()
            self.assertTrue(answer.done, answer.events[-1:])
            self.assertEqual(answer.token_ids(), tokens)
            self.assertEqual(answer.finish_reason(), "length")
            self.assertEqual(answer.usage()["completion_tokens"], TOKENS)
        cluster.wait_blocks_free()

    def test_dead_decode_worker_loses_no_token(self):
        with Cluster(("prefill", "decode", "decode"), worker=SLOW) as cluster:
            busy = max(cluster.workers[1:], key=lambda w: w.metric("fathom_worker_tokens_total", kind="generated"))
            self.survive(cluster, [busy])
            wait_for("somebody was placed again", lambda: cluster.router.metric("fathom_router_recoveries_total") > 0)

    def test_dead_only_decode_worker_is_waited_for(self):
        with Cluster(("prefill", "decode"), worker=SLOW) as cluster:
            self.survive(cluster, [cluster.by_role("decode")], after=lambda: cluster.by_role("decode").start())

    def test_dead_prefill_worker_loses_no_token(self):
        with Cluster(("prefill", "prefill", "decode"), worker={"fake": {"step_ms": 4, "step_token_us": 300}}) as cluster:
            prompts = [[3 + (i * 11 + k) % 400 for k in range(700)] for i in range(4)]
            expected = [undisturbed(cluster, prompt, 20) for prompt in prompts]
            streams = [self.start_without_reading(cluster, prompt) for prompt in prompts]
            busy = wait_for("a prefill worker has something to do", lambda: next(
                (w for w in cluster.workers[:2] if w.metric("fathom_worker_sequences") > 0), None))
            busy.signal(SIGKILL)
            busy.wait()
            for (connection, read), tokens in zip(streams, expected, strict=True):
                answer = read()
                self.assertEqual(answer.token_ids(), tokens)
                connection.close()
            cluster.wait_blocks_free()

    @staticmethod
    def start_without_reading(cluster, prompt):
        connection = cluster.connect()
        connection.request("POST", "/v1/completions", json.dumps({
            "model": "test-model", "prompt": prompt, "max_tokens": 20, "temperature": 0, "ignore_eos": True,
            "return_token_ids": True, "stream": True}), {"content-type": "application/json"})
        return connection, lambda: Answer(connection, connection.getresponse()).read_all()

    def test_dead_router_loses_no_token(self):
        with Cluster(("prefill", "decode"), worker=SLOW) as cluster:
            self.survive(cluster, [cluster.router], after=cluster.router.start)

    def test_everything_but_the_gateway_may_die_at_once(self):
        with Cluster(("prefill", "decode"), worker=SLOW) as cluster:
            victims = [*cluster.workers, cluster.router]
            self.survive(cluster, victims, after=lambda: [victim.start() for victim in victims])


class Departures(unittest.TestCase):
    def test_a_client_that_leaves_frees_its_blocks_on_both_sides(self):
        with Cluster(("prefill", "decode"), worker=SLOW) as cluster:
            answers = [cluster.complete(prompt, 3000) for prompt in PROMPTS]
            read_some(answers, 5)
            self.assertGreater(cluster.held_blocks()["decode-1"], 0)
            left = time.monotonic()
            for answer in answers:
                answer.close()
            cluster.wait_blocks_free()
            print(f"  blocks free {1000 * (time.monotonic() - left):.0f} ms after the clients left")
            wait_for("the router runs nothing", lambda: cluster.router.metric("fathom_router_requests_running") == 0)

    def test_a_hundred_clients_that_leave_during_prefill_leak_nothing(self):
        # A prompt takes most of a second, in steps of an eighth, so every look finds it being read.
        slow = {"fake": {"step_ms": 2, "step_token_us": 2000}}
        with Cluster(("prefill", "decode"), worker=slow, router={"step_token_budget": 64}) as cluster:
            for i in range(100):
                connection, _ = Deaths.start_without_reading(cluster, [3 + (i + k) % 400 for k in range(300 + i)])
                if i % 10 == 0:
                    wait_for("a prompt is being read", lambda: cluster.by_role("prefill").metric("fathom_worker_sequences") > 0)
                connection.close()
            cluster.wait_blocks_free()
            self.assertEqual(len(undisturbed(cluster, [5, 6, 7], 30)), 30)
            cluster.wait_blocks_free()
            self.assertEqual(cluster.router.metric("fathom_router_blocks_of_finished"), 0)


if __name__ == "__main__":
    cases.main()
