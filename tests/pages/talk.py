"""How does a test use the chat page? Chat is the page as its reader knows it: say something, wait for the answer, look at it."""
import re

from playwright.sync_api import expect


class Chat:
    def __init__(self, page):
        self.page, self.problems = page, page.problems
        self.field = page.get_by_role("textbox", name="Message", exact=True)
        self.send = page.get_by_role("button", name="Send", exact=True)
        self.stop = page.get_by_role("button", name="Stop", exact=True)
        self.refusal = page.locator("#refusal")
        self.trouble = page.locator("#trouble")
        self.thread = page.get_by_role("log", name="Conversation")
        self.entries = page.get_by_role("navigation", name="Your conversations").locator("li")
        self.here()

    def here(self):
        expect(self.page.locator("html")).to_have_attribute("data-ready", "")
        return self

    def reload(self):
        self.page.reload()
        return self.here()

    def say(self, text):
        self.field.fill(text)
        self.field.press("Enter")
        return self

    # --- what stands there

    def answer(self, index=-1):
        return self.page.locator("article.assistant").nth(index)

    def question(self, index=-1):
        return self.page.locator("article.user").nth(index)

    def text(self, index=-1):
        return self.answer(index).locator(".prose")

    def ending(self, index=-1):
        return self.answer(index).locator(".ending")

    def figures(self, index=-1):
        return self.answer(index).locator(".figures")

    def done(self):
        """Waits until nothing is being written."""
        expect(self.thread).to_have_attribute("aria-busy", "false")
        expect(self.stop).to_be_hidden()
        return self

    def ask(self, text):
        """Says it and waits for the whole answer; returns its text."""
        before = self.page.locator("article.assistant").count()
        self.say(text)
        expect(self.page.locator("article.assistant")).to_have_count(before + 1)
        self.done()
        return self.text().inner_text()

    def button(self, name, within=None):
        return (within or self.page).get_by_role("button", name=name, exact=True)

    def set(self, **settings):
        """Types into the settings of this conversation, by the names on the page."""
        self.button("Settings of this conversation").click()
        for name, value in settings.items():
            label = re.compile(f"^{name.replace('_', ' ')}$", re.IGNORECASE)
            self.page.locator("#settings").get_by_label(label).fill(value)
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#settings")).to_be_hidden()
        return self
