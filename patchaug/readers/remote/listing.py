"""What lies below a URL, where the store can list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patchaug.errors import MissingError, OptionError, ReadError
from patchaug.readers.remote.client import ask
from patchaug.readers.remote.source import Range, error_of, fetch
from patchaug.readers.urls import split_url

METADATA = ("zarr.json", ".zarray", ".zgroup")  # one of them makes a folder a zarr array or group
_AT_ONCE = 256  # URLs that are asked for at a time


def can_list(url: str) -> bool:
    """Return whether the store of a URL can list: web servers cannot."""
    return not url.startswith("http")


def missing_urls(urls: Sequence[str]) -> list[str]:
    """Return the URLs at which there is neither an object nor a zarr hierarchy; asks for many at the same time.

    Raises:
        ReadError: The store does not answer, or denies access.
    """
    missing = []
    for first in range(0, len(urls), _AT_ONCE):
        part = urls[first : first + _AT_ONCE]
        for url, found in zip(part, fetch([Range(url, None, 0, 0) for url in part]), strict=True):
            if isinstance(found, ReadError):
                raise found
            if isinstance(found, MissingError) and not is_hierarchy(url):
                missing.append(url)
    return missing


def is_hierarchy(url: str) -> bool:
    """Return whether the objects below a URL are a zarr array or group.

    Raises:
        ReadError: The store does not answer, or denies access.
    """
    found = fetch([Range(f"{url}/{name}", None, 0, 0) for name in METADATA])
    for one in found:
        if isinstance(one, ReadError):
            raise one
    return any(not isinstance(one, MissingError) for one in found)


def list_folder(url: str) -> list[str]:
    """List the names directly below a URL; those of folders end in a slash.

    Raises:
        OptionError: Web servers cannot list.
        MissingError: There is nothing below it.
        ReadError: The store does not answer, or denies access.
    """
    return [name for name, _, _ in _rows(url, deep=False)]


def list_below(url: str) -> list[tuple[str, int, str]]:
    """List all objects below a URL: key without that of the URL, size in bytes, and ETag; errors as `list_folder`."""
    return _rows(url, deep=True)


def _rows(url: str, *, deep: bool) -> list[tuple[str, int, str]]:
    if not can_list(url):
        raise OptionError(
            f"{url}: web servers cannot list their files; list the slides in a CSV with the columns image and mask, or "
            f"use s3://, gs:// or az://"
        )
    place, key = split_url(url)
    answer: dict[str, Any] = ask({"do": "list", "of": [place, key, deep]})[0]["states"][0]
    if "error" in answer:
        raise error_of(url, answer)
    start = f"{key}/" if key else ""
    rows = [(str(name), int(size), str(tag)) for name, size, tag in answer["rows"] if name.startswith(start)]
    if not rows:
        raise MissingError(f"{url}: there is no object below it")
    return [(name[len(start) :], size, tag) for name, size, tag in rows]
