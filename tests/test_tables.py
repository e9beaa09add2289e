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
    assert "3 scans, 2 with a lesion mask" in str(scans.attrs["seen"])
    with pytest.warns(UserWarning, match="its table names no mask for it"):
        assert len(profiles.open_scans(profiles.get("smoke"), path)) == 2


def test_several_masks_of_a_scan_stand_in_one_cell(tmp_path):
    path = releases.table(tmp_path)
    second = np.roll(releases.lesion(), 5, 0)
    releases.save(tmp_path / "scans" / "anna_second.nii.gz", second, releases.RAS)
    path.write_text(path.read_text().replace("anna_lesion.nii.gz", "{first}|{second}", 1))
    lines = path.read_text().format(first="anna_lesion.nii.gz", second="scans/anna_second.nii.gz")
    path.write_text(lines)
    scans = atlas.find_scans(path)
    assert scans["masks"].map(len).tolist() == [2, 1, 0]
    merged = (releases.lesion() + second) > 0
    assert (atlas.load_scan(scans.iloc[0]).mask == merged).all()
    path.write_text(lines.replace("anna_second", "anna_lesion"))
    with pytest.raises(atlas.ScanError, match="name the same mask"):
        atlas.find_scans(path)
    path.write_text(lines.replace("anna_second", "nobody"))
    with pytest.warns(UserWarning, match="whose mask does not exist.*nobody"):
        assert atlas.find_scans(path)["subject"].tolist() == ["bert", "carl"]


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


def test_what_is_no_path_is_told_with_its_table_and_line(tmp_path):
    path = releases.table(tmp_path)
    path.write_text(
        "image,mask,subject\nscans/anna.nii.gz,scans/anna_lesion.nii.gz,a\n"
        "https://example.org/b.nii.gz,,b\nscans/carl.nii.gz,'scans/c.nii.gz',c\n"
    )
    with pytest.raises(ScanError) as caught:
        atlas.find_scans(path)
    assert str(caught.value).startswith(f"{path} gives what is no file of this machine. Line 3, ")
    assert "image: https://example.org/b.nii.gz is an address on the net: download it" in str(
        caught.value
    )
    assert "Line 4, mask: " in str(caught.value) and "Try scans/c.nii.gz" in str(caught.value)
    assert str(caught.value).endswith("Put these lines right, or take them out.")


def test_one_missing_file_among_many_is_left_out(tmp_path):
    path = releases.table(tmp_path)
    (tmp_path / "scans" / "bert_lesion.nii.gz").unlink()
    with pytest.warns(UserWarning, match="1 file left out, scans of scans.csv whose mask does not"):
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


def study(root, *names):
    """A BIDS tree of these subjects, a T1w each; returns its folder."""
    for number, name in enumerate(names):
        releases.write(root / name / "anat" / f"{name}_T1w.nii.gz", releases.image(number))
    return root


def joined(root, content, column="age"):
    """A column by subject after joining a participants.tsv, {} without one; and what is said."""
    (root / "participants.tsv").write_text(content.replace(",", "\t"))
    scans = atlas.find_scans(root)
    values = dict(zip(scans["subject"], scans[column])) if column in scans else {}
    return {name: value for name, value in values.items() if not pd.isna(value)}, " ".join(
        scans.attrs["seen"].tables
    )


FIVE = [f"sub-{number:02d}" for number in range(1, 6)]
AGES = dict(zip(FIVE, (11, 22, 33, 44, 55)))
BACK = "\n".join(f"{name},{6 - number},{age}" for number, (name, age) in enumerate(AGES.items(), 1))


@pytest.mark.parametrize(
    "header", ["participant_id,order,age", "subject,order,age", "Subject ID,order,age", "id,no,age"]
)
@pytest.mark.parametrize("spelling", ["sub-01", "01", "1", "SUB-01"])
def test_a_column_of_ids_wins_over_numbers_that_happen_to_fit(tmp_path, header, spelling):
    root = study(tmp_path, *FIVE)
    rows = BACK.replace("sub-", "" if spelling[0].isdigit() else spelling[:4])
    rows = "\n".join(row.lstrip("0") for row in rows.splitlines()) if spelling == "1" else rows
    assert joined(root, f"{header}\n{rows}\n") == (AGES, "")
    turned = [",".join(row.split(",")[::-1]) for row in (header, *rows.splitlines())]
    assert joined(root, "\n".join(turned)) == (AGES, "")


def test_scores_are_nobody_s_names(tmp_path):
    root = study(tmp_path, *(f"sub-{number:02d}" for number in range(1, 9)))
    rows = [f"P{100 + n},{50 + n},{nihss}" for n, nihss in enumerate((4, 2, 8, 1, 6, 3, 5, 11))]
    ages, told = joined(root, "\n".join(["participant_id,age,nihss", *rows]))
    assert ages == {} and told == (
        "participants.tsv was not joined: its column participant_id names 0 of 8 subjects here, "
        "not even half: its first is P100, the first here is sub-01"
    )
    # Nor are they where nothing is called an id.
    ages, told = joined(root, "\n".join(["code of the centre,age,nihss", *rows]))
    assert ages == {} and "numbers alone, as in nihss, name nobody" in told
    ages, told = joined(root, "\n".join([",age,nihss", *(row.replace("P10", "") for row in rows)]))
    assert ages == {} and "was not joined" in told  # the unnamed column is a spreadsheet's


def test_a_name_with_a_slip_costs_one_row_and_is_told(tmp_path):
    root = study(tmp_path, *FIVE)
    rows = BACK.replace("sub-04", "sub-o4").replace("sub-02", "sub-2b")
    ages, told = joined(root, f"participant_id,order,age\n{rows}\n")
    assert ages == {name: AGES[name] for name in ("sub-01", "sub-03", "sub-05")}
    assert told == (
        "participants.tsv was joined for others only: for 2 subjects, such as sub-02, it has no "
        "row, but one of sub-2b, who is not here"
    )


