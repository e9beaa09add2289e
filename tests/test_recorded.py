"""A recorded network answers as the trained one does, and holds no code."""

import numpy as np
import pytest

from kenseg_utils import prediction, training


@pytest.fixture(scope="module")
def run(smoke_crops, tmp_path_factory):
    train, validation, _ = smoke_crops
    recipe = training.Recipe.quick(
        network="resunet",
        widths=(4, 8),
        options=dict(reduce=2),
        epochs=1,
        batch_size=8,
        precision="float32",
    )
    return training.train(
        recipe,
        train.subset(range(16)),
        validation.subset(range(4)),
        run_dir=tmp_path_factory.mktemp("runs") / "recorded",
        progress=False,
    )


def test_a_recorded_network_answers_as_the_trained_one(run, smoke_crops, tmp_path):
    file = prediction.save_network("small", run, tmp_path)
    network, about = prediction.recorded_network("small", tmp_path)
    images, _ = smoke_crops[2].batch(range(4))
    assert (
        np.abs(training.predict(network, images) - training.predict(run.model, images)).max() < 0.01
    )
    assert about["recipe"] == run.recipe.as_dict() and about["commit"] == run.provenance["commit"]
    assert len(about["history"]) == 1
    with np.load(file, allow_pickle=False) as found:  # numbers and text alone
        assert {array.dtype.kind for array in found.values()} == {"f", "u"}


def test_a_recorded_threshold_becomes_one_half(run, smoke_crops, tmp_path):
    images, _ = smoke_crops[2].batch(range(4))
    soft = training.predict(run.model, images)[..., 1]
    threshold = float(np.quantile(soft, 0.9))
    assert abs(threshold - 0.5) > 0.05  # or the test would say nothing
    prediction.save_network("shifted", run, tmp_path, threshold=threshold, why="a test")
    network, about = prediction.recorded_network("shifted", tmp_path)
    lesion = training.predict(network, images)[..., 1] >= 0.5
    clear = np.abs(soft - threshold) > 0.01  # what half precision cannot turn over
    assert clear.mean() > 0.5 and lesion[clear].any()
    np.testing.assert_array_equal(lesion[clear], (soft >= threshold)[clear])
    assert (about["threshold"], about["why"]) == (threshold, "a test")


def test_none_was_recorded(tmp_path):
    assert prediction.recorded_network("nothing", tmp_path) is None


def test_a_file_that_is_no_network_is_named(run, tmp_path):
    (tmp_path / "text.npz").write_text("not a network")
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    whole = prediction.save_network("cut", run, tmp_path).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    for name in ("text", "other", "cut"):
        with pytest.raises(ValueError, match=f"{name}.npz is no recorded network"):
            prediction.recorded_network(name, tmp_path)
