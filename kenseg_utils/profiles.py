"""Three sizes of everything: `smoke` for tests, `demo` for the rendered book, `paper` for a GPU.

Each notebook takes its profile by name as a papermill parameter and gets from here how many
subjects, how wide and how long; the code of the notebook is the same in all three.
"""

from __future__ import annotations

import argparse
import os
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from kenseg_utils import artifacts, atlas, phantom, slices

if TYPE_CHECKING:
    from kenseg_utils.training import Recipe


_TOLD = 5  # problems that a warning on unusable scans has


@dataclass(frozen=True)
class Profile:
    """How large a run is. `scans` caps the scans taken from a real release (None: all).

    `widths`, `epochs` and `batch_size` are for the quick recipe; `examples` is how many pictures
    a gallery shows; `short_epochs` is for trainings that only make a point; `lesion_prior` is
    what networks start from.
    """

    name: str
    subjects: int
    scans: int | None
    widths: tuple[int, ...]
    epochs: int
    batch_size: int
    short_epochs: int
    examples: int
    meaning: str
    lesion_prior: float = 0.05


PROFILES = {
    "smoke": Profile(
        "smoke",
        subjects=6,
        scans=6,
        widths=(4, 8),
        epochs=1,
        batch_size=8,
        short_epochs=1,
        examples=3,
        meaning="seconds, for tests; scores mean nothing",
        lesion_prior=0.0,
    ),  # its few steps would find background and nothing else
    "demo": Profile(
        "demo",
        subjects=40,
        scans=60,
        widths=(8, 16, 32, 64),
        epochs=2,
        batch_size=4,
        short_epochs=2,
        examples=6,
        meaning="minutes on two CPU cores; what the rendered book shows",
    ),
    "paper": Profile(
        "paper",
        subjects=200,
        scans=None,
        widths=(32, 64, 128, 256, 512),
        epochs=40,
        batch_size=16,
        short_epochs=4,
        examples=8,
        meaning="the paper's widths and epochs, for a GPU",
    ),
}


def get(name: str) -> Profile:
    """The profile of that name. ValueError lists the names."""
    if name not in PROFILES:
        raise ValueError(f"Unknown profile {name!r}: choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]


def check_seed(seed: int) -> int:
    """The seed; ValueError unless it is a whole number that a generator takes."""
    if not artifacts.is_whole(seed) or not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed!r}: give a whole number from 0 to {2**32 - 1}, such as 0.")
    return int(seed)


