"""Over-fitting with and without augmentation: the same but for one thing, on its own slices."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from conftest import ROOT

from kenseg_utils import experiments, profiles
from kenseg_utils.experiments import overfitting


@pytest.fixture(scope="module")
def parts(smoke_crops, work_dir):
    return overfitting.few_slices(profiles.get("smoke"), str(work_dir))


def test_the_arms_differ_by_augmentation_alone():
    scale = overfitting.SCALES["demo"]
    one, other = (asdict(overfitting.arm_recipe(scale, a, 3)) for a in overfitting.ARMS.values())
    assert {name for name in one if one[name] != other[name]} == {"augment"}
    assert one["seed"] == 3 and one["epochs"] == 120


def test_parts_share_no_subject_and_hold_few_slices_of_each_scan(parts):
    subjects = [set(part.index.subject) for part in parts]
    assert all(not one & other for one, other in zip(subjects, subjects[1:] + subjects[:1]))
    assert all((part.index.groupby("subject").size() <= 2).all() for part in parts)


def test_dice_is_by_subject_and_of_the_slices_as_they_are(parts, monkeypatch):
    """One subject is found whole, the others not at all."""
    part = parts[1].subset(range(len(parts[1])))
    images, masks = part.batch(range(len(part)))
    found = (part.index.subject == part.index.subject.iloc[0]).to_numpy()[:, None, None] & (
        masks > 0
    )

    def predict(_, given):
        assert np.array_equal(given, images)
        return np.stack([~found, found], -1).astype(np.float32)

    monkeypatch.setattr(overfitting.training, "predict", predict)
    assert overfitting.dice_by_subject(None, part) == 1 / part.index.subject.nunique()


def test_the_command_records_what_it_prints(parts, work_dir, tmp_path, capsys):
    asked = ["--profile", "smoke", "--seeds", "1", "--work-dir", str(work_dir)]
    overfitting.main([*asked, "--record", "--results", str(tmp_path)])
    kept = json.loads((tmp_path / "overfitting.json").read_text())
    histories, trainings = (kept["tables"][name] for name in ("histories", "trainings"))
    assert [row["arm"] for row in trainings] == list(overfitting.ARMS)
    assert len(histories) == 2 * overfitting.SCALES["smoke"].epochs
    for row in trainings:
        own = [line["val_loss"] for line in histories if line["arm"] == row["arm"]]
        assert own[row["lowest"] - 1] == min(own)
        assert 0 <= row["train_dice"] <= 1 and 0 <= row["test_dice"] <= 1
        assert row["slices"] == len(parts[0])
    assert kept["provenance"]["profile"] == "smoke" and kept["provenance"]["commit"]
    assert "without augmentation" in capsys.readouterr().out


def test_no_seeds_are_refused(capsys):
    with pytest.raises(SystemExit):
        overfitting.main(["--seeds", "0"])
    assert "give at least 1" in capsys.readouterr().err


def test_the_record_bears_out_what_chapter_5_says_of_it():
    """That without augmentation the slices were learned by heart, seed after seed."""
    kept = experiments.open_result("overfitting", ROOT / "results")
    trainings = kept.tables["trainings"].assign(gap=lambda t: t.train_dice - t.test_dice)
    gaps = trainings.pivot(index="seed", columns="arm", values="gap")
    assert len(gaps) >= 3 and kept.provenance["profile"] == "demo"
    assert (gaps["without augmentation"] > 0.3).all()
    assert (gaps["without augmentation"] > gaps["with augmentation"]).all()
