"""Tiles that lie side by side are read together; pixels and errors are those of reads one by one."""

from __future__ import annotations

import os
import shutil
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import TiffRaster
from patchaug.readers.tiff.adjacent import read_adjacent
from patchaug.testing.raster_contract import forked, some_windows

SIDE, TILE = 200, 32
WINDOWS = [Window(x, y, w, h) for x, y, w, h in ((0, 0, 200, 200), (31, 1, 66, 95), (100, 100, 100, 3), (64, 64, 1, 1))]


class OneByOne(TiffRaster):
    """Reads each tile by itself."""

    def read_together(self, level, numbers):
        pass


class InMemory:
    """Bytes that count the reads."""

    def __init__(self, data):
        self.data, self.reads = data, []

    def read(self, offset, count):
        self.reads.append((offset, count))
        return self.data[offset : offset + count]


@given(st.data())
def test_what_is_read_together_are_the_bytes_of_the_tiles(data):
    """For any table of offsets and counts: true bytes, only whole tiles of the file, and no read beyond it."""
    size = data.draw(st.integers(100, 3000))
    content = InMemory(np.random.default_rng(size).bytes(size))
    sizes = data.draw(st.lists(st.integers(0, 90), min_size=1, max_size=8))
    gaps = data.draw(st.lists(st.sampled_from([0, 0, 8, 64, 65, 500]), min_size=len(sizes), max_size=len(sizes)))
    offsets, at = [], data.draw(st.integers(0, size))
    for count, gap in zip(sizes, gaps, strict=True):
        offsets.append(at)
        at += count + gap
    if data.draw(st.booleans()):
        offsets = data.draw(st.permutations(offsets))
    numbers = sorted(data.draw(st.sets(st.sampled_from(range(len(sizes))), min_size=1)))
    table = np.array(offsets, np.uint64), np.array(sizes, np.uint64)
    found = read_adjacent(lambda: content, *table, numbers, size, data.draw(st.booleans()))
    for number, part in found.items():
        assert number in numbers
        assert part == content.data[offsets[number] : offsets[number] + sizes[number]]
        assert len(part) == sizes[number] > 0
    assert all(offset + count <= size for offset, count in content.reads)
    steps = [(a, b) for a, b in zip(numbers, numbers[1:], strict=False)]
    whole = [sizes[k] > 0 and offsets[k] + sizes[k] <= size for k in range(len(sizes))]
    for a, b in steps:
        if whole[a] and whole[b] and 0 <= offsets[b] - offsets[a] - sizes[a] <= 64:
            assert {a, b} <= set(found)


def write(path, *, planarconfig="contig", inverted=False, **options):
    """A picture of 7 x 7 tiles; returns its pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 3, (SIDE, SIDE, 3), np.uint8)
    pixels[:64] = 7
    pixels = 255 - pixels if inverted else pixels
    stored = pixels.transpose(2, 0, 1) if planarconfig == "separate" else pixels
    form = {"tile": (TILE, TILE), "photometric": "minisblack", "metadata": None, "planarconfig": planarconfig}
    tifffile.imwrite(path, stored, **form, **options)
    return pixels


KINDS = [
    {"compression": "deflate"},
    {"compression": "lzw", "predictor": 2},
    {"compression": None},
    {"compression": "deflate", "planarconfig": "separate"},
]


def move_tiles(path, order, gap):
    """Write all tiles once more at the end of the file, in another order and with bytes between them."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        tag, tables = page.tags["TileOffsets"], (page.dataoffsets, page.databytecounts)
        code = {4: "I", 16: "Q"}[int(tag.dtype)]
    content = bytearray(path.read_bytes())
    places = {}
    for number in order(range(len(tables[0]))):
        content += bytes(gap)
        places[number] = len(content)
        content += content[tables[0][number] : tables[0][number] + tables[1][number]]
    struct.pack_into(f"<{len(places)}{code}", content, tag.valueoffset, *(places[k] for k in sorted(places)))
    path.write_bytes(content)


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize(("order", "gap"), [(list, 0), (list, 8), (list, 100), (reversed, 0)])
def test_pixels_do_not_depend_on_where_tiles_lie(tmp_path, options, order, gap):
    """Side by side, with GDAL's bytes between, apart, and from the last to the first."""
    path = tmp_path / "a.tiff"
    pixels = write(path, **options)
    move_tiles(path, order, gap)
    raster = TiffRaster(path)
    for window in WINDOWS:
        expected = pixels[window.y : window.bottom, window.x : window.right]
        assert np.array_equal(raster.read(window), expected)
        assert np.array_equal(OneByOne(path).read(window), expected)