@pytest.mark.parametrize("first", ["case", "Nr."])
def test_numbers_are_names_in_the_first_column_where_none_is_called_an_id(tmp_path, first):
    root = study(tmp_path, *FIVE)
    rows = "\n".join(f"{number},{age}" for number, age in enumerate(AGES.values(), 1))
    ages, told = joined(root, f"{first},age\n{rows}\n")
    assert ages == AGES and f"was joined by the numbers in {first}, its first column" in told
    assert joined(root, f"visit,{first},age\n" + rows.replace("\n", "\nx,"))[0] == {}


def test_two_columns_of_ids_must_agree(tmp_path):
    root = study(tmp_path, *FIVE)
    rows = [f"{name},{name},{age}" for name, age in AGES.items()]
    assert joined(root, "\n".join(["participant_id,subject,age", *rows])) == (AGES, "")
    rows[1] = "sub-02,sub-03,22"
    ages, told = joined(root, "\n".join(["participant_id,subject,age", *rows]))
    assert ages == {}
    assert "participant_id and subject name different subjects in one row. Take one" in told
    # Labels count more than a running number, and participant_id more than another person's.
    for header in ("participant_id,subject_no,age", "participant_id,matched_subject_id,age"):
        rows = [f"{n},{m},{a}" for (n, a), m in zip(AGES.items(), (5, 4, 3, 2, 1))]
        rows = [row.replace(",", ",sub-0", 1) if "matched" in header else row for row in rows]
        assert joined(root, "\n".join([header, *rows])) == (AGES, "")
    rows = [f"{n},{m},{a}" for n, m, a in zip((1, 2, 3, 4, 5), (5, 4, 3, 2, 1), AGES.values())]
    ages, told = joined(root, "\n".join(["subject_no,patient_no,age", *rows]))
    assert ages == {} and "subject_no and patient_no are all called as if they named people" in told
    rows = [f"{n},sub-0{m},{a}" for n, m, a in zip((1, 2, 3, 4, 5), (5, 4, 3, 2, 1), AGES.values())]
    ages, told = joined(root, "\n".join(["id,scan,age", *rows]))
    assert ages == {} and "id and scan name different subjects" in told


def test_a_label_that_two_subjects_share_names_neither(tmp_path):
    root = study(tmp_path, "sub-001", "sub-01", "sub-A", "sub-0")
    ages, _ = joined(root, "subject,age\n1,5\nsub-01,6\n001,7\na,8\n,9\n0,10\n")
    assert ages == {"sub-01": 6, "sub-001": 7, "sub-A": 8, "sub-0": 10}


def test_rows_that_say_the_same_are_one_and_others_are_none(tmp_path):
    root = study(tmp_path, "sub-01", "sub-02", "sub-03")
    rows = "sub-02,60,M\nsub-01,50,F\nsub-03,70,F\n"
    whole = {"sub-01": 50, "sub-02": 60, "sub-03": 70}
    assert joined(root, f"participant_id,age,sex\n{rows}sub-01,50,F\n") == (whole, "")
    ages, told = joined(root, f"participant_id,age,sex\n{rows}sub-01,51,F\n")
    assert ages == {"sub-02": 60, "sub-03": 70}
    assert told == (
        "participants.tsv was joined for others only: for 1 subject, such as sub-01, it has "
        "several rows that no session tells apart"
    )


def test_sessions_with_words_for_names_are_told_apart(tmp_path):
    for session in ("pre", "post"):
        name = f"sub-01/ses-{session}/anat/sub-01_ses-{session}_T1w.nii.gz"
        releases.write(tmp_path / name, releases.image(len(session)))

    def ages(rows):
        (tmp_path / "participants.tsv").write_text(rows.replace(",", "\t"))
        scans = atlas.find_scans(tmp_path)
        return dict(zip(scans["session"], scans["age"])) if "age" in scans else {}

    both = ages("participant_id,session_id,age\nsub-01,ses-post,61\nsub-01,pre,60\n")
    assert both == {"ses-pre": 60, "ses-post": 61}
    one = ages("participant_id,session_id,age\nsub-01,ses-post,61\n")
    assert one["ses-post"] == 61 and np.isnan(one["ses-pre"])
    assert ages("participant_id,session_id,age\nsub-01,later,62\n") == {}
    # Where sessions are numbers, a word in their place says nothing.
    root = study(tmp_path / "plain", "sub-01")
    assert joined(root, "participant_id,session,age\nsub-01,baseline,60\n") == ({"sub-01": 60}, "")


def test_metadata_stand_in_the_order_of_their_table(tmp_path):
    root = study(tmp_path, "sub-01")
    content = "participant_id\tsex\tage\tsex\tnihss\nsub-01\tF\t60\tM\t4\n"
    (root / "participants.tsv").write_text(content)
    scans = atlas.find_scans(root)
    assert list(scans.columns[-3:]) == ["sex", "age", "nihss"] and scans["sex"].tolist() == ["F"]


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
            "for 1 subject, such as sub-r009s020, it has several rows",
        ),
    ],
)
def test_metadata_that_cannot_be_joined_does_not_vanish_silently(tmp_path, name, content, told):
    release = releases.r21_raw(tmp_path)
    (release / name).write_bytes(content)
    scans = atlas.find_scans(release)
    assert f"{name} was not joined" in str(scans.attrs["seen"])
    assert told in str(scans.attrs["seen"]) and "age" not in scans
