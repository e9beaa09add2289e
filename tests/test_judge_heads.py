"""The judge of networks for whole heads: its rule, on tables made for it, and its changed heads."""

import importlib.util
import itertools
import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from heads import head
from scipy import ndimage

from kenseg_utils import artifacts, metrics, networks, prediction
from kenseg_utils.experiments import judging, synthesis
from kenseg_utils.prediction import frames

spec = importlib.util.spec_from_file_location("judge", ROOT / "benchmarks/judge_heads.py")
judge_heads = importlib.util.module_from_spec(spec)
spec.loader.exec_module(judge_heads)


SHARES = judging.TRIED_PEAK_SHARES[:2]


def table(dice, healthy):
    """A table of all choices in which `dice` and `healthy` say what (looks, threshold) gives."""
    rows = []
    for mirrored, moved in itertools.product((False, True), repeat=2):
        looks = (1 + mirrored) * (1 + moved)
        for threshold in judging.TRIED_THRESHOLDS:
            for share, least in itertools.product(SHARES, judging.TRIED_LEAST_ML):
                choice = dict(mirrored=mirrored, moved=moved, threshold=threshold,
                              peak_share=share, least_ml=least)  # fmt: skip
                for group in ("phantoms", "painted"):
                    for number in range(4):  # what is kept apart would choose otherwise
                        value = dice(looks, threshold) if number % 2 == 0 else 1 - threshold
                        rows.append(dict(group=group, case=f"{group} {number}", number=number,
                                         found_ml=5.0, dice=value, **choice))  # fmt: skip
                for case, ml in enumerate(healthy(looks, threshold)):
                    rows.append(dict(group="healthy", case=f"head {case}", number=0, found_ml=ml,
                                     **choice))  # fmt: skip
    return pd.DataFrame(rows)


def test_the_best_dice_with_little_in_every_healthy_head_is_chosen():
    """0.4 scores best but finds 3 ml in one head; 0.6 is the best that finds at most 1."""
    dice = {0.4: 0.9, 0.6: 0.8, 0.7: 0.7}
    found = {0.4: (0.0, 3.0), 0.6: (0.9, 0.2)}
    choice, told = judging.choose(
        table(lambda _, t: dice.get(t, 0.5), lambda _, t: found.get(t, (0.0, 0.0)))
    )
    assert choice["threshold"] == 0.6 and choice["mirrored"] is choice["moved"] is False
    assert told.score.max() == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("scores", "taken"),
    [
        ({1: 0.7, 2: 0.703, 4: 0.704}, 1),
        ({1: 0.7, 2: 0.71, 4: 0.713}, 2),
        ({1: 0.7, 2: 0.71, 4: 0.72}, 4),
        ({1: 0.7, 2: 0.6, 4: 0.72}, 4),
    ],
)
def test_more_looks_must_be_worth_their_time(scores, taken):
    choice, _ = judging.choose(table(lambda looks, t: scores[looks], lambda looks, t: (0.5,)))
    assert (1 + choice["mirrored"]) * (1 + choice["moved"]) == taken


def test_among_equals_what_finds_less_in_healthy_heads_is_preferred():
    choice, _ = judging.choose(table(lambda _, t: 0.7 + 0.004 * (t == 0.5), lambda _, t: (1 - t,)))
    assert choice["threshold"] == 0.9


def test_where_no_choice_fits_the_least_of_the_worst_head_is_taken():
    choice, _ = judging.choose(table(lambda _, t: 1 - t, lambda _, t: (5 - t, 3.0)))
    assert choice["threshold"] == 0.9


def with_made(everything, found):
    """A table with three synthetic healthy heads more, of which a threshold gives each so many."""
    rows = everything.drop_duplicates(judging.CHOICE).drop(columns="dice")
    made = [
        rows.assign(group=judging.MADE, case=f"synthetic {k}", number=k,
                    found_ml=rows.threshold.map(lambda t, k=k: found(t)[k]))
        for k in range(3)
    ]  # fmt: skip
    return pd.concat([everything, *made], ignore_index=True)


