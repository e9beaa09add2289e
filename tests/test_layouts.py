"""Layouts besides ATLAS: what is recognised is named truthfully, and the rest is counted."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import releases
from numpy.testing import assert_allclose

from kenseg_utils import anatomy, atlas, evaluation, machine, profiles, slices
from kenseg_utils.atlas import ScanError


def found(root, **options):
    """A table of scans whose warnings stand in `attrs["problems"]` anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return atlas.find_scans(root, **options)


def by_subject(scans: pd.DataFrame) -> dict:
    return {row["subject"]: row for row in scans.to_dict("records")}


def world_centre(mask, affine):
    return (affine @ np.append(np.argwhere(mask).mean(0), 1))[:3]


# --- ARC ----------------------------------------------------------------------------------------


def test_arc_is_found_with_its_masks_from_the_t2w_s_grid(tmp_path):
    with pytest.warns(UserWarning, match="another session") as warned:
        scans = atlas.find_scans(releases.arc(tmp_path))
    assert set(scans["release"]) == {"ARC 1.0.2"} and set(scans["site"]) == {"ARC"}
    rows = by_subject(scans)
    # The pair of two sessions is left out; a T1w without any mask of its subject is kept.
    assert sorted(rows) == ["sub-M2012", "sub-M2018", "sub-M2051", "sub-M2100"]
    assert [rows[name]["mask_grid"] for name in ("sub-M2012", "sub-M2100")] == ["world", "same"]
    assert rows["sub-M2100"]["masks"] == () and rows["sub-M2100"]["unlabelled"]
    assert rows["sub-M2051"]["acquisition"] == "tfl3p2" and rows["sub-M2051"]["run"] == "4"
    seen = scans.attrs["seen"]
    assert {left.count for left in seen.left_out} == {1} and len(seen.left_out) == 2
    assert all("sub-M2001" in left.first for left in seen.left_out)
    assert tuple(str(warning.message) for warning in warned) == scans.attrs["problems"]
    assert "ARC 1.0.2: 4 scans, 3 with a lesion mask" in str(seen)
    assert "5 T1w" in str(seen) and "4 T2w" in str(seen) and "4 lesion masks" in str(seen)
    assert "brought to its grid by world coordinates" in str(seen)


def test_arc_s_masks_keep_volume_and_place(tmp_path):
    scans = found(releases.arc(tmp_path))
    scan = atlas.load_scan(scans.iloc[0])
    assert scan.mask.shape == scan.image.shape == (64, 64, 64)
    drawn = releases.ellipsoid(releases.T2_GRID, (60, 60, 24), (5, -4, 2), (7, 5, 6))
    there = drawn.sum() * anatomy.voxel_ml(releases.T2_GRID)
    here = scan.mask.sum() * anatomy.voxel_ml(scan.affine)
    assert abs(here / there - 1) < 0.03
    assert_allclose(
        world_centre(scan.mask, scan.affine), world_centre(drawn, releases.T2_GRID), atol=0.5
    )


def test_the_table_that_chapter_15_writes_keeps_all_of_arc(tmp_path, root):
    """Masks from another image's grid stay such, or none of them would fit."""
    book = json.loads((root / "notebooks" / "15_train_on_your_own_data.ipynb").read_text())
    texts = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    writes = next(text for text in texts if "atlas.write_table" in text)
    mine = found(releases.arc(tmp_path / "arc"))
    double = mine.iloc[0].masks[0].replace("desc-lesion", "desc-lesion2")
    shutil.copy(mine.iloc[0].masks[0], double)
    mine.at[0, "masks"] = (*mine.iloc[0].masks, double)
    space = dict(
        atlas=atlas, machine=machine, pd=pd, Path=Path, mine=mine, folder=tmp_path, Markdown=str
    )
    exec(writes, space | dict(display=print))
    back = found(tmp_path / "scans.csv")
    for name in ("subject", "session", "masks", "mask_grid"):
        assert back[name].tolist() == mine[name].tolist(), name
    for one, other in zip(mine.to_dict("records"), back.to_dict("records")):
        if one["masks"]:
            assert (atlas.load_scan(one).mask == atlas.load_scan(other).mask).all()


def test_arc_s_table_is_told_in_the_words_of_the_download(tmp_path):
    rows = by_subject(found(releases.arc(tmp_path)))
    row = rows["sub-M2012"]
    assert [row[name] for name in ("sex", "age_at_stroke", "wab_aq", "wab_days")] == [
        "F",
        38,
        87.1,
        500,
    ]
    assert row["days_post_stroke"] == 1158 and row["scanner"] == "TrioTim"
    assert [rows[name]["aphasia_type"] for name in ("sub-M2012", "sub-M2018")] == [
        "Anomic",
        "no aphasia",
    ]
    assert np.isnan(rows["sub-M2051"]["wab_aq"]) and pd.isna(rows["sub-M2051"]["aphasia_type"])
    assert "wab_type" not in row


def test_arc_as_this_package_downloads_it(tmp_path):
    """Its own participants.tsv, and a description with another name but the same DOI."""
    release = releases.arc(tmp_path)
    shutil.rmtree(release / "sub-M2001"), shutil.rmtree(release / "sub-M2100")
    shutil.rmtree(release / "derivatives" / "lesion_masks" / "sub-M2001")
    releases.describe(
        release,
        "Aphasia Recovery Cohort (ARC) Dataset: T1w and lesion masks of some subjects",
        "doi:10.18112/openneuro.ds004884.v1.0.2",
    )
    releases.describe(release / "derivatives" / "lesion_masks", "ARC", "", DatasetType="derivative")
    (release / "participants.tsv").write_text(
        "participant_id\tdays_post_stroke\tsex\tage_at_stroke\twab_aq\taphasia_type\tscanner\n"
        "sub-M2012\t1158\tF\t38\t87.1\tAnomic\tPrisma\n"
        "sub-M2018\t341\tM\t55\t96.8\tno aphasia\tn/a\n"
        "sub-M2051\tn/a\tM\t61\tn/a\tn/a\tTrioTim\n"
    )
    scans = atlas.find_scans(release)
    assert scans.attrs["problems"] == () and set(scans["release"]) == {"ARC 1.0.2"}
    assert scans["days_post_stroke"].tolist() == [1158, 341, 284]
    assert scans["scanner"].tolist()[::2] == ["Prisma", "TrioTim"]
    assert scans["aphasia_type"].tolist()[:2] == ["Anomic", "no aphasia"]


