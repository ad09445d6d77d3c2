"""OME-TIFF: a page for the classes, or one for each class's probability; levels are its SubIFDs."""

from __future__ import annotations

from typing import Any

from patchaug.predict.writers.ome_xml import ome_xml
from patchaug.predict.writers.tiff_map import TiffMapWriter


class OmeTiffWriter(TiffMapWriter):
    """Writes a pyramidal tiled OME-TIFF, which QuPath and Bio-Formats open; see `TiffMapWriter`.

    The name of each class stands beside its number in a MapAnnotation; probabilities have the classes as channels.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> frame = MapFrame.of_level(slide, ("background", "nucleus"))
        >>> with OmeTiffWriter("map.ome.tif", frame) as writer:
        ...     writer.write(0, np.zeros((frame.height, frame.width), np.uint8))
        >>> open_slide(image, "map.ome.tif").mask.level_dimensions == slide.level_dimensions[:1]
        True
    """

    def write_pages(self, tiff: Any, levels: list[dict[str, Any]]) -> None:
        """Write the first level with the others below it."""
        codes = self.frame.codes
        if self.what == "probabilities":
            channels = codes
            notes = [("content", "probabilities"), ("scale", self._scale())]
        else:
            channels = ("classes",)
            notes = [(str(number), name) for number, name in enumerate(codes)]
            notes += [] if self.fill is None else [(str(self.fill), "not predicted")]
        kind = {"float32": "float"}.get(self.stored.name, self.stored.name)
        first, *others = levels
        tiff.write(**first, subifds=len(others), description=ome_xml(self.frame, self.sizes[0], channels, kind, notes))
        for level in others:
            tiff.write(**level, subfiletype=1)

    def _scale(self) -> str:
        return "1" if self.stored.kind == "f" else f"1/{2 ** (8 * self.stored.itemsize) - 1}"
