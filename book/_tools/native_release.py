"""Write a made-up release as hospitals store one, for `make rehearse`: every chapter runs on it.

Phantoms lie on the grid of ATLAS, one scan a subject, each with one mask. Real scans do not: theirs
are grids of their own, turned and thick, masks drawn on a T2w, two sessions, two lesions, a control
without any, a copy that broke off.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from kenseg_utils import phantom

SEED = 2077  # of phantoms that nothing else uses
HEAD_MM = (185, 225, 190)
MIDDLE_MM = (0, -15, 0)


@dataclass(frozen=True)
class Stored:
    """How one person's scan is stored: voxels in mm, turned by so many degrees, axes, number type.

    `t2w`: voxels and turn of another image, on whose grid the mask was drawn.
    """

    voxel: tuple[float, float, float]
    turned: float = 0
    axes: str = "RAS"
    kind: type = np.int16
    t2w: tuple[tuple[float, float, float], float] | None = None
    sessions: int = 1
    masks: int = 1
    quirk: str = ""


PEOPLE = (
    Stored((1, 1, 1), 7, "LPS", t2w=((0.9, 0.9, 2), -10)),
    Stored((0.9, 0.9, 0.9), axes="PIR", t2w=((1, 1, 1.5), 5), sessions=2),
    Stored((1, 1, 1), t2w=((1, 1, 2), 0), quirk="nothing marked"),
    Stored((1, 1, 1), t2w=((1, 1, 2), 0), quirk="broken off"),
    Stored((1, 1, 1.2), axes="LAS", masks=2),
    Stored((0.9, 0.9, 4), axes="RSA", kind=np.uint8),
    Stored((0.8, 0.8, 0.8), -4, "ASL", np.float32, t2w=((1, 1, 1), 12)),
)


def write(root: Path, coarser: float = 1) -> Path:
    """Write the release below `root`, with voxels so many times as large; returns the folder."""
    root.mkdir(parents=True, exist_ok=True)
    described = {"Name": "A hospital's strokes", "BIDSVersion": "1.8.0"}
    (root / "dataset_description.json").write_text(json.dumps(described))
    lines = ["participant_id\tsite\tage"]
    number = 0
    for person, stored in enumerate(PEOPLE):
        subject = f"sub-H{person:02d}"
        lines.append(f"{subject}\t{('north', 'south')[person % 2]}\tn/a")
        for session in range(1, stored.sessions + 1):
            _write_scan(root, subject, session, stored, number, coarser)
            number += 1
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    return root


def _write_scan(root, subject, session, stored, number, coarser) -> None:
    image, mask, _ = phantom.make_subject(number, SEED)
    start = f"{subject}_ses-{session}"
    raw = root / subject / f"ses-{session}" / "anat"
    drawn = root / "derivatives" / "lesion_masks" / subject / f"ses-{session}" / "anat"
    own = _grid(np.multiply(stored.voxel, coarser), stored.turned)
    head = raw / f"{start}_acq-mprage_T1w.nii.gz"
    _save(head, _on(image, own), own, stored.axes, stored.kind)
    if stored.quirk == "broken off":
        head.write_bytes(head.read_bytes()[: head.stat().st_size // 2])
    grid, acquisition = own, "mprage"
    if stored.t2w:
        grid, acquisition = _grid(np.multiply(stored.t2w[0], coarser), stored.t2w[1]), "tse"
        _save(raw / f"{start}_acq-tse_T2w.nii.gz", _on(255 - image, grid), grid)
    lesion = _on(mask, grid) >= 0.5
    if stored.quirk == "nothing marked":
        lesion[:] = False
    halves = [lesion]
    if stored.masks == 2:
        middle = int(np.median(np.nonzero(lesion)[2]))
        halves = [lesion.copy(), lesion.copy()]
        halves[0][:, :, middle + 1 :] = False
        halves[1][:, :, : middle + 1] = False
    for half, name in zip(halves, ("lesion", "lesion2")):
        file = drawn / f"{start}_acq-{acquisition}_desc-{name}_mask.nii.gz"
        _save(file, half, grid, kind=np.uint8)


def _grid(voxel, degrees: float) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affine and shape of a grid around the head, turned about the axis from left to right."""
    shape = np.ceil(np.divide(HEAD_MM, voxel)).astype(int)
    angle = np.deg2rad(degrees)
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(voxel)
    affine[:3, 3] = MIDDLE_MM - affine[:3, :3] @ ((shape - 1) / 2)
    return affine, tuple(shape.tolist())


def _on(volume: np.ndarray, grid) -> np.ndarray:
    affine, shape = grid
    to_index = np.linalg.inv(phantom.AFFINE) @ affine
    return ndimage.affine_transform(
        volume.astype(np.float32), to_index[:3, :3], to_index[:3, 3], shape, order=1
    )


def _save(path: Path, volume, grid, axes: str = "RAS", kind: type = np.int16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.asarray(volume).astype(kind), grid[0])
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(axes)
    )
    nibabel.save(image.as_reoriented(turn), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if not (folder / "participants.tsv").exists():  # written last
        write(folder)


if __name__ == "__main__":
    main()
