"""Is the chat page good to read and to use? Markdown as elements and never as markup, an answer that grows without being drawn anew, one
column on a phone, light and dark, the keyboard alone, a screen reader.
"""
import pathlib
import sys
import unittest

from playwright.sync_api import expect

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
import cases  # noqa: E402

from accessibility import assert_accessible  # noqa: E402
from browser import Browser, assert_fits, shoot  # noqa: E402
from front import Front, answer  # noqa: E402
from talk import Chat  # noqa: E402

RICH = """# Sorting, briefly

Merge sort splits a list **in half**, and *merges* the halves. It takes `O(n log n)` steps, see [the article](https://example.org/merge).

```python
def merge_sort(items):  # a comment
    return merge(merge_sort(items[: len(items) // 2]), merge_sort(items[len(items) // 2 :])) + ["a line that is far too long for a column"]
```

| algorithm | best | worst | memory used beside the list itself |
|:--|:-:|--:|---|
| merge sort | `n log n` | n log n | as much again as the list has |
| quick sort | n log n | n² | log n |

1. Split the list
   - in the middle
2. Merge

> A quote.

An_unbroken_word_""" + "x" * 300 + "\n"
HOSTILE = """<img src=x onerror="document.title='owned'"> <script>document.title='owned'</script>

[click](javascript:document.title='owned') [safe](https://example.org/) ![picture](https://example.org/p.png)

<javascript:alert(1)> | <style>body{display:none}</style>

```"><script>document.title='owned'</script>
</code></pre><script>document.title='owned'</script>
```
"""


