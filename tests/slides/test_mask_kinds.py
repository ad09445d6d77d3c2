"""Masks of every kind that people have: equal to a reference label by label at each level, or one error with a cure."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchaug import PatchaugError, Window, open_slide
from patchaug.readers import ArrayRaster
from patchaug.testing import coordinate_image, write_pyramid

WIDTH, HEIGHT = 96, 80
NAMES = ["ground", "road", "roof"]
COLOURS = {"ground": "#000000", "road": "#ff0000", "roof": "#0080FF"}


def truth(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Classes 0 to 2 in rectangles."""
    mask = np.zeros((height, width), np.uint8)
    mask[10:40, 8:50] = 1
    mask[30:70, 40:90] = 2
    mask[72:75, 3:5] = 1
    return mask


def two(mask: np.ndarray) -> np.ndarray:
    return (mask > 0).astype(np.uint8)


def rgb(mask: np.ndarray) -> np.ndarray:
    return np.array([[0, 0, 0], [255, 0, 0], [0, 128, 255]], np.uint8)[mask]


def instances(mask: np.ndarray) -> np.ndarray:
    """An own number for each 4 px square of the foreground."""
    y, x = np.indices(mask.shape)
    return np.where(mask > 0, 1 + (y // 4) * 300 + x // 4, 0).astype(np.uint32)


def png(make: Callable[[np.ndarray], np.ndarray], mode: str | None = None, **words: Any) -> Callable[..., Path]:
    def write(folder: Path, mask: np.ndarray) -> Path:
        picture = Image.fromarray(make(mask))
        if mode == "P":
            picture.putpalette([0, 0, 0, 255, 0, 0, 0, 128, 255])
        elif mode:
            picture = picture.convert(mode)
        picture.save(folder / "mask.png", **words)
        return folder / "mask.png"

    return write


def tiff(make: Callable[[np.ndarray], np.ndarray], **words: Any) -> Callable[..., Path]:
    def write(folder: Path, mask: np.ndarray) -> Path:
        tifffile.imwrite(folder / "mask.tif", make(mask), **{"metadata": None, **words})
        return folder / "mask.tif"

    return write


def array(make: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    return lambda folder, mask: make(mask)


def pil_tiff(compression: str) -> Callable[..., Path]:
    def write(folder: Path, mask: np.ndarray) -> Path:
        Image.fromarray(two(mask) * 255).convert("1").save(folder / "mask.tif", compression=compression)
        return folder / "mask.tif"

    return write


TILES = {"tile": (16, 32)}
RIGHT: dict[str, tuple[Callable[..., Any], Any]] = {  # kind: (how it is written, codes)
    "0..2 PNG": (png(lambda m: m), NAMES),
    "palette PNG, indices": (png(lambda m: m, "P"), NAMES),
    "palette PNG, colours": (png(lambda m: m, "P"), COLOURS),
    "RGB PNG": (png(rgb), COLOURS),
    "opaque RGBA PNG": (png(lambda m: np.dstack([rgb(m), np.full_like(m, 255)])), COLOURS),
    "grey PNG of colours": (png(lambda m: m * 100), {"ground": "#000000", "road": "#646464", "roof": "#c8c8c8"}),
    "0, 127, 254 PNG": (png(lambda m: m * 127), {"ground": 0, "road": 127, "roof": 254}),
    "16-bit PNG": (png(lambda m: m.astype(np.uint16) * 1000), {"ground": 0, "road": 1000, "roof": 2000}),
    "several values": (png(lambda m: np.where(m == 2, 7 + (np.indices(m.shape)[1] % 2), m).astype(np.uint8)),
                       {"ground": 0, "road": 1, "roof": [7, 8]}),
    "other order": (png(lambda m: 2 - m), {"ground": 2, "road": 1, "roof": 0}),
    "tiled TIFF": (tiff(lambda m: m, compression="deflate", **TILES), NAMES),
    "stripped TIFF": (tiff(lambda m: m, rowsperstrip=7), NAMES),
    "LZW with predictor": (tiff(lambda m: m, compression="lzw", predictor=True, **TILES), NAMES),
    "big-endian": (tiff(lambda m: m.astype(">u2"), byteorder=">", **TILES), NAMES),
    "BigTIFF": (tiff(lambda m: m, bigtiff=True, **TILES), NAMES),
    "int16": (tiff(lambda m: m.astype(np.int16) - 1, **TILES), {"ground": -1, "road": 0, "roof": 1}),
    "int32": (tiff(lambda m: m.astype(np.int32) * 70000, **TILES), {"ground": 0, "road": 70000, "roof": 140000}),
    "uint64": (array(lambda m: m.astype(np.uint64)), NAMES),
    "float32 TIFF": (tiff(lambda m: m.astype(np.float32), compression="deflate", **TILES), NAMES),
    "float32 stripped": (tiff(lambda m: m.astype(np.float32)), NAMES),
    "float64 array": (array(lambda m: m.astype(np.float64)), NAMES),
    "float of 0 and 255": (array(lambda m: m * 127.0), {"ground": 0, "road": 127, "roof": 254}),
    "RGB TIFF": (tiff(rgb, compression="deflate", photometric="rgb", **TILES), COLOURS),
    "RGB array": (array(rgb), COLOURS),
    "averaged pyramid": (lambda folder, m: _averaged(folder, m), NAMES),
}  # fmt: skip
BINARY: dict[str, tuple[Callable[..., Any], Any]] = {
    "0 and 255 PNG": (png(lambda m: two(m) * 255), {"ground": 0, "built": 255}),
    "1-bit PNG": (png(lambda m: two(m) * 255, "1"), ["ground", "built"]),
    "instance ids PNG": (png(lambda m: (instances(m)).astype(np.uint16)), {"ground": 0, "built": range(1, 65536)}),
    "instance ids TIFF": (tiff(instances, **TILES), {"ground": 0, "built": range(1, 2**32)}),
    "bool array": (array(lambda m: m > 0), ["ground", "built"]),
    "1-bit TIFF": (tiff(lambda m: m > 0, photometric="minisblack"), ["ground", "built"]),
    "1-bit TIFF, white is 0": (tiff(lambda m: m == 0), {"ground": 1, "built": 0}),
    "1-bit tiles": (tiff(lambda m: m > 0, compression="deflate", **TILES), {"ground": 0, "built": 1}),
    "CCITT G4": (pil_tiff("group4"), ["ground", "built"]),
    "CCITT G3": (pil_tiff("group3"), ["ground", "built"]),
    "PackBits 1-bit": (pil_tiff("packbits"), ["ground", "built"]),
    "one class of three": (png(lambda m: m), {"ground": 0, "built": [1, 2]}),
}


def _averaged(folder: Path, mask: np.ndarray) -> Path:
    half = mask.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean((1, 3)).round().astype(np.uint8)
    write_pyramid(folder / "mask.tif", [mask, half], tile=16)
    return folder / "mask.tif"


@pytest.fixture(scope="module")
def image() -> ArrayRaster:
    return ArrayRaster([coordinate_image(WIDTH, HEIGHT), coordinate_image(WIDTH // 2, HEIGHT // 2, 2)])


def require_labels(slide: Any, expected: np.ndarray) -> None:
    """Windows and index hold the labels at each level, from 0 to n - 1."""
    for level, factor in enumerate((1, 2)):
        here = expected[factor // 2 :: factor, factor // 2 :: factor]
        height, width = here.shape
        assert np.array_equal(slide.read(Window(0, 0, width, height, level)).mask, here)
        assert np.array_equal(slide.read(Window(5, 3, 20, 30, level)).mask, here[3:33, 5:25])
        labels = slide.labels(level)
        counts = dict(zip(*np.unique(here, return_counts=True), strict=True))
        assert {value: labels.pixels(value) for value in labels.runs} == counts


@pytest.mark.parametrize("kind", [*RIGHT, *BINARY])
def test_each_kind_is_read_as_its_reference(kind: str, tmp_path: Path, image: ArrayRaster) -> None:
    """The array that was written, as class numbers; also after a pickle, and with an ignore_index."""
    write, codes = {**RIGHT, **BINARY}[kind]
    expected = truth() if kind in RIGHT else two(truth())
    require_labels(open_slide(image, write(tmp_path, truth()), codes=codes), expected)
    require_labels(open_slide(image, write(tmp_path, truth()), codes=codes, ignore_index=255), expected)


REFUSED: dict[str, tuple[Callable[..., Any], Any]] = {
    "0 and 255 by a list": (png(lambda m: two(m) * 255), ["ground", "built"]),
    "colours by a list": (png(rgb), NAMES),
    "RGB array by a list": (array(rgb), NAMES),
    "unknown value": (png(lambda m: np.where(m == 2, 9, m).astype(np.uint8)), ["ground", "road"]),
    "unknown value of a mapping": (png(lambda m: m * 100), {"ground": 0, "road": 100}),
    "instance ids by a list": (tiff(instances, **TILES), ["ground", "built"]),
    "unknown colour": (png(rgb), {"ground": "#000", "road": "#f00"}),
    "1-bit TIFF, white is 0": (tiff(lambda m: m > 0), ["ground", "built"]),
    "1-bit tiles, white is 0": (tiff(lambda m: m > 0, **TILES), None),
    "1 to 3": (png(lambda m: m + 1), NAMES),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_the_cure_of_an_error_works(kind: str, tmp_path: Path, image: ArrayRaster) -> None:
    """Place, count and the codes that take the mask: pasted, they open it."""
    write, codes = REFUSED[kind]
    source = write(tmp_path, truth())
    with pytest.raises(PatchaugError) as caught:
        open_slide(image, source, codes=codes).labels()
    cure = re.search(r"codes=(\{.*?\}|\[.*?\])", str(caught.value))
    assert cure is not None, str(caught.value)
    slide = open_slide(image, source, codes=eval(cure[1]))
    assert set(slide.labels().runs) <= set(range(len(slide.codes)))
    assert slide.labels().pixels(0) == (truth() == 0).sum()


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({"a", "b"}, "a mapping such as"),
        ("ab", "got the text 'ab'"),
        (["a", "a"], "each class once"),
        ({"a": 0, "b": [0, 1]}, "value 0 belongs to 'a' and 'b'"),
        ({"a": 0, "b": "#ff0000"}, "all numbers or all colours"),
        ({"a": 0, "b": {1, 2}}, "class 'b' must have values such as"),
        ({"a": 0, "b": range(5, 5)}, "class 'b' must have values such as"),
        ({"a": 0, "b": 1.5}, "class 'b' must have values such as"),
        ({"a": 0, "b": True}, "class 'b' must have values such as"),
        ([], "at least one class"),
    ],
)
def test_codes_without_order_or_sense_are_refused(codes: Any, expected: str, image: ArrayRaster) -> None:
    with pytest.raises(PatchaugError, match=expected):
        open_slide(image, truth(), codes=codes)


def test_numbers_that_are_no_classes(image: ArrayRaster) -> None:
    """Fractions and NaN are errors with place, count and a cure."""
    for value, cure in ((0.5, r"\(mask > 0.5\)"), (np.nan, "nan_to_num")):
        mask = truth().astype(np.float32)
        mask[7, 9] = value
        with pytest.raises(PatchaugError, match=rf"holds {value} at x=9 y=7 \(1 px of the window\).*{cure}"):
            open_slide(image, mask, codes=NAMES).labels()


def test_a_number_is_that_class_everywhere(image: ArrayRaster) -> None:
    """0 says "nothing here", ignore_index "not annotated"."""
    for number in (0, 2, 255):
        slide = open_slide(image, number, codes={"a": 0, "b": 7, "c": 255}, ignore_index=255)
        require_labels(slide, np.full((HEIGHT, WIDTH), number))
    for number in (3, -1):
        with pytest.raises(PatchaugError, match=rf"mask={number} must be a class number.*0 to 2"):
            open_slide(image, number, codes=NAMES)


@pytest.mark.parametrize(
    "size", [(48, 40), (192, 160), (288, 240), (64, 53), (64, 54), (120, 100), (144, 120), (32, 27)]
)
def test_a_mask_of_any_scale_lies_under_its_image(size: tuple[int, int], image: ArrayRaster) -> None:
    """Coarser and finer, by whole factors and others: each pixel has the label under its centre."""
    width, height = size
    mask = np.random.default_rng(0).integers(0, 3, (height, width)).astype(np.uint8)
    whole = open_slide(image, mask, codes=NAMES).read(Window(0, 0, WIDTH, HEIGHT)).mask
    x = ((np.arange(WIDTH) + 0.5) * width / WIDTH).astype(int)
    y = ((np.arange(HEIGHT) + 0.5) * height / HEIGHT).astype(int)
    if WIDTH % width == 0:
        x, y = np.arange(WIDTH) // (WIDTH // width), np.arange(HEIGHT) // (WIDTH // width)
    assert np.array_equal(whole, mask[np.ix_(y, x)])
    require_labels(open_slide(image, mask, codes=NAMES), whole)


@pytest.mark.parametrize("size", [(95, 80), (96, 81), (80, 96), (48, 20), (50, 40), (97, 81)])
def test_a_mask_of_two_factors_is_refused(size: tuple[int, int], image: ArrayRaster) -> None:
    with pytest.raises(PatchaugError, match="must have the image's size, or that size over one factor"):
        open_slide(image, np.zeros(size[::-1], np.uint8), codes=NAMES)
