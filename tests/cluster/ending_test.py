"""How does a cluster say no, and how does it end? A full queue answers 429 with a time to wait; SIGTERM lets what runs come to
its end and refuses what is new; a second signal kills; a router or worker that drains loses nobody's tokens.
"""
import json
import unittest

import cases
from cluster import SIGINT, SIGTERM, Cluster, undisturbed, wait_for
from recovery_test import PROMPTS, SLOW, TOKENS, read_some


class Refusals(unittest.TestCase):
    def test_a_full_queue_is_429_with_a_time_to_wait(self):
        slow = {"fake": {"step_ms": 20}, "rows_max": 1}
        with Cluster(("both",), worker=slow, router={"queue_max": 2}) as cluster:
            answers = [cluster.complete([5, 6, 7], 400)]
            read_some(answers, 1)
            connections = []
            for _ in range(2):
                connection = cluster.connect()
                connection.request("POST", "/v1/completions", json.dumps({"model": "test-model", "prompt": [5], "max_tokens": 5}),
                                   {"content-type": "application/json"})
                connections.append(connection)
            wait_for("two requests wait", lambda: cluster.router.metric("fathom_router_requests_waiting") == 2)
            status, body, headers = cluster.post("/v1/completions", {"model": "test-model", "prompt": [5], "max_tokens": 5})
            self.assertEqual(status, 429, body)
            self.assertGreaterEqual(int(headers["Retry-After"]), 1)
            self.assertEqual((body["error"]["type"], body["error"]["code"]), ("rate_limit_error", "rate_limit_exceeded"))
            self.assertRegex(body["error"]["message"], rf"try again in {headers['Retry-After']} s$")
            streamed = cluster.stream("/v1/completions", {"model": "test-model", "prompt": [5], "max_tokens": 5})
            self.assertEqual(streamed.status, 429)
            self.assertGreaterEqual(int(streamed.response.headers["Retry-After"]), 1)
            streamed.close()
            answers[0].close()
            for connection in connections:
                self.assertEqual(connection.getresponse().status, 200)
            cluster.wait_blocks_free()

    def test_a_cluster_without_workers_is_not_ready_and_says_so(self):
        with Cluster((), wait=False) as cluster:
            wait_for("the gateway answers", lambda: cluster.gateway.get("/health/live")[0] == 200)
            status, body = cluster.gateway.get("/health/ready")
            self.assertEqual(status, 503, body)


class Endings(unittest.TestCase):
    def drain(self, roles, pick, refuses=False):
        with Cluster(roles, worker=SLOW) as cluster:
            expected = [undisturbed(cluster, prompt, TOKENS) for prompt in PROMPTS]
            answers = [cluster.complete(prompt, TOKENS) for prompt in PROMPTS]
            read_some(answers, 10)
            victim = pick(cluster)
            victim.signal(SIGTERM)
            if refuses:
                wait_for("it says it is not ready", lambda: victim.get("/health/ready")[0] != 200)
            for answer, tokens in zip(answers, expected, strict=True):
                self.assertEqual(answer.read_all().token_ids(), tokens)
            self.assertEqual(victim.wait(), 0, victim.log())

    def test_a_gateway_drains(self):
        self.drain(("prefill", "decode"), lambda cluster: cluster.gateway, refuses=True)

    def test_a_router_drains(self):
        self.drain(("prefill", "decode"), lambda cluster: cluster.router)

    def test_a_decode_worker_drains(self):
        self.drain(("prefill", "decode", "decode"), lambda cluster: cluster.workers[1])

    def test_a_prefill_worker_drains(self):
        self.drain(("prefill", "prefill", "decode"), lambda cluster: cluster.workers[0])

    def test_a_second_signal_kills(self):
        with Cluster(("both",), worker={"fake": {"step_ms": 50}}) as cluster:
            answer = cluster.complete([5, 6, 7], 3000)
            read_some([answer], 1)
            for service in (cluster.gateway, cluster.router, *cluster.workers):
                service.signal(SIGTERM)
                wait_for("the first signal was heard", lambda s=service: "draining" in s.log())
                self.assertTrue(service.alive(), service.log())
                service.signal(SIGINT)
                self.assertEqual(service.wait(), 130, service.log())

    def test_an_idle_service_ends_at_once(self):
        with Cluster(("prefill", "decode")) as cluster:
            for service in (cluster.gateway, cluster.router, *cluster.workers):
                service.signal(SIGTERM)
                self.assertEqual(service.wait(), 0, service.log())


if __name__ == "__main__":
    cases.main()
