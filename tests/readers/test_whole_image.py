"""Files that are decoded whole."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import ImageRaster, open_raster
from patchaug.readers import whole_image as image
from patchaug.testing import coordinate_image, coordinate_mask
from patchaug.testing.raster_contract import RasterTests
from tests.readers.conftest import real

RAM = 1 << 24
RGB = coordinate_image(301, 203)
GREY = RGB[..., 2].copy()


@pytest.fixture(autouse=True)
def narrow_bands(monkeypatch):
    """Bands of few rows, so that small pictures have several and a last one that is shorter."""
    monkeypatch.setattr(image, "_BAND", 301 * 7)


@pytest.mark.parametrize("form", ["rgb.png", "grey.png", "rgb.bmp", "strips.tiff", "grey strips.tiff"])
class TestImages(RasterTests):
    """Pictures whose pixels come back as they were written."""

    @pytest.fixture
    def expected(self, form):
        return [GREY if "grey" in form else RGB]

    @pytest.fixture
    def raster(self, expected, form, tmp_path):
        path = tmp_path / form
        if "strips" in form:
            tifffile.imwrite(path, expected[0], rowsperstrip=10, compression="deflate")
        else:
            Image.fromarray(expected[0]).save(path)
        return ImageRaster(path, mask=False, ram=RAM)


@pytest.mark.parametrize("name", ["slides/XYC.png", "slides/XYC-half-mpp.tiff"])
class TestRealImages(RasterTests):
    """Real files whose pixels encode their coordinates."""

    @pytest.fixture
    def expected(self, name):
        path = real(name)
        return [np.asarray(Image.open(path)) if name.endswith("png") else tifffile.imread(path)]

    @pytest.fixture
    def raster(self, name):
        return ImageRaster(real(name), mask=False, ram=RAM)


MASKS = {
    "P.png": (256, np.uint8),
    "P4.png": (13, np.uint8),
    "L.png": (256, np.uint8),
    "1.png": (2, np.uint8),
    "I16.png": (256, np.uint16),
    "P.bmp": (256, np.uint8),
    "uint32.tiff": (256, np.uint32),
    "palette.tiff": (256, np.uint8),
    "bits.tiff": (2, np.uint8),
}


@pytest.mark.parametrize("form", MASKS)
class TestMasks(RasterTests):
    """Class numbers exactly as they were written, whatever colours a palette gives them."""

    test_spawned_children_read_right = None  # the same for all forms, slow, and proven above

    @pytest.fixture
    def expected(self, form):
        classes, dtype = MASKS[form]
        return [coordinate_mask(301, 203, classes=classes).astype(dtype) * (251 if np.dtype(dtype).itemsize > 1 else 1)]

    @pytest.fixture
    def raster(self, expected, form, tmp_path):
        path, mask = tmp_path / form, expected[0]
        colours = np.random.default_rng(0).integers(0, 255, 768, np.uint8)
        if form.startswith("P"):
            picture = Image.fromarray(mask)
            picture.putpalette(colours.tobytes())
            picture.save(path, **({"bits": 4} if "4" in form else {}))
        elif form == "1.png":
            Image.fromarray(mask * 255).convert("1").save(path)
        elif form == "palette.tiff":
            tifffile.imwrite(
                path, mask, photometric="palette", colormap=colours.reshape(3, 256).astype(np.uint16) * 257
            )
        elif form == "bits.tiff":
            tifffile.imwrite(path, mask.astype(bool), photometric="minisblack")
        elif path.suffix == ".tiff":
            tifffile.imwrite(path, mask, rowsperstrip=16, compression="lzw", predictor=True)
        else:
            Image.fromarray(mask).save(path)
        return ImageRaster(path, mask=True, ram=RAM)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_masks_of_few_bits_keep_their_numbers(tmp_path, bits):
    """Pillow spreads 2 and 4 bits over 0 to 255; the class numbers are those of the file."""
    import struct
    import zlib

    mask = coordinate_mask(64, 40, classes=2**bits)
    packed = np.packbits(np.unpackbits(mask[..., None], axis=2)[..., -bits:].reshape(40, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 40, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "m.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert np.array_equal(ImageRaster(tmp_path / "m.png", mask=True, ram=RAM).read(Window(0, 0, 64, 40)), mask)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    """Opaque pixels keep their colour, fully transparent ones are white."""
    rgba = np.dstack([RGB, np.where(GREY % 2, 255, 0).astype(np.uint8)])
    rgba[..., :3] = GREY[..., None] & 0xF0
    picture = Image.fromarray(rgba)
    if mode == "P":
        picture = Image.fromarray(GREY % 2)
        picture.putpalette([9, 8, 7, 60, 50, 40])
        picture.info["transparency"] = 0
    picture = picture if mode == "P" else picture.convert(mode)
    picture.save(tmp_path / "a.png")
    opaque = np.array([60, 50, 40]) if mode == "P" else rgba[..., :3]
    expected = np.where((GREY % 2 == 1)[..., None], opaque, 255)
    expected = expected[..., 0] if mode == "LA" else expected
    read, valid = ImageRaster(tmp_path / "a.png", mask=False, ram=RAM).read_valid(Window(0, 0, 301, 203))
    assert np.array_equal(read, expected)
    assert np.array_equal(valid, GREY % 2 == 1)


def test_jpeg_is_what_pillow_decodes(tmp_path):
    """A JPEG image, in a file that does not say so by its suffix."""
    Image.fromarray(RGB).save(tmp_path / "a.dat", format="jpeg", quality=90)
    got = ImageRaster(tmp_path / "a.dat", mask=False, ram=RAM).read(Window(7, 9, 200, 100))
    assert np.array_equal(got, np.asarray(Image.open(tmp_path / "a.dat"))[9:109, 7:207])


def test_more_than_the_budget_is_refused_from_the_header(tmp_path, monkeypatch):
    """The error says size, budget and cures, before a pixel is decoded; the limit itself still fits."""
    Image.fromarray(RGB).save(tmp_path / "a.png")
    assert ImageRaster(tmp_path / "a.png", mask=False, ram=RGB.size).read(Window(0, 0, 5, 5)).shape == (5, 5, 3)
    monkeypatch.setattr(ImageRaster, "_decode", lambda self, out: pytest.fail("decoded"))
    with pytest.raises(ReadError, match=r"301 x 203 px.*183,309.*ram=183,308.*vips tiffsave.*array"):
        ImageRaster(tmp_path / "a.png", mask=False, ram=RGB.size - 1).require_fits()


def test_pillows_own_limit_is_neither_used_nor_touched(tmp_path, monkeypatch):
    """The budget decides, not a setting of the whole program."""
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 301 * 7)
    assert np.array_equal(ImageRaster(tmp_path / "a.png", mask=False, ram=RAM).read(Window(0, 0, 301, 203)), RGB)
    assert Image.MAX_IMAGE_PIXELS == 301 * 7


def _save(path, mode):
    if mode == "16-bit RGB":
        import imagecodecs

        path.write_bytes(imagecodecs.png_encode(RGB.astype(np.uint16) * 257))
    elif mode == "I;16":
        Image.fromarray(GREY.astype(np.uint16)).save(path, format="png")
    elif mode == "F":
        Image.fromarray(GREY.astype(np.float32)).save(path, format="tiff")
    else:
        Image.fromarray(RGB).convert(mode).save(path, format="jpeg" if mode == "CMYK" else "png")


@pytest.mark.parametrize("mode", ["CMYK"])
def test_other_colours_are_refused(tmp_path, mode):
    """Nothing is squeezed or converted in silence."""
    _save(tmp_path / "a", mode)
    with pytest.raises(ReadError, match="an image is grey or RGB; convert it"):
        ImageRaster(tmp_path / "a", mask=False, ram=RAM).require_fits()


@pytest.mark.parametrize(("mode", "word"), [("RGB", "one integer"), ("RGBA", "one integer"), ("CMYK", "JPEG alters")])
def test_masks_of_colours_are_refused(tmp_path, mode, word):
    """Colours, transparency and lossy formats hold no class numbers."""
    _save(tmp_path / "a", mode)
    with pytest.raises(ReadError, match=word):
        ImageRaster(tmp_path / "a", mask=True, ram=RAM).require_fits()


def test_a_truncated_file_is_an_error(tmp_path):
    """Half a picture is none."""
    Image.fromarray(RGB).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match="cannot be decoded"):
        ImageRaster(tmp_path / "a.png", mask=False, ram=RAM).read(Window(0, 0, 1, 1))


@pytest.mark.parametrize("form", ["jpeg", "png"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_the_orientation_of_a_camera_is_applied(tmp_path, turn, form):
    """Image and mask stand as Pillow's own `exif_transpose` puts them, sizes as well."""
    exif = Image.Exif()
    exif[0x0112] = turn
    for picture, mask in ((Image.fromarray(RGB), False), (Image.fromarray(GREY), True)):
        if mask and form == "jpeg":
            continue
        picture.save(tmp_path / "a", format=form, exif=exif)
        upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a")))
        raster = ImageRaster(tmp_path / "a", mask=mask, ram=RAM)
        assert raster.level_dimensions == (upright.shape[1::-1],)
        assert np.array_equal(raster.read(Window(0, 0, *upright.shape[1::-1])), upright)


def test_room_of_deleted_slides_in_cycles_is_free(tmp_path):
    """A learner refers to itself, so its slides live until the cycle is collected; the next slide must not fail."""
    for name in ("a.png", "b.png"):
        Image.fromarray(coordinate_image(90, 70)).save(tmp_path / name)
    gc.disable()
    try:
        cycle = {"slide": open_raster(tmp_path / "a.png", ram=20_000)}
        cycle["self"] = cycle
        cycle["slide"].read(Window(0, 0, 9, 9))
        with pytest.raises(ReadError, match="which other slides have taken already"):
            open_raster(tmp_path / "b.png", ram=20_000)
        del cycle
        assert np.array_equal(
            open_raster(tmp_path / "b.png", ram=20_000).read(Window(0, 0, 90, 70)), coordinate_image(90, 70)
        )
    finally:
        gc.enable()
