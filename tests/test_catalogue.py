"""The page of the eleven networks: drawings, words and prices come from the networks themselves."""

import json
import re
import sys

import pytest
from conftest import ROOT

from kenseg_utils.experiments import lineup

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import catalogue  # noqa: E402 (a tool of the book's, not of the package)

PAGE = (ROOT / "book/networks.md").read_text(encoding="utf-8")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A copy of the page, filled from drawings that are empty and numbers that are made up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalogue, "drawn", stand_in)
    copy = tmp_path / "networks.md"
    copy.write_text(PAGE, encoding="utf-8")
    catalogue.fill(copy, small=False)
    return copy


def stand_in(folder, small):
    numbers = {}
    for k, name in enumerate(lineup.MEMBERS):
        (folder / f"{name}.png").write_bytes(b"")
        numbers[name] = dict(
            alt=f"The network {name}.",
            parameters=(k + 1) * 1_000_000,
            multiply_adds=(20 - k) * 1_000_000_000,
        )
    (folder / "numbers.json").write_text(json.dumps(numbers))


def test_each_network_has_a_section_a_drawing_and_its_numbers(page):
    text = page.read_text(encoding="utf-8")
    assert "<!--" not in text
    found = re.findall(r":::\{figure\} _drawn/network-(\w+)\.png\n:alt: (.+)\n", text)
    assert {name for name, _ in found} == {*lineup.MEMBERS, "costs"}
    for name, alt in found:
        assert (page.parent / f"_drawn/network-{name}.png").exists() and len(alt) > 10
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert len(headings) == len(lineup.MEMBERS) + 1


def test_the_sentence_on_prices_names_who_is_largest_and_dearest(page):
    text = page.read_text(encoding="utf-8")
    first, *_, last = (one.title for one in lineup.MEMBERS.values())
    assert f"{last} has the most parameters, 11.0 million, and needs 10 billion" in text
    assert f"{first}, with 1.0 million, needs the most, 20 billion" in text
    assert "The Ken-model is 0.5 times as large as UNet++ and costs 1.1 times as much" in text


def test_what_was_drawn_is_kept_until_the_networks_change(page, monkeypatch):
    monkeypatch.setattr(catalogue, "drawn", lambda *_: pytest.fail("drawn again"))
    page.write_text(PAGE, encoding="utf-8")
    catalogue.fill(page, small=False)
    asked = []
    monkeypatch.setattr(catalogue, "drawn", lambda folder, small: asked.append(small))
    catalogue.kept(small=True)
    assert asked == [True], "small drawings are others"


def test_a_page_that_lacks_a_network_stops_the_build(tmp_path, monkeypatch):
    copy = tmp_path / "networks.md"
    for text in (
        PAGE.replace("<!-- network: xnet -->", ""),
        PAGE.replace("network: xnet", "network: vnet"),
    ):
        copy.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="must ask for each network"):
            catalogue.fill(copy, small=True)


def test_the_marks_are_of_members():
    assert set(catalogue.MARKS) < set(lineup.MEMBERS)


def test_small_networks_are_drawn_from_their_own_layers(tmp_path, monkeypatch):
    """One is enough here: the build draws all."""
    monkeypatch.setattr(catalogue.lineup, "MEMBERS", {"unet": lineup.MEMBERS["unet"]})
    catalogue.drawn(tmp_path, small=True)
    told = json.loads((tmp_path / "numbers.json").read_text())["unet"]
    assert told["parameters"] > 0 and told["multiply_adds"] > told["parameters"]
    assert "by stages" in told["alt"] and (tmp_path / "unet.png").stat().st_size > 5000
