"""Pixels without data: validity as GDAL has it, labels `ignore_index` in patches, label index and drawn windows."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from patchaug import Foreground, LabelError, Plan, ReadError, Uniform, Window, open_slide
from patchaug.readers import ArrayRaster, TiffRaster, open_raster
from patchaug.readers.hooks import all_valid, read_valid, read_validity
from patchaug.slides.patch import Patch, resize_patch
from patchaug.slides.valid_pixels import INVALID, ignore_invalid, valid_area
from tests.sampling.test_samplers import brute_force_law
from tests.slides.holes import WithHoles

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rasterio.shutil")

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
W, H = 330, 270


def noise(dtype: str, channels: int) -> np.ndarray:
    """Values 1 to 250 and, where a blob or a stripe is, 0; (channels, height, width)."""
    pixels = np.random.default_rng(4).integers(1, 250, (channels, H, W)).astype(dtype)
    pixels[:, 40:140, 100:260] = 0
    pixels[:, :, 17] = 0
    pixels[0, 200:220] = 0  # of one channel alone
    return pixels


def write(path: Path, pixels: np.ndarray, *, mask: np.ndarray | None = None, overviews: bool = True, **profile) -> Path:
    """Write a GeoTIFF by GDAL, in tiles of 64 px with two overviews."""
    profile = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate", **profile}
    with (
        warnings.catch_warnings(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_TIFF_INTERNAL_MASK_TO_8BIT=False),
    ):
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", width=W, height=H, count=len(pixels), dtype=pixels.dtype, **profile
        ) as file:
            file.write(pixels)
            if mask is not None:
                file.write_mask(mask)
        if overviews:
            with rasterio.open(path, "r+") as file:
                file.build_overviews([2, 4])
    return path


def cog(path: Path, source: Path, **options) -> Path:
    """Copy to a cloud-optimized GeoTIFF."""
    rasterio.shutil.copy(source, path, driver="COG", blocksize=128, **options)
    return path


def disc() -> np.ndarray:
    """An internal mask: 255 inside a disc."""
    y, x = np.ogrid[:H, :W]
    return np.where((y - 120) ** 2 + (x - 150) ** 2 < 110**2, 255, 0).astype(np.uint8)


def nan_where_0(dtype: str, channels: int) -> np.ndarray:
    """Noise with NaN."""
    pixels = noise(dtype, channels)
    pixels[pixels == 0] = np.nan
    return pixels


def alpha(dtype: str) -> np.ndarray:
    """RGB and alpha."""
    pixels = noise(dtype, 4)
    pixels[3] = np.where(disc() > 0, np.iinfo(dtype).max, 0)
    return pixels


RGB = {"photometric": "rgb"}
KINDS = {
    "uint8 nodata 0": lambda path: write(path, noise("u1", 3), nodata=0, **RGB),
    "uint8 nodata 255, of no pixel": lambda path: write(path, noise("u1", 3), nodata=255, **RGB),
    "uint8 grey nodata 7": lambda path: write(path, noise("u1", 1), nodata=7),
    "uint16 nodata 0, six bands": lambda path: write(path, noise("u2", 6), nodata=0),
    "uint16 planar nodata 0": lambda path: write(path, noise("u2", 4), nodata=0, interleave="band"),
    "int16 nodata -9999": lambda path: write(path, np.where(noise("i2", 1) == 0, -9999, noise("i2", 1)), nodata=-9999),
    "float32 nodata NaN": lambda path: write(path, nan_where_0("f4", 1), nodata=np.nan),
    "float32 nodata NaN, two bands": lambda path: write(path, nan_where_0("f4", 2), nodata=np.nan),
    "float32 nodata -3.4e38": lambda path: write(
        path, np.where(noise("f4", 1) == 0, np.finfo("f4").min, noise("f4", 1)), nodata=float(np.finfo("f4").min)
    ),
    "float32 nodata 0.1": lambda path: write(path, np.where(noise("f4", 1) == 0, np.float32(0.1), 0.2), nodata=0.1),
    "strips nodata 0": lambda path: write(path, noise("u2", 1), nodata=0, overviews=False, tiled=False, blockysize=8),
    "internal mask": lambda path: write(path, noise("u1", 3), mask=disc(), **RGB),
    "internal mask of strips": lambda path: write(
        path, noise("u1", 1), mask=disc(), overviews=False, tiled=False, blockysize=16
    ),
    "internal mask, and nodata that it overrides": lambda path: write(path, noise("u1", 1), mask=disc(), nodata=0),
    "internal mask of float32": lambda path: write(path, noise("f4", 2), mask=disc()),
    "COG, JPEG with internal mask": lambda path: cog(
        path, write(path.with_name("b.tif"), noise("u1", 3), mask=disc(), overviews=False, **RGB), compress="jpeg"
    ),
    "COG with nodata": lambda path: cog(path, write(path.with_name("b.tif"), noise("u2", 2), nodata=0)),
    "RGBA": lambda path: write(path, alpha("u1"), overviews=False, alpha="yes", **RGB),
    "RGBA of 16 bits": lambda path: write(path, alpha("u2"), overviews=False, alpha="yes", **RGB),
    "palette nodata 0": lambda path: write(path, noise("u1", 1), overviews=False, photometric="palette", nodata=0),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_validity_is_that_of_gdal(tmp_path: Path, kind: str) -> None:
    """At every level, pixel by pixel; in the index too; and the pixels are those of GDAL where they are valid."""
    path = KINDS[kind](tmp_path / "a.tif")
    raster = open_raster(path, ram=1 << 26)
    slide = open_slide(path, 1, ignore_index=255, ram="64MB")
    some = False
    for level, (width, height) in enumerate(raster.level_dimensions):
        with rasterio.open(path, **({"overview_level": level - 1} if level else {})) as file:
            expected, theirs = file.dataset_mask() > 0, file.read()
        whole = Window(0, 0, width, height, level)
        pixels, valid = read_valid(raster, whole)
        valid = np.ones((height, width), bool) if valid is None else valid
        assert np.array_equal(valid, expected)
        assert np.array_equal(slide.read_valid(whole), expected)
        part = Window(width // 3, height // 4, width // 2, height // 3, level)
        inside = (slice(part.y, part.bottom), slice(part.x, part.right))
        assert np.array_equal(slide.read(part).mask, np.where(expected[inside], 1, 255))
        assert np.array_equal(slide.read_mask(part), np.where(expected[inside], 1, 255))
        assert np.array_equal(slide.read_valid(part), expected[inside])
        index = slide.invalid_pixels(level)
        assert np.array_equal(valid_area(index, part.x, part.y, part.width, part.height), expected[inside])
        labels = slide.labels(level)
        assert {value: labels.pixels(value) for value in labels.runs} == {
            value: count for value, count in ((1, expected.sum()), (255, (~expected).sum())) if count
        }
        if "palette" not in kind and "JPEG" not in kind:
            shown = np.moveaxis(theirs, 0, -1)[..., : slide.channels]
            assert np.array_equal(pixels.reshape(shown.shape)[expected], shown[expected], equal_nan=True)
        some |= not expected.all()
    assert some == ("no pixel" not in kind)


def sparse(path: Path, *, nodata: float | None = None, dtype: str = "u1", channels: int = 3, **options) -> Path:
    """Write a COG of which only some tiles are stored."""
    profile = {"tiled": True, "blockxsize": 128, "blockysize": 128, "nodata": nodata, "sparse_ok": True}
    part = noise(dtype, channels)[:, :128, :256]
    part[part == 0] = 9
    with rasterio.open(
        path.with_name("b.tif"), "w", driver="GTiff", width=W, height=H, count=channels, dtype=part.dtype, **profile
    ) as file:
        file.write(part, window=((0, 128), (0, 256)))
    return cog(path, path.with_name("b.tif"), sparse_ok=True, overview_count=1, compress="deflate", **options)


@pytest.mark.parametrize(
    ("nodata", "dtype", "channels"), [(None, "u1", 3), (7, "u1", 3), (np.nan, "f4", 1), (-1, "i2", 2)]
)
def test_tiles_that_are_not_stored_are_invalid(tmp_path: Path, nodata: float | None, dtype: str, channels: int) -> None:
    """Their pixels are those of GDAL: nodata, or 0; told once, when the slide is opened."""
    path = sparse(tmp_path / "a.tif", nodata=nodata, dtype=dtype, channels=channels)
    with pytest.warns(UserWarning, match=r"a.tif: \d+ of 13 tiles are not stored") as told:
        slide = open_slide(path, 1, ignore_index=255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        patch = slide.read(Window(0, 0, W, H))
        plan = Plan([slide], Foreground(50, per_slide=200, foreground=1.0), seed=1)
    assert len(told) == 1
    with rasterio.open(path) as file:
        theirs = np.moveaxis(file.read(), 0, -1)
    expected = np.zeros((H, W), bool)
    expected[:128, :256] = True
    assert np.array_equal(slide.read_valid(Window(0, 0, W, H)), expected)
    assert np.array_equal(patch.mask, np.where(expected, 1, 255))
    raster = TiffRaster(path)
    pixels = raster.read(Window(0, 0, W, H)).reshape(theirs.shape)
    assert np.array_equal(pixels, theirs, equal_nan=True)
    assert np.isfinite(patch.image).all()
    assert raster.missing_tiles() == (slide.image.missing_tiles()) and raster.missing_tiles()[0] > 3
    assert np.array_equal(read_validity(raster, Window(0, 0, W, H)), expected)
    assert all(draw.window.x < 256 and draw.window.y < 128 for draw in plan)
    if nodata is not None:
        width, height = raster.level_dimensions[1]
        with rasterio.open(path, overview_level=0) as file:
            assert np.array_equal(slide.read_valid(Window(0, 0, width, height, 1)), file.dataset_mask() > 0)


def test_sparse_slides_with_labels_need_an_ignore_index(tmp_path: Path) -> None:
    """It is known from the header, so it is told when the slide is opened; the cure works."""
    path = sparse(tmp_path / "a.tif")
    with pytest.raises(LabelError, match=r"a.tif: \d+ of 13 tiles hold no data .* set ignore_index=255"):
        open_slide(path, 1)
    with pytest.warns(UserWarning, match="not stored"):
        open_slide(path, 1, ignore_index=255)


def test_sparse_masks_are_read_as_gdal_reads_them(tmp_path: Path) -> None:
    """Labels that are not stored are nodata, or 0, and that is told."""
    path = sparse(tmp_path / "a.tif", channels=1)
    image = np.zeros((H, W, 3), np.uint8)
    with pytest.warns(UserWarning, match="tiles of its mask are not stored"):
        slide = open_slide(image, path, name="a")
    with rasterio.open(path) as file:
        assert np.array_equal(slide.read_mask(Window(0, 0, W, H)), file.read(1))


def test_a_file_without_any_tile_is_an_error(tmp_path: Path) -> None:
    """Nothing is there to read; a mask may say 0."""
    profile = {"width": 64, "height": 64, "count": 1, "dtype": "uint8", "sparse_ok": True, "tiled": True}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", blockxsize=32, blockysize=32, **profile):
        pass
    with pytest.raises(ReadError, match=r"a.tif: all of its 4 tiles are missing.*copy or export"):
        open_slide(tmp_path / "a.tif")
    with pytest.raises(ReadError, match=r"all of its 4 tiles are missing.*pass mask=0"):
        open_slide(np.zeros((64, 64, 3), np.uint8), tmp_path / "a.tif")


def test_a_nodata_text_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    """GDAL reads 0 from "none"."""
    tag = (42113, "s", 0, "none", True)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((64, 64), np.uint8), tile=(32, 32), extratags=[tag])
    with pytest.raises(ReadError, match="nodata value is 'none', which is not a number; set it by gdal_edit.py"):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["tiles", "strips", "png"])
@pytest.mark.parametrize("ignore_index", [255, 300, None])
def test_labels_of_transparent_pixels(tmp_path: Path, kind: str, ignore_index: int | None) -> None:
    """They are `ignore_index`; without one, one error says how to set it, in patches and when a plan is made."""
    rgba = np.random.default_rng(0).integers(0, 255, (90, 120, 4), np.uint8)
    rgba[..., 3] = np.where(rgba[..., 0] > 100, 255, 0)
    mask = np.random.default_rng(1).integers(0, 3, (90, 120), np.uint8)
    path = tmp_path / ("a.png" if kind == "png" else "a.tif")
    if kind == "png":
        Image.fromarray(rgba).save(path)
    else:
        tile = {"tile": (32, 32)} if kind == "tiles" else {"rowsperstrip": 8}
        tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=[2], **tile)
    slide = open_slide(path, mask, ignore_index=ignore_index, ram="64MB")
    window = Window(10, 20, 70, 50)
    part = (slice(20, 70), slice(10, 80))
    opaque = rgba[part][..., 3] == 255
    if ignore_index is None:
        text = rf"a\.\w+: {np.count_nonzero(~opaque)} px of level 0, window x=10 y=20 70 x 50 hold no data"
        for read in (slide.read, slide.read_mask):
            with pytest.raises(LabelError, match=text + ".*set ignore_index=255"):
                read(window)
        with pytest.raises(LabelError, match="hold no data.*set ignore_index=255"):
            Plan([slide], Foreground(32))
        slide = slide.without_mask()
    patch = slide.read(window)
    assert np.array_equal(patch.image, np.where(opaque[..., None], rgba[part][..., :3], 255))
    assert ignore_index is None or np.array_equal(patch.mask, np.where(opaque, mask[part].astype(int), ignore_index))


def test_valid_masks_are_not_copied() -> None:
    """Where every pixel is valid the same array comes back."""
    mask, window = np.ones((4, 5), np.int8), Window(0, 0, 5, 4)
    for valid in (None, np.ones((4, 5), bool)):
        assert ignore_invalid(mask, valid, 255, "a", window) is mask
    assert ignore_invalid(mask, np.zeros((4, 5), bool), 255, "a", window).tolist() == [[255] * 5] * 4


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 0.95]), st.data())
def test_the_index_of_invalid_pixels_is_exact(width: int, height: int, seed: int, share: float, data) -> None:
    """Any rectangle of the index is the validity that the raster returned."""
    valid = np.random.default_rng(seed).random((height, width)) < share
    slide = open_slide(WithHoles(np.zeros((height, width, 3), np.uint8), valid), name="a")
    index = slide.invalid_pixels()
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    assert np.array_equal(valid_area(index, x, y, w, h), valid[y : y + h, x : x + w])
    count = index.count(INVALID, x, y, w, h) if INVALID in index.runs else 0
    assert count == np.count_nonzero(~valid[y : y + h, x : x + w])


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.5, 1.0]), st.data(),
)  # fmt: skip
def test_the_law_counts_labels_of_valid_pixels_alone(
    w: int, h: int, factor: int, seed: int, share: float, data
) -> None:
    """Brute force over the mask in which invalid pixels are ignored; also where the mask is coarser than the image."""
    random = np.random.default_rng(seed)
    mask = random.integers(0, 3, (h, w), np.uint8)
    valid = random.random((h * factor, w * factor)) < 0.7
    labels = np.where(valid, mask.repeat(factor, 0).repeat(factor, 1), 255)
    if not np.isin(labels, [1, 2]).any():
        return
    height, width = data.draw(st.integers(1, len(labels))), data.draw(st.integers(1, labels.shape[1]))
    law = brute_force_law(labels, width, height, share, {1: 1.0, 2: 1.0})
    slide = open_slide(WithHoles(np.zeros((*valid.shape, 3), np.uint8), valid), mask, name="a", ignore_index=255)
    plan = Plan([slide], Foreground((height, width), per_slide=30, foreground=share), seed=seed)
    for draw in plan:
        assert draw.probability == pytest.approx(law[draw.window], abs=1e-12)
        assert np.array_equal(plan.read(draw).mask, labels[draw.window.y :, draw.window.x :][:height, :width])


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("size", [(20, 30), (13, 17)])
def test_means_leave_invalid_pixels_out(dtype: str, size: tuple[int, int]) -> None:
    """A resampled pixel is the mean of the valid pixels that it covers, whatever the others hold."""
    random = np.random.default_rng(5)
    image = random.integers(0, 200, (60, 90, 2)).astype(dtype)
    valid = random.random((60, 90)) < 0.6
    valid[:9, :9] = False
    changed = image.copy()
    changed[~valid] = 255
    patches = [resize_patch(Patch(one, valid.astype(np.uint8)), size, valid) for one in (image, changed)]
    inside = patches[0].mask > 0
    assert np.array_equal(patches[0].image[inside], patches[1].image[inside])
    assert (patches[1].image[~inside] == 255).all() and not inside.all()
    if size == (20, 30):
        squares = np.where(valid[..., None], image, 0).astype(float).reshape(20, 3, 30, 3, 2).sum((1, 3))
        means = squares[inside] / valid.reshape(20, 3, 30, 3).sum((1, 3))[inside][:, None]
        assert np.allclose(patches[0].image[inside], means, atol=0.51 if dtype != "f4" else 1e-3)


def test_nan_of_invalid_pixels_reaches_no_network(tmp_path: Path) -> None:
    """NaN that stands for "no data" is 0 in patches, also next to a resampled pixel; other NaN stays."""
    path = write(tmp_path / "a.tif", nan_where_0("f4", 2), nodata=np.nan)
    slide = open_slide(path, 1, ignore_index=255)
    window = Window(90, 30, 120, 200)
    patch, stored = slide.read(window), slide.image.read(window)
    valid = slide.read_valid(window)
    assert np.array_equal(patch.image[valid], stored[valid], equal_nan=True)
    assert (patch.image[~valid] == 0).all() and np.isnan(stored[~valid]).all()
    assert np.isnan(patch.image[valid]).any()  # of one channel alone


def test_rasters_tell_whether_all_pixels_are_valid(tmp_path: Path) -> None:
    """From the header alone."""
    assert all_valid(ArrayRaster(np.zeros((4, 4), np.uint8)))
    assert not all_valid(WithHoles(np.zeros((4, 4), np.uint8), np.ones((4, 4), bool)))
    plain = write(tmp_path / "a.tif", noise("u1", 3))
    assert all_valid(open_raster(plain)) and all_valid(open_raster(plain, channels=[0]))
    assert not all_valid(open_raster(write(tmp_path / "b.tif", noise("u1", 3), nodata=0)))
    rgba = write(tmp_path / "c.tif", alpha("u1"), overviews=False, alpha="yes", **RGB)
    assert not all_valid(open_raster(rgba)) and all_valid(open_raster(rgba, channels=[0, 1, 2]))


def test_uniform_windows_of_slides_with_holes_read_no_image(tmp_path: Path) -> None:
    """A plan that needs no labels makes no index."""
    slide = open_slide(write(tmp_path / "a.tif", noise("u1", 3), nodata=0), 1, ignore_index=255)
    Plan([slide], Uniform(32))
    assert not slide._label_indexes


@pytest.mark.parametrize("ram", [0, 1 << 26])
def test_validity_is_the_same_in_threads_copies_and_children(tmp_path: Path, ram: int) -> None:
    """Internal masks are read through no handle that a fork inherited."""
    path = write(tmp_path / "a.tif", noise("u1", 3), mask=disc(), **RGB)
    raster = open_raster(path, ram=ram)
    window = Window(20, 30, 280, 200)
    expected = disc()[30:230, 20:300] > 0
    assert np.array_equal(read_valid(raster, window)[1], expected)
    copy = pickle.loads(pickle.dumps(raster))
    assert np.array_equal(copy.read_valid(window)[1], expected)
    assert np.array_equal(raster.uncached().read_validity(window), expected)
    with ThreadPoolExecutor(4) as threads:
        assert all(np.array_equal(one[1], expected) for one in threads.map(copy.read_valid, [window] * 8))
    for context in (multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")):
        with context.Pool(1) as pool:
            assert np.array_equal(pool.apply(read_valid, (raster, window))[1], expected)


def test_a_level_without_an_internal_mask_takes_that_of_level_0(tmp_path: Path) -> None:
    """The mask pixel under the centre, as for labels."""
    pixels, mask = noise("u1", 1)[0], disc()
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels, tile=(64, 64), metadata=None)
        writer.write(pixels[::2, ::2].copy(), tile=(64, 64), subfiletype=1, metadata=None)
        writer.write(mask > 0, tile=(64, 64), subfiletype=4, photometric="minisblack", metadata=None)
    slide = open_slide(tmp_path / "a.tif")
    assert len(slide.level_dimensions) == 2
    assert np.array_equal(slide.read_valid(Window(0, 0, W, H)), mask > 0)
    rows, columns = np.arange(H // 2) * 2 + 1, np.arange(W // 2) * 2 + 1
    assert np.array_equal(slide.read_valid(Window(0, 0, W // 2, H // 2, 1)), mask[np.ix_(rows, columns)] > 0)
