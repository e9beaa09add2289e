"""pyproject.toml, the two lock files and environment.yml hold to one another."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.version import Version


def locked(name):
    """Package → versions in a lock file and in those that it starts with."""
    text, found = (ROOT / name).read_text(), {}
    for base in re.findall(r"^-r (\S+)$", text, re.M):
        found |= locked(base)
    for package, version in re.findall(r"^([a-z0-9._-]+)==([^ \\;]+)", text, re.M):
        found.setdefault(package, set()).add(version)
    return found


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("requirements.lock", ("full", "book", "fast", "cluster")),
        ("requirements-test.lock", tuple(name for name in EXTRAS if name != "peers")),
    ],
)
def test_lock_satisfies_the_project(lock, extras):
    pins = locked(lock)
    wanted = PROJECT["dependencies"] + [line for extra in extras for line in EXTRAS[extra]]
    for line in wanted:
        requirement = Requirement(line)
        versions = pins.get(normal(requirement.name))
        assert versions, f"{requirement.name} is in pyproject.toml but not in {lock}: make lock"
        assert all(requirement.specifier.contains(Version(v)) for v in versions), (line, versions)


def test_the_tests_lock_repeats_nothing_of_the_books():
    text = (ROOT / "requirements-test.lock").read_text()
    assert text.startswith("-r requirements.lock\n")
    own = {package for package in re.findall(r"^([a-z0-9._-]+)==", text, re.M)}
    assert own and not own & set(locked("requirements.lock"))


@pytest.mark.parametrize("lock", sorted(path.name for path in ROOT.glob("requirements*.lock")))
def test_lock_has_hashes_and_no_address(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]
    assert packages and all("--hash=sha256:" in package for package in packages)


@pytest.mark.parametrize("python", ["", "-3.12"])
def test_colabs_versions_satisfy_the_project(python):
    """The set-up cell installs nothing over what Colab has, so that must do."""
    pins = locked(f"requirements-colab-check{python}.lock") | locked("requirements-colab.lock")
    for line in PROJECT["dependencies"] + EXTRAS["full"]:
        requirement = Requirement(line)
        versions = pins[normal(requirement.name)]
        assert all(requirement.specifier.contains(Version(v)) for v in versions), (line, versions)


def test_jupyter_book_stays_below_2():
    versions = locked("requirements.lock")["jupyter-book"]
    assert all(Version(version) < Version("2") for version in versions)


def test_environment_installs_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    assert packages == {"pip": ["--requirement requirements.lock"]}


def test_design_packages_are_really_used():
    code = "\n".join(
        path.read_text()
        for folder in ("kenseg_utils", "book/_tools")
        for path in (ROOT / folder).rglob("*.py")
    )
    for package in (
        "tensorflow",
        "nibabel",
        "matplotlib",
        "ipywidgets",
        "papermill",
        "jupyter_book",
        "nilearn",
        "filelock",
    ):
        name = package.replace("_", "[-_]")
        assert re.search(rf"\b{name}\b", code), f"{package} is pinned and not used"
