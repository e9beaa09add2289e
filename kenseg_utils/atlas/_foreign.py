"""Paths that are none and files that are no NIfTI volume: what they are, and what to do.

A file is told by its first bytes, and by its name only where those say nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from kenseg_utils import artifacts
from kenseg_utils.machine import readable

GZIP_MAGIC = b"\x1f\x8b"
COPY_AGAIN = "Copy or download it again, and compare its size or checksum with the source's."
_CONVERT = "Convert it to .nii.gz first"
_WINDOWS = re.compile(r"[A-Za-z]:\\")
WEB_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<error")  # in lower case
_PICTURE = "a picture, whose grey values and voxel sizes are no scan's"
# How other things begin: what they are, and what makes NIfTI of them ("" where nothing does).
_OTHERS = (
    (b"CDF\x01", "a MINC volume", "mnc2nii"),
    (b"\x89HDF\r\n", "a file of HDF5, such as MINC 2", "mnc2nii for MINC"),
    (b"MATLAB 5.0", "a file of MATLAB", "niftiwrite"),
    (b"\x93NUMPY", "an array of NumPy without an affine", "nibabel.Nifti1Image"),
    (b"# === DATA DESCRIPTION FILE", "the header of a Philips PAR/REC pair", "dcm2niix"),
    (b"\xff\xd8\xff", _PICTURE, ""),
    (b"\x89PNG", _PICTURE, ""),
    (b"GIF8", _PICTURE, ""),
    (b"II*\0", _PICTURE, ""),
    (b"MM\0*", _PICTURE, ""),
    (b"%PDF", "a PDF document", ""),
)
_PRINTABLE = frozenset(range(32, 127)) | frozenset(b"\t\r\n") | frozenset(range(128, 256))


class ScanError(ValueError):
    """A scan, or a folder of scans, that cannot be used: the file, the cause, what to do.

    The message can always be printed: bytes of a path that are not UTF-8 appear as Latin-1.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(readable(message))


def as_path(path: str | os.PathLike) -> Path:
    """What `artifacts.as_path` gives; ScanError for what is none, or has more around it."""
    try:
        text = str(artifacts.as_path(path))
    except ValueError as error:
        raise ScanError(str(error)) from error
    bare = text.strip().strip("'\"").strip()
    if bare != text and not os.path.lexists(text):
        raise ScanError(
            f"{text!r} does not exist: blanks or quotation marks at its ends are taken for a part "
            f"of it. Try {bare} without them."
        )
    return Path(text)


def unreadable(path: Path, error: OSError) -> ScanError:
    """The ScanError for a file or folder that the system would not open."""
    if isinstance(error, FileNotFoundError):
        return ScanError(f"{path} does not exist{_why_missing(path)}")
    if isinstance(error, PermissionError):
        return ScanError(
            f"{path} may not be read: permission denied. Ask its owner, or give "
            f"yourself the right: chmod u+rX '{path}'."
        )
    if isinstance(error, IsADirectoryError):
        return ScanError(_folder_for_file(path))
    return ScanError(
        f"{path} cannot be read: {error.strerror or error}. Check the path and the disk."
    )


def _why_missing(path: Path) -> str:
    if path.is_symlink():
        if annex_link(path):
            return (
                ": it is a link of git-annex whose content has not been fetched. Fetch it with "
                f"`datalad get '{path}'` or `git annex get '{path}'`."
            )
        return " (it is a link whose target is missing). Copy what it points to, or mend the link."
    name = str(path)
    if os.name != "nt" and _WINDOWS.match(name):
        return ": it is a path of Windows, and this system is another. Name it as this one does."
    return ". Check the path, and that the copy, the download or the `datalad get` has finished."


def annex_link(path: Path) -> bool:
    """Whether a path is a link into a git-annex."""
    try:
        return "annex/objects" in os.readlink(path).replace("\\", "/")
    except OSError:
        return False


def _folder_for_file(path: Path) -> str:
    try:
        names = sorted(os.listdir(path))
    except OSError:
        names = []
    dicom = next((name for name in names if name.lower().endswith((".dcm", ".ima"))), None)
    if dicom:
        return (
            f"{path} cannot be read: it is a folder of DICOM files ({dicom} …), not a NIfTI file. "
            f"{_CONVERT}, with dcm2niix for example."
        )
    return (
        f"{path} cannot be read: it is a folder, and a NIfTI file is needed. Name the file in it."
    )


def refuse_encrypted(path: Path, start: bytes) -> None:
    """Raise ScanError where a file's first bytes are those of `openssl enc` output."""
    if start.startswith((b"Salted__", b"U2FsdGVkX1")):  # the second is the first in base64
        base64 = " -a" if start.startswith(b"U2F") else ""
        raise ScanError(
            f"{path} is still encrypted. Decrypt it with the key that came with your data access, "
            f"then unpack it: openssl aes-256-cbc -md sha256 -d{base64} -in '{path.name}' "
            "-out ATLAS.tar.gz && tar -xzf ATLAS.tar.gz"
        )


def pointer(start: bytes, name: str) -> str:
    """What to do about a text file that only stands for the file, or "" if it is none."""
    if start.startswith(b"version https://git-lfs"):
        return (
            "is a pointer of Git LFS, not the file itself. Fetch the content: "
            f"`git lfs pull --include '*{name}'`."
        )
    if b"annex/objects/" in start[:400].replace(b"\\", b"/") and b"\0" not in start[:40]:
        return (
            "is a pointer of git-annex, not the file itself. Fetch the content: "
            f"`datalad get '{name}'` or `git annex get '{name}'`."
        )
    return ""


