"""Kinds of image whose pixels a reference reader defines: lossy codecs, and files that GDAL writes, at every level."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from patchaug import Window, open_slide

WIDTH, HEIGHT = 150, 110
Write = Callable[[Path], None]
Levels = Callable[[Path], list[np.ndarray]]


def smooth(channels: int = 3) -> np.ndarray:
    """A picture that JPEG keeps nearly."""
    y, x = np.indices((HEIGHT, WIDTH))
    planes = [x * 1.5, y * 2, x + y, 255 - x, 255 - y, x * y / 70]
    return np.stack(planes[:channels], -1).clip(0, 255).astype(np.uint8)


def deep(dtype: str, channels: int) -> np.ndarray:
    rng = np.random.default_rng(channels)
    if dtype == "float32":
        return rng.random((HEIGHT, WIDTH, channels), np.float32)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (HEIGHT, WIDTH, channels), dtype)


def by_tifffile(path: Path) -> list[np.ndarray]:
    pixels = tifffile.imread(path)
    return [pixels.transpose(1, 2, 0) if pixels.ndim == 3 and pixels.shape[2] > 6 else pixels]


def by_pillow(path: Path) -> list[np.ndarray]:
    picture = ImageOps.exif_transpose(Image.open(path))
    return [np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))]


def by_rasterio(path: Path) -> list[np.ndarray]:
    """All levels, as GDAL reads them."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no georeference
        with rasterio.open(path) as dataset:
            levels = [dataset.read().transpose(1, 2, 0)]
            number = len(dataset.overviews(1))
        for level in range(number):
            with rasterio.open(path, overview_level=level) as dataset:
                levels.append(dataset.read().transpose(1, 2, 0))
    return levels


def tiff(pixels: np.ndarray, **options: Any) -> Write:
    return lambda path: tifffile.imwrite(path, pixels, **{"metadata": None, **options})


def pillow(mode: str = "RGB", **options: Any) -> Write:
    return lambda path: Image.fromarray(smooth()).convert(mode).save(path, **options)


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(smooth()).save(path, exif=exif)


def gdal(pixels: np.ndarray, **options: Any) -> Write:
    """Write a GeoTIFF by GDAL, by default in tiles."""

    def write(path: Path) -> None:
        rasterio = pytest.importorskip("rasterio")
        tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64} if "blockysize" not in options else {}
        height, width, count = pixels.shape
        shape = {"width": width, "height": height, "count": count, "dtype": pixels.dtype.name}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with rasterio.open(path, "w", driver="GTiff", **shape, **{**tiles, **options}) as dataset:
                dataset.write(pixels.transpose(2, 0, 1))

    return write


