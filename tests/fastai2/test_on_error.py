"""A damaged slide in fastai's loaders: replaced, counted and told at the end of the epoch, or raised with its place."""

import shutil
from pathlib import Path

import pytest

from patchaug import OptionError, PatchOptions, ReadError
from patchaug.fastai import RandomPatch
from tests.sampling.test_on_error import spoil

from .conftest import loaders


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    """The usual slides, with a tile of the first and of the last (for validation) overwritten."""
    root = shutil.copytree(folder, tmp_path / "slides")
    spoil(root / "images" / "s0.tiff", 5, 6)
    spoil(root / "images" / "s3.tiff", 0)
    return root


@pytest.mark.filterwarnings("ignore:.*was replaced by another")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_and_says_what_it_left_out(damaged: Path, workers: int) -> None:
    """Training and validation loaders alike; the same batches with workers and without."""
    dls = loaders(damaged, RandomPatch(32, per_slide=40, seed=7, on_error="resample"), num_workers=workers)
    with pytest.warns(UserWarning, match=r"\d+ windows could not be read and were replaced: s0\.tiff \d+$"):
        list(dls.train)
    assert dls.train.plan.replaced["s0.tiff"] > 3
    with pytest.warns(UserWarning, match=r"4 windows could not be read and were replaced: s3\.tiff 4$"):
        list(dls.valid)
    with pytest.warns(UserWarning, match=r"4 windows could not be read"):
        list(dls.valid)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_name_the_place_in_their_last_line(damaged: Path, workers: int) -> None:
    """Through fastai's own wrapping of exceptions, and out of a worker."""
    dls = loaders(damaged, RandomPatch(32, per_slide=40, seed=7), num_workers=workers)
    with pytest.raises(ReadError) as caught:
        list(dls.valid)
    last = str(caught.value).rstrip().splitlines()[-1]
    assert last.endswith("slide s3.tiff, level 0, window x=0 y=0 32 x 32; seed 7, index 0") and len(last) <= 300


def test_the_option_is_checked_and_travels() -> None:
    """In RandomPatch and in PatchOptions."""
    assert RandomPatch.from_options(PatchOptions(32, on_error="resample")).samplers.on_error == "resample"
    with pytest.raises(OptionError, match="on_error"):
        PatchOptions(32, on_error="skip")
    with pytest.raises(OptionError, match="on_error"):
        RandomPatch(32, on_error="skip")
