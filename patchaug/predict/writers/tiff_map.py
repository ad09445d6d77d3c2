"""Tiled TIFF pyramids of maps: tiles are encoded as rows come, and put together by tifffile at the end."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.base import BandWriter, What
from patchaug.predict.writers.pyramid import Pyramid, Reduction, Surrounded
from patchaug.predict.writers.stored_values import checked_dtype, stored_probabilities
from patchaug.predict.writers.tile_spool import TileSpool

_CLASSIC = 2**32 - 2**25  # bytes of tiles above which offsets of 32 bits may not reach the end
_COMPRESSIONS = {"deflate": "zlib", "zstd": "zstd"}  # tifffile's words


class TiffMapWriter(BandWriter):
    """Writes a pyramid of tiles; a subclass says which pages and tags hold it.

    Args:
        path: The file.
        frame: Frame of the map.
        what: "classes" (levels by the nearest pixel) or "probabilities" (a plane for each class, levels by the mean).
        ignore: Number in the map that means "not predicted".
        compression: "deflate", which every reader knows, or "zstd".
        tile: Side of a tile in pixels, a multiple of 16.
        dtype: Type of stored probabilities; integers count from 0 to their largest value.

    Raises:
        OptionError: An option is out of its limits.
    """

    dtypes: tuple[str, ...] = ("uint8", "uint16", "float32")

    def __init__(
        self, path: str | Path, frame: MapFrame, *, what: What = "classes", ignore: int | None = None,
        compression: str = "deflate", tile: int = 512, dtype: str = "uint8",
    ) -> None:  # fmt: skip
        super().__init__(path, frame, what=what, ignore=ignore)
        if compression not in _COMPRESSIONS:
            raise OptionError(f'compression must be "deflate" or "zstd", got {compression!r}')
        if not 16 <= tile <= 4096 or tile % 16:
            raise OptionError(f"tile must be a multiple of 16 px, 16 to 4096, got {tile}")
        self._compression, self._tile = compression, tile
        if self.places_map():
            self.cover_map()
        else:
            self.cover_slide()
        self.stored = checked_dtype(dtype, self.dtypes) if what == "probabilities" else np.dtype(self.dtype)
        self._predictor = what == "probabilities" and self.stored.kind == "u"

    @property
    def planes(self) -> int:
        """Planes of each level."""
        return len(self.frame.codes) if self.what == "probabilities" else 1

    def places_map(self) -> bool:
        """Return whether the file states where a map that is a part of its slide lies."""
        return False

    @abstractmethod
    def write_levels(self, tiff: Any, levels: list[dict[str, Any]]) -> None:
        """Write all levels to an open `tifffile.TiffWriter`, each with these arguments of its `write`."""

    def begin(self) -> None:
        """Open a temporary file for the tiles of each level."""
        reduction: Reduction = "mean" if self.what == "probabilities" else "nearest"
        left, top, right, bottom = self.margins
        size = left + self.frame.width + right, top + self.frame.height + bottom
        pyramid = Pyramid(*size, self.planes, self.stored, self._tile, reduction, self._encode)
        self.sizes = pyramid.sizes
        self._picture = Surrounded(pyramid, self.margins, 0 if self.what == "probabilities" else self.fill or 0)
        self._spools: list[TileSpool] = []
        for level, (width, height) in enumerate(self.sizes):
            tiles = -(-width // self._tile) * -(-height // self._tile)
            self._spools.append(TileSpool(self.scratch / f"level{level}.tiles", self.planes, tiles))

    def write_band(self, top: int, classes: Array, probabilities: Array | None) -> None:
        """Take the rows of a band."""
        if self.what == "probabilities":
            assert probabilities is not None
            self._picture.feed(stored_probabilities(self.path, probabilities, self.stored))
        else:
            self._picture.feed(classes[None])

    def _encode(self, level: int, number: int, rows: Array) -> None:
        import imagecodecs

        side, width = self._tile, rows.shape[2]
        across = -(-width // side)
        for plane, pixels in enumerate(rows):
            for column in range(across):
                part = pixels[:, column * side : (column + 1) * side]
                tile = np.zeros((side, side), self.stored.newbyteorder("<"))
                tile[: part.shape[0], : part.shape[1]] = part
                if self._predictor:
                    tile[:, 1:] = np.diff(tile, axis=1)
                encode = imagecodecs.zlib_encode if self._compression == "deflate" else imagecodecs.zstd_encode
                self._spools[level].add(plane, number * across + column, bytes(encode(tile.tobytes(), level=6)))

    def finish(self) -> None:
        """Write tags and tiles."""
        import tifffile

        self._picture.finish()
        levels: list[dict[str, Any]] = []
        for (width, height), spool in zip(self.sizes, self._spools, strict=True):
            shape = (height, width) if self.planes == 1 else (self.planes, height, width)
            levels.append(
                {
                    "data": spool.tiles(), "shape": shape, "dtype": self.stored, "tile": (self._tile, self._tile),
                    "compression": _COMPRESSIONS[self._compression], "predictor": self._predictor,
                    "photometric": "minisblack", "metadata": None, "software": "patchaug",
                }
            )  # fmt: skip
            if self.frame.mpp is not None:
                per_cm = tuple(1e4 / value / (self.sizes[0][0] / width) for value in self.frame.mpp)
                levels[-1].update(resolution=per_cm, resolutionunit="CENTIMETER")
        big = sum(spool.size for spool in self._spools) > _CLASSIC
        with closing(tifffile.TiffWriter(self.temporary, bigtiff=big, byteorder="<")) as tiff:
            self.write_levels(tiff, levels)

    def close(self) -> None:
        """Close the temporary files."""
        for spool in getattr(self, "_spools", []):
            spool.close()
