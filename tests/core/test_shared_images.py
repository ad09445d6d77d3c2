"""Arrays that started processes share: one copy, the same pixels, and nothing moved under a reader's feet."""

from __future__ import annotations

import mmap
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.memory import shared_arrays
from patchaug.core.memory.anonymous import MemoryFile
from patchaug.core.memory.mapped_arrays import MappedArray
from patchaug.core.memory.shared_arrays import LARGE
from patchaug.core.windows import Window
from patchaug.errors import ReadError
from patchaug.readers import ArrayRaster, open_raster
from patchaug.testing import coordinate_image
from patchaug.testing.raster_contract import RasterTests, digests, some_windows

WIDTH, HEIGHT = 1500, 1000
FILES = Path("/proc/self/fd")
assert WIDTH * HEIGHT * 3 > LARGE


class TestSharedImage(RasterTests):
    """A large array that other processes share."""

    pickles_small = False

    @pytest.fixture
    def expected(self):
        return [coordinate_image(WIDTH, HEIGHT), coordinate_image(WIDTH // 4, HEIGHT // 4, 4)]

    @pytest.fixture
    def raster(self, expected, monkeypatch):
        monkeypatch.setattr("patchaug.readers.array.LARGE", 1 << 16)  # the smaller level, too
        return ArrayRaster([level.copy() for level in expected])


def is_borrowed(array):
    """Whether an array lies in mapped memory, rather than in the process's own."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    root = array.base
    return isinstance(root.obj if isinstance(root, memoryview) else root, mmap.mmap)


def look(raster, windows, results):
    """In another process: what is read, and how many bytes of its own it reads from."""
    arrays = [raster.array(level) for level in range(len(raster.level_dimensions))]
    results.put((digests(raster, windows), sum(array.nbytes for array in arrays if not is_borrowed(array))))


def in_processes(method, raster, windows, number=2):
    """What several processes see, one after another, as the workers of several epochs do."""
    context, found = multiprocessing.get_context(method), []
    results = context.SimpleQueue()
    for _ in range(number):
        child = context.Process(target=look, args=(raster, windows, results))
        child.start()
        found.append(results.get())
        child.join()
    return found


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_all_processes_read_from_one_copy(method):
    """Children own nothing, the parent reads from the same memory, and a small array is simply copied."""
    image = coordinate_image(WIDTH, HEIGHT)
    raster, small = ArrayRaster(image), ArrayRaster(image[:40, :50])
    windows = some_windows(raster.level_dimensions, number=6)
    wanted = digests(raster, windows)
    assert in_processes(method, raster, windows) == [(wanted, 0)] * 2
    assert digests(raster, windows) == wanted
    assert len(raster._shared) == 1 and np.shares_memory(raster._levels[0], raster._shared[0].array())
    assert in_processes(method, small, [Window(3, 4, 20, 30)], 1)[0][1] == 40 * 50 * 3
    assert small._shared == {}


def test_a_fork_copies_nothing():
    """Workers have the parent's array as it is."""
    image = coordinate_image(WIDTH, HEIGHT)
    raster = ArrayRaster(image)
    windows = some_windows(raster.level_dimensions, number=2)
    assert in_processes("fork", raster, windows, 1)[0][0] == digests(raster, windows)
    assert raster._shared == {} and raster._levels[0] is image


@pytest.mark.skipif(not FILES.is_dir(), reason="no list of open files here")
def test_shared_memory_is_given_back(monkeypatch):
    """Memory and file number are gone with the raster."""
    monkeypatch.setattr("patchaug.readers.array.is_starting_process", lambda: True)
    before = set(FILES.iterdir())
    raster = ArrayRaster(coordinate_image(WIDTH, HEIGHT))
    state = raster.__getstate__()
    assert isinstance(state["_shared"][0].memory, MemoryFile) and state["_levels"] == [None]
    assert set(FILES.iterdir()) - before
    kept = raster._levels[0]  # the memory lives as long as anybody looks at it
    del raster, state
    assert np.array_equal(kept, coordinate_image(WIDTH, HEIGHT))
    del kept
    assert set(FILES.iterdir()) <= before


def test_where_nothing_is_without_a_name(monkeypatch):
    """Windows: the standard library's shared memory."""
    monkeypatch.setattr(shared_arrays, "HAS_FILE_LOCKS", False)
    raster = ArrayRaster(coordinate_image(WIDTH, HEIGHT))
    windows = some_windows(raster.level_dimensions, number=2)
    assert in_processes("spawn", raster, windows, 1) == [
        (digests(ArrayRaster(coordinate_image(WIDTH, HEIGHT)), windows), 0)
    ]


@given(
    offset=st.integers(0, 70_000),
    top=st.integers(0, 20),
    left=st.integers(0, 20),
    step=st.sampled_from([1, 2, -1]),
    flip=st.booleans(),
)
def test_a_memory_map_is_mapped_again(tmp_path_factory, offset, top, left, step, flip):
    """From any offset, and any view of it; only path, place and shape are pickled."""
    path = tmp_path_factory.mktemp("map") / "pixels"
    image = coordinate_image(150, 100)
    path.write_bytes(bytes(offset) + image.tobytes())
    view = np.memmap(path, np.uint8, "r", offset, image.shape)[top:, left::step]
    view = view[::-1] if flip else view
    mapped = MappedArray.from_memmap(view)
    data = pickle.dumps(mapped)
    assert len(data) < 600
    assert np.array_equal(pickle.loads(data)(), view)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_map_a_file_themselves(tmp_path, method):
    """No byte of it is copied; a map whose changes stay in one process is shared like any array."""
    np.save(tmp_path / "image.npy", coordinate_image(WIDTH, HEIGHT))
    for mode in ("r", "c"):
        raster = open_raster(np.load(tmp_path / "image.npy", mmap_mode=mode))
        windows = some_windows(raster.level_dimensions, number=3)
        assert in_processes(method, raster, windows, 1) == [(digests(raster, windows), 0)]
        assert len(raster._shared) == (mode == "c")


def test_a_mapped_file_that_is_another_one_by_now(tmp_path):
    """It is an error; so is a deleted file."""
    np.save(tmp_path / "image.npy", coordinate_image(60, 50))
    mapped = pickle.loads(pickle.dumps(MappedArray.from_memmap(np.load(tmp_path / "image.npy", mmap_mode="r"))))
    (tmp_path / "image.npy").rename(tmp_path / "first.npy")
    with pytest.raises(ReadError, match=r"image.npy: a memory map of it cannot be opened again"):
        mapped()
    np.save(tmp_path / "image.npy", coordinate_image(60, 50) + 1)
    with pytest.raises(ReadError, match=r"image.npy: file changed since it was mapped"):
        mapped()


def test_a_tensor_may_move():
    """torch moves a tensor when it is shared, and frees where it was: pixels are looked for where they are now."""
    torch = pytest.importorskip("torch")
    image = coordinate_image(WIDTH, HEIGHT)
    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous()
    raster = open_raster(tensor)
    windows = some_windows(raster.level_dimensions, number=4)
    wanted = digests(ArrayRaster(image), windows)
    before = tensor.data_ptr()
    tensor.share_memory_()
    assert tensor.data_ptr() != before
    rubbish = [np.full_like(image, 7) for _ in range(8)]  # where the pixels were
    assert digests(raster, windows) == wanted
    assert in_processes("spawn", raster, windows, 1) == [(wanted, 0)]
    assert digests(raster, windows) == wanted
    del rubbish
