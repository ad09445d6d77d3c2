"""Slides in stores through torch's loader: the same batches, fetched before they are asked for."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tifffile
from torch.utils.data import DataLoader

from patchaug import Foreground, PatchDataset, Plan, ReadError, Slide, Uniform, Window, open_slide
from patchaug.data import slide_items
from patchaug.data.epoch_sampler import EpochSampler
from patchaug.data.slide_items import SlideImage, SlideMask, slides_of
from patchaug.readers.remote.client import disconnect
from patchaug.sampling.read_ahead import BATCHES, ReadAhead
from tests.readers.range_server import RangeServer, serving

if importlib.util.find_spec("obstore") is None:
    pytest.skip("obstore is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def server() -> Iterator[RangeServer]:
    with serving() as one:
        yield one
    disconnect()


@pytest.fixture(scope="module")
def pairs(server: RangeServer, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Two slides with masks of half their size, local and served."""
    folder, made = tmp_path_factory.mktemp("slides"), []
    numbers = np.random.default_rng(0)
    for name in ("a", "b"):
        image = numbers.integers(0, 256, (256, 320, 3), np.uint8)
        mask = numbers.integers(0, 2, (128, 160), np.uint8)
        files = folder / f"{name}.tiff", folder / f"{name}_mask.tiff"
        for file, pixels in zip(files, (image, mask), strict=True):
            tifffile.imwrite(file, pixels, tile=(32, 32), compression="deflate")
            server.files[file.name] = file.read_bytes()
        made.append((files, (f"{server.url}/{files[0].name}", f"{server.url}/{files[1].name}")))
    return made


def opened(pairs: list[Any], *, remote: bool) -> list[Slide]:
    return [open_slide(*pair[remote], codes=["a", "b"], ram=0) for pair in pairs]


@pytest.mark.parametrize(
    "sampler", [Uniform(40, per_slide=20), Foreground(40, per_slide=20)], ids=["uniform", "foreground"]
)
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_local_slides(server: RangeServer, pairs: Any, sampler: Any, workers: int) -> None:
    """In two epochs, and requests of a batch are made at the same time: the server lets no first one through alone."""
    batches = []
    for remote in (False, True):
        dataset = PatchDataset(opened(pairs, remote=remote), sampler, seed=3)
        server.most_at_once = 0
        if remote:
            server.open.clear()
        loader = DataLoader(dataset, 8, sampler=EpochSampler(dataset), num_workers=workers, collate_fn=list)
        batches.append([patch for _ in range(2) for batch in loader for patch in batch])
    for local, remote in zip(*batches, strict=True):
        np.testing.assert_array_equal(local.image, remote.image)
        np.testing.assert_array_equal(local.mask, remote.mask)
    assert server.most_at_once > 1


def test_what_is_read_ahead_is_what_is_read(server: RangeServer, pairs: Any) -> None:
    """After the first two batches, of which nothing follows yet, no request waits for a window to be read."""
    plan = Plan(opened(pairs, remote=True), Uniform(40, per_slide=40), seed=1)
    for slide in plan.slides:  # headers
        slide.read_ahead(plan[0].window)
    ahead = ReadAhead(plan)
    batches = [list(range(start, start + 8)) for start in range(0, 80, 16)]  # of the first of two workers
    for number, batch in enumerate(batches):
        ahead.batch(batch)
        after = batches[number + 1 : number + 1 + BATCHES] if number else []
        assert {index for one in (batch, *after) for index in one} <= set(ahead._announced)
    assert max(ahead._announced) < len(plan)  # never of another epoch


def test_local_slides_are_not_announced(pairs: Any) -> None:
    """Nothing is drawn twice for files."""
    ahead = ReadAhead(Plan(opened(pairs, remote=False), Uniform(40, per_slide=40)))
    ahead.batch([0, 1])
    assert list(ahead.stream(range(5), 3)) == [0, 1, 2, 3, 4]
    assert not ahead._announced


def test_slides_of_a_server_are_opened_at_the_same_time(
    server: RangeServer, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers no request before two are there; slides and the one error are in the order of the list."""
    monkeypatch.setattr(slide_items, "require_files", lambda paths, what: None)  # asks for all at once
    two = threading.Event()

    def wait_for_two(number: int, path: str) -> None:
        if server.now > 1:
            two.set()
        assert two.wait(20)

    server.fault = wait_for_two
    sampler = Uniform(40)
    for number in range(4):
        server.files[f"broken{number}.tiff"] = b"II*\0" + bytes(range(number, 60))
    server.open.set()  # afterwards a window may be asked for alone
    try:
        mixed = [pairs[0][1], pairs[1][0], pairs[1][1], pairs[0][0]]
        items = [(SlideImage(image), SlideMask(mask, codes=["a", "b"])) for image, mask in mixed]
        slides = slides_of(items, sampler)
        assert two.is_set()
        two.clear()
        expected = [one[0] for one in mixed]
        assert [str(slide.path) for slide in slides] == [str(path) for path in expected]
        window = Window(3, 5, 60, 50)
        for slide, other in zip(slides, (0, 1, 1, 0), strict=True):
            local = open_slide(*pairs[other][0], codes=["a", "b"], ram=0).read(window)
            np.testing.assert_array_equal(slide.read(window).image, local.image)
            np.testing.assert_array_equal(slide.read(window).mask, local.mask)

        broken = [(SlideImage(f"{server.url}/broken{number}.tiff"),) for number in (2, 0, 3, 1)]
        with pytest.raises(ReadError) as raised:
            slides_of([broken[0], items[0], *broken[1:]], sampler)
        lines = str(raised.value).splitlines()
        assert lines[0] == "4 of 5 slides cannot be used:"
        assert [line.split(".tiff")[0][-1] for line in lines[1:]] == ["2", "0", "3", "1"]
    finally:
        server.fault = lambda number, path: None
