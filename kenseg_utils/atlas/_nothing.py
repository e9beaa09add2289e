"""What to say of a folder without scans, and of a file in the place of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from ._foreign import (
    GZIP_MAGIC,
    WEB_PAGES,
    ScanError,
    archive,
    pointer,
    refuse_encrypted,
    unreadable,
)
from ._seen import LeftOut, listed
from ._tables import SHEETS
from ._walk import Found, first_unreadable

_EXAMPLE = "sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz"
_ANY_FOLDER = (
    "Any folder works with a table beside it that names image, mask and subject (scans.csv)."
)
_CONVERT = {
    "DICOM files": "convert them to NIfTI, with dcm2niix for example",
    "FreeSurfer volumes": "convert them to NIfTI, with mri_convert for example",
    "NRRD files": "convert them to NIfTI, with 3D Slicer or SimpleITK",
    "MetaImage files": "convert them to NIfTI, with 3D Slicer or SimpleITK",
    "MINC files": "convert them to NIfTI, with mnc2nii for example",
    "drawings of MRIcron": "they are NIfTI under another ending: rename each from .voi to .nii.gz, "
    "with lesion in its name",
    "files of PAR/REC pairs": "convert them to NIfTI, with dcm2niix for example",
    "files of .hdr/.img pairs": "save each pair as one .nii.gz, with nibabel for example",
}


def refuse_file(root: Path) -> None:
    """Raise ScanError unless `root` is a folder that exists."""
    try:
        if root.is_dir():
            return
        with open(root, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise unreadable(root, error) from error
    if root.name.lower().endswith(SHEETS):
        raise ScanError(
            f"{root} is a spreadsheet, which is not read: save it as .csv, and name that."
        )
    if told := _is_packed(root, start):
        raise told
    if root.name.lower().endswith((".nii", ".nii.gz")):
        raise ScanError(
            f"{root} is a single scan, and a folder is needed: load it with "
            "atlas.load_image, or name the folder of the release."
        )
    if start.startswith(GZIP_MAGIC):
        raise _gzipped(root)
    raise ScanError(
        f"{root} is a file, and a folder is needed: name the folder of the release, or a table "
        "of scans (.csv or .tsv)."
    )


def nothing_found(root: Path, found: Found, suffix: str, left: tuple[LeftOut, ...]) -> ScanError:
    """The ScanError for a folder that was walked through in vain."""
    for problem in found.unreadable:
        if problem.filename == str(root):
            return unreadable(root, problem)
    for path in found.archives[:20]:
        if error := _packed_inside(Path(path)):
            return error
    counts = ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.most_common(6))
    problems = " ".join([*map(str, left), *filter(None, [first_unreadable(found)])])
    if problems:
        there = f" There are {counts}." if counts else ""
        return ScanError(
            f"{root} holds no whole ATLAS scan, nor another {suffix} to use. {problems}{there}"
        )
    if found.count == 0:
        return ScanError(
            f"{root} is empty: copy an ATLAS release there or another data set, or name another "
            "folder."
        )
    for kind, remedy in _CONVERT.items():
        if kind in found.kinds:
            return ScanError(
                f"{root} holds no NIfTI image named like a {suffix} with its mask, but "
                f"{found.kinds[kind]:,} {kind} (such as {found.first[kind]}): {remedy}. "
                f"{_ANY_FOLDER}"
            )
    if "other files" in found.kinds and _is_dicom(found.first["other files"]):
        return ScanError(
            f"{root} holds no NIfTI image named like a {suffix} with its mask, but DICOM files "
            f"without an ending (such as {found.first['other files']}): {_CONVERT['DICOM files']}. "
            f"{_ANY_FOLDER}"
        )
    if not counts:
        return ScanError(
            f"{root} holds nothing but hidden files ({found.count:,}): copy a data set there, or "
            "name another folder."
        )
    sample = listed(os.path.basename(path) for path in found.first.values())
    return ScanError(
        f"{root} does not look like an ATLAS release: it holds {found.count:,} files "
        f"({counts}; for example {sample}), and none is named like a {suffix} of ATLAS, of "
        f"BIDS or of nnU-Net (such as {_EXAMPLE}), nor like an image beside its lesion mask "
        "(p1_T1.nii.gz and p1_lesion.nii.gz). Name the unpacked data set's folder, or any "
        f"folder above it. {_ANY_FOLDER}"
    )


def _packed_inside(path: Path) -> ScanError | None:
    """What to say of a file in the folder that is called like an archive."""
    try:
        with open(path, "rb") as file:
            start = file.read(512)
    except OSError as error:
        return unreadable(path, error)
    if told := _is_packed(path, start):
        return told
    if start.startswith(GZIP_MAGIC):
        return _gzipped(path)
    if start.lstrip()[:200].lower().startswith(WEB_PAGES):
        return ScanError(
            f"{path} is a web page under the name of an archive: the server sent a page (to log "
            "in, or an error). Log in, and download it again."
        )
    if path.suffix.lower() in (".cpt", ".gpg", ".aes", ".enc"):
        how = {".cpt": "ccrypt -d", ".gpg": "gpg -d"}.get(path.suffix.lower(), "openssl enc -d")
        return ScanError(
            f"{path} is still encrypted. Decrypt it with the key that came with your data access "
            f"({how} '{path.name}'), then unpack it."
        )
    return ScanError(
        f"{path} is named like an archive and is none that is known: its first bytes are "
        f"{start[:8]!r}. Download it again, and unpack it."
    )


def _is_dicom(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _gzipped(path: Path) -> ScanError:
    """What to say of a file in gzip: an archive, or one file that is compressed."""
    name = path.name.lower()
    if name.endswith(".gz") and not name.endswith(".tar.gz"):
        return ScanError(
            f"{path} is compressed with gzip: unpack it (gunzip '{path.name}'), and name what "
            "comes out, or the folder that it belongs to."
        )
    return _archive_error(path, "is an archive")


def _is_packed(path: Path, start: bytes) -> ScanError | None:
    try:
        refuse_encrypted(path, start)
    except ScanError as error:
        return error
    if told := pointer(start, path.name):
        return ScanError(f"{path} {told}")
    if kind := archive(start):
        return _archive_error(path, f"is an archive ({kind})")
    return None


def _archive_error(path: Path, what: str) -> ScanError:
    return ScanError(
        f"{path} {what}, and a folder is needed. Unpack it first (tar -xf '{path.name}', or "
        "unzip or 7z x), then name the folder that comes out."
    )
