"""Many kinds of image, generated here: each equals what a reference decodes, or ends in one error with a cure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchaug import PatchaugError, Window, open_slide
from patchaug.readers import ImageRaster, TiffRaster

SIZE = (150, 110)  # width, height: no multiple of a tile
BANDS = 6
NUMBERS = itertools.count()  # of files: a file of the same size, written within a tick of the clock, looks unchanged
RNG = np.random.default_rng(3)
OME = '<Channel ID="Channel:0:{}" SamplesPerPixel="1" Name="{}"/>'


def pixels(dtype: str, channels: int | None = None, *, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return random pixels over the whole range of a type."""
    shape = (size[1], size[0]) if channels is None else (size[1], size[0], channels)
    if np.dtype(dtype).kind == "f":
        return (RNG.random(shape) * 4 - 1).astype(dtype)
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype, endpoint=True)


def tiled(path: Path, image: np.ndarray, **options: Any) -> None:
    """Write a tiled TIFF."""
    tifffile.imwrite(path, image, **{"tile": (64, 48), **options})


def planar(path: Path, image: np.ndarray, **options: Any) -> None:
    """Write a band-interleaved TIFF."""
    tifffile.imwrite(
        path, image.transpose(2, 0, 1).copy(), photometric="minisblack", planarconfig="separate", **options
    )


