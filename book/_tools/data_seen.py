"""Keep a file whose time says when data last changed, for make to compare pages with.

Looks at the names, sizes, times and inodes of all files below a folder, or of a table and the files
that its cells name, and writes their hash where it differs from the one written before. Nothing but
the standard library is needed, and no file but a table is opened.
"""

import hashlib
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def files(root: Path) -> Iterator[Path]:
    """The files that results depend on, in a fixed order."""
    if root.is_file():
        yield root
        if root.suffix.lower() in (".csv", ".tsv"):
            text = root.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
            for cell in sorted(set(re.split(r"[,;\t|\r\n]", text))):
                named = os.path.expanduser(cell.strip().strip('"'))
                if named and os.path.isfile(root.parent / named):
                    yield root.parent / named
        return
    visited = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in visited:
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def look(root: Path) -> tuple[str, float]:
    """A hash of what is there, and the time of the last change to a file."""
    digest, newest = hashlib.sha256(), 0.0
    for path in files(root):
        try:
            state = path.stat()
        except OSError:  # a link to nothing
            digest.update(os.fsencode(f"{path}\n"))
            continue
        times = f"{state.st_mtime_ns}\t{state.st_ctime_ns}"  # a program may set the first back
        digest.update(os.fsencode(f"{path}\t{state.st_size}\t{times}\t{state.st_ino}\n"))
        newest = max(newest, state.st_mtime)
    return digest.hexdigest(), newest


def keep(root: Path, seen: Path) -> None:
    """Write the hash if it is new; the first one gets the data's own time, a later one now."""
    digest, newest = look(root)
    before = seen.read_text() if seen.exists() else None
    if before == digest:
        return
    seen.write_text(digest)
    if before is None:
        os.utime(seen, (min(newest, time.time()),) * 2)


if __name__ == "__main__":
    keep(Path(os.path.abspath(os.path.expanduser(sys.argv[1]))), Path(sys.argv[2]))
