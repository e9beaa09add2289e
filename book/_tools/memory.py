"""The most memory that a chapter held: its kernel and all processes that the kernel started."""

import threading
from pathlib import Path

import psutil


class Peak(threading.Thread):
    """`with Peak() as peak: …`, then `peak.bytes`: the most that was held at one time.

    Looked at every `seconds`, from outside; a look costs some milliseconds a gigabyte.
    What several processes share counts once (proportional set size), where the system tells it;
    resident memory elsewhere.
    """

    def __init__(self, seconds: float = 3.0):
        super().__init__(daemon=True)
        self.seconds, self.bytes = seconds, 0
        self._done = threading.Event()

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        own = psutil.Process()
        while not self._done.wait(self.seconds):
            held = sum(_held(child) for child in own.children(recursive=True))
            self.bytes = max(self.bytes, held)


def _held(process: psutil.Process) -> int:
    try:
        return _proportional(process.pid) or process.memory_info().rss
    except psutil.Error:  # it has just ended
        return 0


def _proportional(pid: int) -> int:
    """From Linux's own sum over a process's pages, which costs a millisecond; 0 elsewhere."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
