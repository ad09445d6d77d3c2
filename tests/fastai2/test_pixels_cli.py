"""Scenes of six 16-bit bands and stains of 16 bits, from the command line: two flags more than 8-bit RGB."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fastai.vision.all import load_learner
from PIL import Image
from typer.testing import CliRunner

from patchaug import PatchaugError, open_slide
from patchaug.cli import app
from patchaug.cli.split_pairs import as_items, pairs_of
from patchaug.fastai import SlideDataLoaders
from patchaug.options.fields import TrainOptions
from patchaug.sampling.statistics import measure

SIDE = 96
GROUND, OBJECT = (600, 9000, 300, 700, 1500, 400), (500, 2500, 400, 3200, 2500, 900)  # values of the channels


def field(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of six channels, uint16, and its mask: rectangles on noise."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for x, y in rng.integers(4, SIDE - 30, (3, 2)):
        mask[y : y + 26, x : x + 22] = 1
    values = np.where(mask[..., None], OBJECT, GROUND) + rng.integers(0, 200, (SIDE, SIDE, 6))
    return values.astype(np.uint16), mask


def scene(folder: Path, seed: int) -> None:
    """Write a band-interleaved GeoTIFF as QGIS or GDAL would."""
    image, mask = field(seed)
    tifffile.imwrite(folder / f"images/s{seed}.tif", image.transpose(2, 0, 1).copy(), planarconfig="separate",
                     photometric="minisblack", tile=(32, 32), compression="deflate", metadata=None)  # fmt: skip
    Image.fromarray(mask).save(folder / f"masks/s{seed}.png")


def stains(folder: Path, seed: int) -> None:
    """Write an OME-TIFF of two levels, one page a stain, and a mask of 0 and 255."""
    image, mask = field(seed)
    planes = image.transpose(2, 0, 1)[:3].copy()
    with tifffile.TiffWriter(folder / f"images/s{seed}.ome.tif", ome=True) as writer:
        metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "DAB", "CD3"]}, "PhysicalSizeX": 0.5,
                    "PhysicalSizeY": 0.5}  # fmt: skip
        writer.write(planes, subifds=1, tile=(32, 32), photometric="minisblack", metadata=metadata)
        writer.write(planes[:, ::2, ::2].copy(), subfiletype=1, tile=(32, 32), photometric="minisblack")
    Image.fromarray(mask * 255).save(folder / f"masks/s{seed}.png")


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    if done.exception is not None:
        raise done.exception
    return done.stdout


KINDS = {
    "scene": (scene, "ground,crop", ["--channels", "3,1,0,2,5,4"], [3, 1, 0, 2, 5, 4]),
    "stains": (stains, "ground=0,cell=255", ["--channels", "DAB,DAPI,CD3"], [1, 0, 2]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_flags_more_than_rgb(tmp_path: Path, kind: str) -> None:
    """The scale is that of the error or of `patchaug stats`; the exported model predicts a whole new slide."""
    write: Callable[[Path, int], None]
    write, codes, channels, numbers = KINDS[kind]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for seed in (1, 2, 3):
        write(tmp_path, seed)
    rgb = ["train", "--images", tmp_path / "images", "--masks", tmp_path / "masks", "--codes", codes, "--size", 32,
           "--per-slide", 24, "--epochs", 3, "--bs", 4, "--lr", 5e-3, "--workers", 0,
           "--out", tmp_path / "run"]  # fmt: skip
    with pytest.raises(PatchaugError, match="no scale says") as caught:
        run(*rgb, *channels)
    offered = re.search(r'--scale "(.*?)"', str(caught.value))[1]
    measured = re.search(r"--scale '(.*)'", run("stats", tmp_path / "images", *channels))[1]
    assert np.allclose(json.loads(offered), json.loads(measured), atol=100)
    out = run(*rgb, *channels, "--scale", offered)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert min(report["dice"].values()) > 0.8, out
    assert report["options"]["channels"] == (numbers if kind == "scene" else ["DAB", "DAPI", "CD3"])

    learn = load_learner(tmp_path / "run/model.pkl")
    write(tmp_path, 4)  # never seen
    new = next((tmp_path / "images").glob("s4*"))
    with learn.no_bar():
        classes = learn.predict_slide(new)
        assert np.array_equal(classes, learn.predict_slide(open_slide(field(4)[0][..., numbers])))
    assert (classes == field(4)[1]).mean() > 0.9
    for name in ("batch", "windows", "prediction"):
        picture = np.asarray(Image.open(tmp_path / f"run/{name}.png").convert("RGB"), np.int64)
        vivid = np.abs(picture - picture.mean(2, keepdims=True)).max(2) > 40  # the channels differ, and are stretched
        assert vivid.mean() > 0.2, name


def test_a_table_as_itemss_reads_the_channels_asked_for(tmp_path: Path) -> None:
    """Those of --channels, for slides with an own mpp and without one."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    rows = ["image,mask,mpp"]
    for seed, mpp in ((1, "0.5"), (2, ""), (3, "0.25")):
        scene(tmp_path, seed)
        rows.append(f"images/s{seed}.tif,masks/s{seed}.png,{mpp}")
    (tmp_path / "slides.csv").write_text("\n".join(rows))
    words = {"table": str(tmp_path / "slides.csv"), "codes": ["ground", "crop"], "channels": [4, 3], "scale": (0, 4000)}
    options = TrainOptions(16, **words)
    pairs = as_items([pair for side in pairs_of(options) for pair in side], options)
    dls = SlideDataLoaders.from_lists(
        pairs[:2], pairs[2:], codes=options.codes, options=options, bs=1, num_workers=0, device="cpu"
    )
    assert {slide.channels for loader in dls.loaders for slide in loader.slides} == {2}
    sizes = {slide.name: slide.mpp for loader in dls.loaders for slide in loader.slides}
    assert sizes == {"s1.tif": (0.5, 0.5), "s2.tif": None, "s3.tif": (0.25, 0.25)}


def test_show_reads_the_channels_and_codes_of_its_flags(tmp_path: Path) -> None:
    """The windows are drawn by classes of a mapping; other channels give another picture."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    stains(tmp_path, 1)
    words = ["show", tmp_path / "images/s1.ome.tif", "--mask", tmp_path / "masks/s1.png", "--size", 16,
             "--foreground", 1, "--codes", "ground=0,cell=255", "--index", 3]  # fmt: skip
    pictures = []
    for number, channels in enumerate((["DAPI"], ["DAB"], ["DAB", "DAPI", "CD3"])):
        out = tmp_path / f"{number}.png"
        found = json.loads(run(*words, "--channels", ",".join(channels), "--out", out, "--json"))
        pictures.append(np.asarray(Image.open(out).convert("RGB")).tobytes())
        at = found["window"]
        assert field(1)[1][at["y"] : at["y"] + 16, at["x"] : at["x"] + 16].any()
    assert len(set(pictures)) == 3
    with pytest.raises(PatchaugError, match="there is no channel 'CD8'"):
        run(*words, "--channels", "CD8", "--out", tmp_path / "x.png")


def test_stats_measures_each_channel_of_all_slides(tmp_path: Path) -> None:
    """As JSON: the figures of the function."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for seed in (1, 2, 3):
        scene(tmp_path, seed)
    found = json.loads(run("stats", tmp_path / "images", "--json"))
    assert len(found["channels"]) == 6 and found["dtype"] == "uint16"
    slides = [open_slide(path, ram="1GB") for path in sorted((tmp_path / "images").iterdir())]
    assert found["channels"][2]["mean"] == pytest.approx(measure(slides)[2].mean)
