"""What does a client lose when a process dies? Nothing: processes are killed with SIGKILL in mid-stream and every token still
comes, once, the same as if nothing had happened. And what stays behind when a client leaves? Nothing either.
"""
import json
import time
import unittest

import cases
from cluster import SIGCONT, SIGKILL, SIGSTOP, Answer, Cluster, undisturbed, wait_for

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


class Silence(unittest.TestCase):
    IMPATIENT = {"stall_seconds": 0.5}

    def stalls(self, cluster):
        return cluster.router.metric("fathom_router_worker_stalls_total")

    def test_a_worker_that_is_stopped_loses_no_token_and_goes_on_with_nothing_old(self):
        with Cluster(("prefill", "decode", "decode"), worker=SLOW, router=self.IMPATIENT) as cluster:
            expected = [undisturbed(cluster, prompt, TOKENS) for prompt in PROMPTS]
            answers = [cluster.complete(prompt, TOKENS) for prompt in PROMPTS]
            read_some(answers, 20)
            busy = max(cluster.workers[1:], key=lambda w: w.metric("fathom_worker_sequences", state="decoding"))
            address = json.loads(busy.settings_path.read_text())["listen"]
            busy.signal(SIGSTOP)  # the system keeps its connections
            for answer, tokens in zip(answers, expected, strict=True):
                answer.read_all()
                self.assertEqual(answer.token_ids(), tokens)
                self.assertEqual(answer.finish_reason(), "length")
            self.assertGreaterEqual(cluster.router.metric("fathom_router_worker_stalls_total", worker=address), 1)
            self.assertIn("reported no step for", cluster.router.log())
            self.assertEqual(cluster.router.metric("fathom_router_workers", role="decode"), 1)

            busy.signal(SIGCONT)
            wait_for("it is back", lambda: cluster.router.metric("fathom_router_worker_up", worker=address) == 1)
            cluster.wait_blocks_free()
            for prompt, tokens in zip(PROMPTS, expected, strict=True):
                self.assertEqual(undisturbed(cluster, prompt, TOKENS), tokens)

    def test_the_cluster_page_tells_of_it(self):
        with Cluster(("both", "both"), worker=SLOW, router=self.IMPATIENT) as cluster:
            answer = cluster.complete(PROMPTS[0], TOKENS)
            read_some([answer], 5)
            busy = max(cluster.workers, key=lambda w: w.metric("fathom_worker_sequences"))
            busy.signal(SIGSTOP)
            self.assertEqual(answer.read_all().finish_reason(), "length")
            told = wait_for("the event", lambda: [event for event in json.loads(cluster.gateway.get("/cluster/state")[1])["events"]
                                                  if event["kind"] == "worker_down" and "reported no step for" in event["text"]])
            self.assertEqual(told[0]["worker"], json.loads(busy.settings_path.read_text())["listen"])

    def test_one_whose_step_takes_longer_than_the_patience_says_so_and_comes_to_its_end(self):
        # A step of its only prompt takes 2 s, and nobody told the router to wait so long.
        slow = {"fake": {"step_token_us": 20_000}, "prefix_cache": False} | self.IMPATIENT
        with Cluster(("both",), worker=slow, router=self.IMPATIENT) as cluster:
            worker, prompt = cluster.workers[0], [3 + k % 400 for k in range(100)]
            connection, read = Deaths.start_without_reading(cluster, prompt)
            wait_for("it is not ready", lambda: worker.get("/health/ready") == (503, "a step does not return\n"))
            wait_for("the metric tells for how long", lambda: worker.metric("fathom_worker_step_running_seconds") > 0.5)
            answer = read()
            connection.close()
            self.assertEqual(answer.finish_reason(), "length")
            self.assertEqual(undisturbed(cluster, prompt, 20), answer.token_ids())
            self.assertGreaterEqual(self.stalls(cluster), 1)
            self.assertIn("a step does not return", worker.log())
            self.assertIn("the step has returned after all", worker.log())
            self.assertIn("has not returned for", cluster.router.log())
            self.assertTrue(worker.ready())


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
