"""Every ATLAS release is found and loaded; whatever is wrong is said in one clear ScanError."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import os
import pickle
import tarfile
import tracemalloc
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import releases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from kenseg_utils import atlas
from kenseg_utils.atlas import ScanError
from kenseg_utils.atlas import _nifti as nifti

T1W = "sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz"
MASK = "sub-r001s001_ses-1_label-L_desc-T1lesion_mask.nii.gz"


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A folder with every release in it."""
    root = tmp_path_factory.mktemp("everything")
    for maker in (
        releases.r11,
        releases.r12,
        releases.r20,
        releases.r21_raw,
        releases.r30_raw,
        releases.r30_preprocessed,
    ):
        maker(root)
    return root


@pytest.fixture
def t1w(tmp_path):
    """One T1w with its mask beside it, for tests that break one of the two."""
    return releases.bids(tmp_path / "ATLAS_2" / "Training" / "R001", "r001s001")


@pytest.fixture
def mask(t1w):
    return next(t1w.parent.glob("*_mask.nii.gz"))


def row_of(t1w, *masks) -> dict:
    return {
        "subject": "sub-r001s001",
        "session": "ses-1",
        "t1w": str(t1w),
        "masks": tuple(str(mask) for mask in masks),
    }


# --- finding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "maker, release, expected",
    [
        (
            releases.r11,
            "R1.1",
            [
                ("031768", "t01", "Site1", 1),
                ("031768", "t02", "Site1", 1),
                ("031844", "t01", "Site2", 2),
            ],
        ),
        (
            releases.r12,
            "R1.2",
            [
                ("c0003s0002", "t01", "c0003", 1),
                ("c0003s0002", "t02", "c0003", 1),
                ("c0005s0011", "t01", "c0005", 1),
            ],
        ),
        (
            releases.r20,
            "R2.0",
            [
                ("sub-r001s001", "ses-1", "R001", 1),
                ("sub-r001s001", "ses-2", "R001", 1),
                ("sub-r002s007", "ses-1", "R002", 0),
                ("sub-r039s004", "ses-1", "R039", 1),
            ],
        ),
        (
            releases.r21_raw,
            "R2.1",
            [("sub-r001s001", "ses-1", "R001", 1), ("sub-r009s020", "ses-1", "R009", 1)],
        ),
        (
            releases.r21_bids,
            "R2.1",
            [
                ("sub-r001s001", "ses-1", "R001", 1),
                ("sub-r001s001", "ses-2", "R001", 1),
                ("sub-r009s020", "ses-1", "R009", 1),
            ],
        ),
        (
            releases.r30_raw,
            "R3.0",
            [
                ("sub-r001s001", "ses-1", "R001", 1),
                ("sub-soop0011", "ses-1", "SOOP", 1),
                ("sub-soop0910", "ses-1", "SOOP", 1),
            ],
        ),
        (
            releases.r30_preprocessed,
            "R3.0",
            [("sub-r001s001", "ses-1", "R001", 1), ("sub-soop0910", "ses-1", "SOOP", 1)],
        ),
    ],
)
def test_every_release_is_recognised_from_its_folder_and_from_above(
    tmp_path, maker, release, expected
):
    folder = maker(tmp_path / "deep")
    for root in (folder, tmp_path):
        scans = atlas.find_scans(root)
        assert set(scans["release"]) == {release}
        assert [
            (scan.subject, scan.session, scan.site, len(scan.masks)) for scan in scans.itertuples()
        ] == expected
        assert scans.attrs["problems"] == ()
    for row in scans.itertuples():
        scan = atlas.load_scan(row)
        assert scan.image.dtype == np.float32 and scan.image.shape == releases.SHAPE
        assert (scan.mask is None) == (row.masks == ())
        assert_allclose(scan.affine, releases.RAS)
        assert (scan.subject, scan.session) == (row.subject, row.session)


def test_all_releases_below_one_folder_stay_apart(trees):
    scans = atlas.find_scans(trees)
    assert scans["release"].value_counts().to_dict() == {
        "R1.1": 3,
        "R1.2": 3,
        "R2.0": 4,
        "R2.1": 2,
        "R3.0": 5,
    }
    pd.testing.assert_frame_equal(scans, atlas.find_scans(str(trees)))
    keys = scans[["release", "subject", "session", "space"]].apply(tuple, axis=1)
    assert keys.is_monotonic_increasing


@pytest.mark.parametrize(
    "below",
    [
        "Training",
        "Training/R039",
        "Training/R039/sub-r039s004",
        "Training/R039/sub-r039s004/ses-1/anat",
    ],
)
def test_a_part_of_a_release_keeps_its_names(tmp_path, below):
    scans = atlas.find_scans(releases.r20(tmp_path) / below)
    last = scans.iloc[-1]
    assert tuple(last[["subject", "session", "site", "release", "split"]]) == (
        "sub-r039s004",
        "ses-1",
        "R039",
        "R2.0",
        "training",
    )


def test_a_relative_folder_and_a_linked_subject_are_followed(tmp_path, monkeypatch):
    release = releases.r20(tmp_path / "elsewhere")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "Training").symlink_to(release / "Training")
    (release / "Training" / "loop").symlink_to(release)
    monkeypatch.chdir(tmp_path)
    scans = atlas.find_scans("here")
    assert len(scans) == 4  # the loop leads to the testing scan as well, and ends
    assert all(os.path.isabs(path) for path in scans["t1w"])


def test_metadata_of_each_release_is_joined(tmp_path):
    def column(maker, name):
        scans = atlas.find_scans(maker(tmp_path / maker.__name__))
        return dict(zip(zip(scans["subject"], scans["session"]), scans[name]))

    assert column(releases.r11, "Primary Stroke Location") == {
        ("031768", "t01"): "Left MCA",
        ("031768", "t02"): "Left PCA",
        ("031844", "t01"): "Right MCA",
    }
    cortical = column(releases.r20, "Lesioned Left Hemisphere Cortical")
    assert cortical["sub-r001s001", "ses-1"] == cortical["sub-r001s001", "ses-2"] == 2
    assert np.isnan(cortical["sub-r002s007", "ses-1"])
    assert column(releases.r21_raw, "DAYS_POST_STROKE")["sub-r009s020", "ses-1"] == 182.5
    ages = column(releases.r21_bids, "age")
    assert ages["sub-r001s001", "ses-2"] == 61 and np.isnan(ages["sub-r009s020", "ses-1"])
    days = column(releases.r30_raw, "DAYS_POST_STROKE")
    assert days["sub-soop0011", "ses-1"] == 3 and np.isnan(days["sub-soop0910", "ses-1"])


