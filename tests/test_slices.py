"""Crop, pad and the way back; prepare, resumed and in any place."""

import os
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import write_release
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kenseg_utils import atlas, slices

sides = st.integers(1, 400)


@settings(max_examples=1000, deadline=None)
@given(
    sides,
    sides,
    st.floats(-50, 450),
    st.floats(-50, 450),
    st.integers(1, 200),
    st.integers(0, 30),
    st.integers(0, 2**32 - 1),
)
def test_round_trip_returns_every_pixel_of_the_window(
    height, width, row, column, size, margin, seed
):
    image = np.random.default_rng(seed).integers(1, 255, (height, width), np.uint8)
    window, placement = slices.crop(image, (row, column), size)
    padded = slices.pad(window, size + margin)
    assert padded.shape == (size + margin,) * 2
    returned = slices.uncrop(slices.unpad(padded, placement), placement)
    inside = slices.uncrop(np.ones_like(window), placement).astype(bool)
    assert returned.shape == image.shape
    assert (returned[inside] == image[inside]).all()
    assert not returned[~inside].any()
    assert inside.sum() == min(size, height) * min(size, width)


def test_window_is_centred_where_there_is_room():
    _, placement = slices.crop(np.zeros((197, 233)), (98, 116))
    assert (placement.top, placement.left) == (98 - 62, 116 - 62)


def test_124_to_128_is_two_pixels_on_each_side():
    padded = slices.pad(np.ones((124, 124)))
    assert padded.shape == (128, 128)
    assert padded[2:-2, 2:-2].all() and padded.sum() == 124**2


def test_a_window_too_large_for_its_frame():
    with pytest.raises(ValueError, match="does not fit"):
        slices.pad(np.ones((130, 20)), 128)


def test_channels_are_kept():
    image = np.random.default_rng(0).random((50, 60, 4))
    window, placement = slices.crop(image, (25, 30), 20)
    assert np.allclose(
        slices.uncrop(slices.unpad(slices.pad(window, 32), placement), placement)[placement.top],
        slices.uncrop(window, placement)[placement.top],
    )


def test_an_empty_mask_has_no_centre():
    with pytest.raises(ValueError, match="no lesion"):
        slices.lesion_centre(np.zeros((5, 5)))


def test_normalisation_cancels_gain_and_offset():
    image = np.random.default_rng(0).gamma(2, 50, (20, 20, 20))
    first = slices.Intensity.of(image).apply(image)
    second = slices.Intensity.of(image * 7 + 300).apply(image * 7 + 300)
    assert np.allclose(first, second, atol=1e-4)
    assert np.isfinite(slices.Intensity.of(np.ones((9, 9, 9))).apply(np.ones((9, 9, 9)))).all()


@pytest.mark.parametrize("way", ["whole volume", "inside the head", "inside, air at 0"])
def test_z_scores_give_the_slices_of_the_scan_that_they_were_made_of(tmp_path, way):
    grid = np.indices((40, 44, 30)) - np.reshape((20, 22, 15), (3, 1, 1, 1))
    ball = lambda radius: (grid**2).sum(0) < radius**2  # noqa: E731
    image = np.where(ball(14), 100.0 + grid[0] + 2 * grid[1], 0.0)
    image[ball(5)] = 25  # fluid, and the lesion in it
    head = image > 5
    chosen = slice(None) if way == "whole volume" else head
    scored = (image - image[chosen].mean()) / image[chosen].std()
    if way == "inside, air at 0":
        scored[~head] = 0
    parts = []
    for name, values in (("plain", image), ("scored", scored)):
        for suffix, array in (("T1w", values), ("mask", ball(3))):
            nib.save(
                nib.Nifti1Image(array.astype(np.float32), np.diag([4.0, 4, 4, 1])),
                tmp_path / f"{name}_{suffix}.nii.gz",
            )
        row = dict(
            t1w=tmp_path / f"{name}_T1w.nii.gz",
            masks=(tmp_path / f"{name}_mask.nii.gz",),
            subject="a",
        )
        settings = dict(protocol="whole_slice", neighbours=[0, 3], pixel_mm=None)
        made = list(slices.scan_slices(atlas.load_scan(row), settings))
        parts.append(np.stack([part[0] for part in made]))
    plain, other = parts
    assert plain.shape == other.shape
    inside = plain > plain.min() + 0.1
    np.testing.assert_allclose(other[inside], plain[inside], atol=0.05)
    assert other[~inside].max() < np.percentile(other[inside], 1)  # air, padding and all


