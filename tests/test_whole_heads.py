"""A network of volumes: any scan into the frame, its answer back, recorded, and exported."""

import json
from types import SimpleNamespace

import keras
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from heads import head, noisy
from nibabel import orientations

from kenseg_utils import anatomy, machine, networks, prediction
from kenseg_utils.prediction import _frames, _recorded, export, frames

PLACE = (30.0, -20.0, 20.0)  # of a lesion, in mm from the head's middle: on the right
TINY = dict(widths=(2, 4), normalisation="group")


class Dark:
    """A stand-in network of volumes: lesion is what has a lesion's grey value."""

    input_shape = output_shape = (None, *frames.SHAPE, 1)

    def __init__(self, **given):
        self.seen = []
        self.__dict__.update(given)

    def predict_on_batch(self, batch):
        self.seen.append(batch)
        return np.clip(1 - 8 * np.abs(batch - 0.3), 0, 1)


@pytest.fixture(scope="module")
def stroke():
    """A head of 3 mm with a lesion of 34 ml on the right, and that lesion's mask."""
    image, affine = head(3.0, lesion=(*PLACE, 20))
    clean, _ = head(3.0)
    return noisy(image, 0.02), affine, image != clean


@pytest.fixture(scope="module")
def toy():
    """An untrained network of volumes, with kernels that half precision holds."""
    keras.utils.set_random_seed(3)
    model = networks.build("unet3d", **TINY)
    model.set_weights([np.float32(np.float16(w)) if w.ndim > 1 else w for w in model.get_weights()])
    return model


def test_a_lesion_is_found_where_it_lies(stroke):
    image, affine, lesion = stroke
    mask = prediction.segment_volume(Dark(), image, affine, least_ml=5)
    assert mask.shape == image.shape and mask.dtype == np.uint8
    assert mask[lesion].mean() > 0.75
    assert mask[lesion[::-1]].mean() < 0.4  # not where its mirror image would lie


@pytest.mark.parametrize("code", ["LPS", "PIR", "SAL"])
def test_storage_does_not_change_the_answer(stroke, code):
    image, affine, _ = stroke
    scan = nib.Nifti1Image(image, affine)
    turn = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.axcodes2ornt(code)
    )
    other = scan.as_reoriented(turn)
    here = prediction.lesion_probability(Dark(), image, affine)
    there = prediction.lesion_probability(Dark(), other.get_fdata(), other.affine)
    assert np.abs(orientations.apply_orientation(here, turn) - there).max() < 1e-3


def test_the_mirror_image_is_asked_about_and_both_answers_are_averaged(stroke):
    image, affine, _ = stroke

    class Leaning(Dark):
        def predict_on_batch(self, batch):
            self.seen.append(batch)
            ramp = np.linspace(0.1, 0.9, batch.shape[1], dtype=np.float32)
            return np.broadcast_to(ramp.reshape(1, -1, 1, 1, 1), batch.shape)

    leaning = Leaning()
    found = _frames.by_frame(leaning, image, affine, flips=True, inside_brain=False)
    assert np.array_equal(leaning.seen[0], leaning.seen[1][:, ::-1])
    inside = found[found > 0.49]
    assert inside.size and np.abs(inside - 0.5).max() < 1e-5
    plain = _frames.by_frame(Leaning(), image, affine, flips=False, inside_brain=False)
    assert plain.max() > 0.6
    once = Leaning(mirrored=False)  # as may be recorded with a network
    prediction.lesion_probability(once, image, affine)
    assert len(once.seen) == 1


