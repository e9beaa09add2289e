"""The table that ends `make book`: notebook, cells, seconds, memory, status."""

import json
import sys
from datetime import datetime
from pathlib import Path

import status


def rows(folder: Path, started: float):
    """One row a notebook of the book, read from its executed or failed copy."""
    for notebook in sorted(Path("notebooks").glob("*.ipynb")):
        done, failed = folder / notebook.name, folder / f"failed-{notebook.name}"
        if failed.exists():
            cells, seconds, _ = _read(failed)
            yield notebook.stem, cells, seconds, "", "FAILED"
        elif done.exists():
            cells, seconds, ended = _read(done)
            run = status.about(json.loads(done.read_text(encoding="utf-8")))
            late = f", over its {run['promised']} min" if status.over_budget(run) else ""
            more = f", over its {run['promised_gigabytes']} GB" if status.over_memory(run) else ""
            yield (
                notebook.stem,
                cells,
                seconds,
                f"{run['gigabytes']:.1f}" if run["gigabytes"] else "",
                ("run now" if ended >= started else "kept") + late + more,
            )
        else:
            yield notebook.stem, "", "", "", "not run"


def _read(path: Path):
    content = json.loads(path.read_text())
    about = content["metadata"]["papermill"]
    cells = sum(cell["cell_type"] == "code" for cell in content["cells"])
    ended = about.get("end_time")
    return (
        cells,
        round(about.get("duration") or 0, 1),
        datetime.fromisoformat(ended).timestamp() if ended else 0,
    )


def main() -> None:
    started = Path("_build/.started").stat().st_mtime
    table = [("notebook", "cells", "seconds", "GB", "status"), *rows(Path(sys.argv[1]), started)]
    widths = [max(len(str(row[column])) for row in table) for column in range(5)]
    print()
    for number, row in enumerate(table):
        print(
            "  ".join(
                str(cell).rjust(width) if 0 < column < 4 else str(cell).ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
        if not number:
            print("  ".join("-" * width for width in widths))


if __name__ == "__main__":
    main()
