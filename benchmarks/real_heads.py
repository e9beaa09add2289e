"""How a network trained on phantoms does on a real head: healthy, and with lesions painted in.

    python benchmarks/real_heads.py --head T1.nii.gz --masks FOLDER --note "…"

`--head` is a healthy T1 in any grid; `--masks` a folder of real lesion masks (*.nii.gz) in MNI
space. Beside them stand phantoms that the network has not seen.
Writes results/real_heads.json, which chapter 12 shows.
The lesions' shapes are real and their darkness is not: it follows, from the edge inwards, the
profile measured on one chronic case, with texture. So this tells whether a network can leave the
phantom, and nothing about patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from kenseg_utils import anatomy, atlas, experiments, metrics, phantom, prediction

MNI_BRAIN = np.array([[-72, -106, -62], [72, 74, 82]])  # mm, the box around the brain in MNI space
DEPTH_MM = (-3, -1, 1, 3, 5, 7, 11)  # inside the mask's edge
SEED = 4000  # of the unseen phantoms
SIGNAL = (1.0, 0.85, 0.50, 0.34, 0.29, 0.25, 0.23)  # of white matter


def lay_in(mask_file: Path, head: np.ndarray, hull: np.ndarray) -> np.ndarray:
    """A mask in MNI space on a head's working grid, stretched to its brain; tissue only."""
    image = nib.as_closest_canonical(nib.load(mask_file))
    lesion = ndimage.gaussian_filter(
        np.asarray(image.dataobj, np.float32) > 0, 1, output=np.float32
    )
    box = anatomy.box_around(hull)
    low, high = np.array([[part.start, part.stop] for part in box[:2]]).T + [[8], [-8]]
    top = box[2].stop - 8
    scale = np.append((high - low) / (MNI_BRAIN[1, :2] - MNI_BRAIN[0, :2]), 0)
    scale[2] = scale[1]  # the hull's lower end says little
    to_grid = np.diag([*scale, 1.0])
    to_grid[:2, 3] = low - scale[:2] * MNI_BRAIN[0, :2]
    to_grid[2, 3] = top - scale[2] * MNI_BRAIN[1, 2]
    back = np.linalg.inv(image.affine) @ np.linalg.inv(to_grid)
    moved = ndimage.affine_transform(lesion, back[:3, :3], back[:3, 3], head.shape, order=1) > 0.5
    white = np.percentile(head[hull], 85)
    moved &= hull & (ndimage.gaussian_filter(head, 1) > 0.3 * white)
    labels, count = ndimage.label(moved)
    large = np.bincount(labels.ravel(), minlength=count + 1) >= 200
    large[0] = False
    return large[labels]


def paint(head: np.ndarray, mask: np.ndarray, white: float, seed: int) -> np.ndarray:
    """The head with the mask darkened: graded over some 7 mm, uneven, nowhere brighter."""
    rng = np.random.default_rng(seed)
    fields = [
        ndimage.gaussian_filter(rng.standard_normal(head.shape, np.float32), width)
        for width in (4, 1.2)
    ]
    slow, fine = (field / field.std() for field in fields)
    depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    target = np.interp(depth, DEPTH_MM, SIGNAL) * (1 + 0.25 * slow) + 0.06 * fine
    target += 0.12 * np.clip(slow, 0, None)  # strands of tissue that lived on
    return np.where(depth > -3, np.minimum(head, white * np.clip(target, 0, None)), head)


def found_in(network, image: np.ndarray) -> np.ndarray:
    return prediction.segment_volume(network, image, np.eye(4)) > 0


def of_phantom(network, index: int) -> dict:
    """A row of scores on a phantom of a seed that nothing else in this project uses."""
    image, mask, _ = phantom.make_subject(index, seed=SEED)
    return scores(mask > 0, prediction.segment_volume(network, image, phantom.AFFINE) > 0)


def scores(mask: np.ndarray, found: np.ndarray) -> dict:
    """What a row says of a mask and what was found, both in voxels of 1 mm."""
    return {
        "lesion (ml)": mask.sum() / 1000,
        "found (ml)": found.sum() / 1000,
        "Dice": metrics.dice(mask, found),
        "recall": metrics.recall(mask, found),
        "precision": metrics.precision(mask, found),
    }


def found_with_skull(network, image: np.ndarray, hull: np.ndarray) -> np.ndarray:
    """What is found in the hull if the network is shown the whole head."""
    soft = prediction.lesion_probability(network, image, np.eye(4), inside_brain=False)
    return prediction.remove_small((soft >= 0.5) & hull, 0.001, prediction.LEAST_ML) > 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("head", "masks"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a run's folder (default: the recorded network)")
    parser.add_argument("--note", default="", help="what the network is, in words")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--phantoms", type=int, default=16)
    parser.add_argument("--name", default="real_heads")
    given = parser.parse_args()
    network = prediction.open_network(given.model)
    scan = atlas.load_image(given.head)
    head = prediction.WorkingGrid.of(scan.image, scan.affine).there(scan.image)
    hull = anatomy.brain_hull(head)
    white = np.percentile(head[hull], 85)
    own = prediction.segment_volume(network, scan.image, scan.affine)
    rows = [
        dict(
            scan="healthy head, in its own grid",
            **{"found (ml)": own.sum() * anatomy.voxel_ml(scan.affine)},
        ),
        dict(
            scan="the same, its skull shown to the network",
            **{"found (ml)": found_with_skull(network, head, hull).sum() / 1000},
        ),
    ]
    sizes = {
        file: int(np.count_nonzero(nib.load(file).dataobj)) / 1000
        for file in sorted(given.masks.glob("*.nii.gz"))
    }
    large = [file for file, ml in sorted(sizes.items(), key=lambda item: -item[1]) if 40 < ml < 200]
    chosen = [large[k] for k in np.linspace(0, len(large) - 1, given.cases).round().astype(int)]
    for number, file in enumerate(chosen, 1):
        mask = lay_in(file, head, hull)
        image = paint(head, mask, white, seed=number)
        found, beside = found_in(network, image), found_with_skull(network, image, hull)
        rows.append(
            {"scan": f"painted lesion {number}"}
            | scores(mask, found)
            | {"Dice, skull shown": metrics.dice(mask, beside)}
        )
        print(rows[-1], flush=True)
    painted = pd.DataFrame(rows[2:])
    unseen = pd.DataFrame([of_phantom(network, index) for index in range(given.phantoms)])
    rows += [
        {"scan": name, **table.mean(numeric_only=True)}
        for name, table in (
            ("mean of painted lesions", painted),
            (f"mean of {given.phantoms} phantoms that no training saw", unseen),
        )
        if len(table)
    ]
    table = pd.DataFrame(rows)
    print(table.round(3).to_string())
    print(
        experiments.save_result(
            given.name, {"scans": table}, network=given.note, parameters=network.count_params()
        )
    )


if __name__ == "__main__":
    main()
