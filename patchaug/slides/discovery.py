"""Which files are slides, and which mask belongs to which: names only, nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from patchaug.errors import MissingError, OptionError
from patchaug.readers import known_suffixes

MASK = "_mask"


def get_slide_files(path: str | os.PathLike[str], *, recurse: bool = True, folders: Sequence[str] = ()) -> list[Path]:
    """List all slide files below a folder, sorted, so that splits are the same on every machine.

    A folder whose name ends in ".zarr" is a slide, and is not looked into. Hidden files are left out, and so are masks
    that lie beside their images: names that end in "_mask". Links to folders are not followed.

    Args:
        path: The folder.
        recurse: Look into subfolders too.
        folders: Names of the subfolders to look into; all when empty.

    Raises:
        MissingError: There is no such folder, or no slide in it.

    Example:
        >>> from patchaug.slides.discovery import get_slide_files
        >>> [file.name for file in get_slide_files("slides")]
        ['slide0.tiff', 'slide1.tiff', 'slide2.tiff']
    """
    root = Path(path)
    if not root.is_dir():
        raise MissingError(f"there is no folder {root}; slides are looked for in a folder")
    suffixes = known_suffixes("image")
    found = sorted(
        file
        for file in _files(root, recurse, folders)
        if _parts(file)[1] in suffixes and not file.name.startswith(".") and not _parts(file)[0].endswith(MASK)
    )
    if not found:
        raise MissingError(f"no slides in {root}; known suffixes are {', '.join(sorted(suffixes))}")
    return found


def find_masks(images: Iterable[Path], masks: str | os.PathLike[str]) -> list[Path]:
    """Find the mask of each image in a folder: a picture or polygons of the same stem, or that stem and "_mask".

    Raises:
        MissingError: Images have no mask; all of them are listed.
        OptionError: An image has several.
    """
    folder = Path(masks)
    if folder.is_file():
        raise MissingError(f"{folder} is a file; give the folder that it lies in: masks are found there by their names")
    if not folder.is_dir():
        raise MissingError(f"there is no folder {folder}; masks are looked for in a folder")
    images = list(images)
    known = {image.resolve() for image in images}
    suffixes = known_suffixes("image", "mask", "annotations")
    by_stem: dict[str, list[Path]] = {}
    for file in _files(folder, True, ()):
        # Images may lie in the same folder: an image is nobody's mask.
        stem, suffix = _parts(file)
        if suffix in suffixes and not file.name.startswith(".") and file.resolve() not in known:
            by_stem.setdefault(stem, []).append(file)
    found, missing = [], []
    for image in images:
        candidates = by_stem.get(_parts(image)[0], []) + by_stem.get(_parts(image)[0] + MASK, [])
        if len(candidates) > 1:
            names = ", ".join(str(file) for file in candidates)
            raise OptionError(f"{image.name} has {len(candidates)} masks in {folder}: {names}; keep one")
        if candidates:
            found.append(candidates[0])
        else:
            missing.append(image.name)
    if missing:
        raise MissingError(
            f"{len(missing)} of {len(images)} slides have no mask in {folder}: {', '.join(missing)}; "
            f"a mask is named like its image, or with {MASK} after the stem"
        )
    return found


def require_files(paths: Iterable[str | os.PathLike[str]], what: str) -> None:
    """Raise MissingError with all the paths that do not exist."""
    missing = [os.fspath(path) for path in paths if not os.path.exists(path)]
    if missing:
        raise MissingError(f"{len(missing)} {what} do not exist: {', '.join(missing)}")


def _parts(file: Path) -> tuple[str, str]:
    """Stem and suffix; ".gz" belongs to the suffix before it, ".zip" to ".zarr"."""
    name = file.name
    length = len(file.suffix)
    if file.suffix.lower() == ".gz" or name.lower().endswith(".zarr.zip"):
        length += len(Path(file.stem).suffix)
    return name[: len(name) - length], name[len(name) - length :].lower()


def _files(root: Path, recurse: bool, folders: Sequence[str]) -> Iterable[Path]:
    """Files, and folders of zarr."""
    for folder, inside, names in os.walk(root):
        names += [name for name in inside if name.lower().endswith(".zarr")]
        inside[:] = [name for name in inside if not name.startswith(".") and not name.lower().endswith(".zarr")]
        if not recurse:
            inside.clear()
        elif folders and Path(folder) == root:
            inside[:] = [name for name in inside if name in folders]
        if not (folders and Path(folder) == root):
            yield from (Path(folder, name) for name in names)
