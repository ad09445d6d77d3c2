"""OME-Zarr 0.4: a folder of chunks with the metadata of NGFF, classes as a label image, probabilities as channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.palette import class_colour, hexadecimal
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.base import What
from patchaug.predict.writers.pyramid_writer import PyramidWriter

_VERSION = "0.4"
_GREY = (153, 153, 153)


class OmeZarrWriter(PyramidWriter):
    """Writes an OME-Zarr image (NGFF 0.4, zarr 2); see `PyramidWriter`.

    A class map is a label image of (y, x): "image-label" names and colours each class. Probabilities are an image of
    (c, y, x), whose channels have the names and colours of the classes.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> frame = MapFrame.of_level(slide, ("background", "nucleus"))
        >>> with OmeZarrWriter("map.zarr", frame) as writer:
        ...     writer.write(0, np.zeros((frame.height, frame.width), np.uint8))
        >>> open_slide(image, "map.zarr").mask.level_dimensions == slide.level_dimensions[:1]
        True
    """

    content = "OME-Zarr"
    dtypes = ("uint8", "uint16", "float16", "float32")

    def __init__(
        self, path: str | Path, frame: MapFrame, *, what: What = "classes", ignore: int | None = None,
        compression: str = "deflate", tile: int = 1024, dtype: str = "uint8",
    ) -> None:  # fmt: skip
        super().__init__(path, frame, what=what, ignore=ignore, compression=compression, tile=tile, dtype=dtype)
        self._channels = ("c",) if what == "probabilities" else ()

    def open_levels(self) -> None:
        """Make the folders of the levels, with their metadata."""
        self.temporary.mkdir()
        for level, (width, height) in enumerate(self.sizes):
            planes, chunk = ([self.planes], [1]) if self._channels else ([], [])
            array = {
                "chunks": [*chunk, self.tile, self.tile],
                "compressor": {"id": "zlib" if self.compression == "deflate" else "zstd", "level": self.level},
                "dimension_separator": "/",
                "dtype": self.stored.newbyteorder("<").str,
                "fill_value": 0,
                "filters": None,
                "order": "C",
                "shape": [*planes, height, width],
                "zarr_format": 2,
            }
            self._write_json(f"{level}/.zarray", array)
        self._write_json(".zgroup", {"zarr_format": 2})
        self._write_json(".zattrs", self._attributes())

    def add_tile(self, level: int, plane: int, row: int, column: int, tile: bytes) -> None:
        """Write a chunk."""
        place = Path(self.temporary, str(level), *([str(plane)] if self._channels else []), str(row))
        if column == 0:
            place.mkdir(parents=True, exist_ok=True)
        (place / str(column)).write_bytes(tile)

    def write_levels(self) -> None:
        """Do nothing: chunks and metadata are whole."""

    def _write_json(self, key: str, value: Any) -> None:
        file = self.temporary / key
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")

    def _attributes(self) -> dict[str, Any]:
        spaces: list[dict[str, str]] = [{"name": axis, "type": "space"} for axis in "yx"]
        step = self.frame.mpp or (1.0, 1.0)
        if self.frame.mpp is not None:
            spaces = [{**axis, "unit": "micrometer"} for axis in spaces]
        axes = [*({"name": axis, "type": "channel"} for axis in self._channels), *spaces]
        more = [1.0] if self._channels else []
        none = [0.0] if self._channels else []
        datasets = []
        for level in range(len(self.sizes)):
            factor = 2**level
            scale = [*more, step[1] * factor, step[0] * factor]
            shift = [*none, step[1] * (factor - 1) / 2, step[0] * (factor - 1) / 2]  # centres of the first pixels
            transforms = [{"type": "scale", "scale": scale}]
            transforms += [{"type": "translation", "translation": shift}] if level else []
            datasets.append({"path": str(level), "coordinateTransformations": transforms})
        kind = "mean" if self._channels else "nearest"
        image = {"version": _VERSION, "name": self.frame.slide, "axes": axes, "datasets": datasets, "type": kind}
        return {"multiscales": [image], **(self._omero() if self._channels else self._labels())}

    def _labels(self) -> dict[str, Any]:
        named = [(n, name, class_colour(n, None) if n else (0, 0, 0)) for n, name in enumerate(self.frame.codes)]
        if self.fill is not None:
            named = [one for one in named if one[0] != self.fill] + [(self.fill, "not predicted", _GREY)]
        colours = [{"label-value": n, "rgba": [*colour, 255 if n else 0]} for n, _, colour in named]
        classes = [{"label-value": n, "class": name} for n, name, _ in named]
        return {"image-label": {"version": _VERSION, "colors": colours, "properties": classes}}

    def _omero(self) -> dict[str, Any]:
        top = float(np.iinfo(self.stored).max) if self.stored.kind == "u" else 1.0
        window = {"min": 0.0, "max": top, "start": 0.0, "end": top}
        channels = [
            {"label": name, "color": hexadecimal(class_colour(n, None) if n else _GREY)[1:].upper(), "active": True,
             "window": window} for n, name in enumerate(self.frame.codes)
        ]  # fmt: skip
        return {"omero": {"version": _VERSION, "name": self.frame.slide, "channels": channels}}
