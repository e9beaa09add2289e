"""Work in several processes of this machine at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from joblib import Parallel, delayed


def side_by_side(
    work: Callable, jobs: Iterable, workers: int, *given: Any, in_order: bool = False
) -> Iterator:
    """Yield `work(job, *given)` for each job, from so many processes, as each is done.

    in_order : yield in the order of the jobs. Raises what a job raises, and joblib's
    TerminatedWorkerError where a process is killed. Unlike multiprocessing's, these processes also
    start from a notebook, and from a script without a main guard.
    """
    # joblib exchanges a process whose memory has grown, loses nothing by it, and says so each time.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
    order = "generator" if in_order else "generator_unordered"
    yield from Parallel(workers, return_as=order)(delayed(work)(job, *given) for job in jobs)
