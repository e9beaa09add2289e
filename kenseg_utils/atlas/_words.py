"""What the words of a path tell where no layout's rules for names do: an image's contrast, a mask,
what was made of it, its space, its day, and, of what is left, whose it is.

`P01/004_t1_mprage_sag.nii` is a T1w of P01 (and 004); `wLESION_P01.nii` a lesion mask in standard
space, by SPM's letters; `masks/mask_001.nii.gz` the mask of 001.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ._layouts import CONTRAST, is_contrast, is_session
from ._names import DIFFUSION, LESION_SUFFIX, NIFTI, NO_LESION, TISSUE, plain

_MASK = re.compile(
    r"^((mask|msk|roi|seg|segmentation|label|gt|manual|ground-?truth|truth|annotation|target)s?|"
    r"masken?|masques?|mascaras?|mascher[ae]|maskers?|segment(ierung|acion|azione|acao)(en)?|"
    r"掩膜|掩码|标注|标签|マスク)$",
    re.I,
)
_IMAGE = re.compile(
    r"^((image|img|scan|volume|vol|anat|anatomical|struct|structural|mri?|input|native)s?|"
    r"bild(er)?|imagen(es)?|immagin[ei]|imagem|imagens)$",
    re.I,
)
# Folders that tell nothing; those of a cohort, such as "stroke", do not tell what a file shows.
_EMPTY = re.compile(
    r"^(anat|anatomical|nii|niftis?|mri|mr|raw|structural|images?|imgs?|scans?|data|dataset|"
    r"derivatives|bilder|imagenes|immagini|imagens|daten|donnees|datos|dati|dados)$",
    re.I,
)
_COHORT = re.compile(r"^(strokes?|infarcts?)$", re.I)
_SESSION_PAIR = re.compile(r"(?<![A-Za-z0-9])(ses|session|visit|timepoint|tp)[_ ](\d+)", re.I)
# How a scanner's protocol or a program calls an image: it is the same person's. Short ones, such as
# ax or ss, may as well be somebody's initials.
_MADE = re.compile(
    r"^(brain|head|bet\d?|stripped|skull-?strip(ped)?|hdbet|biascorr|bfc|n4\w+|unbiased|restored?|"
    r"denoised|defaced?|orig|original|fullfov|filled|lesionfilled|enantiomorphic|normali[sz]ed|"
    r"corrected|cropped|resampled|iso|sagittal|coronal|axial|3d|spgr|fspgr|bravo|vibe|memprage|"
    r"adni\d?|\d+(\.\d+)?mm)$",
    re.I,
)
_SPACE = re.compile(r"^(mni(\d+\w*)?|std|standard|template|warped|talairach|space-\w+)$", re.I)
_BY_PROGRAM = re.compile(
    r"^(pred(ict(ion|ed|ions)?)?|auto(matic)?|prob(ability|map)?|output)$", re.I
)
_TISSUE = re.compile(
    r"^([gw]m|csf|grey|gray|white|aseg|aparc\w*|pve\w*|fast|probseg|dseg|tissue|skull|mixeltype)$",
    re.I,
)
_COPY = re.compile(r"^(\(\d+\)|copy|kopie|copi[ae])$", re.I)
_PART = re.compile(
    r"^([lr]|[lr]h|left|right|links|rechts|gauche|droite|sinistra|destra|izquierda|derecha|\d)$",
    re.I,
)
_GLUED = re.compile(
    r"^(image|img|scan|maske?|msk|l(?:e|a|ae)sion|seg|label|roi|gt)(\d+|[LR])$"  # img001, lesionL
)
_SPM = re.compile(r"^((?:s?[mruw]|r?[mw]*c[1-6])+)(?=T1|T2|LESION|FLAIR|mask|roi)", re.I)
# ISLES 2015: VSD.Brain.XX.O.MR_T1.70616, and VSD.Brain_3more.XX.XX.OT.70619 for the truth.
_VSD = re.compile(r"^VSD\.Brain.*?\.(?:MR_(?P<contrast>\w+)|(?P<truth>OT))\.\d+$", re.I)


@dataclass
class Words:
    """What a path tells.

    kind: "image" (of the contrast asked for), "unknown" (an image or anything), "lesion", "mask"
    (that does not say of what), "copy", "tissue" (and all else that is of no use). grid: of a
    mask, "same", "world" for one drawn on another contrast, or "diffusion". folders, names: whose
    it is, by its folders and by its name. space: words of a standard space. made: how many words
    tell what was done with it.
    """

    path: str
    kind: str
    grid: str = "same"
    folders: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    space: frozenset[str] = frozenset()
    made: int = 0
    by_program: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """Whose and when, by folders and name; no word of a folder twice."""
        above = [word.lower() for word in self.folders]
        return (*above, *(word.lower() for word in self.names if word.lower() not in above))


@dataclass
class _Read:
    """What was read of the words of one name or folder."""

    contrasts: list[str] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    whose: list[str] = field(default_factory=list)
    space: list[str] = field(default_factory=list)
    made: int = 0
    tissue: bool = False
    perhaps_tissue: bool = False  # or somebody's name, such as Whitehead
    by_program: bool = False
    is_copy: bool = False


def is_part(word: str) -> bool:
    """Whether a word tells one lesion of several: L, right, 2."""
    return bool(_PART.match(word))


def words_of(path: str, root: str, suffix: str, is_twin: bool) -> Words:
    """Read a path below `root`; `is_twin` where another folder has a file of that name."""
    above = os.path.relpath(os.path.dirname(path), root).split(os.sep)
    folders, names, shows, space = list[str](), list[str](), list[str](), list[str]()
    stem = NIFTI.sub("", os.path.basename(path))
    read = _read(stem)
    for part in above if above != ["."] else ():
        single = part[:-1] if CONTRAST.match(part[:-1]) else part  # a folder T1s
        if is_session(part):
            folders.append(part)
        elif _VSD.match(part) or _EMPTY.match(plain(part)) or CONTRAST.match(single):
            shows += [single] if CONTRAST.match(single) else []
        elif _is_mask(part) and not _COHORT.match(part):
            shows.append(part)
        else:
            told = _read(part)
            space += told.space
            shows += [*told.masks, *told.contrasts]
            # Of a folder masks_final "final" is not whose it is, of one p1_T1 "p1" is.
            tells = bool(told.masks or told.contrasts)
            (names if tells else folders).extend(told.whose)
            read.made += told.made
            read.by_program |= told.by_program
            read.perhaps_tissue |= told.perhaps_tissue and tells  # brain_masks
            read.tissue |= told.tissue and not (told.whose or read.contrasts)
    by_folder = [word for word in shows if not CONTRAST.match(word)]
    if by_folder and not read.masks and (is_twin or not read.contrasts):
        read.masks += by_folder
    if not read.contrasts and not read.masks:
        read.contrasts += [word for word in shows if CONTRAST.match(word)]
    kind, grid = _kind(stem, read, suffix)
    return Words(
        path,
        kind,
        grid,
        tuple(folders),
        (*names, *(word for word in read.whose if word not in names)),
        frozenset(word.lower() for word in (*space, *read.space)),
        read.made,
        read.by_program,
    )


def _kind(stem: str, read: _Read, suffix: str) -> tuple[str, str]:
    is_own = all(is_contrast(word, suffix) for word in read.contrasts)
    is_lesion = any(LESION_SUFFIX.match(plain(word)) for word in read.masks)
    if read.is_copy:
        return "copy", ""
    is_tissue = read.tissue or read.masks and read.perhaps_tissue
    if NO_LESION.search(stem) or is_tissue and not is_lesion:
        return "tissue", ""
    if re.search("fill", stem, re.I):  # a lesion that was filled: an image
        return ("image" if read.contrasts and is_own else "tissue"), ""
    if read.masks:
        grid = "same" if is_own else "world"
        if any(word.lower() in DIFFUSION for word in read.contrasts):
            grid = "diffusion"
        return ("lesion" if is_lesion else "mask"), grid
    if read.contrasts:
        return ("image" if is_own else "tissue"), ""
    return ("tissue" if read.by_program else "unknown"), ""


def _read(text: str) -> _Read:
    """Sort the words of a name."""
    read = _Read()
    if match := _VSD.match(text):
        read.contrasts += [match["contrast"]] if match["contrast"] else []
        read.masks += ["lesion"] if match["truth"] else []
        return read
    words = list(_split(_SESSION_PAIR.sub(r"\1-\2", text)))
    for word in words:
        # stroke_p1_T1 is an image of a study of stroke
        is_study = word == words[0] and _COHORT.match(word) and any(map(_tells, words[1:]))
        if is_session(word) or is_study:
            read.whose.append(word)
        elif match := _GLUED.match(plain(word)):
            _sort(read, match[1])
            read.whose.append(match[2])
        elif match := _SPM.match(word):
            letters = match[1].lower()
            read.tissue |= "c" in letters
            read.space += ["w"] if "w" in letters else []
            read.made += 1
            _sort(read, word[match.end() :])
        else:
            _sort(read, word)
    return read


def _sort(read: _Read, word: str) -> None:
    if CONTRAST.match(word):
        read.contrasts.append(word)
    elif _is_mask(word):
        read.masks.append(word)
    elif _SPACE.match(word):
        read.space.append(word)
    elif _BY_PROGRAM.match(word):
        read.by_program = True
    elif _COPY.match(word):
        read.is_copy = True
    elif _MADE.match(word):
        read.made += 1
        read.perhaps_tissue |= bool(TISSUE.search(word))
    elif _TISSUE.match(word):
        read.tissue = True
    elif not _IMAGE.match(plain(word)):
        read.perhaps_tissue |= bool(TISSUE.search(word))
        read.whose.append(word)


def _split(text: str) -> Iterator[str]:
    """The words of a name; a hyphen parts them only where words at an end tell something."""
    for word in re.split(r"[_ .]+", text):
        start, end = list[str](), list[str]()
        while (match := re.match(r"^(.+)-([^-]+)$", word)) and _tells(match[2]):
            word, end = match[1], [match[2], *end]
        while (match := re.match(r"^([^-]+)-(.+)$", word)) and _tells(match[1]):
            word, start = match[2], [*start, match[1]]
        yield from (part for part in (*start, word, *end) if part)


def _tells(word: str) -> bool:
    return bool(CONTRAST.match(word)) or _is_mask(word)


def _is_mask(word: str) -> bool:
    return bool(_MASK.match(plain(word)) or LESION_SUFFIX.match(plain(word)))