def test_a_table_row_of_another_session_is_not_borrowed(tmp_path):
    release = releases.r20(tmp_path)
    (release / "participants.tsv").write_text(
        "participant_id\tsession_id\tmotor\nsub-r001s001\tses-2\t14\nsub-r039s004\tses-1\t60\n"
    )
    motor = atlas.find_scans(release).set_index(["subject", "session"])["motor"]
    assert motor["sub-r001s001", "ses-2"] == 14
    assert np.isnan(motor["sub-r001s001", "ses-1"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"participant_id\n\x00\n",
        b"a\tb\n1",
        b'participant_id\tage\n"sub-r001s001\t3\n',
    ],
)
def test_tables_that_cannot_be_matched_are_ignored(tmp_path, content):
    release = releases.r21_bids(tmp_path)
    (release / "participants.tsv").write_bytes(content)
    scans = atlas.find_scans(release)
    assert len(scans) == 3 and "age" not in scans


def test_a_table_that_names_few_of_the_subjects_is_another_study_s(tmp_path):
    release = releases.r20(tmp_path)
    (release / "atlas_of_others.csv").write_text("name,shoe\nr001s001,41\nr900s001,42\n")
    assert "shoe" not in atlas.find_scans(release)


def test_unrelated_files_by_the_thousand_do_no_harm(tmp_path):
    for number in range(10_000):
        (tmp_path / f"atlas_meta_{number}.csv").touch()
    with pytest.raises(ScanError, match="does not look like an ATLAS release: it holds 10,000"):
        atlas.find_scans(tmp_path)
    releases.r20(tmp_path)
    assert len(atlas.find_scans(tmp_path)) == 4


def test_other_bids_data_are_not_taken_for_atlas(tmp_path):
    for name in ("sub-01_T1w.nii.gz", "sub-01_desc-brain_mask.nii.gz", "sub-01_bold.nii.gz"):
        releases.write(tmp_path / "sub-01" / "anat" / name, releases.image())
    scans = atlas.find_scans(tmp_path)
    assert scans["release"].tolist() == ["BIDS"] and scans["masks"].tolist() == [()]
    (tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz").unlink()
    with pytest.raises(ScanError, match="does not look like an ATLAS release"):
        atlas.find_scans(tmp_path)


# --- loading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [releases.RAS, releases.LAS])
@pytest.mark.parametrize(
    "dtype, slope",
    [(np.uint8, 1), (np.int16, 0.25), (">i2", 1), (np.float32, 1), (np.float64, 1), (np.uint16, 2)],
)
def test_any_storage_gives_the_same_ras_image(tmp_path, affine, dtype, slope):
    values = np.round(releases.image() / 4) * 4
    path = releases.write(tmp_path / "x.nii.gz", values, affine, dtype, slope)
    scan = atlas.load_image(path)
    assert scan.image.dtype == np.float32 and scan.mask is None
    assert_array_equal(scan.image, values)
    assert_allclose(scan.affine, releases.RAS)
    assert_allclose(scan.original_affine, affine)
    assert scan.spacing == (1.0, 1.0, 1.0)
    assert scan.image[:, :, 3].flags.f_contiguous


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_scaled_values_agree_with_nibabel(tmp_path, dtype):
    limit = 2e9 if np.dtype(dtype).itemsize == 4 else np.iinfo(dtype).max
    stored = np.random.default_rng(0).uniform(0, limit, releases.SHAPE).astype(dtype)
    image = nibabel.Nifti1Image(stored, releases.RAS)
    image.header.set_slope_inter(0.0037, -12.3)
    nibabel.save(image, tmp_path / "x.nii.gz")
    expected = nibabel.load(tmp_path / "x.nii.gz").get_fdata()
    assert_allclose(atlas.load_image(tmp_path / "x.nii.gz").image, expected, rtol=3e-7, atol=1e-5)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "ASL", "IRP"])
def test_any_orientation_agrees_with_nibabel(tmp_path, axes):
    orientation = nibabel.orientations.axcodes2ornt(axes)
    affine = np.diag([0.9, 1.1, 2.0, 1.0])
    affine[:3, :3] = affine[:3, :3] @ nibabel.eulerangles.euler2mat(0.1, 0.2, 0.05)
    image = nibabel.Nifti1Image(releases.image().astype(np.float32), affine)
    turned = image.as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), orientation)
    )
    nibabel.save(turned, tmp_path / "x.nii")
    scan = atlas.load_image(tmp_path / "x.nii")
    expected = nibabel.as_closest_canonical(nibabel.load(tmp_path / "x.nii"))
    assert_array_equal(scan.image, expected.get_fdata(dtype=np.float32))
    assert_allclose(scan.affine, expected.affine)
    assert_allclose(scan.spacing, expected.header.get_zooms(), rtol=1e-6)
    assert_array_equal(atlas.to_original_grid(scan, scan.image), turned.get_fdata())


@pytest.mark.parametrize(
    "stored",
    [
        lambda lesion: lesion.astype(np.uint8),
        lambda lesion: (lesion * 255).astype(np.uint8),
        lambda lesion: lesion * 0.99999998,
        lambda lesion: lesion.astype(np.float32),
        lambda lesion: lesion.astype(np.int16),
        lambda lesion: lesion.astype(">i2"),
        lambda lesion: lesion.astype(np.uint16) * 255,
    ],
)
def test_masks_are_binarised_however_they_store_one(t1w, mask, stored):
    values = stored(releases.lesion())
    nibabel.save(nibabel.Nifti1Image(values, releases.RAS), mask)
    scan = atlas.load_scan(row_of(t1w, mask))
    assert scan.mask.dtype == np.uint8
    assert_array_equal(scan.mask, releases.lesion())


def test_several_masks_are_merged(tmp_path):
    scans = atlas.find_scans(releases.r11(tmp_path))
    scan = atlas.load_scan(scans.iloc[-1])
    expected = releases.lesion()
    expected[9, 10, 2:4] = 1
    assert_array_equal(scan.mask, expected)


def test_t1w_and_mask_may_be_stored_in_different_orientations(t1w, mask):
    releases.write(mask, releases.lesion(), releases.LAS, np.uint8)
    assert_array_equal(atlas.load_scan(row_of(t1w, mask)).mask, releases.lesion())


def test_rows_may_be_series_tuples_or_dicts(tmp_path):
    scans = atlas.find_scans(releases.r20(tmp_path))
    loaded = [
        atlas.load_scan(row)
        for row in (scans.iloc[0], scans.iloc[0].to_dict(), next(scans.itertuples()))
    ]
    loaded.append(pickle.loads(pickle.dumps(loaded[0])))  # the way to a worker process
    for scan in loaded:
        assert_array_equal(scan.mask, loaded[0].mask)


@pytest.mark.parametrize("row", [{}, {"t1w": float("nan")}, {"t1w": "x", "masks": "('a', 'b')"}])
def test_a_row_that_is_none_is_refused(row):
    with pytest.raises(ScanError, match="Take rows from atlas.find_scans"):
        atlas.load_scan(row)


