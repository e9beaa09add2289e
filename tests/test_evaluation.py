"""Tables of scores: whole volumes, slices, intervals, strata and paired comparisons."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import nibabel
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kenseg_utils import anatomy, evaluation, metrics, prediction
from kenseg_utils.evaluation import statistics

AFFINE = np.array([[2, 0, 0, -12], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])  # x = 0 at row 6
SHAPE = (12, 10, 8)


def write(path, array, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return str(path)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Four subjects whose bright box is their lesion; the last scan's image is no NIfTI."""
    folder = tmp_path_factory.mktemp("scans")
    random, rows = np.random.default_rng(0), []
    boxes = {"001": np.s_[8:11, 2:5, 2:5], "002": np.s_[1:4, 2:8, 2:6], "003": np.s_[4:8, 1:9, 1:7]}
    for number, (subject, box) in enumerate(boxes.items()):
        mask = np.zeros(SHAPE, np.uint8)
        mask[box] = 1
        image = (random.random(SHAPE) + 3 * mask).astype(np.float32)
        rows.append(
            dict(
                subject=subject,
                session="ses-1",
                site=f"R{number % 2}",
                space="MNI152",
                t1w=write(folder / f"{subject}_T1w.nii.gz", image),
                masks=(write(folder / f"{subject}_mask.nii.gz", mask),),
            )
        )
    broken = folder / "004_T1w.nii.gz"
    broken.write_bytes(b"no scan")
    rows.append(rows[0] | dict(subject="004", t1w=str(broken)))
    return pd.DataFrame(rows)


def find_bright(image, affine):
    return (image > 2).astype(np.uint8)


# --- whole volumes ------------------------------------------------------------------------------


