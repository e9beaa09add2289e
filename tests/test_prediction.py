"""Whole volumes: any orientation and spacing in, the same grid out."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from nibabel import orientations
from nibabel.processing import resample_from_to

from kenseg_utils import anatomy, atlas, metrics, networks, phantom
from kenseg_utils.prediction import _volumes as prediction
from kenseg_utils.prediction import report


@pytest.fixture(scope="module")
def model():
    return networks.build("ken_unetpp", widths=(4, 8), blocks_per_node=1)


@pytest.fixture(scope="module")
def head():
    """A small volume of smooth noise in RAS, 1 mm."""
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(np.random.default_rng(0).random((30, 37, 12)), 1).astype(np.float32)
    return nib.Nifti1Image(image * 1000, np.diag([1.0, 1, 1, 1]))


@pytest.mark.parametrize("code", ["LPS", "SAR", "AIR", "PLI"])
def test_the_answer_does_not_depend_on_how_the_scan_is_stored(model, head, code):
    expected = prediction.lesion_probability(model, head.get_fdata(), head.affine)
    change = orientations.ornt_transform(
        orientations.io_orientation(head.affine), orientations.axcodes2ornt(code)
    )
    turned = head.as_reoriented(change)
    found = prediction.lesion_probability(model, turned.get_fdata(), turned.affine)
    assert found.shape == turned.shape
    assert np.abs(found - orientations.apply_orientation(expected, change)).max() < 1e-5


def test_gain_and_offset_of_the_scanner_do_not_matter(model, head):
    image = head.get_fdata()
    first = prediction.lesion_probability(model, image, head.affine)
    second = prediction.lesion_probability(model, image * 3 + 50, head.affine)
    assert np.abs(first - second).max() < 0.02


def test_other_spacing_comes_back_on_its_own_grid(model, head):
    affine = np.diag([0.7, 1.4, 2.0, 1.0])
    mask = prediction.segment_volume(model, head.get_fdata(), affine)
    assert mask.shape == head.shape and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 1}


def test_a_slice_s_answer_lies_where_the_slice_lies(head):
    """A stand-in network that answers with the brightness of its input."""
    import keras

    inputs = keras.Input((16, 16, 1))
    bright = keras.layers.Activation("sigmoid")(inputs)
    double = keras.Model(inputs, keras.layers.Concatenate()([1 - bright, bright]))
    image = head.get_fdata().copy()
    image[20, 5, 7] = 1e6
    found = prediction.lesion_probability(double, image, head.affine)
    assert np.unravel_index(found.argmax(), found.shape) == (20, 5, 7)


def test_four_channels_get_the_neighbouring_slices(head):
    import keras

    inputs = keras.Input((16, 16, 4))
    below = keras.layers.Conv2D(2, 1, use_bias=False, activation="sigmoid")
    model = keras.Model(inputs, below(inputs))
    kernel = np.zeros((1, 1, 4, 2), np.float32)
    kernel[0, 0, 1, 1] = 1  # offset -1: the slice below
    below.set_weights([kernel])
    image = np.zeros((20, 20, 10))
    image[5:15, 5:15, :] = 100
    image[8, 9, 4] = 1e6
    found = prediction.lesion_probability(model, image, np.eye(4))
    assert np.unravel_index(found.argmax(), found.shape) == (8, 9, 5)


@pytest.mark.parametrize(
    ("image", "affine", "told"),
    [
        (np.zeros((5, 5)), np.eye(4), "volume"),
        (np.zeros((5, 5, 5)), np.eye(3), "volume"),
        (np.full((5, 5, 5), np.nan), np.eye(4), "not finite"),
    ],
)
def test_bad_volumes(model, image, affine, told):
    with pytest.raises(ValueError, match=told):
        prediction.segment_volume(model, image, affine)


@pytest.mark.parametrize(
    ("affine", "told"),
    [(np.diag([0.0, 1, 1, 1]), "singular"), (np.diag([100.0, 1, 1, 1]), "millimetres")],
)
def test_bad_geometry(model, affine, told):
    with pytest.raises(ValueError, match=told):
        prediction.segment_volume(model, np.random.default_rng(0).random((30, 30, 12)), affine)


# --- Heads, in other orientations and spacings ---------------------------------------------------

REAL_HEAD = ROOT / "../shared/data/real_t1/chris_t1.nii.gz"


class DarkSpots:
    """A stand-in network: lesion is what is dark and surrounded by brain, found by smoothing."""

    input_shape = (None, 208, 240, 1)

    def predict_on_batch(self, batch):
        from scipy.ndimage import gaussian_filter

        slices = np.asarray(batch)[..., 0]
        soft = np.stack([gaussian_filter((one > -1.2).astype(float), 3) for one in slices])
        found = np.clip((slices < -1.2) * 2.0 * soft, 0, 1)
        found = np.stack([gaussian_filter(one, 1.5) for one in found])
        return np.stack([1 - found, found], -1)


@pytest.fixture(scope="module")
def phantom_head(tmp_path_factory):
    """A phantom's T1w file and its mask's, both on ATLAS's grid."""
    root = tmp_path_factory.mktemp("phantom")
    row = phantom.make_release(root, n_subjects=1, seed=0, workers=1).iloc[0]
    return Path(row.t1w), Path(row.masks[0])