def test_lesion_crops_are_what_the_scan_holds(smoke_scans, work_dir):
    crops = slices.prepare(smoke_scans, work_dir=work_dir)
    row = smoke_scans.iloc[0]
    scan = atlas.load_scan(row)
    mine = crops.of_subjects([row.subject])
    assert sorted(mine.index.z) == np.flatnonzero(scan.mask.any((0, 1))).tolist()
    position = len(mine) // 2
    place, z = mine.placement(position), mine.index.z[position]
    back = slices.uncrop(slices.unpad(mine.masks[position], place), place)
    assert (back <= scan.mask[:, :, z]).all()
    lost = 1 - back.sum() / scan.mask[:, :, z].sum()
    assert lost == pytest.approx(mine.index.outside[position])
    assert mine.index.lesion_pixels[position] == scan.mask[:, :, z].sum()
    window = slices.unpad(mine.images[position][..., 0], place)
    original = scan.image[
        place.top : place.top + place.height, place.left : place.left + place.width, z
    ]
    expected = slices.Intensity.of(scan.image).apply(original)
    assert np.allclose(window, expected, atol=0.01)  # stored as float16


def test_whole_slices_fit_sixteen_and_hold_slices_without_lesion(smoke_scans, work_dir):
    whole = slices.prepare(smoke_scans.head(2), protocol="whole_slice", work_dir=work_dir)
    assert whole.shape == (208, 240, 1)
    assert (whole.index.lesion_pixels == 0).any() and (whole.index.outside == 0).all()


def test_neighbours_become_channels(smoke_scans, work_dir):
    single = slices.prepare(smoke_scans.head(1), work_dir=work_dir)
    four = slices.prepare(smoke_scans.head(1), work_dir=work_dir, neighbours=(-2, -1, 0, 1))
    assert four.shape == (128, 128, 4)
    assert (four.images[..., 2] == single.images[..., 0]).all()
    assert (four.masks == single.masks).all()


def test_slices_of_another_pixel_size_are_those_of_the_whole_volume_resampled(smoke_scans):
    """Only the levels that are seen are resampled: they are what resampling all of them gives."""
    scan = atlas.load_scan(smoke_scans.iloc[0])
    options = dict(protocol="lesion_crop", size=62, padded=64, neighbours=(-2, 0, 1), pixel_mm=2.0)
    made = list(slices.scan_slices(scan, options))
    factors = (*np.array(scan.spacing[:2]) / 2, 1)
    image, mask = (
        ndimage.zoom(volume, factors, order=order)
        for volume, order in ((scan.image, 1), (scan.mask, 0))
    )
    assert [row["z"] for *_, row in made] == np.flatnonzero(mask.any((0, 1))).tolist()
    normalised = slices.Intensity.of(scan.image).apply(image)
    for window, truth, row in made:
        part = (
            slice(row["top"], row["top"] + row["height"]),
            slice(row["left"], row["left"] + row["width"]),
        )
        inner = (slice(1, 1 + row["height"]), slice(1, 1 + row["width"]))
        np.testing.assert_array_equal(truth[inner], mask[*part, row["z"]])
        for channel, offset in enumerate(options["neighbours"]):
            np.testing.assert_allclose(
                window[(*inner, channel)], normalised[*part, row["z"] + offset], rtol=1e-5
            )
        assert row["scale_row"] == (image.shape[0] - 1) / (scan.image.shape[0] - 1)


