"""Which scans of a table can be learned from: each is read once, and what was seen is kept.

One damaged file among hundreds, or a mask in which nothing is marked, must not stop a chapter that
happens to open it; nor may it go unsaid.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from kenseg_utils import artifacts, atlas

from ._prepare import run_jobs, scan_keys


def usable(
    scans: pd.DataFrame, work_dir: str | os.PathLike | None = None, workers: int | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scans (rows of `atlas.find_scans`) that load with a lesion mask, and a report on others.

    The report has a row for each that does not: subject, t1w, problem, as `SliceSet.report` has
    them. Every file is read whole, by `workers` processes side by side. Which scans are good is
    kept in the work folder until a file or the loader changes; the others are read each time, as
    a disk may fail once, and a message shall name where the data lie now.
    """
    rows = scans.to_dict("records")
    keys = scan_keys(rows, work_dir)
    key = artifacts.key(usable=keys)

    def make(folder: Path) -> None:
        waiting = [job for job in jobs_in(folder) if not job[1].exists()]
        told = run_jobs(_look, waiting, workers)
        for _ in tqdm(told, total=len(waiting), desc="looking at scans", unit="scan"):
            pass

    def jobs_in(folder: Path) -> list[tuple[dict, Path]]:
        return [(row, folder / f"{name}.json") for row, name in zip(rows, keys)]

    folder = artifacts.build(artifacts.work_dir(work_dir) / f"usable-{key}", make, resume=True)
    problems = [
        _look((row, file)) if json.loads(file.read_text())["problem"] else ""
        for row, file in jobs_in(folder)
    ]
    lacking = [number for number, problem in enumerate(problems) if problem]
    report = scans.iloc[lacking][["subject", "t1w"]].assign(
        problem=[problems[number] for number in lacking]
    )
    return scans[[not problem for problem in problems]], report.reset_index(drop=True)


def _look(job: tuple[dict, Path]) -> str:
    """Open one scan, and note what is wrong with it ("" where nothing is)."""
    row, path = job
    problem = ""
    try:
        atlas.load_scan(row)
    except atlas.ScanError as error:
        problem = str(error)
    artifacts.write_json(path, {"problem": problem})
    return problem
