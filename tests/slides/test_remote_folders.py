"""Slides and masks in stores: listing, pairing, tables and manifests take URLs, also as paths."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from patchaug import open_slide
from patchaug.errors import MissingError, OptionError, ReadError
from patchaug.readers.remote.client import disconnect
from patchaug.readers.urls import as_url
from patchaug.slides.audit import audit_slides
from patchaug.slides.checksums import compare_manifest, write_manifest
from patchaug.slides.discovery import get_slide_files, require_files
from patchaug.slides.pair_table import read_table
from patchaug.slides.pairing import find_masks
from tests.readers.range_server import RangeServer, serving

if importlib.util.find_spec("obstore") is None:
    pytest.skip("obstore is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("a") / "a.tiff"
    tifffile.imwrite(path, np.zeros((64, 96, 3), np.uint8), tile=(32, 32))
    return path.read_bytes()


@pytest.fixture
def server(picture: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    """A store with a bucket."""
    with serving() as one:
        images = "a.tiff", "b c/b.tiff", ".hidden.tiff", "notes.txt", "z.zarr/.zarray", "z.zarr/0.0"
        for name in (
            *(f"images/{name}" for name in images), "masks/a_mask.tiff", "masks/b c/b.tiff", "masks/z.png"
        ):  # fmt: skip
            one.files[f"bucket/run/{name}"] = picture
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheimnis")
        monkeypatch.setenv("AWS_ENDPOINT_URL", one.url)
        monkeypatch.setenv("PATCHAUG_REMOTE_SECONDS", "5")
        disconnect()
        yield one
    disconnect()


def test_slides_are_listed_and_paired_as_in_a_folder(server: RangeServer) -> None:
    """Zarr hierarchies are slides and not looked into; masks have the same stem and place."""
    found = get_slide_files("s3://bucket/run/images")
    assert [as_url(file) for file in found] == [
        f"s3://bucket/run/images/{name}" for name in ("a.tiff", "b c/b.tiff", "z.zarr")
    ]
    assert found == get_slide_files(Path("s3://bucket/run/images/"))
    masks = find_masks(found, "s3://bucket/run/masks", root="s3://bucket/run/images")
    assert [as_url(file) for file in masks] == [
        f"s3://bucket/run/masks/{name}" for name in ("a_mask.tiff", "b c/b.tiff", "z.png")
    ]
    assert open_slide(found[1]).dimensions == (96, 64)
    del server.files["bucket/run/masks/z.png"]
    with pytest.raises(MissingError, match="1 of 3 slides have no mask in s3:.*z.zarr"):
        find_masks(found, "s3://bucket/run/masks", root="s3://bucket/run/images")


def test_what_cannot_be_listed(server: RangeServer) -> None:
    """Web servers do not list, and an empty place is an error; both name the cure or the place."""
    with pytest.raises(OptionError, match=r"web servers cannot list.*CSV"):
        get_slide_files(f"{server.url}/bucket/run/images")
    with pytest.raises(MissingError, match="s3://bucket/none"):
        get_slide_files("s3://bucket/none")
    server.fault = lambda number, path: "denied"
    with pytest.raises(ReadError, match="AWS_ACCESS_KEY_ID"):
        get_slide_files("s3://bucket/run/images")


def test_missing_urls_are_listed_together(server: RangeServer) -> None:
    """Beside local files, and zarr hierarchies exist."""
    paths = [f"s3://bucket/run/images/{name}" for name in ("a.tiff", "none.tiff", "z.zarr")]
    with pytest.raises(MissingError, match="2 slides do not exist: s3://bucket/run/images/none.tiff, /none/b.tiff"):
        require_files([*paths, "/none/b.tiff"], "slides")


def test_a_table_may_name_urls(server: RangeServer, tmp_path: Path) -> None:
    """Of web servers and stores; a secret in it is an error that names the line."""
    table, web = tmp_path / "pairs.csv", f"{server.url}/bucket/run"
    table.write_text(f"image,mask\n{web}/images/a.tiff,s3://bucket/run/masks/a_mask.tiff\n")
    (found,) = read_table(table)
    assert as_url(found.image) == f"{web}/images/a.tiff"
    assert open_slide(found.image).dimensions == (96, 64)
    table.write_text(f"image,mask\n{web}/images/none.tiff,{web}/masks/a_mask.tiff\n")
    with pytest.raises(MissingError, match=r"1 files that do not exist: http://.*none.tiff"):
        read_table(table)
    table.write_text("image,mask\nhttps://u:geheim@h/a.tiff,b.tiff\n")
    with pytest.raises(OptionError, match=r"line 2: .*refused") as caught:
        read_table(table)
    assert "geheim" not in str(caught.value)
    server.files["bucket/run/pairs.csv"] = b"image,mask\nimages/a.tiff,masks/a_mask.tiff\n"
    assert as_url(read_table("s3://bucket/run/pairs.csv")[0].mask) == "s3://bucket/run/masks/a_mask.tiff"


def test_a_manifest_of_sizes_and_etags(server: RangeServer, picture: bytes, tmp_path: Path) -> None:
    """A changed, a new and a missing object are told."""
    a, b = "s3://bucket/run/images/a.tiff", "s3://bucket/run/images/b c/b.tiff"
    manifest = tmp_path / "m.json"
    assert write_manifest(manifest, [a, b]) == 2
    assert compare_manifest(manifest, [a, b]) == {}
    server.files["bucket/run/images/a.tiff"] = picture + b" "
    del server.files["bucket/run/images/b c/b.tiff"]
    disconnect()
    from patchaug.readers.remote.source import forget

    forget(a)
    changes = compare_manifest(manifest, [a])
    assert "changed: " in changes[str(Path(a))]
    assert changes[str(Path(b))] == "missing: the manifest names it"


def test_audit(server: RangeServer, picture: bytes) -> None:
    """`check` looks at slides and masks of a store as at those of a folder."""
    del server.files["bucket/run/images/z.zarr/.zarray"], server.files["bucket/run/images/z.zarr/0.0"]
    server.files["bucket/run/images/b c/b.tiff"] = picture[:-2000]
    reports = audit_slides(["s3://bucket/run/images"])
    assert [report.path for report in reports] == [
        f"s3://bucket/run/images/{name}" for name in ("a.tiff", "b c/b.tiff")
    ]
    assert not reports[0].problems
    assert "cut off" in reports[1].problems[0]