def test_split_by_subject_covers_all_and_overlaps_nowhere(smoke_crops):
    train, validation, test = smoke_crops
    names = [set(part.index.subject) for part in smoke_crops]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    folds = train.split(folds=2, seed=3)
    held_out = [set(part.index.subject) for _, part in folds]
    assert not held_out[0] & held_out[1] and held_out[0] | held_out[1] == names[0]
    with pytest.raises(ValueError, match="folds"):
        train.split(folds=99)


def test_batch_reads_what_images_holds(smoke_crops):
    train = smoke_crops[0]
    images, masks = train.batch([3, 1])
    assert (images == train.images[[3, 1]].astype(np.float32)).all()
    assert (masks == train.masks[[3, 1]]).all()


def test_bad_scans_become_rows_of_the_report(smoke_scans, tmp_path, capsys):
    broken = tmp_path / "sub-broken_T1w.nii.gz"
    broken.write_bytes(open(smoke_scans.t1w[0], "rb").read()[:5000])
    scans = smoke_scans.head(2).copy()
    scans.loc[1, "t1w"] = str(broken)
    crops = slices.prepare(scans, work_dir=tmp_path)
    assert set(crops.index.subject) == {scans.subject[0]}
    assert len(crops.report) == 1 and broken.name in crops.report.problem[0]
    assert broken.name in capsys.readouterr().out
    with pytest.raises(atlas.ScanError, match="None of the 1 scans"):
        slices.prepare(scans.tail(1), work_dir=tmp_path)


@pytest.mark.parametrize(
    "options, told",
    [
        (dict(size="124"), "size is '124'"),
        (dict(size=0), "size is 0"),
        (dict(size=-3), "size is -3"),
        (dict(padded=120.5), "padded is 120.5"),
        (dict(padded=100), "padded is 100, less than size, 124"),
        (dict(neighbours=()), "neighbours is"),
        (dict(neighbours=(0.5,)), "neighbours is"),
        (dict(neighbours=0), "neighbours is 0"),
        (dict(neighbours="01"), "neighbours is"),
        (dict(pixel_mm=0), "pixel_mm is 0"),
        (dict(pixel_mm=-1.0), "pixel_mm is -1.0"),
        (dict(pixel_mm="1"), "pixel_mm is '1'"),
        (dict(pixel_mm=float("nan")), "pixel_mm is nan"),
        (dict(pixel_mm=True), "pixel_mm is True"),
    ],
)
def test_options_are_checked_before_any_work(tmp_path, options, told):
    scans = pd.DataFrame(dict(t1w=["never read"], masks=[()]))
    with pytest.raises(ValueError, match=told):
        slices.prepare(scans, work_dir=tmp_path / "work", **options)
    assert not (tmp_path / "work").exists()


def test_slices_with_other_images_are_a_set_of_their_own(tmp_path):
    scans = write_release(tmp_path, 3, (24, 28, 20), lambda number: np.s_[5:12, 6:15, 4:9])
    made = slices.prepare(scans, size=16, padded=16, work_dir=tmp_path / "work", workers=1)
    part = made.subset([3, 1, 7])
    other = slices.with_images(part, lambda images: images * 2 + 1, "brighter", tmp_path / "work")
    np.testing.assert_allclose(other.images, part.images * 2 + 1, atol=0.01)
    assert (other.masks == part.masks).all() and other.protocol == part.protocol
    pd.testing.assert_frame_equal(other.index, part.index)
    assert other.key != part.key and slices.open_set(other.folder).key == other.key
    again = slices.with_images(part, pytest.fail, "brighter", tmp_path / "work")  # it is there
    darker = slices.with_images(part, lambda images: images / 2, "darker", tmp_path / "work")
    assert again.key == other.key and darker.key != other.key
    with pytest.raises(ValueError, match="'flat' made"):
        slices.with_images(part, lambda images: images[..., 0], "flat", tmp_path / "work")
    assert not list((tmp_path / "work").glob(".partial*"))


