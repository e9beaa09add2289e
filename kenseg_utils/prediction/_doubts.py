"""Is this a T1w of a whole head? What a scan looks like, before a network answers about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from scipy import ndimage

from kenseg_utils import anatomy

HEAD_MM = ((100, 230), (120, 290), (110, np.inf))  # least and most along x, y and z
NO_BRAIN_MM = 60  # from side to side or front to back, not even a newborn's is smaller
LEAST_MM = 30  # nothing below this is a head, in whatever animal
THICK_MM = 3.0
DEEP_MM = 22  # below a head's surface is brain, with skull (about 15 mm with scalp) or without


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
    blocks, size = _blocks(image, affine, 3.0)
    sides = [(part.stop - part.start) * mm for part, mm in zip(anatomy.head_box(blocks), size)]
    if max(sides) < LEAST_MM:
        raise ValueError(
            f"What is bright in {name} is {_by(sides)} mm large, and no head is that small. "
            "Check that its voxel sizes are in mm."
        )


@dataclass(frozen=True)
class Doubt:
    """A sentence that speaks against a scan, and whether it says that this is no T1w of a head."""

    sentence: str
    is_no_t1w: bool = False


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
    skull and without, and through noise and bias fields; a T2w, a FLAIR or a CT fails it.
    `image` (X, Y, Z) with its `affine` to mm, in any orientation.
    """
    voxel = anatomy.spacing(affine)
    found = []
    if max(voxel) > THICK_MM * 1.02:
        found.append(
            Doubt(
                f"its voxels are {_by(voxel, 1)} mm: with slices this thick, small lesions and "
                "edges are lost (networks here learn from 1 mm)."
            )
        )
    blocks, size = _blocks(np.asarray(image), affine, 1.5)
    if _is_ct(blocks):
        found.append(
            Doubt("its grey values are those of a CT (air at about -1000): no T1w has them.", True)
        )
    depth = anatomy.head_depth(blocks, size)
    if depth is None:
        nothing = Doubt("nothing in it stands out from its surroundings as a head does.", True)
        return (*found, nothing)
    contrast = [Doubt(sentence, True) for sentence in _of_contrast(blocks, size, depth)]
    return (*found, *_of_size(blocks, size), *contrast)


def _blocks(image: np.ndarray, affine, about: float) -> tuple[np.ndarray, np.ndarray]:
    """A volume in RAS order, as means of blocks of `about` mm, and the blocks' sides in mm.

    Its air is dark, and it has no single stray values.
    """
    turn = orientations.io_orientation(affine)
    size = np.array(anatomy.spacing(affine))[np.argsort(turn[:, 0])]
    image = orientations.apply_orientation(image, turn)
    image = anatomy.with_dark_air(anatomy.without_spikes(image))
    x, y, z = (int(max(1, round(about / mm))) for mm in size)
    return anatomy.block_means(image, (x, y, z)), size * (x, y, z)


def _by(sizes, digits: int = 0) -> str:
    return " × ".join(f"{size:.{digits}f}" for size in sizes)


