"""The head on the first page: a poster that a click brings alive, and that stays where it cannot.

A small ball with a lesion stands for the head; the page is laid out without Sphinx around it.
"""

import json
import re
import shutil
import sys

import numpy as np
import pytest
from conftest import ROOT
from matplotlib.colors import to_rgb

from kenseg_utils import figures

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import head_3d  # noqa: E402 (a tool of the book's, not of the package)
import vendor  # noqa: E402

ABOUT = {"side": "right", "lesion_ml": 67.0, "found_ml": 73.9, "dice": 0.85}


def made_up(right=True):
    """A ball of 80 mm with a dark core, in its right half a lesion, and a find beside it."""
    x, y, z = np.ogrid[-55:55, -55:55, -55:55]
    distance = np.sqrt(x**2 + y**2 + z**2)
    image = np.where(distance < 50, 150, 0) - np.where(distance < 15, 90, 0)
    lesion = np.sqrt((x - 25) ** 2 + y**2 + z**2) < 13
    found = np.sqrt((x - 25) ** 2 + (y - 16) ** 2 + z**2) < 9
    if not right:
        lesion, found = lesion[::-1], found[::-1]
    affine = np.eye(4)
    affine[:3, 3] = -54.5
    return head_3d.Volumes.of(image, lesion.astype(np.uint8), found.astype(np.uint8), affine)


@pytest.fixture(scope="module")
def library():
    """NiiVue's script where the book's builds keep it."""
    folder = ROOT / "_build" / "vendor" / "pages"
    found = vendor.viewer(folder, ROOT / "_build" / "vendor")
    if found is None:
        pytest.skip("npm or its registry is not to be had: nothing turns a head")
    return found


def site(folder, library, about=ABOUT):
    """The page beside its files; its address."""
    static = folder / "_static"
    (static / "head").mkdir(parents=True)
    for name in ("head-3d.js", "book.css"):
        shutil.copy(ROOT / "book" / "_static" / name, static)
    if library:
        (static / "vendor").mkdir()
        shutil.copy(library, static / "vendor")
    head_3d.write(made_up(), static / "head", about)
    (folder / "book").mkdir()
    page = folder / "book" / "intro.md"
    page.write_text(f"# Book\n\n{head_3d.PLACE}\n\nMore.\n")
    head_3d.fill(page, static / "head", library)
    text = page.read_text()
    assert "<!--" not in text
    body = re.search(r"```\{raw\} html\n(.*?)```", text, re.S)[1]
    (folder / "book" / "intro.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Head</title>'
        f'<link rel="stylesheet" href="../_static/book.css"><main>{body}</main></html>'
    )
    return (folder / "book" / "intro.html").as_uri()


@pytest.fixture(scope="module")
def address(tmp_path_factory, library):
    return site(tmp_path_factory.mktemp("site"), library)


class Opened:
    """The page in a small window, from a file; what it asked for and complained of is kept."""

    def __init__(self, chromium, address, before="", **settings):
        self.context = chromium.new_context(viewport={"width": 180, "height": 500}, **settings)
        self.tab = self.context.new_page()
        self.asked, self.errors = [], []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        if before:
            self.tab.add_init_script(before)
        self.tab.goto(address)

    def part(self, name):
        return self.tab.locator(f'#kenseg-head [data-part="{name}"]')

    def is_(self, state):
        self.tab.wait_for_selector(f'#kenseg-head[data-state="{state}"]', timeout=60_000)

    def close(self):
        self.context.close()
        assert not self.errors
        assert all(url.startswith(("file:", "blob:", "data:")) for url in self.asked)


@pytest.fixture(scope="module")
def live(chromium, address):
    """The page, clicked: nothing of NiiVue nor of the volumes was loaded before."""
    opened = Opened(chromium, address)
    if not opened.tab.evaluate("() => !!document.createElement('canvas').getContext('webgl2')"):
        pytest.skip("this Chromium draws no WebGL 2")
    opened.is_("asking")
    assert opened.part("poster").is_visible()
    assert not [url for url in opened.asked if re.search(r"niivue|head\.js", url)]
    opened.part("load").click()
    opened.is_("live")
    assert len([url for url in opened.asked if re.search(r"niivue|head\.js", url)]) == 2
    yield opened
    opened.close()


