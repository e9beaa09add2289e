"""The 3-D frame: any grid in, the same head seen; and an answer laid back where it belongs."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from kenseg_utils.prediction import frames

CENTRE = np.array([4.0, -12.0, 30.0])  # mm, of the head that the tests scan
BLOB = CENTRE + (30.0, 10.0, 12.0)


def scanned(affine, shape, brain_only=False):
    """A head made of ellipsoids, as the grid of `affine` shows it; and a blob's probability."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    places = grid @ affine[:3, :3].T + affine[:3, 3]

    def ellipsoid(centre, halves):
        return (((places - centre) / halves) ** 2).sum(-1) < 1

    head, brain = ellipsoid(CENTRE, (78, 98, 90)), ellipsoid(CENTRE, (66, 84, 70))
    white = ellipsoid(CENTRE, (52, 70, 54))
    neck = ellipsoid(CENTRE - (0, 10, 90), (50, 60, 80))
    image = np.zeros(shape, np.float32)
    if not brain_only:
        image[head | neck] = 1.8
        image[ellipsoid(CENTRE, (72, 91, 80))] = 0.1
    image[brain], image[white] = 0.7, 1.0
    blob = np.exp(-0.5 * (((places - BLOB) / 8) ** 2).sum(-1)).astype(np.float32)
    return 300 * image, blob


