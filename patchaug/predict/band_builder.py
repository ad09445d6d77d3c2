"""Puts pieces of bands together to whole bands."""

from __future__ import annotations

import numpy as np

from patchaug.core.arrays import Array
from patchaug.predict.accumulate import Band, Piece
from patchaug.predict.layout import Layout


class BandBuilder:
    """Copies pieces, which come band by band, into arrays as wide as the map.

    Args:
        layout: The windows and the map.
    """

    def __init__(self, layout: Layout) -> None:
        self._width = layout.rectangle.width
        self._band: Band | None = None

    def add(self, piece: Piece) -> Band | None:
        """Add a piece; return the band that is complete with it."""
        parts = piece.classes, piece.probabilities, piece.spread
        if self._band is None:
            whole = [None if one is None else np.empty((*one.shape[:-1], self._width), one.dtype) for one in parts]
            assert whole[0] is not None
            self._band = Band(piece.top, whole[0], *whole[1:])
        band = self._band
        there = slice(piece.left, piece.left + piece.classes.shape[1])
        for target, values in zip(band[1:], parts, strict=True):
            _copy(target, values, there)
        if not piece.last:
            return None
        self._band = None
        return band


def _copy(target: Array | None, values: Array | None, columns: slice) -> None:
    if target is not None and values is not None:
        target[..., columns] = values
