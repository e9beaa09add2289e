"""The rendered book in a real browser: quiet, self-contained, for everybody, and alive.

`KENSEG_HTML=_build/html pytest tests/test_browser.py` looks at a book that is already there.
"""

import base64
import functools
import io
import json
import re
import sys

import numpy as np
import pytest
from browsing import served
from conftest import ROOT
from PIL import Image

sys.path.insert(0, str(ROOT / "book" / "_tools"))

CONTENTS = (ROOT / "book" / "_toc.yml").read_text()
PAGES = [*re.findall(r"(?:root|file): (\S+)", CONTENTS), "search", "genindex"]
LIVELY = [page for page in PAGES if page.startswith("notebooks/")]
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
CONTRAST, LINKS = "color-contrast", "link-in-text-block"
# What each page holds is seen in the dark on a phone; the bars at its sides, alike on all, are not.
WIDE_IN_THE_DARK = ("book/intro", "book/try-it", "notebooks/05_gpu_training")


@pytest.fixture(scope="session")
def address(html):
    """The book, served on localhost."""
    with served(html) as where:
        yield where


class Tab:
    """A page that keeps what it complained of and whom it asked."""

    def __init__(self, browser, **settings):
        self.context = browser.new_context(
            **({"viewport": {"width": 1280, "height": 900}} | settings)
        )
        self.page = self.context.new_page()
        self.page.add_init_script(WATCH)
        self.errors, self.requests = [], []
        self.page.on(
            "console", lambda said: self.errors.append(said.text) if said.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, where):
        self.page.goto(where, wait_until="load")
        return self.page

    def strangers(self, address):
        """What was asked of anybody else."""
        return [url for url in self.requests if not url.startswith((address, "data:", "blob:"))]

    def close(self):
        self.context.close()


@pytest.fixture
def tab(chromium):
    opened = Tab(chromium)
    yield opened
    opened.close()


@pytest.fixture
def phone(chromium):
    opened = Tab(chromium, viewport={"width": 360, "height": 740}, color_scheme="dark")
    yield opened
    opened.close()


CAPTIONS = """() => [...document.querySelectorAll("table > caption")]
  .filter((one) => one.offsetParent && one.getBoundingClientRect().width > innerWidth)
  .map((one) => one.textContent)"""
KEPT_WHOLE = """() => Object.fromEntries(Object.entries({viewer: ".kenseg-viewer",
    code: "div.highlight, div.highlight pre", table: ".bd-content table"})
  .map(([name, found]) => [name, [...new Set([...document.querySelectorAll(found)]
    .map((one) => getComputedStyle(one).breakInside))]]))"""
