"""Whole volumes: any orientation and spacing in, the same grid out."""

import os
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from heads import SPOILERS, bottle, hand, knee, noisy, torso
from heads import head as made_up_head
from nibabel import orientations
from nibabel.processing import resample_from_to

from kenseg_utils import anatomy, atlas, metrics, networks, phantom
from kenseg_utils.prediction import _doubts as doubts_module
from kenseg_utils.prediction import _volumes as prediction
from kenseg_utils.prediction import recorded_network, report


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
    bright = keras.layers.Rescaling(1.0)(inputs)
    both = keras.layers.Concatenate()([-bright, bright])
    double = keras.Model(inputs, keras.layers.Activation("sigmoid")(both))
    image = head.get_fdata().copy()
    image[20, 5, 7] = 1e6
    found = prediction.lesion_probability(double, image, head.affine)
    assert np.unravel_index(found.argmax(), found.shape) == (20, 5, 7)


def test_four_channels_get_the_neighbouring_slices(head):
    import keras

    inputs = keras.Input((16, 16, 4))
    below = keras.layers.Conv2D(2, 1, use_bias=False, kernel_initializer="zeros")
    model = keras.Model(inputs, keras.layers.Activation("sigmoid")(below(inputs)))
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


@pytest.fixture(scope="module")
def dark_spots(phantom_head):
    """The mask that `DarkSpots` gives of the phantom as it is stored, as an image."""
    straight = nib.load(phantom_head[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction, "at_shape", lambda model, frame: model)
        expected = prediction.segment_volume(DarkSpots(), straight.get_fdata(), straight.affine)
    assert expected.sum() > 1000
    return nib.Nifti1Image(expected.astype(np.float32), straight.affine)


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
    phantom_head, dark_spots, tmp_path, monkeypatch, code, spacing, oblique, least
):
    """Dice with the original file's mask, on the stored file's voxels; same grid and affine."""
    monkeypatch.setattr(prediction, "at_shape", lambda model, frame: model)
    path, target = tmp_path / "head.nii.gz", tmp_path / "lesion.nii.gz"
    stored_otherwise(phantom_head[0], path, code, spacing, oblique=oblique)
    prediction.segment_file(DarkSpots(), path, target)
    original, written = nib.load(path), nib.load(target)
    assert written.shape == original.shape and np.array_equal(written.affine, original.affine)
    assert written.get_data_dtype() == np.uint8
    there = resample_from_to(dark_spots, (original.shape, original.affine), order=1)
    there = there.get_fdata() >= 0.5
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


@pytest.mark.parametrize(
    "name", ["SNR 10", "wrap-around", "flow ghost", "z-scored in the head", "negated"]
)
def test_a_lesion_in_the_cerebellum_can_be_reached_whatever_the_air_looks_like(name):
    """It lies low and at the back; a box laid by noise above the vertex cuts it off."""
    image, affine = made_up_head()
    lesion = np.zeros(image.shape, np.float32)
    lesion[36:41, 27:32, 19:24] = 1  # 63 to 78 mm below the head's middle
    grid = prediction.WorkingGrid.of(SPOILERS[name](image), affine)
    clean = prediction.WorkingGrid.of(image, affine)
    assert np.abs(np.subtract(grid.corner, clean.corner)).max() <= 3
    assert (grid.back(grid.there(lesion)) >= 0.5)[lesion > 0].mean() > 0.95


@pytest.mark.parametrize("value", [1e9, -1e9])
def test_one_stray_voxel_changes_no_answer(model, head, value):
    """Nor what lies beyond the scan, which a darkest value of all would decide."""
    image = head.get_fdata()
    spoilt = image.copy()
    spoilt[2, 3, 4] = value
    one, other = (
        prediction.lesion_probability(model, given, head.affine, flips=False)
        for given in (image, spoilt)
    )
    assert np.median(np.abs(one - other)) < 1e-4


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
    monkeypatch.setattr(prediction, "best_recorded", lambda: None)
    with pytest.raises(ValueError, match="whole_slices --record"):
        prediction.open_network()


