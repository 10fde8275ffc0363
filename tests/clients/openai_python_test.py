"""Does the official OpenAI Python client work, unchanged? Streams, whole answers, completions, models, and its error classes."""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import openai  # noqa: E402

import cases  # noqa: E402
from cluster import TINY, Cluster, shown  # noqa: E402

CHAT = json.loads((TINY / "e2e.json").read_text())["cases"][0]
GREEDY = json.loads((TINY / "cases.json").read_text())["prompts"][1]
EXTRA = {"ignore_eos": True, "skip_special_tokens": False}


class OpenAIPython(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(("prefill", "decode"), engine="model", worker={"kv_memory_mb": 64}))
        cls.client = openai.OpenAI(base_url=cls.cluster.url, api_key="any", max_retries=0)

    def chat(self, **options):
        return self.client.chat.completions.create(model="test-model", messages=CHAT["messages"], temperature=0,
                                                   max_tokens=len(CHAT["greedy_ids"]), extra_body=EXTRA, **options)

    def test_chat_in_one_piece(self):
        answer = self.chat()
        choice = answer.choices[0]
        thought = getattr(choice.message, "reasoning_content", None) or ""
        self.assertEqual(thought + (choice.message.content or ""), shown(CHAT["text"]))
        self.assertEqual(choice.finish_reason, "length")
        self.assertEqual(answer.usage.prompt_tokens, len(CHAT["prompt_ids"]))
        self.assertEqual(answer.object, "chat.completion")

    def test_chat_streamed(self):
        text, reasons, usage = "", [], None
        for chunk in self.chat(stream=True, stream_options={"include_usage": True}):
            for choice in chunk.choices:
                text += (getattr(choice.delta, "reasoning_content", None) or "") + (choice.delta.content or "")
                reasons += [choice.finish_reason] if choice.finish_reason else []
            usage = chunk.usage or usage
        self.assertEqual(text, shown(CHAT["text"]))
        self.assertEqual(reasons, ["length"])
        self.assertEqual(usage.completion_tokens, len(CHAT["greedy_ids"]))

    def test_the_stream_helper_accumulates(self):
        with self.client.chat.completions.stream(model="test-model", messages=CHAT["messages"], temperature=0, max_tokens=8,
                                                 extra_body=EXTRA) as stream:
            stream.until_done()
            self.assertEqual(stream.current_completion_snapshot.choices[0].finish_reason, "length")

    def test_several_choices_with_logprobs(self):
        answer = self.client.completions.create(model="test-model", prompt=GREEDY["tokens"], max_tokens=8, n=3, seed=5, logprobs=2,
                                                extra_body={"ignore_eos": True})
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])
        for choice in answer.choices:
            self.assertEqual(len(choice.logprobs.token_logprobs), 8)
            # Keyed by text, so different tokens that read alike share an entry.
            self.assertTrue(all(1 <= len(top) <= 3 for top in choice.logprobs.top_logprobs))
        self.assertEqual(answer.usage.completion_tokens, 24)

    def test_a_seed_gives_the_same_answer_again(self):
        answers = [self.chat_sampled(seed) for seed in (1, 2, 1)]
        self.assertEqual(answers[0], answers[2])
        self.assertNotEqual(answers[0], answers[1])

    def chat_sampled(self, seed):
        answer = self.client.chat.completions.create(model="test-model", messages=CHAT["messages"], temperature=1.5, seed=seed,
                                                     max_tokens=20, extra_body=EXTRA)
        return answer.choices[0].message

    def test_completions_of_token_ids(self):
        answer = self.client.completions.create(model="test-model", prompt=GREEDY["tokens"], max_tokens=32, temperature=0,
                                                extra_body={"ignore_eos": True, "return_token_ids": True})
        self.assertEqual(answer.choices[0].token_ids, GREEDY["greedy"])
        self.assertEqual(answer.object, "text_completion")

    def test_models(self):
        models = list(self.client.models.list())
        self.assertEqual([model.id for model in models], ["test-model"])
        self.assertEqual(self.client.models.retrieve("test-model").id, "test-model")

    def test_errors_have_their_classes(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.chat.completions.create(model="nobody", messages=CHAT["messages"])
        self.assertEqual(caught.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(
                model="test-model", messages=CHAT["messages"], temperature=9)
        self.assertEqual(caught.exception.param, "temperature")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.completions.create(model="test-model", prompt=[5] * 100_000, max_tokens=1)
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError):
            self.client.chat.completions.create(model="test-model", messages=CHAT["messages"],
                                                response_format={"type": "json_object"})
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model="test-model", input="text")

    def test_a_client_that_stops_reading_frees_its_blocks(self):
        stream = self.client.completions.create(model="test-model", prompt=GREEDY["tokens"], max_tokens=900, stream=True,
                                                extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        self.cluster.wait_blocks_free()


if __name__ == "__main__":
    cases.main()
