"""Print and write the tables of the benchmarks."""

from __future__ import annotations

import os
from pathlib import Path


def load() -> str:
    """Describe the load of the machine."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def give(lines: list[str], out: Path | None) -> None:
    """Print a table, and write it to `out` if given."""
    text = "\n".join(lines)
    print(text)
    if out:
        out.write_text(text + "\n")