@pytest.mark.parametrize(
    "options, told",
    [
        (dict(folds="2"), "'2' folds of 3 subjects"),
        (dict(folds=2.5), "2.5 folds"),
        (dict(folds=True), "True folds"),
        (dict(folds=4), "4 folds of 3 subjects: choose between 2 and 3"),
        (dict(folds=2, by="age"), "by is 'age', and no column.*subject, session, site"),
        (dict(folds=2, by="site"), "one site only"),
        (dict(folds=2, seed="abc"), "seed is 'abc'"),
    ],
)
def test_a_split_that_cannot_be_is_refused_in_words(tmp_path, options, told):
    scans = write_release(tmp_path, 3, (24, 28, 20), lambda number: np.s_[5:12, 6:15, 4:9])
    made = slices.prepare(scans, size=16, padded=16, work_dir=tmp_path / "work", workers=1)
    with pytest.raises(ValueError, match=told):
        made.split(**options)


def test_unknown_protocol_and_no_scans(smoke_scans, tmp_path):
    with pytest.raises(ValueError, match="lesion_crop, whole_slice"):
        slices.prepare(smoke_scans, protocol="patches", work_dir=tmp_path)
    with pytest.raises(ValueError, match="No scans"):
        slices.prepare(smoke_scans.head(0), work_dir=tmp_path)


def small_release(folder, count):
    """Scans of 24×28×20 voxels in R2.0's names: quick enough to be killed in the middle."""
    return write_release(folder, count, (24, 28, 20), lambda number: np.s_[5:12, 6:15, 4:9])


KILLED = """
import sys, time
from kenseg_utils import atlas, slices
load = atlas.load_scan
def slow(row):
    time.sleep(0.15)
    return load(row)
atlas.load_scan = slow
slices.prepare(atlas.find_scans(sys.argv[1]), work_dir=sys.argv[2], workers=1)
"""


def test_killed_in_the_middle_it_goes_on_and_ends_the_same(tmp_path):
    scans = small_release(tmp_path / "data", 12)
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path / "data", tmp_path / "a"])
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "a").glob(".partial-*/parts/[!.]*.npz"))) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "a").glob("slices-*"))
    whole = list((tmp_path / "a").glob(".partial-*/parts/[!.]*.npz"))
    before = {path: path.stat().st_mtime_ns for path in whole}
    assert 4 <= len(before) < 12
    read = []
    load = atlas.load_scan

    def counted(row):
        read.append(row["subject"])
        return load(row)

    atlas.load_scan = counted
    try:
        resumed = slices.prepare(scans, work_dir=tmp_path / "a", workers=1)
    finally:
        atlas.load_scan = load
    assert len(read) == 12 - len(before)
    straight = slices.prepare(scans, work_dir=tmp_path / "b", workers=2)
    assert (resumed.images == straight.images).all() and (resumed.masks == straight.masks).all()
    pd.testing.assert_frame_equal(resumed.index, straight.index)
    assert resumed.key == straight.key


DIES = """
import os, signal, sys
from kenseg_utils import artifacts, atlas, slices
from kenseg_utils.slices import _prepare

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def half(path, count, blocks):
    with open(path, "wb") as file:
        file.write(next(blocks).tobytes())
    die()

where = {"arrays": (_prepare, "_write_array", half), "last word": (artifacts, "write_json", die),
         "clearing up": (_prepare.shutil, "rmtree", die),
         "renaming": (artifacts.os, "replace", None)}
module, name, replacement = where[sys.argv[3]]
if replacement is None:
    rename = os.replace
    def replacement(source, target):
        die() if os.path.isdir(source) else rename(source, target)
setattr(module, name, replacement)
slices.prepare(atlas.find_scans(sys.argv[1]), work_dir=sys.argv[2], workers=1)
"""


