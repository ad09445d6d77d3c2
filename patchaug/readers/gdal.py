"""JPEG 2000 and VRT through rasterio, where it is installed (extra `rasterio`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers.channels import Channels, channel_numbers, split_alpha
from patchaug.readers.file import describe
from patchaug.readers.file_handles import discard, get_or_open
from patchaug.readers.formats import FORMATS, dtype_error
from patchaug.readers.gdal_calls import SIDES, gdal, lossy_part, open_levels, place_of
from patchaug.readers.georeference import Georeference
from patchaug.readers.tiff.missing_values import has_data
from patchaug.readers.tiff.preflight import TILE_LIMIT
from patchaug.readers.tile_grid import Layout, TileGrid
from patchaug.readers.tiled import TiledRaster

if TYPE_CHECKING:
    from rasterio.io import DatasetReader


@dataclass(frozen=True)
class _Info:
    """Header of a file."""

    layout: Layout  # transparency, or GDAL's mask as 0 and full, is the last channel of a tile
    bands: tuple[int, ...]  # of GDAL, from 1
    alpha: bool  # whether a tile has that last channel
    masked: bool  # whether it is GDAL's mask, which is no band
    palette: Array | None
    nodata: Any
    names: tuple[str, ...] | None
    place: Georeference | None
    codec: str


class GdalRaster(TiledRaster):
    """JPEG 2000 or VRT, read through rasterio. Overviews are levels; nodata, masks and alpha are invalid pixels.

    A VRT is the file itself: changes of the files that it names are not noticed.

    Args:
        path: The file. It is opened at the first use in each process.
        mask: Read one integer per pixel, and refuse lossy compression.
        name: Name in errors about windows; by default the file's name.
        ram: Bytes of decoded tiles that may be kept, see `TiledRaster`.
        channels: Channels of an image to read, by number or name; None for all but transparency.

    Raises:
        ReadError: rasterio is not installed.

    Examples:
        >>> from patchaug import Window
        >>> from patchaug.readers.gdal import GdalRaster
        >>> GdalRaster("scene.jp2").read(Window(10, 20, 64, 32)).shape  # doctest: +SKIP
        (32, 64, 3)
    """

    _lazy = (*TiledRaster._lazy, "_parsed")

    def __init__(
        self, path: str | os.PathLike[str], *, mask: bool = False, name: str | None = None, ram: int = 0,
        channels: Channels | None = None,
    ) -> None:  # fmt: skip
        super().__init__(path, name=name, ram=ram)
        self.mask, self.chosen = mask, channels
        self._parsed: _Info | None = None
        try:
            import rasterio  # noqa: F401 - before any fork
        except ImportError:
            raise ReadError(
                f"{self.path}: JPEG 2000 and VRT are read through rasterio, which is not installed: pip install "
                f"'patchaug[rasterio]'; or convert it to a tiled TIFF"
            ) from None

    @property
    def _info(self) -> _Info:
        if self._parsed is None:
            with gdal.calls():
                try:
                    self._parsed = self._read_info(self._levels())
                except ReadError:
                    raise
                except Exception as error:  # GDAL and rasterio raise errors of many kinds
                    raise ReadError(
                        f"{self.path}: rasterio cannot read its header ({describe(error)}); copy or export it again"
                    ) from error
        return self._parsed

    def _levels(self) -> list[DatasetReader]:
        """Return this process's open datasets, one a level; only inside `gdal.calls`."""
        key = ("gdal", self.path, self.require_unchanged())
        levels: list[DatasetReader] = get_or_open(key, partial(open_levels, self.path))
        return levels

    def _read_info(self, levels: list[DatasetReader]) -> _Info:
        first = levels[0]
        if not first.count:
            raise ReadError(f"{self.path}: it has no bands; copy or export it again")
        dtypes = {np.dtype(name) for name in first.dtypes}
        dtype = dtypes.pop()
        if dtypes:
            raise ReadError(f"{self.path}: its bands differ in type ({', '.join(first.dtypes)}); save them as one type")
        if self.mask:
            self._require_mask(first, dtype)
        elif dtype not in FORMATS:
            raise ReadError(f"{self.path}: samples are {dtype}; {dtype_error(dtype)}")
        names = tuple(one or str(number) for number, one in enumerate(first.descriptions))
        known = names if any(first.descriptions) else None
        kinds = [kind.name for kind in first.colorinterp]
        palette = self._palette(first) if kinds[0] == "palette" and not self.mask and first.count == 1 else None
        tagged = [number for number, kind in enumerate(kinds) if kind == "alpha" and not self.mask]
        masked = not tagged and any(flag.name == "per_dataset" for flag in first.mask_flag_enums[0]) and palette is None
        numbers = tuple(number for number in range(first.count) if number not in tagged)
        if self.chosen is not None and palette is None:
            numbers, tagged = channel_numbers(self.path, first.count, known, self.chosen), []
        alpha = (bool(tagged) or masked) and not self.mask
        width = (len(numbers) if palette is None else 1) + alpha
        side = SIDES.get(first.driver, 1024)
        while side > 16 and side * side * width * dtype.itemsize > TILE_LIMIT:
            side //= 2
        grids = tuple(TileGrid(one.width, one.height, min(side, one.width), min(side, one.height)) for one in levels)
        layout = Layout(grids, dtype, (width,) if width > 1 else ())
        named = None if known is None else tuple(known[number] for number in numbers)
        bands = tuple(number + 1 for number in (*numbers, *tagged))
        masked = masked and not self.mask
        return _Info(layout, bands, alpha, masked, palette, first.nodata, named, place_of(first), self._codec(first))

    def _palette(self, dataset: DatasetReader) -> Array:
        """Return the colours of indices, uint8 (indices, channels)."""
        entries = dataset.colormap(1)
        colours = np.zeros((max(entries, default=0) + 1 if entries else 256, 3), np.uint8)
        for index, colour in entries.items():
            colours[index] = colour[:3]
        chosen = channel_numbers(self.path, 3, None, (0, 1, 2) if self.chosen is None else self.chosen)
        return np.ascontiguousarray(colours[:, chosen])

    def _require_mask(self, dataset: DatasetReader, dtype: np.dtype[Any]) -> None:
        if dataset.count != 1 or dtype.kind not in "buif":
            raise ReadError(
                f"{self.path}: {dataset.count} bands of {dtype}, a mask has one of integers; save class numbers"
            )
        lossy = lossy_part(dataset)
        if lossy:
            raise ReadError(f"{self.path}: {lossy} may alter class numbers; save the mask with deflate or LZW")

    def _codec(self, dataset: DatasetReader) -> str:
        if dataset.driver == "VRT":
            return "VRT"
        return "JPEG2000" if lossy_part(dataset) else "JPEG2000 lossless"

    def read_layout(self) -> Layout:
        """Return the tiles in which the file is read."""
        return self._info.layout

    def decode_tile(self, level: int, number: int, window: Window) -> Array:
        """Read one tile."""
        import rasterio.windows

        info, grid = self._info, self.layout.grids[level]
        x, y = number % grid.across * grid.tile_width, number // grid.across * grid.tile_height
        size = min(grid.tile_width, grid.width - x), min(grid.tile_height, grid.height - y)
        part = rasterio.windows.Window(x, y, *size)
        with gdal.calls():
            try:
                dataset = self._levels()[level]
                pixels = dataset.read(list(info.bands), window=part)
                mask = dataset.dataset_mask(window=part) if info.masked else None
            except Exception as error:
                if self._fingerprint is not None:
                    discard(("gdal", self.path, self._fingerprint))  # opened again at the next read
                raise self.tile_error(level, number, window, error) from error
        if mask is not None:
            full = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
            pixels = np.concatenate([pixels, np.where(mask, full, 0).astype(pixels.dtype)[None]])
        tile = np.ascontiguousarray(pixels.transpose(1, 2, 0)) if len(pixels) > 1 else pixels[0]
        return np.asarray(tile, info.layout.dtype)

    def read(self, window: Window) -> Array:
        """Read a window; see `TiledRaster`. Transparent pixels of 8 bits are white."""
        return self.read_valid(window)[0]

    def read_valid(self, window: Window) -> tuple[Array, Array | None]:
        """Read a window, and whether each of its pixels is valid, bool (height, width); None where all are."""
        stored, info = super().read(window), self._info
        valid: Array | None = None
        if info.masked:
            stored, valid = stored[..., :-1], stored[..., -1] > 0
            stored = np.ascontiguousarray(stored if stored.shape[2] > 1 else stored[..., 0])
        elif info.alpha:
            place = f", level {window.level}, window x={window.x} y={window.y}"
            stored, valid = split_alpha(self.path, stored, strict=True, place=place)
        elif info.nodata is not None and not self.mask:
            valid = has_data(stored, info.nodata)
        if valid is not None and valid.all():
            valid = None
        if info.palette is None:
            return stored, valid
        colours = info.palette[np.minimum(stored, len(info.palette) - 1)]
        return colours if colours.shape[2] > 1 else colours[..., 0], valid

    def _cache_key(self) -> tuple[object, ...]:
        return self.mask, repr(self.chosen)

    @property
    def complete(self) -> bool:
        """Whether every pixel is known to be valid."""
        return self.mask or (not self._info.alpha and self._info.nodata is None)

    @property
    def channels(self) -> int:
        """Number of channels that are read."""
        info = self._info
        return len(info.bands) - (info.alpha and not info.masked) if info.palette is None else info.palette.shape[1]

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """Names of the channels that are read; None where the file does not name them."""
        return self._info.names

    @property
    def georeference(self) -> Georeference | None:
        """Place on the map; None if the file does not store it."""
        return self._info.place

    @property
    def codec(self) -> str:
        """Compression of the file."""
        return self._info.codec

    @property
    def mpp(self) -> tuple[float, float] | None:
        """None: neither format stores micrometres per pixel."""
        return None