def canvas(live):
    return live.tab.locator("#kenseg-head canvas")


def letter(live, name):
    """Where in the stage, in shares of its width, a letter stands."""
    return live.tab.evaluate(
        """(name) => {
          const stage = document.querySelector(".kenseg-stage").getBoundingClientRect();
          const found = [...document.querySelectorAll(".kenseg-stage span")]
            .find((one) => one.textContent === name).getBoundingClientRect();
          return (found.left + found.width / 2 - stage.left) / stage.width;
        }""",
        name,
    )


def test_the_head_turns_by_the_arrow_keys_and_says_from_where_it_is_seen(live):
    view = canvas(live)
    assert view.evaluate("(view) => document.activeElement === view")
    assert view.get_attribute("role") == "application"
    keys = live.tab.locator(f"#{view.get_attribute('aria-describedby')}")
    assert "arrow keys" in keys.text_content()
    assert "seen from behind and the right and above" in view.get_attribute("aria-label")
    assert letter(live, "L") < 0.3 and letter(live, "R") > 0.7
    before = view.screenshot()
    for _ in range(15):
        live.tab.keyboard.press("ArrowLeft")
    assert "seen from the front and the left" in view.get_attribute("aria-label")
    assert letter(live, "L") > 0.6 and letter(live, "R") < 0.4, "seen from the front"
    assert view.screenshot() != before
    for _ in range(12):
        live.tab.keyboard.press("ArrowDown")
    assert "above" not in view.get_attribute("aria-label")
    live.tab.keyboard.press("Tab")
    assert view.evaluate("(view) => document.activeElement !== view"), "no trap for the keyboard"


def test_masks_and_the_cut_can_be_changed(live):
    seen = [canvas(live).screenshot()]
    for act in (
        live.part("truth").uncheck,
        live.part("found").uncheck,
        lambda: live.part("cut").fill("90"),
    ):
        act()
        seen.append(canvas(live).screenshot())
    assert len(set(seen)) == 4


@pytest.mark.parametrize(
    "lack",
    ["delete window.WebGL2RenderingContext", "HTMLCanvasElement.prototype.getContext = () => null"],
)
def test_without_webgl_the_poster_and_a_sentence_stay(chromium, address, lack):
    opened = Opened(chromium, address, lack)
    if "=" in lack:  # only a click finds out
        opened.part("load").click()
    opened.is_("poster")
    assert opened.part("poster").is_visible() and not opened.part("ask").is_visible()
    assert "needs WebGL 2" in opened.part("message").text_content()
    assert not [url for url in opened.asked if "niivue" in url]
    opened.close()


def test_what_does_not_load_leaves_the_poster(chromium, library, live, tmp_path):
    address = site(tmp_path, library)
    (tmp_path / "_static/head/head.js").unlink()
    opened = Opened(chromium, address)
    opened.part("load").click()
    opened.is_("poster")
    assert opened.part("poster").is_visible() and not opened.part("controls").is_visible()
    assert "head.js did not load" in opened.part("message").text_content()
    opened.close()


def test_without_scripts_the_poster_and_a_sentence_stay(chromium, address):
    opened = Opened(chromium, address, java_script_enabled=False)
    assert opened.part("poster").is_visible() and not opened.part("load").is_visible()
    assert "JavaScript is switched off" in opened.tab.locator("noscript").inner_text()
    assert "67 ml" in opened.tab.locator("figcaption").inner_text()
    opened.close()


def test_without_npm_at_build_time_the_poster_stays(chromium, tmp_path):
    opened = Opened(chromium, site(tmp_path, None))
    opened.is_("poster")
    assert "built without NiiVue" in opened.part("message").text_content()
    opened.close()


