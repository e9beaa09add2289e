"""An image and its lesion mask side by side: `p1/T1.nii.gz` and `p1/lesion.nii.gz`, or one folder
with `p1_T1.nii.gz` and `p1_lesion.nii.gz`.

Asked where no name and no folder is that of another layout. A name's last words tell what a file
shows; what stands before them, or else the folders above it, tells whose it is.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ._layouts import CONTRAST, LeaveOut, is_contrast
from ._names import DIFFUSION, LESION_SUFFIX, NIFTI, ON_DIFFUSION, TISSUE

_MASK_WORD = re.compile(r"^(mask|msk|roi|seg|segmentation|label|gt|manual)s?$", re.I)
_SESSION_WORD = re.compile(
    r"^(ses|session|visit|v|tp|timepoint|time|day|month|year)[-_ ]?\d+$|"
    r"^(baseline|follow-?up\d*|pre|post|acute|chronic)$",
    re.I,
)
# Folders between a person's and a file that tell nothing.
_EMPTY_WORD = re.compile(r"^(anat|nii|nifti|niftis|mri|mr|raw|structural|t1w?|images?)$", re.I)
_LAST_WORD = re.compile(r"^(?:(.*?)[_ .-]+)?([^_ .-]+)$")


@dataclass
class Group:
    """What lies side by side and is of one person and day; `masks` with the grid of each."""

    subject: str = ""
    session: str = "ses-1"
    images: list[str] = field(default_factory=list)
    masks: dict[str, str] = field(default_factory=dict)
    unnamed: dict[str, str] = field(default_factory=dict)  # masks that call themselves no lesion's


def groups(
    niftis: dict[str, list[str]], root: str, suffix: str, leave_out: LeaveOut
) -> list[Group]:
    """The groups with one image of that contrast; none where not one of them has a mask.

    `niftis` are the names of NIfTI files by folder.
    """
    found: dict[tuple[tuple[str, ...], str], Group] = defaultdict(Group)
    on_diffusion: list[str] = []
    for path, whose, shows, grid in _read(niftis, suffix):
        folders = os.path.relpath(os.path.dirname(path), root).split(os.sep)
        group = found[tuple(part for part in folders if part != "."), whose]
        if shows == "image":
            group.images.append(path)
        elif grid == "diffusion":
            on_diffusion.append(path)
        else:
            (group.masks if shows == "lesion" else group.unnamed)[path] = grid
    there = {key: group for key, group in found.items() if group.images}
    if not any(group.masks or group.unnamed for group in there.values()):
        return []
    for path in on_diffusion:
        leave_out(ON_DIFFUSION.replace("{suffix}", suffix), path)
    named = Counter(whose for _, whose in there if whose)
    for (above, whose), group in there.items():
        parts = [part for part in above if not _EMPTY_WORD.match(part)]
        if whose:
            match = _LAST_WORD.match(whose)
            has_day = match and match[1] and _SESSION_WORD.match(match[2])
            words = [match[1], match[2]] if match and has_day else [whose]
            parts = words if named[whose] == 1 else [*parts, *words]
        days = [part for part in parts if _SESSION_WORD.match(part)]
        if 0 < len(days) < len(parts):  # p1/visit2 and visit2/p1 are one person's second visit
            group.session = f"ses-{'_'.join(days)}"
            parts = [part for part in parts if part not in days]
        group.subject = "_".join(parts) or os.path.basename(root)
    return [group for group in there.values() if _is_clear(group, leave_out)]


def _read(niftis: dict[str, list[str]], suffix: str) -> Iterator[tuple[str, str, str, str]]:
    """Path, whose it is, whether it shows an "image", a "lesion" or a "mask", and a mask's grid."""
    for folder, names in sorted(niftis.items()):
        for name in sorted(names):
            whose, words = NIFTI.sub("", name), list[str]()
            while (match := _LAST_WORD.match(whose)) and _tells_what(match[2]):
                whose, words = match[1] or "", [*words, match[2]]
            contrasts = [word for word in words if CONTRAST.match(word)]
            is_own = all(is_contrast(word, suffix) for word in contrasts)
            path = os.path.join(folder, name)
            if len(words) == len(contrasts) == 1 and is_own:
                yield path, whose, "image", ""
            elif len(words) > len(contrasts) and not (match and TISSUE.search(match[2])):
                is_lesion = any(LESION_SUFFIX.match(word) for word in words)
                grid = "same" if is_own else "world"
                if not is_own and contrasts[0].lower() in DIFFUSION:
                    grid = "diffusion"
                yield path, whose, "lesion" if is_lesion else "mask", grid


def _tells_what(word: str) -> bool:
    return any(pattern.match(word) for pattern in (CONTRAST, _MASK_WORD, LESION_SUFFIX))


def _is_clear(group: Group, leave_out: LeaveOut) -> bool:
    """Whether it has one image; of its masks those stay that are sure to be that image's lesion."""
    if len(group.images) > 1:
        for path in group.images:
            leave_out("images of one person and contrast, several in one folder", path)
        return False
    masks = group.masks or group.unnamed
    kept = [path for path, grid in masks.items() if grid == "same"] or list(masks)
    if not group.masks and len(kept) > 1:
        for path in kept:
            leave_out("masks of which none is called a lesion's, several for one image", path)
        kept = []
    for path in group.masks:
        if path not in kept:
            leave_out("masks drawn on two images of one session", path)
    group.masks = {path: masks[path] for path in kept}
    return True
