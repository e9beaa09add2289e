"""Tables of metadata joined to scans by subject and session: never by numbers that happen to fit.

Which column names people is told by what it is called. Where none is called so, it is the one whose
labels are subjects', with letters in them: 4 in a column of scores is nobody's name.
"""

from __future__ import annotations

import functools
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pandas as pd

from kenseg_utils.machine import so_many

from ._tables import SHEETS, Read, read

_ONE_SESSION = re.compile(r"^(sub-[^_]+)(?:_(ses-[^_]+))?_metadata\.csv$")
_WHOLE_RELEASE = re.compile(r"^participants\.(tsv|csv)|meta-?_?data|atlas|supplement", re.I)
_SURELY_METADATA = re.compile(r"^participants\.(tsv|csv)|meta-?_?data", re.I)
_MISSING = {"", "na", "n/a", "nan", "null"}
_PERSON = r"(bids|participant|subject|subj|sub|patient|person)"
_ID = r" ?(id|name|label|number|no|nr|code)"
# What columns of people are called, signs being blanks; the first kind that is there decides.
_PEOPLE = (
    re.compile(rf"{_PERSON}s?({_ID})?s?"),
    re.compile(rf"ids?|(.+ )?({_PERSON}|case|record)s?{_ID}s?"),
)
_SESSION = re.compile(rf"(.+ )?(session|ses|time ?point)({_ID})?")
_NUMBERED = re.compile(r"(ses(sion)?|time ?point|tp|t|v(isit)?)?[ _-]*0*(?P<number>\d+)(\.0)?")


class Named(NamedTuple):
    """Whom a cell names: a scan's subject, and its session, or "" where it says none."""

    subject: str
    session: str


Who = Callable[[str], Named | None]


