"""The tables that an ATLAS release ships, joined to its scans by subject and session."""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict

import pandas as pd

_ONE_SESSION = re.compile(r"^(sub-[^_]+)(?:_(ses-[^_]+))?_metadata\.csv$")
_WHOLE_RELEASE = re.compile(r"^participants\.tsv$|meta-?_?data|atlas|supplement", re.I)
_MISSING = {"", "na", "n/a", "nan", "none", "null"}
_MOST_BYTES = 20_000_000


def metadata(scans: pd.DataFrame, tables: list[str]) -> pd.DataFrame:
    """One row for each of `scans`, with the columns of every table that can be matched to them.

    A table is matched by the column that names most subjects (or subject and session in one).
    It counts for the scans below its own folder. Tables that match nothing are ignored, and a
    subject with several rows gets one only if a session column tells them apart.
    """
    rows = [{} for _ in range(len(scans))]
    by_folder = defaultdict(list)  # a folder: the scans below it
    by_name = defaultdict(list)
    for number, scan in enumerate(scans.itertuples(index=False)):
        folder = os.path.dirname(scan.t1w)
        by_name[folder, scan.subject, scan.session].append(number)
        while folder not in (parent := os.path.dirname(folder), ""):
            by_folder[folder].append(number)
            folder = parent
    identities = [
        (_plain(scan.subject), _number(scan.session)) for scan in scans.itertuples(index=False)
    ]
    for path in tables:
        folder, name = os.path.split(path)
        if match := _ONE_SESSION.match(name):
            content = _read(path)
            if len(content) == 1:
                for number in by_name[folder, match[1], match[2] or "ses-1"]:
                    _add(rows[number], content[0])
        elif _WHOLE_RELEASE.search(name) and by_folder[folder]:
            _join(rows, identities, by_folder[folder], _read(path))
    columns = list(
        dict.fromkeys(column for row in rows for column in row if column not in scans.columns)
    )
    frame = pd.DataFrame(rows, columns=columns, index=scans.index, dtype=object)
    return frame.apply(_numeric) if columns else frame


def _read(path: str) -> list[dict[str, str]]:
    try:
        if os.path.getsize(path) > _MOST_BYTES:
            return []
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.endswith(".tsv") else ",")
            return [
                {
                    column: value
                    for column, value in row.items()
                    if column and isinstance(value, str)
                }
                for row in reader
            ]
    except (OSError, csv.Error):  # no table, then: it only adds to what the names tell
        return []


def _join(
    rows: list[dict],
    identities: list[tuple[str, str]],
    numbers: list[int],
    content: list[dict[str, str]],
) -> None:
    """Add to `rows` those of a table's rows that name the scans of these `numbers`."""
    if not content:
        return
    known = {}  # every way in which a table may name a scan: its subject, its session or ""
    for subject, session in (identities[number] for number in numbers):
        known |= {
            subject: (subject, ""),
            f"{subject}_ses-{session}": (subject, session),
            f"{subject}t{session:0>2}": (subject, session),
        }
    subjects = {subject for subject, _ in known.values()}
    columns = list(dict.fromkeys(column for row in content for column in row))
    matches = {
        column: len(
            {known[name][0] for row in content if (name := _plain(row.get(column, ""))) in known}
        )
        for column in columns
    }
    best = max(columns, key=matches.get, default=None)
    if best is None or 2 * matches[best] < len(subjects):
        return
    sessions = next(
        (
            column
            for column in columns
            if column != best and re.search(r"session|^ses|time_?point", column, re.I)
        ),
        None,
    )
    by_scan = defaultdict(list)
    for row in content:
        subject, session = known.get(_plain(row.get(best, "")), ("", ""))
        by_scan[subject, session or _number(row.get(sessions, ""))].append(row)
    for number in numbers:
        subject, session = identities[number]
        fitting = by_scan[subject, session] or by_scan[subject, ""]
        if len(fitting) == 1:
            _add(
                rows[number],
                {column: value for column, value in fitting[0].items() if column != best},
            )


def _add(row: dict, content: dict[str, str]) -> None:
    for column, value in content.items():
        if value.strip().lower() not in _MISSING:
            row.setdefault(column.strip(), value.strip())


def _plain(name: str) -> str:
    """A subject's label without prefix, case or the leading zeros that spreadsheets drop."""
    name = name.strip().lower().removeprefix("sub-")
    return name.lstrip("0") if name.isdigit() else name


def _number(session: str) -> str:
    """The number in "ses-2", "t02" or "2"."""
    match = re.search(r"(\d+)\s*$", session or "")
    return match[1].lstrip("0") if match else ""


def _numeric(column: pd.Series) -> pd.Series:
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column
