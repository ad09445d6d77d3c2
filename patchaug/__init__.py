"""patchaug: train fastai on images too large to be samples.

A slide is an item of the data set, a patch is an item of a batch; windows are drawn by a seed and read on the fly. Only
`PatchDataset` and `EpochSampler` need torch: without torch, `from patchaug import *` imports all other names.
`patchaug.fastai` is the plugin itself.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from patchaug.core.windows import Window
from patchaug.errors import (
    ForegroundError,
    FrameError,
    LabelError,
    MissingError,
    OptionError,
    PatchaugError,
    ReadError,
    WindowError,
    WriteError,
)

if TYPE_CHECKING:
    from patchaug.augment import Augment
    from patchaug.data.dataset import PatchDataset
    from patchaug.data.epoch_sampler import EpochSampler
    from patchaug.options.fields import PatchOptions
    from patchaug.readers import Raster, register_reader
    from patchaug.sampling import Adaptive, Foreground, Grid, Uniform
    from patchaug.sampling.draw import Draw
    from patchaug.sampling.importance import ImportanceWeights
    from patchaug.sampling.plan import Plan
    from patchaug.sampling.points import Points
    from patchaug.slides.open import open_slide
    from patchaug.slides.patch import Patch
    from patchaug.slides.slide import Slide
    from patchaug.slides.split_region import split_region

__version__ = "0.1.0"

# Loaded at first use, so that `import patchaug` takes little longer than `import numpy`.
_LAZY = {
    "Adaptive": "patchaug.sampling",
    "Augment": "patchaug.augment",
    "Draw": "patchaug.sampling.draw",
    "EpochSampler": "patchaug.data.epoch_sampler",
    "Foreground": "patchaug.sampling",
    "Grid": "patchaug.sampling",
    "ImportanceWeights": "patchaug.sampling.importance",
    "Patch": "patchaug.slides.patch",
    "PatchDataset": "patchaug.data.dataset",
    "PatchOptions": "patchaug.options.fields",
    "Plan": "patchaug.sampling.plan",
    "Points": "patchaug.sampling.points",
    "Raster": "patchaug.readers",
    "Slide": "patchaug.slides.slide",
    "Uniform": "patchaug.sampling",
    "open_slide": "patchaug.slides.open",
    "register_reader": "patchaug.readers",
    "split_region": "patchaug.slides.split_region",
}
_PACKAGES = {"augment", "data", "options", "predict", "readers", "sampling", "slides", "testing", "viz"}
_TORCH = ("EpochSampler", "PatchDataset")  # the names that need torch

__all__ = [
    "Adaptive",
    "Augment",
    "Draw",
    "EpochSampler",
    "Foreground",
    "ForegroundError",
    "FrameError",
    "Grid",
    "ImportanceWeights",
    "LabelError",
    "MissingError",
    "OptionError",
    "Patch",
    "PatchDataset",
    "PatchOptions",
    "PatchaugError",
    "Plan",
    "Points",
    "Raster",
    "ReadError",
    "Slide",
    "Uniform",
    "Window",
    "WindowError",
    "WriteError",
    "__version__",
    "open_slide",
    "register_reader",
    "split_region",
]
if not TYPE_CHECKING:  # type checkers see the names above, and no others
    if find_spec("torch") is None:
        for _name in _TORCH:
            __all__.remove(_name)

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            if name in _TORCH and find_spec("torch") is None:
                raise ImportError(f"{name} needs torch, which is not installed: pip install torch")
            found = globals()[name] = getattr(import_module(_LAZY[name]), name)
            return found
        if name in _PACKAGES:
            return import_module(f"patchaug.{name}")
        raise AttributeError(f"module 'patchaug' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
