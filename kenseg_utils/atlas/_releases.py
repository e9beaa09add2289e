"""Which files under a folder are scans of which ATLAS release: told by name, never by content.

The names that each release uses, T1w first and then the lesion masks::

    R1.1  Site1/031768/t01/031768_t1w_deface_stx.nii.gz · 031768_LesionSmooth[_1]_stx.nii.gz
    R1.2  c0003s0002t01_t1w_stx.nii.gz · c0003s0002t01_LesionSmooth[_1]_stx.nii.gz
    R2.0  Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz
          · …_label-L_desc-T1lesion_mask.nii.gz; the same beneath Testing/, without masks
    R2.1  Training_Raw/R001/sub-…/ses-1/anat/…_space-orig_desc-brain_T1w.nii.gz
          · …_space-orig_label-lesion_desc-T1lesion_mask.nii.gz; or plain BIDS, …_T1w.nii.gz
    R3.0  as R2.1, beneath ATLAS3_Training_Raw/<SITE>; ATLAS3_Training_Preprocessed has
          …_space-MNI152NLin2009aSym_desc-brainnorm_T1w.nii.gz
"""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ._nifti import GZIP_MAGIC, ScanError, refuse_encrypted, unreadable
from ._tables import metadata

COLUMNS = ["subject", "session", "site", "release", "split", "space", "t1w", "masks"]

_NIFTI = r"\.nii(\.gz)?$"
_BIDS = re.compile(r"^(sub-[^_.]+)(?:_(ses-[^_.]+))?((?:_[A-Za-z]+-[^_.]+)*)_(T1w|mask)" + _NIFTI)
_STX = re.compile(r"^([A-Za-z0-9]+)_(t1w(?:_deface)?|LesionSmooth(?:_\d+)?)_stx" + _NIFTI)
_BIDS_SITE = re.compile(r"^sub-r(\d+)s\d+$", re.I)
_SPLIT = re.compile(r"(^|_)(training|testing)(_|$)")
_TEMPLATE = "MNI152NLin2009aSym"
_R12_NAME = re.compile(r"^((c\d+)s\d+)(t\d+)$")
_UNFINISHED = re.compile(r"(?<=\.nii|i\.gz)\.(part|partial|filepart|crdownload|download|tmp)$")
_RSYNC = re.compile(r"^\.(.+\.nii(?:\.gz)?)\.[A-Za-z0-9]{6}$")  # its name for a file on the way
_ARCHIVE = re.compile(r"\.(tar|tar\.gz|tgz|zip|gz|enc|aes)$")
_RELEASE_FOLDERS = {
    "R3.0": re.compile(r"atlas[ _-]?(r?3|r?3[._]0)(?![0-9a-z.])|r3[._]0(?![0-9])", re.I),
    "R2.1": re.compile(r"atlas[ _-]?(r?21|r?2[._]1)(?![0-9a-z.])|r2[._]1(?![0-9])", re.I),
    "R2.0": re.compile(r"atlas[ _-]?(r?2|r?2[._]0)(?![0-9a-z.])|r2[._]0(?![0-9])", re.I),
}


@dataclass(frozen=True)
class _File:
    """What one file's name says."""

    path: str
    is_mask: bool
    subject: str
    session: str
    space: str  # "" where the name does not tell
    description: str
    is_bids: bool

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)


@dataclass
class _Found:
    """All that a walk through a folder came upon."""

    images: list[_File]
    masks: list[_File]
    tables: list[str]
    unfinished: list[str]
    archives: list[str]
    unreadable: list[OSError]
    count: int = 0


def find_scans(root: str | os.PathLike) -> pd.DataFrame:
    """Find every T1w of an ATLAS release in `root`, which may be any folder above it.

    Returns a row per T1w, sorted: subject, session, site, release ("R1.1" … "R3.0"), split
    ("training", "testing" or ""), space (of the T1w: a template's name, or "orig"), t1w (path),
    masks (tuple of paths, () where there are none), then whatever the release's own tables tell.
    R2.1 and R3.0 name their files alike: the folder above decides, and R3.0 where it does not.
    What looks unfinished beside whole scans is warned of and kept in `.attrs["problems"]`.

    Raises ScanError for a folder that is missing, empty, unreadable, without ATLAS scans, still an
    archive, or in which two files claim to be the same scan.
    """
    root = Path(os.path.abspath(os.path.expanduser(root)))
    _refuse_file(root)
    found = _walk(root)
    rows = _rows(found)
    if not rows:
        raise _nothing_found(root, found)
    _refuse_duplicates(rows)
    rows.sort(key=lambda row: (row["release"], row["subject"], row["session"], row["space"]))
    table = pd.DataFrame(rows, columns=COLUMNS)
    extra = metadata(table, found.tables)
    table = pd.concat([table, extra], axis=1)
    table.attrs["problems"] = tuple(_problems(found, rows))
    for problem in table.attrs["problems"]:
        warnings.warn(problem, stacklevel=2)
    return table


