"""JavaScript libraries of two pages, from npm at pinned versions and checksums, in the book itself.

So no page asks another server for anything; without npm these pages show what was stored.
"""

import base64
import gzip
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from filelock import FileLock

# Each: package → (SHA-512 of its archive as npm publishes it, members of it that pages load).
# What runs the network in its page. There is no other way to it: without npm that page shows what
# was stored.
RUNTIME = {
    "onnxruntime-web@1.22.0": (
        "Ud/+EBo6mhuaQWt/OjaOk0iNWjXqJoeeMFr6xQEERZdIZH2OWpGzuujz7lfuOBjUa6TEE/sc4nb7Da5dNL34fg==",
        r"package/dist/(ort\.wasm\.min\.js|ort-wasm-simd-threaded\.(mjs|wasm))",
    )
}
# What turns the head on the first page; without npm a picture of it stays.
NIIVUE = {
    "@niivue/niivue@0.69.0": (
        "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA==",
        r"package/dist/niivue\.umd\.js",
    )
}
# What looks for barriers in the pages, in the tests alone.
AXE = {
    "axe-core@4.10.3": (
        "Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg==",
        r"package/axe\.min\.js",
    )
}


class Unavailable(Exception):
    """npm, the network or a package is not to be had."""


def runtime(static: Path, cache: Path) -> str:
    """Put what runs ONNX files under `static`/vendor; its folder there, "" if not to be had.

    The WebAssembly is packed, and unpacked by the page: a quarter of it travels, whatever the
    server does.
    """
    try:
        fetch(RUNTIME, static / "vendor", cache)
    except Unavailable as reason:
        print(f"ONNX Runtime for the browser: not to be had ({reason})")
        return ""
    module = static / "vendor" / "ort-wasm-simd-threaded.wasm"
    packed = gzip.compress(module.read_bytes(), 9, mtime=0)
    module.with_name("ort.wasm.gz").write_bytes(packed)
    module.unlink()
    return "vendor/"


def viewer(static: Path, cache: Path) -> Path | None:
    """Put what shows volumes in 3-D under `static`/vendor; its script, None if not to be had."""
    try:
        fetch(NIIVUE, static / "vendor", cache)
    except Unavailable as reason:
        print(f"NiiVue for the first page: not to be had, its picture stays ({reason})")
        return None
    return static / "vendor" / "niivue.umd.js"


def fetch(libraries: dict, target: Path, cache: Path) -> None:
    """Copy the libraries' files to a folder; all of them, or `Unavailable`."""
    folders = [_library(package, *rest, cache) for package, rest in libraries.items()]
    for folder in folders:
        shutil.copytree(folder, target, dirs_exist_ok=True)


def _library(package: str, checksum: str, members: str, cache: Path) -> Path:
    """The folder of one library's files, from the cache or out of its checked archive."""
    kept = cache / package.replace("/", "-")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):  # of two that want it at once, one fetches it
        if not kept.exists():
            _fetch_checked(package, checksum, members, kept)
    return kept


def _fetch_checked(package: str, checksum: str, members: str, kept: Path) -> None:
    """Write one library's files to the folder `kept`, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        archive = _download(package, Path(folder))
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != checksum:
            raise SystemExit(
                f"{package}: the archive that npm delivered is not the published one "
                f"(SHA-512 {found}). Nothing of it is used; check your registry."
            )
        chosen = Path(folder) / "chosen"
        chosen.mkdir()
        with tarfile.open(archive) as content:
            for name in content.getnames():
                if re.fullmatch(members, name):
                    text = content.extractfile(name).read()
                    (chosen / Path(name).name).write_bytes(text)
        chosen.rename(kept)


def _download(package: str, folder: Path) -> Path:
    npm = shutil.which("npm")
    if not npm:
        raise Unavailable("npm is not installed")
    try:
        subprocess.run(
            [npm, "pack", "--silent", package],
            cwd=folder,
            check=True,
            timeout=120,
            capture_output=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"npm pack {package} failed") from error
    return next(folder.glob("*.tgz"))