def cog(pixels: np.ndarray, **options: Any) -> Write:
    """Write a cloud-optimized GeoTIFF with overviews."""

    def write(path: Path) -> None:
        shutil = pytest.importorskip("rasterio.shutil")
        gdal(np.tile(pixels, (4, 4, 1)))(path.with_name("plain.tif"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shutil.copy(path.with_name("plain.tif"), path, driver="COG", blocksize=128, **options)

    return write


TILES = {"tile": (64, 64)}
PLANAR = {"photometric": "RGB", "interleave": "band"}
SEPARATE = {"photometric": "rgb", "planarconfig": "separate"}
KINDS: dict[str, tuple[str, Write, Levels]] = {
    "JPEG tiles, RGB": (".tif", tiff(smooth(), compression="jpeg", photometric="rgb", **TILES), by_tifffile),
    "JPEG tiles, YCbCr 4:2:0": (
        ".tif", tiff(smooth(), compression="jpeg", photometric="ycbcr", subsampling=(2, 2), **TILES), by_tifffile),
    "JPEG strips, YCbCr 4:2:0": (
        ".tif", tiff(smooth(), compression="jpeg", photometric="ycbcr", subsampling=(2, 2), rowsperstrip=16),
        by_tifffile),
    "JPEG tiles, grey": (".tif", tiff(smooth(1)[..., 0], compression="jpeg", **TILES), by_tifffile),
    "JPEG tiles, planar": (
        ".tif", tiff(smooth().transpose(2, 0, 1).copy(), compression="jpeg", **SEPARATE, **TILES), by_tifffile),
    "JPEG by Pillow": (".tif", pillow(compression="jpeg"), by_pillow),
    "JPEG XL": (".tif", tiff(smooth(), compression="jpegxl", photometric="rgb", **TILES), by_tifffile),
    "JPEG 2000, lossy": (
        ".tif", tiff(smooth(), compression="jpeg2000", compressionargs={"level": 40}, photometric="rgb", **TILES),
        by_tifffile),
    "WebP, lossy": (".tif", tiff(smooth(), compression="webp", photometric="rgb", **TILES), by_tifffile),
    "PNG in tiles": (".tif", tiff(smooth(), compression="png", photometric="rgb", **TILES), by_tifffile),
    "one tile, larger than the image": (
        ".tif", tiff(deep("uint16", 3), tile=(256, 256), photometric="rgb"), by_tifffile),
    "white is 0": (".tif", tiff(smooth(1)[..., 0], photometric="miniswhite"), by_pillow),
    "white is 0, tiles": (".tif", tiff(smooth(1)[..., 0], photometric="miniswhite", **TILES), by_pillow),
    "JPEG file": (".jpg", pillow(), by_pillow),
    "JPEG file, grey": (".jpg", pillow("L"), by_pillow),
    "JPEG file, progressive": (".jpg", pillow(progressive=True), by_pillow),
    "JPEG file, turned by EXIF": (".jpg", turned, by_pillow),
    "BMP": (".bmp", pillow(), by_pillow),
    "PNG, palette": (".png", pillow("P"), by_pillow),
    **{
        f"GDAL, {codec}, by {interleave}": (
            ".tif", gdal(smooth(), compress=codec, interleave=interleave, photometric="RGB"), by_rasterio)
        for codec in ("deflate", "zstd", "lerc", "lzma", "packbits") for interleave in ("pixel", "band")
    },
    "GDAL, JPEG, by pixel": (".tif", gdal(smooth(), compress="jpeg", photometric="RGB"), by_rasterio),
    "GDAL, JPEG, by band": (".tif", gdal(smooth(), compress="jpeg", **PLANAR), by_rasterio),
    "GDAL, JPEG, strips by band": (".tif", gdal(smooth(), compress="jpeg", **PLANAR, blockysize=16), by_rasterio),
    "GDAL, JPEG, 5 bands": (".tif", gdal(smooth(5), compress="jpeg", interleave="band"), by_rasterio),
    "GDAL, 4 bits": (".tif", gdal(smooth(1) >> 4, nbits=4, compress="deflate"), by_rasterio),
    "GDAL, 12 bits by band": (".tif", gdal(deep("uint16", 3) >> 4, nbits=12, interleave="band"), by_rasterio),
    "GDAL, 4 bands of 16 bits": (".tif", gdal(deep("uint16", 4)), by_rasterio),
    "GDAL, int16 by band": (".tif", gdal(deep("int16", 2), interleave="band", compress="lzw"), by_rasterio),
    **{
        f"GDAL, float, {codec}, predictor {number}": (
            ".tif", gdal(deep("float32", 4), compress=codec, predictor=number, interleave="band"), by_rasterio)
        for codec in ("deflate", "zstd") for number in (2, 3)
    },
    "GDAL, LERC and deflate": (".tif", gdal(deep("float32", 4), compress="lerc_deflate"), by_rasterio),
    "GDAL, LERC with an error": (".tif", gdal(deep("float32", 1), compress="lerc", MAX_Z_ERROR=0.01), by_rasterio),
    "COG, 5 bands of 16 bits": (
        ".tif", cog(deep("uint16", 5), compress="zstd", OVERVIEW_RESAMPLING="average"), by_rasterio),
    "COG, by band": (".tif", cog(deep("float32", 2), compress="lerc", interleave="band"), by_rasterio),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_is_that_of_the_reference(tmp_path: Path, kind: str) -> None:
    """In windows and whole, with dtype and channels."""
    suffix, write, reference = KINDS[kind]
    path = tmp_path / f"a{suffix}"
    write(path)
    levels = [level[..., None] if level.ndim == 2 else level for level in reference(path)]
    slide = open_slide(path, ram="64MB")
    assert slide.level_dimensions == tuple(level.shape[1::-1] for level in levels)
    assert (slide.dtype, slide.channels) == (levels[0].dtype, levels[0].shape[2])
    for number, level in enumerate(levels):
        height, width = level.shape[:2]
        for x, y, w, h in ((0, 0, width, height), (width - 1, height - 1, 1, 1), (width // 3, height // 4, 29, 17)):
            window = Window(x, y, min(w, width - x), min(h, height - y), number)
            part = level[y : window.bottom, x : window.right]
            assert np.array_equal(slide.read(window).image, part), (number, x, y)


@pytest.mark.parametrize(
    "write", [gdal(smooth(), compress="jpeg", photometric="YCBCR"), cog(smooth(), compress="jpeg")]
)
def test_colours_converted_by_gdal_are_ours_within_rounding(tmp_path: Path, write: Write) -> None:
    """libjpeg and GDAL round and enlarge colours each in its own way; tifffile reads what we read."""
    write(tmp_path / "a.tif")
    slide = open_slide(tmp_path / "a.tif")
    for number, theirs in enumerate(by_rasterio(tmp_path / "a.tif")):
        ours = slide.read(Window(0, 0, *slide.level_dimensions[number], number)).image
        assert np.array_equal(ours, tifffile.imread(tmp_path / "a.tif", series=0, level=number))
        assert np.median(np.abs(ours.astype(int) - theirs)) <= 2


def test_16_bits_of_white_as_0_keep_all_their_bits(tmp_path: Path) -> None:
    """OpenSlide would make 8 bits of them; nodata is a value of the file."""
    stored = deep("uint16", 1)[..., 0]
    stored[4, 7] = 33
    tags = [(42113, "s", 0, "33", True)]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", metadata=None, extratags=tags, **TILES)
    slide = open_slide(tmp_path / "a.tif", np.zeros((HEIGHT, WIDTH), np.uint8), ignore_index=255)
    patch = slide.read(Window(0, 0, WIDTH, HEIGHT))
    assert np.array_equal(patch.image[..., 0], 65535 - stored)
    assert np.array_equal(patch.mask == 255, stored == 33)
