"""The theme's icons, cut down to those that the pages use: of 1.5 MB some 100 kB are left.

Font Awesome's script holds every icon as `"name":[width,height,[aliases],"code","path"]`. All that
no page and no script names are taken out; the script itself stays as it was. The theme's styles
name every icon once more, as a letter of a font: the script draws them, so these rules go, and of
the font those letters stay that other styles write, such as the signs before notes.
"""

import re
from pathlib import Path

from fontTools import subset

ENTRY = re.compile(
    r'(?P<quote>"?)(?P<name>[a-z0-9][a-z0-9-]*)(?P=quote):\[\d+,\d+,\[(?P<aliases>[^\]]*)\],'
    r'"[0-9a-f]*",(?:"[^"]*"|\["[^"]*","[^"]*"\])\],?'
)
USED = re.compile(r"\bfa-([a-z0-9][a-z0-9-]*)")

RULE = re.compile(r'(?:\.fa-[a-z0-9-]+:before,?)+\{content:"(?:[^"\\]|\\.)+"\}')
FONT = "vendor/fontawesome/webfonts/fa-solid-900"
# Font Awesome's letters lie where Unicode leaves room for private ones.
LETTER = re.compile("\\\\([ef][0-9a-f]{3})|([\ue000-\uf8ff])")


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


def lighten_styles(static: Path) -> None:
    """Drop the theme's rules for single icons, and the font's letters that no rule writes."""
    letters: set[int] = set()
    for style in static.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        kept = RULE.sub("", text)
        letters |= {int(code, 16) if code else ord(sign) for code, sign in LETTER.findall(kept)}
        # Packed in the older of the two ways, which needs no other library.
        kept = re.sub(rf"({FONT})\.woff2\) format\(\"woff2\"\)", r'\1.woff) format("woff")', kept)
        if kept != text:
            style.write_text(kept, encoding="utf-8")
    whole = static / f"{FONT}.ttf"
    if whole.exists():
        options = subset.Options(flavor="woff", recalc_timestamp=False)
        font = subset.load_font(whole, options)
        chosen = subset.Subsetter(options)
        chosen.populate(unicodes=letters)
        chosen.subset(font)
        subset.save_font(font, whole.with_suffix(".woff"), options)
        for suffix in (".ttf", ".woff2"):
            whole.with_suffix(suffix).unlink(missing_ok=True)


def keep_used(html: Path) -> None:
    """Cut the built book's icons down, and drop the maps that only a debugger reads."""
    lighten_styles(html / "_static")
    script = html / "_static/scripts/fontawesome.js"
    if script.exists():
        text = script.read_text(encoding="utf-8")
        script.write_text(without_others(text, used(html)), encoding="utf-8")
    for source_map in (html / "_static/scripts").glob("*.map"):
        source_map.unlink()
