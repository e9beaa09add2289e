"""The page doubts a scan in the package's own words, or calls it no scan as the package does."""

import base64
import json
import re

import nibabel as nib
import numpy as np
import pytest
from conftest import ROOT
from heads import far_background, head, noisy, padded_ct, parcellation, uniform_image, with_gaps
from nilearn import datasets
from scipy import ndimage
from test_doubts import stored

from kenseg_utils import anatomy, atlas, phantom, prediction
from kenseg_utils.prediction import _doubts, _facing

READ = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const volume = await kensegNifti.read(new File([bytes], "scan"));
  const size = kensegNifti.spacing(volume.affine), refused = kensegScan.refusal(volume, size);
  return { refused, doubts: refused ? [] : kensegScan.doubts(volume, size) };
}"""


@pytest.fixture(scope="module")
def page(chromium):
    tab = chromium.new_page()
    for name in ("nifti", "scan", "doubts"):
        tab.add_script_tag(path=ROOT / f"book/_static/{name}.js")
    yield tab
    tab.close()


def blurred():
    image, affine = head(3.0)
    return ndimage.gaussian_filter(image, 2), affine


def sheared():
    image, affine = head(3.0)
    affine[0, 1] = 0.9
    return noisy(image, 0.02), affine


def labels():
    image, affine = head(3.0)
    return (image > 0) * (1.0 + np.arange(image.shape[2]) // 8), affine


def template(code):
    brain = datasets.load_mni152_template(resolution=2)
    return stored((brain.get_fdata(dtype=np.float32), brain.affine), code)


def lying(code):
    image, affine = head(3.0)
    return stored((noisy(image, 0.03), affine), code)


def cut(*part):
    image, affine = head(3.0)
    return noisy(image, 0.03)[part], affine


def tilted():
    brain = datasets.load_mni152_template(resolution=2)
    image = brain.get_fdata(dtype=np.float32)
    return ndimage.rotate(image, 20, (1, 2), reshape=False, order=1), brain.affine


def contrast(name, mm):
    image, affine = head(mm, name)
    return noisy(image, 0.05), affine


def white_matter():
    white = datasets.load_mni152_wm_template(resolution=2)
    return ndimage.gaussian_filter(white.get_fdata(dtype=np.float32), 1.3), white.affine


def large_lesion():
    """Of 300 ml."""
    image = phantom.make_subject(4)[0].astype(np.float32)
    return anatomy.block_means(image, (2, 2, 2)), phantom.AFFINE @ np.diag([2, 2, 2, 1.0])


ALL = slice(None)
SCANS = {
    "T1w": (lambda: contrast("T1w", 3.0), ""),
    "T1w, thick": (lambda: contrast("T1w", (3, 3, 6.5)), "slices this thick"),
    "T1w, 8 mm": (lambda: contrast("T1w", 8.0), "could not be checked"),
    "T1w, 11 mm": (lambda: contrast("T1w", 11.0), "mostly invented"),
    "FLAIR, thick": (lambda: contrast("FLAIR", (3, 3, 6.5)), "as in a FLAIR"),
    "PD, thick": (lambda: contrast("PD", (3, 3, 4)), "proton density"),
    "CT, padded": (padded_ct, "of a CT"),
    "white matter": (white_matter, "a map of white matter"),
    "blurred": (blurred, "blurred"),
    "sheared": (sheared, "shears it"),
    "gaps": (with_gaps, "hold one value only"),
    "noise for air": (uniform_image, "MP2RAGE's uniform image"),
    "background": (far_background, "its background is -9999"),
    "few slices": (lambda: cut(ALL, ALL, slice(30, 38)), "could not be checked"),
    "half a head": (lambda: cut(slice(40, None)), "cuts the head at a side"),
    "knee": (lambda: (head(3.0)[0][::2, ::2], np.diag([3, 3, 3, 1.0])), "less than an adult's"),
    "large lesion": (large_lesion, ""),
    "brain on its back": (lambda: template("ARS"), "does not seem to lie"),
    "brain upside down": (lambda: template("RAI"), "does not seem to lie"),
    "DICOM's axes": (lambda: template("LPS"), "its front seems to lie at the back"),
    "neck in front": (lambda: lying("RSA"), "does not seem to lie"),
    "tilted": (tilted, ""),
    "labels": (labels, "map of labels"),
    "many labels": (parcellation, "map of labels"),
}


def test_the_page_tells_front_from_back_by_the_packages_weights():
    script = (ROOT / "book/_static/doubts.js").read_text()
    rows = re.search(r"const FACING = \[.*?\n(.*?)\n  \];", script, re.S)[1]
    assert (np.array(json.loads(f"[{rows.rstrip(',')}]")) == np.loadtxt(_facing.WEIGHTS)).all()
    assert f"BACKWARDS = {_facing.BACKWARDS:g};" in script


@pytest.mark.parametrize("name", SCANS)
def test_the_page_says_of_a_scan_what_the_package_says(page, tmp_path, name):
    make, told = SCANS[name]
    image, affine = make()
    file = nib.Nifti1Image(np.asarray(image, np.float32), affine)
    nib.save(file, tmp_path / "scan.nii")
    scan = atlas.load_image(tmp_path / "scan.nii")
    found = page.evaluate(READ, base64.b64encode((tmp_path / "scan.nii").read_bytes()).decode())
    if found["refused"]:
        with pytest.raises(ValueError, match=told) as refusal:
            _doubts.check_is_head(scan.image, scan.affine, "it")
        assert found["refused"] == str(refusal.value)
        return
    _doubts.check_is_head(scan.image, scan.affine)
    doubts = list(prediction.t1w_doubts(scan.image, scan.affine))
    assert found["doubts"] == doubts
    assert told in " ".join(doubts) and (told or not doubts)
