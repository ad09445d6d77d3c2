"""A damaged slide in torch's loaders: the same replacements and the same counts for any number of workers."""

import hashlib
import multiprocessing

import pytest
from torch.utils.data import DataLoader

from patchaug import PatchDataset, ReadError, Slide, Uniform, open_slide
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid
from tests.sampling.test_on_error import SIDE, TILE, is_bad, spoil


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Slide]:
    """One damaged tile among 16."""
    folder = tmp_path_factory.mktemp("slides")
    write_pyramid(folder / "a.tiff", [coordinate_image(SIDE, SIDE)], tile=TILE)
    write_pyramid(folder / "a_mask.tiff", [coordinate_mask(SIDE, SIDE)], tile=TILE)
    spoil(folder / "a.tiff", 5, 6)
    return [open_slide(folder / "a.tiff", folder / "a_mask.tiff", ram=0)]


def run(slides: list[Slide], workers: int, method: str | None) -> tuple[list[str], dict[str, int], int]:
    """Hashes of two epochs, the counts that the main process sees, and how many there should be."""
    dataset = PatchDataset(slides, Uniform(40, per_slide=60), seed=5, on_error="resample")
    found = []
    for epoch in (0, 1):
        indices = range(epoch * len(dataset), (epoch + 1) * len(dataset))
        context = multiprocessing.get_context(method) if workers else None
        loader = DataLoader(dataset, 4, sampler=indices, num_workers=workers, multiprocessing_context=context)
        found += [hashlib.sha256(i.numpy().tobytes() + m.numpy().tobytes()).hexdigest() for i, m in loader]
    return found, dataset.plan.replaced, sum(is_bad(dataset.plan[k]) for k in range(2 * len(dataset)))


@pytest.mark.filterwarnings("ignore")
def test_workers_change_nothing(slides: list[Slide]) -> None:
    """0 and 3 workers by fork, 1 by spawn."""
    alone, counts, bad = run(slides, 0, None)
    assert counts == {"a.tiff": bad} and bad > 20
    for workers, method in ((3, "fork"), (1, "spawn")):
        assert run(slides, workers, method) == (alone, counts, bad)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_come_out_of_workers_with_where_they_were(slides: list[Slide], workers: int) -> None:
    """The last line of what the main process raises."""
    dataset = PatchDataset(slides, Uniform(200, per_slide=4), seed=5)
    with pytest.raises(ReadError) as caught:
        list(DataLoader(dataset, 2, num_workers=workers))
    last = str(caught.value).rstrip().splitlines()[-1]
    assert (
        "slide a.tiff, level 0, window x=" in last and last.endswith("200 x 200; seed 5, index 0") and len(last) <= 300
    )
