"""Does a prompt that begins like an earlier one get the same answer with less work, and does usage say so? Through every service,
with workers that do both and with separate ones.
"""
import unittest

import cases
from cluster import Cluster

PROMPT = [3 + (i * i * 7 + i) % 400 for i in range(400)]


def ask(cluster, prompt, **options):
    answer = cluster.complete(prompt, 24, temperature=1.0, seed=11, **options).read_all()
    return answer.token_ids(), answer.usage()["prompt_tokens_details"]["cached_tokens"]


def hits(cluster):
    return sum(worker.metric("fathom_worker_prefix_cache_hits_total") for worker in cluster.workers)


def computed(cluster):
    return sum(worker.metric("fathom_worker_tokens_total", kind="prompt") for worker in cluster.workers)


class Prefix(unittest.TestCase):
    def repeat(self, roles, **settings):
        with Cluster(roles, **settings) as cluster:
            fresh, nothing = ask(cluster, PROMPT)
            self.assertEqual(nothing, 0)
            work = computed(cluster)
            again, cached = ask(cluster, PROMPT)
            self.assertEqual(again, fresh)
            self.assertEqual(cached, 384)  # 399 tokens may be cached; usage counts in units of 64
            self.assertLess(computed(cluster) - work, 64)
            longer, cached = ask(cluster, PROMPT + [5, 6, 7])
            self.assertEqual(cached, 384)
            self.assertGreaterEqual(cluster.gateway.metric("vllm:prefix_cache_hits_total"), 2 * 384)
            cluster.wait_blocks_free()
        with Cluster(roles, **settings | {"worker": settings.get("worker", {}) | {"prefix_cache": False}}) as cluster:
            self.assertEqual(ask(cluster, PROMPT), (fresh, 0))
            self.assertEqual(ask(cluster, PROMPT), (fresh, 0))
            self.assertEqual(ask(cluster, PROMPT + [5, 6, 7]), (longer, 0))

    def test_workers_that_do_both(self):
        self.repeat(("both",))

    def test_prefill_and_decode_workers(self):
        self.repeat(("prefill", "decode"))

    def test_a_model_split_and_tensor_parallel(self):
        self.repeat(("prefill", "decode"), engine="model", worker={"kv_memory_mb": 64, "tensor_parallel": 2})

    def test_a_burst_of_one_system_prompt_computes_it_about_once(self):
        with Cluster(("prefill", "decode"), worker={"kv_blocks": 2048}) as cluster:
            prompts = [PROMPT + [7 + i, 9, 300 - i] for i in range(16)]
            answers = [cluster.complete(prompt, 8, temperature=0) for prompt in prompts]
            together = [answer.read_all().token_ids() for answer in answers]
            self.assertGreater(hits(cluster), 8 * 384)
            self.assertLess(computed(cluster), 6 * 400)
            self.assertEqual(together, [cluster.complete(prompt, 8, temperature=0).read_all().token_ids() for prompt in prompts])
            cluster.wait_blocks_free()


if __name__ == "__main__":
    cases.main()