def test_tiles_side_by_side_are_read_by_one_call(tmp_path, monkeypatch):
    """Four of the seven tiles of a row: one read for each row; all of two rows: one read; one tile: one read."""
    path = tmp_path / "a.tiff"
    write(path, compression="deflate")
    calls, pread = [], os.pread
    monkeypatch.setattr("os.pread", lambda *args: calls.append(args) or pread(*args))
    raster = TiffRaster(path)
    _ = raster.layout
    for window, reads in ((Window(0, 100, 100, 60), 2), (Window(0, 0, SIDE, 2 * TILE), 1), (Window(40, 40, 8, 8), 1)):
        calls.clear()
        raster.read(window)
        assert len(calls) == reads


def error_of(raster, window):
    """The text of the error that a read raises, or the pixels."""
    try:
        return raster.read(window).tobytes()
    except ReadError as error:
        return f"{type(error).__name__}: {error}"


@given(options=st.sampled_from(KINDS), data=st.data())
def test_torn_files_raise_what_reads_one_by_one_raise(tmp_path_factory, options, data):
    """A file cut anywhere in its tiles, or with bytes of a tile destroyed."""
    folder = tmp_path_factory.mktemp("torn")
    path = folder / "a.tiff"
    write(path, **options)
    with tifffile.TiffFile(path) as tiff:
        offsets, counts = tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts
    number = data.draw(st.integers(0, len(offsets) - 1))
    place = offsets[number] + data.draw(st.integers(0, counts[number] - 1))
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: max(place, offsets[0] + 1)]
    else:
        content[place] ^= 0xFF
    path.write_bytes(content)
    for window in WINDOWS:
        assert error_of(TiffRaster(path), window) == error_of(OneByOne(path), window)
    shutil.rmtree(folder)


@pytest.mark.parametrize("rewritten", [True, False])
def test_a_file_that_changes_while_open_is_an_error(tmp_path, rewritten):
    """Rewritten in place: no window mixes old and new pixels. Replaced: the open file is read on, as before."""
    path = tmp_path / "a.tiff"
    write(path, compression="deflate")
    together, alone = TiffRaster(path), OneByOne(path)
    assert np.array_equal(together.read(WINDOWS[1]), alone.read(WINDOWS[1]))
    other = tmp_path / "b.tiff"
    write(other, inverted=True)
    if rewritten:
        path.write_bytes(other.read_bytes())
        assert "file changed since it was first opened" in error_of(together, WINDOWS[0])
    else:
        os.replace(other, path)
    for window in WINDOWS:
        assert error_of(together, window) == error_of(alone, window)


def test_threads_and_forked_children_read_the_same(tmp_path):
    """Threads that read two files in turns, and a child that is forked meanwhile."""
    paths = [tmp_path / "a.tiff", tmp_path / "b.tiff"]
    expected = [write(paths[0], compression="deflate"), write(paths[1], compression="lzw", predictor=2)]
    rasters = [TiffRaster(path) for path in paths]
    windows = some_windows(rasters[0].level_dimensions, number=60)

    def right(at):
        window = windows[at]
        one = at % 2
        part = expected[one][window.y : window.bottom, window.x : window.right]
        return np.array_equal(rasters[one].read(window), part)

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(right, at) for at in list(range(len(windows))) * 3]
        if hasattr(os, "fork"):
            assert forked(lambda: all(right(at) for at in range(len(windows))))()
        assert all(answer.result() for answer in answers)