@pytest.mark.parametrize("where", ["arrays", "last word", "clearing up", "renaming"])
def test_killed_at_its_end_it_reads_no_scan_again(tmp_path, monkeypatch, where):
    scans = small_release(tmp_path / "data", 3)
    process = subprocess.run([sys.executable, "-c", DIES, tmp_path / "data", tmp_path / "a", where])
    assert process.returncode == -signal.SIGKILL
    assert not list((tmp_path / "a").glob("slices-*"))
    straight = slices.prepare(scans, work_dir=tmp_path / "b", workers=1)
    monkeypatch.setattr(atlas, "load_scan", None)  # calling it would fail
    resumed = slices.prepare(scans, work_dir=tmp_path / "a", workers=1)
    assert (resumed.images == straight.images).all() and (resumed.masks == straight.masks).all()
    pd.testing.assert_frame_equal(resumed.index, straight.index)
    assert sorted(path.name for path in resumed.folder.iterdir()) == [
        "images.npy",
        "index.csv",
        "masks.npy",
        "report.csv",
        "settings.json",
    ]


FULL = """
import resource, signal, sys
from kenseg_utils import atlas, slices
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
scans = atlas.find_scans(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    slices.prepare(scans, work_dir=sys.argv[2], workers=1)
except OSError as error:
    sys.exit(f"said: {error}")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes to set here")
@pytest.mark.parametrize(
    "limit", [20_000, 300_000]
)  # while scans are read, while arrays are joined
def test_no_room_on_the_disk(tmp_path, limit):
    scans = small_release(tmp_path / "data", 4)
    process = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "data", tmp_path / "a", str(limit)],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1 and "said: [Errno 27]" in process.stderr, process.stderr
    assert not list((tmp_path / "a").glob("slices-*"))
    resumed = slices.prepare(scans, work_dir=tmp_path / "a", workers=1)
    assert len(resumed) == 20 and resumed.masks.sum() == 20 * 63


def test_whole_slices_of_scans_on_different_grids(tmp_path):
    scans = small_release(tmp_path / "data", 2)
    rng = np.random.default_rng(1)
    image = rng.integers(50, 200, (37, 26, 20)).astype(np.uint8)
    mask = np.zeros_like(image)
    mask[30:35, 2:7, 5:9] = 1
    for path, array in ((scans.t1w[1], image), (scans.masks[1][0], mask)):
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    whole = slices.prepare(scans, protocol="whole_slice", work_dir=tmp_path, workers=1)
    assert whole.shape == (48, 32, 1)
    for row in scans.to_dict("records"):
        scan = atlas.load_scan(row)
        part = whole.of_subjects([row["subject"]])
        intensity = slices.Intensity.of(scan.image)
        for position, z in enumerate(part.index.z):
            place = part.placement(position)
            back = slices.uncrop(slices.unpad(part.masks[position], place), place)
            assert (back == scan.mask[:, :, z]).all()
            assert np.allclose(
                slices.unpad(part.images[position][..., 0], place),
                intensity.apply(scan.image[:, :, z]),
                atol=0.01,
            )
            assert part.images[position, 0, 0, 0] == np.float16(intensity.apply(np.float32(0)))


def test_a_cluster_gives_the_same_slices(tmp_path):
    from distributed import LocalCluster

    scans = small_release(tmp_path / "data", 5)
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        there = slices.prepare(scans, work_dir=tmp_path / "a", scheduler=cluster.scheduler_address)
    here = slices.prepare(scans, work_dir=tmp_path / "b", workers=1)
    assert (there.images == here.images).all()
    pd.testing.assert_frame_equal(there.index, here.index)


def test_a_scheduler_that_does_not_answer(smoke_scans, tmp_path, monkeypatch):
    import distributed

    def refuses(address, timeout):
        assert timeout == "10s"
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", refuses)
    with pytest.raises(ValueError, match="No Dask scheduler answered"):
        slices.prepare(smoke_scans, work_dir=tmp_path, scheduler="tcp://127.0.0.1:9")
