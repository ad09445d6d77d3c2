"""zarr 2 and 3, OME-Zarr, folders and zip files: windows are slices of what zarr's own reader sees."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import threading
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.windows import Window
from patchaug.errors import OptionError, PatchaugError, ReadError
from patchaug.readers import ZarrRaster, open_mask, open_raster
from patchaug.testing import coordinate_image, coordinate_mask, mask_at, places
from patchaug.testing.raster_contract import RasterTests, forked
from tests.readers.conftest import real

zarr = pytest.importorskip("zarr")

SIZE = (333, 205)  # width and height, no multiples of the chunk


def write(path, pixels, *, chunks=(64, 48), version=3, inside=None, store=None, channel_chunk=None, **options):
    """An array, its channels in chunks of their own or together."""
    whole = tuple(chunks) + ((channel_chunk or pixels.shape[2],) if pixels.ndim == 3 else ())
    array = zarr.create_array(
        store=path if store is None else store, name=inside, shape=pixels.shape, chunks=whole, dtype=pixels.dtype,
        zarr_format=version, config={"write_empty_chunks": True}, **options,
    )  # fmt: skip
    array[...] = pixels
    return path


def write_ome(path, levels, *, axes="yx", version=3, unit="micrometer", scale=0.5, factors=(1, 2), **change):
    """An OME-Zarr picture of NGFF 0.4 (zarr 2) or 0.5 (zarr 3); each level is given with all its axes."""
    group = zarr.open_group(path, mode="w", zarr_format=version)
    datasets = []
    for number, (pixels, factor) in enumerate(zip(levels, factors, strict=True)):
        chunks = tuple(40 if axis in "yx" else 1 for axis in axes)
        array = group.create_array(f"s{number}", shape=pixels.shape, chunks=chunks, dtype=pixels.dtype,
                                   config={"write_empty_chunks": True})  # fmt: skip
        array[...] = pixels
        by = [scale * factor if axis in "yx" else 1.0 for axis in axes]
        datasets.append({"path": f"s{number}", "coordinateTransformations": [{"type": "scale", "scale": by}]})
    kinds = {"t": "time", "c": "channel"}
    said = [
        {"name": axis, "type": kinds.get(axis, "space"), **({"unit": unit} if axis in "yxz" and unit else {})}
        for axis in axes
    ]
    multiscales = [{"version": "0.4", "name": "a", "axes": said, "datasets": datasets, **change}]
    group.attrs.update({"ome": {"version": "0.5", "multiscales": multiscales}} if version == 3 else
                       {"multiscales": multiscales})  # fmt: skip
    return path


def shaped(pixels, axes):
    """(height, width) or (height, width, channels) with more axes, in their order."""
    wide = pixels.reshape(*pixels.shape[:2], -1, 1, 1)
    order = ["yxctz".index(axis) for axis in axes]
    return np.ascontiguousarray(
        wide.transpose(order + [axis for axis in range(5) if axis not in order]).reshape([wide.shape[a] for a in order])
    )


def zipped(folder):
    """The same hierarchy as a zip file, half of it packed."""
    path = folder.with_suffix(".zarr.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for number, file in enumerate(sorted(file for file in folder.rglob("*") if file.is_file())):
            kind = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            archive.write(file, file.relative_to(folder).as_posix(), kind)
    return path


FORMS = {
    "zarr 3": {},
    "zarr 2": {"version": 2},
    "zarr 2, slashes, columns first": {
        "version": 2, "order": "F", "chunk_key_encoding": {"name": "v2", "separator": "/"},
    },
    "zarr 3, gzip and crc32c": {"compressors": [{"name": "gzip", "configuration": {"level": 1}}, {"name": "crc32c"}]},
    "zarr 3, blosc": {"compressors": {"name": "blosc", "configuration": {"cname": "lz4", "clevel": 3}}},
    "zarr 3, raw, v2 keys": {"compressors": None, "chunk_key_encoding": {"name": "v2", "separator": "."}},
    "zarr 3, transposed": {"filters": [{"name": "transpose", "configuration": {"order": (2, 0, 1)}}]},
    "zarr 3, shards": {"chunks": (32, 48), "shards": (128, 96, 3)},
    "zarr 3, channels apart": {"channel_chunk": 1},
    "zarr 3, one large chunk": {"chunks": (1000, 1000)},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS, scope="class")
class TestImages(RasterTests):
    """Plain arrays, (height, width, 3), by all the ways in which chunks are stored."""

    @pytest.fixture
    def expected(self):
        return [coordinate_image(*SIZE)]

    def test_spawned_children_read_right(self, raster, expected, form):
        """Only of two forms: a new interpreter takes its second, and starts from the same pickle."""
        if form in ("zarr 2", "zarr 3, shards"):
            super().test_spawned_children_read_right(raster, expected)

    @pytest.fixture
    def raster(self, expected, form, tmp_path):
        return ZarrRaster(write(tmp_path / "a.zarr", expected[0], **FORMS[form]))


@pytest.mark.parametrize(
    ("axes", "version", "colour", "store"),
    [
        ("yx", 3, False, "kept"),
        ("cyx", 2, True, "folder"),
        ("tczyx", 3, True, "zip"),
        ("tczyx", 2, False, "folder"),
        ("yxc", 3, True, "kept"),
        ("yxc", 2, True, "zip"),
    ],
    scope="class",
)
class TestOmeZarr(RasterTests):
    """Levels of NGFF 0.4 and 0.5, with axes of length 1 or channels in any place; in a folder and a zip file."""

    @pytest.fixture
    def expected(self, colour):
        levels = [coordinate_image(*SIZE), coordinate_image(SIZE[0] // 2, SIZE[1] // 2, 2)]
        return levels if colour else [np.ascontiguousarray(level[..., 2]) for level in levels]

    def test_spawned_children_read_right(self, raster, expected, axes, store):
        if (axes, store) in (("cyx", "folder"), ("tczyx", "zip")):
            super().test_spawned_children_read_right(raster, expected)

    @pytest.fixture
    def raster(self, store, expected, axes, version, tmp_path):
        path = write_ome(tmp_path / "a.zarr", [shaped(level, axes) for level in expected], axes=axes, version=version)
        return ZarrRaster(zipped(path) if store == "zip" else path, ram=1 << 24 if store == "kept" else 0)

    def test_mpp_is_what_was_written(self, raster):
        assert raster.mpp == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("dtype", "version"),
    [("u1", 3), ("<u2", 2), (">u2", 2), (">u2", 3), ("<i4", 3), (">i8", 2), ("bool", 2), ("bool", 3)],
)
class TestMasks(RasterTests):
    """Class numbers come back as they were written; the background of a mask is seldom stored."""

    test_spawned_children_read_right = None  # the same for all forms, slow, and proven above

    @pytest.fixture
    def expected(self, dtype):
        mask = coordinate_mask(*SIZE, classes=2 if dtype == "bool" else 100)
        mask[:70, :70] = 0
        return [mask.astype(np.uint8 if dtype == "bool" else np.dtype(dtype).newbyteorder("="))]

    @pytest.fixture
    def raster(self, expected, dtype, version, tmp_path):
        array = zarr.create_array(
            store=tmp_path / "m.zarr", shape=expected[0].shape, chunks=(32, 32), dtype=np.dtype(dtype),
            zarr_format=version, fill_value=0,
        )  # fmt: skip
        array[...] = expected[0].astype(dtype)
        raster = open_mask(tmp_path / "m.zarr", (SIZE,))
        assert isinstance(raster, ZarrRaster) and raster.missing_tiles() == (4, 77)
        return raster


class TestRealSlide(RasterTests):
    """JPEG chunks with shared tables, zarr 2, in a group without multiscales: what tifffile decodes of its original."""

    @pytest.fixture
    def expected(self):
        import tifffile

        return [tifffile.imread(real("slides/CMU-1-Small-Region.svs"))]

    @pytest.fixture
    def raster(self):
        return open_raster(real("slides/CMU-1-Small-Region-JPEG.zarr"))


@st.composite
def arrays(draw):
    """Shape, chunks, shards and codecs of any small array, and pixels."""
    version = draw(st.sampled_from([2, 3]))
    colour = draw(st.sampled_from([(), (1,), (3,)]))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 40)), *colour)
    chunks = tuple(draw(st.integers(1, side + 9)) for side in shape[:2])
    chunks += tuple(draw(st.integers(1, number)) for number in colour)
    options = {"chunks": chunks, "zarr_format": version}
    codecs = {2: [None, {"id": "zlib"}, {"id": "blosc"}, {"id": "lz4"}, {"id": "bz2"}, {"id": "lzma"}, {"id": "zstd"}],
              3: [None, *({"name": name, "configuration": {"level": 1}} for name in ("gzip", "zstd")),
                  {"name": "blosc", "configuration": {}}, {"name": "crc32c"}]}  # fmt: skip
    codec = draw(st.sampled_from(codecs[version]))
    if version == 2:
        import numcodecs

        options |= {"compressors": codec and numcodecs.get_codec(codec), "order": draw(st.sampled_from("CF"))}
        if draw(st.booleans()):
            options["filters"] = [numcodecs.Delta(dtype="u1")]
    else:
        options["compressors"] = codec
        if draw(st.booleans()):
            options["shards"] = tuple(side * draw(st.integers(1, 3)) for side in chunks)
        if draw(st.booleans()):
            order = draw(st.permutations(range(len(shape))))
            options["filters"] = [{"name": "transpose", "configuration": {"order": tuple(order)}}]
    options["fill_value"] = draw(st.integers(0, 255))
    pixels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 255, shape, np.uint8)
    if draw(st.booleans()):
        pixels[: shape[0] // 2] = options["fill_value"]  # not stored
    return options, pixels


@pytest.mark.filterwarnings("ignore")  # of chunks that are not stored
@given(arrays())
def test_what_zarr_writes_is_read(tmp_path_factory, made):
    """Any window of any array, however it is packed, is the slice that zarr sees; also packed in a zip file."""
    options, pixels = made
    folder = tmp_path_factory.mktemp("zarr")
    path = folder / "a.zarr"
    array = zarr.create_array(store=path, shape=pixels.shape, dtype="u1", **options)
    array[...] = pixels
    wanted = zarr.open_array(path, mode="r")[...]
    assert np.array_equal(wanted, pixels)
    if len(pixels.shape) == 3 and pixels.shape[2] == 1:
        wanted = wanted[..., 0]
    for place in (path, zipped(path)):
        if (pixels == options["fill_value"]).all():
            with pytest.raises(ReadError, match="none of its .* chunks is stored"):
                open_raster(place)
            continue
        raster = open_raster(place)
        height, width = pixels.shape[:2]
        y, x = height // 3, width // 4
        assert np.array_equal(raster.read(Window(0, 0, width, height)), wanted)
        assert np.array_equal(raster.read(Window(x, y, width - x, height - y)), wanted[y:, x:])
    shutil.rmtree(folder)


def test_forks_beside_reading_threads_neither_hang_nor_err(tmp_path):
    """The trap of readers with threads of their own: the parent reads, through zarr too, while workers are forked."""
    pixels = coordinate_image(*SIZE)
    write(tmp_path / "a.zarr", pixels, compressors={"name": "blosc", "configuration": {}})
    write(tmp_path / "s.zarr", pixels, chunks=(32, 48), shards=(128, 96, 3))
    theirs = zarr.open_array(tmp_path / "a.zarr", mode="r")
    rasters = [open_raster(theirs), open_raster(tmp_path / "s.zarr", ram=1 << 24)]
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            assert np.array_equal(theirs[:50, :60], pixels[:50, :60])
            for raster in rasters:
                assert np.array_equal(raster.read(Window(7, 9, 200, 100)), pixels[9:109, 7:207])

    def right():
        return all(
            np.array_equal(raster.read(Window(x, y, 90, 80)), pixels[y : y + 80, x : x + 90])
            for raster in rasters
            for x, y in ((0, 0), (13, 77), (243, 125))
        )

    assert right()
    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            children = [forked(right) for _ in range(5)]
            assert all(child() for child in children)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_arrays_that_zarr_has_opened(tmp_path):
    """By the place of their store: a path, small as a pickle. One in memory has none, and says so."""
    pixels = coordinate_image(*SIZE)
    write(tmp_path / "g.zarr", pixels, inside="deep/down")
    group = zarr.open_group(tmp_path / "g.zarr", mode="r")
    packed = zarr.storage.ZipStore(zipped(tmp_path / "g.zarr"), mode="r")
    for source in (group["deep/down"], group["deep"], zarr.open_array(packed, path="deep/down", mode="r")):
        raster = open_raster(source)
        copy = pickle.dumps(raster)
        assert len(copy) < 1000
        assert np.array_equal(pickle.loads(copy).read(Window(5, 6, 70, 80)), pixels[6:86, 5:75])
    assert np.array_equal(open_raster(tmp_path / "g.zarr" / "deep" / "down").read(Window(0, 0, *SIZE)), pixels)
    with pytest.raises(OptionError, match=r"MemoryStore cannot be opened by other processes; .*pass array\[:\]"):
        open_raster(zarr.array(pixels))


def test_image_and_labels_of_ome_zarr_show_the_same_place(tmp_path):
    """A label group of an OME-Zarr picture is a mask like any other, at each of its levels."""
    path = tmp_path / "a.zarr"
    write_ome(
        path, [shaped(coordinate_image(600 // f, 500 // f, f), "cyx") for f in (1, 4)], axes="cyx", factors=(1, 4)
    )
    write_ome(path / "labels" / "cells", [coordinate_mask(600 // f, 500 // f, f) for f in (1, 4)], factors=(1, 4))
    image, mask = open_raster(path), open_mask(path / "labels" / "cells", ((600, 500),))
    assert image.level_downsamples == (1, 4) and mask.level_downsamples == (1, 4)
    for window in (Window(77, 123, 130, 90), Window(13, 31, 130, 90, 1)):
        assert np.array_equal(mask.read(window), mask_at(*places(image.read(window))))


@pytest.mark.parametrize(
    ("unit", "scale", "mpp"),
    [("micrometer", 0.25, 0.25), ("nanometer", 250.0, 0.25), ("millimeter", 0.00025, 0.25), (None, 0.25, None),
     ("parsec", 1.0, None), ("micrometer", 0.0, None), ("micrometer", float("nan"), None)],
)  # fmt: skip
def test_mpp_of_ome_zarr(tmp_path, unit, scale, mpp):
    """Scale times unit; without a unit, or with one that is no length, the file does not say."""
    write_ome(tmp_path / "a.zarr", [coordinate_mask(64, 48)], unit=unit, scale=scale, factors=(1,))
    assert open_raster(tmp_path / "a.zarr").mpp == (None if mpp is None else pytest.approx((mpp, mpp)))


def test_levels_may_be_noted_by_centres_or_corners_and_not_elsewhere(tmp_path):
    """Half a pixel of a level is how many writers note it; more is another frame, and refused."""
    path = write_ome(tmp_path / "a.zarr", [coordinate_mask(64 // f, 48 // f, f) for f in (1, 2)])
    said = json.loads((path / "zarr.json").read_text())
    transforms = said["attributes"]["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    for shift, good in ((0.25, True), (1.0, True), (1.5, False), (-40.0, False)):
        transforms[1:] = [{"type": "translation", "translation": [0.0, shift]}]
        (path / "zarr.json").write_text(json.dumps(said))
        if good:
            assert open_raster(path).level_downsamples == (1, 2)
        else:
            with pytest.raises(ReadError, match="its level s1 is shifted along x; levels must show one frame"):
                open_raster(path)


def test_a_picture_inside_a_group_is_found_if_it_is_the_only_one(tmp_path):
    """bioformats2raw writes its pictures as 0, 1, ... beside a folder OME."""
    path = tmp_path / "a.zarr"
    for number in range(2):
        if number == 0:
            zarr.open_group(path, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
            zarr.open_group(path / "OME", mode="w", zarr_format=2)
        write_ome(path / str(number), [coordinate_image(64, 48)], axes="yxc", version=2, factors=(1,))
        if number == 0:
            assert np.array_equal(open_raster(path).read(Window(3, 4, 50, 40)), coordinate_image(64, 48)[4:44, 3:53])
            assert open_raster(path).mpp == (0.5, 0.5)
    with pytest.raises(ReadError, match=r"it holds '0', '1', and a slide is one picture; choose one with series="):
        open_raster(path)
    assert open_raster(path, series=1).level_dimensions == open_raster(path, series="0").level_dimensions == ((64, 48),)
    assert open_raster(path / "1").name == "a.zarr/1"


def test_a_scale_of_all_levels_counts_too(tmp_path):
    """The transform of the multiscale comes after those of its levels."""
    both = [{"type": "scale", "scale": [2.0, 3.0]}]
    write_ome(tmp_path / "a.zarr", [coordinate_mask(64, 48)], factors=(1,), coordinateTransformations=both)
    assert open_raster(tmp_path / "a.zarr").mpp == pytest.approx((1.5, 1.0))


def test_channels_first_is_read_only_where_it_is_said(tmp_path):
    """By the names of the axes, of zarr 3 and of xarray; never guessed from the shape."""
    pixels = coordinate_image(90, 70)
    turned = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    for number, said in enumerate([{"dimension_names": ("c", "y", "x")}, {"version": 2, "attributes": {
            "_ARRAY_DIMENSIONS": ["band", "y", "x"]}}]):  # fmt: skip
        write(tmp_path / f"{number}.zarr", turned, chunks=(1, 32), channel_chunk=32, **said)
        assert np.array_equal(open_raster(tmp_path / f"{number}.zarr").read(Window(3, 5, 60, 60)), pixels[5:65, 3:63])
    write(tmp_path / "a.zarr", turned, chunks=(1, 32), channel_chunk=32)
    with pytest.raises(ReadError, match=r"shape \(3, 70, 90\).*if its channels come first, say so.*dimension_names"):
        open_raster(tmp_path / "a.zarr")


def test_chunks_that_are_not_stored(tmp_path):
    """The fill value, as zarr has it: of an image with one warning, in the process that opens it; of none, an error."""
    pixels = coordinate_image(*SIZE)
    path = write(tmp_path / "a.zarr", pixels, fill_value=7)
    (path / "c/1/2/0").unlink()
    (path / "c/0/0/0").unlink()
    with pytest.warns(UserWarning, match=r"a\.zarr: 2 of 28 chunks are not stored; they are read as the fill value 7"):
        raster = open_raster(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in (raster, pickle.loads(pickle.dumps(raster))):
            assert (one.read(Window(96, 64, 48, 64)) == 7).all()
            assert np.array_equal(one.read(Window(144, 0, 100, 205)), pixels[:, 144:244])
            assert one.missing_tiles() == (2, 28)
    shutil.rmtree(path / "c")
    with pytest.raises(ReadError, match=r"none of its 28 chunks is stored"):
        open_raster(path)


def test_a_chunk_without_fill_value_must_be_stored(tmp_path):
    """zarr 2 lets an array say nothing: then its pixels are nowhere."""
    path = write(tmp_path / "m.zarr", coordinate_mask(*SIZE), version=2)
    said = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(said | {"fill_value": None}))
    (path / "1.1").unlink()
    mask = open_mask(path, (SIZE,))
    assert np.array_equal(mask.read(Window(0, 0, 48, 64)), coordinate_mask(*SIZE)[:64, :48])
    with pytest.raises(ReadError, match=r"tile 8 of level 0 .*its chunk is not stored, and the array names no fill"):
        mask.read(Window(47, 63, 2, 2))


@pytest.mark.parametrize("form", ["zarr 3", "zarr 3, blosc", "zarr 3, raw, v2 keys", "zarr 3, gzip and crc32c"])
@pytest.mark.parametrize("harm", ["cut", "empty", "before", "zeros", "pipe"])
def test_a_damaged_chunk_is_one_error(tmp_path, form, harm):
    """Only windows that need it fail, and the error names folder, tile, level and window."""
    path = write(tmp_path / "a.zarr", coordinate_image(*SIZE), **FORMS[form])
    chunk = path / ("1.2.0" if "v2 keys" in form else "c/1/2/0")
    data = chunk.read_bytes()
    if harm == "pipe":
        chunk.unlink()
        os.mkfifo(chunk)
    else:
        chunk.write_bytes(
            {"cut": data[: len(data) // 2], "empty": b"", "before": b"\1" + data, "zeros": bytes(99)}[harm]
        )
    raster = ZarrRaster(path)
    assert raster.read(Window(0, 0, 96, 64)).any()
    with pytest.raises(ReadError, match=r"a\.zarr: tile 9 of level 0 cannot be read .*x=95 y=64 2 x 2") as caught:
        raster.read(Window(95, 64, 2, 2))
    assert "\n" not in str(caught.value)


def test_a_changed_store_is_an_error(tmp_path):
    """A process that finds other metadata than the first one did says so; opened anew, they are read anew."""
    path = write(tmp_path / "a.zarr", coordinate_image(*SIZE))
    raster = open_raster(path)
    copy = pickle.dumps(raster)
    shutil.rmtree(path)
    turned = np.ascontiguousarray(coordinate_image(*SIZE)[::-1])
    write(path, turned)
    with pytest.raises(ReadError, match="file changed since"):
        pickle.loads(copy).read(Window(0, 0, 1, 1))
    assert np.array_equal(open_raster(path, ram=1 << 24).read(Window(0, 0, *SIZE)), turned)


def test_each_chunk_is_decoded_once_while_there_is_room(tmp_path, monkeypatch):
    """Whoever asks: the raster, its copies, and forked children."""
    from patchaug.readers.zarr.chunks import Chunks

    path = write(tmp_path / "a.zarr", coordinate_image(*SIZE), channel_chunk=1)
    read, asked = Chunks.read, []
    monkeypatch.setattr(Chunks, "read", lambda self, array, place: asked.append(place) or read(self, array, place))
    first, second = open_raster(path, ram=1 << 24), open_raster(path, ram=1 << 24)
    for raster in (first, second, first):
        raster.read(Window(0, 0, *SIZE))
    assert len(asked) == len(set(asked)) == 3 * 28
    assert forked(lambda: asked.clear() or (bool(second.read(Window(0, 0, *SIZE)).any()) and not asked))()
    third = open_raster(path, ram=0)
    third.read(Window(0, 0, *SIZE))
    third.read(Window(0, 0, *SIZE))
    assert len(asked) == 3 * 3 * 28


def test_errors_are_of_this_package(tmp_path):
    """Whatever a byte of the metadata is changed to, it ends in the right pixels, or in one line of ours."""
    pixels = coordinate_mask(64, 48)
    path = write_ome(tmp_path / "a.zarr", [pixels], factors=(1,), version=2)
    rng = np.random.default_rng(5)
    files = [path / ".zattrs", path / "s0" / ".zarray", path / ".zgroup"]
    errors = []
    for number in range(300):
        file = files[number % 3]
        good = file.read_bytes()
        bad = bytearray(good)
        bad[int(rng.integers(len(bad)))] = int(rng.integers(32, 127))
        file.write_bytes(bad)
        try:
            raster = open_raster(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                raster.read(Window(0, 0, *raster.level_dimensions[0]))
        except PatchaugError as error:
            errors.append(str(error))
        except UserWarning:  # of chunks that are not there
            pass
        file.write_bytes(good)
    assert len(errors) > 100
    assert all(re.fullmatch(r"[^\n]{20,600}", error) for error in errors), errors
