"""What the scripts beside it do with the lines of their tables."""

from __future__ import annotations

import os
from pathlib import Path


def load() -> str:
    """How busy the machine is."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def give(lines: list[str], out: Path | None) -> None:
    """Print a table, and write it where there is a file for it."""
    text = "\n".join(lines)
    print(text)
    if out:
        out.write_text(text + "\n")
