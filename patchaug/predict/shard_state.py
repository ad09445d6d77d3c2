"""What the shards of a prediction know of each other: which of them run, and what they predict, in a hidden folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patchaug.core.atomic import write_text
from patchaug.core.file_lock import lock_file, locked_file, unlock_file
from patchaug.core.shards import Shard
from patchaug.errors import WriteError

_CONTENT, _PLAN, _CHANGES = "list of shards", "shards.json", "shards.lock"


class ShardState:
    """Marks of the running shards, which are locks, and a file of the job that all of them share.

    Args:
        folder: The hidden folder.
        shard: The shard of this process.

    Raises:
        WriteError: This shard runs already, or others of another number run, or the disk has no locks.
    """

    def __init__(self, folder: Path, shard: Shard) -> None:
        self.folder, self.shard = folder, shard
        with self.changing():
            for other in self._marks():
                if other.count != shard.count and self._runs(other):
                    raise WriteError(
                        f"{folder.parent}: shard {other} writes to it, and this one is {shard}; all shards that run "
                        f"together are of one number, so wait for the others, or choose another folder"
                    )
            lock = lock_file(self._mark(shard), required=True)
            if lock is None:
                raise WriteError(f"{folder.parent}: another process is shard {shard} already; start each shard once")
            self._lock: int = lock

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep the other shards from changing files of the hidden folder, for a moment."""
        with locked_file(self.folder / _CHANGES):
            yield

    def agree(self, job: Mapping[str, Any]) -> None:
        """Check that all shards do the same job.

        Args:
            job: What they predict, as JSON stores it.

        Raises:
            WriteError: Shards that run, or have ended before all others, do another job.
        """
        plain = json.loads(json.dumps(dict(job)))
        with self.changing():
            known = self._read()
            if known and known["job"] != plain:
                running = self._others()
                if running or known["done"]:
                    which = str(running[0]) if running else f"{known['done'][0]}/{known['count']}"
                    what = ", ".join(sorted(key for key in plain if plain[key] != known["job"].get(key)))
                    raise WriteError(
                        f"{self.folder.parent}: shard {which} was started with another value of {what}; start all "
                        f"shards with the same ones, or choose another folder"
                    )
            if not known or known["job"] != plain or known["count"] != self.shard.count:
                self._write({"job": plain, "count": self.shard.count, "done": []})

    def end(self, *, done: bool) -> None:
        """Remove the mark of this shard; with the last one that is done, forget the job.

        Args:
            done: Whether this shard has done its part now, rather than failed, or found it done before.
        """
        with self.changing():
            known = self._read()
            if done and known and known["count"] == self.shard.count:
                known["done"] = sorted({*known["done"], self.shard.number})
                if len(known["done"]) == self.shard.count:
                    (self.folder / _PLAN).unlink(missing_ok=True)
                else:
                    self._write(known)
            elif known and not known["done"] and not self._others():
                (self.folder / _PLAN).unlink()
            self._mark(self.shard).unlink(missing_ok=True)
            unlock_file(self._lock)

    def _mark(self, shard: Shard) -> Path:
        return self.folder / f"shard {shard.number} of {shard.count}.lock"

    def _marks(self) -> list[Shard]:
        names = (re.fullmatch(r"shard (\d+) of (\d+)\.lock", file.name) for file in self.folder.iterdir())
        return [Shard(int(name[1]), int(name[2])) for name in names if name]

    def _others(self) -> list[Shard]:
        """Return the other shards that run."""
        return [other for other in self._marks() if other != self.shard and self._runs(other)]

    def _runs(self, shard: Shard) -> bool:
        """Return whether a shard runs; the mark of one that was killed is removed."""
        lock = lock_file(self._mark(shard))
        if lock is None:
            return True
        self._mark(shard).unlink(missing_ok=True)
        unlock_file(lock)
        return False

    def _read(self) -> dict[str, Any]:
        return read_json(self.folder / _PLAN)

    def _write(self, known: Mapping[str, Any]) -> None:
        write_text(self.folder / _PLAN, json.dumps(known), _CONTENT, replace=_any)


def forget_shards(folder: Path) -> None:
    """Remove what shards have left; none of them runs."""
    for file in [*folder.glob("shard * of *.lock"), folder / _PLAN]:
        file.unlink(missing_ok=True)


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of a hidden folder, without its signature; {} if there is none.

    Raises:
        WriteError: It is no JSON.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise WriteError(
            f"{file} was changed, so it is unknown which files are predictions; choose another folder"
        ) from None
    found.pop("written_by", None)
    return found


_any: Callable[[Path], bool] = lambda file: True  # noqa: E731
