"""The page that takes a scan: it reads, prepares and segments as the package does, in Chromium.

The page is laid out here as the book has it, without Sphinx around it; `test_browser.py` opens the
one that the book builds.
"""

import base64
import gzip
import json
import re
import shutil
import sys
from types import SimpleNamespace

import keras
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from browsing import served
from conftest import ROOT
from heads import head
from nibabel import orientations

from kenseg_utils import anatomy, atlas, phantom, prediction, profiles, training
from kenseg_utils.prediction import export
from kenseg_utils.slices import Intensity, pad

sys.path.insert(0, str(ROOT / "book" / "_tools"))

STATIC = ROOT / "book" / "_static"


@pytest.fixture(scope="session")
def recorded():
    """The whole-slice network that is recorded with the book."""
    return prediction.recorded_network("whole_slices")[0]


@pytest.fixture(scope="session")
def sliced(slab):
    """A network for slices with the published book's widths, untrained, and a slice for it.

    Its normalisations know that slice, or its answers would be noise, and half of it is lesion, or
    a map of one value would agree with anything.
    """
    keras.utils.set_random_seed(0)
    model = training.build(
        profiles.quick_recipe(profiles.get("demo"), lesion_prior=0.0), (128, 128, 1)
    )
    cut = slab[0].get_fdata()[30:158, 50:178, 3:4]
    image = Intensity.of(cut).apply(cut).transpose(2, 0, 1)[..., None].astype(np.float32)
    for layer in model._flatten_layers():
        if hasattr(layer, "momentum"):
            layer.momentum = 0.0
    model(image, training=True)
    lesion = np.median(model(image)[..., 1])
    bias = model.get_layer("probabilities_conv").bias
    bias.assign_add([0.0, np.log((1 - lesion) / lesion)])
    return model, image


@pytest.fixture(scope="session")
def site(tmp_path_factory, sliced):
    """The page's folder, with its runtime, the recorded network, and one for slices.

    That one has the demo profile's widths, as the published book's has; it is not trained.
    """
    for package in ("onnx", "tf2onnx"):
        pytest.importorskip(package)
    import network
    import render
    import vendor

    folder = tmp_path_factory.mktemp("site")
    static = folder / "_static"
    shutil.copytree(STATIC, static)
    runtime = vendor.runtime(static, ROOT / "_build" / "vendor")
    if not runtime:
        pytest.skip("npm or its registry is not to be had: nothing runs the network in a page")
    (static / "network").mkdir()
    model, image = sliced
    index = pd.DataFrame({"subject": ["one"], "z": [3], "lesion_pixels": [0]})
    test = SimpleNamespace(index=index, batch=lambda chosen: (image, np.zeros(image.shape[:3])))
    content = network.stored(SimpleNamespace(model=model), test) | {"provenance": "none"}
    content |= network.single(model, static / "network") | network.whole(static / "network")
    content |= {"runtime": runtime, "runtime_weight": render._weight(static / runtime)}
    (static / "network/slices.js").write_text(f"window.kensegNetwork = {json.dumps(content)};\n")
    text = (ROOT / "book/try-it.md").read_text()
    body = re.search(r"```\{raw\} html\n(.*?)```", text, re.S)[1]
    (folder / "book").mkdir()
    (folder / "book/try-it.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Try</title>'
        f'<link rel="stylesheet" href="../_static/book.css"><main>{body}</main></html>'
    )
    return folder


@pytest.fixture(scope="session")
def page(chromium, site):
    """The page, opened once; what it complained of and whom it asked is kept."""
    with served(site) as address:
        context = chromium.new_context(viewport={"width": 1280, "height": 900})
        tab = context.new_page()
        tab.set_default_timeout(120_000)
        tab.errors, tab.asked = [], []
        tab.on("pageerror", lambda error: tab.errors.append(str(error)))
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.goto(f"{address}/book/try-it.html")
        yield tab
        assert not tab.errors
        assert not [url for url in tab.asked if not url.startswith((address, "blob:", "data:"))]
        context.close()


def part(page, name):
    return page.locator(f'#kenseg-try [data-part="{name}"]')


