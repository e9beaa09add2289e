"""Profiles: the same code in three sizes."""

import pytest

from kenseg_utils import atlas, phantom, profiles


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
