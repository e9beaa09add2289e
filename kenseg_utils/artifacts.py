"""The work folder: where everything derived is kept, each thing under a key of what made it.

An artifact is written aside and renamed when whole, under a file lock.
So a killed run leaves nothing that a later run would trust, and two notebooks never build the
same thing at once.
"""

from __future__ import annotations

import hashlib
import json
import numbers
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

_RACY_NS = 2_000_000_000
_UNREADABLE = "unreadable"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.I)
_LONGEST_NAME = 255  # bytes, on every file system in use


def source_tree() -> Path:
    """The folder that holds the package's source tree, or the current one where there is none."""
    source = Path(__file__).resolve().parents[1]
    return source if (source / "pyproject.toml").exists() else Path.cwd()


def as_path(path: str | bytes | os.PathLike) -> Path:
    """A path as whatever takes one understands it: `~` is the home folder, bytes are a name.

    Raises ValueError for what is no path, for none, for an address on the net, and for the home of
    a user who is not known here: a folder called `~name` is no place where a person would look.
    """
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, (str, os.PathLike)) or not str(path).strip() or "\0" in str(path):
        raise ValueError(f"A path is needed, and {path!r} is none: name a file or a folder.")
    if _ADDRESS.match(str(path)):
        raise ValueError(f"{path} is an address on the net: download it, and name the file.")
    given = os.fspath(path)
    found = os.path.expanduser(given)
    if found.startswith("~") and not os.path.lexists(found.split("/")[0]):
        raise ValueError(
            f"{given} cannot be found: no user {found[1:].split('/')[0]} is known here. Write the "
            f"folder out, or ./{given} for a name that begins so."
        )
    return Path(found)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python's or NumPy's kinds, and not True or False."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def work_dir(path: str | os.PathLike | None = None) -> Path:
    """The work folder: `path`, else the environment's KENSEG_HOME, else `.kenseg`.

    The last stands beside the package's source tree, or in the current folder where the package
    is installed without one.
    Raises ValueError where a file stands in its place.
    """
    home = path or os.environ.get("KENSEG_HOME") or source_tree() / ".kenseg"
    folder = as_path(home).resolve()
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"{folder} is a file, and the work folder must be a folder: "
            "choose another work_dir or KENSEG_HOME."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key(**fields: Any) -> str:
    """A short hash (12 hex digits) of JSON-able fields: the same content gives the same key."""
    text = json.dumps(fields, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def same_file(one: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Whether two paths lead to one file: through links of either kind or another spelling, too."""
    one, other = as_path(one), as_path(other)
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there (yet)
        return os.path.realpath(one) == os.path.realpath(other)


def checked_target(
    path: str | os.PathLike, endings: tuple[str, ...], inputs: Iterable[str | os.PathLike] = ()
) -> Path:
    """The path of a file to write, `~` expanded, once all that can be known beforehand is in order.

    To be called before the work whose result is written. `endings`: those that its name may have.
    `inputs`: files that are read for it, and that it must not replace.
    Raises ValueError for a name with another ending, a folder, a place below a file or where
    nothing can be written, and a path that leads to one of the inputs, by whatever name.
    """
    target = as_path(path)
    if not target.name.endswith(endings):
        raise ValueError(
            f"The file's name must end in {' or '.join(endings)}: {target.name!r} does not."
        )
    for file in inputs:
        if same_file(target, file):
            raise ValueError(
                f"{target} is an input of what would be written to it ({file}): it would be "
                "lost. Choose another name."
            )
    if max(len(os.fsencode(part)) for part in target.parts) > _LONGEST_NAME:
        raise ValueError(f"A name in {target} is too long for a file: choose a shorter one.")
    if target.is_dir():
        raise ValueError(f"{target} is a folder: give the name of a file in it.")
    above = next(folder for folder in target.absolute().parents if os.path.lexists(folder))
    if not above.is_dir():
        raise ValueError(f"{target} cannot be written: {above} is no folder. Choose another.")
    if not _takes_files(above):
        raise ValueError(
            f"{target} cannot be written: {above} may not be written to. Choose another folder."
        )
    return target


def _takes_files(folder: Path) -> bool:
    """Whether a folder lets files be made in it; permission alone does not tell of every one."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


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


def write_json(target: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of either."""
    with write_aside(target) as partial:
        partial.write_text(json.dumps(content, indent=2, sort_keys=True, default=str) + "\n")


def build(folder: Path, maker: Callable[[Path], None], resume: bool = False) -> Path:
    """Return `folder`, made by `maker(partial_folder)` first if it is not there.

    `maker` fills a folder of another name, which takes its place only when `maker` has returned.
    With `resume`, what a killed run left is handed to `maker`, who must trust only whole files;
    otherwise it starts from an empty folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if not folder.exists():
            partial = folder.parent / f".partial-{folder.name}"
            if not resume:
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(exist_ok=True)
            try:
                maker(partial)
            except BaseException:
                if not resume:
                    shutil.rmtree(partial, ignore_errors=True)
                raise
            os.replace(partial, folder)
    return folder


def fingerprint(path: str | os.PathLike) -> str:
    """Name what a file holds by a hash over all of it; OSError where it cannot be read.

    Unlike a time stamp it stays the same when the file is copied or made again.
    """
    with open(as_path(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def fingerprints(
    paths: Iterable[str | os.PathLike], work: str | os.PathLike | None = None
) -> list[str]:
    """The `fingerprint` of each path, remembered in the work folder so that files are read once.

    A file is read again when its size, times or inode are not those of last time; what changed
    within the last two seconds is not remembered, as another change could leave the times as they
    are. A file that cannot be read gets "unreadable" and the reason in place of a hash.
    """
    names = [os.path.abspath(os.path.expanduser(os.fspath(path))) for path in paths]
    memory = work_dir(work) / "fingerprints.jsonl"
    known = _remembered(memory)
    prints, waiting = {}, []
    for path in dict.fromkeys(names):
        state = _state(path)
        if isinstance(state, str):
            prints[path] = state
        elif (last := known.get(path)) and last[:-1] == state:
            prints[path] = last[-1]
        else:
            waiting.append((path, state))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        read = list(pool.map(_read_fingerprint, [path for path, _ in waiting]))
    steady = {}
    for (path, state), found in zip(waiting, read):
        prints[path] = found
        is_old = time.time_ns() - max(state[1:3]) > _RACY_NS
        if is_old and not found.startswith(_UNREADABLE) and _state(path) == state:
            steady[path] = [*state, found]
    _remember(memory, steady)
    return [prints[path] for path in names]


def _read_fingerprint(path: str) -> str:
    try:
        return fingerprint(path)
    except OSError as error:
        return f"{_UNREADABLE}: {error.strerror}"


def _state(path: str) -> list[int] | str:
    """What tells a changed file without reading it: size, two times, inode; or why it cannot."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError) as error:
        return f"{_UNREADABLE}: {getattr(error, 'strerror', None) or error}"
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _remembered(memory: Path) -> dict[str, list]:
    """Each path's last line in the memory; lines that are broken count for nothing."""
    known: dict[str, list] = {}
    try:
        text = memory.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return known
    for line in text.splitlines():
        try:
            path, *entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(path, str) and len(entry) == 5 and isinstance(entry[-1], str):
            known[path] = entry
    return known


def _remember(memory: Path, steady: dict[str, list]) -> None:
    """Add lines to the memory; without room or right to write it, files are read again."""
    if not steady:
        return
    try:
        with FileLock(f"{memory}.lock", timeout=10), open(memory, "a", encoding="utf-8") as file:
            # Each line opens with its break, so that one which broke off spoils no other.
            file.writelines(f"\n{json.dumps([path, *entry])}" for path, entry in steady.items())
    except (OSError, Timeout):
        return


def results_file(name: str, folder: str | os.PathLike | None = None, suffix: str = ".json") -> Path:
    """Where a result of that name is recorded: in `folder`, else in `results` of the source tree.

    Raises ValueError for a name that is more than letters, digits, - and _.
    """
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise ValueError(f"{name!r} is no name of a result: use letters, digits, - and _.")
    return as_path(folder or source_tree() / "results") / f"{name}{suffix}"


def commit() -> str:
    """The commit of the source tree, with "+" where files differ from it; "unknown" without git.

    Recorded results are left out: a recording of several trainings writes them as it goes.
    """
    here = Path(__file__).parent
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", here, *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (
                ["rev-parse", "--short=12", "HEAD"],
                [
                    "status",
                    "--porcelain",
                    "--untracked-files=no",
                    "--",
                    ":/",
                    ":(top,exclude)results",
                    ":(top,exclude)benchmarks/results",
                ],
            )
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("+" if changed else "")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
