"""`python -m kenseg_utils.atlas FOLDER [scans.csv]`: which image goes with which mask."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from kenseg_utils.machine import say

from . import find_scans, write_table
from ._seen import in_words

SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what `find_scans` sees in a folder, and write the pairs as a table where one is named.

    Returns 0, or 1 where nothing was found or a file is in the way, with a message.
    """
    parser = argparse.ArgumentParser(
        prog="python -m kenseg_utils.atlas",
        description="Show which image goes with which lesion mask in a folder, and what is left "
        "out and why. No image is opened, and nothing in the folder is changed.",
    )
    parser.add_argument("folder", help="a release, a data set, a folder of yours, or a table")
    parser.add_argument(
        "table",
        nargs="?",
        help="write the pairs there (.csv), to correct by hand: it takes the folder's place as "
        "DATA_ROOT",
    )
    parser.add_argument("--suffix", default="T1w", help="the contrast (default: T1w)")
    given = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they say is printed below
            scans = find_scans(given.folder, given.suffix)
        for line in scans.attrs["seen"].lines:
            say(line, sys.stdout)
        for row in scans.head(SHOWN).to_dict("records"):
            why = f" ({row['unlabelled']})" if row["unlabelled"] else ""
            say(f"    {in_words(row)}{why}", sys.stdout)
        if given.table:
            say(f"All {len(scans)} are in {write_table(scans, given.table)}.", sys.stdout)
        elif len(scans) > SHOWN:
            say(f"    and {len(scans) - SHOWN} more: name a table to see all.", sys.stdout)
    except (ValueError, OSError) as error:
        say(str(error), sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
