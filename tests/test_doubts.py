"""What is doubted or refused: contrast in thick slices, blur, pose, maps, and odd values."""

import importlib.util
import warnings

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from heads import far_background, head, noisy, padded_ct, parcellation, uniform_image, with_gaps
from nibabel import orientations
from nilearn import datasets
from scipy import ndimage

from kenseg_utils import anatomy, phantom
from kenseg_utils.experiments import synthesis
from kenseg_utils.prediction import _contrast, _doubts, _facing, _looks, frames

REAL = ROOT / "../shared/data"


def doubts(image, affine):
    return " ".join(_doubts.t1w_doubts(image, affine))


def is_refused(image, affine):
    return any(doubt.is_no_t1w for doubt in _doubts.doubts(image, affine))


@pytest.fixture(scope="module")
def brain():
    """The template's brain, averaged over many people, in voxels of 2 mm, and its affine."""
    template = datasets.load_mni152_template(resolution=2)
    return template.get_fdata(dtype=np.float32), template.affine


def stored(scan, code):
    """A scan whose voxels are stored in another order, and whose header says that it is RAS."""
    image, affine = scan
    turn = orientations.ornt_transform(
        orientations.io_orientation(affine), orientations.axcodes2ornt(code)
    )
    turned = nib.Nifti1Image(image, affine).as_reoriented(turn)
    return np.asarray(turned.dataobj), np.diag([*anatomy.spacing(turned.affine), 1.0])


# --- Contrast -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("thick", "skull"), [(4, True), (5, False), (6.5, True)])
def test_a_flair_and_a_pd_of_thick_slices_are_told_and_a_t1w_is_none(thick, skull):
    for contrast, told in (("FLAIR", "as in a FLAIR"), ("PD", "proton density"), ("T1w", "")):
        image, affine = head((3, 3, thick), contrast, skull=skull)
        found = _doubts.doubts(noisy(image, 0.05), affine)
        said = " ".join(doubt.sentence for doubt in found)
        assert any(doubt.is_no_t1w for doubt in found) == (contrast != "T1w") and told in said
        assert "FLAIR" not in said or contrast == "FLAIR"


@pytest.mark.parametrize(
    "rise, thick, told",
    [
        (1.0, 1, "no brighter"),
        (1.07, 1, "hardly brighter"),
        (1.1, 1, ""),  # a T1w with a large lesion, interpolated twice
        (1.1, 6, "hardly brighter"),
        (1.2, 6, ""),
    ],
)
def test_what_lies_between_a_flair_and_a_t1w_is_a_doubt(monkeypatch, rise, thick, told):
    found = _contrast._Contrast(skew=-0.4, rise=rise, spread=0.6, black=0.05)
    monkeypatch.setattr(_contrast, "_contrast", lambda *_: found)
    said = _contrast.of_contrast(np.zeros(1), np.array([1, 1, thick]), np.zeros(1))
    assert [doubt.is_no_t1w for doubt in said] == ([rise < 1.05] if told else [])
    assert not told or told in said[0].sentence


@pytest.mark.parametrize("mm, noise", [(1.5, 0.1), (1.5, 0.2), (2.0, 0.2)])
def test_noise_makes_no_flair_of_a_t1w_nor_a_t1w_of_a_flair(mm, noise):
    for contrast in ("T1w", "FLAIR"):
        image, affine = head(mm, contrast)
        assert ("FLAIR" in doubts(noisy(image, noise), affine)) == (contrast == "FLAIR")


def test_a_lesion_of_300_ml_makes_no_t2w_of_a_t1w():
    image, mask, _ = phantom.make_subject(4)
    assert mask.sum() > 3e5
    assert doubts(image.astype(np.float32), phantom.AFFINE) == ""


def test_what_cannot_be_checked_is_said():
    image, affine = head(5.0)
    assert "T1w or a FLAIR could not be checked" in doubts(noisy(image, 0.02), affine)
    slab = noisy(head(2.0)[0][:, :, 95:108], 0.02)
    assert "whether it is a T1w could not be checked" in doubts(slab, np.diag([2, 2, 2, 1.0]))
    assert not is_refused(noisy(image, 0.02), affine)


# --- Resolution -----------------------------------------------------------------------------------


def test_voxels_above_a_centimetre_are_refused():
    for mm, refused in ((8.0, False), (11.0, True)):
        image, affine = head(mm)
        assert is_refused(noisy(image, 0.02), affine) == refused