def open_scans(
    profile: Profile,
    data_root: str | os.PathLike | None = None,
    work_dir: str | os.PathLike | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The scans a notebook works on, a row each: real ones from `data_root`, else the phantom.

    `data_root` is what `atlas.find_scans` takes: a release's folder, any other, or a table.
    The phantom release is written on first use, unless a longer one of another profile is there,
    whose first subjects are the same. Of real scans at most `profile.scans` with masks
    are taken, drawn by `seed`, of as many subjects as can be, and each in one space, should
    it be there in several; those without masks (a test split, a mask forgotten) are left out with
    a warning, and of those drawn the ones that cannot be used (`slices.usable`), for which others
    are drawn. Raises atlas.ScanError where none is left, ValueError for a seed.
    """
    check_seed(seed)
    if data_root:
        scans = _in_one_space(atlas.require_masks(atlas.find_scans(data_root)))
        return _usable(scans, profile.scans or len(scans), work_dir, seed)
    work = artifacts.work_dir(work_dir)
    longer = {p.subjects for p in PROFILES.values() if p.subjects > profile.subjects}
    folders = [
        work / f"phantom-{artifacts.key(subjects=count, seed=seed, generator=phantom.VERSION)}"
        for count in (profile.subjects, *sorted(longer))
    ]
    there = next((folder for folder in folders if folder.is_dir()), None) or artifacts.build(
        folders[0],
        lambda partial: phantom.make_release(partial, profile.subjects, seed),
        resume=True,
    )
    found = atlas.find_scans(there)
    first = [phantom.subject_name(index) for index in range(profile.subjects)]
    return found[found.subject.isin(first)].reset_index(drop=True)


def _in_one_space(scans: pd.DataFrame) -> pd.DataFrame:
    """Each scan once, in standard space where it is stored so; a warning tells of the others.

    Taken twice, it would count for two, and be learned from twice.
    """
    order = sorted(
        set(scans.space), key=lambda space: (not space.startswith("MNI"), space == "orig", space)
    )
    place = scans.space.map(order.index)
    one = [scans[name] for name in ("site", "subject", "session", "acquisition", "run")]
    first = place == place.groupby(one, dropna=False).transform("min")
    if first.all():
        return scans
    return _with_problem(
        scans[first].reset_index(drop=True),
        scans,
        f"{(~first).sum()} of {len(scans)} scans left out, which are there in another space: of "
        f"each the first of {', '.join(order)} is taken. To choose another, give its folder alone.",
    )


def _with_problem(kept: pd.DataFrame, scans: pd.DataFrame, text: str) -> pd.DataFrame:
    """What is kept of the scans, with a problem more than they had, which a warning tells."""
    warnings.warn(text, stacklevel=4)  # where `open_scans` was called
    kept.attrs = scans.attrs | {"problems": (*scans.attrs.get("problems", ()), text)}
    return kept


def _usable(
    scans: pd.DataFrame, most: int, work_dir: str | os.PathLike | None, seed: int
) -> pd.DataFrame:
    """At most so many of the scans, drawn by `seed`; a warning tells of what cannot be used."""
    drawn = scans
    if len(scans) > most:
        drawn = scans.sample(frac=1, random_state=seed)
        # Everybody's first before anybody's second: few scans shall be of many people.
        turns = drawn.groupby("subject").cumcount().sort_values(kind="stable")
        drawn = drawn.loc[turns.index]
    parts: list[pd.DataFrame] = []
    problems: list[str] = []
    looked_at = 0
    while (lacking := most - sum(map(len, parts))) and looked_at < len(drawn):
        some = drawn[looked_at : looked_at + lacking]
        looked_at += len(some)
        good, report = slices.usable(some, work_dir)
        parts.append(good)
        problems += report.problem.tolist()
    kept = pd.concat(parts).sort_index().reset_index(drop=True)
    if not len(kept):
        raise atlas.ScanError(
            f"None of the {looked_at} scans could be used. The first: {problems[0]}"
        )
    if problems:
        told = " ".join(problems[:_TOLD]) + (" …" if len(problems) > _TOLD else "")
        text = f"{len(problems)} of {looked_at} scans left out, which cannot be used. {told}"
        return _with_problem(kept, scans, text)
    kept.attrs = dict(scans.attrs)
    return kept


def quick_recipe(profile: Profile, **changes: Any) -> Recipe:
    """`Recipe.quick()` at this profile's size."""
    from kenseg_utils.training import Recipe

    size = dict(
        widths=profile.widths,
        epochs=profile.epochs,
        batch_size=profile.batch_size,
        lesion_prior=profile.lesion_prior,
    )
    return Recipe.quick(**(size | changes))


def open_crops(
    profile: Profile,
    scans: pd.DataFrame,
    work_dir: str | os.PathLike | None = None,
    seed: int = 0,
    **settings: Any,
) -> tuple[slices.SliceSet, slices.SliceSet, slices.SliceSet]:
    """Prepared slices of the scans as (train, validation, test), apart by subject.

    A fifth of the subjects is kept for the test; of the others a fifth is for validation.
    Raises ValueError where fewer than three subjects have slices.
    """
    check_seed(seed)
    whole = slices.prepare(scans, work_dir=work_dir, **settings)
    subjects = whole.index.subject.nunique()
    if subjects < 3:
        raise ValueError(
            f"{subjects} of {len(scans)} scans' subjects can be used, and training, validation "
            "and test need one each: give scans with masks of three subjects or more."
        )
    rest, test = whole.split(folds=min(5, whole.index.subject.nunique()), seed=seed)[0]
    train, validation = rest.split(folds=min(5, rest.index.subject.nunique()), seed=seed)[0]
    return train, validation, test


def smaller(profile: Profile, **changes: Any) -> Profile:
    """The same profile with some numbers changed."""
    return replace(profile, **changes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the data of a profile ready.")
    parser.add_argument("profile", choices=list(PROFILES))
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--work-dir", default=os.environ.get("KENSEG_HOME"))
    arguments = parser.parse_args()
    profile = get(arguments.profile)
    try:
        scans = open_scans(profile, arguments.data_root, arguments.work_dir)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    print(
        f"{len(scans)} scans of {scans.subject.nunique()} subjects ready for profile "
        f"{profile.name} ({profile.meaning})."
    )


if __name__ == "__main__":
    main()
