"""All files below a folder, sorted by what their names say; no file is opened that is no text."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from ._foreign import annex_link, pointer, unreadable
from ._known import DESCRIPTION
from ._names import CONTRASTS, NIFTI, File, parse, suffix_of

_UNFINISHED = re.compile(r"(?<=\.nii|i\.gz)\.(part|partial|filepart|crdownload|download|tmp)$")
_RSYNC = re.compile(r"^\.(.+\.nii(?:\.gz)?)\.[A-Za-z0-9]{6}$")  # its name for a file on the way
_ARCHIVE = re.compile(
    r"\.(tar|tar\.gz|tgz|tar\.(bz2|xz|zst|lz4|z)|zip|7z|rar|gz|enc|aes|cpt|gpg|"
    r"(zip|7z|rar|tar|tar\.gz|tgz)\.(\d{2,3}|part\w*))$"
)
_NO_ARCHIVE = re.compile(r"\.(nii|tsv|csv|json|txt|bval|bvec|mgh|nrrd)\.gz$")
_TABLE = re.compile(r"\.(tsv|csv|xlsx|xls|ods)$")
_PACKED_TABLE = re.compile(r"(^participants|meta-?_?data.*)\.(tsv|csv)\.gz$")
_COPY = re.compile(r"_(?:T1w|mask|FLAIR|T2w)\b.+\.nii(\.gz)?$", re.I)  # "…_T1w (1).nii.gz"
_KINDS = {
    "DICOM files": re.compile(r"\.(dcm|ima)$"),
    "FreeSurfer volumes": re.compile(r"\.(mgz|mgh)$"),
    "NRRD files": re.compile(r"\.(nrrd|nhdr)(\.gz)?$"),
    "MetaImage files": re.compile(r"\.(mha|mhd)$"),
    "MINC files": re.compile(r"\.mnc(\.gz)?$"),
    "drawings of MRIcron": re.compile(r"\.voi$"),
    "files of PAR/REC pairs": re.compile(r"\.(par|rec)$"),
    "files of .hdr/.img pairs": re.compile(r"\.(hdr|img)(\.gz)?$"),
    "tables": _TABLE,
    "JSON files": re.compile(r"\.json$"),
}
_KIND_OF_MASK = {"lesion": "lesion masks", "mask": "other masks", "tissue": "other masks"}
_SMALLEST_NIFTI = 348


@dataclass
class Found:
    """All that a walk through a folder came upon. `niftis` has every NIfTI file's name by folder.

    `others` are images of other contrasts. `masks` may be of lesions; those of tissue are only
    counted. `kinds` counts files by kind.
    """

    images: list[File] = field(default_factory=list)
    others: list[File] = field(default_factory=list)
    masks: list[File] = field(default_factory=list)
    niftis: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    tables: list[str] = field(default_factory=list)
    descriptions: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    unreadable: list[OSError] = field(default_factory=list)
    kinds: Counter = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def add(self, kind: str, path: str) -> None:
        """Count a file."""
        self.kinds[kind] += 1
        self.first.setdefault(kind, path)


def walk(root: Path, suffix: str) -> Found:
    """Sort all files below `root`; links are followed, each folder is entered once.

    Folders are entered before links, since a folder's own place tells site and split; of links to
    one folder that of its name comes first.
    """
    found = Found()
    visited: set[str] = set()
    starts = [str(root)]
    while starts:
        links: list[str] = []
        for start in starts:
            links += _walk_folders(found, start, suffix, visited)
        starts = sorted(links, key=lambda link: (not _has_its_name(link), link))
    return found


def _walk_folders(found: Found, start: str, suffix: str, visited: set[str]) -> list[str]:
    """Sort all files below `start` but those behind links to folders, which are returned."""
    links = []
    for folder, subfolders, names in os.walk(start, onerror=found.unreadable.append):
        real = os.path.realpath(folder)
        if real in visited:  # a link back up, or a second way in
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name != "__MACOSX"
        )
        below = [os.path.join(folder, name) for name in subfolders]
        links += [path for path in below if os.path.islink(path)]
        for name in sorted(names):
            _sort(found, folder, name, suffix)
    return links


def _has_its_name(link: str) -> bool:
    """Whether a link is called like what it leads to."""
    return os.path.basename(link) == os.path.basename(os.path.realpath(link))


def missing_content(path: str) -> str:
    """Why a scan's file cannot be opened or is only a pointer to its content, or ""."""
    try:
        if os.stat(path).st_size >= _SMALLEST_NIFTI:
            return ""
        with open(path, "rb") as file:
            told = pointer(file.read(_SMALLEST_NIFTI), os.path.basename(path))
    except FileNotFoundError:
        if annex_link(Path(path)):
            return "links of git-annex whose content has not been fetched (`datalad get` does it)"
        return "links whose target is missing"
    except OSError:  # which loading it will tell
        return ""
    if "git-annex" in told:
        return "pointers of git-annex whose content has not been fetched (`datalad get` does it)"
    return "pointers of Git LFS whose content has not been fetched (`git lfs pull`)" if told else ""


def first_unreadable(found: Found) -> str:
    """What to say of folders that could not be entered, or ""."""
    if not found.unreadable:
        return ""
    error = found.unreadable[0]
    return str(unreadable(Path(error.filename), error))


def _sort(found: Found, folder: str, name: str, suffix: str) -> None:
    found.count += 1
    path = os.path.join(folder, name)
    if (partial := _RSYNC.match(name)) and parse(path, partial[1], suffix):
        found.unfinished.append(path)
    elif name.startswith("."):
        return
    elif NIFTI.search(name):
        _sort_nifti(found, folder, name, suffix)
    elif _UNFINISHED.search(name) and parse(path, _UNFINISHED.sub("", name), suffix):
        found.unfinished.append(path)
    else:
        _sort_other(found, path, name)


def _sort_nifti(found: Found, folder: str, name: str, suffix: str) -> None:
    path = os.path.join(folder, name)
    found.niftis[folder].append(name)
    file = parse(path, name, suffix)
    if file is None:
        contrast = suffix_of(name)
        if _COPY.search(name) and not contrast:
            found.copies.append(path)
        if contrast.lower() in CONTRASTS and (other := parse(path, name, contrast)):
            found.others.append(replace(other, source=contrast.lower()))
        found.add(contrast or "other NIfTI files", path)
    elif file.kind == "image":
        found.images.append(file)
        found.add(suffix, path)
    else:
        if file.kind != "tissue":
            found.masks.append(file)
        found.add(_KIND_OF_MASK[file.kind], path)


def _sort_other(found: Found, path: str, name: str) -> None:
    lower = name.lower()
    if name == DESCRIPTION:
        found.descriptions.append(path)
    if _TABLE.search(lower) or _PACKED_TABLE.search(lower):
        found.tables.append(path)
    elif _ARCHIVE.search(lower) and not _NO_ARCHIVE.search(lower):
        found.archives.append(path)
    kind = next((kind for kind, pattern in _KINDS.items() if pattern.search(lower)), "other files")
    found.add(kind, path)
