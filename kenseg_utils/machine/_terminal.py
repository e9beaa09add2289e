"""What commands say: lines that any terminal, pipe or file takes, and that never end a run."""

from __future__ import annotations

import os
import re
import time
import unicodedata
from typing import TextIO

_LONE = re.compile("[\udc80-\udcff]")
# What stands for a sign that a stream's encoding lacks; anything else becomes a question mark.
_PLAIN = str.maketrans({"×": "x", "…": "...", "“": '"', "”": '"', "’": "'", "–": "-", "³": "3"})


def so_many(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 scan", "2 scans"; `plural` where it is not the noun and an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def readable(text: str) -> str:
    """Text of a path that can be printed and written: bytes that are not UTF-8 read as Latin-1.

    Python keeps such bytes as signs that no encoder takes (PEP 383).
    """
    return (
        _LONE.sub(lambda sign: chr(ord(sign[0]) - 0xDC00), text).encode("utf-8", "replace").decode()
    )


def shown(text: str, encoding: str = "utf-8") -> str:
    """Text as one line that can be shown: names of files may hold anything but "/".

    Bytes that are no UTF-8 read as Latin-1; signs that would steer a terminal (escape sequences,
    line ends, the direction of writing) appear as Python writes them.
    """
    line = "".join(
        sign
        if sign.isprintable() or unicodedata.category(sign) == "Zs"
        else sign.encode("unicode_escape").decode()
        for sign in readable(text)
    )
    try:
        return line.encode(encoding).decode(encoding)
    except UnicodeEncodeError:
        plain = (s if s.encode(encoding, "ignore") else s.translate(_PLAIN) for s in line)
        return "".join(plain).encode(encoding, "replace").decode(encoding)


def say(text: str, stream: TextIO | None) -> str:
    """Write a line; "", or why it could not be written.

    A reader who has closed the pipe, as `head` does, wants no more: that is no failure. A stream
    that failed takes nothing from then on, so that it cannot fail at the process's end either.
    """
    return _put(shown(text, _encoding(stream)) + "\n", stream)


def _encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def _put(text: str, stream: TextIO | None) -> str:
    if stream is None:  # closed before the start
        return ""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError) as error:  # ValueError: closed since
        _silence(stream)
        if isinstance(error, BrokenPipeError):
            return ""
        return getattr(error, "strerror", None) or str(error)
    return ""


def _silence(stream: TextIO) -> None:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # a stream of Python's own, with no file behind it
        return


class Progress:
    """A line that says what is being done: rewritten on a terminal, a line a step elsewhere."""

    def __init__(self, name: str, stream: TextIO | None) -> None:
        self._name, self._stream, self._begun = name, stream, time.monotonic()
        self._rewrites = stream is not None and stream.isatty()

    def __call__(self, step: str) -> None:
        passed = time.monotonic() - self._begun
        line = shown(f"{self._name}: {step} … ({passed:.0f} s)", _encoding(self._stream))
        _put(f"\r\x1b[K{line}" if self._rewrites else f"{line}\n", self._stream)

    def end(self) -> None:
        """Clear the line, if it is one that is rewritten."""
        if self._rewrites:
            _put("\r\x1b[K", self._stream)
