"""Where launch buttons lead, what notebooks are stamped with, the page of last runs, Colab."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from time import sleep

import pytest
import yaml
from conftest import NOTEBOOKS, ROOT
from packaging.version import Version

sys.path.insert(0, str(ROOT / "book/_tools"))


def tool(name):
    specification = importlib.util.spec_from_file_location(name, ROOT / f"book/_tools/{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


address, colab, minutes, side_by_side, stamp, status = (
    tool(name) for name in ("address", "colab", "minutes", "side_by_side", "stamp", "status")
)
HERE = "https://github.com/owner/name"


# --- The address ---------------------------------------------------------------------------------


@pytest.fixture
def no_environment(monkeypatch, tmp_path):
    """A folder without git, and none of the variables."""
    for name in ("REPOSITORY", "GITHUB_REPOSITORY", "REVISION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_unknown_address_is_empty(no_environment):
    assert address.repository() == address.revision() == address.source_commit() == ""


@pytest.mark.parametrize(
    "given",
    [
        "owner/name",
        HERE,
        HERE + ".git",
        HERE + "/",
        "git@github.com:owner/name.git",
        "ssh://git@github.com/owner/name",
    ],
)
def test_an_address_in_any_of_its_forms(no_environment, monkeypatch, given):
    monkeypatch.setenv("REPOSITORY", given)
    assert address.repository() == HERE


@pytest.mark.parametrize(
    "given",
    [
        "https://gitlab.com/owner/name",
        "name",
        "owner/name; rm -rf x",
        "https://github.com.example.org/owner/name",
    ],
)
def test_another_address_is_refused_rather_than_bent(no_environment, monkeypatch, given):
    monkeypatch.setenv("REPOSITORY", given)
    with pytest.raises(SystemExit, match="owner/name"):
        address.repository()


def test_the_remote_and_the_commit_are_found(no_environment, monkeypatch):
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example"]
    for command in (
        ["init", "-q"],
        ["commit", "-q", "--allow-empty", "-m", "x"],
        ["remote", "add", "origin", "https://gitlab.com/owner/name"],
    ):
        subprocess.run([*git, *command], check=True)
    assert address.repository() == ""  # a remote elsewhere is no error and no address
    subprocess.run(["git", "remote", "set-url", "origin", HERE + ".git"], check=True)
    assert address.repository() == HERE
    commit = address.source_commit()
    assert len(commit) == 40 and address.revision() == commit
    subprocess.run(["git", "tag", "v1"], check=True)
    assert address.revision() == "v1"
    monkeypatch.setenv("REVISION", "colab-v1")
    assert address.revision() == "colab-v1" and address.source_commit() == commit


# --- The stamp -----------------------------------------------------------------------------------


def setup_cell(content):
    return next(
        "".join(cell["source"])
        for cell in content["cells"]
        if "setup" in cell["metadata"].get("tags", [])
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_can_be_stamped_and_is_not(path):
    content = json.loads(path.read_text())
    assert stamp.BLANK in setup_cell(content)
    stamped = stamp.stamped(content, HERE, "0123abc")
    assert f'REPOSITORY, COMMIT = "{HERE}", "0123abc"' in setup_cell(stamped)
    assert stamp.BLANK in setup_cell(content), "the original was changed"
    with pytest.raises(ValueError, match="0 set-up cells"):
        stamp.stamped(stamped, HERE, "0123abc")


@pytest.mark.parametrize(
    "given", [("x; rm -rf /", "abc"), (HERE, "$(reboot)"), (HERE, ""), ("--upload-pack=x", "abc")]
)
def test_a_stamp_holds_no_shell_code(given):
    with pytest.raises(ValueError, match="only"):
        stamp.stamped(json.loads(NOTEBOOKS[0].read_text()), *given)


MARKED = """# Data

One line<!-- published: , or Colab: the rocket opens it --> and its end.
Read on.
<!-- published: On Colab, a sentence. -->