def test_trailing_axes_of_length_one_are_dropped(tmp_path):
    nibabel.save(
        nibabel.Nifti1Image(releases.image()[..., None, None], releases.RAS), tmp_path / "x.nii.gz"
    )
    assert atlas.load_image(tmp_path / "x.nii.gz").image.shape == releases.SHAPE


def test_nifti2_and_gzip_members_are_read(tmp_path):
    image = nibabel.Nifti2Image(releases.image().astype(np.float32), releases.LAS)
    content = image.to_bytes()
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:]))
    assert_array_equal(atlas.load_image(tmp_path / "x.nii.gz").image, releases.image()[::-1])


def test_the_standard_library_reads_the_same(t1w, mask, monkeypatch):
    quick = atlas.load_scan(row_of(t1w, mask))
    monkeypatch.setattr(nifti, "gzip", gzip)
    plain = atlas.load_scan(row_of(t1w, mask))
    assert_array_equal(plain.image, quick.image)
    assert_array_equal(plain.mask, quick.mask)
    t1w.write_bytes(t1w.read_bytes()[:-200])
    with pytest.raises(ScanError, match="truncated"):
        atlas.load_scan(row_of(t1w, mask))


# --- writing back -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("affine", [releases.RAS, releases.LAS])
def test_a_saved_mask_lies_on_the_voxels_of_its_t1w(tmp_path, affine, suffix):
    path = releases.write(tmp_path / "t1.nii.gz", releases.image(), affine, np.int16, slope=0.5)
    scan = atlas.load_image(path)
    saved = atlas.save_mask(scan, releases.lesion().astype(bool), tmp_path / "out" / f"m{suffix}")
    first = saved.read_bytes()
    assert atlas.save_mask(scan, releases.lesion(), saved).read_bytes() == first
    written, original = nibabel.load(saved), nibabel.load(path)
    assert written.get_data_dtype() == np.uint8
    assert_array_equal(written.affine, original.affine)
    for code in ("sform_code", "qform_code"):
        assert written.header[code] == original.header[code]
    stored = releases.lesion()[::-1] if affine[0, 0] < 0 else releases.lesion()
    assert_array_equal(written.get_fdata(), stored)
    assert_array_equal(atlas.load_scan(row_of(path, saved)).mask, releases.lesion())
    assert [entry.name for entry in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    "kind, endianness, trailing",
    [
        (nibabel.Nifti1Image, "<", True),
        (nibabel.Nifti1Image, ">", False),
        (nibabel.Nifti2Image, "<", False),
    ],
)
def test_a_saved_mask_follows_its_t1w_s_kind_of_nifti(tmp_path, kind, endianness, trailing):
    header = kind.header_class(endianness=endianness)
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a name, say"))
    header.set_data_dtype(np.int16)
    values = releases.image().astype(np.int16)
    values = values[..., None] if trailing else values
    nibabel.save(kind(values, releases.LAS, header), tmp_path / "x.nii.gz")
    scan = atlas.load_image(tmp_path / "x.nii.gz")
    assert_array_equal(scan.image, releases.image()[::-1])
    saved = atlas.save_mask(scan, releases.lesion(), tmp_path / "m.nii.gz")
    written = nibabel.load(saved)
    assert isinstance(written, kind) and written.shape == releases.SHAPE
    assert_array_equal(written.affine, releases.LAS)
    assert not written.header.extensions
    assert_array_equal(atlas.load_scan(row_of(scan.path, saved)).mask, releases.lesion())


def test_what_cannot_be_written_is_refused_and_leaves_nothing(t1w, tmp_path):
    scan = atlas.load_image(t1w)
    for mask, path, message in (
        (releases.lesion()[1:], "m.nii.gz", "undo crops"),
        (releases.lesion() * 2, "m.nii.gz", "other than 0 and 1"),
        (releases.lesion(), "m.png", "must end in"),
    ):
        with pytest.raises(ValueError, match=message):
            atlas.save_mask(scan, mask, tmp_path / "out" / path)
    assert not (tmp_path / "out").exists()


def test_a_saved_mask_carries_nothing_but_geometry(tmp_path):
    """Descriptions, file names, intents and extensions of the T1w can name a person."""
    image = nibabel.Nifti1Image(releases.image().astype(np.int16), releases.LAS)
    header = image.header
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"PatientName=Jane Doe"))
    header["descrip"], header["aux_file"] = b"echo=2.9;Name=Jane Doe", b"/home/jane/scan"
    header["db_name"], header["data_type"] = b"JaneDoe", b"Jane"
    header.set_intent("z score", name="Jane")
    header["intent_p1"], header["toffset"], header["glmax"] = 3, 7, 32767
    header["slice_duration"], header["slice_code"] = 2, 1
    header.set_dim_info(0, 1, 2)
    header.set_slope_inter(2, 5)
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][4] = 2.3
    image.set_sform(releases.LAS, 4)
    image.set_qform(releases.LAS, 1)
    nibabel.save(image, tmp_path / "t.nii.gz")
    scan = atlas.load_image(tmp_path / "t.nii.gz")
    written = nibabel.load(atlas.save_mask(scan, releases.lesion(), tmp_path / "m.nii.gz"))
    raw = written.header
    for name in ("descrip", "aux_file", "db_name", "data_type", "intent_name"):
        assert raw[name].item() == b"", name
    for name in ("intent_code", "intent_p1", "toffset", "glmax", "slice_duration", "slice_code"):
        assert raw[name].item() == 0, name
    assert not raw.extensions and raw["dim_info"] == 0 and raw["pixdim"][4] == 1
    assert (int(raw["sform_code"]), int(raw["qform_code"])) == (4, 1)
    assert raw.get_xyzt_units()[0] == "mm"
    assert_array_equal(written.affine, releases.LAS)
    assert_array_equal(written.get_qform(), nibabel.load(tmp_path / "t.nii.gz").get_qform())
    assert_array_equal(np.asarray(written.dataobj), releases.lesion()[::-1])
    assert b"Jane" not in written.to_bytes()


@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (2, 0)])
def test_a_saved_mask_has_its_t1w_s_orientation_codes(tmp_path, codes):
    image = nibabel.Nifti1Image(releases.image().astype(np.int16), np.diag([-1.2, 1, 3, 1]))
    image.set_sform(image.affine, codes[0])
    image.set_qform(image.affine, codes[1])
    nibabel.save(image, tmp_path / "t.nii")
    scan = atlas.load_image(tmp_path / "t.nii")
    atlas.save_mask(scan, releases.lesion(), tmp_path / "m.nii")
    one, other = (nibabel.load(tmp_path / name) for name in ("t.nii", "m.nii"))
    assert_array_equal(one.affine, other.affine)
    assert_array_equal(one.header["pixdim"][:4], other.header["pixdim"][:4])
    assert one.get_sform(coded=True)[1] == other.get_sform(coded=True)[1] == codes[0]
    assert one.get_qform(coded=True)[1] == other.get_qform(coded=True)[1] == codes[1]


