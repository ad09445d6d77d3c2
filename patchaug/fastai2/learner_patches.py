"""Where fastai would go wrong on slides without a word: three of its methods, guarded.

On other data than slides they are as ever.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastai.data.block import DataBlock
from fastai.learner import Learner
from fastcore.basics import patch
from fastcore.foundation import L

from patchaug.core.atomic import atomic_write
from patchaug.data.export import drop_activations, without_paths
from patchaug.errors import OptionError
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.random_patch import RandomPatch

_predict, _export, _new = Learner.predict, Learner.export, DataBlock.new


@patch
def predict(self: Learner, item: Any, rm_type_tfms: Any = None, with_input: bool = False) -> Any:
    """fastai's `predict`, refused for slides: it would answer with the first of the slide's windows.

    Raises:
        OptionError: The learner was trained on slides.
    """
    if isinstance(self.dls.valid, PatchDL):
        raise OptionError(
            "learn.predict answers for one sample, and a slide is many: it would return its first window; take "
            "learn.predict_slide(slide) for the whole class map"
        )
    return _predict(self, item, rm_type_tfms, with_input)


@patch
def export(self: Learner, fname: Any = "export.pkl", **kwargs: Any) -> None:
    """fastai's `export`; of a learner on slides atomically, without its `path` and the last batch's activations."""
    if not isinstance(self.dls.valid, PatchDL):
        return _export(self, fname, **kwargs)
    drop_activations(self.model)
    place = Path(self.path, fname).absolute()
    with atomic_write(place, "learner") as temporary, without_paths(self, self.dls):
        return _export(self, temporary, **kwargs)


@patch
def new(self: DataBlock, item_tfms: Any = None, batch_tfms: Any = None) -> DataBlock:
    """fastai's `new`, refused with two `RandomPatch`: it keeps the last transform of each class and drops the others.

    Raises:
        OptionError: There are several.
    """
    found = [transform for transform in L(item_tfms) if isinstance(transform, RandomPatch)]
    if len(found) > 1:
        raise OptionError(
            f"item_tfms hold {len(found)} RandomPatch, and one describes all windows, of training and validation; "
            f"keep one of {', '.join(map(str, found))}"
        )
    return _new(self, item_tfms, batch_tfms)
