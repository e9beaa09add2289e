"""Find scans: of any ATLAS release, of ARC and SOOP, in any BIDS tree, folder layout or table.

The names that each release of ATLAS uses, T1w first and then the lesion masks::

    R1.1  Site1/031768/t01/031768_t1w_deface_stx.nii.gz · 031768_LesionSmooth[_1]_stx.nii.gz
    R1.2  c0003s0002t01_t1w_stx.nii.gz · c0003s0002t01_LesionSmooth[_1]_stx.nii.gz
    R2.0  Training/R001/sub-r001s001/ses-1/anat/…_space-MNI152NLin2009aSym_T1w.nii.gz
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
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from . import _bids, _given, _known, _layouts
from ._copies import look_alikes, same_file
from ._foreign import ScanError, as_path, readable
from ._names import NIFTI, R12_NAME, File
from ._nothing import nothing_found, refuse_file
from ._seen import LeftOut, Seen, gather, in_words, listed
from ._tables import metadata, numeric
from ._walk import Found, first_unreadable, walk

COLUMNS = [
    "subject",
    "session",
    "site",
    "release",
    "split",
    "space",
    "t1w",
    "masks",
    "mask_grid",
    "acquisition",
    "run",
    "description",
    "unlabelled",
]
TEST_SPLIT = "ATLAS keeps the masks of its test split secret"
NO_MASK = "no lesion mask was found for it"

_BIDS_SITE = re.compile(r"^sub-r(\d+)s\d+$", re.I)
_SPLIT_FOLDER = re.compile(r"^(?:atlas[\w.]*_)?(training|testing)(?:_\w+)?$", re.I)
_SITE_FOLDER = re.compile(r"^[A-Za-z]+\d{1,4}$|^(?!.*atlas)[A-Z]{2,12}\d*$")
_TEMPLATE = "MNI152NLin2009aSym"
_RELEASE_FOLDERS = {
    "R3.0": re.compile(r"atlas[ _-]?(r?3|r?3[._]0)(?![0-9a-z.])|r3[._]0(?![0-9])", re.I),
    "R2.1": re.compile(r"atlas[ _-]?(r?21|r?2[._]1)(?![0-9a-z.])|r2[._]1(?![0-9])", re.I),
    "R2.0": re.compile(r"atlas[ _-]?(r?2|r?2[._]0)(?![0-9a-z.])|r2[._]0(?![0-9])", re.I),
}
_SITE_COLUMNS = ("site", "center", "centre", "institution")
_SAMPLE = 2


def find_scans(root: str | os.PathLike, suffix: str = "T1w") -> pd.DataFrame:
    """Find the scans in `root`: a folder, or a table (.csv, .tsv) that names them.

    A folder may be, or be above: any release of ATLAS; ARC; any BIDS tree, with lesion masks
    beside the images or in derivatives; nnU-Net's imagesTr and labelsTr; `images` beside `labels`.
    A table has the columns image and subject, and mask, session, site and others where known.
    suffix: the contrast, as BIDS names it. Nothing in this book was tested on other ones than T1w.

    Returns a row per image, sorted: subject, session, site, release ("R1.1" … "R3.0", "ARC 1.0.2",
    or what the data set calls itself), split ("training", "testing" or ""), space (a template's
    name, or "orig"), t1w (path of the image), masks (tuple of paths, () where there are none),
    mask_grid ("same", or "world" for masks that `load_scan` brings to the image's grid),
    acquisition, run and description (the labels of acq-, run- and desc-, or ""), unlabelled (why
    there is no mask, or ""), then whatever the data's own tables tell.
    `.attrs["seen"]` says what was found, left out, and why, and which images stand under two
    names; a warning says so too. `.attrs["problems"]` has the sentences on what was left out.

    Raises ScanError for a folder that is missing, empty, unreadable, without scans or still an
    archive, and for a table that is none, or contradicts itself; ValueError for a suffix.
    """
    if not isinstance(suffix, str) or not re.fullmatch(r"[A-Za-z0-9]+", suffix):
        raise ValueError(f"suffix is {suffix!r}: give a contrast as BIDS names it, such as T1w.")
    root = Path(os.path.abspath(as_path(root)))
    left: list[tuple[str, str]] = []

    def leave_out(reason: str, path: str) -> None:
        left.append((reason, path))

    if root.is_file() and _given.is_table(root):
        table, seen = _of_table(root, leave_out, left)
    else:
        table, seen = _of_folder(root, suffix, leave_out, left)
    table.attrs["seen"] = seen
    table.attrs["problems"] = seen.problems
    for text in seen.problems + seen.look_alikes:
        warnings.warn(text, stacklevel=2)
    return table


def require_masks(scans: pd.DataFrame, drop: bool = True) -> pd.DataFrame:
    """The scans that have a mask, as training and evaluation need them.

    Others are left out with a warning that counts them by reason; with `drop=False` one of them is
    enough to stop. Raises ScanError, with the reason, also where nothing is left.
    """
    has_none = scans["masks"].map(len) == 0
    if not has_none.any():
        return scans
    without = scans[has_none]
    told = "; ".join(
        f"{count} since {reason}" for reason, count in Counter(_reasons(without)).most_common()
    )
    first = readable(f"the first is {without['t1w'].iloc[0]}")
    if drop and not has_none.all():
        warnings.warn(
            f"{len(without)} of {len(scans)} scans are left out, having no lesion mask: {told}; "
            f"{first}.",
            stacklevel=2,
        )
        return scans[~has_none]
    remedy = (
        "Use the training folder."
        if (without["split"] == "testing").all()
        else "The copy may be half-finished: copy their folders again, or leave these scans out "
        "with require_masks(scans)."
    )
    if "release" in without and without["release"].astype(str).str.startswith("SOOP").all():
        remedy = "Train on ARC or ATLAS instead."
    raise ScanError(
        f"{len(without)} of {len(scans)} scans have no lesion mask to use: {told}; {first}. "
        + remedy
    )


def _reasons(scans: pd.DataFrame) -> Iterator[str]:
    """Why each of some scans has no mask."""
    texts = scans["unlabelled"] if "unlabelled" in scans else [""] * len(scans)
    for text in texts:
        yield text if isinstance(text, str) and text else NO_MASK


# --- tables and folders ---------------------------------------------------------------------------


def _of_table(path: Path, leave_out, left) -> tuple[pd.DataFrame, Seen]:
    rows, extras = _given.scans_in(path, leave_out)
    if not rows:
        raise ScanError(
            f"{path} names no scan that is there: {' '.join(map(str, gather(left)))} "
            "Its paths are relative to the table."
        )
    blank = {"acquisition": "", "run": "", "description": ""}
    table = pd.DataFrame([row | blank for row in rows], columns=COLUMNS)
    more = pd.DataFrame(extras)
    more = more.drop(columns=[name for name in more if name in COLUMNS])
    more = more.replace({"": None, "n/a": None})
    table = pd.concat([table, more.apply(numeric) if len(more.columns) else more], axis=1)
    return table, _report(path, table, gather(left), (), ())


def _of_folder(root: Path, suffix: str, leave_out, left) -> tuple[pd.DataFrame, Seen]:
    refuse_file(root)
    found = walk(root, suffix)
    for path in found.unfinished:
        leave_out("still being copied, or left by a copy that broke off. Finish the copy", path)
    rows, taken = _of_layouts(found, suffix, leave_out)
    rows += _of_names(found, root, suffix, taken, leave_out)
    rows = _without_copies(rows, leave_out)
    for path in found.copies:
        if path not in taken:
            leave_out("called copies, by names that no layout has: rename or remove them", path)
    if not rows:
        raise nothing_found(root, found, suffix, gather(left))
    rows.sort(
        key=lambda row: (
            tuple(
                row[name]
                for name in ("release", "subject", "session", "space", "acquisition", "run")
            )
            + (row["description"], row["t1w"])
        )
    )
    table = pd.DataFrame(rows, columns=COLUMNS)
    extra, useless = metadata(table, found.tables)
    own_site = next((extra[name] for name in _SITE_COLUMNS if name in extra), None)
    if own_site is not None:
        is_free = table["release"].map(lambda name: name.endswith("(BIDS)") or name == "BIDS")
        table["site"] = own_site.where(is_free & own_site.notna(), table["site"])
    extra = extra.drop(columns=[name for name in extra if name in COLUMNS])
    extra = _known.arc_columns(table, extra)
    table = pd.concat([table, extra.apply(numeric) if len(extra.columns) else extra], axis=1)
    tables = tuple(f"{os.path.basename(path)} was not joined: {why}" for path, why in useless)
    unread = tuple(filter(None, [first_unreadable(found)]))
    return table, _report(root, table, gather(left), tables, unread, found.kinds)


def _report(root, table, left: tuple[LeftOut, ...], tables, unread, kinds=()) -> Seen:
    has_mask = table["masks"].map(len) > 0
    return Seen(
        root=str(root),
        releases=tuple(
            (readable(name), len(part), int(has_mask[part.index].sum()))
            for name, part in table.groupby("release", sort=True)
        ),
        files=tuple(Counter(kinds).most_common()),
        left_out=left,
        unread=unread,
        look_alikes=tuple(_look_alikes(table)),
        tables=tables,
        sample=tuple(map(in_words, table.head(_SAMPLE).to_dict("records"))),
    )


def _look_alikes(table: pd.DataFrame) -> Iterator[str]:
    """A sentence on images that two subjects share, or none."""
    groups = look_alikes(table["t1w"].tolist(), table["subject"].tolist())
    if groups:
        first = groups[0]
        who = dict(zip(table["t1w"], table["subject"]))
        names = listed(dict.fromkeys(who[path] for path in first))
        yield (
            f"{len(groups)} image(s) stand under two names: {names} "
            f"have identical files, {listed(first)}. One person under two names would be learned "
            "from and tested on: keep one of the names."
        )


# --- layouts that folders tell --------------------------------------------------------------------


def _of_layouts(found: Found, suffix: str, leave_out) -> tuple[list[dict], set[str]]:
    """Rows of images that stand in a folder beside one of labels, and all files so taken."""
    rows, taken = [], set()

    def out(reason: str, path: str) -> None:
        taken.add(path)
        leave_out(reason, path)

    for pair in _layouts.pairs(found.niftis, suffix, out):
        taken.update(path for path in (pair.image, pair.mask) if path)
        why = "nnU-Net's test images come without labels" if pair.is_test else NO_MASK
        rows.append(
            {
                "subject": readable(pair.subject),
                "session": readable(pair.session),
                "site": "",
                "release": readable(pair.release),
                "split": "testing" if pair.is_test else "training",
                "space": "orig",
                "t1w": pair.image,
                "masks": (pair.mask,) if pair.mask else (),
                "mask_grid": "same",
                "acquisition": "",
                "run": "",
                "description": "",
                "unlabelled": "" if pair.mask else why,
            }
        )
    return rows, taken


# --- layouts that names tell ----------------------------------------------------------------------


def _of_names(found: Found, root: Path, suffix: str, taken: set[str], leave_out) -> list[dict]:
    """A row for each image with a name of ATLAS or BIDS, with the masks that belong to it."""
    images = [image for image in found.images if image.path not in taken]
    masks = [mask for mask in found.masks if mask.path not in taken]
    matched = _bids.match(images, masks, str(root), suffix, leave_out)
    described = {
        dataset.folder: dataset
        for path in found.descriptions
        if (dataset := _known.read_description(path))
    }
    outside = _known.above(str(root)) if matched.images else None
    anonymous = _known.by_names("", found.masks)
    rows = []
    for image in matched.images:
        own = [mask.path for mask in matched.masks[image.path]]
        dataset = _dataset_of(image, described) or outside or anonymous
        row = _row(image, tuple(own), dataset)
        row["mask_grid"] = matched.grids.get(image.path, "same") if own else "same"
        if not own:
            row["unlabelled"] = _why_unlabelled(row, dataset, matched.reasons.get(image.path, ""))
        rows.append(row)
    return rows


def _dataset_of(image: File, described: dict[str, _known.Dataset]) -> _known.Dataset | None:
    """The nearest description in a folder above an image."""
    return next(
        (described[str(folder)] for folder in Path(image.path).parents if str(folder) in described),
        None,
    )


def _why_unlabelled(row: dict, dataset: _known.Dataset, reason: str) -> str:
    if dataset.known == "SOOP":
        return _known.SOOP_REASON
    if row["split"] == "testing":
        return TEST_SPLIT
    return f"its mask was left out ({reason})" if reason else NO_MASK


def _row(image: File, masks: tuple[str, ...], dataset: _known.Dataset) -> dict:
    above = Path(image.folder).parts  # the folders above the subject's own
    if image.subject in above:
        above = above[: len(above) - 1 - above[::-1].index(image.subject)]
    release = _atlas_release(image, above, masks, dataset)
    site = _site(image, above, dataset) if release else _free_site(above, dataset)
    return {
        "subject": readable(image.subject),
        "session": readable(image.session or "ses-1"),
        "site": readable(site),
        "release": readable(release or dataset.release),
        "split": _split(above) if release else "",
        "space": readable(image.space or "orig"),
        "t1w": image.path,
        "masks": masks,
        "mask_grid": "same",
        "acquisition": readable(image.get("acq")),
        "run": readable(image.get("run")),
        "description": readable(image.get("desc")) if image.is_bids else "",
        "unlabelled": "",
    }


def _atlas_release(
    image: File, above: tuple[str, ...], masks: tuple[str, ...], dataset: _known.Dataset
) -> str | None:
    """The release of ATLAS that an image belongs to, or None where it is of other data."""
    if not image.is_bids:
        return "R1.2" if R12_NAME.match(image.subject + image.session) else "R1.1"
    named = next(
        (
            release
            for part in reversed(above)
            for release, pattern in _RELEASE_FOLDERS.items()
            if pattern.search(part)
        ),
        None,
    )
    is_brain = image.get("desc").startswith("brain")
    has_subject = bool(_BIDS_SITE.match(image.subject))
    is_sure = any("desc-T1lesion" in os.path.basename(mask) for mask in masks) or (
        named is not None and is_brain
    )
    is_sure = is_sure or (has_subject and (image.space == _TEMPLATE or is_brain or bool(named)))
    # Any study may number its subjects so; its own description has the last word then.
    if not is_sure and not (has_subject and (dataset.is_atlas or not dataset.name)):
        return None
    if dataset.known and not is_sure:
        return None
    if image.space in ("", _TEMPLATE) and is_brain:
        if named in ("R2.1", "R3.0"):
            return named
        return "R2.1" if any(part.lower().startswith("training_") for part in above) else "R3.0"
    if image.space == _TEMPLATE and not image.get("desc"):
        return named or "R2.0"
    return named or "R2.1"


def _site(image: File, above: tuple[str, ...], dataset: _known.Dataset) -> str:
    if match := _BIDS_SITE.match(image.subject):
        return f"R{match[1]}"
    if match := R12_NAME.match(image.subject + image.session):
        return match[2]
    return above[-1] if above else ""


def _free_site(above: tuple[str, ...], dataset: _known.Dataset) -> str:
    """The folder between a data set and its subjects, else what the data set is called."""
    if dataset.folder and above and os.path.join(*above) != dataset.folder:
        return above[-1]
    return dataset.known or dataset.name or (above[-1] if above else "")


def _split(above: tuple[str, ...]) -> str:
    """Training or testing, where the folder of that name is the release's own.

    It holds the subjects, or the sites that hold them; any folder farther up is not ATLAS's.
    """
    last = above[-2:][::-1]
    if last and (match := _SPLIT_FOLDER.match(last[0])):
        # A folder of one's own may be called so too: the release's is inside of the release.
        parent = above[-2] if len(above) > 1 else ""
        is_release = any(pattern.search(parent) for pattern in _RELEASE_FOLDERS.values())
        return match[1].lower() if is_release or "_" in last[0] else ""
    if len(last) > 1 and _SITE_FOLDER.match(last[0]):
        if match := _SPLIT_FOLDER.match(last[1]):
            return match[1].lower()
    return ""


# --- copies and what is left out ------------------------------------------------------------------


def _without_copies(rows: list[dict], leave_out) -> list[dict]:
    """The rows without those that claim to be the same scan: a true copy goes, others all go."""
    claims = defaultdict(list)
    for row in rows:
        identity = tuple(
            row[name]
            for name in (
                "release",
                "subject",
                "session",
                "space",
                "acquisition",
                "run",
                "description",
            )
        )
        claims[identity, _rest_of_name(row["t1w"])].append(row)
    kept = []
    for (identity, _), same in claims.items():
        first = same[0]
        if len(same) == 1:
            kept.append(first)
        elif all(_is_copy(first, other) for other in same[1:]):
            kept.append(first)
            for other in same[1:]:
                leave_out("second copies of a scan that is there", other["t1w"])
        else:
            named = " ".join(part for part in identity if part)
            for row in same:
                leave_out(
                    f"Two files claim to be the same scan ({named}): {first['t1w']} and "
                    f"{same[1]['t1w']}. Remove one, or name the folder of one copy of the release",
                    row["t1w"],
                )
    return kept


def _rest_of_name(path: str) -> str:
    """What of a BIDS name tells images apart beside the columns, such as echo-2."""
    stem = NIFTI.sub("", os.path.basename(path))
    return "_".join(re.findall(r"(?:rec|ce|echo|part|dir|mod|inv)-[^_]+", stem))


def _is_copy(one: dict, other: dict) -> bool:
    return (
        len(one["masks"]) == len(other["masks"])
        and same_file(one["t1w"], other["t1w"])
        and all(same_file(a, b) for a, b in zip(sorted(one["masks"]), sorted(other["masks"])))
    )
