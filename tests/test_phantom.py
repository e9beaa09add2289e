"""The phantom: an ordinary ATLAS folder, reproducible, like ATLAS in numbers, and hard enough."""

import hashlib
import os
from functools import cache, partial
from pathlib import Path

import joblib
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from skimage.filters import threshold_multiotsu
from sklearn.ensemble import RandomForestClassifier

from kenseg_utils import anatomy, atlas, phantom
from kenseg_utils.phantom import _head, _release, lesion_statistics

REAL_MASKS = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "soop"
PROCESSES = min(2, os.cpu_count() or 1)


def in_processes(function, items):
    return joblib.Parallel(PROCESSES)(joblib.delayed(function)(item) for item in items)


def contents(root):
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# --- an ordinary ATLAS R2.0 folder ---------------------------------------------------------------


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    return root, phantom.make_release(root, n_subjects=2, seed=0, workers=PROCESSES)


def test_release_is_an_atlas_tree(release):
    root, scans = release
    anat = root / "ATLAS_2/Training/R002/sub-r002s001/ses-1/anat"
    stem = "sub-r002s001_ses-1_space-MNI152NLin2009aSym"
    assert sorted(path.name for path in anat.iterdir()) == [
        f"{stem}_T1w.nii.gz",
        f"{stem}_label-L_desc-T1lesion_mask.nii.gz",
    ]
    assert scans.subject.tolist() == ["sub-r001s001", "sub-r002s001"]
    assert scans.site.tolist() == ["R001", "R002"]
    assert scans.equals(atlas.find_scans(root))


def test_volumes_are_on_the_grid_of_atlas(release):
    for row in release[1].itertuples():
        image, mask = nib.load(row.t1w), nib.load(row.masks[0])
        for volume in (image, mask):
            assert volume.shape == (197, 233, 189)
            assert volume.header.get_zooms() == (1, 1, 1)
            assert np.array_equal(volume.affine[:3, 3], (-98, -134, -72))
            assert np.array_equal(volume.affine[:3, :3], np.eye(3))
            assert volume.header["sform_code"] == 4  # MNI
        assert image.get_data_dtype() in (np.uint8, np.int16)
        assert mask.get_data_dtype() == np.uint8
        scan = atlas.load_scan(row)
        assert scan.mask.any() and set(np.unique(scan.mask)) == {0, 1}


def test_readme_says_synthetic_and_carries_the_notice(release):
    text = (release[0] / "README.txt").read_text()
    notice = (Path(__file__).resolve().parents[1] / "NOTICE").read_text()
    start = notice.index("Copyright (C) 1993")
    assert notice[start : notice.index("\n\n", start)].strip() in text
    assert "SYNTHETIC" in text and "seed 0" in text


def test_same_bytes_whatever_the_workers_and_the_number_of_subjects(release, tmp_path):
    phantom.make_release(tmp_path, n_subjects=1, seed=0, workers=1)
    one, two = contents(tmp_path), contents(release[0])
    assert len(one) < len(two)
    assert one.items() <= two.items()


def test_a_killed_run_goes_on(release, tmp_path):
    half = tmp_path / ".partial-sub-r001s001" / "ses-1"  # what a kill -9 leaves
    half.mkdir(parents=True)
    (half / "half.nii.gz").write_bytes(b"\x1f\x8b")
    whole = tmp_path / "ATLAS_2/Training/R001/sub-r001s001/ses-1/anat"
    whole.mkdir(parents=True)
    kept = next((release[0] / "ATLAS_2/Training/R001").rglob("*_T1w.nii.gz"))
    os.link(kept, whole / kept.name)
    before = (whole / kept.name).stat().st_mtime_ns
    phantom.make_release(tmp_path, n_subjects=1, seed=0, workers=1)
    assert (whole / kept.name).stat().st_mtime_ns == before  # a whole subject is not made again
    assert not list(tmp_path.glob(".partial-*"))


def test_other_seeds_other_subjects():
    assert not np.array_equal(phantom.make_mask(0, seed=0), phantom.make_mask(0, seed=1))


def test_bad_input(release):
    root, _ = release
    with pytest.raises(ValueError, match="n_subjects is 0"):
        phantom.make_release(root, n_subjects=0)
    with pytest.raises(ValueError, match="workers is 0"):
        phantom.make_release(root, workers=0)
    with pytest.raises(ValueError, match="another folder"):
        phantom.make_release(root, n_subjects=2, seed=5)


# --- heads ---------------------------------------------------------------------------------------


def tissue_of(index):
    """The white matter, gray matter and fluid beneath a subject, its lesion apart."""
    draws = _release._Draws.of(index, seed=0)
    warp = _head.draw_warp(draws.warp, draws.age, draws.wider_side)
    return _head.grow_tissue(draws.folds, warp, draws.age)