def test_arc_s_version_comes_from_what_there_is(tmp_path):
    release = releases.arc(tmp_path, described=False)
    assert set(found(release)["release"]) == {"ARC"}
    releases.describe(release, "Aphasia Recovery Cohort (ARC) Dataset")
    (release / "CHANGES").write_text("1.0.1 2023-11-21\n  - Initial snapshot\n")
    assert set(found(release)["release"]) == {"ARC 1.0.1"}
    assert set(found(release / "sub-M2012")["release"]) == {"ARC 1.0.1"}  # a part of it


def test_slices_are_made_of_arc_and_its_other_scans_are_reported(tmp_path):
    scans = found(releases.arc(tmp_path))
    made = slices.prepare(scans, size=48, padded=64, work_dir=tmp_path / "work", workers=1)
    assert sorted(set(made.index.subject)) == ["sub-M2012", "sub-M2018", "sub-M2051"]
    assert "has no mask" in made.report.problem[0] and len(made.report) == 1
    with pytest.warns(UserWarning, match="1 of 4 scans are left out"):
        assert len(profiles.open_scans(profiles.get("smoke"), tmp_path)) == 3


def test_a_mask_may_also_be_used_with_the_image_that_it_was_drawn_on(tmp_path):
    scans = found(releases.arc(tmp_path), suffix="T2w")
    assert set(scans["mask_grid"]) == {"same"} and len(scans) == 4
    assert atlas.load_scan(scans.iloc[0]).mask.shape == (60, 60, 24)


# --- SOOP ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("described", [True, False])
def test_soop_gives_unlabelled_heads_and_says_why(tmp_path, described):
    scans = found(releases.soop(tmp_path, described))
    assert set(scans["release"]) == {"SOOP 1.1.2" if described else "SOOP"}
    assert scans["masks"].tolist() == [(), ()] and scans["subject"].tolist() == ["sub-11", "sub-2"]
    assert scans["unlabelled"].str.contains("diffusion images.*space-TRACE").all()
    assert atlas.load_scan(scans.iloc[0]).mask is None
    assert "4 files left out" in scans.attrs["problems"][0]
    with pytest.raises(ScanError, match="2 of 2 .* invisible on T1w.* Train on ARC or ATLAS"):
        atlas.require_masks(scans)
    with pytest.raises(ScanError, match="invisible on T1w"):
        profiles.open_scans(profiles.get("smoke"), tmp_path)
    for protocol in ("lesion_crop", "whole_slice"):
        with pytest.raises(ScanError, match="invisible on T1w"):
            slices.prepare(scans, protocol, work_dir=tmp_path / "work", workers=1)


# --- any BIDS tree ------------------------------------------------------------------------------

STEM = "sub-01/ses-2/anat/sub-01_ses-2"
LESION = "derivatives/manual/sub-01/ses-2/anat/sub-01_ses-2"


def tree(root, *names, description: str = "Stroke in Ghent"):
    """A BIDS tree with these files: masks where their names say so, images elsewhere."""
    if description:
        releases.describe(root, description)
    for number, name in enumerate(names):
        words = ("mask", "msk", "roi", "seg", "label", "lesion")
        is_mask = any(word in name.lower() for word in words)
        values = releases.lesion() if is_mask else releases.image(number)
        releases.save(root / name, values, releases.RAS)
    return root


@pytest.mark.parametrize(
    "mask",
    [
        f"{LESION}_label-lesion_mask.nii.gz",
        f"{LESION}_label-L_mask.nii.gz",
        f"{LESION}_desc-lesion_mask.nii.gz",
        f"{LESION}_mask.nii.gz",
        f"{LESION}_roi.nii.gz",
        f"{LESION}_dseg.nii.gz",
        f"{LESION}_T1w_label-lesion_roi.nii.gz",
        f"{LESION}_T1w_label-lesion.nii.gz",
        f"{LESION}_T1w_lesion-manual.nii.gz",
        f"{LESION}_space-T1w_label-infarct_mask.nii",
        f"{LESION}_lesion.nii.gz",
        f"{LESION}_LesionMask.nii.gz",
        f"{LESION}_T1w_lesion.nii.gz",
        f"{LESION}_T1w_lesion_mask.nii.gz",
        f"{LESION}_lesion_mask.nii.gz",
        f"{LESION}_stroke_roi.nii.gz",
        f"{LESION}_desc-infarct_msk.nii.gz",
        f"{LESION}_msk.nii.gz",
        f"{STEM}_lesion_seg.nii.gz",
        f"{STEM}_label-lesion_roi.nii.gz",
        "derivatives/masks/sub-01_label-lesion_mask.nii.gz",
    ],
)
def test_masks_of_any_bids_tree(tmp_path, mask):
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz", f"{STEM}_T2w.nii.gz", mask)
    scans = atlas.find_scans(root)
    assert scans["release"].tolist() == ["Stroke in Ghent (BIDS)"]
    assert scans["masks"].tolist() == [(str(root / mask),)] and scans["split"].tolist() == [""]
    assert (atlas.load_scan(scans.iloc[0]).mask == releases.lesion()).all()


