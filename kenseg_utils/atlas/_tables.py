"""Tables beside scans, read as spreadsheets write them; `_joins` brings them to the scans."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from dataclasses import dataclass

import pandas as pd

SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
# What the column that names people or files is called: the line that has it is the header.
_HEADER = re.compile(
    r"(bids|participant|subject|sub|patient|image|scan|t1w)([ _-]?(id|name))?s?|id"
)
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
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        numbered = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
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
    names = tuple(dict.fromkeys(name for name in columns if name))
    rows = []
    for _, line in filled[1:]:
        cells = dict([*zip(columns, line)][::-1])  # of two columns with one name the first counts
        rows.append({name: _number(cells[name], delimiter) for name in names if name in cells})
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


def numeric(column: pd.Series) -> pd.Series:
    """A column of numbers as such, "None" among numbers as missing; another column as it is."""
    for values in (column, column.replace({"None": None, "none": None})):
        try:
            return pd.to_numeric(values)
        except (ValueError, TypeError):
            continue
    return column