@pytest.mark.skipif(
    not (ROOT / "results/whole_slices.npz").exists(),
    reason="no network is recorded: results/whole_slices.npz",
)
def test_the_recorded_network_finds_a_large_lesion_that_it_never_saw(tmp_path):
    """In a phantom of another seed than those it learned from, stored with other axes."""
    largest = max(range(4), key=lambda number: phantom.make_mask(number, seed=1234).sum())
    phantom.write_subject(largest, tmp_path, seed=1234)
    scan = atlas.load_scan(atlas.find_scans(tmp_path).iloc[0])
    image = np.ascontiguousarray(scan.image.transpose(1, 2, 0)[::-1])
    affine = scan.affine @ np.array(
        [[0, 0, 1, 0], [-1, 0, 0, scan.image.shape[1] - 1], [0, 1, 0, 0], [0, 0, 0, 1.0]]
    )
    truth = scan.mask.transpose(1, 2, 0)[::-1]
    assert truth.sum() > 20_000
    # The first learned from phantoms, the second from heads of another generator.
    for name, least in (("whole_slices", 0.6), ("heads", 0.5)):
        recorded = recorded_network(name)
        if recorded is not None:
            found = prediction.segment_volume(recorded[0], image, affine)
            assert metrics.dice(truth, found) > least, name


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
    assert "2 pieces" in report.summary(table)
    nothing = report.volume_report(scan, np.zeros_like(mask))
    assert nothing.empty and "Nothing was found" in report.summary(nothing)
    with pytest.raises(ValueError, match="own grid"):
        report.volume_report(scan, mask[:-1])
    for soft in (mask * 0.4, mask * np.nan, mask * 255):
        with pytest.raises(ValueError, match="other than 0 and 1"):
            report.volume_report(scan, soft)


def sheared(image, mask):
    """A scan whose z axis leans by 25 degrees, as a gantry or an affine registration leaves it."""
    affine = np.diag([1.0, 1, 1, 1])
    affine[1, 2] = np.tan(np.deg2rad(25))
    return scan_of(image, affine, mask)


def scan_of(image, affine, mask=None, folder=None, code=2):
    """A Scan as a file of these arrays would give."""
    header = nib.Nifti1Image(image, affine).header
    header["sform_code"] = code
    return atlas.Scan(
        image=image, mask=mask, affine=affine, spacing=anatomy.spacing(affine), subject="",
        session="", path=Path("head.nii.gz"), original_affine=affine, original_shape=image.shape,
        orientation=orientations.io_orientation(affine), header=header,
    )  # fmt: skip


def test_a_report_counts_what_a_sheared_voxel_holds():
    image = np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[5:15, 5:15, 5:15] = 1
    assert report.volume_report(sheared(image, mask), mask).ml.tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("share", [0, 0.2])
def test_a_report_names_the_side_of_a_head_that_lies_beside_the_middle(share):
    """Right of the head's own middle, and left of the field of view's, with noise or without."""
    image, affine = made_up_head(middle=(85, 136, 135))
    image = noisy(image, share) if share else image
    mask = np.zeros(image.shape, np.uint8)
    mask[32:36, 45:50, 45:50] = 1  # 12 to 24 mm right of the head's middle at 85
    assert report.volume_report(scan_of(image, affine), mask).side.tolist() == ["right"]
    assert report.volume_report(scan_of(image, affine, code=4), mask).side.tolist() == ["right"]
    moved = affine.copy()
    moved[0, 3] -= 200  # in MNI space, x = 0 and nothing else parts the sides
    assert report.volume_report(scan_of(image, moved, code=4), mask).side.tolist() == ["left"]
    assert report.volume_report(scan_of(image, moved), mask, "MNI").side.tolist() == ["left"]
    assert report.volume_report(scan_of(image, moved), mask, "orig").side.tolist() == ["right"]