def test_what_is_invented_in_synthetic_healthy_heads_chooses_too():
    """0.05 scores best, but it and all below 0.4 invent over 1 ml in one head of three."""
    everything = table(lambda _, t: 1 - t, lambda _, t: (0.0,))
    assert judging.choose(everything)[0]["threshold"] == 0.05
    choice, told = judging.choose(
        with_made(everything, lambda t: (0.0, 0.9, 1.1 if t < 0.4 else 1.0))
    )
    assert choice["threshold"] == 0.4
    assert set(told.misled) == {0.0, 1 / 3} and told.worst_ml.max() == 0
    # Where all mislead, those that mislead least often; real heads come first.
    real = table(lambda _, t: 1 - t, lambda _, t: (2.0 if t < 0.3 else 0.0,))
    all_mislead = with_made(real, lambda t: (5.0, 5.0, 5.0 if 0.5 <= t < 0.9 else 0.0))
    assert judging.choose(all_mislead)[0]["threshold"] == 0.3


def test_among_equals_synthetic_heads_with_less_in_them_are_preferred():
    equal = table(lambda _, t: 0.7 + 0.004 * (t == 0.5), lambda _, t: (0.0,))
    choice, _ = judging.choose(with_made(equal, lambda t: (1 - t, 0.0, 0.0)))
    assert choice["threshold"] == 0.9


def test_synthetic_healthy_heads_are_a_group_of_which_nothing_is_kept_apart():
    case = judging.made_healthy(3)
    assert case[:3] == ("healthy, synthetic", "synthetic 3", 3) and case[4] is None
    assert case[3].shape == frames.SHAPE
    assert np.median(case[3][case[3] > 0.5]) == pytest.approx(1, abs=0.25)
    everything = with_made(table(lambda _, t: 0.7, lambda _, t: (0.0,)), lambda t: (0.3, 0.0, 0.0))
    choice = dict(mirrored=False, moved=False, threshold=0.5, peak_share=0.0, least_ml=0.1)
    means = judging.scores_by_scan(everything, choice).set_index("case")
    assert means.found_ml["mean of 3 healthy, synthetic"] == pytest.approx(0.1)


def test_the_summary_parts_development_from_what_is_kept_apart():
    everything = table(lambda _, t: 0.7, lambda _, t: (0.5, 0.1))
    rows = judging.scores_by_scan(
        everything, dict(mirrored=False, moved=False, threshold=0.5, peak_share=0.0, least_ml=0.1)
    )
    means = rows.set_index("case").dice
    assert means["mean of 2 painted, development"] == pytest.approx(0.7)
    assert means["mean of 2 painted, kept apart"] == pytest.approx(0.5)
    assert rows.set_index("case").found_ml["mean of 2 healthy"] == pytest.approx(0.3)
    assert len(rows) == 8 + 2 + 5


def two_finds():
    """Two blobs in a volume of the frame, one sure and one faint, and what is true of them."""
    grid = np.indices(frames.SHAPE, np.float32)
    sure, faint = (
        high * np.exp(-np.sum((grid - np.reshape(place, (3, 1, 1, 1))) ** 2, 0) / (2 * 4.0**2))
        for place, high in (((30, 50, 50), 0.9), ((70, 50, 50), 0.2))
    )
    truth = (sure >= 0.45) | (faint >= 0.1)  # each from half of its own highest on
    return np.maximum(sure, faint), truth


