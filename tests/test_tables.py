"""Tables: of scans in any folder, and of metadata as spreadsheets save them."""

from __future__ import annotations

import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import releases

from kenseg_utils import atlas, profiles, slices
from kenseg_utils.atlas import ScanError

# --- tables of scans ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, delimiter", [("scans.csv", ","), ("scans.tsv", "\t"), ("s.csv", ";")]
)
def test_a_table_of_scans(tmp_path, name, delimiter):
    path = releases.table(
        tmp_path,
        name,
        delimiter,
        session=("ses-2", "", ""),
        site=("NA", "Ghent", "007"),
        nihss=(4, 11, "n/a"),
        side=("left", "None", "right"),
    )
    scans = atlas.find_scans(path)
    assert scans.attrs["problems"] == ()
    assert scans["subject"].tolist() == ["anna", "bert", "carl"]
    assert scans["session"].tolist() == ["ses-2", "ses-1", "ses-1"]
    assert scans["site"].tolist() == ["NA", "Ghent", "007"]
    assert set(scans["release"]) == {f"{name} (table)"} and set(scans["mask_grid"]) == {"same"}
    assert scans["nihss"].tolist()[:2] == [4, 11] and np.isnan(scans["nihss"][2])
    assert scans["side"].tolist() == ["left", "None", "right"]
    assert scans["masks"].map(len).tolist() == [1, 1, 0]
    assert (atlas.load_scan(scans.iloc[1]).mask == releases.lesion()).all()
    assert "3 scan(s), 2 with a lesion mask" in str(scans.attrs["seen"])
    with pytest.warns(UserWarning, match="its table names no mask for it"):
        assert len(profiles.open_scans(profiles.get("smoke"), path)) == 2


