"""Layouts that are told by folders instead of names: nnU-Net's raw data, `images` (or `T1`)
beside `labels`.

nnU-Net: `imagesTr/<case>_0000.nii.gz`, a number for each contrast, and `labelsTr/<case>.nii.gz`;
`imagesTs` has no labels. Elsewhere an image and its mask have one name but for what their folder
says anyway (`images/a_T1w.nii.gz` and `masks/a_mask.nii.gz`); folders below both may go on alike.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ._names import NIFTI

_LABELS = (
    *("labels", "masks", "lesions", "lesion_masks", "segmentations"),
    *("label", "mask", "lesion", "lesion_mask", "annotations"),
)
_PARTNERS = {
    "imagestr": ("labelsTr",),
    "imagests": ("labelsTs",),
    "imagesval": ("labelsVal",),
    "images": _LABELS,
    "t1": _LABELS,
    "t1w": _LABELS,
}
_CHANNEL = re.compile(r"_(\d{4})$")
CONTRAST = re.compile(r"^(T1w?|T1n|T1c|T1ce|T1gd|T2w?|FLAIR|DWI|ADC|SWI|PD|CT|MPRAGE)$", re.I)
_SAID_ANYWAY = re.compile(
    r"^(mask|label|labels|seg|segmentation|lesion|lesions|lesionmask|roi|gt|image|img|"
    r"(label|desc)-[A-Za-z0-9]+)$",
    re.I,
)
_T1 = re.compile(r"^T1(w|n|[ _-]?weighted)?([ _-]?MPRAGE)?$|^MPRAGE$", re.I)
_DAY = re.compile(
    r"^(ses|session|visit|v|tp|timepoint|time|day|month|year)[-_ ]?\d+$|"
    r"^(baseline|follow-?up\d*|pre|post|acute|chronic)$|"
    r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$",
    re.I,
)
_SESSION = re.compile(r"^(sub-[^_]+)_(ses-[^_]+)$")

# Called with a reason and a path for what is left out.
LeaveOut = Callable[[str, str], None]


@dataclass(frozen=True)
class Pair:
    """An image and its mask, or None, with the folder of the data set and what it is called."""

    image: str
    mask: str | None
    case: str
    root: str
    release: str
    is_test: bool = False
    above: tuple[str, ...] = ()  # the folders that tell whose it is, where its name does not

    @property
    def subject(self) -> str:
        match = _SESSION.match(self.case)
        people = [word for word in self.above if not is_session(word)]
        return "_".join([*people, match[1] if match else self.case])

    @property
    def session(self) -> str:
        days = [word for word in self.above if is_session(word)]
        match = _SESSION.match(self.case)
        return match[2] if match else "ses-" + ("_".join(days).removeprefix("ses-") or "1")


def pairs(niftis: dict[str, list[str]], suffix: str, leave_out: LeaveOut) -> list[Pair]:
    """Every image in a folder that one of labels stands beside, with the mask of its name.

    `niftis` are the names of NIfTI files by folder. Where one name comes several times (north/T1/1
    and south/T1/1, images/visit1/a and images/visit2/a), the folders tell whose it is.
    """
    found = list(_pairs(niftis, suffix, leave_out))
    roots = defaultdict(list)
    for pair in found:
        roots[pair.case].append(pair.root)
    return [_told_by_folders(pair, roots[pair.case]) for pair in found]


def _told_by_folders(pair: Pair, roots: list[str]) -> Pair:
    """A pair with the folders that tell it from those of its name, which lie in `roots`."""
    is_alone = len(set(roots)) == 1
    return replace(pair, above=() if len(roots) == 1 else pair.above[is_alone:])


def is_session(word: str) -> bool:
    """Whether a word names a day or visit: visit2, baseline, 20190131."""
    return bool(_DAY.match(word))


def _pairs(niftis: dict[str, list[str]], suffix: str, leave_out: LeaveOut) -> Iterator[Pair]:
    lower = {folder.lower(): folder for folder in niftis}
    for folder in sorted(niftis):
        parts = folder.split(os.sep)
        for number in reversed(range(len(parts))):  # images/T1/a.nii has labels/T1/a.nii beside it
            name = parts[number].lower()
            if name not in _PARTNERS or CONTRAST.match(name) and not is_contrast(name, suffix):
                continue
            labels = next(
                (
                    lower[partner]
                    for other in _PARTNERS[name]
                    if (partner := _joined(parts, number, other).lower()) in lower
                ),
                None,
            )
            if labels is not None or name == "imagests":
                root = os.sep.join(parts[:number])
                for pair in _matched(folder, labels, root, name, niftis, suffix, leave_out):
                    is_nnunet = len(_PARTNERS[name]) == 1
                    above = (os.path.basename(root), *parts[number + 1 :])
                    yield pair if is_nnunet else replace(pair, above=above)
                break


def _joined(parts: list[str], number: int, other: str) -> str:
    return os.sep.join([*parts[:number], other, *parts[number + 1 :]])


def _matched(
    folder: str,
    labels: str | None,
    root: str,
    name: str,
    niftis: dict[str, list[str]],
    suffix: str,
    leave_out: LeaveOut,
) -> Iterator[Pair]:
    is_nnunet = len(_PARTNERS[name]) == 1
    by_stem, by_case = defaultdict(list), defaultdict(list)
    for label in niftis.get(labels or "", ()):
        stem, path = NIFTI.sub("", label), os.path.join(labels or "", label)
        by_stem[stem].append(path)
        by_case[_bare(stem)].append(path)
    release = _release(root, is_nnunet)
    images_of: dict[str, list[Pair]] = defaultdict(list)
    for case, image in _cases(folder, niftis[folder], by_stem, root, suffix, leave_out).items():
        stem = NIFTI.sub("", os.path.basename(image))
        fitting = by_stem[stem] or by_stem[case] or by_case[_bare(case)]
        if len(fitting) > 1:
            leave_out("images with two masks of their name", image)
        else:
            mask = fitting[0] if fitting else None
            images_of[mask or image].append(Pair(image, mask, _bare(case), root, release))
        for mask in fitting:
            images_of[mask]  # it is taken
    for mask_path, sharing in images_of.items():
        if len(sharing) == 1:
            yield replace(sharing[0], is_test=name == "imagests")
        for pair in sharing if len(sharing) > 1 else ():
            leave_out(f"images that share the mask {os.path.basename(mask_path)}", pair.image)
    for paths in by_stem.values():
        for path in paths:
            if path not in images_of:
                leave_out(f"masks without an image of their name in {name}", path)


def _cases(
    folder: str, names: list[str], labels, root: str, suffix: str, leave_out: LeaveOut
) -> dict[str, str]:
    """The image of each case, in the contrast that is asked for; `labels` are the masks' names."""
    contrasts: dict[str, dict[str, str]] = defaultdict(
        dict
    )  # a case: its images by contrast or channel
    for name in sorted(names):
        stem = NIFTI.sub("", name)
        case, contrast = stem, ""
        if (match := _CHANNEL.search(stem)) and stem not in labels:
            case, contrast = stem[: match.start()], match[1]
        elif CONTRAST.match(last := stem.rpartition("_")[2]) and "_" in stem:
            case, contrast = stem.rpartition("_")[0], last
        path = os.path.join(folder, name)
        if contrasts[case].setdefault(contrast, path) != path:
            leave_out(
                f"beside {os.path.basename(contrasts[case][contrast])}, of the same name", path
            )
    channels = _channels(root)
    chosen = {}
    for case, images in contrasts.items():
        wanted = [
            path
            for contrast, path in images.items()
            if is_contrast(channels.get(contrast, contrast), suffix)
        ]
        unnamed = [
            path
            for contrast, path in images.items()
            if not CONTRAST.match(channels.get(contrast, contrast))
        ]
        if wanted or len(unnamed) == 1:
            chosen[case] = (wanted or unnamed)[0]
        else:
            what = "several contrasts" if unnamed else "other contrasts"
            for path in list(images.values())[:1]:
                leave_out(f"cases with {what}, none of which is named {suffix}", path)
    return chosen


