"""URLs of slides: which texts and paths are URLs, and their one way of writing.

`pathlib.Path("s3://bucket/a.tiff")` makes "s3:/bucket/a.tiff" of it. Folders, pairing and the command line work with
`Path`, so both forms are one URL here, and a `Path` of a URL can be joined and split like any other.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from patchaug.errors import OptionError

SCHEMES = ("https", "http", "s3", "gs", "az")
_URL = re.compile(rf"({'|'.join(SCHEMES)}):[/\\]+(?=[^/\\])", re.IGNORECASE)
_OTHER = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_PLACES = {"s3": "s3://bucket/key", "gs": "gs://bucket/key", "az": "az://container/key"}
ACCESS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_SKIP_SIGNATURE=true for a public one",
}  # environment variables of each kind of store


def as_url(source: Any) -> str | None:
    """Return a source as a URL; None for a local path or another object.

    Args:
        source: A text or path, also a `pathlib.Path` of a URL; or any object.

    Returns:
        The URL, with a scheme in lower case, two slashes, and no slash at the end.

    Raises:
        OptionError: The URL has another scheme, or holds a password, a query, or a fragment; the text of the error does
            not repeat them.

    Examples:
        >>> from pathlib import Path
        >>> from patchaug.readers.urls import as_url
        >>> as_url(Path("s3://bucket/slides") / "a.tiff")
        's3://bucket/slides/a.tiff'
        >>> as_url("slides/a.tiff") is None
        True
    """
    if not isinstance(source, (str, os.PathLike)):
        return None
    text = os.fspath(source)
    if not isinstance(text, str) or ":" not in text:
        return None
    found = _URL.match(text)
    if found is None:
        other = _OTHER.match(text)
        if other is not None:
            raise OptionError(f"{without_secrets(text)}: {_cure_of(other[1].lower())}")
        return None
    scheme, rest = found[1].lower(), text[found.end() :]
    if isinstance(source, os.PathLike):
        rest = rest.replace("\\", "/")
    url = f"{scheme}://{rest.rstrip('/')}"
    _require_plain(url, scheme, rest.rstrip("/"))
    return url


def is_url(source: Any) -> bool:
    """Return whether a source is a URL; errors are those of `as_url`."""
    return as_url(source) is not None


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a local file, or a URL in its one way of writing."""
    return as_url(path) or os.path.abspath(os.fsdecode(path))


def resolved(path: Path) -> Path:
    """Return an absolute path without links; a `Path` of a URL as it is."""
    return path if is_url(path) else path.resolve()


def split_url(url: str) -> tuple[str, str]:
    """Split a URL of `as_url` into its store, such as "s3://bucket", and the key inside; "" for the store itself."""
    scheme, _, rest = url.partition("://")
    place, _, key = rest.partition("/")
    return f"{scheme}://{place}", key


def without_secrets(text: str) -> str:
    """Return a text in which user, password, query and fragment of URLs are left out."""
    text = re.sub(r"(:[/\\]+)[^/\\\s'\"]*@", r"\1***@", text)
    return re.sub(r"(:[/\\]+[^\s'\"?#]*)[?#][^\s'\")\]}>,;]*", r"\1?***", text)


def _cure_of(scheme: str) -> str:
    if scheme in SCHEMES:
        return "the URL names no host or bucket; write " + _PLACES.get(scheme, f"{scheme}://host/path")
    near = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "azure": "az", "adl": "az"}.get(scheme)
    if scheme == "file":
        return "pass the path of a local file, without file://"
    if near is not None:
        return f"scheme {scheme!r} is not supported; write {_PLACES[near]}"
    known = ", ".join(f"{one}://" for one in SCHEMES)
    return f"scheme {scheme!r} is not supported; use one of {known}, or a local path"


def _require_plain(url: str, scheme: str, rest: str) -> None:
    """Refuse what is no plain place: secrets, which would reach logs and exports, and keys that servers rewrite."""
    shown, (place, _, key) = without_secrets(url), rest.partition("/")
    if "@" in place:
        raise OptionError(
            f"{shown}: a URL with a user or password is refused, because paths are logged and exported; leave them out"
            + (f", and set {ACCESS[scheme]} in the environment" if scheme in ACCESS else "")
        )
    if scheme in ("http", "https") and ("?" in rest or "#" in rest):
        raise OptionError(
            f"{shown}: a URL with a query or fragment is refused, because a signature in it would be logged and "
            f"exported; write s3://bucket/key with credentials in the environment, or a public URL without a query"
        )
    if any(ord(letter) < 32 for letter in url):
        raise OptionError(f"{url!r}: a URL has no control characters")
    if any(segment in ("", ".", "..") for segment in key.split("/")) and key:
        raise OptionError(f"{shown}: a key with empty segments, '.' or '..' is not supported; rename the object")
    try:
        urlsplit(url).port  # noqa: B018 - checks it
    except ValueError:
        raise OptionError(f"{shown}: the port must be a number in 0..65535") from None
