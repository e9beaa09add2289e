"""The made-up release on which `make rehearse` runs every chapter is as it says."""

import sys

import numpy as np
import pytest
from conftest import ROOT

from kenseg_utils import atlas, profiles

sys.path.insert(0, str(ROOT / "book/_tools"))
import native_release  # noqa: E402


def ball(number, seed):
    """In place of a phantom, which takes seconds: a head and a lesion, both round."""
    x, y, z = np.ogrid[-98:99, -126:107, -72:117]
    head = 150 * (x**2 + (y + 10) ** 2 + (z - 20) ** 2 < 75**2)
    lesion = (x - 30) ** 2 + y**2 + (z - 20) ** 2 < (12 + 2 * number) ** 2
    return (head - 60 * lesion).astype(np.uint8), lesion.astype(np.uint8), {}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_release.phantom, "make_subject", ball)
        root = native_release.write(tmp_path_factory.mktemp("native") / "release", coarser=4)
    everything = profiles.smaller(profiles.get("smoke"), scans=None)
    with pytest.warns(UserWarning, match="2 of 8 scans left out"):
        return profiles.open_scans(everything, root, tmp_path_factory.mktemp("work"))


def test_all_that_can_be_used_is(opened):
    assert opened.subject.tolist() == [
        *("sub-H00", "sub-H01", "sub-H01", "sub-H04", "sub-H05", "sub-H06")
    ]
    assert opened.mask_grid.tolist() == ["world"] * 3 + ["same"] * 2 + ["world"]
    assert opened.masks.map(len).tolist() == [1, 1, 1, 2, 1, 1]
    assert set(opened.site) == {"north", "south"}


def test_no_two_scans_lie_on_one_grid_and_all_masks_hold_a_lesion(opened):
    scans = [atlas.load_scan(row) for row in opened.to_dict("records")]
    assert len({scan.image.shape for scan in scans}) >= 5
    assert all(scan.mask.any() and scan.sides_known for scan in scans)
