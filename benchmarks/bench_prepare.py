"""From .nii.gz to prepared lesion crops: slices.prepare beside MONAI doing the same work.

Both read the same phantom scans with the same number of processes and end with the same
normalised 128×128 crops of every slice with lesion as float16 arrays on disk.
The clock and the processor time of all processes are told; on a machine that does other things
as well, the second is the fairer.
MONAI comes with `pip install -e .[peers]`; without it only our own figure is written.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import joblib
import numpy as np
from common import cpu_seconds, medians, paired_rounds, save

from kenseg_utils import profiles, slices


def monai_part(row: dict, target: Path) -> None:
    """One scan through MONAI's transforms: load, orient, normalise, crop each lesion slice, pad."""
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        Orientationd,
        SpatialCrop,
        SpatialPad,
    )

    load = Compose(
        [
            LoadImaged(["image", "mask"]),
            EnsureChannelFirstd(["image", "mask"]),
            Orientationd(["image", "mask"], axcodes="RAS"),
        ]
    )
    scan = load({"image": row["t1w"], "mask": row["masks"][0]})
    volume = scan["image"].numpy()[0]
    intensity = slices.Intensity.of(volume)
    fill = float(intensity.apply(np.float32(0)))
    mask = scan["mask"] > 0.5
    images, masks = [], []
    for z in np.flatnonzero(mask[0].numpy().any((0, 1))):
        flat = mask[..., int(z)]
        centre = [round(c) for c in slices.lesion_centre(flat[0].numpy())]
        centre = [int(np.clip(c, 62, n - 62)) for c, n in zip(centre, flat.shape[1:])]
        cut = SpatialCrop(roi_center=centre, roi_size=(124, 124))
        images.append(
            SpatialPad((128, 128), value=fill)(
                intensity.apply(cut(scan["image"][..., int(z)]).numpy())
            ).numpy()
        )
        masks.append(SpatialPad((128, 128))(cut(flat)).numpy())
    np.savez(target, images=np.array(images, np.float16), masks=np.array(masks, np.uint8))


def with_monai(rows: list[dict], workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        joblib.Parallel(workers)(
            joblib.delayed(monai_part)(row, Path(folder) / f"{k}.npz") for k, row in enumerate(rows)
        )


def with_prepare(scans, workers: int) -> None:
    folder = tempfile.mkdtemp()
    slices.prepare(scans, work_dir=folder, workers=workers)
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scans", type=int, default=40)
    arguments = parser.parse_args()
    scans = profiles.open_scans(profiles.get("demo")).head(arguments.scans)
    rows = scans.to_dict("records")
    contenders = {"kenseg_utils": lambda: with_prepare(scans, arguments.workers)}
    try:
        import monai

        contenders[f"MONAI {monai.__version__}"] = lambda: with_monai(rows, arguments.workers)
    except ImportError:
        print("MONAI is not installed: measuring kenseg_utils alone (pip install -e .[peers]).")
    for run in contenders.values():  # start the worker processes, fill the file cache
        run()
    processor = {name: [] for name in contenders}

    def counted(name):
        def run():
            before = cpu_seconds()
            contenders[name]()
            processor[name].append(cpu_seconds() - before)

        return run

    seconds = paired_rounds({name: counted(name) for name in contenders}, arguments.rounds)
    per_second = {name: len(scans) / value for name, value in medians(seconds).items()}
    result = {
        "scans": len(scans),
        "workers": arguments.workers,
        "seconds": seconds,
        "processor_seconds": processor,
        "scans_per_second": per_second,
        "target_ratio": 2.0,
    }
    if len(contenders) == 2:
        ours, theirs = per_second.values()
        result["ratio"] = ours / theirs
        ours, theirs = medians(processor).values()
        result["ratio_of_processor_time"] = theirs / ours
    save("prepare", result)


if __name__ == "__main__":
    main()