@pytest.mark.parametrize(
    "other",
    [
        f"{LESION}_desc-brain_mask.nii.gz",
        f"{LESION}_label-GM_mask.nii.gz",
        f"{LESION}_desc-aseg_dseg.nii.gz",
        "derivatives/fmriprep/sub-01/ses-2/anat/sub-01_ses-2_dseg.nii.gz",
        "derivatives/sMRIprep/sub-01/ses-2/anat/sub-01_ses-2_mask.nii.gz",
        "derivatives/freesurfer/sub-01/ses-2/anat/sub-01_ses-2_mask.nii.gz",
    ],
)
def test_masks_of_tissue_are_none_of_lesions(tmp_path, other):
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz", other)
    assert atlas.find_scans(root)["masks"].tolist() == [()]
    lesion = f"{LESION}_label-lesion_mask.nii.gz"
    tree(root, lesion)
    assert atlas.find_scans(root)["masks"].tolist() == [(str(root / lesion),)]


@pytest.mark.parametrize(
    "name",
    [
        *(f"desc-{word}_mask" for word in ("bet", "BET2", "hdbet", "hd-bet", "brainmask", "icv")),
        *(f"desc-{word}_mask" for word in ("skullstrip", "synthstrip", "tissue", "leftHemisphere")),
        *(
            f"label-{word}_mask"
            for word in ("hemi", "lh", "contralesional", "nonlesion", "healthy")
        ),
        *("hemi-L_mask", "brain_mask", "bet_mask", "hemisphere_mask"),
        *("T1w_brain_seg", "T1w_brain_mask", "T1w_lesionfilled", "lesionfilled_T2w"),
    ],
)
def test_names_of_what_is_no_lesion(tmp_path, name):
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz", f"{LESION}_{name}.nii.gz")
    assert atlas.find_scans(root)["masks"].tolist() == [()]


@pytest.mark.parametrize("word", ["ischemia", "ischaemic", "alphabet", "manual", "beta"])
def test_names_that_only_sound_like_tissue(tmp_path, word):
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz", f"{LESION}_desc-{word}_mask.nii.gz")
    assert atlas.find_scans(root)["masks"].map(len).tolist() == [1]


@pytest.mark.parametrize("pipeline", ["brainmasks", "skullstripped", "head_mask", "hemispheres"])
def test_folders_of_what_is_no_lesion(tmp_path, pipeline):
    place = LESION.replace("manual", pipeline)
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz", f"{place}_mask.nii.gz")
    assert atlas.find_scans(root)["masks"].tolist() == [()]
    tree(root, f"{place}_label-lesion_mask.nii.gz")
    assert atlas.find_scans(root)["masks"].map(len).tolist() == [1]


def test_a_bids_set_is_never_called_atlas(tmp_path):
    names = (f"{STEM}_T1w.nii.gz", f"{LESION}_label-lesion_mask.nii.gz")
    assert atlas.find_scans(tree(tmp_path / "a", *names))["release"][0] == "Stroke in Ghent (BIDS)"
    assert atlas.find_scans(tree(tmp_path / "b", *names, description=""))["release"][0] == "BIDS"
    # Below a folder called ATLAS_2, and with subjects numbered as there.
    deep = tree(tmp_path / "ATLAS_2" / "ours", *names)
    assert atlas.find_scans(deep)["release"][0] == "Stroke in Ghent (BIDS)"
    numbered = [name.replace("sub-01", "sub-r001s001") for name in names]
    other = tree(tmp_path / "c", *numbered)
    assert atlas.find_scans(other)["release"][0] == "Stroke in Ghent (BIDS)"
    (other / "dataset_description.json").unlink()
    assert atlas.find_scans(other)["release"][0] == "R2.1"


@pytest.mark.parametrize("content", ["", "[1]", '{"Name": null}', "{", '{"Name": ["a"]}', "\0"])
def test_a_description_that_says_nothing_does_no_harm(tmp_path, content):
    root = tree(tmp_path / "x", f"{STEM}_T1w.nii.gz", description="")
    (root / "dataset_description.json").write_text(content)
    assert atlas.find_scans(root)["release"][0].endswith("BIDS") or content == '{"Name": ["a"]}'


def test_the_site_is_the_table_s_or_the_folder_s_or_the_data_set_s(tmp_path):
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz")
    assert atlas.find_scans(root)["site"].tolist() == ["Stroke in Ghent"]
    tree(root, f"Leuven/{STEM.replace('01', '02')}_T1w.nii.gz")
    assert atlas.find_scans(root)["site"].tolist() == ["Stroke in Ghent", "Leuven"]
    (root / "participants.tsv").write_text("participant_id\tsite\nsub-01\tNA\nsub-02\t3\n")
    assert atlas.find_scans(root)["site"].tolist() == ["Stroke in Ghent", "3"]


def test_fmriprep_inside_a_valid_tree_changes_nothing_but_the_count(tmp_path):
    inside = "derivatives/fmriprep/sub-01/ses-2/anat/sub-01_ses-2"
    root = tree(
        tmp_path,
        f"{STEM}_T1w.nii.gz",
        f"{LESION}_label-lesion_mask.nii.gz",
        f"{inside}_desc-preproc_T1w.nii.gz",
        f"{inside}_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz",
        f"{inside}_desc-brain_mask.nii.gz",
        f"{STEM}_desc-brain_T1w.nii.gz",
    )
    scans = found(root)
    assert scans["t1w"].tolist() == [str(root / f"{STEM}_T1w.nii.gz")]
    assert len(scans["masks"][0]) == 1
    counts = {left.reason.split()[2]: left.count for left in scans.attrs["seen"].left_out}
    assert counts == {"below": 2, "(desc-)": 1}
    # Alone, what it made is an image as good as any.
    alone = found(root / "derivatives" / "fmriprep")
    assert alone["description"].tolist() == ["preproc", "preproc"]
    assert alone["space"].tolist() == ["MNI152NLin2009cAsym", "orig"]