def require_masks(scans: pd.DataFrame, drop: bool = False) -> pd.DataFrame:
    """Return `scans` if every row has a lesion mask; with `drop`, only the rows that have one.

    Raises ScanError naming the first scans without a mask, or if none has one.
    """
    without = scans[scans["masks"].map(len) == 0]
    if without.empty:
        return scans
    if drop and len(without) < len(scans):
        return scans[scans["masks"].map(len) > 0].reset_index(drop=True)
    where = without["t1w"].iloc[0]
    reason = (
        "ATLAS keeps the masks of its test split secret: use the training folder."
        if (without["split"] == "testing").all()
        else "The copy may be half-finished: copy their folders again, or leave these scans out "
        "with require_masks(scans, drop=True)."
    )
    raise ScanError(
        f"{len(without)} of {len(scans)} scans have no lesion mask beside their T1w, "
        f"the first of them {where}. {reason}"
    )


# --- the walk -----------------------------------------------------------------------------------


def _walk(root: Path) -> _Found:
    found = _Found([], [], [], [], [], [])
    visited = set()
    for folder, subfolders, names in os.walk(
        root, followlinks=True, onerror=found.unreadable.append
    ):
        real = os.path.realpath(folder)
        if real in visited:  # a link back up, or a second way in
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            _sort_file(found, folder, name)
    return found


def _sort_file(found: _Found, folder: str, name: str) -> None:
    found.count += 1
    path = os.path.join(folder, name)
    if (partial := _RSYNC.match(name)) and _parse(path, partial[1]):
        found.unfinished.append(path)
    elif name.startswith("."):
        return
    elif file := _parse(path, name):
        (found.masks if file.is_mask else found.images).append(file)
    elif _UNFINISHED.search(name) and _parse(path, _UNFINISHED.sub("", name)):
        found.unfinished.append(path)
    elif name.endswith((".tsv", ".csv")):
        found.tables.append(path)
    elif _ARCHIVE.search(name.lower()) and not name.endswith(".nii.gz"):
        found.archives.append(path)


def _parse(path: str, name: str) -> _File | None:
    if match := _BIDS.match(name):
        subject, session, entities, suffix, _ = match.groups()
        entities = dict(part.split("-", 1) for part in entities.split("_") if part)
        is_lesion = "lesion" in entities.get("desc", "").lower() or entities.get(
            "label", ""
        ).lower() in ("l", "lesion")
        if suffix == "mask" and not is_lesion:  # a brain mask, say
            return None
        return _File(
            path,
            suffix == "mask",
            subject,
            session or "ses-1",
            entities.get("space", ""),
            entities.get("desc", ""),
            True,
        )
    if match := _STX.match(name):
        scan, kind, _ = match.groups()
        folder = os.path.basename(os.path.dirname(path))
        session = folder if re.fullmatch(r"t\d+", folder) else "t01"
        subject = scan
        if r12 := _R12_NAME.match(scan):
            subject, session = r12[1], r12[3]
        return _File(path, kind.startswith("Lesion"), subject, session, "MNI152", kind, False)
    return None


# --- from files to rows -------------------------------------------------------------------------


def _rows(found: _Found) -> list[dict]:
    """A row for each T1w that is an ATLAS scan, with the masks that belong to it."""
    beside, anywhere = defaultdict(list), defaultdict(list)
    for image in found.images:
        beside[image.folder, image.subject, image.session].append(image)
        anywhere[image.subject, image.session].append(image)
    masks = defaultdict(list)
    for mask in found.masks:
        # Beside its T1w; else, as in BIDS derivatives, in a folder of its own.
        candidates = (
            beside[mask.folder, mask.subject, mask.session] or anywhere[mask.subject, mask.session]
        )
        fitting = [
            image for image in candidates if (image.space or "orig") == (mask.space or "orig")
        ]
        if not fitting and not mask.space:
            fitting = candidates
        if len(fitting) == 1:
            masks[fitting[0].path].append(mask.path)
    rows = (_row(image, tuple(masks[image.path])) for image in found.images)
    return [row for row in rows if row is not None]


def _row(image: _File, masks: tuple[str, ...]) -> dict | None:
    above = Path(image.folder).parts  # the folders above the subject's own
    if image.subject in above:
        above = above[: len(above) - 1 - above[::-1].index(image.subject)]
    release = _release(image, above, bool(masks))
    if release is None:
        return None
    split = next(
        (match[2] for part in reversed(above) if (match := _SPLIT.search(part.lower()))), ""
    )
    return {
        "subject": image.subject,
        "session": image.session,
        "site": _site(image, above),
        "release": release,
        "split": split,
        "space": image.space or "orig",
        "t1w": image.path,
        "masks": masks,
    }


