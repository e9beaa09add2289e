"""Images and masks that only the words of their paths pair: folders as people keep them."""

from __future__ import annotations

import unicodedata
import warnings

import pytest
import releases

from kenseg_utils import atlas
from kenseg_utils.atlas import ScanError
from kenseg_utils.atlas.__main__ import main


def tree(root, paths):
    """Files of different content at `paths`, a text with blanks between them (~ is a blank)."""
    for number, path in enumerate(paths.split()):
        file = root / path.replace("~", " ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number * 400)
    return root


def found(root, paths):
    """Rows as texts, "subject session: image < masks", and all warnings in one text."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        scans = atlas.find_scans(tree(root, paths))
    rows = []
    for row in scans.to_dict("records"):
        files = [row["t1w"], *row["masks"]]
        image, *masks = [file[len(str(root)) + 1 :].replace(" ", "~") for file in files]
        day = "" if row["session"] == "ses-1" else f" {row['session']}"
        space = "" if row["space"] == "orig" else f" {row['space']}"
        rows.append(f"{row['subject']}{day}{space}: {' < '.join([image, *masks])}")
    return rows, " ".join(str(warning.message) for warning in warned)


@pytest.mark.parametrize(
    "rows",
    [
        ["001: img001.nii < mask001.nii", "002: img002.nii < mask002.nii"],
        ["001: image_001.nii < mask_001.nii", "002: image_002.nii < mask_002.nii"],
        ["001: T1_001.nii < lesion_001.nii", "002: T1_002.nii < lesion_002.nii"],
        ["001: 001.nii < 001_mask.nii", "002: 002.nii < 002_mask.nii"],
        ["a: a/scan.nii < a/mask.nii", "b: b/scan.nii < b/mask.nii"],
        ["p1: p1/T1_brain.nii < p1/lesion_mask.nii", "p2: p2/T1_brain.nii < p2/lesion_mask.nii"],
        ["p1: p1.anat/T1.nii < p1.anat/lesionmask.nii"],
        ["p1: T1s/p1.nii < Lesions/p1.nii"],
        ["p1: p1/anat/T1.nii < p1/lesion/mask.nii", "p2: p2/anat/T1.nii < p2/lesion/mask.nii"],
        ["p1: p1/T1/T1.nii < p1/lesion/lesion.nii", "p2: p2/T1/T1.nii < p2/lesion/lesion.nii"],
        ["p1: p1_T1/T1.nii < p1_lesion/mask.nii", "p2: p2_T1/T1.nii < p2_lesion/mask.nii"],
        ["001: data/001.nii < gt/001.nii", "002: data/002.nii < gt/002.nii"],
        ["001: scans/001.nii < masks/001.nii", "002: scans/002.nii < masks/002.nii"],
        ["001: images/img_001.nii < masks/mask_001.nii"],
        [
            "A_001: T1/A_001.nii < Masks_final/A_001.nii",
            "A_002: T1/A_002.nii < Masks_final/A_002.nii",
        ],
        ["p1: T1w/p1_T1w.nii < manual/p1_T1w.nii"],
        ["B1-00: B1-00/B1-00-t1n.nii < B1-00/B1-00-seg.nii"],
        ["P01: P01/004_t1_mprage_sag_p2_iso.nii < P01/lesion.nii"],
        ["P1: P1_T1.nii < P1_lesion_JK.nii", "P2: P2_T1.nii < P2_lesion_final.nii"],
        ["P01: P01_T1.nii < p01_lesion.nii", "P02: P02_T1.nii < p02_lesion.nii"],
        ["Patient_1: Patient~1/T1.nii < Patient~1/Lesion~mask.nii"],
        ["stroke_p1: stroke_p1_T1.nii < stroke_p1_lesion.nii"],
        ["p1: stroke/p1_T1.nii < stroke/p1_lesion.nii", "p2: control/p2_T1.nii"],
        ["SS: SS_T1.nii < SS_lesion.nii", "Whitehead: Whitehead_T1.nii < Whitehead_lesion.nii"],
        ["A_p1: A/p1_T1.nii < A/p1_lesion.nii", "B_p1: B/p1_T1.nii < B/p1_lesion.nii"],
        [
            "001_002: 001_002_T1.nii < 001_002_lesion.nii",
            "002_001: 002_001_T1.nii < 002_001_lesion.nii",
        ],
        ["sub-1: sub-1/anat/sub-1_T1w.nii < lesions/sub-1.nii"],
        [
            "1: 1/VSD.Brain.XX.O.MR_T1.7/VSD.Brain.XX.O.MR_T1.7.nii"
            " < 1/VSD.Brain_3more.X.OT.9/VSD.Brain_3more.X.OT.9.nii"
        ],
        # SPM's letters: w is in standard space
        ["p1 standard: wT1_p1.nii < wlesion_p1.nii", "p2 standard: wT1_p2.nii < wlesion_p2.nii"],
        ["p1: p1/T1.nii < p1/LESION.nii", "p1 standard: p1/wT1.nii < p1/wLESION.nii"],
        [
            "p1: native/p1_T1.nii < native/p1_lesion.nii",
            "p1 standard: MNI/p1_T1.nii < MNI/p1_lesion.nii",
        ],
        # parts of one lesion
        ["p1: p1/T1.nii < p1/lesion_L.nii < p1/lesion_R.nii", "p2: p2/T1.nii < p2/lesion_L.nii"],
        ["p1: p1/T1.nii < p1/lesion1.nii < p1/lesion2.nii"],
        # days
        [
            "p1 ses-visit-1: p1_visit_1_T1.nii < p1_visit_1_seg.nii",
            "p1 ses-visit-2: p1_visit_2_T1.nii",
        ],
        [
            "P1 ses-20190102: P1_t1_sag_20190102.nii < P1_lesion.nii",
            "P2 ses-20190103: P2_t1_sag_20190103.nii < P2_lesion.nii",
        ],
        [
            "p1 ses-20190101: p1/20190101/T1.nii < p1/20190101/lesion.nii",
            "p1 ses-20200101: p1/20200101/T1.nii",
        ],
        [
            "sub-1 ses-1: sub-1_ses-1_T1w.nii < lesions/sub-1_ses-1.nii",
            "sub-1 ses-2: sub-1_ses-2_T1w.nii < lesions/sub-1_ses-2.nii",
        ],
        # one name in several folders
        ["p1_a: p1/T1/a.nii < p1/lesion/a.nii", "p2_a: p2/T1/a.nii < p2/lesion/a.nii"],
        ["A_1: images/A/1.nii < masks/A/1.nii", "B_1: images/B/1.nii < masks/B/1.nii"],
        [
            "a ses-visit1: images/visit1/a.nii < labels/visit1/a.nii",
            "a ses-visit2: images/visit2/a.nii < labels/visit2/a.nii",
        ],
    ],
    ids=lambda rows: rows[0].partition(": ")[2].replace(" ", ""),
)
def test_a_folder_as_people_keep_it_is_read(tmp_path, rows):
    expected = [row.replace(" ses-1:", ":") for row in rows]
    paths = " ".join(word for row in rows for word in row.split(": ")[1].split(" < "))
    read, warned = found(tmp_path, paths)
    assert read == expected and not warned


@pytest.mark.parametrize(
    "paths, rows",
    [
        # what was made of a T1w, and what shows tissue, is neither image nor mask
        ("T1_brain.nii T1_brain_mask.nii T1_fast_seg.nii mT1.nii c1T1.nii", []),
        ("T1_lesionfilled.nii T1_lesion_filled.nii contralesional_mask.nii T1c.nii FLAIR.nii", []),
        ("T1_to_MNI_lin.nii T1_to_MNI_jac.nii", ["images beside the one that a person's mask"]),
        ("asl.nii", ["images without a mask, whose names do not say"]),
        ("T1~(1).nii lesion~(1).nii", ["2 files left out, called copies"]),
        ("lesion_JK.nii", ["further masks of one image that are no parts"]),
        ("rLESION.nii", ["further masks of one image that are no parts"]),
        ("lesion_pred.nii", ["masks that a program made"]),
        ("lesion_MNI152.nii", ["masks without one image of their name"]),
        ("DWI_lesion.nii", ["masks drawn on diffusion images"]),
        ("FLAIR.nii FLAIR_lesion.nii", ["masks drawn on two images of one session"]),
    ],
)
def test_what_lies_beside_image_and_mask_changes_nothing(tmp_path, paths, rows):
    more = " ".join(f"p1/{path}" for path in paths.split())
    read, warned = found(tmp_path, f"p1/T1.nii p1/lesion.nii {more}")
    assert read == ["p1: p1/T1.nii < p1/lesion.nii"]
    assert all(text in warned for text in rows) and bool(warned) == bool(rows)


@pytest.mark.parametrize(
    "paths, reason",
    [
        ("p1_T1.nii p2_lesion.nii", "masks without one image of their name"),
        ("T1.nii p3/lesion.nii", "masks without one image of their name"),  # a template, perhaps
        ("p1_T1_2019.nii p1_T1_2021.nii p1_lesion.nii", "masks without one image"),
        ("p1_T1.nii p1_lesion_MNI152.nii", "masks without one image of their name"),
        ("p1/T1_1.nii p1/T1_2.nii p1/lesion.nii", "masks without one image of their name"),
        ("p1/T1.nii p1/mprage.nii p1/lesion.nii", "images of one person and contrast, several"),
        ("s/T1.nii s/lesion_001.nii s/lesion_002.nii", "no parts of its lesion"),
        ("P1_T1.nii P1_lesion_rater1.nii P1_lesion_rater2.nii", "no parts of its lesion"),
        ("p1/T1.nii p1/lesion.nii p1/infarct.nii", "no parts of its lesion"),
        ("p1/T1.nii p1/lesion_auto.nii", "masks that a program made"),
        ("T1/p1.nii predicted_masks/p1.nii", "masks that a program made"),
    ],
)
def test_what_fits_two_ways_or_none_is_not_guessed(tmp_path, paths, reason):
    with pytest.raises(ScanError, match=reason):
        atlas.find_scans(tree(tmp_path, paths))
    # ... and leaves somebody else's pair alone
    read, warned = found(tmp_path, "z/T1.nii z/lesion.nii")
    assert "z: z/T1.nii < z/lesion.nii" in read and sum(" < " in row for row in read) == 1
    assert reason in warned


@pytest.mark.parametrize("folder", ["brain_masks", "skull-stripped_masks", "wm_seg", "gm"])
def test_a_folder_s_words_tell_what_is_no_lesion_s_mask(tmp_path, folder):
    with pytest.raises(ScanError, match="does not look like"):
        atlas.find_scans(tree(tmp_path, f"T1/p1.nii {folder}/p1.nii"))
    read, warned = found(tmp_path, "masks_final/p1.nii predictions/p1.nii")
    assert read == ["p1: T1/p1.nii < masks_final/p1.nii"] and not warned


def test_predictions_beside_scans_of_no_named_contrast_are_no_second_images(tmp_path):
    read, warned = found(tmp_path, "scans/p1.nii masks/p1.nii predictions/p1.nii gm/p1.nii")
    assert read == ["p1: scans/p1.nii < masks/p1.nii"] and not warned


def test_a_mask_that_was_left_out_is_told_in_its_scan_s_row(tmp_path):
    tree(tmp_path, "p1/T1.nii p1/lesion_A.nii p1/lesion_B.nii p2/T1.nii p2/lesion.nii p3/T1.nii")
    with pytest.warns(UserWarning, match="keep one, or give a table"):
        scans = atlas.find_scans(tmp_path)
    told = scans["unlabelled"].tolist()
    assert told[0].startswith("its mask was left out (further masks of one image")
    assert told[1:] == ["", "no lesion mask was found for it"]


@pytest.mark.parametrize(
    "paths",
    [
        "sub-1_T1w.nii derivatives/fmriprep/sub-1_desc-brain_mask.nii",
        "sub-1_T1w.nii derivatives/x/sub-1_desc-aseg_dseg.nii derivatives/x/sub-1_label-GM_seg.nii",
        "sub-1_T1w.nii func/sub-1_task-x_bold.nii rois/sub-1.nii",
    ],
)
def test_a_bids_tree_gets_no_masks_that_do_not_call_themselves_a_lesion_s(tmp_path, paths):
    read, _ = found(tmp_path, paths)
    assert read == ["sub-1: sub-1_T1w.nii"]


def test_such_a_pair_is_loaded_with_its_mask(tmp_path):
    releases.save(tmp_path / "img07.nii.gz", releases.image(), releases.RAS)
    releases.save(tmp_path / "mask07.nii.gz", releases.lesion(), releases.RAS)
    scan = atlas.load_scan(atlas.find_scans(tmp_path).iloc[0])
    assert scan.subject == "07" and (scan.mask == releases.lesion()).all()


def test_drawings_of_mricron_are_told_with_the_way_out(tmp_path):
    with pytest.raises(ScanError, match=r"1 drawings of MRIcron .*lesion.voi.*rename.*nii.gz"):
        atlas.find_scans(tree(tmp_path, "p1/T1.nii p1/lesion.voi"))


def test_the_table_that_is_written_is_read_as_the_same_scans(tmp_path):
    tree(tmp_path, "data/p1/T1.nii data/p1/lesion_L.nii data/p1/lesion_R.nii data/p2/T1.nii")
    tree(tmp_path, "data/p3/T1.nii data/p3/FLAIR.nii data/p3/FLAIR_lesion.nii")
    scans = atlas.find_scans(tmp_path / "data")
    for name in ("beside.csv", "data/below.csv", "elsewhere/far.csv"):
        table = atlas.write_table(scans, tmp_path / name)
        again = atlas.find_scans(table)
        kept = ["subject", "session", "t1w", "masks", "mask_grid", "space"]
        assert again[kept].to_dict() == scans[kept].to_dict()
    near, far = ((tmp_path / name).read_text() for name in ("beside.csv", "elsewhere/far.csv"))
    assert near.splitlines()[1] == (
        "data/p1/T1.nii,data/p1/lesion_L.nii|data/p1/lesion_R.nii,same,p1,ses-1,,,orig,"
    )
    assert near.splitlines()[2].endswith("p2,ses-1,,,orig,no lesion mask was found for it")
    assert str(tmp_path / "data/p1/T1.nii") in far  # paths of another branch stay whole


@pytest.mark.parametrize(
    "name, message", [("there.csv", "is there already"), ("scans.txt", "written as .csv")]
)
def test_a_table_is_written_over_nothing_and_under_its_own_ending(tmp_path, name, message):
    scans = atlas.find_scans(tree(tmp_path / "data", "p1/T1.nii p1/lesion.nii"))
    (tmp_path / "there.csv").write_text("mine")
    with pytest.raises(ScanError, match=message):
        atlas.write_table(scans, tmp_path / name)
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "there.csv"]


def test_a_name_that_a_table_cannot_hold_is_refused(tmp_path):
    scans = atlas.find_scans(tree(tmp_path, "p1/T1.nii p1/lesion_1.nii p1/lesion_2.nii"))
    scans.at[0, "masks"] = (scans.masks[0][0], str(tmp_path / "a|b.nii"))
    with pytest.raises(ScanError, match=r"a\|b.nii has a \| in its name.*rename"):
        atlas.write_table(scans, tmp_path / "scans.csv")


def test_the_command_shows_the_pairs_and_writes_them(tmp_path, capsys):
    people = " ".join(f"p{number:02d}/T1.nii p{number:02d}/lesion.nii" for number in range(22))
    folder = tree(tmp_path / "data", f"{people} p00/lesion_pred.nii q/T1.nii esc\x1b[2J/T1.nii")
    assert main([str(folder)]) == 0
    said, errors = capsys.readouterr()
    assert "data (side by side): 24 scans, 22 with a lesion mask" in said and not errors
    assert "    p00 ses-1: T1.nii with lesion.nii" in said and "and 4 more" in said
    assert "1 file left out, masks that a program made" in said
    assert "\x1b" not in said and "esc" in said
    table = tmp_path / "scans.csv"
    assert main([str(folder), str(table)]) == 0
    assert f"All 24 are in {table}." in capsys.readouterr().out
    assert main([str(table)]) == 0 and "22 with a lesion mask" in capsys.readouterr().out
    assert main([str(folder), str(table)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere")]) == 1 and "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rows",
    [
        ["p1: p1/T1.nii < p1/Läsion.nii", "p2: p2/T1.nii < p2/Läsion.nii"],
        ["p1: p1/T1.nii < p1/lésion.nii", "p2: p2/T1.nii < p2/lésion.nii"],
        ["p1: p1_T1.nii < p1_lesione.nii", "p2: p2_T1.nii < p2_lesione.nii"],
        ["p1: T1/p1.nii < Lesões/p1.nii", "p2: T1/p2.nii < Lesões/p2.nii"],
        ["p1: T1/p1.nii < Läsionen/p1.nii", "p2: T1/p2.nii < Läsionen/p2.nii"],
        ["p1: Bilder/p1.nii < Masken/p1.nii", "p2: Bilder/p2.nii < Masken/p2.nii"],
        ["p1: imágenes/p1.nii < máscaras/p1.nii"],
        ["p1: immagini/p1.nii < maschere/p1.nii"],
        ["001: T1_001.nii < Maske_001.nii", "002: T1_002.nii < Maske_002.nii"],
        ["p1: p1/T1.nii < p1/Läsion_links.nii < p1/Läsion_rechts.nii"],
        ["p1: p1/T1.nii < p1/infarkt.nii", "p2: p2/T1.nii < p2/Infarkt.nii"],
        ["001: 001_T1.nii < 001_病灶.nii", "002: 002_T1.nii < 002_病灶.nii"],
        ["sub-1: sub-1_T1w.nii < sub-1_lésion.nii", "sub-2: sub-2_T1w.nii < sub-2_lésion.nii"],
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])  # as most systems encode accents, and as macOS
def test_lesions_and_masks_of_other_languages(tmp_path, rows, form):
    wanted = [unicodedata.normalize(form, row) for row in rows]
    paths = " ".join(path for row in wanted for path in row.split(": ")[1].split(" < "))
    assert found(tmp_path, paths)[0] == wanted
