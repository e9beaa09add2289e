"""Tables beside scans: read as spreadsheets write them, joined to scans by subject and session."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import pandas as pd

_ONE_SESSION = re.compile(r"^(sub-[^_]+)(?:_(ses-[^_]+))?_metadata\.csv$")
_WHOLE_RELEASE = re.compile(r"^participants\.(tsv|csv)|meta-?_?data|atlas|supplement", re.I)
_SURELY_METADATA = re.compile(r"^participants\.(tsv|csv)|meta-?_?data", re.I)
SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
# What the column that names people or files is called: the line that has it is the header.
_HEADER = re.compile(
    r"(bids|participant|subject|sub|patient|image|scan|t1w)([ _-]?(id|name))?s?|id"
)
_MISSING = {"", "na", "n/a", "nan", "null"}
_MOST_BYTES = 20_000_000
_DELIMITERS = ",;\t|"
_DECIMAL_COMMA = re.compile(r"^\s*[-+]?\d+,\d+\s*$")


@dataclass(frozen=True)
class Read:
    """A table as text: column names, and a dict a row with its line's number in `lines`.

    header: the names as they stand, with empty and repeated ones.
    """

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    header: tuple[str, ...] = ()


def read(path: str | os.PathLike) -> Read:
    """Read a CSV or TSV file as text, whatever its delimiter and encoding.

    The delimiter is the comma, semicolon, tab or bar that splits the lines best. UTF-8, UTF-16 and
    Latin-1 are told apart. Lines above the header, such as a title, are passed over: those that
    fill fewer cells than most, or stand before one with the column of people or files. Between
    semicolons and tabs, a comma within a number is its decimal point.
    Raises OSError, or ValueError for a file that is no text or too large.
    """
    if os.path.getsize(path) > _MOST_BYTES:
        raise ValueError(f"it is larger than {_MOST_BYTES:,} bytes")
    with open(path, "rb") as file:
        text = _decoded(file.read())
    delimiter = _delimiter(text)
    try:
        cells = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        numbered = [(cells.line_num, [cell.strip() for cell in line]) for line in cells]
    except csv.Error as error:
        raise ValueError(f"it is no table ({error})") from error
    filled = [(number, line) for number, line in numbered if any(line)]
    usual = Counter(_width(line) for _, line in filled).most_common(1)
    while filled and _width(filled[0][1]) < usual[0][0]:
        filled.pop(0)
    named = [any(_HEADER.fullmatch(cell.lower()) for cell in line) for _, line in filled[:4]]
    if True in named:
        del filled[: named.index(True)]
    if not filled:
        return Read((), (), ())
    columns = [name if isinstance(name, str) else "" for name in filled[0][1]]
    rows = [
        # Of two columns with one name the first counts.
        {name: _number(value, delimiter) for name, value in [*zip(columns, line)][::-1] if name}
        for _, line in filled[1:]
    ]
    names = tuple(dict.fromkeys(name for name in columns if name))
    return Read(names, tuple(rows), tuple(number for number, _ in filled[1:]), tuple(columns))


def _width(line: list[str]) -> int:
    """How many cells a line has up to its last that is filled."""
    return max((number for number, cell in enumerate(line, 1) if cell), default=0)


def _decoded(content: bytes) -> str:
    content = content.removesuffix(b"\x1a")  # an end of file as DOS wrote it
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        encodings = ["utf-32"]
    elif content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif (start := content.rstrip(b"\0")[:200]).count(b"\0") > len(start) // 4:
        encodings = ["utf-16-le" if content[1:2] == b"\0" else "utf-16-be"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        text = text.rstrip("\0")  # a disk that was full, or a block that was filled up
        if "\0" not in text:
            return text.removeprefix("\ufeff")
    raise ValueError("it is no text")


def _delimiter(text: str) -> str:
    """The sign by which the first lines fall into most cells, equally many in most lines."""
    lines = [line for line in text.splitlines()[:30] if line.strip()]

    def cells(delimiter: str) -> tuple[int, int]:
        counts = Counter(len(next(csv.reader([line], delimiter=delimiter), [])) for line in lines)
        counts.pop(1, None)
        width, times = max(counts.items(), key=lambda item: (item[1], item[0]), default=(1, 0))
        return (times, width)

    try:
        return max(_DELIMITERS, key=cells) if lines else ","
    except csv.Error:
        return ","


def _number(value: str, delimiter: str) -> str:
    return value.replace(",", ".") if delimiter != "," and _DECIMAL_COMMA.match(value) else value


def metadata(scans: pd.DataFrame, tables: list[str]) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """One row for each of `scans`, with the columns of every table that can be matched to them.

    A table is matched by the column that names most subjects (or subject and session in one).
    It counts for the scans below its own folder. A subject with several rows gets one only if a
    session column tells them apart.
    Columns hold text, and may repeat those of `scans`.
    Returns also what tables were of no use, as (path, why): those that call themselves metadata.
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
    identities = [
        (_plain(scan.subject), _session(scan.session)) for scan in scans.itertuples(index=False)
    ]
    useless = []
    for path in tables:
        folder, name = os.path.split(path)
        one = _ONE_SESSION.match(name)
        if not one and not (_WHOLE_RELEASE.search(name) and by_folder[folder]):
            continue
        if name.lower().endswith(".gz"):
            useless.append((path, "it is compressed: unpack it (gunzip) in the same folder"))
            continue
        if name.lower().endswith(SHEETS):
            useless.append((path, "a spreadsheet is not read: save it as .csv in the same folder"))
            continue
        try:
            content = list(read(path).rows)
        except (OSError, ValueError) as error:
            content = []
            why = f"it cannot be read: {error}"
        else:
            why = "no column of it names these subjects"
        if one:
            if len(content) == 1:
                for number in by_name[folder, one[1], one[2] or "ses-1"]:
                    _add(rows[number], content[0])
        elif (joined := _join(rows, identities, by_folder[folder], content)) is None:
            if _SURELY_METADATA.search(name):
                useless.append((path, why))
        elif joined:
            useless.append(
                (
                    path,
                    f"for {len(joined)} subject(s), such as {joined[0]}, it has several rows that "
                    "no session tells apart",
                )
            )
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return pd.DataFrame(rows, columns=columns, index=scans.index, dtype=object), useless