def test_a_head_moved_by_a_voxel_is_asked_about_and_brought_back(stroke):
    """An answer that depends on where the grid of a stride lies: the mean of both."""
    image, affine, _ = stroke

    class Striped(Dark):
        def predict_on_batch(self, batch):
            self.seen.append(batch)
            stripes = np.arange(batch.shape[2]) % 2 == 0
            lit = np.where(stripes, 0.8, 0.2).astype(np.float32)
            return np.broadcast_to(lit.reshape(1, 1, -1, 1, 1), batch.shape)

    four = Striped(moved=True)
    found = _frames.by_frame(four, image, affine, flips=True, inside_brain=False)
    assert len(four.seen) == 4
    shown, moved, mirrored, both = (batch[0, ..., 0] for batch in four.seen)
    assert np.array_equal(moved, np.roll(shown, 1, (0, 1, 2)))
    assert np.array_equal(both, np.roll(mirrored, 1, (0, 1, 2)))
    assert np.array_equal(mirrored, shown[::-1])
    inside = found[found > 0.49]
    assert inside.size and np.abs(inside - 0.5).max() < 1e-5

    class Echo(Dark):  # what is seen comes back to where it was seen
        def predict_on_batch(self, batch):
            return np.clip(batch, 0, 1)

    once = _frames.by_frame(Echo(), image, affine, flips=False)
    again = _frames.by_frame(Echo(moved=True), image, affine, flips=True)
    assert np.abs(once - again).max() < 1e-5 and once.max() > 0.9


def test_each_find_is_drawn_at_its_own_threshold():
    """What finds a faint lesion does not draw a clear one too large."""
    x = np.arange(40, dtype=np.float32)
    line = np.maximum(0.9 - 0.1 * np.abs(x - 10), 0) + np.maximum(0.2 - 0.05 * np.abs(x - 30), 0)
    soft = np.broadcast_to(line.reshape(-1, 1, 1), (40, 3, 3))
    labels, highest = prediction.finds(soft, 0.1)
    assert labels[10, 1, 1] == 1 and labels[30, 1, 1] == 2 and labels[25, 1, 1] == 0
    assert highest == pytest.approx([0, 0.9, 0.2])
    cut = prediction.drawing_thresholds(soft, 0.1, 0.6)
    drawn = np.flatnonzero((soft >= cut)[:, 1, 1])
    assert drawn.tolist() == [*range(7, 14), 29, 30, 31]  # 0.54 and more, 0.12 and more
    assert cut[18, 1, 1] == pytest.approx(0.54) and cut[26, 1, 1] == pytest.approx(0.12)
    assert cut.min() >= 0.1  # never below the threshold for finding
    assert prediction.drawing_thresholds(soft, 0.1, 0.0) == 0.1
    assert prediction.drawing_thresholds(soft, 0.95, 0.6) == 0.95  # nothing is found
    with pytest.raises(ValueError, match="empty|voxels"):
        prediction.finds(np.zeros((0, 3, 3)), 0.1)


def test_a_network_s_share_of_the_highest_draws_less_and_loses_no_find(stroke):
    image, affine, _ = stroke
    whole = prediction.segment_volume(Dark(threshold=0.1), image, affine)
    part = prediction.segment_volume(Dark(threshold=0.1, peak_share=0.6), image, affine)
    assert 0 < part.sum() < 0.9 * whole.sum() and not (part > whole).any()
    soft, shared = (
        prediction.lesion_probability(Dark(threshold=0.1, **more), image, affine)
        for more in ({}, dict(peak_share=0.6))
    )
    assert (shared <= soft + 1e-6).all() and 0 <= shared.min() and shared.max() <= 1
    assert np.array_equal(shared > 0, soft > 0)


def test_nothing_is_reported_outside_a_generous_hull_of_the_brain(stroke):
    image, affine, _ = stroke

    class Everything(Dark):
        def predict_on_batch(self, batch):
            return np.ones_like(batch)

    inside = prediction.segment_volume(Everything(), image, affine, least_ml=0)
    everywhere = prediction.segment_volume(
        Everything(), image, affine, least_ml=0, inside_brain=False
    )
    voxel = anatomy.voxel_ml(affine)
    assert 1500 < inside.sum() * voxel < 3500 < everywhere.sum() * voxel
    assert not inside[:, :, -4:].any()  # scalp and the air above


