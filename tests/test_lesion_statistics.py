"""The numbers about masks, on masks whose numbers are known."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from kenseg_utils.phantom import lesion_statistics


def box_mask(*boxes, shape=(40, 50, 60)):
    mask = np.zeros(shape, np.uint8)
    for box in boxes:
        mask[tuple(slice(a, b) for a, b in box)] = 1
    return mask


def test_measures_of_two_boxes():
    mask = box_mask(((5, 15), (5, 25), (10, 15)), ((30, 32), (40, 42), (14, 16)))
    row = lesion_statistics.measure([mask]).iloc[0]
    assert row.volume_ml == pytest.approx(1.008)
    assert row.components == 2
    assert row.largest_share == pytest.approx(1000 / 1008)
    assert row.axial_slices == 6 and row.axial_share == pytest.approx(6 / 60)
    assert row.coronal_share == pytest.approx(22 / 50)
    assert row.sagittal_share == pytest.approx(12 / 40)
    assert row.surface_to_volume == pytest.approx((2 * (200 + 50 + 100) + 24) / 1008)
    assert row.slice_areas == (200, 200, 200, 200, 204, 4)
    assert row.slice_components == (1, 1, 1, 1, 2, 1)
    assert row.extent == 37  # of the slice where both are: 5 to 42 along y


def test_measures_are_in_millimetres():
    mask = box_mask(((5, 15), (5, 25), (10, 15)))
    coarse = lesion_statistics.measure([mask], [(2, 1, 3)]).iloc[0]
    fine = lesion_statistics.measure([mask.repeat(2, 0).repeat(3, 2)]).iloc[0]
    for column in (
        "volume_ml",
        "components",
        "sphericity",
        "surface_to_volume",
        "extent",
        "volume_share",
        "axial_share",
    ):
        assert coarse[column] == pytest.approx(fine[column])
    assert coarse.slice_areas == (400.0,) * 5


def test_components_touch_at_corners():
    mask = box_mask(((5, 10),) * 3, ((10, 15),) * 3)
    assert lesion_statistics.measure([mask]).components[0] == 1


def test_a_ball_is_rounder_than_a_plate():
    grid = np.stack(np.meshgrid(*[np.arange(41) - 20] * 3, indexing="ij"))
    ball = (grid**2).sum(0) < 15**2
    measures = lesion_statistics.measure([ball, box_mask(((0, 40), (0, 40), (3, 5)))])
    assert measures.sphericity[0] == pytest.approx(0.667, abs=0.02)
    assert measures.sphericity[1] < 0.4


def test_summary_has_the_rows_of_atlas_and_shares_that_add_up():
    masks = [box_mask(((5, 5 + n),) * 3) for n in (3, 9, 20)]
    summary = lesion_statistics.atlas_rows(lesion_statistics.measure(masks), "boxes")
    assert list(summary.index) == list(lesion_statistics.ATLAS_R2.index)
    assert summary["share below 0.1 ml"] == pytest.approx(1 / 3)
    assert summary["share 0.5–1 ml"] == pytest.approx(1 / 3)
    assert summary["share 5–10 ml"] == pytest.approx(1 / 3)
    assert summary["area a lesion slice, median (mm²)"] == 400  # 3 × 9, 9 × 81, 20 × 400
    for table in (summary, lesion_statistics.ATLAS_R2):
        shares = table[[row for row in table.index if row.startswith("share ")]]
        assert len(shares) == 10
        assert shares.sum() == pytest.approx(1, abs=0.002)


def test_shape_distances_are_zero_for_real_shapes_and_large_for_others():
    shapes = list(lesion_statistics.SHAPES)
    real = pd.DataFrame(lesion_statistics.REAL_SHAPES["1–5"]).assign(volume_ml=2.0)
    found = lesion_statistics.shape_distances(real)
    assert found.masks.tolist() == [0, 9, 0, 0]
    assert (found.loc["1–5", shapes] == 0).all()
    assert found.loc[["0–1", "5–50", "50–inf"], shapes].isna().all(axis=None)
    least = real.assign(**dict.fromkeys(shapes, 0.0))
    assert (lesion_statistics.shape_distances(least).loc["1–5", shapes] == 0.9).all()
    half = lesion_statistics.shape_distances(pd.concat([real, least])).loc["1–5", shapes]
    assert half.tolist() == pytest.approx([0.4] * 3)


def test_of_equal_values_any_share_counts_as_below():
    equal = pd.DataFrame({"volume_ml": [0.5] * 4, "sphericity": 0.528, "extent": 11.0})
    found = lesion_statistics.shape_distances(equal.assign(surface_to_volume=1.288)).loc["0–1"]
    # All at the fifth decile, so half of them may be below it; the sixth has all below.
    assert [found.sphericity, found.surface_to_volume, found.extent] == pytest.approx([0.4] * 3)


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="empty"):
        lesion_statistics.measure([np.zeros((5, 5, 5))])


REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def test_whether_a_lesion_fits_a_window():
    fits = lesion_statistics.fits_window
    assert fits(box_mask(((5, 15), (5, 25), (10, 15))), side=20)
    assert not fits(box_mask(((5, 15), (5, 25), (10, 15))), side=19)
    apart = box_mask(((0, 1), (0, 1), (3, 4)), ((39, 40), (0, 1), (3, 4)))  # in one slice
    assert fits(apart, side=40) and not fits(apart, side=39)
    turned = box_mask(((0, 1), (0, 1), (3, 4)), ((39, 40), (0, 1), (9, 10)))  # in two
    assert fits(turned, side=1)
    assert fits(np.zeros((4, 4, 4)), side=1)


@pytest.mark.parametrize("row, folder", [(0, "soop"), (1, "lesymap")])
def test_real_masks_fit_as_often_as_is_recorded(row, folder):
    files = sorted((REAL / folder).glob("*.nii.gz"))
    if not files:
        pytest.skip(f"no real masks in {REAL.name}/{folder} beside the project")
    masks = [np.asarray(nibabel.load(file).dataobj) > 0.5 for file in files]  # slices stay axial
    recorded = lesion_statistics.REAL_FITS_124.iloc[row]
    assert len(masks) == recorded.subjects
    assert sum(map(lesion_statistics.fits_window, masks)) == recorded.fitting
    volumes = [np.count_nonzero(mask) / 1000 for mask in masks]
    assert np.median(volumes) == pytest.approx(recorded.median_ml, abs=0.06)