LAYOUT = """() => {
  const wide = document.documentElement.clientWidth, found = [];
  if (document.scrollingElement.scrollWidth > wide) {
    for (const part of document.querySelectorAll(".bd-article *")) {
      const right = part.getBoundingClientRect().right;
      if (right > wide + 1 && part.childElementCount === 0) {
        found.push(`${part.tagName} ${part.className} "${part.textContent.trim().slice(0, 40)}"`);
      }
    }
    found.push(`the page is ${document.scrollingElement.scrollWidth} wide`);
  }
  return found.slice(-4);
}"""
# What a reader sees of the code: its share of the page's height, and which of it does not fit its
# box as it was written: where the page breaks long lines rather than scroll, they are unbroken.
SHOWN_CODE = """() => {
  const whole = document.querySelector(".bd-article")?.offsetHeight || 1;
  const seen = (found) => [...document.querySelectorAll(found)]
    .filter((part) => part.checkVisibility() && !part.closest("details:not([open])"));
  const share = seen(".cell_input").reduce((sum, cell) => sum + cell.offsetHeight, 0) / whole;
  const sideways = [];
  for (const pre of seen("div.highlight pre")) {
    if (pre.closest(".cell_output")) continue;  // printed, not written
    pre.style.whiteSpace = "pre";
    if (pre.scrollWidth > pre.clientWidth + 1) {
      const lines = pre.textContent.split("\\n").sort((a, b) => b.length - a.length);
      sideways.push(`${lines[0].length} columns: ${lines[0]}`);
    }
    pre.style.whiteSpace = "";
  }
  return { share, sideways };
}"""
# From the first moment on: what moves by itself, and when the first slider's picture first follows.
WATCH = """
  window.kensegMoved = [];
  window.kensegAnswered = null;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) {
        const named = entry.sources.map(({ node }) => node && node.textContent.trim().slice(0, 30));
        kensegMoved.push([entry.value, named]);
      }
    }
  }).observe({ type: "layout-shift", buffered: true });
  const ask = () => {
    const slider = [...document.querySelectorAll(".kenseg-viewer input[type=range]")]
      .find((one) => one.checkVisibility());
    if (slider) {
      const viewer = slider.closest(".kenseg-viewer");
      const seen = () => [...viewer.querySelectorAll("[data-shows] > div")]
        .filter((part) => part.checkVisibility()).map((part) => part.innerHTML).join();
      const before = seen(), first = slider.value;
      slider.value = slider.valueAsNumber + (first === slider.max ? -1 : 1);
      slider.dispatchEvent(new Event("input"));
      if (seen() !== before) {
        requestAnimationFrame(() => setTimeout(() => { kensegAnswered = performance.now(); }));
        slider.value = first;
        slider.dispatchEvent(new Event("input"));
        return;
      }
      slider.value = first;
    }
    if (document.readyState !== "complete") requestAnimationFrame(ask);
  };
  ask();
"""
# A page is read from end to end; what moved by itself meanwhile, all together and the most of it.
MOVED = """async () => {
  for (let y = 0; y < document.scrollingElement.scrollHeight; y += innerHeight) {
    scrollTo(0, y);
    await new Promise(requestAnimationFrame);
  }
  scrollTo(0, 0);
  await new Promise((done) => setTimeout(done, 100));
  return [kensegMoved.reduce((sum, [value]) => sum + value, 0),
          kensegMoved.sort(([one], [other]) => other - one).slice(0, 3)];
}"""
# Two pieces of text in one place. Of each line the middle nine tenths of its letters' height count;
# of what scrolls, what is in its box; what floats above the page lies over it, as it should.
OVERLAPS = """() => {
  const UNSEEN = "script, style, noscript, template, .visually-hidden, .sr-only, .skip-link";
  const places = new Map(), floor = (part) => {
    if (!part || part === document.body) return { above: document.body, clip: null };
    if (places.has(part)) return places.get(part);
    let { above, clip } = floor(part.parentElement);
    const style = getComputedStyle(part);
    const floats = ["fixed", "sticky"].includes(style.position)
      || (style.position !== "static" && style.zIndex !== "auto") || part.tagName === "DIALOG";
    if (floats) above = part;
    if (style.overflowX !== "visible" || style.overflowY !== "visible") {
      const box = part.getBoundingClientRect();
      clip = clip ? { left: Math.max(clip.left, box.left), right: Math.min(clip.right, box.right),
        top: Math.max(clip.top, box.top), bottom: Math.min(clip.bottom, box.bottom) } : box;
    }
    places.set(part, { above, clip });
    return { above, clip };
  };
  const lines = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walk.nextNode()) {
    const text = walk.currentNode, part = text.parentElement;
    if (!text.data.trim() || part.closest(UNSEEN)) continue;
    if (part.closest("details:not([open])") && !part.closest("summary")) continue;
    if (!part.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const { above, clip } = floor(part), high = 0.9 * parseFloat(getComputedStyle(part).fontSize);
    range.selectNodeContents(text);
    for (const box of range.getClientRects()) {
      const middle = (box.top + box.bottom) / 2;
      const line = { text, above, left: box.left, right: box.right,
        top: middle - Math.min(high, box.height) / 2,
        bottom: middle + Math.min(high, box.height) / 2 };
      if (clip) {
        line.left = Math.max(line.left, clip.left); line.right = Math.min(line.right, clip.right);
        line.top = Math.max(line.top, clip.top); line.bottom = Math.min(line.bottom, clip.bottom);
      }
      if (line.right - line.left > 2 && line.bottom - line.top > 2) lines.push(line);
    }
  }
  lines.sort((one, other) => one.top - other.top);
  const found = [];
  let near = [];
  for (const line of lines) {
    near = near.filter((other) => other.bottom > line.top + 2);
    for (const other of near) {
      if (other.text !== line.text && other.above === line.above
          && Math.min(other.right, line.right) - Math.max(other.left, line.left) > 2
          && Math.min(other.bottom, line.bottom) - line.top > 2) {
        found.push([other, line].map((one) => one.text.data.trim().slice(0, 40)).join(" | "));
      }
    }
    near.push(line);
  }
  return [...new Set(found)].slice(0, 5);
}"""
# Chapters that are read by people who read no code: it fills a fifth of their pages at most.
MOSTLY_PROSE = dict.fromkeys(("01", "02", "06", "10", "11", "12"), 0.2)
NAMELESS = """() => [...document.querySelectorAll("main img")].filter(
  (image) => !image.closest("[aria-hidden=true]") && image.alt.trim().split(/\\s+/).length < 3)
  .map((image) => image.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    import vendor

    folder = tmp_path_factory.mktemp("axe")
    try:
        vendor.fetch(vendor.AXE, folder, ROOT / "_build" / "vendor")
    except vendor.Unavailable as reason:
        pytest.skip(f"axe-core comes from npm, and {reason}")
    return (folder / "axe.min.js").read_text()


# Of visible text in the same colours and size three pieces stay, and the page shrinks to what
# contrast has to be asked of: thousands of words of code are of a hundred kinds.
THREE_OF_A_KIND = """() => {
  const kinds = new Map(), grounds = new Map(), again = [];
  const ground = (part) => {
    if (!part) return "";
    if (!grounds.has(part)) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(part);
      grounds.set(part, ground(part.parentElement) + [backgroundColor, backgroundImage, opacity]);
    }
    return grounds.get(part);
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode, part = text.parentElement;
    if (!text.data.trim()) continue;
    if (!part.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    const { color, fontSize, fontWeight } = getComputedStyle(part);
    const kind = [ground(part), color, fontSize, fontWeight].join();
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    if (kinds.get(kind) > 3) again.push(text);
  }
  for (const text of again) {
    let part = text.parentElement;
    text.remove();
    while (part !== document.body && !part.childNodes.length) {
      const empty = part;
      part = part.parentElement;
      empty.remove();
    }
  }
}"""


# Three quarters of a chapter's elements only colour words of code: contrast is asked of those that
# can be seen, and all else without them (links are compared with the block that they stand in).
PLAIN_CODE = """() => {
  window.kensegCode = new Map();
  for (const pre of document.querySelectorAll("div.highlight pre")) {
    kensegCode.set(pre, pre.innerHTML);
    for (const part of [...pre.querySelectorAll("span")]) {
      if ([...part.attributes].every(({ name }) => name === "class")) {
        part.replaceWith(...part.childNodes);
      }
    }
    pre.normalize();
  }
}"""
COLOURED_AGAIN = """() => {
  for (const [pre, html] of kensegCode) if (pre.checkVisibility()) pre.innerHTML = html;
}"""


def barriers(page, axe, colours_alone=False):
    """Serious violations that axe-core finds: (rule, where, how to mend it).

    Contrast looks at three of a kind, after which the page is no longer what it was; all other
    rules, or those on colours, at the whole page before.
    """
    page.evaluate(f"() => {{ const define = undefined, module = undefined; {axe} }}")
    whole = (
        dict(type="rule", values=[LINKS]) if colours_alone else dict(type="tag", values=STANDARD)
    )
    page.evaluate(PLAIN_CODE)
    found = violations(page, {"runOnly": whole, "rules": {CONTRAST: {"enabled": False}}})
    page.evaluate(COLOURED_AGAIN)
    page.evaluate(THREE_OF_A_KIND)
    found += violations(page, {"runOnly": {"type": "rule", "values": [CONTRAST]}})
    return [
        (one["id"], node["target"], node["failureSummary"][-160:])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


def violations(page, asked):
    return page.evaluate(
        "async (asked) => (await axe.run(document, asked)).violations",
        asked | {"resultTypes": ["violations"], "preload": False},
    )


def first_paint(page):
    """Milliseconds from the request to the first words or pictures."""
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
    return page.evaluate(
        "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )


PACE = """() => {
  const begun = performance.now();
  let x = 0.5;
  for (let i = 0; i < 1e8; i++) x = 3.9 * x * (1 - x);
  return performance.now() - begun;
}"""
PAINTED, ANSWERED = 1000, 1500  # ms at most
PACE_ALONE = 325  # ms of it on a server's processor of 2017 that has nothing else to do


def waited(page):
    """Milliseconds until the first words, and until a viewer answered, as on that processor alone.

    Tests run beside each other: what else the machine does now slows a loop of sums as well.
    """
    paint, answer = first_paint(page), page.evaluate("() => kensegAnswered") or 0
    if answer > ANSWERED:
        answer /= max(1, page.evaluate(PACE) / PACE_ALONE)
    return paint, answer


def stays(page):
    """Complains of what moves while a page is loaded and read."""
    moved, most = page.evaluate(MOVED)
    assert moved <= 0.05, f"what moves by itself: {most}"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_quiet_quick_and_for_everybody(name, tab, address, axe):
    page = tab.open(f"{address}/{name}.html")
    waits = [waited(page)]
    stays(page)
    assert page.evaluate(NAMELESS) == [], "pictures without alternative text"
    assert page.evaluate(OVERLAPS) == [], "text over text"
    code = page.evaluate(SHOWN_CODE)
    assert code["sideways"] == [], "shown code scrolls sideways"
    most = MOSTLY_PROSE.get(name.removeprefix("notebooks/")[:2], 1)
    assert code["share"] <= most, f"code fills {code['share']:.0%} of the page"
    lively = page.locator(".kenseg-viewer input[type=range]:visible").count()
    assert not lively or waits[0][1], "a viewer that does not answer"
    assert barriers(page, axe) == []
    if name in WIDE_IN_THE_DARK:  # the theme follows the system's setting; only colours change
        page.emulate_media(color_scheme="dark")
        tab.open(f"{address}/{name}.html")
        assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
        assert barriers(page, axe, colours_alone=True) == [], "in the dark theme"
    assert not tab.errors and tab.strangers(address) == []
    paints, answers = zip(*waits)
    while (min(paints) > PAINTED or min(answers) > ANSWERED) and len(waits) < 4:
        tab.open(f"{address}/{name}.html")
        waits.append(waited(page))
        paints, answers = zip(*waits)
    assert min(paints) <= PAINTED, f"first content after {paints} ms"
    assert min(answers) <= ANSWERED, f"a viewer answers after {answers} ms"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_the_same_on_a_phone_in_the_dark(name, phone, address, axe):
    page = phone.open(f"{address}/{name}.html")
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    stays(page)
    assert page.evaluate(LAYOUT) == [], "a phone's page scrolls sideways"
    assert page.evaluate(CAPTIONS) == [], "a caption runs out of a phone's screen"
    assert page.evaluate(OVERLAPS) == [], "text over text"
    assert barriers(page, axe) == []
    assert not phone.errors and phone.strangers(address) == []


# What the page checks above are to find: each is shown a page that has it, and one that has not.
WORDS = "<h2>A heading</h2><p>A paragraph of words.</p><ul><li>one</li><li>two</li></ul>"
CODE = '<div class="{}"><div class="highlight"><pre style="{}">{}</pre></div></div>'


@pytest.mark.parametrize(
    ("found", "faulty", "sound"),
    [
        ("overlap", f"{WORDS}<p style='margin-top:-2.5em'>Words over words.</p>", WORDS),
        (
            "overlap",
            "<p style='position:relative'>Words<b style='position:absolute;left:0'>above</b></p>",
            "<p>Words <b style='position:sticky;top:0'>above</b></p>",
        ),
        (
            "overlap",
            "<table><tr><td style='max-width:2em;white-space:nowrap'>a long cell<td>next</table>",
            "<table><tr><td style='max-width:2em;white-space:nowrap;overflow:hidden'>a long cell"
            "<td>next</table>",
        ),
        (
            "code",
            CODE.format("cell_input", "white-space:pre-wrap", "x" * 300),
            CODE.format("cell_input", "white-space:pre-wrap", "x\n" * 300),
        ),
        ("code", CODE.format("", "overflow:auto", "x" * 300), CODE.format("", "", "x" * 80)),
        (
            "moved",
            "<p id=late style='height:0'></p><p style='height:60vh'>Below.</p>"
            "<script>addEventListener('load', () => setTimeout(() => {"
            " late.style.height = '400px'; }, 300));</script>",
            "<p id=late style='height:400px'></p><p style='height:60vh'>Below.</p>",
        ),
    ],
)
def test_what_looks_for_faults_finds_them_and_no_others(found, faulty, sound, tab, tmp_path):
    def faults(body):
        (tmp_path / "page.html").write_text(f"<!doctype html><body><main>{body}</main>")
        page = tab.open((tmp_path / "page.html").as_uri())
        if found == "overlap":
            return page.evaluate(OVERLAPS)
        if found == "code":
            return page.evaluate(SHOWN_CODE)["sideways"]
        page.wait_for_timeout(500)
        moved, most = page.evaluate(MOVED)
        return most if moved > 0.05 else []

    assert faults(faulty) and not faults(sound)


PALE = "<p style='color:#bbb'>Pale words.</p>"


@pytest.mark.parametrize(
    ("faulty", "sound"),
    [
        ("<code>word</code> " * 50 + PALE, "<code>word</code> " * 50),
        (f"<details><summary>More</summary>{PALE * 5}</details>{PALE}", "<p>Words.</p>" * 9),
        (
            "<p>Words.</p>" * 9 + "<div style='background:#444'><p>Words.</p></div>",
            "<p>Words.</p>" * 9 + "<div style='background:#eee'><p>Words.</p></div>",
        ),
        (
            "<p>Words.</p>" * 9 + "<div style='opacity:0.4'><p>Words.</p></div>",
            "<p>Words.</p>" * 9 + "<div style='opacity:0'><p>Words.</p></div>",
        ),
        (
            "<p style='font-size:2em;color:#888'>Large words.</p>" * 4 + "<p style='color:#888'>A.",
            "<p style='font-size:2em;color:#888'>Large words.</p>" * 4,
        ),
    ],
)
def test_of_a_thousand_words_the_one_that_is_hard_to_read_is_found(
    faulty, sound, tab, tmp_path, axe
):
    def faults(body):
        (tmp_path / "page.html").write_text(
            f"<!doctype html><html lang=en><title>A page</title><body><main>{body}</main>"
        )
        return barriers(tab.open((tmp_path / "page.html").as_uri()), axe)

    assert [rule for rule, *_ in faults(faulty)] == ["color-contrast"]
    assert faults(sound) == []


SLOW = """<div class="kenseg-viewer"><div data-shows="s"><div>one</div><div hidden>two</div></div>
<input type="range" id="s" max="1" value="0"></div>
<script>const follow = () => s.addEventListener("input", () =>
  [...document.querySelectorAll("[data-shows] > div")].forEach((one, n) => {
    one.hidden = n !== s.valueAsNumber; }));
