"""Check the path of an output before the work begins."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from patchaug.core.atomic import require_replaceable
from patchaug.errors import MissingError, OptionError, WriteError


def checked_output(
    path: str | os.PathLike[str], content: str, suffixes: Sequence[str], *, inputs: Iterable[object] = ()
) -> Path:
    """Return the path of an output file; raise one error if it cannot be written, or is not to be written.

    Args:
        path: The file to write.
        content: What it will contain, for error messages and its signature.
        suffixes: Suffixes that fit the content, such as ".png".
        inputs: Files and folders that are read; other objects are skipped. The output is none of them, nor inside one.

    Raises:
        OptionError: The path is empty, or has another suffix.
        MissingError: The parent folder does not exist.
        WriteError: The path is an input, a folder, a file that patchaug did not write, or in a read-only folder.

    Examples:
        >>> checked_output("view.png", "picture", [".png"], inputs=["slide.tiff"]).name
        'view.png'
    """
    if not os.fspath(path):
        raise OptionError(f"the path of the {content} is empty; name a {suffixes[0]} file")
    target = Path(path)
    require_suffix(target, content, suffixes)
    _require_no_input(target, content, inputs)
    if not target.parent.is_dir():
        if target.parent.exists():
            raise WriteError(f"{target}: {target.parent} is a file; choose a folder to save the {content} in")
        raise MissingError(f"{target}: there is no folder {target.parent} to save the {content} in; make it first")
    require_replaceable(target, content)
    if not os.access(target.parent, os.W_OK):
        raise WriteError(f"{target} cannot be written: the folder is read-only; choose a folder that you can write to")
    return target


def require_suffix(path: str | os.PathLike[str], content: str, suffixes: Sequence[str]) -> None:
    """Raise OptionError unless the path ends in one of the suffixes, in any case."""
    suffix = Path(path).suffix
    if suffix.lower() not in suffixes:
        raise OptionError(
            f"{path}: a {content} is written as {' or '.join(suffixes)}, got {suffix or 'no suffix'!r}; "
            f"take {Path(path).with_suffix(suffixes[0]) if Path(path).name else 'a name with that suffix'}"
        )


def _require_no_input(target: Path, content: str, inputs: Iterable[object]) -> None:
    real = Path(os.path.realpath(target))
    for source in inputs:
        if not isinstance(source, (str, os.PathLike)):
            continue
        other = Path(os.path.realpath(source))
        same = target.exists() and other.exists() and os.path.samefile(target, other)  # also by another hard link
        if same or real == other:
            raise WriteError(f"{target} is an input of this command; choose another name for the {content}")
        if real.is_relative_to(other):
            raise WriteError(f"{target} is inside the input {source}; choose another folder for the {content}")
