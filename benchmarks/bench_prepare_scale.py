"""Does preparing 1,000 scans cost 100 times as much as 10, and no more memory?

A stand-in release: a few phantom scans, linked under as many subject names as wanted.
Every one of them is read, decompressed, cropped and written like any other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import psutil
from common import cpu_seconds, save

from kenseg_utils import atlas, profiles, slices


def stand_in(source, folder: Path, count: int):
    """`count` subjects whose files are links to those of a small release."""
    rows = source.to_dict("records")
    for number in range(count):
        row = rows[number % len(rows)]
        subject = f"sub-r{number // 100 + 1:03d}s{number % 100 + 1:03d}"
        place = folder / f"ATLAS_2/Training/{subject[4:8].upper()}/{subject}/ses-1/anat"
        place.mkdir(parents=True)
        for file in (row["t1w"], *row["masks"]):
            os.link(file, place / Path(file).name.replace(row["subject"], subject))
    return atlas.find_scans(folder)


class PeakMemory:
    """The most memory that this process and its children held, sampled ten times a second."""

    def __enter__(self):
        self.peak, self._running = 0, True
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        process = psutil.Process()
        while self._running:
            total = 0
            for each in (process, *process.children(recursive=True)):
                try:
                    total += each.memory_full_info().uss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)
            time.sleep(0.1)

    def __exit__(self, *_):
        self._running = False
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 955])
    arguments = parser.parse_args()
    source = profiles.open_scans(profiles.get("demo"))
    rows = []
    for count in arguments.counts:
        # Beside the release, so that links stay on one file system.
        folder = Path(tempfile.mkdtemp(dir=os.environ.get("KENSEG_HOME") or ".kenseg"))
        try:
            scans = stand_in(source, folder / "release", count)
            begun, processor = time.perf_counter(), cpu_seconds()
            with PeakMemory() as memory:
                prepared = slices.prepare(scans, work_dir=folder / "work", workers=2)
            seconds = time.perf_counter() - begun
            rows.append(
                {
                    "scans": count,
                    "slices": len(prepared),
                    "seconds": seconds,
                    "seconds_per_scan": seconds / count,
                    "processor_seconds_per_scan": (cpu_seconds() - processor) / count,
                    "peak_mib": memory.peak / 2**20,
                }
            )
            print(rows[-1])
        finally:
            shutil.rmtree(folder)
    save(
        "prepare_scale",
        {"rows": rows, "peak_mib": max(row["peak_mib"] for row in rows), "target_mib": 1024.0},
    )


if __name__ == "__main__":
    main()
