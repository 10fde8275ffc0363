"""Is Minnow still right, and does every way to run it say the same? A short form of bench/quality.py with `fathom eval`: thresholds
on held-out questions, then the same questions of clusters that differ in one thing. Where the engine promises the same text
(docs/quality.md) it is demanded to the last character; elsewhere the accuracy may not differ by more than chance explains.
"""
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import cases
from cluster import PATIENCE, PROGRAM, wait_for
from quality import BFLOAT16, GUESSING, drafts, evaluate, export, start

# Every topic, and prompts of a thousand tokens: many blocks to move and to find again.
COMPARED = ("--per-task", 1, "--task", "arithmetic", "letters", "dates", "recall_inline", "told", "not_told", "recall_long_1k", "formats",
            "talk")
GATE = ("--per-task", 8, "--task", "arithmetic", "recall_inline", "told", "not_told")
SAMPLED = ("--temperature", 1, "--seed", 11)


class Eval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="fathom-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.answers, cls.sampled = cls.folder / "answers.jsonl", cls.folder / "sampled.jsonl"
        cls.plain = cls.enterClassContext(start())
        code, cls.first = evaluate(cls.plain, *COMPARED, "--answers", cls.answers)
        assert code == 0, cls.first
        code, sampled = evaluate(cls.plain, *COMPARED, *SAMPLED, "--answers", cls.sampled)
        assert code == 0, sampled

    def same(self, cluster, *words, against=None):
        code, result = evaluate(cluster, *COMPARED, "--against", against or self.answers, "--same-text", *words)
        self.assertEqual(result["against"]["differences"], [])
        self.assertEqual((code, result["against"]["pairs"]), (0, self.first["chosen"]))
        return result

    def as_good(self, cluster):
        code, result = evaluate(cluster, *COMPARED, "--against", self.answers)
        self.assertEqual(code, 0, result)
        self.assertEqual(result["against"]["pairs"], self.first["chosen"])
        low, high = result["against"]["accuracy_difference_interval"]
        self.assertTrue(low <= 0 <= high, result["against"])
        self.assertGreaterEqual(result["against"]["mcnemar_p"], 0.05, result["against"])
        return result

    def test_minnow_passes_the_gate(self):
        code, result = evaluate(self.plain, *GATE, "--at-least", "arithmetic=95", "recall=95")
        self.assertEqual(code, 0, result["thresholds"])
        self.assertEqual([verdict["met"] for verdict in result["thresholds"]], [True] * 2)
        self.assertEqual(result["total"]["failed"], 0)

    def test_a_prompt_found_in_the_cache_is_answered_the_same(self):
        result = self.same(self.plain)
        self.assertGreater(result["tokens"]["cached"], result["tokens"]["prompt"] / 2, "nothing was found again")
        self.same(self.plain, "--whole", "--concurrency", 1)
        with start(prefix_cache=False) as cluster:
            self.assertEqual(self.same(cluster)["tokens"]["cached"], 0)

    def test_prefill_and_decode_apart_answer_the_same(self):
        with start(("prefill", "decode")) as cluster:
            self.same(cluster)
            self.same(cluster, *SAMPLED, against=self.sampled)

    def test_guessing_ahead_does_not_show_and_pays(self):
        with start(("prefill", "decode"), **GUESSING) as cluster:
            self.same(cluster)
            guessed, accepted = drafts(cluster)
            self.assertGreater(guessed, self.first["tokens"]["completion"] / 4)
            self.assertGreaterEqual(accepted / guessed, 0.6)

    def test_two_ranks_are_as_good_as_one(self):
        with start(tensor_parallel=2) as cluster:
            self.as_good(cluster)

    def test_weights_in_bf16_and_compute_in_bf16_are_as_good(self):
        with start(model=export(self.folder), **BFLOAT16) as cluster:
            self.as_good(cluster)

    def test_other_texts_are_seen_as_other(self):
        code, result = evaluate(self.plain, *COMPARED, "--temperature", 1.5, "--seed", 1, "--against", self.answers, "--same-text")
        self.assertEqual(code, 1)
        against = result["against"]
        self.assertLess(against["same_text"], against["pairs"])
        self.assertEqual(against["differences"][0].keys(), {"task", "question", "part", "character", "here", "there"})

    def test_an_interrupt_shows_what_was_asked(self):
        out, kept = self.folder / "interrupted.json", self.folder / "interrupted.jsonl"
        with open(out, "wb") as file:
            run = subprocess.Popen([PROGRAM, "eval", "--url", f"http://127.0.0.1:{self.plain.gateway.http_port}", "--json", "--concurrency", "1",
                                    "--answers", kept], stdout=file, stderr=subprocess.PIPE, text=True)
        self.assertIn(" right, ", run.stderr.readline(), "a tenth is over")
        run.send_signal(signal.SIGINT)
        self.assertEqual(run.wait(PATIENCE), 130)
        run.stderr.close()
        result = json.loads(out.read_text())
        self.assertTrue(result["interrupted"])
        self.assertTrue(0 < result["total"]["answered"] < result["chosen"])
        self.assertEqual(len(kept.read_text().splitlines()), result["total"]["answered"] + result["total"]["failed"])
        wait_for("the question under way is dropped", lambda: self.plain.gateway.get("/load")[1].count(":0"), PATIENCE)

    def test_a_model_nobody_has_is_exit_code_2(self):
        code, result = evaluate(self.plain, "--model", "gpt-0")
        self.assertEqual(code, 2)
        self.assertIn("404 ", result["error"]["message"])


if __name__ == "__main__":
    cases.main()