def test_each_choice_is_scored_as_a_scan_would_be_drawn():
    soft, truth = two_finds()
    scored = judging.judge(
        lambda seen: soft, [("painted", "one", 0, soft, truth)], [(False, False)]
    )
    assert not scored.duplicated(judging.CHOICE).any()
    assert set(scored.peak_share) == set(judging.TRIED_PEAK_SHARES)
    for threshold, share, least in ((0.1, 0.0, 0.1), (0.1, 0.5, 0.1), (0.15, 0.2, 1.0)):
        cut = prediction.drawing_thresholds(soft, threshold, share)
        drawn = prediction.remove_small(soft >= cut, frames.VOXEL_ML, least)
        choice = dict(mirrored=False, moved=False, threshold=threshold, peak_share=share)
        row = judging.with_choice(scored, choice | dict(least_ml=least)).iloc[0]
        assert row.dice == pytest.approx(metrics.dice(truth, drawn))
        assert row.found_ml == pytest.approx(drawn.sum() * frames.VOXEL_ML)
        assert row.lesion_ml == pytest.approx(truth.sum() * frames.VOXEL_ML)


def test_a_threshold_for_finding_and_a_share_for_drawing_are_chosen_together():
    """No threshold draws a sure lesion and a faint one well; a share of their highest does."""
    soft, truth = two_finds()
    nothing = ("healthy", "head", 0, np.zeros_like(soft), None)
    scored = judging.judge(lambda seen: seen, [("painted", "one", 0, soft, truth), nothing])
    choice, told = judging.choose(scored)
    assert choice["peak_share"] == 0.5 and choice["threshold"] <= 0.1
    assert told.score.max() > 0.99 > 0.9 > told[told.peak_share == 0].score.max()
    assert not scored[scored.group == "healthy"].found_ml.any()


def test_what_no_scan_would_show_is_not_judged_either():
    """A network that sees lesions everywhere, the neck included: scored as it would be drawn."""
    image, affine = head()
    frame, seen = frames.look(image, affine)

    class Everything:
        input_shape = output_shape = (None, *frames.SHAPE, 1)
        predict_on_batch = staticmethod(np.ones_like)

    row = judging.judge(np.ones_like, [("healthy", "head", 0, seen, None)], [(False, False)])
    drawn = frame.into(prediction.by_frame(Everything(), image, affine), affine) >= 0.5
    assert row.found_ml.nunique() == 1
    assert row.found_ml[0] == pytest.approx(drawn.sum() * frames.VOXEL_ML, rel=0.03)
    assert 1500 < row.found_ml[0] < 0.5 * seen.size * frames.VOXEL_ML
    # The same for a lesion: what is found in the neck beside it costs nothing.
    lesion = np.zeros(frames.SHAPE, bool)
    lesion[60:66, 50:58, 60:66] = True
    neck = np.zeros(frames.SHAPE, np.float32)
    neck[40:56, 40:56, :6] = 0.9
    scored = judging.judge(
        lambda seen: np.maximum(neck, lesion), [("painted", "head", 0, seen, lesion)]
    )
    assert (scored[~scored.moved & ~scored.mirrored].precision == 1).all()


def test_small_things_are_left_out():
    found = np.zeros((20, 20, 20), bool)
    found[:4, :4, :4] = True  # 0.5 ml
    found[10:12, 10:12, 10:12] = True  # 0.06 ml
    kept = prediction.remove_small(found, frames.VOXEL_ML, 0.1)
    assert kept[:4, :4, :4].all() and kept.sum() == 64
    assert not prediction.remove_small(found, frames.VOXEL_ML, 1.0).any()


@pytest.mark.parametrize("way", judge_heads.WAYS)
def test_a_changed_head_is_still_a_head(way, tmp_path):
    x, y, z = np.ogrid[-24:24, -28:28, -26:26]
    head = ((x / 20) ** 2 + (y / 25) ** 2 + (z / 23) ** 2 < 1).astype(np.float32)
    image = 200 * ndimage.gaussian_filter(head, 0.5)
    affine = np.diag([3.5, 3.5, 3.5, 1.0])
    changed, _ = judge_heads.changed(image, affine, way)
    assert np.isfinite(changed).all() and changed.max() > 100
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "one_T1w.nii.gz")
    group, name, number, seen, mask = judge_heads.healthy(tmp_path / "one_T1w.nii.gz", way)
    assert (group, name, number, mask) == ("healthy", f"one_T1w, {way}", 0, None)
    assert seen[48, 56, 60] == pytest.approx(1, abs=0.25)


