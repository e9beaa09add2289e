"""What the command is to do: scans and the files made of them, checked before, written at once."""

from __future__ import annotations

import argparse
import os
import tempfile
import unicodedata
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from kenseg_utils import artifacts, atlas

from ._findings import Finding, scan_name
from ._page import save_page

NIFTI, HTML = (".nii", ".nii.gz"), (".html", ".htm")


@dataclass(frozen=True)
class Job:
    """A scan and the files that are made of it."""

    scan: Path
    mask: Path
    page: Path | None = None
    probability: Path | None = None

    @property
    def targets(self) -> list[tuple[Path, tuple[str, ...]]]:
        """The files to write, and how their names may end."""
        given = ((self.mask, NIFTI), (self.page, HTML), (self.probability, NIFTI))
        return [(target, endings) for target, endings in given if target is not None]


def jobs_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[Job]:
    """What is to be done; a wrong command ends here with 2. ValueError for what is no path."""
    if given.to is None:
        if len(given.files) != 2:
            parser.error("give one scan and one mask to write, or several scans and --to FOLDER")
        scan, mask = map(artifacts.as_path, given.files)
        page, probability = (
            None if name is None else artifacts.as_path(name)
            for name in (given.report, given.probability)
        )
        return [Job(scan, mask, page, probability)]
    if given.report or given.probability:
        parser.error("--to names the files itself: leave out --report and --probability")
    files, folder = [artifacts.as_path(name) for name in given.files], artifacts.as_path(given.to)
    names = [scan_name(file) for file in files]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        parser.error(f"several scans are named {', '.join(twice)}: their masks would be one file")
    return [
        Job(file, folder / f"{name}_lesion.nii.gz", folder / f"{name}_lesion.html")
        for file, name in zip(files, names)
    ]


def check_jobs(jobs: Sequence[Job], replace: bool) -> None:
    """ValueError where a result cannot be written, is there, another result, or any job's scan."""
    scans = {key: job.scan for job in jobs for key in _same(job.scan)}
    taken: dict[Hashable, Path] = {}
    for job in jobs:
        own: list[Path] = []
        for target, endings in job.targets:
            artifacts.checked_target(target, endings, [job.scan, *own])
            keys = list(_same(target))
            if scan := next((scans[key] for key in keys if key in scans), None):
                raise ValueError(
                    f"{target}, where what is found in {job.scan} would be written, is a scan to "
                    f"read ({scan}): it would be lost. Choose another folder or name, or leave it "
                    "out of the scans."
                )
            keys.append(_spelling(target))
            if other := next((taken[key] for key in keys if key in taken), None):
                raise ValueError(
                    f"{target} and {other} would be one file: give the scans other names, or "
                    "write them into different folders."
                )
            # A link whose target is missing is there, too: of a git-annex, for example.
            if os.path.lexists(target) and not replace:
                raise ValueError(
                    f"{target} is there already: choose another name, or add --replace."
                )
            taken |= dict.fromkeys(keys, target)
            own.append(target)


def _same(path: Path) -> Iterator[Hashable]:
    """What two paths that lead to one file have in common (as `artifacts.same_file`)."""
    yield os.path.realpath(path)
    try:
        stat = os.stat(path)
    except OSError:  # it is not there (yet)
        return
    yield stat.st_dev, stat.st_ino


def _spelling(path: Path) -> str:
    """A path in the one spelling that its file system tells from others."""
    real = os.path.realpath(path)
    above = next(folder for folder in Path(real).parents if folder.is_dir())
    return unicodedata.normalize("NFC", real).casefold() if _ignores_case(above) else real


@lru_cache
def _ignores_case(folder: Path) -> bool:
    """Whether names that differ in case alone are one file there, as on most Macs."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".Case-") as probe:
            return os.path.lexists(folder / Path(probe.name).name.swapcase())
    except OSError:
        return False


def write(finding: Finding, job: Job, network: str) -> None:
    """Write all of a job's files, or none of them: aside and whole first, then all are renamed.

    `network` says on the page what drew the mask. Raises ValueError, which names the file and
    what to do, where one cannot be written; files that were there before are then as they were.
    """
    scan = finding.scan
    saves: list[tuple[Path | None, Callable[[Path], Any]]] = [
        (job.mask, lambda to: atlas.save_mask(scan, finding.mask, to)),
        (job.probability, lambda to: atlas.save_probability(scan, finding.probability, to)),
        (job.page, lambda to: save_page(finding, to, network, job.mask.name)),
    ]
    with ExitStack() as asides:
        whole: list[tuple[Path, Path]] = []
        target = job.mask
        try:
            for wanted, save in saves:
                if wanted is None:
                    continue
                target = wanted
                target.parent.mkdir(parents=True, exist_ok=True)
                folder = tempfile.TemporaryDirectory(
                    dir=target.parent, prefix=".partial-", ignore_cleanup_errors=True
                )
                aside = Path(asides.enter_context(folder)) / target.name
                save(aside)
                whole.append((aside, target))
            _rename_all(whole)
        except OSError as error:
            raise ValueError(
                f"{target} could not be written ({error.strerror or error}), and of {job.scan} "
                "nothing was. Make room there, or choose another folder, and run it again."
            ) from error


def _rename_all(whole: Sequence[tuple[Path, Path]]) -> None:
    """Give finished files their names; where one cannot have its, all is as before."""
    begun: list[tuple[Path, Path]] = []
    try:
        for aside, target in whole:
            before = aside.with_name("before")
            begun.append((before, target))
            if os.path.lexists(target):
                os.replace(target, before)
            os.replace(aside, target)
    except BaseException:
        for before, target in begun:
            if os.path.lexists(before):
                os.replace(before, target)
            elif not os.path.lexists(before.with_name(target.name)):  # it was renamed
                target.unlink(missing_ok=True)
        raise
