"""Polygons as masks: a pixel by its centre, a window as the slice of the whole, later over earlier, holes left out."""

import gzip
import json
import pickle
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from patchaug import FrameError, LabelError, OptionError, ReadError, Window, open_slide
from patchaug.readers import ArrayRaster, PolygonRaster
from patchaug.testing import RasterTests
from tests.readers.conftest import real

shapely = pytest.importorskip("shapely")

CODES = ["background", "tumour", "stroma", "fat"]
SIDE = 24


def feature(rings, name="tumour", kind="Polygon"):
    """A feature as QuPath writes it."""
    rings = [[*map(list, ring), list(ring[0])] for ring in rings] if kind == "Polygon" else rings
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": rings},
        "properties": {"objectType": "annotation", "classification": name and {"name": name, "color": [200, 0, 0]}},
    }


def box(x0, y0, x1, y1):
    """A rectangle as a ring."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def collection(*features):
    """A FeatureCollection."""
    return {"type": "FeatureCollection", "features": list(features)}


def drawn(features, width=SIDE, height=SIDE, codes=CODES, **kwargs):
    """All labels at level 0."""
    raster = PolygonRaster(list(features), ((width, height),), codes=codes, **kwargs)
    return raster.read(Window(0, 0, width, height))


@st.composite
def rings(draw, per_pixel=4):
    """Valid polygons, with a hole or none; coordinates in parts of a pixel, so that centres lie on edges often."""
    points = draw(
        st.lists(st.tuples(*[st.integers(-4 * per_pixel, (SIDE + 4) * per_pixel)] * 2), min_size=3, max_size=9)
    )
    outer = np.array(points) / per_pixel
    middle = outer.mean(0)
    outer = outer[np.argsort(np.arctan2(*(outer - middle).T))]
    found = [outer]
    if draw(st.booleans()):
        found.append(np.round((outer - middle) * draw(st.sampled_from([0.25, 0.5])) * per_pixel) / per_pixel + middle)
    polygon = shapely.Polygon(outer, found[1:])
    assume(polygon.is_valid and polygon.area > 0)
    return [ring.tolist() for ring in found]


def inside_by_fractions(polygon, width, height):
    """The stated rule in exact arithmetic, pixel by pixel: crossings to the left of the centre or on it are odd."""
    out = np.zeros((height, width), bool)
    for row in range(height):
        y = Fraction(2 * row + 1, 2)
        crossings = []
        for ring in polygon:
            for (xa, ya), (xb, yb) in zip(ring, ring[1:] + ring[:1], strict=True):
                (xa, ya), (xb, yb) = sorted(
                    [(Fraction(xa), Fraction(ya)), (Fraction(xb), Fraction(yb))], key=lambda p: p[1]
                )
                if ya <= y < yb:
                    crossings.append(xa + (y - ya) * (xb - xa) / (yb - ya))
        for column in range(width):
            out[row, column] = sum(at <= Fraction(2 * column + 1, 2) for at in crossings) % 2
    return out


@given(rings())
def test_the_rule_is_the_stated_one(polygon) -> None:
    """In exact arithmetic; and where no centre lies on an edge, shapely agrees."""
    got = drawn([feature(polygon)]) > 0
    polygon = [[tuple(point) for point in ring] for ring in polygon]
    if all(Fraction(c).denominator <= 4 for ring in polygon for point in ring for c in point):
        assert np.array_equal(got, inside_by_fractions(polygon, SIDE, SIDE))
    solid = shapely.Polygon(polygon[0], polygon[1:])
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    decided = shapely.distance(solid.boundary, shapely.points(x, y)) > 1e-9
    assert np.array_equal(got[decided], shapely.contains_xy(solid, x, y)[decided])


@given(st.lists(st.tuples(rings(), st.sampled_from(CODES)), min_size=1, max_size=5), st.data())
def test_a_window_is_the_slice_of_the_whole(polygons, data) -> None:
    """At any level, whatever the downsample; and later features lie over earlier ones."""
    sizes = ((SIDE, SIDE), (11, 10), (5, 7), (1, 1))
    raster = PolygonRaster(
        collection(*(feature(p, name) for p, name in polygons)), sizes, codes=CODES, outside="background"
    )
    level = data.draw(st.integers(0, 3))
    w, h = sizes[level]
    whole = raster.read(Window(0, 0, w, h, level))
    x, y = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    window = Window(x, y, data.draw(st.integers(1, w - x)), data.draw(st.integers(1, h - y)), level)
    assert np.array_equal(raster.read(window), whole[y : window.bottom, x : window.right])
    over = np.zeros((SIDE, SIDE), np.uint8)
    for polygon, name in polygons:
        over[drawn([feature(polygon)]) > 0] = CODES.index(name)
    assert np.array_equal(raster.read(Window(0, 0, SIDE, SIDE)), over)


@given(st.lists(rings(), min_size=1, max_size=3), st.data())
def test_polygons_read_as_what_they_draw(triangles, data) -> None:
    """At every level of the image, and in the index of labels, they are the mask that level 0 drawn whole would be."""
    levels = [np.zeros((h, w, 3), np.uint8) for w, h in ((SIDE, SIDE), (11, 10), (5, 7))]
    features = [feature(p, data.draw(st.sampled_from(CODES[1:]))) for p in triangles]
    image = ArrayRaster(levels)
    polygons = PolygonRaster(features, image.level_dimensions, codes=CODES, outside="background")
    ours = open_slide(image, polygons, codes=CODES)
    theirs = open_slide(image, drawn(features), codes=CODES)
    for level, (w, h) in enumerate(image.level_dimensions):
        window = Window(0, 0, w, h, level)
        assert np.array_equal(ours.read(window).mask, theirs.read(window).mask)
        mine, other = ours.labels(level), theirs.labels(level)
        assert {v: mine.pixels(v) for v in mine.runs} == {v: other.pixels(v) for v in other.runs}


@given(st.lists(st.integers(1, 4 * SIDE - 1), min_size=1, max_size=4), st.integers(-8, 8))
def test_neighbours_leave_no_gap_and_no_overlap(cuts, slope) -> None:
    """Strips that share slanted edges cover each pixel exactly once."""
    edges = [-40.0, *sorted({cut / 4 for cut in cuts}), SIDE + 40.0]
    strips = [
        [(a, -8.0), (b, -8.0), (b + slope, SIDE + 8.0), (a + slope, SIDE + 8.0)]
        for a, b in zip(edges, edges[1:], strict=False)
    ]
    times = sum((drawn([feature([strip])]) > 0).astype(int) for strip in strips)
    assert (times == 1).all()


def test_many_short_runs_are_drawn_too() -> None:
    """A comb, each tooth one pixel wide, and one drawn in a pass over all pixels."""
    teeth = [
        (x, y) for k in range(SIDE // 2) for x, y in ((2 * k, SIDE), (2 * k, 1), (2 * k + 1, 1), (2 * k + 1, SIDE))
    ]
    comb = drawn([feature([[*teeth, (SIDE, SIDE), (SIDE, SIDE + 1), (0, SIDE + 1)]])])
    expected = np.zeros((SIDE, SIDE), np.uint8)
    expected[1:, 0:-1:2] = 1
    assert np.array_equal(comb, expected)


def test_holes_multipolygons_and_collections() -> None:
    """Holes stay what was there before; parts of a MultiPolygon and of a collection belong to one feature."""
    ring = feature([box(2, 2, 12, 12), box(4, 4, 8, 8)], "stroma")
    under = feature([box(0, 0, 6, 6)], "fat")
    labels = drawn([under, ring])
    assert labels[5, 5] == 3 and labels[7, 7] == 0 and labels[3, 3] == 2 and labels[0, 0] == 3
    parts = [[[*box(0, 0, 3, 3), (0, 0)]], [[*box(10, 10, 12, 12), (10, 10)]]]
    many = feature(parts, kind="MultiPolygon")
    both = {**many, "geometry": {"type": "GeometryCollection", "geometries": [many["geometry"], under["geometry"]]}}
    assert drawn([many]).sum() == 9 + 4 and drawn([both]).sum() == 36 + 4


def test_classes_are_looked_up_in_codes() -> None:
    """By name; QuPath's Ignore* is `ignore_index`; without classes there must be two codes; all else is one error."""
    assert drawn([feature([box(0, 0, 2, 2)], "fat")])[0, 0] == 3
    assert drawn([feature([box(0, 0, 2, 2)], "Ignore*")], ignore_index=255)[0, 0] == 255
    assert drawn([feature([box(0, 0, 2, 2)], "Ignore*")], ignore_index=-1)[0, 0] == -1
    assert drawn([feature([box(0, 0, 2, 2)], None)], codes=["background", "gland"])[0, 0] == 1
    features = [feature([box(0, 0, 2, 2)], name) for name in ("Tumour", "tumour", "bone", None)]
    with pytest.raises(LabelError, match=r"'Tumour' \(1 features, did you mean 'tumour'\?\); 'bone' \(1 features\)"):
        drawn(features)
    with pytest.raises(LabelError, match=r"1 features have no class \(the first is feature 1\); codes are background"):
        drawn(features[1::2])
    with pytest.raises(OptionError, match="give codes"):
        drawn(features, codes=None)