def test_each_scan_gets_a_row_and_a_scan_that_fails_keeps_its_own(scans, tmp_path):
    with pytest.warns(UserWarning, match="1 of 4 scans .* 004"):
        table = evaluation.evaluate(
            find_bright, scans, progress=False, save_as=tmp_path / "scores.csv"
        )
    assert table["subject"].tolist() == ["001", "002", "003", "004"]
    assert table["dice"].tolist()[:3] == [1, 1, 1] and np.isnan(table["dice"][3])
    assert table["side"].tolist() == ["right", "left", "both", ""]
    assert table["truth_volume_ml"].tolist()[:2] == pytest.approx([27 * 6 / 1000, 72 * 6 / 1000])
    assert "004_T1w.nii.gz" in table["error"][3] and (table["error"][:3] == "").all()
    saved = evaluation.open_table(tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(saved, table, check_dtype=False)
    assert list(tmp_path.iterdir()) == [tmp_path / "scores.csv"]


def test_rows_hold_the_scores_of_metrics(scans):
    def shifted(image, affine):
        return np.roll(find_bright(image, affine), 1, axis=0)

    table = evaluation.evaluate(shifted, scans[:3], progress=False)
    mask = np.asarray(nibabel.load(scans["masks"][1][0]).dataobj)
    expected = metrics.lesion_scores(mask, np.roll(mask, 1, axis=0), (2, 1, 3))
    assert table.iloc[1][list(expected)].to_dict() == pytest.approx(expected)


def test_a_soft_map_is_cut_and_scored_as_such(scans):
    def softly(image, affine):
        return np.clip(image / 4, 0, 1)

    table = evaluation.evaluate(softly, scans[:3], soft=True, progress=False)
    assert table["dice"].tolist() == [1, 1, 1] and table["pr_auc"].tolist() == [1, 1, 1]
    assert (table["calibration_error"] > 0.05).all()
    strict = evaluation.evaluate(softly, scans[:3], soft=True, threshold=0.99, progress=False)
    assert (strict["recall"] < 0.5).all()


def crashes(image, affine):
    raise RuntimeError("out of memory on the device")


@pytest.mark.parametrize(
    "method, message",
    [
        (crashes, "RuntimeError: out of memory"),
        (lambda image, affine: image[:-1] > 2, "shape"),
        (lambda image, affine: np.clip(image / 4, 0, 1), "soft map"),
        (lambda image, affine: 2 * find_bright(image, affine), "0 and 1"),
        (lambda image, affine: image * np.nan, "NaN"),
        (lambda image, affine: None, "shape"),
        (
            lambda image, affine: nibabel.Nifti1Image(find_bright(image, affine), np.eye(4)),
            r"another grid.*spacing is \[1.0, 1.0, 1.0\]",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:3 of 3 scans")
def test_what_a_method_does_wrong_stands_in_its_rows(scans, method, message):
    table = evaluation.evaluate(method, scans[:3], progress=False)
    assert table["error"].str.contains(message).all()
    assert table["dice"].isna().all() and (table["truth_volume_ml"] > 0).all()
    line = evaluation.summarise(table, ["dice"]).iloc[0]
    assert (line["failed"], line["scored"], line["mean_if_failed_is_zero"]) == (3, 0, 0)
    assert pd.isna(line["mean"]) and line["interval"] == "undefined: no subject with a value"


def test_a_nibabel_image_on_the_scans_grid_is_a_mask_too(scans):
    table = evaluation.evaluate(
        lambda image, affine: nibabel.Nifti1Image(find_bright(image, affine), affine),
        scans[:3],
        progress=False,
    )
    assert table["dice"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("axes", ["LPS", "SAR", "PIR"])
def test_a_nibabel_image_may_store_its_axes_in_another_order(scans, axes):
    def method(image, affine):
        stored = nibabel.Nifti1Image(find_bright(image, affine), affine)
        ras, other = (nibabel.orientations.axcodes2ornt(codes) for codes in ("RAS", axes))
        return stored.as_reoriented(nibabel.orientations.ornt_transform(ras, other))

    table = evaluation.evaluate(method, scans[:3], progress=False)
    assert table["dice"].tolist() == [1, 1, 1]


def test_a_table_of_scans_is_never_overwritten_however_it_is_written(scans, tmp_path):
    for number, content in enumerate(
        [
            b"image,subject\na.nii,a\n",
            b"\xef\xbb\xbfImage;Mask;Subject\na.nii;b.nii;a\n",
            "image\tsubject\na.nii\ta\n".encode("utf-16"),
            b'My scans,,\n"IMAGE","subject"\n"a.nii","a"\n',
        ]
    ):
        path = tmp_path / f"{number}.csv"
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is a table of scans"):
            evaluation.evaluate(crashes, scans, save_as=path)
        assert path.read_bytes() == content
    other = tmp_path / "MetaData.csv"
    other.write_text("subject,age\na,61\n")
    with pytest.raises(ValueError, match="holds no scores of scans"):
        evaluation.evaluate(crashes, scans, save_as=other)
    assert other.read_text() == "subject,age\na,61\n"
    for _ in range(2):  # a table of scores may be written anew
        evaluation.evaluate(find_bright, scans[:3], save_as=tmp_path / "new.csv", progress=False)


def test_a_model_goes_through_segment_volume(scans, monkeypatch):
    class Model:
        input_shape = (None, 16, 16, 1)

        def predict_on_batch(self, images):
            raise AssertionError("a whole volume is no batch")

    model, calls = Model(), []
    monkeypatch.setattr(
        prediction, "segment_volume", lambda *given: calls.append(given) or find_bright(*given[1:3])
    )
    monkeypatch.setattr(
        prediction, "lesion_probability", lambda _, image, __: np.clip(image / 4, 0, 1)
    )
    assert evaluation.evaluate(model, scans[:2], progress=False)["dice"].tolist() == [1, 1]
    assert calls[0][0] is model and calls[0][1].shape == SHAPE
    assert calls[0][2] == pytest.approx(AFFINE) and calls[0][3] == 0.5
    evaluation.evaluate(model, scans[:1], threshold=0.3, progress=False)
    assert calls[-1][3] == 0.3
    soft = evaluation.evaluate(model, scans[:2], soft=True, progress=False)
    assert (soft["calibration_error"] > 0.05).all() and len(calls) == 3


@pytest.mark.parametrize(
    "method, chosen, message", [(find_bright, [], "no scans"), ("thresholding", [0, 1], "callable")]
)
def test_bad_calls_are_refused(scans, method, chosen, message):
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(method, scans.iloc[chosen], progress=False)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1, 50, np.nan])
def test_thresholds_that_are_no_probability_are_refused(scans, slice_set, threshold):
    with pytest.raises(ValueError, match="threshold"):
        evaluation.evaluate(find_bright, scans, threshold=threshold, progress=False)
    with pytest.raises(ValueError, match="threshold"):
        evaluation.evaluate_slices(guess, slice_set, threshold=threshold)


@pytest.mark.parametrize(
    "name, message",
    [
        ("scores.xlsx", "must end in .csv"),
        ("folder.csv", "is a folder"),
        ("a file/scores.csv", "is no folder"),
        ("scans.csv", "is a table of scans"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(scans, tmp_path, name, message):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "a file").touch()
    (tmp_path / "scans.csv").write_text("image,mask,subject\n")
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(
            lambda *given: pytest.fail("the method was run"),
            scans,
            progress=False,
            save_as=tmp_path / name,
        )


def test_an_input_is_never_the_file_to_write(scans, tmp_path):
    linked = tmp_path / "scores.csv"
    linked.symlink_to(scans["masks"][0][0])
    with pytest.raises(ValueError, match="is an input"):
        evaluation.evaluate(find_bright, scans, progress=False, save_as=linked)


def test_a_model_that_does_not_fit_is_refused_before_any_work(scans):
    class Model:
        input_shape = (None, 16, 16, 3)
        predict_on_batch = None

    for soft in (False, True):
        with pytest.raises(ValueError, match="takes 3 channels"):
            evaluation.evaluate(Model(), scans, soft=soft, progress=False)


def test_volumes_are_what_a_sheared_voxel_holds(tmp_path):
    """Its sides' product is 10 % more than its determinant."""
    affine = np.diag([2.0, 1, 1.5, 1])
    affine[1, 2] = 1.5 * np.tan(np.deg2rad(25))
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:7, 2:6, 2:6] = 1
    image = (np.random.default_rng(0).random(SHAPE) + 3 * mask).astype(np.float32)
    row = dict(
        subject="a",
        session="1",
        site="x",
        space="orig",
        t1w=write(tmp_path / "t.nii", image, affine),
        masks=(write(tmp_path / "m.nii", mask, affine),),
    )
    line = evaluation.evaluate(
        lambda image, affine: np.roll(mask, 1, 0) * (mask | 1), pd.DataFrame([row]), progress=False
    ).iloc[0]
    assert line["truth_volume_ml"] == pytest.approx(80 * 3 / 1000)
    assert line["prediction_volume_ml"] == pytest.approx(80 * 3 / 1000)
    assert line["error"] == ""


def test_no_side_is_told_where_the_header_leaves_it_open(scans, monkeypatch):
    from kenseg_utils import atlas

    load = atlas.load_scan

    def unsure(row, **options):
        scan = load(row, **options)
        object.__setattr__(scan, "sides_known", False)
        return scan

    monkeypatch.setattr(atlas, "load_scan", unsure)
    table = evaluation.evaluate(find_bright, scans[:2], progress=False)
    assert table["side"].tolist() == ["unknown", "unknown"]


def test_scans_without_truth(scans):
    without = scans[:2].assign(masks=[(), scans["masks"][1]])
    with pytest.warns(UserWarning, match="no lesion mask"):
        table = evaluation.evaluate(find_bright, without, progress=False)
    assert table["error"].ne("").tolist() == [True, False]
    with pytest.raises(ValueError, match="None of the scans has a lesion mask"):
        evaluation.evaluate(find_bright, without[:1], progress=False)


def test_side_is_told_in_space_not_by_index(scans, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[8:11] = 1
    assert anatomy.lesion_side(mask, AFFINE) == "right"
    assert anatomy.lesion_side(mask[::-1], AFFINE) == "left"
    assert anatomy.lesion_side(mask, AFFINE, midline=50) == "left"
    assert anatomy.lesion_side(mask * 0, AFFINE) == "none"
    moved = AFFINE.copy()  # a native scan, whose x = 0 is anywhere
    moved[0, 3] += 500
    row = dict(
        scans.iloc[0],
        space="orig",
        t1w=write(tmp_path / "i.nii.gz", np.asarray(nibabel.load(scans["t1w"][0]).dataobj), moved),
        masks=(write(tmp_path / "m.nii.gz", mask, moved),),
    )
    table = evaluation.evaluate(find_bright, pd.DataFrame([row]), progress=False)
    assert table["side"].tolist() == ["right"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda scans: "/data/ATLAS", "scans is str.*find_scans"),
        (lambda scans: None, "scans is NoneType"),
        (lambda scans: scans.to_dict("records"), "scans is list"),
        (lambda scans: scans.drop(columns="masks"), "one column 'masks'"),
        (lambda scans: scans.drop(columns="t1w"), "one column 't1w'"),
        (lambda scans: pd.concat([scans, scans], axis=1), "one column 't1w'"),
        (lambda scans: scans.assign(masks=scans["masks"].map(str)), "lost its tuples"),
        (lambda scans: scans.assign(masks=np.nan), "lost its tuples"),
        (lambda scans: pd.DataFrame(), "no scans"),
    ],
)
def test_what_is_no_table_of_scans_is_refused_before_any_work(scans, tmp_path, spoil, message):
    for target in (None, tmp_path / "scores.csv"):
        with pytest.raises(ValueError, match=message):
            evaluation.evaluate(
                lambda *given: pytest.fail("the method was run"),
                spoil(scans),
                progress=False,
                save_as=target,
            )


@pytest.mark.filterwarnings("ignore:1 of 3 scans")
def test_one_row_without_paths_costs_that_row_alone(scans, tmp_path):
    rows = scans[:3].astype(object)
    rows.at[1, "masks"], rows.at[1, "t1w"] = np.nan, np.nan
    table = evaluation.evaluate(find_bright, rows, progress=False, save_as=tmp_path / "t.csv")
    assert table["error"].ne("").tolist() == [False, True, False]


# --- slices -------------------------------------------------------------------------------------


@dataclass
class Slices:
    """What evaluation asks of a SliceSet."""

    images: np.ndarray
    masks: np.ndarray
    index: pd.DataFrame

    def batch(self, positions):
        return self.images[positions].astype(np.float32), self.masks[positions]


@pytest.fixture(scope="module")
def slice_set():
    random = np.random.default_rng(5)
    subjects = ["s2", "s1", "s3", "s1", "s2", "s1", "s3"]
    masks = (random.random((7, 16, 16)) < 0.2).astype(np.uint8)
    masks[3] = 0
    index = pd.DataFrame(
        dict(
            subject=subjects,
            session="ses-1",
            site=[s[1] for s in subjects],
            z=range(7),
            scale_row=4.0,
            scale_column=1.0,
            voxel_ml=0.003,
        )
    )
    return Slices((random.random(masks.shape) + masks)[..., None], masks, index)


def guess(images):
    return np.clip(images[..., 0] / 2, 0, 1)


def test_slices_and_subjects_have_their_rows(slice_set):
    scores = evaluation.evaluate_slices(guess, slice_set, threshold=0.6)
    found = guess(slice_set.batch(slice(None))[0]) >= 0.6
    slices = scores.slices.set_index("z")
    for z in range(7):
        assert slices.loc[z, "dice"] == pytest.approx(metrics.dice(slice_set.masks[z], found[z]))
    table = scores.subjects.set_index("subject")
    assert table.index.tolist() == ["s1", "s2", "s3"] and table["slices"].tolist() == [3, 2, 2]
    for subject in table.index:
        mine = (slice_set.index["subject"] == subject).to_numpy()
        for name in metrics.SCORES:
            assert table.loc[subject, name] == pytest.approx(
                getattr(metrics, name)(slice_set.masks[mine], found[mine])
            )
        soft = guess(slice_set.batch(mine)[0])
        assert table.loc[subject, "pr_auc"] == metrics.pr_auc(slice_set.masks[mine], soft)
        assert table.loc[subject, "truth_volume_ml"] == pytest.approx(
            slice_set.masks[mine].sum() * 0.25 * 3 / 1000
        )


@pytest.mark.parametrize("pixel_mm", [None, 1.0])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (3, 1, 1), (6.5, 1, 1), (1, 6.5, 2), (0.9, 1.1, 1)])
def test_the_true_volume_survives_resampling(tmp_path, spacing, pixel_mm):
    """Of slices whose pixels are not square, too; one factor for both axes gave 0.48 of it."""
    from kenseg_utils import slices

    shape = tuple(int(mm / step) for mm, step in zip((78, 78, 20), spacing))
    affine = np.diag([*spacing, 1.0])
    affine[1, 2] = 0.4 * spacing[2]  # and sheared
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(n // 4, 3 * n // 4) for n in shape)] = 1
    image = (np.random.default_rng(0).random(shape) + 1).astype(np.float32)
    row = dict(
        subject="a",
        session="1",
        site="x",
        space="orig",
        t1w=write(tmp_path / "t.nii", image, affine),
        masks=(write(tmp_path / "m.nii", mask, affine),),
    )
    prepared = slices.prepare(
        pd.DataFrame([row]), "whole_slice", pixel_mm=pixel_mm, work_dir=tmp_path, workers=1
    )
    scores = evaluation.evaluate_slices(lambda x: np.zeros(x.shape[:3]), prepared)
    expected = mask.sum() * np.prod(spacing) / 1000
    assert scores.subjects["truth_volume_ml"][0] == pytest.approx(expected, rel=0.03)
    if pixel_mm is None:
        assert (prepared.index[["scale_row", "scale_column"]] == 1).all(axis=None)
    else:
        assert prepared.index.scale_row[0] == pytest.approx(spacing[0], rel=0.1)
        assert prepared.index.scale_column[0] == pytest.approx(spacing[1], rel=0.1)


def test_a_subject_s_scans_may_lie_on_several_grids(slice_set):
    index = slice_set.index.assign(voxel_ml=np.where(slice_set.index["z"] < 3, 0.002, 0.008))
    mixed = Slices(slice_set.images, slice_set.masks, index)
    table = evaluation.evaluate_slices(guess, mixed).subjects.set_index("subject")
    for subject, mine in index.groupby("subject"):
        voxels = mixed.masks[mine["z"]].sum((1, 2))
        assert table.loc[subject, "truth_volume_ml"] == pytest.approx(
            (voxels * mine["voxel_ml"]).sum() / 4
        )


def test_arrays_and_callables_of_every_form_say_the_same(slice_set):
    soft = guess(slice_set.images)
    expected = evaluation.evaluate_slices(guess, slice_set).subjects["dice"].tolist()
    for given_ in (
        soft,
        soft[..., None],
        np.stack([1 - soft, soft], -1),
        soft >= 0.5,
        (soft >= 0.5).astype(np.uint8),
        lambda images: guess(images)[..., None],
    ):
        table = evaluation.evaluate_slices(given_, slice_set).subjects
        assert table["dice"].tolist() == pytest.approx(expected)


def test_the_three_reductions_stand_side_by_side(slice_set):
    scores = evaluation.evaluate_slices(guess, slice_set)
    found = guess(slice_set.images) >= 0.5
    counts = metrics.count_slices(slice_set.masks, found)
    for score in metrics.SCORES:
        table = scores.reductions(score).set_index("reduction")
        assert table.loc["per slice", "mean"] == pytest.approx(
            metrics.per_slice(counts, score).mean()
        )
        assert table.loc["per subject", "mean"] == pytest.approx(
            metrics.per_subject(counts, slice_set.index["subject"], score).mean()
        )
        assert table.loc["pooled", "mean"] == pytest.approx(metrics.pooled(counts, score))
        assert table["subjects"].tolist() == [3, 3, 3]
        assert (table["low"] <= table["mean"]).all() and (table["mean"] <= table["high"]).all()


def test_two_sessions_of_a_person_are_one_person(slice_set):
    index = slice_set.index.assign(session=["a", "a", "a", "b", "b", "b", "a"])
    twice = Slices(slice_set.images, slice_set.masks, index)
    scores = evaluation.evaluate_slices(guess, twice)
    assert len(scores.subjects) == 5
    people = scores.by_subject()
    assert people.subject.tolist() == ["s1", "s2", "s3"]
    assert people.scans.tolist() == [2, 2, 1]
    for row in people.itertuples():
        theirs = scores.subjects[scores.subjects.subject == row.subject]
        for name in ("dice", "recall", "mean_slice_dice", "truth_volume_ml"):
            assert getattr(row, name) == pytest.approx(theirs[name].mean())
    interval = statistics.mean_interval(people.dice, bounds=(0, 1))
    assert evaluation.summarise(scores.subjects, ["dice"])["subjects"][0] == interval.n == 3

    def fails_on_one(images):
        if len(images) == 1:
            raise ValueError("no convergence")
        return guess(images)

    with pytest.warns(UserWarning, match="3 of 5 subjects"):
        fewer = evaluation.evaluate_slices(fails_on_one, twice).by_subject()
    assert fewer.dice.isna().tolist() == [False, True, False]


def test_a_subject_on_which_a_slice_method_fails_is_counted(slice_set):
    def fails_on_two(images):
        if len(images) == 3:
            raise ValueError("no convergence")
        return guess(images)

    with pytest.warns(UserWarning, match="1 of 3 subjects .* s1: ValueError: no convergence"):
        scores = evaluation.evaluate_slices(fails_on_two, slice_set)
    assert scores.subjects["error"].ne("").tolist() == [True, False, False]
    assert scores.slices["error"].ne("").sum() == 3 and len(scores.slices) == 7
    assert (scores.reductions()["failed_subjects"] == 1).all()
    assert scores.reductions()["subjects"].tolist() == [2, 2, 2]
    line = evaluation.summarise(scores.subjects, ["dice"]).iloc[0]
    assert (line["failed"], line["scored"]) == (1, 2)
    assert line["mean_if_failed_is_zero"] == pytest.approx(line["mean"] * 2 / 3)


@pytest.mark.filterwarnings("ignore:3 of 3 subjects")
def test_where_every_subject_fails_the_tables_still_say_so(slice_set):
    scores = evaluation.evaluate_slices(lambda images: images[..., 0] * 9, slice_set)
    assert scores.subjects["error"].str.contains(r"\[0, 1\], after softmax").all()
    table = scores.reductions()
    assert (table["failed_subjects"] == 3).all() and table["mean"].isna().all()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda soft: soft[:-1], "shape"),
        (lambda soft: soft[:, :-1], "shape"),
        (lambda soft: np.stack([soft] * 3, -1), "one or two classes"),
        (lambda soft: soft * np.nan, "probabilities"),
        (lambda soft: soft * 10 - 5, "probabilities"),
        (lambda soft: (soft * 4).astype(int), "0 and 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(slice_set, spoil, message):
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate_slices(spoil(guess(slice_set.images)), slice_set)


def test_a_set_without_slices_is_refused(slice_set):
    nothing = Slices(slice_set.images[:0], slice_set.masks[:0], slice_set.index[:0])
    with pytest.raises(ValueError, match="no slices"):
        evaluation.evaluate_slices(guess, nothing)


@pytest.mark.parametrize("nothing", [None, "/data/slices", pd.DataFrame({"subject": ["a"]})])
def test_what_is_no_set_of_slices_is_refused(nothing):
    with pytest.raises(ValueError, match="slice_set is .*SliceSet"):
        evaluation.evaluate_slices(guess, nothing)


def test_a_set_of_slices_knows_whose_they_are(slice_set):
    def ask(**change):
        changed = slice_set.index.assign(**change)
        return evaluation.evaluate_slices(guess, Slices(slice_set.images, slice_set.masks, changed))

    for subject, message in ((["1", 1, *"abcde"], "two ways"), ([None, *"abcdef"], "no subject")):
        with pytest.raises(ValueError, match=f"The set's index: .*{message}"):
            ask(subject=subject)
    without = Slices(slice_set.images, slice_set.masks, slice_set.index.drop(columns="z"))
    with pytest.raises(ValueError, match="no column 'z'"):
        evaluation.evaluate_slices(guess, without)
    # Slices of a session without a name were left out in silence.
    found = ask(session=[None, *["ses-1"] * 6])
    assert len(found.slices) == 7 and found.subjects["slices"].sum() == 7
    for options in (dict(score=["dice"]), dict(empty=None), dict(empty="1"), dict(level=95)):
        with pytest.raises(ValueError, match="no score|empty is|level is"):
            found.reductions(**options)


def test_a_keras_model_is_run_in_batches(slice_set):
    import keras

    images = keras.Input((16, 16, 1))
    half = keras.layers.Conv2D(
        2,
        1,
        activation="softmax",
        kernel_initializer=keras.initializers.Constant([[[[-3.0, 3.0]]]]),
        bias_initializer=keras.initializers.Constant([3.0, -3.0]),
    )
    table = evaluation.evaluate_slices(keras.Model(images, half(images)), slice_set).subjects
    expected = evaluation.evaluate_slices(slice_set.images[..., 0] >= 1, slice_set).subjects
    assert table["dice"].tolist() == pytest.approx(expected["dice"].tolist())


# --- summaries ----------------------------------------------------------------------------------


@pytest.fixture
def table():
    random = np.random.default_rng(2)
    rows = pd.DataFrame(
        dict(
            subject=[f"s{n:02}" for n in range(20)],
            site=["A", "B"] * 10,
            side=["left", "right", "both", "left"] * 5,
            truth_volume_ml=np.geomspace(0.1, 400, 20),
            error="",
            dice=random.random(20),
            hd95_mm=random.random(20) * 30,
        )
    )
    rows.loc[3, "hd95_mm"] = np.nan
    rows.loc[[5, 6], ["dice", "hd95_mm"]] = np.nan
    rows.loc[[5, 6], "error"] = "RuntimeError: no"
    return rows


def test_a_summary_counts_what_failed_and_what_is_undefined(table):
    summary = evaluation.summarise(table).set_index("score")
    assert summary.loc["dice", ["scored", "failed", "undefined", "subjects"]].tolist() == [
        18,
        2,
        0,
        18,
    ]
    assert summary.loc["hd95_mm", ["scored", "failed", "undefined", "subjects"]].tolist() == [
        18,
        2,
        1,
        17,
    ]
    assert summary.loc["dice", "mean"] == pytest.approx(table["dice"].mean())
    assert summary.loc["dice", "mean_if_failed_is_zero"] == pytest.approx(table["dice"].sum() / 20)
    assert pd.isna(summary.loc["hd95_mm", "mean_if_failed_is_zero"])
    interval = statistics.mean_interval(table["dice"].dropna(), bounds=(0, 1))
    assert summary.loc["dice", ["low", "high"]].tolist() == [interval.low, interval.high]
    assert summary.loc["dice", "interval"] == interval.text()
    assert summary.loc["dice", "level"] == "95 %" and 0 <= interval.low


def test_no_interval_goes_where_its_score_cannot():
    """Two subjects' interval is wider than what a millilitre off or a share can be."""
    table = pd.DataFrame(dict(subject=["a", "b"], dice=[0.5, 0.9]))
    for score in sorted(evaluation.LOWER_IS_BETTER - {"calibration_error"}):
        table[score] = [1.0, 90.0]
    lines = evaluation.summarise(table, list(table)[1:]).set_index("score")
    assert (lines.low == 0).all() and lines.high["dice"] == 1
    assert (lines.high.drop("dice") > 90).all()


def test_a_summary_prints_the_level_that_so_few_subjects_have(table):
    few = evaluation.summarise(table[:4], ["dice"]).iloc[0]
    assert few["level"].endswith("% by simulation") and not few["level"].startswith("95")
    zeros = table.assign(dice=[0.0] * 6 + [0.5 + 0.01 * k for k in range(14)], error="")
    assert evaluation.summarise(zeros, ["dice"])["level"][0].endswith("by simulation")
    equal = evaluation.summarise(table.assign(dice=0.5, error=""), ["dice"]).iloc[0]
    assert equal["interval"] == "undefined: all 20 scores are equal" and equal["level"] == ""
    assert equal["low"] is pd.NA and equal["mean"] == 0.5


def test_strata_by_size_site_and_side(table):
    by_size = evaluation.summarise(table, ["dice"], by="size")
    assert by_size["size"].tolist() == ["< 1 ml", "1–5 ml", "5–20 ml", "20–100 ml", "≥ 100 ml"]
    assert by_size["scored"].sum() == 18 and by_size["failed"].sum() == 2
    small = table[table["truth_volume_ml"] < 1]
    assert by_size["mean"][0] == pytest.approx(small["dice"].mean())
    for by, names in (("site", ["A", "B"]), ("side", ["both", "left", "right"])):
        assert evaluation.summarise(table, ["dice"], by=by)[by].tolist() == names
    table.loc[0, ["site", "truth_volume_ml"]] = ["", np.nan]
    assert "unknown" in evaluation.summarise(table, ["dice"], by="site")["site"].tolist()
    assert "unknown" in evaluation.summarise(table, ["dice"], by="size")["size"].tolist()


def test_size_bins_include_their_lower_edge():
    names = list(evaluation.size_bins([0, 0.999, 1, 4.999, 5, 100, 99.9, np.nan]))
    assert names[:-1] == [
        "no lesion",
        "< 1 ml",
        "1–5 ml",
        "1–5 ml",
        "5–20 ml",
        "≥ 100 ml",
        "20–100 ml",
    ]
    assert pd.isna(names[-1])


def test_one_subject_has_no_interval_and_the_table_says_why(table):
    line = evaluation.summarise(table[:1], ["dice"]).iloc[0]
    assert line["interval"] == "undefined: one subject"
    assert line["low"] is pd.NA and line["mean"] == table["dice"][0]
    sessions = pd.concat([table[:1]] * 3)
    assert evaluation.summarise(sessions, ["dice"])["interval"][0] == "undefined: one subject"


@pytest.mark.parametrize(
    "change, options, message",
    [
        (lambda t: t[:0], {}, "no rows"),
        (lambda t: t, dict(scores=["dise"]), "dise"),
        (lambda t: t, dict(by="scanner"), "scanner"),
        (lambda t: t.drop(columns="truth_volume_ml"), dict(by="size"), "'size'"),
        (lambda t: t.drop(columns="subject"), {}, "'subject'"),
    ],
)
def test_summaries_of_nothing_are_refused(table, change, options, message):
    with pytest.raises(ValueError, match=message):
        evaluation.summarise(change(table), **options)


# --- comparisons --------------------------------------------------------------------------------


def plain_sign_flips(differences):
    """Exact two-sided p of a mean by trying every pattern of signs, and the rank-biserial."""
    changed = [d for d in differences if d != 0]
    sizes = [abs(d) for d in changed]
    ranks = [sum(b < a for b in sizes) + (sizes.count(a) + 1) / 2 for a in sizes]
    positive = sum(rank for rank, d in zip(ranks, changed, strict=True) if d > 0)
    sums = [
        sum(sign * size for sign, size in zip(signs, sizes, strict=True))
        for signs in itertools.product([-1, 1], repeat=len(sizes))
    ]
    p = sum(abs(one) >= abs(sum(changed)) - 1e-9 for one in sums) / len(sums)
    return p, (2 * positive - sum(ranks)) / sum(ranks)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(-40, 40), min_size=2, max_size=8, unique_by=abs))
