"""Arrays in a fastai loader that is sent to processes being started: they are lent, wherever they stand in it."""

import hashlib
import mmap
import multiprocessing
import os
from multiprocessing import reduction

import numpy as np
import pytest
from fastai.vision.all import DataLoaders

from patchaug import PatchOptions
from patchaug.fastai import PatchDL, SlideDataLoaders
from patchaug.testing import coordinate_image, coordinate_mask

from .conftest import CODES

# A process that imports all of fastai takes its time; in the quick profile there is one.
METHODS = ["spawn", "forkserver"] if os.environ.get("HYPOTHESIS_PROFILE") == "long" else ["spawn"]
SIDE = 2200  # masks above the size from which arrays are lent


def loaders_of_arrays() -> DataLoaders:
    """Two slides in memory."""
    pairs = [(coordinate_image(SIDE, SIDE), coordinate_mask(SIDE, SIDE)) for _ in range(2)]
    options = PatchOptions(64, per_slide=6, foreground=0.5, seed=3)
    return SlideDataLoaders.from_lists(pairs[:1], pairs[1:], codes=CODES, options=options, bs=3, num_workers=0)


def told(dl: PatchDL) -> tuple[list[str], list[tuple[bool, str]]]:
    """Hashes of a loader's batches; of its items' arrays too, and whether each is in memory of its own."""
    batches = [hashlib.sha256(x.cpu().numpy().tobytes() + y.cpu().numpy().tobytes()).hexdigest() for x, y in dl]
    arrays = []
    for array in dl.dataset.tls[0].items[0]:
        root = array
        while isinstance(root, np.ndarray):
            root = root.base
        memory = root.obj if isinstance(root, memoryview) else root
        arrays.append((not isinstance(memory, mmap.mmap), hashlib.sha256(array.tobytes()).hexdigest()))
    return batches, arrays


def look(dl: PatchDL, results) -> None:
    """What it is like in another process; other slides can be opened with it there."""
    results.put(told(dl))
    results.put(len(dl.new(dl.dataset)))


@pytest.mark.parametrize("method", METHODS)
def test_a_loader_is_sent_without_its_arrays(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kilobytes go through the pipe; the process has the same batches and items, and the parent is left as it was."""
    dls, sent = loaders_of_arrays(), []
    dump = reduction.dump

    def counting(obj, file, *args) -> None:
        dump(obj, file, *args)
        sent.append(file.tell())

    monkeypatch.setattr(reduction, "dump", counting)
    items, handles = list(dls.train.dataset.tls[0].items), list(dls.train.lazy_items)
    batches, arrays = told(dls.train)
    dls.train.epoch = 0
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    child = context.Process(target=look, args=(dls.train, results))
    child.start()
    there = results.get()
    assert results.get() == len(dls.train)
    child.join()
    assert there == (batches, [(False, digest) for _, digest in arrays])
    assert max(sent) < 60_000
    assert all(a is b for a, b in zip(items[0], dls.train.dataset.tls[0].items[0], strict=True))
    assert dls.train.lazy_items == handles and isinstance(handles[0][0].source, np.ndarray)
    dls.train.epoch = 0
    assert told(dls.train)[0] == batches
