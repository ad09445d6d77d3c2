"""The pool of handles: bounded, dropped by reference, never carried over a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from patchaug.readers import file_handles as handles
from patchaug.readers.file_handles import CAPACITY, Descriptor, discard, get_or_open
from patchaug.testing.raster_contract import forked

ROOT = Path(__file__).resolve().parents[2]


class Handle:
    """Says when it is closed."""

    closed = 0

    def __del__(self) -> None:
        type(self).closed += 1


def test_one_handle_per_key_until_it_is_forgotten():
    """The same key gives the same handle; a forgotten one is opened again."""
    first = get_or_open("a key", Handle)
    assert get_or_open("a key", Handle) is first
    discard("a key")
    discard("a key")
    assert get_or_open("a key", Handle) is not first


def test_a_handle_in_use_outlives_its_eviction():
    """A full pool drops the least recently used handle by reference: who still reads keeps it open."""
    held = get_or_open(("lru", 0), Handle)
    before = Handle.closed
    for number in range(1, 2 * CAPACITY):
        get_or_open(("lru", number), Handle)
    assert get_or_open(("lru", 0), Handle) is not held
    closed_while_held = Handle.closed - before
    del held
    assert Handle.closed == before + closed_while_held + 1


def test_a_failed_opening_leaves_nothing_behind():
    """The opener's error passes through, and the next attempt opens."""
    with pytest.raises(FileNotFoundError):
        get_or_open("missing", lambda: Descriptor("/no/such/file"))
    assert get_or_open("missing", lambda: 5) == 5


def test_a_forked_child_starts_empty_and_closes_nothing():
    """The child opens its own handle, even if a thread of the parent held the lock, and frees none of the parent's."""
    parents = get_or_open("forked", Handle)

    def child() -> bool:
        own = get_or_open("forked", Handle)
        return own is not parents and Handle.closed == before

    before = Handle.closed
    assert forked(child)()
    with handles._pool.lock:
        assert forked(child)()
    assert get_or_open("forked", Handle) is parents


def test_threads_share_one_handle():
    """Whoever opens first wins, and all get the same one."""
    barrier = threading.Barrier(8)
    got = []

    def work() -> None:
        barrier.wait()
        got.append(get_or_open("threads", Handle))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(one) for one in got}) == 1


def test_two_thousand_slides_work_with_256_open_files(tmp_path):
    """Twice over, so that evicted handles are opened again; tiled ones by the pool, an OpenSlide one between."""
    script = f"""
import resource, shutil
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from pathlib import Path
from patchaug.core.windows import Window
from patchaug.readers import TiffRaster
from patchaug.readers.openslide import OpenSlideRaster
from patchaug.testing import coordinate_image, places, write_pyramid
first = Path({str(tmp_path)!r}) / "0.tiff"
write_pyramid(first, [coordinate_image(64, 48)], tile=32)
for number in range(1, 2000):
    shutil.copy(first, first.with_name(f"{{number}}.tiff"))
kinds = [OpenSlideRaster if number % 20 == 0 else TiffRaster for number in range(2000)]
rasters = [kind(first.with_name(f"{{number}}.tiff")) for number, kind in enumerate(kinds)]
kept = []
for x in (3, 40):
    for raster in rasters:
        x0, y0 = places(raster.read(Window(x, 5, 4, 4)))
        assert (x0[0, 0], y0[0, 0]) == (x, 5)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_reads_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no pread: a lock around seek and read gives the same bytes, from several threads."""
    monkeypatch.delattr(os, "pread")
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(256)) * 64)
    descriptor = Descriptor(os.fspath(path))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: descriptor.read(at, 100), range(0, 16000, 7)))
    assert all(
        data == (bytes(range(256)) * 64)[at : at + 100] for at, data in zip(range(0, 16000, 7), found, strict=True)
    )