@example([-35, -4, -5, -6, 18, 40, -8])  # their sum is 0, and not quite in floating point
def test_the_paired_test_agrees_with_trying_every_sign(differences):
    if not any(differences):
        return
    wide = pd.DataFrame(dict(one=np.array(differences) / 100, other=0.0))
    line = evaluation.compare(wide).iloc[0]
    p, effect = plain_sign_flips(differences)
    assert line["p"] == pytest.approx(p, abs=1e-6)
    assert line["rank_biserial"] == pytest.approx(effect, abs=1e-6)
    assert line["mean_difference"] == pytest.approx(np.mean(differences) / 100, abs=1e-6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.floats(0, 1), st.none()), min_size=0, max_size=8))
def test_holm_agrees_with_its_definition(p_values):
    given_ = [pd.NA if p is None else p for p in p_values]
    known = sorted(p for p in p_values if p is not None)
    for p, corrected in zip(p_values, evaluation.holm(given_), strict=True):
        if p is None:
            assert corrected is pd.NA
            continue
        place = len(known) - known[::-1].index(p)  # how many are no larger
        expected = max(min(1, (len(known) - i) * q) for i, q in enumerate(known[:place]))
        assert corrected == pytest.approx(expected, abs=1e-6)


def method_tables():
    random = np.random.default_rng(0)
    good = random.uniform(0.5, 0.8, 30)
    subjects = [f"s{n}" for n in range(30)]
    scores = dict(
        good=good,
        same=good + random.normal(0, 1e-3, 30),
        bad=good - 0.2 + random.normal(0, 1e-3, 30),
    )
    return {
        name: pd.DataFrame(dict(subject=subjects, dice=dice, hd95_mm=10 - 10 * dice, error=""))
        for name, dice in scores.items()
    }