| a | b |
|---|---|
| 1 | 2 |
<!-- published:
| Colab | 3 |
| Colab | 4 |
-->
<!-- a comment that stays -->
"""


def test_what_only_a_published_book_can_say_is_said_there_alone():
    said, left_out = (stamp.in_words(MARKED, known) for known in (True, False))
    assert "line, or Colab: the rocket opens it and its end.\n" in said
    assert "\nOn Colab, a sentence.\n\n| a" in said
    assert "| 1 | 2 |\n| Colab | 3 |\n| Colab | 4 |\n<!-- a comment" in said
    assert "One line and its end.\nRead on.\n\n| a | b |" in left_out
    assert left_out.endswith("| 1 | 2 |\n<!-- a comment that stays -->\n")
    assert "Colab" not in left_out and "published" not in said + left_out


def test_notebooks_say_what_only_a_published_book_can_say_where_it_is_published():
    """In Markdown and in comments; without a repository a page does not show the set-up cell."""
    content = json.loads(NOTEBOOKS[0].read_text())
    code = "a = 1\n# published: On Colab, keep it:\nif a:\n    # published: x = 2\n    b = 2\n"
    extra = [
        {"cell_type": "markdown", "id": "m", "metadata": {}, "source": MARKED.splitlines(True)},
        {"cell_type": "markdown", "id": "n", "metadata": {}, "source": "<!-- published: Colab -->"},
        {"cell_type": "code", "id": "c", "metadata": {}, "source": code, "outputs": []},
    ]
    content["cells"] += extra
    before = json.dumps(content)
    here, nowhere = stamp.stamped(content, HERE, "0123abc"), stamp.unpublished(content)
    assert json.dumps(content) == before, "the original was changed"
    *_, words, alone, comments = ("".join(cell["source"]) for cell in here["cells"])
    assert (words, alone) == (stamp.in_words(MARKED, True), "Colab")
    assert comments == "a = 1\n# On Colab, keep it:\nif a:\n    # x = 2\n    b = 2\n"
    *_, words, comments = ("".join(cell["source"]) for cell in nowhere["cells"])
    assert words == stamp.in_words(MARKED, False) and comments == "a = 1\nif a:\n    b = 2\n"
    hidden = [c for c in nowhere["cells"] if "remove-cell" in c["metadata"].get("tags", [])]
    assert [setup_cell({"cells": hidden})] == [setup_cell(content)]
    assert "remove-cell" not in json.dumps(here)


# --- The page of last runs -----------------------------------------------------------------------


def executed_copy(seconds, profile="demo", promised=2):
    closing = (
        "kenseg_utils 0.1.0 · commit abc+ · requirements.lock 123 · numpy 2.0.2\n"
        f"CPU (2 cores) · profile {profile} · data phantom ATLAS (key 12) · {seconds} s · "
        "verified on 2026-01-02\n"
    )
    box = f"**Time**: at most {promised} minutes to run on two CPU cores (profile demo)."
    return {
        "cells": [
            {"cell_type": "markdown", "source": ["(x)=\n", "# A chapter\n", "\n", box]},
            {"cell_type": "code", "source": "", "outputs": [{"text": closing}]},
        ],
        "metadata": {
            "papermill": {
                "duration": seconds,
                "exception": None,
                "end_time": "2026-01-02T03:04:05+00:00",
                "parameters": {"profile": profile},
            }
        },
    }


def test_the_table_tells_when_how_long_and_on_what(tmp_path):
    names = []
    for number, copy in enumerate(
        [executed_copy(90), executed_copy(150), executed_copy(150, "smoke")]
    ):
        names.append(tmp_path / f"0{number}_x.ipynb")
        names[-1].write_text(json.dumps(copy))
    text = status.table(tmp_path, names)
    first, second, third = [line for line in text.splitlines() if line.startswith("| [0")]
    assert (
        "| 2026-01-02 03:04 | ran to its end | 1.5 min | at most 2 min | – | – | demo | "
        in first.replace("\N{NON-BREAKING HYPHEN}", "-").replace("\N{NO-BREAK SPACE}", " ")
    )
    assert "CPU (2 cores) · data phantom ATLAS (key 12)" in first
    assert "longer than promised" in second and "longer than promised" not in first + third
    assert "chapters 00, 01, 02: kenseg_utils 0.1.0 · commit abc+" in text


def test_the_table_tells_how_much_memory(tmp_path):
    names = []
    for number, held in enumerate((1.25, 2.5)):
        copy = executed_copy(90)
        copy["cells"][0]["source"].append("\n**Memory**: at most 2 GB (profile demo).")
        copy["metadata"]["papermill"]["peak_memory"] = held * 1e9
        names.append(tmp_path / f"0{number}_x.ipynb")
        names[-1].write_text(json.dumps(copy))
    first, second = [
        line.replace("\N{NO-BREAK SPACE}", " ")
        for line in status.table(tmp_path, names).splitlines()
        if line.startswith("| [0")
    ]
    assert "| 1.2 GB | at most 2 GB |" in first and "more memory" not in first
    assert "| 2.5 GB | at most 2 GB |" in second and "**more memory than promised**" in second


def test_memory_counts_a_process_and_the_processes_that_it_starts():
    hold = "import time; held = b'x' * {0}; time.sleep(1)"
    child = f"import subprocess, sys; {hold.format(60_000_000)}"
    child = child.replace(
        "time.sleep(1)", f'subprocess.run([sys.executable, "-c", "{hold.format(90_000_000)}"])'
    )
    watch = (
        "import memory, subprocess, sys\n"
        "with memory.Peak(seconds=0.05) as peak:\n"
        "    subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)\n"
        "with memory.Peak(seconds=0.05) as nothing:\n"
        "    pass\n"
        "print(peak.bytes, nothing.bytes)"
    )
    # In a process of its own: what other tests have left to wait beside this one would count.
    told = subprocess.run(
        [sys.executable, "-c", watch, child],
        cwd=ROOT / "book/_tools",
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    held, nothing = map(int, told.split())
    assert 150e6 < held < 300e6 and nothing == 0


@pytest.mark.parametrize(
    ("cores", "gigabytes", "waiting", "many"),
    [
        (2, 22, 16, 2),
        (1, 22, 16, 1),
        (2, 6, 16, 1),  # a laptop with 8 GB, most of it taken
        (2, 2, 16, 1),
        (16, 100, 16, 4),
        (16, 100, 1, 1),
        (2, 22, 0, 1),
    ],
)
def test_as_many_chapters_side_by_side_as_cores_and_memory_allow(cores, gigabytes, waiting, many):
    assert side_by_side.side_by_side(cores, gigabytes * 1e9, waiting) == many
    threads = set(side_by_side.threads(cores, many).values())
    assert threads == ({str(cores // many)} if many > 1 else set())


def test_chapters_that_wait_are_those_without_a_copy_or_with_an_older_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, path in enumerate(("kenseg_utils/a.py", "n/1.ipynb", "n/2.ipynb", "n/3.ipynb")):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).touch()
        os.utime(path, (number, number))
    copies = tmp_path / "copies"
    copies.mkdir()
    for name, time in (("1.ipynb", 9), ("2.ipynb", 1)):
        (copies / name).touch()
        os.utime(copies / name, (time, time))
    notebooks = sorted(Path("n").iterdir())
    assert side_by_side.waiting(copies, notebooks) == 2
    os.utime("kenseg_utils/a.py", (20, 20))
    assert side_by_side.waiting(copies, notebooks) == 3


def plan(*arguments):
    """What make would do, and its rules and variables."""
    command = ["make", "-n", "-p", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout


def test_chapters_that_go_on_with_a_network_wait_for_it():
    """Whoever opens chapter 5's training by its own recipe comes after chapter 5."""
    done = "_build/executed/smoke/"
    planned = plan("PROFILE=smoke", f"{done}01_atlas_exploration.ipynb")
    for path in NOTEBOOKS:
        rule = re.search(rf"^{re.escape(done + path.name)}:.*$", planned, re.M).group(0)
        goes_on = "quick_recipe(size, seed=seed)" in path.read_text() and path.stem[:2] not in (
            "00",  # its own, smaller one
            "05",
        )
        assert goes_on == (f"{done}05_gpu_training.ipynb" in rule.split(":", 1)[1]), path.name


