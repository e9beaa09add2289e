"""The model card says what is recorded, and says so where nothing is."""

import html
import json
import re
import sys

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "book/_tools"))
import model_card  # noqa: E402

CARD = ROOT / "book/model-card.md"


def result(folder, name, rows, **provenance):
    """A result as the judge of whole heads records it."""
    content = {"provenance": provenance, "tables": {"scans": rows}}
    (folder / f"{name}.json").write_text(json.dumps(content))


TRAININGS = [
    dict(steps=1200, minutes=30.4, batch=1, heads=2, widths=[2, 2], device="a CPU",
         began_with=None),
    dict(steps=300, minutes=15.0, batch=4, heads=3, widths=[2, 4], device="a GPU",
         began_with="narrow.npz"),
]  # fmt: skip


def case(group, name, found, dice=None):
    return dict(group=group, case=name, found_ml=found, dice=dice, recall=dice, precision=dice)


@pytest.fixture
def recorded(tmp_path):
    """A folder of results: a judged network, one that is judged otherwise, and a network."""
    result(
        tmp_path,
        "real_heads_3d",
        [
            case("phantoms", "phantom 1", 9.0, 0.61),
            case("healthy", "head, as it is", 0.0),
            case("healthy", "head, turned", 0.75),
            case("healthy, synthetic", "synthetic 0", 1.5),
            case("healthy, synthetic", "synthetic 1", 0.5),
            case("healthy, synthetic", "synthetic 2", 0.0),
            case("phantoms", "mean of 6 phantoms, kept apart", 12.5, 0.57),
            case("healthy", "mean of 2 healthy", 0.38),
            case("healthy, synthetic", "mean of 3 healthy, synthetic", 0.67),
        ],
        network="a <small> 3-D U-Net",
        finished="2026-11-27T06:00:00Z",
    )
    result(tmp_path, "real_heads", [{"scan": "painted lesion 1", "Dice": 0.9}])
    about = dict(
        recipe=dict(network="unet3d", widths=[2, 4]), input_shape=[96, 112, 96, 1],
        threshold=0.4, least_ml=0.3, peak_share=0.2, mirrored=True,
        seconds=900, device="a GPU", commit="abc123",
        plan=dict(start_from="narrow.npz"), trainings=TRAININGS,
    )  # fmt: skip
    told = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(tmp_path / "heads.npz", about=told, weight_0000=np.zeros((1000, 500), np.float16))
    return tmp_path


def test_nothing_recorded_is_said_plainly(tmp_path):
    page = model_card.page(tmp_path)
    assert page.count("Not recorded yet") == 2 and "<table" not in page


def test_what_is_recorded_is_shown(recorded):
    page = model_card.page(recorded)
    assert (
        "0.50 million parameters" in page
        and "15 minutes\n" in page  # the list of trainings says what it began with
        and "`abc123`" in page
    )
    assert "0.4, which its answers are shifted" in page and "0.3 ml" in page
    assert "from 20% of its highest probability on" in page
    assert "the head and its mirror image; the mean counts" in page
    assert "0.57" in page and "12.5" in page and "recorded 2026-11-27" in page
    assert "something is found in 1 of 2, at most 0.75 ml" in page
    assert "found in 2 of 3, more than 1 ml in 1, 0.67 ml in the mean" in page
    assert "trained 2 times" in page and "**1,500 steps in 0.8 hours**" in page
    assert "1,200" in page and "2, 4" in page and "nothing more is recorded" not in page
    assert "Not recorded yet" not in page and "painted lesion 1" not in page


def test_what_becomes_of_small_lesions_and_of_each_head_is_shown(tmp_path):
    rows = [
        case("painted", f"{head} {number}", 1.0, dice) | dict(lesion_ml=volume)
        for head in ("anna", "bert")
        for number, (volume, dice) in enumerate([(0.5, 0.0), (60.0, 0.875)])
    ]
    result(tmp_path, "real_heads_3d", rows, network="a U-Net")
    page = model_card.page(tmp_path)
    below, above = (
        re.search(rf"{name}.*?</tr>", page, re.S)[0] for name in ("below 1", "above 50")
    )
    assert re.findall(r">([\d.]+)<", below) == ["2", "2", "0.00"]
    assert re.findall(r">([\d.]+)<", above) == ["2", "0", "0.88"]
    assert "anna</" in page and "Dice, large" in page


def test_of_one_training_its_line_says_what_it_began_with(recorded):
    with np.load(recorded / "heads.npz", allow_pickle=False) as kept:
        about = json.loads(kept["about"].tobytes()) | dict(trainings=TRAININGS[:1])
    told = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(recorded / "heads.npz", about=told, weight_0000=np.zeros((10, 5), np.float16))
    page = model_card.page(recorded)
    assert "15 minutes, beginning with what the `narrow.npz`" in page and "trained 2" not in page


def test_only_the_judge_s_results_count(recorded):
    assert list(model_card.judged(recorded)) == ["real_heads_3d"]


def test_the_page_has_one_place_for_it_and_stands_in_the_book(recorded, tmp_path):
    assert CARD.read_text(encoding="utf-8").count(model_card.PLACE) == 1
    assert "book/model-card" in (ROOT / "book/_toc.yml").read_text()
    target = tmp_path / "card.md"
    target.write_text(CARD.read_text(encoding="utf-8"), encoding="utf-8")
    model_card.fill(target, recorded)
    text = target.read_text(encoding="utf-8")
    assert "<table" in text and model_card.PLACE not in text and "Not for patients" in text
    with pytest.raises(ValueError, match="is missing"):
        model_card.fill(target, recorded)


def test_the_book_s_own_results_make_a_page():
    assert "## What it scores, and where" in model_card.page(ROOT / "results")


def test_headings_are_short_and_what_was_judged_is_said_whole():
    """A heading stands in the page's table of contents too: a sentence would fill it."""
    text = model_card.page(ROOT / "results")
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    assert headings and max(map(len, headings)) <= 60
    judged = json.loads((ROOT / "results/real_heads_3d.json").read_text())
    assert judged["provenance"]["network"] in html.unescape(text)
