"""patchaug for fastai 2: blocks, item transform, loader, factories, and a slide-wise look at a learner."""

import patchaug.fastai2.learner
import patchaug.fastai2.learner_epochs
import patchaug.fastai2.learner_patches
import patchaug.fastai2.rank_callbacks  # noqa: F401 - importing it puts them in their places
from patchaug.data.segmentation_losses import SlideCombinedLoss, SlideDiceLoss, SlideFocalLoss
from patchaug.data.slide_items import SlideImage, SlideMask
from patchaug.data.weighted_loss import WeightedLoss
from patchaug.fastai2.blocks import SlideBlock, SlideMaskBlock
from patchaug.fastai2.checkpoint import Checkpoint
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.encoders import small_encoder
from patchaug.fastai2.interpretation import SlideInterpretation
from patchaug.fastai2.item_list import SlideDataBunch, SlideItemList, get_transforms
from patchaug.fastai2.losses import SlideCrossEntropy
from patchaug.fastai2.metrics import SlideAccuracy, SlideDice, SlideJaccard, SlidePrecision, SlideRecall
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.random_patch import RandomPatch
from patchaug.predict.predict_slide import predict_slide
from patchaug.predict.predict_slides import predict_slides
from patchaug.slides.discovery import get_slide_files

__all__ = [
    "Checkpoint",
    "PatchDL",
    "RandomPatch",
    "SlideAccuracy",
    "SlideBlock",
    "SlideCombinedLoss",
    "SlideCrossEntropy",
    "SlideDataBunch",
    "SlideDataLoaders",
    "SlideDice",
    "SlideDiceLoss",
    "SlideFocalLoss",
    "SlideImage",
    "SlideInterpretation",
    "SlideItemList",
    "SlideJaccard",
    "SlideMask",
    "SlideMaskBlock",
    "SlidePrecision",
    "SlideRecall",
    "WeightedLoss",
    "get_slide_files",
    "get_transforms",
    "predict_slide",
    "predict_slides",
    "small_encoder",
]
