"""The claims page: quotes of the paper, nothing typed beside them, and a page that can be read."""

import html
import json
import re
import sys

import pytest
import yaml
from conftest import ROOT

from kenseg_utils.evaluation import statistics
from kenseg_utils.experiments import lineup
from kenseg_utils.teaching import claims

sys.path.insert(0, str(ROOT / "book" / "_tools"))
import claims_page  # noqa: E402

LISTED = ROOT / "book" / "claims.yml"
PAPER = ROOT.parent / "shared" / "paper.txt"
GROUPS = ["Data", "Network", "Training", "Evaluation", "Results"]


def listed_rows():
    return [row for part in yaml.safe_load(LISTED.read_text()).values() for row in part]


def cells_of_claims():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if "claims" in cell["metadata"].get("tags", []):
                yield path.stem, "".join(cell["source"])


# --- The rows ------------------------------------------------------------------------------------


def test_the_rows_stand_in_five_groups_each_once():
    assert list(claims_page.groups(LISTED)) == GROUPS
    rows = listed_rows()
    assert len(rows) >= 20
    for row in rows:
        assert set(row) == {"claim", "chapter", "section", "quote"}
        assert (ROOT / "notebooks" / f"{row['chapter']}.ipynb").exists()
        assert re.fullmatch(r"[IVX]+(\.[A-D])?(, [IVX]+(\.[A-D])?)*", row["section"]), row
    assert len({row["claim"] for row in rows}) == len(rows)


def test_every_claim_of_a_chapter_is_on_the_page_and_the_other_way_round():
    in_chapters = {
        (stem, name)
        for stem, source in cells_of_claims()
        for name in re.findall(r'^    "(\w+)": \($', source, flags=re.MULTILINE)
    }
    assert in_chapters == {(row["chapter"], row["claim"]) for row in listed_rows()}


def test_chapters_have_the_places_that_the_page_leads_to():
    for stem in {row["chapter"] for row in listed_rows()}:
        text = (ROOT / "notebooks" / f"{stem}.ipynb").read_text()
        assert f"(claims-{stem[:2]})=" in text


def test_quotes_are_the_papers_own_words():
    if not PAPER.exists():
        pytest.skip(f"the paper's text is not at {PAPER.name} beside the project")
    text = PAPER.read_text().replace("\\cap", "∩").replace("$", "").replace("*", "")
    text = " ".join(text.split())
    page = (ROOT / "book" / "claims.md").read_text()
    quotes = [row["quote"] for row in listed_rows()] + re.findall("“([^”]+)” \\([IVX]", page)
    assert len(quotes) > len(listed_rows())
    for quote in quotes:
        for piece in quote.split(" … "):
            assert " ".join(piece.split()) in text, piece


def test_nothing_measured_is_typed_on_the_page():
    text = (ROOT / "book" / "claims.md").read_text()
    assert text.count(claims_page.PLACE) == 1
    for word in (statistics.SUPPORTED, statistics.CONTRADICTED, statistics.UNDECIDED):
        assert f"{word} on" not in text
    assert not re.findall(r"\d[.,]\d", text)


# --- What a chapter records ----------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch):
    """What `record` displays, in place of a notebook."""
    outputs = []
    monkeypatch.setattr(
        claims,
        "display",
        lambda data, raw, metadata: outputs.append(dict(data=data, metadata=metadata)),
    )
    return outputs


BETTER = statistics.Claim.more("it is better")


def judged(low, high, claim=BETTER, data="phantom ATLAS"):
    middle = (low + high) / 2
    interval = statistics.Interval(middle, low, high, 0.95, 20, "t")
    return statistics.verdict(middle, interval, claim, data)


def test_a_record_carries_word_reason_number_and_picture(shown):
    table = claims.record(
        "phantom ATLAS", {"deeper": ("deeper is better", "x", judged(0.01, 0.05))}
    )
    (output,) = shown
    row = json.loads(output["data"][claims.RECORD])
    assert row["verdict"] == "supported on phantom ATLAS" and row["word"] == "supported"
    assert row["number"] == "0.03 (0.01 to 0.05)" and "above 0" in row["reason"]
    assert row["picture"].startswith("<svg") and "claimed is above 0" in row["picture"]
    assert output["metadata"]["scrapbook"]["name"] == "claim_deeper"
    assert "deeper is better" in table.data and "✓ supported" in claims_page.plain(
        table.data
    ).replace("  ", " ")


