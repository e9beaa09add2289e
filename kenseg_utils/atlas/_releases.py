"""Find scans: of any ATLAS release, of ARC and SOOP, in any BIDS tree, folder layout or table."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from kenseg_utils.machine import readable, so_many

from . import _bids, _editions, _given, _known, _layouts, _neighbours
from ._copies import look_alikes, same_file
from ._foreign import ScanError, as_path
from ._joins import metadata
from ._names import NIFTI, File
from ._nothing import nothing_found, refuse_file
from ._seen import LeftOut, Seen, gather, in_words, listed
from ._tables import numeric
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
_IDENTITY = ("release", "subject", "session", "space", "acquisition", "run", "description")
TEST_SPLIT = "ATLAS keeps the masks of its test split secret"
NO_MASK = "no lesion mask was found for it"
LEFT_OUT = "its mask was left out"

_SITE_COLUMNS = ("site", "center", "centre", "institution")
_SAMPLE = 2


def find_scans(root: str | os.PathLike, suffix: str = "T1w") -> pd.DataFrame:
    """Find the scans in `root`: a folder, or a table (.csv, .tsv) that names them.

    A folder may be, or be above: any release of ATLAS; ARC; any BIDS tree, with lesion masks
    beside the images or in derivatives; nnU-Net's imagesTr and labelsTr; `images` beside `labels`;
    or any in which the words of the paths pair each image with its mask, as in p1/T1.nii and
    p1/lesion.nii, or img001.nii and mask001.nii.
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

    Others are left out with a warning that counts them by reason, which `.attrs["problems"]` has,
    too; with `drop=False` one of them is enough to stop. Raises ScanError, with the reason, also
    where nothing is left.
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
        text = (
            f"{len(without)} of {len(scans)} scans are left out, having no lesion mask: {told}; "
            f"{first}."
        )
        warnings.warn(text, stacklevel=2)
        kept = scans[~has_none]
        kept.attrs = scans.attrs | {"problems": (*scans.attrs.get("problems", ()), text)}
        return kept
    if "release" in without and without["release"].astype(str).str.startswith("SOOP").all():
        remedy = "Train on ARC or ATLAS instead."
    elif "split" in without and (without["split"] == "testing").all():
        remedy = "Use the training folder."
    elif all(reason.startswith(LEFT_OUT) for reason in _reasons(without)):
        remedy = (
            "Give the masks names that say which image they belong to, or give a table in place of "
            "the folder, whose columns image, mask and subject tell it."
        )
    else:
        remedy = (
            "The copy may be half-finished: copy their folders again, or leave these scans out "
            "with require_masks(scans)."
        )
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
    before = len(left)
    rows, taken = _of_layouts(found, suffix, leave_out)
    by_folders = left[before:]
    named = _of_names(found, root, suffix, taken, leave_out)
    rows += named
    if not any(row["masks"] for row in rows) and left == left[:before] + by_folders:
        aside: list[tuple[str, str]] = []
        others = _of_neighbours(found, root, suffix, aside, bool(named))
        if others or not rows and not by_folders:
            rows, taken = others, taken.union(found.copies if others else ())
            left[before:] = aside
    rows = _without_copies(rows, leave_out)
    for path in found.copies:
        if path not in taken:
            leave_out("called copies, by names that no layout has: rename or remove them", path)
    if not rows:
        raise nothing_found(root, found, suffix, gather(left))
    rows.sort(key=lambda row: (*_identity(row), row["t1w"]))
    table = pd.DataFrame(rows, columns=COLUMNS)
    extra, unjoined = metadata(table, found.tables)
    own_site = next((extra[name] for name in _SITE_COLUMNS if name in extra), None)
    if own_site is not None:
        is_free = table["release"].map(lambda name: name.endswith("(BIDS)") or name == "BIDS")
        table["site"] = own_site.where(is_free & own_site.notna(), table["site"])
    extra = extra.drop(columns=[name for name in extra if name in COLUMNS])
    extra = _known.arc_columns(table, extra)
    table = pd.concat([table, extra.apply(numeric) if len(extra.columns) else extra], axis=1)
    unread = tuple(filter(None, [first_unreadable(found)]))
    return table, _report(root, table, gather(left), unjoined, unread, found.kinds)


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
            f"{so_many(len(groups), 'image')} under two names: {names} "
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
        row = _bare_row(
            pair.subject, pair.session, pair.release, pair.image, [pair.mask] if pair.mask else []
        )
        row["split"] = "testing" if pair.is_test else "training"
        rows.append(row | {"unlabelled": "" if pair.mask else why})
    return rows, taken


