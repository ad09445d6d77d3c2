"""The shared memory of decoded tiles: its budget, its claims, and what becomes of it when processes die."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchaug.core.memory import arena as arena_file
from patchaug.core.memory.anonymous import ByteLocks, MemoryFile
from patchaug.core.memory.arena import UNIT, Arena, arena
from patchaug.core.memory.tile_cache import PrivateTileCache
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import TiffRaster, open_raster, tiled
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid
from patchaug.testing.raster_contract import RasterTests, digests, forked, some_windows
from tests.readers.conftest import read_all, twice_by_two

ROOT = Path(__file__).resolve().parents[2]
RAM = 1 << 26


class CountingRaster(TiffRaster):
    """Writes a byte into a file beside its own for each tile that it decodes; the number of tiles is its size."""

    def decode_tile(self, level, number, window):
        self.note()
        return super().decode_tile(level, number, window)

    def decode_rows(self, level, number, window, rows):
        self.note()
        return super().decode_rows(level, number, window, rows)

    def note(self) -> None:
        with open(f"{self.path}.decoded", "ab", buffering=0) as log:
            log.write(b"x")

    def decoded(self) -> int:
        path = Path(f"{self.path}.decoded")
        return path.stat().st_size if path.exists() else 0


class Stuck(CountingRaster):
    """The first process that decodes tile 0 says so, and never ends."""

    def decode_tile(self, level, number, window):
        tile = super().decode_tile(level, number, window)
        if number == 0 and self.decoded() == 1:
            signal.pause()
        return tile


def small():
    """An arena of a few units."""
    return Arena(MemoryFile(1 << 22), ByteLocks())


@pytest.fixture
def pixels():
    return [coordinate_image(500, 400), coordinate_image(250, 200, 2)]


@pytest.fixture
def slide(pixels, tmp_path):
    write_pyramid(tmp_path / "slide.tiff", pixels)
    return tmp_path / "slide.tiff"


@pytest.fixture
def own(monkeypatch):
    """An arena that no other test has filled."""
    monkeypatch.setattr(arena_file, "_arena", None)
    return arena()


class TestTiles(RasterTests):
    """The contract of a raster, with tiles kept."""

    @pytest.fixture
    def expected(self, pixels):
        return pixels

    @pytest.fixture
    def raster(self, slide):
        return TiffRaster(slide, ram=RAM)


class TestTilesWithLittleRoom(TestTiles):
    """The same where a tenth of the tiles finds room."""

    test_spawned_children_read_right = None

    @pytest.fixture
    def raster(self, slide, own):
        return TiffRaster(slide, ram=7 * UNIT)


class TestTilesOfOneProcess(TestTiles):
    """The same where processes cannot share memory (Windows)."""

    test_spawned_children_read_right = None  # they would share it: the system is not changed there

    @pytest.fixture
    def raster(self, slide, monkeypatch):
        monkeypatch.setattr(tiled, "arena", lambda: None)
        raster = TiffRaster(slide, ram=10 * 64 * 64 * 3)
        raster.read(Window(0, 0, 500, 400))
        assert isinstance(raster._tile_cache, PrivateTileCache)
        assert len(raster._tile_cache._tiles) == 10
        return raster


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40), st.booleans()), max_size=60), st.integers(10, 200))
def test_what_is_handed_out_never_overlaps_and_keeps_the_budget(steps, units):
    """Tables and their memory in any order, users coming and going: each owner's bytes stay its own."""
    memory, limit = small(), units * UNIT
    tables, written = {}, {}
    for digest, size, leave in steps:
        if leave and digest in tables:
            memory.detach(tables[digest][0], memory.token)
            del tables[digest]
            written.pop(digest, None)
            continue
        if digest not in tables:
            found = memory.attach(bytes([digest]) * 16, 8, limit)
            if found is None:
                continue
            tables[digest] = found
        at = memory.allot(tables[digest][0], size * 1000, limit, sweep=True)
        assert memory.used <= limit
        if at is not None:
            memory.write(at, np.full(size * 1000, digest + 1, np.uint8))
            written.setdefault(digest, []).append((at, size * 1000))
        for owner, places in written.items():
            for start, length in places:
                assert set(memory.memory[start : start + length]) == {owner + 1}


