"""Does the second layout serve? One process of several ranks that share experts shows itself as several workers: streams land on
all of them, the tokens are those of a whole worker, and a process that dies takes nothing with it.
"""
import unittest

import cases
from cluster import SIGKILL, SIGTERM, Cluster, undisturbed, wait_for

TOKENS = 600  # long enough that the streams overlap on a slow machine
PROMPTS = [[3 + (i * 29 + k) % 400 for k in range(6 + 11 * i)] for i in range(6)]
WORKER = {"kv_memory_mb": 64}


def cluster_of(roles, more=None, **options):
    return Cluster(roles, engine="model", worker=WORKER | (more or {}), **options)


def generated(worker, rank):
    return worker.metric("fathom_worker_tokens_total", kind="generated", rank=str(rank))


class ExpertParallel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with cluster_of(("both",)) as cluster:
            cls.expected = [undisturbed(cluster, prompt, TOKENS) for prompt in PROMPTS]

    def expect_all(self, answers):
        for answer, tokens in zip(answers, self.expected, strict=True):
            answer.read_all()
            self.assertTrue(answer.done, answer.events[-1:])
            self.assertEqual(answer.token_ids(), tokens)

    def test_streams_land_on_every_rank_and_have_the_tokens_of_a_whole_worker(self):
        with cluster_of(("both",), ranks=2) as cluster:
            worker = cluster.workers[0]
            wait_for("both ranks are workers", lambda: cluster.router.metric("fathom_router_workers", role="decode") == 2)
            self.expect_all([cluster.complete(prompt, TOKENS) for prompt in PROMPTS])
            for rank in (0, 1):
                self.assertGreater(generated(worker, rank), 0)
                self.assertGreater(worker.metric("fathom_worker_kv_blocks", rank=str(rank)), 0)
            self.assertEqual(generated(worker, 0) + generated(worker, 1), TOKENS * len(PROMPTS))
            cluster.wait_blocks_free()
            worker.signal(SIGTERM)  # both ranks drain
            self.assertEqual(worker.wait(), 0)

    def test_prompts_and_answers_on_processes_of_several_ranks_move_between_them(self):
        with cluster_of(("prefill", "decode"), ranks=2) as cluster:
            self.expect_all([cluster.complete(prompt, TOKENS) for prompt in PROMPTS])
            cluster.wait_blocks_free()

    def test_a_process_that_dies_is_recovered_by_the_ranks_of_another(self):
        with cluster_of(("both", "both"), ranks=2) as cluster:
            answers = [cluster.complete(prompt, TOKENS) for prompt in PROMPTS]
            for answer in answers:
                while not answer.token_ids():
                    self.assertIsNotNone(answer.next(), answer.events[-1:])
            victim = max(cluster.workers, key=lambda w: w.metric("fathom_worker_sequences"))
            self.assertGreater(victim.metric("fathom_worker_sequences"), 0)
            victim.signal(SIGKILL)
            victim.wait()
            self.expect_all(answers)
            wait_for("somebody was placed again", lambda: cluster.router.metric("fathom_router_recoveries_total") > 0)
            cluster.wait_blocks_free()

    def test_what_can_not_be_is_refused_by_its_name(self):
        for settings, field in (({"expert_parallel": 3}, "expert_parallel"),
                                ({"expert_parallel": 2, "tensor_parallel": 2}, "tensor_parallel"),
                                ({"expert_parallel": 2, "advertise": "host:1"}, "advertise"),
                                ({"expert_parallel": 2, "engine": "fake"}, "expert_parallel")):
            with cluster_of(("both",), ranks=settings["expert_parallel"], wait=False, more=settings) as cluster:
                worker = cluster.workers[0]
                self.assertNotEqual(worker.wait(), 0)
                self.assertIn(field, worker.log())


if __name__ == "__main__":
    cases.main()
