"""The whole-slice network's data: as many slices without lesion as with; subjects kept apart."""

import numpy as np
import pytest

from kenseg_utils import anatomy, atlas, metrics, networks, prediction, profiles
from kenseg_utils.experiments import whole_slices


@pytest.fixture(scope="module")
def parts(smoke_scans, work_dir):
    return profiles.open_crops(profiles.get("smoke"), smoke_scans, work_dir, protocol="whole_slice")


def test_half_of_a_balanced_set_has_lesion(parts):
    chosen = whole_slices.balanced(parts[0], seed=0)
    lesion = chosen.index.lesion_pixels > 0
    assert lesion.sum() == (parts[0].index.lesion_pixels > 0).sum() == (~lesion).sum()
    few = whole_slices.balanced(parts[0], seed=0, most=10)
    assert len(few) == 10 and (few.index.lesion_pixels > 0).sum() == 5
    other = whole_slices.balanced(parts[0], seed=1, most=10)
    assert not np.array_equal(few.rows, other.rows)


def test_training_and_validation_share_no_subject_with_the_test(smoke_scans, work_dir, parts):
    size = profiles.get("smoke")
    train, validation = whole_slices.open_balanced(size, smoke_scans, work_dir)
    names = [set(part.index.subject) for part in (train, validation, parts[2])]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    assert len(train) == whole_slices.SLICES["smoke"]


def test_the_recipe_is_wide_and_can_be_changed():
    size = profiles.get("demo")
    recipe = whole_slices.recipe(size)
    assert recipe.augment == "wide" and recipe.widths == size.widths[1:]
    assert whole_slices.recipe(size, epochs=9, augment=True).epochs == 9


@pytest.mark.parametrize("name", list(profiles.PROFILES))
def test_the_network_takes_whole_slices_whose_sides_are_multiples_of_16(name):
    recipe = whole_slices.recipe(profiles.get(name))
    model = networks.build(
        recipe.network, (48, 16, 1), widths=[4] * len(recipe.widths), **recipe.options
    )
    assert model.output_shape == (None, 48, 16, 2)


def test_one_call_trains_and_finds_its_run_again(smoke_scans, work_dir):
    size = profiles.get("smoke")
    first = whole_slices.train_network(size, work_dir=work_dir)
    written = (first.folder / "model.keras").stat().st_mtime_ns
    again = whole_slices.train_network(size, work_dir=work_dir)
    assert again.folder == first.folder
    assert (again.folder / "model.keras").stat().st_mtime_ns == written
    assert first.model.input_shape[1] % 16 == 0 and first.model.input_shape[2] % 16 == 0


def test_the_best_threshold_is_found_on_whole_volumes(smoke_scans, monkeypatch):
    """A map that is 0.4 on the truth and 0.2 on a block far from it."""

    def soft(model, image, affine):
        truth = next(
            scan.mask
            for scan in scans
            if scan.image.shape == image.shape and np.array_equal(scan.image, image)
        )
        answer = 0.4 * truth.astype(np.float32)
        answer[:20, :20, :20] = np.maximum(answer[:20, :20, :20], 0.2)
        return answer

    rows = smoke_scans.head(2)
    scans = [atlas.load_scan(row) for _, row in rows.iterrows()]
    monkeypatch.setattr(prediction, "lesion_probability", soft)
    table = whole_slices.dice_by_threshold(None, rows, (0.1, 0.3, 0.5))
    assert list(table.columns) == [0.1, 0.3, 0.5] and len(table) == 2
    assert table.mean().idxmax() == 0.3
    assert (table[0.5] == 0).all() and (table[0.1] < 1).all()
    for dice, scan in zip(table[0.3], scans):  # all but what is too small to be reported
        kept = prediction.remove_small(
            scan.mask > 0, anatomy.voxel_ml(scan.affine), prediction.LEAST_ML
        )
        assert dice == pytest.approx(metrics.dice(scan.mask, kept))