def test_runs_and_acquisitions_are_told_apart_and_kept(tmp_path):
    root = tree(
        tmp_path,
        f"{STEM}_acq-mprage_run-01_T1w.nii.gz",
        f"{STEM}_acq-mprage_run-02_T1w.nii.gz",
        f"{STEM}_acq-spgr_T1w.nii.gz",
        f"{LESION}_acq-mprage_run-2_label-lesion_mask.nii.gz",
        f"{LESION}_acq-spgr_label-lesion_mask.nii.gz",
    )
    scans = atlas.find_scans(root)
    assert scans[["acquisition", "run"]].to_numpy().tolist() == [
        ["mprage", "01"],
        ["mprage", "02"],
        ["spgr", ""],
    ]
    assert scans["masks"].map(len).tolist() == [0, 1, 1]
    made = slices.prepare(scans, work_dir=tmp_path / "work", workers=1)
    assert sorted(set(made.index["scan"])) == [
        "sub-01_ses-2_acq-mprage_run-02",
        "sub-01_ses-2_acq-spgr",
    ]


@pytest.mark.parametrize("key", ["echo", "rec", "ce", "part", "res", "den", "sample"])
def test_images_that_any_part_of_their_names_tells_apart_stay_apart(tmp_path, key):
    root = tree(
        tmp_path,
        f"{STEM}_{key}-1_T1w.nii.gz",
        f"{STEM}_{key}-2_T1w.nii.gz",
        f"{LESION}_{key}-2_label-lesion_mask.nii.gz",
    )
    scans = atlas.find_scans(root)
    assert scans.attrs["problems"] == ()
    assert scans["masks"].map(len).tolist() == [0, 1]
    made = slices.prepare(scans, work_dir=tmp_path / "work", workers=1)
    assert len(set(made.index["scan"])) == 1


def test_what_a_mask_alone_is_told_by_leads_to_its_image(tmp_path):
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz", f"{LESION}_rater-2_label-lesion_mask.nii.gz")
    assert atlas.find_scans(root)["masks"].map(len).tolist() == [1]


def test_native_and_standard_versions_of_a_session_stay_apart_in_slices(tmp_path):
    releases.bids(tmp_path / "ATLAS_2" / "Training" / "R001", "r001s001", seed=1)
    releases.bids(tmp_path / "ATLAS_R2.1", "r001s001", space="", label="lesion", seed=2)
    scans = found(tmp_path)
    assert scans["release"].tolist() == ["R2.0", "R2.1"]
    made = slices.prepare(scans, size=16, padded=16, work_dir=tmp_path / "work", workers=1)
    assert made.index.groupby("scan").size().to_dict() == {
        "sub-r001s001_ses-1": 3,
        "sub-r001s001_ses-1_space-MNI152NLin2009aSym": 3,
    }
    assert set(made.index.subject) == {"sub-r001s001"}  # and one side of every split
    scores = evaluation.evaluate_slices(lambda images: np.zeros(images.shape[:3]), made)
    by_scan = scores.subjects.set_index("scan")
    assert set(by_scan.index) == set(made.index.scan) == set(scores.slices.scan)
    for row, name in zip(scans.itertuples(), sorted(by_scan.index, key=len, reverse=True)):
        ml = atlas.load_scan(row).mask.sum() / 1000
        assert by_scan.truth_volume_ml[name] == pytest.approx(ml)


@pytest.mark.parametrize(
    "names, mask",
    [
        (["acq-mprage_T1w", "acq-tse_T2w"], "acq-tse_desc-lesion_mask"),
        (["run-2_T1w", "run-4_T2w"], "run-04_label-lesion_mask"),
        (["T1w", "acq-tse_T2w", "acq-dark_FLAIR"], "acq-dark_label-lesion_roi"),
        (["T1w", "FLAIR"], "space-FLAIR_label-lesion_mask"),
        (["acq-mprage_T1w", "acq-tse_T2w"], "space-T2w_label-lesion_mask"),
        (["acq-mprage_T1w", "acq-tse_T2w"], "acq-tse_space-T2w_lesion-manual"),
    ],
)
def test_a_mask_that_was_drawn_on_another_contrast_is_known_by_it(tmp_path, names, mask):
    """Its name does not hold the image's, as ARC's do, but says which image it was."""
    root = tree(tmp_path, *(f"{STEM}_{name}.nii.gz" for name in names))
    drawn = root / f"{LESION}_{mask}.nii.gz"
    shift = releases.RAS + np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    releases.save(drawn, releases.lesion(), shift)
    scans = atlas.find_scans(root)
    assert scans["masks"].tolist() == [(str(drawn),)]
    assert scans["mask_grid"].tolist() == ["world"]
    there = atlas.load_scan(scans.iloc[0]).mask
    assert (there[1:] == releases.lesion()[:-1]).all()


def test_of_masks_on_two_grids_the_image_s_own_is_taken(tmp_path):
    own = f"{LESION}_space-T1w_label-lesion_mask.nii.gz"
    other = f"{LESION}_space-FLAIR_label-lesion_mask.nii.gz"
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz", f"{STEM}_FLAIR.nii.gz", own, other)
    with pytest.warns(UserWarning, match="masks drawn on two images of one session.*space-FLAIR"):
        scans = atlas.find_scans(root)
    assert scans["masks"].tolist() == [(str(root / own),)]
    assert scans["mask_grid"].tolist() == ["same"]
    with pytest.warns(UserWarning, match="masks drawn on two images of one session.*space-T1w"):
        scans = atlas.find_scans(root, suffix="FLAIR")
    assert scans["masks"].tolist() == [(str(root / other),)]