def grid_around(size, turn=(0, 0, 0), flip=(1, 1, 1), shift=(0, 0, 0), shape=(200, 220, 220)):
    """A grid over the head: voxels of `size` mm, turned by degrees about x, y, z."""
    angles = np.deg2rad(turn)
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = [k for k in range(3) if k != axis]
        part = np.eye(3)
        part[[one, one, two, two], [one, two, one, two]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        rotation = part @ rotation
    counts = np.ceil(np.array(shape) / size).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(np.multiply(size, flip))
    affine[:3, 3] = CENTRE + shift - affine[:3, :3] @ ((counts - 1) / 2)
    return affine, tuple(counts)


GRIDS = {
    "isotropic": grid_around((2.2, 2.2, 2.2)),
    "flipped": grid_around((1.9, 2.1, 2), flip=(-1, -1, 1)),
    "oblique": grid_around((1.8, 2, 2.5), turn=(15, -10, 12)),
    "thick slices": grid_around((1.2, 1.2, 5)),
    "shifted": grid_around((2, 2, 2), shift=(15, -12, 10), shape=(220, 250, 240)),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_any_grid_shows_the_same_head(grid):
    affine, shape = grid
    image, _ = scanned(affine, shape)
    frame, seen = frames.look(image, affine)
    assert seen.shape == frames.SHAPE and seen.dtype == np.float32
    to_voxel = np.linalg.inv(frame.affine)
    middle = nib.affines.apply_affine(to_voxel, CENTRE)
    assert np.abs(middle[:2] - (np.array(frames.SHAPE[:2]) - 1) / 2).max() < 3
    top = nib.affines.apply_affine(to_voxel, CENTRE + (0, 0, 90))
    assert 0 < frames.SHAPE[2] - top[2] < 9  # the head's top, just below the frame's
    x, y, z = np.rint(middle).astype(int)
    assert seen[x, y, z] == pytest.approx(1, abs=0.03)  # white matter
    gray = np.rint(nib.affines.apply_affine(to_voxel, CENTRE + (59, 0, 0))).astype(int)
    assert seen[tuple(gray)] == pytest.approx(0.7, abs=0.06)
    assert seen[0, 0, -1] == 0  # air


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_blob_goes_in_and_comes_back_with_its_volume_and_place(grid):
    affine, shape = grid
    image, blob = scanned(affine, shape)
    frame = frames.frame_of(image, affine)
    inside = frame.into(blob, affine)
    back = frame.back(inside, shape, affine)
    assert back.shape == shape and back.dtype == np.float32
    for values, lead in ((inside, frame.affine), (back, affine)):
        volume = values.sum() * abs(np.linalg.det(lead[:3, :3]))
        assert volume == pytest.approx((2 * np.pi) ** 1.5 * 8**3, rel=0.02)
        centre = nib.affines.apply_affine(lead, ndimage.center_of_mass(values))
        assert np.abs(centre - BLOB).max() < 0.5


def test_a_brain_alone_is_shown_as_bright_as_in_its_head():
    affine, shape = grid_around((2, 2, 2))
    levels = {}
    for brain_only in (False, True):
        image, _ = scanned(affine, shape, brain_only)
        noise = np.random.default_rng(0).normal(0, 9, (2, *shape))
        image = np.hypot(image + noise[0], noise[1]) * (1 if not brain_only else image > 0)
        frame, seen = frames.look(image, affine)
        x, y, z = np.rint(nib.affines.apply_affine(np.linalg.inv(frame.affine), CENTRE)).astype(int)
        levels[brain_only] = seen[x - 9 : x + 9, y - 9 : y + 9, z - 9 : z + 9].mean()
    assert levels[True] == pytest.approx(levels[False], abs=0.03)
    assert levels[True] == pytest.approx(1, abs=0.05)


def test_what_is_finer_than_the_frame_is_averaged_and_not_skipped():
    """A checkerboard of single voxels is an even grey at 2 mm."""
    board = (np.indices((64, 64, 64)).sum(0) % 2).astype(np.float32)
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    frame = frames.Frame(np.array([[2.0, 0, 0, 6.3], [0, 2, 0, 6.1], [0, 0, 2, 6], [0, 0, 0, 1]]),
                         (10, 10, 10))  # fmt: skip
    assert np.abs(frame.into(board, affine) - 0.5).max() < 0.02


def test_labels_stay_labels():
    labels = np.zeros((40, 40, 40), np.uint8)
    labels[8:20, 8:20, 8:20] = 3
    frame = frames.Frame(np.diag([2.0, 2, 2, 1]), (20, 20, 20))
    seen = frame.into(labels, np.eye(4), order=0)
    assert set(np.unique(seen)) == {0, 3}


@pytest.mark.parametrize(
    "part",
    [np.s_[:, :, 25:], np.s_[:, :, :85], np.s_[20:, :, :], np.s_[:, 25:, :], np.s_[8:92, 4:106]],
    ids=["neck cut", "top cut", "side cut", "back cut", "tight"],
)
def test_a_cropped_field_of_view_still_has_its_brain_inside(part):
    affine, shape = grid_around((2, 2, 2))
    image, _ = scanned(affine, shape)
    corner = affine.copy()
    corner[:3, 3] += 2.0 * np.array([(s.start or 0) for s in (*part, np.s_[:])[:3]])
    frame, seen = frames.look(image[part], corner)
    low, high = CENTRE - (52, 70, 54), CENTRE + (52, 70, 54)
    box = nib.affines.apply_affine(np.linalg.inv(frame.affine), [low, high])
    box = np.clip(box, 0, None) if "8:" in str(part) else box
    field = nib.affines.apply_affine(
        np.linalg.inv(frame.affine) @ corner, [[0, 0, 0], np.array(image[part].shape) - 1]
    )
    assert (np.maximum(box[0], field[0]) > -1).all()
    assert (np.minimum(box[1], field[1]) < np.array(frames.SHAPE)).all()
    x, y, z = np.rint(nib.affines.apply_affine(np.linalg.inv(frame.affine), CENTRE)).astype(int)
    assert seen[x, y, z] == pytest.approx(1, abs=0.06)


def test_a_background_brighter_than_fluid_is_air():
    """As scans normalised inside the head have it: z-scores, and 0 around."""
    affine, shape = grid_around((2, 2, 2))
    image, _ = scanned(affine, shape)
    inside = image > 0
    shown = np.where(inside, (image - image[inside].mean()) / image[inside].std(), 0)
    _, plain = frames.look(image, affine)
    _, seen = frames.look(shown.astype(np.float32), affine)
    assert seen[0, 0, -1] == 0
    assert np.abs(seen - plain)[plain > 0.6].mean() < 0.15


def test_an_empty_volume_is_no_error():
    affine = np.diag([2.0, 2, 2, 1])
    _, seen = frames.look(np.zeros((20, 20, 20), np.float32), affine)
    assert not seen.any()


def test_what_is_no_volume_is_refused():
    with pytest.raises(ValueError, match="X, Y, Z"):
        frames.frame_of(np.zeros((4, 4)), np.eye(4))
    with pytest.raises(ValueError, match="inverted"):
        frames.frame_of(np.zeros((4, 4, 4)), np.zeros((4, 4)))
