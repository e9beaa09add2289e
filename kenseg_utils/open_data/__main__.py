"""`python -m kenseg_utils.open_data arc --subjects 20 --to FOLDER`"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from . import _fetch, _releases


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m kenseg_utils.open_data",
        description="Download stroke scans that anyone may have: T1w and lesion masks.",
    )
    parser.add_argument(
        "name", choices=[*_releases.names(), *_releases.REFUSED], help="the data set"
    )
    parser.add_argument(
        "--subjects",
        nargs="+",
        default=["20"],
        metavar="N",
        help="how many, smallest first; or names, such as M2051 M2053; or all (default: 20)",
    )
    parser.add_argument("--to", metavar="FOLDER", help="new, empty, or of an earlier download")
    parser.add_argument("--base-url", metavar="URL", help="a mirror of the data set's root")
    parser.add_argument("--workers", type=int, default=4, help="subjects at once (default: 4)")
    given = parser.parse_args(arguments)
    try:
        print(_releases.licence(given.name))
        if not given.to:
            parser.error("--to FOLDER is needed")
        scans = _fetch.fetch(
            given.name,
            given.to,
            _subjects(given.subjects),
            base_url=given.base_url,
            workers=given.workers,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped. The same command again goes on from here.") from None
    table = _releases.manifest(given.name)
    print(
        f"{len(scans)} subjects with T1w and mask are whole in {given.to}. "
        f"{len(table) - len(_releases.pairs(table))} of the {len(table)} subjects with a mask "
        "are never fetched: their T1w is of another session, not aligned with it."
    )


def _subjects(given: list[str]) -> int | list[str] | None:
    """A number, names, or None for all."""
    if given == ["all"]:
        return None
    return int(given[0]) if len(given) == 1 and given[0].lstrip("-").isdigit() else given


if __name__ == "__main__":
    main()
