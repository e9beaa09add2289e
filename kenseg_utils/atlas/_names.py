"""What the name of one file says: which subject, session and run, image or lesion mask.

Names of BIDS are `sub-<label>[_<key>-<value>]*_<suffix>.nii.gz`. The name of a mask may hold the
whole name of the image that it was drawn on, as in ARC: `…_run-5_T2w_desc-lesion_mask.nii.gz`.
ATLAS R1.x has names of its own, told by `_stx` at their end.
"""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass

NIFTI = re.compile(r"\.nii(\.gz)?$", re.I)
R12_NAME = re.compile(r"^((c\d+)s\d+)(t\d+)$")
_STX = re.compile(r"^([A-Za-z0-9]+)_(t1w(?:_deface)?|LesionSmooth(?:_\d+)?)_stx$")
_SUBJECT = re.compile(r"^sub-[^_.]+$")
_ENTITY = re.compile(r"^([A-Za-z]+)-([^_.]+)$")
_SUFFIX = re.compile(r"^[A-Za-z0-9]+$")
_MASK_SUFFIXES = {"mask", "msk", "roi", "dseg", "seg"}
# What ends the name of a lesion mask as well: not "lesionfilled", which is an image. Clinics write
# their own language (here without accents: `plain`).
LESION_SUFFIX = re.compile(
    r"^(stroke)?(l(e|a|ae)sion(s|e|i|es|en|er)?|laesies?|les(ao|oes)|strokes?|infar(ct|kt)(s|e|en)?|"
    r"infart(o|i|os|us)|病灶|病变|病変|病巣)(maske?|msk|roi|seg|label)?$",
    re.I,
)
_LESION = re.compile(r"lesion|stroke|infarct", re.I)
NO_LESION = re.compile(
    r"(contra|ipsi|peri|non)-?lesion|^(no|un)-?lesion|lesion-?free|healthy", re.I
)
_LESION_LABELS = {"l", "lesion"}  # L is BIDS's abbreviation of lesion, and ATLAS's label
TISSUE = re.compile(
    r"brain|head|skull|scalp|face|eye|^[gw]m$|^csf$|grey|gray|white|tissue|aseg|aparc|cort|"
    r"hippo|ventric|thalam|cerebell|vessel|probseg|parc|strip|(hd|\b)bet\d?(mask)?\b|"
    r"hemisphere|^hemi|^[lr]h$|intracran|^(icv|e?tiv)$|background",
    re.I,
)
_ABOUT = ("label", "desc", "lesion", "hemi")
# Suffixes of images that a lesion may have been drawn on which the others of its session show, too.
CONTRASTS = set("t1w t2w flair pdw pdt2 t2star t2starw swi".split())
# What is bright on these in the first days after a stroke is mostly invisible on a T1w.
DIFFUSION = set("dwi adc trace tracew b1000".split())
ON_DIFFUSION = "masks drawn on diffusion images, whose lesions a {suffix} mostly does not show"
# Spaces that are the image's own.
_OWN_SPACES = {"", "orig", "T1w", "individual", "native", "subject"}


def plain(word: str) -> str:
    """A word without accents, however they are encoded: läsion, lésion and lesão as ASCII."""
    parts = unicodedata.normalize("NFKD", word.replace("æ", "ae").replace("Æ", "Ae"))
    return "".join(sign for sign in parts if not unicodedata.combining(sign))


@dataclass(frozen=True)
class File:
    """What one file's name says. Texts are "" where it says nothing.

    kind: "image", "lesion" (a mask that calls itself one), "mask" (one that says nothing of what)
    or "tissue" (one of something else). source: the suffix of the image that a mask was drawn on,
    where its name holds that, as a suffix or as its space (space-FLAIR), and an image's own; a
    mask's `entities` are then that image's, as far as they stand before it.
    """

    path: str
    kind: str
    subject: str
    session: str
    entities: tuple[tuple[str, str], ...] = ()
    source: str = ""
    is_bids: bool = True

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    def get(self, key: str) -> str:
        """The value of an entity, such as run."""
        return dict(self.entities).get(key, "")

    @property
    def space(self) -> str:
        """The space it lies in: a template's or another image's name, or "" for its own."""
        space = self.get("space")
        return "" if space in _OWN_SPACES else space


