"""Can somebody talk to the model that ships, in a real browser, through the real gateway? Asking, reading on while it thinks, asking again,
editing, settings; and what a real cluster refuses: messages too long for it, a gateway that is killed in mid-answer.
"""
import hashlib
import json
import pathlib
import re
import sys
import tempfile
import unittest

from playwright.sync_api import expect

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import cases  # noqa: E402
from cluster import ROOT, TINY, Cluster, wait_for  # noqa: E402

from browser import Browser, assert_fits, shoot  # noqa: E402
from talk import Chat  # noqa: E402

MINNOW = ROOT / "models/minnow"


class TalkingToMinnow(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(("prefill", "decode"), engine="model", model=MINNOW, worker={"kv_memory_mb": 64, "name": "minnow"},
                                                    gateway={"http": {"body_bytes_max": 1_500_000}}))
        cls.browser = cls.enterClassContext(Browser())
        cls.url = cls.cluster.url.removesuffix("/v1")

    def chat(self, **options):
        return Chat(self.enterContext(self.browser.open(self.url, **options)))

    def test_a_question_is_thought_about_and_answered(self):
        chat = self.chat()
        expect(chat.page.get_by_role("combobox", name="Model")).to_have_value("minnow")
        chat.set(temperature="0")
        self.assertEqual(chat.ask("What is 17 times 23?"), "17 * 23 = 391.")
        thought = chat.answer().locator("details.thought")
        expect(thought).not_to_have_attribute("open", "")
        expect(thought.locator("summary")).to_have_text(re.compile(r"^Thought for [\d.]+ m?s$"))
        thought.locator("summary").click()
        expect(thought.locator(".thought-text")).to_contain_text("23")
        self.assertRegex(chat.figures().inner_text(), r"^[\d.,]+ tokens/s · first token [\d.]+ m?s · 15 in( \(\d+ cached\))? · 1\d\d out$")
        expect(chat.page.locator("#totals")).to_contain_text("out")
        self.assertIn("What is 17 times 23?", chat.page.title())
        assert_fits(chat.page)
        shoot(chat.page, "answer")

    def test_it_remembers_what_was_said_before_and_the_prefix_is_cached(self):
        chat = self.chat().set(temperature="0")
        chat.ask("Remember this: The code of Ida is 6317.")
        self.assertIn("6317", chat.ask("Tell me the code of Ida."))

    def test_an_example_is_asked_at_a_click(self):
        chat = self.chat()
        chat.page.get_by_role("button", name="Multiply").click()
        expect(chat.text()).to_contain_text("391")
        expect(chat.page.locator("#welcome")).to_be_hidden()
        chat.done()

    def test_an_empty_message_is_not_sent(self):
        chat = self.chat()
        for text in ("", "   ", "\n\n"):
            chat.field.fill(text)
            expect(chat.send).to_be_disabled()
            chat.field.press("Enter")
        expect(chat.page.locator("article")).to_have_count(0)

    def test_enter_sends_and_shift_enter_is_a_new_line(self):
        chat = self.chat()
        chat.field.press_sequentially("Reverse")
        chat.field.press("Shift+Enter")
        chat.field.press_sequentially("lantern.")
        expect(chat.field).to_have_value("Reverse\nlantern.")
        chat.field.press("Enter")
        expect(chat.field).to_have_value("")
        expect(chat.question().locator(".typed")).to_have_text("Reverse\nlantern.")
        chat.done()

    def test_asked_again_the_older_version_stays(self):
        chat = self.chat().set(temperature="0")
        first = chat.ask("What is 17 times 23?")
        chat.set(system_prompt="Answer in one short sentence.")
        chat.button("Ask again").click()
        expect(chat.answer().locator(".count")).to_have_text("2 / 2")
        chat.done()
        chat.button("Older version").click()
        expect(chat.answer().locator(".count")).to_have_text("1 / 2")
        expect(chat.text()).to_have_text(first)
        chat.reload()
        expect(chat.answer().locator(".count")).to_have_text("1 / 2")
        expect(chat.page.locator("article.assistant")).to_have_count(1)

    def test_a_sent_message_is_edited_and_sent_again(self):
        chat = self.chat().set(temperature="0")
        chat.ask("What is 17 times 23?")
        chat.field.press("ArrowUp")
        field = chat.page.get_by_role("textbox", name="Edit message")
        expect(field).to_be_focused()
        field.fill("What is 17 times 24?")
        chat.reload()  # what was typed so far survives
        field = chat.page.get_by_role("textbox", name="Edit message")
        expect(field).to_have_value("What is 17 times 24?")
        field.press("Enter")
        expect(chat.text()).to_contain_text("408")
        expect(chat.question().locator(".count")).to_have_text("2 / 2")
        chat.done()
        chat.question().get_by_role("button", name="Older version").click()
        expect(chat.text()).to_contain_text("391")

    def test_settings_reach_the_model(self):
        chat = self.chat().set(max_tokens="5")
        chat.say("What is 17 times 23?").done()
        expect(chat.ending()).to_contain_text("reached its limit of tokens")
        expect(chat.figures()).to_contain_text("5 out")
        chat.page.get_by_role("button", name="Settings of this conversation").click()
        field = chat.page.locator("#settings").get_by_label("Temperature")
        field.fill("3")
        expect(chat.page.locator("#temperature-wrong")).to_have_text("This has to be from 0 to 2.")
        chat.page.keyboard.press("Escape")
        chat.say("Hello").done()  # what is not valid is not sent
        expect(chat.page.locator("article.assistant")).to_have_count(2)
        expect(chat.refusal).to_be_hidden()

    def test_thinking_can_be_switched_off(self):
        chat = self.chat().set(temperature="0")
        chat.button("Settings of this conversation").click()
        chat.page.get_by_label("Answer at once").check()
        chat.page.keyboard.press("Escape")
        self.assertIn("Minnow", chat.ask("Hello"))
        expect(chat.answer().locator("details.thought")).to_be_hidden()

    def test_the_model_calls_a_tool_and_puts_its_result_into_words(self):
        chat = self.chat().set(temperature="0", tools=json.dumps([{"type": "function", "function": {
            "name": "weather", "description": "Get the current weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]))
        chat.say("What's the weather like in Helsinki today?").done()
        card = chat.answer().locator("details.tool")
        expect(card).to_contain_text("Call of weather")
        expect(card.locator("pre")).to_have_text('{\n  "city": "Helsinki"\n}')
        chat.page.get_by_role("textbox", name="What weather says").fill("rain, 52 degrees")
        chat.button("Continue").click()
        expect(chat.text()).to_have_text("The weather in Helsinki is rain, 52 degrees.")
        chat.done()

    def test_a_message_of_a_megabyte_is_refused_with_both_lengths_and_kept(self):
        chat = self.chat()
        text = "whale " * 175_000
        chat.field.fill(text)
        expect(chat.page.locator("#typed")).to_have_text("1,050,000 characters")
        chat.field.press("Enter")
        expect(chat.refusal).to_contain_text("too long for this model")
        self.assertRegex(chat.refusal.inner_text(), r"[\d,]{6,} tokens \(the message alone has 1,050,000 characters\), and 4,096 fit")
        self.assertEqual(len(chat.field.input_value()), len(text))
        expect(chat.page.locator("article")).to_have_count(0)
        chat.reload()
        expect(chat.page.locator("#typed")).to_have_text("1,050,000 characters")
        shoot(chat.page, "too-long")

    def test_a_message_beyond_the_body_limit_is_refused_and_kept(self):
        chat = self.chat()
        text = "whale " * 300_000
        chat.field.fill(text)
        chat.field.press("Enter")
        expect(chat.refusal).to_contain_text("The request is too large. It is 1.8 MB")
        self.assertEqual(len(chat.field.input_value()), len(text))


class AnAnswerThatDoesNotEnd(unittest.TestCase):
    """A model of random weights that is not told where its answer ends writes until it is stopped."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.enterClassContext(Cluster(("prefill", "decode"), engine="model", model=TINY, worker={"kv_memory_mb": 64}))
        cls.browser = cls.enterClassContext(Browser())
        cls.url = cls.cluster.url.removesuffix("/v1")

    def chat(self):
        page = self.enterContext(self.browser.open(self.url))
        page.route("**/v1/chat/completions", lambda route: route.continue_(
            post_data=json.dumps(route.request.post_data_json | {"ignore_eos": True, "temperature": 0})))
        return Chat(page)

    def test_stopped_it_keeps_what_came_and_the_cluster_frees_its_blocks(self):
        chat = self.chat()
        chat.say("Go on and on.")
        expect(chat.figures()).to_contain_text("tokens/s")
        chat.page.keyboard.press("Escape")
        chat.done()
        expect(chat.ending()).to_contain_text("Stopped.")
        self.cluster.wait_blocks_free()
        kept = chat.answer().inner_text()
        chat.reload()
        self.assertEqual(chat.answer().inner_text(), kept)
        expect(chat.button("Ask again")).to_be_enabled()

    def test_a_gateway_killed_in_mid_answer_costs_nothing_that_came(self):
        chat = self.chat()
        chat.say("Go on and on.")
        expect(chat.figures()).to_contain_text("tokens/s")
        chat.problems.allow("net::ERR_")
        self.cluster.gateway.kill()
        expect(chat.ending()).to_contain_text("The connection was lost in mid-answer.")
        chat.done()
        self.assertGreater(len("".join(chat.answer().locator(".thought-text, .prose").all_text_contents())), 5)
        chat.say("Are you there?")
        expect(chat.refusal).to_contain_text("The server can not be reached.")
        expect(chat.field).to_have_value("Are you there?")
        self.cluster.gateway.start()
        wait_for("the gateway is back", self.cluster.gateway.ready)
        chat.button("Try again", chat.refusal).click()
        expect(chat.figures()).to_contain_text("tokens/s")
        expect(chat.refusal).to_be_hidden()
        chat.stop.click()
        chat.done()
        self.cluster.wait_blocks_free()


class BehindKeys(unittest.TestCase):
    def test_an_expired_key_is_told_with_its_day_and_a_good_one_goes_on(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory(prefix="fathom-test-")))
        file = folder / "keys"
        file.write_text("".join(json.dumps({"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest()} | more) + "\n" for name, key, more in (
            ("old", "sk-old", {"expires": "2020-01-31T00:00:00Z"}), ("new", "sk-new", {}))))
        cluster = self.enterContext(Cluster(("both",), engine="model", model=MINNOW, worker={"kv_memory_mb": 64, "name": "minnow"},
                                            gateway={"keys_file": str(file), "price_input_per_million": "0.27", "price_output_per_million": "1.1"}))
        browser = self.enterContext(Browser())
        chat = Chat(self.enterContext(browser.open(cluster.url.removesuffix("/v1"))))
        field = chat.page.get_by_role("textbox", name="Key")
        expect(field).to_be_focused()  # the list of models is behind the keys as well
        field.fill("sk-old")
        field.press("Enter")
        expect(chat.refusal).to_contain_text("This API key is not accepted. This key expired on 2020-01-31; ask for a new one.")
        chat.page.keyboard.press("Escape")
        chat.say("What is 17 times 23?")
        expect(chat.refusal).to_contain_text("This key expired on 2020-01-31")
        expect(chat.field).to_have_value("What is 17 times 23?")
        field.fill("sk-new")
        field.press("Enter")
        chat.set(temperature="0")
        chat.send.click()
        expect(chat.text()).to_contain_text("391")
        chat.done()
        expect(chat.figures()).to_contain_text("out · $0.0001")
        self.assertNotIn("sk-new", cluster.gateway.log())


if __name__ == "__main__":
    cases.main()