if (WAIT) setTimeout(follow, WAIT); else follow();</script><img src="slow.png">"""


@pytest.mark.parametrize("wait", [0, 800])
def test_when_a_viewer_first_answers_is_seen(wait, tab):
    tab.page.route(
        "http://book/**",
        lambda route: (
            route.fulfill(content_type="text/html", body=SLOW.replace("WAIT", str(wait)))
            if route.request.url.endswith("html")
            else (tab.page.wait_for_timeout(1200), route.fulfill(body=""))
        ),
    )
    page = tab.open("http://book/page.html")
    page.wait_for_function("() => kensegAnswered", timeout=5000)
    assert wait < page.evaluate("() => kensegAnswered") < wait + 1000
    assert page.locator("[data-shows] > div").first.is_visible(), "the picture is as it was"


def test_a_printed_page_is_the_article_alone_and_leaves_no_half_pages_empty(tab, address):
    page = tab.open(f"{address}/notebooks/01_atlas_exploration.html")
    page.emulate_media(media="print")
    assert page.evaluate(KEPT_WHOLE) == {"viewer": ["avoid"], "code": ["auto"], "table": ["auto"]}
    hidden = page.evaluate("""() =>
        [...document.querySelectorAll(".bd-sidebar, .bd-header-article")]
        .filter((part) => part.offsetParent).map((part) => part.className)""")
    assert hidden == []


# --- Viewers and questions, by keyboard alone ----------------------------------------------------

SHOWN = """(viewer) => [...viewer.querySelectorAll("[data-shows] > div")]
  .filter((part) => part.offsetParent).map((part) => part.innerHTML).join()"""


def seen(viewer):
    return viewer.evaluate(SHOWN)


def changes(page, viewer, before):
    """Whether the viewer soon shows something else than `before`."""
    for _ in range(60):
        if seen(viewer) != before:
            return True
        page.wait_for_timeout(50)
    return False


@pytest.mark.parametrize("name", LIVELY)
def test_viewers_and_questions_work_by_keyboard(name, tab, address):
    page = tab.open(f"{address}/{name}.html")
    # Bets, dice and numbers answer otherwise: tests/test_games.py tries them.
    others = ".kenseg-bet, .kenseg-dice, .kenseg-number"
    for form in page.locator(f"form.kenseg-quiz:not({others})").all():
        answer(page, form)
    left = page.locator('script[type^="application/vnd.jupyter.widget"]').count()
    assert not left, "a viewer that waits for a widget manager"
    viewers = page.locator(".kenseg-viewer")
    for viewer in viewers.all():
        buttons = viewer.locator(".kenseg-buttons button")
        if not buttons.count():
            move_sliders(page, viewer)
        for place in reversed(range(buttons.count())):
            before = seen(viewer)
            pressed = buttons.nth(place).get_attribute("aria-pressed") == "true"
            buttons.nth(place).focus()
            page.keyboard.press("Enter")
            assert pressed or changes(page, viewer, before), "a button that changes nothing"
            move_sliders(page, viewer)
    assert not tab.errors


def answer(page, form):
    """Choose each option of a question in turn: its explanation appears, and it alone."""
    radios, answers = form.locator("input"), form.locator(".kenseg-answer")
    assert not any(one.is_visible() for one in answers.all()), "answers given away"
    radios.first.focus()
    page.keyboard.press("Space")
    for place in range(radios.count()):
        assert radios.nth(place).is_checked()
        assert [k for k, one in enumerate(answers.all()) if one.is_visible()] == [place]
        assert form.locator("[role=status]").text_content() == answers.nth(place).text_content()
        page.keyboard.press("ArrowDown")


def move_sliders(page, viewer):
    """Move the visible slider by its keys, and by the play button beside it."""
    handles = viewer.locator("input[type=range]:visible")
    assert handles.count() <= 1
    for handle in handles.all():
        assert handle.get_attribute("aria-valuetext")
        at_end = handle.input_value() == handle.get_attribute("max")
        before = seen(viewer)
        handle.focus()
        page.keyboard.press("ArrowLeft" if at_end else "ArrowRight")
        assert changes(page, viewer, before), "a slider that changes nothing"
    players = viewer.locator(".kenseg-play:visible")
    if players.count():
        before = seen(viewer)
        players.first.focus()
        page.keyboard.press("Enter")
        assert changes(page, viewer, before), "play does not play"
        page.keyboard.press("Enter")


# --- From a file, searched, lost -----------------------------------------------------------------


@pytest.mark.parametrize("name", [LIVELY[1], LIVELY[2], "book/try-it"])
def test_page_works_from_a_file(name, tab, html):
    page = tab.open((html / f"{name}.html").as_uri())
    assert not tab.errors
    assert not [url for url in tab.requests if url.startswith("http")]
    for viewer in page.locator(".kenseg-viewer").all()[:1]:
        if not viewer.locator(".kenseg-buttons").count():
            move_sliders(page, viewer)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("overfitting", "notebooks/05_gpu_training"),
        ("over-fitting", "notebooks/05_gpu_training"),
        ("3D", "notebooks/11_whole_brain_segmentation"),
        ("install", "book/intro"),
        ("dice", "notebooks/06_dice_evaluation"),
    ],
)
def test_search_knows_other_spellings_and_puts_chapters_first(words, expected, tab, address):
    page = tab.open(f"{address}/search.html?q={words}")
    page.wait_for_selector("#search-results li a", timeout=15_000)
    found = page.locator("#search-results li > a").evaluate_all("(all) => all.map((a) => a.href)")
    assert any(expected in one for one in found[:12]), found[:12]
    assert not [one for one in found[:3] if "/book/api" in one], "the package before the chapters"


def test_set_up_cells_are_not_searched(tab, address):
    page = tab.open(f"{address}/search.html?q=REPOSITORY")
    page.wait_for_function("() => document.querySelector('#search-summary, .search-summary')")
    page.wait_for_timeout(300)
    found = page.locator("#search-results li > a").evaluate_all("(all) => all.map((a) => a.href)")
    assert sum("notebooks/" in one for one in found) <= 3, "every chapter has that cell"


@pytest.mark.parametrize("from_file", [False, True])
def test_search_finds(from_file, tab, html, address):
    base = html.as_uri() if from_file else address
    page = tab.open(f"{base}/search.html?q=threshold")
    page.wait_for_selector("#search-results li a", timeout=15_000)
    assert "06_dice_evaluation" in page.locator("#search-results").inner_html()
    assert not tab.errors


def test_a_lost_reader_finds_back(tab, address):
    page = tab.open(f"{address}/404.html")
    assert not [url for url in tab.requests if "favicon" in url]
    page.get_by_role("link", name="first page").click()
    assert page.url == f"{address}/book/intro.html"
    page = tab.open(f"{address}/intro.html")
    page.wait_for_url(f"{address}/book/intro.html")


# --- The network in the page ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def stored(html):
    """The slices that the page offers, with what Keras answered when the book was built."""
    text = (html / "_static/network/slices.js").read_text()
    if 'kensegNetwork.runtime = ""' in text:
        pytest.skip(
            "the page has stored answers only: npm, its registry or the exporter was not "
            "to be had at build time"
        )
    return json.loads(text.splitlines()[0].removeprefix("window.kensegNetwork = ").rstrip(";"))


def start(tab, where):
    page = tab.open(where)
    page.wait_for_selector('#kenseg-try[data-state="asking"]')
    fetched = [url for url in tab.requests if re.search(r"onnx|/ort|worker", url)]
    assert fetched == [], "loaded before it was asked for"
    page.locator("[data-part=load]").click()
    page.wait_for_selector('#kenseg-try[data-state="live"]', timeout=60_000)
    page.wait_for_function("() => document.getElementById('kenseg-try').kensegResult")
    return page


def result(page, act):
    """What the network in the page answers after `act`."""
    page.evaluate(
        "() => { const root = document.getElementById('kenseg-try'); root.kensegResult = null; }"
    )
    act()
    page.wait_for_function(
        "() => document.getElementById('kenseg-try').kensegResult", timeout=30_000
    )
    return {
        name: np.array(values)
        for name, values in page.evaluate(
            "() => Object.fromEntries(Object.entries(document.getElementById('kenseg-try')"
            ".kensegResult).map(([name, values]) => [name, Array.from(values)]))"
        ).items()
    }


def test_the_network_in_the_page_agrees_with_keras(tab, address, stored):
    page = start(tab, f"{address}/book/try-it.html")
    slices = stored["slices"]
    assert len(slices) >= 3
    for number in [*range(1, len(slices)), 0]:
        choose = functools.partial(page.select_option, "#try-slice", str(number))
        found = result(page, choose)
        keras = np.frombuffer(base64.b64decode(slices[number]["probability"]), "<u2") / 65535
        assert keras.std() > 1e-4, "a map of one value would agree with anything"
        assert np.abs(found["probability"] - keras).max() < 1e-3
        # Cut in the middle of what occurs, so that both answers are many.
        threshold = np.quantile(keras, 0.9)
        sure = np.abs(keras - threshold) > 2 / 65535
        same = (found["probability"] >= threshold) == (keras >= threshold)
        assert same[sure].mean() >= 0.999
        assert (found["mask"] == (keras >= 0.5)).mean() >= 0.999
    assert not tab.errors


def test_what_the_network_weighs_is_said_and_small(tab, address, stored):
    """Each network with the runtime is at most 6 MB on the way, whatever the server packs."""
    page = tab.open(f"{address}/book/try-it.html")
    said = page.locator("[data-part=load]").text_content()
    sizes = []
    page.on("response", lambda answer: sizes.append((answer.url, len(answer.body()))))
    page.locator("[data-part=load]").click()
    page.wait_for_function("() => document.getElementById('kenseg-try').kensegResult")
    total = sum(size for url, size in sizes if re.search(r"onnx|/ort", url))
    assert f"({total / 1e6:.1f} MB)" in said
    assert 2e6 < total <= 6e6


def test_the_threshold_moves_by_keyboard(tab, address, stored):
    page = start(tab, f"{address}/book/try-it.html")
    page.locator("#try-threshold").focus()
    told = []
    for key in ("Home", "ArrowRight", "End"):
        page.keyboard.press(key)
        told.append(page.locator("[data-part=result]").text_content())
    assert [text.split(",")[0] for text in told] == [
        "At threshold 0.05",
        "At threshold 0.10",
        "At threshold 0.95",
    ]
    counts = [int(text.split(", ")[1].split()[0]) for text in told]
    assert counts == sorted(counts, reverse=True)


def png(values):
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def test_a_picture_of_ones_own(tab, address, stored):
    """Its window is cut upright: bright above left stays above left."""
    values = np.random.default_rng(0).integers(60, 90, (300, 240)).astype(np.uint8)
    values[:150, :120] += 120
    page = start(tab, f"{address}/book/try-it.html")
    found = result(
        page,
        lambda: page.set_input_files(
            "#try-file", {"name": "<img src=x>.png", "mimeType": "image/png", "buffer": png(values)}
        ),
    )
    image = found["image"].reshape(stored["side"], -1)
    assert image[:40, -40:].mean() > image[:40, :40].mean() + 0.5
    assert image[:40, -40:].mean() > image[-40:, -40:].mean() + 0.5
    assert (
        "“<img src=x>.png” stays in this page" in page.locator("[data-part=message]").text_content()
    )
    moved = result(page, lambda: page.locator("#try-across").fill("80"))
    assert not np.array_equal(moved["image"], found["image"])
    asked = set(tab.requests)
    assert not [url for url in asked if not url.startswith((address, "blob:", "data:"))]


@pytest.mark.parametrize(
    "name, content, why",
    [
        ("notes.png", b"no picture at all", "cannot read it as a picture"),
        ("scan.nii.gz", b"\x1f\x8b" + bytes(100), "cannot be unpacked"),
        ("huge.png", png(np.zeros((9000, 9000), np.uint8)), "9000 × 9000 pixels"),
        ("tiny.png", png(np.zeros((4, 4), np.uint8)), "at least 16"),
        ("heavy.png", bytes(31_000_000), "31 MB"),
    ],
    ids=["text", "volume", "huge", "tiny", "heavy"],
)
def test_what_is_no_picture_is_refused(name, content, why, tab, address, stored, tmp_path):
    (tmp_path / name).write_bytes(content)
    page = start(tab, f"{address}/book/try-it.html")
    page.set_input_files("#try-file", tmp_path / name)
    page.wait_for_function(
        "(why) => document.querySelector('[data-part=message]').textContent.includes(why)",
        arg=why,
        timeout=10_000,
    )
    assert page.locator("[data-part=window]").is_hidden()
    result(page, lambda: page.select_option("#try-slice", "0"))  # nothing hangs


def test_without_npm_at_build_time_the_stored_answer_is_shown(tab, address, stored, html):
    content = json.dumps(stored)
    tab.page.route(
        "**/slices.js*",
        lambda route: route.fulfill(
            content_type="text/javascript",
            body=f'window.kensegNetwork = {content}; window.kensegNetwork.runtime = "";',
        ),
    )
    page = tab.open(f"{address}/book/try-it.html")
    page.wait_for_selector('#kenseg-try[data-state="stored"]')
    assert "npm or the exporter" in page.locator("[data-part=message]").text_content()
    assert "stored when the book was built" in page.locator("[data-part=result]").text_content()


@pytest.mark.parametrize(
    "lack, said",
    [
        ("delete window.WebAssembly", "needs a browser with WebAssembly"),
        ("window.Worker = function () { throw new Error('forbidden'); }", "could not be started"),
    ],
)
def test_without_webassembly_the_stored_answer_is_shown(lack, said, tab, address, stored):
    tab.page.add_init_script(lack)
    page = tab.open(f"{address}/book/try-it.html")
    if "Worker" in lack:  # it is only needed when it is asked for
        page.locator("[data-part=load]").click()
    page.wait_for_selector('#kenseg-try[data-state="stored"]')
    assert said in page.locator("[data-part=message]").text_content()
    assert "stored when the book was built" in page.locator("[data-part=result]").text_content()
    assert page.locator("[data-part=own]").is_hidden()
    page.locator("#try-threshold").focus()
    page.keyboard.press("End")
    assert "At threshold 0.95" in page.locator("[data-part=result]").text_content()
