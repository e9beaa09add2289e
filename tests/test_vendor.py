"""Libraries of pages: checked, fetched once, whole or not at all; without npm or a network."""

import base64
import hashlib
import io
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import vendor


@pytest.fixture
def fetched(monkeypatch):
    """An archive of two files that stands in for npm's; who asked for it, and its checksum."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in ("package/dist/a.js", "package/README.md"):
            member = tarfile.TarInfo(name)
            member.size = 3
            archive.addfile(member, io.BytesIO(b"one"))
    asked = []

    def download(package, folder):
        asked.append(package)
        time.sleep(0.2)  # so that a second one comes meanwhile
        file = folder / "it.tgz"
        file.write_bytes(content.getvalue())
        return file

    monkeypatch.setattr(vendor, "_download", download)
    return asked, base64.b64encode(hashlib.sha512(content.getvalue()).digest()).decode()


def test_of_two_that_want_a_library_at_once_one_fetches_it(fetched, tmp_path):
    asked, checksum = fetched
    libraries = {"@some/library@1.0.0": (checksum, r"package/dist/a\.js")}

    def fetch(name):
        vendor.fetch(libraries, tmp_path / name, tmp_path / "cache")
        return [file.name for file in (tmp_path / name).iterdir()]

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(fetch, ("one", "other"))) == [["a.js"], ["a.js"]]
    assert asked == ["@some/library@1.0.0"]


def test_an_archive_of_another_checksum_leaves_nothing(fetched, tmp_path):
    libraries = {"library@1.0.0": ("another", r"package/dist/a\.js")}
    with pytest.raises(SystemExit, match="not the published one"):
        vendor.fetch(libraries, tmp_path / "out", tmp_path / "cache")
    assert not (tmp_path / "out").exists()
    assert [file.name for file in (tmp_path / "cache").iterdir()] in ([], ["library@1.0.0.lock"])
