"""Does the cluster page show what is, in a real browser? A made-up cluster of any size for looks, hands and broken connections; a
real one under load for the truth of its numbers, for a worker that is killed, and for a router and a gateway that come back.
"""
import contextlib
import json
import pathlib
import re
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))

import cases  # noqa: E402
from accessibility import assert_accessible  # noqa: E402
from browser import Browser, assert_fits, expect, shoot  # noqa: E402
from cluster import SIGKILL, Cluster, wait_for  # noqa: E402
from scripted_cluster import ClusterFront, Story  # noqa: E402

SLOW = {"fake": {"step_ms": 4}}


def text(page, selector):
    return page.locator(selector).text_content()


def condition(page, pattern):
    expect(page.locator("#condition")).to_have_text(re.compile(pattern))


def lit(page, selector):
    """How many points of a canvas are painted."""
    return page.evaluate("""(selector) => {
      const canvas = document.querySelector(selector);
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      let count = 0;
      for (let i = 3; i < data.length; i += 4) count += data[i] > 0;
      return count;
    }""", selector)


class Scripted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())

    @contextlib.contextmanager
    def page(self, workers=6, **options):
        with ClusterFront(Story(workers)) as front, self.browser.open(front.url + "/cluster", **options) as page:
            expect(page.locator("#content")).to_be_visible()
            yield front, page

    def test_one_or_sixty_four_workers_fit_on_every_screen_in_light_and_dark(self):
        for workers, width, height, scheme in ((1, 320, 640, "dark"), (6, 320, 640, "light"), (64, 390, 844, "dark"), (6, 820, 1100, "light"),
                                               (64, 1440, 900, "light"), (1, 2400, 1300, "light"), (6, 1440, 900, "dark")):
            with self.subTest(workers=workers, width=width, scheme=scheme), \
                    self.page(workers, width=width, height=height, scheme=scheme, phone=width < 500) as (front, page):
                front.tick(*front.story.kill(workers - 1))
                expect(page.locator(".worker[data-state=down]")).to_have_count(1)
                self.assertEqual(page.locator(".worker").count(), workers)
                assert_fits(page)
                assert_accessible(page)
                self.assertGreater(lit(page, "#plot-generated canvas"), 500)
                shoot(page, f"cluster-{workers}-{width}-{scheme}")

    def test_a_plot_is_sharp_and_tells_the_value_under_pointer_and_keys(self):
        with self.page(device_scale_factor=2) as (front, page):
            canvas = page.locator("#plot-generated canvas")
            box = canvas.bounding_box()
            self.assertEqual(canvas.evaluate("(c) => c.width"), round(2 * box["width"]))
            seconds = front.story.history(front.story.now - 300, front.story.now)
            told = dict(zip(seconds["time"], seconds["generated_tokens"], strict=True))
            latest = text(page, "#plot-generated .value")
            canvas.hover(position={"x": box["width"] / 2, "y": 60})
            expect(page.locator("#plot-generated .at")).not_to_be_empty()
            # All plots point at the same second.
            self.assertEqual(text(page, "#plot-generated .at"), text(page, "#plot-first .at"))
            value = float(text(page, "#plot-generated .value").rstrip("/s").replace(",", ""))
            self.assertTrue(any(abs(value - at) < 0.06 * at + 1 for at in told.values()), value)
            page.mouse.move(5, 5)
            expect(page.locator("#plot-generated .value")).to_have_text(latest)
            canvas.focus()
            page.keyboard.press("ArrowLeft")
            at = page.locator("#plot-generated .at")
            expect(at).to_have_text(re.compile(r":\d\d$"))
            last = at.text_content()
            page.keyboard.press("PageUp")
            expect(at).not_to_have_text(last)
            page.keyboard.press("Escape")
            expect(page.locator("#plot-generated .at")).to_be_empty()
            self.assertRegex(canvas.get_attribute("aria-label"), r"^Generated tokens: generated [\d,.k]+/s$")

    def test_ranges_filters_and_one_worker_are_chosen_by_keyboard_alone(self):
        with self.page() as (front, page):
            events = [*front.story.kill(2), front.story.event("moved", "10.0.0.12:7100", "10.0.0.10:7100", "KV of 3 sequences arrived", 3)]
            front.tick(*events)
            rows = page.locator(".happening")
            expect(rows).to_have_count(3)
            page.get_by_role("button", name="1 min", exact=True).press("Enter")
            expect(page.locator("#ranges [aria-pressed=true]")).to_have_text("1 min")
            page.locator("h1").click()
            page.keyboard.press("0")
            expect(page.locator("#ranges [aria-pressed=true]")).to_have_text("10 min")
            page.get_by_role("button", name="Failures").press("Space")
            expect(rows).to_have_count(2)
            page.get_by_role("button", name="Moves").press("Enter")
            expect(rows).to_have_text([re.compile("moved.*10.0.0.10:7100 → 10.0.0.12:7100")])
            page.get_by_role("button", name="All", exact=True).press("Enter")
            page.get_by_role("button", name="10.0.0.13:7100").press("Enter")
            expect(page.get_by_text("Nothing of this kind happened.")).to_be_visible()
            page.get_by_role("button", name="10.0.0.13:7100 ✕").press("Enter")
            expect(rows).to_have_count(3)

    def test_what_a_peer_says_is_text_and_nothing_else(self):
        with self.page() as (front, page):
            evil = "<img src=x onerror=alert(1)>"
            front.story.workers[3] |= {"address": evil, "state": "down", "why": evil}
            front.tick(front.story.event("worker_down", evil, evil, evil))
            expect(page.locator(".happening .text")).to_have_text(evil)
            self.assertEqual(page.locator("img").count(), 0)
            assert_fits(page)

    def test_a_cut_connection_is_said_shown_and_healed(self):
        with self.page() as (front, page):
            condition(page, "^live$")
            front.tick()
            before = front.story.now
            front.refusal = lambda key: (502, "bad gateway")
            front.cut()
            condition(page, "^gateway away since .*, trying again$")
            expect(page.locator("body")).to_have_attribute("data-stale", "true")
            assert_accessible(page)
            shoot(page, "cluster-stale")
            for _ in range(30):
                front.story.tick()
            front.refusal = None
            condition(page, "^live$")
            expect(page.locator("body")).to_have_attribute("data-stale", "false")
            self.assertGreater(front.story.now, before)

    def test_a_key_is_asked_for_and_used(self):
        with ClusterFront(Story(2)) as front:
            front.refusal = lambda key: None if key == "Bearer sk-operator" else (403, "this key is not an operator's") if key else (401, "a key is needed")
            with self.browser.open(front.url + "/cluster") as page:
                expect(page.get_by_role("heading", name="This cluster asks for a key")).to_be_visible()
                assert_accessible(page)
                page.get_by_label("Operator key").fill("sk-client")
                page.get_by_role("button", name="Show the cluster").click()
                expect(page.get_by_text("this key is not an operator's")).to_be_visible()
                page.get_by_label("Operator key").fill("sk ü")
                page.keyboard.press("Enter")
                expect(page.get_by_text("A key has no spaces")).to_be_visible()
                page.get_by_label("Operator key").fill("sk-operator")
                page.keyboard.press("Enter")
                expect(page.locator("#content")).to_be_visible()
                condition(page, "^live$")
                page.reload()  # this tab has it
                condition(page, "^live$")
                self.assertNotIn("sk-operator", page.content())