@pytest.mark.parametrize(
    "claim, message",
    [
        (("deeper is better", " ", judged(0.01, 0.05)), "'deeper' lacks a text"),
        ((" ", "x", judged(0.01, 0.05)), "'deeper' lacks a text"),
        (("deeper is better", "x", "holds"), "'holds' for a verdict.*interval"),
        (("deeper is better", "x", True), "True for a verdict"),
    ],
)
def test_what_is_no_claim_is_refused(shown, claim, message):
    with pytest.raises(ValueError, match=message):
        claims.record("phantom", {"deeper": claim})


NO_TEST = statistics.Claim.without_test("who knows", untestable="nobody has it")


@pytest.mark.parametrize(
    "verdict, number, drawn",
    [
        (judged(-0.02, 0.05), "0.015 (-0.02 to 0.05)", 1),
        (statistics.verdict(655, statistics.counted(655), BETTER), "655", 1),
        (statistics.verdict(-1234567, statistics.counted(-1234567), BETTER), "-1,234,567", 1),
        (statistics.verdict(0.3, statistics.mean_interval([0.3]), BETTER), "0.3, no interval", 1),
        (statistics.verdict(None, statistics.unknown("one seed"), BETTER), "", 0),
        (statistics.verdict(None, None, NO_TEST), "", 0),
        (
            statistics.every({"a": judged(0.1, 0.2), "b": judged(-0.2, -0.1)}, "both"),
            "1 supported, 1 contradicted",
            2,
        ),
        (
            statistics.over_readings(
                {"one": statistics.every({"a": judged(0.1, 0.2)}, "x"), "other": judged(-1, 1)}, "y"
            ),
            "1 supported, 1 undecided",
            2,
        ),
    ],
)
def test_a_row_shows_one_number_and_draws_each_measurement(verdict, number, drawn):
    assert claims.number(verdict) == number
    picture = claims.verdict_picture(verdict)
    assert picture.count("<circle") == drawn and bool(picture) == bool(drawn)
    assert "nan" not in picture.lower() and "None" not in picture


def test_what_hangs_on_the_papers_silence_is_said_beside_the_verdict(shown):
    parts = {"one": judged(0.1, 0.2), "other": judged(-0.2, -0.1)}
    for verdict in (
        statistics.over_readings(parts, "better"),
        statistics.verdict(None, None, statistics.Claim.without_test("better", unsaid="than what")),
    ):
        table = claims.record("phantom", {"better": ("it is better", "x", verdict)}).data
        assert "<small>depends on what the paper does not say</small>" in table
    assert "<small>" not in claims.record("phantom", {"b": ("b", "x", judged(-1, 1))}).data


def places(picture):
    """Where the band begins and ends, and the dot, in the picture of one measurement."""
    left, width = map(float, re.search(r'<rect x="([\d.]+)".*? width="([\d.]+)"', picture).groups())
    return left, left + width, float(re.search(r'cx="([\d.]+)"', picture)[1])


def test_the_dot_lies_in_the_band_exactly_where_the_claim_is_met():
    for value in (-3.0, -0.1, 0.1, 2.0):
        for claim in (
            BETTER,
            statistics.Claim.less("worse"),
            statistics.Claim.within("there", 0, 1),
        ):
            left, right, dot = places(claims.verdict_picture(judged(value, value, claim)))
            assert (left <= dot <= right) == (claim.low <= value <= claim.high), (value, claim)


def test_measurements_of_different_size_have_a_scale_each():
    parts = {
        "Dice": judged(0.01, 0.03),
        "weights": statistics.verdict(5e6, statistics.counted(5e6), BETTER),
    }
    picture = claims.verdict_picture(statistics.every(parts, "both"))
    lines = re.findall(r'x1="([\d.]+)" x2="([\d.]+)" [^>]*currentColor', picture)
    assert len(lines) == 1 and float(lines[0][1]) - float(lines[0][0]) > 20  # not a point


# --- The page ------------------------------------------------------------------------------------


