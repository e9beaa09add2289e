"""A table that names scans: CSV or TSV with image, mask, subject, and whatever else is known.

Columns: `image` and `subject`, of need; `mask` (empty for a scan without one; several, of several
lesions, with a | between them), `session`, `site`, `split`, `space`, `mask_grid` ("same", or
"world" for a mask drawn on another image of the session); all others are kept as metadata. Paths
are relative to the table.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import pandas as pd

from kenseg_utils import artifacts

from ._foreign import ScanError, as_path, unreadable
from ._grids import MASK_GRIDS
from ._layouts import LeaveOut
from ._tables import Read, read

_NEEDED = ("image", "subject")
_KNOWN = (*_NEEDED, "mask", "session", "site", "split", "space", "mask_grid")
_WRITTEN = ("mask_grid", "subject", "session", "site", "split", "space", "unlabelled")
_DEFAULTS = {"session": "ses-1", "space": "orig", "mask_grid": "same"}
# How tables say that there is nothing: BIDS's word, and spreadsheets' and Python's.
_NOTHING = {"n/a", "na", "nan", "none", "null", "-", "."}
NO_MASK = "its table names no mask for it"
_LISTED = 5


def is_table(path: Path) -> bool:
    return path.name.lower().endswith((".csv", ".tsv"))


def scans_in(path: Path, leave_out: LeaveOut) -> tuple[list[dict], list[dict[str, str]]]:
    """The rows of a table of scans, and the rest of each row's columns.

    A scan whose image or mask is missing is left out; what contradicts itself stops the reading.
    Raises ScanError naming lines: wrong columns, what is no path, an image or a mask twice, a
    missing subject, an unknown mask_grid, or no scan at all.
    """
    try:
        table = read(path)
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise ScanError(f"{path} is not a table of scans: {error}.") from error
    names = _columns(path, table)
    lines = []
    for number, cells in zip(table.lines, table.rows):
        known = {name: cells.get(column, "") for name, column in names.items()}
        for name in known:  # a site may be called NA; "n/a" is no name in any BIDS table
            if name not in _NEEDED and known[name].lower() == "n/a":
                known[name] = ""
        if known.get("mask", "").lower() in _NOTHING and not os.path.isfile(
            os.path.join(path.parent, known["mask"])
        ):
            known["mask"] = ""
        more = {column: text for column, text in cells.items() if column not in names.values()}
        lines.append((number, known, more))
    _refuse_no_paths(path, lines)
    _refuse_contradictions(path, lines)
    rows, extras = [], []
    for _, known, more in lines:
        image, *masks = (_place(path, text) for _, text in _files(path, known))
        absent = next((file for file in (image, *masks) if not os.path.isfile(file)), None)
        if absent:
            which = "image" if absent == image else "mask"
            why = "is no file" if os.path.exists(absent) else "does not exist"
            leave_out(f"scans of {path.name} whose {which} {why}", absent)
            continue
        rows.append(
            {
                "subject": known["subject"],
                "session": known.get("session") or _DEFAULTS["session"],
                "site": known.get("site", ""),
                "release": f"{path.name} (table)",
                "split": known.get("split", "").lower(),
                "space": known.get("space") or _DEFAULTS["space"],
                "t1w": image,
                "masks": tuple(masks),
                "mask_grid": known.get("mask_grid") or _DEFAULTS["mask_grid"],
                "unlabelled": "" if masks else NO_MASK,
            }
        )
        extras.append(more)
    return rows, extras


def write_table(scans: pd.DataFrame, path: str | os.PathLike) -> Path:
    """Write scans as a table that `find_scans` reads, to look through and to correct by hand.

    `scans`: rows of `find_scans`. Columns: image, mask (empty where there is none; several with a
    | between them), mask_grid, subject, session, site, split, space, and unlabelled, which says
    why there is no mask. Files below the table's folder are named from there, so that both can
    move together; others by their whole path. Returns the table's path.

    Raises ScanError where a file of that name is there, which stays as it is, for another ending
    than .csv, and for the name of a mask that a table cannot hold.
    """
    path = Path(os.path.abspath(as_path(path)))
    if path.suffix.lower() != ".csv":
        raise ScanError(f"{path}: a table of scans is written as .csv. Give such a name.")
    if path.exists():
        raise ScanError(f"{path} is there already, and is not written over: give another name.")

    def told(file: str) -> str:
        place = os.path.abspath(file)
        below = os.path.relpath(place, path.parent)
        return place if below.split(os.sep)[0] == os.pardir else below

    for masks in scans["masks"]:
        if len(masks) > 1 and (wrong := next((mask for mask in masks if "|" in mask), None)):
            raise ScanError(
                f"{wrong} has a | in its name, which parts masks in a table: rename it."
            )
    table = pd.DataFrame(
        {
            "image": scans["t1w"].map(told),
            "mask": scans["masks"].map(lambda masks: "|".join(map(told, masks))),
            **{name: scans[name] for name in _WRITTEN},
        }
    )
    with artifacts.write_aside(path) as partial:
        table.to_csv(partial, index=False, errors="surrogateescape")
    return path


def _columns(path: Path, table: Read) -> dict[str, str]:
    """Which of the table's columns is which of the known ones; spelling of case is free."""
    spelled = [column.strip().lower() for column in table.header]
    if twice := sorted({name for name in _KNOWN if spelled.count(name) > 1}):
        raise ScanError(
            f"{path} contradicts itself: it has two columns called {' and two called '.join(twice)}"
            ". Keep one of them."
        )
    there = {column.strip().lower(): column for column in reversed(table.columns)}
    names = {name: there[name] for name in _KNOWN if name in there}
    if lacking := [name for name in _NEEDED if name not in names]:
        raise ScanError(
            f"{path} is not a table of scans: it has no column {' and none '.join(lacking)}. "
            f"Its columns are {', '.join(table.columns) or 'none'}. Needed are image and subject; "
            "mask, session, site and any others may be there. Paths are relative to the table."
        )
    if not table.rows:
        raise ScanError(f"{path} names no scan: there are no lines below its columns.")
    return names


