"""`patchaug check` finds what `patchaug train` with the same flags would refuse, and says it with the same words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from patchaug import PatchaugError
from patchaug.cli import app
from tests.slides.test_georeference import X0, geotiff

SIDE = 64
RNG = np.random.default_rng(0)
CODES = "ground,built"
UTM = {"type": "name", "properties": {"name": "EPSG:32632"}}


def image(channels: int = 3, dtype: str = "u1", side: int = SIDE) -> np.ndarray:
    return RNG.integers(0, 200, (side, side, channels), np.uint8).astype(dtype)


def mask() -> np.ndarray:
    out = np.zeros((SIDE, SIDE), np.uint8)
    out[11:40, 13:50] = 1
    return out


def tif(path: Path, pixels: np.ndarray, **words: Any) -> None:
    colours = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    words = {"photometric": "rgb" if colours else "minisblack", "tile": (32, 32), "metadata": None, **words}
    tifffile.imwrite(path, pixels, **({"planarconfig": "contig"} if pixels.ndim == 3 else {}), **words)


def png(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def square(x: float, y: float, side: float, **properties: Any) -> dict[str, Any]:
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def geojson(path: Path, *features: dict[str, Any], **more: Any) -> None:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))


def two_scenes(root: Path) -> None:
    (root / "images/a.tif").unlink()
    with tifffile.TiffWriter(root / "images/a.ome.tif", ome=True) as writer:
        for name in ("left", "right"):
            writer.write(image(), photometric="rgb", tile=(32, 32), metadata={"Name": name})
    (root / "masks/a.png").rename(root / "masks/a.ome.png")


def in_two_folders(root: Path) -> None:
    for folder in ("x", "y"):
        (root / "images" / folder).mkdir()
        tif(root / "images" / folder / "a.tif", image())
    (root / "images/a.tif").unlink()


def fractions() -> np.ndarray:
    out = mask().astype(np.float32)
    out[7, 9] = 0.5
    return out


def on_map(root: Path, **words: Any) -> None:
    geotiff(root / "images/a.tif", image())
    (root / "masks/a.png").unlink()
    geotiff(root / "masks/a.tif", mask(), **words)


def polygons(*features: dict[str, Any], placed: bool = False, **more: Any) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        if placed:
            geotiff(root / "images/a.tif", image())
        (root / "masks/a.png").unlink()
        geojson(root / "masks/a.geojson", *features, **more)

    return write


def as_tif(pixels: np.ndarray, **words: Any) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / "masks/a.png").unlink()
        tifffile.imwrite(root / "masks/a.tif", pixels, metadata=None, **words)

    return write


def small(root: Path) -> None:
    tif(root / "images/a.tif", image(side=20))
    png(root / "masks/a.png", mask()[:20, :20])


def wide_mask(root: Path) -> None:
    png(root / "masks/a.png", mask()[:, :48])


POINT = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [1, 1]}}
LINE = {"type": "Feature", "properties": {}, "geometry": {"type": "LineString", "coordinates": [[1, 1], [2, 2]]}}
BOW = square(2, 3, 9, classification="built")
BOW["geometry"]["coordinates"] = [[[5, 5], [15, 15], [15, 5], [5, 15]]]
GOOD = square(2, 3, 9, classification="built")

# kind: (what is done to slide a, flags of both commands, a part of the text)
WRONG: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "near infrared tagged as alpha": (lambda r: tif(r / "images/a.tif", image(4), extrasamples=[2]), [],
                                      "channel 3 is tagged as alpha"),
    "stack of planes": (lambda r: tifffile.imwrite(r / "images/a.tif", image(5).transpose(2, 0, 1).copy(),
                                                   photometric="minisblack", metadata={"axes": "QYX"}), [],
                        "stack of 5 pictures"),
    "ImageJ in one IFD": (lambda r: tifffile.imwrite(r / "images/a.tif", image(4).transpose(2, 0, 1).copy(),
                                                     imagej=True, metadata={"axes": "TYX"}), [], "stack of 4 pictures"),
    "two scenes": (two_scenes, [], "holds 2 pictures"),
    "no such scene": (lambda r: None, ["--series", "7"], "no single series 7"),
    "no such channel": (lambda r: None, ["--channels", "0,5"], "there is no channel 5"),
    "uint32": (lambda r: tif(r / "images/a.tif", image(1, "u4")[..., 0]), [], "uint32"),
    "other channels": (lambda r: tif(r / "images/c.tif", image(5)), [], "slides differ in their pixels"),
    "grey among RGB": (lambda r: tif(r / "images/c.tif", image(1)[..., 0]), [], "slides differ in their pixels"),
    "other depth": (lambda r: tif(r / "images/c.tif", image(3, "u2")), ["--scale", "0,9"], "slides differ in"),
    "scale of other channels": (lambda r: None, ["--scale", "[[0, 255], [0, 100]]"], "scale has 2 pairs"),
    "no image": (lambda r: (r / "images/a.tif").write_text("not an image"), [], "no reader supports the file"),
    "smaller than the window": (small, ["--size", "32"], "a window of 32 x 32 px does not fit"),
    "no pixel size": (lambda r: None, ["--size", "16", "--mpp", "0.5"], "does not say how large its pixels are"),
    "pixel size of a screen": (lambda r: tif(r / "images/a.tif", image(), resolution=(72, 72), resolutionunit=2),
                               ["--size", "16", "--mpp", "0.5"], "wrong tag"),
    "one mask of two slides": (in_two_folders, [], "would be the mask of 2 slides"),
    "no mask": (lambda r: (r / "masks/a.png").unlink(), [], "slides have no mask in"),
    "0 and 255": (lambda r: png(r / "masks/a.png", mask() * 255), [], "holds class 255"),
    "1 and 2": (lambda r: png(r / "masks/a.png", mask() + 1), [], "holds class 2"),
    "value of no class": (lambda r: png(r / "masks/a.png", mask() * 7), ["--codes", "ground=0,built=255"], "7"),
    "instance ids": (as_tif((mask() * np.arange(SIDE)).astype(np.uint16)), [], "px"),
    "colours": (lambda r: png(r / "masks/a.png", np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[mask()]), [],
                "2 colours"),
    "colour of no class": (lambda r: png(r / "masks/a.png", np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[mask()]),
                           ["--codes", "ground=#000000,built=#00ff00"], "ff0000"),
    "JPEG": (lambda r: Image.fromarray(mask()).save(r / "masks/a.png", "JPEG"), [], "JPEG"),
    "fractions": (as_tif(fractions(), tile=(32, 32)), [], "holds 0.5"),
    "white is 0": (as_tif(mask() > 0), [], "MINISWHITE"),
    "stack of masks": (as_tif(np.stack([mask()] * 3), photometric="minisblack"), [], "save the wanted"),
    "another size": (wide_mask, [], "that size over one factor"),
    "one pixel less": (lambda r: png(r / "masks/a.png", mask()[1:]), [], "one pixel less or more"),
    "south-up": (lambda r: on_map(r, south_up=True), [], "south-up"),
    "other zone": (lambda r: on_map(r, epsg=32633), [], "EPSG:32633"),
    "elsewhere": (lambda r: on_map(r, x=X0 + 5000), ["--ignore-index", "255"], "do not overlap"),
    "shifted": (lambda r: on_map(r, x=X0 + 5), [], "ignore_index=255"),
    "degrees on a picture": (polygons(square(6.9, 50.7, 0.001, classification="built")), [], "longitude and latitude"),
    "map on a picture": (polygons(square(X0, 9, 9, classification="built"), crs=UTM), [], "not georeferenced"),
    "class of GIS tools": (polygons(square(2, 3, 9, **{"class": "built"}), square(9, 9, 9, **{"class": "tree"})), [],
                           'label="class"'),
    "sparse annotation": (polygons(square(2, 3, 9, classification="ground"), GOOD), [], "the first code"),
    "polygons of no class": (polygons(square(2, 3, 9, classification="tree"), GOOD), [], "'tree'"),
    "bad features": (polygons(POINT, LINE, GOOD, BOW), [], "3 features are not areas"),
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three sound slides; b is validated on."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abc":
        tif(tmp_path / f"images/{name}.tif", image())
        png(tmp_path / f"masks/{name}.png", mask())
    return tmp_path


def check(root: Path, *flags: str) -> tuple[list[str], list[str], int]:
    """Problems and notes, and the exit code; of the first slide that has any problem."""
    command = ["check", str(root / "images"), "--masks", str(root / "masks"), "--codes", CODES, "--json", *flags]
    done = CliRunner().invoke(app, command)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    slides = json.loads(done.stdout)["slides"]
    problems = [slide["problems"] for slide in slides if slide["problems"]]
    return problems[0] if problems else [], [note for slide in slides for note in slide["notes"]], done.exit_code


def trained(root: Path, *flags: str) -> str:
    """The error of the training."""
    command = ["train", "--images", str(root / "images"), "--masks", str(root / "masks"), "--codes", CODES, "--bs", "1",
               "--per-slide", "1", "--workers", "0", "--valid-slides", "b*", "--out", str(root / "run")]  # fmt: skip
    done = CliRunner().invoke(app, [*command, *([] if "--size" in flags else ["--size", "16"]), *flags])
    assert isinstance(done.exception, PatchaugError), (done.exception, done.output)
    return str(done.exception)


def bare(text: str, root: Path) -> str:
    """An error without the slide that it begins with; of several slides that of the first, and without their number."""
    text = re.sub(r"^\d+ of \d+ slides cannot be used:\n- (.*)\n- .*$", r"\1", text)
    for file in (root / "images").rglob("*"):
        for name in (str(file), file.name):
            text = text.removeprefix(f"{name}: ").removeprefix(f"{name} ")
    return re.sub(r"^\d+ of \d+ slides have no mask in (\S+?)(:.*)?$", r"no mask in \1", text)


@pytest.mark.parametrize("kind", WRONG)
def test_check_says_what_training_says(root: Path, kind: str) -> None:
    """One problem, with the words of the training."""
    harm, flags, text = WRONG[kind]
    harm(root)
    problems, _, code = check(root, *flags)
    error = trained(root, *flags)
    assert text in error
    assert code == 1
    assert [bare(one, root) for one in problems] == [bare(error, root)]


def test_sound_slides_pass(root: Path) -> None:
    """Without problems and notes, whatever flags describe them rightly."""
    assert check(root) == ([], [], 0)
    assert check(root, "--channels", "2,0", "--scale", "0,200", "--size", "32", "--series", "0") == ([], [], 0)


def test_a_missing_scale_is_a_note_with_the_words_of_training(root: Path) -> None:
    """The slides are sound; training needs one flag more, and the note has it."""
    for name in "abc":
        tif(root / f"images/{name}.tif", image(6, "u2"))
    problems, notes, code = check(root)
    error = trained(root)
    assert (problems, code) == ([], 0)
    assert notes == [error.removeprefix("a.tif: ")]
    assert check(root, "--scale", re.search(r'--scale "(.*?)"', error)[1]) == ([], [], 0)
    done = CliRunner().invoke(app, ["check", str(root / "images/a.tif"), "--isolated", "--json"])
    assert "patchaug stats" in json.loads(done.stdout)["slides"][0]["notes"][0]  # opened in its own process alone


def test_a_pixel_size_of_a_screen_is_a_note(root: Path) -> None:
    """It harms windows by mpp alone; the cure of the note ends it."""
    tif(root / "images/a.tif", image(), resolution=(72, 72), resolutionunit=2)
    problems, notes, code = check(root)
    assert (problems, code) == ([], 0)
    assert len(notes) == 1 and "72 dots per inch" in notes[0] and "--mpp-of-slides 0.25" in notes[0]
    assert check(root, "--mpp-of-slides", "0.25", "--size", "16", "--mpp", "0.5") == ([], [], 0)


def test_a_rare_value_of_alpha_is_found_in_its_tile(tmp_path: Path) -> None:
    """The sample at open may miss it; check decodes every tile."""
    pixels = np.full((600, 600, 4), 255, np.uint8)
    pixels[301, 290, 3] = 77
    tif(tmp_path / "a.tif", pixels, extrasamples=[2], tile=(16, 16), compression="deflate")
    done = CliRunner().invoke(app, ["check", str(tmp_path / "a.tif"), "--json"])
    (problem,) = json.loads(done.stdout)["slides"][0]["problems"]
    assert done.exit_code == 1 and "channel 3 is tagged as alpha and holds 77" in problem
    done = CliRunner().invoke(app, ["check", str(tmp_path / "a.tif"), "--json", "--channels", "0,1,2,3"])
    slide = json.loads(done.stdout)["slides"][0]
    assert (done.exit_code, slide["problems"], slide["dtype"], slide["channels"]) == (0, [], "uint8", 4)
