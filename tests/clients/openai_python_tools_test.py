"""Does the official OpenAI Python client call tools? The model that ships really calls: whole and streamed, through its own
helpers, with the result going back, required, and as functions were called before."""
import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import openai  # noqa: E402

import cases  # noqa: E402
from cluster import ROOT, Cluster  # noqa: E402


def tool(name, description, **properties):
    return {"type": "function", "function": {"name": name, "description": description, "parameters": {
        "type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}, "required": list(properties)}}}


WEATHER = tool("get_weather", "Get the current weather in a city", city="string")
TIMER = tool("set_timer", "Set a timer in minutes.", minutes="integer")
QUESTION = {"role": "user", "content": "What's the weather like in Oslo today?"}


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(("both",), engine="model", model=ROOT / "models/minnow",
                                                    worker={"kv_memory_mb": 64}))
        cls.client = openai.OpenAI(base_url=cls.cluster.url, api_key="any", max_retries=0)

    def ask(self, messages=(QUESTION,), **options):
        options = {"tools": [WEATHER, TIMER]} | options
        return self.client.chat.completions.create(model="test-model", messages=list(messages), temperature=0, max_tokens=200, **options)

    def check_call(self, call, name="get_weather", arguments=None):
        self.assertTrue(call.id.startswith("call_"))
        self.assertEqual(call.type, "function")
        self.assertEqual(call.function.name, name)
        self.assertEqual(json.loads(call.function.arguments), arguments or {"city": "Oslo"})

    def test_a_call_and_its_result(self):
        choice = self.ask().choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assertIsNone(choice.message.content)
        self.assertEqual(len(choice.message.tool_calls), 1)
        call = choice.message.tool_calls[0]
        self.check_call(call)
        answer = self.ask([QUESTION, choice.message, {"role": "tool", "tool_call_id": call.id, "content": "rain, 7 degrees"}]).choices[0]
        self.assertEqual(answer.finish_reason, "stop")
        self.assertIsNone(answer.message.tool_calls)
        self.assertIn("rain, 7 degrees", answer.message.content)

    def test_a_streamed_call_is_the_whole_one(self):
        with self.client.chat.completions.stream(model="test-model", messages=[QUESTION], temperature=0, max_tokens=200,
                                                 tools=[WEATHER, TIMER]) as stream:
            kinds = [event.type for event in stream]
            answer = stream.get_final_completion().choices[0]
        self.assertIn("tool_calls.function.arguments.delta", kinds)
        self.assertEqual(kinds.count("tool_calls.function.arguments.done"), 1)
        self.assertEqual(answer.finish_reason, "tool_calls")
        self.check_call(answer.message.tool_calls[0])

    def test_no_call_where_no_tool_fits(self):
        answer = self.ask([{"role": "user", "content": "What is 17 plus 25?"}]).choices[0]
        self.assertEqual(answer.finish_reason, "stop")
        self.assertIsNone(answer.message.tool_calls)
        self.assertIn("42", answer.message.content)

    def test_a_choice_of_none_calls_nothing(self):
        answer = self.ask(tool_choice="none").choices[0]
        self.assertIsNone(answer.message.tool_calls)
        self.assertEqual(answer.finish_reason, "stop")

    def test_a_required_call_is_made_without_thinking(self):
        for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
            answer = self.ask(tool_choice=choice, extra_body={"thinking": {"type": "disabled"}}).choices[0]
            self.assertEqual(answer.finish_reason, "tool_calls")
            self.check_call(answer.message.tool_calls[0])
            self.assertFalse(getattr(answer.message, "reasoning_content", None))

    def test_functions_as_they_were_called_before(self):
        answer = self.ask(tools=openai.NOT_GIVEN, functions=[WEATHER["function"]]).choices[0]
        self.assertEqual(answer.finish_reason, "function_call")
        self.assertEqual(answer.message.function_call.name, "get_weather")
        said = self.ask([QUESTION, answer.message, {"role": "function", "name": "get_weather", "content": "snow"}],
                        tools=openai.NOT_GIVEN, functions=[WEATHER["function"]]).choices[0]
        self.assertIn("snow", said.message.content)

    def test_a_call_cut_short_says_so(self):
        answer = self.client.chat.completions.create(model="test-model", messages=[QUESTION], temperature=0, max_tokens=28, tools=[WEATHER])
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.completion_tokens, 28)

    def test_thinking_is_off_when_asked(self):
        answer = self.ask([{"role": "user", "content": "What is 3 plus 4?"}], tools=openai.NOT_GIVEN, reasoning_effort="none")
        self.assertEqual(answer.usage.completion_tokens_details.reasoning_tokens, 0)
        self.assertIn("7", answer.choices[0].message.content)

    def test_what_is_refused_has_its_class(self):
        for options, param in (({"tool_choice": "required"}, "tool_choice"),
                               ({"tools": [WEATHER, WEATHER]}, "tools[1]"),
                               ({"messages": [QUESTION, {"role": "tool", "tool_call_id": "x", "content": "y"}]},
                                "messages[1].tool_call_id")):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.ask(**options)
            self.assertEqual(caught.exception.param, param)


if __name__ == "__main__":
    cases.main()
