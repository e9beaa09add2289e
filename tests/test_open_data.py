"""Open data: fetched whole or said why not, from a server on this machine."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections import namedtuple

import nibabel
import pandas as pd
import pytest
from arc_release import SUBJECTS, TWO_SESSIONS, made_up, serving, tree
from conftest import ROOT
from filelock import FileLock

from kenseg_utils import open_data
from kenseg_utils.open_data import __main__ as command
from kenseg_utils.open_data import _download, _fetch, _releases

MANIFEST, FILES = made_up()
PAIRED = SUBJECTS[1:]  # smallest first
T1W = dict(zip(MANIFEST.subject, MANIFEST.t1w, strict=True))
MASK = dict(zip(MANIFEST.subject, MANIFEST["mask"], strict=True))


def of(*subjects):
    """The files of those subjects, path and bytes."""
    return {path: FILES[path] for s in subjects for path in (T1W[s], MASK[s])}


def without(files, *paths):
    return {path: content for path, content in files.items() if path not in paths}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(_download, "BACKOFF_S", 0.001)
    with serving(dict(FILES)) as server:
        yield server


def fetch(server, folder, subjects=None, **options):
    return open_data.fetch(
        "arc", folder, subjects, base_url=server.url, manifest=MANIFEST, progress=False, **options
    )


# Whole


def test_all_pairs_arrive_under_arcs_names_and_as_a_bids_tree(server, tmp_path):
    scans = fetch(server, tmp_path / "arc")
    assert tree(tmp_path / "arc") == of(*PAIRED)
    assert scans.subject.tolist() == PAIRED
    assert nibabel.load(scans.t1w[0]).shape == (32, 30, 30)
    assert nibabel.load(scans["mask"][0]).get_fdata().sum() == 64
    assert {"sex", "age_at_stroke", "days_post_stroke", "wab_aq", "aphasia_type", "scanner"} <= set(
        scans.columns
    )
    described = json.loads((tmp_path / "arc/dataset_description.json").read_text())
    assert described["License"] == "CC0"
    assert described["DatasetDOI"] == "doi:10.18112/openneuro.ds004884.v1.0.2"
    assert "10.1038/s41597-024-03819-7" in described["HowToAcknowledge"]
    people = pd.read_csv(tmp_path / "arc/participants.tsv", sep="\t")
    assert sorted(people.participant_id) == sorted(p.name for p in (tmp_path / "arc").glob("sub-*"))
    readme = (tmp_path / "arc/README.txt").read_text()
    assert "CC0" in readme and "1.0.2" in readme and "Left out: 1 subjects," in readme
    assert not list((tmp_path / "arc").rglob("tmp*"))


def test_a_second_call_downloads_nothing_and_more_subjects_only_those(server, tmp_path):
    first = fetch(server, tmp_path, 2)
    assert sorted(server.asked) == sorted((path, "") for path in of(*PAIRED[:2]))
    server.asked.clear()
    assert fetch(server, tmp_path, 2).equals(first) and not server.asked
    fetch(server, tmp_path, 3)
    assert sorted(server.asked) == sorted((path, "") for path in of(PAIRED[2]))
    assert len(pd.read_csv(tmp_path / "participants.tsv", sep="\t")) == 3


def test_smallest_pairs_first(server, tmp_path):
    larger_first = MANIFEST.iloc[::-1]
    scans = open_data.fetch(
        "arc", tmp_path, 2, base_url=server.url, manifest=larger_first, progress=False, workers=1
    )
    assert scans.subject.tolist() == PAIRED[:2]
    assert [path for path, _ in server.asked] == list(of(*PAIRED[:2]))


def test_named_subjects_in_their_order_with_or_without_prefix(server, tmp_path):
    scans = fetch(server, tmp_path, ["M2195", "sub-M2051", "M2195"])
    assert scans.subject.tolist() == ["sub-M2195", "sub-M2051"]
    assert tree(tmp_path) == of("sub-M2195", "sub-M2051")


def test_the_bar_counts_bytes_and_ends_at_the_sum(server, tmp_path, capsys):
    server.broken_off = {T1W["sub-M2051"]: [5000]}
    server.ranges = False  # so it goes back once
    open_data.fetch("arc", tmp_path, 2, base_url=server.url, manifest=MANIFEST)
    total = sum(map(len, of(*PAIRED[:2]).values()))
    last = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert "100%" in last and f"{total / 1000:.1f}k/{total / 1000:.1f}k" in last


# Going on


def test_a_download_that_broke_off_asks_only_for_the_rest(server, tmp_path, monkeypatch):
    monkeypatch.setattr(_download, "ATTEMPTS", 1)
    path = T1W["sub-M2051"]
    server.broken_off = {path: [9000]}
    with pytest.raises(open_data.DownloadError, match=r"sent no more than 9,000 of") as caught:
        fetch(server, tmp_path)
    assert list(caught.value.failures) == [path] and server.url + path in str(caught.value)
    assert tree(tmp_path) == {**without(of(*PAIRED), path), f"{path}.part": FILES[path][:9000]}
    server.asked.clear()
    server.sent = 0
    fetch(server, tmp_path)
    assert server.asked == [(path, "bytes=9000-")]
    assert server.sent == len(FILES[path]) - 9000
    assert tree(tmp_path) == of(*PAIRED)


def test_within_one_call_too(server, tmp_path):
    path = T1W["sub-M2051"]
    server.broken_off = {path: [9000, 9001, 20000]}
    fetch(server, tmp_path, ["M2051"])
    assert server.asked == [
        (path, ""),
        (path, "bytes=9000-"),
        (path, "bytes=9001-"),
        (path, "bytes=20000-"),
        (MASK["sub-M2051"], ""),
    ]
    assert tree(tmp_path) == of("sub-M2051")


def test_a_server_without_range_sends_all_again(server, tmp_path):
    path = T1W["sub-M2051"]
    server.broken_off, server.ranges = {path: [9000]}, False
    fetch(server, tmp_path, ["M2051"])
    assert server.asked[:2] == [(path, ""), (path, "bytes=9000-")]
    assert tree(tmp_path) == of("sub-M2051")


@pytest.mark.parametrize("left", [b"\0" * 9000, b"\0" * 10**6, "whole"])
def test_a_part_of_something_else_is_found_out(server, tmp_path, left):
    path = T1W["sub-M2051"]
    part = tmp_path / f"{path}.part"
    fetch(server, tmp_path, ["M2084"])
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * len(FILES[path]) if left == "whole" else left)
    fetch(server, tmp_path, ["M2051"])
    assert tree(tmp_path) == of("sub-M2051", "sub-M2084")


def test_a_server_that_cannot_go_on_at_that_byte(server, tmp_path):
    path = T1W["sub-M2051"]
    fetch(server, tmp_path, ["M2084"])
    part = tmp_path / f"{path}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES[path][:100])
    server.statuses = {path: [416]}
    fetch(server, tmp_path, ["M2051"])
    assert [wanted for asked, wanted in server.asked if asked == path] == ["bytes=100-", ""]
    assert tree(tmp_path) == of("sub-M2051", "sub-M2084")


def test_a_killed_run_is_gone_on_with(server, tmp_path):
    path = T1W["sub-M2051"]
    server.broken_off, server.hold = {path: [9000]}, threading.Event()
    MANIFEST.to_csv(tmp_path / "manifest.tsv", sep="\t", index=False)
    code = (
        "import sys, pandas; from kenseg_utils import open_data; "
        "open_data._download.CHUNK = 500; "
        "open_data.fetch('arc', sys.argv[1], ['M2051'], base_url=sys.argv[2], "
        "manifest=pandas.read_csv(sys.argv[3], sep='\\t'))"
    )
    folder = tmp_path / "arc"
    running = subprocess.Popen(
        [sys.executable, "-c", code, folder, server.url, tmp_path / "manifest.tsv"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    part = folder / f"{path}.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.kill()
    running.wait()
    server.hold.set()
    have = part.stat().st_size
    assert 0 < have <= 9000 and list(part.parent.glob("tmp*"))  # what pooch leaves behind
    server.asked.clear()
    fetch(server, folder, ["M2051"])
    assert server.asked[0] == (path, f"bytes={have}-")
    assert tree(folder) == of("sub-M2051") and not list(folder.rglob("tmp*"))


def test_a_server_that_takes_a_gz_for_encoded_text(server, tmp_path):
    server.headers = {"Content-Encoding": "gzip"}
    fetch(server, tmp_path, ["M2051"])
    assert tree(tmp_path) == of("sub-M2051")


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = {T1W["sub-M2051"]: [503, 429]}
    fetch(server, tmp_path, ["M2051"])
    assert tree(tmp_path) == of("sub-M2051")


# What can go wrong on the way


def test_a_wrong_byte(server, tmp_path):
    path = T1W["sub-M2084"]
    server.files[path] = FILES[path][:-1] + b"?"
    with pytest.raises(open_data.DownloadError, match="SHA-256") as caught:
        fetch(server, tmp_path)
    assert list(caught.value.failures) == [path] and server.url + path in str(caught.value)
    assert tree(tmp_path) == without(of(*PAIRED), path)  # and no .part of wrong bytes
    server.files[path] = FILES[path]
    fetch(server, tmp_path)
    assert tree(tmp_path) == of(*PAIRED)


def test_a_byte_that_went_wrong_here_is_fetched_again(server, tmp_path):
    scans = fetch(server, tmp_path)
    (tmp_path / T1W["sub-M2084"]).write_bytes(b"?" * len(FILES[T1W["sub-M2084"]]))
    server.asked.clear()
    assert fetch(server, tmp_path).equals(scans)
    assert server.asked == [(T1W["sub-M2084"], "")] and tree(tmp_path) == of(*PAIRED)


def test_a_missing_file_stops_no_other(server, tmp_path):
    path = MASK["sub-M2084"]
    del server.files[path]
    with pytest.raises(open_data.DownloadError, match="answers 404 Not Found") as caught:
        fetch(server, tmp_path, workers=1)
    assert "1 of 8 files of ARC 1.0.2" in str(caught.value)
    assert server.url + path in str(caught.value)
    assert tree(tmp_path) == without(of(*PAIRED), path)
    assert [asked for asked, _ in server.asked].count(path) == 1
    assert not (tmp_path / path).parent.exists()


@pytest.mark.parametrize("change", [lambda whole: whole[:-5], lambda whole: whole + b"more"])
def test_a_file_of_another_size(server, tmp_path, change):
    path = T1W["sub-M2084"]
    server.files[path] = change(FILES[path])
    with pytest.raises(open_data.DownloadError, match="bytes instead of") as caught:
        fetch(server, tmp_path)
    assert server.url + path in str(caught.value)
    assert tree(tmp_path) == without(of(*PAIRED), path)


def test_a_file_that_always_breaks_off(server, tmp_path):
    path = T1W["sub-M2084"]
    server.broken_off = {path: [1000] * 9}
    with pytest.raises(open_data.DownloadError, match="sent no more than 1,000 of"):
        fetch(server, tmp_path)
    assert [asked for asked, _ in server.asked].count(path) == _download.ATTEMPTS
    assert without(tree(tmp_path), f"{path}.part") == without(of(*PAIRED), path)


def test_a_server_that_is_gone_is_not_asked_for_every_file(server, tmp_path):
    fetch(server, tmp_path, 1)
    with serving({}) as gone:
        pass
    with pytest.raises(open_data.DownloadError, match="server cannot be reached") as caught:
        fetch(gone, tmp_path, workers=1)
    text = str(caught.value)
    assert "6 of 8 files" in text and "(3 of them were left for later)" in text
    assert gone.url + T1W[PAIRED[1]] in text
    assert "refused" in text.lower()
    assert tree(tmp_path) == of(PAIRED[0])


class Full:
    """A file on a disk that takes `room` more bytes."""

    room = 0

    def __init__(self, path, mode):
        self.file = open(path, mode)  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def write(self, piece):
        self.file.write(piece[: Full.room])
        Full.room -= len(piece)
        if Full.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_fills(server, tmp_path, monkeypatch):
    whole = of(PAIRED[0])
    Full.room = sum(map(len, whole.values())) + 1000
    with monkeypatch.context() as patch:
        patch.setattr(_download, "open", Full, raising=False)
        with pytest.raises(open_data.DownloadError, match="disk is full: make room for") as caught:
            fetch(server, tmp_path, workers=1)
    path = T1W[PAIRED[1]]
    assert server.url + path in str(caught.value)
    assert tree(tmp_path) == {**whole, f"{path}.part": FILES[path][:1000]}
    assert {asked for asked, _ in server.asked} == {*whole, path}  # and then no other
    server.asked.clear()
    fetch(server, tmp_path)
    assert (path, "bytes=1000-") in server.asked and tree(tmp_path) == of(*PAIRED)


def test_ctrl_c_keeps_what_is_whole(server, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_download.Downloads, "_group", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path)
    monkeypatch.undo()
    fetch(server, tmp_path)
    assert tree(tmp_path) == of(*PAIRED)


# Refused before any work


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        (["M2051", "M9999"], "no lesion mask of sub-M9999"),
        ([TWO_SESSIONS], r"two sessions.*sub-M2005 \(T1w ses-520, mask ses-1034, 514 days apart\)"),
        (5, "subjects is 5: ARC 1.0.2 has 4"),
        (0, "subjects is 0"),
        (-1, "subjects is -1"),
        ([], "subjects is"),
        (2.5, "subjects is 2.5"),
    ],
)
def test_subjects_that_cannot_be_had(server, tmp_path, subjects, message):
    with pytest.raises(ValueError, match=message):
        fetch(server, tmp_path / "arc", subjects)
    assert not server.asked and not (tmp_path / "arc").exists()


@pytest.mark.parametrize(
    "content",
    [
        {"thesis.txt": "mine"},
        # A copy of ARC from elsewhere has tables of its own, which must not be written over.
        {
            "dataset_description.json": '{"DatasetDOI": "doi:10.18112/openneuro.ds004884.v1.0.2", '
            '"GeneratedBy": [{"Name": "Manual"}]}',
            "participants.tsv": "x",
        },
        {"dataset_description.json": "[]"},
    ],
)
def test_a_folder_with_something_else_is_left_as_it_is(server, tmp_path, content):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=f"something else .*{min(content)}"):
        fetch(server, tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == content
    assert not server.asked


def test_a_file_where_the_folder_should_be(server, tmp_path):
    (tmp_path / "arc").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        fetch(server, tmp_path / "arc")
    with pytest.raises(ValueError, match="cannot be used"):
        fetch(server, tmp_path / "arc" / "below")
    assert not server.asked


def test_too_little_space_counts_only_what_is_missing(server, tmp_path, monkeypatch):
    fetch(server, tmp_path, 3)
    rest = sum(map(len, of(PAIRED[3]).values()))
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr(_fetch.shutil, "disk_usage", lambda _: usage(rest - 1))
        server.asked.clear()
        with pytest.raises(ValueError, match="MB are still to fetch"):
            fetch(server, tmp_path)
        assert not server.asked
        patch.setattr(_fetch.shutil, "disk_usage", lambda _: usage(rest))
        fetch(server, tmp_path)
    assert tree(tmp_path) == of(*PAIRED)


def test_two_downloads_into_one_folder(server, tmp_path):
    fetch(server, tmp_path, 1)
    with (
        FileLock(tmp_path / ".downloading.lock"),
        pytest.raises(ValueError, match="Another download"),
    ):
        fetch(server, tmp_path)


def test_other_arguments(server, tmp_path):
    with pytest.raises(ValueError, match="choose arc"):
        open_data.fetch("atlas", tmp_path)
    with pytest.raises(ValueError, match="diffusion"):
        open_data.fetch("soop", tmp_path)
    with pytest.raises(ValueError, match="workers is 0"):
        fetch(server, tmp_path, workers=0)
    with pytest.raises(ValueError, match="http"):
        open_data.fetch("arc", tmp_path, base_url="s3://openneuro.org/ds004884")
    assert not list(tmp_path.iterdir())


# The command


def test_the_command_says_licence_version_and_citation(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_releases, "manifest", lambda _: MANIFEST)
    command.main(["arc", "--subjects", "2", "--to", str(tmp_path), "--base-url", server.url])
    out = capsys.readouterr().out
    assert all(
        text in out
        for text in (
            "CC0",
            "version 1.0.2",
            "10.1038/s41597-024-03819-7",
            "2 subjects with T1w and mask",
            "1 of the 5 subjects",
        )
    )
    assert tree(tmp_path) == of(*PAIRED[:2])
    command.main(["arc", "--subjects", "all", "--to", str(tmp_path), "--base-url", server.url[:-1]])
    assert tree(tmp_path) == of(*PAIRED)
    command.main(
        ["arc", "--subjects", "M2051", "--to", str(tmp_path / "one"), "--base-url", server.url]
    )
    assert tree(tmp_path / "one") == of("sub-M2051")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["arc", "--subjects", "1", "--to", "FOLDER", "--base-url", "SERVER"], "answers 404"),
        (["soop"], "diffusion images"),
        (["arc", "--subjects", "M1", "--to", "FOLDER"], "no lesion mask of sub-M1"),
    ],
)
def test_the_command_ends_in_one_message_and_1(server, tmp_path, arguments, message):
    server.files = {}
    given = {"FOLDER": str(tmp_path / "arc"), "SERVER": server.url}
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "kenseg_utils.open_data",
            *(given.get(argument, argument) for argument in arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1 and message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_command_when_the_server_is_gone_or_somebody_stops_it(server, tmp_path, monkeypatch):
    with serving({}) as gone:
        pass
    given = ["arc", "--subjects", "1", "--to", str(tmp_path / "arc"), "--base-url", gone.url]
    with pytest.raises(SystemExit, match="cannot be reached"):
        command.main(given)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_download.Downloads, "run", interrupt)
    with pytest.raises(SystemExit, match="Stopped"):
        command.main(given)


def test_the_command_needs_a_folder(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["arc"])
    assert ended.value.code == 2 and "--to" in capsys.readouterr().err


def test_the_command_makes_no_folder_named_like_an_unknown_user_s_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_download.Downloads, "run", lambda *_: pytest.fail("work was done"))
    for given in ("~nosuchuser/x", "~nosuchuser"):
        with pytest.raises(SystemExit, match="no user nosuchuser is known"):
            command.main(["arc", "--subjects", "1", "--to", given])
    assert not list(tmp_path.iterdir())


# The bundled manifest


def test_the_manifest_is_that_of_arc():
    table = open_data.manifest("arc")
    same = table[table.session == table.t1w_session]
    assert (len(table), len(same)) == (228, 203)
    assert ((table.days_between == 0) == (table.session == table.t1w_session)).all()
    assert table.subject.is_unique and table.subject.str.fullmatch(r"sub-M\d{4}").all()
    sizes = (same.t1w_bytes + same.mask_bytes).sort_values()
    assert (sizes.sum(), sizes.head(20).sum()) == (821_388_200, 67_342_149)
    for kind, session in (("t1w", "t1w_session"), ("mask", "session")):
        assert table[f"{kind}_sha256"].str.fullmatch("[0-9a-f]{64}").all()
        assert table[f"{kind}_sha256"].is_unique
        for row in table.to_dict("records"):
            assert f"{row['subject']}/{row[session]}/anat/{row['subject']}_" in row[kind]
    assert table.t1w.str.endswith("_T1w.nii.gz").all()
    assert table["mask"].str.endswith("_T2w_desc-lesion_mask.nii.gz").all()


def test_the_table_of_subjects_joins_to_scans():
    people = open_data.subjects("arc")
    assert len(people) == 203
    scans = pd.DataFrame({"subject": ["sub-M2051", "sub-M9999"], "session": "ses-284"})
    joined = scans.merge(people, on=["subject", "session"], how="left")
    assert joined.days_post_stroke[0] == 284 and joined.scanner.isna().tolist() == [False, True]
    assert set(people.sex) == {"F", "M"} and people.wab_aq.between(0, 100).all()
    assert people.aphasia_type.isna().sum() == 1 and "no aphasia" in set(people.aphasia_type)


def test_the_manifest_is_installed_with_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["package-data"]["kenseg_utils.open_data"] == ["*.tsv"]
    for release in _releases.RELEASES.values():
        file = ROOT / "kenseg_utils/open_data" / release.manifest
        assert release.version in file.name and file.stat().st_size < 200_000


def test_importing_it_fetches_nothing_and_is_light():
    code = (
        "import sys; from kenseg_utils import open_data; "
        "print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    )
    heavy = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert heavy.stdout.strip() == "[]"
