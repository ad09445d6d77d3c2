"""`patchaug check`: what is wrong with slides and masks is found, what is right passes, a manifest sees the rest."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from patchaug import MissingError, OptionError, ReadError
from patchaug.cli import app
from patchaug.slides.audit import audit_slides
from patchaug.slides.checksums import compare_manifest, write_manifest
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid
from tests.sampling.test_on_error import spoil

CODES = list("abcde")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """images/a.tiff of two levels, images/b.png, and their masks."""
    for kind, make in (("images", coordinate_image), ("masks", coordinate_mask)):
        (tmp_path / kind).mkdir()
        write_pyramid(tmp_path / kind / "a.tiff", [make(256, 200), make(64, 50, 4)])
        Image.fromarray(make(90, 70)).save(tmp_path / kind / "b.png")
    return tmp_path


def problems(folder: Path, **kwargs) -> dict[str, list[str]]:
    """{slide: its problems}."""
    reports = audit_slides([folder / "images"], **{"masks": folder / "masks", "codes": CODES, **kwargs})
    return {Path(one.path).name: list(one.problems) for one in reports}


def test_good_slides_pass(folder: Path) -> None:
    """Size, levels, codec, every tile of image and mask, and the share of each class."""
    one, two = audit_slides(
        [folder / "images" / "a.tiff", folder / "images" / "b.png"], masks=folder / "masks", codes=CODES
    )
    assert not one.problems and not two.problems
    assert (one.size, one.levels, one.tiles) == ((256, 200), 2, 2 * (16 + 1))
    assert "DEFLATE" in one.codec
    assert one.mpp == pytest.approx((0.5, 0.5)) and two.mpp is None
    for report, mask in ((one, coordinate_mask(256, 200)), (two, coordinate_mask(90, 70))):
        assert report.pixels == dict(zip(*np.unique(mask, return_counts=True), strict=True))


def damaged(folder: Path) -> None:
    spoil(folder / "images" / "a.tiff", 2, 3, 5, 7)


def cut(folder: Path) -> None:
    file = folder / "images" / "b.png"
    os.truncate(file, file.stat().st_size // 2)


def mask_damaged(folder: Path) -> None:
    spoil(folder / "masks" / "a.tiff", 9)


def mask_missing(folder: Path) -> None:
    (folder / "masks" / "b.png").unlink()


def another_frame(folder: Path) -> None:
    write_pyramid(folder / "masks" / "a.tiff", [coordinate_mask(255, 200)])


def unknown_class(folder: Path) -> None:
    mask = coordinate_mask(256, 200)
    mask[133, 77] = 9
    write_pyramid(folder / "masks" / "a.tiff", [mask])


def lossy(folder: Path) -> None:
    tifffile.imwrite(folder / "masks" / "a.tiff", coordinate_mask(256, 200), tile=(64, 64), compression="jpeg")


def a_text(folder: Path) -> None:
    (folder / "images" / "a.tiff").write_text("not a slide")


def empty(folder: Path) -> None:
    (folder / "images" / "b.png").write_bytes(b"")


def unknown_polygons(folder: Path) -> None:
    pytest.importorskip("shapely")
    (folder / "masks" / "a.tiff").unlink()
    ring = [[0, 0], [9, 0], [9, 9], [0, 0]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
               "properties": {"classification": {"name": "f"}}}  # fmt: skip
    (folder / "masks" / "a.geojson").write_text(json.dumps(feature))


@pytest.mark.parametrize(
    ("harm", "slide", "number", "expected"),
    [
        (damaged, "a.tiff", 4, r"^tile 2 of level 0 cannot be read.*4 of 17 tiles cannot be read; the first 3 are"),
        (cut, "b.png", 1, r"^cannot be decoded|^ends"),
        (mask_damaged, "a.tiff", 1, r"^mask a.tiff: tile 9 of level 0 cannot be read"),
        (mask_missing, "b.png", 1, r"^1 of 1 slides have no mask in .*masks"),
        (another_frame, "a.tiff", 1, r"^the image has 256 x 200 px, its mask \(a.tiff\) 255 x 200 px"),
        (unknown_class, "a.tiff", 1, r"^the mask holds class 9 at x=77 y=133 \(1 px\), but codes name 0 to 4 "),
        (lossy, "a.tiff", 1, r"compression JPEG may alter class numbers"),
        (a_text, "a.tiff", 1, r"^no reader supports the file as an image"),
        (empty, "b.png", 1, r"^is empty"),
        (unknown_polygons, "a.tiff", 1, r"classes that are not in codes: 'f' \(1 features\)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_found(folder: Path, harm, slide: str, number: int, expected: str) -> None:
    """On the slide that has it, and on no other."""
    harm(folder)
    found = problems(folder)
    assert len(found.pop(slide)) == number or pytest.fail(str(found))
    assert not any(found.values())
    told = " ".join(problems(folder)[slide])
    assert re.search(expected, told), told


def test_a_sample_is_spread_evenly(folder: Path) -> None:
    """As many tiles as asked for; damage outside of it is not seen, and all of it with a sample of all."""
    spoil(folder / "images" / "a.tiff", 8)
    (one,) = audit_slides([folder / "images" / "a.tiff"], sample=3)
    assert one.tiles == 3 and len(one.problems) == 1  # the one in the middle
    (one,) = audit_slides([folder / "images" / "a.tiff"], sample=2)
    assert one.tiles == 2 and not one.problems
    (one,) = audit_slides([folder / "images" / "a.tiff"], sample=10**6)
    assert one.tiles == 17 and len(one.problems) == 1
    with pytest.raises(OptionError, match="sample must be in 1"):
        audit_slides([folder / "images"], sample=0)


def test_the_manifest_says_what_changed(folder: Path) -> None:
    """Changed, even with the same size and time; missing; new; and nothing where nothing did."""
    kept = folder / "manifest.json"
    audit_slides([folder / "images"], masks=folder / "masks", new_manifest=kept)
    assert set(json.loads(kept.read_text())["files"]) == {
        f"{k}/{n}" for k in ("images", "masks") for n in ("a.tiff", "b.png")
    }
    assert not list(folder.glob("*.part"))
    assert problems(folder, manifest=kept) == {"a.tiff": [], "b.png": []}
    image = folder / "images" / "a.tiff"
    before = image.stat()
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "masks" / "b.png").rename(folder / "masks" / "b_mask.png")
    shutil.copy(folder / "images" / "b.png", folder / "images" / "c.png")
    shutil.copy(folder / "images" / "b.png", folder / "masks" / "c.tif")
    changes = compare_manifest(kept, sorted(folder.glob("images/*")) + sorted(folder.glob("masks/*")))
    told = {Path(path).relative_to(folder).as_posix(): change for path, change in changes.items()}
    assert told.pop("images/a.tiff").endswith("now, though its time is the same")
    assert told == {
        "images/c.png": "new: the manifest does not name it",
        "masks/c.tif": "new: the manifest does not name it",
        "masks/b_mask.png": "new: the manifest does not name it",
        "masks/b.png": "missing: the manifest names it",
    }
    found = problems(folder, manifest=kept)
    assert found["a.tiff"][0].startswith("changed: ") and found["b.png"] == [
        "missing: the manifest names it"  # of the mask, which has a line of its own
    ]


def test_folder_and_manifest_move_together(folder: Path, tmp_path: Path) -> None:
    """Paths are kept relative to the manifest."""
    write_manifest(folder / "manifest.json", sorted((folder / "images").iterdir()))
    moved = shutil.copytree(folder, tmp_path / "elsewhere")
    assert compare_manifest(moved / "manifest.json", sorted((moved / "images").iterdir())) == {}


@pytest.mark.parametrize("kind", ["jpeg", "deflate", None])
def test_200_mutations_are_found(tmp_path: Path, kind: str | None) -> None:
    """One flipped bit, one byte, a run of bytes, two swapped blocks, a cut: whatever a reader thinks of it."""
    rng = np.random.default_rng(3)
    path = tmp_path / "a.tiff"
    write_pyramid(path, [rng.integers(0, 255, (256, 256, 3), np.uint8)], compression=kind)
    write_manifest(tmp_path / "manifest.json", [path])
    whole, found = path.read_bytes(), 0
    for number in range(200):
        data = bytearray(whole)
        at = int(rng.integers(len(data) - 64))
        match number % 5:
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = (data[at] + int(rng.integers(1, 256))) % 256
            case 2:
                data[at : at + 16] = bytes(255 - b for b in data[at : at + 16])
            case 3:
                data[at : at + 32], data[:32] = data[:32], data[at : at + 32]
            case _:
                del data[at:]
        assert bytes(data) != whole or pytest.fail("no mutation")
        path.write_bytes(data)
        found += bool(compare_manifest(tmp_path / "manifest.json", [path]))
    assert found == 200


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"patchaug_manifest": 2, "files": {}}', '{"patchaug_manifest": 1, "files": []}',
     '{"patchaug_manifest": 1, "files": {"a": 5}}', '{"patchaug_manifest": 1, "files": {"a": {"size": "x"}}}',
     "[" * 100000],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_manifest_is_told(tmp_path: Path, text: str) -> None:
    """One clear error each; and a manifest that is not there."""
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ReadError, match=r"manifest\.json.*(is not a manifest|is empty)"):
        compare_manifest(tmp_path / "manifest.json", [])
    with pytest.raises(MissingError, match=r"none\.json"):
        compare_manifest(tmp_path / "none.json", [])


def test_a_manifest_opens_nothing_that_was_not_asked_for(tmp_path: Path) -> None:
    """Paths that leave the folder, or pipes, are only looked for; a pipe would hang whoever opens it."""
    os.mkfifo(tmp_path / "pipe")
    entry = {"size": 1, "mtime_ns": 1, "crc32": "00000000"}
    files = {"pipe": entry, "../../etc/passwd": entry, "/dev/zero": entry}
    (tmp_path / "manifest.json").write_text(json.dumps({"patchaug_manifest": 1, "files": files}))
    start = time.monotonic()
    compare_manifest(tmp_path / "manifest.json", [])
    assert time.monotonic() - start < 5


def test_mirax_is_more_than_its_index(tmp_path: Path) -> None:
    """The pixels of slide.mrxs lie in the folder slide/."""
    (tmp_path / "s").mkdir()
    for name in ("s.mrxs", "s/Data0000.dat", "s/Slidedat.ini"):
        (tmp_path / name).write_text("x")
    assert write_manifest(tmp_path / "manifest.json", [tmp_path / "s.mrxs"]) == 3
    (tmp_path / "s" / "Data0000.dat").write_text("y")
    assert list(compare_manifest(tmp_path / "manifest.json", [tmp_path / "s.mrxs"])) == [
        str(tmp_path / "s/Data0000.dat")
    ]


def test_zarr_is_checked_chunk_by_chunk(folder: Path) -> None:
    """Size, codec, chunks that are not stored, a damaged one; and the manifest names each file of the folder."""
    zarr = pytest.importorskip("zarr")
    for kind, make in (("images", coordinate_image), ("masks", coordinate_mask)):
        pixels = make(256, 200)
        pixels[:64, :64] = 0  # of the mask, nobody stores a chunk of background
        array = zarr.create_array(
            store=folder / kind / "z.zarr", shape=pixels.shape, chunks=(64, 64, *pixels.shape[2:]), dtype="u1",
            config={"write_empty_chunks": kind == "images"},
        )  # fmt: skip
        array[...] = pixels
    image, kept = folder / "images" / "z.zarr", folder / "manifest.json"
    (one,) = audit_slides([image], masks=folder / "masks", codes=CODES, new_manifest=kept)
    assert (one.size, one.codec, one.tiles, one.missing, one.problems) == ((256, 200), "zstd", 32, 1, ())
    assert one.pixels == dict(zip(*np.unique(pixels, return_counts=True), strict=True))
    assert len(json.loads(kept.read_text())["files"]) == 17 + 16
    assert [Path(report.path).name for report in audit_slides([folder / "images"])] == ["a.tiff", "b.png", "z.zarr"]
    data = (image / "c/1/2/0").read_bytes()
    (image / "c/1/2/0").write_bytes(data[:-9])
    (folder / "masks" / "z.zarr" / "c/2/2").unlink()
    (one,) = audit_slides([image], masks=folder / "masks", codes=CODES, manifest=kept)
    assert one.missing == 2
    told = "\n".join(one.problems)
    assert re.search(r"^c/1/2/0: changed: ", told, re.M) and re.search(
        r"^mask z.zarr: c/2/2: missing: the manifest names it$", told, re.M
    )
    assert re.search(r"^tile 6 of level 0 cannot be read", told, re.M) and len(one.problems) == 3
    for file in image.glob("c/3/*/0"):
        file.write_bytes(data)
    one, lost = audit_slides([image], manifest=kept)
    assert lost.path.endswith("masks/z.zarr/c/2/2")
    assert sum(": changed: " in problem for problem in one.problems) == 3
    assert "5 of its files are told by the manifest; 3 are listed" in one.problems
    code, text = run(image, "--masks", folder / "masks")
    assert code == 1 and "(2 not stored)" in text


def run(*args: object) -> tuple[int, str]:
    """Exit code and stdout of the command."""
    done = CliRunner().invoke(app, ["check", *map(str, args)])
    return done.exit_code, done.stdout


def test_the_command(folder: Path) -> None:
    """A table with exit code 0, problems in full with 1, JSON, and no manifest of what has problems."""
    kept = folder / "manifest.json"
    code, text = run(folder / "images", "--masks", folder / "masks", "--codes", "a,b,c,d,e", "--write-manifest", kept)
    assert code == 0 and "a.tiff" in text and "256 x 200" in text and kept.exists()
    spoil(folder / "images" / "a.tiff", 2)
    code, text = run(folder / "images", "--manifest", kept)
    assert code == 1 and f"{folder / 'images' / 'a.tiff'}: changed: " in text and "tile 2 of level 0" in text
    code, text = run(
        folder / "images", "--json", "--sample", 1, "--write-manifest", folder / "other.json", "--manifest", kept
    )
    report = json.loads(text)
    assert code == 1 and report["problems"] == 1 and report["slides"][0]["size"] == [256, 200]
    assert not (folder / "other.json").exists()


def test_real_slides_pass_and_bad_ones_end_in_problems(data: Path) -> None:
    """Those of the data folder; each bad one that does not open has one line that names no other file."""
    assert not any(one.problems for one in audit_slides([data / "slides"]))
    reports = audit_slides([data / "bad"])
    assert len(reports) > 40
    harmed = [one for one in reports if one.problems]
    assert {"CMU-1-Small-Region_one_tile_scrambled.svs", "CMU-1-Small-Region_trunc50.svs", "libvips_truncated.jpg"} <= {
        Path(one.path).name for one in harmed
    }
    assert all("\n" not in problem for one in harmed for problem in one.problems)
