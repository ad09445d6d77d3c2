"""Read windows of zarr 2, zarr 3 and OME-Zarr from the chunks of a folder or a zip file.

zarr itself is not asked to read: its reader works through an event loop and threads, which a forked worker does not
have; in one measurement 13 of 300 forks beside a reading thread hung or failed. Here nothing is kept open but handles
that a fork leaves behind, and each chunk is unpacked in the thread that wants it.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import OptionError, ReadError
from patchaug.readers.channels import Channels, channel_numbers
from patchaug.readers.file import Fingerprint, require_equal
from patchaug.readers.formats import FORMATS, dtype_error
from patchaug.readers.identity import Identity, identify_below, identify_file, identify_folder
from patchaug.readers.remote.listing import can_list
from patchaug.readers.remote.source import Range
from patchaug.readers.tiff.preflight import TILE_LIMIT
from patchaug.readers.tile_grid import Layout, TileGrid
from patchaug.readers.tiled import TiledRaster
from patchaug.readers.zarr.chunks import Chunks, count_missing
from patchaug.readers.zarr.multiscales import Multiscale, Plane, find_multiscale
from patchaug.readers.zarr.remote_store import RemoteStore
from patchaug.readers.zarr.store import ChunkStore, FolderStore, ZipStore, wait_until_files_are_later
from patchaug.readers.zarr.tile_chunks import assemble_tile, places_of

# Stores of zarr on the disk, and their attributes that say where: of zarr 3 the first two, of zarr 2 the rest.
_PLACES = {"LocalStore": "root", "ZipStore": "path", "DirectoryStore": "path", "NestedDirectoryStore": "path"}


@names_arguments_of_init
class ZarrRaster(TiledRaster):
    """Zarr array, or the levels of an OME-Zarr image, read chunk by chunk.

    Args:
        path: The folder, or a zip file. Its metadata are read at the first use.
        inside: Key of the array or group in it.
        mask: Read one integer a pixel, exactly as stored.
        name: Name in errors about windows; by default the path from the part that ends in ".zarr".
        ram: Bytes of decoded chunks that may be kept, see `TiledRaster`.
        channels: Channels of an image to read, by number or by the labels of OME-Zarr; None for all.

    Images have one of the types of `patchaug.readers.formats`: (height, width) for one channel, else (height, width,
    channels). Masks keep their integer dtype; bool becomes uint8 0 and 1. A plain array has its channels last, far
    fewer of them than rows and columns, unless the names of its axes say otherwise. Chunks that are not stored hold
    the array's fill value, as zarr has it: of an image a warning says how many, and an image without any chunk is an
    error.

    Examples:
        >>> import json
        >>> from patchaug import Window
        >>> from patchaug.readers import ZarrRaster
        >>> metadata = {"zarr_format": 2, "shape": [4, 6], "chunks": [4, 6], "dtype": "|u1", "order": "C"}
        >>> metadata |= {"compressor": None, "filters": None, "fill_value": 0}
        >>> Path("a.zarr").mkdir()
        >>> _ = Path("a.zarr", ".zarray").write_text(json.dumps(metadata))
        >>> _ = Path("a.zarr", "0.0").write_bytes(bytes(range(24)))
        >>> ZarrRaster("a.zarr").read(Window(1, 2, 2, 1)).tolist()
        [[13, 14]]
    """

    _lazy = (*TiledRaster._lazy, "_parsed")

    def __init__(
        self, path: str | os.PathLike[str], *, inside: str = "", mask: bool = False, name: str | None = None,
        ram: int = 0, channels: Channels | None = None,
    ) -> None:  # fmt: skip
        super().__init__(path, name=name, ram=ram)
        if name is None:  # "a.zarr/0" rather than "0"
            parts = Path(self.path).parts
            first = next((n for n, part in enumerate(parts) if part.lower().endswith(".zarr")), len(parts) - 1)
            self.name = "/".join([*parts[first:], *([inside] if inside else [])])
        self.inside, self.mask, self.chosen = inside, mask, channels
        self._parsed: tuple[ChunkStore, Multiscale, Layout] | None = None
        self._numbers: tuple[int, ...] | None = None  # of the channels that are read; None for all
        self._keys: tuple[str, ...] = ()
        self._counted = mask
        self._opened: int | None = None  # when the first process read the metadata

    @property
    def _header(self) -> tuple[ChunkStore, Multiscale, Layout]:
        """Store, levels and layout, from the metadata."""
        if self._parsed is None:  # two threads may both parse them: the same result, and no lock for a fork to inherit
            if self._opened is None:
                self._opened = time.time_ns()
            store = self._open_store(self._opened)
            try:
                picture = find_multiscale(store, self.inside)
                number = picture.levels[0].channels
                if self.chosen is not None:
                    self._numbers = channel_numbers(self.path, number, picture.names, self.chosen)
                    number = len(self._numbers)
                layout = _layout_of(picture.levels, number, mask=self.mask)
            except ReadError as error:
                if self.path in str(error):
                    raise
                raise ReadError(f"{self.path}: {error}") from None
            now = store.fingerprint(picture.keys)
            self._keys, self._fingerprint = picture.keys, self._fingerprint or now
            require_equal(self.path, self._fingerprint, now)
            if not self._counted:
                self._report_missing(store, picture)
                self._counted = True  # also in the workers: one process tells it
            wait_until_files_are_later(self._opened)
            self._parsed = store, picture, layout
        return self._parsed

    def _open_store(self, opened: int) -> ChunkStore:
        if self.remote:
            return ZipStore(self.path) if self.path.lower().endswith(".zip") else RemoteStore(self.path)
        return FolderStore(self.path, opened) if os.path.isdir(self.path) else ZipStore(self.path)

    def _current_fingerprint(self) -> Fingerprint:
        return self._header[0].fingerprint(self._keys)

    def read_layout(self) -> Layout:
        """Return how the levels are cut into chunks."""
        return self._header[2]

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0 as (x, y); None if the metadata lack it."""
        return self._header[1].mpp

    @property
    def codec(self) -> str:
        """Compression of the chunks: "zstd", "blosc", "imagecodecs_jpeg", "raw", ..."""
        return self._header[1].levels[0].array.codec

    def _key_of_metadata(self, level: int) -> str:
        start = self._header[1].levels[level].array.key
        return next(key for key in self._keys if key.rpartition("/")[0] == start and not key.endswith(".zattrs"))

    def require_not_rewritten(self) -> None:
        """Check that the zip file has not been rewritten in place.

        Chunks of a folder are checked when they are decoded; those that are cached are still those of the first use.
        """
        if self._parsed is not None and isinstance(self._parsed[0], ZipStore):
            super().require_not_rewritten()

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Labels of the channels that are read; None where the metadata lack them."""
        names = self._header[1].names
        return names if names is None or self._numbers is None else tuple(names[number] for number in self._numbers)

    def identity(self) -> Identity | None:
        """Return what identifies the pixels: files and options; None below a URL that cannot be listed."""
        if isinstance(self._header[0], RemoteStore):
            files = identify_below(self.path)
        else:
            files = identify_folder(self.path) if os.path.isdir(self.path) else identify_file(self.path)
        return None if files is None else ("zarr", files, self._cache_key(), repr(self.layout))

    def _cache_key(self) -> tuple[object, ...]:
        return (self.inside, self.mask, self._numbers)

    def missing_tiles(self) -> tuple[int, int]:
        """Count the chunks (or shards) that are not stored, and all of them; lists all keys."""
        store, picture, _ = self._header
        if isinstance(store, RemoteStore) and not can_list(self.path):  # known when it is read
            return 0, self.layout.firsts[-1]
        return count_missing(store, picture.levels)

    def _report_missing(self, store: ChunkStore, picture: Multiscale) -> None:
        if self.remote and isinstance(store, RemoteStore) and not can_list(self.path):
            return
        missing, number = count_missing(store, picture.levels)
        fill = picture.levels[0].array.fill
        if missing == number:
            raise ReadError(f"{self.path}: none of its {number} chunks is stored; copy it again")
        if missing:
            warnings.warn(
                f"{self.path}: {missing} of {number} chunks are not stored; they are read as the fill value {fill}, as "
                f"zarr has it. If they were lost, copy it again",
                stacklevel=2,
            )

    def stored_ranges(self, level: int, numbers: Iterable[int]) -> list[Range]:
        """Return where chunks below a URL are stored."""
        store, picture, layout = self._header
        if not isinstance(store, RemoteStore):
            return []
        plane, chunks = picture.levels[level], Chunks(store, (self.path, self._fingerprint))
        across = layout.grids[level].across
        places = [place for number in numbers for place in places_of(plane, divmod(number, across), self._numbers)]
        found = [chunks.stored_range(plane.array, place) for place in places]
        return [one for one in found if one is not None]

    def decode_tile(self, level: int, number: int, window: Window) -> Array:
        """Decode one chunk, (rows, columns[, channels])."""
        store, picture, layout = self._header
        plane, grid = picture.levels[level], layout.grids[level]
        try:
            chunks = Chunks(store, (self.path, self._fingerprint))
            tile = assemble_tile(chunks, plane, divmod(number, grid.across), layout, self._numbers)
            store.require_unchanged(self._key_of_metadata(level))
        except Exception as error:  # decoders raise errors of many libraries
            raise self.tile_error(level, number, window, error) from error
        return tile[: grid.tile_height, : grid.tile_width]


def _layout_of(levels: tuple[Plane, ...], channels: int, *, mask: bool) -> Layout:
    """Return the tile grids of the levels, checked before allocation, for a number of channels that are read."""
    first = levels[0]
    for plane in levels:
        array = plane.array
        what = f"array {array.key or '/'}"
        if mask and (plane.channels != 1 or array.dtype.kind not in "bui"):
            raise ReadError(f"{what} has {plane.channels} channels of {array.dtype}, a mask has 1 of integers")
        if not mask and array.dtype not in FORMATS:
            raise ReadError(f"{what} has {plane.channels} channels of {array.dtype}; {dtype_error(array.dtype)}")
        if (array.dtype, plane.channels) != (first.array.dtype, first.channels):
            raise ReadError("its levels differ in dtype or channels")
        width, height = array.chunks[plane.x], array.chunks[plane.y]
        if math.prod(array.chunks) > TILE_LIMIT * plane.channels:
            raise ReadError(
                f"{what} has chunks of {width} x {height} px ({array.chunks}), above the limit of "
                f"{TILE_LIMIT >> 20} Mpx; save it with chunks of 512 px"
            )
    dtype = np.dtype(np.uint8) if first.array.dtype == bool else first.array.dtype
    grids = tuple(
        TileGrid(
            plane.array.shape[plane.x],
            plane.array.shape[plane.y],
            min(plane.array.chunks[plane.x], plane.array.shape[plane.x]),
            min(plane.array.chunks[plane.y], plane.array.shape[plane.y]),
        )
        for plane in levels
    )
    return Layout(grids, dtype, (channels,) if channels > 1 else ())


def opened_array(
    source: Any, *, mask: bool, ram: int, name: str | None, channels: Channels | None = None
) -> ZarrRaster:
    """Return the raster of an open `zarr.Array` or `zarr.Group`, by the location of its store.

    Raises:
        OptionError: It lies in memory or on a network: no other process could open it by a path.
    """
    store = source.store
    kind = type(store).__name__
    if kind not in _PLACES:
        raise OptionError(
            f"a zarr {type(source).__name__.lower()} in a {kind} cannot be opened by other processes; save it to a "
            f"folder, or pass array[:], which is a numpy array"
        )
    inside = str(source.path).strip("/")
    return ZarrRaster(getattr(store, _PLACES[kind]), inside=inside, mask=mask, name=name, ram=ram, channels=channels)
