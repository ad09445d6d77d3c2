"""Messages of a run on stderr, from a level on."""

from __future__ import annotations

import sys
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
_LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
_least: list[Level] = ["info"]


def set_level(level: Level) -> None:
    """Show messages of this level and above."""
    _least[0] = level


def shows(level: Level) -> bool:
    """Return whether messages of a level are shown.

    Examples:
        >>> shows("warning")
        True
    """
    return _LEVELS.index(level) >= _LEVELS.index(_least[0])


def print_message(text: str, level: Level = "info") -> None:
    """Print a line on stderr, if its level is shown."""
    if shows(level):
        print(text, file=sys.stderr, flush=True)
