"""Is an answer a function of the request alone? The same seed gives the same tokens alone or in a crowd, split over workers or not,
with steps begun ahead or one by one, after a transfer that arrived damaged, and after giving way for lack of memory.
"""
import unittest

import cases
from cluster import Cluster, undisturbed, wait_for

ASKED = [([3 + (i * 17 + k) % 400 for k in range(4 + 9 * i)], {"temperature": 1.0, "seed": 40 + i, "top_p": 0.9}) for i in range(12)]
TOKENS = 60


def alone(cluster):
    return [undisturbed(cluster, prompt, TOKENS, **options) for prompt, options in ASKED]


def together(cluster, tokens=TOKENS):
    answers = [cluster.complete(prompt, tokens, **options) for prompt, options in ASKED]
    return [answer.read_all().token_ids() for answer in answers]


class Sameness(unittest.TestCase):
    def test_the_crowd_and_the_workers_do_not_show(self):
        expected = None
        for roles, ahead in ((("both",), "off"), (("prefill", "decode"), "on"), (("prefill", "both", "decode"), "on")):
            with Cluster(roles, engine="model", worker={"kv_memory_mb": 64, "steps_ahead": ahead}) as cluster:
                for answers in (alone(cluster), together(cluster)):
                    expected = expected or answers
                    self.assertEqual(answers, expected, roles)
                begun = sum(worker.metric("fathom_worker_steps_ahead_total") for worker in cluster.workers)
                self.assertEqual(begun > 0, ahead == "on", begun)
                cluster.wait_blocks_free()

    def test_steps_ahead_do_not_show_in_groups_of_ranks(self):
        for layout, ranks in (({"tensor_parallel": 2}, 1), ({}, 2)):
            expected = None
            for ahead in ("off", "on"):
                settings = {"kv_memory_mb": 64, "steps_ahead": ahead} | layout
                with Cluster(("both",), engine="model", worker=settings, ranks=ranks) as cluster:
                    answers = together(cluster)
                    expected = expected or answers
                    self.assertEqual(answers, expected, layout)
                    worker = cluster.workers[0]
                    labels = [{"rank": str(rank)} for rank in range(ranks)] if ranks > 1 else [{}]
                    begun = sum(worker.metric("fathom_worker_steps_ahead_total", **label) for label in labels)
                    self.assertEqual(begun > 0, ahead == "on", begun)
                    cluster.wait_blocks_free()

    def test_a_damaged_transfer_is_noticed_and_made_again(self):
        with Cluster(("prefill", "decode")) as cluster:
            expected = together(cluster)
        with Cluster(("prefill", "decode"), worker={"fake": {"damage_every": 11}}) as cluster:
            self.assertEqual(together(cluster), expected)
            wait_for("a transfer failed", lambda: cluster.router.metric("fathom_router_transfer_failures_total") > 0, 20)
            cluster.wait_blocks_free()

    def test_giving_way_for_lack_of_memory_does_not_show(self):
        with Cluster(("prefill", "decode")) as cluster:
            expected = together(cluster, 300)
        # Each grows to about 22 blocks of 16 tokens, and 40 hold not even two of the twelve.
        crowded = {"kv_blocks": 40, "steps_ahead": "on"}
        with Cluster(("prefill", "decode"), worker=crowded, router={"lease_tokens": 8}) as cluster:
            self.assertEqual(together(cluster, 300), expected)
            wait_for("somebody gave way", lambda: cluster.router.metric("fathom_router_preemptions_total") > 0, 20)
            cluster.wait_blocks_free()


if __name__ == "__main__":
    cases.main()