def is_contrast(name: str, suffix: str) -> bool:
    """Whether a name of a contrast, however it is spelled, is that of a BIDS suffix."""
    return bool(_T1.match(name)) if suffix.lower() == "t1w" else name.lower() == suffix.lower()


def _channels(root: str) -> dict[str, str]:
    """The contrast of each channel by its four digits, as nnU-Net's dataset.json has it."""
    content = _dataset(root)
    names = content.get("channel_names") or content.get("modality") or {}
    if not isinstance(names, dict):
        return {}
    return {f"{int(key):04d}": str(name) for key, name in names.items() if str(key).isdigit()}


def _dataset(root: str) -> dict:
    try:
        path = Path(root, "dataset.json")
        content = json.loads(path.read_text("utf-8-sig", "replace")[:1_000_000])
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _release(root: str, is_nnunet: bool) -> str:
    name = " ".join(str(_dataset(root).get("name") or "").split()) or os.path.basename(root)
    return f"{name[:80]} ({'nnU-Net' if is_nnunet else 'images and labels'})".strip()


def _bare(stem: str) -> str:
    """A name without what its folder says anyway, such as _mask at its end."""
    while "_" in stem:
        rest, _, last = stem.rpartition("_")
        if not (_SAID_ANYWAY.match(last) or CONTRAST.match(last)):
            break
        stem = rest
    return stem