def test_a_mask_drawn_on_diffusion_is_none_of_a_t1w(tmp_path):
    """What is bright there in the first days is mostly invisible on a T1w."""
    told = f"{LESION}_dwi_desc-lesion_mask.nii.gz"
    with pytest.warns(UserWarning, match="drawn on diffusion images, whose lesions a T1w mostly"):
        scans = atlas.find_scans(tree(tmp_path / "told", f"{STEM}_T1w.nii.gz", told))
    assert scans["masks"].tolist() == [()]
    near = ["p1/T1", "p1/DWI_lesion", "p2/T1", "p2/lesion"]
    with pytest.warns(UserWarning, match="drawn on diffusion images, whose lesions a T1w mostly"):
        scans = atlas.find_scans(beside(tmp_path / "near", *near))
    assert scans["masks"].map(len).tolist() == [0, 1]
    mask = f"{LESION}_acq-b1000_label-lesion_mask.nii.gz"
    root = tree(tmp_path, f"{STEM}_acq-mprage_T1w.nii.gz", f"{STEM}_acq-b1000_dwi.nii.gz", mask)
    with pytest.warns(UserWarning, match="run or acquisition without a T1w"):
        scans = atlas.find_scans(root)
    with pytest.raises(atlas.ScanError, match="Give the masks names .* columns image, mask and"):
        atlas.require_masks(scans)


@pytest.mark.parametrize(
    "names, reason",
    [
        ([f"{LESION}_space-TRACE_label-lesion_mask.nii.gz"], "another space, space-TRACE"),
        ([f"{LESION}_run-3_label-lesion_mask.nii.gz"], "run or acquisition without a T1w"),
        (["derivatives/m/sub-01_ses-9_label-lesion_mask.nii.gz"], "without a T1w of their session"),
        (["derivatives/m/sub-77_label-lesion_mask.nii.gz"], "without a T1w of their subject"),
        (
            [
                f"{LESION}_label-lesion_mask.nii.gz",
                f"derivatives/auto/{STEM}_label-lesion_mask.nii",
            ],
            "claim to be the same lesion mask",
        ),
        (
            [f"{LESION}_desc-lesion_mask.nii.gz", f"derivatives/auto/{STEM}_label-lesion_mask.nii"],
            "of two derivatives for one T1w",
        ),
        (
            [f"{LESION}_label-a_mask.nii.gz", f"{LESION}_label-b_mask.nii.gz"],
            "none is called a lesion's",
        ),
        (
            [f"{STEM}_acq-x_T1w.nii.gz", f"{LESION}_label-lesion_mask.nii.gz"],
            "fit more than one T1w",
        ),
        (
            ["sub-01/ses-3/anat/sub-01_ses-3_T1w.nii", "derivatives/sub-01_label-lesion_mask.nii"],
            "name no session, of subjects with several",
        ),
    ],
)
def test_a_mask_that_belongs_to_no_one_image_is_left_out_with_the_reason(tmp_path, names, reason):
    root = tree(tmp_path, f"{STEM}_T1w.nii.gz", *names)
    with pytest.warns(UserWarning, match=reason):
        scans = atlas.find_scans(root)
    assert scans["masks"].map(len).sum() == 0
    assert reason in str(scans.attrs["seen"])


def test_one_forgotten_mask_among_hundreds(tmp_path):
    folder = tmp_path / "ATLAS_2" / "Training" / "R001"
    for number in range(1, 201):
        releases.bids(
            folder, f"r001s{number:03d}", seed=number, label="L" if number != 77 else None
        )
    scans = atlas.find_scans(tmp_path)
    assert len(scans) == 200 and scans.attrs["problems"] == ()
    with pytest.warns(UserWarning, match="1 of 200 scans are left out.*sub-r001s077"):
        assert len(atlas.require_masks(scans)) == 199
    everything = profiles.smaller(profiles.get("smoke"), scans=None)
    with pytest.warns(UserWarning, match="1 of 200"):
        assert len(profiles.open_scans(everything, tmp_path)) == 199


def test_other_contrasts_by_a_parameter(tmp_path):
    root = tree(
        tmp_path, f"{STEM}_T1w.nii.gz", f"{STEM}_FLAIR.nii.gz", f"{LESION}_label-lesion_mask.nii.gz"
    )
    assert atlas.find_scans(root, suffix="FLAIR")["t1w"].tolist() == [
        str(root / f"{STEM}_FLAIR.nii.gz")
    ]
    with pytest.raises(ScanError, match="nor another PDw.*There are .*1 FLAIR, 1 T1w"):
        atlas.find_scans(root, suffix="PDw")
    for suffix in ("", "T1w.nii", None, 3):
        with pytest.raises(ValueError, match="suffix is"):
            atlas.find_scans(root, suffix=suffix)


# --- folders ------------------------------------------------------------------------------------


def test_nnu_net_s_raw_data(tmp_path):
    scans = atlas.find_scans(releases.nnunet(tmp_path))
    assert set(scans["release"]) == {"Our strokes (nnU-Net)"}
    assert scans[["subject", "split"]].to_numpy().tolist() == [
        ["case_001", "training"],
        ["case_002", "training"],
        ["case_003", "testing"],
    ]
    assert scans["masks"].map(len).tolist() == [1, 1, 0]
    assert (atlas.load_scan(scans.iloc[0]).mask == releases.lesion()).all()
    with pytest.warns(UserWarning, match="1 since nnU-Net's test images come without labels"):
        assert len(atlas.require_masks(scans)) == 2


@pytest.mark.parametrize(
    "channels, digits",
    [(("T1w", "FLAIR"), "0000"), (("FLAIR", "T1"), "0001"), (("T1-weighted", "T2"), "0000")],
)
def test_nnu_net_s_channel_of_the_contrast_that_is_asked_for(tmp_path, channels, digits):
    scans = found(releases.nnunet(tmp_path, channels))
    assert all(path.endswith(f"_{digits}.nii.gz") for path in scans["t1w"]) and len(scans) == 3


def test_nnu_net_s_channels_without_a_t1w(tmp_path):
    root = releases.nnunet(tmp_path, ("a", "b"))
    with pytest.raises(ScanError, match="several contrasts, none of which is named T1w"):
        found(root)


@pytest.mark.parametrize("labels", ["labels", "masks", "lesions", "Segmentations"])
def test_images_beside_labels(tmp_path, labels):
    root = releases.beside(tmp_path, labels)
    scans = atlas.find_scans(root)
    assert set(scans["release"]) == {"strokes (images and labels)"}
    assert scans["subject"].tolist() == ["anna", "bert", "carl"]
    assert scans["masks"].map(len).tolist() == [1, 1, 0]
    deep = tmp_path / "deep"
    for name in ("images", labels):
        (deep / name).mkdir(parents=True)
        (root / name).rename(deep / name / "train")
    assert atlas.find_scans(deep)["masks"].map(len).tolist() == [1, 1, 0]


