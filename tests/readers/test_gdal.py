"""JPEG 2000 and VRT through rasterio: the pixels, levels, places and masks that rasterio itself gives."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Foreground, FrameError, PatchaugError, Plan, ReadError, Window, open_slide
from patchaug.readers.gdal import GdalRaster
from patchaug.testing import RasterTests
from patchaug.testing.raster_contract import forked
from tests.readers.test_kinds_by_reference import by_rasterio
from tests.slides.test_georeference import geotiff

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
WIDTH, HEIGHT = 1100, 300  # more than a block of 1024 px
GEO = {"crs": "EPSG:32632", "transform": (0.5, 0.0, 400_000.0, 0.0, -0.5, 5_650_000.0)}


def smooth(channels: int, dtype: str = "uint8") -> np.ndarray:
    y, x = np.indices((HEIGHT, WIDTH))
    planes = [(x * (k + 1) + y * (5 - k)) % 251 for k in range(channels)]
    return np.stack(planes, -1).astype(dtype) * (1 if dtype == "uint8" else 7)


def tiff(path: Path, pixels: np.ndarray, mask: np.ndarray | None = None, **options: Any) -> Path:
    """Write a GeoTIFF by GDAL."""
    from rasterio.transform import Affine

    if "transform" in options:
        options["transform"] = Affine(*options["transform"])
    height, width, count = pixels.shape
    shape = {"width": width, "height": height, "count": count, "dtype": pixels.dtype.name}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", driver="GTiff", **shape, **options) as out,
    ):
        out.write(pixels.transpose(2, 0, 1))
        if mask is not None:
            out.write_mask(mask)
    return path


def copied(path: Path, source: Path, driver: str, **options: Any) -> Path:
    import rasterio.shutil

    rasterio.shutil.copy(source, path, driver=driver, **options)
    return path


def jp2(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    words = {"QUALITY": 100, "REVERSIBLE": "YES", "YCBCR420": "NO"}
    return copied(path, tiff(path.with_suffix(".tif"), pixels, **options), "JP2OpenJPEG", **words)


def vrt(path: Path, pixels: np.ndarray, mask: np.ndarray | None = None, **options: Any) -> Path:
    return copied(path, tiff(path.with_suffix(".tif"), pixels, mask, **options), "VRT")


@pytest.mark.parametrize("kind", ["JPEG 2000", "VRT"])
class TestGdal(RasterTests):
    """The contract, forks and threads included."""

    @pytest.fixture
    def path(self, kind, tmp_path):
        return (jp2 if kind == "JPEG 2000" else vrt)(
            tmp_path / ("a.jp2" if kind == "JPEG 2000" else "a.vrt"), smooth(3)
        )

    @pytest.fixture
    def expected(self, path):
        return by_rasterio(path)

    @pytest.fixture
    def raster(self, path):
        return GdalRaster(path, ram=1 << 24)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("write", [jp2, vrt])
def test_pixels_are_those_of_rasterio(tmp_path: Path, write, channels: int, dtype: str) -> None:
    """Of any depth and number of bands, at every level; lossless ones are what was written."""
    pixels = smooth(channels, dtype)[:150, :130]
    path = write(tmp_path / ("a.jp2" if write is jp2 else "a.vrt"), pixels)
    slide = open_slide(path, ram="64MB", channels=list(range(channels)))
    assert (slide.dtype, slide.channels) == (pixels.dtype, channels)
    levels = by_rasterio(path)
    assert slide.level_dimensions == tuple(level.shape[1::-1] for level in levels)
    for number, level in enumerate(levels):
        assert np.array_equal(slide.read(Window(0, 0, *level.shape[1::-1], number)).image, level)
    assert np.array_equal(levels[0], pixels)
    chosen = open_slide(path, channels=[channels - 1, 0]).read(Window(7, 9, 60, 50)).image
    assert np.array_equal(chosen, pixels[9:59, 7:67, [channels - 1, 0]])


def test_a_bare_codestream_and_a_file_of_imagecodecs(tmp_path: Path) -> None:
    """Content decides, whatever the suffix."""
    for name, form in (("a.j2k", "j2k"), ("b.bin", "jp2")):
        (tmp_path / name).write_bytes(imagecodecs.jpeg2k_encode(smooth(3), level=0, codecformat=form))
        read = open_slide(tmp_path / name).read(Window(900, 200, 200, 100)).image
        assert np.array_equal(read, smooth(3)[200:, 900:])


@given(st.data())
def test_a_mosaic_is_one_slide(tmp_path_factory, data: st.DataObject) -> None:
    """Any window of a VRT over two scenes is that of the array which both make up."""
    folder = tmp_path_factory.getbasetemp() / "mosaic"
    pixels = smooth(2, "uint16")[:300, :400]
    if not folder.exists():
        folder.mkdir()
        for name, left in (("west", 0), ("east", 210)):
            tiff(folder / f"{name}.tif", pixels[:, left : left + 210], nodata=65535)
        simple = "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}.tif</SourceFilename>'
            f'<SourceBand>{{band}}</SourceBand><SrcRect xOff="0" yOff="0" xSize="{size}" ySize="300"/>'
            f'<DstRect xOff="{left}" yOff="0" xSize="{size}" ySize="300"/></SimpleSource>'
            for name, left, size in (("west", 0, 210), ("east", 210, 190))
        )
        bands = "".join(
            f'<VRTRasterBand dataType="UInt16" band="{band}"><NoDataValue>65535</NoDataValue>{simple.format(band=band)}'
            f"</VRTRasterBand>"
            for band in (1, 2)
        )
        (folder / "a.vrt").write_text(f'<VRTDataset rasterXSize="400" rasterYSize="300">{bands}</VRTDataset>')
    x, y = data.draw(st.integers(0, 399)), data.draw(st.integers(0, 299))
    w, h = data.draw(st.integers(1, 400 - x)), data.draw(st.integers(1, 300 - y))
    slide = open_slide(folder / "a.vrt", ram="64MB")
    assert np.array_equal(slide.read(Window(x, y, w, h)).image, pixels[y : y + h, x : x + w])


def test_invalid_pixels_are_those_of_rasterio(tmp_path: Path) -> None:
    """nodata, masks and alpha: their labels are ignore_index."""
    pixels = smooth(3)[:200, :300]
    pixels[20:50, 30:90] = 0
    inside = np.ones((200, 300), bool)
    inside[100:150, 10:80] = False
    alpha = np.dstack([pixels, np.where(inside, 255, 0)]).astype(np.uint8)
    labels = np.zeros((200, 300), np.uint8)
    files = {
        "nodata": vrt(tmp_path / "a.vrt", pixels, nodata=0),
        "mask": vrt(tmp_path / "b.vrt", pixels, inside),
        "alpha": vrt(tmp_path / "c.vrt", alpha, photometric="RGB", alpha="YES"),
        "nodata, JPEG 2000": jp2(tmp_path / "d.jp2", pixels, nodata=0),
    }
    for kind, path in files.items():
        with rasterio.open(path) as dataset:
            valid = dataset.dataset_mask() > 0
        assert not valid.all() and valid.any()
        slide = open_slide(path, labels, codes=["a"], ignore_index=255)
        patch = slide.read(Window(0, 0, 300, 200))
        assert np.array_equal(patch.mask == 255, ~valid), kind
        assert patch.image.shape[2] == 3 and np.array_equal(patch.image[valid], pixels[valid])
        assert slide.labels().pixels(0) == valid.sum()
        if kind != "alpha":
            assert np.array_equal(patch.image, pixels)  # as rasterio gives them


def test_alpha_that_is_data_is_an_error_with_both_cures(tmp_path: Path) -> None:
    """As for TIFF."""
    scene = smooth(4)[:90, :80]
    path = vrt(tmp_path / "a.vrt", scene, photometric="RGB", alpha="YES")
    with pytest.raises(PatchaugError, match="channel 3 is tagged as alpha and holds"):
        open_slide(path).read(Window(0, 0, 80, 90))
    for channels in ([0, 1, 2], [0, 1, 2, 3]):
        read = open_slide(path, channels=channels).read(Window(0, 0, 80, 90)).image
        assert np.array_equal(read, scene[..., channels])


def test_a_scene_in_jpeg_2000_lies_where_it_says(tmp_path: Path) -> None:
    """Masks of another extent, polygons in map coordinates, and windows of a plan."""
    pixels = smooth(3)[:90, :120]
    scene = jp2(tmp_path / "scene.jp2", pixels, **GEO)
    labels = np.zeros((90, 120), np.uint8)
    labels[20:60, 30:70] = 1
    mask = geotiff(tmp_path / "mask.tif", labels[10:80], x=400_000.0, y=5_650_000.0 - 5)
    slide = open_slide(scene, mask, codes=["ground", "built"], ignore_index=255)
    read = slide.read(Window(0, 0, 120, 90))
    assert np.array_equal(read.image, pixels)
    assert np.array_equal(read.mask[10:80], labels[10:80])
    assert (read.mask[:10] == 255).all() and (read.mask[80:] == 255).all()
    assert len(Plan([slide], Foreground(16, per_slide=4), seed=1)) == 4
    with pytest.raises(FrameError, match="EPSG:32633"):
        open_slide(scene, geotiff(tmp_path / "other.tif", labels, epsg=32633), codes=["ground", "built"])


def test_masks_are_class_numbers_or_refused(tmp_path: Path) -> None:
    """Lossless JPEG 2000 and a VRT are; what may alter them is refused by name."""
    labels = (np.indices((90, 120)).sum(0) // 40 % 3).astype(np.uint8)
    image = np.zeros((90, 120, 3), np.uint8)
    for path in (jp2(tmp_path / "a.jp2", labels[..., None]), vrt(tmp_path / "a.vrt", labels[..., None])):
        slide = open_slide(image, path, codes=["a", "b", "c"])
        assert np.array_equal(slide.read(Window(0, 0, 120, 90)).mask, labels)
    (tmp_path / "b.jp2").write_bytes(imagecodecs.jpeg2k_encode(labels, level=30, codecformat="jp2"))
    with pytest.raises(ReadError, match="lossy JPEG 2000 may alter class numbers; save the mask with deflate or LZW"):
        open_slide(image, tmp_path / "b.jp2", codes=["a", "b", "c"])
    with pytest.raises(ReadError, match="compression JPEG of c.tif may alter class numbers"):
        open_slide(image, vrt(tmp_path / "c.vrt", labels[..., None], compress="jpeg"), codes=["a", "b", "c"])
    with pytest.raises(PatchaugError, match="3 bands of uint8"):
        open_slide(image, jp2(tmp_path / "d.jp2", image), codes=["a", "b", "c"])


def test_palettes_are_colours_of_images_and_numbers_of_masks(tmp_path: Path) -> None:
    colours = {0: (255, 0, 0), 1: (0, 255, 0), 2: (9, 9, 9)}
    labels = (np.indices((90, 120)).sum(0) // 40 % 3).astype(np.uint8)
    tiff(tmp_path / "a.tif", labels[..., None], photometric="palette")
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.write_colormap(1, colours)
    path = copied(tmp_path / "a.vrt", tmp_path / "a.tif", "VRT")
    expected = np.array(list(colours.values()), np.uint8)[labels]
    assert np.array_equal(open_slide(path).read(Window(0, 0, 120, 90)).image, expected)
    assert np.array_equal(open_slide(expected, path, codes=["a", "b", "c"]).read(Window(0, 0, 120, 90)).mask, labels)


def test_forks_beside_a_reading_thread(tmp_path: Path) -> None:
    """No child inherits a lock that a thread of its parent holds inside GDAL."""
    path = jp2(tmp_path / "a.jp2", smooth(3))
    raster, stop = GdalRaster(path), threading.Event()

    def right() -> bool:
        return bool(np.array_equal(raster.read(Window(5, 6, 300, 200)), smooth(3)[6:206, 5:305]))

    def read_on() -> None:
        while not stop.is_set():
            assert right()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_on)
        ends = [forked(right) for _ in range(12)]
        stop.set()
        reading.result()
    assert all(end() for end in ends)


def test_damage_is_one_error(tmp_path: Path) -> None:
    """A cut file, a source that is missing, a header that is none."""
    whole = jp2(tmp_path / "a.jp2", smooth(3)).read_bytes()
    for name, data in (("cut.jp2", whole[: len(whole) // 2]), ("head.jp2", whole[:100]), ("a.vrt", b"<VRTDataset")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ReadError, match=name):
            open_slide(tmp_path / name).read(Window(0, 0, WIDTH, HEIGHT))
    for sides in ("0", "1000000000"):
        text = f'<VRTDataset rasterXSize="{sides}" rasterYSize="{sides}"></VRTDataset>'
        (tmp_path / "sides.vrt").write_text(text)
        with pytest.raises(ReadError, match=r"sides\.vrt"):
            open_slide(tmp_path / "sides.vrt")
    path = vrt(tmp_path / "b.vrt", smooth(1))
    (tmp_path / "b.tif").unlink()
    with pytest.raises(ReadError, match=r"b\.vrt"):
        open_slide(path).read(Window(0, 0, 9, 9))
    rasterio.shutil.copy(tiff(tmp_path / "c.tif", smooth(1).astype(np.uint32)), tmp_path / "c.vrt", driver="VRT")
    with pytest.raises(ReadError, match=r"samples are uint32.*astype"):
        open_slide(tmp_path / "c.vrt")


def test_without_rasterio_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    """Nothing else of the package needs it."""
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(smooth(3)[:40, :50], level=0, codecformat="jp2"))
    code = (
        "import sys; sys.modules['rasterio'] = None\n"
        "from patchaug import ReadError, open_slide\n"
        "try: open_slide('a.jp2')\n"
        "except ReadError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "rasterio, which is not installed: pip install 'patchaug[rasterio]'" in done.stdout