def _of_neighbours(found: Found, root: Path, suffix: str, aside: list, is_bids: bool) -> list[dict]:
    """Rows of images whose masks are told by the words of their paths, where no layout holds.

    `aside` gets what is left out. Of a BIDS tree without masks only those count that call
    themselves a lesion's.
    """
    rows = []
    for group in _neighbours.groups(
        found.niftis,
        str(root),
        suffix,
        lambda reason, path: aside.append((reason, path)),
        ("lesion",) if is_bids else _neighbours.MASKS,
    ):
        release = f"{root.name} (side by side)"
        row = _bare_row(group.subject, group.session, release, group.image, group.masks)
        grid = next(iter(group.masks.values()), "same")
        if group.reason:
            row["unlabelled"] = f"{LEFT_OUT} ({group.reason})"
        rows.append(row | {"mask_grid": grid, "space": group.space})
    return rows


def _bare_row(subject: str, session: str, release: str, image: str, masks: Iterable[str]) -> dict:
    """A row of what has no name of BIDS: nothing is known of site, split, run and the like."""
    masks = tuple(masks)
    return {
        "subject": readable(subject),
        "session": readable(session),
        "site": "",
        "release": readable(release),
        "split": "",
        "space": "orig",
        "t1w": image,
        "masks": masks,
        "mask_grid": "same",
        "acquisition": "",
        "run": "",
        "description": "",
        "unlabelled": "" if masks else NO_MASK,
    }


# --- layouts that names tell ----------------------------------------------------------------------


def _of_names(found: Found, root: Path, suffix: str, taken: set[str], leave_out) -> list[dict]:
    """A row for each image with a name of ATLAS or BIDS, with the masks that belong to it."""
    images = [image for image in found.images if image.path not in taken]
    masks = [mask for mask in found.masks if mask.path not in taken]
    matched = _bids.match(images, masks, str(root), suffix, leave_out, found.others)
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
    return f"{LEFT_OUT} ({reason})" if reason else NO_MASK


def _row(image: File, masks: tuple[str, ...], dataset: _known.Dataset) -> dict:
    above = Path(image.folder).parts  # the folders above the subject's own
    if image.subject in above:
        above = above[: len(above) - 1 - above[::-1].index(image.subject)]
    release = _editions.release_of(image, above, masks, dataset)
    site = _editions.site_of(image, above) if release else _free_site(above, dataset)
    return {
        "subject": readable(image.subject),
        "session": readable(image.session or "ses-1"),
        "site": readable(site),
        "release": readable(release or dataset.release),
        "split": _editions.split_of(above) if release else "",
        "space": readable(image.space or "orig"),
        "t1w": image.path,
        "masks": masks,
        "mask_grid": "same",
        "acquisition": readable(image.get("acq")),
        "run": readable(image.get("run")),
        "description": readable(image.get("desc")) if image.is_bids else "",
        "unlabelled": "",
    }


def _free_site(above: tuple[str, ...], dataset: _known.Dataset) -> str:
    """The folder between a data set and its subjects, else what the data set is called."""
    if dataset.folder and above and os.path.join(*above) != dataset.folder:
        return above[-1]
    return dataset.known or dataset.name or (above[-1] if above else "")


# --- copies and what is left out ------------------------------------------------------------------


def _without_copies(rows: list[dict], leave_out) -> list[dict]:
    """The rows without those that claim to be the same scan: a true copy goes, others all go."""
    claims = defaultdict(list)
    for row in rows:
        claims[_identity(row), _rest_of_name(row["t1w"])].append(row)
    kept = []
    for (identity, _), same in claims.items():
        first = max(same, key=lambda row: bool(row["split"]))  # a folder called Copy tells no split
        if len(same) == 1:
            kept.append(first)
        elif all(_is_copy(first, other) for other in same if other is not first):
            kept.append(first)
            for other in same:
                if other is not first:
                    leave_out("second copies of a scan that is there", other["t1w"])
        else:
            named = " ".join(part for part in identity if part)
            for row in same:
                leave_out(
                    f"Two files claim to be the same scan ({named}): {same[0]['t1w']} and "
                    f"{same[1]['t1w']}. Remove one, or name the folder of one copy of the release",
                    row["t1w"],
                )
    return kept


def _identity(row: dict) -> tuple[str, ...]:
    return tuple(row[name] for name in _IDENTITY)


def _rest_of_name(path: str) -> str:
    """What of a BIDS name tells images apart beside the columns, such as echo-2."""
    stem = NIFTI.sub("", os.path.basename(path))
    told = re.findall(r"_(?!(?:ses|space|acq|run|desc)-)([A-Za-z]+-[^_]+)", stem)
    return "_".join(told)


def _is_copy(one: dict, other: dict) -> bool:
    return (
        len(one["masks"]) == len(other["masks"])
        and same_file(one["t1w"], other["t1w"])
        and all(same_file(a, b) for a, b in zip(sorted(one["masks"]), sorted(other["masks"])))
    )
