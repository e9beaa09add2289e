"""From volumes to the slices that a 2-D network sees.

`crop` and `pad` (of `windows`) make the paper's 128×128 inputs, `unpad` and `uncrop` undo them.
`prepare` does it for a whole release, a scan at a time, into arrays on disk: a `SliceSet`.
All slices are axial: the (X, Y) plane of a RAS volume at one z.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.ndimage import zoom
from tqdm import tqdm

from kenseg_utils import anatomy, artifacts, atlas, machine

from ._sets import SliceSet
from ._windows import crop, lesion_centre, pad

PROTOCOLS = ("lesion_crop", "whole_slice")
# Raised whenever the code below would give other slices, so that old artifacts are not reused.
FORMAT = 5
_TEXT = ("subject", "session", "site", "scan")
# What a row says of a scan that slices, or their index, depend on, beside the files.
_NAMES = (
    "subject",
    "session",
    "site",
    "release",
    "space",
    "mask_grid",
    "acquisition",
    "run",
    "description",
)
_APART = {"space": "space", "acq": "acquisition", "run": "run", "desc": "description"}
_NO_MASK = "without one there is nothing to learn from"
# Paths may hold bytes that are not UTF-8.
_AS_BYTES = dict(encoding="utf-8", encoding_errors="surrogateescape")


# What is brighter than the mean hangs on the air, too. Measured on a phantom: Rician noise up to a
# fifth of the head's median moves the centre by 1 % and the spread by -5 to +12 %; a field of view
# 1.9 times as large lowers the mean, takes in darker tissue, and widens the spread by 30 %. So
# scans are best compared in boxes of one size, as `prediction` does.
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


def prepare(
    scans: pd.DataFrame,
    protocol: str = "lesion_crop",
    *,
    size: int = 124,
    padded: int = 128,
    neighbours: Sequence[int] = (0,),
    pixel_mm: float | None = None,
    work_dir: str | os.PathLike | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> SliceSet:
    """Turn scans (rows of `atlas.find_scans`) into a SliceSet on disk, or open it if it is there.

    `lesion_crop` is the paper's: each slice with lesion, a `size` window placed on the lesion by
    its true mask (an oracle), padded to `padded`.
    `whole_slice` is what a scanner could do: each slice with head in it, padded to a multiple
    of 16; scans on different grids all get the largest of their frames.
    `neighbours` are offsets along z that become channels: (-2, -1, 0, 1) for a 2.5-D network.
    `pixel_mm` resamples slices whose pixels differ from it by over 1 % (`scale_row` and
    `scale_column` say by how much).
    `workers` processes read scans side by side; `scheduler` is a Dask scheduler's address for
    reading on many machines that share the work folder.
    Stopped at any point and called again, it goes on from what was whole.
    A scan that cannot be used, or has no mask to learn from, becomes a row of `SliceSet.report`,
    which is also printed.
    Raises ValueError, before any work, for unknown protocols and options out of range;
    atlas.ScanError where no scan could be used.
    """
    _check_options(protocol, size, padded, neighbours, pixel_mm)
    if not len(scans):
        raise ValueError("No scans to prepare: the table is empty.")
    settings = dict(
        protocol=protocol,
        size=int(size),
        padded=int(padded),
        neighbours=list(map(int, neighbours)),
        pixel_mm=pixel_mm,
        format=FORMAT,
    )
    rows = scans.to_dict("records")
    keys = scan_keys(rows, work_dir)
    key = artifacts.key(**settings, scans=keys)

    def make(folder: Path) -> None:
        parts, finished = folder / "parts", folder / "settings.json"
        if finished.exists():  # it was killed while the parts were being removed
            shutil.rmtree(parts, ignore_errors=True)
            return
        parts.mkdir(exist_ok=True)
        jobs = [(row, parts / f"{scan_key}.npz") for row, scan_key in zip(rows, keys)]
        work = partial(_write_part, settings=settings)
        waiting = [job for job in jobs if not job[1].exists()]
        for _ in tqdm(
            run_jobs(work, waiting, workers, scheduler),
            total=len(jobs),
            initial=len(jobs) - len(waiting),
            desc=f"{protocol}",
            unit="scan",
        ):
            pass
        _assemble(folder, [path for _, path in jobs])
        artifacts.write_json(finished, settings | {"key": key, "scans": len(rows)})
        shutil.rmtree(parts)

    folder = artifacts.build(artifacts.work_dir(work_dir) / f"slices-{key}", make, resume=True)
    return open_set(folder)


def _check_options(protocol, size, padded, neighbours, pixel_mm) -> None:
    """ValueError for an option of `prepare` that is out of range, with what it should be."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"Unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}.")
    for name, value in dict(size=size, padded=padded).items():
        if not artifacts.is_whole(value) or value < 1:
            raise ValueError(f"{name} is {value!r}: give a whole number of pixels, 1 or more.")
    if padded < size:
        raise ValueError(f"padded is {padded}, less than size, {size}: it is the side around it.")
    offsets = [] if isinstance(neighbours, str) or not np.iterable(neighbours) else [*neighbours]
    if not len(offsets) or not all(map(artifacts.is_whole, offsets)):
        raise ValueError(
            f"neighbours is {neighbours!r}: give whole numbers, the offsets along z that become "
            "channels, such as (0,)."
        )
    is_number = isinstance(pixel_mm, (int, float, np.number)) and not isinstance(pixel_mm, bool)
    if pixel_mm is not None and not (is_number and 0 < pixel_mm < np.inf):
        raise ValueError(f"pixel_mm is {pixel_mm!r}: give millimetres above 0, or None.")