def test_a_real_outline_is_painted_into_a_head(tmp_path):
    image, affine = head(lesion=None)
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "one_T1w.nii.gz")
    mni = np.diag([3.0, 3, 3, 1])
    mni[:3, 3] = -90, -126, -72
    drawn = np.zeros((61, 73, 61), np.uint8)
    drawn[44:50, 32:42, 30:40] = 1  # 16 ml in the right half
    nib.save(nib.Nifti1Image(drawn, mni), tmp_path / "P1.nii.gz")
    group, name, number, seen, mask = judging.with_outline(
        tmp_path / "one_T1w.nii.gz", tmp_path / "P1.nii.gz", 4
    )
    assert (group, name, number) == (judging.OUTLINED, "one_T1w P1", 4)
    assert mask.sum() * frames.VOXEL_ML == pytest.approx(16 * 1.3, rel=0.35)  # a larger brain
    assert np.argwhere(mask)[:, 0].min() > 48  # x grows to the right
    once, _ = judging.opened(tmp_path / "one_T1w.nii.gz")
    before = frames.look(once, affine)[1]
    assert (seen - before)[mask].mean() < -0.1
    assert np.abs(seen - before)[~ndimage.binary_dilation(mask, iterations=4)].max() < 0.02
    mni[0, 3] = 200  # beside the head
    nib.save(nib.Nifti1Image(drawn, mni), tmp_path / "P2.nii.gz")
    with pytest.raises(ValueError, match="Nothing of .*P2.nii.gz lies in the brain"):
        judging.with_outline(tmp_path / "one_T1w.nii.gz", tmp_path / "P2.nii.gz", 5)


def t2w_brain(folder):
    """A brain as in a T2w, with a bright lesion, stored from right to left; that lesion's mask."""
    kind = dict(mm=3.0, contrast="T2w", skull=False)
    clean, affine = head(**kind)
    image, _ = head(**kind, lesion=(36, 0, 12, 13))
    for name, array in (("b_T2w", image), ("b_mask", image != clean)):
        scan = nib.Nifti1Image(array.astype(np.int16), affine)
        nib.save(scan.as_reoriented([[0, -1], [1, 1], [2, 1]]), folder / f"{name}.nii.gz")
    return folder / "b_T2w.nii.gz", folder / "b_mask.nii.gz"


def test_a_t2w_turned_over_looks_like_a_t1w_and_chooses_nothing(tmp_path):
    scan, drawn = t2w_brain(tmp_path)
    group, name, number, seen, mask = judging.turned_over(scan, drawn)
    assert (group, name, number % 2) == (judging.TURNED, "b_T2w", 1)
    drawn_ml = nib.load(drawn).get_fdata().sum() * 27 / 1000
    assert mask.sum() * frames.VOXEL_ML == pytest.approx(drawn_ml, rel=0.05) and drawn_ml > 5
    inside = ndimage.binary_erosion(mask)
    brain = seen > 0
    tissue = brain & ~ndimage.binary_dilation(mask, iterations=3)
    assert 0.05 < seen[inside].mean() < 0.35 < 0.6 < np.median(seen[tissue]) < 1.3
    assert seen[inside].min() > 0 and not seen[~ndimage.binary_dilation(brain)].any()
    everything = table(lambda _, t: t, lambda _, t: (0.5,))
    more = everything[everything.group == "painted"].assign(group=group, number=number)
    more["dice"] = 1 - more.threshold  # would choose the lowest
    assert judging.choose(pd.concat([everything, more]))[0] == judging.choose(everything)[0]


def test_a_mask_of_another_grid_is_refused(tmp_path):
    scan, _ = t2w_brain(tmp_path)
    other = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.eye(4)), other)
    with pytest.raises(ValueError, match="other.nii.gz is not on the grid of"):
        judging.turned_over(scan, other)


