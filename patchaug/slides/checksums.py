"""What files were: sizes, times and CRC-32, so that a later run can say which of them changed.

Decoding is not verification: of 200 damaged JPEG-tiled slides readers show wrong pixels of 116 and more without an
error. Only a sum that was taken while the file was good sees that.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from patchaug.core.atomic import write_text
from patchaug.core.outputs import checked_output
from patchaug.core.progress import progress
from patchaug.errors import MissingError, ReadError
from patchaug.readers import is_zarr
from patchaug.readers.file import describe, fingerprint
from patchaug.readers.remote.listing import can_list, list_below
from patchaug.readers.remote.source import is_object
from patchaug.readers.urls import as_url, is_url, resolved
from patchaug.slides.discovery import missing_files

_PIECE = 8 << 20
_BYTES = 256 << 20
_VERSION = 1


def parts_of(path: str | os.PathLike[str]) -> list[Path]:
    """List the files of a slide: itself; for MIRAX also the folder of its name; for zarr all below."""
    file, url = Path(path), as_url(path)
    if url is not None:
        return [file] if is_object(url) else [Path(f"{url}/{key}") for key, _, _ in list_below(url)]
    if is_zarr(file):
        return _below(file)
    folder = file.with_suffix("")
    return [file, *_below(folder)] if file.suffix.lower() == ".mrxs" and folder.is_dir() else [file]


def states_of(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Return size in bytes, and time of the last change in nanoseconds or ETag, of each file of a slide, by its path.

    Of a zarr hierarchy on a web server, which cannot be listed, only the URL is named.

    Raises:
        MissingError, ReadError: An object does not exist, or cannot be read.
    """
    url = as_url(path)
    if url is None:
        states = {str(part.resolve()): os.stat(part) for part in parts_of(path)}
        return {name: {"size": state.st_size, "mtime_ns": state.st_mtime_ns} for name, state in states.items()}
    if is_object(url):
        size, _, tag = fingerprint(url)
        return {url: {"size": size, "etag": tag}}
    rows = list_below(url) if can_list(url) else []
    return {f"{url}/{key}": {"size": size, "etag": tag} for key, size, tag in rows} or {url: {}}


def _below(folder: Path) -> list[Path]:
    return sorted(part for part in folder.rglob("*") if part.is_file())


def entry_of(path: Path) -> dict[str, Any]:
    """Return size in bytes, time of the last change in nanoseconds, and CRC-32 of a file; of an object its ETag.

    Raises:
        MissingError, ReadError: It cannot be read, or is not a regular file.
    """
    size, time, tag = fingerprint(as_url(path) or str(path))
    if is_url(path):
        return {"size": size, "mtime_ns": time, "etag": tag}
    crc = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                crc = zlib.crc32(piece, crc)
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {describe(error)}") from None
    return {"size": size, "mtime_ns": time, "crc32": f"{crc:08x}"}


def write_manifest(manifest: str | os.PathLike[str], paths: Iterable[str | os.PathLike[str]]) -> int:
    """Write the manifest of some files: beside its name, and renamed when whole.

    Paths are kept relative to the manifest's folder, so that folder and manifest may move together.

    Args:
        manifest: The file to write, JSON.
        paths: The files, or slides of several files.

    Returns:
        How many files it names.

    Raises:
        OptionError: The manifest's name does not end in .json.
        MissingError, ReadError: A file cannot be read.
        WriteError: The file exists and is not a manifest of patchaug, or cannot be written.
    """
    paths = list(paths)
    target = checked_output(manifest, "manifest", [".json"], inputs=paths)
    files = sorted({resolved(part) for path in paths for part in parts_of(path)})
    found = {_key(file, target): entry_of(file) for file in progress(files, len(files), "summing files")}
    write_text(target, json.dumps({"patchaug_manifest": _VERSION, "files": found}, indent=1) + "\n", "manifest")
    return len(found)


def compare_manifest(manifest: str | os.PathLike[str], paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Compare files with a manifest: {path: what changed}. Opens only files that `paths` names.

    Args:
        manifest: A file that `write_manifest` wrote.
        paths: The files that are looked at. Those that the manifest names, and that are gone, are told as well.

    Raises:
        MissingError, ReadError: The manifest is not there, or is none.
    """
    target = Path(manifest)
    known = _read(target)
    changes = {}
    files = sorted({resolved(part) for path in paths for part in parts_of(path)})
    for file in progress(files, len(files), "summing files"):
        before = known.get(_key(file, target))
        try:
            now = entry_of(file)
        except (MissingError, ReadError) as error:
            changes[str(file)] = str(error).removeprefix(f"{file}: ")
            continue
        if before is None:
            changes[str(file)] = "new: the manifest does not name it"
        elif (now["size"], _sum(now)) != (before["size"], _sum(before)):
            touched = "" if now["mtime_ns"] != before["mtime_ns"] else ", though its time is the same"
            old, new = (f"{one['size']} bytes with {_sum(one)}" for one in (before, now))
            changes[str(file)] = f"changed: {old} before, {new} now{touched}"
    named = [Path(key) if is_url(key) else Path(os.path.normpath(target.resolve().parent / key)) for key in known]
    for path in missing_files(file for file in named if str(file) not in changes and file not in files):
        changes[str(Path(path))] = "missing: the manifest names it"
    return changes


def _sum(entry: dict[str, Any]) -> str:
    return f"CRC-32 {entry['crc32']}" if "crc32" in entry else f"ETag {entry['etag']}"


def _key(file: Path, manifest: Path) -> str:
    if (url := as_url(file)) is not None:
        return url
    folder = manifest.resolve().parent
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def _read(manifest: Path) -> dict[str, dict[str, Any]]:
    """The entries of a manifest, each checked."""
    size, _, _ = fingerprint(str(manifest))
    if size > _BYTES:
        raise ReadError(f"{manifest}: {size} bytes are not a manifest; the limit is {_BYTES >> 20} MiB")
    try:
        data = json.loads(manifest.read_bytes())
        version, files = data["patchaug_manifest"], data["files"]
        good = all(
            isinstance(entry["size"], int)
            and isinstance(entry["mtime_ns"], int)
            and (isinstance(entry["etag"], str) if "etag" in entry else len(entry["crc32"]) == 8)
            for entry in files.values()
        )
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ReadError(
            f"{manifest}: is not a manifest ({describe(error)[:120]}); write one with --write-manifest"
        ) from None
    if version != _VERSION or not good:
        raise ReadError(f"{manifest}: is not a manifest of version {_VERSION}; write one anew with --write-manifest")
    return dict(files)