def test_a_comparison_says_which_method_is_better_and_how_sure_it_is():
    tables = method_tables()
    table = evaluation.compare(tables).set_index(["method", "other"])
    assert table.loc[("good", "bad"), "verdict"] == "good is better"
    assert table.loc[("good", "bad"), "mean_difference"] == pytest.approx(0.2, abs=1e-3)
    assert table.loc[("good", "bad"), "low"] > 0.19 and table.loc[("good", "bad"), "cohen_d"] > 50
    assert table.loc[("good", "bad"), "rank_biserial"] == 1
    assert table.loc[("good", "same"), "verdict"] == "no difference shown"
    assert (table["p_holm"] >= table["p"]).all() and len(table) == 3
    against = evaluation.compare(tables, reference="good")
    assert against["method"].tolist() == ["same", "bad"] and (against["other"] == "good").all()
    assert against["verdict"][1] == "good is better"
    distances = evaluation.compare(tables, score="hd95_mm", reference="bad")  # lower is better
    assert distances["verdict"].tolist() == ["good is better", "same is better"]


def test_failures_are_counted_as_unpaired():
    tables = method_tables()
    tables["bad"].loc[:3, "dice"] = np.nan
    tables["bad"].loc[:3, "error"] = "RuntimeError: no"
    tables["good"] = tables["good"][:-1]
    line = evaluation.compare(tables, reference="bad").iloc[0]
    assert (line["pairs"], line["unpaired"]) == (25, 5)


