"""`~` and other spellings of a path: understood wherever the package takes one."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import write_release

from kenseg_utils import (
    artifacts,
    atlas,
    evaluation,
    experiments,
    open_data,
    phantom,
    prediction,
    profiles,
    slices,
    training,
)
from kenseg_utils.prediction import export


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a small release in it, and an empty folder to work in beside it."""
    place = tmp_path / "home"
    write_release(place / "data", 3, (24, 28, 20), lambda number: np.s_[5:12, 6:15, 4:9])
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(training._loop, "_fit", lambda *given: None)
    return place


def scans():
    return atlas.find_scans("~/data")


def scan():
    return scans().t1w[0].replace(os.environ["HOME"], "~")


def prepared():
    return slices.prepare(scans(), size=16, padded=16, work_dir="~/derived", workers=1)


def trained():
    recipe = profiles.quick_recipe(profiles.get("smoke"), batch_size=2)
    return training.train(recipe, *prepared().split(2)[0], run_dir="~/run").folder


def evaluated():
    evaluation.evaluate(lambda image, affine: image * 0, scans(), save_as="~/e.csv")
    return evaluation.open_table("~/e.csv") is not None and Path("~/e.csv").expanduser()


def segmented():
    class Nothing:
        input_shape, predict_on_batch = (None, 208, 240, 1), None

    prediction.segment_file(Nothing(), scan(), scan())


BY_RESULT = {
    "artifacts.work_dir": lambda: artifacts.work_dir("~/derived"),
    "artifacts.results_file": lambda: artifacts.results_file("x", "~/results").parent,
    "artifacts.checked_target": lambda: artifacts.checked_target("~/x.csv", (".csv",)),
    "atlas.find_scans": lambda: Path(scans().t1w[0]),
    "atlas.load_image": lambda: atlas.load_image(scan()).path,
    "atlas.load_scan": lambda: atlas.load_scan(dict(t1w=scan(), masks=())).path,
    "atlas.save_mask": lambda: atlas.save_mask(
        atlas.load_image(scan()), np.zeros((24, 28, 20), np.uint8), "~/new/mask.nii.gz"
    ),
    "atlas.write_nnunet": lambda: atlas.write_nnunet(scans(), "~/nn", folds=2, progress=False),
    "profiles.open_scans": lambda: Path(
        profiles.open_scans(profiles.get("smoke"), "~/data", "~/derived").t1w[0]
    ),
    "slices.prepare": lambda: prepared().folder,
    "slices.open_set": lambda: slices.open_set(f"~/derived/{prepared().folder.name}").folder,
    "evaluation.save_table": lambda: evaluation.save_table(pd.DataFrame(dict(a=[1])), "~/t.csv"),
    "evaluation.evaluate": evaluated,
    "training.train": trained,
}
BY_MESSAGE = {
    "artifacts.fingerprint": lambda: artifacts.fingerprint("~/gone"),
    "phantom.make_release": lambda: phantom.make_release("~/phantom", 1),
    "prediction.open_network": lambda: prediction.open_network("~/x.keras"),
    "prediction.segment_file": segmented,
    "export.run_exported": lambda: export.run_exported("~/x.onnx", np.zeros((1, 8, 8, 1))),
    "experiments.open_experiments": lambda: experiments.open_experiments("~/x.csv"),
    "open_data.fetch": lambda: open_data.fetch("arc", "~/data", 1, base_url="http://127.0.0.1:9"),
}


@pytest.mark.parametrize("name", BY_RESULT)
def test_a_home_folder_is_understood_everywhere(home, name):
    assert BY_RESULT[name]().is_relative_to(home)
    assert os.listdir() == []  # no folder called ~


@pytest.mark.parametrize("name", BY_MESSAGE)
def test_a_home_folder_is_understood_where_a_call_must_fail(home, monkeypatch, name):
    monkeypatch.setattr(phantom._release, "_write_subjects", lambda *given: None)
    with pytest.raises((ValueError, OSError)) as caught:
        BY_MESSAGE[name]()
    assert str(home) in str(caught.value) and os.listdir() == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "None is none"),
        ("", "'' is none"),
        (" ", "' ' is none"),
        (7, "7 is none"),
        ("a\0.csv", "is none"),
        ("file:///data/a.csv", "address on the net"),
        ("s3://bucket/a.csv", "address on the net"),
        ("x" * 300 + ".csv", "too long"),
        ("/proc/a.csv", "may not be written to"),
    ],
)
def test_what_names_no_file_to_write_is_said_so_before_any_work(home, given, told):
    if str(given).startswith("/proc") and not os.path.isdir("/proc"):
        pytest.skip("needs a file system that takes no files")
    with pytest.raises(ValueError, match=told):
        artifacts.checked_target(given, (".csv",))
    with pytest.raises(ValueError, match=told):
        evaluation.save_table(pd.DataFrame(dict(a=[1])), given)
    assert os.listdir() == []


def test_bytes_name_a_file_too(home):
    before = Path(scans().t1w[0]).read_bytes()
    name = os.fsencode(scans().t1w[0])
    assert os.fsencode(atlas.load_image(name).path) == name
    with pytest.raises(ValueError, match="is an input"):
        artifacts.checked_target(name, (".nii.gz",), [name])
    assert Path(scans().t1w[0]).read_bytes() == before
