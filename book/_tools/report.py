"""The table that ends `make book`: notebook, cells, seconds, status."""

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
            yield notebook.stem, cells, seconds, "FAILED"
        elif done.exists():
            cells, seconds, ended = _read(done)
            run = status.about(json.loads(done.read_text(encoding="utf-8")))
            late = f", over its {run['promised']} min" if status.over_budget(run) else ""
            yield (
                notebook.stem,
                cells,
                seconds,
                ("run now" if ended >= started else "kept") + late,
            )
        else:
            yield notebook.stem, "", "", "not run"


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
    table = [("notebook", "cells", "seconds", "status"), *rows(Path(sys.argv[1]), started)]
    widths = [max(len(str(row[column])) for row in table) for column in range(4)]
    print()
    for number, row in enumerate(table):
        print(
            "  ".join(
                str(cell).rjust(width) if 0 < column < 3 else str(cell).ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
        if not number:
            print("  ".join("-" * width for width in widths))


if __name__ == "__main__":
    main()
