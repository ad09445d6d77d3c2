"""`benchmarks/faults.py`: a small piece of each row. Trials end in one line or in right pixels, and leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals, limits and /dev/shm of Linux")
ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    "SIGINT", "worker SIGKILL", "worker SIGSEGV", "worker SIGSTOP", "file cut", "file removed", "file replaced",
    "file rewritten", "64 descriptors", "3 to 8 GiB of memory",
]  # fmt: skip
AS_ROOT = ["/dev/shm of 1 MB", "full disk"]  # mount a small disk


def table(rows: list[str]) -> list[list[str]]:
    """Run rows once each, and return the cells."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--times", "1", "--rows", ";".join(rows)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting needs root")
def test_small_disks_end_in_one_line_or_right_pixels() -> None:
    """Shared memory of 1 MB, and a disk that is full."""
    try:
        subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this container may not mount")
    assert [row[0] for row in table(AS_ROOT)] == AS_ROOT


def test_faults_end_in_one_line_or_right_pixels() -> None:
    """One trial of each fault."""
    found = {
        row[0]: dict(zip(("right", "line", "signal", "wrong"), map(int, row[2:6]), strict=True)) for row in table(ROWS)
    }
    assert list(found) == ROWS
    assert all(row["wrong"] == 0 for row in found.values())
    assert found["SIGINT"]["signal"] == found["worker SIGSTOP"]["line"] == found["file rewritten"]["line"] == 1