def stored_otherwise(path, target, code, spacing, order=1, oblique=0.0):
    """The same head in a file of other axes and voxels."""
    image = nib.load(path)
    shape = np.rint(np.multiply(image.shape, 1 / np.array(spacing))).astype(int)
    affine = np.diag([*spacing, 1.0])
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(oblique), -np.sin(oblique)], [np.sin(oblique), np.cos(oblique)]]
    affine = tilt @ affine
    middle = image.affine @ [*(np.array(image.shape) - 1) / 2, 1]
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ ((shape - 1) / 2)
    other = resample_from_to(image, (tuple(shape), affine), order=order)
    change = orientations.ornt_transform(
        orientations.io_orientation(other.affine), orientations.axcodes2ornt(code)
    )
    nib.save(other.as_reoriented(change), target)
    return target


@pytest.mark.parametrize(
    ("code", "spacing", "oblique", "least"),
    [
        ("LPS", (1, 1, 1), 0, 0.99),
        ("PIR", (0.8, 0.8, 0.8), 0, 0.8),
        ("ASL", (1.2, 0.9, 1.5), 0, 0.75),
        ("RAS", (1, 1, 3), 0, 0.6),
        ("RSP", (1, 1, 1), 0.1, 0.6),
    ],
)
def test_storage_hardly_changes_the_mask(
    phantom_head, tmp_path, monkeypatch, code, spacing, oblique, least
):
    """Dice with the mask of the original file, on the stored file's voxels; same grid and affine."""
    monkeypatch.setattr(prediction, "at_shape", lambda model, frame: model)
    path, target = tmp_path / "head.nii.gz", tmp_path / "lesion.nii.gz"
    stored_otherwise(phantom_head[0], path, code, spacing, oblique=oblique)
    prediction.segment_file(DarkSpots(), path, target)
    original, written = nib.load(path), nib.load(target)
    assert written.shape == original.shape and np.array_equal(written.affine, original.affine)
    assert written.get_data_dtype() == np.uint8
    straight = nib.load(phantom_head[0])
    expected = prediction.segment_volume(DarkSpots(), straight.get_fdata(), straight.affine)
    assert expected.sum() > 1000
    there = (
        resample_from_to(
            nib.Nifti1Image(expected.astype(np.float32), straight.affine),
            (original.shape, original.affine),
            order=1,
        ).get_fdata()
        >= 0.5
    )
    found = np.asarray(written.dataobj) > 0
    dice = 2 * (found & there).sum() / (found.sum() + there.sum())
    assert dice >= least


def test_the_working_grid_takes_atlas_s_own_as_it_is(phantom_head):
    scan = atlas.load_image(phantom_head[0])
    grid = prediction.WorkingGrid.of(scan.image, scan.affine)
    assert grid.corner == (0, 0, 0) and np.array_equal(grid.there(scan.image), scan.image)


def test_a_head_in_a_large_field_of_view_comes_to_the_same_place(phantom_head):
    """Air and shifts do not matter: the box is laid around the head."""
    image = nib.load(phantom_head[0]).get_fdata(dtype=np.float32)
    grids = [
        prediction.WorkingGrid.of(np.pad(image, margin), np.eye(4))
        for margin in (((30, 3), (5, 20), (7, 9)), ((2, 2), (2, 2), (2, 2)))
    ]
    one, other = (
        np.subtract(grid.corner, [margin[0] for margin in shift])
        for grid, shift in zip(grids, (((30, 3), (5, 20), (7, 9)), ((2, 2), (2, 2), (2, 2))))
    )
    assert np.abs(one - other).max() <= 1


def test_the_hull_holds_the_lesion_with_skull_and_without(phantom_head):
    scan = atlas.load_image(phantom_head[0])
    lesion = nib.load(phantom_head[1]).get_fdata() > 0
    hull = anatomy.brain_hull(scan.image)
    assert (lesion & ~hull).sum() <= 0.01 * lesion.sum()
    assert 1e6 < hull.sum() < 4e6
    stripped = anatomy.brain_hull(np.where(hull, scan.image, 0))
    assert (lesion & ~stripped).sum() <= 0.01 * lesion.sum()


def test_the_hull_of_no_head_allows_everything():
    assert anatomy.brain_hull(np.zeros((60, 60, 60), np.float32)).all()
    assert anatomy.brain_hull(np.random.default_rng(0).random((10, 10, 10))).all()


def test_flips_make_the_answer_symmetric(model, head):
    """Mirrored in, mirrored out, up to the odd pixel of padding."""
    image = np.pad(head.get_fdata(), ((0, 0), (0, 0), (0, 0)))
    one = prediction.lesion_probability(model, image, head.affine)
    other = prediction.lesion_probability(model, image[::-1], head.affine)[::-1]
    plain = prediction.lesion_probability(model, image, head.affine, flips=False)
    assert np.abs(one - other).mean() < np.abs(one - plain).mean() / 2


