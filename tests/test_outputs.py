"""What is written is safe: no input is lost, nothing copied that names anybody, refused in time."""

import os

import nibabel
import numpy as np
import pandas as pd
import pytest

from kenseg_utils import anatomy, atlas, evaluation, metrics, slices

AFFINE = np.diag([-1.0, 1, 2, 1])


@pytest.fixture
def scan_file(tmp_path):
    """A small T1w whose header says more than a mask should repeat."""
    image = nibabel.Nifti1Image(np.random.default_rng(0).random((24, 26, 20), np.float32), AFFINE)
    image.set_sform(AFFINE, code=1)
    image.set_qform(AFFINE, code=1)
    image.header["descrip"] = b"Doe^John 1950"
    image.header["aux_file"] = b"/home/doe"
    image.header["db_name"] = b"clinic"
    image.header["intent_name"] = b"T1 of Doe"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"John Doe"))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


class Never:
    """A network that must not be asked."""

    input_shape = (None, 32, 32, 1)
    output_shape = (None, 32, 32, 2)

    def predict_on_batch(self, batch):
        pytest.fail("work was done before the request was checked")


def test_an_older_mask_may_be_replaced(scan_file, tmp_path):
    scan = atlas.load_image(scan_file)
    for value in (0, 1):
        mask = np.full(scan.image.shape, value, np.uint8)
        written = atlas.save_mask(scan, mask, tmp_path / "mask.nii.gz")
        assert np.asarray(nibabel.load(written).dataobj).max() == value


def test_a_mask_repeats_nothing_that_names_anybody(scan_file, tmp_path):
    scan = atlas.load_image(scan_file)
    mask = np.zeros(scan.image.shape, np.uint8)
    mask[3:6, 4, 5] = 1
    written = nibabel.load(atlas.save_mask(scan, mask, tmp_path / "mask.nii"))
    content = (tmp_path / "mask.nii").read_bytes()
    for word in (b"Doe", b"John", b"clinic", b"home"):
        assert word not in content
    original = nibabel.load(scan_file)
    assert np.array_equal(written.affine, original.affine)
    for name in ("sform_code", "qform_code", "pixdim"):
        one, other = (np.atleast_1d(image.header[name])[:4] for image in (written, original))
        assert np.array_equal(one, other)
    assert written.header.get_xyzt_units()[0] == "mm"
    assert np.asarray(written.dataobj).sum() == 3


def test_where_scores_go_is_checked_before_any_work(scan_file):
    scans = pd.DataFrame(dict(t1w=[scan_file], masks=[(scan_file,)], subject="a"))
    with pytest.raises(ValueError, match=r"must end in"):
        evaluation.evaluate(Never(), scans, save_as="scores.txt")
    with pytest.raises(ValueError, match="threshold is 2"):
        evaluation.evaluate(Never(), scans, threshold=2)


def test_a_sheared_voxels_volume_is_the_same_everywhere(tmp_path):
    shear = np.eye(4)
    shear[0, 1] = np.tan(np.deg2rad(25))
    truth = np.zeros((10, 10, 10), np.uint8)
    truth[2:6, 2:6, 2:6] = 1
    scores = metrics.lesion_scores(
        truth, truth, anatomy.spacing(shear), voxel_ml=anatomy.voxel_ml(shear)
    )
    assert scores["truth_volume_ml"] == pytest.approx(64 / 1000)
    assert metrics.lesion_scores(truth, truth, anatomy.spacing(shear))["truth_volume_ml"] > 0.07