class Load:
    """Requests in the background, one after the other on each of a few threads, until it is left."""

    def __init__(self, cluster, threads=6, tokens=60):
        self.cluster, self.tokens, self.over, self.generated, self.lock = cluster, tokens, threading.Event(), 0, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(threads)]

    def run(self, seed):
        while not self.over.is_set():
            with contextlib.suppress(OSError, AssertionError):
                answer = self.cluster.complete([3 + (seed * 7 + k) % 200 for k in range(80)], self.tokens).read_all()
                with self.lock:
                    self.generated += len(answer.token_ids())

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(60)


def state(cluster):
    status, body = cluster.gateway.get("/cluster/state")
    assert status == 200, body
    return json.loads(body)


class Real(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = cls.enterClassContext(Browser())

    def test_numbers_move_agree_with_metrics_and_tell_a_death(self):
        with Cluster(("prefill", "decode", "decode"), worker=SLOW) as cluster, \
                self.browser.open(cluster.url.removesuffix("/v1") + "/cluster") as page:
            condition(page, "^live$")
            expect(page.locator(".worker[data-state=up]")).to_have_count(3)
            with Load(cluster):
                expect(page.locator("#tile-generated .number")).to_have_text(re.compile(r"^[1-9][\d,.k]*/s$"))
                expect(page.locator("#tile-first .number")).to_have_text(re.compile(r" (ms|s)$"))
                expect(page.locator("#tile-inter .number")).to_have_text(re.compile(r" (ms|s)$"))
                expect(page.locator("#place-decode .amount")).to_have_text(re.compile(r"^[1-9]"))
                expect(page.locator(".happening", has_text="moved").first).to_be_visible()
                victim = cluster.workers[1]
                victim.signal(SIGKILL)
                victim.wait()
                card = page.locator(".worker[data-state=down]")
                expect(card).to_have_count(1)
                address = card.locator(".address").text_content()
                expect(page.locator(".happening", has_text="worker down").first).to_contain_text(address)
                expect(page.locator("#workers-decode .how-many")).to_have_text("1 of 2 up")
                shoot(page, "cluster-real")
                victim.start()
                expect(page.locator(".worker[data-state=up]")).to_have_count(3)
            # At rest everything that was counted agrees, second by second and in all.
            wait_for("nothing runs", lambda: cluster.router.metric("fathom_router_requests_running") == 0)
            total = cluster.router.metric("fathom_router_generated_tokens_total")
            wait_for("the history has it all", lambda: sum(state(cluster)["history"]["generated_tokens"]) == total)
            history = state(cluster)["history"]
            ended = cluster.router.metric("fathom_router_requests_total")
            self.assertEqual(sum(sum(history[f"ended_{name}"]) for name in ("stop", "length", "cancelled", "refused", "timeout", "failed")), ended)
            self.assertEqual(sum(history["recoveries"]), cluster.router.metric("fathom_router_recoveries_total"))
            expect(page.locator("#place-decode .amount")).to_have_text("0")
            expect(page.locator("#tile-generated .number")).to_have_text("0/s")

    def test_a_router_that_dies_is_said_to_be_away_and_is_found_again(self):
        with Cluster(("both",), worker=SLOW) as cluster, self.browser.open(cluster.url.removesuffix("/v1") + "/cluster") as page:
            cluster.complete([5, 6, 7], 20).read_all()
            condition(page, "^live$")
            cluster.router.signal(SIGKILL)
            cluster.router.wait()
            condition(page, r"^router away since \d\d:\d\d:\d\d")
            expect(page.locator("body")).to_have_attribute("data-stale", "true")
            cluster.router.start()
            condition(page, "^live$")
            expect(page.locator(".worker[data-state=up]")).to_have_count(1)
            expect(page.locator(".happening", has_text="router started").first).to_be_visible()

    def test_a_gateway_that_dies_is_said_to_be_away_and_the_past_is_kept(self):
        with Cluster(("both",), worker=SLOW) as cluster, self.browser.open(cluster.url.removesuffix("/v1") + "/cluster") as page:
            cluster.complete([5, 6, 7], 20).read_all()
            condition(page, "^live$")
            expect(page.locator("#plot-generated .legend")).to_be_visible()
            cluster.gateway.signal(SIGKILL)
            cluster.gateway.wait()
            condition(page, "^gateway away since .*, trying again$")
            cluster.gateway.start()
            condition(page, "^live$")
            # The router remembers; the second they came in may still be running when the gateway is back.
            wait_for("the tokens of before", lambda: sum(state(cluster)["history"]["generated_tokens"]) == 20)
            expect(page.locator(".happening", has_text="gateway left")).to_have_count(1)


if __name__ == "__main__":
    cases.main()
