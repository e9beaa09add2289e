"""From data that change to results that notice: keys, the memory of hashes, profiles, make."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import warnings

import nibabel
import numpy as np
import pytest
import releases
from conftest import ROOT, write_release

from kenseg_utils import artifacts, atlas, profiles, slices, teaching, training

# --- a release as it is shipped -----------------------------------------------------------------


def test_r2_0_with_its_test_split_opens(tmp_path):
    """The documented command's first step: training with masks, testing without."""
    for number in range(1, 7):
        releases.bids(
            tmp_path / "ATLAS_2" / "Training" / f"R{number:03d}", f"r{number:03d}s001", seed=number
        )
    for number in (10, 11, 12):
        releases.bids(
            tmp_path / "ATLAS_2" / "Testing" / f"R{number:03d}",
            f"r{number:03d}s001",
            seed=number,
            label=None,
        )
    scans = atlas.find_scans(tmp_path)
    assert scans["split"].value_counts().to_dict() == {"training": 6, "testing": 3}
    assert scans.attrs["problems"] == ()
    told = "3 of 9 scans are left out.*3 since ATLAS keeps the masks of its test split secret"
    with pytest.warns(UserWarning, match=told):
        opened = profiles.open_scans(profiles.get("smoke"), tmp_path / "ATLAS_2")
    assert len(opened) == 6 and set(opened["split"]) == {"training"}
    crops = profiles.open_crops(
        profiles.get("smoke"), opened, tmp_path / "work", size=16, padded=16
    )
    assert sum(part.index.subject.nunique() for part in crops) == 6
    with pytest.raises(atlas.ScanError, match="3 of 3.*test split secret.*training folder"):
        profiles.open_scans(profiles.get("smoke"), tmp_path / "ATLAS_2" / "Testing")


@pytest.mark.parametrize("seed", ["abc", "1", 1.5, -1, 2**32, None, True])
def test_a_seed_that_is_none_is_refused_before_work(tmp_path, seed):
    with pytest.raises(ValueError, match="seed is .*: give a whole number") as caught:
        profiles.open_scans(profiles.get("smoke"), tmp_path / "nowhere", seed=seed)
    assert not isinstance(caught.value, atlas.ScanError)
    assert profiles.check_seed(np.int64(3)) == 3


