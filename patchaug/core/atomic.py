"""Write files and folders atomically: the final name never shows a part of the content."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from patchaug.core.signature import is_signed, sign
from patchaug.errors import MissingError, WriteError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_ANOTHER_FOLDER = "choose a folder that you can write to"
_CURES = {
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: _ANOTHER_FOLDER,
    errno.EACCES: _ANOTHER_FOLDER,
    errno.EPERM: _ANOTHER_FOLDER,
}


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], content: str = "file", *, replace: Callable[[Path], bool] | None = None,
    durable: bool = True,
) -> Iterator[Path]:  # fmt: skip
    """Yield a temporary path to write a file or a folder to; rename it to `path` when the block has succeeded.

    The temporary path has the final name, in a hidden folder beside the target. The content is synchronised to disk
    before the rename. An existing file is replaced only if patchaug wrote it with the same content and nothing has
    changed it since: PNG, HTML and JSON files are signed. After a failure the hidden folder is removed, and the target
    is as it was. What a killed process left is removed by the next write to the same name.

    Args:
        path: The target; a folder can be written only where nothing has that name. A link is followed.
        content: What the file contains, for error messages and the signature.
        replace: Predicate of an existing file that may be replaced; default: its signature.
        durable: Synchronise the content to disk before the rename. Without it, a file may be damaged after the machine
            has failed: for content that is verified when it is read, and can be made again.

    Yields:
        The temporary path, where the block creates a file or a folder.

    Raises:
        MissingError: The parent folder does not exist, or was removed meanwhile.
        WriteError: The target is a folder or a file that patchaug did not write, or the disk is read-only or full.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder, "report.txt")) as temporary:
        ...         _ = temporary.write_text("Dice 0.9")
        ...     [file.name for file in Path(folder).iterdir()]
        ['report.txt']
    """
    target = _target(path)
    if not target.parent.is_dir():
        raise MissingError(f"{target}: there is no folder {target.parent} to save the {content} in; make it first")
    require_replaceable(target, content, replace)
    try:
        hidden, lock = _hidden_folder(target)
    except OSError as error:
        raise write_error(target, error) from None
    temporary = hidden / target.name
    try:
        yield temporary
        if temporary.is_file():
            sign(temporary, content)
        if durable:
            _synchronise(temporary)
        require_replaceable(target, content, replace)  # it may have appeared meanwhile
        os.replace(temporary, target)
        with suppress(OSError):  # the content is whole, and some network disks cannot synchronise folders
            if durable:
                _synchronise_one(target.parent)
    except OSError as error:
        if error.errno == errno.ENOENT and not hidden.is_dir():
            raise _removed(target, content) from None
        if error.errno in _CURES and (error.filename is None or Path(error.filename).is_relative_to(hidden)):
            raise write_error(target, error) from None
        raise
    except Exception as error:  # of libraries that hide the system's error: torch.save, and safetensors in Rust
        if "(os error 2)" in str(error) and not hidden.is_dir():
            raise _removed(target, content) from None
        if "(os error 28)" in str(error):
            raise write_error(target, OSError(errno.ENOSPC, "No space left on device")) from None
        if "inline_container" in str(error) or "PytorchStreamWriter" in str(
            error
        ):  # torch.save hides the system's error
            raise write_error(
                target, OSError(errno.ENOSPC, "No space left on device, or the file is too large")
            ) from None
        raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _removed(target: Path, content: str) -> MissingError:
    return MissingError(f"{target}: its folder was removed while the {content} was written; choose a folder that stays")


def _target(path: str | os.PathLike[str]) -> Path:
    """Return where a path leads to.

    Raises:
        WriteError: The system knows no such names.
    """
    try:
        if os.path.islink(path):
            return Path(os.path.realpath(path))
        target = Path(path)
        target.is_dir(), os.path.lexists(target)
        if "\0" in str(target):
            raise WriteError(f"{os.fspath(path)!r} cannot be written: a name holds no null byte; choose another name")
    except OSError as error:
        if isinstance(error, WriteError):
            raise
        raise write_error(Path(path), error) from None
    return target


def require_replaceable(target: Path, content: str, replace: Callable[[Path], bool] | None = None) -> None:
    """Raise WriteError if the target exists and is not to be replaced; see `atomic_write` for the arguments."""
    if target.is_dir():
        raise WriteError(f"{target} is an existing folder; choose another name for the {content}")
    if os.path.lexists(target):
        if not target.is_file() and target.exists():
            raise WriteError(f"{target} is not a regular file; choose another name for the {content}")
        if not (is_signed(target, content) if replace is None else replace(target)):
            raise not_own(target, content)


def not_own(target: str | os.PathLike[str], content: str) -> WriteError:
    """Return the error for a file or folder that patchaug did not write, or that was changed since."""
    return WriteError(
        f"{os.fspath(target)} exists, and patchaug did not write it as its {content}, or it was changed since; "
        f"choose another name"
    )


def write_text(
    path: str | os.PathLike[str], text: str, content: str = "file", *, replace: Callable[[Path], bool] | None = None
) -> None:
    """Write a text file atomically, in UTF-8; see `atomic_write` for the arguments and errors.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_text(Path(folder, "a.txt"), "Dice 0.9")
        ...     Path(folder, "a.txt").read_text()
        'Dice 0.9'
    """
    with atomic_write(path, content, replace=replace) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # names of files that are not UTF-8


def write_error(target: Path, error: OSError) -> WriteError:
    """Return the error for a target whose content the system refused to write, with the cure."""
    cure = _CURES.get(error.errno or 0, "choose another folder")
    return WriteError(f"{target} cannot be written: {error.strerror or error}; {cure}")


def _hidden_folder(target: Path) -> tuple[Path, int | None]:
    """Create a locked folder beside the target, and remove those that killed processes left."""
    prefix, suffix = f".{target.name}.", ".part"
    parent = _locked(target.parent, wait=True)  # no other process sees a folder that is not locked yet
    try:
        for entry in target.parent.iterdir() if parent is not None else ():
            if entry.name.startswith(prefix) and entry.name.endswith(suffix):
                unused = _locked(entry)
                if unused is not None:
                    shutil.rmtree(entry, ignore_errors=True)
                    os.close(unused)
        hidden = Path(tempfile.mkdtemp(suffix, prefix, target.parent))
        return hidden, _locked(hidden)
    finally:
        if parent is not None:
            os.close(parent)


def _locked(folder: Path, *, wait: bool = False) -> int | None:
    """Open and lock a folder; None where another process holds it, or where the system has no such locks."""
    if fcntl is None:
        return None
    opened = None
    try:
        opened = os.open(folder, os.O_RDONLY)
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        if opened is not None:
            os.close(opened)
        return None
    return opened


def _synchronise(path: Path) -> None:
    """Force a file, or a folder and all below it, to the disk."""
    for entry in path.iterdir() if path.is_dir() else ():
        _synchronise(entry)
    _synchronise_one(path)


def _synchronise_one(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    opened = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