def test_several_scans_of_a_subject_are_one_pair():
    tables = {name: pd.concat([table, table]) for name, table in method_tables().items()}
    once, twice = evaluation.compare(method_tables()), evaluation.compare(tables)
    assert twice["pairs"].tolist() == [30, 30, 30]
    assert twice["p"].tolist() == once["p"].tolist()


def test_comparisons_without_an_answer_say_so():
    wide = pd.DataFrame(dict(a=[0.5, np.nan], b=[0.6, 0.7], c=[np.nan, np.nan]))
    verdicts = evaluation.compare(wide).set_index(["method", "other"])["verdict"]
    assert verdicts["a", "b"] == "undefined: one subject"
    assert verdicts["a", "c"] == "undefined: no subject scored by both"
    equal = evaluation.compare(pd.DataFrame(dict(a=[0.3, 0.1 + 0.2], b=[0.1 + 0.2, 0.3]))).iloc[0]
    assert (equal["p"], equal["rank_biserial"], equal["verdict"]) == (1, 0, "no difference shown")
    assert pd.isna(equal["low"]) and pd.isna(equal["cohen_d"])


def test_a_comparison_that_can_find_nothing_says_so():
    tables = {name: table[:4] for name, table in method_tables().items()}
    table = evaluation.compare(tables).set_index(["method", "other"])
    assert (table["verdict"] == "no difference shown").all()
    assert table["note"].str.contains("cannot find anything.*at least 7 subjects").all()
    enough = evaluation.compare(method_tables())
    assert (enough["note"] == "").all()


