"""Artifacts are whole or not there."""

import pytest

from kenseg_utils import artifacts


def test_key_depends_on_content_only():
    assert artifacts.key(a=1, b=[2]) == artifacts.key(b=[2], a=1) != artifacts.key(a=1, b=[3])


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result.csv"
    target.write_text("old")

    def fails():
        with artifacts.write_aside(target) as aside:
            aside.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_build_makes_once_and_starts_afresh_after_a_failure(tmp_path):
    calls = []

    def fails(folder):
        (folder / "half").touch()
        raise OSError("disk full")

    def works(folder):
        calls.append(sorted(path.name for path in folder.iterdir()))
        (folder / "whole").touch()

    with pytest.raises(OSError, match="."):
        artifacts.build(tmp_path / "thing", fails)
    assert not (tmp_path / "thing").exists()
    artifacts.build(tmp_path / "thing", works)
    artifacts.build(tmp_path / "thing", works)
    assert calls == [[]]
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["whole"]


def test_build_can_go_on_from_what_was_left(tmp_path):
    seen = []

    def fails(folder):
        (folder / "part").touch()
        raise OSError("killed")

    with pytest.raises(OSError, match="."):
        artifacts.build(tmp_path / "thing", fails, resume=True)
    artifacts.build(tmp_path / "thing", lambda f: seen.extend(f.iterdir()), resume=True)
    assert [path.name for path in seen] == ["part"]


def test_fingerprint_names_the_content_not_the_time(tmp_path):
    import gzip

    def written(name, content):
        path = tmp_path / name
        path.write_bytes(gzip.compress(content, mtime=0))
        return path

    same, copy, other = (written("a.gz", b"one"), written("b.gz", b"one"), written("c.gz", b"two"))
    assert artifacts.fingerprint(same) == artifacts.fingerprint(copy)
    assert artifacts.fingerprint(same) != artifacts.fingerprint(other)


def test_work_dir_in_the_place_of_a_file(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(ValueError, match="is a file"):
        artifacts.work_dir(tmp_path / "taken")


# --- Where a file may be written ------------------------------------------------------------------


def test_one_file_under_two_names(tmp_path, monkeypatch):
    one, other, gone = tmp_path / "one", tmp_path / "other", tmp_path / "gone"
    one.write_text("1")
    other.write_text("1")
    (tmp_path / "link").symlink_to(one)
    (tmp_path / "hard").hardlink_to(one)
    (tmp_path / "dangling").symlink_to(gone)
    monkeypatch.chdir(tmp_path)
    for name in ("one", "./one", f"../{tmp_path.name}/one", "link", "hard", str(one)):
        assert artifacts.same_file(one, name) and artifacts.same_file(name, one)
    assert not artifacts.same_file(one, other)
    assert artifacts.same_file("dangling", gone) and not artifacts.same_file(one, gone)


def test_a_target_is_checked_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    source = tmp_path / "in.csv"
    source.write_text("1")
    (tmp_path / "folder.csv").mkdir()
    assert artifacts.checked_target("~/new/out.csv", (".csv",)) == tmp_path / "new" / "out.csv"
    assert not (tmp_path / "new").exists()
    for name, told in (
        ("out.txt", r"must end in .csv or .tsv: 'out.txt'"),
        ("folder.csv", "is a folder"),
        ("in.csv/out.csv", "in.csv is no folder"),
        ("in.csv", "is an input"),
        ("~/in.csv", "is an input"),
    ):
        path = name if name.startswith("~") else tmp_path / name
        with pytest.raises(ValueError, match=told):
            artifacts.checked_target(path, (".csv", ".tsv"), [source, tmp_path / "not there"])
    monkeypatch.setattr(artifacts.os, "access", lambda *given: False)
    with pytest.raises(ValueError, match="may not be written to"):
        artifacts.checked_target(tmp_path / "out.csv", (".csv",))


def test_an_unknown_user_s_home_is_no_folder(tmp_path, monkeypatch):
    """Whatever takes a path: a folder called `~nosuchuser` would be made and never found."""
    monkeypatch.chdir(tmp_path)
    for given in ("~nosuchuser", "~nosuchuser/x", b"~nosuchuser/x"):
        with pytest.raises(ValueError, match="no user nosuchuser is known here"):
            artifacts.as_path(given)
    with pytest.raises(ValueError, match="no user nosuchuser"):
        artifacts.work_dir("~nosuchuser/x")
    with pytest.raises(ValueError, match="no user nosuchuser"):
        artifacts.checked_target("~nosuchuser/x.nii", (".nii",))
    (tmp_path / "~really").mkdir()
    assert artifacts.as_path("~really/x").parts == ("~really", "x")
    assert str(artifacts.as_path("./~nosuchuser")) == "~nosuchuser"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert artifacts.as_path("~/x") == tmp_path / "home" / "x"