def beside(root, *names):
    """Heads and masks under any names; of masks on a T2w's grid the grid is another."""
    moved = releases.RAS.copy()
    moved[0, 3] += 1
    for number, name in enumerate(names):
        is_mask = any(word in name.lower() for word in ("lesion", "mask", "seg", "label"))
        values = releases.lesion() if is_mask else releases.image(number)
        releases.save(root / f"{name}.nii.gz", values, moved if "t2_" in name else releases.RAS)
    return root


@pytest.mark.parametrize(
    "names, subjects",
    [
        (["p1/T1", "p1/lesion", "p2/T1", "p2/lesion"], ["p1", "p2"]),
        (["p1/t1", "p1/FLAIR", "p1/mask", "p2/t1", "p2/mask"], ["p1", "p2"]),
        (["north/p1/anat/T1w", "north/p1/anat/lesion_mask", "south/p1/anat/T1w"], None),
        (["001_T1", "001_lesion", "002_T1", "002_lesion"], ["001", "002"]),
        (["a/p1_t1w", "a/p1_t1w_lesion", "a/p1_t1w_brain_mask"], ["p1"]),
        (["a-b-T1", "a-b-lesion-mask", "a-c-T1"], ["a-b", "a-c"]),
        (["p1_mprage", "p1_seg"], ["p1"]),
        (["Müller_T1", "Müller_lesion", "x__T1"], ["Müller", "x"]),
        (["T1/p1", "T1/p2", "lesion/p1", "lesion/p2"], ["p1", "p2"]),
        (["images/T1/p1", "labels/T1/p1", "images/T1/p2"], ["p1", "p2"]),
    ],
)
def test_images_and_masks_side_by_side(tmp_path, names, subjects):
    scans = atlas.find_scans(beside(tmp_path, *names))
    assert scans["subject"].tolist() == (subjects or ["north_p1", "south_p1"])
    assert set(scans["mask_grid"]) == {"same"} and set(scans["session"]) == {"ses-1"}
    masks = sum("lesion" in name or name.endswith(("/mask", "_seg")) for name in names) or 1
    assert scans["masks"].map(len).sum() == masks
    row = next(row for row in scans.to_dict("records") if row["masks"])
    assert (atlas.load_scan(row).mask == releases.lesion()).all()


def test_two_days_of_a_person_side_by_side_are_one_person(tmp_path):
    days = [f"p1/{day}/{name}" for day in ("baseline", "visit_2") for name in ("T1", "lesion")]
    scans = atlas.find_scans(beside(tmp_path, *days))
    assert scans["subject"].tolist() == ["p1", "p1"]
    assert scans["session"].tolist() == ["ses-baseline", "ses-visit_2"]
    days = beside(
        tmp_path / "days", *(f"day {day}/p1_{word}" for day in "12" for word in ("T1", "seg"))
    )
    scans = atlas.find_scans(days)
    assert scans["subject"].tolist() == ["p1", "p1"]
    assert scans["session"].tolist() == ["ses-day 1", "ses-day 2"]
    flat = beside(tmp_path / "flat", "p1_v1_T1", "p1_v1_lesion", "p1_v2_T1", "p2_T1")
    scans = atlas.find_scans(flat)
    assert scans["subject"].tolist() == ["p1", "p1", "p2"]
    assert scans["session"].tolist() == ["ses-v1", "ses-v2", "ses-1"]


def test_what_side_by_side_is_not_clear_is_left_out_with_the_reason(tmp_path):
    names = ["p1/T1", "p1/T1_lesion", "p1/t2_lesion", "p2/T1", "p2/mprage", "p2/lesion"]
    root = beside(tmp_path, *names, "p3/T1", "p3/mask", "p3/seg")
    with pytest.warns(UserWarning, match="left out") as warned:
        scans = atlas.find_scans(root)
    said = " ".join(str(warning.message) for warning in warned)
    assert "masks drawn on two images of one session" in said and "t2_lesion" in said
    assert "2 files left out, images of one person and contrast, several" in said
    assert "2 files left out, masks of which none is called a lesion's" in said
    assert scans["subject"].tolist() == ["p1", "p3"]
    assert scans["masks"].map(len).tolist() == [1, 0]


def test_a_mask_drawn_on_a_t2w_beside_its_t1w(tmp_path):
    scans = atlas.find_scans(beside(tmp_path, "p1/T1", "p1/t2", "p1/t2_lesion"))
    assert scans["mask_grid"].tolist() == ["world"]
    assert (atlas.load_scan(scans.iloc[0]).mask[1:] == releases.lesion()[:-1]).all()


def test_images_without_any_mask_beside_them_are_no_layout(tmp_path):
    with pytest.raises(ScanError, match="does not look like an ATLAS release.*scans.csv"):
        atlas.find_scans(beside(tmp_path, "p1/T1", "p2/T1", "p2/brain_mask"))


def test_cases_that_end_in_four_digits_are_no_channels_where_their_labels_do_too(tmp_path):
    for number in (1, 2):
        releases.write(tmp_path / "images" / f"head_{number:04d}.nii.gz", releases.image(number))
        releases.save(
            tmp_path / "labels" / f"head_{number:04d}.nii.gz", releases.lesion(), releases.RAS
        )
    assert atlas.find_scans(tmp_path)["subject"].tolist() == ["head_0001", "head_0002"]


def test_a_mask_of_two_images_and_one_of_none_are_left_out(tmp_path):
    root = releases.beside(tmp_path)
    releases.write(root / "images" / "anna_image.nii.gz", releases.image(9))
    releases.save(root / "labels" / "dora.nii.gz", releases.lesion(), releases.RAS)
    scans = found(root)
    assert scans["subject"].tolist() == ["bert", "carl"]
    assert "2 files left out, images that share the mask anna.nii.gz" in str(scans.attrs["seen"])
    assert "masks without an image of their name" in str(scans.attrs["seen"])