def test_what_is_painted_does_not_follow_the_training_heads():
    """Or scores of networks trained on other heads could not be compared."""
    painted = [
        [
            (piece.kind.name, round(piece.ml, 2))
            for piece in synthesis.draw_plan(rng, judging.PAINTED)
        ]
        for rng in (np.random.default_rng((judging.SEED, number)) for number in (1, 2, 4, 7))
    ]
    assert painted == [
        [("corona radiata", 5.57)],
        [("anterior cerebral", 2.72)],
        [("cerebellum", 14.99)],
        [("posterior cerebral", 51.16), ("posterior cerebral", 3.22)],
    ]


def test_all_trainings_that_led_to_a_network_are_told_in_their_order():
    plan = dict(network="unet3d_half", widths=None, batch=1, heads=5, device="CPU (2 cores)")
    history = pd.DataFrame(dict(step=[10, 1234], seconds=[60.0, 5412.0]))
    plan = judge_heads.as_told(plan)
    first = judge_heads.trainings(plan, history, None)
    assert first == [
        dict(steps=1234, minutes=90.2, widths=[32, 64, 96, 128], batch=1, heads=5,
             device="CPU (2 cores)", began_with=None)
    ]  # fmt: skip
    second = judge_heads.trainings(
        judge_heads.as_told(plan | dict(start_from="/somebody/s/heads.npz", widths=(4, 8))),
        history.head(1),
        dict(trainings=first),
    )
    assert second[0] == first[0] and (second[1]["steps"], second[1]["widths"]) == (10, [4, 8])
    assert second[1]["began_with"] == "heads.npz"


def test_a_training_that_went_on_from_another_has_its_past_too(tmp_path, monkeypatch):
    """heads.npz → first/last.keras → second: all that is recorded, then both, in their order."""
    plan = dict(network="unet3d_half", widths=None, batch=1, heads=6, device="CPU (2 cores)")
    begun = dict(first="results/heads.npz", second=str(tmp_path / "first" / "last.keras"))
    for number, (name, start) in enumerate(begun.items(), start=1):
        (tmp_path / name).mkdir()
        told = json.dumps(plan | dict(start_from=start, heads=5 + number))
        (tmp_path / name / "plan.json").write_text(told)
        log = pd.DataFrame(dict(step=[1, 100 * number], seconds=[1.0, 600.0 * number]))
        log.to_csv(tmp_path / name / "log.csv", index=False)
    recorded = dict(trainings=[dict(steps=7)])
    monkeypatch.setattr(prediction, "recorded_network", lambda name: (None, recorded))
    past = judge_heads.past_of(tmp_path / "second")
    assert [told["steps"] for told in past] == [7, 100, 200]
    assert [told.get("heads") for told in past] == [None, 6, 7]
    assert [told.get("began_with") for told in past] == [None, "heads.npz", "last.keras"]
    (tmp_path / "first" / "plan.json").unlink()  # a file from elsewhere: nothing is known of it
    assert [told["steps"] for told in judge_heads.past_of(tmp_path / "second")] == [200]


def test_each_choice_is_scored_as_if_it_were_the_only_one():
    """Equal answers are labelled once; here every choice is worked out anew."""
    random = np.random.default_rng(0)
    soft = ndimage.gaussian_filter(random.random((24, 22, 20)), 2).astype(np.float32)
    soft = (soft - soft.min()) / (soft.max() - soft.min())
    mask = ndimage.gaussian_filter(random.random(soft.shape), 2) > 0.52
    rows = list(judging._scores_of_choices(soft, mask))
    choices = {(row["threshold"], row["peak_share"], row["least_ml"]) for row in rows}
    assert len(rows) == len(choices) == 11 * 6 * 4
    for row in rows:
        labels, highest = prediction.finds(soft, row["threshold"])
        drawn = (labels > 0) & (soft >= row["peak_share"] * highest[labels])
        drawn = prediction.remove_small(drawn, frames.VOXEL_ML, row["least_ml"])
        assert row["found_ml"] == pytest.approx(drawn.sum() * frames.VOXEL_ML)
        assert row["dice"] == pytest.approx(metrics.dice(mask, drawn))