def test_small_pieces_are_dropped_by_volume():
    mask = np.zeros((20, 20, 20), bool)
    mask[1:4, 1:4, 1:4] = True
    mask[4, 4, 4] = True  # hangs on by a corner
    mask[10:12, 10, 10] = True
    kept = prediction.remove_small(mask, millilitres_a_voxel=0.008, least_ml=0.2)
    assert kept.dtype == np.uint8 and kept.sum() == 28
    assert prediction.remove_small(mask, 0.008, 0).sum() == mask.sum()
    assert prediction.remove_small(mask, 0.008, 1).sum() == 0


def test_networks_that_cannot_be_opened(tmp_path):
    with pytest.raises(ValueError, match="not there"):
        prediction.open_network(tmp_path / "nothing.keras")
    with pytest.raises(ValueError, match="model.keras"):
        prediction.open_network(tmp_path)
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match="broken.keras is no Keras network"):
        prediction.open_network(broken)


def test_without_a_recorded_network_one_is_told_how_to_make_it(monkeypatch):
    monkeypatch.setattr(prediction, "recorded_network", lambda name: None)
    with pytest.raises(ValueError, match="whole_slices --record"):
        prediction.open_network()


@pytest.mark.skipif(
    not (ROOT / "results/whole_slices.npz").exists(),
    reason="no network is recorded: results/whole_slices.npz",
)
def test_the_recorded_network_finds_a_large_lesion_that_it_never_saw(tmp_path):
    """In a phantom of another seed than those it learned from, stored with other axes."""
    scans = phantom.make_release(tmp_path, 4, seed=1234)
    loaded = [atlas.load_scan(row) for _, row in scans.iterrows()]
    scan = max(loaded, key=lambda one: one.mask.sum())
    image = np.ascontiguousarray(scan.image.transpose(1, 2, 0)[::-1])
    affine = scan.affine @ np.array(
        [[0, 0, 1, 0], [-1, 0, 0, scan.image.shape[1] - 1], [0, 1, 0, 0], [0, 0, 0, 1.0]]
    )
    found = prediction.segment_volume(prediction.open_network(), image, affine)
    truth = scan.mask.transpose(1, 2, 0)[::-1]
    assert truth.sum() > 20_000 and metrics.dice(truth, found) > 0.6


def test_a_report_counts_pieces_volumes_and_sides(phantom_head):
    scan = atlas.load_image(phantom_head[0])
    mask = np.zeros(scan.image.shape, np.uint8)
    mask[50:60, 100:110, 90:100] = 1  # x grows to the right: this lies left
    mask[150:152, 100:102, 90:92] = 1
    table = report.volume_report(scan, mask)
    assert table.ml.tolist() == [1.0, 0.008] and table.side.tolist() == ["left", "right"]
    assert table.longest.tolist() == [10.0, 2.0] and np.isclose(table.share.sum(), 1)
    place = scan.affine @ [54.5, 104.5, 94.5, 1]
    assert np.abs(table[["x", "y", "z"]].iloc[0].to_numpy(float) - place[:3]).max() <= 0.5
    assert "2 piece(s)" in report.summary(table)
    nothing = report.volume_report(scan, np.zeros_like(mask))
    assert nothing.empty and "Nothing was found" in report.summary(nothing)
    with pytest.raises(ValueError, match="own grid"):
        report.volume_report(scan, mask[:-1])


@pytest.mark.skipif(not REAL_HEAD.exists(), reason=f"no real head at {REAL_HEAD}")
def test_a_real_head_of_another_grid(tmp_path, capsys):
    """Healthy, 0.88 mm, native: the way there and back, the hull's size, a mask on its own grid."""
    scan = atlas.load_image(REAL_HEAD)
    grid = prediction.WorkingGrid.of(scan.image, scan.affine)
    working = grid.there(scan.image)
    hull = anatomy.brain_hull(working)
    assert 1.2e6 < hull.sum() < 2.6e6
    top = np.flatnonzero((working > working.mean()).any((0, 1)))[-1]
    assert abs(top - prediction.HEAD[2]) <= 3
    again = grid.there(grid.back(hull.astype(np.float32))) > 0.5
    assert (again ^ hull).sum() < 0.02 * hull.sum()
    network = networks.build("unet", widths=(4, 8), normalisation="batch")
    target = tmp_path / "lesion.nii.gz"
    _, mask = prediction.segment_file(network, REAL_HEAD, target, flips=False)
    original, written = nib.load(REAL_HEAD), nib.load(target)
    assert written.shape == original.shape and np.array_equal(written.affine, original.affine)
    with capsys.disabled():
        print(
            f" [untrained network: {report.summary(report.volume_report(scan, mask))[:60]}]", end=""
        )
