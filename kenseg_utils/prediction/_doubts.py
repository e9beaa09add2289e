"""Is this a T1w of a whole head? What a scan looks like, before a network answers about it."""

from __future__ import annotations

import numpy as np

from kenseg_utils import anatomy

from ._contrast import is_ct, of_contrast
from ._looks import Doubt, blocks_of, by
from ._pose import of_pose, of_shear
from ._sizes import of_size

LEAST_MM = 30  # nothing below this is a head, in whatever animal
BLOCKS_MM = 1.5  # in which a scan is looked at
THICK_MM, COARSE_MM = 3.0, 10.0
# Of a face of noise: the middle half of its values against all of the scan's, and how far apart
# neighbours are against that half. Noise alone has 0.5 and 0.6; faces cut through a brain of 1 to
# 4 mm at most three of six with over 0.22 and 0.22, and air with a tenth of a head's grey 0.09.
WIDE, UNEVEN = 0.22, 0.3
BLURRED = 3.35  # sharp heads of any voxels reach 3.1; smoothed by an SD of 4 mm they exceed 3.4


def check_is_head(image: np.ndarray, affine: np.ndarray, name: str = "The scan") -> None:
    """ValueError for a volume that cannot be a scan of a head: labels, or nothing of its size.

    `image` (X, Y, Z) with its `affine` to mm, in any orientation.
    """
    image = np.asarray(image)
    if _is_label_map(image):
        raise ValueError(
            f"{name} holds {len(np.unique(image))} values in pieces of one value each: it is a "
            "mask or a map of labels, and no scan. Give the T1w that it was drawn on."
        )
    blocks, size = blocks_of(image, affine, 3.0)
    sides = [(part.stop - part.start) * mm for part, mm in zip(anatomy.head_box(blocks), size)]
    if max(sides) < LEAST_MM:
        raise ValueError(
            f"What is bright in {name} is {by(sides)} mm large, and no head is that small. "
            "Check that its voxel sizes are in mm."
        )


def t1w_doubts(image: np.ndarray, affine: np.ndarray) -> tuple[str, ...]:
    """What speaks against a volume being a T1w of a whole adult head: a sentence each, or nothing.

    See `doubts`, which also says how much each weighs.
    """
    return tuple(doubt.sentence for doubt in doubts(image, affine))


def doubts(image: np.ndarray, affine: np.ndarray) -> tuple[Doubt, ...]:
    """What speaks against a volume being a T1w of a whole adult head.

    Looked at are the voxels' size, the grey values of CT, the size of what is bright, whether the
    field of view cuts it, and the contrast deep in the brain: in a T1w fluid is dark, and what is
    far from fluid (white matter) is brighter than what lies beside it (cortex). That holds with
    skull and without, and through noise and bias fields; a T2w, a FLAIR or a CT fails it. Also
    looked at are slices left empty, noise for air, blur, sheared voxels, and whether the head lies
    as it should.
    `image` (X, Y, Z) with its `affine` to mm, in any orientation.
    """
    image, voxel = np.asarray(image), anatomy.spacing(affine)
    found = []
    if max(voxel) > COARSE_MM:
        found.append(
            Doubt(
                f"its voxels are {by(voxel, 1)} mm, and above {COARSE_MM:.0f} mm what is found is "
                "mostly invented.",
                True,
            )
        )
    elif max(voxel) > THICK_MM * 1.02:
        found.append(
            Doubt(
                f"its voxels are {by(voxel, 1)} mm: with slices this thick, small lesions and "
                "edges are lost (networks here learn from 1 mm)."
            )
        )
    found += [*of_shear(affine), *_of_gaps(image)]
    blocks, size = blocks_of(image, affine, BLOCKS_MM)
    ct = is_ct(blocks)
    if ct:
        found.append(
            Doubt("its grey values are those of a CT (air at about -1000): no T1w has them.", True)
        )
    depth, noise = anatomy.head_depth(blocks, size), _of_noise(image)
    if depth is None:
        nothing = Doubt("nothing in it stands out from its surroundings as a head does.", True)
        return (*found, nothing, *noise)
    if noise:  # where the head is cannot be told, nor what is in it
        return (*found, *noise)
    found += of_size(blocks, size)
    found += _of_blur(blocks, size)
    background = [] if ct else _of_background(image)
    contrast = background or of_contrast(blocks, size, depth)
    # Of what is no T1w, only that is said which makes it none.
    is_other = any(doubt.is_no_t1w for doubt in (*found, *contrast))
    found += [doubt for doubt in contrast if doubt.is_no_t1w or not is_other]
    return tuple(found if is_other else found + of_pose(image, affine, blocks, size))


