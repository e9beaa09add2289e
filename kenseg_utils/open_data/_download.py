"""Files from a web server into a folder: several at once, each checked, each going on where it was.

pooch decides what is missing and compares SHA-256; the downloader that it is given here writes
`NAME.part` beside the target and asks for the rest of it only.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
import urllib3
from tqdm import tqdm

ATTEMPTS = 4
BACKOFF_S = 0.5  # before the second attempt, twice as long before each next one
TIMEOUT_S = (10, 30)  # for connecting, and for any wait between two pieces
CHUNK = 1 << 16
UNREACHABLE = 3  # after as many files in a row the server is taken to be gone
LEFT = "left for later"


class DownloadError(ValueError):
    """Some files did not arrive. `failures` has the reason by path; all others are whole."""

    def __init__(self, message: str, failures: dict[str, str]) -> None:
        super().__init__(message)
        self.failures = failures


@dataclass(frozen=True)
class File:
    """A file of a release: its path below the root, its size in bytes, its SHA-256 in hex."""

    path: str
    bytes: int
    sha256: str

    def missing(self, folder: Path) -> int:
        """How many bytes have still to come (its content is not looked at)."""
        whole, part = (size_of(folder / f"{self.path}{end}") for end in ("", ".part"))
        return 0 if whole == self.bytes else max(0, self.bytes - part)


class _Broken(Exception):
    """The answer ended early, or cannot be gone on with: worth another attempt."""


class _Stopped(Exception):
    """The download is to end now."""


class _Refused(Exception):
    """The server has no such file, or another one: asking again is of no use."""


class Downloads:
    """Files on their way into `folder`; `run` returns when all are there or have failed.

    failures: reason by path. full: the disk was full, and gone: the server could not be reached,
    so the rest was not tried.
    """

    def __init__(self, files: Iterable[File], folder: Path, base_url: str, bar: tqdm) -> None:
        self.failures: dict[str, str] = {}
        self.full = self.gone = False
        self._unreachable = 0
        self._bar, self._lock, self._stop = bar, threading.Lock(), threading.Event()
        self._folder = folder
        self._pooch = pooch.create(folder, base_url, registry={f.path: f.sha256 for f in files})

    def run(self, groups: Iterable[list[File]], workers: int) -> None:
        """Fetch groups of files in order, `workers` groups at once; a group shares a connection."""
        logger = pooch.get_logger()
        level = logger.level
        logger.setLevel("WARNING")  # else it writes a line a file through the progress bar
        try:
            with ThreadPoolExecutor(workers) as pool:
                try:
                    for done in [pool.submit(self._group, group) for group in groups]:
                        done.result()
                except BaseException:  # Ctrl-C above all: else the pool would finish its work first
                    self._stop.set()
                    pool.shutdown(cancel_futures=True)
                    raise
        finally:
            logger.setLevel(level)

    def _group(self, group: list[File]) -> None:
        with requests.Session() as session:
            for file in group:
                if reason := self._fetch(session, file):
                    with self._lock:
                        self.failures[file.path] = reason

    def _fetch(self, session: requests.Session, file: File) -> str:
        """Get one file; returns "", or why it did not arrive."""
        url, part = self._pooch.get_url(file.path), self._folder / f"{file.path}.part"
        at, reason, wrong = self._position(), LEFT, False
        for attempt in range(ATTEMPTS):
            if self._stop.wait(BACKOFF_S * 2 ** (attempt - 1) if attempt else 0):
                return reason
            reached = True
            try:
                self._pooch.fetch(
                    file.path, downloader=_Resume(session, part, file.bytes, at, self._stop)
                )
                at(file.bytes)
                self._unreachable = 0
                return ""
            except _Refused as error:
                return f"{url} {error}"
            except requests.RequestException as error:
                reached, reason = False, f"{url} cannot be reached: {_root(error)}"
            except (_Broken, urllib3.exceptions.HTTPError) as error:
                reason = (
                    f"{url} sent no more than {size_of(part):,} of {file.bytes:,} bytes: "
                    f"{_root(error)}"
                )
            except _Stopped:
                return reason
            except ValueError:  # pooch has compared, and removed what it compared
                reason = f"{url} sends bytes that do not have the manifest's SHA-256"
                if wrong:  # once more is enough: the first time, an old .part may be to blame
                    return reason
                wrong = True
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    self.full = True
                    self._stop.set()
                return f"{url} cannot be written here: {error.strerror or error}"
        if not reached:
            self._unreachable += 1
            if self._unreachable >= UNREACHABLE:
                self.gone = True
                self._stop.set()
        return reason

    def _position(self) -> Callable[[int], None]:
        """A function that moves the bar to where one file is; back, if it starts again."""
        last = 0

        def at(position: int) -> None:
            nonlocal last
            with self._lock:
                self._bar.update(position - last)
            last = position

        return at


@dataclass(frozen=True)
class _Resume:
    """A downloader for pooch that goes on with `part` where the server can, else starts again."""

    session: requests.Session
    part: Path
    bytes: int
    at: Callable[[int], None]
    stop: threading.Event

    def __call__(self, url: str, output_file: str, _: pooch.Pooch) -> None:
        have = size_of(self.part)
        if have < self.bytes or not have:
            self._append(url, have)
        os.replace(self.part, output_file)

    def _append(self, url: str, have: int) -> None:
        # "identity", and below the bytes as sent: some servers call a .gz gzip-encoded text.
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with self.session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            found = answer.headers.get("Content-Range", "")
            if have and (
                answer.status_code == 416
                or answer.status_code == 206
                and not found.startswith(f"bytes {have}-")
            ):
                self.part.unlink()
                raise _Broken(f"it cannot go on at byte {have:,}")
            if answer.status_code >= 500 or answer.status_code in (408, 429):
                raise _Broken(f"it answers {answer.status_code} {answer.reason}")
            if not answer.ok:
                raise _Refused(f"answers {answer.status_code} {answer.reason}")
            if answer.status_code != 206:
                have = 0
            length = answer.headers.get("Content-Length", "")
            if length.isdigit() and have + int(length) != self.bytes:
                raise _Refused(
                    f"has {have + int(length):,} bytes instead of {self.bytes:,}: "
                    "another version, or no mirror of this release"
                )
            with open(self.part, "ab" if have else "wb") as file:
                self.at(have)
                for piece in answer.raw.stream(CHUNK, decode_content=False):
                    if self.stop.is_set():
                        raise _Stopped
                    have += len(piece)
                    if have > self.bytes:
                        raise _Refused(f"has more than {self.bytes:,} bytes")
                    file.write(piece)
                    self.at(have)
        if have < self.bytes:
            raise _Broken("the connection was closed")


def size_of(path: Path) -> int:
    """In bytes; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def _root(error: BaseException) -> str:
    """The text of the error beneath all that wraps it."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__
