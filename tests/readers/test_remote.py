"""Slides on servers: the same pixels as the local file, under faults the same or one ReadError within the limit."""

from __future__ import annotations

import gzip
import importlib.util
import json
import multiprocessing
import os
import pickle
import random
import sys
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Window, open_slide
from patchaug.errors import MissingError, OptionError, ReadError
from patchaug.readers import open_raster
from patchaug.readers.remote import source as remote_module
from patchaug.readers.remote.client import disconnect
from patchaug.slides.slide import Slide
from tests.readers.range_server import RangeServer, read_into, serving
from tests.readers.test_zarr import write

if importlib.util.find_spec("obstore") is None:
    pytest.skip("obstore is not installed", allow_module_level=True)

WIDTH, HEIGHT, LIMIT = 300, 230, 4.0


@pytest.fixture(scope="module")
def server() -> Iterator[RangeServer]:
    with serving() as one:
        yield one


@pytest.fixture(autouse=True)
def _fresh(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if os.environ.get("PATCHAUG_REMOTE_SECONDS") != str(LIMIT):
        os.environ["PATCHAUG_REMOTE_SECONDS"] = str(LIMIT)
        disconnect()
    yield
    server.fault, server.delay = (lambda number, path: None), 0.0


@pytest.fixture(scope="module", autouse=True)
def _environment() -> Iterator[None]:
    yield
    os.environ.pop("PATCHAUG_REMOTE_SECONDS", None)
    disconnect()


@pytest.fixture(scope="module")
def slides(server: RangeServer, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Tiled pictures and a mask, local and served."""
    folder, random_numbers = tmp_path_factory.mktemp("slides"), np.random.default_rng(0)
    image = random_numbers.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    mask = random_numbers.integers(0, 4, (HEIGHT, WIDTH), np.uint8)
    made = []
    for name, pixels, options in (
        ("jpeg.tiff", image, {"compression": "jpeg"}), ("deflate.tiff", image, {"compression": "deflate"}),
        ("planes.tiff", image.transpose(2, 0, 1).copy(), {"planarconfig": "separate", "photometric": "rgb"}),
        ("big end.tiff", mask, {"compression": "lzw", "bigtiff": True}),
    ):  # fmt: skip
        path = folder / name
        big = options.pop("bigtiff", False)
        with tifffile.TiffWriter(path, bigtiff=bool(big)) as tiff:
            tiff.write(pixels, tile=(32, 48), metadata=None, **options)
        server.files[name] = path.read_bytes()
        made.append((path, f"{server.url}/{name.replace(' ', '%20')}"))
    return made


windows = st.tuples(
    st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(1, WIDTH), st.integers(1, HEIGHT)
).map(lambda w: Window(w[0], w[1], min(w[2], WIDTH - w[0]), min(w[3], HEIGHT - w[1])))


@given(number=st.integers(0, 3), window=windows, ram=st.sampled_from([0, 1 << 20]))
def test_any_window_equals_the_local_file(
    slides: list[tuple[Path, str]], number: int, window: Window, ram: int
) -> None:
    """Of pictures and masks, with a cache and without."""
    path, url = slides[number]
    mask = number == 3
    local, remote = open_raster(path, mask=mask), open_raster(url, mask=mask, ram=ram)
    np.testing.assert_array_equal(remote.read(window), local.read(window))


def faults_at(rate: float, seed: int, kinds: tuple[str, ...]) -> Any:
    """Faults of a part of all requests."""
    random_numbers = random.Random(seed)
    return lambda number, path: random_numbers.choice(kinds) if random_numbers.random() < rate else None


@given(seed=st.integers(0, 2**32), rate=st.sampled_from([0.05, 0.5]), window=windows)
def test_under_faults_a_window_is_the_local_one_or_one_error(
    server: RangeServer, slides: list[tuple[Path, str]], seed: int, rate: float, window: Window
) -> None:
    """Errors, cut answers, shifted ranges and whole files in place of ranges never become pixels."""
    path, url = slides[0]
    remote = open_raster(url)
    server.fault = faults_at(rate, seed, ("error", "cut", "shifted", "whole", "denied"))
    began = time.monotonic()
    found: Any
    try:
        found = remote.read(window)
    except ReadError as error:
        found = str(error)
    finally:
        server.fault = lambda number, path: None
    if isinstance(found, str):
        assert url in found
    else:
        np.testing.assert_array_equal(found, open_raster(path).read(window))
    assert time.monotonic() - began < 2 * LIMIT + 10  # the machine may be busy


def test_a_thousand_requests_with_faults(server: RangeServer, slides: list[tuple[Path, str]]) -> None:
    """With 5 % of errors, cuts and stalls all windows are right, because requests are tried again."""
    path, url = slides[1]
    local, remote = open_raster(path), open_raster(url)
    before, positions, most = len(server.requests), random.Random(3), 0.0
    server.fault = faults_at(0.05, 7, ("error", "cut", "error", "cut", "error", "cut", "error", "cut", "stall"))

    def wrong(window: Window) -> float:
        began = time.monotonic()
        np.testing.assert_array_equal(remote.read(window), local.read(window))
        return time.monotonic() - began

    found = [Window(positions.randrange(WIDTH - 40), positions.randrange(HEIGHT - 40), 40, 40) for _ in range(1000)]
    with ThreadPoolExecutor(8) as threads:
        most = max(threads.map(wrong, found))
    assert len(server.requests) - before >= 1000
    assert most < LIMIT + 10


@pytest.mark.parametrize("fault", ["stall", "error", "denied", "whole", "shifted", "untagged"])
def test_a_server_that_never_answers_well_is_one_error(server: RangeServer, slides: Any, fault: str) -> None:
    """Within the limit, whatever is wrong all the time; the text names the URL and a cure."""
    server.files[f"{fault}.tiff"] = slides[0][0].read_bytes()
    server.fault = lambda number, path: fault
    began = time.monotonic()
    with pytest.raises(ReadError, match=f"{fault}.tiff.*(PATCHAUG_REMOTE_SECONDS|local disk|public|changed)"):
        open_raster(f"{server.url}/{fault}.tiff")
    assert time.monotonic() - began < LIMIT + 20


def test_what_does_not_exist(server: RangeServer, slides: Any) -> None:
    """Objects and servers that do not exist are errors, and an empty object."""
    with pytest.raises(MissingError, match="none.tiff: there is no such object"):
        open_raster(f"{server.url}/none.tiff")
    server.files["empty.tiff"] = b""
    with pytest.raises(ReadError, match=r"is empty \(0 bytes\)"):
        open_raster(f"{server.url}/empty.tiff")
    with pytest.raises(ReadError, match="(?s)refused.*check the network"):
        open_raster("http://127.0.0.1:9/a.tiff")


def test_a_changed_object_is_one_error(server: RangeServer, slides: Any) -> None:
    """Also where the server ignores If-Match, and also in the middle of a window; the new one opens again."""
    old, new = slides[1][0].read_bytes(), slides[0][0].read_bytes()
    for fault in (None, "careless"):
        server.files["a.tiff"] = old
        raster = open_raster(f"{server.url}/a.tiff")
        raster.read(Window(0, 0, 50, 50))
        server.files["a.tiff"] = new
        server.fault = lambda number, path, fault=fault: fault
        with pytest.raises(ReadError, match=r"a.tiff: object changed since it was first opened"):
            raster.read(Window(50, 50, 50, 50))
        again, window = open_raster(f"{server.url}/a.tiff"), Window(9, 9, 9, 9)
        np.testing.assert_array_equal(again.read(window), open_raster(slides[0][0]).read(window))
        server.fault = lambda number, path: None


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_started_processes_open_their_own_connections(slides: Any, method: str) -> None:
    """A parent that has read starts children that read, at the same time, and reads on."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    (path, url), context = slides[0], multiprocessing.get_context(method)
    raster, window = open_raster(url), Window(5, 5, 200, 200)
    expected = open_raster(path).read(window)
    np.testing.assert_array_equal(raster.read(window), expected)
    queue = context.Queue()
    number = 2 if method == "fork" else 1
    children = [context.Process(target=read_into, args=(raster, window, queue)) for _ in range(number)]
    for child in children:
        child.start()
    np.testing.assert_array_equal(raster.read(window), expected)
    for _ in children:
        np.testing.assert_array_equal(queue.get(timeout=60), expected)
    for child in children:
        child.join(60)
        assert child.exitcode == 0


def test_a_lost_program_is_started_again(slides: Any) -> None:
    """The process for requests may be killed: the next read starts another."""
    from patchaug.readers.remote import client as remote_client

    (path, url), window = slides[0], Window(5, 5, 20, 20)
    raster = open_raster(url)
    raster.read(window)
    remote_client._state.connection._process.kill()  # type: ignore[union-attr]
    np.testing.assert_array_equal(raster.read(window), open_raster(path).read(window))


def test_neighbours_are_one_request_and_requests_are_concurrent(server: RangeServer, slides: Any) -> None:
    """The tiles of a window are asked for at once; those close to each other in the file together."""
    raster = open_raster(slides[1][1])
    before = len(server.requests)
    raster.read(Window(0, 0, WIDTH, HEIGHT))
    assert len(server.requests) == before + 1
    rows = [Window(0, top, 48, 32) for top in range(0, HEIGHT - 32, 32)]
    for window in rows:
        raster.read_ahead(window)  # type: ignore[attr-defined]
    asked = len(server.requests)
    for window in rows:
        raster.read(window)
    assert len({request[2] for request in server.requests[before + 1 :]}) == len(rows)
    assert len(server.requests) - before - 1 == len(rows) or asked < len(server.requests)


@pytest.mark.parametrize(
    "url", ["https://user:geheim@host/a.tiff", "http://geheim@host/a.tiff", "https://host/a.tiff?sig=geheim",
            "s3://key:geheim@bucket/a.tiff", "https://host/a#geheim", "https:/user:geheim@host/a.tiff"],
)  # fmt: skip
def test_urls_with_secrets_are_refused_without_repeating_them(url: str) -> None:
    """In every form, whoever opens them."""
    for source in (url, Path(url)):
        with pytest.raises(OptionError, match=r"\*\*\*.*refused") as caught:
            open_slide(source)
        assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "cure"),
    [("s3://", "names no host or bucket; write s3://bucket/key"),
        ("ftp://h/a.tiff", "use one of https://"), ("file:///a.tiff", "without file://"),
     ("s3a://b/k", "s3://bucket/key"),
     ("s3://b/a//b", "empty segments"), ("s3://b/../c", "empty segments"), ("http://h:x/a.tiff", "port")],
)  # fmt: skip
def test_urls_that_are_not_supported(url: str, cure: str) -> None:
    """Other schemes and odd keys end in an error with a cure."""
    with pytest.raises(OptionError, match=cure):
        open_slide(url)


