"""Which lesion mask belongs to which image, in ATLAS releases and any BIDS tree.

A mask beside its image, or in `derivatives`, is told by subject, session, space, run and
acquisition. One that was drawn on another image comes to the image asked for by world coordinates
if both are of one session: its name holds the other's suffix (…_T2w_desc-lesion_mask, or
space-T2w), or the run or acquisition of an image that is there, where no image asked for has it.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ._layouts import LeaveOut
from ._names import DIFFUSION, NIFTI, ON_DIFFUSION, File
from ._walk import missing_content

# What tells images of one session apart, beside space and desc; and what of a mask's name says
# what it shows, and not on which image.
_APART = ("acq", "run", "rec", "ce", "echo", "part", "dir", "mod", "inv")
_OF_MASKS = ("ses", "space", "desc", "label", "lesion")
# Pipelines whose masks and segmentations are of tissue, though their names do not say so.
_TISSUE_PIPELINES = re.compile(
    r"prep$|prep[-_]|free-?surfer|fastsurfer|mriqc|xcp|nibabies|synth(seg|strip)|cat12|^spm|"
    r"^ants|^fsl|bet$|sct|qsirecon|asl|(brain|head|tissue)[-_ ]?(mask|extract|seg)|skull|strip|"
    r"hemisphere",
    re.I,
)
TWO_SESSIONS = (
    "masks drawn on another image, of another session than any {suffix} of their subject, so that "
    "no header brings them together"
)
_PROCESSED = "processed copies below derivatives of a {suffix} that is there"
_VARIANTS = "processed copies (desc-) of a {suffix} that lies beside"
_TWO_SOURCES = "masks of two derivatives for one {suffix}"
_UNNAMED = "masks of which none is called a lesion's, several for one {suffix}"


@dataclass
class Matched:
    """Images with their masks by path, the grid of these, and why others have none."""

    images: list[File] = field(default_factory=list)
    masks: dict[str, list[File]] = field(default_factory=lambda: defaultdict(list))
    grids: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def match(
    images: list[File],
    masks: list[File],
    root: str,
    suffix: str,
    leave_out: LeaveOut,
    others: Iterable[File] = (),
) -> Matched:
    """Sort out copies among `images`, and give them their masks.

    `others`: images of other contrasts, on which masks may have been drawn.
    """

    def out(reason: str, path: str) -> None:
        leave_out(reason.replace("{suffix}", suffix), path)

    matched = Matched(images=_originals(images, root, out))
    by_subject = defaultdict(list)
    for each in matched.images:
        by_subject[each.subject].append(each)
    drawn_on = defaultdict(list)
    for other in others:
        drawn_on[other.subject, other.session].append(other)
    apart = set()
    # Those that call themselves a lesion's come first; others count only where there is none. Of
    # two grids an image's own comes before another's.
    for mask in sorted(masks, key=lambda mask: (mask.kind != "lesion", _is_world(mask, suffix))):
        pipeline = _pipeline(mask.path, root)
        if mask.kind != "lesion" and _TISSUE_PIPELINES.search(pipeline):
            continue
        mask = _with_source(mask, by_subject[mask.subject], drawn_on[mask.subject, mask.session])
        image, reason = _image_of(mask, by_subject[mask.subject], suffix)
        if image is not None:
            _give(matched, image, mask, suffix, out)
        elif mask.kind == "lesion":
            out(reason, mask.path)
            if reason == TWO_SESSIONS:
                apart.add(mask.subject)
            for other in by_subject[mask.subject]:
                matched.reasons.setdefault(other.path, reason.replace("{suffix}", suffix))
    _refuse_ambiguous(matched, root, suffix, out)
    # A subject whose mask is of another session than all its images has none that is sure to be
    # free of lesion, and none that may be learned from.
    kept = []
    for each in matched.images:
        if each.subject in apart and not any(
            matched.masks[other.path] for other in by_subject[each.subject]
        ):
            leave_out(
                f"{suffix} of subjects whose mask was drawn on an image of another session",
                each.path,
            )
        else:
            kept.append(each)
    matched.images = kept
    return matched


def _give(matched: Matched, image: File, mask: File, suffix: str, out) -> None:
    """Note a mask as its image's, unless better ones are there or it lies on another grid."""
    others = matched.masks[image.path]
    if mask.kind != "lesion" and any(other.kind == "lesion" for other in others):
        return
    grid = "world" if _is_world(mask, suffix) else "same"
    if matched.grids.setdefault(image.path, grid) != grid:
        out("masks drawn on two images of one session", mask.path)
    else:
        others.append(mask)