@cache
def subject(index):
    """Image with white matter = 1, mask, tissue, and signed depth from the lesion's border."""
    image, mask, _ = phantom.make_subject(index)
    tissue = tissue_of(index)
    depth = np.full(mask.shape, -99.0)  # to 16 mm around the lesion; further off is far
    (box,) = ndimage.find_objects((mask > 0).astype(int))
    near = tuple(slice(max(0, part.start - 16), part.stop + 16) for part in box)
    depth[near] = ndimage.distance_transform_edt(mask[near])
    depth[near] -= ndimage.distance_transform_edt(mask[near] == 0)
    white = image[(tissue.white > 0.95) & (depth < -8)].mean()
    return image / np.float32(white), mask > 0, tissue, depth


SOME = (2, 6, 9, 11)  # 2.2, 12.5, 0.3 and 29.6 ml


def test_a_mask_alone_is_that_of_the_whole_subject():
    for index in SOME:
        assert np.array_equal(phantom.make_mask(index), subject(index)[1])


@pytest.mark.parametrize("index", SOME)
def test_tissue_contrast(index):
    image, _, tissue, depth = subject(index)
    far = depth < -8
    assert 0.6 <= image[(tissue.gray > 0.95) & far].mean() <= 0.8
    assert 0.15 <= image[(tissue.fluid > 0.95) & far].mean() <= 0.45


@pytest.mark.parametrize("index", SOME)
def test_hosts_are_asymmetric_heads(index):
    image, _, tissue, _ = subject(index)
    brain = tissue.white + tissue.gray > 0.5
    template = phantom.template()
    assert np.array_equal(template.white, template.white[::-1])  # what a network could learn
    assert np.abs(tissue.white - tissue.white[::-1])[brain].mean() > 0.1
    shell = ndimage.binary_dilation(brain, iterations=14) & ~ndimage.binary_dilation(
        brain, iterations=6
    )
    upper = np.s_[:, :, 90:]
    assert (image[upper][shell[upper]] > 0.8).mean() > 0.1  # scalp
    assert (image[upper][shell[upper]] < 0.3).mean() > 0.1  # skull


def test_large_lesions_have_a_dark_core_and_a_graded_rim():
    for index in (6, 11):
        image, mask, tissue, depth = subject(index)
        profile = [image[(depth > low) & (depth <= low + 2)].mean() for low in range(-3, 8, 2)]
        assert np.all(np.diff(profile) < 0)  # from outside to the core
        assert max(-np.diff(profile)) < 0.6 * (profile[0] - profile[-1])  # no single step
        fluid = image[(tissue.fluid > 0.95) & (depth < -8)].mean()
        assert profile[-1] < fluid + 0.15
        assert 0.1 < image[mask].std() < 0.3  # mixed inside


def test_small_lesions_have_poor_contrast():
    for index in (2, 9):
        image, mask, _, _ = subject(index)
        assert 0.5 <= image[mask].mean() <= 0.7


# --- ATLAS's statistics --------------------------------------------------------------------------


def measured(index):
    return row_of(phantom.make_mask(index))


def row_of(mask):
    row = lesion_statistics.measure([mask])
    return row.assign(right=np.nonzero(mask)[0].mean() > 98)


def measured_file(path):
    return lesion_statistics.measure([np.asarray(nib.load(path).dataobj)])


@pytest.fixture(scope="module")
def first_subjects():
    """What `simple_methods` says of each of the first 24 subjects, whose volumes are made once."""
    return in_processes(simple_methods, range(24))


@pytest.fixture(scope="module")
def measures(first_subjects):
    rows = [row for *_, row in first_subjects]
    others = in_processes(measured, range(len(rows), 200))
    return pd.concat([*rows, *others], ignore_index=True)


def test_volumes_follow_atlas_bin_by_bin(measures):
    summary = lesion_statistics.atlas_rows(measures)
    shares = [row for row in summary.index if row.startswith("share ")]
    assert (summary - lesion_statistics.ATLAS_R2)[shares].abs().max() <= 0.06


def test_components_slices_and_areas_follow_atlas(measures):
    summary = lesion_statistics.atlas_rows(measures)
    assert 0.45 <= 1 - summary["subjects with one component"] <= 0.60
    assert 0.22 <= summary["axial slices with lesion, share of all"] <= 0.31
    assert 0.28 <= summary["lesion share of the volume (%)"] <= 0.48
    assert 150 <= summary["area a lesion slice, median (mm²)"] <= 320


def test_either_side_equally_often(measures):
    assert 0.42 <= measures.right.mean() <= 0.58


def test_the_first_subjects_are_representative(measures):
    first = lesion_statistics.atlas_rows(measures[:24])
    assert 0.3 <= (measures.volume_ml[:24] < 5).mean() <= 0.65  # ATLAS: 0.49
    assert 0.3 <= 1 - first["subjects with one component"] <= 0.75


