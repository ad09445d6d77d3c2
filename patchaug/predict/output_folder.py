"""`OutputFolder`: the folder of predictions. It knows which files it wrote, and what of a killed prediction is left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from patchaug.core.atomic import write_text
from patchaug.core.file_lock import lock_file, unlock_file
from patchaug.core.shards import Shard
from patchaug.errors import WriteError
from patchaug.predict.shard_state import ShardState, forget_shards, read_json

_HIDDEN = ".patchaug-predict"  # inside the folder
_RECORDS, _JOB, _LOCK, _CONTENT = "files.json", "job.json", "lock", "list of predictions"


class OutputFolder:
    """A folder that this process writes predictions to, locked against others than the shards of the same prediction.

    Files are completed in a hidden folder inside it, recorded, and then moved to their names. A file that is there and
    is not the recorded one is never touched.

    Args:
        path: The folder; it is made where it does not exist.
        shard: The part of the prediction that this process does.

    Attributes:
        shards: What is known of the other shards; None for the whole prediction.
        complete: Whether a shard has done its part.

    Raises:
        WriteError: It is a file or cannot be made, or another process writes predictions to it.

    Examples:
        >>> from patchaug.predict.output_folder import OutputFolder
        >>> with OutputFolder("maps") as folder:
        ...     _ = Path(folder.job("case7", {"model": 1}, resume=False), "case7.csv").write_text("a,b")
        ...     folder.publish("case7", "case7.csv", {"model": 1})
        ...     folder.holds("case7.csv", {"model": 1}), folder.holds("case7.csv", {"model": 2})
        (True, False)
    """

    def __init__(self, path: str | os.PathLike[str], shard: Shard | None = None) -> None:
        self.path, self.shard = Path(path), Shard() if shard is None else shard
        self.shards: ShardState | None = None
        self._hidden = self.path / _HIDDEN
        self._lock: int | None = None
        self._records: dict[str, Any] = {}
        self.complete = False

    def __enter__(self) -> Self:
        """Make and lock the folder."""
        try:
            self._hidden.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise WriteError(f"{self.path} is a file; choose another folder for the predictions") from None
        except OSError as error:
            raise WriteError(f"{self.path} cannot be made: {error.strerror}; choose another folder") from None
        several = self.shard.count > 1
        self._lock = lock_file(self._hidden / _LOCK, shared=several, required=several)
        if self._lock is None:
            raise WriteError(
                f"{self.path}: another process writes predictions to it; wait for it, or choose another folder"
            )
        try:
            if several:
                self.shards = ShardState(self._hidden, self.shard)
            else:
                forget_shards(self._hidden)
            self._records = read_json(self._hidden / _RECORDS)
        except BaseException:
            unlock_file(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Unlock the folder; remove what is empty."""
        if self.shards is not None:
            self.shards.end(done=kind is None and self.complete)
        with suppress(OSError):
            if self.shards is None and [entry.name for entry in self._hidden.iterdir()] == [_LOCK]:
                (self._hidden / _LOCK).unlink()
                self._hidden.rmdir()
                self.path.rmdir()
        if self._lock is not None:
            unlock_file(self._lock)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Know what other shards have written, and keep them from writing, for a moment."""
        if self.shards is None:
            yield
            return
        with self.shards.changing():
            self._records = read_json(self._hidden / _RECORDS)
            yield

    def exists(self, name: str) -> bool:
        """Return True if a file or folder of this name is there."""
        return os.path.lexists(self.path / name)

    def holds(self, name: str, job: Mapping[str, Any]) -> bool:
        """Return True if a file is there, finished and unchanged, of this very job."""
        record = self._records.get(name)
        return record is not None and record["job"] == _plain(job) and record["state"] == _state(self.path / name)

    def job(self, stem: str, job: Mapping[str, Any], *, resume: bool) -> Path:
        """Return the hidden folder of a slide's prediction, where its files are completed.

        Args:
            stem: Stem of the slide's files.
            job: What the result depends on, as JSON stores it.
            resume: Keep what a killed prediction of the same job, or another shard, left; what another job left is
                removed.
        """
        folder = self._job(stem)
        if not (resume and read_json(folder / _JOB) == _plain(job)):
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.is_dir():
            folder.mkdir()
            write_text(folder / _JOB, json.dumps(_plain(job)), _CONTENT, replace=lambda file: True)
        return folder

    def publish(self, stem: str, name: str, job: Mapping[str, Any]) -> None:
        """Move a complete file or folder of a slide from the hidden folder to its name.

        Args:
            stem: Stem of the slide's files.
            name: Name of the file.
            job: What the file depends on, as JSON stores it.

        Raises:
            WriteError: The name is taken.
        """
        source, target = self._job(stem) / name, self.path / name
        if os.path.lexists(target):
            raise WriteError(f"{target} appeared while it was predicted, and is not replaced; remove it, and resume")
        # Recorded first: a process that is killed in between finds the file on either side.
        record = {"job": _plain(job), "state": _state(source)}
        with self.changing():
            self._records[name] = record
            text = json.dumps(self._records, indent=2) + "\n"
            write_text(self._hidden / _RECORDS, text, _CONTENT, replace=lambda file: True)
            os.rename(source, target)

    def close_job(self, stem: str) -> None:
        """Remove the hidden folder of a slide that is done."""
        shutil.rmtree(self._job(stem), ignore_errors=True)

    def remove_files(self) -> None:
        """Remove all files that were written and are unchanged, and their records."""
        for name, record in list(self._records.items()):
            target = self.path / name
            if record["state"] == _state(target):
                shutil.rmtree(target) if target.is_dir() else target.unlink()
            del self._records[name]
        (self._hidden / _RECORDS).unlink(missing_ok=True)

    def _job(self, stem: str) -> Path:
        return self._hidden / f"{stem}.job"


def remove_predictions(path: str | os.PathLike[str]) -> None:
    """Remove the files of a folder that predictions wrote and nothing has changed since; the others stay.

    Args:
        path: The folder; it need not exist.

    Raises:
        WriteError: Another process writes predictions to it.

    Examples:
        >>> from patchaug.predict.output_folder import remove_predictions
        >>> remove_predictions("no_such_folder")
    """
    if (Path(path) / _HIDDEN).is_dir():
        with OutputFolder(path) as folder:
            folder.remove_files()


def _plain(job: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(dict(job)))


def _state(path: Path) -> list[int] | None:
    """Return what tells a file from any other, also after a rename; None if there is none."""
    try:
        state = os.lstat(path)
    except FileNotFoundError:
        return None
    # A folder's time and size may change by the rename.
    return [state.st_ino] if path.is_dir() else [state.st_ino, state.st_size, state.st_mtime_ns]
