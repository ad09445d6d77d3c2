"""A mask lies where its georeference says; two files that contradict each other are an error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from patchaug import FrameError, LabelError, PatchaugError, ReadError, Window, open_slide

WIDTH, HEIGHT, PIXEL = 120, 90, 0.5
X0, Y0 = 400_000.0, 5_650_000.0
NAMES = ["ground", "built"]


def geotiff(
    path: Path, pixels: np.ndarray, x: float = X0, y: float = Y0, pixel: float = PIXEL, epsg: int | None = 32632,
    south_up: bool = False, point: bool = False,
) -> Path:  # fmt: skip
    """Write a GeoTIFF whose first pixel has its outer corner at (x, y)."""
    keys = [(1024, 0, 1, 1), (1025, 0, 1, 2 if point else 1)] + ([(3072, 0, 1, epsg)] if epsg else [])
    directory = (1, 1, 0, len(keys), *(number for key in keys for number in key))
    half = pixel / 2 if point else 0.0
    matrix = (pixel, 0, 0, x, 0, pixel if south_up else -pixel, 0, y, 0, 0, 0, 0, 0, 0, 0, 1)
    place = [(34264, "d", 16, matrix, True)] if south_up else [
        (33550, "d", 3, (pixel, pixel, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, x + half, y - half, 0.0), True),
    ]  # fmt: skip
    tags = [*place, (34735, "H", len(directory), directory, True)]
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, tile=(32, 32), photometric=photometric, metadata=None, extratags=tags)
    return path


def labels_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The class of a place on the map."""
    return (((x - X0) // 7 + (Y0 - y) // 5) % 2).astype(np.uint8)


def mask_of(width: int, height: int, x: float = X0, y: float = Y0, pixel: float = PIXEL) -> np.ndarray:
    columns, rows = x + (np.arange(width) + 0.5) * pixel, y - (np.arange(height) + 0.5) * pixel
    return labels_at(columns[None, :], rows[:, None])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return geotiff(tmp_path / "image.tif", np.zeros((HEIGHT, WIDTH, 3), np.uint8))


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (WIDTH, HEIGHT, {}),
        (WIDTH, HEIGHT, {"x": X0 - 10, "y": Y0 + 6}),  # of the same size, and shifted
        (WIDTH + 40, HEIGHT + 60, {"x": X0 - 10, "y": Y0 + 15}),
        (50, 40, {"x": X0 + 5, "y": Y0 - 10}),
        (240, 180, {"pixel": 0.25}),
        (60, 45, {"pixel": 1.0}),
        (100, 100, {"pixel": 1.0, "x": X0 - 7, "y": Y0 + 20}),
        (WIDTH, HEIGHT, {"pixel": 0.25, "x": X0 + 10, "y": Y0 - 10}),  # of the same size, and of another pixel size
    ],
)
def test_labels_are_those_of_the_place(tmp_path: Path, image: Path, width: int, height: int, words: Any) -> None:
    """Of any extent and resolution; beyond the mask they are ignore_index, in windows and in the index."""
    mask = geotiff(tmp_path / "mask.tif", mask_of(width, height, **words), **words)
    slide = open_slide(image, mask, codes=NAMES, ignore_index=255)
    x, y, pixel = words.get("x", X0), words.get("y", Y0), words.get("pixel", PIXEL)
    columns, rows = X0 + (np.arange(WIDTH) + 0.5) * PIXEL, Y0 - (np.arange(HEIGHT) + 0.5) * PIXEL
    under = np.floor((columns - x) / pixel).astype(int), np.floor((y - rows) / pixel).astype(int)
    inside = (under[0] >= 0) & (under[0] < width), (under[1] >= 0) & (under[1] < height)
    stored = mask_of(width, height, **words)
    expected = stored[np.ix_(under[1].clip(0, height - 1), under[0].clip(0, width - 1))]
    expected = np.where(inside[1][:, None] & inside[0][None, :], expected, 255)
    assert np.array_equal(slide.read(Window(0, 0, WIDTH, HEIGHT)).mask, expected)
    assert np.array_equal(slide.read(Window(5, 7, 50, 40)).mask, expected[7:47, 5:55])
    labels = slide.labels()
    assert {v: labels.pixels(v) for v in labels.runs} == dict(
        zip(*np.unique(expected, return_counts=True), strict=True)
    )
    if not (expected == 255).any():
        assert np.array_equal(open_slide(image, mask, codes=NAMES).read(Window(0, 0, WIDTH, HEIGHT)).mask, expected)
    else:
        with pytest.raises(FrameError, match=r"covers \d+\.\d% of the image; set ignore_index=255"):
            open_slide(image, mask, codes=NAMES)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"south_up": True}, "south-up or mirrored"),
        ({"epsg": 32633}, r"the image is in EPSG:32632, the mask in EPSG:32633; reproject"),
        ({"x": X0 + 5000}, "do not overlap"),
    ],
)
def test_contradictions_are_errors(tmp_path: Path, image: Path, words: Any, expected: str) -> None:
    mask = geotiff(tmp_path / "mask.tif", np.zeros((HEIGHT, WIDTH), np.uint8), **words)
    with pytest.raises(FrameError, match=expected):
        open_slide(image, mask, codes=NAMES, ignore_index=255)


