"""The loop on the device: heads that lie there are varied, cut and learned from in one call."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kenseg_utils.experiments.synthesis import _device, _feed, _train, _views
from kenseg_utils.prediction import frames


def in_bytes(number=0):
    """An image in bytes whose lesion, and nothing else, is at the brightest level; its mask."""
    image = np.zeros(frames.SHAPE, np.uint8)
    image[20:70, 20:90, 20:80] = 120
    mask = np.zeros(frames.SHAPE, np.uint8)
    mask[30:40, 30 + number : 50, 30:40] = 1
    image[mask > 0] = 255
    return image, mask


def test_what_is_varied_keeps_image_and_mask_together():
    image, mask = in_bytes()
    seen = set()
    for number in range(6):
        shown, truth = map(np.asarray, _device._varied(jax.random.key(number), image, mask))
        assert shown.shape == truth.shape == frames.SHAPE
        assert 0 <= shown.min() and shown.max() <= frames.BRIGHTEST
        assert shown[truth > 0].min() > 1.2 and np.percentile(shown[truth == 0], 99) < 1.3
        assert truth.sum() == mask.sum()
        assert (shown[0] == 0).all()  # air stays air
        seen.add(int(np.argwhere(truth)[:, 0].mean()))
    assert min(seen) < 48 < max(seen)  # some are mirrored


@pytest.mark.parametrize("name", ["unet25d", "unet2d"])
def test_slices_cut_on_the_device_are_squares_with_their_masks(name):
    view = _views.VIEWS[name]
    _, mask = in_bytes()
    volume = mask[None].astype(np.float32)
    for number in range(3):
        shown, truth = _device._cut(jax.random.key(number), view, volume, volume)
        assert shown.shape == (_views.SLICES, _views.SIDE, _views.SIDE, view.channels)
        assert np.array_equal(shown[..., view.channels // 2], truth[..., 0])
        assert np.asarray(truth).any((1, 2, 3)).sum() >= 2


def test_volumes_are_handed_on_whole():
    volume = np.ones((2, 3, 3, 3), np.float32)
    shown, truth = _device._cut(jax.random.key(0), _views.VIEWS["unet3d"], volume, 2 * volume)
    assert shown.shape == truth.shape == (2, 3, 3, 3, 1) and (truth == 2).all()


class Variable:
    def __init__(self, value, path=""):
        self.value, self.path = jnp.asarray(value, jnp.float32), path

    def assign(self, value):
        self.value = jnp.asarray(value)


class Counter:
    """What DeviceLoop asks of a Keras model; its weight grows by rate times the lesion's share."""

    def __init__(self):
        self.weight, self.rate, self.total = (
            Variable(0),
            Variable(0, "adam/learning_rate"),
            [Variable(0), Variable(0)],
        )
        self.trainable_variables, self.non_trainable_variables = [self.weight], []
        self.weights = [self.weight]
        self.optimizer = SimpleNamespace(
            variables=[Variable(0, "adam/iteration"), self.rate], build=lambda variables: None
        )
        self.metrics_variables = self.total
        self.metrics = [SimpleNamespace(result=lambda: self.total[0].value / self.total[1].value)]

    def compute_loss(self, y, y_pred):
        assert y.shape == y_pred.shape == (1, *frames.SHAPE, 1)

    def reset_metrics(self):
        for variable in self.total:
            variable.assign(jnp.float32(0))

    def train_step(self, state, batch):
        (weight,), rest, (count, rate), (total, steps) = state
        share = batch[1].mean()
        return {}, (
            [weight + rate * share], rest, [count + 1, rate], [total + share, steps + 1]
        )  # fmt: skip


def test_steps_loop_on_the_device_over_heads_that_are_renewed(tmp_path):
    pool = _feed.Pool(tmp_path, 3)
    for number in range(2):
        image, mask = in_bytes()
        pool.put(number, image / _feed.LEVELS, mask)
    model = Counter()
    loop = _device.DeviceLoop(model, _views.VIEWS["unet3d"], pool, batch=1)
    assert loop.renew() == 2 and loop.renew() == 0
    share = float(in_bytes()[1].mean())
    loop.count = 3
    count, seconds = loop.take(rate=2.0, done=0)
    assert count == 3 and seconds > 0
    assert loop.loss() == pytest.approx(share, rel=1e-5)
    loop.sync()
    assert float(model.weight.value) == pytest.approx(6 * share, rel=1e-5)
    assert float(model.optimizer.variables[0].value) == 3
    averaged = float(loop.by_variable()[id(model.weight)])
    assert 0 < averaged < 6 * share  # behind the weight
    loop.take(rate=0.0, done=3, most=1)  # the model's own values were not given away
    assert float(model.weight.value) == pytest.approx(6 * share, rel=1e-5)
    pool.put(3, *(np.zeros(frames.SHAPE),) * 2)  # in the place of number 0
    pool.put(4, *(np.zeros(frames.SHAPE),) * 2)
    assert loop.renew() == 2 and loop.fresh == 4
    loop.loss()
    loop.take(rate=1.0, done=4, most=1)
    assert loop.loss() == 0  # nothing but the new, empty heads
    loop.sync()
    loop.read({id(model.weight): np.float32(7)})
    assert float(loop.by_variable()[id(model.weight)]) == 7


def test_the_loop_on_the_device_is_for_jax_alone():
    assert _train.loops_on_device("host") is False
    with pytest.raises(ValueError, match='"auto", "device" or "host"'):
        _train.loops_on_device("somewhere")
    import keras

    if keras.backend.backend() != "jax":
        with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
            _train.loops_on_device("device")
