"""Which source reads what, and one clear error for all that none reads."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from patchaug.core.windows import Window
from patchaug.errors import MissingError, OptionError, PatchaugError, ReadError
from patchaug.readers import ArrayRaster, ImageRaster, OpenSlideRaster, Raster, TiffRaster, known_suffixes, open_raster
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid
from tests.readers.conftest import DATA, real
from tests.readers.made_files import write_dicom, write_ndpi, write_svs

ROOT = Path(__file__).resolve().parents[2]
CORNER = 1024  # pixels a side that are compared
BAD = sorted(path.relative_to(DATA).as_posix() for path in (DATA / "bad").rglob("*") if path.name != ".keep")


def test_content_decides_and_not_the_suffix(tmp_path):
    """A tiled TIFF named .png is a TIFF, a PNG named .svs a PNG."""
    write_pyramid(tmp_path / "a.png", [coordinate_image(90, 70)])
    Image.fromarray(coordinate_image(90, 70)).save(tmp_path / "b.svs", format="png")
    assert isinstance(open_raster(tmp_path / "a.png"), TiffRaster)
    assert isinstance(open_raster(tmp_path / "b.svs", ram=1 << 20), ImageRaster)


def test_each_kind_of_file_has_its_source(tmp_path):
    """Tiles are read as they lie, strips whole, the makers' own formats by OpenSlide."""
    tifffile.imwrite(tmp_path / "strips.tiff", coordinate_image(90, 70), rowsperstrip=8)
    assert isinstance(open_raster(tmp_path / "strips.tiff", ram=1 << 20), ImageRaster)
    write_ndpi(tmp_path / "a.ndpi", coordinate_image(90, 70))
    for path in (tmp_path / "a.ndpi", write_dicom(tmp_path / "a.dcm", coordinate_image(90, 70))):
        assert isinstance(open_raster(path), OpenSlideRaster)
    assert isinstance(open_raster(write_svs(tmp_path / "a.svs", [coordinate_image(90, 70)])), TiffRaster)


def test_each_kind_of_real_file_has_its_reader():
    """The same formats as scanners wrote them."""
    assert isinstance(open_raster(real("slides/test3-TRITC 2 (560).ndpi")), OpenSlideRaster)
    assert isinstance(open_raster(real("slides/camelyon_lowres_jpeg.dcm")), OpenSlideRaster)
    assert isinstance(open_raster(real("slides/CMU-1-Small-Region.svs")), TiffRaster)


def test_masks_never_come_from_openslide(tmp_path):
    """Tiles, strips and PNG; a vendor's slide is no mask."""
    write_pyramid(tmp_path / "a.tiff", [coordinate_mask(90, 70)])
    Image.fromarray(coordinate_mask(90, 70)).save(tmp_path / "b.png")
    for raster in (
        open_raster(tmp_path / "a.tiff", mask=True),
        open_raster(tmp_path / "b.png", mask=True, ram=1 << 20),
    ):
        assert np.array_equal(raster.read(Window(0, 0, 90, 70)), coordinate_mask(90, 70))
    write_ndpi(tmp_path / "a.ndpi", coordinate_image(90, 70))
    with pytest.raises(ReadError, match="no reader supports the file as a mask"):
        open_raster(tmp_path / "a.ndpi", mask=True)


def test_arrays_and_rasters():
    """An array becomes a raster, a raster stays itself, a mask of bool becomes 0 and 1."""
    raster = open_raster(coordinate_image(9, 7))
    assert isinstance(raster, ArrayRaster)
    assert open_raster(raster) is raster
    assert open_raster(np.eye(4) > 0, mask=True).read(Window(0, 0, 2, 2)).tolist() == [[1, 0], [0, 1]]
    assert open_raster(coordinate_mask(9, 7), mask=True, name="the mask").name == "the mask"


@pytest.mark.parametrize(
    ("array", "mask"),
    [
        (np.zeros((4, 4)), False),
        (np.zeros((4, 4, 9), np.uint8), False),
        (np.zeros((4, 4), np.complex64), True),
        (np.zeros((4, 4, 1), np.uint8), True),
    ],
)
def test_other_arrays_are_refused(array, mask):
    """Images are of five types, with channels last; masks are integers of two axes."""
    with pytest.raises(OptionError, match=f"{array.dtype}|channels come last"):
        open_raster(array, mask=mask)


def test_what_is_no_source():
    """Neither path nor array nor raster."""
    with pytest.raises(OptionError, match="int"):
        open_raster(5)


