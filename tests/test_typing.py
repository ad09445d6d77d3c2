"""Type checkers see the public names: mypy and pyright accept the scripts of the README and the examples."""

import ast
import builtins
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WRONG = """
from patchaug import PatchDataset
from patchaug.fastai import *
import patchaug

first: int = PatchDataset
second: int = RandomPatch
patchaug.Grdi
"""
STAR = "fastai.vision.all"


def readme_script() -> str:
    """The Python blocks of the README, one script: later blocks use the names of earlier ones."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))


def write_fastai_stubs(folder: Path, script: str) -> None:
    """Stubs of fastai, which has no types: each name that a script may get from its star import is `Any`."""
    nodes = list(ast.walk(ast.parse(script)))
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    fastai = {alias.name for node in imports if getattr(node, "module", "") == STAR for alias in node.names}
    bound = {alias.asname or alias.name for node in imports for alias in node.names} - fastai
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    loaded = {node.id for node in nodes if isinstance(node, ast.Name)} - bound | fastai
    exported = ast.parse((ROOT / "patchaug/fastai2/__init__.py").read_text()).body[-1]
    assert isinstance(exported, ast.Assign)
    names = loaded - set(dir(builtins)) - set(ast.literal_eval(exported.value)) - {"*", "Path"}
    package = folder / "fastai" / "vision"
    package.mkdir(parents=True)
    for empty in (package.parent / "__init__.pyi", package / "__init__.pyi"):
        empty.touch()
    lines = ["from pathlib import Path as Path", "from typing import Any as _Any"]
    lines += [f"class {name}(_Any): ..." if name[0].isupper() else f"{name}: _Any" for name in sorted(names)]
    (package / "all.pyi").write_text("\n".join(lines))


def mypy(script: Path, stubs: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy, strict."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--ignore-missing-imports",
               "--follow-imports=silent", "--cache-dir", str(stubs / "cache"), str(script)]  # fmt: skip
    command[4:4] = ["--allow-untyped-defs", "--allow-untyped-calls", "--allow-subclassing-any"]  # users' scripts
    env = {**os.environ, "MYPYPATH": f"{stubs}{os.pathsep}{ROOT}"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=stubs)


def pyright(script: Path, stubs: Path) -> subprocess.CompletedProcess[str]:
    """Run pyright in its standard mode."""
    program = shutil.which("pyright", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("pyright is not installed")
    config = {"include": ["."], "extraPaths": [str(ROOT)], "stubPath": str(stubs), "pythonVersion": "3.11",
              "reportMissingImports": False, "reportMissingModuleSource": False}  # fmt: skip
    (script.parent / "pyrightconfig.json").write_text(json.dumps(config))
    command = [program, "--pythonpath", sys.executable, "--project", str(script.parent)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=script.parent)


def run(checker: object, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Check one script."""
    write_fastai_stubs(folder / "stubs", script)
    file = folder / "script" / "script.py"
    file.parent.mkdir()
    file.write_text(script)
    assert callable(checker)
    return checker(file, folder / "stubs")  # type: ignore[no-any-return]


@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.parametrize("name", ["README", *sorted(file.name for file in (ROOT / "examples").glob("*.py"))])
def test_scripts_of_users_have_no_type_errors(tmp_path: Path, checker: object, name: str) -> None:
    """The README's script and each example."""
    script = readme_script() if name == "README" else (ROOT / "examples" / name).read_text()
    done = run(checker, tmp_path, script)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_type_errors_are_found(tmp_path: Path, checker: object) -> None:
    """The names have their types, also behind a star import, and a misspelt name is an error."""
    done = run(checker, tmp_path, WRONG)
    assert done.returncode == 1, done.stdout + done.stderr
    for text in ("script.py:6:", "script.py:7:", "script.py:8:"):
        assert text in done.stdout