def archive(start: bytes) -> str:
    """The kind of archive or compression that a file begins with, or ""."""
    for magic, kind in (
        (b"PK\x03\x04", "a ZIP archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"7z\xbc\xaf", "a 7z archive"),
        (b"Rar!\x1a\x07", "a RAR archive"),
        (b"BZh", "compressed with bzip2"),
        (b"\xfd7zXZ\x00", "compressed with xz"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"\x04\x22\x4d\x18", "compressed with lz4"),
        (b"\x1f\x9d", "compressed with compress"),
    ):
        if start.startswith(magic):
            return kind
    return "a tar archive" if start[257:262] == b"ustar" else ""


def refuse_foreign(path: Path, start: bytes, size: int) -> None:
    """Raise ScanError where a file's first bytes are those of something else than NIfTI or gzip."""
    if size == 0:
        raise ScanError(
            f"{path} is empty (0 bytes): the copy or download did not finish. {COPY_AGAIN}"
        )
    refuse_encrypted(path, start)
    if told := pointer(start, path.name):
        raise ScanError(f"{path} {told}")
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:400].lower()
    if b"<gifti" in text or b"<!doctype gifti" in text:
        raise ScanError(f"{path} is a surface (GIFTI): a volume is needed.")
    if text.startswith(WEB_PAGES):
        raise ScanError(
            f"{path} is a web page, not a scan: the server sent a page (to log in, or an error) "
            "under the file's name. Log in, and download it again."
        )
    if kind := archive(start):
        raise ScanError(f"{path} is {kind} under the name of a scan. Unpack it first.")
    if start[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".ima"):
        raise ScanError(f"{path} is a DICOM file. {_CONVERT}, with dcm2niix for example.")
    if start.startswith(b"NRRD") or path.suffix.lower() in (".nrrd", ".nhdr"):
        raise ScanError(f"{path} is an NRRD file. {_CONVERT}, with 3D Slicer or SimpleITK.")
    if start.startswith(b"ObjectType =") or path.suffix.lower() in (".mha", ".mhd"):
        raise ScanError(f"{path} is a MetaImage file. {_CONVERT}, with 3D Slicer or SimpleITK.")
    if start.startswith(b"\x00\x00\x00\x01") or path.suffix.lower() in (".mgz", ".mgh"):
        refuse_freesurfer(path)
    _refuse_others(path, start)
    if path.suffix.lower() == ".img":
        raise ScanError(
            f"{path} holds the voxels of a .hdr/.img pair. {_CONVERT}: "
            f"nibabel.save(nibabel.load('{path.name}'), 'x.nii.gz')."
        )


def _refuse_others(path: Path, start: bytes) -> None:
    """Raise ScanError where a file begins as other known things do, or is nothing but text."""
    for magic, what, remedy in _OTHERS:
        if start.startswith(magic):
            how = f" {_CONVERT}, with {remedy}." if remedy else " Name the NIfTI file."
            raise ScanError(f"{path} is {what}.{how}")
    if start and _PRINTABLE.issuperset(start[:200]):
        raise ScanError(
            f"{path} is text, and no scan: it begins with {bytes(start[:40])!r}. If it was "
            "downloaded, that is the server's answer: see what it says, and fetch the scan anew."
        )


def refuse_freesurfer(path: Path) -> None:
    raise ScanError(
        f"{path} is a volume of FreeSurfer (MGH format). {_CONVERT}: "
        f"mri_convert {path.name} x.nii.gz, or nibabel.save."
    )


def refuse_no_nifti(path: Path, content: bytes) -> None:
    """Raise ScanError unless unpacked content begins like a NIfTI volume in one file."""
    if content.startswith(GZIP_MAGIC):
        raise ScanError(f"{path} is compressed twice: unpack it once with gunzip.")
    if content.startswith(b"\x00\x00\x00\x01"):
        refuse_freesurfer(path)
    if kind := archive(content):
        raise ScanError(f"{path} is {kind} under the name of a scan. Unpack it first.")
    _refuse_others(path, content)
    if len(content) < 348:
        raise ScanError(
            f"{path} is truncated: it holds {len(content)} bytes, fewer than the header of a "
            f"NIfTI volume. {COPY_AGAIN}"
        )
    sizes = {int.from_bytes(content[:4], order) for order in ("little", "big")}
    magics = content[344:348], content[4:8]
    if b"ni1\0" in magics or b"ni2\0" in magics:
        raise ScanError(
            f"{path} is the header of a .hdr/.img pair. {_CONVERT}: "
            f"nibabel.save(nibabel.load('{path.name}'), 'x.nii.gz')."
        )
    if not sizes & {348, 540} and not content[344:347] == b"n+1":
        raise ScanError(
            f"{path} is not a NIfTI volume: it begins with {bytes(content[:8])!r}. Name a .nii or "
            f".nii.gz file, or convert this one. {COPY_AGAIN}"
        )
    if 348 in sizes and content[344:348] == b"\0\0\0\0":
        raise ScanError(
            f"{path} is the header of an Analyze 7.5 pair, which does not say left from right. "
            f"{_CONVERT}, with the program that wrote it."
        )