def test_any_other_folder_is_answered_with_what_is_there_and_the_way_out(tmp_path):
    releases.write(tmp_path / "a" / "anna.nii.gz", releases.image())
    releases.write(tmp_path / "a" / "sub-01_T2w.nii.gz", releases.image())
    (tmp_path / "sub-01_task-rest_physio.tsv.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(ScanError, match="3 files .*1 other NIfTI files.*1 T2w.*table") as caught:
        atlas.find_scans(tmp_path)
    assert "npack it" not in str(caught.value)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("ATLAS_R2.0.zip", b"<html>log in</html>", "web page.*download it again"),
        ("ATLAS.7z", b"7z\xbc\xaf\x27\x1c", "a 7z archive.*Unpack"),
        ("ATLAS.rar", b"Rar!\x1a\x07\0", "a RAR archive.*Unpack"),
        ("ATLAS_R2.0.tar.gz.cpt", b"x" * 100, "still encrypted.*ccrypt"),
        ("orig.mgz", b"\x1f\x8b", "1 FreeSurfer volumes.*mri_convert"),
        ("a.nrrd", b"NRRD", "1 NRRD files"),
        ("a.hdr", b"x", "pairs"),
        ("head.mnc", b"CDF", "1 MINC files.*mnc2nii"),
        ("head.PAR", b"#", "PAR/REC.*dcm2niix"),
        ("IM0001", bytes(128) + b"DICM" + bytes(99), "DICOM files without an ending.*dcm2niix"),
        ("ATLAS.zip.001", b"PK\x03\x04", "a ZIP archive.*Unpack"),
        ("ATLAS.tar.zst", b"\x28\xb5\x2f\xfd", "compressed with zstd.*Unpack"),
        ("ATLAS.tar.lz4", b"\x04\x22\x4d\x18", "compressed with lz4.*Unpack"),
        ("ATLAS.tgz", gzip.compress(b"x", mtime=0), "is an archive.*Unpack"),
        ("scans.json.zip", b"<Error><Code>AccessDenied</Code></Error>", "web page"),
        (".hidden", b"x", "nothing but hidden files"),
    ],
)
def test_what_stands_in_the_place_of_scans_is_called_by_its_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ScanError, match=message):
        atlas.find_scans(tmp_path)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("scans.xlsx", b"PK\x03\x04", "is a spreadsheet.*save it as .csv"),
        ("scans.csv.gz", gzip.compress(b"image,subject", mtime=0), "compressed with gzip.*gunzip"),
        ("head.mgz.gz", gzip.compress(b"x", mtime=0), "compressed with gzip"),
        ("ATLAS.tar.gz", gzip.compress(b"x", mtime=0), "is an archive.*Unpack"),
        ("ATLAS.tar.xz", b"\xfd7zXZ\x00", "compressed with xz"),
        ("notes.txt", b"hello", "is a file, and a folder is needed"),
    ],
)
def test_a_file_in_the_place_of_a_folder_is_called_by_its_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ScanError, match=message):
        atlas.find_scans(tmp_path / name)


def test_upper_case_suffixes_are_suffixes(tmp_path):
    t1w = releases.bids(tmp_path / "R2.1", "r001s001", space="", label="lesion")
    for path in list(t1w.parent.glob("*.nii.gz")):
        path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))
    scans = atlas.find_scans(tmp_path)
    assert len(scans["masks"][0]) == 1 and atlas.load_scan(scans.iloc[0]).mask.any()


@pytest.mark.parametrize("way", ["annex link", "annex pointer", "lfs pointer"])
def test_content_that_was_never_fetched(tmp_path, way):
    t1w = releases.bids(tmp_path / "R2.1", "r001s001", space="", label="lesion")
    t1w.unlink()
    if way == "annex link":
        t1w.symlink_to("../../.git/annex/objects/xx/MD5E-s9--0.nii.gz")
        with pytest.raises(ScanError, match="link of git-annex.*datalad get"):
            atlas.load_image(t1w)
    elif way == "annex pointer":
        t1w.write_text("/annex/objects/MD5E-s9--0.nii.gz\n")
    else:
        t1w.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    remedy = "git lfs pull" if way == "lfs pointer" else "datalad get"
    with pytest.raises(ScanError, match=f"1 file left out.*not been fetched.*{remedy}"):
        atlas.find_scans(tmp_path)
    releases.bids(tmp_path / "R2.1", "r002s001", space="", label="lesion")
    assert found(tmp_path)["subject"].tolist() == ["sub-r002s001"]


# --- names of folders ---------------------------------------------------------------------------


def test_a_site_whose_name_is_not_utf_8_goes_all_the_way(tmp_path):
    raw = os.fsencode(tmp_path) + b"/ATLAS_R1.1/Universit\xe4tsklinik/031768/t01"
    os.makedirs(raw)
    for name, values in (("t1w_deface", releases.image()), ("LesionSmooth", releases.lesion())):
        path = releases.write(tmp_path / "x.nii.gz", values)
        os.rename(path, raw + b"/031768_" + name.encode() + b"_stx.nii.gz")
    scans = atlas.find_scans(tmp_path)
    assert scans["site"].tolist() == ["Universitätsklinik"]
    str(scans.attrs["seen"]).encode()
    made = slices.prepare(scans, work_dir=tmp_path / "work", workers=1)
    assert set(made.index.site) == {"Universitätsklinik"}
    # What goes wrong with it can be said, and is kept.
    with open(raw + b"/031768_LesionSmooth_stx.nii.gz", "wb") as file:
        file.write(b"no mask")
    with pytest.raises(ScanError) as caught:
        atlas.load_scan(scans.iloc[0])
    str(caught.value).encode()
    both = pd.concat([scans, found(releases.r12(tmp_path / "more"))], ignore_index=True)
    report = slices.prepare(both, work_dir=tmp_path / "work", workers=1).report
    assert report.t1w.tolist() == [scans["t1w"][0]] and "Universitätsklinik" in report.problem[0]