def test_without_a_place_the_sizes_decide(tmp_path: Path, image: Path) -> None:
    """Also where only one of the two has one; pixel-is-point means the same place."""
    pixels = mask_of(WIDTH, HEIGHT)
    for source in (
        pixels,
        geotiff(tmp_path / "point.tif", pixels, point=True),
        geotiff(tmp_path / "n.tif", pixels, epsg=None),
    ):
        assert np.array_equal(open_slide(image, source, codes=NAMES).read(Window(0, 0, WIDTH, HEIGHT)).mask, pixels)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    shifted = geotiff(tmp_path / "mask.tif", pixels, x=X0 + 3)
    assert np.array_equal(open_slide(picture, shifted).read(Window(0, 0, WIDTH, HEIGHT)).mask, pixels)


def square(x0: float, y0: float, x1: float, y1: float, **properties: Any) -> dict[str, Any]:
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def test_degrees_on_a_picture_without_a_place_are_an_error() -> None:
    """They would cover no pixel, and leave an empty mask."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    degrees = [square(6.9, 50.7, 6.9001, 50.7001, classification="built")]
    with pytest.raises(FrameError, match=r"1 of 1 polygons cover no pixel .*longitude and latitude"):
        open_slide(picture, degrees, codes=NAMES)
    crs = {"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "EPSG:32632"}}, "features": []}
    crs["features"] = [square(X0, Y0 - 9, X0 + 9, Y0, classification="built")]
    with pytest.raises(FrameError, match="coordinates are of EPSG:32632, and the image is not georeferenced"):
        open_slide(picture, crs, codes=NAMES)


def test_coordinates_that_are_no_degrees_name_their_cure(tmp_path: Path) -> None:
    """Pixels, or the image's own system: the cure is in the text, and works."""
    image = geotiff(tmp_path / "wide.tif", np.zeros((HEIGHT, 400, 3), np.uint8))
    collection = {"type": "FeatureCollection"}
    for features, crs in (
        ([square(2, 3, 290, 85, classification="built")], "pixels"),
        ([square(X0 + 1, Y0 - 20, X0 + 11, Y0 - 4, classification="built")], "EPSG:32632"),
    ):
        with pytest.raises(FrameError, match=rf'not longitude and latitude.*write "crs": "{crs}"'):
            open_slide(image, {**collection, "features": features}, codes=NAMES)
        slide = open_slide(image, {**collection, "features": features, "crs": crs}, codes=NAMES)
        assert slide.labels().pixels(1) > 0


def test_degrees_of_another_place_are_outside_the_image(tmp_path: Path) -> None:
    """They would cover no pixel, and leave an empty mask."""
    pytest.importorskip("pyproj")
    image = geotiff(tmp_path / "wide.tif", np.zeros((HEIGHT, 400, 3), np.uint8))
    with pytest.raises(FrameError, match="outside the image"):
        open_slide(image, [square(2.0, 3.0, 2.1, 3.1, classification="built")], codes=NAMES)


def test_the_attribute_of_gis_tools_is_not_passed_over(tmp_path: Path) -> None:
    """`properties.class` holds the class: it must be said, since all features would become one class."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    features = [square(2, 3, 12, 15, **{"class": "built"}), square(20, 30, 40, 50, **{"class": "tree"})]
    with pytest.raises(LabelError, match=r"""property "class" holds 'built' .1., 'tree' .1.; .*label="class"'?"""):
        open_slide(picture, features, codes=NAMES)
    with pytest.raises(LabelError, match=r"2 features have no class.*label=\"class\" names one"):
        open_slide(picture, features, codes=[*NAMES, "tree"])
    with pytest.raises(LabelError, match="'tree' .1 features"):
        open_slide(picture, features, codes=NAMES, label="class")
    slide = open_slide(picture, features, codes=[*NAMES, "tree"], label="class")
    assert slide.labels().pixels(1) == 120 and slide.labels().pixels(2) == 400
    numbers = [square(2, 3, 12, 15, code=7), square(20, 30, 40, 50, code=9.0)]
    slide = open_slide(picture, numbers, codes={"ground": 0, "built": 7, "tree": 9}, label="code")
    assert slide.labels().pixels(1) == 120 and slide.labels().pixels(2) == 400