def give(page, path, content=None):
    """Choose a file; wait for the page's word on it, which is returned."""
    name = path if isinstance(path, str) else path.name
    page.evaluate("() => document.querySelector('[data-part=message]').textContent = ''")
    content = path.read_bytes() if content is None else content
    page.set_input_files(
        "#try-file", {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )
    page.wait_for_function(
        "() => / stays | is not used/.test(document.querySelector('[data-part=message]')"
        ".textContent)"
    )
    return part(page, "message").text_content()


def happens(page, name, act, scan=None):
    """Do something and wait for the page to say that something has happened, to that scan if named.

    A scan is looked at a moment after it was taken, so the event of the one before may come late.
    """
    page.evaluate(
        "([name, scan]) => { window.happened = new Promise((done) => "
        "document.getElementById('kenseg-try').addEventListener(name, (event) => "
        "{ if (scan === null || event.detail === scan) done(); })); }",
        [name, scan],
    )
    act()
    page.evaluate("() => window.happened.then(() => true)")


def segmented(page):
    happens(page, "scanned", part(page, "segment").click)


# --- One scan, four ways of storing it -----------------------------------------------------------


@pytest.fixture(scope="session")
def slab(tmp_path_factory, recorded):
    """Six slices of a phantom head around its lesion, in RAS, and the mask that Python finds."""
    image, truth = phantom.make_subject(0)[:2]
    middle = int(truth.sum((0, 1)).argmax())
    image = np.asarray(image)[:, :, middle - 3 : middle + 3].astype(np.float32)
    scan = nib.Nifti1Image(np.round(image * (1000 / image.max())).astype(np.int16), phantom.AFFINE)
    path = tmp_path_factory.mktemp("slab") / "slab.nii"
    nib.save(scan, path)
    loaded = atlas.load_image(path)
    return scan, prediction.segment_volume(recorded, loaded.image, loaded.affine)


def stored(scan, axes, kind, big, path):
    """The scan with its axes in another order, another type and byte order; the way that led."""
    way = orientations.ornt_transform(
        orientations.io_orientation(scan.affine), orientations.axcodes2ornt(axes)
    )
    turned = scan.as_reoriented(way)
    header = nib.Nifti1Header(endianness=">" if big else "<")
    values = np.asarray(turned.dataobj)
    image = nib.Nifti1Image(values, turned.affine, header)
    image.set_data_dtype(kind)
    nib.save(image, path)
    return way


@pytest.mark.parametrize(
    ("axes", "kind", "big", "name"),
    [
        ("RAS", np.int16, False, "ras.nii"),
        ("LPI", np.int16, True, "lpi.nii.gz"),
        ("SAR", np.float32, False, "sar.nii.gz"),
        ("PIL", np.float64, True, "pil.nii"),
    ],
)
def test_the_mask_is_the_package_s(page, slab, tmp_path, axes, kind, big, name):
    scan, expected = slab
    way = stored(scan, axes, kind, big, tmp_path / name)
    if not page.locator('#kenseg-try[data-state="live"]').count():
        assert not [url for url in page.asked if re.search(r"onnx|ort|worker", url)]
    assert f"stored as {axes}" in give(page, tmp_path / name)
    segmented(page)
    with page.expect_download() as waiting:
        part(page, "save").click()
    assert waiting.value.suggested_filename == f"{name.split('.')[0]}_mask.nii.gz"
    waiting.value.save_as(tmp_path / "mask.nii.gz")
    mask, given = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / name)
    assert np.array_equal(mask.affine, given.affine) and mask.get_data_dtype() == np.uint8
    assert mask.header["qform_code"] == given.header["qform_code"]
    there, here = orientations.apply_orientation(expected, way), np.asarray(mask.dataobj)
    assert expected.sum() > 100 and here.shape == there.shape
    assert (here == there).mean() >= 0.999
    assert 2 * (here & there).sum() / (here.sum() + there.sum()) >= 0.995  # lesion alone


# --- Read and prepared ---------------------------------------------------------------------------

READ = """async (text, large) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const volume = await kensegNifti.read(new File([bytes], "scan"));
  window.kensegVolume = volume;
  if (large) return;
  const packed = btoa(String.fromCharCode(...new Uint8Array(volume.values.buffer)));
  const { shape, affine, code, sidesKnown, notes } = volume;
  return { packed, shape, affine, code, sidesKnown, notes };
}"""


def encoded(content):
    return base64.b64encode(content).decode()


def decoded(text, kind, shape):
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape, order="F")