@pytest.mark.parametrize("mask", [False, True])
def test_what_is_no_regular_file(tmp_path, mask):
    """One clear error each, and a FIFO does not hang."""
    with pytest.raises(MissingError, match="no such file"):
        open_raster(tmp_path / "missing.svs", mask=mask)
    with pytest.raises(ReadError, match="directory"):
        open_raster(tmp_path, mask=mask)
    os.mkfifo(tmp_path / "fifo.svs")
    with pytest.raises(ReadError, match="no regular file"):
        open_raster(tmp_path / "fifo.svs", mask=mask)
    (tmp_path / "empty.svs").touch()
    with pytest.raises(ReadError, match="empty"):
        open_raster(tmp_path / "empty.svs", mask=mask)
    (tmp_path / "text.svs").write_text("this is no slide")
    wanted = f"no reader supports the file as {'a mask' if mask else 'an image'}"
    with pytest.raises(ReadError, match=wanted):
        open_raster(tmp_path / "text.svs", mask=mask)
    with pytest.raises(ReadError, match="null"):
        open_raster("a\0b", mask=mask)


def test_opening_decodes_nothing(tmp_path):
    """A slide with headers alone opens; the first read says what is missing."""
    write_pyramid(tmp_path / "a.tiff", [coordinate_image(600, 500)], compression=None)
    with tifffile.TiffFile(tmp_path / "a.tiff") as tiff:
        end = tiff.pages[0].dataoffsets[0]
    os.truncate(tmp_path / "a.tiff", end)
    raster = open_raster(tmp_path / "a.tiff")
    assert raster.level_dimensions == ((600, 500),)
    with pytest.raises(ReadError, match="cut off"):
        raster.read(Window(0, 0, 1, 1))


def test_suffixes_are_lower_case_with_a_dot():
    """What file lists filter by."""
    suffixes = known_suffixes("image", "mask", "annotations")
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)
    assert {".svs", ".ndpi", ".tif", ".png"} <= known_suffixes("image")


def test_import_brings_numpy_alone():
    """No library of images is imported before the first use."""
    script = (
        "import sys; import patchaug.readers, patchaug.testing;"
        "print({'tifffile', 'openslide', 'PIL', 'imagecodecs', 'torch', 'hypothesis', 'pytest'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == "set()", done.stderr


def _try(path: str, mask: bool, answer) -> None:
    """Open a file and read all of its levels; answer with the error, or with the corner of level 0."""
    try:
        raster: Raster = open_raster(path, mask=mask, ram=1 << 28)
        levels = [raster.read(Window(0, 0, w, h, level)) for level, (w, h) in enumerate(raster.level_dimensions)]
        answer.send((None, levels[0][:CORNER, :CORNER]))
    except PatchaugError as error:
        answer.send((str(error), None))


def _independent(path: Path, dtype: np.dtype, channels: int) -> np.ndarray:
    """The same picture as OpenSlide or else Pillow decodes it; WebP, which neither reads, from its JPEG original.

    Where Pillow would drop bits or channels, as its own libraries decode it.
    """
    if dtype != np.uint8 or channels not in (1, 3):
        whole = tifffile.imread(path, key=0) if path.suffix.startswith(".tif") else imagecodecs.imread(path)
        return whole[:CORNER, :CORNER]
    if "webp" in path.name:
        path = real("slides/CMU-1-Small-Region.svs")
    openslide = pytest.importorskip("openslide")
    try:
        slide = openslide.OpenSlide(path)
        width, height = slide.dimensions
        rgba = slide.read_region((0, 0), 0, (min(width, CORNER), min(height, CORNER)))
    except openslide.OpenSlideError:
        picture = Image.open(path)
        width, height = picture.size
        rgba = picture.crop((0, 0, min(width, CORNER), min(height, CORNER))).convert("RGBA")
    # Tiles that a TIFF does not store are 0 here, as in GDAL; transparent pixels are white.
    behind = Image.new("RGBA", rgba.size, "black" if "no_dzi" in path.name else "white")
    return np.asarray(Image.alpha_composite(behind, rgba).convert("RGB"))


@pytest.mark.filterwarnings("ignore")  # Pillow and Python 3.12 warn about what is broken on purpose
@pytest.mark.parametrize("mask", [False, True], ids=["image", "mask"])
@pytest.mark.parametrize("name", BAD or ["none"])
def test_bad_files_end_in_right_pixels_or_one_clear_error(name, mask):
    """No crash, no hang, no other exception, and no pixels that an independent reader does not see."""
    path = real(f"bad/{name.removeprefix('bad/')}")
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_try, args=(str(path), mask, theirs))
    child.start()
    theirs.close()
    try:
        assert ours.poll(20), "no answer within 20 s"
        error, pixels = ours.recv()
    finally:
        child.kill()
        child.join()
    if error is not None:
        assert path.name in error
        assert "\n" not in error
    elif not mask:
        wide = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
        difference = np.abs(wide.astype(int) - _independent(path, wide.dtype, wide.shape[2]))
        assert difference.mean() < (
            6 if "webp" in name else 1
        )  # decoders of JPEG round differently; WebP is lossy again