def _join(
    rows: list[dict],
    identities: list[tuple[str, str]],
    numbers: list[int],
    content: list[dict[str, str]],
) -> list[str] | None:
    """Add to `rows` those of a table's rows that name the scans of these `numbers`.

    Returns the subjects that have several rows each, without a session; None where none is named.
    """
    if not content:
        return None
    known: dict[
        str, tuple[str, str]
    ] = {}  # every way in which a table may name a scan: its subject, its session or ""
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
    best = max(columns, key=lambda column: matches[column], default=None)
    if best is None or 2 * matches[best] < len(subjects):
        return None
    sessions = next(
        (
            column
            for column in columns
            if column != best and re.search(r"session|^ses|time_?point", column, re.I)
        ),
        "",
    )
    by_scan = defaultdict(list)
    for row in content:
        subject, session = known.get(_plain(row.get(best, "")), ("", ""))
        by_scan[subject, session or _session(row.get(sessions, ""))].append(row)
    several: list[str] = []
    for number in numbers:
        subject, session = identities[number]
        fitting = by_scan[subject, session] or by_scan[subject, ""]
        if len(fitting) > 1:
            several.append(subject)
        if len(fitting) == 1:
            _add(
                rows[number],
                {column: value for column, value in fitting[0].items() if column != best},
            )
    return sorted(set(several))


def _add(row: dict, content: dict[str, str]) -> None:
    for column, value in content.items():
        if value.strip().lower() not in _MISSING:
            row.setdefault(column.strip(), value.strip())


def _plain(name: str) -> str:
    """A subject's label without prefix, case or the leading zeros that spreadsheets drop."""
    name = name.strip().lower().removeprefix("sub-")
    return name.lstrip("0") if name.isdigit() else name


def _session(session: str) -> str:
    """The number in "ses-2", "t02" or "2"."""
    match = re.search(r"(\d+)\s*$", session or "")
    return match[1].lstrip("0") if match else ""


def numeric(column: pd.Series) -> pd.Series:
    """A column of numbers as such, "None" among numbers as missing; another column as it is."""
    for values in (column, column.replace({"None": None, "none": None})):
        try:
            return pd.to_numeric(values)
        except (ValueError, TypeError):
            continue
    return column