def tilted(degrees=25):
    """An affine of 9 by 10 by 11 mm voxels that lie askew, and mirrored."""
    turn, other = np.radians(degrees), np.radians(-15)
    one = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    two = [[1, 0, 0], [0, np.cos(other), -np.sin(other)], [0, np.sin(other), np.cos(other)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(one) @ two @ np.diag([-9.0, 10.0, 11.0])[[2, 0, 1]].T
    affine[:3, 3] = (-20, 30, 7)
    return affine


KINDS = [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32]


@pytest.mark.parametrize("kind", [*KINDS, np.float64], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("big", [False, True], ids=["little", "big"])
def test_every_type_and_byte_order_is_read_as_the_package_reads_it(page, tmp_path, kind, big):
    values = np.random.default_rng(0).integers(0, 120, (5, 6, 7)).astype(kind)
    image = nib.Nifti1Image(values, tilted(), nib.Nifti1Header(endianness=">" if big else "<"))
    image.set_data_dtype(kind)
    if big:  # the qform alone, and grey values with a scale
        image.set_sform(None, 0)
        image.set_qform(tilted(), 1)
        image.header.set_slope_inter(0.5, -3)
    content = image.to_bytes()
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(content))
    scan = atlas.load_image(path)
    for given in (content, path.read_bytes(), path.read_bytes() + b"what follows"):
        found = page.evaluate(READ, encoded(given))
        assert np.allclose(found["affine"], scan.affine[:3], atol=1e-5)
        assert found["sidesKnown"] == scan.sides_known
        ras = decoded(found["packed"], "<f4", found["shape"])
        assert np.allclose(ras, scan.image, rtol=1e-6)


def test_what_a_header_leaves_open_is_said(page, tmp_path):
    values = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    image = nib.Nifti1Image(values, None)
    image.header.set_zooms((9, 10, 11))
    nib.save(image, tmp_path / "scan.nii")
    scan = atlas.load_image(tmp_path / "scan.nii")
    found = page.evaluate(READ, encoded((tmp_path / "scan.nii").read_bytes()))
    assert np.allclose(found["affine"], scan.affine[:3]) and not found["sidesKnown"]
    assert "which side is left is a guess" in found["notes"][0]
    assert "none of its axes is known" in found["notes"][0]


@pytest.mark.parametrize("degrees", [0, 20, 40, 80, 120, 180])
def test_page_and_package_agree_on_when_two_forms_leave_the_side_open(page, tmp_path, degrees):
    values = np.random.default_rng(0).random((20, 24, 28)).astype(np.float32)
    affine, turn = np.diag([9.0, 8, 7, 1]), np.radians(degrees)
    affine[:3, 3] = (-90, -96, -98)
    image = nib.Nifti1Image(values, affine)
    other = np.eye(4)
    other[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    image.set_sform(affine, 1)
    image.set_qform(other @ affine, 1)
    nib.save(image, tmp_path / "scan.nii")
    scan = atlas.load_image(tmp_path / "scan.nii")
    found = page.evaluate(READ, encoded((tmp_path / "scan.nii").read_bytes()))
    assert found["sidesKnown"] == scan.sides_known == (degrees < 30)


def test_a_head_is_prepared_as_the_package_prepares_it(page, tmp_path):
    """Another voxel size, noise, and a field of view with the head off its middle."""
    rng = np.random.default_rng(0)
    image, affine = head((3.0, 4.0, 3.5), extent=(237, 260, 249))
    image = (image + rng.normal(0, 4, image.shape)).astype(np.float32)
    nib.save(nib.Nifti1Image(image, affine), tmp_path / "scan.nii.gz")
    content = (tmp_path / "scan.nii.gz").read_bytes()
    page.evaluate(f"async (text) => {{ await ({READ})(text, true); }}", encoded(content))
    found = page.evaluate("""() => {
      const volume = kensegVolume, size = kensegNifti.spacing(volume.affine);
      const { image, hull, grid, levels } = kensegScan.prepared(volume, size);
      const text = (some) => btoa(Array.from(new Uint8Array(some.buffer),
        (byte) => String.fromCharCode(byte)).join(""));
      return { levels, corner: grid.corner, hull: hull.reduce((sum, one) => sum + one, 0),
        some: text(image.values.filter((_, at) => at % 41 === 0)) };
    }""")
    scan = atlas.load_image(tmp_path / "scan.nii.gz")
    grid = prediction.WorkingGrid.of(scan.image, scan.affine)
    working = grid.there(scan.image)
    hull = anatomy.brain_hull(working)
    working = np.where(hull, working, anatomy.air_value(working))
    expected = Intensity.of(working).apply(working)
    assert tuple(found["corner"]) == grid.corner
    assert found["hull"] == hull.sum() < 0.5 * hull.size
    assert found["levels"] == list(anatomy.slices_to_segment(expected))
    some = decoded(found["some"], "<f4", -1)
    assert np.abs(some - expected.ravel(order="F")[::41]).max() < 1e-4


# --- What is no T1w of a head --------------------------------------------------------------------


def whole(contrast):
    return nib.Nifti1Image(*head(4.0, contrast))


def changed(content, at, new):
    return content[:at] + new + content[at + len(new) :]


@pytest.fixture(scope="module")
def sound():
    image, affine = head(4.0)
    rng = np.random.default_rng(0)
    image = (image + rng.normal(0, 3, image.shape)).clip(0).astype(np.int16)
    return nib.Nifti1Image(image, affine).to_bytes()


SMALL = nib.Nifti1Image(
    np.random.default_rng(0).normal(9, 1, (12, 13, 14)).astype(np.float32), np.diag([9, 9, 9, 1])
).to_bytes()
BAD = {
    "text.nii": (lambda sound: b"no scan at all", "no NIfTI"),
    "text.nii.gz": (lambda sound: gzip.compress(b"no scan at all"), "no NIfTI"),
    "empty.nii": (lambda sound: b"", "no NIfTI"),
    "series.dcm": (lambda sound: bytes(128) + b"DICM" + bytes(300), "DICOM"),
    "four.nii": (
        lambda sound: changed(sound, 40, bytes([4, 0, 59, 0, 34, 0, 62, 0, 2, 0])),
        "4-dim",
    ),
    "huge.nii": (lambda sound: changed(sound, 42, bytes([0, 16, 0, 16, 0, 16])), "4096 × 4096"),
    "cut.nii": (lambda sound: sound[: len(sound) // 2], "cut off"),
    "cut.nii.gz": (lambda sound: gzip.compress(sound)[:-4000], "cut off"),
    "colour.nii": (lambda sound: changed(sound, 70, bytes([128, 0])), "no single real numbers"),
    "flat.nii": (lambda sound: sound[:352] + bytes(len(sound) - 352), "every voxel"),
    "mask.nii": (lambda sound: whole("T1w").to_bytes(), "map of labels"),
    "metres.nii": (lambda sound: changed(sound, 123, bytes([1])), "wrong unit"),
    "two.nii": (lambda sound: nib.Nifti2Image(np.ones((9, 9, 9)), np.eye(4)).to_bytes(), "NIfTI-2"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_scan_is_refused_in_a_sentence_and_the_page_lives_on(page, sound, name):
    make, why = BAD[name]
    said = give(page, name, make(sound))
    assert why in said and said.startswith(f"“{name}” is not used: ") and "undefined" not in said
    assert "stays in this page" in give(page, "small.nii", SMALL)
    assert part(page, "scan").is_visible() and not page.errors


@pytest.mark.parametrize("contrast", ["T1w", "T2w", "CT"])
def test_another_contrast_is_doubted_in_the_package_s_words(page, tmp_path, contrast):
    image, affine = head(4.0, contrast)
    noise = np.random.default_rng(0).normal(0, 1, image.shape)
    nib.save(nib.Nifti1Image((image + noise).astype(np.float32), affine), tmp_path / "scan.nii")
    happens(page, "looked", lambda: give(page, tmp_path / "scan.nii"), "scan.nii")
    told = part(page, "doubts").locator("li").all_text_contents()
    scan = atlas.load_image(tmp_path / "scan.nii")
    doubts = prediction.t1w_doubts(scan.image, scan.affine)
    assert told == [f"This scan looks doubtful: {doubt}" for doubt in doubts]
    assert len(doubts) == {"T1w": 1, "T2w": 2, "CT": 3}[contrast]  # one is the voxels' size


# --- Left, right, small screens, and browsers that lack something --------------------------------


def test_left_and_right_are_said_and_exchanged(page, sound):
    give(page, "sound.nii", sound)
    assert "left is on the left (neurological" in part(page, "sides").text_content()
    before = part(page, "scan-picture").evaluate("(canvas) => canvas.toDataURL()")
    part(page, "radiological").focus()
    page.keyboard.press("Space")
    assert "left is on the right (radiological)" in part(page, "sides").text_content()
    assert part(page, "scan-picture").evaluate("(canvas) => canvas.toDataURL()") != before
    page.keyboard.press("Space")
    part(page, "scan-level").focus()
    page.keyboard.press("Home")
    assert "Axial slice 1 of 62" in part(page, "scan-picture").get_attribute("aria-label")


def test_it_fits_a_phone(page, sound):
    give(page, "a_rather_long_name_of_a_scan_without_any_place_to_break_it_.nii", sound)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("() => document.scrollingElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize("name", ["network.onnx", "whole.onnx"])
def test_what_a_click_loads_is_at_most_six_megabytes(site, name):
    """A click loads the runtime and one of the networks, at the published book's widths."""
    static = site / "_static"
    runtime = [*(static / "vendor").rglob("ort*")]
    assert {file.name for file in runtime} >= {"ort.wasm.gz", "ort.wasm.min.js"}
    files = [*runtime, static / "network" / name]
    assert 2e6 < sum(file.stat().st_size for file in files) <= 6e6


def test_a_slice_is_answered_as_python_answers_it_from_the_same_file(page, site):
    """And the button says how much it loads."""
    pytest.importorskip("onnxruntime")
    other = page.context.new_page()
    other.set_default_timeout(120_000)
    other.goto(page.url)
    sizes = []
    other.on("response", lambda answer: sizes.append((answer.url, len(answer.body()))))
    said = part(other, "load").text_content()
    part(other, "load").click()
    other.wait_for_function("() => document.getElementById('kenseg-try').kensegResult")
    found = other.evaluate(
        "() => { const { image, probability } = document.getElementById('kenseg-try')"
        ".kensegResult; return [[...image], [...probability]]; }"
    )
    other.close()
    loaded = {url for url, _ in sizes if re.search(r"onnx|/ort", url)}
    assert {url.rsplit("/", 1)[-1] for url in loaded} >= {"network.onnx", "ort.wasm.gz"}
    assert f"({sum(size for url, size in sizes if url in loaded) / 1e6:.1f} MB)" in said
    image, probability = (np.array(each, np.float32) for each in found)
    file = site / "_static/network/network.onnx"
    expected = export.run_exported(file, image.reshape(1, 128, 128, 1))[0, ..., 1].ravel()
    assert 0.05 < (expected >= 0.5).mean() < 0.95, "a map of one value would agree with anything"
    assert np.abs(probability - expected).max() < 1e-3
    assert ((probability >= 0.5) == (expected >= 0.5)).mean() >= 0.999


def test_a_file_that_answers_otherwise_than_keras_stops_the_build():
    import network

    keras = np.where(np.arange(40_000) % 2, 0.8, 0.3).reshape(4, 100, 100)
    keras.flat[-10_000:] = 0.505  # so near to the threshold that rounding decides
    moved = keras.copy()
    moved.flat[-10_000:] = 0.495
    moved.flat[:30] = 1 - keras.flat[:30]
    assert network.checked(moved, keras) is moved
    moved.flat[:60] = 1 - keras.flat[:60]
    with pytest.raises(SystemExit, match=r"only 99.8\d% of the pixels"):
        network.checked(moved, keras)


def test_kernels_are_kept_in_half_precision_and_computed_in_single(site):
    onnx = pytest.importorskip("onnx")
    for name in ("network.onnx", "whole.onnx"):
        graph = onnx.load(site / "_static/network" / name).graph
        kinds = {
            one.name: one.data_type
            for one in graph.initializer
            if np.prod(one.dims) > max(one.dims, default=1)
        }
        assert kinds and set(kinds.values()) == {onnx.TensorProto.FLOAT16}
        casts = {node.input[0]: node for node in graph.node if node.op_type == "Cast"}
        assert all(casts[one].attribute[0].i == onnx.TensorProto.FLOAT for one in kinds)


def test_the_page_s_file_is_the_recorded_network(site, recorded, slab):
    pytest.importorskip("onnxruntime")
    volume = np.asarray(slab[0].dataobj, np.float32)
    shown = Intensity.of(volume).apply(volume)[:, :, 3]
    images = pad(shown, (208, 240), float(shown.min()))[None, ..., None]
    found = export.run_exported(site / "_static/network/whole.onnx", images)
    # On some processors Keras computes it in bfloat16, which moves a probability by some 0.04.
    keras = export.in_float32(prediction.at_shape(recorded, (208, 240)))
    expected = np.asarray(keras.predict_on_batch(images))
    assert np.ptp(expected[..., 1]) > 0.5  # a constant would be too easy
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize(
    "lack, said",
    [
        ("delete window.WebAssembly", "needs a browser with WebAssembly"),
        ("delete window.DecompressionStream", "needs a browser with WebAssembly"),
    ],
)
def test_without_webassembly_a_sentence_says_so(page, lack, said):
    other = page.context.new_page()
    other.add_init_script(lack)
    other.goto(page.url)
    assert said in part(other, "message").text_content()
    assert part(other, "own").is_hidden() and part(other, "ask").is_hidden()
    other.close()


def test_without_scripts_there_is_a_poster(page, chromium):
    context = chromium.new_context(java_script_enabled=False)
    other = context.new_page()
    other.goto(page.url)
    poster = other.locator("noscript figure")
    assert poster.is_visible() and "switched off in this browser" in poster.text_content()
    assert "../_static/network/poster.png" in poster.locator("img").get_attribute("src")
    assert other.locator("#kenseg-try").is_hidden()
    context.close()