@pytest.mark.parametrize(("code", "why"), [(0, "codes are both 0"), (1, "does not agree")])
def test_no_side_is_named_where_the_header_leaves_it_open(code, why):
    image, affine = made_up_head()
    scan = scan_of(image, affine, code=code)
    object.__setattr__(scan, "sides_known", False)
    mask = np.zeros(image.shape, np.uint8)
    mask[20:24, 40:44, 40:44] = mask[50:52, 40:44, 40:44] = 1
    table = report.volume_report(scan, mask)
    assert (table.side == "unknown").all() and table[["x", "y", "z"]].isna().all(axis=None)
    told = report.summary(table)
    assert told.count("side unknown") == told.count(why) == 1
    counted, reason = told.split(", since ")
    assert counted.endswith("2 pieces: side unknown") and "left" not in reason + counted


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


# --- What is refused before any work, and what is never overwritten -------------------------------


class Counting:
    """A stand-in network that calls lesion what is dark, and counts how often it was asked."""

    input_shape = (None, 208, 240, 1)

    def __init__(self, **given):
        self.calls = 0
        self.__dict__.update(given)

    def predict_on_batch(self, batch):
        self.calls += 1
        found = (batch[..., 0] < -1.2).astype(np.float32)
        return np.stack([1 - found, found], -1)


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A made-up head in a file of its own."""
    monkeypatch.setattr(prediction, "at_shape", lambda model, frame: model)
    image, affine = made_up_head()
    path = tmp_path / "head.nii.gz"
    nib.save(nib.Nifti1Image(noisy(image, 0.03), affine), path)
    return path


def ways_to(scan):
    """(scan, target) pairs that are one file under two names."""
    folder = scan.parent
    link, hard, linked = folder / "link.nii.gz", folder / "hard.nii.gz", folder / "again"
    link.symlink_to(scan)
    os.link(scan, hard)
    linked.symlink_to(folder, target_is_directory=True)
    yield scan, scan
    yield scan, str(scan)
    yield link, scan
    yield scan, link
    yield scan, hard
    yield scan, linked / scan.name
    yield scan, folder / "again" / ".." / folder.name / scan.name


def test_the_scan_is_never_its_own_target(stored, monkeypatch):
    before, model = stored.read_bytes(), Counting()
    for scan, target in ways_to(stored):
        with pytest.raises(ValueError, match="is an input"):
            prediction.segment_file(model, scan, target)
    monkeypatch.chdir(stored.parent)
    monkeypatch.setenv("HOME", str(stored.parent))
    for scan, target in (
        ("head.nii.gz", stored),
        (stored, "head.nii.gz"),
        (stored, "~/head.nii.gz"),
    ):
        with pytest.raises(ValueError, match="is an input"):
            prediction.segment_file(model, scan, target)
    assert model.calls == 0 and stored.read_bytes() == before


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("lesion", "must end in"),
        ("lesion.mgz", "must end in"),
        ("lesion.nii.gz.txt", "must end in"),
        ("folder.nii.gz", "is a folder"),
        ("head.nii.gz/lesion.nii.gz", "is no folder"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_any_work(stored, target, told):
    (stored.parent / "folder.nii.gz").mkdir()
    model = Counting()
    with pytest.raises(ValueError, match=told):
        prediction.segment_file(model, stored, stored.parent / target)
    assert model.calls == 0


NOT_PROBABILITIES = (0, -1, 1.01, 50, float("nan"), "0.5", None, True)


@pytest.mark.parametrize(
    "options",
    [
        *(dict(threshold=value) for value in NOT_PROBABILITIES),
        *(dict(batch_size=value) for value in (0, -3, 2.5, "16", None)),
        *(dict(least_ml=value) for value in (-1, float("nan"), float("inf"), "1")),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused_before_any_work(stored, options):
    model, name = Counting(), next(iter(options))
    with pytest.raises(ValueError, match=f"{name} is "):
        prediction.segment_file(model, stored, stored.parent / "lesion.nii.gz", **options)
    image, affine = made_up_head()
    with pytest.raises(ValueError, match=f"{name} is "):
        prediction.segment_volume(model, image, affine, **options)
    assert model.calls == 0 and not (stored.parent / "lesion.nii.gz").exists()


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (object(), "object is no network"),
        (Counting(input_shape=(None, 16, 16, 3)), "takes 3 channels"),
        (Counting(outputs=[0, 1]), "2 outputs"),
        (Counting(output_shape=(None, 208, 240, 3)), "one class or two"),
        (Counting(output_shape=(None, 10)), "one class or two"),
    ],
    ids=["no network", "channels", "outputs", "three classes", "a classifier"],
)
def test_networks_that_do_not_fit_are_refused_before_any_work(network, told, monkeypatch):
    monkeypatch.setattr(prediction.WorkingGrid, "of", lambda *given: pytest.fail("work was done"))
    image, affine = made_up_head()
    for call in (prediction.segment_volume, prediction.lesion_probability):
        with pytest.raises(ValueError, match=told):
            call(network, image, affine)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda soft: 8 * soft - 4, "run from -4 to 4.*softmax"),
        (lambda soft: 255 * soft, "softmax"),
        (lambda soft: np.concatenate([soft, soft[..., :1]], -1), "one class or two"),
        (lambda soft: soft[:, ::2, ::2], "answered with shape"),
        (lambda soft: soft[..., 1], "answered with shape"),
        (lambda soft: soft[:-1], "answered with shape"),
        (lambda soft: np.full_like(soft, np.nan), "NaN"),
        (
            lambda soft: np.where(np.arange(len(soft)).reshape(-1, 1, 1, 1) == 3, np.nan, soft),
            "NaN",
        ),
    ],
    ids=[
        "logits",
        "0 to 255",
        "three classes",
        "half size",
        "no channel",
        "too few",
        "NaN",
        "one NaN",
    ],
)
def test_answers_that_are_no_probabilities_are_refused(monkeypatch, answer, told):
    class Odd(Counting):
        def predict_on_batch(self, batch):
            return answer(super().predict_on_batch(batch))

    monkeypatch.setattr(prediction, "at_shape", lambda model, frame: model)
    image, affine = made_up_head()
    with pytest.raises(ValueError, match=told):
        prediction.segment_volume(Odd(), image, affine)


def test_one_channel_of_probabilities_is_enough(monkeypatch):
    class One(Counting):
        def predict_on_batch(self, batch):
            return super().predict_on_batch(batch)[..., 1:]

    monkeypatch.setattr(prediction, "at_shape", lambda model, frame: model)
    image, affine = made_up_head()
    one, two = (prediction.segment_volume(net(), image, affine) for net in (One, Counting))
    assert np.array_equal(one, two)


# --- Does it look like a T1w? ---------------------------------------------------------------------


def doubts(image, affine):
    return " ".join(doubts_module.t1w_doubts(image, affine))


@pytest.mark.parametrize("skull", [True, False], ids=["skull", "no skull"])
@pytest.mark.parametrize(
    "spoil",
    [
        "as it is",
        "SNR 10",
        "SNR 5",
        "offset",
        "z-scored",
        "z-scored in the head",
        "spike up",
        "noise, then zeros around it",
    ],
)
def test_a_t1w_raises_no_doubts(skull, spoil):
    image, affine = made_up_head(2.0, skull=skull)
    assert doubts(SPOILERS[spoil](image), affine) == ""


def test_a_t1w_raises_no_doubts_however_it_is_stored():
    image, affine = made_up_head((1.5, 2, 3), yaw=0.2)
    bias = np.exp(np.linspace(0, np.log(3), image.shape[1]))[None, :, None]
    scan = nib.Nifti1Image((image * bias).astype(np.float32), affine)
    for code in ("RAS", "PIR"):
        change = orientations.ornt_transform(
            orientations.io_orientation(affine), orientations.axcodes2ornt(code)
        )
        turned = scan.as_reoriented(change)
        assert doubts(turned.get_fdata(), turned.affine) == ""


@pytest.mark.parametrize("share", [0, 0.1], ids=["clean", "SNR 10"])
@pytest.mark.parametrize("skull", [True, False], ids=["skull", "no skull"])
@pytest.mark.parametrize(
    ("contrast", "told"),
    [("T2w", "as in a T2w"), ("PD", "does not look like a T1w"), ("FLAIR", "as in a FLAIR")],
)
def test_other_contrasts_are_told(contrast, told, skull, share):
    image, affine = made_up_head(2.0, contrast, skull=skull)
    assert told in doubts(noisy(image, share) if share else image, affine)


def test_a_ct_is_told_with_its_intercept_and_without():
    image, affine = made_up_head(2.0, "CT")
    image = image + np.random.default_rng(0).normal(0, 5, image.shape)
    assert "of a CT" in doubts(image, affine)
    assert "as a CT does" in doubts(image + 1024, affine)
    padded = image.copy()
    padded[:6] = padded[-6:] = -3024
    assert "of a CT" in doubts(padded, affine)


def test_a_field_of_view_that_cuts_the_head_is_told():
    image, affine = made_up_head(2.0)
    assert "cuts the head at the top" in doubts(image[:, :, :95], affine)
    assert "cuts the head at a side" in doubts(image[40:], affine)
    assert "cuts the head at the front" in doubts(image[:, :100], affine)
    assert "mm of a head from its top" in doubts(image[:, :, 75:], affine)
    assert "cuts the head" in doubts(image[:, :, 60:63], np.diag([2, 2, 6, 1.0]))


def test_thick_slices_are_told():
    image, affine = made_up_head((2, 2, 6.5))
    assert "2.0 × 2.0 × 6.5 mm" in doubts(image, affine)
    assert "2.0 × 2.0 × 6.5 mm" in doubts(noisy(image, 0.1), affine)


def test_other_sizes_than_a_head_s_are_told():
    image, affine = made_up_head(2.0)
    assert "less than an adult's" in doubts(image, np.diag([1.1, 1.1, 1.1, 1]))
    assert "another part of the body" in doubts(image, np.diag([3.2, 3.2, 3.0, 1]))
    assert "stands out" in doubts(
        np.random.default_rng(0).random((60, 60, 60)), np.diag([3, 3, 3, 1])
    )


@pytest.mark.parametrize("body", [knee, torso, hand, bottle], ids=lambda body: body.__name__)
@pytest.mark.parametrize("share", [0.03, 0.1])
def test_what_is_no_head_is_told_as_such(body, share):
    image, affine = body()
    found = doubts_module.doubts(noisy(image, share), affine)
    assert any(doubt.is_no_t1w for doubt in found), found


def test_what_only_spoils_an_answer_is_told_from_what_makes_it_meaningless():
    """Thick slices, a cut field of view and a brain alone are still a T1w of a head."""
    image, affine = made_up_head(2.0)
    thick, thick_affine = made_up_head((2, 2, 6.5))
    brain, _ = made_up_head(2.0, skull=False)
    for given, at in ((image[40:], affine), (image[:, :, 75:], affine), (thick, thick_affine)):
        found = doubts_module.doubts(noisy(given, 0.03), at)
        assert found and not any(doubt.is_no_t1w for doubt in found), found
    assert not doubts_module.doubts(noisy(brain, 0.03), affine)
    other, _ = made_up_head(2.0, "T2w")
    assert any(doubt.is_no_t1w for doubt in doubts_module.doubts(noisy(other, 0.03), affine))


def label_maps():
    image, _ = made_up_head(3.0)
    labels = np.searchsorted((0.0, 30, 70, 100, 110), image)
    yield "a mask", (image > 90).astype(np.uint8), 2
    yield "0 and 255", (255 * (image > 90)).astype(np.float32), 2
    yield "tissues", labels.astype(np.float64), 5
    parcels = labels * 1000 + (np.arange(image.shape[1]) // 12)[:, None] * (labels > 0)
    yield "parcels", parcels.astype(np.int32), len(np.unique(parcels))


@pytest.mark.parametrize(
    ("name", "labels", "count"), list(label_maps()), ids=lambda value: str(value)[:9]
)
def test_masks_and_label_maps_are_refused(tmp_path, name, labels, count):
    assert count <= 60
    path = tmp_path / "labels.nii.gz"
    nib.save(nib.Nifti1Image(labels, np.diag([3.0, 3, 3, 1])), path)
    model = Counting()
    with pytest.raises(ValueError, match=f"labels.nii.gz holds {count} values.*mask or a map"):
        prediction.segment_file(model, path, tmp_path / "lesion.nii.gz")
    assert model.calls == 0 and not (tmp_path / "lesion.nii.gz").exists()


def test_a_coarsely_stored_scan_is_no_label_map():
    image, affine = made_up_head(3.0)
    few = np.round(noisy(image, 0.1) / 8).astype(np.uint8)  # some twenty grey values
    doubts_module.check_is_head(few, affine)
    doubled = np.round(noisy(image, 0.1)).astype(np.uint8).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    doubts_module.check_is_head(doubled, np.diag([1.5, 1.5, 1.5, 1]))


def test_what_is_no_head_s_size_is_refused(stored):
    image, _ = made_up_head(3.0)
    tiny = stored.parent / "tiny.nii.gz"
    nib.save(nib.Nifti1Image(noisy(image, 0.03), np.diag([0.05, 0.05, 0.05, 1])), tiny)
    model = Counting()
    with pytest.raises(ValueError, match="bright in tiny.nii.gz is .* and no head is that small"):
        doubts_module.check_is_head(noisy(image, 0.03), np.diag([0.3, 0.3, 0.3, 1]), tiny.name)
    with pytest.raises(ValueError, match="tiny.nii.gz would be .* along its longest side"):
        prediction.segment_file(model, tiny, stored.parent / "lesion.nii.gz")
    assert model.calls == 0


def test_segment_file_says_what_it_doubts_and_is_silent_otherwise(stored):
    target = stored.parent / "lesion.nii.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, mask = prediction.segment_file(Counting(), stored, target)
    assert mask.any() and target.exists()
    image, affine = made_up_head(3.0, "T2w")
    nib.save(nib.Nifti1Image(noisy(image, 0.03), affine), stored)
    with pytest.warns(UserWarning, match="head.nii.gz: .*as in a T2w"):
        prediction.segment_file(Counting(), stored, target)


REAL_HEADS = [
    ROOT / "../shared/data" / name
    for name in ("real_t1/chris_t1.nii.gz", "healthy/niimath_t1_brain.nii.gz")
]


@pytest.mark.parametrize("path", REAL_HEADS, ids=lambda path: path.name)
def test_real_heads_and_the_template_raise_no_doubts(path):
    if not path.exists():
        pytest.skip(f"no real head at {path}")
    scan = atlas.load_image(path)
    doubts_module.check_is_head(scan.image, scan.affine)
    assert doubts(scan.image, scan.affine) == ""


def test_a_phantom_and_the_template_raise_no_doubts(phantom_head):
    from nilearn import datasets

    scan = atlas.load_image(phantom_head[0])
    doubts_module.check_is_head(scan.image, scan.affine)
    assert doubts(scan.image, scan.affine) == ""
    template = datasets.load_mni152_template(resolution=1)
    assert doubts(template.get_fdata(), template.affine) == ""
