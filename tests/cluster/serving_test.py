"""Does the whole cluster say what the reference implementations say? Golden prompts through HTTP, exact to the token and the
character, however the cluster is made up: split or not, one process or a group of two over TCP, streamed or not.
"""
import json
import unittest

import cases
from cluster import GOLDEN, TINY, Cluster, free_ports, shown

GREEDY = json.loads((TINY / "cases.json").read_text())["prompts"]
CHATS = json.loads((TINY / "e2e.json").read_text())["cases"]
LONG = GOLDEN / "v3-longctx"


def golden_cluster(roles, tensor_parallel=2, model=TINY, **options):
    worker = {"compute": "float32", "tensor_parallel": tensor_parallel, "kv_memory_mb": 64} | options.pop("worker", {})
    return Cluster(roles, engine="model", model=model, worker=worker, **options)


class Answers:
    """The cases, for every make-up below."""

    roles = ()
    options = {}

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(golden_cluster(cls.roles, **cls.options))

    def tearDown(self):
        self.cluster.wait_blocks_free()

    def test_greedy_ids_are_golden(self):
        """All prompts at once, so they share steps."""
        answers = [self.cluster.complete(case["tokens"], len(case["greedy"])) for case in GREEDY]
        for case, answer in zip(GREEDY, answers, strict=True):
            answer.read_all()
            self.assertEqual((answer.status, answer.done), (200, True))
            self.assertEqual(answer.token_ids(), case["greedy"], case["id"])
            self.assertEqual(answer.finish_reason(), "length")
            self.assertEqual(answer.usage()["prompt_tokens"], len(case["tokens"]))
            self.assertEqual(answer.usage()["completion_tokens"], len(case["greedy"]))

    def test_a_batched_prompt_answers_each(self):
        prompts = [case["tokens"] for case in GREEDY[:4]]
        status, body, _ = self.cluster.post("/v1/completions", {
            "model": "test-model", "prompt": prompts, "max_tokens": 32, "temperature": 0, "ignore_eos": True,
            "return_token_ids": True})
        self.assertEqual(status, 200, body)
        for case, choice in zip(GREEDY, body["choices"], strict=False):
            self.assertEqual(choice["token_ids"], case["greedy"], case["id"])
            self.assertEqual(choice["prompt_token_ids"], case["tokens"])

    def test_chat_text_is_golden_streamed(self):
        for case in CHATS:
            answer = self.cluster.stream("/v1/chat/completions", self.chat(case)).read_all()
            self.assertEqual((answer.status, answer.done), (200, True), answer.events[-1:])
            self.assertEqual(answer.reasoning() + answer.text(), shown(case["text"]))
            self.assertEqual(answer.token_ids(), case["greedy_ids"])
            self.assertEqual(answer.usage()["prompt_tokens"], len(case["prompt_ids"]))

    def test_chat_text_is_golden_in_one_piece(self):
        for case in CHATS:
            status, body, _ = self.cluster.post("/v1/chat/completions", self.chat(case))
            self.assertEqual(status, 200, body)
            message = body["choices"][0]["message"]
            self.assertEqual((message.get("reasoning_content") or "") + (message["content"] or ""), shown(case["text"]))
            self.assertEqual(body["usage"]["completion_tokens"], len(case["greedy_ids"]))

    def test_completion_text_is_golden_piece_by_piece(self):
        for case in CHATS:
            answer = self.cluster.complete(case["prompt_ids"], len(case["greedy_ids"]), skip_special_tokens=False).read_all()
            self.assertEqual(answer.text(), case["text"])
            self.assertEqual(answer.token_ids(), case["greedy_ids"])

    @staticmethod
    def chat(case):
        return {"model": "test-model", "messages": case["messages"], "max_tokens": len(case["greedy_ids"]), "temperature": 0,
                "ignore_eos": True, "return_token_ids": True, "skip_special_tokens": False}


class PrefillAndDecode(Answers, unittest.TestCase):
    roles = ("prefill", "decode")


class Both(Answers, unittest.TestCase):
    roles = ("both",)
    options = {"tensor_parallel": 4}


class Mixed(Answers, unittest.TestCase):
    """Shards of different numbers exchange blocks, and prompts are cut into chunks of an awkward size."""

    roles = ("prefill", "both", "decode")
    options = {"tensor_parallel": 1, "router": {"step_token_budget": 7}}


class GroupOverTcp(Answers, unittest.TestCase):
    """One worker made of two processes, with a rank each."""

    roles = ("both",)

    @classmethod
    def setUpClass(cls):
        group = {"processes": 2, "index": 0, "leader": f"127.0.0.1:{free_ports(1)[0]}"}
        cluster = golden_cluster(cls.roles, worker={"group": group}, wait=False)
        cls.cluster = cls.enterClassContext(cluster)
        settings = json.loads(cluster.workers[0].settings_path.read_text())
        http = free_ports(1)[0]
        settings |= {"group": group | {"index": 1}, "operations_listen": f"127.0.0.1:{http}"}
        cls.follower = cluster.add("worker", "follower", settings, http)
        cls.follower.start()
        cluster.wait_ready()


class LongContext(unittest.TestCase):
    def test_a_long_prompt_moves_and_continues(self):
        prompts = json.loads((LONG / "cases.json").read_text())["prompts"]
        with golden_cluster(("prefill", "decode"), model=LONG) as cluster:
            for case in prompts:
                answer = cluster.complete(case["tokens"], len(case["greedy"])).read_all()
                self.assertEqual(answer.token_ids(), case["greedy"], case["id"])
            self.assertGreater(cluster.by_role("decode").metric("fathom_worker_transfer_bytes_total", direction="received"), 0)
            cluster.wait_blocks_free()

    def test_a_checkpoint_without_a_tokenizer_serves_token_ids_and_refuses_text(self):
        with golden_cluster(("both",), model=LONG) as cluster:
            status, body, _ = cluster.post("/v1/completions", {"model": "test-model", "prompt": "text", "max_tokens": 1})
            self.assertEqual(status, 400, body)
            self.assertIn("tokenizer", body["error"]["message"])


if __name__ == "__main__":
    cases.main()
