"""python -m kenseg_utils.prediction: what it writes, says, refuses, and how little it loads."""

import base64
import html
import io
import os
import re
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from heads import bottle, head, noisy
from PIL import Image

from kenseg_utils import machine, prediction
from kenseg_utils.prediction import _command, _findings, _jobs, _page, frames

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
PLACE = (30.0, -20.0, 20.0, 20.0)  # of a lesion, and its radius, in mm: on the right


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """An ONNX file, made by hand, that calls lesion what is about as dark as a lesion."""
    from onnx import TensorProto, helper

    def number(name, value):
        return helper.make_tensor(name, TensorProto.FLOAT, [1], [value])

    shape = ["batch", *frames.SHAPE, 1]
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["image", "middle"], ["away"]),
            helper.make_node("Abs", ["away"], ["distance"]),
            helper.make_node("Mul", ["distance", "steep"], ["fall"]),
            helper.make_node("Add", ["fall", "one"], ["sum"]),
            helper.make_node("Clip", ["sum", "none", "all"], ["probabilities"]),
        ],
        "dark",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape)],
        [
            number("middle", 0.3),
            number("steep", -8.0),
            number("one", 1.0),
            helper.make_tensor("none", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("all", TensorProto.FLOAT, [], [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"kenseg_utils": '{"least_ml": 5.0, "name": "dark"}'})
    onnx.checker.check_model(model)
    path = tmp_path_factory.mktemp("network") / "dark.onnx"
    onnx.save(model, path)
    return path


def stored(path, contrast="T1w", known=True, **options):
    """A made-up head in a file."""
    image, affine = head(3.0, contrast, **options)
    if contrast == "CT":  # whose noise is no magnitude: values lie below 0
        image = image + np.random.default_rng(0).normal(0, 5, image.shape).astype(np.float32)
    scan = nib.Nifti1Image(image if contrast == "CT" else noisy(image, 0.02), affine)
    if not known:
        scan.set_sform(affine, 0)
        scan.set_qform(affine, 0)
    nib.save(scan, path)
    return path


@pytest.fixture
def scan(tmp_path):
    return stored(tmp_path / "head.nii.gz", lesion=PLACE)


def run(network, *arguments):
    return _command.main([*map(str, arguments), "--network", str(network)])


def test_a_mask_a_report_and_words(scan, network, capsys):
    mask, page, soft = (scan.parent / name for name in ("m.nii.gz", "r.html", "p.nii"))
    assert run(network, scan, mask, "--report", page, "--probability", soft) == 0
    original, written, probable = nib.load(scan), nib.load(mask), nib.load(soft)
    assert written.shape == original.shape and np.array_equal(written.affine, original.affine)
    found, values = np.asarray(written.dataobj), probable.get_fdata()
    assert written.get_data_dtype() == np.uint8 and found.any()
    assert probable.get_data_dtype() == np.float32 and (values[found > 0] >= 0.5).all()
    said = capsys.readouterr()
    assert re.search(r"head.nii.gz: \d+\.\d ml in (1 piece|\d+ pieces): .* ml right", said.out)
    assert "How sure: " in said.out and "no confidence interval" in said.out
    assert f"{found.sum() * 0.027:.1f} ml in" in said.out and "Warning" not in said.out
    assert "Not for clinical use" in said.err and "looking for lesions" in said.err
    assert page.read_text(encoding="utf-8").count("<svg") == 1


def test_its_own_threshold_and_least_volume_hold_unless_given(scan, network, capsys):
    volumes = []
    for number, options in enumerate(([], ["--least-ml", 0], ["--threshold", 0.9])):
        assert run(network, scan, scan.parent / f"{number}.nii.gz", *options) == 0
        volumes.append(np.asarray(nib.load(scan.parent / f"{number}.nii.gz").dataobj).sum())
    assert volumes[1] > volumes[0] > volumes[2] > 0


def test_the_smaller_and_the_larger_volume_enclose_the_mask_s(scan, network):
    finding = _findings.examine(prediction.open_network(network), scan)
    assert 0 < finding.smaller_ml < finding.ml < finding.larger_ml
    assert f"{finding.smaller_ml:.1f} to {finding.larger_ml:.1f} ml" in finding.how_sure
    assert _findings._at_odds(0.5, 3) == 0.75
    assert _findings._at_odds(0.5, 1 / 3) == pytest.approx(0.25)


def test_no_side_is_named_where_the_header_leaves_it_open(tmp_path, network, capsys):
    scan = stored(tmp_path / "head.nii.gz", known=False, lesion=PLACE)
    page = tmp_path / "r.html"
    assert run(network, scan, tmp_path / "m.nii.gz", "--report", page) == 0
    said, text = capsys.readouterr().out, page.read_text(encoding="utf-8")
    assert "side unknown" in said and not re.search(r"ml (left|right|both)", said)
    assert not re.search(r">(L|R|left|right|both)<", text) and "not known" in text


@pytest.mark.parametrize(
    ("contrast", "told"), [("T2w", "T2w"), ("FLAIR", "FLAIR"), ("CT", "CT"), ("PD", "T2w")]
)
def test_other_contrasts_are_refused_and_nothing_is_written(
    tmp_path, network, capsys, contrast, told
):
    scan = stored(tmp_path / "head.nii.gz", contrast)
    assert run(network, scan, tmp_path / "m.nii.gz", "--report", tmp_path / "r.html") == 1
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("Refused")]
    assert told in line and "does not look like a T1w" in line and "--force" in line
    assert not said.out and sorted(path.name for path in tmp_path.iterdir()) == [scan.name]


def test_force_segments_it_and_warns(tmp_path, network, capsys):
    scan = stored(tmp_path / "head.nii.gz", "T2w")
    assert run(network, scan, tmp_path / "m.nii.gz", "--force") == 0
    assert "Warning: fluid in the brain is brighter" in capsys.readouterr().out
    assert (tmp_path / "m.nii.gz").exists()


def test_what_spoils_an_answer_is_a_warning(tmp_path, network, capsys):
    image, affine = head((2, 2, 6.5))
    scan, page = tmp_path / "thick.nii.gz", tmp_path / "r.html"
    nib.save(nib.Nifti1Image(noisy(image, 0.02), affine), scan)
    assert run(network, scan, tmp_path / "m.nii.gz", "--report", page) == 0
    assert "Warning: its voxels are 2.0 × 2.0 × 6.5 mm" in capsys.readouterr().out
    assert "Its voxels are 2.0 × 2.0 × 6.5 mm" in page.read_text(encoding="utf-8")


def odd_inputs(folder):
    """Files that no mask can come from, and what is said of them."""
    text, labels, other = folder / "text.nii.gz", folder / "labels.nii.gz", folder / "ball.nii"
    text.write_text("not an image")
    image, affine = head(3.0)
    nib.save(nib.Nifti1Image((image > 90).astype(np.uint8), affine), labels)
    ball, at = bottle()
    nib.save(nib.Nifti1Image(noisy(ball, 0.05), at), other)
    yield folder / "missing.nii.gz", "missing.nii.gz"
    yield text, "text.nii.gz"
    yield labels, "mask or a map of labels"
    yield other, "does not look like a T1w"
    yield folder, "folder"


def test_what_is_no_scan_is_refused_with_one_message(tmp_path, network, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for path, told in odd_inputs(folder):
        assert run(network, path, out / "m.nii.gz", "--report", out / "r.html") == 1
        refused = [s for s in capsys.readouterr().err.splitlines() if s.startswith("Refused")]
        assert len(refused) == 1 and told in refused[0], (path, refused)
        assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--threshold", "2"], "threshold is 2.0"),
        (["--least-ml", "-1"], "least_ml is -1.0"),
        (["--report", "page.txt"], "must end in .html"),
        (["--probability", "mask.nii.gz"], "is an input"),
        (["--report", "there.html"], "there already.*--replace"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_work(
    scan, network, capsys, monkeypatch, options, told
):
    monkeypatch.chdir(scan.parent)
    (scan.parent / "there.html").write_text("mine")
    monkeypatch.setattr(_command, "_network", lambda given: pytest.fail("work was done"))
    assert run(network, scan.name, "mask.nii.gz", *options) == 1
    assert re.search(told, capsys.readouterr().err)
    assert (scan.parent / "there.html").read_text() == "mine"
    assert not (scan.parent / "mask.nii.gz").exists()


def test_the_scan_is_never_written_over_and_a_mask_only_if_asked_to(scan, network, capsys):
    before, mask = scan.read_bytes(), scan.parent / "m.nii.gz"
    assert run(network, scan, scan, "--replace") == 1 and scan.read_bytes() == before
    mask.write_bytes(b"mine")
    assert run(network, scan, mask) == 1 and mask.read_bytes() == b"mine"
    assert run(network, scan, mask, "--replace") == 0 and nib.load(mask).shape


@pytest.fixture
def no_work(monkeypatch):
    monkeypatch.setattr(_command, "_network", lambda given: pytest.fail("work was done"))


@pytest.mark.parametrize("way", ["itself", "hard link", "link", "another spelling"])
def test_no_result_replaces_another_scan_of_the_same_call(
    tmp_path, network, capsys, monkeypatch, no_work, way
):
    monkeypatch.chdir(tmp_path)
    drawn, scan = tmp_path / "a_lesion.nii.gz", tmp_path / "a.nii.gz"
    scan.write_bytes(b"a scan")
    drawn.write_bytes(b"drawn by hand")
    given = tmp_path / "other.nii.gz"
    if way == "hard link":
        os.link(drawn, given)
    elif way == "link":
        given.symlink_to(drawn.name)
    else:
        given = drawn if way == "itself" else tmp_path / "a" / ".." / drawn.name
        (tmp_path / "a").mkdir()
    for scans in ((scan.name, given), (given, scan.name)):
        assert run(network, *scans, "--to", ".", "--replace") == 1
        said = capsys.readouterr().err
        assert "a_lesion.nii.gz, where what is found in a.nii.gz would be written" in said
        assert str(given) in said and "it would be lost" in said
    assert drawn.read_bytes() == b"drawn by hand" and scan.read_bytes() == b"a scan"


def test_two_results_are_never_one_file(tmp_path, network, capsys, monkeypatch, no_work):
    scans = [tmp_path / "one/A.nii.gz", tmp_path / "two/a.nii.gz"]
    monkeypatch.setattr(_jobs, "_ignores_case", lambda folder: True)
    assert run(network, *scans, "--to", tmp_path / "out") == 1
    assert re.search(r"a_lesion.nii.gz and .*A_lesion.nii.gz would be one", capsys.readouterr().err)
    one = tmp_path / "here.nii.gz"
    one.write_bytes(b"")
    os.link(one, tmp_path / "there.nii.gz")
    options = ["--probability", tmp_path / "there.nii.gz", "--replace"]
    assert run(network, tmp_path / "a.nii.gz", one, *options) == 1
    assert "there.nii.gz is an input" in capsys.readouterr().err
    monkeypatch.undo()
    jobs = [_jobs.Job(scan, tmp_path / "out" / f"{scan.stem}.nii.gz") for scan in scans]
    if not _jobs._ignores_case(tmp_path):
        _jobs.check_jobs(jobs, replace=False)


@pytest.mark.parametrize("target", ["../.git/annex/objects/x/y.nii.gz", "m.nii.gz"])
def test_a_link_that_leads_nowhere_is_there(tmp_path, network, capsys, no_work, target):
    mask = tmp_path / "m.nii.gz"
    mask.symlink_to(target)
    assert run(network, tmp_path / "a.nii.gz", mask) == 1
    assert "m.nii.gz is there already" in capsys.readouterr().err and mask.is_symlink()


def test_of_a_scan_all_files_are_written_or_none(finding, tmp_path, monkeypatch):
    mask, soft, page = (tmp_path / name for name in ("m.nii.gz", "p.nii.gz", "r.html"))
    job = _jobs.Job(finding.scan.path, mask, page, soft)
    page.write_text("old")
    soft.write_text("old")

    def full(*_):
        raise OSError(27, "File too large")

    def locked(one, other, rename=os.replace):
        if os.fspath(other) == os.fspath(page) and "before" not in os.fspath(one):
            raise PermissionError(13, "Permission denied")
        rename(one, other)

    for module, name, fails, why in (
        (_jobs, "save_page", full, "File too large"),
        (_jobs.os, "replace", locked, "Permission denied"),
    ):
        told = re.escape(
            f"r.html could not be written ({why}), and of {job.scan} nothing was. Make"
        )
        with monkeypatch.context() as patched:
            patched.setattr(module, name, fails)
            with pytest.raises(ValueError, match=told):
                _jobs.write(finding, job, "a network")
        assert {path.name for path in tmp_path.iterdir()} == {soft.name, page.name}
        assert page.read_text() == soft.read_text() == "old"
    _jobs.write(finding, job, "a network")
    assert len(list(tmp_path.iterdir())) == 3 and nib.load(mask).shape == nib.load(soft).shape
    assert page.read_text(encoding="utf-8").startswith("<!doctype")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["~nosuchuser/x.nii.gz", "m.nii.gz"], "no user nosuchuser is known"),
        (["a.nii.gz", "~nosuchuser/m.nii.gz"], "no user nosuchuser is known"),
        (["a.nii.gz", "--to", "~nosuchuser"], "no user nosuchuser is known"),
        (["http://x.y/a.nii.gz", "m.nii.gz"], "http://x.y/a.nii.gz is an address on the net"),
        (["a.nii.gz", "s3://bucket/out.nii.gz"], "s3://bucket/out.nii.gz is an address"),
        (["a.nii.gz", "m.nii.gz", "--report", "ftp://x.y/r.html"], "is an address"),
        (["a.nii.gz", "--to", "s3://bucket/out"], "is an address"),
        (["", "m.nii.gz"], "A path is needed"),
        (["a.nii.gz", ""], "A path is needed"),
        (["a.nii.gz", "--to", ""], "A path is needed"),
    ],
)
def test_what_is_no_path_is_refused_before_any_work(
    tmp_path, network, capsys, monkeypatch, no_work, options, told
):
    monkeypatch.chdir(tmp_path)
    assert run(network, *options) == 1
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "encoding", "line"),
    [
        ("bad\udcff.nii.gz", "utf-8", "badÿ.nii.gz"),
        ("2.0 × 6.5 mm … für", "ascii", "2.0 x 6.5 mm ... f?r"),
        ("2.0 × 6.5 mm", "latin-1", "2.0 × 6.5 mm"),
        ("a\x1b[31m\nRefused: b\u202e\x9b", "utf-8", r"a\x1b[31m\nRefused: b\u202e\x9b"),
        ("café\u3000頭 😀", "utf-8", "café\u3000頭 😀"),
    ],
)
def test_any_name_is_one_line_that_any_stream_takes(text, encoding, line):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")
    assert machine.say(text, stream) == ""
    machine.Progress(text, stream)("reading")
    written = stream.buffer.getvalue().decode(encoding)
    assert written.startswith(f"{line}\n{line}: reading") and written.count("\n") == 2


