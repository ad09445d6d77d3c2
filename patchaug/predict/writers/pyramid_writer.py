"""`PyramidWriter`: rows of a map become the encoded tiles of all levels; formats differ in where the tiles go."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.base import BandWriter, What
from patchaug.predict.writers.pyramid import Pyramid, Reduction, Surrounded
from patchaug.predict.writers.stored_values import checked_dtype, stored_probabilities

_ROWS = 64  # of probabilities that are converted together


class PyramidWriter(BandWriter):
    """Writes a pyramid of compressed tiles.

    Args:
        path: The file or folder.
        frame: Frame of the map.
        what: "classes" (levels by the nearest pixel) or "probabilities" (a plane for each class, levels by the mean).
        ignore: Number in the map that means "not predicted".
        compression: "deflate", which every reader knows, or "zstd".
        tile: Side of a tile in pixels, a multiple of 16.
        dtype: Type of stored probabilities; integers count from 0 to their largest value.

    Attributes:
        sizes: (width, height) of each level.
        stored: Type of the pixels.

    Raises:
        OptionError: An option is out of its limits.
    """

    dtypes: tuple[str, ...] = ("uint8", "uint16", "float32")

    def __init__(
        self, path: str | Path, frame: MapFrame, *, what: What = "classes", ignore: int | None = None,
        compression: str = "deflate", tile: int = 512, dtype: str = "uint8",
    ) -> None:  # fmt: skip
        super().__init__(path, frame, what=what, ignore=ignore)
        if compression not in ("deflate", "zstd"):
            raise OptionError(f'compression must be "deflate" or "zstd", got {compression!r}')
        if not isinstance(tile, int) or not 16 <= tile <= 4096 or tile % 16:
            raise OptionError(f"tile must be a multiple of 16 px, 16 to 4096, got {tile}")
        self.compression, self.tile = compression, tile
        if self.places_map():
            self.cover_map()
        else:
            self.cover_slide()
        self.stored: np.dtype[Any] = checked_dtype(dtype, self.dtypes) if what == "probabilities" else self.dtype
        self._constant: dict[Any, bytes] = {}  # encoded tiles of one value

    @property
    def planes(self) -> int:
        """Planes of each level."""
        return len(self.frame.codes) if self.what == "probabilities" else 1

    @property
    def predictor(self) -> bool:
        """Whether the differences of neighbouring columns are stored."""
        return False

    @property
    def level(self) -> int:
        """Level of the compression: a higher one makes class maps smaller, but not probabilities."""
        return 1 if self.what == "probabilities" else 6

    def places_map(self) -> bool:
        """Return whether the file states where a map that is a part of its slide lies."""
        return False

    @abstractmethod
    def open_levels(self) -> None:
        """Open what tiles are written to; `self.sizes` are known."""

    @abstractmethod
    def add_tile(self, level: int, plane: int, row: int, column: int, tile: bytes) -> None:
        """Write an encoded tile."""

    @abstractmethod
    def write_levels(self) -> None:
        """Complete the file, behind its last tile."""

    def begin(self) -> None:
        """Open the levels."""
        reduction: Reduction = "mean" if self.what == "probabilities" else "nearest"
        left, top, right, bottom = self.margins
        size = left + self.frame.width + right, top + self.frame.height + bottom
        self._pyramid = Pyramid(*size, self.planes, self.stored, self.tile, reduction, self._encode, self.scratch)
        self.sizes = self._pyramid.sizes
        self._picture = Surrounded(self._pyramid, self.margins, 0 if self.what == "probabilities" else self.fill or 0)
        self.open_levels()

    def write_band(self, top: int, classes: Array, probabilities: Array | None) -> None:
        """Take the rows of a band."""
        if self.what == "probabilities":
            assert probabilities is not None
            for first in range(0, len(classes), _ROWS):
                rows = probabilities[:, first : first + _ROWS]
                self._picture.feed(stored_probabilities(self.path, rows, self.stored))
        else:
            self._picture.feed(classes[None])

    def finish(self) -> None:
        """Add what lies below the map, and complete the file."""
        self._picture.finish()
        self.write_levels()

    def close(self) -> None:
        """Close the temporary files."""
        if hasattr(self, "_pyramid"):
            self._pyramid.close()

    def _encode(self, level: int, row: int, left: int, rows: Array) -> None:
        """Encode tiles of a row, from a column on; those at the border are filled up with 0."""
        side = self.tile
        for plane, pixels in enumerate(rows):
            for column in range(-(-rows.shape[2] // side)):
                part = pixels[:, column * side : (column + 1) * side]
                self.add_tile(level, plane, row, left // side + column, self._encoded(part))

    def _encoded(self, part: Array) -> bytes:
        value = part[0, 0].item()
        constant = (part.shape == (self.tile, self.tile) or value == 0) and bool((part == value).all())
        if constant and value in self._constant:
            return self._constant[value]
        import imagecodecs

        tile = np.zeros((self.tile, self.tile), self.stored.newbyteorder("<"))
        tile[: part.shape[0], : part.shape[1]] = part
        if self.predictor:
            tile[:, 1:] = np.diff(tile, axis=1)
        # libdeflate is two to three times as fast as zlib, at the same size
        encode = imagecodecs.deflate_encode if self.compression == "deflate" else imagecodecs.zstd_encode
        found = bytes(encode(tile.tobytes(), level=self.level))
        if constant and len(self._constant) < 1024:
            self._constant[value] = found
        return found