def test_credentials_stay_in_the_environment(server: RangeServer, monkeypatch: pytest.MonkeyPatch, slides: Any) -> None:
    """Errors, representations and pickles of slides of a store hold no credential."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAGEHEIM")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheimnis")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    disconnect()
    server.files["bucket/a.tiff"] = slides[0][0].read_bytes()
    slide = open_slide("s3://bucket/a.tiff")
    np.testing.assert_array_equal(
        slide.read(Window(9, 9, 9, 9)).image, open_slide(slides[0][0]).read(Window(9, 9, 9, 9)).image
    )
    assert any("AKIAGEHEIM" in one for one in server.headers)
    server.fault = lambda number, path: "denied"
    with pytest.raises(ReadError, match="AWS_ACCESS_KEY_ID") as caught:
        slide.read(Window(90, 9, 9, 9))
    for text in (str(caught.value), repr(slide), repr(slide.image), str(pickle.dumps(slide))):
        assert "GEHEIM" not in text.upper()
    disconnect()


def test_a_path_of_a_url_is_the_url(slides: Any) -> None:
    """`Path` takes a slash away; the slide is the same, with the name of the object."""
    slide: Slide = open_slide(Path(slides[0][1]))
    assert slide.name == "jpeg.tiff"
    assert slide.image.path == slides[0][1]  # type: ignore[attr-defined]
    assert remote_module.state_of(slides[0][1]).size == slides[0][0].stat().st_size


def test_files_that_are_decoded_whole(server: RangeServer, tmp_path: Path) -> None:
    """PNG, JPEG and BMP as images, and PNG as a mask, are fetched whole; a stripped TIFF by its strips."""
    pixels = np.random.default_rng(1).integers(0, 4, (40, 60, 3), np.uint8)
    for name in ("a.png", "a.jpg", "a.bmp", "mask.png", "strips.tiff"):
        path, array = tmp_path / name, pixels[..., 0] if name == "mask.png" else pixels
        if name == "strips.tiff":
            tifffile.imwrite(path, array, rowsperstrip=7)
        else:
            PIL.Image.fromarray(array).save(path)
        server.files[name] = path.read_bytes()
        mask, window = name == "mask.png", Window(3, 4, 50, 30)
        remote = open_raster(f"{server.url}/{name}", mask=mask, ram=1 << 20)
        np.testing.assert_array_equal(remote.read(window), open_raster(path, mask=mask, ram=1 << 20).read(window))


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_annotations(server: RangeServer, slides: Any, tmp_path: Path) -> None:
    """GeoJSON, packed or not, and a GeoPackage are fetched whole."""
    square = {"type": "Polygon", "coordinates": [[[10, 10], [90, 10], [90, 60], [10, 60], [10, 10]]]}
    text = json.dumps([{"type": "Feature", "geometry": square, "properties": {"classification": "cell"}}]).encode()
    server.files |= {"a.geojson": text, "a.geojson.gz": gzip.compress(text)}
    (tmp_path / "a.geojson").write_bytes(text)
    path, url = slides[0]
    window, codes = Window(0, 0, 100, 100), ["background", "cell"]
    expected = open_slide(path, tmp_path / "a.geojson", codes=codes).read(window).mask
    for name in ("a.geojson", "a.geojson.gz"):
        slide = open_slide(url, f"{server.url}/{name}", codes=codes)
        np.testing.assert_array_equal(slide.read(window).mask, expected)
    pyogrio, shapely = pytest.importorskip("pyogrio"), pytest.importorskip("shapely")
    pyogrio.raw.write(
        tmp_path / "a.gpkg", np.array([shapely.to_wkb(shapely.Polygon(square["coordinates"][0]))]),
        [np.array(["cell"], object)], ["classification"], geometry_type="Polygon", driver="GPKG", crs=None,
    )  # fmt: skip
    server.files["a.gpkg"] = (tmp_path / "a.gpkg").read_bytes()
    slide = open_slide(url, f"{server.url}/a.gpkg", codes=codes)
    np.testing.assert_array_equal(slide.read(window).mask, expected)


def test_formats_of_other_libraries(server: RangeServer) -> None:
    """What OpenSlide or GDAL would read is an error that says so, with a cure."""
    server.files["a.mrxs"] = b"\xff\xd8 no picture"
    with pytest.raises(ReadError, match=r"a.mrxs: no reader supports .*tiled TIFF, or copy it to a local"):
        open_slide(f"{server.url}/a.mrxs")
    server.files["a.shp"] = b"\x00\x00\x27\x0a" + bytes(100)
    with pytest.raises(ReadError, match=r"a.shp: a Shapefile is several files.*ogr2ogr"):
        open_slide(np.zeros((9, 9), np.uint8), f"{server.url}/a.shp", codes=["a", "b"])


def test_only_the_program_makes_requests() -> None:
    """The process that reads has not loaded obstore, and its program neither numpy nor the package."""
    assert "obstore" not in sys.modules or sys.platform == "win32"


def serve_folder(server: RangeServer, folder: Path, place: str) -> None:
    """Serve all files of a folder below a place."""
    for file in folder.rglob("*"):
        if file.is_file():
            server.files[f"{place}/{file.relative_to(folder).as_posix()}"] = file.read_bytes()


@pytest.fixture
def s3(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on the server."""
    for name in [name for name in server.files if name.startswith("bucket/")]:
        del server.files[name]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAGEHEIM")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "geheimnis")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    disconnect()
    yield "s3://bucket"
    disconnect()


