"""What takes longer than a page may: recorded once as results/<name>.json, then shown."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kenseg_utils import artifacts, profiles


@dataclass(frozen=True)
class Result:
    """A recorded result: its tables by name, and what they came from."""

    tables: dict[str, pd.DataFrame]
    provenance: dict


def save_result(
    name: str,
    tables: Mapping[str, pd.DataFrame],
    folder: str | os.PathLike | None = None,
    **provenance: Any,
) -> Path:
    """Record tables as `results/<name>.json`, with versions, device, commit and time.

    `provenance` adds to these or takes their place: `**experiments.evidence(table)` names the
    data, seeds and devices. `folder`: another one than `results` beside the package.
    Raises ValueError for a name that is more than letters, digits, - and _.
    """
    from kenseg_utils import training

    file = artifacts.results_file(name, folder)
    about = json.dumps(training.provenance() | provenance, indent=2, default=str)
    titled = ",\n".join(
        f"{json.dumps(title)}: [\n{_a_row_a_line(table)}\n]" for title, table in tables.items()
    )
    with artifacts.write_aside(file) as aside:
        aside.write_text(f'{{"provenance": {about},\n"tables": {{\n{titled}\n}}}}\n')
    return file


def _a_row_a_line(table: pd.DataFrame) -> str:
    """A JSON object for each row, on its own line, so that two recordings can be compared."""
    lines = table.to_json(orient="records", lines=True)
    return ",\n".join(lines.splitlines())


def open_result(name: str, folder: str | os.PathLike | None = None) -> Result | None:
    """What `save_result` recorded under this name, or None where nothing was recorded.

    Raises ValueError for a file that holds something else.
    """
    file = artifacts.results_file(name, folder)
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text())
        return Result(
            {title: pd.DataFrame(rows) for title, rows in found["tables"].items()},
            dict(found["provenance"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is no recorded result ({type(error).__name__}: {error}): record "
            "it anew, or remove it."
        ) from error


def asked_of_seeds(about: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command of an experiment over seeds is asked: profile, seeds, folders, record.

    `about`: the module's text, whose first line is the command's. Ends the command where there is
    no seed.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--profile", choices=list(profiles.PROFILES), default="demo")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 (default: 5)")
    parser.add_argument("--work-dir")
    parser.add_argument("--results", help="folder of the record (default: results)")
    parser.add_argument("--record", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.seeds < 1:
        parser.error(f"--seeds is {asked.seeds}: give at least 1.")
    return asked
