"""Calls of GDAL through rasterio: one at a time, so that a fork finds none of them unfinished."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from patchaug.errors import ReadError
from patchaug.readers.georeference import Georeference

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

JP2 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")  # a file with boxes, and a bare codestream
VRT = b"<VRTDataset"
DRIVERS = ("JP2OpenJPEG", "JP2ECW", "JP2KAK", "JP2MrSID", "VRT")
SIDES = {"VRT": 512}  # of the tiles that are read; JPEG 2000 has blocks of 1024 px in GDAL
_LOSSY = ("JPEG", "WEBP", "LERC", "JXL", "JPEG2000")  # as GDAL names them
# One thread, since a forked child has no other; and no Python from files.
_OPTIONS = {"GDAL_NUM_THREADS": 1, "GDAL_CACHEMAX": 64 << 20, "GDAL_VRT_ENABLE_PYTHON": "NO"}


class _Lock:
    """Lock around every call of GDAL: its datasets are not for several threads, and no fork may come in between."""

    def __init__(self) -> None:
        self.held = threading.RLock()
        if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
            os.register_at_fork(
                before=lambda: self.held.acquire(), after_in_parent=lambda: self.held.release(),
                after_in_child=self._renew,
            )  # fmt: skip

    def _renew(self) -> None:
        self.held = threading.RLock()

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Call GDAL inside, with the options of this reader."""
        import rasterio

        with self.held, rasterio.Env(**_OPTIONS):
            yield


gdal = _Lock()


def is_gdal(head: bytes) -> bool:
    """Return whether a file that begins with `head` is JPEG 2000 or VRT."""
    return head.startswith(JP2) or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(VRT)


def open_levels(path: str) -> list[DatasetReader]:
    """Open a file and its overviews, finest first; only inside `gdal.calls`.

    Raises:
        ReadError: It is neither JPEG 2000 nor VRT.
    """
    import rasterio

    first = rasterio.open(path)
    if first.driver not in DRIVERS:
        raise ReadError(f"{path}: GDAL reads it as {first.driver}, not as JPEG 2000 or VRT")
    number = len(first.overviews(1))
    return [first, *(rasterio.open(path, overview_level=level) for level in range(number))]


def lossy_part(dataset: DatasetReader) -> str:
    """Return what alters values: the compression of the file, or of a source of a VRT; "" for nothing."""
    import rasterio

    if dataset.driver != "VRT":
        kind = dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION_REVERSIBILITY", "")
        return "" if kind.startswith("LOSSLESS") else "lossy JPEG 2000"
    for source in dataset.files[1:]:
        try:
            with rasterio.open(source) as one:
                kinds = one.tags(ns="IMAGE_STRUCTURE")
        except rasterio.errors.RasterioIOError:
            continue  # a file beside it, such as one of overviews
        kind = str(kinds.get("COMPRESSION", ""))
        lossless = kinds.get("COMPRESSION_REVERSIBILITY", "LOSSY").startswith("LOSSLESS")
        if any(word in kind.upper() for word in _LOSSY) and not lossless:
            return f"compression {kind} of {os.path.basename(source)}"
    return ""


def place_of(dataset: DatasetReader) -> Georeference | None:
    """Return the place on the map; None where the file does not store it."""
    a, b, c, d, e, f = tuple(dataset.transform)[:6]
    if (a, b, c, d, e, f) == (1, 0, 0, 0, 1, 0) or a * e - b * d == 0:
        return None
    crs = dataset.crs
    code = crs.to_epsg() if crs else None
    return Georeference((a, b, c, d, e, f), f"EPSG:{code}" if code else (crs.to_wkt() if crs else None))