def test_long_chapters_begin_first_and_none_that_must_wait_at_once():
    """Chapter 5, three long ones that need nothing of it, then by the minutes promised."""
    planned = plan("lint")
    value = {
        name: re.search(rf"^{name} := (.*)$", planned, re.M).group(1).split()
        for name in ("ORDER", "GO_ON", "TRAINS")
    }
    order = list(dict.fromkeys(value["ORDER"]))
    assert sorted(order) == [str(path.relative_to(ROOT)) for path in sorted(NOTEBOOKS)]
    minutes = {
        path: int(re.search(r"at most (\d+) minutes to run", (ROOT / path).read_text())[1])
        for path in order
    }
    assert order[:1] == value["TRAINS"] and not set(order[1:4]) & set(value["GO_ON"])
    for part in (order[1:4], order[4:]):
        assert [minutes[path] for path in part] == sorted(map(minutes.get, part), reverse=True)
    alone = set(order[4:]) - set(value["GO_ON"])
    assert min(map(minutes.get, order[1:4])) >= max(map(minutes.get, alone))


def test_every_chapter_promises_minutes_and_memory():
    for path in NOTEBOOKS:
        content = json.loads(path.read_text())
        content["metadata"]["papermill"] = {}
        about = status.about(content)
        assert about["promised"] and about["promised_gigabytes"], path.name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_executed_chapters_say_what_the_table_needs(path, executed):
    run = status.about(json.loads(executed(path.stem).read_text()))
    assert run["profile"] == "smoke" and run["ended"] and run["seconds"] > 0 and not run["failed"]
    assert 0.1 < run["gigabytes"] < 8
    assert "commit " in run["made_by"] and ".lock " in run["made_by"]
    # A page that reads no scans says so.
    assert "data none" in run["ran_on"] or "(key " in run["ran_on"], "closing_line(…, scans)"