def metadata(scans: pd.DataFrame, tables: Iterable[str]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row for each of `scans`, with the columns of every table that can be matched to them.

    A table counts for the scans below its own folder, if its column of people (or of people and
    session in one) names at least half of their subjects. A subject with several rows that differ
    gets one only if a session column tells them apart.
    Columns hold text, and may repeat those of `scans`.
    Returns also a sentence on each table that was not joined, or not for everyone.
    """
    rows: list[dict[str, str]] = [{} for _ in range(len(scans))]
    by_folder = defaultdict(list)  # a folder: the scans below it
    by_name = defaultdict(list)
    for number, scan in enumerate(scans.itertuples(index=False)):
        folder = os.path.dirname(scan.t1w)
        by_name[folder, scan.subject, scan.session].append(number)
        while folder not in (parent := os.path.dirname(folder), ""):
            by_folder[folder].append(number)
            folder = parent
    identities = list(scans[["subject", "session"]].itertuples(index=False, name=None))
    told = []
    for path in tables:
        folder, name = os.path.split(path)
        one = _ONE_SESSION.match(name)
        if not one and not (_WHOLE_RELEASE.search(name) and by_folder[folder]):
            continue
        table, why = _opened(path)
        if table is None:
            told.append(f"{name} was not joined: {why}")
        elif one:
            if len(table.rows) == 1:
                for number in by_name[folder, one[1], one[2] or "ses-1"]:
                    _add(rows[number], table.rows[0])
        else:
            below = by_folder[folder]
            is_ours = bool(_SURELY_METADATA.search(name) or _of_people(table))
            said = _join([rows[n] for n in below], [identities[n] for n in below], table, is_ours)
            told += [f"{name} {said}"] if said else []
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return pd.DataFrame(rows, columns=columns, index=scans.index, dtype=object), tuple(told)


def _opened(path: str) -> tuple[Read | None, str]:
    """A table, or None and why it cannot be read."""
    name = path.lower()
    if name.endswith(".gz"):
        return None, "it is compressed: unpack it (gunzip) in the same folder"
    if name.endswith(SHEETS):
        return None, "a spreadsheet is not read: save it as .csv in the same folder"
    try:
        return read(path), ""
    except (OSError, ValueError) as error:
        return None, f"it cannot be read: {error}"


def _join(rows: list[dict], identities: list[tuple[str, str]], table: Read, is_ours: bool) -> str:
    """Add to `rows`, of scans with these identities, what a table says of them.

    Returns what to say after the table's name where it does not say it of all, else "". A table
    that names none of them is worth a word only if it `is_ours`, by its name or its columns.
    """
    who = _reader(identities)
    people = {subject for subject, _ in identities}
    column, why = _column_of_people(table, who, people)
    if not column:
        return f"was not joined: {why}" if is_ours else ""
    by_number = all(_session(session).isdigit() for _, session in identities)
    by_scan, strangers = _by_scan(table, column, who, by_number)
    several: set[str] = set()
    joined: set[str] = set()
    for row, (subject, session) in zip(rows, identities):
        fitting = by_scan[subject, _session(session)] or by_scan[subject, ""]
        if len(fitting) > 1:
            several.add(subject)
        elif fitting:
            joined.add(subject)
            _add(row, fitting[0])
    named = {subject for (subject, _), contents in by_scan.items() if contents}
    gaps = [
        (several, "it has several rows that no session tells apart"),
        (named - joined - several, "its rows are of other sessions"),
    ]
    if strangers:  # names that are left over on both sides are often one name
        gaps += [(people - named, f"it has no row, but one of {strangers[0]}, who is not here")]
    told = "; ".join(
        f"for {so_many(len(whom), 'subject')}, such as {min(whom)}, {what}"
        for whom, what in gaps
        if whom
    )
    if told:
        return f"was joined for others only: {told}" if joined else f"was not joined: {told}"
    if column in _of_people(table) or not _is_bare(table, column, who):
        return ""
    return (
        f"was joined by the numbers in {column}, its first column, since none is called "
        "participant_id: check that they name subjects"
    )


def _by_scan(
    table: Read, column: str, who: Who, by_number: bool
) -> tuple[dict[tuple[str, str], list[dict[str, str]]], list[str]]:
    """A table's rows by subject and session without `column`, and whom else that names.

    Where scans' sessions are numbers, a word in the session's place says nothing of which it is.
    """
    others = (name for name in table.columns if name != column)
    sessions = next((name for name in others if _SESSION.fullmatch(_spelled(name))), "")
    by_scan: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    strangers = []
    for cells in table.rows:
        cell = cells.get(column, "")
        if found := who(cell):
            content = {name: text for name, text in cells.items() if name != column}
            session = found.session or _session(cells.get(sessions, ""))
            same = by_scan[found.subject, "" if by_number and not session.isdigit() else session]
            if content not in same:  # what says the same once more contradicts nothing
                same.append(content)
        elif cell.lower() not in _MISSING:
            strangers.append(cell)
    return by_scan, strangers


def _column_of_people(table: Read, who: Who, people: set[str]) -> tuple[str, str]:
    """The column by which a table is joined to some subjects, or "" and why there is none."""
    found = {c: [who(row.get(c, "")) for row in table.rows] for c in table.columns}
    reach = {c: len({each.subject for each in found[c] if each}) for c in found}
    called = _of_people(table)
    likely = [c for c in found if reach[c] and 2 * reach[c] >= len(people)]
    in_letters = [c for c in likely if not _is_bare(table, c, who)]
    chosen = [c for c in in_letters if c in called or not called]
    rivals = chosen or in_letters
    if not chosen:  # numbers alone: only where no other column could be meant
        sure = called if len(called) == 1 else list(table.header[:1]) if not called else []
        chosen = [c for c in likely if c in sure]
    if not chosen:
        return "", _why_nobody(table, likely, called, reach, people)
    best = max(chosen, key=lambda c: reach[c])
    for other in rivals:
        pairs = zip(found[best], found[other])
        if any(one and two and one.subject != two.subject for one, two in pairs):
            return "", (
                f"its columns {best} and {other} name different subjects in one row. Take one of "
                "them out, or put it right"
            )
    return best, ""


def _why_nobody(
    table: Read, likely: list[str], called: list[str], reach: dict[str, int], people: set[str]
) -> str:
    if numbers := [c for c in called if c in likely]:
        return (
            f"its columns {' and '.join(called)} are all called as if they named people, and "
            f"{numbers[0]} does so by numbers alone. Take out those that do not name them"
        )
    if called:
        best = max(called, key=lambda c: reach[c])
        example = next((row[best] for row in table.rows if row.get(best)), "nothing")
        return (
            f"its column {best} names {reach[best]} of {so_many(len(people), 'subject')} here, not "
            f"even half: its first is {example}, the first here is {min(people)}"
        )
    alone = f": numbers alone, as in {likely[0]}, name nobody" if likely else ""
    return f"no column of it names these subjects{alone}. Call the one that does participant_id"


def _of_people(table: Read) -> list[str]:
    """The columns that are called as columns of people are; the surest kind alone."""
    kinds = ([c for c in table.columns if kind.fullmatch(_spelled(c))] for kind in _PEOPLE)
    return next(filter(None, kinds), [])


def _is_bare(table: Read, column: str, who: Who) -> bool:
    """Whether all cells of a column that name somebody are numbers."""
    cells = (row.get(column, "") for row in table.rows)
    return all(cell.isdigit() for cell in cells if who(cell))


def _reader(identities: Iterable[tuple[str, str]]) -> Who:
    """What reads a cell: as the label stands, else without "sub-", else as spreadsheets leave it.

    A label that two subjects share, as 1 is of sub-01 and sub-001, names neither.
    """
    ways: list[Callable[[str], str]] = [str, lambda label: label.removeprefix("sub-"), _plain]
    names: list[dict[str, set[Named]]] = [defaultdict(set) for _ in ways]
    for subject, session in identities:
        number = _session(session)
        for name, way in zip(names, ways):
            label = way(subject)
            name[label].add(Named(subject, ""))
            for tail in (f"_{session}", f"_ses-{number}", f"t{number:0>2}"):
                name[label + tail].add(Named(subject, number))

    @functools.cache
    def who(cell: str) -> Named | None:
        found = next((n[w(cell)] for n, w in zip(names, ways) if w(cell) in n), set())
        return next(iter(found)) if len(found) == 1 else None

    return who


def _add(row: dict, content: dict[str, str]) -> None:
    for column, value in content.items():
        if value.strip().lower() not in _MISSING:
            row.setdefault(column.strip(), value.strip())


def _spelled(column: str) -> str:
    """A column's name in lower case, with blanks for other signs."""
    return re.sub(r"[\W_]+", " ", column.lower()).strip()


def _plain(name: str) -> str:
    """A subject's label without prefix, case or the leading zeros that spreadsheets drop."""
    name = name.lower().removeprefix("sub-")
    return name.lstrip("0") or "0" if name.isdigit() else name


def _session(session: str) -> str:
    """The number in "ses-2", "t02" or "2"; the label of a session that has none, such as "pre"."""
    session = session.strip().lower()
    if session in _MISSING:
        return ""
    match = _NUMBERED.fullmatch(session)
    return match["number"] if match else session.removeprefix("ses-")
