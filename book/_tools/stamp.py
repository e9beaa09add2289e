"""Write the repository's address and a commit into a notebook's set-up cell, for Colab.

Committed notebooks name neither: a fork's copies must not fetch somebody else's package.
"""

import argparse
import json
import re
from pathlib import Path

BLANK = 'REPOSITORY, COMMIT = "", ""'


def stamped(content: dict, address: str, commit: str) -> dict:
    """A copy of a notebook whose set-up cell knows where its package is to be had.

    ValueError where address or commit hold anything that a shell would read as more than a word,
    or where the notebook has no set-up cell left blank.
    """
    for name, text in (("address", address), ("commit", commit)):
        if not re.fullmatch(r"[\w./:@+~-]+", text) or text.startswith("-"):
            raise ValueError(f"{name} {text!r}: letters, digits and . / : @ + ~ - only.")
    content = json.loads(json.dumps(content))
    found = 0
    for cell in content["cells"]:
        if "setup" in cell["metadata"].get("tags", []):
            source = "".join(cell["source"])
            found += source.count(BLANK)
            new = source.replace(BLANK, f'REPOSITORY, COMMIT = "{address}", "{commit}"')
            cell["source"] = new.splitlines(keepends=True)
    if found != 1:
        raise ValueError(f"{found} set-up cells with the line {BLANK}: there must be one.")
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="such as https://github.com/owner/name")
    parser.add_argument("commit", help="the tag or commit whose package the notebooks fetch")
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, required=True, help="the folder to write them to")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    for notebook in arguments.notebooks:
        try:
            content = stamped(
                json.loads(notebook.read_text(encoding="utf-8")),
                arguments.address,
                arguments.commit,
            )
        except ValueError as error:
            raise SystemExit(f"{notebook}: {error}") from None
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        (arguments.to / notebook.name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
