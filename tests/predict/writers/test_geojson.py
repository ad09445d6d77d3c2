"""Polygons: drawn again by rasterio and by our own reader they are the map, valid for shapely, and QuPath's."""

import json

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from rasterio.features import rasterize
from scipy import ndimage

from patchaug import Window, open_slide
from patchaug.errors import FrameError, OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.geojson import GeoJsonWriter
from patchaug.readers.georeference import Georeference

from .maps import CODES, class_maps, cuts, frame_of, fresh_folder, write_map


def features(path):
    """Read the features, as JSON."""
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert collection["type"] == "FeatureCollection"
    return collection["features"]


def drawn_again(path, shape, **fields):
    """Draw a file by GDAL's rule."""
    numbers = {name: number for number, name in enumerate(CODES)} | {"Ignore*": 255}
    shapes = [
        (one["geometry"], numbers[one["properties"]["classification"]["name"]]) for one in features(path)
    ]  # fmt: skip
    return rasterize(shapes, shape, dtype=np.uint8, **fields) if shapes else np.zeros(shape, np.uint8)


@given(classes=class_maps(), data=st.data(), background=st.sampled_from([0, None, "nucleus"]))
def test_drawn_again_they_are_the_map(classes, data, background):
    """Each 4-connected component is one valid polygon, in any bands; the same file comes from one band."""
    folder, frame = fresh_folder(), frame_of(classes)
    edges = data.draw(cuts(len(classes)))
    path = write_map("geojson", folder / "a", frame, classes, edges, background=background)
    assert path.read_bytes() == write_map(
        "geojson", folder / "b", frame, classes, [0, len(classes)], background=background
    ).read_bytes()  # fmt: skip
    left_out = None if background is None else 0 if background == 0 else 1
    np.testing.assert_array_equal(drawn_again(path, classes.shape), np.where(classes == left_out, 0, classes))
    found = features(path)
    components = sum(ndimage.label(classes == c)[1] for c in range(len(CODES)) if c != left_out)
    shapes = [shapely.geometry.shape(one["geometry"]) for one in found]
    assert len(found) == components and all(one.is_valid for one in shapes)
    assert sum(one.area for one in shapes) == (classes != left_out).sum()
    assert all(one.exterior.is_ccw and not any(hole.is_ccw for hole in one.interiors) for one in shapes)
    if background == 0:
        height, width = classes.shape
        slide = open_slide(np.zeros((height, width, 3), np.uint8), path, name="a", codes=CODES)
        np.testing.assert_array_equal(slide.read(Window(0, 0, width, height)).mask, classes)


@given(
    classes=class_maps(24), factor=st.sampled_from([1, 2, 3, 5, 1.5, 2.5, 1.1]),
    more=st.tuples(*[st.integers(0, 4)] * 2),
    geo=st.sampled_from(["no", "north up", "turned", "degrees", "no name", "pixels"]),
)  # fmt: skip
def test_they_are_the_mask_of_the_slide(classes, factor, more, geo, placed_raster):
    """At any level, of whole factors or not, on slides with and without a place on the map."""
    height, width = classes.shape
    right, below = (one % factor if isinstance(factor, int) else 0 for one in more)
    image = np.zeros((round(height * factor) + below, round(width * factor) + right, 3), np.uint8)
    place = {
        "no": None,
        "turned": Georeference((0.4, 0.1, 5e5, 0.2, -0.3, 4.6e6), "EPSG:32633"),
        "degrees": Georeference((1e-6, 0, 13.1, 0, -1e-6, 45.2), "EPSG:4326"),
        "no name": Georeference((0.5, 0, 5e5, 0, -0.5, 4.6e6), None),
    }.get(geo, Georeference((0.5, 0, 5e5, 0, -0.5, 4.6e6), "EPSG:32633"))
    raster = placed_raster(image, place)
    slide = open_slide(raster, name="a")
    frame = MapFrame.of_size(slide, CODES, width, height)
    options = {"coordinates": "pixels"} if geo == "pixels" else {}
    path = write_map("geojson", fresh_folder() / "a.geojson", frame, classes, [0, height], **options)
    seen = open_slide(raster, path, name="a", codes=CODES)
    try:
        wanted = open_slide(image, classes, name="a", codes=CODES)
    except FrameError:
        assume(False)
    inside = Window(0, 0, *(round(n * f) for n, f in zip((width, height), frame.l0_per_pixel, strict=True)))
    assume(inside.width <= image.shape[1] and inside.height <= image.shape[0])
    again, labels = seen.read_mask(inside), wanted.read_mask(inside)
    if any(step % 1 for step in frame.l0_per_pixel) and geo not in ("no", "pixels"):
        # An edge may lie on the centre of a level-0 pixel, and coordinates of a map are rounded: only centres of the
        # map's own pixels are certain.
        rows, columns = (
            (np.arange(n) * 2 + 1) * length // (2 * n) for n, length in zip(classes.shape, again.shape, strict=True)
        )
        again, labels = again[np.ix_(rows, columns)], classes
    np.testing.assert_array_equal(again, labels)
    if frame.georeference is not None and geo not in ("no name", "pixels"):
        a, b, c, d, e, f = frame.georeference.transform
        transform = rasterio.Affine(a, b, c, d, e, f)
        np.testing.assert_array_equal(drawn_again(path, classes.shape, transform=transform), classes)
        named = json.loads(path.read_text())["crs"]["properties"]["name"]
        assert rasterio.crs.CRS.from_user_input(named) == rasterio.crs.CRS.from_user_input(place.crs)
        for one in features(path):
            assert shapely.geometry.shape(one["geometry"]).exterior.is_ccw


