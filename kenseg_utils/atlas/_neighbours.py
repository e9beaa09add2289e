"""Images and their lesion masks where no layout's rules hold: side by side in a person's folder, in
one folder, or in folders of their own. `_words` tells what each path says.

Images of one person, day and space are a group, of which the plainest counts. A mask goes to the
group of its own words; else to the one that shares most of them, where either has all words of
the other. What fits two groups, or is one of several that fit, is left out with the reason.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ._layouts import LeaveOut, is_session
from ._names import ON_DIFFUSION
from ._words import Words, is_part, words_of

SEVERAL_IMAGES = "images of one person and contrast, several in one folder"
SEVERAL_MASKS = "masks of which none is called a lesion's, several for one image"
RATERS = "further masks of one image that are no parts of its lesion: keep one, or give a table"
TWO_GRIDS = "masks drawn on two images of one session"
COPIES = "called copies, by names that no layout has: rename or remove them"
BY_PROGRAM = "masks that a program made, as their names say"
NO_IMAGE = "masks without one image of their name"
BESIDE = "images beside the one that a person's mask belongs to, or in another space"
UNKNOWN = "images without a mask, whose names do not say their contrast"
MASKS = ("lesion", "mask")


@dataclass
class Group:
    """The images of one person, day and space; `masks` with the grid of each ("same", "world").

    reason: why its masks were left out, or "".
    """

    images: list[Words] = field(default_factory=list)
    found: list[Words] = field(default_factory=list)
    masks: dict[str, str] = field(default_factory=dict)
    subject: str = ""
    session: str = "ses-1"
    reason: str = ""

    @property
    def image(self) -> str:
        """Path of its plainest image."""
        return self.images[0].path

    @property
    def space(self) -> str:
        """Its space: standard, or the image's own."""
        return "standard" if self.images[0].space else "orig"


def groups(
    niftis: dict[str, list[str]],
    root: str,
    suffix: str,
    leave_out: LeaveOut,
    kinds: tuple[str, ...] = MASKS,
) -> list[Group]:
    """The groups of that contrast with the masks of each; none where no mask lies beside any.

    `niftis` are the names of NIfTI files by folder; kinds: the `Words.kind` of masks that count.
    What is left out is told also where nothing is returned, if there are images and masks.
    """
    words = _all_words(niftis, root, suffix)
    masks = [each for each in words if each.kind in kinds]
    own = _grouped(each for each in words if each.kind == "image")
    unknown = _grouped(each for each in words if each.kind == "unknown")
    if not masks or not own and not unknown:
        return []
    aside = [(COPIES, each.path) for each in words if each.kind == "copy"]
    unmatched = []
    for mask in masks:
        if mask.grid == "diffusion":
            aside.append((ON_DIFFUSION.replace("{suffix}", suffix), mask.path))
        elif mask.by_program:
            aside.append((BY_PROGRAM, mask.path))
        elif group := _group_of(mask, own) or unknown.get((mask.key, mask.space)):
            group.found.append(mask)
        else:
            unmatched.append(mask)
    if not own and not any(group.found for group in unknown.values()):
        return []
    aside += [(NO_IMAGE, mask.path) for mask in unmatched]
    clear = []
    for group in own.values():
        clear += _settle(group, aside)
    for group in unknown.values():
        if group.found:
            clear += _settle(group, aside)
        else:
            aside += [(UNKNOWN, image.path) for image in group.images]
    clear = _without_others(clear, aside)
    for reason, path in sorted(aside):
        leave_out(reason, path)
    _name(clear, os.path.basename(root))
    return clear if any(group.masks for group in clear) else []


def _all_words(niftis: dict[str, list[str]], root: str, suffix: str) -> list[Words]:
    times = Counter(name for names in niftis.values() for name in names)
    return [
        words_of(os.path.join(folder, name), root, suffix, times[name] > 1)
        for folder, names in sorted(niftis.items())
        for name in sorted(names)
    ]


def _grouped(images: Iterable[Words]) -> dict[tuple, Group]:
    found: dict[tuple, Group] = defaultdict(Group)
    for image in images:
        found[image.key, image.space].images.append(image)
    for group in found.values():
        group.images.sort(key=lambda image: image.made)
    return dict(found)