class Reading(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.front = cls.enterClassContext(Front())
        cls.browser = cls.enterClassContext(Browser())

    def chat(self, *script, **options):
        self.front.plays(*script or [answer("Yes.")])
        return Chat(self.enterContext(self.browser.open(self.front.url, **options)))

    # --- what is read

    def test_markdown_becomes_elements(self):
        chat = self.chat(answer(RICH))
        chat.say("Tell me.").done()
        text = chat.text()
        for selector, content in {"h3.head-1": "Sorting, briefly", "strong": "in half", "em": "merges", "p > code": "O(n log n)",
                                  "figure.code figcaption span": "python", "pre .code-word >> nth=0": "def", "pre .code-note": "# a comment",
                                  "th >> nth=0": "algorithm", "td.right >> nth=1": "n²", "ol > li > ul > li": "in the middle",
                                  "blockquote > p": "A quote."}.items():
            expect(text.locator(selector)).to_have_text(content)
        link = text.get_by_role("link", name="the article")
        expect(link).to_have_attribute("href", "https://example.org/merge")
        expect(link).to_have_attribute("rel", "noopener noreferrer")
        expect(link).to_have_attribute("target", "_blank")

    def test_markup_of_a_model_stays_text(self):
        chat = self.chat(answer(HOSTILE, reasoning=HOSTILE))
        chat.say(HOSTILE).done()
        article = chat.answer()
        self.assertEqual(article.locator("script, style, img, iframe, [onerror], [style]").count(), 0)
        self.assertEqual([link.get_attribute("href") for link in article.locator("a").all()], ["https://example.org/", "https://example.org/p.png"])
        expect(article.locator(".prose")).to_contain_text("<script>document.title='owned'</script>")
        expect(chat.question().locator(".typed")).to_have_text(HOSTILE)
        self.assertNotIn("owned", chat.page.title().split("–")[-1])

    def test_an_answer_grows_at_its_end_only(self):
        parts = 400

        def long(call):
            call.begin().delta(role="assistant", content="")
            for i in range(parts):
                call.delta(content=f"Paragraph {i} with *some* words.\n\n")
                if i == 100:
                    call.front.gate.wait(60)
            for i in range(200):
                call.delta(content=f"{i + 1}. item\n")
            call.delta(content="\n```js\n")
            for i in range(parts):
                call.delta(content=f"let x{i} = {i};\n")
            call.delta(content="```\n")
            call.end()
        chat = self.chat(long)
        chat.say("Go on.")
        expect(chat.text().locator("p").nth(100)).to_be_attached()
        chat.page.evaluate("""() => {
          const settled = [...document.querySelectorAll('.prose > p')].slice(0, 100);
          window.changes = 0;
          window.firsts = settled;
          const watch = new MutationObserver((all) => { window.changes += all.length; });
          for (const node of settled) watch.observe(node, { childList: true, subtree: true, characterData: true });
        }""")
        self.front.gate.set()
        chat.done()
        self.assertEqual(chat.page.evaluate("() => [window.changes, window.firsts.every((node) => node.isConnected)]"), [0, True])
        self.assertEqual(chat.text().locator("> p").count(), parts)
        self.assertEqual(chat.text().locator("li").count(), 200)
        expect(chat.text().locator("pre")).to_contain_text(f"let x{parts - 1} = {parts - 1};")
        expect(chat.text().locator("pre .code-word").first).to_have_text("let")
        at_end = chat.page.evaluate("() => { const s = document.querySelector('#scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight; }")
        self.assertLess(at_end, 50)

    def test_a_reader_who_scrolls_back_is_left_alone(self):
        def two_halves(call):
            call.begin().delta(content="words\n\n" * 60)
            call.front.gate.wait(60)
            call.delta(content="more\n\n" * 60)
            call.end()
        chat = self.chat(two_halves)
        chat.say("Go on.")
        expect(chat.text().locator("p")).to_have_count(60)
        chat.page.locator("#scroll").evaluate("(node) => { node.scrollTop = 0; }")
        latest = chat.button("To the latest")
        expect(latest).to_be_visible()
        self.front.gate.set()
        chat.done()
        self.assertEqual(chat.page.locator("#scroll").evaluate("(node) => node.scrollTop"), 0)
        latest.click()
        expect(latest).to_be_hidden()

    def test_a_thought_is_open_while_it_is_thought_and_folded_after(self):
        def thinks(call):
            call.begin().delta(reasoning_content="First this,\n")
            call.front.gate.wait(60)
            call.delta(reasoning_content="then that.")
            call.delta(content="\n\nDone.")
            call.end()
        chat = self.chat(thinks)
        chat.say("Think.")
        thought = chat.answer().locator("details.thought")
        expect(thought).to_have_attribute("open", "")
        expect(thought.locator("summary")).to_have_text("Thinking")
        expect(thought.locator(".thought-text")).to_have_text("First this,\n")
        self.front.gate.set()
        chat.done()
        expect(thought).not_to_have_attribute("open", "")
        expect(thought.locator("summary")).to_contain_text("Thought for")
        expect(chat.text()).to_have_text("Done.")

    def test_copy_gives_the_source_of_an_answer_and_the_text_of_code(self):
        chat = self.chat(answer(RICH))
        chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        chat.say("Tell me.").done()
        copied = "() => navigator.clipboard.readText()"
        chat.button("Copy answer").click()
        expect(chat.answer().get_by_role("button", name="Copied")).to_be_visible()
        self.assertEqual(chat.page.evaluate(copied), RICH)
        chat.button("Copy code").click()
        expect(chat.answer().get_by_role("button", name="Copied")).to_have_count(2)
        self.assertTrue(chat.page.evaluate(copied).startswith("def merge_sort(items):  # a comment\n    return"))

    # --- how it looks

    def test_every_width_and_both_colours_fit_and_can_be_read(self):
        for width, scheme in ((320, "light"), (320, "dark"), (768, "dark"), (1280, "light"), (1280, "dark")):
            with self.subTest(width=width, scheme=scheme):
                chat = self.chat(answer(RICH, reasoning="A thought\n" + "y" * 200), width=width, height=640, scheme=scheme, phone=width < 800)
                assert_fits(chat.page)
                assert_accessible(chat.page)
                shoot(chat.page, f"first-{width}-{scheme}")
                chat.say("z" * 200).done()
                chat.answer().locator("summary").click()
                assert_fits(chat.page)
                assert_accessible(chat.page)
                shoot(chat.page, f"rich-{width}-{scheme}")
                for name in ("Settings of this conversation", "API key", "Help and keyboard"):
                    if width < 821 and name != "Settings of this conversation":
                        chat.button("List of conversations").click()
                    chat.button(name).click()
                    dialog = chat.page.locator("dialog[open]")
                    box = dialog.bounding_box()
                    self.assertTrue(box["x"] >= 0 and box["x"] + box["width"] <= width, box)
                    assert_fits(chat.page)
                    assert_accessible(chat.page)
                    chat.page.keyboard.press("Escape")
                    expect(dialog).to_have_count(0)
                    if width < 821 and name != "Settings of this conversation":
                        chat.page.keyboard.press("Escape")

    def test_colours_follow_the_system_until_they_are_chosen(self):
        chat = self.chat(scheme="dark")

        def ground():
            return chat.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        dark = ground()
        chat.button("Colours: as the system").click()
        light = ground()
        self.assertNotEqual(light, dark)
        chat.reload()
        self.assertEqual(ground(), light)
        chat.button("Colours: light").click()
        self.assertEqual(ground(), dark)
        chat.page.emulate_media(color_scheme="light")
        self.assertEqual(ground(), dark)
        chat.button("Colours: dark").click()
        self.assertEqual(ground(), light)

    def test_on_a_phone_the_list_is_a_drawer(self):
        chat = self.chat(width=320, height=640, phone=True)
        chat.ask("apples")
        sidebar = chat.page.locator("#sidebar")
        expect(sidebar).to_be_hidden()
        chat.button("List of conversations").click()
        expect(sidebar).to_be_visible()
        self.assertLess(sidebar.bounding_box()["width"], 320)
        assert_accessible(chat.page)
        shoot(chat.page, "drawer")
        chat.page.keyboard.press("Escape")
        expect(sidebar).to_be_hidden()
        chat.button("List of conversations").click()
        chat.button("New conversation").click()
        expect(sidebar).to_be_hidden()
        for button in chat.page.locator("button:visible, select:visible").all():
            box = button.bounding_box()
            self.assertGreaterEqual(min(box["width"], box["height"]), 24, button.get_attribute("aria-label"))

    def test_motion_is_reduced_where_it_is_unwanted(self):
        chat = self.chat(motion="reduce")
        moving = "() => [...document.querySelectorAll('*')].filter((node) => parseFloat(getComputedStyle(node).transitionDuration) > 0.001).length"
        self.assertEqual(chat.page.evaluate(moving), 0)
        chat.page.emulate_media(reduced_motion="no-preference")
        self.assertGreater(chat.page.evaluate(moving), 0)

    # --- without a mouse, without eyes

    def test_everything_can_be_reached_with_the_keyboard_and_the_focus_is_seen(self):
        chat = self.chat(answer(RICH))
        chat.say("Tell me.").done()
        chat.field.fill("so that Send is there")
        chat.page.evaluate("() => document.activeElement.blur()")
        seen = set()
        for _ in range(60):
            chat.page.keyboard.press("Tab")
            name, outline = chat.page.evaluate("""() => {
              const node = document.activeElement;
              // The field of the composer has no outline of its own: the box around it takes the colour of the focus.
              const accent = getComputedStyle(document.querySelector('#send')).backgroundColor;
              const seen = node.id === 'text' ? getComputedStyle(node.closest('#composer')).borderColor === accent
                : getComputedStyle(node).outlineStyle !== 'none';
              return [node.getAttribute('aria-label') || node.id || node.textContent.trim().slice(0, 30), seen];
            }""")
            self.assertTrue(outline, f"no focus is seen on {name}")
            seen.add(name)
        for name in ("New conversation", "search", "Tell me.", "Export all conversations", "Model", "Settings of this conversation", "text", "Send",
                     "Copy answer", "Ask again", "Copy code", "Edit and send again", "Code in python", "Table"):
            self.assertIn(name, seen)

    def test_a_dialog_holds_the_focus_and_gives_it_back(self):
        chat = self.chat()
        chat.button("Settings of this conversation").focus()
        chat.page.keyboard.press("Enter")
        for _ in range(25):
            chat.page.keyboard.press("Tab")
            self.assertTrue(chat.page.evaluate("() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"))
        chat.page.keyboard.press("Escape")
        expect(chat.button("Settings of this conversation")).to_be_focused()

    def test_a_question_mark_outside_a_field_shows_help(self):
        chat = self.chat()
        chat.field.press("?")
        expect(chat.field).to_have_value("?")
        chat.field.fill("")
        chat.button("Settings of this conversation").focus()
        chat.page.keyboard.press("?")
        expect(chat.page.get_by_role("dialog", name="Help")).to_be_visible()
        chat.page.keyboard.press("Escape")
        expect(chat.page.get_by_role("dialog", name="Help")).to_be_hidden()

    def test_a_screen_reader_hears_of_the_answer_when_it_is_whole(self):
        chat = self.chat(lambda call: (call.begin().delta(content="Half"), call.front.gate.wait(60), call.delta(content=" and half."), call.end()))
        chat.say("Tell me.")
        expect(chat.thread).to_have_attribute("aria-busy", "true")
        self.front.gate.set()
        expect(chat.page.locator("#said")).to_have_text("Answer complete.")
        expect(chat.thread).to_have_attribute("aria-busy", "false")
        expect(chat.thread).to_have_attribute("aria-live", "polite")


if __name__ == "__main__":
    cases.main()
