"""When something goes wrong, does the chat page say what happened and what to do, and does it keep all that was typed and all that
came? A scripted server in the gateway's place cuts, garbles and refuses on demand.
"""
import pathlib
import re
import sys
import unittest

from playwright.sync_api import expect

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import cases  # noqa: E402

from accessibility import assert_accessible  # noqa: E402
from browser import Browser, assert_fits, shoot  # noqa: E402
from front import Front, answer  # noqa: E402
from talk import Chat  # noqa: E402


def half(then):
    """A behaviour: half an answer, and then something else."""
    def behave(call):
        call.begin().delta(role="assistant", content="")
        call.delta(content="The first half")
        then(call)
    return behave


def waits(call):
    """Until the test says so, or the browser leaves."""
    call.front.gate.wait(60)


def full(after):
    return lambda call: call.refuse(429, "the queue is full", "rate_limit_exceeded", "rate_limit_error", retry_after=str(after))


class Trouble(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.front = cls.enterClassContext(Front())
        cls.browser = cls.enterClassContext(Browser())

    def chat(self, *script, **options):
        self.front.plays(*script)
        chat = Chat(self.enterContext(self.browser.open(self.front.url, **options)))
        expect(chat.page.get_by_role("combobox", name="Model")).to_have_value("scripted")
        return chat

    # --- in the middle of an answer

    def test_a_cut_connection_keeps_what_came_and_offers_both_ways_on(self):
        chat = self.chat(half(lambda call: call.cut()), answer(" and the second half."))
        chat.problems.allow("net::ERR_")
        chat.say("Tell me.").done()
        expect(chat.text()).to_have_text("The first half")
        expect(chat.ending()).to_contain_text("The connection was lost in mid-answer.")
        assert_accessible(chat.page)
        shoot(chat.page, "cut")
        chat.button("Continue").click()
        expect(chat.text()).to_have_text("The first half and the second half.")
        chat.done()
        expect(chat.ending()).to_be_hidden()
        self.assertEqual(self.front.calls[1].body["messages"][-1], {"role": "assistant", "content": "The first half", "prefix": True})

    def test_tried_again_the_cut_answer_stays_as_a_version(self):
        chat = self.chat(half(lambda call: call.cut()), answer("Whole."))
        chat.problems.allow("net::ERR_")
        chat.say("Tell me.").done()
        chat.button("Try again").click()
        expect(chat.text()).to_have_text("Whole.")
        chat.done()
        chat.button("Older version").click()
        expect(chat.text()).to_have_text("The first half")

    def test_an_error_event_is_told_in_the_words_of_the_server(self):
        def fails(call):
            call.delta("error")
            call.event({"error": {"message": "a worker was lost", "type": "server_error", "param": None, "code": "internal_error"}})
            call.raw("data: [DONE]\n\n")
        chat = self.chat(half(fails))
        chat.say("Tell me.").done()
        expect(chat.text()).to_have_text("The first half")
        expect(chat.ending()).to_contain_text("The server ended the answer with an error. A worker was lost.")
        expect(chat.button("Try again")).to_be_enabled()

    def test_broken_events_are_skipped_and_told(self):
        def garbled(call):
            call.raw('data: {"choices": [\n\ndata: 7\n\n: comment\n\nnonsense\n\n').delta(content=", and more")
            call.end()
        chat = self.chat(half(garbled))
        chat.say("Tell me.").done()
        expect(chat.text()).to_have_text("The first half, and more")
        expect(chat.ending()).to_contain_text("2 pieces of this answer could not be read.")

    def test_a_reload_in_mid_answer_keeps_what_came(self):
        chat = self.chat(half(waits))
        chat.say("Tell me.")
        expect(chat.text()).to_have_text("The first half")
        chat.reload()
        expect(chat.text()).to_have_text("The first half")
        expect(chat.ending()).to_contain_text("in mid-answer. What came is kept.")
        expect(chat.button("Try again")).to_be_enabled()

    def test_stopped_with_escape_it_keeps_what_came(self):
        chat = self.chat(half(waits), answer(" and on."))
        chat.say("Tell me.")
        expect(chat.text()).to_have_text("The first half")
        expect(chat.stop).to_be_visible()
        chat.page.keyboard.press("Escape")
        chat.done()
        expect(chat.ending()).to_contain_text("Stopped.")
        expect(chat.field).to_be_focused()
        chat.button("Continue").click()
        expect(chat.text()).to_have_text("The first half and on.")

    def test_another_conversation_goes_on_meanwhile(self):
        chat = self.chat(half(lambda call: (waits(call), call.delta(content=", whole."), call.end())), answer("Second."))
        chat.say("One")
        expect(chat.text()).to_have_text("The first half")
        chat.page.keyboard.press("Control+Shift+O")
        chat.ask("Two")
        expect(chat.entries.filter(has_text="One").get_by_role("img", name="being answered")).to_be_visible()
        self.front.gate.set()
        expect(chat.entries.get_by_role("img", name="being answered")).to_have_count(0)
        chat.button("One").click()
        expect(chat.text()).to_have_text("The first half, whole.")

    # --- refused before anything came

    def test_a_full_queue_counts_down_and_the_text_waits_in_its_field(self):
        chat = self.chat(full(2), answer("Now."))
        chat.say("My question")
        expect(chat.refusal).to_contain_text("The server is busy: its queue is full.")
        again = chat.refusal.get_by_role("button", name=re.compile("Try again"))
        expect(again).to_be_disabled()
        expect(chat.field).to_have_value("My question")
        assert_accessible(chat.page)
        shoot(chat.page, "busy")
        expect(again).to_be_enabled()
        expect(again).to_have_text("Try again")
        again.click()
        expect(chat.text()).to_have_text("Now.")
        expect(chat.field).to_have_value("")
        expect(chat.refusal).to_be_hidden()
        expect(chat.page.locator("article")).to_have_count(2)

    def test_a_refused_text_does_not_replace_what_was_typed_meanwhile(self):
        chat = self.chat(lambda call: (waits(call), full(1)(call)), answer("Now."))
        chat.say("The first")
        expect(chat.stop).to_be_visible()
        chat.field.fill("The second")
        self.front.gate.set()
        expect(chat.ending()).to_contain_text("its queue is full")
        expect(chat.question()).to_contain_text("The first")
        expect(chat.field).to_have_value("The second")
        chat.button("Try again").click()
        expect(chat.text()).to_have_text("Now.")

    def test_an_answer_asked_for_again_counts_down_as_well(self):
        chat = self.chat(answer("One."), full(3), answer("Two."))
        self.assertEqual(chat.ask("My question"), "One.")
        chat.button("Ask again").click()
        expect(chat.ending()).to_contain_text("its queue is full")
        again = chat.ending().get_by_role("button", name=re.compile("Try again"))
        expect(again).to_be_disabled()
        expect(again).to_have_text(re.compile(r"^Try again in \d s$"))
        chat.page.reload()  # the server did not forget meanwhile
        expect(chat.ending()).to_contain_text("its queue is full")
        expect(again).to_be_enabled()
        expect(again).to_have_text("Try again")
        again.click()
        expect(chat.text()).to_have_text("Two.")

    def test_a_missing_key_opens_its_field_and_is_then_sent(self):
        def wants_key(call):
            given = call.headers["authorization"]
            answer("Welcome.")(call) if given == "Bearer good" else call.refuse(401, "invalid or expired API key", "invalid_api_key")
        chat = self.chat(wants_key)
        chat.say("My question")
        field = chat.page.get_by_role("textbox", name="Key")
        expect(field).to_be_focused()
        expect(chat.refusal).to_contain_text("This server wants an API key. Enter your key, then send again. What you typed is kept.")
        assert_accessible(chat.page)
        field.fill("bad")
        chat.button("Save").click()
        expect(chat.field).to_have_value("My question")
        chat.field.press("Enter")
        expect(chat.refusal).to_contain_text("This API key is not accepted. Invalid or expired API key.")
        field.fill("good")
        field.press("Enter")
        chat.send.click()
        expect(chat.text()).to_have_text("Welcome.")
        chat.reload()
        self.assertEqual(chat.ask("Again"), "Welcome.")  # for this tab
        other = Chat(self.enterContext(self.browser.open(self.front.url, profile=chat.page.context)))
        other.say("And here?")
        expect(other.refusal).to_contain_text("This server wants an API key.")  # not kept, as it was not asked for
        other.page.get_by_role("textbox", name="Key").fill("good")
        other.page.get_by_label("Keep it in this browser").check()
        other.button("Save").click()
        other.send.click()
        expect(other.text()).to_have_text("Welcome.")
        third = Chat(self.enterContext(self.browser.open(self.front.url, profile=chat.page.context)))
        self.assertEqual(third.ask("And here?"), "Welcome.")

    def test_models_behind_a_key_ask_for_it_at_once(self):
        models, kept = self.front.models, "Bearer good"
        self.addCleanup(setattr, self.front, "models", models)
        self.front.models = lambda call: models(call) if call.headers["authorization"] == kept else call.refuse(401, "no key")
        self.front.plays(answer("Yes."))
        chat = Chat(self.enterContext(self.browser.open(self.front.url)))
        chat.page.get_by_role("textbox", name="Key").fill("good")
        chat.button("Save").click()
        expect(chat.page.get_by_role("combobox", name="Model")).to_have_value("scripted")
        expect(chat.refusal).to_be_hidden()

    def test_a_gateway_that_is_not_ready_is_asked_until_it_is(self):
        models, asked = self.front.models, []

        def starting(call):
            asked.append(call)
            models(call) if len(asked) > 2 else call.refuse(503, "no worker is ready", "overloaded", "server_error")
        self.addCleanup(setattr, self.front, "models", models)
        self.front.models = starting
        self.front.plays(lambda call: call.refuse(503, "no worker is ready", "overloaded", "server_error", retry_after="1"), answer("Yes."))
        chat = Chat(self.enterContext(self.browser.open(self.front.url)))
        expect(chat.refusal).to_contain_text("The server is not ready. No worker is ready.")
        expect(chat.page.get_by_role("combobox", name="Model")).to_have_value("scripted")
        expect(chat.refusal).to_be_hidden()
        chat.say("My question")
        expect(chat.refusal).to_contain_text("The server is not ready.")
        expect(chat.field).to_have_value("My question")

    def test_a_server_that_answers_with_something_else_is_told_by_its_status(self):
        def proxy(call):
            call.handler.send_response(502)
            call.handler.send_header("content-length", "13")
            call.handler.end_headers()
            call.raw("<html></html>")
        chat = self.chat(proxy)
        chat.say("My question")
        expect(chat.refusal).to_contain_text("The server failed. It answered 502.")
        expect(chat.field).to_have_value("My question")
        assert_fits(chat.page)

    # --- tools

    def test_a_tool_call_is_shown_and_goes_on_with_what_the_reader_types(self):
        def calls(call):
            call.begin().delta(role="assistant", content="")
            call.delta(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ""}}])
            for piece in ('{"city": ', '"Paris"}'):
                call.delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}])
            call.end("tool_calls")
        chat = self.chat(calls, answer("It is sunny in Paris."))
        tools = '[{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]'
        chat.set(tools=tools).say("Weather?").done()
        self.assertEqual(self.front.calls[0].body["tools"][0]["function"]["name"], "get_weather")
        card = chat.answer().locator("details.tool")
        expect(card).to_contain_text("Call of get_weather")
        expect(card.locator("pre")).to_have_text('{\n  "city": "Paris"\n}')
        result = chat.page.get_by_role("textbox", name="What get_weather says")
        expect(chat.button("Continue")).to_be_disabled()
        result.fill("sunny")
        chat.reload()
        expect(result).to_have_value("sunny")
        assert_accessible(chat.page)
        chat.button("Continue").click()
        expect(chat.text()).to_have_text("It is sunny in Paris.")
        self.assertEqual(self.front.calls[1].body["messages"][1:], [
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}])
        expect(chat.page.get_by_role("textbox", name="What get_weather says")).to_have_count(0)


if __name__ == "__main__":
    cases.main()
