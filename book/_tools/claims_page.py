"""The page of the paper's claims, made from what the executed chapters recorded."""

import html
import json
import re
from pathlib import Path

import yaml

from kenseg_utils.evaluation.statistics import RULE, count_verdicts
from kenseg_utils.teaching import claims

PLACE = "<!-- here the build puts the claims: book/_tools/claims_page.py -->"


def recorded(content: dict) -> dict[str, dict]:
    """The claims that an executed notebook recorded, by name."""
    rows = [
        json.loads("".join(output["data"][claims.RECORD]))
        for cell in content["cells"]
        for output in cell.get("outputs", [])
        if output.get("metadata", {}).get("scrapbook", {}).get("name", "").startswith("claim_")
    ]
    return {row["name"]: row for row in rows}


def groups(listed: Path) -> dict[str, list[dict]]:
    """The page's rows by group, as book/claims.yml lists them."""
    return yaml.safe_load(listed.read_text(encoding="utf-8"))


def rows(listed: Path, executed: Path) -> dict[str, list[dict]]:
    """The same with what was measured. ValueError where a chapter recorded no such claim."""
    found: dict[str, dict] = {}
    by_group = {}
    for group, listed_rows in groups(listed).items():
        by_group[group] = []
        for row in listed_rows:
            stem = row["chapter"]
            if stem not in found:
                copy = executed / f"{stem}.ipynb"
                found[stem] = recorded(json.loads(copy.read_text(encoding="utf-8")))
            if row["claim"] not in found[stem]:
                raise ValueError(
                    f"{listed}: {stem} has recorded no claim {row['claim']!r}, only "
                    f"{', '.join(found[stem]) or 'none'}. Run the chapter again, or mend the name."
                )
            by_group[group].append(
                row | found[stem][row["claim"]] | {"link": _link(stem), "quote": row["quote"]}
            )
    return by_group


def _link(stem: str) -> str:
    number = stem[:2]
    return f'<a href="../notebooks/{stem}.html#claims-{number}">Where: chapter {int(number)}</a>'


def page(by_group: dict[str, list[dict]]) -> str:
    """The rule, the counts, and a table a group, as Markdown with tables in HTML."""
    verdicts = [row["word"] for part in by_group.values() for row in part]
    parts = [
        f"**The rule.** {RULE}",
        claims.counts(count_verdicts(verdicts)),
        f"That is {len(verdicts)} claims. In each picture the band is what the claim asserts, the "
        "dot what was measured, and the line its interval.\nOpen a claim for the paper's own "
        "words, what was measured, and the way to the chapter.",
    ]
    for group, part in by_group.items():
        parts += [f"## {group}", claims.table(part, f"Claims about the {group.lower()}.")]
    return "\n\n".join(parts)


def fill(target: Path, listed: Path, executed: Path) -> None:
    """Put the tables into the staged page. ValueError where the page has no place for them."""
    text = target.read_text(encoding="utf-8")
    if PLACE not in text:
        raise ValueError(f"{target}: the line {PLACE!r} is missing.")
    target.write_text(text.replace(PLACE, page(rows(listed, executed))), encoding="utf-8")


def plain(cell: str) -> str:
    """The words of a table's cell, without its tags: for whoever checks a page."""
    return html.unescape(re.sub(r"<[^>]+>", " ", cell))
