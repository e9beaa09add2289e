"""The command line: a T1w in, a mask, a report and a sentence or two out.

It ends with 0 where every mask was written, with 1 where a scan or a file was refused (one message
says why, and of that scan nothing is written), what was found could not be printed, or somebody
stopped it, and with 2 where the command itself is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from kenseg_utils import artifacts
from kenseg_utils.machine import Progress, say, shown

from . import report
from ._findings import Finding, NoT1wError, examine
from ._jobs import Job, check_jobs, jobs_of, write
from ._onnx import OnnxNetwork
from ._recorded import BEST_FIRST
from ._volumes import check_cut, check_network, open_network

DESCRIPTION = (
    "Draw the mask of chronic stroke lesions in a T1w MRI of the head. Research and teaching "
    "only: not for patients."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (the process's own unless given); its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        return _run(parser, given)
    except KeyboardInterrupt:
        say("Stopped. Masks named above are whole; of other scans nothing is written.", sys.stderr)
        return 1


def _run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    try:
        jobs = jobs_of(parser, given)
        say(report.WARNING, sys.stderr)
        check_cut(given.threshold, 0.0 if given.least_ml is None else given.least_ml)
        check_jobs(jobs, given.replace)
        network, named = _network(given.network)
        check_network(network)
    except (ValueError, OSError) as error:
        return _refused(error)
    return max(_segment(job, network, named, given) for job in jobs)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(shown(message, getattr(sys.stderr, "encoding", None) or "utf-8"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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


def _segment(job: Job, network: Any, named: str, given: argparse.Namespace) -> int:
    """One scan: the exit code."""
    steps = Progress(job.scan.name, sys.stderr)
    try:
        finding = examine(
            network, job.scan, given.threshold, given.least_ml, force=given.force, said=steps
        )
        steps("writing")
        write(finding, job, named)
    except NoT1wError as error:
        refusal: object = f"{error} If you know better, add --force."
    except MemoryError as error:
        refusal = (
            f"{job.scan} needs more memory than there is ({error or 'MemoryError'}). End other "
            "programs, or make its voxels larger."
        )
    except (ValueError, OSError) as error:
        refusal = error
    else:
        steps.end()
        return _tell(finding, job)
    finally:
        steps.end()
    return _refused(refusal)


def _tell(finding: Finding, job: Job) -> int:
    written = [str(path) for path in (job.mask, job.probability, job.page) if path]
    lines = [
        f"{job.scan.name}: {report.summary(finding.table)}",
        f"  How sure: {finding.how_sure}",
        *(f"  Warning: {doubt}" for doubt in finding.doubts),
        f"  Written: {', '.join(written)}",
    ]
    for line in lines:
        if why := say(line, sys.stdout):
            say(
                f"{job.scan}: what was found could not be printed ({why}). Written: "
                f"{', '.join(written)}",
                sys.stderr,
            )
            return 1
    return 0


def _refused(error: object) -> int:
    say(f"Refused: {error or type(error).__name__}", sys.stderr)
    return 1