GOOD = feature([box(0, 0, 4, 4)])
BROKEN = {  # name: (features or text, what the error says)
    "NaN": ([GOOD, feature([[(0, 0), (float("nan"), 4), (4, 4)]])], r"feature 1: coordinate nan is not a place"),
    "infinite": ([feature([[(0, 0), (4, float("inf")), (4, 4)]])], r"feature 0: coordinate inf is not a place"),
    "huge": ([feature([[(0, 0), (4, 1e300), (4, 4)]])], r"coordinate 1e\+300 is not a place"),
    "huge integer": ([feature([[(0, 0), (4, 10**400), (4, 4)]])], "ring must be a list"),
    "bow-tie": ([GOOD, GOOD, feature([[(0, 0), (4, 4), (4, 0), (0, 4)]])], r"feature 2: no clear inside.*Self-int"),
    "hole outside": ([feature([box(0, 0, 2, 2), box(5, 5, 6, 6)])], r"feature 0: no clear inside \(Hole lies out"),
    "two points": ([feature([[(0, 0), (4, 4)]])], "feature 0: a ring has 2 points, an area needs 3"),
    "no ring": ([feature([])], "feature 0: a polygon must be a list of rings"),
    "texts": ([feature([["a", "b", "c"]])], "feature 0: a ring must be a list of"),
    "a point": ([feature([0, 0], kind="Point")], "feature 0: Point has no area"),
    "a line": ([feature([[0, 0], [1, 1]], kind="LineString")], "feature 0: LineString has no area"),
    "null": ([{"type": "Feature", "geometry": None, "properties": {}}], "feature 0: no geometry has no area"),
    "no feature": ([5], "feature 0: a Feature is expected, got 5"),
    "number as class": ([{**GOOD, "properties": {"classification": 7.5}}], "feature 0: its classification should be a"),
    "a geometry": ({"type": "Polygon", "coordinates": []}, "feature 0: a Feature is expected"),
    "cut off": ('{"type": "FeatureCollection", "features": [{"type": "Fea', "is not GeoJSON .JSONDecodeError"),
    "nested": ("[" * 200_000, "is not GeoJSON .RecursionError"),
    "not UTF-8": (b'{"type": "\xff\xfe"}', "is not GeoJSON .UnicodeDecodeError"),
    "cut gzip": (gzip.compress(json.dumps(collection(GOOD)).encode())[:60], "cannot be read .EOFError"),
    "gzip of rubbish": (b"\x1f\x8b\x08" + bytes(40), "cannot be read"),
    "entities": ('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "DOCTYPE is not read"),
    "other XML": ("<Annotations/>", "the XML is Annotations, only ASAP_Annotations"),
    "cut XML": ("<ASAP_Annotations><Annota", "is not XML"),
    "a dot": (
        '<ASAP_Annotations><Annotations><Annotation Name="a" Type="Dot" PartOfGroup="tumour"/></Annotations>'
        "</ASAP_Annotations>",
        r"feature 0: Dot has no area.* \(annotation a\)",
    ),
    "XML without X": (
        '<ASAP_Annotations><Annotations><Annotation Name="a" Type="Polygon"><Coordinates><Coordinate Order="0"/>'
        "</Coordinates></Annotation></Annotations></ASAP_Annotations>",
        r"feature 0: a coordinate is broken",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_annotations_end_in_one_clear_error(name, tmp_path: Path) -> None:
    """From a file, and parsed where it can be: with the file and the number of the feature."""
    source, expected = BROKEN[name]
    file = tmp_path / "a.geojson"
    text = source if isinstance(source, (str, bytes)) else json.dumps(source)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    for mask in [file] if isinstance(source, (str, bytes)) else [file, source]:
        with pytest.raises(ReadError, match=expected) as caught:
            open_slide(image, mask, codes=CODES, outside="background")
        assert ("a.geojson" if mask is file else "polygons") in str(caught.value) and "\n" not in str(caught.value)


def test_limits_are_checked_before_work(tmp_path: Path, monkeypatch) -> None:
    """A packed file that unpacks to more than the limit, and more vertices than the limit."""
    bomb = tmp_path / "a.geojson.gz"
    bomb.write_bytes(gzip.compress(b"[" + b" " * (300 << 20), 1))
    start = time.monotonic()
    with pytest.raises(ReadError, match="more than 256 MiB"):
        open_slide(np.zeros((9, 9, 3), np.uint8), bomb, codes=CODES, outside="background")
    assert time.monotonic() - start < 5
    monkeypatch.setattr("patchaug.readers.annotations.soundness.VERTICES", 11)
    with pytest.raises(ReadError, match="12 vertices are above the limit of 11"):
        drawn([GOOD] * 3)


def test_polygons_beside_the_slide() -> None:
    """A few outside are told; most outside, or all inside once x and y are exchanged, is another frame."""
    inside, beside = feature([box(0, 0, 4, 4)]), feature([box(-9, 0, -2, 4)])
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    with pytest.warns(UserWarning, match="1 of 3 polygons lie outside the image"):
        open_slide(image, [inside, inside, beside], codes=CODES, outside="background")
    with pytest.raises(FrameError, match=r"2 of 3 polygons lie outside the image of 24 x 24 px.*x -9 to -2.*level 0"):
        open_slide(image, [inside, beside, beside], codes=CODES, outside="background")
    with pytest.raises(FrameError, match="exchange x and y"):
        open_slide(
            np.zeros((10, 50, 3), np.uint8),
            [inside, inside, feature([box(2, 20, 5, 40)])],
            codes=CODES,
            outside="background",
        )


def test_files_by_content_and_pickles(tmp_path: Path) -> None:
    """Packed or not, whatever the name; small pickles; a changed file is told, not read."""
    text = json.dumps(collection(GOOD, feature([box(6, 6, 9, 9)], "fat"))).encode()
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    expected = drawn(json.loads(text)["features"])
    for name, content in (("a.json", text), ("b.txt", b"\xef\xbb\xbf  " + text), ("c.geojson.gz", gzip.compress(text))):
        (tmp_path / name).write_bytes(content)
        slide = open_slide(image, str(tmp_path / name), codes=CODES, outside="background")
        assert np.array_equal(slide.read(Window(0, 0, SIDE, SIDE)).mask, expected)
    again = pickle.loads(pickle.dumps(slide.mask))
    (tmp_path / name).write_bytes(gzip.compress(text.replace(b"fat", b"stroma")))
    with pytest.raises(ReadError, match="file changed"):
        again.read(Window(0, 0, 5, 5))


class TestPolygonRaster(RasterTests):
    """The contract that all rasters keep, with a file of overlapping polygons at three levels."""

    sizes = ((150, 130), (75, 65), (9, 8))

    @pytest.fixture
    def raster(self, tmp_path: Path) -> PolygonRaster:
        """Random triangles."""
        rng = np.random.default_rng(5)
        triangles = [feature([rng.uniform(-20, 170, (3, 2)).tolist()], CODES[rng.integers(4)]) for _ in range(40)]
        (tmp_path / "a.geojson").write_text(json.dumps(collection(*triangles)))
        return PolygonRaster(tmp_path / "a.geojson", self.sizes, codes=CODES, outside="background")

    @pytest.fixture
    def expected(self, raster: PolygonRaster) -> list[np.ndarray]:
        """By shapely, point by point; no random corner lies on a centre."""
        features = json.loads(Path(raster.path).read_text())["features"]
        found = []
        for w, h in self.sizes:
            x, y = ((2 * np.arange(n) + 1) * n0 // (2 * n) + 0.5 for n, n0 in zip((w, h), self.sizes[0], strict=True))
            level = np.zeros((h, w), np.uint8)
            for one in features:
                polygon = shapely.geometry.shape(one["geometry"])
                number = CODES.index(one["properties"]["classification"]["name"])
                level[shapely.contains_xy(polygon, *np.meshgrid(x, y))] = number
            found.append(level)
        return found


def test_real_exports() -> None:
    """QuPath's old list and new collection, and ASAP's groups."""
    cells = real("annotations/qupath-polygon-cell-classified.json")
    raster = PolygonRaster(cells, ((17300, 20100),), codes=["background", "Cell", "Nucleus"])
    labels = raster.read(Window(17100, 19800, 140, 290))
    assert set(np.unique(labels)) == {0, 1, 2}
    areas = dict.fromkeys(raster.codes.names, 0.0)
    for one in json.loads(cells.read_text()):
        areas[one["properties"]["classification"]["name"]] += shapely.geometry.shape(one["geometry"]).area
    assert (labels == 2).sum() == pytest.approx(areas["Nucleus"], rel=0.05)
    plain = PolygonRaster(real("annotations/dlup_qupath05.geojson"), ((10000, 7000),), codes=["background", "a"])
    assert (plain.read(Window(8800, 6200, 1100, 400)) == 1).any()
    groups = ["background", "benign", "malignant"]
    asap = PolygonRaster(real("annotations/asap_CMU-1_segmentation.xml"), ((46000, 32914), (2875, 2057)), codes=groups)
    assert set(np.unique(asap.read(Window(0, 0, 2875, 2057, 1)))) == {0, 1, 2}


def test_3712_polygons_window_by_window() -> None:
    """The largest real file: a coarse level whole, level 0 in parts, each window equal to the slice, and the index."""
    path = real("annotations/hgsc_tissue_wsi.geojson.gz")
    codes = ["background", "stroma", "tumor", "omental_fat", "hemorragia", "necrosis", "serum"]
    sizes = ((47240, 66760), (2953, 4173))
    raster = PolygonRaster(path, sizes, codes=codes)
    assert len(raster.polygons.values) == 3712 and len(raster.outside()) == 3
    coarse = raster.read(Window(0, 0, *sizes[1], 1))
    rng = np.random.default_rng(0)
    part = Window(14000, 30000, 6000, 4000)
    whole = raster.read(part)
    assert len(np.unique(whole)) > 2
    for _ in range(60):
        w, h = (int(rng.integers(1, 700)) for _ in "xy")
        x, y = int(rng.integers(sizes[1][0] - w)), int(rng.integers(sizes[1][1] - h))
        assert np.array_equal(raster.read(Window(x, y, w, h, 1)), coarse[y : y + h, x : x + w])
        x, y = int(rng.integers(part.width - w)), int(rng.integers(part.height - h))
        window = Window(part.x + x, part.y + y, w, h)
        assert np.array_equal(raster.read(window), whole[y : y + h, x : x + w])
    # Level 0 under the centres of the coarse level, pixel by pixel, by shapely itself for one class.
    x, y = rng.integers(sizes[1][0], size=400), rng.integers(sizes[1][1], size=400)
    l0 = [(2 * at + 1) * big // (2 * small) for at, big, small in zip((x, y), sizes[0], sizes[1], strict=True)]
    expected = np.zeros(400, np.uint8)
    for one in json.loads(gzip.decompress(path.read_bytes()))["features"]:
        inside = shapely.contains_xy(shapely.geometry.shape(one["geometry"]), l0[0] + 0.5, l0[1] + 0.5)
        expected[inside] = codes.index(one["properties"]["classification"]["name"])
    assert np.array_equal(coarse[y, x], expected)


def test_names_of_properties_stay_on_one_line(tmp_path):
    """Found by the fuzzer: a property of a vector file whose name holds a line break."""
    squares = [((0, 0, 9, 9), "tumor"), ((20, 20, 9, 9), "stroma")]
    features = [
        {
            "type": "Feature",
            "properties": {"\nlassification": name},
            "geometry": {"type": "Polygon", "coordinates": [[[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]]]},
        }
        for (x, y, w, h), name in squares
    ]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    with pytest.raises(LabelError, match=r'property "\\nlassification" holds.*Say label="\\nlassification"') as caught:
        open_slide(np.zeros((60, 80, 3), np.uint8), tmp_path / "a.geojson", codes=["stroma", "tumor"])
    assert "\n" not in str(caught.value)