def ome(path: Path, image: np.ndarray, levels: int = 1, **options: Any) -> None:
    """Write an OME-TIFF with one page a channel, and SubIFDs."""
    names = {"Name": [f"stain {k}" for k in range(image.shape[2])]}
    with tifffile.TiffWriter(path, ome=True) as writer:
        planes = image.transpose(2, 0, 1).copy()
        common = {"photometric": "minisblack", "tile": (64, 48), **options}
        metadata = {"axes": "CYX", "Channel": names, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        writer.write(planes, subifds=levels - 1, metadata=metadata, **common)
        for level in range(1, levels):
            writer.write(planes[:, :: 2**level, :: 2**level].copy(), subfiletype=1, **common)


def rgb_ome(path: Path, image: np.ndarray) -> None:
    """Write a planar RGB OME-TIFF of two levels."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        options = {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 48)}
        metadata = {"axes": "SYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        writer.write(image.transpose(2, 0, 1).copy(), subifds=1, metadata=metadata, **options)
        writer.write(image[::2, ::2].transpose(2, 0, 1).copy(), subfiletype=1, **options)


def imagej(path: Path, image: np.ndarray) -> None:
    """Write an ImageJ hyperstack of channels, big-endian."""
    planes = image.transpose(2, 0, 1).copy()
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "CYX"}, byteorder=">")


def png(path: Path, image: np.ndarray) -> None:
    """Write a PNG of any depth."""
    path.write_bytes(imagecodecs.png_encode(image))


TWELVE = (pixels("u2") >> 4).astype(np.uint16)
GREY_ALPHA = np.dstack([pixels("u1"), np.where(pixels("u1") % 2, 255, 0)]).astype(np.uint8)
OPAQUE = np.dstack([pixels("u1", 3), np.full(SIZE[::-1], 255, np.uint8)])
CUT = OPAQUE.copy()
CUT[:40, :50, 3] = 0
WHITE_CUT = np.where(CUT[..., 3:] == 0, 255, CUT[..., :3])
PALETTE = RNG.integers(0, 2**16, (3, 256), np.uint16)

Write = Callable[[Path, np.ndarray], None]

# name: (suffix, image that is written, writer, expected pixels or None for the same)
RIGHT: dict[str, tuple[str, np.ndarray, Write, np.ndarray | None]] = {
    **{
        f"{kind} {channels} channels, {codec}": (
            ".tif", pixels(kind, channels if channels > 1 else None), lambda p, a, codec=codec: tiled(
                p, a, compression=codec, photometric="minisblack",
                planarconfig="contig" if a.ndim == 3 else None), None)
        for kind in ("u1", "u2", "i2", "f2", "f4") for channels, codec in ((1, "zstd"), (2, None), (6, "lzw"))
    },
    **{
        f"{kind} planar {layout}": (
            ".tif", pixels(kind, BANDS), lambda p, a, options=options: planar(p, a, **options), None)
        for kind in ("u1", "u2", "f4")
        for layout, options in (
            ("tiles", {"tile": (64, 48), "compression": "deflate"}), ("strips", {"rowsperstrip": 7}))
    },
    "predictor 2": (".tif", pixels("u2", 3), lambda p, a: tiled(p, a, compression="zstd", predictor=2), None),
    "predictor 2, planar": (
        ".tif", pixels("u2", 3), lambda p, a: planar(p, a, tile=(64, 48), compression="lzw", predictor=2), None),
    "predictor 3": (".tif", pixels("f4", 3), lambda p, a: tiled(
        p, a, compression="deflate", predictor=3, photometric="minisblack", planarconfig="contig"), None),
    "big-endian": (".tif", pixels("u2", 3), lambda p, a: tiled(p, a, byteorder=">", photometric="rgb"), None),
    "big-endian strips": (".tif", pixels("i2"), lambda p, a: tifffile.imwrite(p, a, byteorder=">"), None),
    "big TIFF": (".tif", pixels("u2", 4), lambda p, a: tiled(
        p, a, bigtiff=True, photometric="minisblack", planarconfig="contig"), None),
    "12 bits": (".tif", TWELVE, lambda p, a: tifffile.imwrite(p, a, bitspersample=12), None),
    "RGB 16 bits": (".tif", pixels("u2", 3), lambda p, a: tiled(p, a, photometric="rgb"), None),
    "JPEG 2000, 16 bits": (".tif", pixels("u2"), lambda p, a: tiled(
        p, a, compression="jpeg2000", compressionargs={"reversible": True, "level": 0}), None),
    "LERC": (".tif", pixels("f4", 3), lambda p, a: tiled(
        p, a, compression="lerc", photometric="minisblack", planarconfig="contig"), None),
    "OME, a page a channel": (".ome.tif", pixels("u2", 3), ome, None),
    "OME, four 8-bit channels": (".ome.tif", pixels("u1", 4), ome, None),
    "OME, three pages that are one RGB": (".ome.tif", pixels("u1", 3), ome, None),
    "OME, planar RGB with levels": (".ome.tif", pixels("u1", 3), rgb_ome, None),
    "OME, three levels": (".ome.tif", pixels("u2", 2), lambda p, a: ome(p, a, 3), None),
    "ImageJ channels": (".tif", pixels("u2", 3), imagej, None),
    "palette": (".tif", pixels("u1"), lambda p, a: tiled(
        p, a, photometric="palette", colormap=PALETTE), (PALETTE >> 8).astype("u1")),
    "opaque alpha": (".tif", OPAQUE, lambda p, a: tiled(p, a, photometric="rgb", extrasamples=[2]), OPAQUE[..., :3]),
    "alpha 0 and full": (".tif", CUT, lambda p, a: tiled(p, a, photometric="rgb", extrasamples=[1]), WHITE_CUT),
    "alpha, planar strips": (".tif", CUT, lambda p, a: tifffile.imwrite(
        p, a.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate", extrasamples=[2]), WHITE_CUT),
    "alpha, WebP": (".tif", CUT, lambda p, a: tiled(
        p, a, photometric="rgb", extrasamples=[2], compression="webp", compressionargs={"lossless": True},
        tile=(64, 64)), WHITE_CUT),
    "alpha, LERC": (".tif", CUT, lambda p, a: tiled(
        p, a, photometric="rgb", extrasamples=[2], compression="lerc"), WHITE_CUT),
    "grey and alpha": (".tif", GREY_ALPHA, lambda p, a: tiled(
        p, a, photometric="minisblack", planarconfig="contig", extrasamples=[2]),
        np.where(GREY_ALPHA[..., 1] == 0, 255, GREY_ALPHA[..., 0])),
    "RGB and unknown": (".tif", OPAQUE, lambda p, a: tiled(p, a, photometric="rgb", extrasamples=[0]), None),
    "PNG 16-bit grey": (".png", pixels("u2"), png, None),
    "PNG 16-bit RGB": (".png", pixels("u2", 3), png, None),
    "PNG grey": (".png", pixels("u1"), png, None),
    "PNG RGBA": (".png", CUT, png, WHITE_CUT),
}  # fmt: skip


@pytest.mark.parametrize("kind", RIGHT)
def test_pixels_are_those_that_were_written(tmp_path: Path, kind: str) -> None:
    """Every level, in windows and whole, with dtype and channels; a pickled slide reads the same."""
    suffix, image, write, expected = RIGHT[kind]
    path = tmp_path / f"a{suffix}"
    write(path, image)
    if expected is None:
        expected = image
    elif kind == "palette":
        expected = expected.T[image]
    expected = expected[..., None] if expected.ndim == 2 else expected
    slide = open_slide(path, ram="64MB")
    assert (slide.dtype, slide.channels) == (expected.dtype, expected.shape[2])
    for level, (width, height) in enumerate(slide.level_dimensions):
        whole = expected[:: 2**level, :: 2**level]
        for x, y, w, h in ((0, 0, width, height), (width - 1, height - 1, 1, 1), (width // 3, height // 4, 29, 17)):
            read = slide.read(Window(x, y, min(w, width - x), min(h, height - y), level)).image
            part = whole[y : y + h, x : x + w]
            assert read.dtype == part.dtype
            assert np.array_equal(read, part), (level, x, y)
    if suffix != ".png" and expected is image:
        theirs = tifffile.imread(path, series=0)
        theirs = theirs if theirs.ndim == 2 or theirs.shape[2] == image.shape[-1] else theirs.transpose(1, 2, 0)
        assert np.array_equal(theirs, image)


@pytest.mark.filterwarnings("ignore")  # GDAL: no georeference
@pytest.mark.parametrize("kind", [name for name, case in RIGHT.items() if case[0] == ".tif"])
def test_rasterio_reads_the_same(tmp_path: Path, kind: str) -> None:
    """GDAL, an independent reader, gives the same bands."""
    rasterio = pytest.importorskip("rasterio")
    _, image, write, expected = RIGHT[kind]
    path = tmp_path / "a.tif"
    write(path, image)
    try:
        with rasterio.open(path) as dataset:
            theirs = dataset.read()
    except Exception as error:  # a codec or type that this build of GDAL lacks
        pytest.skip(f"rasterio does not read it: {error}")
    if expected is not None or theirs.shape[0] != (1 if image.ndim == 2 else image.shape[2]):
        pytest.skip("GDAL gives palette indices, alpha as a band, or one page")
    ours = open_slide(path, ram="64MB").read(Window(0, 0, *SIZE)).image
    assert np.array_equal(ours, theirs.transpose(1, 2, 0))


def stack(path: Path, axes: str, *, truncate: bool = False, **options: Any) -> np.ndarray:
    """Write a stack of four planes."""
    planes = np.stack([pixels("u2") for _ in range(4)])
    tifffile.imwrite(path, planes, photometric="minisblack", truncate=truncate, metadata={"axes": axes}, **options)
    return planes


def one_ifd(path: Path) -> np.ndarray:
    """Write what ImageJ writes above 4 GB: one IFD, and its planes one after the other."""
    planes = np.stack([pixels("u2") for _ in range(4)])
    tifffile.imwrite(path, planes[0], metadata=None, description="ImageJ=1.53\nimages=4\nslices=4\n")
    with open(path, "ab") as file:
        file.write(planes[1:].tobytes())
    return planes


STACKS = {
    "pages without a meaning": lambda p: stack(p, "QYX"),
    "depth": lambda p: stack(p, "ZYX"),
    "time, ImageJ": lambda p: stack(p, "TYX", imagej=True),
    "truncated": lambda p: stack(p, "QYX", truncate=True),
    "ImageJ in one IFD": one_ifd,
}


@pytest.mark.parametrize("kind", STACKS)
def test_planes_of_a_stack_are_chosen_and_never_guessed(tmp_path: Path, kind: str) -> None:
    """The error offers channels=; each plane can be read by number and by name."""
    planes = STACKS[kind](tmp_path / "a.tif")
    with pytest.raises(PatchaugError, match="stack of 4 pictures") as caught:
        open_slide(tmp_path / "a.tif", ram="64MB")
    offered = re.findall(r"channels=(\[.*?\])", str(caught.value))
    assert len(offered) == 2
    for text in offered:
        choice = eval(text)  # the cure, followed
        slide = open_slide(tmp_path / "a.tif", ram="64MB", channels=choice)
        assert np.array_equal(slide.read(Window(0, 0, *SIZE)).image, planes[: len(choice)].transpose(1, 2, 0))
    slide = open_slide(tmp_path / "a.tif", ram="64MB", channels=[3, 1])
    assert np.array_equal(slide.read(Window(9, 7, 50, 60)).image, planes[[3, 1], 7:67, 9:59].transpose(1, 2, 0))


@pytest.mark.parametrize("write", [tiled, lambda p, a, **o: tifffile.imwrite(p, a, rowsperstrip=16, **o)])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_infrared_that_is_tagged_alpha_is_never_transparency(tmp_path: Path, kind: str, write) -> None:
    """GDAL tags the fourth band of 8-bit RGB as alpha. The error comes when it is opened, and both cures work."""
    scene = pixels(kind, 4)
    write(tmp_path / "scene.tif", scene, photometric="rgb", extrasamples=[2])
    with pytest.raises(PatchaugError, match="channel 3 is tagged as alpha and holds ") as caught:
        open_slide(tmp_path / "scene.tif", ram="64MB")
    offered = re.findall(r"channels=(\[[^]]*\])", str(caught.value))
    assert offered == ["[0, 1, 2]", "[0, 1, 2, 3]"]
    for text in offered:
        choice = eval(text)
        slide = open_slide(tmp_path / "scene.tif", ram="64MB", channels=choice)
        assert np.array_equal(slide.read(Window(0, 0, *SIZE)).image, scene[..., choice])


def test_a_rare_value_of_alpha_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    """The sample at open may miss it; the tile that holds it does not pass."""
    scene = np.full((600, 600, 4), 255, np.uint8)
    scene[301, 290, 3] = 77
    tiled(tmp_path / "scene.tif", scene, photometric="rgb", extrasamples=[2], tile=(16, 16), compression="deflate")
    slide = open_slide(tmp_path / "scene.tif")
    assert (slide.read(Window(0, 0, 64, 64)).image == 255).all()
    with pytest.raises(PatchaugError, match=r"holds 77.*window x=280 y=290"):
        slide.read(Window(280, 290, 32, 32))


def scenes(path: Path, *names: str | None, sizes: tuple[int, ...] = ()) -> list[np.ndarray]:
    """Write an OME-TIFF of several pictures."""
    images = [pixels("u1", 3, size=(size, size - 9)) for size in sizes or range(90, 90 + 8 * len(names), 8)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for name, image in zip(names, images, strict=True):
            writer.write(image, photometric="rgb", tile=(64, 48), metadata={} if name is None else {"Name": name})
    return images


@pytest.mark.parametrize("names", [("macro", "scan"), ("scan", "label", "macro image"), ("Label", "Thumbnail", "a b")])
def test_the_one_full_picture_is_taken_wherever_it_stands(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Beside label, macro and thumbnail the choice is plain."""
    images = scenes(tmp_path / "a.ome.tif", *names)
    (number,) = (n for n, name in enumerate(names) if name in ("scan", "a b"))
    slide = open_slide(tmp_path / "a.ome.tif")
    assert slide.dimensions == images[number].shape[1::-1]
    assert np.array_equal(slide.read(Window(0, 0, *slide.dimensions)).image, images[number])


def test_two_scenes_are_listed_and_chosen(tmp_path: Path) -> None:
    """By number, by name, and by the cure of the error."""
    images = scenes(tmp_path / "a.ome.tif", "left lung", "right lung")
    with pytest.raises(PatchaugError, match=r"0 'left lung' 90 x 81 px, 1 'right lung' 98 x 89 px.*series=0"):
        open_slide(tmp_path / "a.ome.tif")
    for series, image in ((0, images[0]), (1, images[1]), ("right lung", images[1]), ("1", images[1])):
        slide = open_slide(tmp_path / "a.ome.tif", series=series)
        assert np.array_equal(slide.read(Window(0, 0, *slide.dimensions)).image, image)
    for series in (2, -1, "heart"):
        with pytest.raises(PatchaugError, match="no single series .*'left lung'"):
            open_slide(tmp_path / "a.ome.tif", series=series)


def test_channels_have_names(tmp_path: Path) -> None:
    """Those of OME-XML and of GDAL's descriptions; they choose, in any order."""
    image = pixels("u2", 3)
    ome(tmp_path / "a.ome.tif", image)
    xml = "".join(f'<Item name="DESCRIPTION" sample="{k}" role="description">{name}</Item>'
                  for k, name in enumerate(("red", "nir", "swir")))  # fmt: skip
    tags = [(42112, "s", 0, f"<GDALMetadata>{xml}</GDALMetadata>", True)]
    tiled(tmp_path / "a.tif", image, extratags=tags, photometric="minisblack", planarconfig="contig")
    for path, names in ((tmp_path / "a.ome.tif", ("stain 0", "stain 1", "stain 2")),
                        (tmp_path / "a.tif", ("red", "nir", "swir"))):  # fmt: skip
        assert open_slide(path).channel_names == names
        slide = open_slide(path, channels=[names[2], names[0]])
        assert slide.channel_names == (names[2], names[0])
        assert np.array_equal(slide.read(Window(3, 5, 70, 60)).image, image[5:65, 3:73, [2, 0]])
        assert open_slide(path, channels="1").channel_names == (names[1],)
        with pytest.raises(PatchaugError, match=f"no channel 'blue'.*{names[1]}"):
            open_slide(path, channels=["blue"])
        with pytest.raises(PatchaugError, match="no channel 3; it has channels 0 to 2"):
            open_slide(path, channels=3)


@pytest.mark.parametrize("source", ["array", "tensor", "tiff", "png", "zarr"])
def test_channels_are_picked_from_every_source(tmp_path: Path, source: str) -> None:
    """Numbers in any order, twice too."""
    image = pixels("u1", 3)
    given_: Any = image
    if source == "tensor":
        given_ = pytest.importorskip("torch").from_numpy(image.transpose(2, 0, 1).copy())
    elif source == "zarr":
        given_ = tmp_path / "a.zarr"
        pytest.importorskip("zarr").create_array(given_, data=image, chunks=(40, 50, 1))
    elif source != "array":
        given_ = tmp_path / f"a.{source}"
        (png if source == "png" else tiled)(given_, image)
    for channels in ([2, 0], [1], [0, 0, 2, 1], 2):
        slide = open_slide(given_, channels=channels, ram="64MB")
        numbers = [channels] if isinstance(channels, int) else channels
        assert slide.channels == len(numbers)
        assert np.array_equal(slide.read(Window(5, 3, 60, 50)).image, image[3:53, 5:65, numbers])


@given(st.data())
def test_a_window_equals_the_array_that_was_written(tmp_path_factory, data: st.DataObject) -> None:
    """For any dtype, channels, codec, planar or not, tile size, byte order and window."""
    dtype = data.draw(st.sampled_from(["u1", "u2", "i2", "f2", "f4"]))
    width, height, channels = (data.draw(st.integers(1, most)) for most in (80, 70, 7))
    image = pixels(dtype, channels, size=(width, height))
    options: dict[str, Any] = {"compression": data.draw(st.sampled_from([None, "deflate", "lzw", "zstd", "packbits"]))}
    if data.draw(st.booleans()):
        options["tile"] = (16 * data.draw(st.integers(1, 4)), 16 * data.draw(st.integers(1, 4)))
    else:
        options["rowsperstrip"] = data.draw(st.integers(1, height))
    if options["compression"] and dtype not in ("f2", "f4") and data.draw(st.booleans()):
        options["predictor"] = 2
    options |= {"byteorder": data.draw(st.sampled_from("<>")), "photometric": "minisblack", "metadata": None}
    path = tmp_path_factory.getbasetemp() / f"property{next(NUMBERS)}.tif"
    if channels > 1 and data.draw(st.booleans()):
        tifffile.imwrite(path, image.transpose(2, 0, 1).copy(), planarconfig="separate", **options)
    else:
        contig = "contig" if channels > 1 else None
        tifffile.imwrite(path, image if contig else image[..., 0], planarconfig=contig, **options)
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    tiff = TiffRaster(path)
    whole = not tiff.header.tiled
    for numbers in (None, data.draw(st.lists(st.integers(0, channels - 1), min_size=1, max_size=4))):
        raster = (ImageRaster if whole else TiffRaster)(path, mask=False, channels=numbers, ram=1 << 22)
        read = raster.read(Window(x, y, w, h)).reshape(h, w, -1)
        chosen = image if numbers is None else image[..., numbers]
        assert read.dtype == image.dtype
        assert np.array_equal(read, chosen[y : y + h, x : x + w])