def made_up(folder, shown, verdict_of):
    """Executed notebooks as chapters would leave them, with these verdicts."""
    by_chapter = {}
    for row in listed_rows():
        by_chapter.setdefault(row["chapter"], []).append(row["claim"])
    for stem, names in by_chapter.items():
        shown.clear()
        claims.record("x", {name: (f"short <{name}>", "a & b", verdict_of(name)) for name in names})
        cells = [{"cell_type": "markdown"}, {"cell_type": "code", "outputs": list(shown)}]
        (folder / f"{stem}.ipynb").write_text(json.dumps({"cells": cells}))


def test_the_page_counts_its_verdicts_and_folds_the_rest(shown, tmp_path):
    names = [row["claim"] for row in listed_rows()]
    made_up(tmp_path, shown, lambda name: judged(0.1, 0.2) if name in names[:7] else judged(-1, 1))
    target = tmp_path / "claims.md"
    target.write_text(f"before\n\n{claims_page.PLACE}\n\nafter\n")
    claims_page.fill(target, LISTED, tmp_path)
    page = target.read_text()
    assert page.startswith("before") and page.endswith("after\n") and statistics.RULE in page
    words = claims_page.plain(page)
    assert "7 supported" in words and f"{len(names) - 7} undecided" in words
    assert f"{len(names)} claims" in words and "0 contradicted" in words
    assert "0 contradict themselves" in words
    assert re.findall(r"^## (\w+)", page, re.M) == GROUPS
    assert page.count("<table") == 5 and page.count("<tr>") == len(names) + 5
    quotes = {html.escape(row["quote"]) for row in listed_rows()}
    outside = re.sub(r"<details>.*?</details>", "", page)
    assert all(quote in page for quote in quotes) and not any(q in outside for q in quotes)
    assert "short &lt;fits_124&gt;" in page and "a &amp; b" in page and "<fits_124>" not in page
    assert 'href="../notebooks/07_classical_methods.html#claims-07"' in page
    assert not any("\n\n" in part for part in re.findall(r"<table.*?</table>", page, re.S))


def test_a_claim_that_no_chapter_recorded_is_named(shown, tmp_path):
    made_up(tmp_path, shown, lambda name: judged(0.1, 0.2))
    (tmp_path / "07_classical_methods.ipynb").write_text(json.dumps({"cells": []}))
    with pytest.raises(ValueError, match="07_classical_methods has recorded no claim.*only none"):
        claims_page.rows(LISTED, tmp_path)
    (tmp_path / "claims.md").write_text("no place")
    with pytest.raises(ValueError, match="is missing"):
        claims_page.fill(tmp_path / "claims.md", LISTED, tmp_path)


def test_chapters_hand_over_what_the_page_asks_for(executed):
    for row in listed_rows():
        content = json.loads(executed(row["chapter"]).read_text())
        found = claims_page.recorded(content)[row["claim"]]
        assert found["word"] in statistics.WORDS and found["verdict"].startswith(found["word"])
        for part in ("claim", "measured", "reason"):
            words = set(re.split(r"\W+", found[part]))
            assert len(found[part]) > 6 and not {"nan", "NaN", "None"} & words, (row, found[part])


def test_the_place_in_the_claim_is_the_place_in_the_table(executed):
    """Chapter 8 once said "number 0 of 11"."""
    content = json.loads(executed("08_baseline_networks").read_text())
    said = claims_page.recorded(content)["better_than_existing"]["measured"]
    place, count = map(int, re.search(r"number (\d+) of (\d+) on this page", said).groups())
    tables = [
        "".join(output["data"]["text/html"])
        for cell in content["cells"]
        for output in cell.get("outputs", [])
        if (text := "".join(output.get("data", {}).get("text/html", "")))
        and re.search(r"Live: \d+ of the 11 networks", text)
    ]
    body = tables[0].split("<tbody>")[1]
    rows = [
        claims_page.plain(cell).strip() for cell in re.findall(r"<tr><td[^>]*>(.*?)</td>", body)
    ]
    means = [
        float(claims_page.plain(cell))
        for cell in re.findall(r"<tr><td[^>]*>.*?</td><td[^>]*>(.*?)</td>", body)
    ]
    own = means[rows.index("Ken-model")]
    assert count == len(rows) == len(lineup.SCALES["smoke"].live) and 1 <= place <= count
    assert sum(mean > own for mean in means) < place <= sum(mean >= own for mean in means)