def parse(path: str, name: str, suffix: str = "T1w") -> File | None:
    """Read the name of a file: None where it is neither an image of that suffix nor a mask."""
    stem, is_nifti = NIFTI.subn("", name)
    if not is_nifti:
        return None
    if suffix.lower() == "t1w" and (match := _STX.match(stem)):
        return _of_r1(path, *match.groups())
    read = _tokens(stem)
    if read is None:
        return None
    subject, entities, suffixes = read
    before = tuple((key, value) for key, value, place in entities if place == 0)
    session = dict(before).pop("ses", "")
    before = tuple(pair for pair in before if pair[0] != "ses")
    if suffixes == [suffix.lower()] and entities == [e for e in entities if e[2] == 0]:
        return File(path, "image", subject, session, before)
    last = suffixes[-1] if suffixes else ""
    if not (last in _MASK_SUFFIXES or LESION_SUFFIX.match(last) or _ends_in_label(stem)):
        return None
    # Names that are not quite BIDS's say in a suffix what the mask shows: sub-01_brain_mask.
    words = [suffix for suffix in suffixes if suffix not in _MASK_SUFFIXES]
    shows = [word for word in words if LESION_SUFFIX.match(word) or TISSUE.search(word)]
    sources = [word for word in words if word not in shows]
    if len(sources) > 1:
        return None
    source = sources[0] if sources else ""
    if (space := dict(before).get("space", "").lower()) in CONTRASTS:
        source = source or space
        before = tuple(pair for pair in before if pair[0] != "space")
    about = [(key, value) for key, value, _ in entities if key in _ABOUT]
    about += [("", word) for word in words]
    return File(path, _mask_kind(about), subject, session, before, source)


def suffix_of(name: str) -> str:
    """The suffix of a BIDS name, such as T2w, or ""."""
    stem = NIFTI.sub("", name)
    last = stem.rpartition("_")[2]
    return last if stem.startswith("sub-") and _SUFFIX.match(last) else ""


def _tokens(stem: str) -> tuple[str, list[tuple[str, str, int]], list[str]] | None:
    """Subject, entities (key, value, number of suffixes before it) and suffixes, lower case."""
    first, *others = stem.split("_")
    if not _SUBJECT.match(first) or not others:
        return None
    entities: list[tuple[str, str, int]] = []
    suffixes: list[str] = []
    for token in others:
        if match := _ENTITY.match(token):
            key, value = match.groups()
            entities.append((key, f"ses-{value}" if key == "ses" else value, len(suffixes)))
        elif _SUFFIX.match(token):
            suffixes.append(token.lower())
        else:
            return None
    return first, entities, suffixes


def _ends_in_label(stem: str) -> bool:
    return bool(re.search(r"_(label|lesion)-[^_]+$", stem))


def _mask_kind(about: list[tuple[str, str]]) -> str:
    if any(NO_LESION.search(value) for _, value in about):
        return "tissue"
    for key, value in about:
        if key == "lesion" or _LESION.search(value):
            return "lesion"
        if key == "label" and value.lower() in _LESION_LABELS:
            return "lesion"
    is_tissue = any(key == "hemi" or TISSUE.search(value) for key, value in about)
    return "tissue" if is_tissue else "mask"


def _of_r1(path: str, scan: str, kind: str) -> File:
    folder = os.path.basename(os.path.dirname(path))
    session = folder if re.fullmatch(r"t\d+", folder) else "t01"
    subject = scan
    if r12 := R12_NAME.match(scan):
        subject, session = r12[1], r12[3]
    return File(
        path,
        "lesion" if kind.startswith("Lesion") else "image",
        subject,
        session,
        (("space", "MNI152"), ("desc", kind)),
        is_bids=False,
    )