def test_a_page_without_a_place_for_the_table_is_named(tmp_path):
    page = tmp_path / "status.md"
    page.write_text("# Status\n")
    with pytest.raises(ValueError, match="status.md"):
        status.fill(page, tmp_path, [])
    assert status.PLACE in (ROOT / "book/status.md").read_text()


# --- The minutes of chapters and paths ------------------------------------------------------------

PATHS = f"""# Paths

## One
1. [a](../notebooks/01_a.ipynb), [b](../notebooks/02_b.ipynb), [a](../notebooks/01_a.ipynb).

{minutes.PATH}

## Two
1. [](../notebooks/02_b.ipynb)

{minutes.PATH}

## All
{minutes.TABLE}
"""


def minutes_page(folder, profiles=("demo",) * 3):
    """What becomes of the page with three chapters: 10, 20, 60 minutes to read; 1, 2, 3 to run."""
    page = folder / "paths.md"
    page.write_text(PATHS)
    names = []
    for number, (profile, reading) in enumerate(zip(profiles, (10, 20, 60))):
        copy = executed_copy(60 * (number + 1), profile, promised=9)
        copy["cells"][0]["source"].append(f"; about {reading} minutes to read and do.")
        copy["cells"][0]["source"][3] = copy["cells"][0]["source"][3].rstrip(".")
        name = ("00_start_here", "01_a", "02_b")[number]
        names.append(folder / f"{name}.ipynb")
        names[-1].write_text(json.dumps(copy))
    minutes.fill(page, folder, names)
    return page.read_text().replace("\N{NO-BREAK SPACE}", " ")


