"""The package's rooms: their order, their doors, what they load; ruff, import-linter and mypy."""

import ast
import json
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

PACKAGE = ROOT / "kenseg_utils"
FILES = sorted(PACKAGE.rglob("*.py"))
# What may be imported inside a function: frameworks, what loads them, and what is optional.
LAZY = (
    "keras tensorflow jax torch onnx onnxruntime ai_edge_litert distributed isal nilearn"
    " kenseg_utils.training kenseg_utils.networks kenseg_utils.losses kenseg_utils.blocks"
).split()


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-m", "ruff", "check", "."),
        (sys.executable, "-m", "ruff", "format", "--check", "."),
        (sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"),
        (sys.executable, "-m", "mypy"),
    ],
    ids=["ruff check", "ruff format", "import-linter", "mypy"],
)
def test_lint(command):
    done = run(*command)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_the_rooms_at_the_top_are_few():
    entries = [path for path in PACKAGE.iterdir() if not path.name.startswith("__")]
    assert len(entries) <= 20, sorted(path.name for path in entries)


def test_contributing_shows_the_rooms_in_the_order_that_is_enforced():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [set(layer.split(" | ")) for layer in settings["contracts"][0]["layers"]]
    tree = (ROOT / "CONTRIBUTING.md").read_text().split("kenseg_utils/  ")[1].split("\ntests/")[0]
    shown = re.findall(r"^  ((?:[\w.]+/?  ?)+)", tree, re.M)
    names = [re.sub(r"\.py$|/$", "", name) for line in shown for name in line.split()]
    assert sorted(names) == sorted(set().union(*layers))
    place = {name: -number for number, layer in enumerate(layers) for name in layer}
    assert [place[name] for name in names] == sorted(place[name] for name in names)


def imports(path):
    """(module, whether inside a function, level) of each import of a file."""
    tree = ast.parse(path.read_text())
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level == 0 and base == "kenseg_utils":
                for name in node.names:
                    yield f"{base}.{name.name}", id(node) in inner, 0
            else:
                yield base, id(node) in inner, node.level
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, id(node) in inner, 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_frameworks_are_imported_inside_functions(path):
    for module, inner, level in imports(path):
        allowed = any(module == name or module.startswith(f"{name}.") for name in LAZY)
        assert not inner or (level == 0 and allowed), f"{path.name} imports {module} in a function"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_files_are_used_behind_their_own_door_alone(path):
    for module, _, level in imports(path):
        assert level or not re.search(r"\._[a-z]", module), f"{path.name} imports {module}"


ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
DOORS = """
import importlib, json, sys
missing = {}
for name in sys.argv[1:]:
    room = importlib.import_module(f"kenseg_utils.{name}")
    given = getattr(room, "__all__", [])
    missing[name] = [n for n in given if not hasattr(room, n)] if given else ["__all__"]
print(json.dumps(missing))
"""


@pytest.fixture(scope="module")
def missing_at_doors():
    """By room, names that its door does not give; one process, for a framework takes seconds."""
    done = run(sys.executable, "-c", DOORS, *ROOMS)
    assert done.returncode == 0, done.stderr[-1000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_names_what_it_gives(room, missing_at_doors):
    assert missing_at_doors[room] == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("kenseg_utils", ("numpy", "keras", "matplotlib")),
        ("kenseg_utils.atlas", ("keras", "tensorflow", "sklearn", "matplotlib", "nilearn")),
        ("kenseg_utils.open_data", ("keras", "tensorflow", "sklearn", "matplotlib", "nilearn")),
        ("kenseg_utils.phantom", ("keras", "tensorflow", "sklearn", "matplotlib", "nilearn")),
        ("kenseg_utils.experiments.synthesis", ("keras", "tensorflow", "sklearn", "nilearn")),
        ("kenseg_utils.slices", ("keras", "tensorflow", "sklearn", "matplotlib", "nilearn")),
        ("kenseg_utils.machine", ("keras", "tensorflow", "sklearn", "matplotlib")),
        ("kenseg_utils.teaching", ("keras", "tensorflow", "jax", "torch")),
    ],
)
def test_what_a_room_loads(module, heavy):
    code = f"import sys, {module}; print([n for n in {heavy} if n in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_training_itself_asks_for_no_scikit_learn():
    """Keras loads it where it is there; nothing of ours does."""
    used = {
        module.partition(".")[0]
        for path in FILES
        for module, *_ in imports(path)
        if path.parent.name != "classical"
    }
    assert "sklearn" not in used
