"""`patchaug check --isolated`: what aborts, hangs or eats memory ends its own process, and is reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchaug.slides.audit import audit_slides
from patchaug.slides.isolated import check_isolated
from patchaug.testing import coordinate_image, write_pyramid

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Windows has neither signals nor limits")

READER = """
import os, signal, time
import numpy as np
from patchaug.readers import register_reader
def hostile(path, *, name=None, ram=0):
    kind = open(path).read()
    if kind == "abort":
        os.abort()
    if kind == "hang":
        time.sleep(60)
    np.ones(8 << 30, np.uint8)
register_reader("hostile", image=hostile, suffixes=[".hostile"], magic=[b"abort", b"hang", b"memory"])
"""


@linux
@pytest.mark.parametrize(
    ("kind", "text"),
    [("abort", "ended the process of its check (SIGABRT)"), ("hang", "took more than 8 s"), ("memory", "MemoryError")],
)
def test_what_ends_the_child_is_a_problem(kind: str, text: str, tmp_path: Path, monkeypatch) -> None:
    """One line, and this process goes on."""
    from patchaug.slides import isolated

    monkeypatch.setattr(isolated, "_CHILD", READER + isolated._CHILD)
    (tmp_path / "a.hostile").write_text(kind)
    found = check_isolated(tmp_path / "a.hostile", seconds=8 if kind == "hang" else 60)
    assert len(found["problems"]) == 1 and text in found["problems"][0], found


def test_a_good_slide_has_the_same_report(tmp_path: Path) -> None:
    """Isolated or not."""
    write_pyramid(tmp_path / "a.tif", [coordinate_image(300, 200)])
    (tmp_path / "broken.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:500])
    paths = [tmp_path / "a.tif", tmp_path / "broken.tif"]
    plain = audit_slides(paths)
    assert audit_slides(paths, isolated=True) == plain
    assert not plain[0].problems and plain[1].problems and np.prod(plain[0].size) == 60_000


def test_the_command(tmp_path: Path) -> None:
    """With a flag."""
    write_pyramid(tmp_path / "a.tif", [coordinate_image(300, 200)])
    command = [sys.executable, "-m", "patchaug", "check", str(tmp_path / "a.tif"), "--isolated", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=dict(os.environ))
    assert done.returncode == 0 and json.loads(done.stdout)["problems"] == 0, done.stderr