def _of_background(image: np.ndarray) -> list[Doubt]:
    """A background far below all else: beside it, all of a head is one grey."""
    few = anatomy.every_third(image)
    air = float(few.min())
    rest = few[few > air]
    low, high = np.percentile(rest, (5, 99)) if rest.size else (air, air)
    if air >= 0 or low - air < 8 * (high - low):
        return []
    return [
        Doubt(
            f"its background is {air:g}, far below all else ({low:.0f} to {high:.0f}), and "
            "beside it all of a head looks alike: set it to the grey value of air.",
            True,
        )
    ]


def _of_noise(image: np.ndarray) -> list[Doubt]:
    """Air as bright as the head: on most faces of the volume, neighbours have nothing in common."""
    if min(image.shape) < 8:
        return []
    low, high = np.percentile(anatomy.every_third(image), (1, 99))
    noisy = 0
    for face in anatomy.faces(image):
        face = face.astype(np.float64)
        spread = np.subtract(*np.percentile(face, (75, 25)))
        apart = min(np.median(np.abs(np.diff(face, axis=along))) for along in (0, 1))
        noisy += spread > WIDE * (high - low) and apart > UNEVEN * spread
    if noisy < 4:
        return []
    return [
        Doubt(
            "the air in it is noise as bright as the head, as in an MP2RAGE's uniform image (UNI), "
            "and the two cannot be told apart: set the air to 0, by the second inversion's image "
            "or by extracting the brain, or give the denoised image.",
            True,
        )
    ]


def _of_gaps(image: np.ndarray) -> list[Doubt]:
    """Slices that hold nothing, again and again between others that do."""
    for axis in range(3):
        planes = np.moveaxis(image, axis, 0)
        filled = np.flatnonzero([plane.min() < plane.max() for plane in planes])
        gaps = np.diff(filled) - 1
        if np.count_nonzero(gaps) >= 3:  # one gap may be a stray value's, beside the head
            return [
                Doubt(
                    f"{gaps.sum()} of its slices hold one value only, between others that hold a "
                    "head: export it again.",
                    True,
                )
            ]
    return []


def _of_blur(blocks: np.ndarray, size: np.ndarray) -> list[Doubt]:
    """How much more differ places 8 mm apart than 4 mm: four times as much where all is smooth."""
    head = blocks[anatomy.head_box(blocks)]
    ratios = []
    for axis, mm in enumerate(size):
        steps, line = max(1, round(4 / mm)), np.moveaxis(head, axis, 0)
        if mm > 5.1 or len(line) <= 4 * steps:
            continue
        near, far = (float(((line[k:] - line[:-k]) ** 2).mean()) for k in (steps, 2 * steps))
        ratios.append(far / near if near else 0)
    if not ratios or np.mean(ratios) <= BLURRED:
        return []
    return [
        Doubt(
            "it is blurred, whatever the size of its voxels: nothing in it is sharper than some "
            "10 mm, and lesions are overlooked or invented. Give the scan as it was measured."
        )
    ]


def _is_label_map(image: np.ndarray) -> bool:
    """Whole numbers, and neighbours in the foreground nearly always equal, as in no scan.

    In a scan made three times as fine by repeating its voxels, two thirds of them are.
    """
    planes = np.moveaxis(image, 2, 0)  # of which those that hold something are looked at
    filled = [plane for plane in planes if plane.min() < plane.max()] or [planes[0]]
    image = np.stack(filled[:: max(1, len(filled) // 40)], 2)
    if image.dtype.kind == "f" and not np.array_equal(image, np.round(image)):
        return False
    values = np.unique(image)
    return len(values) <= 3 or _share_of_equals(image, len(values) <= 300) > 0.72


def _share_of_equals(image: np.ndarray, few: bool) -> float:
    """Of neighbours that are no background, how many are equal.

    Background is the most frequent value; of many values, all that fill over a fiftieth.
    """
    values, counts = np.unique(image, return_counts=True)
    background = values[counts.argmax()] if few else values[counts > 0.02 * image.size]
    inside = ~np.isin(image, background)
    pairs = inside[:-1] & inside[1:]
    return float((image[:-1] == image[1:])[pairs].mean()) if pairs.any() else 0.0
