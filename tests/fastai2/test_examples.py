"""The examples in the docstrings of the plugin run."""

import doctest
from types import ModuleType

import pytest

from patchaug.fastai2 import blocks, dataloaders, item_list, learner, patch_dl, random_patch
from patchaug.predict import predict_slide

MODULES = [blocks, dataloaders, item_list, learner, patch_dl, random_patch, predict_slide]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run(module: ModuleType) -> None:
    """Each module has an example, and its output is what the docstring shows."""
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed
