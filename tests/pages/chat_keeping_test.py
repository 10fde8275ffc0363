"""Does the chat page keep what it is given? Conversations over reloads and in several tabs at once, drafts, search, renaming, deleting with
a way back, files out and in; and what it does where the browser keeps nothing.
"""
import json
import pathlib
import re
import sys
import tempfile
import unittest

from playwright.sync_api import expect

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import cases  # noqa: E402

from browser import Browser  # noqa: E402
from front import Front, answer  # noqa: E402
from talk import Chat  # noqa: E402

PRICED = {"id": "scripted", "pricing": {"currency": "USD", "input_per_million": "0.28", "cached_input_per_million": "0.028",
                                        "output_per_million": "0.42"}}
DENIED = "Object.defineProperty(window, 'indexedDB', { get() { throw new DOMException('denied', 'SecurityError'); } });"
NO_STORAGE = """
for (const name of ['localStorage', 'sessionStorage'])
  Object.defineProperty(window, name, { get() { throw new DOMException('denied', 'SecurityError'); } });
Object.defineProperty(window, 'indexedDB', { value: undefined });
"""
FULL = """
const put = IDBObjectStore.prototype.put;
window.full = false;
IDBObjectStore.prototype.put = function (...words) {
  if (window.full) throw new DOMException('no room', 'QuotaExceededError');
  return put.apply(this, words);
};
"""


class Keeping(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.front = cls.enterClassContext(Front())
        cls.browser = cls.enterClassContext(Browser())

    def setUp(self):
        self.front.plays(lambda call: answer(f"You said {call.body['messages'][-1]['content']}.")(call))

    def chat(self, profile=None, script=None, **options):
        if script:
            profile = self.browser.profile()
            self.addCleanup(profile.close)
            profile.add_init_script(script)
        return Chat(self.enterContext(self.browser.open(self.front.url, profile=profile, **options)))

    def test_conversations_are_listed_opened_and_survive_a_reload(self):
        chat = self.chat()
        chat.ask("apples")
        chat.button("New conversation").click()
        chat.ask("pears")
        expect(chat.entries).to_have_text(["pears", "apples"])
        chat.reload()
        expect(chat.text()).to_have_text("You said pears.")
        chat.button("apples").click()
        expect(chat.text()).to_have_text("You said apples.")
        self.assertEqual(chat.ask("plums"), "You said plums.")
        self.assertEqual([message["content"] for message in self.front.calls[-1].body["messages"]], ["apples", "You said apples.", "plums"])
        expect(chat.entries).to_have_text(["apples", "pears"])

    def test_a_list_drawn_anew_between_press_and_release_loses_no_click(self):
        chat = self.chat()
        chat.ask("apples")
        chat.button("New conversation").click()
        chat.ask("pears")
        chat.button("apples").hover()
        chat.page.mouse.down()
        chat.page.locator("#search").dispatch_event("input")  # draws it, as news of another tab does
        chat.page.mouse.up()
        expect(chat.text()).to_have_text("You said apples.")
        expect(chat.page.locator("#list li.current")).to_contain_text("apples")

    def test_what_is_typed_before_the_page_listens_is_kept(self):
        profile = self.browser.profile()
        self.addCleanup(profile.close)
        held, slow = [], True  # a slow network
        profile.route("**/assets/chat/main.js", lambda route: held.append(route) if slow else route.continue_())
        page = self.browser.watched(profile, self.front.url)
        with page.expect_request("**/assets/chat/main.js"):
            page.goto(self.front.url, wait_until="commit")
        page.locator("#text").press_sequentially("in a hurry")
        slow = False
        for request in held:
            request.continue_()
        expect(page.locator("html[data-ready]")).to_have_count(1)
        expect(page.locator("#text")).to_have_value("in a hurry")
        Chat(page).reload()
        expect(page.locator("#text")).to_have_value("in a hurry")
        self.assertEqual(page.problems, [])

    def test_a_draft_of_each_conversation_survives_a_reload(self):
        chat = self.chat()
        chat.ask("apples")
        chat.field.press_sequentially("half a thought")
        chat.page.keyboard.press("Control+Shift+O")
        expect(chat.field).to_have_value("")
        chat.field.press_sequentially("another")
        expect(chat.entries.first).to_contain_text("Draft: another")
        chat.reload()
        expect(chat.field).to_have_value("another")
        chat.button("apples").click()
        expect(chat.field).to_have_value("half a thought")

    def test_search_finds_titles_and_words_of_messages(self):
        chat = self.chat()
        for text in ("apples", "pears"):
            chat.ask(text)
            chat.page.keyboard.press("Control+Shift+O")
        chat.page.keyboard.press("Control+K")
        search = chat.page.get_by_role("searchbox", name="Search conversations")
        expect(search).to_be_focused()
        search.fill("said APPLES")
        expect(chat.entries).to_have_text(["apples"])
        search.fill("nothing like it")
        expect(chat.page.get_by_text("Nothing found.")).to_be_visible()
        search.fill("pear")
        search.press("Enter")
        expect(chat.text()).to_have_text("You said pears.")
        search.press("Escape")
        expect(chat.entries).to_have_count(2)

    def test_a_title_is_changed_and_kept(self):
        chat = self.chat()
        chat.ask("apples")
        chat.button("Rename apples").click()
        field = chat.page.get_by_role("textbox", name="Title")
        field.fill("Fruit")
        field.press("Enter")
        expect(chat.page.get_by_role("heading", level=1)).to_have_text("Fruit")
        chat.ask("pears")
        chat.reload()
        expect(chat.entries).to_have_text(["Fruit"])

    def test_what_is_deleted_can_be_had_back(self):
        chat = self.chat()
        chat.ask("apples")
        chat.button("Delete apples").click()
        expect(chat.entries).to_have_count(0)
        expect(chat.page.locator("#welcome")).to_be_visible()
        chat.button("Undo").click()
        expect(chat.text()).to_have_text("You said apples.")
        chat.button("Delete apples").click()
        chat.reload()
        expect(chat.entries).to_have_count(0)

    def test_two_tabs_at_once_lose_nothing(self):
        one = self.chat()
        profile = one.page.context
        one.ask("apples")
        two = self.chat(profile)
        two.button("apples").click()
        expect(two.text()).to_have_text("You said apples.")
        two.ask("pears")
        expect(one.text()).to_have_text("You said pears.")
        one.button("Ask again").last.click()
        expect(one.answer().locator(".count")).to_have_text("2 / 2")
        one.done()
        two.page.keyboard.press("Control+Shift+O")
        two.ask("plums")
        expect(one.entries).to_have_text(["plums", "apples"])
        one.reload()
        expect(one.page.locator("article")).to_have_count(4)
        expect(one.answer().locator(".count")).to_have_text("2 / 2")

    def test_while_one_tab_writes_the_other_shows_it(self):
        def slow(call):
            call.begin().delta(content="The first half")
            call.front.gate.wait(60)
            call.delta(content=", whole.")
            call.end()
        self.front.plays(slow)
        one = self.chat()
        one.say("apples")
        expect(one.text()).to_have_text("The first half")
        two = self.chat(one.page.context)
        two.button("apples").click()
        expect(two.ending()).to_contain_text("Another tab is writing this answer.")
        self.front.gate.set()
        expect(two.text()).to_have_text("The first half, whole.")
        expect(two.ending()).to_be_hidden()

    def test_a_file_of_all_conversations_goes_out_and_comes_in_once(self):
        chat = self.chat()
        chat.ask("apples")
        chat.button("Ask again").click()
        expect(chat.answer().locator(".count")).to_have_text("2 / 2")
        chat.done()
        with chat.page.expect_download() as download:
            chat.button("Export all conversations").click()
        self.assertRegex(download.value.suggested_filename, r"^fathom-conversations-\d{4}-\d\d-\d\d\.json$")
        path = pathlib.Path(tempfile.mkdtemp(prefix="fathom-test-")) / "out.json"
        self.addCleanup(path.parent.rmdir)
        self.addCleanup(path.unlink)
        download.value.save_as(path)
        other = self.chat()
        for told in ("Read 1 conversation, 3 new messages.", "Read 1 conversation, 0 new messages."):
            other.page.locator("#file").set_input_files(path)
            expect(other.page.locator("#toast")).to_contain_text(told)
        other.button("apples").click()
        expect(other.answer().locator(".count")).to_have_text("2 / 2")
        path.write_text(json.dumps({"format": "other"}))
        other.page.locator("#file").set_input_files(path)
        expect(other.page.locator("#toast")).to_contain_text("This file was not exported by this page.")

    def test_a_browser_that_gives_no_storage_still_talks_and_says_so(self):
        for script in (DENIED, NO_STORAGE):
            chat = self.chat(script=script)
            expect(chat.trouble).to_contain_text("This browser gives this page no storage")
            self.assertEqual(chat.ask("apples"), "You said apples.")
            chat.page.keyboard.press("Control+Shift+O")
            chat.ask("pears")
            chat.button("apples").click()
            expect(chat.text()).to_have_text("You said apples.")

    def test_a_full_storage_is_told_and_nothing_is_lost_from_the_tab(self):
        chat = self.chat(script=FULL)
        chat.ask("apples")
        chat.page.evaluate("() => { window.full = true; }")
        self.assertEqual(chat.ask("pears"), "You said pears.")
        expect(chat.trouble).to_contain_text("The storage of this browser is full: what is new is only in this tab.")
        expect(chat.page.locator("article")).to_have_count(4)
        chat.page.evaluate("() => { window.full = false; }")
        chat.ask("plums")
        expect(chat.trouble).to_be_hidden()
        chat.reload()
        expect(chat.page.locator("article")).to_have_count(6)

    def test_costs_are_shown_where_there_are_prices_only(self):
        chat = self.chat()
        chat.ask("apples")
        expect(chat.figures()).not_to_contain_text("$")
        self.addCleanup(setattr, self.front, "models", self.front.models)
        self.front.models = lambda call: call.json(200, {"data": [PRICED]})
        chat = self.chat()
        chat.ask("apples")
        expect(chat.figures()).to_contain_text("12 in (8 cached) · 5 out · $0.0000034")
        chat.button("Ask again").click()
        expect(chat.page.locator("#totals")).to_have_text("24 in (16 cached) · 10 out · $0.0000069")

    def test_settings_become_those_of_new_conversations_when_asked_to(self):
        chat = self.chat().set(temperature="0.3", system_prompt="Be brief.", seed="7")
        chat.ask("apples")
        body = self.front.calls[-1].body
        self.assertEqual((body["temperature"], body["seed"], body["messages"][0]), (0.3, 7, {"role": "system", "content": "Be brief."}))
        chat.page.keyboard.press("Control+Shift+O")
        chat.ask("pears")
        self.assertNotIn("temperature", self.front.calls[-1].body)
        chat.button("apples").click()
        expect(chat.text()).to_have_text("You said apples.")
        chat.button("Settings of this conversation").click()
        expect(chat.page.locator("#settings").get_by_label("Temperature")).to_have_value("0.3")
        chat.button("Use for new conversations").click()
        chat.page.keyboard.press("Escape")
        chat.page.keyboard.press("Control+Shift+O")
        chat.ask("plums")
        self.assertEqual(self.front.calls[-1].body["temperature"], 0.3)

    def test_the_address_leads_back_to_its_conversation(self):
        chat = self.chat()
        chat.ask("apples")
        address = chat.page.url
        self.assertRegex(address, re.compile(r"/#[\da-f]{24}$"))
        chat.page.keyboard.press("Control+Shift+O")
        chat.page.evaluate("(hash) => { location.hash = hash; }", address.split("#")[1])
        expect(chat.text()).to_have_text("You said apples.")


if __name__ == "__main__":
    cases.main()
