"""OME-TIFF as tifffile and rasterio read it, and as a mask of the same slide."""

import warnings

import numpy as np
import pytest
import rasterio
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug import Window, open_slide
from patchaug.predict.writers.pyramid import Pyramid, level_sizes

from .maps import CODES, class_maps, cuts, frame_of, fresh_folder, random_probabilities, write_map


def nearest_level(classes, factor):
    """Pick the middle of each square, by a loop."""
    height, width = classes.shape
    return np.array(
        [
            [
                classes[min(y + factor // 2, height - 1), min(x + factor // 2, width - 1)]
                for x in range(0, width, factor)
            ]
            for y in range(0, height, factor)
        ]
    )


def mean_level(plane, factor):
    """Average each square, by a loop."""
    height, width = plane.shape
    return np.array(
        [
            [plane[y : y + factor, x : x + factor].astype(np.float64).mean() for x in range(0, width, factor)]
            for y in range(0, height, factor)
        ]
    )


@given(classes=class_maps(70), data=st.data(), compression=st.sampled_from(["deflate", "zstd"]))
def test_class_maps(classes, data, compression):
    """Level 0 is the map, each level its middle pixels, with mpp and class names; it opens as a mask."""
    path = fresh_folder() / "a.ome.tif"
    frame = frame_of(classes, mpp=(0.25, 0.3))
    write_map("ome.tif", path, frame, classes, data.draw(cuts(len(classes))), tile=16, compression=compression)
    with tifffile.TiffFile(path) as tiff:
        levels = tiff.series[0].levels
        assert len(tiff.pages) == 1 and len(levels) == len(level_sizes(*classes.shape, 16))
        for k, level in enumerate(levels):
            np.testing.assert_array_equal(level.asarray(), nearest_level(classes, 2**k))
            resolution = level.keyframe.get_resolution("micrometer")
            assert resolution[0] * 0.25 * classes.shape[1] / level.shape[1] == pytest.approx(1, rel=1e-6)
        found = tifffile.xml2dict(tiff.ome_metadata)["OME"]
    pixels = found["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeY"], pixels["PhysicalSizeXUnit"]) == (0.25, 0.3, "µm")
    notes = found["StructuredAnnotations"]["MapAnnotation"]["Value"]["M"]
    assert [(note["K"], note["value"]) for note in notes] == list(enumerate(CODES))
    slide = open_slide(np.zeros((*classes.shape, 3), np.uint8), path, name="a", codes=CODES)
    height, width = classes.shape
    np.testing.assert_array_equal(slide.read(Window(0, 0, width, height)).mask, classes)


@given(classes=class_maps(50), data=st.data(), dtype=st.sampled_from(["uint8", "uint16", "float32"]))
def test_probabilities(classes, data, dtype):
    """A page for each class; levels are means of what level 0 stores."""
    path = fresh_folder() / "p.ome.tif"
    given_values, edges = random_probabilities(classes), data.draw(cuts(len(classes)))
    write_map(
        "ome.tif", path, frame_of(classes), classes, edges, given_values, what="probabilities", tile=16, dtype=dtype
    )
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    with tifffile.TiffFile(path) as tiff:
        stored = tiff.series[0].asarray().reshape(given_values.shape)
        assert stored.dtype == dtype
        np.testing.assert_allclose(stored / top, given_values, rtol=0, atol=0 if top == 1 else 0.51 / top)
        for k, level in enumerate(tiff.series[0].levels):
            planes = level.asarray().reshape(len(CODES), *level.shape[-2:])
            for plane, whole in zip(planes, stored, strict=True):
                np.testing.assert_allclose(plane, mean_level(whole, 2**k), atol=0.5001 if top > 1 else 1e-6)
    assert open_slide(path).channel_names == CODES


@settings(max_examples=15)
@given(classes=class_maps(30))
def test_gdal_reads_the_first_page(classes):
    """The other implementation of TIFF gets the same pixels."""
    path = write_map("ome.tif", fresh_folder() / "a", frame_of(classes), classes, [0, len(classes)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(file.read(1), classes)


def test_more_than_256_classes(tmp_path):
    """Class numbers are uint16 then."""
    codes = tuple(f"class {n}" for n in range(300))
    classes = np.arange(300, dtype=np.uint16).reshape(20, 15)
    frame = frame_of(classes)
    frame = type(frame)(**{**frame.__dict__, "codes": codes})
    path = write_map("ome.tif", tmp_path / "a", frame, classes, [0, 20])
    assert tifffile.imread(path).dtype == np.uint16
    np.testing.assert_array_equal(tifffile.imread(path), classes)


def test_large_files_are_bigtiff(tmp_path, monkeypatch):
    """By the bytes of their tiles."""
    monkeypatch.setattr("patchaug.predict.writers.tiff_map._CLASSIC", 10)
    classes = np.random.default_rng(0).integers(0, 4, (300, 200)).astype(np.uint8)
    path = write_map("ome.tif", tmp_path / "a", frame_of(classes), classes, [0, 300], tile=64)
    assert path.read_bytes()[:4] == b"II+\0"
    with tifffile.TiffFile(path) as tiff:
        assert [level.shape for level in tiff.series[0].levels] == [(300, 200), (150, 100), (75, 50), (38, 25)]
    np.testing.assert_array_equal(tifffile.imread(path), classes)


@given(
    st.integers(1, 60), st.integers(1, 60), st.sampled_from(["uint8", "uint16", "float64"]),
    st.sampled_from(["nearest", "mean"]), st.data(),
)  # fmt: skip
def test_pyramids_are_the_stated_reduction(height, width, dtype, reduction, data):
    """Exactly: integers are the rounded mean of level 0, whatever the bands."""
    values = np.random.default_rng(height * 61 + width).integers(0, 255, (2, height, width)).astype(dtype)
    rows: dict[tuple[int, int], list[np.ndarray]] = {}

    def sink(level, number, left, pixels):
        parts = rows.setdefault((level, number), [])
        assert left == sum(part.shape[2] for part in parts) and left % 8 == 0
        parts.append(pixels.copy())

    edges = data.draw(cuts(height))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("patchaug.predict.writers.tile_rows._HELD", data.draw(st.sampled_from([0, 900, 2**20])))
        patch.setattr("patchaug.predict.writers.pyramid._SUMMED", data.draw(st.integers(1, 2000)))
        scratch = data.draw(st.sampled_from([None, fresh_folder()]))
        pyramid = Pyramid(width, height, 2, np.dtype(dtype), 8, reduction, sink, scratch)
    for top, bottom in zip(edges, edges[1:], strict=False):
        pyramid.feed(values[:, top:bottom])
    pyramid.close()
    for k, (w, h) in enumerate(pyramid.sizes):
        tile_rows = [np.concatenate(rows[k, number], axis=2) for number in range(-(-h // 8))]
        level = np.concatenate(tile_rows, axis=1)
        assert level.shape == (2, h, w) and {len(r[0]) for r in tile_rows[:-1]} <= {8}
        for plane, whole in zip(level, values, strict=True):
            mean = mean_level(whole, 2**k)
            wanted = nearest_level(whole, 2**k) if reduction == "nearest" else mean
            np.testing.assert_array_equal(plane, wanted if dtype == "float64" else np.floor(wanted + 0.5))
