"""What if a worker, or the way between two of them, lets the cluster down? Damaged transfers are found and computed again, a
real model that is killed in mid-answer is continued to the very token, and a group of processes fails and comes back as one.
"""
import json
import unittest

import cases
from cluster import SIGKILL, SIGTERM, TINY, Cluster, free_ports, undisturbed, wait_for

GREEDY = json.loads((TINY / "cases.json").read_text())["prompts"]
PROMPTS = [[3 + (i * 7 + k) % 400 for k in range(5 + 29 * i)] for i in range(6)]
TOKENS = 60
MODEL = {"engine": "model", "model": str(TINY), "compute": "float32", "tensor_parallel": 2, "kv_memory_mb": 64}


class Damage(unittest.TestCase):
    def test_damaged_blocks_cost_time_but_no_token(self):
        with Cluster(("prefill", "decode")) as cluster:
            expected = [undisturbed(cluster, prompt, TOKENS) for prompt in PROMPTS]
        with Cluster(("prefill", "decode"), worker={"fake": {"damage_every": 29}}) as cluster:
            answers = [cluster.complete(prompt, TOKENS) for prompt in PROMPTS]
            for answer, tokens in zip(answers, expected, strict=True):
                answer.read_all()
                self.assertEqual(answer.token_ids(), tokens)
                self.assertEqual(answer.finish_reason(), "length")
            self.assertGreater(cluster.by_role("decode").metric("fathom_worker_transfer_failures_total"), 0)
            cluster.wait_blocks_free()

    def test_a_way_that_damages_everything_is_an_error_not_a_hang(self):
        with Cluster(("prefill", "decode"), worker={"fake": {"damage_every": 1}}) as cluster:
            status, body, _ = cluster.post("/v1/completions", {"model": "test-model", "prompt": [5, 6, 7], "max_tokens": 99})
            self.assertEqual(status, 503, body)
            cluster.wait_blocks_free()


class Killed(unittest.TestCase):
    def test_a_real_decode_worker_that_dies_is_continued_to_the_token(self):
        with Cluster(("prefill", "decode"), engine="model", worker=MODEL) as cluster:
            decode = cluster.by_role("decode")
            for _ in range(3):
                before = decode.metric("fathom_worker_tokens_total", kind="generated")
                answers = [cluster.complete(case["tokens"], len(case["greedy"])) for case in GREEDY]
                wait_for("it decodes", lambda: decode.metric("fathom_worker_tokens_total", kind="generated") > before)
                decode.signal(SIGKILL)
                decode.wait()
                decode.start()
                for case, answer in zip(GREEDY, answers, strict=True):
                    self.assertEqual(answer.read_all().token_ids(), case["greedy"], case["id"])
                wait_for("it is back", lambda: cluster.router.metric("fathom_router_workers", role="decode") == 1)
                wait_for("the gateway knows", cluster.gateway.ready)
            cluster.wait_blocks_free()


class Group(unittest.TestCase):
    """One worker of role both, two processes of one rank each."""

    def setUp(self):
        leader, http = free_ports(2)
        group = {"processes": 2, "index": 0, "leader": f"127.0.0.1:{leader}"}
        self.cluster = self.enterContext(Cluster(("both",), engine="model", worker=MODEL | {"group": group}, wait=False))
        self.leader = self.cluster.workers[0]
        self.follower = self.cluster.add("worker", "follower", MODEL | {
            "role": "both", "name": "test-model", "operations_listen": f"127.0.0.1:{http}", "group": group | {"index": 1}}, http)

    def start(self):
        self.follower.start()
        self.cluster.wait_ready()

    def test_it_waits_for_all_its_processes_and_then_gives_golden_tokens(self):
        wait_for("the leader is alive", lambda: self.leader.get("/health/live")[0] == 200)
        status, why = self.leader.get("/health/ready")
        self.assertEqual((status, "loading" in why), (503, True), why)
        self.start()
        answers = [self.cluster.complete(case["tokens"], len(case["greedy"])) for case in GREEDY]
        for case, answer in zip(GREEDY, answers, strict=True):
            self.assertEqual(answer.read_all().token_ids(), case["greedy"], case["id"])
        self.leader.signal(SIGTERM)
        self.assertEqual((self.leader.wait(), self.follower.wait()), (0, 0), self.follower.log())

    def test_a_dead_follower_ends_the_group_and_a_new_group_loses_no_token(self):
        self.start()
        longest = 200
        expected = [undisturbed(self.cluster, case["tokens"], longest) for case in GREEDY[:4]]
        answers = [self.cluster.complete(case["tokens"], longest) for case in GREEDY[:4]]
        for answer in answers:
            self.assertIsNotNone(answer.next())
        self.follower.signal(SIGKILL)
        self.follower.wait()
        self.assertEqual(self.leader.wait(), 1)
        lines = [line for line in self.leader.log().splitlines() if "group is broken" in line]
        self.assertEqual(len(lines), 1, self.leader.log())
        self.leader.start()
        self.start()
        for answer, tokens in zip(answers, expected, strict=True):
            self.assertEqual(answer.read_all().token_ids(), tokens)
        self.cluster.wait_blocks_free()


if __name__ == "__main__":
    cases.main()
