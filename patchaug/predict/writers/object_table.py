"""CSV of objects: for each its class, area, centre and mean probability."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from patchaug.core.arrays import Array
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.base import BandWriter, What, checked_background
from patchaug.predict.writers.objects import Objects, ObjectStream
from patchaug.predict.writers.stored_values import stored_probabilities

_ONE = 65535  # a probability of 1, as it is summed: whole numbers have the same sum in any order
_COLUMNS = ("slide", "object", "class", "area_px", "area_um2", "centroid_x", "centroid_y", "mean_probability")


class ObjectTableWriter(BandWriter):
    """Writes a row for each 4-connected component of one class, in the order of the features of GeoJSON.

    Columns: slide; object (its number, from 1); class; area_px (pixels of the map); area_um2 (empty where the slide
    states no resolution); centroid_x and centroid_y (pixels of level 0, the corner of the first pixel is 0);
    mean_probability of its class (empty where only classes are predicted).

    Args:
        path: The file.
        frame: Frame of the map.
        what: "classes".
        ignore: Number in the map that means "not predicted".
        background: Class that has no objects, by number or name; None for objects of all classes.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> with ObjectTableWriter("objects.csv", MapFrame("liver", 4, 1, ("a", "b"), mpp=(0.5, 0.5))) as writer:
        ...     writer.write(0, np.array([[1, 1, 0, 1]], np.uint8))
        >>> print(Path("objects.csv").read_text().strip())
        slide,object,class,area_px,area_um2,centroid_x,centroid_y,mean_probability
        liver,1,b,2,0.5,1.00,0.50,
        liver,2,b,1,0.25,3.50,0.50,
    """

    content = "table of objects"

    def __init__(
        self, path: str | Path, frame: MapFrame, *, what: What = "classes", ignore: int | None = None,
        background: int | str | None = 0,
    ) -> None:  # fmt: skip
        super().__init__(path, frame, what=what, ignore=ignore)
        self._left_out = checked_background(frame, background) | (set() if ignore is None else {ignore})

    def begin(self) -> None:
        """Open the table."""
        self._stream = ObjectStream(self.frame.width, self._left_out, len(self.frame.codes), outlines=False)
        self._file = self.temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._table = csv.writer(self._file, lineterminator="\n")
        self._table.writerow(_COLUMNS)
        self._number = 0
        self._has_weights = True

    def write_band(self, top: int, classes: Array, probabilities: Array | None) -> None:
        """Write the objects that the band completes."""
        if probabilities is None:
            self._has_weights = False
            self._add(self._stream.feed(classes))
            return
        step = max(1, 2**21 // classes.shape[1])
        for first in range(0, len(classes), step):
            rows = slice(first, first + step)
            chosen = probabilities[0, rows].copy()
            for number in range(1, len(probabilities)):
                np.copyto(chosen, probabilities[number, rows], where=classes[rows] == number)
            self._add(self._stream.feed(classes[rows], stored_probabilities(self.path, chosen, np.dtype(np.uint16))))

    def finish(self) -> None:
        """Write the objects that reach the last row."""
        self._add(self._stream.finish())
        self._file.close()

    def close(self) -> None:
        """Close the table."""
        if hasattr(self, "_file"):
            self._file.close()

    def _add(self, batches: Iterable[Objects]) -> None:
        frame = self.frame
        for classes, sums, _ in batches:
            x = frame.l0_x + (sums.x / sums.area + 0.5) * frame.l0_per_pixel[0]
            y = frame.l0_y + (sums.y / sums.area + 0.5) * frame.l0_per_pixel[1]
            mean = sums.weight / (sums.area * _ONE)
            columns = (classes, sums.area, x, y, mean)
            for number, area, centre_x, centre_y, probability in zip(*(c.tolist() for c in columns), strict=True):
                self._number += 1
                um2 = "" if frame.mpp is None else f"{area * frame.mpp[0] * frame.mpp[1]:.10g}"
                self._table.writerow(
                    (frame.slide, self._number, frame.codes[number], area, um2, f"{centre_x:.2f}", f"{centre_y:.2f}",
                     f"{probability:.4f}" if self._has_weights else "")
                )  # fmt: skip
