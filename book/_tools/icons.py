"""The theme's icons, cut down to those that the pages use: of 1.5 MB some 100 kB are left.

Font Awesome's script holds every icon as `"name":[width,height,[aliases],"code","path"]`. All that
no page and no script names are taken out; the script itself stays as it was.
"""

import re
from pathlib import Path

ENTRY = re.compile(
    r'(?P<quote>"?)(?P<name>[a-z0-9][a-z0-9-]*)(?P=quote):\[\d+,\d+,\[(?P<aliases>[^\]]*)\],'
    r'"[0-9a-f]*",(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?'
)
USED = re.compile(r"\bfa-([a-z0-9][a-z0-9-]*)")


def used(html: Path) -> set[str]:
    """Names of icons in pages and scripts, but for Font Awesome's own files."""
    names: set[str] = set()
    for file in html.rglob("*"):
        own = "fontawesome" in file.as_posix() or "vendor" in file.parts
        if file.suffix in (".html", ".js") and not own:
            names |= set(USED.findall(file.read_text(encoding="utf-8", errors="ignore")))
    return names


def without_others(script: str, names: set[str]) -> str:
    """The script with the icons of these names (or with such an alias) alone."""

    def kept(found: re.Match) -> str:
        aliases = set(re.findall(r'"([a-z0-9-]+)"', found["aliases"]))
        return found[0] if names & {found["name"], *aliases} else ""

    return ENTRY.sub(kept, script)


def keep_used(html: Path) -> None:
    """Cut the built book's icon script down, and drop the maps that only a debugger reads."""
    script = html / "_static/scripts/fontawesome.js"
    if script.exists():
        text = script.read_text(encoding="utf-8")
        script.write_text(without_others(text, used(html)), encoding="utf-8")
    for source_map in (html / "_static/scripts").glob("*.map"):
        source_map.unlink()
