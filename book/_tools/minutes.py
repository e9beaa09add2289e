"""How long chapters and paths take, for the page "Learning paths", made when the book is built.

Minutes to read are those of a chapter's overview box. Minutes to run are measured where the chapter
ran in profile demo, for which its box promises; elsewhere they are the promised ones.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import status

TABLE = "<!-- here the build puts the minutes of all chapters: book/_tools/minutes.py -->"
PATH = "<!-- here the build puts the minutes of this path: book/_tools/minutes.py -->"
FIRST = "00_start_here"  # every path begins with it
HOUR = 60


@dataclass(frozen=True)
class Minutes:
    """What a chapter, or several, ask for."""

    reading: int
    running: float
    measured: bool

    def __add__(self, other: "Minutes") -> "Minutes":
        return Minutes(
            self.reading + other.reading,
            self.running + other.running,
            self.measured and other.measured,
        )

    @property
    def ran(self) -> str:
        """The minutes to run in words; a promise is called one."""
        return f"{'' if self.measured else 'at most '}{spoken(self.running)}"


def spoken(minutes: float) -> str:
    """Minutes in words: `5 minutes`, `1 hour 5 minutes`, `2 hours`."""
    whole = max(1, round(minutes))
    parts = [(whole // HOUR, "hour"), (whole % HOUR, "minute")]
    return " ".join(f"{n}\N{NO-BREAK SPACE}{unit}{'s' * (n > 1)}" for n, unit in parts if n)


def of_chapters(folder: Path, notebooks: list[Path]) -> dict[str, Minutes]:
    """The minutes of each chapter, by the notebook's name. ValueError where a box lacks them."""
    found = {}
    for notebook in notebooks:
        run = status.about(json.loads((folder / notebook.name).read_text(encoding="utf-8")))
        if not (run["reading"] and run["promised"]):
            raise ValueError(
                f"{notebook.name}: its overview box promises no minutes to read or run."
            )
        measured = run["profile"] == "demo" and run["seconds"] > 0 and not run["failed"]
        running = run["seconds"] / 60 if measured else run["promised"]
        found[notebook.stem] = Minutes(run["reading"], running, measured)
    return found


def total(chapters: dict[str, Minutes]) -> Minutes:
    """Of several chapters, one after the other."""
    return sum(chapters.values(), start=Minutes(0, 0.0, True))


def table(chapters: dict[str, Minutes]) -> str:
    """Markdown: a row a chapter, and their sum."""
    rows = ["| chapter | to read and do | to run |", "|---|---|---|"]
    for name, minutes in chapters.items():
        rows.append(
            f"| [](../notebooks/{name}.ipynb) | about {spoken(minutes.reading)} | {minutes.ran} |"
        )
    whole = total(chapters)
    return "\n".join([*rows, f"| **all** | about {spoken(whole.reading)} | {whole.ran} |"])


def sentence(words: str, chapters: dict[str, Minutes]) -> str:
    """What a path takes whose list, in Markdown, these words are; ValueError without chapters."""
    named = dict.fromkeys([FIRST, *re.findall(r"notebooks/(\w+)\.ipynb", words)])
    missing = [name for name in named if name not in chapters]
    if missing or len(named) < 2:
        raise ValueError(f"learning paths: no chapter {missing}, or none named, in {words[:60]!r}")
    whole = total({name: chapters[name] for name in named})
    return (
        f"**How long**: with chapter 0 about {spoken(whole.reading)} to read and do its "
        f"{len(named)} chapters; running them takes {whole.ran}."
    )


def fill(page: Path, folder: Path, notebooks: list[Path]) -> None:
    """Put minutes into the staged page. ValueError where it has no place for them."""
    text = page.read_text(encoding="utf-8")
    if TABLE not in text or PATH not in text:
        raise ValueError(f"{page}: the line {TABLE if TABLE not in text else PATH!r} is missing.")
    chapters = of_chapters(folder, notebooks)
    parts = re.split(r"^(?=## )", text.replace(TABLE, table(chapters)), flags=re.M)
    filled = [
        part.replace(PATH, sentence(part.partition(PATH)[0], chapters)) if PATH in part else part
        for part in parts
    ]
    page.write_text("".join(filled), encoding="utf-8")
