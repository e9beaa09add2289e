"""The claims page: quotes of the paper, and nothing typed beside them."""

import json
import re

import pytest
from conftest import ROOT

from kenseg_utils.teaching import claims

PAGE = ROOT / "book" / "claims.md"
PAPER = ROOT.parent / "shared" / "paper.txt"
ROW = re.compile(
    r"^\| “(?P<quote>.+)” \((?P<section>[IVX]+[^)]*)\) \| (?P<measured>[^|]+) \| "
    r"(?P<verdict>[^|]+) \| (?P<where>[^|]+) \|$"
)
GLUED = re.compile(r"\{glue:text\}`\.\./notebooks/(?P<notebook>\w+)\.ipynb::(?P<name>\w+):s`")
LINK = re.compile(r"\{ref\}`chapter \d+ <(?P<label>claims-\d\d)>`")


def rows():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| “")]
    found = [ROW.match(line) for line in lines]
    assert all(found), f"not a row of four cells: {lines[found.index(None)]}"
    return [match.groupdict() for match in found]


def test_at_least_twenty_rows_each_of_glue_and_a_link():
    assert len(rows()) >= 20
    for row in rows():
        for part in ("measured", "verdict"):
            match = GLUED.fullmatch(row[part])
            assert match and match["name"].endswith(f"_{part}"), f"typed, not glued: {row[part]}"
            assert (ROOT / "notebooks" / f"{match['notebook']}.ipynb").exists()
        assert LINK.fullmatch(row["where"]), row["where"]


def cells_of_claims():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            if "claims" in cell["metadata"].get("tags", []):
                yield path.stem, "".join(cell["source"])


def test_every_claim_of_a_chapter_is_on_the_page_and_the_other_way_round():
    in_chapters = {
        (stem, name)
        for stem, source in cells_of_claims()
        for name in re.findall(r'^    "(\w+)": \($', source, flags=re.MULTILINE)
    }
    on_page = {
        (match["notebook"], match["name"].removesuffix("_measured"))
        for row in rows()
        if (match := GLUED.fullmatch(row["measured"]))
    }
    assert in_chapters == on_page


def test_quotes_are_the_papers_own_words():
    if not PAPER.exists():
        pytest.skip(f"the paper's text is not at {PAPER.name} beside the project")
    text = PAPER.read_text().replace("\\cap", "∩").replace("$", "").replace("*", "")
    text = " ".join(text.split())
    for row in rows():
        for piece in row["quote"].split(" … "):
            assert " ".join(piece.split()) in text, piece


def glued(cell):
    return {
        output["metadata"]["scrapbook"]["name"]: output["data"]
        for output in cell["outputs"]
        if "scrapbook" in output.get("metadata", {})
    }


def test_chapters_hand_over_what_the_page_asks_for(executed):
    for stem in {stem for stem, _ in cells_of_claims()}:
        content = json.loads(executed(stem).read_text())
        texts = {
            name: data
            for cell in content["cells"]
            if cell["cell_type"] == "code"
            for name, data in glued(cell).items()
        }
        for row in rows():
            for part in ("measured", "verdict"):
                match = GLUED.fullmatch(row[part])
                if match["notebook"] == stem:
                    (text,) = texts[match["name"]].values()
                    assert len(text) > 6 and "nan" not in text.lower().split(), (
                        match["name"],
                        text,
                    )


def test_verdicts_say_what_they_are_about():
    assert claims.judged(True, "phantom ATLAS") == "holds on phantom ATLAS"
    assert claims.judged(False, "phantom ATLAS") == "does not hold on phantom ATLAS"
    assert claims.judged(None, "phantom ATLAS") == "undecided on phantom ATLAS"


def test_an_empty_text_is_refused():
    with pytest.raises(ValueError, match="'deeper' lacks a text"):
        claims.record("phantom", {"deeper": ("deeper is better", " ", claims.FAILS)})
