"""The command line: a T1w in, a mask, a report and a sentence or two out.

It ends with 0 where every mask was written, with 1 where a scan or a file was refused (one message
says why, and of that scan nothing is written), and with 2 where the command itself is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from kenseg_utils import artifacts, atlas

from . import report
from ._findings import Finding, NoT1wError, examine, scan_name
from ._onnx import OnnxNetwork
from ._page import save_page
from ._recorded import BEST_FIRST
from ._volumes import check_cut, check_network, open_network

DESCRIPTION = (
    "Draw the mask of chronic stroke lesions in a T1w MRI of the head. Research and teaching "
    "only: not for patients."
)
NIFTI = (".nii", ".nii.gz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (the process's own unless given); its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    jobs = _jobs(parser, given)
    print(report.WARNING, file=sys.stderr)
    try:
        check_cut(given.threshold, 0.0 if given.least_ml is None else given.least_ml)
        for job in jobs:
            _check_job(job, given.replace)
        network, named = _network(given.network)
        check_network(network)
    except (ValueError, OSError) as error:
        return _refused(error)
    return max(_segment(job, network, named, given) for job in jobs)


class _Job:
    """A scan and the files that are made of it."""

    def __init__(self, scan: Path, mask: Path, page: Path | None, probability: Path | None) -> None:
        self.scan, self.mask, self.page, self.probability = scan, mask, page, probability


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kenseg_utils.prediction", description=DESCRIPTION, allow_abbrev=False
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="SCAN",
        help="a T1w (.nii or .nii.gz) and the mask to write; with --to, scans alone",
    )
    parser.add_argument(
        "--to", metavar="FOLDER", help="write a mask and a report for each scan into this folder"
    )
    parser.add_argument("--report", metavar="PAGE.html", help="also write a page with a picture")
    parser.add_argument(
        "--probability", metavar="PROB.nii.gz", help="also write each voxel's probability"
    )
    parser.add_argument(
        "--network",
        metavar="FILE",
        help="a network of yours (.onnx, .keras, or a run's folder); else the book's best",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        help="the probability from which a voxel is lesion (default 0.5, to which a recorded "
        "network's own choice is shifted)",
    )
    parser.add_argument(
        "--least-ml",
        type=float,
        metavar="ML",
        help="drop pieces below this (default: what was chosen with the network)",
    )
    parser.add_argument(
        "--force", action="store_true", help="segment what does not look like a T1w of a head, too"
    )
    parser.add_argument("--replace", action="store_true", help="write over files that are there")
    return parser


def _jobs(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[_Job]:
    """What is to be done; a wrong command ends here with 2."""
    files = [Path(name).expanduser() for name in given.files]
    if given.to is None:
        if len(files) != 2:
            parser.error("give one scan and one mask to write, or several scans and --to FOLDER")
        page, probability = (
            None if name is None else Path(name).expanduser()
            for name in (given.report, given.probability)
        )
        return [_Job(files[0], files[1], page, probability)]
    if given.report or given.probability:
        parser.error("--to names the files itself: leave out --report and --probability")
    names, folder = [scan_name(file) for file in files], Path(given.to).expanduser()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        parser.error(f"several scans are named {', '.join(twice)}: their masks would be one file")
    return [
        _Job(file, folder / f"{name}_lesion.nii.gz", folder / f"{name}_lesion.html", None)
        for file, name in zip(files, names)
    ]


def _check_job(job: _Job, replace: bool) -> None:
    """ValueError where a result cannot be written, is an input, another result, or there."""
    targets: list[Path] = []
    for target, endings in (
        (job.mask, NIFTI),
        (job.page, (".html", ".htm")),
        (job.probability, NIFTI),
    ):
        if target is None:
            continue
        artifacts.checked_target(target, endings, [job.scan, *targets])
        if target.exists() and not replace:
            raise ValueError(f"{target} is there already: choose another name, or add --replace.")
        targets.append(target)


def _network(given: str | None) -> tuple[Any, str]:
    """The network and what to call it: the one that is given, else the best recorded.

    The exported file is preferred, where it and onnxruntime are there: it starts at once.
    """
    if given is not None:
        return open_network(given), Path(given).name
    for name in BEST_FIRST:
        exported, kept = (artifacts.results_file(name, None, end) for end in (".onnx", ".npz"))
        if exported.is_file() and find_spec("onnxruntime"):
            return OnnxNetwork(exported), exported.name
        if kept.is_file() and find_spec("keras"):
            return open_network(), kept.name
    raise ValueError(
        f"No network is recorded in {artifacts.results_file('heads').parent}, or nothing is "
        "installed that runs one (onnxruntime, or Keras and TensorFlow): give --network."
    )


def _segment(job: _Job, network: Any, named: str, given: argparse.Namespace) -> int:
    """One scan: the exit code."""
    steps = _Progress(job.scan.name, sys.stderr)
    try:
        finding = examine(
            network, job.scan, given.threshold, given.least_ml, force=given.force, said=steps
        )
        steps("writing")
        atlas.save_mask(finding.scan, finding.mask, job.mask)
        if job.probability:
            atlas.save_probability(finding.scan, finding.probability, job.probability)
        if job.page:
            save_page(finding, job.page, named, job.mask.name)
    except NoT1wError as error:
        steps.end()
        return _refused(f"{error} If you know better, add --force.")
    except (ValueError, OSError, MemoryError) as error:
        steps.end()
        return _refused(error)
    steps.end()
    _tell(finding, job)
    return 0


def _tell(finding: Finding, job: _Job) -> None:
    print(f"{job.scan.name}: {report.summary(finding.table)}")
    print(f"  How sure: {finding.how_sure}")
    for doubt in finding.doubts:
        print(f"  Warning: {doubt}")
    written = [str(path) for path in (job.mask, job.probability, job.page) if path]
    print(f"  Written: {', '.join(written)}")


def _refused(error: object) -> int:
    print(f"Refused: {error or type(error).__name__}", file=sys.stderr)
    return 1


class _Progress:
    """A line that says what is being done: rewritten on a terminal, a line a step elsewhere."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name, self._stream, self._begun = name, stream, time.monotonic()
        self._rewrites = stream.isatty()

    def __call__(self, step: str) -> None:
        line = f"{self._name}: {step} … ({time.monotonic() - self._begun:.0f} s)"
        self._stream.write(f"\r\x1b[K{line}" if self._rewrites else f"{line}\n")
        self._stream.flush()

    def end(self) -> None:
        """Clear the line, if it is one that is rewritten."""
        if self._rewrites:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