@pytest.fixture(scope="module")
def placed_raster():
    """Return a function that makes a raster of an array with a place."""
    from patchaug.readers import ArrayRaster

    def make(image, place):
        raster = ArrayRaster(image)
        if place is not None:
            raster.georeference = place
        return raster

    return make


@given(classes=class_maps(), tolerance=st.sampled_from([0.5, 1.0, 2.5]), per_pixel=st.sampled_from([1.0, 4.0]))
def test_simplified_outlines_stay_within_the_tolerance(classes, tolerance, per_pixel):
    """By Hausdorff's distance of each outline; all are valid, none is lost, none gets more points."""
    folder, frame = fresh_folder(), frame_of(classes, l0_per_pixel=(per_pixel, per_pixel))
    exact = features(write_map("geojson", folder / "a", frame, classes, [0, len(classes)]))
    simple = features(
        write_map("geojson", folder / "b", frame, classes, [0, len(classes)], simplify=tolerance * per_pixel)
    )
    assert len(exact) == len(simple)
    for one, other in zip(exact, simple, strict=True):
        a, b = shapely.geometry.shape(one["geometry"]), shapely.geometry.shape(other["geometry"])
        assert b.is_valid and b.area > 0
        assert shapely.get_num_coordinates(b) <= shapely.get_num_coordinates(a)
        for ring in [b.exterior, *b.interiors]:
            nearest = min(ring.hausdorff_distance(old) for old in [a.exterior, *a.interiors])
            assert nearest <= tolerance * per_pixel + 1e-9


def test_properties_are_those_of_qupath(tmp_path):
    """QuPath reads objectType, and the classification's name and colour; what is not predicted is Ignore*."""
    classes = np.array([[0, 1, 255, 3]], np.uint8)
    path = write_map("geojson", tmp_path / "a", frame_of(classes), classes, [0, 1], ignore=255, object_type="detection")
    assert [one["properties"] for one in features(path)] == [
        {"objectType": "detection", "classification": {"name": "nucleus", "color": [0, 158, 115]}},
        {"objectType": "detection", "classification": {"name": "Ignore*", "color": [128, 128, 128]}},
        {"objectType": "detection", "classification": {"name": "œdème", "color": [86, 180, 233]}},
    ]
    slide = open_slide(np.zeros((1, 4, 3), np.uint8), path, name="a", codes=CODES, ignore_index=255)
    assert slide.read_mask(Window(0, 0, 4, 1)).tolist() == [[0, 1, 255, 3]]


def test_wrong_options_are_refused():
    """With a cure."""
    frame = frame_of(np.zeros((2, 2), np.uint8))
    for options, text in [
        ({"background": "fat"}, "one of the classes"), ({"background": 4}, "one of the classes"),
        ({"object_type": "cell"}, "detection"), ({"simplify": -1}, "number of level-0 pixels"),
        ({"simplify": float("nan")}, "number of level-0 pixels"), ({"coordinates": "map"}, 'coordinates="pixels"'),
        ({"coordinates": "degrees"}, '"auto"'),
    ]:  # fmt: skip
        with pytest.raises(OptionError, match=text):
            GeoJsonWriter("a", frame, **options)


def test_a_polygon_that_readers_refuse_is_a_warning(tmp_path, monkeypatch):
    """It is written all the same."""
    monkeypatch.setattr("patchaug.predict.writers.geojson.HOLES", 8)
    classes = np.ones((7, 7), np.uint8)
    classes[1::2, 1::2] = 0
    with pytest.warns(UserWarning, match="an object has 9 holes"):
        path = write_map("geojson", tmp_path / "a", frame_of(classes), classes, [0, 7])
    np.testing.assert_array_equal(drawn_again(path, (7, 7)), classes)


@pytest.mark.parametrize("limit", ["BYTES", "VERTICES"])
def test_a_file_that_readers_refuse_is_a_warning(limit, tmp_path, monkeypatch):
    """By its size or its points."""
    monkeypatch.setattr(f"patchaug.predict.writers.geojson.{limit}", 3)
    with pytest.warns(UserWarning, match="with 4 points, more than our own reader"):
        write_map("geojson", tmp_path / "a", frame_of(np.ones((2, 2), np.uint8)), np.ones((2, 2), np.uint8), [0, 2])