def open_set(folder: str | os.PathLike) -> SliceSet:
    """Open a folder that `prepare` wrote."""
    folder = artifacts.as_path(folder)
    settings = json.loads((folder / "settings.json").read_text())
    # The names in it are text, even where they look like numbers (site 0003).
    text = dict.fromkeys(_TEXT, str)
    index = pd.read_csv(folder / "index.csv", dtype=text, keep_default_na=False, **_AS_BYTES)
    report = pd.read_csv(folder / "report.csv", dtype=str, keep_default_na=False, **_AS_BYTES)
    if len(report):
        print(f"{len(report)} of {settings['scans']} scans were left out:")
        for row in report.head(10).itertuples():
            print(f"  {row.problem}")
        if len(report) > 10:
            print(f"  … and {len(report) - 10} more (SliceSet.report has all)")
    return SliceSet(
        folder, np.arange(len(index)), index, settings["protocol"], settings["key"], report
    )


def with_images(
    slice_set: SliceSet,
    change: Callable[[np.ndarray], np.ndarray],
    name: str,
    work_dir: str | os.PathLike | None = None,
) -> SliceSet:
    """The same slices with other images, and the same masks: as another scanner shows them, say.

    `change` gets (n, H, W, channels) float32 and returns that shape; `name` stands for it in the
    key, so another change needs another name.
    Written once, then opened. Raises ValueError where `change` returns another shape or NaN.
    """
    key = artifacts.key(images_of=slice_set.key, change=name, format=FORMAT)

    def make(folder: Path) -> None:
        images, masks = slice_set.batch(range(len(slice_set)))
        changed = np.asarray(change(images), np.float16)
        if changed.shape != images.shape or not np.isfinite(changed).all():
            raise ValueError(
                f"The change {name!r} made {changed.shape} of images of shape {images.shape}, or "
                "values that are not finite: return as many numbers as it gets."
            )
        for file, array in (("images", changed), ("masks", masks)):
            np.save(folder / f"{file}.npy", array, allow_pickle=False)
        for file, table in (("index", slice_set.index), ("report", slice_set.report.head(0))):
            table.to_csv(folder / f"{file}.csv", index=False, errors="surrogateescape")
        scans = int(slice_set.index["scan"].nunique())
        settings = dict(protocol=slice_set.protocol, key=key, scans=scans, images=name)
        artifacts.write_json(folder / "settings.json", settings)

    return open_set(artifacts.build(artifacts.work_dir(work_dir) / f"slices-{key}", make))


