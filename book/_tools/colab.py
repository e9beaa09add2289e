"""Colab without Colab: run the notebooks as they would run there, and see what has changed there.

`check` runs every notebook in profile smoke in a Python with Colab's published versions: the
stamped copy in an empty folder, whose set-up cell fetches the package, as a reader's would.
Those that train and segment run once more in the number format of a T4, Colab's usual GPU.
`drift` compares the list of packages that Colab publishes with the versions tested here.
`wanted` names what `check` needs of that list, for `make colab-lock`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

from packaging.version import Version
from stamp import stamped

# What Colab's kernel has loaded before the first cell runs.
STAND_IN = "import google.colab\n"
# Beside the project's dependencies: what nilearn and chapter 13 need, the kernel, and papermill
# (which Colab has not) to run the notebooks.
BESIDE = ("distributed", "ipykernel", "lxml", "packaging", "papermill", "requests")
# A T4's number format (`machine.choose_precision`), and the chapters that are tried in it.
ON_A_T4 = "mixed_float16"
T4_CHAPTERS = ("05_gpu_training", "06_dice_evaluation", "11_whole_brain_segmentation")
# Fetched by the set-up cell, so they must not be there beforehand.
FETCHED = ("nilearn", "isal")


def check(python: Path, folder: Path, notebooks: list[Path]) -> int:
    """Run the notebooks one after the other; return how many failed."""
    shutil.rmtree(folder, ignore_errors=True)
    content = folder / "content"
    content.mkdir(parents=True)
    commit = _snapshot(folder / "repository")
    subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *FETCHED], check=True)
    environment = _environment(folder)
    rows = []
    for notebook in notebooks:
        copy = content / notebook.name
        published = stamped(
            json.loads(notebook.read_text(encoding="utf-8")), str(folder / "repository"), commit
        )
        copy.write_text(json.dumps(published))
        rows.append(_run(python, copy, folder / "executed", environment))
    on_a_t4 = {"KENSEG_PRECISION": ON_A_T4, "KENSEG_HOME": str(folder / "home-of-a-t4")}
    for notebook in notebooks:
        if notebook.stem in T4_CHAPTERS:
            copy = content / notebook.name
            row = _run(python, copy, folder / "executed-on-a-t4", environment | on_a_t4)
            rows.append((f"{row[0]}, {ON_A_T4}", *row[1:]))
    print("\n".join("  ".join(cell.ljust(44) for cell in row) for row in rows))
    return sum(row[-1] == "FAILED" for row in rows)


def _run(python: Path, copy: Path, executed: Path, environment: dict) -> tuple[str, str, str]:
    """Run a stamped notebook in profile smoke: its name, how long it took, and how it ended."""
    begun = time.perf_counter()
    result = subprocess.run(
        [python, "book/_tools/execute.py", copy, executed / copy.name, "--profile", "smoke"],
        env=environment,
    )
    took = f"{time.perf_counter() - begun:.0f} s"
    return copy.stem, took, "FAILED" if result.returncode else "ok"


def _snapshot(repository: Path) -> str:
    """A git repository of the working tree as it is; its commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if Path(name).is_file():  # a deleted file is still listed
            (repository / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, repository / name)
    git = ["git", "-C", str(repository), "-c", "user.name=check", "-c", "user.email=check@example"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "as it is"]):
        subprocess.run(git + command, check=True)
    return subprocess.run(
        git + ["rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()


def _environment(folder: Path) -> dict:
    """The environment of Colab's kernels, as far as the notebooks look at it."""
    package = folder / "stand-in" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "colab.py").write_text(STAND_IN)
    return os.environ | {
        "COLAB_RELEASE_TAG": "stand-in",
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": str(folder / "stand-in"),
        "KENSEG_HOME": str(folder / "home"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


# --- Drift ---------------------------------------------------------------------------------------


def versions(text: str) -> dict[str, Version]:
    """Package → version of the lines `name==version` in a lock file or a list of pip's."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;+]+)", text, re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): Version(number) for name, number in found}


def drift(published: dict, needed: set, tested_there: dict, tested_here: dict) -> list[str]:
    """A line for each needed package that Colab no longer has in a tested version.

    Tested are all versions from the one of `make colab-check` to the one of the book's own lock,
    either way round: both ends are run.
    """
    problems = []
    for name in sorted(needed):
        ends = [tested[name] for tested in (tested_there, tested_here) if name in tested]
        if name not in published:
            problems.append(f"{name}: Colab no longer lists it")
        elif not ends:
            problems.append(f"{name}: tested in no version")
        elif not min(ends) <= published[name] <= max(ends):
            problems.append(
                f"{name}: Colab has {published[name]}, tested are {min(ends)} to {max(ends)}"
            )
    return problems


def needed_packages(root: Path = Path()) -> set[str]:
    """The project's dependencies that Colab brings itself."""
    lock = versions((root / "requirements-colab.lock").read_text())
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    names = {
        re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line).group()).lower()
        for line in project["dependencies"] + project["optional-dependencies"]["full"]
    }
    return names - set(lock)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    checking = parts.add_parser("check")
    checking.add_argument("python", type=Path, help="a Python with Colab's versions")
    checking.add_argument("notebooks", nargs="*", type=Path)
    parts.add_parser("wanted")
    drifting = parts.add_parser("drift")
    drifting.add_argument("published", type=Path, help="Colab's published pip-freeze")
    arguments = parser.parse_args()
    if arguments.part == "check":
        notebooks = arguments.notebooks or sorted(Path("notebooks").glob("*.ipynb"))
        # Not resolved: a virtual environment's Python is a link, and its place is what counts.
        return min(1, check(arguments.python.absolute(), Path("_build/colab").resolve(), notebooks))
    if arguments.part == "wanted":
        print("\n".join(sorted(needed_packages() | set(BESIDE))))
        return 0
    problems = drift(
        versions(arguments.published.read_text()),
        needed_packages(),
        versions(Path("requirements-colab-check.lock").read_text()),
        versions(Path("requirements.lock").read_text()),
    )
    print("\n".join(problems) or "Colab's packages are within the tested versions.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
