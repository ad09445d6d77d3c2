"""patchaug for fastai 2: blocks, item transform, loader, factories, and a slide-wise look at a learner."""

import patchaug.fastai2.guards  # noqa: F401 - importing it puts them in their places
from patchaug.fastai2.evaluate import SlideInterpretation, predict_slide
from patchaug.fastai2.factory import SlideDataLoaders
from patchaug.fastai2.itemlist import SlideDataBunch, SlideItemList, get_transforms
from patchaug.fastai2.items import SlideBlock, SlideMaskBlock
from patchaug.fastai2.loader import PatchDL
from patchaug.fastai2.randompatch import RandomPatch
from patchaug.files import get_slide_files
from patchaug.handles import SlideImage, SlideMask

__all__ = [
    "PatchDL",
    "RandomPatch",
    "SlideBlock",
    "SlideDataBunch",
    "SlideDataLoaders",
    "SlideImage",
    "SlideInterpretation",
    "SlideItemList",
    "SlideMask",
    "SlideMaskBlock",
    "get_slide_files",
    "get_transforms",
    "predict_slide",
]