def test_a_mask_never_takes_the_place_of_what_was_read(t1w, mask, tmp_path):
    scan = atlas.load_scan(row_of(t1w, mask))
    before = t1w.read_bytes(), mask.read_bytes()
    link, hard = tmp_path / "link.nii.gz", tmp_path / "hard.nii.gz"
    link.symlink_to(t1w)
    hard.hardlink_to(mask)
    roundabout = mask.parent / ".." / mask.parent.name / mask.name
    for target in (t1w, str(t1w), link, mask, hard, roundabout):
        with pytest.raises(ValueError, match="is an input"):
            atlas.save_mask(scan, releases.lesion(), target)
    assert (t1w.read_bytes(), mask.read_bytes()) == before and link.is_symlink()


def test_a_home_folder_is_understood(t1w, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved = atlas.save_mask(atlas.load_image(t1w), releases.lesion(), "~/found/m.nii.gz")
    assert saved == tmp_path / "found" / "m.nii.gz" and saved.exists()


# --- as nnU-Net's raw data ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "people",
    [
        [("x", "1"), ("x", "1"), ("x", "1-1"), ("y", "1")],
        [("x", "1-1"), ("x", "1"), ("x", "1"), ("x", "1-2"), ("x-1", "3")],
        [("X", "1"), ("x", "1"), ("x", "1"), ("x-1", "1"), ("X-1", "1")],
        [("日本", ""), ("中国", ""), ("case", "2"), ("", "")],
    ],
)
def test_no_case_of_nnu_net_s_overwrites_another(tmp_path, people):
    rows = []
    for number, (subject, session) in enumerate(people):
        t1w = releases.write(tmp_path / f"{number}.nii", releases.image(number))
        mask = releases.save(tmp_path / f"{number}_m.nii", releases.lesion(number), releases.RAS)
        rows.append(row_of(t1w, mask) | {"subject": subject, "session": session})
    raw = atlas.write_nnunet(pd.DataFrame(rows), tmp_path / "raw", folds=2, progress=False)
    names = [path.name.removesuffix("_0000.nii.gz") for path in (raw / "imagesTr").iterdir()]
    assert len({name.lower() for name in names}) == len(people) and all(names)
    assert json.loads((raw / "dataset.json").read_text())["numTraining"] == len(people)
    for name in names:  # each image stands beside its own mask
        image, mask = (
            nibabel.load(raw / place).get_fdata()
            for place in (f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz")
        )
        number = next(n for n in range(len(people)) if (image == releases.image(n)).all())
        assert_array_equal(mask, releases.lesion(number))


# --- bad folders --------------------------------------------------------------------------------


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(ScanError, match="nowhere does not exist"):
        atlas.find_scans(tmp_path / "nowhere")
    with pytest.raises(ScanError, match="is empty: copy an ATLAS release"):
        atlas.find_scans(tmp_path)


@pytest.mark.parametrize(
    "content", [b"Salted__" + bytes(100), base64.encodebytes(b"Salted__" + bytes(100))]
)
def test_an_encrypted_archive_is_named_as_such(tmp_path, content):
    archive = tmp_path / "ATLAS_R2.0_encrypted.tar.gz"
    archive.write_bytes(content)
    for root in (archive, tmp_path):
        with pytest.raises(ScanError, match="still encrypted.*openssl aes-256-cbc") as caught:
            atlas.find_scans(root)
        assert str(archive) in str(caught.value)
        assert (" -a " in str(caught.value)) == content.startswith(b"U2F")
    scan = tmp_path / "x.nii.gz"
    scan.write_bytes(content)
    with pytest.raises(ScanError, match="still encrypted"):
        atlas.load_image(scan)


def test_an_archive_or_a_scan_in_place_of_a_folder(tmp_path, t1w):
    archive = tmp_path / "unpack" / "ATLAS.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(t1w, "x")
    for root in (archive, archive.parent):
        with pytest.raises(ScanError, match="is an archive.*Unpack it first"):
            atlas.find_scans(root)
    with pytest.raises(ScanError, match="is a single scan"):
        atlas.find_scans(t1w)
    with pytest.raises(ScanError, match="is a file, and a folder is needed"):
        atlas.find_scans(__file__)


@pytest.mark.parametrize("rename", ["{}.part", "{}.filepart", "{}.crdownload", ".{}.Ab3xYz"])
def test_a_half_finished_copy_is_told(tmp_path, t1w, rename):
    t1w.rename(t1w.with_name(rename.format(t1w.name)))
    with pytest.raises(ScanError, match="no whole ATLAS scan.*still being copied.*Finish the copy"):
        atlas.find_scans(tmp_path)
    releases.bids(tmp_path / "ATLAS_2" / "Training" / "R002", "r002s001")
    with warnings.catch_warnings(record=True) as warned:
        scans = atlas.find_scans(tmp_path)
    assert list(scans["subject"]) == ["sub-r002s001"]
    assert tuple(str(warning.message) for warning in warned) == scans.attrs["problems"]
    assert "1 file left out, still being copied" in scans.attrs["problems"][0]
    assert "1 file left out, lesion masks without a T1w" in scans.attrs["problems"][1]


def test_a_t1w_without_its_mask_is_kept_and_then_asked_for(tmp_path, t1w, mask):
    releases.bids(tmp_path / "ATLAS_2" / "Training" / "R002", "r002s001", seed=1)
    mask.unlink()
    scans = atlas.find_scans(tmp_path)
    assert list(scans["masks"].map(len)) == [0, 1]
    assert atlas.load_scan(scans.iloc[0]).mask is None
    with pytest.raises(ScanError, match="1 of 2 scans have no.*half-finished") as caught:
        atlas.require_masks(scans, drop=False)
    assert str(t1w) in str(caught.value)
    with pytest.warns(UserWarning, match="1 of 2 scans are left out.*no lesion mask was found"):
        kept = atlas.require_masks(scans)
    assert list(kept["subject"]) == ["sub-r002s001"]
    with pytest.raises(ScanError, match="1 of 1"):
        atlas.require_masks(scans.iloc[:1])
    assert atlas.require_masks(scans.iloc[1:]).equals(scans.iloc[1:])


def test_the_test_split_is_known_to_have_no_masks(tmp_path):
    scans = atlas.find_scans(releases.r20(tmp_path) / "Testing")
    with pytest.raises(ScanError, match="test split secret"):
        atlas.require_masks(scans)


def test_two_files_that_claim_the_same_scan_are_both_left_out(tmp_path, t1w):
    second = t1w.with_name(t1w.name.removesuffix(".gz"))
    second.touch()
    with pytest.raises(ScanError, match="Two files claim to be the same scan") as caught:
        atlas.find_scans(tmp_path)
    assert str(t1w) in str(caught.value) and f"{second}. " in f"{caught.value} "
    releases.bids(tmp_path / "ATLAS_2" / "Training" / "R002", "r002s001", seed=1)
    with pytest.warns(UserWarning, match="2 files left out, Two files claim to be the same scan"):
        scans = atlas.find_scans(tmp_path)
    assert list(scans["subject"]) == ["sub-r002s001"]


def test_a_true_copy_of_a_scan_is_left_out_and_one_that_differs_takes_both_along(tmp_path, t1w):
    copy = releases.bids(tmp_path / "ATLAS_2 (copy)" / "Training" / "R001", "r001s001")
    with pytest.warns(UserWarning, match="1 file left out, second copies of a scan"):
        scans = atlas.find_scans(tmp_path)
    assert list(scans["t1w"]) == [str(t1w)] and len(scans["masks"][0]) == 1
    next(copy.parent.glob("*_mask.nii.gz")).write_bytes(b"corrected since")
    with pytest.raises(ScanError, match="Two files claim to be the same scan"):
        atlas.find_scans(tmp_path)


def test_two_files_that_claim_the_same_mask_leave_a_scan_without(tmp_path, t1w, mask):
    mask.with_name(mask.name.removesuffix(".gz")).touch()
    with pytest.warns(UserWarning, match="Two files claim to be the same lesion mask") as warned:
        scans = atlas.find_scans(tmp_path)
    assert len(warned) == 1 and list(scans["masks"]) == [()]
    with pytest.raises(ScanError, match="Two files claim to be the same lesion mask"):
        atlas.require_masks(scans)


# --- bad files ----------------------------------------------------------------------------------


def spoil(path, change):
    """Rewrite a .nii.gz file with its bytes changed in place by `change(bytearray)`."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(bytes(content), 1))


def put(offset, dtype, *values):
    raw = np.array(values, dtype).tobytes()

    def change(content):
        content[offset : offset + len(raw)] = raw

    return change


NAN = float("nan")


@pytest.mark.parametrize(
    "change, message",
    [
        (put(40, "<i2", 3, 32000, 32000, 32000), "claims .* more than"),
        (put(40, "<i2", 3, 500, 500, 500), "truncated: its header promises"),
        (put(40, "<i2", 3, 13, 14, 10), "truncated: .* bytes are there"),
        (put(40, "<i2", 3, -12, 14, 10), "dimensions are"),
        (put(40, "<i2", 3, -1, 1, 1), "dimensions are"),
        (put(40, "<i2", 3, 0, 14, 10), "dimensions are"),
        (put(40, "<i2", 2, 12, 14), "2-dimensional"),
        (put(40, "<i2", 4, 12, 14, 5, 2), "4-dimensional"),
        (put(70, "<i2", 32, 64), "complex64"),
        (put(70, "<i2", 128, 24), "one real number a voxel"),
        (put(70, "<i2", 1536, 128), "one real number a voxel|damaged"),
        (put(70, "<i2", 77, 8), "header is damaged"),
        (put(108, "<f4", NAN), "data start at byte nan|header is damaged"),
        (put(108, "<f4", -8), "data start at byte|header is damaged"),
        (put(108, "<f4", 1e9), "data start at byte"),
        (put(112, "<f4", 1, NAN), "intensity scaling"),
        (put(112, "<f4", 3e38, 0), "NaN or Inf"),
        (put(112, "<f4", 1e-45, 3), "is constant"),
        (put(280, "<f4", *[NAN] * 12), "unusable affine"),
        (put(280, "<f4", *[0] * 12), "unusable affine"),
        (put(280, "<f4", *[1, 0, 0, 0] * 3), "unusable affine"),
        (put(280, "<f4", *[3e38] * 12), "unusable affine"),
        (put(344, "S4", b"ni1"), "pair"),
        (put(344, "S4", b"jpg"), "not a NIfTI volume"),
        (put(352, "<f4", NAN), "1 voxels that are NaN or Inf"),
        (put(352, "<f4", np.inf, -np.inf), "2 voxels that are NaN or Inf"),
        (put(352, "<f4", *[5] * 1680), "is constant: every voxel is 5"),
    ],
)
def test_damaged_t1w_are_refused_by_name(t1w, mask, change, message):
    spoil(t1w, change)
    with pytest.raises(ScanError, match=message) as caught:
        atlas.load_scan(row_of(t1w, mask))
    assert str(t1w) in str(caught.value)


def test_a_quaternion_that_is_none_is_refused(t1w):
    spoil(t1w, put(252, "<i2", 1, 0))  # use the qform, not the sform
    spoil(t1w, put(256, "<f4", 3, 3, 3))
    with pytest.raises(ScanError, match="damaged orientation"):
        atlas.load_image(t1w)


@pytest.mark.parametrize("slope", [0, NAN, np.inf])
def test_a_slope_that_is_none_means_no_scaling(t1w, slope):
    spoil(t1w, put(112, "<f4", slope, 0))
    assert_array_equal(atlas.load_image(t1w).image, releases.image())


@pytest.mark.parametrize("keep", [0, 1, 10, 100, 400, -1, -4, -9, -200])
def test_truncated_files(t1w, keep):
    t1w.write_bytes(t1w.read_bytes()[:keep])
    with pytest.raises(ScanError, match="truncated|damaged|0 bytes") as caught:
        atlas.load_image(t1w)
    assert str(t1w) in str(caught.value)


@pytest.mark.parametrize("module", [nifti.gzip, gzip])
@pytest.mark.parametrize("side", [10, 64])  # with and without reading to the end by the way
def test_a_wrong_checksum_is_noticed(tmp_path, monkeypatch, module, side):
    monkeypatch.setattr(nifti, "gzip", module)
    noise = np.random.default_rng(0).integers(0, 255, (side, side, side), np.uint8)
    path = releases.write(tmp_path / "x.nii.gz", noise, dtype=np.uint8)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ScanError, match="truncated or damaged"):
        atlas.load_image(path)


@pytest.mark.parametrize("dimensions", [(500, 500, 500), (32000, 32000, 32000)])
def test_a_header_that_lies_about_its_size_costs_no_memory(t1w, dimensions):
    spoil(t1w, put(40, "<i2", 3, *dimensions))
    tracemalloc.start()
    with pytest.raises(ScanError):
        atlas.load_image(t1w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_file_that_inflates_without_end_is_not_inflated(tmp_path):
    image = nibabel.Nifti1Image(np.zeros(releases.SHAPE, np.uint8), releases.RAS)
    bomb = image.to_bytes()[:352] + releases.image().astype(np.uint8).tobytes() + bytes(50_000_000)
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(bomb, 1))
    assert atlas.load_image(path).image.shape == releases.SHAPE


@pytest.mark.parametrize(
    "values, affine, message",
    [
        (releases.lesion()[:, :, :9], releases.RAS, "do not fit: in RAS order the mask is"),
        (
            releases.lesion(),
            releases.RAS + 0.5 * np.eye(4, k=3),
            "affines place the same voxel up to 0.5 mm apart",
        ),
        (np.zeros(releases.SHAPE), releases.RAS, "is empty: no voxel"),
        (np.ones(releases.SHAPE), releases.RAS, "marks every voxel"),
        (releases.lesion() * 2, releases.RAS, "holds 2; a lesion mask holds 0 and 1"),
        (releases.lesion() * 3, releases.RAS, "holds 3"),
        (-releases.lesion(), releases.RAS, "holds -1"),
        (releases.lesion() * 0.5, releases.RAS, "holds 0.5"),
        (releases.lesion() * 255 + np.roll(releases.lesion(), 5, 0), releases.RAS, "holds 1;"),
        (np.where(releases.lesion() == 1, NAN, 0), releases.RAS, "holds nan"),
        (np.where(releases.lesion() == 1, np.inf, 0), releases.RAS, "holds inf"),
    ],
)
def test_masks_that_do_not_fit_are_refused_by_name(t1w, mask, values, affine, message):
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float64), affine), mask)
    with pytest.raises(ScanError, match=message) as caught:
        atlas.load_scan(row_of(t1w, mask))
    assert str(mask) in str(caught.value)


@pytest.mark.parametrize(
    ("factor", "kind", "message"), [(-1, np.int16, "holds -1"), (2, np.uint8, "holds 2")]
)
def test_other_labels_are_refused_in_whole_numbers_too(t1w, mask, factor, kind, message):
    """Masks of 0 and 1 in whole numbers are taken as they are; these are not such."""
    values = (factor * releases.lesion().astype(int)).astype(kind)
    nibabel.save(nibabel.Nifti1Image(values, releases.RAS), mask)
    with pytest.raises(ScanError, match=message):
        atlas.load_scan(row_of(t1w, mask))


def head_like(path, size=4.0, shape=(50, 60, 50)):
    """A volume as large as a head, of voxels of `size` mm; returns its affine."""
    affine = releases.turned(shape, (size,) * 3)
    releases.save(path, np.random.default_rng(0).integers(1, 200, shape), affine)
    return affine


@pytest.mark.parametrize(
    "what, message",
    [
        ("inverted", "marks 9.% of its voxels as lesion, and 100% of those at its border"),
        ("air", "marks .*% of those at its border, where air is"),
        ("head", "marks 2,.* ml as lesion, and at most 1,000 ml can be one"),
        ("brain", "marks 1,.* ml as lesion.*It is a mask of the brain"),
        ("lesion", ""),
        ("the largest", ""),
    ],
)
@pytest.mark.parametrize("grid", ["same", "world"])
def test_a_mask_of_what_can_be_no_lesion_is_refused(tmp_path, what, message, grid):
    shape = (50, 60, 50)
    affine = head_like(tmp_path / "t1.nii.gz")
    radii = dict(head=(75, 100, 90), brain=(65, 80, 60), lesion=(30, 30, 30))
    radii["the largest"] = (40, 75, 70)  # 880 ml, as the largest in SOOP
    ball = releases.ellipsoid(affine, shape, (0, 0, 0), radii.get(what, (30, 30, 30)))
    if what == "air":
        ball = ~releases.ellipsoid(affine, shape, (0, 0, 0), (99, 119, 99))
    values = ~ball if what == "inverted" else ball
    path = releases.save(tmp_path / "mask.nii.gz", values, affine)
    row = row_of(tmp_path / "t1.nii.gz", path) | {"mask_grid": grid}
    if message:
        with pytest.raises(ScanError, match=message) as caught:
            atlas.load_scan(row, allow_empty_mask=True)
        assert str(path) in str(caught.value) and "leave the scan out" in str(caught.value)
    else:
        assert atlas.load_scan(row).mask.sum() == pytest.approx(values.sum(), rel=0.01)


def test_the_mask_that_is_none_is_named_among_several(tmp_path):
    affine = head_like(tmp_path / "t1.nii")
    paths = []
    for name, values in (
        ("lesion", releases.ellipsoid(affine, (50, 60, 50), (20, 0, 0), (20, 20, 20))),
        ("head", releases.ellipsoid(affine, (50, 60, 50), (0, 0, 0), (75, 100, 90))),
        ("left", releases.ellipsoid(affine, (50, 60, 50), (-40, 0, 0), (38, 70, 60))),
        ("right", releases.ellipsoid(affine, (50, 60, 50), (40, 0, 0), (38, 70, 60))),
    ):
        paths.append(releases.save(tmp_path / f"{name}.nii", values, affine))
    with pytest.raises(ScanError, match=f"{paths[1]} marks 2,"):
        atlas.load_scan(row_of(tmp_path / "t1.nii", *paths[:2]))
    for half in paths[2:]:
        assert atlas.load_scan(row_of(tmp_path / "t1.nii", half)).mask.any()
    with pytest.raises(ScanError, match=f"{paths[2]} with its scan's other masks marks 1,"):
        atlas.load_scan(row_of(tmp_path / "t1.nii", *paths[2:]))


REAL = Path(__file__).resolve().parents[1] / "../shared/data"
# The largest, and those with most at the border of their volume.
LARGEST = [
    *(f"soop/bwsrsub-{name}_lesion.nii.gz" for name in (1395, 761, 249, 463, 75, 1307, 1506)),
    *(f"lesymap/Subject_{name}.nii.gz" for name in ("074", "022")),
]


@pytest.mark.skipif(not REAL.exists(), reason=f"no real masks at {REAL}")
@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_real_lesions_are_read_without_a_word(tmp_path, name):
    real = nibabel.load(REAL / name)
    path = releases.save(
        tmp_path / "t1.nii", np.indices(real.shape).sum(0) % 200, real.affine
    )  # nothing but its grid matters
    scan = atlas.load_scan(row_of(path, REAL / name))
    assert scan.mask.sum() == (np.asarray(real.dataobj) > 0.5).sum() and scan.notes == ()


def test_an_empty_mask_can_be_allowed(t1w, mask):
    nibabel.save(nibabel.Nifti1Image(np.zeros(releases.SHAPE), releases.RAS), mask)
    assert atlas.load_scan(row_of(t1w, mask), allow_empty_mask=True).mask.sum() == 0


@pytest.mark.skipif(
    os.geteuid() == 0 if hasattr(os, "geteuid") else True,
    reason="the superuser may read everything",
)
def test_files_and_folders_without_permission(t1w, tmp_path):
    t1w.chmod(0)
    with pytest.raises(ScanError, match="permission denied.*chmod"):
        atlas.load_image(t1w)
    tmp_path.chmod(0)
    with pytest.raises(ScanError, match="permission denied.*chmod"):
        atlas.find_scans(tmp_path)
    tmp_path.chmod(0o700)


def test_a_refused_permission_becomes_a_scan_error(t1w, tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(nifti, "open", refuse, raising=False)
    with pytest.raises(ScanError, match="permission denied.*chmod") as caught:
        atlas.load_image(t1w)
    assert str(t1w) in str(caught.value)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ScanError, match="permission denied.*chmod") as caught:
        atlas.find_scans(tmp_path)
    assert str(tmp_path) in str(caught.value)


def other_formats() -> dict[str, tuple[bytes, str]]:
    """Files that are no NIfTI: their bytes, and a word of the right answer."""
    values = releases.image().astype(np.int16)
    nifti1 = nibabel.Nifti1Image(values, releases.RAS).to_bytes()
    mgh = nibabel.MGHImage(values.astype(np.float32), releases.RAS).to_bytes()
    pair = nibabel.Nifti1Pair(values, releases.RAS).header.copy()
    pair["magic"] = b"ni1"
    analyze = nibabel.AnalyzeImage(values, None).header.binaryblock
    return {
        "orig.mgz": (gzip.compress(mgh), "FreeSurfer.*mri_convert"),
        "orig.mgh": (mgh, "FreeSurfer.*mri_convert"),
        "renamed.nii.gz": (gzip.compress(mgh), "FreeSurfer.*mri_convert"),
        "a.nrrd": (b"NRRD0005\ntype: short\n\n" + bytes(2000), "NRRD"),
        "a.nii": (b"NRRD0005\ntype: short\n\n" + bytes(2000), "NRRD"),
        "a.mha": (b"ObjectType = Image\nNDims = 3\n" + bytes(900), "MetaImage"),
        "IM0001.dcm": (bytes(128) + b"DICM" + bytes(500), "DICOM.*dcm2niix"),
        "IM0001": (bytes(128) + b"DICM" + bytes(500), "DICOM.*dcm2niix"),
        "pair.hdr": (pair.binaryblock, "header of a .hdr/.img pair"),
        "pair.img": (values.tobytes(), "voxels of a .hdr/.img pair"),
        "ana.hdr": (analyze, "Analyze 7.5"),
        "login.nii.gz": (b"<!DOCTYPE html><html>Please log in", "web page.*Log in"),
        "lfs.nii.gz": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "git lfs pull",
        ),
        "annex.nii.gz": (b"/annex/objects/MD5E-s123--0123.nii.gz\n", "datalad get"),
        "zip.nii.gz": (b"PK\x03\x04" + nifti1, "a ZIP archive"),
        "bz2.nii.gz": (bz2.compress(nifti1), "compressed with bzip2"),
        "xz.nii.gz": (lzma.compress(nifti1), "compressed with xz"),
        "twice.nii.gz": (gzip.compress(gzip.compress(nifti1)), "compressed twice"),
        "text.nii": (b"hello, this is text" * 50, "it begins with b'hello, "),
        "short.nii": (nifti1[:200], "truncated: it holds 200 bytes"),
        "windows.nii.gz": (b"..\\.git\\annex\\objects\\xx\\MD5E", "datalad get"),
        "answer.nii.gz": (b"404: Not Found", "is text.*it begins with b'404"),
        "error.nii.gz": (b"<Error><Code>AccessDenied</Code></Error>", "web page"),
        "side.nii.gz": (b'{"EchoTime": 0.0024}', "is text"),
        "packed.nii.gz": (gzip.compress(b"hello, this is text" * 50), "is text"),
        "surface.gii": (b'<?xml version="1.0"?>\n<GIFTI>' + bytes(900), "surface"),
        "a.mnc": (b"CDF\x01" + bytes(900), "MINC.*mnc2nii"),
        "b.mnc": (b"\x89HDF\r\n\x1a\n" + bytes(900), "HDF5"),
        "a.mat": (b"MATLAB 5.0 MAT-file" + bytes(900), "MATLAB.*niftiwrite"),
        "a.npy": (b"\x93NUMPY" + bytes(900), "NumPy"),
        "a.PAR": (b"# === DATA DESCRIPTION FILE ===\n" * 30, "PAR/REC.*dcm2niix"),
        "a.png": (b"\x89PNG\r\n\x1a\n" + bytes(900), "picture"),
        "photo.nii.gz": (b"\xff\xd8\xff\xe0" + bytes(900), "picture"),
        "a.nii.Z": (b"\x1f\x9d\x90" + bytes(900), "compressed with compress"),
        "lz4.nii.gz": (b"\x04\x22\x4d\x18" + bytes(900), "compressed with lz4"),
    }


@pytest.mark.parametrize("name", other_formats())
def test_another_format_is_called_by_its_name(tmp_path, name, caplog, capfd):
    content, message = other_formats()[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScanError, match=message) as caught:
        atlas.load_image(path)
    assert str(path) in str(caught.value) and "copy" not in message
    assert not caplog.records and not "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "path, message",
    [
        (None, "None is none"),
        ("", "'' is none"),
        (3, "3 is none"),
        ("a\0b", "is none"),
        ("https://example.org/a.nii.gz", "address on the net"),
        ("'/data/head.nii.gz'", "quotation marks.*Try /data/head.nii.gz"),
        ("/data/head.nii.gz ", "blanks"),
    ],
)
def test_what_is_no_path_is_said_to_be_none(path, message):
    for read in (atlas.load_image, atlas.find_scans):
        with pytest.raises(ScanError, match=message):
            read(path)


def test_a_folder_of_dicom_files_in_the_place_of_a_scan(tmp_path):
    (tmp_path / "IM0001.dcm").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ScanError, match="folder of DICOM files.*dcm2niix"):
        atlas.load_image(tmp_path)
    with pytest.raises(ScanError, match="1 DICOM files.*dcm2niix"):
        atlas.find_scans(tmp_path)


@pytest.mark.parametrize("module", [nifti.gzip, gzip])
@pytest.mark.parametrize(
    "behind",
    [b"garbage after the end", b"\r\n", b"\0" * 512, b"\x1f", gzip.compress(b"", mtime=0)],
    ids=["garbage", "line end", "zeros", "half a magic", "another stream"],
)
@pytest.mark.parametrize("side", [12, 64])
def test_what_follows_a_gzip_stream_is_no_part_of_it(tmp_path, monkeypatch, module, behind, side):
    monkeypatch.setattr(nifti, "gzip", module)
    values = np.random.default_rng(0).integers(0, 255, (side, side, side), np.uint8)
    path = releases.write(tmp_path / "x.nii.gz", values, dtype=np.uint8)
    whole = path.read_bytes()
    path.write_bytes(whole + behind)
    assert_array_equal(atlas.load_image(path).image, values)
    assert_array_equal(nibabel.load(path).get_fdata(), values)
    damaged = bytearray(whole + behind)
    damaged[len(whole) - 6] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(ScanError, match="truncated or damaged"):
        atlas.load_image(path)


def test_a_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = releases.bids(tmp_path / "ATLAS_2" / "Training" / "R001", "r001s001")
    short = f"~/{path.relative_to(tmp_path)}"
    assert atlas.load_image(short).path == path
    assert list(atlas.find_scans("~/ATLAS_2")["t1w"]) == [str(path)]
    assert atlas.load_scan({"t1w": short, "masks": ()}).path == path


def test_links_to_nothing_and_folders_in_place_of_files(tmp_path):
    (tmp_path / "x.nii.gz").symlink_to(tmp_path / "gone")
    with pytest.raises(ScanError, match="link whose target is missing"):
        atlas.load_image(tmp_path / "x.nii.gz")
    with pytest.raises(ScanError, match="cannot be read"):
        atlas.load_image(tmp_path)


# --- any bytes at all ---------------------------------------------------------------------------

# Voxels of 10 mm: fewer bytes to alter, and still as long as a head may be.
PLACED = np.diag([-10.0, 10, 10, 1])
SMALL = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), PLACED).to_bytes()
FUZZ = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def answer(call, argument) -> tuple:
    """What a call returns and "", or None and the ScanError's text; another error is a failure."""
    try:
        return call(argument), ""
    except ScanError as error:
        return None, str(error)


def load_or_refuse(path) -> None:
    """Load as T1w, as mask, as mask of another grid: a sound Scan or an error naming the file."""
    sound = path.parent / "sound.nii"
    if not sound.exists():
        values = (np.arange(120).reshape(4, 5, 6) % 7 == 0).astype(np.uint8)
        releases.save(sound, values, releases.turned((4, 5, 6), (9, 9, 9), (0.1, 0.2, 0.3)))
    for row in (
        {"t1w": str(path)},
        {"t1w": str(path), "masks": (str(path),)},
        {"t1w": str(path), "masks": (str(sound),), "mask_grid": "world"},
        {"t1w": str(sound), "masks": (str(path),), "mask_grid": "world"},
        {"t1w": str(sound), "masks": (str(path),)},
    ):
        scan, error = answer(atlas.load_scan, row)
        if scan is None:
            assert str(path) in error or str(sound) in error
            continue
        assert np.isfinite(scan.image).all() and np.isfinite(scan.affine).all()
        assert scan.image.ndim == 3 and scan.image.dtype == np.float32
        assert scan.mask is None or set(np.unique(scan.mask)) <= {0, 1}
        assert scan.mask is None or scan.mask.shape == scan.image.shape
        assert atlas.to_original_grid(scan, scan.image).shape == scan.original_shape
        assert all(isinstance(note, str) for note in scan.notes)


@FUZZ
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 351), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
    ),
    squeeze=st.booleans(),
)
def test_mutated_headers_give_a_scan_or_a_scan_error(tmp_path, edits, squeeze):
    content = bytearray(SMALL)
    for offset, raw in edits:
        content[offset : offset + len(raw)] = raw[: len(content) - offset]
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(bytes(content), 1) if squeeze else bytes(content))
    load_or_refuse(path)