def test_freed_memory_is_zero_and_used_again():
    """A table in it would otherwise point anywhere."""
    memory = small()
    for turn in range(20):
        owner, place = memory.attach(bytes([turn]) * 16, 100, 12 * UNIT)
        assert not any(memory.memory[place : place + 800])
        at = memory.allot(owner, 10 * UNIT, 12 * UNIT, sweep=True)
        memory.write(at, np.full(10 * UNIT, 255, np.uint8))
        memory.memory[place : place + 800] = b"\xff" * 800
        memory.detach(owner, memory.token)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_processes_decode_each_tile_once(slide, pixels, method):
    """Whoever asks first decodes; also processes that are started later, as new workers are in each epoch."""
    raster = CountingRaster(slide, ram=RAM)
    windows = some_windows(raster.level_dimensions, whole=True)
    assert twice_by_two(raster, windows, method) == [digests(TiffRaster(slide), windows)] * 4
    assert raster.decoded() == 8 * 7 + 4 * 4
    raster.read(Window(0, 0, 500, 400))
    assert raster.decoded() == 8 * 7 + 4 * 4


def test_threads_decode_each_tile_once(slide, pixels):
    """The same in one process, from a cold start."""
    raster = CountingRaster(slide, ram=RAM)
    with ThreadPoolExecutor(8) as threads:
        for got in threads.map(lambda _: raster.read(Window(0, 0, 500, 400)), range(16)):
            assert np.array_equal(got, pixels[0])
    assert raster.decoded() == 8 * 7


def test_a_worker_killed_while_it_decodes_blocks_no_other(slide, pixels):
    """Its claim ends with it: those who wait decode the tile, and all others keep what was kept."""
    raster = Stuck(slide, ram=RAM)
    pid = os.fork()
    if pid == 0:
        try:
            raster.read(Window(0, 0, 64, 64))
        finally:
            os._exit(1)
    while raster.decoded() < 1:
        time.sleep(0.01)
    waiting = forked(lambda: np.array_equal(raster.read(Window(0, 0, 500, 400)), pixels[0]))
    time.sleep(0.2)
    assert raster.decoded() == 1, "the claim did not hold"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert waiting()
    assert np.array_equal(raster.read(Window(0, 0, 500, 400)), pixels[0])
    assert raster.decoded() == 1 + 8 * 7


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_budget_holds_for_all_slides_and_processes(tmp_path, pixels, own, method):
    """What finds no room is decoded at each use; no process caches more than the budget."""
    rasters = []
    for number in range(3):
        write_pyramid(tmp_path / f"{number}.tiff", pixels)
        rasters.append(CountingRaster(tmp_path / f"{number}.tiff", ram=60 * UNIT))
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    windows = some_windows(rasters[0].level_dimensions)
    for raster in rasters:
        worker = context.Process(target=read_all, args=(raster, windows, results))
        worker.start()
        assert results.get() == digests(TiffRaster(raster.path), windows)
        worker.join()
        assert 0 < own.used <= 60 * UNIT
    first = [raster.decoded() for raster in rasters]
    digests(rasters[2], windows)
    assert rasters[2].decoded() > first[2]
    assert own.used <= 60 * UNIT


def test_slides_that_come_too_late_do_not_look_for_room_at_each_window(tmp_path, pixels, own, monkeypatch):
    """Looking takes milliseconds; thousands of slides would each do it for each window."""
    looked = []
    monkeypatch.setattr(own, "_sweep", lambda sweep=own._sweep: looked.append(1) or sweep())
    # As long as the machine runs: nothing has swept before this test, and nothing sweeps twice in it.
    monkeypatch.setattr("patchaug.core.memory.arena._SWEEP_EVERY", int(time.monotonic()))
    rasters = []
    for number in range(12):
        write_pyramid(tmp_path / f"{number}.tiff", pixels)
        rasters.append(TiffRaster(tmp_path / f"{number}.tiff", ram=60 * UNIT + 5000))
    for raster in 3 * rasters:
        assert np.array_equal(raster.read(Window(0, 0, 500, 400)), pixels[0])
    assert own.used == 60 * UNIT
    assert len(looked) == 1
    assert sum(raster._tile_cache is None for raster in rasters) >= 8


