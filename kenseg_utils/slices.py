"""From volumes to the slices that a 2-D network sees, and the exact way back.

`crop` and `pad` make the paper's 128×128 inputs and `unpad` and `uncrop` undo them.
`prepare` does it for a whole release, a scan at a time, into arrays on disk.
All slices are axial: the (X, Y) plane of a RAS volume at one z.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from tqdm import tqdm

from . import artifacts, atlas, cluster

PROTOCOLS = ("lesion_crop", "whole_slice")
# Raised whenever the code below would give other slices, so that old artifacts are not reused.
FORMAT = 2


@dataclass(frozen=True)
class Placement:
    """Where a window lies in its slice: first row and column, its size, the slice's shape."""

    top: int
    left: int
    height: int
    width: int
    shape: tuple[int, int]


def crop(image: np.ndarray, centre: tuple[float, float], size: int = 124):
    """Cut a `size`×`size` window around `centre` out of a slice, moved to stay inside it.

    `image` is (H, W) or (H, W, channels); `centre` is (row, column) in pixels.
    An axis shorter than `size` is taken whole.
    Returns the window and the Placement that `uncrop` needs.
    """
    height, width = image.shape[:2]
    rows, columns = min(size, height), min(size, width)
    top = int(np.clip(round(centre[0]) - rows // 2, 0, height - rows))
    left = int(np.clip(round(centre[1]) - columns // 2, 0, width - columns))
    window = image[top : top + rows, left : left + columns]
    return window, Placement(top, left, rows, columns, (height, width))


def pad(window: np.ndarray, size: int | tuple[int, int] = 128, fill: float = 0):
    """Centre a window in a `size`×`size` frame of `fill`; 124 to 128 adds 2 pixels a side."""
    frame = (size, size) if np.isscalar(size) else tuple(size)
    extra = [frame[axis] - window.shape[axis] for axis in (0, 1)]
    if min(extra) < 0:
        raise ValueError(f"A window of {window.shape[:2]} does not fit into {frame}: "
                         "pad to a larger size or crop smaller.")
    margins = [(e // 2, e - e // 2) for e in extra] + [(0, 0)] * (window.ndim - 2)
    return np.pad(window, margins, constant_values=fill)


def unpad(padded: np.ndarray, placement: Placement) -> np.ndarray:
    """Take the window back out of its padded frame."""
    top = (padded.shape[0] - placement.height) // 2
    left = (padded.shape[1] - placement.width) // 2
    return padded[top : top + placement.height, left : left + placement.width]


def uncrop(window: np.ndarray, placement: Placement, fill: float = 0) -> np.ndarray:
    """Put a window back to its place in a slice that is `fill` everywhere else."""
    image = np.full(placement.shape + window.shape[2:], fill, window.dtype)
    rows = slice(placement.top, placement.top + placement.height)
    columns = slice(placement.left, placement.left + placement.width)
    image[rows, columns] = window
    return image


def lesion_centre(mask: np.ndarray) -> tuple[float, float]:
    """The middle of the box around a slice's lesion, in pixels.

    The truth is needed to know it: a window placed here is an oracle's, not a scanner's.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ValueError("The mask is empty: there is no lesion to place a window on.")
    return float(rows.min() + rows.max()) / 2, float(columns.min() + columns.max()) / 2


@dataclass(frozen=True)
class Intensity:
    """How one volume's grey values become comparable: (value - centre) / spread, clipped."""

    centre: float
    spread: float
    limit: float = 5.0

    @classmethod
    def of(cls, image: np.ndarray) -> Self:
        """Median and robust spread of the head: the voxels brighter than the volume's mean.

        Scanners choose gain and offset freely, so both are taken out, volume by volume.
        The median and the quartiles ignore a bright vessel; every second voxel suffices.
        """
        sample = image[::2, ::2, ::2] if image.ndim == 3 and min(image.shape) > 8 else image
        head = sample[sample > sample.mean()]
        if not head.size:  # a constant image
            return cls(float(sample.flat[0]), 1.0)
        low, centre, high = np.percentile(head, (25, 50, 75))
        spread = (high - low) / 1.349  # of a normal distribution, this is the SD
        return cls(float(centre), float(spread) or 1.0)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Normalised copy, float32, within ±`limit`."""
        scaled = (np.asarray(image, np.float32) - self.centre) / self.spread
        return np.clip(scaled, -self.limit, self.limit)


@dataclass(frozen=True)
class SliceSet:
    """Slices of many subjects, memory-mapped: images, masks, and an index with a row a slice.

    `rows` are the positions in the stored arrays that belong to this set, in order.
    `index` has subject, session, site, z, placement (top, left, height, width, source_height,
    source_width), scale, lesion_pixels, lesion_rows and lesion_columns (the sides of the box
    around the slice's lesion), outside (share of the slice's lesion that the window misses) and
    the voxel's sides row_mm, column_mm, slice_mm.
    """

    folder: Path
    rows: np.ndarray
    index: pd.DataFrame
    protocol: str
    key: str
    report: pd.DataFrame

    @property
    def images(self) -> np.ndarray:
        """(n, H, W, channels) float16; reads them all, so prefer `batch` for large sets."""
        return self._take("images.npy", self.rows)

    @property
    def masks(self) -> np.ndarray:
        """(n, H, W) uint8; reads them all, so prefer `batch` for large sets."""
        return self._take("masks.npy", self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a slice."""
        return self._open("images.npy").shape[1:]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images (float32) and masks (uint8) at some positions of this set."""
        rows = self.rows[np.asarray(positions)]
        return self._take("images.npy", rows).astype(np.float32), self._take("masks.npy", rows)

    def placement(self, position: int) -> Placement:
        """Where the slice at `position` was cut from."""
        row = self.index.iloc[position]
        return Placement(int(row.top), int(row.left), int(row.height), int(row.width),
                         (int(row.source_height), int(row.source_width)))

    def subset(self, positions: Sequence[int]) -> SliceSet:
        """The same set with fewer slices; nothing is copied."""
        positions = np.asarray(positions)
        if positions.dtype == bool:
            positions = np.flatnonzero(positions)
        return replace(self, rows=self.rows[positions],
                       index=self.index.iloc[positions].reset_index(drop=True),
                       key=artifacts.key(whole=self.key, rows=self.rows[positions].tolist()))

    def of_subjects(self, subjects: Sequence[str]) -> SliceSet:
        """The slices of some subjects."""
        missing = set(subjects) - set(self.index.subject)
        if missing:
            raise ValueError(f"No slices of {sorted(missing)} in this set of "
                             f"{self.index.subject.nunique()} subjects.")
        return self.subset(self.index.subject.isin(list(subjects)).to_numpy())

    def split(self, folds: int = 5, seed: int = 0, by: str = "subject"):
        """Cross-validation by subject, never by slice: a list of (train, validation) sets.

        `by="site"` keeps whole sites together, the harder question.
        Raises ValueError where there are more folds than groups.
        """
        groups = self.index[by].to_numpy()
        names = np.unique(groups)
        if not 2 <= folds <= len(names):
            raise ValueError(f"{folds} folds of {len(names)} {by}s: "
                             f"choose between 2 and {len(names)} folds.")
        order = np.random.default_rng(seed).permutation(names)
        held_out = [np.isin(groups, part) for part in np.array_split(order, folds)]
        return [(self.subset(~out), self.subset(out)) for out in held_out]

    def _open(self, name: str) -> np.ndarray:
        return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)

    def _take(self, name: str, rows: np.ndarray) -> np.ndarray:
        stored = self._open(name)
        whole = len(rows) == len(stored) and (rows == np.arange(len(stored))).all()
        return stored if whole else stored[rows]


def prepare(scans: pd.DataFrame, protocol: str = "lesion_crop", *, size: int = 124,
            padded: int = 128, neighbours: Sequence[int] = (0,), pixel_mm: float | None = None,
            work_dir=None, workers: int | None = None, scheduler: str | None = None) -> SliceSet:
    """Turn scans (rows of `atlas.find_scans`) into a SliceSet on disk, or open it if it is there.

    `lesion_crop` is the paper's: each slice with lesion, a `size` window placed on the lesion by
    its true mask (an oracle), padded to `padded`.
    `whole_slice` is what a scanner could do: each slice with head in it, padded to a multiple
    of 16; scans on different grids all get the largest of their frames.
    `neighbours` are offsets along z that become channels: (-2, -1, 0, 1) for a 2.5-D network.
    `pixel_mm` resamples slices whose pixels differ from it by over 1 % (`scale` says by how much).
    `workers` processes read scans side by side; `scheduler` is a Dask scheduler's address for
    reading on many machines that share the work folder.
    Stopped at any point and called again, it goes on from what was whole.
    A scan that cannot be used becomes a row of `SliceSet.report`, which is also printed.
    Raises ValueError for unknown protocols, atlas.ScanError where no scan could be used.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"Unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}.")
    if not len(scans):
        raise ValueError("No scans to prepare: the table is empty.")
    settings = dict(protocol=protocol, size=size, padded=padded,
                    neighbours=list(map(int, neighbours)), pixel_mm=pixel_mm, format=FORMAT)
    rows = scans.to_dict("records")
    key = artifacts.key(**settings, scans=[_scan_key(row) for row in rows])

    def make(folder: Path) -> None:
        parts, finished = folder / "parts", folder / "settings.json"
        if finished.exists():  # it was killed while the parts were being removed
            shutil.rmtree(parts, ignore_errors=True)
            return
        parts.mkdir(exist_ok=True)
        jobs = [(row, parts / f"{_scan_key(row)}.npz") for row in rows]
        work = partial(_write_part, settings=settings)
        waiting = [job for job in jobs if not job[1].exists()]
        for _ in tqdm(_run(work, waiting, workers, scheduler), total=len(jobs),
                      initial=len(jobs) - len(waiting), desc=f"{protocol}", unit="scan"):
            pass
        _assemble(folder, [path for _, path in jobs])
        artifacts.write_json(finished, settings | {"key": key, "scans": len(rows)})
        shutil.rmtree(parts)

    folder = artifacts.build(artifacts.work_dir(work_dir) / f"slices-{key}", make, resume=True)
    return open_set(folder)


def open_set(folder) -> SliceSet:
    """Open a folder that `prepare` wrote."""
    folder = Path(folder)
    settings = json.loads((folder / "settings.json").read_text())
    # The names in it are text, even where they look like numbers (site 0003).
    text = {"subject": str, "session": str, "site": str}
    index = pd.read_csv(folder / "index.csv", dtype=text, keep_default_na=False)
    report = pd.read_csv(folder / "report.csv", dtype=str, keep_default_na=False)
    if len(report):
        print(f"{len(report)} of {settings['scans']} scans were left out:")
        for row in report.head(10).itertuples():
            print(f"  {row.problem}")
        if len(report) > 10:
            print(f"  … and {len(report) - 10} more (SliceSet.report has all)")
    return SliceSet(folder, np.arange(len(index)), index, settings["protocol"], settings["key"],
                    report)


def scan_slices(scan: atlas.Scan, settings: dict) -> Iterator[tuple[np.ndarray, np.ndarray, dict]]:
    """The slices of one loaded scan under a protocol: image (H, W, C), mask (H, W), index row.

    The row's `fill` is what lies around the head, the normalised value of 0.
    """
    intensity = Intensity.of(scan.image)
    image, mask, scale = _rescaled(scan, settings["pixel_mm"])
    oracle = settings["protocol"] == "lesion_crop"
    if oracle and mask is None:
        raise atlas.ScanError(f"{scan.subject}: the scan has no mask, and lesion_crop places its "
                              "window by the mask. Use protocol='whole_slice'.")
    levels = mask.any((0, 1)) if oracle else _slices_with_head(image)
    fill = float(intensity.apply(np.float32(0)))
    frame = (settings["padded"],) * 2 if oracle else tuple(-(-n // 16) * 16
                                                           for n in image.shape[:2])
    for z in np.flatnonzero(levels):
        truth = np.zeros(image.shape[:2], np.uint8) if mask is None else mask[:, :, z]
        centre = lesion_centre(truth) if oracle else (0, 0)
        size = settings["size"] if oracle else max(image.shape)
        window_mask, place = crop(truth, centre, size)
        channels = [_level(image, z + offset) for offset in settings["neighbours"]]
        window, _ = crop(np.stack(channels, -1), centre, size)
        lesion = int(truth.sum())
        row = dict(z=int(z), scale=scale, lesion_pixels=lesion,
                   lesion_rows=int(np.ptp(np.flatnonzero(truth.any(1)))) + 1 if lesion else 0,
                   lesion_columns=int(np.ptp(np.flatnonzero(truth.any(0)))) + 1 if lesion else 0,
                   outside=1 - int(window_mask.sum()) / lesion if lesion else 0.0,
                   **{k: v for k, v in asdict(place).items() if k != "shape"},
                   source_height=place.shape[0], source_width=place.shape[1], fill=fill)
        yield pad(intensity.apply(window), frame, fill), pad(window_mask, frame), row


def _write_part(job: tuple[dict, Path], settings: dict) -> str:
    """Prepare one scan into one file: its slices, or why it has none."""
    row, path = job
    images, masks, entries, problem = [], [], [], ""
    try:
        scan = atlas.load_scan(row)
        spacing = [float(mm) for mm in scan.spacing]
        for image, mask, entry in scan_slices(scan, settings):
            images.append(image.astype(np.float16))
            masks.append(mask)
            entries.append(entry | dict(subject=row["subject"], session=row["session"],
                                        site=row["site"], row_mm=spacing[0],
                                        column_mm=spacing[1], slice_mm=spacing[2]))
        if not images:
            problem = f"{row['t1w']}: no slice of it holds what the protocol looks for."
    except atlas.ScanError as error:
        images, masks, entries, problem = [], [], [], str(error)
    about = json.dumps(dict(entries=entries, subject=row["subject"], t1w=str(row["t1w"]),
                            problem=problem))
    with artifacts.write_aside(path) as aside:
        np.savez(aside, images=np.array(images, np.float16), masks=np.array(masks, np.uint8),
                 about=np.frombuffer(about.encode(), np.uint8))
    return problem


def _assemble(folder: Path, parts: list[Path]) -> None:
    """Join the parts into two arrays and an index, one part in memory at a time."""
    abouts, shapes = [], []
    for path in parts:
        with np.load(path, allow_pickle=False) as part:
            abouts.append(json.loads(part["about"].tobytes()))
            shapes.append(part["images"].shape[1:])
    problems = [about for about in abouts if about["problem"]]
    used = [number for number, about in enumerate(abouts) if about["entries"]]
    if not used:
        raise atlas.ScanError(f"None of the {len(parts)} scans could be used. The first: "
                              f"{problems[0]['problem']}")
    index = pd.DataFrame([entry for about in abouts for entry in about["entries"]])
    frame = tuple(max(shapes[number][axis] for number in used) for axis in (0, 1))

    def framed(name: str) -> Iterator[np.ndarray]:
        for number in used:
            fill = abouts[number]["entries"][0]["fill"] if name == "images" else 0
            with np.load(parts[number], allow_pickle=False) as part:
                each = part[name]
            # All sides are even, so that this padding keeps a window in the middle.
            margins = [((side - have) // 2,) * 2 for side, have in zip(frame, each.shape[1:3])]
            yield np.pad(each, [(0, 0), *margins, *[(0, 0)] * (each.ndim - 3)],
                         constant_values=fill) if np.any(margins) else each

    for name in ("images", "masks"):
        _write_array(folder / f"{name}.npy", len(index), framed(name))
    leading = ["subject", "session", "site", "z"]
    order = leading + [column for column in index if column not in (*leading, "fill")]
    index[order].to_csv(folder / "index.csv", index=False)
    report = pd.DataFrame(problems, columns=["subject", "t1w", "problem"])
    report.to_csv(folder / "report.csv", index=False)


def _write_array(path: Path, count: int, blocks: Iterator[np.ndarray]) -> None:
    """Write blocks of equal (…, H, W, …) one after the other as one .npy file of `count` rows.

    A full disk is an OSError here; through a memory map it would kill the process.
    """
    with open(path, "wb") as file:
        for number, block in enumerate(blocks):
            if number == 0:
                np.lib.format.write_array_header_1_0(file, dict(
                    descr=np.lib.format.dtype_to_descr(block.dtype), fortran_order=False,
                    shape=(count, *block.shape[1:])))
            file.write(np.ascontiguousarray(block).data)


def _run(work, jobs: list, workers: int | None, scheduler: str | None) -> Iterator[str]:
    """Do the jobs here, in worker processes, or on a Dask cluster; yield as they are done."""
    if scheduler:
        with cluster.connect(scheduler) as client:
            from distributed import as_completed

            for future in as_completed(client.map(work, jobs, pure=False)):
                yield future.result()
        return
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        yield from map(work, jobs)
        return
    from joblib import Parallel, delayed

    yield from Parallel(workers, return_as="generator_unordered")(delayed(work)(j) for j in jobs)


def _scan_key(row: dict) -> str:
    """Names a scan by what its files hold; one that cannot be read is reported by load_scan."""
    prints = []
    for file in (row["t1w"], *row["masks"]):
        try:
            prints.append([Path(file).name, artifacts.fingerprint(file)])
        except OSError as error:
            prints.append([Path(file).name, error.strerror])
    return artifacts.key(subject=row["subject"], session=row["session"], files=prints)


def _slices_with_head(image: np.ndarray) -> np.ndarray:
    """Which axial slices show at least 2 % of their pixels brighter than the volume's mean."""
    return (image > image.mean()).mean((0, 1)) >= 0.02


def _level(image: np.ndarray, z: int) -> np.ndarray:
    """The slice at z, or zeros beyond the volume's ends."""
    inside = 0 <= z < image.shape[2]
    return image[:, :, z] if inside else np.zeros(image.shape[:2], image.dtype)


def _rescaled(scan: atlas.Scan, pixel_mm: float | None):
    """Image and mask with in-plane pixels of `pixel_mm`, and the factor they were scaled by."""
    current = float(np.mean(scan.spacing[:2]))
    if pixel_mm is None or abs(current / pixel_mm - 1) <= 0.01:
        return scan.image, scan.mask, 1.0
    from scipy.ndimage import zoom

    factors = (scan.spacing[0] / pixel_mm, scan.spacing[1] / pixel_mm, 1)
    mask = None if scan.mask is None else zoom(scan.mask, factors, order=0)
    return zoom(scan.image, factors, order=1), mask, current / pixel_mm