def test_names_in_a_wrong_command_steer_no_terminal(capsys):
    for arguments in (["a\x1b[31m.nii", "b/a\x1b[31m.nii", "--to", "x"], ["a", "b", "--\x1bx"]):
        with pytest.raises(SystemExit):
            _command.main(arguments)
        assert "\x1b" not in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_under_the_words_stops_no_batch(tmp_path, network, capsys, monkeypatch):
    bad = os.fsdecode(b"bad\xff\x1b[1m.nii.gz")
    scans = [stored(tmp_path / name) for name in (bad, "b.nii.gz")]
    with open("/dev/full", "w") as full:  # and leaving it fails no more, as the process's end
        monkeypatch.setattr(sys, "stdout", full)
        assert run(network, *scans, "--to", tmp_path / "out") == 1
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2
    said = capsys.readouterr().err
    assert said.count("could not be printed (No space left") == 1 and "\x1b" not in said


def test_a_reader_who_wants_no_more_is_no_failure():
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        assert machine.say("words", stream) == "" == machine.say("more", stream)
    assert machine.say("words", stream) and machine.say("words", None) == ""


def test_whoever_stops_it_is_told_so(scan, network, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_command, "examine", interrupted)
    assert run(network, scan, scan.parent / "m.nii.gz") == 1
    said = capsys.readouterr().err
    assert "Stopped. " in said and [path.name for path in scan.parent.iterdir()] == [scan.name]


