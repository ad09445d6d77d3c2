"""The table of readers: which one opens a source, ours and those of users alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from patchaug.core.arguments import names_arguments
from patchaug.core.validation import checked_integer
from patchaug.errors import OptionError, PatchaugError, ReadError
from patchaug.readers.base import Raster, is_raster
from patchaug.readers.channels import Channels
from patchaug.readers.file import UnsupportedError, describe, fingerprint
from patchaug.readers.file_handles import open_with_room
from patchaug.readers.first_bytes import HEAD_BYTES, first_bytes
from patchaug.readers.picked_channels import PickedChannels
from patchaug.readers.reader_entry import Opener, Reader, accepted, parameters_of
from patchaug.readers.remote.source import forget
from patchaug.readers.urls import absolute_path, is_url

_readers: list[Reader] = []  # highest priority first


@names_arguments
def register_reader(
    name: str,
    *,
    image: Opener | None = None,
    mask: Opener | None = None,
    annotations: Opener | None = None,
    suffixes: Iterable[str] = (),
    magic: Iterable[bytes] = (),
    accepts: Callable[[Any], bool] | None = None,
    priority: int = 0,
    replace: bool = False,
) -> None:
    r"""Add a reader for a file format or for a kind of object.

    A source is offered to the readers by falling priority. The built-in readers have priority -10. A reader that
    raises `UnsupportedError` passes the source to the next reader; any other error ends the search.

    Register in a module that every process imports. Slides that are already open reach worker processes by pickle
    and need no registration there.

    Args:
        name: Name of the reader in errors.
        image: Opens a source as an image, called as `image(source, name=..., ram=...)`. Returns a `Raster`.
            An opener with an argument `channels` or `series` receives what the user chose, where there is a choice.
        mask: Opens a source as a mask of class numbers, called in the same way.
        annotations: Opens a source as a mask in the frame of an image, called as
            `annotations(source, name=..., sizes=..., codes=..., ignore_index=...)`; it may take `classes` (a
            `ClassCodes`), `outside`, `label`, `invalid` and `place` (a `Georeference`) too.
        suffixes: File names that `get_slide_files` and mask folders list, such as ".raw".
        magic: First bytes of the format's files.
        accepts: Predicate of the absolute path (str) or of the object that was passed.
            Without `magic` and `accepts`, a path is taken by its suffix.
        priority: Readers with a higher priority are tried first.
        replace: Replace the reader of the same name.

    Raises:
        OptionError: An argument is of a wrong type, or the name is taken.

    Examples:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from patchaug import Window, open_slide, register_reader
        >>> from patchaug.readers import FileRaster, require_inside, unregister_reader
        >>> class RawRaster(FileRaster):
        ...     def __init__(self, path, *, name=None, ram=0):
        ...         super().__init__(path, name=name)
        ...         with open(path, "rb") as file:
        ...             self.shape = tuple(json.loads(file.readline())["shape"])
        ...             self.start = file.tell()
        ...         self.level_dimensions = ((self.shape[1], self.shape[0]),)
        ...         self.level_downsamples, self.mpp = (1.0,), None
        ...     def read(self, window):
        ...         require_inside(self.name, self.level_dimensions, window)
        ...         pixels = np.memmap(self.path, np.uint8, "r", self.start, self.shape)
        ...         return np.array(pixels[window.y : window.bottom, window.x : window.right])
        >>> register_reader("raw", image=RawRaster, mask=RawRaster, suffixes=[".raw"])
        >>> path = Path(tempfile.mkdtemp(), "a.raw")
        >>> _ = path.write_bytes(b'{"shape": [2, 3, 3]}\n' + bytes(range(18)))
        >>> open_slide(path).read(Window(1, 1, 1, 1)).image
        array([[[12, 13, 14]]], dtype=uint8)
        >>> unregister_reader("raw")
    """
    for word, opener in (("image", image), ("mask", mask), ("annotations", annotations), ("accepts", accepts)):
        if opener is not None and not callable(opener):
            raise OptionError(f"reader {name!r}: {word} must be callable, got {type(opener).__name__}")
    if image is mask is annotations is None:
        raise OptionError(f"reader {name!r}: at least one of image=, mask= and annotations= is required")
    if isinstance(suffixes, str) or isinstance(magic, bytes):
        raise OptionError(f"reader {name!r}: suffixes and magic must be lists, such as ['.raw'] and [b'RAW']")
    listed = frozenset(suffixes)
    for suffix in listed:
        if not isinstance(suffix, str) or suffix != suffix.lower() or not suffix.startswith(".") or len(suffix) < 2:
            raise OptionError(f"reader {name!r}: a suffix must be a lower-case text such as '.raw', got {suffix!r}")
    heads = tuple(magic)
    for start in heads:
        if not isinstance(start, bytes) or not 1 <= len(start) <= HEAD_BYTES:
            raise OptionError(f"reader {name!r}: magic must hold bytes of length 1 to {HEAD_BYTES}, got {start!r:.60}")
    if not (listed or heads or accepts):
        raise OptionError(f"reader {name!r}: at least one of suffixes=, magic= and accepts= is required")
    reader = Reader(
        name, image, mask, annotations, listed, heads, accepts, checked_integer("priority", priority, -1000)
    )
    others = [other for other in _readers if other.name != name]
    if len(others) < len(_readers) and not replace:
        raise OptionError(f"a reader named {name!r} is registered already; pass replace=True, or use another name")
    _readers[:] = sorted([*others, reader], key=lambda one: -one.priority)


@names_arguments
def unregister_reader(name: str) -> None:
    """Remove a reader from the table.

    Raises:
        OptionError: No reader has that name; the text lists all names.

    Examples:
        >>> from patchaug.readers import ArrayRaster, register_reader, unregister_reader
        >>> register_reader("mine", image=ArrayRaster, suffixes=[".mine"])
        >>> unregister_reader("mine")
    """
    names = [reader.name for reader in _readers]
    if name not in names:
        raise OptionError(f"no reader is named {name!r}; registered are {', '.join(names)}")
    del _readers[names.index(name)]


def known_suffixes(*kinds: str) -> frozenset[str]:
    """Return the suffixes of all readers that open one of the kinds: "image", "mask" or "annotations".

    Examples:
        >>> from patchaug.readers import known_suffixes
        >>> sorted(known_suffixes("annotations"))
        ['.fgb', '.geojson', '.geojson.gz', '.gpkg', '.json', '.json.gz', '.shp', '.xml']
    """
    chosen = [reader for reader in _readers if any(reader.opener(kind) is not None for kind in kinds)]
    return frozenset().union(*(reader.suffixes for reader in chosen))


def open_registered(
    source: Any,
    options: dict[str, dict[str, Any]],
    *,
    channels: Channels | None = None,
    series: int | str | None = None,
) -> Raster:
    """Open a source with the first reader that supports it.

    Args:
        source: A path, or any object.
        options: Keyword arguments of the openers, by kind; of a reader's openers the first kind listed is used.
        channels: Channels to read; passed to openers that have such an argument, else picked from their pixels.
        series: Picture to read; passed to openers that have such an argument, else an error.

    Raises:
        MissingError: The file does not exist.
        ReadError: No reader supports the file, or a reader failed.
        OptionError: No reader takes objects of this type.
    """
    is_path = isinstance(source, (str, os.PathLike))
    if is_path:
        source = absolute_path(source)
        forget(source)  # an object is looked at anew when it is opened
        return open_with_room(source, lambda: _first(source, options, channels, series))
    return _first(source, options, channels, series)


def _first(
    source: Any, options: dict[str, dict[str, Any]], channels: Channels | None, series: int | str | None
) -> Raster:
    """Open a source, an absolute path or an object, with the first reader that supports it."""
    is_path = isinstance(source, str)
    head = first_bytes(source) if is_path and not os.path.isdir(source) else b""
    reasons: dict[str, str] = {}
    for reader in _readers:
        kind = next((kind for kind in options if reader.opener(kind) is not None), None)
        if kind is None or not reader.takes(source, head):
            continue
        try:
            return _chosen(reader, kind, source, options[kind], channels, series)
        except UnsupportedError as error:
            reasons.setdefault(str(error).removeprefix(f"{source}: "), reader.name)
    if not is_path:
        raise OptionError(
            f"a source must be a path, a numpy or zarr array, a tensor or a Raster, got {type(source).__name__}"
        )
    if os.path.isdir(source):
        fingerprint(source)  # raises
    what = "an image" if "image" in options else "a mask"
    listed = "; ".join(f"{name}: {reason}" for reason, name in reasons.items())
    cure = "convert it to a tiled TIFF"
    if is_url(source):
        cure += ", or copy it to a local disk: OpenSlide's and GDAL's formats are not read from a store"
    raise ReadError(f"{source}: no reader supports the file as {what} ({listed}); {cure}")


def _chosen(
    reader: Reader, kind: str, source: Any, options: dict[str, Any], channels: Channels | None, series: int | str | None
) -> Raster:
    """Open a source with one reader, and choose picture and channels."""
    takes = parameters_of(reader.opener(kind) or _chosen).names
    if series is not None:
        if "series" not in takes:
            called = source if isinstance(source, str) else type(source).__name__
            raise OptionError(f"{called}: series={series!r} is not supported by reader {reader.name!r}; leave it out")
        options = {**options, "series": series}
    if channels is None:
        return _opened(reader, kind, source, options)
    if "channels" in takes:
        return _opened(reader, kind, source, {**options, "channels": channels})
    return PickedChannels(_opened(reader, kind, source, options), channels)


def _opened(reader: Reader, kind: str, source: Any, options: dict[str, Any]) -> Raster:
    """Open a source with one reader, and read its header."""
    opener = reader.opener(kind)
    assert opener is not None
    try:
        raster = opener(source, **accepted(reader, opener, options))
        if not is_raster(raster):
            raise OptionError(
                f"reader {reader.name!r} must return a Raster, with name, level_dimensions, level_downsamples, mpp "
                f"and read(window), got {type(raster).__name__}"
            )
    except PatchaugError:
        raise
    except Exception as error:  # a registered function may raise anything
        called = source if isinstance(source, str) else type(source).__name__
        raise ReadError(f"{called}: reader {reader.name!r} failed ({describe(error)})") from error
    return raster
