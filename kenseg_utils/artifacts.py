"""The work folder: where everything derived is kept, each thing under a key of what made it.

An artifact is written aside and renamed when whole, under a file lock.
So a killed run leaves nothing that a later run would trust, and two notebooks never build the
same thing at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def work_dir(path: str | os.PathLike | None = None) -> Path:
    """The work folder: `path`, else the environment's KENSEG_HOME, else `.kenseg` here.

    Raises ValueError where a file stands in its place.
    """
    folder = Path(path or os.environ.get("KENSEG_HOME") or ".kenseg").expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and the work folder must be a folder: "
                         "choose another work_dir or KENSEG_HOME.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key(**fields) -> str:
    """A short hash (12 hex digits) of JSON-able fields: the same content gives the same key."""
    text = json.dumps(fields, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextmanager
def write_aside(target: Path) -> Iterator[Path]:
    """Yield a temporary file path beside `target`; on leaving without error, rename it there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: numpy and Keras choose the format by it.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".partial-", suffix=target.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def write_json(target: Path, content) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of either."""
    with write_aside(target) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")


def build(folder: Path, maker: Callable[[Path], None]) -> Path:
    """Return `folder`, made by `maker(partial_folder)` first if it is not there.

    `maker` fills a folder of another name, which takes its place only when `maker` has returned.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not folder.exists():
            partial = folder.parent / f".partial-{folder.name}"
            shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
            partial.mkdir()
            maker(partial)
            os.replace(partial, folder)
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