@pytest.mark.parametrize(
    "tables, options, message",
    [
        (dict(a=pd.DataFrame(dict(subject=["s"], dice=[1.0]))), {}, "two methods"),
        (pd.DataFrame(dict(a=[], b=[])), {}, "0 subjects"),
        (pd.DataFrame(dict(a=[1.0], b=[1.0])), dict(reference="c"), "no method 'c'"),
        (pd.DataFrame(dict(a=[1.0, 2], b=[1.0, 2]), index=["s", "s"]), {}, "several rows"),
        (dict(a=pd.DataFrame(dict(subject=["s"], dice=[1.0]))), dict(score="iou"), "'iou'"),
    ],
)
def test_comparisons_of_nothing_are_refused(tables, options, message):
    with pytest.raises(ValueError, match=message):
        evaluation.compare(tables, **options)


# --- tables on disk -----------------------------------------------------------------------------


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    class Unprintable:
        def __str__(self):
            raise RuntimeError("no text")

    path = evaluation.save_table(
        pd.DataFrame(dict(subject=["0031"], dice=[0.5])), tmp_path / "new" / "t.csv"
    )
    with pytest.raises(RuntimeError):
        evaluation.save_table(pd.DataFrame(dict(subject=[Unprintable()])), path)
    assert evaluation.open_table(path)["subject"].tolist() == ["0031"]
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match="csv"):
        evaluation.save_table(pd.DataFrame(), tmp_path / "t.xlsx")


