"""Where voxels lie: units, sizes, a header's two forms, doubts about sides, masks by world."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import releases
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.testing import assert_allclose, assert_array_equal

from kenseg_utils import anatomy, atlas
from kenseg_utils.atlas import ScanError

ARC = Path(__file__).resolve().parents[1] / "../shared/data/arc_t2"
SHAPE = (24, 26, 22)  # with voxels of 8 mm as long as a head
HEAD = releases.turned(SHAPE, (8, 8, 8))


def values(seed: int = 0, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.int16)


def lesion(shape=SHAPE) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[3:8, 5:9, 6:12] = 1
    return mask


def write(path, array, sform=None, qform=None, unit="mm", codes=None, **fields) -> Path:
    """A NIfTI file whose header says just this; `fields` are set last, past all checks."""
    image = nibabel.Nifti1Image(array, np.eye(4))
    header = image.header
    header.set_xyzt_units(unit)
    for form, setter in ((sform, image.set_sform), (qform, image.set_qform)):
        setter(form, 0 if form is None else 1)
    if qform is None and sform is not None:
        header["pixdim"][1:4] = anatomy.spacing(sform)
    content = bytearray(image.to_bytes())
    raw = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        if name == "pixdim":
            raw["pixdim"][1:4] = value
        else:
            raw[name] = value
    content[:348] = raw.binaryblock
    packed = gzip.compress(bytes(content), 1) if path.name.endswith(".gz") else bytes(content)
    path.write_bytes(packed)
    return path


def load(path, *masks, grid="same"):
    row = {"t1w": str(path), "masks": tuple(map(str, masks)), "mask_grid": grid}
    return atlas.load_scan(row)


# --- units and sizes ----------------------------------------------------------------------------


@pytest.mark.parametrize("unit, factor", [("mm", 1), ("micron", 1000), ("meter", 1e-3)])
@pytest.mark.parametrize("by", ["sform", "qform"])
def test_units_are_converted_where_the_header_says_so(tmp_path, unit, factor, by):
    affine = np.diag([factor] * 3 + [1]) @ HEAD
    path = write(tmp_path / "t1.nii.gz", values(), **{by: affine}, unit=unit)
    mask = write(tmp_path / "mask.nii.gz", lesion(), **{by: affine}, unit=unit)
    scan = load(path, mask)
    assert_allclose(scan.affine, HEAD, rtol=1e-6, atol=1e-4)
    assert_allclose(scan.spacing, (8, 8, 8), rtol=1e-6)
    assert_allclose(scan.mask.sum() * anatomy.voxel_ml(scan.affine), 120 * 0.512, rtol=1e-6)
    told = [note for note in scan.notes if "converted to millimetres" in note]
    assert len(told) == (unit != "mm") and scan.sides_known


def test_a_mask_in_another_unit_than_its_t1w_fits(tmp_path):
    path = write(tmp_path / "t1.nii.gz", values(), sform=HEAD)
    mask = write(tmp_path / "m.nii", lesion(), sform=np.diag([1e3] * 3 + [1]) @ HEAD, unit="micron")
    assert_array_equal(load(path, mask).mask, lesion())


@pytest.mark.parametrize(
    "shape, size, unit, told",
    [
        ((60, 60, 60), 0.05, "mm", "3 mm"),
        ((60, 70, 60), 0.28, "unknown", "19.6 mm"),  # centimetres
        ((30, 30, 30), 100, "mm", r"3e\+03 mm"),
        ((60, 60, 60), 2.8, "micron", "0.168 mm"),  # millimetres that are called microns
        ((60, 60, 60), 2.8, "meter", r"1.68e\+05 mm"),
    ],
)
def test_what_cannot_be_a_head_is_refused(tmp_path, shape, size, unit, told):
    affine = releases.turned(shape, (size,) * 3)
    path = write(tmp_path / "t1.nii", values(0, shape), sform=affine, unit=unit)
    with pytest.raises(ScanError, match=f"{told} along its longest side.*no head is"):
        atlas.load_image(path)


@pytest.mark.parametrize("by", ["sform", "qform"])
def test_one_side_of_a_voxel_that_is_next_to_nothing_is_refused(tmp_path, by):
    affine = HEAD @ np.diag([1e-9, 1, 1, 1])
    path = write(tmp_path / "t1.nii", values(), **{by: affine})
    with pytest.raises(ScanError, match="no scan's are that small"):
        atlas.load_image(path)


@pytest.mark.parametrize("code", [4, 5, 6, 7, 8 + 6])
def test_a_unit_that_does_not_exist_is_said(tmp_path, code):
    scan = atlas.load_image(write(tmp_path / "t1.nii", values(), sform=HEAD, xyzt_units=code))
    assert_allclose(scan.spacing, (8, 8, 8))
    assert "unit that does not exist" in scan.notes[0]
    for known in (0, 2, 2 + 8, 2 + 16, 32):
        path = write(tmp_path / "t2.nii", values(), sform=HEAD, xyzt_units=known)
        assert atlas.load_image(path).notes == ()


@pytest.mark.parametrize("size, is_doubted", [(1.5, True), (8, False), (20, True)])
def test_an_unusual_size_is_said(tmp_path, size, is_doubted):
    scan = atlas.load_image(
        write(tmp_path / "t.nii", values(), sform=HEAD @ np.diag([size / 8] * 3 + [1]))
    )
    assert any("unusual for a head" in note for note in scan.notes) == is_doubted


@pytest.mark.parametrize("sizes", [(8, 8, 0), (0, 0, 0), (8, np.nan, 8)])
@pytest.mark.parametrize("form", [HEAD, None])
def test_a_voxel_without_size_is_refused_where_it_matters(tmp_path, sizes, form):
    path = write(tmp_path / "t1.nii", values(), qform=form, pixdim=sizes)
    with pytest.raises(ScanError, match="does not say how large its voxels are"):
        atlas.load_image(path)
    scan = atlas.load_image(write(tmp_path / "t2.nii", values(), sform=HEAD, pixdim=sizes))
    assert_allclose(scan.spacing, (8, 8, 8))


def test_a_negative_voxel_size_leaves_the_side_open(tmp_path):
    scan = atlas.load_image(write(tmp_path / "t1.nii", values(), qform=HEAD, pixdim=(-8, 8, 8)))
    assert_allclose(scan.affine, HEAD, atol=1e-5)
    assert not scan.sides_known and "negative voxel size, (-8, 8, 8)" in scan.notes[0]
    scan = atlas.load_image(write(tmp_path / "t2.nii", values(), sform=HEAD, pixdim=(-8, 8, 8)))
    assert scan.sides_known and scan.notes == ()


# --- sform and qform ----------------------------------------------------------------------------


def test_without_any_orientation_the_side_is_a_guess(tmp_path):
    path = write(tmp_path / "t1.nii.gz", values(), pixdim=(8, 8, 8))
    scan = atlas.load_image(path)
    assert not scan.sides_known and len(scan.notes) == 1
    assert "codes are 0), so which side is left is a guess" in scan.notes[0]
    assert atlas.load_image(write(tmp_path / "t2.nii", values(), sform=HEAD)).sides_known
    mask = write(tmp_path / "m.nii.gz", lesion(), pixdim=(8, 8, 8))
    both = load(path, mask)  # stored alike, so they fit
    assert_array_equal(atlas.to_original_grid(both, both.mask), lesion())
    assert not both.sides_known and len(both.notes) == 1  # said once
    # By nibabel's guess the two grids are one, with the lesion on the other side.
    for pair in ((tmp_path / "t2.nii", mask), (path, write(tmp_path / "m2.nii", lesion(), HEAD))):
        with pytest.raises(ScanError, match="its header gives no orientation.*the header of the"):
            load(*pair)
    with pytest.raises(ScanError, match="does not say for certain where it lies"):
        load(tmp_path / "t2.nii", mask, grid="world")


def test_without_any_orientation_no_axis_is_known(tmp_path):
    image = nibabel.Nifti1Image(values(), HEAD)
    way = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt("PIR"))
    stored = np.asarray(image.as_reoriented(way).dataobj)
    note = atlas.load_image(write(tmp_path / "t1.nii", stored, pixdim=(8, 8, 8))).notes[0]
    for word in ("left", "up", "front", "none of its axes is known"):
        assert word in note


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [-91, -60, -31, -29, 10, 29, 31, 60, 89, 91, 135, 180])
@pytest.mark.parametrize("spacing", [(8, 8, 8), (8, 6, 12)])
def test_the_side_is_known_only_where_both_forms_nearly_agree_on_it(
    tmp_path, axis, degrees, spacing
):
    angles = [0.0, 0.0, 0.0]
    angles[axis] = np.radians(degrees)  # about z, y and x
    sform, qform = (releases.turned(SHAPE, spacing, way) for way in ((0, 0, 0), angles))
    scan = atlas.load_image(write(tmp_path / "t1.nii", values(), sform=sform, qform=qform))
    about_x = axis == 2  # a nod, which leaves the side where it was
    assert scan.sides_known == (about_x or abs(degrees) < 30)
    assert "places it twice" in scan.notes[0]
    assert scan.notes[0].endswith("which side is left is a guess") != scan.sides_known


def test_two_forms_that_disagree_are_both_named(tmp_path):
    qform = HEAD.copy()
    qform[:3, 3] += (20, -5, 3)
    scan = atlas.load_image(write(tmp_path / "t1.nii", values(), sform=HEAD, qform=qform))
    assert_allclose(scan.affine, HEAD)
    assert scan.sides_known and len(scan.notes) == 1
    assert "places it twice, up to 20.8 mm apart: by the sform (axes RAS" in scan.notes[0]
    assert "by the qform (axes RAS" in scan.notes[0]
    flipped = HEAD @ np.diag([-1, 1, 1, 1])
    scan = atlas.load_image(write(tmp_path / "t2.nii", values(), sform=HEAD, qform=flipped))
    assert not scan.sides_known and "qform (axes LAS" in scan.notes[0]
    near = HEAD.copy()
    near[:3, 3] += 4  # less than a voxel: two programs' rounding
    assert (
        atlas.load_image(write(tmp_path / "t3.nii", values(), sform=HEAD, qform=near)).notes == ()
    )


def test_a_mask_that_fits_only_the_other_form_is_refused_with_the_cause(tmp_path):
    qform = HEAD.copy()
    qform[:3, 3] += (20, -5, 3)
    path = write(tmp_path / "t1.nii", values(), sform=HEAD, qform=qform)
    mask = write(tmp_path / "mask.nii", lesion(), sform=qform)
    with pytest.raises(ScanError, match="do not fit.*20.8 mm.*They fit by the qform of t1.nii"):
        load(path, mask)
    with pytest.raises(ScanError, match="do not fit.*They fit by the qform of t1.nii"):
        load(mask, write(tmp_path / "t1.nii", lesion(), sform=HEAD, qform=qform))


@pytest.mark.parametrize("excess", [5e-8, 1.7e-7, 2.4e-7, 5e-7, 5e-6, 1e-4])
def test_a_quaternion_that_rounding_made_too_long_is_shortened(tmp_path, excess):
    third = np.float32(0.5773503 * (1 + excess))  # half a turn about the diagonal
    fields = dict(quatern_b=third, quatern_c=third, quatern_d=third)
    turn = nibabel.quaternions.quat2mat([0, 3**-0.5, 3**-0.5, 3**-0.5])
    path = write(tmp_path / "t1.nii", values(), qform=HEAD, **fields)
    scan = atlas.load_image(path)
    assert_allclose(scan.original_affine[:3, :3], turn * 8, atol=1e-4)
    assert scan.notes == ()
    # A mask written with this header can be read, by this package and by nibabel.
    saved = atlas.save_mask(scan, np.ones_like(scan.image, np.uint8), tmp_path / "mask.nii")
    assert_allclose(nibabel.load(saved).affine, scan.original_affine, atol=1e-4)


def test_a_quaternion_that_is_none_matters_only_without_a_sform(tmp_path):
    fields = dict(quatern_b=3, quatern_c=3, quatern_d=3)
    with pytest.raises(ScanError, match="damaged orientation"):
        atlas.load_image(write(tmp_path / "t1.nii", values(), qform=HEAD, **fields))
    scan = atlas.load_image(write(tmp_path / "t2.nii", values(), sform=HEAD, qform=HEAD, **fields))
    assert_allclose(scan.affine, HEAD)


# --- masks on the same voxels -------------------------------------------------------------------


@pytest.mark.parametrize("change", [0, 1e-7, -1e-7, 3e-6, -3e-6])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAR"])
def test_a_mask_on_a_grid_turned_by_45_degrees_takes_the_t1w_s_axes(tmp_path, change, axes):
    affine = releases.turned(SHAPE, (8, 8, 8), (np.pi / 4, 0, 0))
    path = write(tmp_path / "t1.nii", values(), sform=affine)
    other = affine.copy()
    other[0, 0] *= 1 + change  # the seventh digit, by which the nearest axis changes
    mask = nibabel.Nifti1Image(lesion(), other)
    way = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    nibabel.save(mask.as_reoriented(way), tmp_path / "mask.nii")
    scan = load(path, tmp_path / "mask.nii")
    assert_array_equal(atlas.to_original_grid(scan, scan.mask), lesion())


@pytest.mark.parametrize("angle", [0.1, 0.5, np.pi / 4, 1.2])
@pytest.mark.parametrize("shift", [0.05, 0.5])
def test_grids_are_compared_in_millimetres(tmp_path, angle, shift):
    affine = releases.turned(SHAPE, (8, 8, 8), (angle, angle, angle))
    path = write(tmp_path / "t1.nii", values(), sform=affine)
    other = affine.copy()
    other[1, 3] += shift
    mask = write(tmp_path / "mask.nii", lesion(), sform=other)
    if shift < anatomy.GRID_TOLERANCE_MM:
        scan = load(path, mask)
        assert_array_equal(atlas.to_original_grid(scan, scan.mask), lesion())
    else:
        with pytest.raises(ScanError, match="up to 0.5 mm apart"):
            load(path, mask)


# --- masks by world coordinates -----------------------------------------------------------------

GRIDS = {
    "1 mm": ((50, 54, 48), (1, 1, 1)),
    "0.7 mm": ((66, 66, 64), (0.7, 0.7, 0.7)),
    "2 mm": ((26, 26, 26), (2, 2, 2)),
    "thick": ((66, 66, 10), (0.7, 0.7, 5)),
}


@pytest.mark.parametrize("target", ["1 mm", "0.7 mm", "2 mm"])
@pytest.mark.parametrize("source", GRIDS)
@pytest.mark.parametrize("radii", [(9, 6, 7), (3, 8, 4), (2.6, 2.6, 2.6)])
def test_a_mask_brought_by_world_coordinates_keeps_volume_and_place(
    tmp_path, target, source, radii
):
    rng = np.random.default_rng(0)
    shape, spacing = GRIDS[source]
    drawn = releases.turned(shape, spacing, (0.1, -0.3, 0.2), (2, -1, 3))
    mask = releases.ellipsoid(drawn, shape, (6, -5, 4), radii)
    releases.save(tmp_path / "mask.nii.gz", mask, drawn)
    shape, spacing = GRIDS[target]
    stored = (-spacing[0], *spacing[1:])  # from right to left
    there = releases.turned(shape, stored, (-0.2, 0.05, 0.4), (-1, 2, 0))
    releases.save(tmp_path / "t1.nii.gz", rng.integers(0, 99, shape), there)
    scan = load(tmp_path / "t1.nii.gz", tmp_path / "mask.nii.gz", grid="world")
    ml = mask.sum() * anatomy.voxel_ml(drawn)
    found = scan.mask.sum() * anatomy.voxel_ml(scan.affine)
    assert abs(found - ml) <= max(0.03 * ml, 1.01 * anatomy.voxel_ml(scan.affine))
    middle = [
        nibabel.affines.apply_affine(affine, np.argwhere(each).mean(0))
        for each, affine in ((mask, drawn), (scan.mask, scan.affine))
    ]
    voxel = max(anatomy.spacing(drawn) + tuple(spacing))
    assert np.linalg.norm(middle[0] - middle[1]) < voxel
    truth = releases.ellipsoid(scan.affine, scan.mask.shape, (6, -5, 4), radii)
    both = 2 * np.count_nonzero(truth & (scan.mask > 0)) / (truth.sum() + scan.mask.sum())
    if source in ("1 mm", "0.7 mm") and min(radii) > 3:  # and not lost in its own drawing
        assert both > 0.9
    assert "outside" not in " ".join(scan.notes)


def test_on_its_own_grid_a_mask_comes_back_as_it_was(tmp_path):
    affine = releases.turned(SHAPE, (8, 8, 8), (0.3, 0.2, 0.1))
    path = releases.save(tmp_path / "t1.nii", values(), affine, np.int16)
    rng = np.random.default_rng(1)
    scattered = (rng.random(SHAPE) < 0.1).astype(np.uint8)
    mask = releases.save(tmp_path / "mask.nii", scattered, affine)
    assert_array_equal(load(path, mask, grid="world").mask, load(path, mask).mask)


def test_the_smallest_lesion_is_not_lost(tmp_path):
    path = releases.save(tmp_path / "t1.nii", values(), HEAD, np.int16)
    for place in ((10, 10, 10), (17, 3, 8)):
        one = np.zeros(SHAPE)
        one[place] = 1
        shifted = releases.turned(SHAPE, (8, 8, 8), (0.2, 0.1, 0.0), (3.7, 4, -3))
        mask = releases.save(tmp_path / "mask.nii", one, shifted)
        assert load(path, mask, grid="world").mask.sum() == 1


def test_a_lesion_outside_the_image_is_said_or_refused(tmp_path):
    path = releases.save(tmp_path / "t1.nii", values(), HEAD, np.int16)
    for shift, told in ((0, ""), (64, "25% of the lesion in mask.nii lies outside"), (500, "!")):
        there = HEAD.copy()
        there[0, 3] -= shift
        mask = np.zeros(SHAPE)
        mask[7:11, 5:9, 6:12] = 1
        if shift == 64:
            mask[7:11] = np.roll(mask[7:11], 0)
        mask = releases.save(tmp_path / "mask.nii", mask, there)
        if told == "!":
            with pytest.raises(ScanError, match="100% of the lesion lies outside.*one session"):
                load(path, mask, grid="world")
        else:
            scan = load(path, mask, grid="world")
            assert told in " ".join(scan.notes) and bool(scan.notes) == bool(told)


def test_an_empty_mask_and_a_row_that_means_neither_grid(tmp_path):
    path = releases.save(tmp_path / "t1.nii", values(), HEAD, np.int16)
    mask = releases.save(tmp_path / "mask.nii", np.zeros(SHAPE), HEAD)
    with pytest.raises(ScanError, match="is empty on the grid of its T1w"):
        load(path, mask, grid="world")
    with pytest.raises(ScanError, match="mask_grid is 'T2w'"):
        load(path, mask, grid="T2w")
    row = {"t1w": str(path), "masks": (), "mask_grid": np.nan}
    assert atlas.load_scan(row).mask is None


@pytest.mark.skipif(not ARC.exists(), reason=f"no real scans at {ARC}")
def test_a_real_mask_of_arc_keeps_volume_and_place(tmp_path):
    drawn = nibabel.load(ARC / "M2307_lesion.nii.gz")
    mask = np.asarray(drawn.dataobj) > 0
    shape = (160, 200, 200)
    middle = nibabel.affines.apply_affine(drawn.affine, (np.array(mask.shape) - 1) / 2)
    affine = releases.turned(shape, (1, 1, 1), (0.05, -0.1, 0.02), middle)
    path = releases.save(
        tmp_path / "t1.nii", np.arange(np.prod(shape)).reshape(shape) % 200, affine
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan = load(path, ARC / "M2307_lesion.nii.gz", grid="world")
    ml = mask.sum() * anatomy.voxel_ml(drawn.affine)
    assert abs(scan.mask.sum() * anatomy.voxel_ml(scan.affine) / ml - 1) < 0.01
    centres = [
        nibabel.affines.apply_affine(affine, np.argwhere(each).mean(0))
        for each, affine in ((mask, drawn.affine), (scan.mask, scan.affine))
    ]
    assert np.linalg.norm(centres[0] - centres[1]) < 0.5
    assert io_orientation(scan.affine)[:, 1].tolist() == [1, 1, 1]