def test_the_least_volume_is_the_network_s_own_unless_given(stroke):
    image, affine, _ = stroke
    whole, own = Dark(least_ml=0.0), Dark(least_ml=1e4)
    assert prediction.segment_volume(whole, image, affine).any()
    assert not prediction.segment_volume(own, image, affine).any()
    assert prediction.segment_volume(own, image, affine, least_ml=0.5).any()
    assert prediction.own_least_ml(object()) == prediction.LEAST_ML


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (dict(input_shape=(None, 64, 64, 64, 1)), "takes volumes of .64, 64, 64, 1.*96, 112, 96"),
        (dict(input_shape=(None, *frames.SHAPE, 2)), "takes volumes of"),
        (dict(output_shape=(None, *frames.SHAPE, 3)), "one class or two"),
        (dict(output_shape=(None, 2)), "one class or two"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_any_work(stroke, monkeypatch, given, told):
    monkeypatch.setattr(frames, "look", lambda *scan: pytest.fail("work was done"))
    with pytest.raises(ValueError, match=told):
        prediction.segment_volume(Dark(**given), *stroke[:2])


@pytest.mark.parametrize("wrong", [np.nan, 2.0, -1.0])
def test_answers_that_are_no_probabilities_are_refused(stroke, wrong):
    class Wrong(Dark):
        def predict_on_batch(self, batch):
            return np.full_like(batch, wrong)

    with pytest.raises(ValueError, match="NaN|probabilities"):
        prediction.segment_volume(Wrong(), *stroke[:2])


# --- Recorded -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(toy, tmp_path_factory):
    """A folder of results that holds the toy as `heads`, with a threshold and a least volume."""
    folder = tmp_path_factory.mktemp("results")
    run = SimpleNamespace(
        model=toy,
        history=pd.DataFrame({"loss": [1.0]}),
        provenance=dict(
            recipe=dict(network="unet3d", widths=[2, 4], options=dict(normalisation="group")),
            commit="abc",
            device="none",
            seconds=1.0,
            finished="2026-01-01T00:00:00Z",
        ),
    )
    prediction.save_network(
        "heads",
        run,
        folder,
        threshold=0.3,
        least_ml=0.25,
        mirrored=False,
        moved=True,
        peak_share=0.2,
    )
    return folder


def test_a_recorded_network_of_volumes_keeps_threshold_and_least_volume(toy, recorded):
    model, about = prediction.recorded_network("heads", recorded)
    assert prediction.own_least_ml(model) == 0.25 and about["threshold"] == 0.3
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert model.threshold == 0.3 and not model.mirrored and model.moved
    assert model.peak_share == 0.2
    batch = np.random.default_rng(0).random((1, *frames.SHAPE, 1), np.float32)
    same = machine.fuse_normalisation(export.in_float32(toy))  # Keras's own sums are less exact
    ours, theirs = (one.predict_on_batch(batch) for one in (model, same))
    assert np.abs(ours - theirs).max() < 1e-6


def test_a_recorded_threshold_becomes_a_half(stroke):
    image, affine, _ = stroke
    soft = prediction.lesion_probability(Dark(), image, affine)
    shifted = prediction.lesion_probability(Dark(threshold=0.3), image, affine)
    ours, theirs = shifted >= 0.5, soft >= 0.3  # the same but for interpolation between points
    assert not (ours & ~theirs).any() and 0.6 * theirs.sum() < ours.sum()
    assert (soft >= 0.5).sum() < 0.9 * ours.sum()
    assert shifted.min() >= 0 and shifted.max() <= 1
    exact = _frames._shifted(np.float32([0, 0.3, 0.5, 1]), 0.3)
    assert exact == pytest.approx([0, 0.5, 0.7, 1])


def test_a_model_is_recorded_with_the_recipe_that_builds_it(toy, tmp_path):
    with pytest.raises(ValueError, match="give recipe="):
        prediction.save_network("alone", toy, tmp_path)
    prediction.save_network("alone", toy, tmp_path, recipe=dict(network="unet3d", widths=[2, 4]))
    model, about = prediction.recorded_network("alone", tmp_path)
    assert model.threshold == 0.5 and about["recipe"]["widths"] == [2, 4]
    assert [w.shape for w in model.get_weights()] == [w.shape for w in toy.get_weights()]


def test_the_best_network_is_opened_and_else_the_next(monkeypatch):
    kept = {"heads": ("3-D", {}), "whole_slices": ("2-D", {})}
    monkeypatch.setattr(_recorded, "recorded_network", lambda name, folder: kept.get(name))
    assert prediction.open_network() == "3-D"
    del kept["heads"]
    assert prediction.open_network() == "2-D"
    assert prediction.BEST_FIRST == ("heads", "whole_slices")


# --- Exported -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(recorded):
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(package)
    return export.record_onnx("heads", recorded)


def test_an_exported_file_gives_equal_masks(stroke, recorded, exported):
    model, _ = prediction.recorded_network("heads", recorded)
    file = prediction.open_network(exported)
    image, affine, _ = stroke
    soft = prediction.lesion_probability(model, image, affine)
    cut = float(np.median(soft[soft > 0]))
    one, other = (
        prediction.segment_volume(each, image, affine, cut, least_ml=0) for each in (model, file)
    )
    assert 1000 < one.sum() < one.size / 2
    assert (one != other).mean() < 1e-5
    assert np.abs(soft - prediction.lesion_probability(file, image, affine)).max() < 1e-5


def test_an_exported_file_says_what_it_is(exported, recorded):
    file = prediction.open_network(exported)
    assert file.input_shape == (None, *frames.SHAPE, 1) == file.output_shape
    assert file.about["name"] == "heads" and file.about["commit"] == "abc"
    assert prediction.own_least_ml(file) == 0.25
    assert file.threshold == 0.3 and not file.mirrored and file.moved
    assert file.peak_share == 0.2
    kernels = sum(w.size for w in prediction.recorded_network("heads", recorded)[0].get_weights())
    assert exported.stat().st_size < 2 * kernels + 60_000  # half precision, and the graph


def test_a_network_that_is_not_recorded_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match="No network is recorded as .*nothing.npz"):
        export.record_onnx("nothing", tmp_path)