@pytest.mark.parametrize("form", ["zarr 2", "zarr 3", "zarr 3, shards", "zip"])
def test_zarr_equals_the_local_one(server: RangeServer, s3: str, tmp_path: Path, form: str) -> None:
    """Chunks, shards and zip files, on a web server and in a store that lists."""
    pixels, path = np.random.default_rng(0).integers(0, 256, (130, 170, 3), np.uint8), tmp_path / "a.zarr"
    write(path, pixels, chunks=(32, 48), **({"version": 2} if form == "zarr 2" else {}),
          **({"shards": (64, 96, 3)} if "shards" in form else {}))  # fmt: skip
    name = "a.zarr"
    if form == "zip":
        name = "a.zarr.zip"
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(path).as_posix())
        server.files[f"bucket/{name}"] = (tmp_path / name).read_bytes()
    else:
        serve_folder(server, path, f"bucket/{name}")
    for url in (f"{server.url}/bucket/{name}", f"{s3}/{name}"):
        raster = open_raster(url, ram=0)
        for window in (Window(0, 0, 170, 130), Window(30, 40, 60, 50)):
            np.testing.assert_array_equal(
                raster.read(window), pixels[window.y : window.bottom, window.x : window.right]
            )
        again = pickle.loads(pickle.dumps(raster))
        np.testing.assert_array_equal(again.read(Window(5, 5, 9, 9)), pixels[5:14, 5:14])


def test_a_changed_chunk_of_zarr(server: RangeServer, s3: str, tmp_path: Path) -> None:
    """A store that lists tells at the first read that a chunk was changed or removed; a web server at the second."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    path = write(tmp_path / "a.zarr", pixels, chunks=(32, 48))
    serve_folder(server, path, "bucket/a.zarr")
    listed, web = open_raster(f"{s3}/a.zarr"), open_raster(f"{server.url}/bucket/a.zarr")
    web.read(Window(0, 0, 10, 10))
    key = "bucket/a.zarr/c/0/0/0"
    server.files[key], old = server.files["bucket/a.zarr/c/0/1/0"], server.files[key]
    for raster in (listed, web):
        with pytest.raises(ReadError, match="c/0/0/0: object changed"):
            raster.read(Window(0, 0, 10, 10))
    del server.files[key]
    with pytest.raises(ReadError, match="c/0/0/0: object was removed"):
        listed.read(Window(0, 0, 10, 10))
    server.files[key] = old
    np.testing.assert_array_equal(listed.read(Window(0, 0, 10, 10)), pixels[:10, :10])
