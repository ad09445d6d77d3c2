"""Tiled TIFF pyramids of maps: encoded tiles wait in temporary files, and tifffile puts them together at the end."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import closing
from typing import Any

from patchaug.predict.writers.pyramid_writer import PyramidWriter
from patchaug.predict.writers.tile_spool import TileSpool

_CLASSIC = 2**32 - 2**25  # bytes of tiles above which offsets of 32 bits may not reach the end
_COMPRESSIONS = {"deflate": "zlib", "zstd": "zstd"}  # tifffile's words


class TiffMapWriter(PyramidWriter):
    """Writes a pyramid of tiles; a subclass says which pages and tags hold it. See `PyramidWriter`."""

    @property
    def predictor(self) -> bool:
        """Whether the differences of neighbouring columns are stored; they make smooth planes smaller."""
        return self.what == "probabilities" and self.stored.kind == "u"

    @abstractmethod
    def write_pages(self, tiff: Any, levels: list[dict[str, Any]]) -> None:
        """Write all levels to an open `tifffile.TiffWriter`, each with these arguments of its `write`."""

    def open_levels(self) -> None:
        """Open a temporary file for the tiles of each level."""
        self._spools: list[TileSpool] = []
        for level, (width, height) in enumerate(self.sizes):
            tiles = -(-width // self.tile) * -(-height // self.tile)
            self._spools.append(TileSpool(self.scratch / f"level{level}.tiles", self.planes, tiles))

    def add_tile(self, level: int, plane: int, row: int, column: int, tile: bytes) -> None:
        """Append a tile to the temporary file of its level."""
        across = -(-self.sizes[level][0] // self.tile)
        self._spools[level].add(plane, row * across + column, tile)

    def write_levels(self) -> None:
        """Write tags and tiles."""
        import tifffile

        levels: list[dict[str, Any]] = []
        for (width, height), spool in zip(self.sizes, self._spools, strict=True):
            shape = (height, width) if self.planes == 1 else (self.planes, height, width)
            levels.append(
                {
                    "data": spool.tiles(), "shape": shape, "dtype": self.stored, "tile": (self.tile, self.tile),
                    "compression": _COMPRESSIONS[self.compression], "predictor": self.predictor,
                    "photometric": "minisblack", "metadata": None, "software": "patchaug",
                }
            )  # fmt: skip
            if self.frame.mpp is not None:
                per_cm = tuple(1e4 / value / (self.sizes[0][0] / width) for value in self.frame.mpp)
                levels[-1].update(resolution=per_cm, resolutionunit="CENTIMETER")
        big = sum(spool.size for spool in self._spools) > _CLASSIC
        with closing(tifffile.TiffWriter(self.temporary, bigtiff=big, byteorder="<")) as tiff:
            self.write_pages(tiff, levels)

    def close(self) -> None:
        """Close the temporary files."""
        super().close()
        for spool in getattr(self, "_spools", []):
            spool.close()
