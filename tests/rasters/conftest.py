"""Where the real slides are, and how a test asks for one."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(name: str) -> Path:
    """A real file beside the project; the test is skipped where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real data are not here: {path}")
    return path
