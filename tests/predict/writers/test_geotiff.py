"""GeoTIFF as GDAL reads it: pixels, transform, system, overviews, colours, names; and as a mask of its slide."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from patchaug import Window, open_slide
from patchaug.core.palette import class_colour
from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.pyramid import level_sizes
from patchaug.readers import ArrayRaster
from patchaug.readers.georeference import Georeference

from .maps import CODES, class_maps, cuts, fresh_folder, random_probabilities, write_map
from .test_tiff import mean_level, nearest_level

PLACES = {
    "north up": ("EPSG:32633", (0.5, 0, 4e5, 0, -0.5, 5e6)),
    "degrees": ("EPSG:4326", (1e-5, 0, 13, 0, -1e-5, 45)),
    "turned": ("EPSG:32633", (0.5, 0.1, 4e5, 0.1, -0.5, 5e6)),
    "south up": ("EPSG:32633", (0.5, 0, 4e5, 0, 0.5, 5e6)),
    "no code": ("+proj=laea +lat_0=47 +lon_0=11 +datum=WGS84", (0.5, 0, 4e5, 0, -0.5, 5e6)),
}


def scene(path, classes, crs, transform, **tags):
    """Write a scene of the map's size by GDAL."""
    height, width = classes.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint8", crs=crs,
        transform=rasterio.Affine(*transform), tiled=True, blockxsize=64, blockysize=64, **tags,
    ) as file:  # fmt: skip
        file.write(classes[None])
    return open_slide(path)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


@settings(max_examples=30)
@given(classes=class_maps(50), data=st.data(), place=st.sampled_from(sorted(PLACES)))
def test_class_maps(classes, data, place):
    """Everything that GDAL knows of the scene, it knows of the map."""
    folder = fresh_folder()
    slide = scene(folder / "scene.tif", classes, *PLACES[place])
    frame = MapFrame.of_level(slide, CODES)
    path = write_map("tif", folder / "map.tif", frame, classes, data.draw(cuts(len(classes))), tile=16)
    with rasterio.open(folder / "scene.tif") as wanted, rasterio.open(path) as found:
        np.testing.assert_array_equal(found.read(1), classes)
        assert found.transform.almost_equals(wanted.transform, 1e-9) and found.crs == wanted.crs
        assert found.tags()["AREA_OR_POINT"] == "Area" and found.tags()["CLASS_2"] == CODES[2]
        assert [found.colormap(1)[n][:3] for n in (1, 2)] == [class_colour(n, None) for n in (1, 2)]
        factors = [2**k for k in range(1, len(level_sizes(*classes.shape, 16)))]
        assert len(found.overviews(1)) == len(factors)
    for number, factor in enumerate(factors):
        with rasterio.open(path, overview_level=number) as level:
            np.testing.assert_array_equal(level.read(1), nearest_level(classes, factor))
    height, width = classes.shape
    again = open_slide(folder / "scene.tif", path, codes=CODES)
    np.testing.assert_array_equal(again.read_mask(Window(0, 0, width, height)), classes)


@given(classes=class_maps(40), dtype=st.sampled_from(["uint8", "uint16", "float16", "float32"]))
def test_probabilities(classes, dtype):
    """A band for each class, with its name; band times scale is the probability."""
    pytest.importorskip("pyproj")
    given_values = random_probabilities(classes)
    slide = open_slide(placed(classes, "EPSG:32633", PLACES["north up"][1]), name="a")
    path = write_map(
        "tif", fresh_folder() / "p.tif", MapFrame.of_level(slide, CODES), classes, [0, len(classes)], given_values,
        what="probabilities", dtype=dtype, tile=16,
    )  # fmt: skip
    with rasterio.open(path) as file:
        assert file.descriptions == CODES and file.crs.to_epsg() == 32633
        scaled = file.read().astype(np.float64) * np.array(file.scales)[:, None, None]
    assert open_slide(path).channel_names == CODES
    slack = {"uint8": 0.51 / 255, "uint16": 0.51 / 65535, "float16": 2**-11, "float32": 0}[dtype]
    np.testing.assert_allclose(scaled, given_values, rtol=0, atol=slack)
    if max(classes.shape) > 16:
        with rasterio.open(path, overview_level=0) as level:
            for band, plane in zip(level.read(), file_planes(path), strict=True):
                np.testing.assert_allclose(band, mean_level(plane, 2), atol=0.51 if dtype[0] == "u" else 1e-3)


def file_planes(path):
    """Read the bands of level 0."""
    with rasterio.open(path) as file:
        return file.read()


def placed(classes, crs, transform):
    """Return a raster of an image with a place, but without the tags of a file."""
    raster = ArrayRaster(np.zeros((*classes.shape, 3), np.uint8))
    raster.georeference = Georeference(transform, crs)
    return raster


def test_points_become_areas(tmp_path):
    """The tags of a scene whose coordinates are those of pixel centres."""
    classes = np.arange(4, dtype=np.uint8).reshape(2, 2)
    slide = scene(tmp_path / "a.tif", classes, *PLACES["north up"], AREA_OR_POINT="Point")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    slide = open_slide(tmp_path / "a.tif")
    path = write_map("tif", tmp_path / "map.tif", MapFrame.of_level(slide, CODES), classes, [0, 2])
    with rasterio.open(tmp_path / "a.tif") as wanted, rasterio.open(path) as found:
        assert found.transform == wanted.transform and found.tags()["AREA_OR_POINT"] == "Area"


@pytest.mark.parametrize("suffix", ["tif", "ome.tif"])
@pytest.mark.parametrize("crs", ["EPSG:32633", None, "stage, micrometres"])
def test_a_part_of_a_slide_opens_as_a_mask_of_the_slide(suffix, crs, tmp_path):
    """By its place on the map, or because the file covers the slide; elsewhere is ignore_index."""
    if suffix == "tif" and crs == "EPSG:32633":
        pytest.importorskip("pyproj")
    whole = np.random.default_rng(0).integers(0, 4, (60, 90)).astype(np.uint8)
    raster = placed(whole, crs, PLACES["north up"][1]) if crs else np.zeros((60, 90, 3), np.uint8)
    frame = MapFrame.of_level(open_slide(raster, name="a"), CODES)
    place = None if frame.georeference is None else frame.georeference.of_part(21, 13, 1, 1)
    part = replace(frame, width=30, height=20, l0_x=21.0, l0_y=13.0, whole=(90, 60), georeference=place)
    path = write_map(suffix, tmp_path / "a", part, whole[13:33, 21:51], [0, 7, 20], tile=16)
    seen = open_slide(raster, path, name="a", codes=CODES, ignore_index=255)
    wanted = np.full_like(whole, 255)
    wanted[13:33, 21:51] = whole[13:33, 21:51]
    np.testing.assert_array_equal(seen.read_mask(Window(0, 0, 90, 60)), wanted)
    assert (seen.mask.level_dimensions[0] == (30, 20)) == (suffix == "tif" and crs == "EPSG:32633")


def test_without_pyproj_a_code_is_an_error(monkeypatch):
    """Unless the scene's own tags say what it means."""
    from patchaug.predict.writers.registry import open_writer

    monkeypatch.setitem(__import__("sys").modules, "pyproj", None)
    slide = open_slide(placed(np.zeros((4, 4)), "EPSG:32633", PLACES["north up"][1]), name="a")
    with pytest.raises(OptionError, match=r"patchaug\[geo\]"):
        open_writer("tif", "a", MapFrame.of_level(slide, CODES))
