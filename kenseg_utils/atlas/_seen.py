"""What `find_scans` saw: counts by kind, what was left out and why, a sample."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from kenseg_utils.machine import readable, so_many

_NAMED = 3  # examples that a sentence gives


@dataclass(frozen=True)
class LeftOut:
    """Files that became no scan, or no mask of one: why, how many, the first of them."""

    reason: str
    count: int
    first: str

    def __str__(self) -> str:
        told = f"{so_many(self.count, 'file')} left out, {self.reason}"
        return f"{told}; the first is {readable(self.first)}."


@dataclass(frozen=True)
class Seen:
    """What was found below a folder, or in a table, and what became of it.

    releases: (name, scans, scans with a mask). files: (kind, how many), all that was walked past.
    left_out: see `LeftOut`. unread: sentences on folders that could not be entered. look_alikes:
    sentences on images that stand under two names. tables: sentences on tables that were not
    joined, not for everyone, or by numbers alone. sample: some rows in words.
    """

    root: str
    releases: tuple[tuple[str, int, int], ...] = ()
    files: tuple[tuple[str, int], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    unread: tuple[str, ...] = ()
    look_alikes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()

    @property
    def scans(self) -> int:
        """How many scans were found."""
        return sum(count for _, count, _ in self.releases)

    @property
    def problems(self) -> tuple[str, ...]:
        """What was left out and why, a sentence each; () where all is well."""
        return (*map(str, self.left_out), *self.unread)

    @property
    def lines(self) -> list[str]:
        """All of it in lines, but for the sample."""
        lines = [f"{readable(self.root)}:"]
        lines += [
            f"  {name}: {so_many(count, 'scan')}, {masked} with a lesion mask"
            for name, count, masked in self.releases
        ]
        if self.files:
            lines.append("  files: " + ", ".join(f"{count} {kind}" for kind, count in self.files))
        lines += [f"  {text}" for text in self.problems + self.look_alikes + self.tables]
        return lines

    def __str__(self) -> str:
        return "\n".join([*self.lines, *(f"  for example {text}" for text in self.sample)])


def gather(left: Iterable[tuple[str, str]]) -> tuple[LeftOut, ...]:
    """Pairs of (reason, path) as one `LeftOut` a reason, in the order of their first."""
    paths = defaultdict(list)
    for reason, path in left:
        paths[reason].append(path)
    return tuple(LeftOut(reason, len(each), each[0]) for reason, each in paths.items())


def in_words(row: dict) -> str:
    """A row of the table of scans in a line."""
    masks = ", ".join(os.path.basename(mask) for mask in row["masks"]) or "no mask"
    how = ", brought to its grid by world coordinates" if row["mask_grid"] == "world" else ""
    return readable(
        f"{row['subject']} {row['session']}: {os.path.basename(row['t1w'])} with {masks}{how}"
    )


def listed(names: Iterable[str]) -> str:
    """Some names as text, no more than a few of them."""
    names = [readable(str(name)) for name in names]
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
