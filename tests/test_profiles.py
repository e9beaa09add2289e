"""Profiles: the same code in three sizes."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import write_release

from kenseg_utils import atlas, phantom, profiles, slices


def test_an_unknown_profile_is_answered_with_the_names():
    with pytest.raises(ValueError, match="smoke, demo, paper"):
        profiles.get("full")


def test_the_phantom_is_written_once_and_looks_like_atlas(smoke_scans, work_dir, monkeypatch):
    assert len(smoke_scans) == profiles.get("smoke").subjects
    assert set(smoke_scans.release) == {"R2.0"}
    monkeypatch.setattr(phantom, "make_release", lambda *_: pytest.fail("written again"))
    again = profiles.open_scans(profiles.get("smoke"), work_dir=work_dir)
    assert again.t1w.tolist() == smoke_scans.t1w.tolist()


def test_a_shorter_phantom_is_the_first_subjects_of_a_longer_one(
    smoke_scans, work_dir, monkeypatch
):
    monkeypatch.setattr(phantom, "make_release", lambda *_: pytest.fail("written again"))
    shorter = profiles.smaller(profiles.get("smoke"), subjects=4)
    found = profiles.open_scans(shorter, work_dir=work_dir)
    assert set(found.subject) == {phantom.subject_name(index) for index in range(4)}
    assert set(found.t1w) < set(smoke_scans.t1w)
    with pytest.raises(pytest.fail.Exception, match="written again"):  # another seed's are others
        profiles.open_scans(shorter, work_dir=work_dir, seed=1)


def test_of_a_real_release_as_many_scans_as_the_profile_takes(smoke_scans):
    root = smoke_scans.t1w[0].split("ATLAS_2")[0]
    three = profiles.smaller(profiles.get("smoke"), scans=3)
    first, second = (profiles.open_scans(three, root, seed=7) for _ in range(2))
    assert len(first) == 3 and first.t1w.tolist() == second.t1w.tolist()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(atlas.ScanError, match="nowhere"):
        profiles.open_scans(profiles.get("smoke"), tmp_path / "nowhere")


def test_crops_are_apart_by_subject_and_a_fifth_is_kept_for_the_test(smoke_crops):
    subjects = [set(part.index.subject) for part in smoke_crops]
    assert not set.intersection(*subjects) and all(subjects)
    assert sum(map(len, subjects)) == profiles.get("smoke").subjects


@pytest.fixture
def release_with_two_bad(tmp_path):
    """Five scans: the mask of the second marks nothing, the T1w of the fourth breaks off."""
    scans = write_release(tmp_path / "data", 5, (24, 24, 8), lambda number: np.s_[4:9, 5:9, 2:4])
    mask = scans["masks"][1][0]
    whole = nib.load(mask)
    nib.save(nib.Nifti1Image(np.zeros(whole.shape, np.uint8), whole.affine), mask)
    broken = Path(scans.t1w[3])
    broken.write_bytes(broken.read_bytes()[:-200])
    return tmp_path / "data"


def test_scans_that_cannot_be_used_are_left_out_by_name(release_with_two_bad, tmp_path):
    everything = profiles.smaller(profiles.get("smoke"), scans=None)
    with pytest.warns(UserWarning, match="2 of 5 scans left out") as warned:
        scans = profiles.open_scans(everything, release_with_two_bad, tmp_path / "work")
    told = " ".join(scans.attrs["problems"])
    assert told == str(warned[0].message)
    assert "sub-r001s001" in told and "is empty" in told and "sub-r001s003" in told
    assert scans.subject.tolist() == ["sub-r001s000", "sub-r001s002", "sub-r001s004"]
    assert scans.index.tolist() == [0, 1, 2] and scans.attrs["seen"].releases
    for row in scans.to_dict("records"):
        atlas.load_scan(row)


def test_what_was_seen_of_scans_is_kept(release_with_two_bad, tmp_path, monkeypatch):
    found = atlas.find_scans(release_with_two_bad)
    kept, report = slices.usable(found, tmp_path / "work", workers=1)
    assert report.subject.tolist() == ["sub-r001s001", "sub-r001s003"]
    load, read = atlas.load_scan, []
    monkeypatch.setattr(atlas, "load_scan", lambda row: read.append(row["subject"]) or load(row))
    again, told = slices.usable(found, tmp_path / "work", workers=1)
    assert read == report.subject.tolist()  # no good one
    pd.testing.assert_frame_equal(again, kept)
    pd.testing.assert_frame_equal(told, report)
    # Elsewhere the same files are the same scans, and messages name where they lie.
    moved = release_with_two_bad.rename(release_with_two_bad.with_name("moved"))
    read.clear()
    _, told = slices.usable(atlas.find_scans(moved), tmp_path / "work", workers=1)
    assert read == report.subject.tolist()
    assert all(str(moved) in problem for problem in told.problem)


def test_others_are_drawn_for_scans_that_cannot_be_used(release_with_two_bad, tmp_path):
    three = profiles.smaller(profiles.get("smoke"), scans=3)
    for seed in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            scans = profiles.open_scans(three, release_with_two_bad, tmp_path / "work", seed)
        assert len(scans) == 3 and scans.subject.is_monotonic_increasing


def test_few_scans_are_of_many_subjects(tmp_path):
    """Of four subjects with three sessions each, four scans are one of each, and two more more."""
    scans = write_release(tmp_path / "data", 4, (24, 24, 8), lambda number: np.s_[4:9, 5:9, 2:4])
    for first in (Path(path) for path in scans.t1w.tolist() + scans.masks.map(min).tolist()):
        for session in ("ses-2", "ses-3"):
            copy = Path(str(first).replace("ses-1", session))
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(first.read_bytes())
    for seed in range(3):
        drawn = {
            count: profiles.open_scans(
                profiles.smaller(profiles.get("smoke"), scans=count),
                tmp_path / "data",
                tmp_path / "work",
                seed,
            )
            for count in (4, 6)
        }
        assert drawn[4].subject.nunique() == 4 and drawn[6].subject.nunique() == 4
        assert drawn[6].t1w.is_unique and set(drawn[4].t1w) < set(drawn[6].t1w)


def test_a_scan_that_is_stored_in_two_spaces_counts_once(tmp_path):
    """As ATLAS has them: native beside standard space, which is taken where it is there."""
    standard = tmp_path / "data/Preprocessed"
    scans = write_release(standard, 3, (24, 24, 8), lambda number: np.s_[4:9, 5:9, 2:4])
    for row in scans[:2].itertuples():
        for file in (row.t1w, *row.masks):
            native = Path(file.replace("Preprocessed", "Raw").replace("MNI152NLin2009aSym", "orig"))
            native.parent.mkdir(parents=True, exist_ok=True)
            native.write_bytes(Path(file).read_bytes())
    Path(scans.masks[0][0]).unlink()  # of the first only the native one can be learned from
    with pytest.warns(
        UserWarning, match="1 of 4 scans left out, .* the first of MNI152NLin2009aSym, orig"
    ) as told:
        found = profiles.open_scans(profiles.get("demo"), tmp_path / "data", tmp_path / "work")
    spaces = dict(zip(found.subject, found.space))
    standard, native = "MNI152NLin2009aSym", "orig"
    assert spaces == {"sub-r001s000": native, "sub-r001s001": standard, "sub-r001s002": standard}
    assert found.index.tolist() == [0, 1, 2]
    assert any("in another space" in problem for problem in found.attrs["problems"]) and told
    everything = profiles.open_scans(profiles.get("demo"), tmp_path / "data/Raw", tmp_path / "work")
    assert set(everything.space) == {"orig"} and len(everything) == 2


def test_spm_s_standard_space_is_taken_before_the_scan_s_own(tmp_path):
    for row in write_release(
        tmp_path / "b", 2, (24, 24, 8), lambda _: np.s_[4:9, 5:9, 2:4]
    ).itertuples():
        for path, name in ((row.t1w, "T1"), (row.masks[0], "LESION")):
            for letter in ("", "w"):
                file = tmp_path / "data" / row.subject / f"{letter}{name}.nii.gz"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(Path(path).read_bytes())
    with pytest.warns(UserWarning, match="2 of 4 scans left out, .* the first of standard, orig"):
        found = profiles.open_scans(profiles.get("demo"), tmp_path / "data", tmp_path / "work")
    assert [Path(path).name for path in found.t1w] == ["wT1.nii.gz"] * 2


def test_where_no_scan_can_be_used_the_first_is_told(tmp_path):
    scans = write_release(tmp_path / "data", 3, (24, 24, 8), lambda number: np.s_[:0])
    with pytest.raises(atlas.ScanError, match="None of the 3 scans could be used.*s000.*is empty"):
        profiles.open_scans(profiles.get("smoke"), tmp_path / "data", tmp_path / "work")
    assert len(scans) == 3