def _release(image: _File, above: tuple[str, ...], has_masks: bool) -> str | None:
    """The release that a T1w belongs to, or None if nothing says that it is of ATLAS."""
    if not image.is_bids:
        return "R1.2" if _R12_NAME.match(image.subject + image.session) else "R1.1"
    named = next(
        (
            release
            for part in reversed(above)
            for release, pattern in _RELEASE_FOLDERS.items()
            if pattern.search(part)
        ),
        None,
    )
    if image.space in ("orig", _TEMPLATE) and image.description.startswith("brain"):
        if named in ("R2.1", "R3.0"):
            return named
        return "R2.1" if any(part.lower().startswith("training_") for part in above) else "R3.0"
    if image.space == _TEMPLATE and not image.description:
        return named or "R2.0"
    # Any data set may use plain BIDS names, so the subject or a lesion mask has to tell.
    return (named or "R2.1") if has_masks or _BIDS_SITE.match(image.subject) else None


def _site(image: _File, above: tuple[str, ...]) -> str:
    if match := _BIDS_SITE.match(image.subject):
        return f"R{match[1]}"
    if match := _R12_NAME.match(image.subject + image.session):
        return match[2]
    return above[-1] if above else ""


def _refuse_duplicates(rows: list[dict]) -> None:
    first = {}
    for row in rows:
        identity = (row["release"], row["subject"], row["session"], row["space"])
        if identity in first:
            raise ScanError(
                f"Two files claim to be the same scan ({' '.join(identity)}): "
                f"{first[identity]} and {row['t1w']}. Remove one, or name the folder "
                "of one copy of the release."
            )
        first[identity] = row["t1w"]
        stems = defaultdict(list)
        for mask in row["masks"]:
            stems[re.sub(_NIFTI, "", os.path.basename(mask))].append(mask)
        for same in stems.values():
            if len(same) > 1:
                raise ScanError(
                    f"Two files claim to be the same lesion mask: {same[0]} and "
                    f"{same[1]}. Remove one."
                )


# --- what is wrong with a folder ----------------------------------------------------------------


def _problems(found: _Found, rows: list[dict]) -> Iterator[str]:
    matched = {path for row in rows for path in row["masks"]}
    orphans = [mask.path for mask in found.masks if mask.path not in matched]
    for paths, what in (
        (found.unfinished, "still being copied, or left by a copy that broke off"),
        (orphans, "lesion masks without a T1w, or with more than one"),
    ):
        if paths:
            yield (
                f"{len(paths)} file(s) left out, {what}; the first is {paths[0]}. "
                "Finish the copy and look again."
            )
    if found.unreadable:
        yield str(unreadable(Path(found.unreadable[0].filename), found.unreadable[0]))


def _refuse_file(root: Path) -> None:
    """Raise ScanError unless `root` is a folder that exists."""
    try:
        if root.is_dir():
            return
        with open(root, "rb") as file:
            start = file.read(512)
    except OSError as error:
        raise unreadable(root, error) from error
    refuse_encrypted(root, start)
    if root.name.endswith((".nii", ".nii.gz")):
        raise ScanError(
            f"{root} is a single scan, and a folder is needed: load it with "
            "atlas.load_image, or name the folder of the release."
        )
    if start.startswith((GZIP_MAGIC, b"PK\x03\x04")) or start[257:262] == b"ustar":
        raise ScanError(
            f"{root} is an archive, and a folder is needed. Unpack it first (tar -xf "
            f"'{root.name}', or unzip), then name the folder that comes out."
        )
    raise ScanError(f"{root} is a file, and a folder is needed: name the folder of the release.")


def _nothing_found(root: Path, found: _Found) -> ScanError:
    for problem in found.unreadable:
        if problem.filename == str(root):
            return unreadable(root, problem)
    for path in found.archives[:20]:
        try:
            _refuse_file(Path(path))
        except ScanError as error:
            return error
    problems = " ".join(_problems(found, []))
    if problems:
        return ScanError(f"{root} holds no whole ATLAS scan. {problems}")
    if found.count == 0:
        return ScanError(f"{root} is empty: copy an ATLAS release there, or name another folder.")
    return ScanError(
        f"{root} does not look like an ATLAS release: it holds {found.count:,} files, and none is "
        "named like an ATLAS T1w (such as sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz). "
        "Name the unpacked release's folder, or any folder above it."
    )
