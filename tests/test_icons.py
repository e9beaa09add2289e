"""The icon script: what pages use stays, all else goes, and the script is still a script."""

import shutil
import sys
from pathlib import Path

import pydata_sphinx_theme
from conftest import ROOT
from fontTools.ttLib import TTFont

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import icons  # noqa: E402 (a tool of the book's, not of the package)

BARS = '"bars":[448,512,["navicon"],"f0c9","M0 96"]'
GLASS = '"magnifying-glass":[512,512,[128269,"search"],"f002","M416 208"]'
DUO = '"moon":[384,512,[9214],"f186",["M1 1","M2 2"]]'
SCRIPT = f"!function(){{var e={{{BARS},{GLASS},{DUO}}};f(e)}}();"


def test_only_what_is_used_is_left_by_name_or_alias():
    assert icons.without_others(SCRIPT, {"bars"}) == f"!function(){{var e={{{BARS},}};f(e)}}();"
    assert GLASS in icons.without_others(SCRIPT, {"search"})
    assert icons.without_others(SCRIPT, set()) == "!function(){var e={};f(e)}();"


def test_names_come_from_pages_and_scripts_but_not_from_the_font_itself(tmp_path):
    scripts = tmp_path / "_static/scripts"
    scripts.mkdir(parents=True)
    (tmp_path / "page.html").write_text('<i class="fa-solid fa-bars"></i>')
    (scripts / "theme.js").write_text('icon("fa-solid fa-moon fa-lg")')
    (scripts / "fontawesome.js").write_text(f"{SCRIPT} fa-magnifying-glass")
    (scripts / "theme.js.map").write_text("{}")
    assert {"bars", "moon"} <= icons.used(tmp_path)
    assert "magnifying-glass" not in icons.used(tmp_path)
    icons.keep_used(tmp_path)
    left = (scripts / "fontawesome.js").read_text()
    assert BARS in left and DUO in left and GLASS not in left
    assert not (scripts / "theme.js.map").exists()


def test_styles_keep_what_they_write_themselves_and_the_font_those_letters(tmp_path):
    """The script draws single icons; signs before notes are letters, escaped or as they are."""
    webfonts = (tmp_path / icons.FONT).parent
    webfonts.mkdir(parents=True)
    theme = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static"
    for suffix in (".ttf", ".woff2"):
        shutil.copy((theme / icons.FONT).with_suffix(suffix), webfonts)
    whole = (webfonts / "fa-solid-900.woff2").stat().st_size
    face = f'url(../{icons.FONT}.woff2) format("woff2")'
    rule = '.fa-bell:before{content:"\\f0f3"}.fa-0:before,.fa-zero:before{content:"\\30 "}'
    rest = '.note:before{content:"\\f107"}:root{--sign:"\uf05a"}'
    (tmp_path / "theme.css").write_text(f"@font-face{{src:{face}}}{rule}{rest}")
    icons.lighten_styles(tmp_path)
    text = (tmp_path / "theme.css").read_text()
    assert text == f'@font-face{{src:url(../{icons.FONT}.woff) format("woff")}}{rest}'
    font = TTFont(webfonts / "fa-solid-900.woff")
    assert {0xF107, 0xF05A} == set(font.getBestCmap())
    assert (webfonts / "fa-solid-900.woff").stat().st_size < whole / 20
    assert not (webfonts / "fa-solid-900.woff2").exists()
