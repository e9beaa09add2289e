"""The page "Reading a head": its pictures are drawn, named, and say what was counted."""

import re
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from kenseg_utils import phantom

sys.path.insert(0, str(ROOT / "book" / "_tools"))

import first_look  # noqa: E402 (a tool of the book's, not of the package)

PAGE = (ROOT / "book" / "reading-a-head.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def heads():
    """A bright ball with a bright rim for a head, and a dark lesion on its right."""
    x, y, z = np.ogrid[-98:99, -116:117, -94:95]
    distance = np.sqrt((x / 75.0) ** 2 + (y / 95.0) ** 2 + (z / 75.0) ** 2)
    image = np.where(distance < 1, 100, 0) + np.where(abs(distance - 0.93) < 0.07, 80, 0)
    image[88:98, 100:150, 60:120] = 20  # a ventricle
    mask = np.zeros(image.shape, np.uint8)
    mask[130:150, 100:140, 80:110] = 1
    image[mask > 0] = 25
    return first_look.Heads(image, mask, image, mask)


def test_the_page_s_heads_have_lesions_of_the_sizes_it_speaks_of():
    large, small = (
        phantom.make_mask(index).sum() / 1000 for index in (first_look.LARGE, first_look.SMALL)
    )
    assert 40 <= large <= 90 and 0.1 <= small <= 1


def test_every_picture_of_the_page_is_drawn_with_caption_and_words(heads, tmp_path):
    wanted = first_look.PICTURE.findall(PAGE)
    assert set(wanted) == set(first_look.DRAW) and len(set(wanted)) == len(wanted)
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    first_look.fill(page, heads)
    text = page.read_text(encoding="utf-8")
    assert "<!--" not in text
    figures = re.findall(r":::\{figure\} (\S+)\n:alt: (.+)\n:name: .+\n\n(.+)\n:::", text)
    assert len(figures) == len(wanted)
    for name, alt, caption in figures:
        assert len(alt.split()) >= 10 and caption[-1] in ".?"
        with Image.open(tmp_path / name) as picture:
            assert picture.width >= 600


def test_sides_are_told_from_the_mask(heads):
    assert "in the right hemisphere in both" in first_look.sides(heads).caption
    mirrored = first_look.Heads(*(one[::-1] for one in (heads.image, heads.mask)), None, None)
    assert "in the left hemisphere in both" in first_look.sides(mirrored).caption


def test_dark_is_counted_within_the_skull_only(heads):
    dark = first_look.as_dark(heads.image, heads.mask)
    assert dark[heads.mask > 0].all() and dark[92, 120, 90], "the ventricle is as dark"
    assert not dark[0, 0, 0] and not dark[98, 120, 150], "neither air nor bright tissue"


def test_an_unknown_picture_stops_the_build(heads, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- picture: nose -->\n")
    with pytest.raises(SystemExit, match="wants a picture 'nose'"):
        first_look.fill(page, heads)
