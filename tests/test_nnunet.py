"""Scans as nnU-Net's raw data set: names, geometry, folds by group, nothing half-written."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import write_release

from kenseg_utils import atlas


@pytest.fixture
def scans(tmp_path):
    return write_release(
        tmp_path / "release", 6, (20, 24, 16), lambda number: np.s_[4:9, 5:11, 3:8]
    )


def test_images_and_masks_lie_on_one_grid_under_nnunets_names(scans, tmp_path):
    folder = atlas.write_nnunet(scans, tmp_path / "raw", folds=3, progress=False)
    assert folder.name == "Dataset501_Strokes"
    described = json.loads((folder / "dataset.json").read_text())
    assert described["numTraining"] == 6 and described["file_ending"] == ".nii.gz"
    assert described["labels"] == {"background": 0, "lesion": 1}
    images = sorted((folder / "imagesTr").iterdir())
    masks = sorted((folder / "labelsTr").iterdir())
    assert [image.name for image in images] == [
        mask.name.replace(".nii.gz", "_0000.nii.gz") for mask in masks
    ]
    for image, mask, row in zip(images, masks, scans.to_dict("records"), strict=True):
        image, mask, scan = nibabel.load(image), nibabel.load(mask), atlas.load_scan(row)
        assert np.allclose(image.affine, mask.affine) and np.allclose(image.affine, scan.affine)
        assert np.array_equal(np.asanyarray(mask.dataobj), scan.mask)
        assert np.allclose(image.get_fdata(), scan.image)


def test_folds_keep_groups_together_and_cover_all(scans, tmp_path):
    twice = scans.assign(subject=["a", "a", "b", "b", "c", "c"], session=["1", "2"] * 3)
    folder = atlas.write_nnunet(twice, tmp_path / "raw", folds=3, progress=False)
    splits = json.loads((folder / "splits_final.json").read_text())
    held_out = sorted(case for part in splits for case in part["val"])
    assert held_out == ["a-1", "a-2", "b-1", "b-2", "c-1", "c-2"]
    for part in splits:
        assert not {c[0] for c in part["train"]} & {c[0] for c in part["val"]}


def test_a_scan_that_cannot_be_read_is_left_out_and_named(scans, tmp_path):
    Path(scans.t1w[0]).write_bytes(b"no image")
    folder = atlas.write_nnunet(scans, tmp_path / "raw", folds=2, progress=False)
    assert len(list((folder / "imagesTr").iterdir())) == 5
    assert scans.subject[0] in (folder / "left_out.csv").read_text()


def test_what_nnunet_could_not_use_is_refused_before_any_work(scans, tmp_path):
    with pytest.raises(ValueError, match="no name of an nnU-Net data set"):
        atlas.write_nnunet(scans, tmp_path / "raw", name="my strokes")
    with pytest.raises(ValueError, match="9 folds of 6 subjects"):
        atlas.write_nnunet(scans, tmp_path / "raw", folds=9)
    assert not (tmp_path / "raw").exists()
    atlas.write_nnunet(scans, tmp_path / "raw", folds=2, progress=False)
    with pytest.raises(ValueError, match="is there already"):
        atlas.write_nnunet(scans, tmp_path / "raw", folds=2)
    for row in scans.itertuples():
        Path(row.t1w).write_bytes(b"no image")
    with pytest.raises(atlas.ScanError, match="None of 6 scans"):
        atlas.write_nnunet(scans, tmp_path / "other", folds=2, progress=False)
    assert not [path for path in (tmp_path / "other").iterdir() if path.is_dir()]
