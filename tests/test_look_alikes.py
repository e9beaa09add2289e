"""Look-alikes: each is drawn where it belongs, beside the lesion, and changes nothing else."""

import numpy as np
import pytest
from scipy import ndimage

from kenseg_utils import phantom
from kenseg_utils.evaluation import look_alikes
from kenseg_utils.evaluation.look_alikes import draw

STRONG = {"lacunes": 8, "white-matter disease": 1, "atrophy": 2, "defacing": 1}


@pytest.fixture(scope="module")
def head():
    image, mask, *_ = phantom.make_subject(3, seed=0)
    image = np.asarray(image, np.float32)
    return image, np.asarray(mask) != 0, look_alikes.Brain.of(image)


@pytest.fixture(scope="module")
def drawn(head):
    image, mask, brain = head
    return {kind: draw(image, kind, one, 1, mask, brain) for kind, one in STRONG.items()}


@pytest.mark.parametrize("kind", sorted(look_alikes.LOOK_ALIKES))
def test_each_darkens_and_leaves_the_lesion_and_its_input_alone(kind, head, drawn):
    image, mask, brain = head
    out, where = drawn[kind]
    assert out.shape == image.shape and out.dtype == np.float32 and where.dtype == bool
    assert np.isfinite(out).all() and out.min() >= image.min()
    assert where.any() and not (where & mask).any()
    assert np.array_equal(out[mask], image[mask])
    assert np.mean(out[where] - image[where]) < -5
    if kind == "defacing":
        assert (out <= image)[where].mean() > 0.9
    else:
        assert (out <= image + 1e-3).all()
    untouched, nowhere = draw(image, kind, 0, 1, mask, brain)
    assert np.array_equal(untouched, image) and not nowhere.any()


def test_lacunes_are_as_many_as_asked_round_and_of_strives_size(head, drawn):
    image, mask, brain = head
    out, where = drawn["lacunes"]
    labels, count = ndimage.label(where)
    assert count == STRONG["lacunes"]
    for part in ndimage.find_objects(labels):
        lengths = [side.stop - side.start for side in part]
        assert max(lengths) - min(lengths) <= 1 and 2 <= max(lengths) <= 16
    assert brain.depth[where].min() > 12
    assert abs(np.median(out[where]) - brain.fluid) < 0.35 * (brain.gray - brain.fluid)
    other, _ = draw(image, "lacunes", 8, 2, mask, brain)
    assert not np.array_equal(other, out)
    again, _ = draw(image, "lacunes", 8, 1, mask, brain)
    assert np.array_equal(again, out)


def test_more_disease_reaches_further_and_atrophy_widens_by_its_millimetres(head, drawn):
    image, mask, brain = head
    sizes = {
        kind: [draw(image, kind, part * STRONG[kind], 1, mask, brain)[1].sum() for part in (0.5, 1)]
        for kind in ("white-matter disease", "atrophy")
    }
    assert all(0 < less < more for less, more in sizes.values())
    _, where = drawn["white-matter disease"]
    fluid = look_alikes._ventricles(image, brain)
    assert ndimage.distance_transform_edt(~fluid)[where].max() <= 16
    dark = look_alikes._without_noise(image) < (brain.fluid + brain.gray) / 2
    _, where = drawn["atrophy"]
    assert ndimage.distance_transform_edt(~dark)[where].max() <= STRONG["atrophy"]


def test_a_face_goes_and_the_brain_stays(head, drawn):
    image, _, brain = head
    out, where = drawn["defacing"]
    assert not (where & brain.hull).any()
    y, z = (np.flatnonzero(brain.hull.any(axes)) for axes in ((0, 2), (0, 1)))
    assert where[:, y.max() + 2 :, : z.min() + 20].all()
    assert not where[:, : int(y.mean())].any()


def test_bad_input_is_one_sentence(head):
    image, mask, brain = head
    for match, call in {
        "Unknown look-alike 'moss'": lambda: draw(image, "moss", 1),
        "at least 0": lambda: draw(image, "atrophy", -1),
        "whole number": lambda: draw(image, "lacunes", 1.5, brain=brain),
        "from 0 to 1": lambda: draw(image, "white-matter disease", 2, brain=brain),
        "cut off": lambda: draw(image, "defacing", 0.5, brain=brain),
        "finite values": lambda: draw(np.full((30, 30, 30), np.nan), "atrophy", 1),
        "volume": lambda: draw(image[..., 0], "atrophy", 1),
        "what to keep": lambda: draw(image, "atrophy", 1, 0, mask[1:], brain),
        "No brain was found": lambda: draw(np.ones((40, 40, 40)), "atrophy", 1),
        "found room": lambda: draw(image, "lacunes", 3, 0, np.ones_like(mask), brain),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