FIELDS = {
    40: "<i2",
    42: "<i2",
    44: "<i2",
    46: "<i2",
    48: "<i2",
    70: "<i2",
    72: "<i2",
    76: "<f4",
    80: "<f4",
    84: "<f4",
    88: "<f4",
    108: "<f4",
    112: "<f4",
    116: "<f4",
    122: "<i2",
    252: "<i2",
    254: "<i2",
    256: "<f4",
    260: "<f4",
    264: "<f4",
    268: "<f4",
    280: "<f4",
    284: "<f4",
    296: "<f4",
    300: "<f4",
    320: "<f4",
    324: "<f4",
}


@FUZZ
@given(
    st.dictionaries(
        st.sampled_from(sorted(FIELDS)),
        st.one_of(
            st.integers(-32768, 32767),
            st.sampled_from([2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280]),
            st.floats(width=32),
            st.sampled_from([0, -1, 352, NAN, 1e-38, 3e38]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_mutated_fields_give_a_scan_or_a_scan_error(tmp_path, edits):
    content = bytearray(SMALL)
    for offset, value in edits.items():
        if FIELDS[offset] == "<i2":
            value = int(np.clip(np.nan_to_num(value), -32768, 32767))
        put(offset, FIELDS[offset], value)(content)
    path = tmp_path / "x.nii"
    path.write_bytes(bytes(content))
    load_or_refuse(path)


@FUZZ
@given(
    cut=st.integers(0, 800),
    flips=st.lists(st.integers(0, 10_000), max_size=3),
    junk=st.binary(max_size=30),
)
def test_truncated_and_flipped_bytes_give_a_scan_or_a_scan_error(tmp_path, cut, flips, junk):
    content = bytearray(gzip.compress(SMALL, 1, mtime=0))
    for place in flips:
        content[place % len(content)] ^= 1 << (place % 8)
    path = tmp_path / "x.nii.gz"
    path.write_bytes(bytes(content[:cut]) + junk)
    load_or_refuse(path)


NAMES = st.sampled_from(
    [
        T1W,
        MASK,
        "sub-r001s001",
        "sub-r001s001_T1w.nii",
        "031768_t1w_deface_stx.nii.gz",
        "t01",
        "c0003s0002t01_t1w_stx.nii.gz",
        "031768_LesionSmooth_1_stx.nii.gz",
        "Training",
        "ATLAS_2",
        "x",
        "participants.tsv",
        f"{T1W}.part",
        "a.tar.gz",
        "sub-r001s001_ses-1_metadata.csv",
        "derivatives",
        "lesion_masks",
        "fmriprep",
        "sub-r001s001_ses-1_run-2_T2w_desc-lesion_mask.nii.gz",
        "sub-r001s001_space-TRACE_desc-lesion_mask.nii.gz",
        "sub-r001s001_dseg.nii.gz",
        "dataset_description.json",
        "imagesTr",
        "labelsTr",
        "images",
        "labels",
        "a_0000.nii.gz",
        "a.nii.gz",
        "dataset.json",
        "site\udce9",
    ]
)


@FUZZ
@given(
    st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.binary(max_size=60)), max_size=6)
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_tree_gives_scans_or_a_scan_error(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("tree")
    for parts, content in files:
        path = root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError:  # a file stands where a folder would
            continue
    scans, error = answer(atlas.find_scans, root)
    if scans is None:
        assert str(root) in error
        return
    assert str(scans.attrs["seen"]).encode() and scans.attrs["seen"].scans == len(scans)
    for row in scans.itertuples():
        with pytest.raises(ScanError):
            atlas.load_scan(row)


@FUZZ
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(
            st.sampled_from("image,mask;subject\tT1.nii.gz\n\r \"'~/\0\ufeffé|x"), max_size=120
        ).map(lambda text: b"image,mask,subject\n" + text.encode()),
    )
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_table_gives_scans_or_a_scan_error(tmp_path, content):
    path = tmp_path / "scans.csv"
    path.write_bytes(content)
    (tmp_path / "x").write_bytes(b"x")
    scans, error = answer(atlas.find_scans, path)
    assert error.encode() or len(scans)
    for row in scans.itertuples() if scans is not None else ():
        with pytest.raises(ScanError):
            atlas.load_scan(row)