def test_a_file_of_slices_keeps_to_its_size(tmp_path):
    pytest.importorskip("tf2onnx")
    model = networks.build("unet", input_shape=(16, 16, 1), widths=(2, 4))
    file = prediction.open_network(export.to_onnx(model, tmp_path / "slices.onnx"))
    assert prediction.at_shape(file, (16, 16)) is file
    with pytest.raises(ValueError, match=r"takes slices of \(16, 16\).*at_shape"):
        prediction.at_shape(file, (208, 240))


@pytest.mark.parametrize("name", _recorded.BEST_FIRST)
def test_the_book_s_exported_networks_are_the_recorded_ones(name):
    """Whoever records a network anew exports it anew: `export.record_onnx(name)`."""
    pytest.importorskip("onnx")
    import onnx

    kept, file = (ROOT / f"results/{name}{end}" for end in (".npz", ".onnx"))
    if not file.exists():
        pytest.skip(f"results/{name}.onnx is not recorded")
    model = onnx.load(file)
    notes = {prop.key: prop.value for prop in model.metadata_props}
    with np.load(kept, allow_pickle=False) as archive:
        about = json.loads(archive["about"].tobytes())
        sums = sorted(
            float(np.abs(archive[key].astype(np.float64)).sum())
            for key in archive
            if key != "about" and archive[key].ndim > 1 and archive[key].size > 64
        )
    there = [
        float(np.abs(onnx.numpy_helper.to_array(one).astype(np.float64)).sum())
        for one in model.graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT16
    ]
    assert json.loads(notes["kenseg_utils"])["commit"] == about["commit"]
    assert file.stat().st_size < 8e6
    found = [any(np.isclose(value, other, rtol=1e-3) for other in there) for value in sums]
    assert np.mean(found) > 0.9