def _group_of(mask: Words, own: dict[tuple, Group]) -> Group | None:
    """The group of a mask's own words, or the one that shares most with it; None if not one."""
    if group := own.get((mask.key, mask.space)):
        return group
    words, fits = Counter(mask.key), defaultdict(list)
    said = set(mask.key)
    for (key, space), group in own.items():
        if space != mask.space or not (said.issubset(key) or said.issuperset(key)):
            continue
        more, less = Counter(key) - words, words - Counter(key)
        # A mask further down, or one above all persons, is not the image's that lies elsewhere.
        is_near = not (set(less) & {word.lower() for word in mask.folders})
        fits_one = not less or not more and is_near
        if fits_one and (mask.key or not more):
            fits[sum((Counter(key) & words).values())].append(group)
    best = fits[max(fits)] if fits else []
    return best[0] if len(best) == 1 else None


def _settle(group: Group, aside: list[tuple[str, str]]) -> list[Group]:
    """The group with the masks that are sure, as a list; none where its image is not clear."""
    plainest = [image for image in group.images if image.made == group.images[0].made]
    if len(plainest) > 1:
        aside += [(SEVERAL_IMAGES, image.path) for image in plainest]
        aside += [(NO_IMAGE, mask.path) for mask in group.found]
        return []
    lesions = [mask for mask in group.found if mask.kind == "lesion"]
    found = lesions or group.found
    on_it = [mask for mask in found if mask.grid == "same"]
    if on_it and len(on_it) < len(found):
        aside += [(TWO_GRIDS, mask.path) for mask in found if mask.grid != "same"]
        found = on_it
    found.sort(key=lambda mask: _plainness(mask, group))
    if len(found) > 1 and not lesions:
        aside += [(SEVERAL_MASKS, mask.path) for mask in found]
        found, group.reason = [], SEVERAL_MASKS
    elif len(found) > 1 and not _are_parts(found, group.images[0]):
        is_one = _plainness(found[0], group) < _plainness(found[1], group)
        aside += [(RATERS, mask.path) for mask in found[is_one:]]
        found, group.reason = found[:is_one], "" if is_one else RATERS
    group.masks = {mask.path: mask.grid for mask in found}
    group.found = found
    return [group]


def _plainness(mask: Words, group: Group) -> tuple[bool, int]:
    """What the plainest mask of a group has least of: words that its image has not."""
    return mask.key != group.images[0].key, mask.made


def _are_parts(masks: list[Words], image: Words) -> bool:
    """Whether masks differ by a word each that tells parts of a lesion: left and right, 1 and 2."""
    more = [list((Counter(mask.key) - Counter(image.key)).elements()) for mask in masks]
    return all(len(words) == 1 and is_part(words[0]) for words in more) and len(
        {words[0] for words in more}
    ) == len(masks)


def _without_others(clear: list[Group], aside: list[tuple[str, str]]) -> list[Group]:
    """Without the images that have no mask where another of the same person and day has one."""
    labelled = [_shared(group) for group in clear if group.found]
    kept = []
    for group in clear:
        if group.found or not (group.images[0].space or _is_beside(group, labelled)):
            kept.append(group)
        else:
            aside += [(BESIDE, image.path) for image in group.images]
    return kept


def _shared(group: Group) -> set[str]:
    """The words that a group shares with its mask, or all of them; and its days."""
    words = set(group.images[0].key)
    shared = words.intersection(group.found[0].key) if group.found else set()
    return (shared or words) | {word for word in words if is_session(word)}


def _is_beside(group: Group, labelled: list[set[str]]) -> bool:
    """Whether it has all words of one of `labelled`, and no further day."""
    words = set(group.images[0].key)
    days = {word for word in words if is_session(word)}
    return any(who and days <= who <= words for who in labelled)


def _name(clear: list[Group], fallback: str) -> None:
    """Give each group its subject and session, from the words that it shares with its mask."""
    told = []
    for group in clear:
        image, shared = group.images[0], _shared(group)
        names = [word for word in image.names if word.lower() in shared]
        folders = [word for word in image.folders if word.lower() in shared]
        told.append((group, folders, names))
    by_name = any(names for group, _, names in told if group.found)
    who = [tuple(word for word in names if not is_session(word)) for _, _, names in told]
    times = Counter(who)
    for (group, folders, names), name in zip(told, who):
        if folders and not (by_name or group.found):
            names = [word for word in names if is_session(word)]
        parts = names
        if not name or times[name] > 1:
            above = [word.lower() for word in folders]
            parts = folders + [word for word in names if word.lower() not in above]
        days = [word for word in parts if is_session(word)]
        if 0 < len(days) < len(parts):  # p1/visit2 and visit2/p1 are one person's second visit
            group.session = "ses-" + "_".join(days).removeprefix("ses-")
            parts = [word for word in parts if word not in days]
        group.subject = "_".join(parts) or fallback