def test_memory_of_slides_that_are_gone_is_given_to_others(tmp_path, own):
    """As long as any process has the slide open, its memory stays; after that, pictures that follow find room."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(coordinate_image(300, 200)[..., number % 3]).save(path)
    room = 70_000  # one picture
    first = open_raster(paths[0], ram=room)
    wanted = first.read(Window(0, 0, 300, 200))
    with pytest.raises(ReadError, match="taken already"):
        open_raster(paths[1], ram=room)
    ready, gone = multiprocessing.Pipe()
    pid = os.fork()
    if pid == 0:  # a worker that still reads from the slide when its parent has dropped it
        try:
            first.read(Window(0, 0, 1, 1))
            ready.send(1)
            ready.recv()
            os._exit(0 if np.array_equal(first.read(Window(0, 0, 300, 200)), wanted) else 1)
        finally:
            os._exit(2)
    gone.recv()
    del first
    gc.collect()
    with pytest.raises(ReadError, match="taken already"):
        open_raster(paths[1], ram=room)
    gone.send(1)
    assert os.waitpid(pid, 0)[1] == 0
    for path in paths[1:]:
        raster = open_raster(path, ram=room)
        assert np.array_equal(raster.read(Window(0, 0, 300, 200)), np.asarray(Image.open(path)))
        del raster
        gc.collect()


def test_a_picture_is_decoded_once_for_all_processes(tmp_path, own):
    """Its time of decoding is the parent's or one child's; the pixels are the same memory."""
    mask = coordinate_mask(3000, 2000, classes=200)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    raster = open_raster(tmp_path / "mask.png", mask=True, ram=RAM)
    children = [forked(lambda: np.array_equal(raster.read(Window(0, 0, 3000, 2000)), mask)) for _ in range(3)]
    assert all(child() for child in children)
    raster._decode = None  # no process decodes it again
    assert np.array_equal(raster.read(Window(5, 6, 700, 800)), mask[6:806, 5:705])
    assert own.used <= mask.nbytes + 2 * UNIT


def test_a_copy_in_another_process_that_was_not_started_with_it_has_memory_of_its_own(slide, pixels):
    """A pool's arguments are pickled when the processes run already."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        raster = CountingRaster(slide, ram=RAM)
        raster.read(Window(0, 0, 500, 400))
        assert len(pickle.dumps(raster)) < 2048
        pool.apply(digests, (raster, [Window(0, 0, 500, 400)] * 2))
    assert raster.decoded() == 2 * 8 * 7


def test_nothing_is_left_after_a_kill(slide, tmp_path):
    """No name was ever given: what is in /dev/shm and in the folder for temporary files is what was there before."""
    script = f"""
import os, sys, time
from patchaug import open_slide, Window
slide = open_slide({str(slide)!r}, ram="64MB")
slide.read(Window(0, 0, 500, 400))
if os.fork() == 0:
    slide.read(Window(0, 0, 500, 400))
    print("read", flush=True)
time.sleep(60)
"""
    folder = tmp_path / "temporary"
    folder.mkdir()

    def names() -> list[str]:  # other programs use /dev/shm as well
        shared = [path.name for path in Path("/dev/shm").iterdir() if "patchaug" in path.name]
        return shared + [path.name for path in folder.iterdir()]

    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )  # fmt: skip
    assert child.stdout.readline() == b"read\n"
    during = names()
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert not during
    assert not names()


def test_without_memfd_the_same_holds(slide, pixels, monkeypatch):
    """macOS has other calls for anonymous memory; they exist on Linux as well."""
    pytest.importorskip("_posixshmem")
    from patchaug.core.memory import anonymous

    monkeypatch.setattr(anonymous, "_MEMFD", False)
    monkeypatch.setattr(arena_file, "_arena", None)
    raster = CountingRaster(slide, ram=RAM)
    assert forked(lambda: np.array_equal(raster.read(Window(0, 0, 500, 400)), pixels[0]))()
    assert np.array_equal(raster.read(Window(0, 0, 500, 400)), pixels[0])
    assert raster.decoded() == 8 * 7
