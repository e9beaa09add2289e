"""The page of last runs, made from the executed notebooks: when, how long, on what, by what."""

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

PLACE = "<!-- here the build puts its table: book/_tools/status.py -->"
# How the two printed lines that end a chapter begin (kenseg_utils.teaching.closing_line).
MADE_BY, RAN_ON = "kenseg_utils ", ("CPU", "GPU", "TPU")


def about(content: dict) -> dict:
    """What an executed notebook says of its own run. Missing things are empty."""
    run = content["metadata"]["papermill"]
    text = "\n".join(
        "".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "markdown"
    )
    promised = re.search(r"^\*\*Time\*\*: at most (\d+) minutes? to run", text, re.M)
    reading = re.search(r"^\*\*Time\*\*:.*; about (\d+) minutes? to read and do", text, re.M)
    memory = re.search(r"^\*\*Memory\*\*: at most (\d+) GB", text, re.M)
    lines = "".join(
        "".join(output.get("text", ""))
        for cell in content["cells"][-1:]
        for output in cell.get("outputs", [])
    ).splitlines()
    ended = run.get("end_time")
    return {
        "title": re.search(r"^# (.+)$", text, re.M).group(1),
        "ended": datetime.fromisoformat(ended).astimezone(UTC) if ended else None,
        "seconds": run.get("duration") or 0.0,
        "promised": int(promised.group(1)) if promised else None,
        "reading": int(reading.group(1)) if reading else None,
        "gigabytes": (run.get("peak_memory") or 0) / 1e9,
        "promised_gigabytes": int(memory.group(1)) if memory else None,
        "failed": bool(run.get("exception")),
        "profile": run.get("parameters", {}).get("profile", ""),
        "made_by": next((line for line in lines if line.startswith(MADE_BY)), ""),
        "ran_on": next((line for line in lines if line.startswith(RAN_ON)), ""),
    }


def over_budget(run: dict) -> bool:
    """Whether a chapter took longer than its overview box promises (for profile demo)."""
    return bool(
        run["profile"] == "demo" and run["promised"] and run["seconds"] > 60 * run["promised"]
    )


def over_memory(run: dict) -> bool:
    """Whether a chapter held more memory than its overview box promises (for profile demo)."""
    return bool(
        run["profile"] == "demo"
        and run["promised_gigabytes"]
        and run["gigabytes"] > run["promised_gigabytes"]
    )


def table(folder: Path, notebooks: list[Path]) -> str:
    """Markdown: a row a chapter, then what the chapters were made by."""
    rows = [
        "| chapter | last run (UTC) | result | took | promised | memory | promised | profile "
        "| device, data |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    makers = {}
    for notebook in notebooks:
        run = about(json.loads((folder / notebook.name).read_text(encoding="utf-8")))
        # Non-breaking hyphens and spaces: a date in a narrow column stays readable.
        ended = (
            f"{run['ended']:%Y\N{NON-BREAKING HYPHEN}%m\N{NON-BREAKING HYPHEN}%d %H:%M}"
            if run["ended"]
            else "–"
        )
        result = "failed" if run["failed"] else "ran to its end"
        took = f"{run['seconds'] / 60:.1f}\N{NO-BREAK SPACE}min"
        promised = f"at most {run['promised']}\N{NO-BREAK SPACE}min" if run["promised"] else "–"
        if over_budget(run):
            result += ", **longer than promised**"
        if over_memory(run):
            result += ", **more memory than promised**"
        held = f"{run['gigabytes']:.1f}\N{NO-BREAK SPACE}GB" if run["gigabytes"] else "–"
        room = run["promised_gigabytes"]
        most = f"at most {room}\N{NO-BREAK SPACE}GB" if room else "–"
        where = " · ".join(
            part
            for part in run["ran_on"].split(" · ")
            if not part.startswith(("profile ", "verified ")) and not re.fullmatch(r"\d+ s", part)
        )
        rows.append(
            f"| [{notebook.stem[:2]} {run['title']}](../notebooks/{notebook.name}) "
            f"| {ended} | {result} | {took} | {promised} | {held} | {most} "
            f"| {run['profile']} | {where or '–'} |"
        )
        makers.setdefault(run["made_by"], []).append(notebook.stem[:2])
    made = [
        f"- chapters {', '.join(chapters)}: {line}" for line, chapters in makers.items() if line
    ]
    note = (
        "The promises are for profile `demo` on two CPU cores, and are compared only there. "
        "Memory is the most that a chapter's processes held together, looked at every three "
        "seconds. "
        "A “+” after a commit means that files differed from it."
    )
    return "\n".join([*rows, "", note, "", "What they were made by:", "", *made])


def built(commit: str, lock: Path = Path("requirements.lock")) -> str:
    """The line under every page: when the book was built, and from what."""
    digits = hashlib.sha256(lock.read_bytes()).hexdigest()[:8]
    return (
        f"<p>Built on {datetime.now(UTC):%Y-%m-%d} from commit "
        f"{commit[:12] or 'unknown'} with {lock.name} {digits}.</p>"
    )


def fill(page: Path, folder: Path, notebooks: list[Path]) -> None:
    """Put the table into the staged page. ValueError where the page has no place for it."""
    text = page.read_text(encoding="utf-8")
    if PLACE not in text:
        raise ValueError(f"{page}: the line {PLACE!r} is missing.")
    page.write_text(text.replace(PLACE, table(folder, notebooks)), encoding="utf-8")
