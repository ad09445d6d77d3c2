"""Kinds of image that are refused: one error each, and what it offers works when it is followed to the letter."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchaug import PatchaugError, Slide, Window, open_slide
from tests.readers import test_image_kinds, test_kinds_by_reference
from tests.readers.test_kinds_by_reference import HEIGHT, WIDTH, pillow, smooth, tiff
from tests.slides import test_mask_kinds

Write = Callable[[Path], None]
Cure = Callable[[Path, str], Slide]
GREY = smooth(1)[..., 0]


def converted(path: Path, text: str) -> Slide:
    """Follow "convert it by pixels.astype(...)"."""
    cure = re.search(r"by (pixels\.astype\(numpy\.\w+\)(?: \* 255)?)", text)[1]
    return open_slide(eval(cure, {"pixels": tifffile.imread(path), "numpy": np}), name="converted")


def with_argument(path: Path, text: str) -> Slide:
    """Follow the first "series=..." or "channels=..."."""
    name, value = re.search(r"(series|channels)=(\[.*?\]|\d+)", text).groups()
    return open_slide(path, ram="64MB", **{name: eval(value)})


def by_pillow(path: Path, text: str) -> Slide:
    """Follow "Image.open(path).convert(...).save(...)"."""
    eval(re.search(r"(Image\.open\(path\).*\.save\()", text)[1] + f"{str(path.with_name('out.png'))!r})",
         {"Image": Image, "path": path})  # fmt: skip
    return open_slide(path.with_name("out.png"), ram="64MB")


def by_tiff(path: Path, text: str) -> Slide:
    """Follow "convert it to a tiled TIFF", or "save it upright", or as grey."""
    assert "convert it to a tiled TIFF" in text or "save it" in text
    tifffile.imwrite(path.with_name("out.tif"), GREY, tile=(64, 64))
    return open_slide(path.with_name("out.tif"))


def by_room(path: Path, text: str) -> Slide:
    """Follow "needs ... of memory"."""
    assert "ram" in text
    return open_slide(path, ram="64MB")


def pages(*sizes: int) -> Write:
    def write(path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            for size in sizes:
                writer.write(smooth()[:size], photometric="rgb", metadata=None)

    return write


def raw(data: bytes) -> Write:
    return lambda path: path.write_bytes(data)


TILES = {"tile": (64, 64)}
REFUSED: dict[str, tuple[str, Write, str, Cure]] = {
    **{
        f"{kind} samples": (".tif", tiff(GREY.astype(kind), photometric="minisblack", **TILES), kind, converted)
        for kind in ("int8", "uint32", "int32", "uint64", "int64", "float64", "bool")
    },
    "JPEG XR": (
        ".tif", tiff(smooth(), compression="jpegxr", photometric="rgb", **TILES), "JPEG XR is not supported", by_tiff
    ),
    "two pictures in pages": (".tif", pages(HEIGHT, 50), "holds 2 pictures", with_argument),
    "levels that are not marked": (".tif", pages(HEIGHT, HEIGHT // 2, HEIGHT // 4), "holds 3 pictures", with_argument),
    "pages of one size": (".tif", pages(HEIGHT, HEIGHT), "holds 2 pictures|stack of 2", with_argument),
    "depth and channels": (
        ".ome.tif", lambda p: tifffile.imwrite(p, np.zeros((2, 3, HEIGHT, WIDTH), "u2"), metadata={"axes": "ZCYX"}),
        "stack of 6", with_argument),
    "two alphas": (
        ".tif", tiff(np.dstack([smooth(), GREY, GREY]), photometric="rgb", planarconfig="contig", extrasamples=[1, 2]),
        "2 of its 5 channels are tagged as alpha", with_argument),
    "turned": (".tif", tiff(smooth(), photometric="rgb", extratags=[(274, "H", 1, 3, True)]), "upright", by_tiff),
    "palette of 16 bits": (
        ".tif", tiff(GREY.astype("u2"), photometric="palette", colormap=np.zeros((3, 65536), "u2"), **TILES),
        "of 16 bits; other readers make 8 bits", by_tiff),
    "CMYK of 16 bits": (
        ".tif", tiff(np.zeros((HEIGHT, WIDTH, 4), "u2"), photometric="separated", **TILES), "make 8 bits", by_tiff),
    "CMYK JPEG": (".jpg", pillow("CMYK"), "pixels are CMYK", by_pillow),
    "CMYK TIFF": (".tif", pillow("CMYK"), "pixels are CMYK", by_pillow),
    "1-bit PNG": (".png", pillow("1"), "pixels are 1", by_pillow),
    "GIF": (".gif", pillow(), "no reader supports", by_tiff),
    "HDF5": (".h5", raw(b"\x89HDF\r\n\x1a\n" + bytes(900)), "no reader supports", by_tiff),
    "text": (".tif", raw(b"not an image" * 99), "no reader supports", by_tiff),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_the_cure_of_the_error_works(tmp_path: Path, kind: str) -> None:
    """No pixel is given before, and all of them after."""
    suffix, write, text, cure = REFUSED[kind]
    path = tmp_path / f"a{suffix}"
    write(path)
    with pytest.raises(PatchaugError, match=text) as caught:
        open_slide(path, ram="64MB")
    slide = cure(path, str(caught.value))
    assert slide.read(Window(0, 0, *slide.dimensions)).image.shape[1] == WIDTH


@pytest.mark.parametrize("kind", ["int32", "int64", "uint32", "float64", "bool", ">u2"])
def test_arrays_are_refused_with_their_conversion(kind: str) -> None:
    """As files are; the conversion keeps the values."""
    pixels: Any = np.arange(12).reshape(3, 4).astype(kind)
    with pytest.raises(PatchaugError, match=re.escape(str(np.dtype(kind)))) as caught:
        open_slide(pixels)
    cure = re.search(r"(pixels\.astype\(.+?\)(?: \* 255)?)(?: where|, else|$|;)", str(caught.value))[1]
    read = open_slide(eval(cure, {"pixels": pixels, "numpy": np})).read(Window(0, 0, 4, 3)).image
    assert np.array_equal(read[..., 0], pixels * (255 if kind == "bool" else 1))


def test_there_are_as_many_kinds_as_were_asked_for() -> None:
    """About 60 of image, and 40 of mask, that are read or refused."""
    images = [*test_image_kinds.RIGHT, *test_image_kinds.STACKS, *test_kinds_by_reference.KINDS, *REFUSED]
    masks = [*test_mask_kinds.RIGHT, *test_mask_kinds.BINARY, *test_mask_kinds.REFUSED]
    assert len(set(images)) >= 110 and len(masks) >= 45
