"""`patchaug check` finds labels that training would refuse, with the same words, and says what else is odd."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from patchaug import PatchaugError, open_slide
from patchaug.cli import app
from patchaug.slides.audit import audit_slides
from patchaug.testing import coordinate_image, write_pyramid

SIDE = 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    write_pyramid(
        tmp_path / "images" / "a.tiff", [coordinate_image(SIDE, SIDE), coordinate_image(SIDE // 2, SIDE // 2, 2)]
    )
    return tmp_path


def mask() -> np.ndarray:
    out = np.zeros((SIDE, SIDE), np.uint8)
    out[11:40, 13:50] = 1
    return out


def square(name: str) -> dict[str, Any]:
    ring = [[2, 3], [12, 3], [12, 15], [2, 15]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {"classification": name}, "geometry": geometry}


def of_255(folder: Path) -> None:
    Image.fromarray(mask() * 255).save(folder / "a.png")


def of_colours(folder: Path) -> None:
    Image.fromarray(np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[mask()]).save(folder / "a.png")


def of_two_factors(folder: Path) -> None:
    Image.fromarray(mask()[:48]).save(folder / "a.png")


def of_the_first_code(folder: Path) -> None:
    (folder / "a.geojson").write_text(json.dumps([square("ground")]))


def of_degrees(folder: Path) -> None:
    feature = square("built")
    feature["geometry"]["coordinates"] = [[[6.9, 50.7], [6.9001, 50.7], [6.9001, 50.7001]]]
    (folder / "a.geojson").write_text(json.dumps([feature]))


@pytest.mark.parametrize("make", [of_255, of_colours, of_two_factors, of_the_first_code, of_degrees])
def test_check_says_what_training_says(folder: Path, make: Any) -> None:
    make(folder / "masks")
    codes = ["ground", "built"]
    (report,) = audit_slides([folder / "images"], masks=folder / "masks", codes=codes)
    (problem,) = report.problems
    (file,) = (folder / "masks").iterdir()
    with pytest.raises(PatchaugError) as caught:
        open_slide(folder / "images" / "a.tiff", file, codes=codes).labels()
    assert problem in str(caught.value)


def test_check_takes_the_codes_of_the_command_line(folder: Path) -> None:
    """A mapping makes the mask right, and the share of each class is that of its names."""
    of_255(folder / "masks")
    words = ["check", str(folder / "images"), "--masks", str(folder / "masks"), "--json", "--codes"]
    result = CliRunner().invoke(app, [*words, "ground=0,built=255"])
    assert result.exit_code == 0, result.output
    (slide,) = json.loads(result.stdout)["slides"]
    assert slide["pixels"] == {"0": SIDE**2 - 29 * 37, "1": 29 * 37} and slide["problems"] == []
    assert CliRunner().invoke(app, [*words, "ground,built"]).exit_code == 1


def test_averaged_overviews_are_a_note(folder: Path) -> None:
    """Training reads level 0, so they do no harm."""
    values = mask() * 2
    half = values.reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3)).round().astype(np.uint8)
    write_pyramid(folder / "masks" / "a.tiff", [values, half], tile=16)
    (report,) = audit_slides([folder / "images"], masks=folder / "masks", codes={"ground": 0, "built": 2})
    assert not report.problems and "overviews of the mask were averaged: " in report.notes[0]
    assert report.pixels == {0: SIDE**2 - 29 * 37, 1: 29 * 37}


def test_check_reports_pixels_without_data(folder: Path) -> None:
    """Their share and missing tiles in words and in JSON; with masks and no ignore_index they are a problem."""
    rasterio = pytest.importorskip("rasterio")
    pixels = np.full((3, 128, 128), 9, np.uint8)
    pixels[:, 10:42, 20:84] = 0
    path = folder / "images" / "b.tif"
    profile = {"width": 128, "height": 128, "count": 3, "dtype": "uint8", "tiled": True, "nodata": 0}
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(path, "w", driver="GTiff", blockxsize=32, blockysize=32, sparse_ok=True, **profile) as file,
    ):
        file.write(pixels[:, :96], window=((0, 96), (0, 128)))
    Image.fromarray(np.ones((128, 128), np.uint8)).save(folder / "masks" / "b.png")
    share = (32 * 128 + 32 * 64) / 128**2
    (report,) = audit_slides([path])
    assert report.invalid == share and report.missing == 4 and not report.problems
    assert report.notes[0].startswith("4 of 16 tiles are not stored (sparse file)")
    assert report.notes[1].startswith("37.50% of the pixels hold no data")
    words = ["check", str(path), "--masks", str(folder / "masks"), "--codes", "a,b"]
    result = CliRunner().invoke(app, [*words, "--ignore-index", "255", "--json"])
    (one,) = json.loads(result.stdout)["slides"]
    assert result.exit_code == 0 and (one["invalid"], one["missing"]) == (share, 4)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1 and "b.tif: note: 37.50% of the pixels hold no data" in result.stdout
    assert "4 of 16 tiles hold no data" in result.stdout and "set ignore_index=255" in result.stdout
    with rasterio.open(path, "r+") as file:
        file.write(pixels)
    (report,) = audit_slides([path], masks=folder / "masks", codes=["a", "b"])
    (problem,) = report.problems
    assert problem.startswith("2048 px of level 0 hold no data") and report.invalid == 32 * 64 / 128**2
    with pytest.raises(PatchaugError) as caught:
        open_slide(path, folder / "masks" / "b.png", codes=["a", "b"]).labels()
    assert problem.split("hold")[1] in str(caught.value)
