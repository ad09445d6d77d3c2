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