def _originals(images: list[File], root: str, out) -> list[File]:
    """The images without processed copies, and without files whose content is not there."""
    there = []
    for image in images:
        if reason := missing_content(image.path):
            out(reason, image.path)
        else:
            there.append(image)
    raw = {(i.subject, i.session) for i in there if not _pipeline(i.path, root)}
    plain = {_without_desc(i) for i in there if not i.get("desc")}
    kept = []
    for image in there:
        if image.is_bids and _pipeline(image.path, root) and (image.subject, image.session) in raw:
            out(_PROCESSED, image.path)
        elif image.is_bids and image.get("desc") and _without_desc(image) in plain:
            out(_VARIANTS, image.path)
        else:
            kept.append(image)
    return kept


def _without_desc(image: File) -> tuple:
    entities = tuple(pair for pair in image.entities if pair[0] != "desc")
    return (image.folder, image.subject, image.session, entities)


def _pipeline(path: str, root: str) -> str:
    """The folder below `derivatives` that a file is in, or "" for a file of the raw data."""
    parts = os.path.relpath(path, root).split(os.sep)[:-1]
    places = [number for number, part in enumerate(parts) if part.lower() == "derivatives"]
    return (parts[places[-1] + 1 :] or ["derivatives"])[0] if places else ""


def _is_world(mask: File, suffix: str) -> bool:
    """Whether a mask was drawn on an image of another contrast than that asked for."""
    return mask.source not in ("", suffix.lower())


def _with_source(mask: File, images: list[File], others: list[File]) -> File:
    """The mask, with the contrast that it was drawn on where its run or acquisition tells that.

    Of its session, no image asked for has its run and acquisition, and one of `others` has.
    """
    apart = [(key, value) for key, value in mask.entities if key in _APART]
    if mask.source or mask.space or not apart:
        return mask

    def has_them(image: File) -> bool:
        return all(_same(image.get(key), value) for key, value in apart)

    asked_for = [image for image in images if image.session == mask.session]
    if any(has_them(image) for image in asked_for):
        return mask
    drawn_on = next((other for other in others if has_them(other) and not other.space), None)
    return replace(mask, source=drawn_on.source) if drawn_on else mask


def _image_of(mask: File, images: list[File], suffix: str) -> tuple[File | None, str]:
    """The image that a mask belongs to, or None and the reason."""
    if not images:
        return None, "lesion masks without a {suffix} of their subject"
    sessions = {image.session or "ses-1" for image in images}
    if mask.session or len(sessions) == 1:
        session = mask.session or sessions.pop()
        images = [image for image in images if (image.session or "ses-1") == session]
    else:
        return None, "lesion masks that name no session, of subjects with several"
    is_world = _is_world(mask, suffix)
    if is_world and mask.source in DIFFUSION and suffix.lower() not in DIFFUSION:
        return None, ON_DIFFUSION
    if not images:
        return (
            None,
            TWO_SESSIONS if is_world else "lesion masks without a {suffix} of their session",
        )
    if is_world:
        own = [image for image in images if not image.space]
        if not own:
            return None, "masks drawn on an image in another space than the {suffix}"
        return min(own, key=lambda image: (len(image.entities), image.path)), ""
    beside = [image for image in images if image.folder == mask.folder] or images
    fitting = [image for image in beside if image.space == mask.space]
    if not fitting and not mask.space:
        fitting = beside
    if not fitting:
        return None, f"lesion masks that lie in another space, space-{mask.space}"
    for key, value in mask.entities:
        if key in _OF_MASKS:
            continue
        if key in _APART or any(image.get(key) for image in fitting):
            fitting = [image for image in fitting if _same(image.get(key), value)]
    if not fitting:
        return None, "lesion masks of a run or acquisition without a {suffix}"
    if len(fitting) > 1:
        return None, "lesion masks that fit more than one {suffix} of their session"
    return fitting[0], ""


def _same(one: str, other: str) -> bool:
    if one.isdigit() and other.isdigit():
        return int(one) == int(other)
    return one == other


def _refuse_ambiguous(matched: Matched, root: str, suffix: str, out) -> None:
    """Take masks away from images for which names do not say which of several is meant."""
    for path, masks in matched.masks.items():
        reason = ""
        stems = [NIFTI.sub("", os.path.basename(mask.path)) for mask in masks]
        twice = next((stem for stem in stems if stems.count(stem) > 1), None)
        if twice is not None:
            same = [mask.path for mask, stem in zip(masks, stems) if stem == twice]
            reason = f"Two files claim to be the same lesion mask: {same[0]} and {same[1]}"
        elif len({_pipeline(mask.path, root) for mask in masks}) > 1:
            reason = _TWO_SOURCES
        elif len(masks) > 1 and masks[0].kind != "lesion":
            reason = _UNNAMED
        if reason:
            for mask in masks:
                out(reason, mask.path)
            matched.reasons[path] = reason.replace("{suffix}", suffix)
            masks.clear()
