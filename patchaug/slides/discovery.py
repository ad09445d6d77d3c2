"""Which files are slides: by names, and by the heads of .dcm and .vms files. pairing.py pairs masks with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from unicodedata import normalize

from patchaug.core.arguments import names_arguments
from patchaug.core.signature import is_signed
from patchaug.errors import MissingError
from patchaug.readers import is_zarr, known_suffixes
from patchaug.readers.remote.listing import list_folder, missing_urls
from patchaug.readers.urls import as_url, is_url
from patchaug.slides.companions import without_companions

MASK = "_mask"
_LISTED = 20  # paths in an error
RUN_MARK = ".patchaug-run"  # file that marks the folder of a training run


@names_arguments
def get_slide_files(path: str | os.PathLike[str], *, recurse: bool = True, folders: Sequence[str] = ()) -> list[Path]:
    """List all slide files below a folder, sorted, so that splits are the same on every machine.

    A folder whose name ends in ".zarr" is a slide, and is not looked into. A DICOM series is one slide, its first file.
    Hidden files are left out, and so are masks that lie beside their images (names that end in "_mask"), the pictures
    that a .vms file names, and those that a training run wrote to its folder. Links to folders are not followed.

    Args:
        path: The folder; or the URL of a store that can list: each path then stands for a URL.
        recurse: Look into subfolders too.
        folders: Names of the subfolders to look into; all when empty.

    Raises:
        MissingError: There is no such folder, or no slide in it.

    Examples:
        >>> from patchaug.slides.discovery import get_slide_files
        >>> [file.name for file in get_slide_files("slides")]
        ['slide0.tiff', 'slide1.tiff', 'slide2.tiff']
    """
    root, url = Path(path), as_url(path)
    if url is None and not os.path.isdir(root):
        raise MissingError(f"there is no folder {root}; slides are looked for in a folder")
    suffixes = known_suffixes("image")
    found = (without_companions if url is None else sorted)(
        file
        for file in walk_files(root, recurse, folders)
        if split_suffix(file)[1] in suffixes
        and not file.name.startswith(".")
        and not split_suffix(file)[0].endswith(MASK)
    )
    if not found:
        raise MissingError(f"no slides in {url or root}; known suffixes are {', '.join(sorted(suffixes))}")
    return found


def require_files(paths: Iterable[str | os.PathLike[str]], what: str) -> None:
    """Raise MissingError with the first of the paths that do not exist, and their number."""
    missing = missing_files(paths)
    if missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise MissingError(f"{len(missing)} {what} do not exist: {', '.join(missing[:_LISTED])}{more}")


def missing_files(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the paths and URLs that do not exist.

    Raises:
        ReadError: A store does not answer, or denies access.
    """
    found = [(os.fspath(path), as_url(path)) for path in paths]
    missing = set(missing_urls([url for _, url in found if url is not None]))
    return [url or path for path, url in found if (url in missing if url else not os.path.exists(path))]


def is_folder_of_slides(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder and no slide; a URL is one unless it ends like a file of a slide."""
    if is_url(path):
        return split_suffix(Path(path))[1] not in known_suffixes("image", "mask")
    return os.path.isdir(path) and not is_zarr(path)


def split_suffix(file: Path) -> tuple[str, str]:
    """Return stem and suffix; ".gz" belongs to the suffix before it, ".zip" to ".zarr"."""
    name = file.name
    length = len(file.suffix)
    if file.suffix.lower() == ".gz" or name.lower().endswith(".zarr.zip"):
        length += len(Path(file.stem).suffix)
    # macOS writes names decomposed: the same name must be one stem on every system.
    return normalize("NFC", name[: len(name) - length]), name[len(name) - length :].lower()


def walk_files(root: Path, recurse: bool, folders: Sequence[str]) -> Iterable[Path]:
    """Yield the files below a folder or a URL, and the folders of zarr."""
    url = as_url(root)
    if url is not None:
        yield from (Path(name) for name in _walk_store(url, recurse, folders))
        return
    for folder, inside, names in os.walk(root):
        names += [name for name in inside if name.lower().endswith(".zarr")]
        inside[:] = [name for name in inside if not name.startswith(".") and not name.lower().endswith(".zarr")]
        if not recurse:
            inside.clear()
        elif folders and Path(folder) == root:
            inside[:] = [name for name in inside if name in folders]
        if RUN_MARK in names:
            names = [name for name in names if not is_signed(Path(folder, name), "picture")]
        if not (folders and Path(folder) == root):
            yield from (Path(folder, name) for name in names)


def _walk_store(url: str, recurse: bool, folders: Sequence[str]) -> Iterable[str]:
    """Yield the URLs of the objects below a URL, and of zarr hierarchies; one request for each folder."""
    for name in list_folder(url):
        inside, place = name.rstrip("/"), f"{url}/{name.rstrip('/')}"
        if not name.endswith("/") or inside.lower().endswith(".zarr"):
            if not folders:
                yield place
        elif recurse and not inside.startswith(".") and (not folders or inside in folders):
            yield from _walk_store(place, recurse, ())
