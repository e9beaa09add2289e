"""Fetch subjects of an open data set: choose, check before any work, download, say what failed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from tqdm import tqdm

from kenseg_utils import artifacts

from . import _releases, _tree
from ._download import LEFT, DownloadError, Downloads, File
from ._releases import METADATA, Release

_LISTED = 10  # failures in a message; the error's `failures` has all


def fetch(
    name: str,
    folder: str | os.PathLike,
    subjects: int | str | Sequence[str] | None = 20,
    *,
    base_url: str | None = None,
    workers: int = 4,
    progress: bool = True,
    manifest: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Download T1w and lesion mask of some subjects into `folder`, a BIDS tree under ARC's names.

    subjects: how many, smallest pairs first; names ("M2051" or "sub-M2051"); None for all 203.
    base_url: a mirror of the release's root. workers: subjects at once. progress: a bar in bytes.
    manifest: a table like `manifest(name)`, to be used instead.
    What is there already with the right SHA-256 is not fetched again, and a file that broke off
    goes on where the server allows it. One subject that fails does not stop the others.

    Returns a row for each subject asked for: subject, session, t1w and mask (paths), and the
    columns of `subjects(name)`.
    Raises ValueError before any work: unknown or refused data set or subject, a subject whose T1w
    and mask are of two sessions, a folder with something else in it, too little space; and
    DownloadError in the end where files did not arrive.
    """
    release = _releases.get(name)
    table = _releases.manifest(name) if manifest is None else manifest
    chosen = _choose(release, table, subjects)
    base_url = base_url or release.base_url
    if not base_url.startswith(("http://", "https://")):
        raise ValueError(f"base_url is {base_url!r}: give an address with http:// or https://.")
    if workers < 1:
        raise ValueError(f"workers is {workers}: give 1 or more.")
    folder = Path(os.path.abspath(artifacts.as_path(folder)))
    groups = [
        [File(row[kind], row[f"{kind}_bytes"], row[f"{kind}_sha256"]) for kind in ("t1w", "mask")]
        for row in chosen.to_dict("records")
    ]
    try:
        _tree.check(folder, release)
        _check_space(folder, sum(file.missing(folder) for group in groups for file in group))
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".downloading.lock", timeout=0):
            _tree.write(folder, release, table)
            _download(release, table, groups, folder, base_url.rstrip("/") + "/", workers, progress)
    except Timeout:
        raise ValueError(f"Another download into {folder} is running: wait for it.") from None
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be used: {error.strerror or error}. Make room in it, or "
            "name another folder."
        ) from None
    paths = {kind: [str(folder / path) for path in chosen[kind]] for kind in ("t1w", "mask")}
    return chosen[["subject", "session", *METADATA]].assign(**paths).reset_index(drop=True)


def _choose(release: Release, table: pd.DataFrame, subjects) -> pd.DataFrame:
    """The rows of the manifest that are asked for, in the order to fetch them."""
    pairs = _releases.pairs(table)
    if subjects is None:
        return pairs
    if isinstance(subjects, (int, np.integer)):
        if not 1 <= subjects <= len(pairs):
            raise ValueError(
                f"subjects is {subjects}: {release.name} {release.version} has "
                f"{len(pairs)} with T1w and mask of one session."
            )
        return pairs.head(subjects)
    named = [subjects] if isinstance(subjects, str) else subjects
    if not isinstance(named, Iterable) or not len(named := list(named)):
        raise ValueError(f"subjects is {subjects}: give a number, or names such as M2051.")
    wanted = list(dict.fromkeys("sub-" + str(label).removeprefix("sub-") for label in named))
    if unknown := sorted(set(wanted) - set(table.subject)):
        raise ValueError(
            f"{release.name} {release.version} has no lesion mask of "
            f"{', '.join(unknown)}: {_releases.__package__}.subjects"
            f"({release.name.lower()!r}) lists its subjects."
        )
    apart = table[table.subject.isin(wanted) & ~table.subject.isin(pairs.subject)]
    if len(apart):
        listed = "; ".join(
            f"{row.subject} (T1w {row.t1w_session}, mask {row.session}, "
            f"{row.days_between} days apart)"
            for row in apart.itertuples()
        )
        raise ValueError(
            f"T1w and mask are of two sessions, so their headers do not align them: "
            f"{listed}. Choose other subjects."
        )
    return pairs.set_index("subject", drop=False).loc[wanted]


def _check_space(folder: Path, needed: int) -> None:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ValueError(
            f"{needed / 1e6:,.1f} MB are still to fetch, and {folder} has room for "
            f"{free / 1e6:,.1f} MB: make room, take fewer subjects or another folder."
        )


def _download(
    release: Release,
    table: pd.DataFrame,
    groups: list[list[File]],
    folder: Path,
    base_url: str,
    workers: int,
    progress: bool,
) -> None:
    files = [file for group in groups for file in group]
    _clear(folder, files)
    with tqdm(
        total=sum(file.bytes for file in files),
        desc=release.name,
        unit="B",
        unit_scale=True,
        disable=not progress,
    ) as bar:
        downloads = Downloads(files, folder, base_url, bar)
        try:
            downloads.run(groups, workers)
        finally:
            _clear(folder, files)
            if not downloads.full:
                _tree.write(folder, release, table)
    if failures := downloads.failures:
        raise DownloadError(_summary(release, files, folder, downloads), failures)


def _clear(folder: Path, files: list[File]) -> None:
    """Remove what a killed run of pooch left (`tmp` and eight signs), and folders without files."""
    for place in {(folder / file.path).parent for file in files}:
        for left_over in place.glob("tmp????????"):
            left_over.unlink()
        while place != folder and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
            place = place.parent


def _summary(release: Release, files: list[File], folder: Path, downloads: Downloads) -> str:
    reasons = [reason for reason in downloads.failures.values() if reason != LEFT]
    rest = sum(file.missing(folder) for file in files)
    failed, left = len(downloads.failures), len(downloads.failures) - len(reasons)
    lines = [
        f"{failed} of {len(files)} files of {release.name} {release.version} did not arrive"
        + (f" ({left} of them were left for later)." if left else ".")
    ]
    if downloads.full:
        lines.append(f"The disk is full: make room for {rest / 1e6:,.1f} MB.")
    if downloads.gone:
        lines.append("The server cannot be reached: look at the network and the address.")
    lines += [f"- {reason}" for reason in reasons[:_LISTED]]
    if len(reasons) > _LISTED:
        lines.append(f"- and {len(reasons) - _LISTED} more")
    lines.append(
        f"{len(files) - failed} files are whole in {folder}; the same call again fetches "
        "only the rest."
    )
    return "\n".join(lines)
