"""How does a test drive a real browser? One headless Chromium for a test file, one fresh profile for each page that is opened.
Whatever goes wrong inside a page (an uncaught error, a line of console.error, a breach of the content security policy, a
request to anywhere but its own server, a file of the page that does not come) is written down and fails the test at its end.

    with Browser() as browser, browser.open(url, width=320, scheme="dark") as page:
        page.get_by_role("button", name="Send").click()
"""
import contextlib
import os
import pathlib
import shutil
import urllib.parse

from playwright.sync_api import expect, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Screenshots of a run, for whoever wants to look; never in the repository.
SHOTS = pathlib.Path(os.environ.get("PAGES_SHOTS", ROOT / "build/pages"))
# A bound, in milliseconds; it only matters when something is broken. A small machine under a sanitizer is slow.
PATIENCE_MS = 60_000

# Seen from inside, so that a breach counts even where the browser does not print it.
WATCH = """
addEventListener('securitypolicyviolation', (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""

# Everything that sticks out of the page to the right, outermost first: what makes it scroll sideways.
OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = (node) => {
    for (; node && node !== document.body; node = node.parentElement)
      if (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(node).overflowX)) return true;
    return false;
  };
  const out = document.documentElement.scrollWidth > width ? [`page is ${document.documentElement.scrollWidth} of ${width}`] : [];
  for (const node of document.body.querySelectorAll('*')) {
    const box = node.getBoundingClientRect();
    if (box.width && box.right > width + 0.5 && !scrolls(node.parentElement))
      out.push(`${node.tagName.toLowerCase()}.${node.getAttribute('class') ?? ''} ends at ${box.right}`);
  }
  return out;
}"""


class Problems(list):
    """What went wrong inside one page. `allow` says which lines are part of the test, by a piece of their text."""

    def __init__(self, origin):
        super().__init__()
        self.origin, self.allowed = origin, []

    def allow(self, *pieces):
        self.allowed += pieces

    def note(self, line):
        if not any(piece in line for piece in self.allowed):
            self.append(line)

    def on_console(self, message):
        if message.type not in ("error", "warning"):
            return
        address = urllib.parse.urlsplit((message.location or {}).get("url", ""))
        # The browser prints every refused request; a refusal of the interface is the page's business, a missing file is not.
        loading = message.text.startswith("Failed to load resource")
        if not (loading and not address.path.startswith("/assets/") and address.path not in ("/", "/cluster")):
            self.note(f"console {message.type}: {message.text} ({address.path})")

    def on_request(self, request):
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.note(f"request to elsewhere: {request.url}")


class Browser:
    """One headless Chromium: the one on PATH, or else the one that playwright itself brought (see tests/pages/run)."""

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        driver = self.stack.enter_context(sync_playwright())
        # Without its sandbox, as it must be for root; it only ever sees pages of this tree. /dev/shm is small in containers.
        self.chromium = driver.chromium.launch(executable_path=shutil.which("chromium"),
                                               args=["--no-sandbox", "--disable-dev-shm-usage"])
        self.stack.callback(self.chromium.close)
        return self

    def __exit__(self, *error):
        self.stack.close()

    def profile(self, width=1280, height=800, scheme="light", motion="reduce", phone=False, **more):
        """A fresh profile, with storage of its own; pages opened in it are tabs of one browser. Close it, or use `with`."""
        profile = self.chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme,
                                            reduced_motion=motion, has_touch=phone, is_mobile=phone, **more)
        profile.set_default_timeout(PATIENCE_MS)
        profile.add_init_script(WATCH)
        return profile

    @contextlib.contextmanager
    def open(self, url, profile=None, **options):
        """A page in a fresh profile, or a further tab of `profile`. Fails at the end when `page.problems` is not empty."""
        own = profile is None
        profile = profile or self.profile(**options)
        try:
            page = self.watched(profile, url)
            page.goto(url)
            yield page
            assert not page.problems, "\n".join(page.problems)
        finally:
            if own:
                profile.close()
            else:
                page.close()

    def watched(self, profile, url):
        page = profile.new_page()
        parts = urllib.parse.urlsplit(url)
        page.problems = Problems(f"{parts.scheme}://{parts.netloc}")
        page.on("console", page.problems.on_console)
        page.on("pageerror", lambda error: page.problems.note(f"uncaught: {error}"))
        page.on("request", page.problems.on_request)
        return page


expect.set_options(timeout=PATIENCE_MS)


def shoot(page, name):
    """A screenshot into the build folder."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def assert_fits(page):
    """Nothing makes the page scroll sideways."""
    out = page.evaluate(OVERFLOW)
    assert not out, f"at {page.viewport_size['width']} px: " + "; ".join(out[:5])
