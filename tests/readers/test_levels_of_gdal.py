"""TIFF of GDAL whose overviews are stored in another way than level 0, and JPEG of bands that are no colours."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from patchaug import ReadError, Window, open_slide

rasterio = pytest.importorskip("rasterio")
TILED = {"tiled": True, "blockxsize": 256, "blockysize": 256}
STRIPS = {"compress": "DEFLATE", "interleave": "band"}


def write(path, count, dtype, options, overviews=True):
    down, across = np.mgrid[:300, :400]
    bands = np.stack([(down * (2 + k) + across * (k + 1)) % 400 * (250 / 400) for k in range(count)])
    with rasterio.open(path, "w", driver="GTiff", width=400, height=300, count=count, dtype=dtype, **options) as file:
        file.write(bands.astype(dtype))
    if overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2], rasterio.enums.Resampling.nearest)
    with rasterio.open(path) as file:
        return file.read()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("count", "dtype", "options", "levels"),
    [
        (1, "uint16", {**TILED, "interleave": "band"}, 2),
        (1, "int16", {**TILED, "interleave": "band"}, 2),
        (1, "uint8", {**TILED, "interleave": "band"}, 2),
        (3, "uint16", {**TILED, "interleave": "band"}, None),
        (3, "uint8", {**STRIPS, "photometric": "MINISBLACK", "alpha": "NO"}, 1),
        (6, "uint8", {**STRIPS, "photometric": "MINISBLACK", "alpha": "NO"}, 1),
        (2, "uint8", {"compress": "DEFLATE", "interleave": "pixel", "alpha": "NO"}, 1),
        (4, "uint8", {"photometric": "RGB", "alpha": "NO"}, 1),
        (3, "uint8", {"photometric": "RGB"}, 1),
        (3, "uint16", {}, 1),
        (1, "float32", {}, 1),
    ],
)
def test_all_channels_are_read(tmp_path, count, dtype, options, levels):
    """In the dtype of the file; levels that are stored in another way are left out."""
    wanted = write(tmp_path / "a.tif", count, dtype, options).transpose(1, 2, 0)
    slide = open_slide(tmp_path / "a.tif", ram="64MB")
    found = slide.read(Window(0, 0, 400, 300)).image
    assert found.dtype == wanted.dtype
    assert np.array_equal(found.reshape(wanted.shape), wanted)
    assert levels is None or len(slide.level_dimensions) == levels


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("count", [2, 3, 5])
def test_bands_in_jpeg_are_no_colours(tmp_path, count):
    """GDAL stores them without a change of colours, which tifffile takes for YCbCr."""
    options = {**TILED, "compress": "JPEG", "photometric": "MINISBLACK", "interleave": "pixel", "alpha": "NO"}
    try:
        wanted = write(tmp_path / "a.tif", count, "uint8", options, overviews=False).transpose(1, 2, 0)
    except rasterio.errors.RasterioError as error:
        pytest.skip(str(error))
    found = open_slide(tmp_path / "a.tif", ram=0).read(Window(0, 0, 400, 300)).image
    assert int(np.abs(found.astype(int) - wanted).max()) <= 2
    write(tmp_path / "b.tif", 3, "uint8", {**options, "tiled": False}, overviews=False)
    with pytest.raises(ReadError, match="JPEG strips of 3 bands that are no colours; save it in tiles"):
        open_slide(tmp_path / "b.tif", ram="64MB").read(Window(0, 0, 400, 300))


@pytest.mark.parametrize("ram", [0, "64MB"])
def test_a_tile_that_is_too_small_is_an_error_each_time(tmp_path, ram):
    """Of one band among three, in the middle of the picture."""
    pixels = np.full((3, 256, 256), 77, np.uint8)
    path = tmp_path / "a.tif"
    form = {"compression": "jpeg", "photometric": "minisblack", "planarconfig": "separate"}
    tifffile.imwrite(path, pixels, tile=(64, 64), **form)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages[0].dataoffsets[5]
    data = bytearray(path.read_bytes())
    data[data.index(b"\xff\xc0", start) + 6] = 0x20  # its height
    path.write_bytes(data)
    slide = open_slide(path, ram=ram)
    for _ in range(2):
        with pytest.raises(ReadError, match=r"tile 5 .*decodes to 64 x 32 px, 64 x 64 px are there"):
            slide.read(Window(64, 64, 64, 64))
        assert (slide.read(Window(128, 64, 64, 64)).image == 77).all()
