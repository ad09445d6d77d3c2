"""`benchmarks/hops.py` counts the calls into patchaug, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

from patchaug import Window

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "hops.py"


def run_script(*arguments: str) -> str:
    """Return what the script prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_each_step_is_counted() -> None:
    """Every step enters the plan first or later, and changes file at least once for each file after the first."""
    rows = json.loads(run_script("--json"))
    assert {"plan[i]", "Plan.read"} <= set(rows)
    for row in rows.values():
        assert "sampling/plan.py" in row["names"]
        assert row["files"] == len(set(row["names"])) <= row["changes"] + 1
        assert all((ROOT / "patchaug" / name).is_file() for name in row["names"])


def test_only_calls_into_the_package_count() -> None:
    """One constructor is one file without a change; the standard library is not counted."""
    program = (
        "import json, hops; from patchaug import Window; "
        "print(json.dumps([hops.count_files(lambda: json.dumps([1])), hops.count_files(lambda: Window(0, 0, 1, 1))]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SCRIPT.parent)])}
    command = [sys.executable, "-c", program]
    outside, inside = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    assert outside == [[], 0]
    assert inside == [[f"{Window.__module__.removeprefix('patchaug.').replace('.', '/')}.py"], 0]
