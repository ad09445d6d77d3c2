"""One field labelled in six ways gives one mask and one set of windows, through every door."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from patchaug import Foreground, OptionError, PatchOptions, Plan, Window, open_slide
from patchaug.fastai import SlideDataLoaders, SlideItemList
from patchaug.options.fields import TrainOptions

SIDE = 128
NAMES = ["ground", "built"]
BOXES = ((10, 20, 50, 60), (70, 16, 90, 100), (4, 90, 40, 120))  # x0, y0, x1, y1
ORIGIN, PIXEL = (400_000.0, 5_650_000.0), 0.5
GEOTIFF = [
    (33550, "d", 3, (PIXEL, PIXEL, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, *ORIGIN, 0.0), True),
    (34735, "H", 12, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32632), True),
]


def mask() -> np.ndarray:
    out = np.zeros((SIDE, SIDE), np.uint8)
    for x0, y0, x1, y1 in BOXES:
        out[y0:y1, x0:x1] = 1
    return out


def polygons(convert: Any = lambda x, y: (x, y)) -> list[dict[str, Any]]:
    return [
        {
            "type": "Feature",
            "properties": {"classification": "built"},
            "geometry": {
                "type": "Polygon",
                "coordinates": [[list(convert(x, y)) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]],
            },
        }
        for x0, y0, x1, y1 in BOXES
    ]


def on_map(x: float, y: float) -> tuple[float, float]:
    return ORIGIN[0] + x * PIXEL, ORIGIN[1] - y * PIXEL


def in_degrees(x: float, y: float) -> tuple[float, float]:
    pyproj = pytest.importorskip("pyproj")
    return pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform(*on_map(x, y))


def ways(folder: Path) -> dict[str, tuple[Any, Any]]:
    """{way: (mask, codes)}."""
    Image.fromarray(mask()).save(folder / "01.png")
    Image.fromarray(mask() * 255).save(folder / "0255.png")
    Image.fromarray(np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[mask()]).save(folder / "colours.png")
    ids = np.zeros((SIDE, SIDE), np.uint16)
    for number, (x0, y0, x1, y1) in enumerate(BOXES):
        ids[y0:y1, x0:x1] = 500 + number
    tifffile.imwrite(folder / "ids.tif", ids, tile=(32, 32), metadata=None)
    collection = {"type": "FeatureCollection"}
    utm = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    return {
        "0/1 PNG": (folder / "01.png", NAMES),
        "0/255 PNG": (folder / "0255.png", {"ground": 0, "built": 255}),
        "colours": (folder / "colours.png", {"ground": "#000000", "built": "#ff0000"}),
        "instance ids": (folder / "ids.tif", {"ground": 0, "built": range(1, 65536)}),
        "polygons in pixels": ({**collection, "crs": "pixels", "features": polygons()}, NAMES),
        "polygons on the map": ({**collection, "crs": utm, "features": polygons(on_map)}, NAMES),
        "polygons in degrees": ({**collection, "features": polygons(in_degrees)}, NAMES),
    }


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    tifffile.imwrite(tmp_path / "field.tif", pixels, tile=(64, 64), photometric="rgb", metadata=None, extratags=GEOTIFF)
    return tmp_path / "field.tif"


def test_six_ways_to_label_one_field(tmp_path: Path, image: Path) -> None:
    """The same labels, byte for byte, the same windows of a foreground draw, and the same batches."""
    windows, batches = {}, {}
    options = PatchOptions(16, per_slide=8, foreground=0.7, seed=3)
    for way, (source, codes) in ways(tmp_path).items():
        slide = open_slide(image, source, codes=codes)
        assert np.array_equal(slide.read(Window(0, 0, SIDE, SIDE)).mask, mask()), way
        plan = Plan([slide], Foreground(16, per_slide=20, foreground=0.7), seed=3)
        windows[way] = [(draw.window, draw.probability) for draw in plan]
        valid = np.zeros((SIDE, SIDE, 3), np.uint8)
        dls = SlideDataLoaders.from_lists(
            [(image, source)], [(valid, 0)], codes=codes, options=options, bs=8, num_workers=0, device="cpu"
        )
        batches[way] = [(part.dtype, part.numpy().tobytes()) for part in dls.train.one_batch()]
    assert all(one == windows["0/1 PNG"] for one in windows.values())
    assert all(one == batches["0/1 PNG"] for one in batches.values())


@pytest.mark.parametrize("way", ["0/255 PNG", "colours", "instance ids", "polygons on the map"])
def test_every_door_takes_them(tmp_path: Path, image: Path, way: str) -> None:
    """The factories and the list of fastai 1's words give class numbers in batches, and names as vocab."""
    source, codes = ways(tmp_path)[way]
    other = np.zeros((SIDE, SIDE, 3), np.uint8)
    options = PatchOptions(64, per_slide=4)
    dls = SlideDataLoaders.from_lists(
        [(image, source)], [(other, 0)], codes=codes, ignore_index=255, options=options, bs=4, num_workers=0
    )
    assert list(dls.vocab) == NAMES and set(np.unique(dls.one_batch()[1])) == {0, 1}
    data = (
        SlideItemList.from_lists([image, other], patch=options)
        .split_by_idx([1])
        .label_from_lists([source], [0], classes=codes)
        .databunch(bs=4, num_workers=0)
    )
    assert data.classes == NAMES and set(np.unique(data.one_batch()[1])) == {0, 1}


def test_none_beside_masks_says_what_to_write(image: Path) -> None:
    """It is neither "nothing here" nor "not annotated"; both cures work."""
    other, options = np.zeros((SIDE, SIDE, 3), np.uint8), PatchOptions(64)
    words = {"codes": NAMES, "options": options, "bs": 1, "num_workers": 0}
    with pytest.raises(OptionError, match="1 of 1 slides have the mask None: array 0; write 0 where"):
        SlideDataLoaders.from_lists([(image, mask())], [(other, None)], **words)
    SlideDataLoaders.from_lists([(image, mask())], [(other, 0)], **words)
    SlideDataLoaders.from_lists([(image, mask())], [(other, 255)], ignore_index=255, **words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ground,built", NAMES),
        ("ground=0,built=255", {"ground": 0, "built": 255}),
        ("ground=0,cell=1-65535", {"ground": 0, "cell": "1-65535"}),
        ("ground=#000000,road=#ff0000", {"ground": "#000000", "road": "#ff0000"}),
        ("ground=0,tumour=1,tumour=3", {"ground": 0, "tumour": [1, 3]}),
    ],
)
def test_codes_of_a_command_line(tmp_path: Path, text: str, expected: Any) -> None:
    """Flags, a file and a script say the same; files keep it."""
    words = {"size": "64", "images": "a", "masks": "b", "codes": text}
    options = TrainOptions.layered(words, environ={})
    assert options.codes == expected
    for name in ("options.json", "options.toml"):
        if name.endswith("json"):
            options.save(tmp_path / name)
            assert TrainOptions.from_file(tmp_path / name) == options
    script = TrainOptions(64, images="a", masks="b", codes={"ground": 0, "cell": range(1, 65536)})
    assert script.codes == {"ground": 0, "cell": "1-65535"} and script.class_names == ["ground", "cell"]