@pytest.mark.parametrize("mm", [3.0, (3, 3, 6)], ids=str)
def test_blur_is_told_and_thick_slices_and_noise_are_not_blur(brain, mm):
    image, affine = head(mm)
    size = np.array(anatomy.spacing(affine))
    assert "blurred" not in doubts(noisy(image, 0.02), affine)
    assert "blurred" in doubts(ndimage.gaussian_filter(image, 6 / size), affine)
    whole, at = brain
    assert "blurred" not in doubts(ndimage.gaussian_filter(whole, 0.5), at)
    assert "blurred" in doubts(ndimage.gaussian_filter(whole, 2), at)


# --- Pose -----------------------------------------------------------------------------------------

WRONGLY = "does not seem to lie as its header says"


@pytest.mark.parametrize("code", ["PIR", "ARS", "RSA", "RAI", "LPS", "RPS"])
def test_a_brain_that_lies_wrongly_is_told(brain, code):
    assert WRONGLY in doubts(*stored(brain, code))


@pytest.mark.parametrize("code", ["RSA", "RPI"])
def test_a_head_whose_neck_is_not_below_is_told(code):
    image, affine = head(3.0)
    scan = noisy(image, 0.03), affine
    found = _doubts.doubts(*stored(scan, code))
    assert [doubt.is_no_t1w for doubt in found if WRONGLY in doubt.sentence] == [False]


BACKWARDS = "its front seems to lie at the back"


def test_a_head_whose_axes_are_dicoms_is_told_and_as_it_is_it_is_not():
    image, mask, _ = phantom.make_subject(4)
    assert mask.sum() > 3e5  # a lesion that changes one half of a head
    scan = image.astype(np.float32), phantom.AFFINE
    assert BACKWARDS in doubts(*stored(scan, "LPS")) and BACKWARDS not in doubts(*scan)


def test_synthetic_heads_whole_and_extracted_tell_front_from_back():
    said = []
    for seed in range(6):  # none that the weights were learned from
        seen = synthesis.make_head(820_000_000 + seed)[0]
        for turned in (seen, seen[::-1, ::-1]):
            said.append(_facing.facing(turned, np.full(3, frames.SPACING)))
    right, wrong = np.array(said).reshape(-1, 2).T
    assert (right > 0).all() and (right >= _facing.BACKWARDS).all()
    assert (wrong < _facing.BACKWARDS).mean() > 0.8
    assert np.allclose(right, -wrong, atol=0.1 * right.max())


def test_weights_are_learned_by_what_differs_in_most_heads():
    spec = importlib.util.spec_from_file_location("learning", ROOT / "benchmarks/facing.py")
    learning = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(learning)
    heads = np.random.default_rng(0).normal(0, 1, (80, 2, 3))
    heads[:, 0, 1] += 2
    weights = learning.learned(heads)
    assert weights.shape == (2, 3) and (weights == np.rint(weights)).all()
    assert weights.argmax() == 1 and ((weights * heads).sum((1, 2)) > 0).mean() > 0.9


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL} is not there")
@pytest.mark.parametrize("name", ["real_t1/chris_t1.nii.gz", "healthy/niimath_t1_brain.nii.gz"])
def test_a_real_head_turned_round_is_told(name):
    scan = nib.as_closest_canonical(nib.load(REAL / name))
    scan = np.asarray(scan.dataobj, np.float32), scan.affine
    assert BACKWARDS in doubts(*stored(scan, "LPS")) and BACKWARDS not in doubts(*scan)


def test_a_head_that_is_tilted_cut_or_has_lost_half_a_hemisphere_lies_well(brain):
    image, affine = brain
    lesioned = image.copy()
    lesioned[55:, 30:75, 30:70] = 0.2 * lesioned[55:, 30:75, 30:70]
    assert doubts(lesioned, affine) == ""
    for axes, angle in (((1, 2), 20), ((0, 2), -15)):
        turned = ndimage.rotate(image, angle, axes, reshape=False, order=1)
        assert WRONGLY not in doubts(turned, affine)
    whole, at = head(3.0)
    for part in (whole[30:], whole[:, :, 40:], np.pad(whole, 8)):
        assert WRONGLY not in doubts(noisy(part, 0.03), at)


