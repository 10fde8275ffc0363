"""Does every model family say through the whole cluster what its reference says? Golden prompts as token ids through HTTP, all at
once, with prompts read on one worker and continued on another.
"""
import json
import unittest

import cases
from cluster import GOLDEN, Cluster

# Folder -> shards of each worker: what divides its heads.
FAMILIES = {"v2-like": 2, "v2-lite-like": 4, "llama-tiny": 2, "llama-tiny-tied": 4, "qwen2-tiny": 2, "deepseek-coder-like": 1}


class Families(unittest.TestCase):
    def answers_are_golden(self, name, tensor_parallel):
        prompts = json.loads((GOLDEN / name / "cases.json").read_text())["prompts"]
        worker = {"compute": "float32", "tensor_parallel": tensor_parallel, "kv_memory_mb": 64}
        with Cluster(("prefill", "decode"), engine="model", model=GOLDEN / name, worker=worker) as cluster:
            answers = [cluster.complete(case["tokens"], len(case["greedy"])) for case in prompts]
            for case, answer in zip(prompts, answers, strict=True):
                answer.read_all()
                self.assertEqual((answer.status, answer.done), (200, True))
                self.assertEqual(answer.token_ids(), case["greedy"], case["id"])
            self.assertGreater(cluster.by_role("decode").metric("fathom_worker_transfer_bytes_total", direction="received"), 0)
            cluster.wait_blocks_free()

    def test_greedy_ids_are_golden(self):
        for name, tensor_parallel in FAMILIES.items():
            with self.subTest(name):
                self.answers_are_golden(name, tensor_parallel)


if __name__ == "__main__":
    cases.main()
