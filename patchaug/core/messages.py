"""Messages of a run on stderr, from a level on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
_LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
_least: list[Level] = ["info"]


@contextmanager
def messages_from(level: Level) -> Iterator[None]:
    """Show only messages of a level and above within the context.

    Examples:
        >>> with messages_from("error"):
        ...     print_message("each of 5 epochs: 128 windows")
    """
    before, _least[0] = _least[0], level
    try:
        yield
    finally:
        _least[0] = before


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