@pytest.mark.parametrize(
    "arguments",
    [
        ["one.nii.gz"],
        ["a.nii.gz", "b.nii.gz", "c.nii.gz"],
        ["a.nii.gz", "--to", "out", "--report", "r.html"],
        ["x/a.nii.gz", "y/a.nii", "--to", "out"],
        ["a.nii.gz", "b.nii.gz", "--threshold", "half"],
        ["a.nii.gz", "b.nii.gz", "--unknown"],
        [],
    ],
    ids=" ".join,
)
def test_a_wrong_command_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        _command.main(arguments)
    assert ended.value.code == 2 and "usage:" in capsys.readouterr().err


def test_a_network_that_cannot_be_opened_is_named(scan, tmp_path, capsys):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a network")
    assert run(broken, scan, tmp_path / "m.nii.gz") == 1
    assert "broken.onnx cannot be run" in capsys.readouterr().err
    assert run(tmp_path / "none.onnx", scan, tmp_path / "m.nii.gz") == 1
    assert "none.onnx is not there" in capsys.readouterr().err


def test_of_several_scans_one_that_is_refused_stops_no_other(tmp_path, network, capsys):
    first, wrong = stored(tmp_path / "a.nii.gz"), stored(tmp_path / "b.nii.gz", "T2w")
    last, folder = stored(tmp_path / "c.nii.gz"), tmp_path / "out"
    assert run(network, first, wrong, last, "--to", folder) == 1
    written = sorted(path.name for path in folder.iterdir())
    assert written == [f"{n}_lesion{end}" for n in "ac" for end in (".html", ".nii.gz")]
    assert "b.nii.gz does not look like" in capsys.readouterr().err