def test_a_table_s_columns_may_be_spelled_as_one_likes_and_paths_begin_anywhere(
    tmp_path, monkeypatch
):
    releases.table(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "elsewhere" / "Scans.CSV"
    path.parent.mkdir()
    path.write_text(
        "Subject , IMAGE,Mask\nanna,~/scans/anna.nii.gz,../scans/anna_lesion.nii.gz\n\n"
        f"bert,{tmp_path}/scans/bert.nii.gz,\n"
    )
    scans = atlas.find_scans("~/elsewhere/Scans.CSV")
    assert scans["subject"].tolist() == ["anna", "bert"] and scans["masks"].map(len).tolist() == [
        1,
        0,
    ]
    assert scans["masks"][0] == (str(tmp_path / "scans" / "anna_lesion.nii.gz"),)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_table_in_any_encoding_below_a_title(tmp_path, encoding):
    releases.table(tmp_path)
    text = "Our strokes,,\n\nimage,subject,centre\nscans/anna.nii.gz,Zoë,Köln\n"
    (tmp_path / "scans.csv").write_bytes(text.encode(encoding))
    scans = atlas.find_scans(tmp_path / "scans.csv")
    assert scans[["subject", "centre"]].to_numpy().tolist() == [["Zoë", "Köln"]]


@pytest.mark.parametrize(
    "text, message",
    [
        ("scan,mask\na,b\n", "no column image and none subject.*columns are scan, mask"),
        ("image,mask\na,b\n", "no column subject"),
        ("image;subject\n", "names no scan: there are no lines"),
        ("", "columns are none"),
        ("image,subject\nscans/anna.nii.gz,\n", "line 2 name no subject"),
        ("image,subject\n,anna\n", "line 2 name no image"),
        (
            "image,subject\nscans/anna.nii.gz,a\nscans/./anna.nii.gz,b\n",
            "lines 2, 3 name the same image, .*anna.nii.gz",
        ),
        (
            "image,mask,subject\nscans/anna.nii.gz,scans/anna_lesion.nii.gz,a\n"
            "scans/bert.nii.gz,scans/anna_lesion.nii.gz,b\n",
            "lines 2, 3 name the same mask, .*anna_lesion.nii.gz",
        ),
        (
            "image,mask,subject\nscans/anna.nii.gz,scans/anna.nii.gz,a\n",
            "line 2 gives as its mask the image of line 2",
        ),
        (
            "image,subject,mask_grid\nscans/anna.nii.gz,a,T2w\n",
            "line 2 has the mask_grid 'T2w', which is neither same nor world",
        ),
        (
            "image,subject\nscans/gone.nii.gz,a\n",
            "names no scan that is there.*image does not exist",
        ),
        ("image,subject\nscans,a\n", "image is no file"),
        ("image,subject,Subject\nscans/anna.nii.gz,a,b\n", "two columns called subject"),
        ("image,mask,mask,subject\nscans/anna.nii.gz,x,y,a\n", "two columns called mask"),
        ("image,subject\nhttps://example.org/a.nii.gz,a\n", "address on the net"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused_by_line(tmp_path, text, message):
    path = releases.table(tmp_path)
    path.write_text(text)
    with pytest.raises(ScanError, match=message):
        atlas.find_scans(path)


def test_all_contradictions_are_told_at_once(tmp_path):
    path = releases.table(tmp_path)
    path.write_text("image,subject\nscans/anna.nii.gz,a\nscans/anna.nii.gz,\n,c\n")
    with pytest.raises(ScanError, match="line 3 name no subject.*lines 2, 3 name the same image"):
        atlas.find_scans(path)


def test_one_missing_file_among_many_is_left_out(tmp_path):
    path = releases.table(tmp_path)
    (tmp_path / "scans" / "bert_lesion.nii.gz").unlink()
    with pytest.warns(
        UserWarning, match="1 file.s. left out, scans of scans.csv whose mask does not"
    ):
        scans = atlas.find_scans(path)
    assert scans["subject"].tolist() == ["anna", "carl"]
    assert "bert_lesion.nii.gz" in scans.attrs["problems"][0]


@pytest.mark.parametrize("word", ["", "n/a", "N/A", "NA", "nan", "None", "-", "."])
def test_a_mask_that_is_said_to_be_missing_is_missing(tmp_path, word):
    path = releases.table(tmp_path)
    path.write_text(f"image,mask,subject,site\nscans/anna.nii.gz,{word},a,NA\n")
    scans = atlas.find_scans(path)
    assert scans["masks"][0] == () and scans["site"][0] == "NA"
    assert "names no mask" in scans["unlabelled"][0]


def test_a_mask_may_be_called_so(tmp_path):
    path = releases.table(tmp_path)
    (tmp_path / "NA").write_bytes((tmp_path / "scans" / "anna_lesion.nii.gz").read_bytes())
    path.write_text("image,mask,subject\nscans/anna.nii.gz,NA,a\n")
    assert atlas.load_scan(atlas.find_scans(path).iloc[0]).mask.any()


def test_what_bids_calls_missing_is_no_name(tmp_path):
    path = releases.table(tmp_path)
    path.write_text("image,subject,session,site,space\nscans/anna.nii.gz,a,n/a,n/a,n/a\n")
    row = atlas.find_scans(path).iloc[0]
    assert (row.session, row.site, row.space) == ("ses-1", "", "orig")


def test_a_table_written_on_windows(tmp_path):
    path = releases.table(tmp_path)
    text = "image,mask,subject\r\nscans\\anna.nii.gz,.\\scans\\anna_lesion.nii.gz,a\r\n\x1a"
    path.write_bytes(text.encode())
    assert atlas.load_scan(atlas.find_scans(path).iloc[0]).mask.any()


@pytest.mark.parametrize("encoding", ["utf-32", "utf-16-be", "utf-8-sig"])
def test_a_table_in_rarer_encodings_and_filled_up_with_zeros(tmp_path, encoding):
    path = releases.table(tmp_path)
    text = "image\tsubject\tsite\nscans/anna.nii.gz\tZoë\tNone\n"
    path.write_bytes((text if encoding == "utf-32" else text + "\0" * 64).encode(encoding))
    row = atlas.find_scans(path).iloc[0]
    assert (row.subject, row.site) == ("Zoë", "None")


def test_one_person_under_two_names_in_a_table_is_warned_of(tmp_path):
    path = releases.table(tmp_path)
    shutil.copy(tmp_path / "scans" / "anna.nii.gz", tmp_path / "scans" / "carl.nii.gz")
    with pytest.warns(UserWarning, match="anna, carl have identical files"):
        assert len(atlas.find_scans(path)) == 3


def test_a_table_s_mask_may_lie_on_another_image_s_grid(tmp_path):
    path = releases.table(tmp_path, mask_grid=("world", "", ""))
    affine = releases.turned((20, 20, 20), (1, 1, 1), (0.1, 0.2, 0), (0, 0, 1))
    box = np.zeros((20, 20, 20))
    box[8:12, 8:12, 8:12] = 1
    releases.save(tmp_path / "scans" / "anna_lesion.nii.gz", box, affine)
    scan = atlas.load_scan(atlas.find_scans(path).iloc[0])
    assert scan.mask.shape == releases.SHAPE and abs(int(scan.mask.sum()) - 64) <= 2


def test_a_table_goes_all_the_way_to_slices(tmp_path):
    path = releases.table(tmp_path, site=("NA", "NA", "NA"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scans = profiles.open_scans(profiles.get("smoke"), path)
    made = slices.prepare(scans, size=16, padded=16, work_dir=tmp_path / "work", workers=1)
    assert set(made.index.subject) == {"anna", "bert"} and set(made.index.site) == {"NA"}


# --- metadata -----------------------------------------------------------------------------------

LINES = "subject,age,days\nsub-r001s001,61,182\nsub-r039s004,70,12\n"


@pytest.mark.parametrize(
    "name, content, ages",
    [
        ("MetaData.csv", LINES.encode(), (61, 70)),
        ("MetaData.csv", LINES.encode("utf-8-sig"), (61, 70)),
        ("MetaData.csv", LINES.replace(",", ";").encode(), (61, 70)),
        ("MetaData.csv", LINES.replace(",", "\t").encode(), (61, 70)),
        ("MetaData.csv", LINES.encode("utf-16"), (61, 70)),
        ("MetaData.csv", LINES.encode("utf-16-le"), (61, 70)),
        ("MetaData.csv", LINES.replace(",", ";").replace("61", "61,5").encode(), (61.5, 70)),
        ("participants.tsv", LINES.encode(), (61, 70)),
        ("MetaData.csv", ("ATLAS R2.0 metadata,,\n,,\n" + LINES).encode(), (61, 70)),
        ("MetaData.csv", ("ATLAS R2.0, metadata\n" + LINES).encode(), (61, 70)),
        ("MetaData.csv", b",subject,age\n0,r001s001,61\n1,r039s004,70\n", (61, 70)),
        ("MetaData.csv", b"subject,age\nr001s001,61,\nr039s004,70,\n", (61, 70)),
        ("MetaData.csv", b"subject,age,note\nr001s001,61\nr039s004,70\n", (61, 70)),
        (
            "MetaData.csv",
            b'subject,note,age\nsub-r001s001,"a, b",61\nsub-r039s004,c,70\n',
            (61, 70),
        ),
        ("MetaData.csv", ("ATLAS,R2.0,metadata\n" + LINES).encode(), (61, 70)),
        ("MetaData.csv", ("# made by hand\n# a, b, c\n" + LINES).encode(), (61, 70)),
        ("MetaData.csv", ("sep=;\n" + LINES.replace(",", ";")).encode(), (61, 70)),
        ("MetaData.csv", LINES.replace("\n", "\r\n").encode("utf-32"), (61, 70)),
        ("MetaData.csv", LINES.replace(",", "|").encode() + b"\x1a", (61, 70)),
        ("METADATA.CSV", LINES.replace("age,days", "age,age").encode(), (61, 70)),
        ("participants.csv", LINES.encode(), (61, 70)),
        (
            "participants.tsv",
            LINES.replace(",", "\t").replace("subject", "participant_id").encode("utf-16"),
            (61, 70),
        ),
        ("MetaData.csv", LINES.replace("61", "none").encode(), (None, 70)),
        (
            "MetaData.csv",
            "subject,age,ü\nsub-r001s001,61,é\nr039s004,,\n".encode("latin-1"),
            (61, None),
        ),
    ],
)
def test_metadata_as_spreadsheets_save_them(tmp_path, name, content, ages):
    release = releases.r20(tmp_path)
    (release / "20220425_ATLAS_2.0_MetaData.csv").unlink()
    (release / name).write_bytes(content)
    scans = atlas.find_scans(release)
    found = scans.set_index(["subject", "session"])["age"]
    for subject, age in zip(("sub-r001s001", "sub-r039s004"), ages):
        value = found[subject, "ses-1"]
        assert pd.isna(value) if age is None else value == age


@pytest.mark.parametrize(
    "name, content, told",
    [
        ("ATLAS_MetaData.xlsx", b"PK\x03\x04", "spreadsheet is not read: save it as .csv"),
        ("ATLAS_MetaData.csv", b"name,age\nx,3\n", "no column of it names these subjects"),
        ("participants.tsv", b"\xff\xfe\x00", "cannot be read"),
        ("participants.tsv", bytes(range(256)) * 4, "not joined"),
        ("MetaData.csv.gz", b"\x1f\x8b", "compressed: unpack it"),
        ("participants.tsv.gz", b"\x1f\x8b", "compressed: unpack it"),
        (
            "MetaData.csv",
            b"subject,age\nsub-r009s020,71\nsub-r009s020,72\n",
            "for 1 subject(s), such as r009s020, it has several rows",
        ),
    ],
)
def test_metadata_that_cannot_be_joined_does_not_vanish_silently(tmp_path, name, content, told):
    release = releases.r21_raw(tmp_path)
    (release / name).write_bytes(content)
    scans = atlas.find_scans(release)
    assert f"{name} was not joined" in str(scans.attrs["seen"])
    assert told in str(scans.attrs["seen"]) and "age" not in scans
