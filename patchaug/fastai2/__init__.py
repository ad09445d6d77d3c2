"""patchaug for fastai 2: blocks, item transform, loader, factories, and a slide-wise look at a learner."""

from patchaug.fastai2.evaluate import SlideInterpretation, predict_slide
from patchaug.fastai2.factory import SlideDataLoaders
from patchaug.fastai2.handles import SlideImage, SlideMask
from patchaug.fastai2.items import SlideBlock, SlideMaskBlock
from patchaug.fastai2.loader import PatchDL
from patchaug.fastai2.randompatch import RandomPatch
from patchaug.files import get_slide_files

__all__ = [
    "PatchDL",
    "RandomPatch",
    "SlideBlock",
    "SlideDataLoaders",
    "SlideImage",
    "SlideInterpretation",
    "SlideMask",
    "SlideMaskBlock",
    "get_slide_files",
    "predict_slide",
]