def test_a_validation_set_that_is_the_training_set_is_refused(tmp_path):
    scans = write_release(tmp_path, 2, (24, 28, 20), lambda number: np.s_[5:12, 6:15, 4:9])
    crops = slices.prepare(scans, size=16, padded=16, work_dir=tmp_path / "work", workers=1)
    recipe = profiles.quick_recipe(profiles.get("smoke"))
    with pytest.raises(ValueError, match="validation set is the training set.*Split by subject"):
        training.train(recipe, crops, crops, run_dir=tmp_path / "run")
    for shared in (crops.subset(range(len(crops))[::-1]), crops.subset([2, 3])):
        with pytest.raises(ValueError, match="slices are in the training set.*by heart"):
            training.train(recipe, crops, shared, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_validation_set_of_the_same_subjects_is_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(training._loop, "_fit", lambda *given: None)
    scans = write_release(tmp_path, 3, (24, 28, 20), lambda number: np.s_[5:12, 6:15, 4:9])
    crops = slices.prepare(scans, size=16, padded=16, work_dir=tmp_path / "work", workers=1)
    recipe = profiles.quick_recipe(profiles.get("smoke"), batch_size=2)
    with pytest.warns(UserWarning, match="3 subjects in both the training and the validation set"):
        training.train(recipe, crops.subset([0, 5, 10]), crops.subset([1, 6, 11]), tmp_path / "a")
    apart = crops.split(3)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training.train(recipe, *apart, run_dir=tmp_path / "b")


def test_too_few_subjects_are_said_so(tmp_path):
    scans = write_release(tmp_path, 2, (24, 28, 20), lambda number: np.s_[5:12, 6:15, 4:9])
    settings = dict(size=16, padded=16, workers=1)
    with pytest.raises(ValueError, match="2 of 2 scans' subjects.*training, validation and test"):
        profiles.open_crops(profiles.get("smoke"), scans, tmp_path / "work", **settings)


# --- keys ---------------------------------------------------------------------------------------


def box(shape=(40, 40, 40)):
    mask = np.zeros(shape, np.uint8)
    mask[10:16, 12:18, 5:9] = 1
    return mask


@pytest.fixture
def plain(tmp_path):
    """One scan in uncompressed files, as an editor of masks writes them."""
    anat = tmp_path / "ATLAS_2" / "Training" / "R001" / "sub-r001s001" / "ses-1" / "anat"
    stem = "sub-r001s001_ses-1_space-MNI152NLin2009aSym"
    rng = np.random.default_rng(0)
    t1w = releases.save(anat / f"{stem}_T1w.nii", rng.integers(0, 99, (40, 40, 40)), np.eye(4))
    return t1w, releases.save(anat / f"{stem}_label-L_desc-T1lesion_mask.nii", box(), np.eye(4))


def prepared(tmp_path):
    scans = atlas.find_scans(tmp_path / "ATLAS_2")
    return slices.prepare(scans, work_dir=tmp_path / "work", workers=1), teaching.data_key(scans)


def test_a_change_anywhere_in_the_files_gives_other_slices(tmp_path, plain, monkeypatch):
    monkeypatch.setenv("KENSEG_HOME", str(tmp_path / "work"))
    t1w, mask = plain
    first, key = prepared(tmp_path)
    assert prepared(tmp_path)[0].stored == first.stored
    moved = np.roll(box(), 3, axis=2)  # in the middle of the file, as large, ending alike
    releases.save(mask, moved, np.eye(4))
    second, other = prepared(tmp_path)
    assert second.index.z.min() == 8 and first.index.z.min() == 5 and other != key
    thick = np.diag([1, 1, 6.5, 1])
    for path in plain:  # only the headers
        image = nibabel.load(path)
        releases.save(path, np.asarray(image.dataobj), thick)
    third, last = prepared(tmp_path)
    assert set(third.index.slice_mm) == {6.5} and last not in (key, other)
    assert len({first.stored, second.stored, third.stored}) == 3


def test_a_change_that_keeps_size_and_times_is_noticed(tmp_path, plain):
    mask = plain[1]
    before = artifacts.fingerprints([mask], tmp_path / "work")
    times = mask.stat()
    with open(mask, "r+b") as file:
        file.seek(20_000)
        file.write(b"\1")
    os.utime(mask, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert artifacts.fingerprints([mask], tmp_path / "work") != before


@pytest.mark.parametrize(
    "name, value",
    [
        ("site", "R002"),
        ("subject", "sub-x"),
        ("session", "ses-2"),
        ("space", "orig"),
        ("mask_grid", "world"),
        ("run", "2"),
        ("release", "R3.0"),
    ],
)
def test_what_a_row_says_is_part_of_the_key(tmp_path, plain, name, value):
    scans = atlas.find_scans(tmp_path / "ATLAS_2")
    first = slices.prepare(scans, work_dir=tmp_path / "work", workers=1)
    other = slices.prepare(scans.assign(**{name: value}), work_dir=tmp_path / "work", workers=1)
    assert other.stored != first.stored
    if name in ("subject", "session", "site"):
        assert set(other.index[name]) == {value}


def test_the_loader_s_version_is_part_of_the_key(tmp_path, plain, monkeypatch):
    scans = atlas.find_scans(tmp_path / "ATLAS_2")
    first = slices.prepare(scans, work_dir=tmp_path / "work", workers=1)
    monkeypatch.setattr(atlas, "LOADER_VERSION", atlas.LOADER_VERSION + 1)
    assert slices.prepare(scans, work_dir=tmp_path / "work", workers=1).stored != first.stored


def test_a_site_s_folder_that_is_renamed_renames_it_in_the_slices(tmp_path):
    root = releases.r11(tmp_path)
    first = slices.prepare(atlas.find_scans(root), work_dir=tmp_path / "work", workers=1)
    (root / "Site1").rename(root / "Site7")
    second = slices.prepare(atlas.find_scans(root), work_dir=tmp_path / "work", workers=1)
    assert set(first.index.site) == {"Site1", "Site2"}
    assert set(second.index.site) == {"Site2", "Site7"}


# --- the memory of hashes -----------------------------------------------------------------------


def counted(monkeypatch) -> list:
    """A list that gets every path whose content is read for its hash."""
    read, original = [], artifacts.fingerprint

    def fingerprint(path):
        read.append(os.path.basename(path))
        return original(path)

    monkeypatch.setattr(artifacts, "fingerprint", fingerprint)
    return read


def aged(path, seconds: float = 60):
    """Make a file look as if it had been there for a while; ctime cannot be set."""
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_files_are_read_once_and_again_when_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "_RACY_NS", 0)
    read = counted(monkeypatch)
    files = [tmp_path / name for name in ("a.nii", "b.nii.gz")]
    for path in files:
        path.write_bytes(path.name.encode() * 100_000)
    first = artifacts.fingerprints(files, tmp_path / "work")
    assert artifacts.fingerprints(files, tmp_path / "work") == first and len(read) == 2
    assert artifacts.fingerprints(reversed(files), tmp_path / "work") == first[::-1]
    files[0].write_bytes(b"other")
    second = artifacts.fingerprints(files, tmp_path / "work")
    assert second[0] != first[0] and second[1] == first[1] and read[2:] == ["a.nii"]
    shutil.copy(files[1], tmp_path / "copy.nii.gz")
    assert artifacts.fingerprints([tmp_path / "copy.nii.gz"], tmp_path / "work") == [first[1]]


def test_what_changed_just_now_is_not_remembered(tmp_path, monkeypatch):
    read = counted(monkeypatch)
    path = tmp_path / "a.nii"
    path.write_bytes(b"1")
    for _ in range(2):
        artifacts.fingerprints([path], tmp_path / "work")
    assert len(read) == 2 and not (tmp_path / "work" / "fingerprints.jsonl").exists()


def test_a_broken_memory_is_read_around(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "_RACY_NS", 0)
    path = tmp_path / "a.nii"
    path.write_bytes(b"1")
    expected = artifacts.fingerprints([path], tmp_path / "work")
    memory = tmp_path / "work" / "fingerprints.jsonl"
    line = memory.read_text().strip()
    assert json.loads(line)[0] == str(path)
    memory.write_bytes(b'\n{"a": 1}\n[3]\n["x"\n\xff\xfe\n' + line.encode() + line[:20].encode())
    assert artifacts.fingerprints([path], tmp_path / "work") == expected
    assert artifacts.fingerprints([path], tmp_path / "work") == expected
    shutil.rmtree(tmp_path / "work"), (tmp_path / "work").mkdir()
    memory.mkdir()  # it cannot be written
    assert artifacts.fingerprints([path], tmp_path / "work") == expected


def test_files_that_cannot_be_read_have_a_name_too(tmp_path):
    gone, folder = artifacts.fingerprints([tmp_path / "gone", tmp_path], tmp_path / "work")
    assert gone == "unreadable: No such file or directory" and folder.startswith("unreadable: ")


def test_a_hundred_scans_are_looked_at_in_seconds_when_they_are_known(tmp_path, monkeypatch):
    """A tenth of R2.1, tiny: no file is read a second time."""
    monkeypatch.setattr(artifacts, "_RACY_NS", 0)
    scans = write_release(tmp_path, 96, (24, 28, 20), lambda number: np.s_[5:12, 6:15, 4:9])
    files = [path for row in scans.itertuples() for path in (row.t1w, *row.masks)]
    first = artifacts.fingerprints(files, tmp_path / "work")
    monkeypatch.setattr(artifacts, "fingerprint", None)
    begun = time.perf_counter()
    again = atlas.find_scans(tmp_path)
    files = [path for row in again.itertuples() for path in (row.t1w, *row.masks)]
    assert artifacts.fingerprints(files, tmp_path / "work") == first
    assert time.perf_counter() - begun < 5


# --- make ---------------------------------------------------------------------------------------

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def project(tmp_path):
    """A copy of what the Makefile looks at, which takes itself for installed."""
    folder = tmp_path / "project"
    for name in ("Makefile", "requirements.lock", "requirements-test.lock", "pyproject.toml"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("book", "notebooks", "kenseg_utils"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(os.path.realpath(shutil.which("python3") or "python3"))
    for stamp in (".book", ".test"):
        (folder / ".venv" / stamp).touch()
    return folder


def make(project, *arguments, **environment) -> str:
    done = subprocess.run(
        ["make", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"} | environment,
    )
    return done.stdout + done.stderr


@needs_make
@pytest.mark.parametrize(
    "root",
    [
        "/a path/with spaces",
        "/data/O'Brien/ATLAS_2",
        "/data/cost$5/ATLAS_2",
        "~/ATLAS_2",
        'a"b;c&d`e',
        "/data/a,b(c)",
        "scans.csv",
    ],
)
def test_make_hands_any_path_on_as_it_is(project, root):
    told = make(project, "-n", "book", f"DATA_ROOT={root}")
    line = re.search(r"-m kenseg_utils\.profiles demo --data-root .*", told)[0]
    command = line.replace("-m kenseg_utils.profiles", "printf '%s|'")
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert said.stdout == f"demo|--data-root|{root}|"


@needs_make
@pytest.mark.parametrize("home", ["/data/O'Brien/k", "/data/cost$5/k", "a b"])
def test_make_hands_the_work_folder_on_as_it_is(project, home):
    show = ("-s", "--eval=show: ; @printenv KENSEG_HOME", "show")
    assert make(project, *show, KENSEG_HOME=home) == f"{home}\n"
    assert make(project, *show, f"KENSEG_HOME={home}") == f"{home}\n"


@needs_make
@pytest.mark.parametrize("profile", ["Demo", "smoke demo", "%o%", "", "paper%"])
def test_make_refuses_what_is_no_profile(project, profile):
    told = make(project, "-n", "book", f"PROFILE={profile}")
    assert "choose smoke, demo or paper" in told and "execute.py" not in told


@needs_make
def test_make_takes_one_folder_for_one_however_it_is_spelled(project):
    def run(root):
        told = make(project, "-n", "book", f"DATA_ROOT={root}", "PROFILE=smoke ")
        return re.search(r"_build/\.rendered-(\S+)", told)[1]

    assert len({run(root) for root in ("/data/ATLAS_2", "/data/ATLAS_2/", "/data//ATLAS_2")}) == 1
    assert run("/data/ATLAS_2") != run("/data/ATLAS_3")


@needs_make
@pytest.mark.parametrize("kind", ["folder", "table"])
def test_make_builds_anew_when_data_change(project, tmp_path, kind):
    data = tmp_path / "data"
    mask = releases.save(data / "sub" / "x_mask.nii", box(), np.eye(4))
    table = tmp_path / "scans.csv"
    table.write_text("image,subject\ndata/sub/x_mask.nii,a\n")
    root = data if kind == "folder" else table
    for path in (mask, mask.parent, data, table):
        aged(path, 3600)

    def left() -> int:
        return make(project, "-n", "book", f"DATA_ROOT={root}").count("book/_tools/execute.py")

    told = make(project, "-n", "book", f"DATA_ROOT={root}")
    run = re.search(r"_build/\.rendered-(\S+)", told)[1]
    executed = project / "_build" / "executed" / run
    executed.mkdir(parents=True)
    for path in (project / "_build" / f".data-{run}",):
        path.touch()
    for notebook in (project / "notebooks").glob("*.ipynb"):
        (executed / notebook.name).touch()
    (project / "_build" / f".rendered-{run}").touch()
    assert left() == 0
    releases.save(mask, np.roll(box(), 1, axis=0), np.eye(4))  # as large as before
    assert left() == len(list(executed.iterdir()))
    for path in executed.iterdir():
        path.touch()
    assert left() == 0
    releases.save(data / "sub" / "y_mask.nii", box(), np.eye(4))
    assert (left() > 0) == (kind == "folder")
    for path in executed.iterdir():
        path.touch()
    before = mask.stat()
    other = releases.save(tmp_path / "other.nii", np.roll(box(), 2, axis=0), np.eye(4))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, mask)  # of one size and one time with the mask before it
    assert left() == len(list(executed.iterdir()))