@pytest.mark.parametrize("shear", [0.1, 0.2, 0.3])
def test_a_shear_that_changes_the_answer_is_told(shear):
    image, affine = head(3.0)
    affine[0, 1] = shear * 3
    assert ("shears it" in doubts(noisy(image, 0.02), affine)) == (shear > 0.25)


# --- What is no scan ------------------------------------------------------------------------------


def test_a_parcellation_of_many_labels_is_refused():
    labels, affine = parcellation()
    assert len(np.unique(labels)) > 300
    with pytest.raises(ValueError, match="mask or a map of labels"):
        _doubts.check_is_head(labels, affine)


def test_a_distance_map_is_doubted():
    image, affine = head(3.0)
    depth = ndimage.distance_transform_edt(ndimage.binary_fill_holes(image > 0), sampling=3.0)
    assert "blurred" in doubts(depth.astype(np.float32), affine)


@pytest.mark.parametrize("mm", [2, 4, 6, 8])
def test_a_smoothed_map_of_white_matter_is_doubted(mm):
    """As segmentation tools write them; a third of the brain is nearly black there."""
    white = datasets.load_mni152_wm_template(resolution=2)
    image = ndimage.gaussian_filter(white.get_fdata(dtype=np.float32), mm / 2.355 / 2)
    assert "it may be a map of white matter" in doubts(image, white.affine)


def test_a_map_of_anisotropy_is_doubted():
    """White matter 0.5 to 0.8, grey matter 0.15, fluid less; noisy, as it is measured."""
    white, grey = (
        load(resolution=2).get_fdata(dtype=np.float32)
        for load in (datasets.load_mni152_wm_template, datasets.load_mni152_gm_template)
    )
    rng = np.random.default_rng(0)
    along = 0.65 + 0.15 * ndimage.gaussian_filter(rng.standard_normal(white.shape), 3) * 8
    image = along * white**1.5 + 0.15 * grey + 0.06 * (white + grey > 0.1)
    image += 0.03 * np.abs(rng.standard_normal(white.shape))
    affine = datasets.load_mni152_wm_template(resolution=2).affine
    assert "fractional anisotropy" in doubts(image.astype(np.float32), affine)


def test_a_scan_whose_every_other_slice_is_empty_is_told_as_such():
    image, affine = with_gaps()
    _doubts.check_is_head(image, affine)
    assert "slices hold one value only" in doubts(image, affine) and is_refused(image, affine)


def test_a_ct_padded_throughout_is_told():
    assert "of a CT" in doubts(*padded_ct())


def test_air_as_bright_as_the_head_is_told_and_what_else_is_at_the_border_is_not():
    image, affine = uniform_image()
    for scan in (image, ndimage.gaussian_filter(image, 0.4), image.astype(np.int16)):
        assert is_refused(scan, affine) and "MP2RAGE's uniform image" in doubts(scan, affine)
        assert "adult's head" not in doubts(scan, affine)  # its size means nothing
    assert "MP2RAGE" not in doubts(*uniform_image(noise=0.3))
    plain = head(3.0)[0]
    for share in (0.05, 0.1):
        assert "MP2RAGE" not in doubts(noisy(plain, share), affine)
    for mm in (2.0, 3.0, 4.0):  # a field of view that ends in the brain on all sides
        whole, its = head(mm)
        x, y, z = (slice(n // 3, n - n // 3) for n in whole.shape)
        assert "MP2RAGE" not in doubts(noisy(whole, 0.02)[x, y, z], its)


def test_a_background_far_below_all_else_is_named():
    said = doubts(*far_background())
    assert "its background is -9999" in said and "CT" not in said


# --- No words of libraries ------------------------------------------------------------------------


def test_few_slices_and_huge_values_raise_no_warnings_of_libraries():
    image, affine = head((2, 2, 6))
    image = noisy(image, 0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for slices in (3, 4, 5):
            doubts(image[:, :, 12 : 12 + slices], affine)
            anatomy.head_mask(image[:, :, 12 : 12 + slices])
        for scale in (1e32, -1e34):
            large = image * np.float32(scale)
            assert doubts(large, affine) == doubts(image * np.sign(scale), affine)
            assert np.array_equal(
                anatomy.head_mask(large), anatomy.head_mask(image * np.float32(np.sign(scale)))
            )
    blocks, size = _looks.blocks_of(image * np.float32(1e32), affine, 3.0)
    assert np.isfinite(blocks).all() and blocks.max() <= 3 and len(size) == 3