def test_names_come_back_as_they_were(tmp_path):
    """A site "NA", an empty one, and a folder's name that is no UTF-8 are all names."""
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    sites = ["NA", "None", "", "0003", odd, "nan"]
    table = pd.DataFrame(
        dict(
            subject=[f"s{n}" for n in range(6)],
            site=sites,
            error="",
            dice=[0.5, np.nan, 1, 0, 1, 0],
            lesions=pd.array([1, None, 2, 3, 4, 5], "Int64"),
        )
    )
    path = evaluation.save_table(table, tmp_path / "t.csv")
    assert b"caf\xe9" in path.read_bytes()
    found = evaluation.open_table(path)
    assert found["site"].tolist() == sites and (found["error"] == "").all()
    assert found["dice"].isna().tolist() == found["lesions"].isna().tolist()
    assert found["dice"].dtype == float and found["dice"].isna().sum() == 1


def test_results_of_folders_with_odd_names_are_not_lost(scans, tmp_path):
    odd = b"site-caf\xe9".decode("utf-8", "surrogateescape")
    rows = scans[:2].assign(site=odd, subject=["001", odd])
    table = evaluation.evaluate(find_bright, rows, progress=False, save_as=tmp_path / "t.csv")
    assert evaluation.open_table(tmp_path / "t.csv")["subject"].tolist() == ["001", odd]
    assert table["dice"].tolist() == [1, 1]


def test_a_table_of_scans_is_never_overwritten(tmp_path):
    for columns in ("image,mask,subject", "subject,session,t1w,masks"):
        path = tmp_path / "scans.csv"
        path.write_text(f"{columns}\n1,2,3\n")
        with pytest.raises(ValueError, match="scans.csv is a table of scans"):
            evaluation.save_table(pd.DataFrame(dict(subject=["a"], dice=[1.0])), path)
        assert path.read_text().startswith(columns)