def test_the_best_recorded_file_is_taken_where_none_is_given(monkeypatch, tmp_path, network):
    def here(name, folder=None, end=""):
        return tmp_path / f"{name}{end}"

    monkeypatch.setattr(_command.artifacts, "results_file", here)
    with pytest.raises(ValueError, match="No network is recorded"):
        _command._network(None)
    (tmp_path / "whole_slices.onnx").write_bytes(network.read_bytes())
    assert _command._network(None)[1] == "whole_slices.onnx"
    (tmp_path / "heads.npz").write_bytes(b"")
    monkeypatch.setattr(_command, "open_network", lambda: "by Keras")
    assert _command._network(None) == ("by Keras", "heads.npz")
    (tmp_path / "heads.onnx").write_bytes(network.read_bytes())
    assert _command._network(None)[1] == "heads.onnx"


def test_neither_keras_nor_tensorflow_is_loaded_for_an_onnx_file(scan, network):
    """What is imported decides how soon it starts: it takes tens of times as long with them."""
    code = (
        "import sys\n"
        "from kenseg_utils.prediction._command import main\n"
        "code = main(sys.argv[1:])\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print('loaded:', *sorted(loaded & set('''tensorflow keras jax torch matplotlib sklearn "
        "nilearn onnx ipywidgets IPython statsmodels distributed pooch requests'''.split())))\n"
        "print('modules:', len(sys.modules))\n"
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", code, scan, scan.parent / "m.nii.gz", "--network", network]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "loaded:\n" in done.stdout, done.stdout
    assert int(done.stdout.rsplit("modules:", 1)[1]) < 1800


# --- The page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finding(tmp_path_factory, network):
    scan = stored(tmp_path_factory.mktemp("page") / "<b>&.nii.gz", lesion=PLACE)
    return _findings.examine(prediction.open_network(network), scan)


def test_the_page_needs_nothing_from_elsewhere_and_names_are_escaped(finding):
    page = _page.page(finding, network='<script>alert("x")</script>', mask_name="m.nii.gz")
    assert "&lt;b&gt;&amp;.nii.gz" in page and "<b>" not in page and "<script" not in page
    addresses = re.findall(r"(?:https?:)?//[^\s\"'<]+", re.sub(r"base64,[^\"]+", "", page))
    assert addresses == ["http://www.w3.org/2000/svg"]  # a name, which nothing fetches
    assert "default-src 'none'" in page and "Not for patients" in page
    for src in re.findall(r'(?:href|src)="([^"]+)"', page):
        assert src.startswith("data:image/png;base64,")


def test_the_page_says_what_was_measured(finding):
    page = _page.page(finding)
    assert f"{finding.ml:.1f} ml in" in page and finding.how_sure in html.unescape(page)
    assert "<td>right</td>" in page and ">L</text>" in page and ">R</text>" in page
    assert page.count("z = ") == 12


def test_the_picture_is_a_png_with_the_outline(finding):
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", _page.page(finding))[1])
    assert picture.startswith(b"\x89PNG") and picture.endswith(b"IEND\xaeB`\x82")
    pixels = Image.open(io.BytesIO(picture)).tobytes()  # indices into the palette
    assert 200 < pixels.count(255) < 0.1 * len(pixels)  # the outline's colour


def test_left_is_on_the_left_and_front_is_up(finding):
    """The lesion lies on the right and behind the middle."""
    level = int(np.argmax(finding.mask.sum((0, 1))))
    tile = _page._tile(finding, level)
    rows, columns = np.nonzero(tile == 255)
    assert columns.mean() > tile.shape[1] / 2 and rows.mean() > tile.shape[0] / 2


def test_a_page_about_nothing(tmp_path, network):
    scan = stored(tmp_path / "head.nii.gz")
    finding = _findings.examine(prediction.open_network(network), scan, 1.0, 500.0)
    target = _page.save_page(finding, tmp_path / "r.html")
    text = target.read_text(encoding="utf-8")
    assert "Nothing was found" in text and "nothing was called lesion" in text
    assert "<table" not in text
    with pytest.raises(ValueError, match="must end in .html"):
        _page.save_page(finding, tmp_path / "r.txt")
