"""Leave out of a lock what the lock beneath it pins already: `extra_lock.py BASE < FULL > EXTRA`.

A package with several pins (one for each Python) is one block after another; all go or all stay.
"""

import re
import sys
from pathlib import Path


def blocks(text: str) -> list[str]:
    """The lock's entries, each with its hashes and comments."""
    return re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]


def extra(full: str, base: str) -> str:
    """What `full` pins beyond `base`. ValueError where they pin a package differently."""
    pins = {pin(block) for block in blocks(base)}
    names = {name.partition("==")[0] for name in pins}
    kept = []
    for block in blocks(full):
        if pin(block) in pins:
            continue
        if pin(block).partition("==")[0] in names:
            raise ValueError(f"{pin(block)} differs from the lock beneath it: make lock")
        kept.append(block)
    return "".join(kept)


def pin(block: str) -> str:
    return re.match(r"[^ \\;]+", block)[0]


if __name__ == "__main__":
    base = Path(sys.argv[1])
    sys.stdout.write(f"-r {base.name}\n\n" + extra(sys.stdin.read(), base.read_text()))