@pytest.mark.parametrize("speckled", [False, True])
def test_distances_on_a_sheared_grid_are_those_in_space(speckled):
    """A gantry's tilt of 25 degrees: what one axis leads to is not measured along it."""
    sheared = np.diag([1.0, 1, 1, 1])
    sheared[1, 2] = np.tan(np.deg2rad(25))
    sheared[:3, 3] = 5, 6, 7
    rng = np.random.default_rng(0)
    truth = rng.random((12, 14, 10)) < 0.5 if speckled else np.zeros((12, 14, 10), bool)
    truth[3:7, 4:8, 2:6] = True
    found = np.roll(truth, (1, 2), axis=(0, 2)) & (rng.random(truth.shape) < 0.8)
    one, other = metrics.surface_distances(truth, found, anatomy.spacing(sheared), sheared)
    places = [
        nibabel.affines.apply_affine(sheared, np.argwhere(metrics._lesions.mask_surface(mask)))
        for mask in metrics._lesions.joint_crop(truth, found)
    ]
    apart = np.linalg.norm(places[0][:, None] - places[1][None], axis=2)
    np.testing.assert_allclose(one, apart.min(1), atol=1e-9)
    np.testing.assert_allclose(other, apart.min(0), atol=1e-9)
    told = metrics.lesion_scores(truth, found, anatomy.spacing(sheared), affine=sheared)
    assert told["assd_mm"] == pytest.approx(np.concatenate([apart.min(1), apart.min(0)]).mean())
    by_sizes = metrics.lesion_scores(truth, found, anatomy.spacing(sheared))
    assert by_sizes["assd_mm"] != pytest.approx(told["assd_mm"], rel=1e-3)
    with pytest.raises(ValueError, match="give one of 4 by 4"):
        metrics.surface_scores(truth, found, (1, 1, 1), affine=np.eye(3))


def test_distances_at_right_angles_are_as_they_were_without_an_affine():
    turned = np.eye(4)
    turned[:3, :3] = [[0, -2, 0], [1.5, 0, 0], [0, 0, 3]]
    truth = np.zeros((9, 9, 9), bool)
    truth[2:5, 2:6, 3:7] = True
    found, spacing = np.roll(truth, 2, axis=1), anatomy.spacing(turned)
    assert metrics.surface_scores(truth, found, spacing, affine=turned) == metrics.surface_scores(
        truth, found, spacing
    )


@pytest.mark.parametrize("spacing", [(6.5, 1.0, 1.0), (1.0, 1.0, 5.0), (0.5, 1.5, 2.0)])
def test_slices_know_their_volume_however_they_were_resampled(tmp_path, spacing):
    """Half of the truth was lost where pixels are no squares."""
    shape = tuple(int(round(96 / mm)) for mm in spacing)
    places = np.indices(shape) * np.reshape(spacing, (3, 1, 1, 1)) - 48
    head = (places**2).sum(0) < 44**2
    lesion = ((places - [[[[10]]], [[[5]]], [[[0]]]]) ** 2).sum(0) < 20**2
    image = np.where(lesion, 40, np.where(head, 100.0, 0)).astype(np.float32)
    affine = np.diag([*spacing, 1.0])
    for name, array in (("t1w", image), ("mask", lesion.astype(np.uint8))):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    scans = pd.DataFrame(
        dict(
            t1w=[str(tmp_path / "t1w.nii.gz")],
            masks=[(str(tmp_path / "mask.nii.gz"),)],
            subject="a",
            session="1",
            site="x",
            release="",
        )
    )
    made = slices.prepare(scans, protocol="whole_slice", pixel_mm=1.0, work_dir=tmp_path / "work")
    scores = evaluation.evaluate_slices(lambda images: images[..., 0] * 0, made)
    true_ml = lesion.sum() * np.prod(spacing) / 1000
    assert scores.subjects.truth_volume_ml[0] == pytest.approx(true_ml, rel=0.05)


def test_names_survive_a_table_on_disk(tmp_path):
    """A folder's name need not be UTF-8, and a site may be called NA."""
    odd = os.fsdecode(b"sub-\xe9ric")
    table = pd.DataFrame(
        dict(
            subject=[odd, "b"],
            session=["1", ""],
            site=["NA", "nan"],
            error=["", "null"],
            level=["95 %", ""],
            note=["", "1"],
            scan=["007", "NA"],
            dice=[0.5, np.nan],
        )
    )
    again = evaluation.open_table(evaluation.save_table(table, tmp_path / "scores.csv"))
    pd.testing.assert_frame_equal(again, table)
