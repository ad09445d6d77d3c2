"""The folder of a run: new or numbered, locked while the run is alive, and never that of another program."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from patchaug.cli.common import require
from patchaug.core.atomic import require_replaceable
from patchaug.core.file_lock import lock_file, unlock_file
from patchaug.core.own_folder import remove_own_folder, require_own_folder
from patchaug.errors import MissingError, OptionError, WriteError
from patchaug.slides.discovery import RUN_MARK

MARK = RUN_MARK  # a living run holds this file locked
DEFAULT = "patchaug-run"
# The results by name, with the content of their signature.
MODEL, BEST_MODEL, REPORT, OPTIONS, HISTORY = "model.pkl", "best.pkl", "report.json", "options.json", "history.csv"
EVENTS = "tensorboard"  # folder of the files for TensorBoard
WINDOWS, BATCH, PREDICTION, CURVES = "windows.png", "batch.png", "prediction.png", "curves.png"
LOSSES = "hard-windows.json"  # of adaptive windows
RESULTS = {
    MODEL: "learner", BEST_MODEL: "learner", "checkpoint.pt": "checkpoint", "best.pt": "checkpoint", REPORT: "report",
    OPTIONS: "options", WINDOWS: "picture", BATCH: "picture", PREDICTION: "picture", CURVES: "picture",
    LOSSES: "state of adaptive windows",
}  # fmt: skip
MODELS = (Path(MODEL).stem, Path(BEST_MODEL).stem)  # folders with the same models as data
MAPS = "maps"  # folder of the demo's predictions
MODEL_INDEX, MODEL_CONTENT = "model.json", "model"


class RunFolder:
    """A folder that this process has claimed for a run.

    Attributes:
        path: The folder.
        created: Whether this run has made the folder.
    """

    def __init__(self, path: Path, lock: int | None, *, created: bool) -> None:
        self.path, self.created, self._lock = path, created, lock

    @classmethod
    def claim(cls, out: str | os.PathLike[str], *, overwrite: bool = False, launch: str | None = None) -> RunFolder:
        """Claim a folder for a new run: `out`, or the first of `out-2`, `out-3`... that no run has used.

        Args:
            out: The folder; it is made where it does not exist.
            overwrite: Use the folder of a run that has ended, and remove its results.
            launch: Name of the launch; its own folder, of a run without results, is used again.

        Raises:
            OptionError: The path is empty.
            WriteError: It is a file, holds files that no run wrote, cannot be written to, or its run is alive.
        """
        require(bool(os.fspath(out)) and os.fspath(out) != ".", "--out needs the name of a folder for the results")
        base, number = Path(out), 1
        while True:
            path = base if number == 1 else base.with_name(f"{base.name}-{number}")
            existed = path.is_dir()
            created = _make(path)
            if not created:
                _require_of_a_run(path)
            lock = lock_file(path / MARK)
            mark = "" if created else (path / MARK).read_text()
            fresh = not mark.startswith("patchaug run") or (_of_launch(mark, launch) and not (path / REPORT).exists())
            if lock is not None and (fresh or overwrite):
                try:
                    if not fresh:
                        _require_own_results(path)
                except WriteError:
                    unlock_file(lock)
                    raise
                os.ftruncate(lock, 0)
                of = "" if launch is None else f"launch {launch}\n"
                os.pwrite(lock, f"patchaug run, process {os.getpid()}\n{of}".encode(), 0)
                return cls(path, lock, created=created and not existed)
            if lock is not None:
                unlock_file(lock)
            elif overwrite:
                raise WriteError(f"{path}: a run is going on in it; wait for it, end it, or choose another --out")
            number += 1

    @classmethod
    def reopen(cls, out: str | os.PathLike[str] | None) -> RunFolder:
        """Claim the folder of a run that was broken off.

        Args:
            out: The folder; default: the latest numbered one of the default's name.

        Raises:
            MissingError: There is no such run.
            WriteError: It is alive, or a file with the name of a result is not one that patchaug wrote.
            OptionError: It has finished.
        """
        path = _latest() if out is None else Path(out)
        if not (path / MARK).is_file():
            raise MissingError(f"there is no run in {path} to resume; name its folder with --out")
        lock = lock_file(path / MARK)
        if lock is None:
            raise WriteError(f"{path}: a run is going on in it; wait for it or end it before --resume")
        if not (path / "checkpoint.pt").is_file():
            unlock_file(lock)
            if (path / REPORT).is_file():
                raise OptionError(f"the run in {path} has finished; start another one without --resume")
            raise MissingError(
                f"{path}: the run was broken off before its first checkpoint, so nothing of it is left to resume; "
                f"start it again without --resume"
            )
        try:
            _require_own_results(
                path, but=(OPTIONS, "checkpoint.pt")
            )  # what is wrong with them is said when they are read
        except WriteError:
            unlock_file(lock)
            raise
        return cls(path, lock, created=False)

    @classmethod
    def of_launch(cls, out: str | os.PathLike[str], launch: str | None) -> RunFolder | None:
        """Claim the folder of a run that an earlier start of the same launch has left with a checkpoint, if any."""
        base, number = Path(out), 1
        while launch is not None:
            path = base if number == 1 else base.with_name(f"{base.name}-{number}")
            if not (path / MARK).is_file():
                break
            if _of_launch((path / MARK).read_text(), launch) and (path / "checkpoint.pt").is_file():
                return cls.reopen(path)
            number += 1
        return None

    @classmethod
    def of_first_rank(cls, path: Path) -> RunFolder:
        """Return the folder that rank 0 has claimed; the other ranks write nothing to it."""
        return cls(path, None, created=False)

    def remove_results(self) -> None:
        """Remove the results of an earlier run.

        Raises:
            WriteError: A file with the name of a result is not one that patchaug wrote.
        """
        _require_own_results(self.path)
        for name in (*RESULTS, HISTORY):
            with suppress(FileNotFoundError):
                (self.path / name).unlink()
        for name in MODELS:
            remove_own_folder(self.path / name, MODEL_INDEX, MODEL_CONTENT)
        for file in (self.path / EVENTS).glob("events.out.tfevents.*"):
            file.unlink()

    def close(self) -> None:
        """End the claim; where nothing was written, the mark is removed, and the folder that the run has made."""
        if self._lock is None:
            return
        with suppress(OSError):
            if [path.name for path in self.path.iterdir()] == [MARK]:
                (self.path / MARK).unlink()
                if self.created:
                    self.path.rmdir()
        unlock_file(self._lock)


def _of_launch(mark: str, launch: str | None) -> bool:
    return launch is not None and f"launch {launch}" in mark.splitlines()


def _make(path: Path) -> bool:
    """Make a folder and its mark; return False if a folder of this name exists and has a mark, or holds files."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileExistsError:
            if not path.is_dir():
                raise WriteError(f"{path} is a file; choose another name for the folder of results") from None
            if any(path.iterdir()):
                return False
        os.close(os.open(path / MARK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError as error:
        if (path / MARK).exists():  # another process was faster
            return False
        raise WriteError(f"{error.filename} is a file; choose another folder for the results") from None
    except WriteError:
        raise
    except NotADirectoryError:
        raise WriteError(f"{path}: a part of the path is a file; choose another folder for the results") from None
    except OSError as error:
        raise WriteError(f"{path} cannot be made: {error.strerror}; choose a folder that you can write to") from None
    return True


def _require_of_a_run(path: Path) -> None:
    if not (path / MARK).is_file():
        raise WriteError(f"{path} holds files that no run of patchaug wrote; name a new folder, such as {path / 'run'}")


def _require_own_results(path: Path, but: Collection[str] = ()) -> None:
    for name, content in RESULTS.items():
        if name not in but and (path / name).exists():
            require_replaceable(path / name, content)
    for name in MODELS:
        require_own_folder(path / name, MODEL_INDEX, MODEL_CONTENT)
    history = path / HISTORY
    if history.exists() and not history.read_bytes().startswith(b"epoch,"):
        raise WriteError(f"{history} exists, and patchaug did not write it; choose another --out")


def _latest() -> Path:
    found = [(int(match[1] or 1), path) for path in Path().iterdir() if (match := re.fullmatch(_NAME, path.name))]
    with_runs = [(number, path) for number, path in found if (path / MARK).is_file()]
    return max(with_runs)[1] if with_runs else Path(DEFAULT)


_NAME = rf"{DEFAULT}(?:-(\d+))?"
