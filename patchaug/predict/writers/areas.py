"""CSV of areas: for each class its pixels, its area and its share of what was predicted."""

from __future__ import annotations

import csv

import numpy as np

from patchaug.core.arrays import Array
from patchaug.predict.writers.base import BandWriter


class AreasWriter(BandWriter):
    """Writes the area of each class.

    Columns: slide, class, area_px (pixels of the map), area_um2 (empty where the slide states no resolution), share (of
    all pixels but those that were not predicted).

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> with AreasWriter("areas.csv", MapFrame("liver", 4, 1, ("a", "b"), mpp=(0.5, 0.5))) as writer:
        ...     writer.write(0, np.array([[0, 0, 0, 1]], np.uint8))
        >>> print(Path("areas.csv").read_text().strip())
        slide,class,area_px,area_um2,share
        liver,a,3,0.75,0.75
        liver,b,1,0.25,0.25
    """

    content = "table of areas"

    def begin(self) -> None:
        """Start with no pixels."""
        self._counts = np.zeros(65536, np.int64)

    def write_band(self, top: int, classes: Array, probabilities: Array | None) -> None:
        """Count the pixels of each class."""
        for start in range(0, len(classes), rows := max(1, 2**20 // classes.shape[1])):
            self._counts += np.bincount(classes[start : start + rows].ravel(), minlength=65536)

    def finish(self) -> None:
        """Write the table."""
        frame = self.frame
        counts = self._counts[: len(frame.codes)].tolist()
        if self.ignore is not None and self.ignore < len(counts):
            counts[self.ignore] = 0
        whole = sum(counts)
        with self.temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["slide", "class", "area_px", "area_um2", "share"])
            for name, count in zip(frame.codes, counts, strict=True):
                area = "" if frame.mpp is None else f"{count * frame.mpp[0] * frame.mpp[1]:.10g}"
                table.writerow([frame.slide, name, count, area, f"{count / whole if whole else 0.0:.6g}"])