def test_a_table_belongs_to_the_model_that_was_judged_in_it(tmp_path):
    one, other, file = tmp_path / "one.keras", tmp_path / "other.keras", tmp_path / "table.csv"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    told = table(lambda _, t: t, lambda _, t: (0.5,))
    told.assign(model=artifacts.fingerprint(one)).to_csv(file, index=False)
    assert judge_heads.opened_table(file, one).equals(pd.read_csv(file).drop(columns="model"))
    with pytest.raises(ValueError, match="table of another model"):
        judge_heads.opened_table(file, other)
    told.to_csv(file, index=False)  # nobody knows whose
    with pytest.raises(ValueError, match="table of another model"):
        judge_heads.opened_table(file, one)


def test_lesions_are_told_by_size_and_by_head():
    rows = [
        ("painted", "t1_brain 0", 0.4, 0.0),
        ("painted", "t1_brain 1", 5.0, 0.6),
        ("painted", "other 0", 80.0, 0.9),
        ("phantoms", "phantom 0", 0.5, 0.2),
        (judging.OUTLINED, "other Subject_001", 0.7, 0.1),
        (judging.HEALTHY, "other, as it is", np.nan, np.nan),
        ("painted", "mean of 3 painted, development", 30.0, 0.5),
    ]
    scans = pd.DataFrame(rows, columns=["group", "case", "lesion_ml", "dice"])
    assert len(judging.single(scans)) == 6
    sizes = judging.by_size(scans)
    assert sizes.index.tolist() == ["below 1", "1 to 5", "above 50"]  # edges belong to the lower
    assert sizes.values.tolist() == [[2, 1, 0.1], [1, 0, 0.6], [1, 0, 0.9]]
    heads = judging.by_head(scans)
    assert heads.index.tolist() == ["other", "t1_brain"]
    assert heads["all"].loc["t1_brain"].tolist() == [2, 1, 0.3]
    assert heads["large"].loc["t1_brain"].tolist() == [1, 0, 0.6]


def test_a_network_judged_anew_keeps_its_weights_and_its_past(tmp_path):
    shape, options = (8, 8, 8, 1), dict(widths=[2, 4])
    recipe = dict(network="unet3d", widths=[2, 4], options={})
    model = networks.build("unet3d", shape, **options)
    history = pd.DataFrame(dict(step=[1, 2], seconds=[0.5, 1.0]))
    past = dict(recipe=recipe, commit="abc", trainings=[dict(steps=2)], seconds=1.0)
    first = dict(mirrored=True, moved=True, threshold=0.15, peak_share=0.4, least_ml=0.1)
    run = SimpleNamespace(model=model, provenance=past, history=history)
    file = prediction.save_network("heads", run, tmp_path, **first, judged=[1])
    with np.load(file, allow_pickle=False) as found:
        before = {name: found[name] for name in found}
    everything = table(lambda _, t: t, lambda _, t: (0.5,))
    second = first | dict(moved=False, threshold=0.9, peak_share=0.0)
    scans = judging.scores_by_scan(everything, second)
    assert judge_heads.keep_choice(second, scans, tmp_path) == file
    again, about = prediction.recorded_network("heads", tmp_path)
    assert {name: about[name] for name in second} == second
    assert again.threshold == 0.9 and not getattr(again, "moved", False)
    assert {name: about[name] for name in past} == past
    assert about["history"] == history.to_dict("records")
    assert [row["case"] for row in about["judged"]] == list(judging.means(scans).case)
    with np.load(file, allow_pickle=False) as found:
        assert set(found) == set(before)
        for name in set(before) - {"about"}:
            np.testing.assert_array_equal(found[name], before[name])
    with pytest.raises(ValueError, match="No network is recorded"):
        judge_heads.keep_choice(second, scans, tmp_path / "empty")
