"""A synthetic lesion painted into a real, healthy head: for judging, never for training."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import filters

from kenseg_utils import anatomy
from kenseg_utils.prediction import frames
from kenseg_utils.prediction.frames import SHAPE, SPACING

from ._anatomy import Person
from ._lesions import TRAINING, Look, Mix, Piece, draw_look, draw_plan, grow_mask, painted
from ._template import sample_shape, template

MNI_BRAIN = np.array([[-72, -106, -62], [72, 74, 82]])  # mm, the box around the template's brain
HULL_MM = 7.0  # by which `anatomy.brain_hull` is generous
GRAIN = 0.015  # noise in a lesion, white matter being 1


def paint_into(
    image: np.ndarray,
    affine: np.ndarray,
    seed: int | np.random.Generator,
    plan: tuple[Piece, ...] | None = None,
    outline: tuple[np.ndarray, np.ndarray] | None = None,
    mix: Mix = TRAINING,
) -> tuple[np.ndarray, np.ndarray]:
    """A healthy T1w (X, Y, Z) with a lesion painted in, and its mask (uint8), on the scan's grid.

    The head is laid over the template by the box around its brain, and its tissue told by its
    grey values, so that lesions grow in it as they do in synthetic heads. Nothing is moved:
    ventricles and sulci stay as they are. `plan`: the lesions, else drawn. `outline`: a mask and
    its affine in MNI space, taken in place of a plan's; where it leaves the brain it is cut off.
    `mix`: what plans and looks are drawn from.
    """
    rng = np.random.default_rng(seed)
    image = np.asarray(image, np.float32)
    frame = frames.frame_of(image, affine)
    inside = frame.into(image, affine)
    air, white = frames.levels(inside)
    seen = frames.normalised(inside)
    person, gray, fluid = _person(image, affine, frame, seen)
    if outline is None:
        mask = grow_mask(rng, person, draw_plan(rng, mix) if plan is None else plan)
    else:
        mask = _taken_over(person, *outline)
    look = draw_look(rng, person, mask, gray, fluid, mix)
    on_scan = Look(
        *(
            frame.back(values, image.shape, affine)
            for values in (look.scar, look.scar_level, look.cavity, look.cavity_level)
        )
    )
    scaled = (image - air) / white
    changed = painted(scaled, on_scan)
    share = np.clip(on_scan.scar + on_scan.cavity, 0, 1)
    changed += GRAIN * share * rng.standard_normal(image.shape, dtype=np.float32)
    result = np.where(share > 0, np.clip(changed, 0, None) * white + air, image)
    return result, (frame.back(mask, image.shape, affine) >= 0.5).astype(np.uint8)


def _taken_over(person: Person, drawn: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A mask of MNI space in a person's brain, outside the ventricles."""
    to_index = np.linalg.inv(affine)
    index = np.einsum("ij,j...->i...", to_index[:3, :3], person.places)
    index += to_index[:3, 3].reshape(3, 1, 1, 1)
    inside = ndimage.map_coordinates((drawn > 0).astype(np.float32), index, order=1) >= 0.5
    return inside & (person.brain > 0.5) & (person.ventricles < 0.5)


def _person(image, affine, frame, seen) -> tuple[Person, float, float]:
    """What can be told of a real head's anatomy; levels of its gray matter and fluid."""
    fine = frames.Frame(frame.affine @ np.diag([0.5, 0.5, 0.5, 1]), (192, 224, 192))
    hull = anatomy.brain_hull(fine.into(image, affine))[::2, ::2, ::2]
    depth = SPACING * (
        ndimage.distance_transform_edt(hull) - ndimage.distance_transform_edt(~hull)
    ).astype(np.float32) - np.float32(HULL_MM)
    places = _laid_over(depth > 0)
    inner = seen[depth > 4]
    low, high = filters.threshold_multiotsu(inner, 3, nbins=128)
    fluid = float(np.mean(inner[inner < low]))
    gray = float(np.mean(inner[(inner >= low) & (inner < high)]))
    within = np.clip(depth / 2 + 0.5, 0, 1)
    solid = np.clip((seen - fluid) / (gray - fluid), 0, 1) * within
    bright = np.clip((seen - gray) / (1 - gray), 0, 1) * within
    near = sample_shape(template().ventricles, places)
    dark = ndimage.gaussian_filter(within - solid, 1)
    ventricles = np.clip(3 * near, 0, 1) * np.clip(2 * dark, 0, 1)
    person = Person(
        bright, solid - bright, within - solid, within, seen, ventricles, depth, depth, places
    )
    return person, gray, fluid


def _laid_over(brain: np.ndarray) -> np.ndarray:
    """Where in the template each voxel lies, by the box around the brain: (3, …) in mm."""
    axes = []
    for axis, part in enumerate(anatomy.box_around(brain)):
        index = np.arange(SHAPE[axis], dtype=np.float32)
        if axis < 2:
            share = (index - part.start) / (part.stop - 1 - part.start)
            low, high = MNI_BRAIN[:, axis]
            axes.append(low + share * (high - low))
        else:  # a brain's lower end says little
            axes.append(MNI_BRAIN[1, 2] + SPACING * (index - part.stop + 1))
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