def test_the_caption_says_what_was_measured_and_the_button_what_is_loaded(tmp_path):
    library = tmp_path / "niivue.umd.js"
    library.write_bytes(bytes(2_000_000))
    site(tmp_path / "one", library)
    text = (tmp_path / "one/book/intro.md").read_text()
    weight = 2_000_000 + (tmp_path / "one/_static/head/head.js").stat().st_size
    assert f"({weight / 1e6:.1f} MB)" in text and "73.9 ml: a Dice of 0.85" in text
    alone = {"side": "left", "lesion_ml": 5.0, "found_ml": None, "dice": None}
    site(tmp_path / "two", library, alone)
    text = (tmp_path / "two/book/intro.md").read_text()
    assert "Dice" not in text and "blue" not in text and "left half" in text


def test_a_page_without_its_place_is_named(tmp_path):
    page = tmp_path / "intro.md"
    page.write_text("# Book\n")
    with pytest.raises(ValueError, match="intro.md: the line .* is missing"):
        head_3d.fill(page, tmp_path, None)
    assert head_3d.PLACE in (ROOT / "book/intro.md").read_text()


def test_a_head_that_was_not_made_is_named(tmp_path):
    """A page without its head had said nothing: it had been filled before the head was there."""
    site(tmp_path, None)
    for name in head_3d.FILES:
        page = tmp_path / "intro.md"
        page.write_text(f"# Book\n\n{head_3d.PLACE}\n")
        (tmp_path / "_static/head" / name).rename(tmp_path / name)
        with pytest.raises(ValueError, match=f"intro.md: the head .* lacks {name}"):
            head_3d.fill(page, tmp_path / "_static/head", None)
        (tmp_path / name).rename(tmp_path / "_static/head" / name)


@pytest.mark.parametrize("right", [True, False])
def test_the_poster_shows_the_lesion_on_its_side(right):
    volumes = made_up(right)
    assert volumes.side == ("R" if right else "L")
    picture = np.asarray(head_3d.poster(volumes, head_3d.AZIMUTHS[volumes.side])) / 255
    head = picture.max(axis=2) > 0.1
    assert 0.1 < head.mean() < 0.8
    for colour in (figures.TRUTH, figures.PREDICTION):
        hue = np.array(to_rgb(colour)) / sum(to_rgb(colour))
        alike = np.abs(picture / (picture.sum(2, keepdims=True) + 1e-6) - hue).sum(2) < 0.2
        place = np.argwhere(alike & head)[:, 1].mean() / picture.shape[1]
        assert (place > 0.55) if right else (place < 0.45), colour
    none = head_3d.Volumes(volumes.head, volumes.truth, None, volumes.affine)
    without = np.asarray(head_3d.poster(none, head_3d.AZIMUTHS[none.side]))
    assert not np.array_equal(without, np.rint(255 * picture))


def test_volumes_are_halved_and_stay_in_their_place():
    volumes = made_up()
    assert volumes.head.shape == (55, 55, 55) and volumes.head.dtype == np.uint8
    assert volumes.head.max() == 255 and set(np.unique(volumes.truth)) == {0, 1}
    centre = volumes.affine[:3, :3] @ np.argwhere(volumes.truth).mean(0) + volumes.affine[:3, 3]
    assert np.allclose(centre, (25.5, 0.5, 0.5), atol=0.3)
    assert abs(8 * volumes.truth.sum() / (4 / 3 * np.pi * 13**3) - 1) < 0.03


def test_it_is_made_once_and_kept(tmp_path, monkeypatch):
    made = []

    def make(folder):
        made.append(folder)
        (folder / "about.json").write_text(json.dumps(ABOUT))

    monkeypatch.setattr(head_3d, "make", make)
    for target in ("one", "two"):
        head_3d.kept(tmp_path / target, tmp_path / "work")
        assert json.loads((tmp_path / target / "about.json").read_text()) == ABOUT
    assert len(made) == 1


def test_the_head_was_in_no_training_and_is_the_first_of_its_size():
    """The recorded network's recipe names 120 subjects: phantoms 0 to 119."""
    from kenseg_utils import phantom

    sizes = [phantom.make_mask(index).sum() / 1000 for index in (120, head_3d.SUBJECT)]
    assert head_3d.SUBJECT == 121 and 40 <= sizes[1] <= 90 and not 40 <= sizes[0] <= 90
