"""What is written is safe: no input is lost, nothing copied that names anybody, refused in time."""

import os

import nibabel
import numpy as np
import pandas as pd
import pytest

from kenseg_utils import anatomy, atlas, evaluation, metrics, prediction, slices

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


def as_itself(path):
    return path


def as_a_link(path):
    link = path.with_name("linked.nii.gz")
    link.symlink_to(path)
    return link


def as_a_hard_link(path):
    link = path.with_name("hard.nii.gz")
    os.link(path, link)
    return link


def spelled_otherwise(path):
    (path.parent / "sub").mkdir()
    return path.parent / "sub" / ".." / path.name


@pytest.mark.parametrize("spelling", [as_itself, as_a_link, as_a_hard_link, spelled_otherwise])
def test_a_scan_is_never_overwritten(scan_file, spelling):
    before, target = scan_file.read_bytes(), spelling(scan_file)
    with pytest.raises(ValueError, match="is an input of what would be written"):
        prediction.segment_file(Never(), scan_file, target)
    scan = atlas.load_image(scan_file)
    with pytest.raises(ValueError, match="is an input of what would be written"):
        atlas.save_mask(scan, np.zeros(scan.image.shape, np.uint8), target)
    assert scan_file.read_bytes() == before and target.read_bytes() == before


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


REFUSED = [
    (dict(threshold=0), "threshold is 0"),
    (dict(threshold=50), "threshold is 50"),
    (dict(threshold=float("nan")), "threshold is nan"),
    (dict(least_ml=-1), "least_ml is -1"),
    (dict(batch_size=0), "batch_size is 0"),
]


@pytest.mark.parametrize(("options", "told"), REFUSED)
def test_a_request_is_checked_before_any_work(scan_file, tmp_path, options, told):
    with pytest.raises(ValueError, match=told):
        prediction.segment_file(Never(), scan_file, tmp_path / "mask.nii.gz", **options)
    with pytest.raises(ValueError, match=told):
        prediction.segment_volume(Never(), np.zeros((8, 8, 8)), np.eye(4), **options)


@pytest.mark.parametrize("name", ["mask.png", "mask", "mask.nii.gz.txt"])
def test_a_targets_name_is_checked_before_any_work(scan_file, tmp_path, name):
    with pytest.raises(ValueError, match=r"must end in"):
        prediction.segment_file(Never(), scan_file, tmp_path / name)
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        prediction.segment_file(Never(), scan_file, tmp_path / "folder.nii")


def test_where_scores_go_is_checked_before_any_work(scan_file):
    scans = pd.DataFrame(dict(t1w=[scan_file], masks=[(scan_file,)], subject="a"))
    with pytest.raises(ValueError, match=r"must end in"):
        evaluation.evaluate(Never(), scans, save_as="scores.txt")
    with pytest.raises(ValueError, match="threshold is 2"):
        evaluation.evaluate(Never(), scans, threshold=2)


class Answers(Never):
    def __init__(self, answer, classes=2):
        self.answer, self.output_shape = answer, (None, 32, 32, classes)

    def predict_on_batch(self, batch):
        return self.answer(batch)


def two(values):
    return lambda batch: np.full((*batch.shape[:3], 2), values, np.float32)


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (Answers(two(0.5), classes=3), "one class or two"),
        (Answers(two((-4.0, 7.0))), "end it with a softmax"),
        (Answers(two(float("nan"))), "answered with NaN"),
        (Answers(lambda batch: batch[..., 0]), "answered with shape"),
    ],
    ids=["three classes", "logits", "NaN", "no classes"],
)
def test_what_is_no_probability_of_a_lesion_is_refused(monkeypatch, network, told):
    monkeypatch.setattr(prediction._volumes, "at_shape", lambda model, frame: model)
    volume = np.pad(np.ones((20, 20, 20), np.float32), 6)
    with pytest.raises(ValueError, match=told):
        prediction.segment_volume(network, volume, np.eye(4))


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
            dice=[0.5, np.nan],
        )
    )
    again = evaluation.open_table(evaluation.save_table(table, tmp_path / "scores.csv"))
    pd.testing.assert_frame_equal(again, table)