def test_what_no_polygon_covers_must_be_said_without_a_background() -> None:
    """Sparse annotation: what is not annotated is not the first class."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    features = [square(2, 3, 12, 15, classification="Tumor"), square(20, 30, 40, 50, classification="Stroma")]
    codes = ["Tumor", "Stroma"]
    with pytest.raises(LabelError, match=r"1 features are 'Tumor', the first code.*ignore_index=255, outside=255"):
        open_slide(picture, features, codes=codes)
    with pytest.raises(LabelError, match=r"outside=255 where"):
        open_slide(picture, features, codes=codes, ignore_index=255)
    labels = open_slide(picture, features, codes=codes, ignore_index=255, outside=255).labels()
    assert {value: labels.pixels(value) for value in labels.runs} == {0: 120, 1: 400, 255: HEIGHT * WIDTH - 520}
    labels = open_slide(picture, features, codes=codes, outside="Stroma").labels()
    assert {value: labels.pixels(value) for value in labels.runs} == {0: 120, 1: HEIGHT * WIDTH - 120}
    with pytest.raises(PatchaugError, match="outside must be one of the codes"):
        open_slide(picture, features, codes=codes, outside="Fat")


def test_an_empty_collection_is_a_slide_without_anything() -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for empty in ({"type": "FeatureCollection", "features": []}, []):
        assert set(open_slide(picture, empty, codes=NAMES).labels().runs) == {0}
        assert set(open_slide(picture, empty, codes=NAMES, ignore_index=9, outside=9).labels().runs) == {9}


def test_all_bad_features_are_listed_and_the_options_work() -> None:
    """Points, lines and bow-ties in one error; skipped, or repaired, with a warning."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    point = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [1, 1]}}
    line = {"type": "Feature", "properties": {}, "geometry": {"type": "LineString", "coordinates": [[1, 1], [2, 2]]}}
    bow = square(0, 0, 1, 1, classification="built")
    bow["geometry"]["coordinates"] = [[[50, 50], [60, 60], [60, 50], [50, 60]]]
    good = square(2, 3, 12, 15, classification="built")
    with pytest.raises(
        ReadError, match=r"4 features are not areas: feature 0, 4: Point.*feature 1: Line.*feature 3: no clear"
    ):
        open_slide(picture, [point, line, good, bow, point], codes=NAMES)
    with pytest.warns(UserWarning, match="4 features are left out"):
        slide = open_slide(picture, [point, line, good, bow, point], codes=NAMES, invalid="skip")
    assert slide.labels().pixels(1) == 120
    with pytest.warns(UserWarning, match="1 features were repaired"):
        slide = open_slide(picture, [good, bow], codes=NAMES, invalid="repair")
    assert 160 <= slide.labels().pixels(1) <= 180
    with pytest.raises(PatchaugError, match='invalid must be "raise", "skip" or "repair"'):
        open_slide(picture, [good], codes=NAMES, invalid="drop")


@pytest.mark.parametrize("driver", ["GPKG", "ESRI Shapefile", "FlatGeobuf", "GeoJSON"])
def test_vector_files_are_projected_to_the_image(tmp_path: Path, image: Path, driver: str) -> None:
    """Squares on the map, in the image's system and in degrees, are the same pixels."""
    pyogrio, pyproj, shapely = (pytest.importorskip(name) for name in ("pyogrio", "pyproj", "shapely"))
    boxes = [shapely.box(X0 + 1, Y0 - 9, X0 + 6, Y0 - 2), shapely.box(X0 + 20, Y0 - 40, X0 + 50, Y0 - 20)]
    suffix = {"GPKG": "gpkg", "ESRI Shapefile": "shp", "FlatGeobuf": "fgb", "GeoJSON": "geojson"}[driver]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[4:18, 2:12], expected[40:80, 40:100] = 1, 2
    to_degrees = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    degrees = [shapely.transform(box, lambda p: np.stack(to_degrees.transform(p[:, 0], p[:, 1]), 1)) for box in boxes]
    for crs, shapes in (("EPSG:32632", boxes), ("EPSG:4326", degrees)):
        path = tmp_path / f"{crs[5:]}.{suffix}"
        pyogrio.raw.write(
            str(path), shapely.to_wkb(np.array(shapes)), [np.array(["built", "tree"], object)], ["kind"],
            geometry_type="Polygon", crs=crs, driver=driver,
        )  # fmt: skip
        slide = open_slide(image, path, codes=[*NAMES, "tree"], label="kind")
        assert np.array_equal(slide.read(Window(0, 0, WIDTH, HEIGHT)).mask, expected)