def _is_label_map(image: np.ndarray) -> bool:
    """Few values, whole numbers, and neighbours in the foreground nearly always equal.

    In a scan made three times as fine by repeating its voxels, two thirds of them are.
    """
    image = image[:, :, :: max(1, image.shape[2] // 40)]
    if image.dtype.kind == "f" and not np.array_equal(image, np.round(image)):
        return False
    values, counts = np.unique(image, return_counts=True)
    if len(values) <= 3:
        return True
    if len(values) > 300:
        return False
    background = values[counts.argmax()]
    one, other = image[:-1], image[1:]
    inside = (one != background) & (other != background)
    return bool((one == other)[inside].mean() > 0.72) if inside.any() else False


def _is_ct(image: np.ndarray) -> bool:
    """Air at -1000 Hounsfield units, or padding below it, and soft tissue near 0."""
    air = (image < -850) & (image > -1150)
    if image.min() >= -850 or image.min() < -5000 or air.mean() < 0.02:
        return False
    soft = (image > -200) & (image < 300)
    return bool(soft.sum() > 0.3 * (image > -850).sum())


def _of_size(image: np.ndarray, size: np.ndarray) -> list[Doubt]:
    """What the box around the head says: too small, too large, or cut by the field of view."""
    head = anatomy.head_mask(image)
    top = anatomy.filled_box(head)[2].stop
    upper = head[:, :, max(0, top - int(round(150 / size[2]))) : top]
    sides = [(part.stop - part.start) * mm for part, mm in zip(anatomy.filled_box(upper), size)]
    shares = [upper.sum(tuple(other for other in range(3) if other != a)) for a in range(2)]
    edges = (  # a side, and not which: the header may leave that open
        ("a side", shares[0], (0, -1)),
        ("the back", shares[1], (0,)),
        ("the front", shares[1], (-1,)),
        ("the top", head.sum((0, 1)), (-1,)),
    )
    cut = [
        name for name, share, ends in edges if max(share[end] for end in ends) > 0.15 * share.max()
    ]
    found = []
    if cut:
        found.append(
            Doubt(
                f"its field of view cuts the head at {', '.join(cut)}: a lesion beyond is not "
                "seen, and the head may be laid wrongly."
            )
        )
    whole = ["a side" not in cut, not {"the back", "the front"} & set(cut)]
    small = [mm < low for mm, (low, _) in zip(sides, HEAD_MM)]
    if (small[0] and whole[0]) or (small[1] and whole[1]):
        found.append(
            Doubt(
                f"what is bright in it is {_by(sides)} mm large, less than an adult's head or "
                "brain.",
                min(sides[:2]) < NO_BRAIN_MM,
            )
        )
    elif small[2]:
        found.append(
            Doubt(f"it shows {sides[2]:.0f} mm of a head from its top, and not all of a brain.")
        )
    if any(mm > high for mm, (_, high) in zip(sides, HEAD_MM)):
        found.append(
            Doubt(
                f"what is bright in it is {_by(sides)} mm large, more than a head: another part "
                "of the body?",
                True,
            )
        )
    return found


@dataclass(frozen=True)
class _Contrast:
    """Grey values deep in a head, after a bias field is divided out.

    skew: of the brightest and the darkest hundredth, which lies further from the middle: from -1
    (the dark) to 1 (the bright). rise: how much brighter is what lies far from fluid than what
    lies beside it, as a ratio. spread: of nine tenths of the values, as a share of the way from
    air to their middle.
    """

    skew: float
    rise: float
    spread: float


def _of_contrast(image: np.ndarray, size: np.ndarray, depth: np.ndarray) -> list[str]:
    """What the grey values deep in the head say; at most one sentence."""
    found = _contrast(image, size, depth)
    if found is None:
        return []
    if found.spread < 0.08:
        return ["it shows hardly any contrast in the brain, as a CT does: it is no T1w."]
    if found.skew > 0:
        return [
            "fluid in the brain is brighter than tissue, as in a T2w or a proton density image: "
            "it does not look like a T1w."
        ]
    if size.max() <= THICK_MM and found.rise < 1.05:
        return [
            "white matter is no brighter than grey matter, as in a FLAIR: it does not look like "
            "a T1w."
        ]
    return []


def _contrast(image: np.ndarray, size: np.ndarray, depth: np.ndarray) -> _Contrast | None:
    """Measured `DEEP_MM` below the surface of a head's upper 110 mm.

    None where there are less than 100 ml of it.
    """
    top = np.flatnonzero((depth > 0).any((0, 1)))[-1]
    inside = depth > DEEP_MM
    inside[:, :, : max(0, int(top + 1 - 110 / size[2]))] = False
    if inside.sum() * size.prod() < 1e5:
        return None
    above_air = image - np.percentile(image, 2)
    own = above_air[inside]
    low, fifth, middle, last, high = np.percentile(own, (2, 5, 50, 95, 98))
    if middle <= 0:
        return None
    weight = ndimage.gaussian_filter(inside.astype(np.float32), 20 / size) + 1e-6
    clipped = np.where(inside, np.clip(above_air, low, high), 0).astype(np.float32)
    field = ndimage.gaussian_filter(clipped, 20 / size) / weight
    flat = np.where(inside, above_air / np.maximum(field, 0.1 * middle), 0)
    dark, half, bright = np.percentile(flat[inside], (1, 50, 99))
    fluid = inside & (flat < half - 0.6 * (half - dark))
    away = ndimage.distance_transform_edt(~fluid, sampling=size)
    tissue = inside & ~fluid
    beside, far = tissue & (away > 1.5) & (away <= 4.6), tissue & (away > 6.5)
    rise = (
        float(np.median(flat[far]) / np.median(flat[beside]))
        if min(beside.sum(), far.sum()) > 500
        else np.inf
    )
    return _Contrast(
        skew=float(((bright - half) - (half - dark)) / max(bright - dark, 1e-6)),
        rise=rise,
        spread=float((last - fifth) / middle),
    )
