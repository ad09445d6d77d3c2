"""Folders that patchaug wrote: a signed JSON file lists the SHA-256 of each other file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any

from patchaug.core.atomic import atomic_write, not_own
from patchaug.core.signature import is_signed, sign

_LARGEST = 2**20  # bytes of the JSON file


@contextmanager
def write_folder(path: str | os.PathLike[str], index: str, content: str, facts: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a temporary folder to write files to; add its index, and rename the folder when the block has succeeded.

    A folder of that name is replaced if patchaug wrote it and nothing has changed it since.

    Args:
        path: The folder.
        index: Name of the JSON file, such as "model.json".
        content: What the folder holds, in lower-case words.
        facts: What the JSON file says beside the digests of the files.

    Yields:
        The temporary folder.

    Raises:
        MissingError: The parent folder does not exist.
        WriteError: The name is taken by what patchaug did not write, or the disk is full or read-only.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as place:
        ...     with write_folder(Path(place, "model"), "model.json", "model", {"classes": 2}) as temporary:
        ...         _ = Path(temporary, "weights").write_bytes(b"1234")
        ...     is_own_folder(Path(place, "model"), "model.json", "model")
        True
    """
    require_own_folder(path, index, content)
    old = Path(path)
    hidden = old.with_name(f".{old.name}.whole")  # whole, and not yet under its name
    remove_own_folder(hidden, index, content)
    with atomic_write(hidden, content) as temporary:
        temporary.mkdir()
        yield temporary
        files = {file.name: _digest(file) for file in sorted(temporary.iterdir())}
        (temporary / index).write_text(json.dumps({**facts, "sha256": files}, indent=2) + "\n", encoding="utf-8")
        sign(temporary / index, content)
    remove_own_folder(old, index, content)
    os.rename(hidden, old)


def is_own_folder(path: str | os.PathLike[str], index: str, content: str) -> bool:
    """Return True if patchaug wrote this folder, and nothing was changed, added or removed since."""
    folder = Path(path)
    file = folder / index
    if not (file.is_file() and file.stat().st_size <= _LARGEST and is_signed(file, content)):
        return False
    digests = json.loads(file.read_text(encoding="utf-8"))["sha256"]
    present = {entry.name for entry in folder.iterdir()} - {index}
    return present == digests.keys() and all(_digest(folder / name) == digests[name] for name in present)


def require_own_folder(path: str | os.PathLike[str], index: str, content: str) -> None:
    """Raise WriteError if something of that name exists that patchaug did not write."""
    if os.path.lexists(path) and not is_own_folder(path, index, content):
        raise not_own(path, content)


def remove_own_folder(path: str | os.PathLike[str], index: str, content: str) -> None:
    """Remove a folder that patchaug wrote, if it exists.

    Raises:
        WriteError: Something of that name exists that patchaug did not write.
    """
    require_own_folder(path, index, content)
    folder = Path(path)
    if folder.is_dir():
        away = tempfile.mkdtemp(".part", f".{folder.name}.", folder.parent)
        os.rename(folder, Path(away, folder.name))  # the name is free at once
        shutil.rmtree(away)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()