def _files(table: Path, known: dict[str, str]) -> list[tuple[str, str]]:
    """What a line calls its image and its masks: ("image", path), then ("mask", path) of each."""
    masks = known.get("mask", "")
    is_one = "|" not in masks or os.path.isfile(os.path.join(table.parent, masks.strip()))
    each = [masks] if is_one else masks.split("|")
    return [("image", known["image"]), *(("mask", text) for text in each if text.strip())]


def _place(table: Path, text: str) -> str:
    """A path in a table as an absolute one; "" stays."""
    if not text.strip():
        return ""
    place = os.path.abspath(os.path.join(table.parent, as_path(text.strip())))
    if "\\" in text and os.sep == "/" and not os.path.exists(place):  # written on Windows
        other = os.path.abspath(os.path.join(table.parent, text.strip().replace("\\", "/")))
        return other if os.path.exists(other) else place
    return place


def _refuse_no_paths(path: Path, lines: list[tuple[int, dict, dict]]) -> None:
    """Raise ScanError for lines whose image or mask can be no file of this machine; all at once."""
    wrong = []
    for number, known, _ in lines:
        for name, text in _files(path, known):
            try:
                _place(path, text)
            except ScanError as error:
                wrong.append(f"Line {number}, {name}: {error}")
    if wrong:
        more = f" And {len(wrong) - _LISTED} more." if len(wrong) > _LISTED else ""
        raise ScanError(
            f"{path} gives what is no file of this machine. {' '.join(wrong[:_LISTED])}{more} "
            "Put these lines right, or take them out."
        )


def _refuse_contradictions(path: Path, lines: list[tuple[int, dict, dict]]) -> None:
    """Raise ScanError for lines that lack a need or contradict each other; all kinds at once."""
    wrong = []
    for name in _NEEDED:
        if bare := [number for number, known, _ in lines if not known[name].strip()]:
            wrong.append(f"{_lines(bare)} name no {name}")
    for number, known, _ in lines:
        if (grid := known.get("mask_grid", "")) and grid not in MASK_GRIDS:
            wrong.append(
                f"line {number} has the mask_grid {grid!r}, which is neither same nor world"
            )
    where: dict[str, dict[str, list[int]]] = {name: defaultdict(list) for name in ("image", "mask")}
    for number, known, _ in lines:
        for name, text in _files(path, known):
            if text.strip():
                where[name][os.path.realpath(_place(path, text))].append(number)
    for name, files in where.items():
        twice = [(file, numbers) for file, numbers in files.items() if len(numbers) > 1]
        wrong += [f"{_lines(numbers)} name the same {name}, {file}" for file, numbers in twice]
    for file, numbers in where["mask"].items():
        if others := where["image"].get(file):
            wrong.append(f"line {numbers[0]} gives as its mask the image of line {others[-1]}")
    if wrong:
        more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise ScanError(f"{path} contradicts itself: {'; '.join(wrong[:_LISTED])}{more}.")


def _lines(numbers: list[int]) -> str:
    listed = ", ".join(map(str, numbers[:_LISTED])) + (" …" if len(numbers) > _LISTED else "")
    return f"line{'s' if len(numbers) > 1 else ''} {listed}"
