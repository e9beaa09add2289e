"""Public functions say what they take and give, and no two public things bear one name."""

import ast
from collections import defaultdict

import pytest
from conftest import ROOT

PACKAGE = ROOT / "kenseg_utils"
FILES = sorted(PACKAGE.rglob("*.py"))
# Names that stand in several places on purpose, each asked for by its place's name.
TWINS = {
    "SCALES": "the sizes of the line-up, and of the ablation",
    "VERSION": "the version of what a room makes, part of its key",
    "build": "a network from options, or from a recipe and compiled; a folder of artifacts",
    "device": "what Keras computes on; a chapter adds what to click on Colab",
    "dice": "the score, and the loss made of it",
    "get": "one by its name: a loss, a profile",
    "names": "all that a room builds by name",
    "options": "what one of them can be given, with its defaults",
    "run": "experiments; an exported network on images",
}


def is_public(node):
    return not node.name.startswith("_") or node.name in ("__init__", "__call__", "__len__")


def functions(tree):
    """(name, function, whether it is a method) of the public functions and methods of a file."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_public(node):
            yield node.name, node, False
        elif isinstance(node, ast.ClassDef) and is_public(node):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and is_public(inner):
                    static = any(ast.unparse(d) == "staticmethod" for d in inner.decorator_list)
                    yield f"{node.name}.{inner.name}", inner, not static


def lacking(function, method):
    """What of a function has no annotation: names of arguments, and "return"."""
    given = function.args
    arguments = [*given.posonlyargs, *given.args][1 if method else 0 :] + given.kwonlyargs
    arguments += [one for one in (given.vararg, given.kwarg) if one]
    missing = [argument.arg for argument in arguments if argument.annotation is None]
    return missing + (["return"] if function.returns is None else [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_functions_are_fully_annotated(path):
    found = {
        name: missing
        for name, function, method in functions(ast.parse(path.read_text()))
        if (missing := lacking(function, method))
    }
    assert not found, f"without annotations in {path.relative_to(ROOT)}: {found}"


def test_what_lacks_an_annotation_is_named():
    tree = ast.parse(
        "class A:\n    def f(self, x: int, *, y=1, **more) -> None: ...\ndef _g(x): ..."
    )
    assert [(name, lacking(*rest)) for name, *rest in functions(tree)] == [("A.f", ["y", "more"])]


def defined(path):
    """The names that a file defines itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def door(path):
    """The names in a door's `__all__`, each with the room or public file that it comes from."""
    tree = ast.parse(path.read_text())
    room = ".".join(path.relative_to(PACKAGE).parts[:-1])
    origins = {
        alias.name: f"{room}.{node.module}" if node.level else node.module.partition(".")[2]
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            for name in ast.literal_eval(node.value):
                yield name, origins.get(name, room).partition("._")[0]


def public_things():
    """Each public name with the places that have a thing of this name.

    A room's public things are those in its door's `__all__`; a room of one file, and a public file
    behind a door (`experiments.lineup`), has no such list: there they are what it defines.
    """
    places = defaultdict(set)
    for path in FILES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if path.name == "__init__.py" and len(parts) > 1:
            for name, place in door(path):
                places[name].add(place)
        elif not any(part.startswith("_") for part in parts):
            for name in defined(path):
                if not name.startswith("_"):
                    places[name].add(".".join(parts))
    return places


def test_no_two_public_things_have_one_name():
    shared = {name: sorted(places) for name, places in public_things().items() if len(places) > 1}
    shared.pop("main", None)  # of what can be run as a command
    new = {name: places for name, places in shared.items() if name not in TWINS}
    assert not new, f"two public things of one name: {new}. Rename one, or say why in TWINS."


def test_the_names_are_really_looked_at():
    places = public_things()
    assert places["names"] >= {"classical", "losses", "networks"}
    assert places["segment_volume"] == {"prediction"}
    assert places["spread_out"] == {"experiments.lineup"}
    assert places["brain_mask"] == {"anatomy"} and places["multiply_adds"] == {"networks.cost"}
