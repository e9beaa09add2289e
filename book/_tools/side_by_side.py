"""How many chapters run side by side on this machine: `python book/_tools/side_by_side.py FOLDER`.

A chapter's small trainings gain little from a second core, so two chapters with a core each end
sooner than one after the other. Each wants memory of its own; FOLDER is where executed copies lie.
"""

import os
import sys
from pathlib import Path

import psutil

AT_MOST, BYTES_EACH = 4, 5e9


def cores() -> int:
    """The cores that this process may use."""
    fenced = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if fenced else os.cpu_count() or 1


def side_by_side(cores: int, free: float, waiting: int) -> int:
    """At most four, one for each core, for five free gigabytes, and for each waiting chapter."""
    return max(1, min(AT_MOST, cores, int(free // BYTES_EACH), waiting))


def waiting(folder: Path, notebooks: list[Path]) -> int:
    """How many chapters have no executed copy, or one older than themselves or the package."""
    package = max(path.stat().st_mtime for path in Path("kenseg_utils").rglob("*.py"))
    return sum(
        not (copy := folder / path.name).exists()
        or copy.stat().st_mtime < max(package, path.stat().st_mtime)
        for path in notebooks
    )


def threads(cores: int, chapters: int) -> dict[str, str]:
    """What tells TensorFlow, and the libraries under NumPy, how many threads a chapter has.

    Nothing for one chapter alone: they know best.
    """
    if chapters < 2:
        return {}
    names = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(max(1, cores // chapters)))


if __name__ == "__main__":
    print(
        side_by_side(
            cores(),
            psutil.virtual_memory().available,
            waiting(Path(sys.argv[1]), sorted(Path("notebooks").glob("*.ipynb"))),
        )
    )