def test_the_site_na_is_a_site(tmp_path):
    root = releases.r11(tmp_path)
    (root / "Site1").rename(root / "NA")
    made = slices.prepare(found(root), work_dir=tmp_path / "work", workers=1)
    assert set(made.index.site) == {"NA", "Site2"}
    again = slices.open_set(made.folder)
    assert set(again.index.site) == {"NA", "Site2"} and again.index.scan.notna().all()


@pytest.mark.parametrize(
    "place", ["testing", "my_testing_data", "training", "Testing/R2.1", "testing/project"]
)
def test_a_folder_above_the_release_makes_no_split(tmp_path, place):
    for maker in (releases.r11, releases.r21_bids):
        assert set(found(maker(tmp_path / place / maker.__name__))["split"]) == {""}
    tree(tmp_path / place / "x", f"{STEM}_T1w.nii.gz", description="")
    assert set(found(tmp_path / place / "x")["split"]) == {""}
    scans = found(releases.r20(tmp_path / place / "r20"))
    assert set(scans["split"]) == {"training", "testing"}
    raw = found(releases.r21_raw(tmp_path / place / "raw"))
    assert set(raw["split"]) == {"training"}
    assert set(found(releases.r30_raw(tmp_path / place / "r30"))["split"]) == {"training"}


@pytest.mark.parametrize("link", ["Copy", "A/B", "Training/AA"])
def test_a_folder_is_read_by_its_own_name_and_not_by_a_link_s(tmp_path, link):
    release = releases.r20(tmp_path)
    (release / link).parent.mkdir(exist_ok=True)
    (release / link).symlink_to(release / "Training", target_is_directory=True)
    scans = found(release)
    assert scans["split"].tolist() == ["training", "training", "testing", "training"]
    assert not scans["t1w"].str.contains(f"/{link}/").any() and scans.attrs["problems"] == ()


def test_of_links_to_one_folder_that_of_its_name_is_read(tmp_path):
    release = releases.r20(tmp_path / "elsewhere")
    here = tmp_path / "here"
    here.mkdir()
    for name in ("Copy", "Training"):
        (here / name).symlink_to(release / "Training", target_is_directory=True)
    assert found(here)["split"].tolist() == ["training"] * 3


def test_of_true_copies_the_one_that_tells_the_split_is_kept(tmp_path):
    release = releases.r20(tmp_path)
    shutil.copytree(release / "Training", release / "Copy")
    scans = found(release)
    assert scans["split"].tolist() == ["training", "training", "testing", "training"]
    assert "3 files left out, second copies" in scans.attrs["problems"][0]
    assert "/Copy/" in scans.attrs["problems"][0]


def test_one_person_under_two_names_is_warned_of(tmp_path):
    folder = tmp_path / "c0003"
    image = releases.image(5)
    releases.write(folder / "c0003s0002t01_t1w_stx.nii.gz", image)
    releases.save(folder / "c0003s0002t01_LesionSmooth_stx.nii.gz", releases.lesion(), releases.RAS)
    releases.bids(tmp_path / "ATLAS_2" / "Training" / "R001", "r001s001", seed=5)
    releases.bids(tmp_path / "ATLAS_2" / "Training" / "R001", "r001s002", seed=6)
    with pytest.warns(UserWarning, match="c0003s0002, sub-r001s001 have identical files"):
        scans = atlas.find_scans(tmp_path)
    assert len(scans) == 3 and scans.attrs["problems"] == ()
    assert "under two names" in str(scans.attrs["seen"])
    # The same image twice of one subject is no leak.
    releases.bids(tmp_path / "own" / "R2.1", "r009s001", space="", label="lesion", seed=7)
    releases.bids(tmp_path / "own" / "R2.1", "r009s001", "2", space="", label="lesion", seed=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atlas.find_scans(tmp_path / "own")


@pytest.mark.parametrize("gap", [0, 200_000, 3_000_000])
def test_images_that_differ_only_between_their_ends_are_told_apart(tmp_path, gap):
    rng = np.random.default_rng(0)
    content = rng.integers(0, 255, 400_000 + gap, np.uint8)
    one, two = tmp_path / "sub-01_T1w.nii", tmp_path / "sub-02_T1w.nii"
    one.write_bytes(content.tobytes())
    content[100_000:-100_000] += 1
    two.write_bytes(content.tobytes())
    assert found(tmp_path).attrs["seen"].look_alikes == ()
    two.write_bytes(one.read_bytes())
    assert len(found(tmp_path).attrs["seen"].look_alikes) == 1


def test_what_was_seen_survives_the_table_s_ways(tmp_path):
    scans = found(releases.r20(tmp_path))
    seen = scans.attrs["seen"]
    assert isinstance(seen, atlas.Seen) and hash(seen) == hash(scans.attrs["seen"])
    assert scans[scans["masks"].map(len) > 0].attrs["seen"] == seen
    assert seen.releases == (("R2.0", 4, 3),) and seen.scans == 4
    assert dict(seen.files)["T1w"] == 4 and dict(seen.files)["lesion masks"] == 3
    assert "for example sub-r001s001 ses-1" in str(seen)
    json.dumps(str(seen))


def test_names_of_copies_are_counted(tmp_path):
    t1w = releases.bids(tmp_path / "R2.1", "r001s001", space="", label="lesion")
    shutil.copy(t1w, t1w.with_name("sub-r001s001_ses-1_T1w (1).nii.gz"))
    shutil.copy(t1w, t1w.with_name("sub-r001s001_ses-1_T1w - Kopie.nii.gz"))
    with pytest.warns(UserWarning, match="2 files left out, called copies"):
        assert len(atlas.find_scans(tmp_path)) == 1