@pytest.fixture(scope="module")
def real():
    if not REAL_MASKS.exists():
        pytest.skip(f"no real masks to compare with: {REAL_MASKS}")
    return pd.concat(in_processes(measured_file, sorted(REAL_MASKS.glob("*.nii.gz"))))


def test_shapes_follow_real_masks(measures):
    distances = lesion_statistics.shape_distances(measures)
    assert (distances["masks"] >= 40).all()
    assert (distances[list(lesion_statistics.SHAPES)] <= 0.25).all(axis=None), distances


def test_deciles_of_real_shapes_are_those_of_the_masks(real):
    for name, bin_of_real in lesion_statistics.by_volume(real):
        for shape, deciles in lesion_statistics.REAL_SHAPES[name].items():
            assert np.allclose(
                deciles,
                np.percentile(bin_of_real[shape], range(10, 100, 10)),
                atol=0.0006 if shape != "extent" else 0.06,
            )


# --- hard in the right way -----------------------------------------------------------------------


def simple_methods(index):
    """Dice of thresholds and of left-right differences over the brain, and features of half of
    the voxels along each axis. All are told where the brain is (the template's). Voxels of 2 mm.
    At last the mask's row of statistics.
    """
    image, mask, _ = phantom.make_subject(index)
    row = row_of(mask)
    template = phantom.template()
    box, coarse = template.box, partial(anatomy.block_means, step=(2, 2, 2))
    mirrored = coarse((image[::-1] - image)[box])
    image, mask = coarse(image[box]), coarse(mask[box]) >= 0.5
    brain = ndimage.binary_erosion(coarse(template.brain[box]) > 127)
    level = np.float32(np.median(image[brain]))
    image, mirrored, size = image / level, mirrored / level, mask.sum()

    def dice(found):
        return 2 * (found & mask).sum() / (found.sum() + size)

    scores = {}
    blurred = {0: image} | {s: ndimage.gaussian_filter(image, s / 2, truncate=3) for s in (1, 2, 4)}
    for scale in (0, 1):
        for classes in (2, 3, 4):
            dark = brain & (blurred[scale] < threshold_multiotsu(blurred[scale][brain], classes)[0])
            pieces, _ = ndimage.label(ndimage.binary_opening(dark))
            largest = pieces == np.argmax(np.bincount(pieces.ravel())[1:]) + 1
            scores["otsu", scale, classes, "all"] = dice(dark)
            scores["otsu", scale, classes, "largest"] = dice(largest)
    for scale in (2, 4):
        loss = ndimage.gaussian_filter(mirrored, scale / 2, truncate=3)
        for level in np.arange(0.05, 0.6, 0.05):
            scores["mirror", scale, round(level, 2), ""] = dice(brain & (loss > level))
    sparse = np.zeros_like(brain)
    sparse[::2, ::2, ::2] = brain[::2, ::2, ::2]
    features = [blurred[0][sparse]]
    for scale in (1, 2, 4):
        slope = np.sqrt(sum(g**2 for g in np.gradient(blurred[scale])))
        features += [f[sparse] for f in (blurred[scale], slope, ndimage.laplace(blurred[scale]))]
    return scores, np.stack(features, 1), mask[sparse], row


def dice_of_forests(subjects, thresholds):
    """Each half judged by a forest that learned on the other; (subjects, thresholds)."""
    draw = np.random.default_rng(0)
    halves = subjects[::2], subjects[1::2]
    scores = []
    for taught, judged in (halves, halves[::-1]):
        features, labels = [], []
        for _, x, y, _ in taught:
            chosen = np.concatenate(
                [
                    draw.permutation(np.flatnonzero(y == label))[:many]
                    for label, many in ((True, 1500), (False, 4000))
                ]
            )
            features.append(x[chosen])
            labels.append(y[chosen])
        forest = RandomForestClassifier(50, min_samples_leaf=5, n_jobs=PROCESSES, random_state=0)
        forest.fit(np.concatenate(features), np.concatenate(labels))
        for _, x, y, _ in judged:
            likely = forest.predict_proba(x)[:, 1]
            scores.append(
                [
                    2 * ((likely > t) & y).sum() / max(((likely > t).sum() + y.sum()), 1)
                    for t in thresholds
                ]
            )
    return np.array(scores)


def test_simple_methods_fail_on_whole_volumes(first_subjects):
    """Mean Dice a subject, each method at the setting that is best on these very subjects."""
    means = pd.DataFrame([scores for scores, *_ in first_subjects]).mean()
    otsu, mirror = (
        means[[setting for setting in means.index if setting[0] == method]].max()
        for method in ("otsu", "mirror")
    )
    forest = dice_of_forests(first_subjects, np.arange(0.1, 1, 0.05)).mean(0).max()
    print(f"Otsu {otsu:.3f}, left-right difference {mirror:.3f}, random forest {forest:.3f}")
    assert 0 < otsu <= 0.25
    assert 0 < mirror <= 0.35
    assert 0.1 < forest <= 0.5  # not invisible either: the forest must find something
