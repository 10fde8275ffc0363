"""Does guessing ahead show in an answer? Split and whole clusters, greedy and sampled, alone and in a crowd: the tokens are those
of a cluster that does not guess, and the workers' counters say that it did.
"""
import json
import unittest

import cases
from cluster import GOLDEN, Cluster, samples, undisturbed

MODEL = GOLDEN / "v3-tiny-mtp"
# Penalties and a seed: what a step draws depends on what the same step drew before.
ASKED = [([3 + (i * 17 + k) % 400 for k in range(4 + 9 * i)],
          {"temperature": 0.7 * (i % 2), "seed": 40 + i, "frequency_penalty": 0.3 * (i % 3)}) for i in range(9)]
TOKENS = 90


def together(cluster):
    answers = [cluster.complete(prompt, TOKENS, **options) for prompt, options in ASKED]
    return [answer.read_all().token_ids() for answer in answers]


def drafts(cluster):
    counted = {"draft": 0.0, "accepted_draft": 0.0}
    for worker in cluster.workers:
        for name, _, value in samples(worker.metrics()):
            for kind in counted:
                if name == f"fathom_worker_{kind}_tokens_total":
                    counted[kind] += value
    return counted["draft"], counted["accepted_draft"]


class Speculative(unittest.TestCase):
    def answers(self, roles, **worker):
        settings = {"compute": "float32", "tensor_parallel": 2, "kv_memory_mb": 64, **worker}
        with Cluster(roles, engine="model", model=MODEL, worker=settings) as cluster:
            crowd = together(cluster)
            alone = [undisturbed(cluster, prompt, TOKENS, **options) for prompt, options in ASKED[:3]]
            counted = drafts(cluster)
            cluster.wait_blocks_free()
        self.assertEqual(alone, crowd[:3])
        return crowd, counted

    def test_split_and_whole_clusters_answer_as_without_guessing(self):
        expected, counted = self.answers(("prefill", "decode"))
        self.assertEqual(counted, (0, 0))
        for roles in (("prefill", "decode"), ("both",)):
            got, (guessed, right) = self.answers(roles, speculative="auto", speculative_tokens=2)
            self.assertEqual(got, expected, roles)
            self.assertGreater(guessed, 0, "it was tried at least")
            self.assertGreater(right, 0)
            self.assertLess(right, guessed)

    def test_a_prompt_read_here_and_continued_there_is_golden(self):
        prompts = json.loads((MODEL / "cases.json").read_text())["prompts"]
        worker = {"compute": "float32", "kv_memory_mb": 64, "speculative": "auto"}
        with Cluster(("prefill", "decode"), engine="model", model=MODEL, worker=worker) as cluster:
            answers = [cluster.complete(case["tokens"], len(case["greedy"])) for case in prompts]
            for case, answer in zip(prompts, answers, strict=True):
                self.assertEqual(answer.read_all().token_ids(), case["greedy"], case["id"])

    def test_the_fake_engine_guesses_and_answers_the_same(self):
        def run(**worker):
            with Cluster(("prefill", "decode"), worker=worker) as cluster:
                return together(cluster), drafts(cluster)

        expected, _ = run()
        for acceptance in (0.0, 0.6, 1.0):
            fake = {"draft_acceptance": acceptance}
            got, (guessed, right) = run(speculative="auto", speculative_tokens=3, fake=fake)
            self.assertEqual(got, expected, acceptance)
            self.assertGreater(guessed, 0)
            self.assertEqual(right == 0, acceptance == 0)

    def test_a_model_without_the_module_is_refused_by_name(self):
        with Cluster(("both",), engine="model", worker={"speculative": "auto"}, wait=False) as cluster:
            worker = cluster.workers[0]
            self.assertNotEqual(worker.wait(), 0)
            self.assertIn("num_nextn_predict_layers", worker.log())


if __name__ == "__main__":
    cases.main()