def test_paths_say_how_long_they_take_as_measured(tmp_path):
    """A chapter that is named twice is read once, and chapter 0 is read on every path."""
    text = minutes_page(tmp_path)
    one, two = re.findall("about (.*) to read and do its (.) chapters.* takes (.*)\\.", text)
    assert one == ("1 hour 30 minutes", "3", "6 minutes")
    assert two == ("1 hour 10 minutes", "2", "4 minutes")
    assert "| [](../notebooks/01_a.ipynb) | about 20 minutes | 2 minutes |" in text
    assert "| **all** | about 1 hour 30 minutes | 6 minutes |" in text and "<!--" not in text


def test_paths_say_what_is_promised_where_nothing_was_measured(tmp_path):
    text = minutes_page(tmp_path, ("demo", "smoke", "demo"))
    assert "| [](../notebooks/01_a.ipynb) | about 20 minutes | at most 9 minutes |" in text
    assert "running them takes at most 13 minutes." in text
    assert "| [](../notebooks/02_b.ipynb) | about 1 hour | 3 minutes |" in text


@pytest.mark.parametrize("lost", [minutes.TABLE, minutes.PATH])
def test_a_page_without_a_place_for_minutes_is_named(tmp_path, lost, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PATHS", PATHS.replace(lost, ""))
    with pytest.raises(ValueError, match="paths.md: the line .*minutes.py"):
        minutes_page(tmp_path)


def test_every_chapter_promises_minutes_to_read():
    for path in NOTEBOOKS:
        content = json.loads(path.read_text())
        content["metadata"]["papermill"] = {}
        assert status.about(content)["reading"], path.name


def learning_paths():
    """The chapters of each path, in order, and what its table says that each needs."""
    text = (ROOT / "book/learning-paths.md").read_text()
    paths = {
        name: [int(number) for number in re.findall(r"notebooks/(\d\d)_", words)]
        for name, words in re.findall(r"^## (For .+)\n((?:.*\n)*?)<!-- ", text, re.M)
    }
    rows = re.findall(r"^\| \[(\d+)\]\(\S+\) \| (.*?) \|", text, re.M)
    return paths, {int(row): set(map(int, re.findall(r"\d+", needs))) for row, needs in rows}


def test_a_path_keeps_to_the_order_that_its_table_asks_for():
    paths, needs = learning_paths()
    assert len(paths) == 3 and sorted(needs) == list(range(len(NOTEBOOKS)))
    for name, path in paths.items():
        for place, chapter in enumerate(path):
            late = needs[chapter] & set(path[place + 1 :])
            assert not late, f"{name}: chapter {chapter} before {late}"
    students = next(path for name, path in paths.items() if "students of machine" in name)
    assert students == list(range(1, len(NOTEBOOKS))), "who reads all chapters in order"


# --- Colab ---------------------------------------------------------------------------------------


def test_drift_names_what_left_the_tested_range():
    there = {"numpy": Version("2.0.2"), "keras": Version("3.13.2"), "scipy": Version("1.16")}
    here = {"numpy": Version("2.4"), "keras": Version("3.15"), "scipy": Version("1.17")}
    published = {"numpy": Version("2.5"), "keras": Version("3.14")}
    assert colab.drift(published, {"numpy", "keras", "scipy", "tqdm"}, there, here) == [
        "numpy: Colab has 2.5, tested are 2.0.2 to 2.4",
        "scipy: Colab no longer lists it",
        "tqdm: Colab no longer lists it",
    ]


def test_versions_are_read_from_a_published_list():
    text = "# a comment\nPyYAML==6.0.3\ntorch==2.11.0+cu128\nx @ https://example.org/x.whl\n"
    assert colab.versions(text) == {"pyyaml": Version("6.0.3"), "torch": Version("2.11.0")}


@pytest.mark.parametrize(
    ("lock", "numpy"),
    [("requirements-colab-check.lock", "2.1"), ("requirements-colab-check-3.12.lock", "2.0")],
)
def test_what_colab_brings_is_pinned_and_what_it_lacks_is_fetched(lock, numpy):
    pinned = colab.versions((ROOT / lock).read_text())
    fetched = colab.versions((ROOT / "requirements-colab.lock").read_text())
    assert colab.needed_packages(ROOT) <= set(pinned)
    assert set(colab.FETCHED) == set(fetched) and not set(fetched) & set(pinned)
    expected = {"tensorflow": "2.20", "keras": "3.13.2", "numpy": numpy, "ipywidgets": "7.7"}
    for name, start in expected.items():
        assert str(pinned[name]).startswith(start)


def test_chapters_that_train_and_segment_are_tried_in_the_format_of_a_t4(monkeypatch, tmp_path):
    """Each of them once as it is and once more in float16, with a work folder of its own."""
    runs = []

    def run(command, **options):
        if "book/_tools/execute.py" in command:
            env = options["env"]
            runs.append((command[2].stem, env.get("KENSEG_PRECISION"), env["KENSEG_HOME"]))
        return subprocess.CompletedProcess(command, int(runs[-1:] == [runs[0]] if runs else 0))

    monkeypatch.delenv("KENSEG_PRECISION", raising=False)
    monkeypatch.setattr(colab, "_snapshot", lambda repository: "c0ffee")
    monkeypatch.setattr(colab.subprocess, "run", run)
    chapters = [ROOT / f"notebooks/{name}.ipynb" for name in colab.T4_CHAPTERS]
    failed = colab.check(Path("python"), tmp_path / "colab", [NOTEBOOKS[1], *chapters])
    assert [name for name, _, _ in runs] == [NOTEBOOKS[1].stem, *2 * colab.T4_CHAPTERS]
    assert [precision for _, precision, _ in runs] == [None] * 4 + ["mixed_float16"] * 3
    assert len({home for _, _, home in runs}) == 2 and failed == 1


@pytest.mark.parametrize("given", ["3.10", "3.12 3.13", "three"])
def test_a_python_that_colab_has_not_is_refused(given):
    said = subprocess.run(
        ["make", "-n", "colab-check", f"COLAB={given}"], cwd=ROOT, capture_output=True, text=True
    )
    assert said.returncode and "choose 3.13 or 3.12" in said.stderr


# --- Staging -------------------------------------------------------------------------------------


def made_up_records(stem):
    """What a chapter's cell of claims leaves among its outputs: each claim listed, undecided."""
    from kenseg_utils.teaching import claims

    listed = yaml.safe_load((ROOT / "book/claims.yml").read_text())
    names = [row["claim"] for part in listed.values() for row in part if row["chapter"] == stem]
    texts = dict.fromkeys(("measured", "verdict", "reason", "number", "picture"), "made up")
    return [
        {
            "output_type": "display_data",
            "metadata": {"scrapbook": {"name": f"claim_{name}", "mime_prefix": claims.PREFIX}},
            "data": {
                claims.RECORD: json.dumps(dict(texts, name=name, claim=name, word="undecided"))
            },
        }
        for name in names
    ]


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """A function from an address to the staged book's settings and first notebook."""
    render = tool("render")
    monkeypatch.chdir(ROOT)

    def network(executed, book):
        """What the process of that name does: the head is there when the pages have long been."""
        sleep(0.5)
        folder = book / "_static/head"
        folder.mkdir()
        for name in ("head.js", "poster.jpg"):
            (folder / name).touch()
        about = {"side": "right", "lesion_ml": 67.0, "found_ml": None, "dice": None}
        (folder / "about.json").write_text(json.dumps(about))

    # These have tests of their own.
    monkeypatch.setattr(render, "_network", network)
    monkeypatch.setattr(render.vendor, "viewer", lambda *_: None)
    monkeypatch.setattr(render, "_catalogue", lambda *_: None)
    monkeypatch.setattr(render.first_look.Heads, "drawn", lambda: None)
    monkeypatch.setattr(render.first_look, "fill", lambda *_: None)
    monkeypatch.setattr(render.first_look, "editor_slice", lambda *_: None)
    executed = tmp_path / "executed"
    executed.mkdir()
    for path in NOTEBOOKS:
        content = json.loads(path.read_text())
        content["metadata"]["papermill"] = executed_copy(1)["metadata"]["papermill"]
        for cell in content["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x\n"}]
                if "claims" in cell["metadata"].get("tags", []):
                    cell["outputs"] += made_up_records(path.stem)
        (executed / path.name).write_text(json.dumps(content))

    def stage(given):
        for name, value in {"REPOSITORY": given, "GITHUB_REPOSITORY": "", "REVISION": "v1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(render.address, "source_commit", lambda: "0123abc")
        render.stage(executed, tmp_path / "staged")
        settings = yaml.safe_load((tmp_path / "staged/_config.yml").read_text())
        first = json.loads((tmp_path / "staged/notebooks" / NOTEBOOKS[0].name).read_text())
        footer = settings["html"]["extra_footer"]
        assert "from commit 0123abc with requirements.lock " in footer and "clinical" in footer
        return settings, setup_cell(first), (tmp_path / "staged/book/status.md").read_text()

    return stage


def test_a_known_address_gives_buttons_and_stamped_notebooks(staged, tmp_path):
    settings, cell, page = staged("owner/name")
    assert settings["repository"] == {"url": HERE, "branch": "v1"}
    assert settings["launch_buttons"] == {"colab_url": "https://colab.research.google.com"}
    assert f'REPOSITORY, COMMIT = "{HERE}", "0123abc"' in cell
    assert status.PLACE not in page and page.count("2026") >= len(NOTEBOOKS)
    for page, words in {
        "intro": "the rocket at the top",
        "getting-data": "On Colab that disk",
        "troubleshooting": "| `ModuleNotFoundError: kenseg_utils` on Colab",
    }.items():
        assert words in (tmp_path / f"staged/book/{page}.md").read_text()


def test_an_unknown_address_gives_neither(staged, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["address"], "_git", lambda *_: "")
    settings, cell, _ = staged("")
    assert "repository" not in settings and "launch_buttons" not in settings
    intro = (tmp_path / "staged/book/intro.md").read_text()
    assert "<!--" not in intro and stamp.BLANK in cell
    for page in (tmp_path / "staged/book").glob("*.md"):
        assert not re.search("rocket|Colab", page.read_text()), page.name


def test_the_first_page_has_its_head_however_late_it_is_made(staged, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["address"], "_git", lambda *_: "")
    staged("")
    assert 'id="kenseg-head"' in (tmp_path / "staged/book/intro.md").read_text()


def test_a_chapter_without_its_claims_is_named_and_the_last_good_book_stays(
    staged, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(sys.modules["address"], "_git", lambda *_: "")
    (tmp_path / "build/html").mkdir(parents=True)
    render = tool("render")
    copy = tmp_path / "executed/01_atlas_exploration.ipynb"
    content = json.loads(copy.read_text())
    for cell in content["cells"]:
        cell["outputs"] = [o for o in cell.get("outputs", []) if "text" in o]
    copy.write_text(json.dumps(content))
    monkeypatch.setattr(render, "_network", lambda *_: pytest.fail("claims are looked at first"))
    monkeypatch.setattr(sys, "argv", ["render.py", str(copy.parent), str(tmp_path / "build")])
    assert render.main() == 1
    told = capsys.readouterr().err
    assert "01_atlas_exploration has recorded no claim 'atlas_304'" in told
    assert "the last good book stays" in told and (tmp_path / "build/html").is_dir()