def scan_slices(scan: atlas.Scan, settings: dict) -> Iterator[tuple[np.ndarray, np.ndarray, dict]]:
    """The slices of one loaded scan under a protocol: image (H, W, C), mask (H, W), index row.

    The row's `fill` is what lies around the head: the normalised value of its air, which is 0, or
    the darkest value of a scan whose values were shifted (z-scores). Air that was set to 0 amid
    these is made dark first, as `prediction` makes it.
    """
    dark = anatomy.with_dark_air(scan.image)
    scan = scan if dark is scan.image else replace(scan, image=dark)
    air = min(0.0, float(np.percentile(scan.image[::3, ::3, ::3], 1)))
    intensity = Intensity.of(scan.image)
    voxel_ml = anatomy.voxel_ml(scan.affine)
    oracle = settings["protocol"] == "lesion_crop"
    if oracle and scan.mask is None:
        raise atlas.ScanError(
            f"{scan.subject}: the scan has no mask, and lesion_crop places its "
            "window by the mask. Use protocol='whole_slice'."
        )
    factors = _factors(scan, settings["pixel_mm"])
    mask = _rescaled(scan.mask, factors, order=0)
    if oracle:
        levels = np.flatnonzero(mask.any((0, 1)))
        seen = np.unique(levels[:, None] + np.asarray(settings["neighbours"]))
        image = _rescaled(scan.image, factors, 1, seen[(seen >= 0) & (seen < mask.shape[2])])
    else:
        image = _rescaled(scan.image, factors, order=1)
        levels = np.flatnonzero(anatomy.slices_to_train_on(image))
    scale = tuple(map(_scale, scan.image.shape[:2], image.shape[:2]))
    fill = float(intensity.apply(np.full((), air)))
    frame = (
        (settings["padded"],) * 2 if oracle else tuple(-(-n // 16) * 16 for n in image.shape[:2])
    )
    for z in levels:
        truth = np.zeros(image.shape[:2], np.uint8) if mask is None else mask[:, :, z]
        centre = lesion_centre(truth) if oracle else (0, 0)
        size = settings["size"] if oracle else max(image.shape)
        window_mask, place = crop(truth, centre, size)
        channels = [_level(image, z + offset, air) for offset in settings["neighbours"]]
        window, _ = crop(np.stack(channels, -1), centre, size)
        lesion = int(truth.sum())
        rows, columns = anatomy.box_around(truth)
        row = dict(
            z=int(z),
            scale_row=scale[0],
            scale_column=scale[1],
            voxel_ml=voxel_ml,
            lesion_pixels=lesion,
            lesion_rows=rows.stop - rows.start if lesion else 0,
            lesion_columns=columns.stop - columns.start if lesion else 0,
            outside=1 - int(window_mask.sum()) / lesion if lesion else 0.0,
            **{k: v for k, v in asdict(place).items() if k != "shape"},
            source_height=place.shape[0],
            source_width=place.shape[1],
            fill=fill,
        )
        yield pad(intensity.apply(window), frame, fill), pad(window_mask, frame), row


def _write_part(job: tuple[dict, Path], settings: dict) -> str:
    """Prepare one scan into one file: its slices, or why it has none."""
    row, path = job
    images, masks, entries, problem = [], [], [], ""
    try:
        if not len(row["masks"]):
            raise atlas.ScanError(f"{row['t1w']} has no mask: {row.get('unlabelled') or _NO_MASK}.")
        scan = atlas.load_scan(row)
        spacing = [float(mm) for mm in scan.spacing]
        for image, mask, entry in scan_slices(scan, settings):
            images.append(image.astype(np.float16))
            masks.append(mask)
            entries.append(
                entry
                | dict(
                    subject=row["subject"],
                    session=row["session"],
                    site=row["site"],
                    scan=_label(row),
                    row_mm=spacing[0],
                    column_mm=spacing[1],
                    slice_mm=spacing[2],
                )
            )
        if not images:
            raise atlas.ScanError(
                f"{row['t1w']}: no slice of it holds what the protocol looks for."
            )
    except atlas.ScanError as error:
        images, masks, entries, problem = [], [], [], str(error)
    about = json.dumps(
        dict(entries=entries, subject=row["subject"], t1w=str(row["t1w"]), problem=problem)
    )
    with artifacts.write_aside(path) as aside:
        np.savez(
            aside,
            images=np.array(images, np.float16),
            masks=np.array(masks, np.uint8),
            about=np.frombuffer(about.encode(), np.uint8),
        )
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
        raise atlas.ScanError(
            f"None of the {len(parts)} scans could be used. The first: {problems[0]['problem']}"
        )
    index = pd.DataFrame([entry for about in abouts for entry in about["entries"]])
    frame = tuple(max(shapes[number][axis] for number in used) for axis in (0, 1))

    def framed(name: str) -> Iterator[np.ndarray]:
        for number in used:
            fill = abouts[number]["entries"][0]["fill"] if name == "images" else 0
            with np.load(parts[number], allow_pickle=False) as part:
                each = part[name]
            # All sides are even, so that this padding keeps a window in the middle.
            margins = [((side - have) // 2,) * 2 for side, have in zip(frame, each.shape[1:3])]
            yield (
                np.pad(each, [(0, 0), *margins, *[(0, 0)] * (each.ndim - 3)], constant_values=fill)
                if np.any(margins)
                else each
            )

    for name in ("images", "masks"):
        _write_array(folder / f"{name}.npy", len(index), framed(name))
    leading = ["subject", "session", "site", "z"]
    order = leading + [column for column in index if column not in (*leading, "fill")]
    index[order].to_csv(folder / "index.csv", index=False, errors="surrogateescape")
    report = pd.DataFrame(problems, columns=["subject", "t1w", "problem"])
    report.to_csv(folder / "report.csv", index=False, errors="surrogateescape")


def _write_array(path: Path, count: int, blocks: Iterator[np.ndarray]) -> None:
    """Write blocks of equal (…, H, W, …) one after the other as one .npy file of `count` rows.

    A full disk is an OSError here; through a memory map it would kill the process.
    """
    with open(path, "wb") as file:
        for number, block in enumerate(blocks):
            if number == 0:
                np.lib.format.write_array_header_1_0(
                    file,
                    dict(
                        descr=np.lib.format.dtype_to_descr(block.dtype),
                        fortran_order=False,
                        shape=(count, *block.shape[1:]),
                    ),
                )
            file.write(np.ascontiguousarray(block).data)


def run_jobs(
    work: Callable[[Any], str], jobs: list, workers: int | None = None, scheduler: str | None = None
) -> Iterator[str]:
    """Do the jobs here, in worker processes, or on a Dask cluster; yield as they are done."""
    if scheduler:
        with machine.connect(scheduler) as client:
            from distributed import as_completed

            for future in as_completed(client.map(work, jobs, pure=False)):
                yield future.result()
        return
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        yield from map(work, jobs)
        return
    yield from machine.side_by_side(work, jobs, workers)


def scan_keys(rows: list[dict], work_dir: str | os.PathLike | None) -> list[str]:
    """Name each scan by all that its slices depend on: files, header, names, site, the loader.

    A file that cannot be read is reported by load_scan.
    """
    paths = [[str(file) for file in (row["t1w"], *row["masks"])] for row in rows]
    prints = iter(artifacts.fingerprints([path for each in paths for path in each], work_dir))
    return [
        artifacts.key(
            loader=atlas.LOADER_VERSION,
            files=[[Path(path).name, next(prints)] for path in each],
            **{name: _text(row, name) for name in _NAMES},
        )
        for row, each in zip(rows, paths)
    ]


def _text(row: dict, name: str) -> str:
    """A field of a row as text, "" where it is not there."""
    value = row.get(name, "")
    return "" if isinstance(value, float) and np.isnan(value) else str(value)


def _label(row: dict) -> str:
    """What tells a scan of a session from its others: native or standard space, run, and so on."""
    parts = [("", _text(row, "subject")), ("", _text(row, "session"))]
    parts += [
        (f"{short}-", value)
        for short, name in _APART.items()
        if (value := _text(row, name)) and value != "orig"
    ]
    return "_".join(prefix + value for prefix, value in parts if value)


def _level(image: np.ndarray, z: int, air: float) -> np.ndarray:
    """The slice at z, or air beyond the volume's ends."""
    inside = 0 <= z < image.shape[2]
    return image[:, :, z] if inside else np.full(image.shape[:2], air, image.dtype)


def _factors(scan: atlas.Scan, pixel_mm: float | None) -> tuple[float, float] | None:
    """What makes in-plane pixels `pixel_mm` large; None where they are, to 1 %."""
    rows, columns = (1.0 if pixel_mm is None else mm / pixel_mm for mm in scan.spacing[:2])
    return None if max(abs(rows - 1), abs(columns - 1)) <= 0.01 else (rows, columns)


def _rescaled(volume: np.ndarray | None, factors, order: int, levels: np.ndarray | None = None):
    """A volume with its slices resampled: all, or some levels, and then the others stay 0."""
    if factors is None or volume is None:
        return volume
    if levels is None:
        return zoom(volume, (*factors, 1), order=order)
    part = zoom(volume[:, :, levels], (*factors, 1), order=order)
    whole = np.zeros((*part.shape[:2], volume.shape[2]), part.dtype)
    whole[:, :, levels] = part
    return whole


def _scale(before: int, after: int) -> float:
    """How many pixels stand for one after a resampling that keeps first and last in place."""
    return (after - 1) / (before - 1) if min(before, after) > 1 else after / before
