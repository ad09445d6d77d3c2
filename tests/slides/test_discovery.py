"""Which files are slides, and which mask belongs to which."""

from pathlib import Path

import pytest

from patchaug import MissingError, OptionError
from patchaug.slides.discovery import get_slide_files, require_files
from patchaug.slides.pairing import find_masks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Slides in two folders, masks beside and apart, and what must not be taken for either."""
    for name in (
        "b.svs",
        "a.TIFF",
        "a_mask.png",
        "sub/c.ndpi",
        "sub/deep/d.png",
        ".hidden.tiff",
        ".git/e.png",
        "x.txt",
    ):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("a.png", "b_mask.tif", "c.png", "d.png"):
        path = tmp_path / "masks" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(files: list[Path]) -> list[str]:
    """File names only."""
    return [file.name for file in files]


def test_slides_are_found_sorted(folder: Path) -> None:
    """All suffixes in any case, subfolders on request, no hidden files, no masks."""
    assert names(get_slide_files(folder / "images")) == ["a.TIFF", "b.svs", "c.ndpi", "d.png"]
    assert names(get_slide_files(folder / "images", recurse=False)) == ["a.TIFF", "b.svs"]
    assert names(get_slide_files(folder / "images", folders=["sub"])) == ["c.ndpi", "d.png"]


def test_zarr_folders_are_slides(folder: Path) -> None:
    """By their name, never looked into; zip files of zarr too, and no other zip file."""
    for name in ("z.zarr/0/c/0.png", "sub/y.ome.zarr/s0/1.tiff", "x.zarr.zip", "data.zip", ".h.zarr/0/a.png"):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (folder / "images" / "z_mask.zarr").mkdir()
    zarrs = ["x.zarr.zip", "z.zarr"]
    assert names(get_slide_files(folder / "images", recurse=False)) == ["a.TIFF", "b.svs", *zarrs]
    found = get_slide_files(folder / "images")
    assert names(found) == ["a.TIFF", "b.svs", "c.ndpi", "d.png", "y.ome.zarr", *zarrs]
    assert names(get_slide_files(folder / "images", folders=["sub"])) == ["c.ndpi", "d.png", "y.ome.zarr"]
    for name in ("x.zarr", "y.ome.zarr", "z.zarr"):
        (folder / "masks" / name).mkdir()
    chosen = [file for file in found if "zarr" in file.name]
    assert sorted(names(find_masks(chosen, folder / "masks"))) == ["x.zarr", "y.ome.zarr", "z.zarr"]


def test_masks_are_found_by_stem(folder: Path) -> None:
    """Same stem, or with _mask; in the same folder as the images too."""
    files = get_slide_files(folder / "images")
    assert names(find_masks(files, folder / "masks")) == ["a.png", "b_mask.tif", "c.png", "d.png"]
    assert names(find_masks(files[:1], folder / "images")) == ["a_mask.png"]


def test_polygons_are_masks_too(folder: Path) -> None:
    """By their suffix, packed or not; and beside a picture of the same name they are one too many."""
    files = get_slide_files(folder / "images")
    for old, new in (
        ("a.png", "a.geojson.gz"),
        ("b_mask.tif", "b.xml"),
        ("c.png", "c_mask.geojson"),
        ("d.png", "d.JSON"),
    ):
        (folder / "masks" / old).rename(folder / "masks" / new)
    assert names(find_masks(files, folder / "masks")) == ["a.geojson.gz", "b.xml", "c_mask.geojson", "d.JSON"]
    (folder / "masks" / "a.png").touch()
    with pytest.raises(OptionError, match="a.TIFF has 2 masks"):
        find_masks(files, folder / "masks")


def test_all_missing_masks_are_listed_at_once(folder: Path) -> None:
    """Not one at a time."""
    (folder / "masks" / "a.png").unlink()
    (folder / "masks" / "c.png").unlink()
    with pytest.raises(
        MissingError, match=r"2 of 4 slides have no mask in .*masks: a.TIFF, sub/c.ndpi; a mask is named"
    ):
        find_masks(get_slide_files(folder / "images"), folder / "masks")


def test_two_masks_for_a_slide_are_refused(folder: Path) -> None:
    """Both are listed."""
    (folder / "masks" / "a_mask.png").touch()
    with pytest.raises(OptionError, match=r"a.TIFF has 2 masks: a.png, a_mask.png; keep one of each"):
        find_masks(get_slide_files(folder / "images"), folder / "masks")


def test_empty_and_missing_folders_are_named(tmp_path: Path) -> None:
    """With the suffixes that are looked for."""
    with pytest.raises(MissingError, match=r"no slides in .*known suffixes are .*\.svs"):
        get_slide_files(tmp_path)
    for find in (lambda: get_slide_files(tmp_path / "none"), lambda: find_masks([], tmp_path / "none")):
        with pytest.raises(MissingError, match="there is no folder .*none"):
            find()
    (tmp_path / "mask.png").touch()
    with pytest.raises(MissingError, match=r"mask.png is a file; give the folder"):
        find_masks([], tmp_path / "mask.png")
    with pytest.raises(MissingError, match="2 slides do not exist: .*p, .*q"):
        require_files([tmp_path / "p", tmp_path, tmp_path / "q"], "slides")


def test_pictures_of_a_run_are_no_slides(tmp_path: Path) -> None:
    """Where a run's folder lies among the slides; a picture of the user in it is one."""
    from PIL import Image

    from patchaug.core.atomic import atomic_write
    from patchaug.slides.discovery import RUN_MARK

    run = tmp_path / "patchaug-run"
    run.mkdir()
    (tmp_path / "a.png").touch()
    (run / RUN_MARK).touch()
    with atomic_write(run / "windows.png", "picture") as file:
        Image.new("L", (4, 4)).save(file)
    (run / "mine.png").write_bytes((run / "windows.png").read_bytes()[:-60])
    assert names(get_slide_files(tmp_path)) == ["a.png", "mine.png"]
    (run / RUN_MARK).unlink()
    assert names(get_slide_files(tmp_path)) == ["a.png", "mine.png", "windows.png"]
