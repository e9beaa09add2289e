"""Synthetic heads, the pool that processes fill, batches, and training by the clock."""

import csv
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import threading
import types

import keras
import numpy as np
import pytest
from conftest import ROOT
from scipy import ndimage

from kenseg_utils import machine, prediction
from kenseg_utils.experiments import judging, synthesis
from kenseg_utils.experiments.synthesis import _anatomy, _feed, _heads, _lesions, _train, _views
from kenseg_utils.prediction import frames


@pytest.fixture(scope="module")
def heads():
    """Two heads with lesions, as (image, mask, facts)."""
    return [synthesis.make_head((5, seed), healthy=False) for seed in range(2)]


@pytest.fixture(scope="module")
def simple():
    """Four of what a pool takes for heads, made in no time."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(4):
        image = np.zeros(frames.SHAPE, np.float32)
        image[20:70, 20:90, 20:80] = 1 + 0.1 * rng.random((50, 70, 60), dtype=np.float32)
        mask = np.zeros(frames.SHAPE, np.uint8)
        mask[30:40, 30 + number : 50, 30:40] = 1
        made.append((image * (1 - 0.6 * mask), mask, {}))
    return made


def test_a_head_is_as_a_network_is_shown_one(heads):
    for image, mask, facts in heads:
        assert image.shape == mask.shape == frames.SHAPE
        assert image.dtype == np.float32 and mask.dtype == np.uint8
        assert image.min() == 0 and image.max() <= frames.BRIGHTEST
        assert set(np.unique(mask)) == {0, 1}
        assert facts["ml"] == pytest.approx(mask.sum() * 0.008)
        assert facts["shown"] in ("whole", "defaced", "extracted")
        assert np.isfinite(image).all()
        middle = image[38:58, 44:68, 44:64]
        assert 0.5 < np.median(middle) < 1.1  # brain is in the middle of the frame


def test_a_head_lies_where_frames_would_lay_it():
    """A brain alone, a whole head and one without top and side: in training as in use."""
    affine = np.diag([2.0, 2, 2, 1])
    for seed in (2, 3, 4):
        image, _, facts = synthesis.make_head((5, seed), healthy=True)
        shift = frames.frame_of(image, affine).affine[:3, 3] / 2
        assert np.abs(shift).max() <= 2, (seed, facts["shown"], shift)


def test_what_no_slice_shows_moves_a_head_as_it_moves_a_scan():
    head = np.zeros(frames.SHAPE, np.float32)
    head[18:78, 16:96, 20:92] = 1
    whole = np.ones(frames.SHAPE, bool)
    assert _heads.hung(head, whole) == (0, 0, 0)
    cut = whole.copy()
    cut[:, :, 82:] = cut[:28] = False
    assert _heads.hung(head * cut, cut) == (-5, 0, 10)


def test_a_seed_determines_a_head(heads):
    again = synthesis.make_head((5, 1), healthy=False)
    assert np.array_equal(again[0], heads[1][0]) and np.array_equal(again[1], heads[1][1])
    assert not np.array_equal(heads[0][0], heads[1][0])


def test_a_healthy_head_has_no_lesion():
    _, mask, facts = synthesis.make_head((5, 9), healthy=True)
    assert not mask.any() and facts["lesions"] == [] and facts["ml"] == 0


def test_lesions_are_darker_than_white_matter_where_they_are(heads):
    for image, mask, _ in heads:
        brain = image[image > 0.5]
        assert image[mask > 0].mean() < np.percentile(brain, 75)


@pytest.mark.parametrize("clean", [True, False])
def test_an_extracted_brain_has_noise_around_it_or_has_none(clean, monkeypatch):
    """A network that only knew clean air found 16 ml in a noisy brain."""
    monkeypatch.setattr(_heads, "EXTRACTED", 1.0)
    monkeypatch.setitem(_heads.CLEAN_AIR, "extracted", float(clean))
    image, _, facts = synthesis.make_head((5, 1), healthy=True)
    assert facts["shown"] == "extracted"
    beside = image[:3, 40:70, 50:80]
    assert (beside > 0).any() != clean


def test_planned_volumes_span_what_real_ones_do():
    rng = np.random.default_rng(0)
    volumes = np.array([_lesions.draw_volume(rng) for _ in range(2000)])
    assert volumes.min() >= 0.3 and volumes.max() <= 250
    assert 0.4 < (volumes > 20).mean() < 0.7 and (volumes < 2).mean() > 0.1
    plans = [synthesis.draw_plan(rng) for _ in range(200)]
    sides = [np.sign(plan[0].seed[0]) for plan in plans]
    assert 0.4 < np.mean(np.array(sides) > 0) < 0.6
    for plan in plans:
        for piece in plan:
            assert piece.kind.smallest <= piece.ml <= piece.kind.largest


def test_a_look_darkens_what_it_paints_and_leaves_the_rest():
    picture = np.ones((4, 4, 4), np.float32)
    zero = np.zeros_like(picture)
    scar, cavity = zero.copy(), zero.copy()
    scar[1], cavity[2] = 1, 1
    look = _lesions.Look(scar, zero + 0.6, cavity, zero + 0.25)
    painted = _lesions.painted(picture, look)
    assert (painted[0] == 1).all() and np.allclose(painted[1], 0.6)
    assert np.allclose(painted[2], 0.25)
    assert (_lesions.painted(picture * 0.3, look)[1] == np.float32(0.3)).all()  # none brighter


def in_white_matter(holes, seed):
    """A ball of 4 ml as it looks in nothing but white matter, where gray is 0.7 and fluid 0.2."""
    shape, middle = frames.SHAPE, np.array(frames.SHAPE).reshape(3, 1, 1, 1) / 2
    ball = ((np.indices(shape) - middle) ** 2).sum(0) < 5**2
    ones, zeros = np.ones(shape, np.float32), np.zeros(shape, np.float32)
    person = _anatomy.Person(
        ones, zeros, zeros, ones, ones, zeros, 40 * ones, 40 * ones, np.zeros((3, *shape))
    )
    mix = synthesis.Mix(holes=holes)
    look = _lesions.draw_look(np.random.default_rng(seed), person, ball, 0.7, 0.2, mix)
    core = ndimage.binary_erosion(ball, iterations=2)
    border = ball & ~ndimage.binary_erosion(ball)
    picture = _lesions.painted(ones, look)
    return picture[core].mean(), picture[border].mean()


def test_a_hole_is_cavity_up_to_its_border():
    """Networks taught without such lesions were the less sure of a small one the darker it was."""
    holes = np.array([in_white_matter(1, seed) for seed in range(8)])
    others = np.array([in_white_matter(0, seed) for seed in range(8)])
    assert (holes[:, 0] < 0.6).all()
    assert (holes.mean(0) < others.mean(0) - 0.05).all()


def test_a_share_of_no_holes_draws_nothing(monkeypatch):
    """What is painted for the judge must stay what it was before there were any."""
    first = []

    def look(rng, *_):
        first.append(rng.random())
        return (np.float32(0),) * 4

    monkeypatch.setattr(_lesions, "_look_of_one", look)
    for holes in (0, 0.5):
        in_white_matter(holes, 3)
    assert judging.PAINTED.holes == 0
    assert first == np.random.default_rng(3).random(2).tolist()  # the second one's came after


def test_a_lesion_is_painted_into_a_head_of_any_grid(heads):
    """Into a synthetic healthy one here, shown on a flipped grid of 2.5 mm."""
    image, _, _ = synthesis.make_head((5, 11), healthy=True)
    frame = frames.Frame(np.diag([2.0, 2, 2, 1]))
    affine = np.diag([-2.5, 2.5, 2.5, 1.0])
    affine[0, 3] = 190
    shape = (76, 88, 76)
    scan = 400 * frame.back(image, shape, affine)
    kind = next(k for k in _lesions.KINDS if k.name == "middle cerebral")
    piece = synthesis.Piece(kind, (52.0, -8.0, 20.0), 60.0, 0.8, (1.0, 1.3, 0.9))
    changed, mask = synthesis.paint_into(scan, affine, 0, plan=(piece,))
    assert changed.shape == mask.shape == shape
    assert mask.sum() * 2.5**3 / 1000 == pytest.approx(60, rel=0.25)
    far = np.abs(changed - scan) > 1e-3
    assert far[mask > 0].mean() > 0.7
    assert changed[mask > 0].mean() < 0.85 * scan[mask > 0].mean()
    where = np.argwhere(mask).mean(0) @ affine[:3, :3].T + affine[:3, 3]
    assert where[0] > 95  # the right half, x growing to the right

    drawn, drawn_affine = np.zeros((91, 109, 91), np.uint8), np.diag([-2.0, 2, 2, 1])
    drawn_affine[:3, 3] = 90, -126, -72
    drawn[66:76, 50:65, 40:55] = 7  # 18 ml at x −60 to −42, in MNI's left half
    changed, mask = synthesis.paint_into(scan, affine, 0, outline=(drawn, drawn_affine))
    assert mask.sum() * 2.5**3 / 1000 == pytest.approx(18, rel=0.35)  # as large as the brain is
    x, y, z = np.argwhere(mask).T
    assert mask[x.min() : x.max() + 1, y.min() : y.max() + 1, z.min() : z.max() + 1].mean() > 0.75
    assert changed[mask > 0].mean() < 0.85 * scan[mask > 0].mean()
    where = np.argwhere(mask).mean(0) @ affine[:3, :3].T + affine[:3, 3]
    assert where[0] < 75  # the left half


def pool_of(folder, heads, size=None):
    pool = _feed.Pool(folder, size or len(heads))
    for number, (image, mask, _) in enumerate(heads):
        pool.put(number, image, mask)
    return pool


def test_a_pool_keeps_heads_for_any_process(tmp_path, simple):
    pool = pool_of(tmp_path, simple, size=6)
    assert list(pool.filled) == [0, 1, 2, 3] and pool.heads_made == 4
    assert pool.get(5) is None
    image, mask = _feed.Pool(tmp_path, 6).get(2)
    assert np.array_equal(mask, simple[2][1])
    assert np.abs(image / _feed.LEVELS - simple[2][0]).max() < 0.005
    pool.put(8, *simple[3][:2])  # takes the place of number 2
    assert np.array_equal(pool.get(2)[1], simple[3][1]) and pool.heads_made == 9


def test_a_pool_of_other_heads_or_another_size_is_refused_and_kept(tmp_path, simple, monkeypatch):
    pool_of(tmp_path, simple)
    before = (tmp_path / "images.bytes").stat().st_size
    with pytest.raises(ValueError, match=r"another size \(4, not 3\): give another folder"):
        _feed.Pool(tmp_path, 3)
    assert (tmp_path / "images.bytes").stat().st_size == before
    monkeypatch.setattr(_feed, "VERSION", _feed.VERSION + 1)
    with pytest.raises(ValueError, match="another version of the heads"):
        _feed.Pool(tmp_path, 4)
    (tmp_path / "pool.json").unlink()  # as older pools were
    with pytest.raises(ValueError, match=r"another version of the heads \(unknown, not"):
        _feed.Pool(tmp_path, 4)


def test_a_head_that_is_being_replaced_is_not_taken(tmp_path, simple):
    pool = pool_of(tmp_path, simple)
    pool.made[1] = 0
    assert pool.get(1) is None


def test_makers_go_on_where_they_stopped_and_agree_with_make_head(tmp_path, monkeypatch):
    made = []

    def make(rng):
        made.append(rng.bit_generator.seed_seq.entropy)
        return np.zeros(frames.SHAPE, np.float32), np.zeros(frames.SHAPE, np.uint8), {}

    monkeypatch.setattr(_feed, "make_head", make)
    _feed.make_heads(str(tmp_path), 3, 7, 0, 2, 4)
    assert made == [(7, 0), (7, 2)]
    _feed.make_heads(str(tmp_path), 3, 7, 0, 2, 6)
    assert made[2:] == [(7, 4)]


def whole(images, masks, rng):
    return images, masks


def test_batches_of_a_still_pool_are_the_same_for_a_seed(tmp_path, simple):
    pool = pool_of(tmp_path, simple)

    def first(seed):
        feed = _feed.Feed(pool, 2, whole, seed=seed, threads=1, first=4)
        batches = [feed.next() for _ in range(2)]
        feed.close()
        return batches

    one, same, other = first(3), first(3), first(4)
    for a, b in zip(one, same):
        assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    assert not np.array_equal(one[0][0], other[0][0])
    assert threading.active_count() < 20


def test_nobody_waits_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(_feed, "PATIENCE_S", 0.1)
    with pytest.raises(RuntimeError, match="nobody makes any"):
        _feed.Feed(_feed.Pool(tmp_path, 4), 1, whole, first=2)


def test_what_is_varied_keeps_image_and_mask_together(simple):
    image, mask, _ = simple[0]
    stored = np.rint(image * _feed.LEVELS).astype(np.uint8)
    shown, truth = _feed.varied(stored, mask, np.random.default_rng(1))
    assert shown.shape == truth.shape == frames.SHAPE and shown.max() <= frames.BRIGHTEST
    marked = stored.copy()
    marked[mask > 0] = 255  # the lesion's place, seen in the image
    shown, truth = _feed.varied(marked, mask, np.random.default_rng(1))
    assert shown[truth > 0].min() > 1.1


@pytest.mark.parametrize("name", ["unet25d", "unet2d"])
def test_a_view_cuts_squares_with_the_mask_that_belongs_to_them(name):
    view = _views.VIEWS[name]
    images = np.zeros((1, *frames.SHAPE), np.float32)
    masks = np.zeros((1, *frames.SHAPE), np.uint8)
    masks[0, 30:40, 50:70, 20:30] = 1
    images[0] = masks[0]
    shown, truth = view.cut(images, masks, np.random.default_rng(0))
    assert shown.shape == (_views.SLICES, _views.SIDE, _views.SIDE, view.channels)
    assert np.array_equal(shown[..., view.channels // 2], truth[..., 0])
    assert truth.any((1, 2, 3)).sum() >= 3


class Echo:
    """A network that answers its middle channel."""

    def predict_on_batch(self, shown):
        return shown[..., shown.shape[-1] // 2][..., None]


@pytest.mark.parametrize("name", list(_views.VIEWS))
def test_a_view_puts_a_volume_together_again(name):
    image = np.random.default_rng(0).random(frames.SHAPE, dtype=np.float32)
    answer = _views.VIEWS[name].probability(Echo(), image)
    assert answer.dtype == np.float32
    assert np.allclose(answer, image, atol=1e-6)


def test_a_head_without_its_top_hangs_where_frames_hang_it(heads):
    """A brain cut off above showed 84 ml of lesion to a network that had seen none hang so."""
    bytes_of, mask, _ = heads[0]
    image = np.rint(bytes_of * _feed.LEVELS).astype(np.uint8)
    shown, left = _feed.without_top(image, mask, 15)
    slices = [(volume > 0.3 * _feed.LEVELS).sum((0, 1)) > 20 for volume in (image, shown)]
    above = [int(bright[::-1].argmax()) for bright in slices]
    assert above[0] == above[1] > 0
    here = frames.SHAPE[2] - above[0]
    assert np.array_equal(shown[:, :, 15:here], image[:, :, : here - 15])
    assert np.array_equal(left[:, :, 15:here], mask[:, :, : here - 15])
    assert not left[:, :, here:].any() and not shown[:, :, here:].any()
    assert not _feed.without_top(0 * image, mask, 15)[0].any()


def test_the_rate_rises_and_falls_by_the_clock():
    rates = [_train.rate_at(share, 1.0) for share in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] == pytest.approx(0.005) and np.argmax(rates) == 3
    assert _train.rate_at(2.0, 1.0) == rates[-1]


def test_the_loss_knows_right_from_wrong_with_and_without_lesion():
    truth = np.zeros((2, 6, 6, 6, 1), np.float32)
    truth[0, :3] = 1
    right = np.asarray(keras.ops.convert_to_numpy(_train.volume_loss(truth, truth)))
    wrong = np.asarray(keras.ops.convert_to_numpy(_train.volume_loss(truth, 1 - truth)))
    assert right.shape == (2,) and (right < 0.01).all() and (wrong > 0.9).all()
    entropy = 216 * np.log(2)  # of all voxels
    even = keras.ops.convert_to_numpy(_train.volume_loss(truth, 0 * truth + 0.5))
    assert even[0] == pytest.approx(1 - (108 + 30) / (216 + 30) + entropy / 608, rel=1e-3)
    # Without lesion, cross-entropy alone: what Dice asked of such volumes silenced a network.
    assert even[1] == pytest.approx(entropy / 500, rel=1e-3)


def test_a_lesion_that_a_network_is_sure_is_none_still_pulls():
    """The mean over a million voxels left almost nothing of it: 15 ml went unseen for hours."""
    import tensorflow as tf

    truth = np.zeros((1, 40, 40, 40, 1), np.float32)
    truth[0, 10:22, 10:22, 10:22] = 1  # 14 ml
    score = tf.Variable(0 * truth - 15)  # a probability of 3e-7, as it was found in such lesions
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(_train.volume_loss(truth, tf.sigmoid(score)))
    pull = tape.gradient(loss, score).numpy()[truth > 0]
    assert (pull < 0).all()
    # Of a voxel that is missed, cross-entropy alone pulls with 1 over what it is divided by.
    assert np.allclose(pull, -1 / (12**3 + 500), rtol=0.05)


def test_a_false_pixel_in_an_empty_slice_costs_slices_a_pixel():
    """Slice by slice, eight of them cost a fifth of the term of a slice without lesion."""
    truth = np.zeros((4, 8, 8, 1), np.float32)
    truth[0, 2:6, 2:6] = 1
    false = truth.copy()
    false[1, 0, :, 0] = 1  # eight pixels of a slice without lesion

    def cost(loss):
        with_it, without = (
            np.mean(keras.ops.convert_to_numpy(loss(truth, answer))) for answer in (false, truth)
        )
        return with_it - without

    entropy = 8 * -np.log(1e-8) / 500
    together = 1 - (32 + 30) / (16 + 24 + 30)
    assert cost(_train.slices_loss) == pytest.approx(entropy * 500 / 516 + together, rel=1e-2)
    assert cost(_train.volume_loss) == pytest.approx(entropy / 4, rel=1e-2)


def test_slices_are_learned_together_and_volumes_one_by_one(monkeypatch, tmp_path):
    losses = {}
    for name in ("unet2d", "unet3d"):
        plan = _train.Plan(network=name, widths=(2, 2), own=1, phantoms=0, precision="float32")
        made = _train._Clock.__new__(_train._Clock)
        monkeypatch.setattr(_train, "develop_on", lambda plan, healthy: None)
        monkeypatch.setattr(_train, "_HostSteps", lambda *given: None)
        monkeypatch.setattr(_train.View, "probability", lambda *given: None)
        made.__init__(plan, tmp_path, None, (), print)
        losses[name] = made.model.loss
    assert losses == {"unet2d": _train.slices_loss, "unet3d": _train.volume_loss}


def test_real_healthy_heads_take_the_place_of_made_ones(monkeypatch):
    monkeypatch.setattr(_train, "make_head", lambda seed, healthy: ("made", healthy, {}))
    plan = _train.Plan(own=4, phantoms=0)
    monkeypatch.setattr(_train.frames, "hull", lambda image: f"hull of {image}")
    made = ("made", None, "hull of made")
    assert _train.develop_on(plan).healthy == [made, made]
    on = _train.develop_on(plan, ["real"])
    assert on.healthy == [("real", None, "hull of real")]
    assert on.own == 4 * [("made", False, "hull of made")]


@pytest.mark.parametrize("name", ["unet2d", "unet25d", "unet3d_half"])
def test_what_is_compared_is_normalised_alike(name):
    """A U-Net without normalisation beside one with it compares that, and not dimensions."""
    model = synthesis.VIEWS[name].build((4, 8))
    kinds = [type(layer).__name__ for layer in model.layers]
    assert any("GroupNormalization" in kind for kind in kinds), kinds


def test_the_score_is_what_its_rule_says():
    empty = np.zeros(frames.SHAPE, np.float32)
    lesion = empty.copy()
    lesion[40:50, 40:50, 40:50] = 1
    everywhere = empty == 0
    own = _train.Watched(lesion, lesion > 0, everywhere)
    on = _train.Development([own], [own], [_train.Watched(empty, None, everywhere)])
    assert _train.judged(lambda image: image, on)["score"] == 1
    found = _train.judged(lambda image: np.maximum(image, lesion), on)
    assert found["healthy ml"] == pytest.approx(8)
    assert found["score"] == pytest.approx(1 - 0.16)


def test_beyond_the_hull_a_training_s_judge_sees_no_more_than_a_scan_s_answer_shows(simple):
    image, mask = simple[0][:2]
    case = _train.Watched.of(image, mask)
    assert (case.hull == frames.hull(image)).all() and case.hull.any() and not case.hull.all()
    on = _train.Development([], [], [case])
    beyond = _train.judged(lambda image: (~case.hull).astype(np.float32), on)
    assert beyond["healthy ml"] == 0 and beyond["score"] == 0
    inside = _train.judged(lambda image: case.hull.astype(np.float32), on)
    assert inside["healthy ml"] == pytest.approx(case.hull.sum() * frames.VOXEL_ML)


SMALL = dict(
    network="unet2d", widths=(4, 4), batch=1, workers=0, pool_size=4, phantoms=0, own=2,
    precision="float32", save_seconds=1e6,
)  # fmt: skip


@pytest.fixture
def quick(monkeypatch, simple):
    """Training without its waits: heads that are there already."""
    ready = iter([h for _ in range(20) for h in simple])
    monkeypatch.setattr(_train, "make_head", lambda seed, healthy=None: next(ready))
    tenths = itertools.count(1)
    clock = types.SimpleNamespace(monotonic=lambda: next(tenths) / 10)
    monkeypatch.setattr(_train, "time", clock)  # it ticks whenever it is looked at


def test_training_by_the_clock_goes_on_where_it_stopped(tmp_path, simple, quick):
    pool_of(tmp_path / "pool", simple)
    out, said = tmp_path / "out", []
    plan = synthesis.Plan(minutes=1 / 60, log_seconds=0.5, **SMALL)
    file = synthesis.train_by_clock(plan, out, tmp_path / "pool", say=said.append)
    assert file == out / "best.keras" and len(said) >= 2
    rows = list(csv.DictReader(open(out / "log.csv")))
    assert float(rows[-1]["seconds"]) >= 1 and int(rows[-1]["heads made"]) == 4
    steps = int(rows[-1]["step"])
    assert steps >= 3 and float(rows[-1]["waiting"]) >= 0
    model = keras.models.load_model(file)
    assert model.output_shape[-1] == 1 and model.dtype_policy.name == "float32"
    longer = synthesis.Plan(minutes=2 / 60, log_seconds=0.5, **SMALL)
    synthesis.train_by_clock(longer, out, tmp_path / "pool")
    again = list(csv.DictReader(open(out / "log.csv")))
    assert again[: len(rows)] == rows and int(again[len(rows)]["step"]) > steps
    with pytest.raises(ValueError, match="another widths"):
        synthesis.train_by_clock(
            synthesis.Plan(**(SMALL | {"widths": (4, 8)})), out, tmp_path / "pool"
        )
    # Nor does a training go on with another loss than it began with.
    noted = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps(noted | {"loss": noted["loss"] - 1}))
    with pytest.raises(ValueError, match="another loss"):
        synthesis.train_by_clock(longer, out, tmp_path / "pool")


def test_training_starts_from_weights_that_were_recorded(tmp_path, simple, quick):
    """On patches of heads; with a rate of nothing the weights stay what they were."""
    widths = (2, 4, 4, 4)
    with machine.building_in("float32"):
        first = synthesis.VIEWS["unet3d_half"].build(widths)
    first.set_weights([np.full_like(w, 0.01 * k) for k, w in enumerate(first.get_weights())])
    recipe = dict(network="unet3d", widths=widths, options=dict(reduce=2))
    recorded = prediction.save_network("small", first, tmp_path, recipe=recipe)
    pool_of(tmp_path / "pool", simple)
    told = SMALL | dict(network="unet3d_half", widths=widths, own=1, rate=0.0, weight_decay=0.0)
    plan = synthesis.Plan(
        minutes=0.2 / 60, patch=(32, 48, 32), start_from=str(recorded), **told
    )  # fmt: skip
    file = synthesis.train_by_clock(plan, tmp_path / "out", tmp_path / "pool")
    trained = keras.models.load_model(file, compile=False)
    assert trained.input_shape == (None, *frames.SHAPE, 1)
    for before, after in zip(first.get_weights(), trained.get_weights()):
        assert np.allclose(before, after, rtol=2e-3)  # kernels are recorded in half precision
    with pytest.raises(ValueError, match="small.npz holds another network"):
        _train.weights_to_start_from(recorded, synthesis.VIEWS["unet2d"].build((2, 2)))


@pytest.mark.parametrize("network", list(synthesis.VIEWS))
def test_a_wider_network_starts_with_the_answers_of_a_narrower_one(network, tmp_path):
    """Twice and three times as many filters; and what is there twice learns apart."""
    view = synthesis.VIEWS[network]
    shape = (32, 32, view.channels) if view.planes else (16, 32, 16, 1)
    levels = len(view.widths) - 2
    rng = np.random.default_rng(0)
    with machine.building_in("float32"):
        narrow = view.build((4, 4) + (4,) * levels, shape)
        wide = view.build((4, 8) + (12,) * levels, shape)
    narrow.set_weights([w + 0.1 * rng.standard_normal(w.shape) for w in narrow.get_weights()])
    narrow.save(tmp_path / "narrow.keras")
    wide.set_weights(_train.weights_to_start_from(tmp_path / "narrow.keras", wide))
    seen = rng.random((2, *shape), np.float32)
    before, after = (model.predict(seen, verbose=0) for model in (narrow, wide))
    assert before.std() > 0.01 and np.abs(after - before).max() < 2e-5

    wide.compile(keras.optimizers.SGD(1.0), loss=_train.volume_loss)
    wide.train_on_batch(seen, (seen[..., :1] > 0.8).astype(np.float32))
    learned = [weight for weight in wide.get_weights() if weight.shape[-2:] == (4, 8)]
    apart = [np.abs(kernel[..., 0::2] - kernel[..., 1::2]).max() for kernel in learned]
    assert apart and min(apart) > 1e-6


def test_only_whole_multiples_of_a_network_start_with_its_answers(tmp_path):
    build = synthesis.VIEWS["unet3d_half"].build
    build((2, 4, 4), (16, 16, 16, 1)).save(tmp_path / "narrow.keras")
    for widths in ((2, 4, 6), (2, 2, 4), (2, 4, 4, 4)):
        other = build(widths, (16, 16, 16, 1))
        with pytest.raises(ValueError, match="narrow.keras holds another network .* no narrower"):
            _train.weights_to_start_from(tmp_path / "narrow.keras", other)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (dict(start_from="nothing.npz"), "no network nothing.npz to start from"),
        (dict(patch=(32, 32)), "three sides up to"),
        (dict(patch=(32, 320, 32)), "three sides up to"),
        (dict(patch=(32, 32, 32), network="unet2d"), "unet2d learns from slices"),
        (dict(clock="sun"), "clock is"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_any_work(told, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        synthesis.train_by_clock(synthesis.Plan(**told), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_patches_lie_over_lesions_and_over_the_rest_of_the_head(simple):
    view = dataclasses.replace(_views.VIEWS["unet3d"], patch=(16, 32, 16))
    assert view.training_shape == (16, 32, 16, 1) and view.input_shape == (*frames.SHAPE, 1)
    images = np.stack([image for image, _, _ in simple] * 10)
    masks = np.stack([mask for _, mask, _ in simple] * 10)
    shown, truth = view.cut(images, masks, np.random.default_rng(0))
    assert shown.shape == truth.shape == (40, 16, 32, 16, 1) and truth.dtype == np.float32
    assert 0.5 < truth.any((1, 2, 3, 4)).mean() < 0.95
    dark = (shown > 0) & (shown < 0.7)
    assert np.array_equal(dark, truth > 0)  # what is seen and what is told lie together
    empty = view.cut(images[:2], 0 * masks[:2], np.random.default_rng(0))
    assert not empty[1].any() and (empty[0] > 0).any((1, 2, 3, 4)).all()


def test_an_unknown_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unet3d, unet3d_half, unet25d, unet2d"):
        synthesis.train_by_clock(synthesis.Plan(network="unet4d"), tmp_path)


def test_the_command_says_what_it_knows():
    done = subprocess.run(
        [sys.executable, "-m", "kenseg_utils.experiments.synthesis", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    assert done.returncode == 0 and "--minutes" in done.stdout and "unet25d" in done.stdout
