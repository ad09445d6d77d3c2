"""`RandomPatch`: the item transform that holds the options of the windows and reads the patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fastcore.foundation import L
from fasttransform import ItemTransform

from patchaug.augment import as_augment
from patchaug.core.validation import SEED, Classes, OnError, Size, Small, checked_integer, refuses_old_names
from patchaug.data.slide_items import LazySlideItem, slide_of
from patchaug.errors import OptionError
from patchaug.fastai2.pixels import pixels_of
from patchaug.sampling import Balance, Empty, PerSlide
from patchaug.sampling.option_table import Adapt, Mode
from patchaug.sampling.plan import Edge
from patchaug.sampling.splits import samplers_for

if TYPE_CHECKING:
    from patchaug.options.fields import PatchOptions


class RandomPatch(ItemTransform):
    """Draw windows of slides: random ones for training, a grid over the whole slide for validation.

    Image and mask are read through one window. Everything random follows from the seed: the same windows for any
    number of workers, other ones in the next epoch. One `RandomPatch` in the `item_tfms` does it all.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows of each slide in an epoch (random modes); or "area", "tissue" or "foreground", to share out
            `windows`.
        windows: Windows of all slides in an epoch, with those words; see `Uniform` and `Foreground`.
        foreground: Probability that a draw is a foreground draw (mode "random"), see `Foreground`.
        classes: Classes that count as foreground; see `Foreground`. Default: all but 0 and `ignore_index`.
        min_fraction: Least share of a window's pixels that belongs to those classes; see `Foreground`.
        min_valid: Least share of a random window's pixels that hold data; see `Uniform`. Grids stay complete: labels
            of their invalid pixels are `ignore_index`.
        inside: Least share of a window's pixels that lies in the region of its slide; see `Uniform`.
        empty: What to do with a slide without foreground: "raise", "uniform" or "skip".
        balance: "slide", or "dataset": foreground draws go to all slides by their pixels of a class; see `Foreground`.
        mode: Windows of the training slides: "random", "grid", "random-grid" (a grid with a new offset each epoch), or
            "adaptive", where the losses of the last epochs were high, see `Adaptive`.
        adapt: What follows the losses (mode "adaptive"): "blocks" of each slide, or "classes".
        blocks: Blocks on each side of a slide (mode "adaptive").
        floor: Probability of a uniform draw (mode "adaptive").
        overlap: Pixels that neighbours of a grid share.
        valid: Windows of the validation slides: "grid", or "random" (the same ones in each epoch).
        weights: Give each random window its importance weight: losses and scores are then, in expectation, those of
            uniform windows. `SlideCrossEntropy` and the other losses and metrics of patchaug use the weights; wrap
            others in `WeightedLoss`.
        max_weight: Clip weights at this number, at least 1; what is cut off is reported after each epoch.
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level; see `Uniform`.
        augment: A transform or Compose of albumentations, or an `Augment`, for the training slides.
        halo: Pixels read around each of their patches, so that no transform invents any. "auto" is what `augment`
            needs. Without `augment` it is a number: the batch's transforms work on patches so much larger on each side,
            and the batch is cropped after the last of them.
        edge: "shift" keeps windows far enough inside for the halo; "reflect" mirrors at the border, see `Plan`.
        small: What to do with a slide that is smaller than the window: "raise" or "skip".
        on_error: What to do with a window that cannot be read: "raise" or "resample"; see `Plan`.
        index_cache: Folder that keeps indexes of labels, so that the next start reads no mask; see `Plan`.
        index_workers: Processes that index labels; see `Plan`.
        seed: 0 to 2^32 - 1.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.

    Examples:
        >>> patch = RandomPatch(512, per_slide=64, foreground=0.5, seed=42)
        >>> patch.samplers.valid
        Grid(size=512, overlap=0, offset='fixed', inside=1.0, level=0, mpp=None)
    """

    order = -10  # before every other item transform: they want pixels, and would pass over a handle without a word
    split_idx = None  # on training and validation items alike

    @refuses_old_names
    def __init__(
        self,
        size: Size,
        *,
        per_slide: PerSlide = 1,
        windows: int | None = None,
        foreground: float = 0.0,
        classes: Classes | None = None,
        min_fraction: float = 0.0,
        min_valid: float = 0.0,
        inside: float = 1.0,
        empty: Empty = "raise",
        balance: Balance = "slide",
        mode: Mode = "random",
        adapt: Adapt = "blocks",
        blocks: int = 8,
        floor: float = 0.1,
        overlap: int = 0,
        valid: Literal["grid", "random"] = "grid",
        weights: bool = False,
        max_weight: float | None = None,
        level: int = 0,
        mpp: float | None = None,
        augment: Any = None,
        halo: int | Literal["auto"] = "auto",
        edge: Edge = "shift",
        small: Small = "raise",
        on_error: OnError = "raise",
        index_cache: str | None = None,
        index_workers: int | Literal["auto"] = "auto",
        seed: int = SEED,
    ) -> None:
        super().__init__()
        self.samplers = samplers_for(
            mode=mode, adapt=adapt, blocks=blocks, floor=floor, valid=valid, size=size, per_slide=per_slide,
            windows=windows, foreground=foreground, classes=classes, min_fraction=min_fraction, min_valid=min_valid,
            inside=inside, empty=empty, balance=balance, overlap=overlap, level=level, mpp=mpp,
            augment=as_augment(augment, halo), halo=halo, edge=edge, on_error=on_error, small=small, weights=weights,
            max_weight=max_weight,
            index_cache=index_cache, index_workers=index_workers,
        )  # fmt: skip
        self.seed = checked_integer("seed", seed, 0)

    @classmethod
    def from_options(cls, options: PatchOptions, *, augment: Any = None) -> RandomPatch:
        """Make the transform that a `PatchOptions` describes.

        Args:
            options: The options.
            augment: As above; a transform is not an option, since files cannot hold it.

        Examples:
            >>> from patchaug import PatchOptions
            >>> RandomPatch.from_options(PatchOptions(512, per_slide=64)).seed
            42
        """
        return cls(**options.arguments(cls), augment=augment)

    def __repr__(self) -> str:
        return f"RandomPatch(train={self.samplers.train}, valid={self.samplers.valid}, seed={self.seed})"

    def setups(self, loader: Any) -> None:
        """Check that the loader draws windows; fastai passes each loader to its transforms.

        Raises:
            OptionError: The loader is not a `PatchDL`; it would show the same window of each slide in every epoch.
        """
        if not getattr(loader, "draws_windows", False):
            raise OptionError(
                f"RandomPatch needs PatchDL to draw windows, and its loader is a {type(loader).__name__}; leave "
                f"dl_type out, so that the SlideBlock chooses it"
            )

    def encodes(self, item: Any) -> Any:
        """Replace the lazy slides of an item by pixels: image and mask from one read of their window."""
        lazy = [element for element in item if isinstance(element, LazySlideItem)]
        if not lazy:
            return item
        first = lazy[0]
        if first.plan is None or first.draw is None:
            # DataBlock.summary, or a direct call, passes an item without a window: the first one stands for all.
            plan = self.samplers.plan("train", [slide_of(lazy)], seed=self.seed, shuffle=False)
            return pixels_of(item, plan.read(plan[0]))
        return pixels_of(item, first.plan.read(first.draw))


def random_patch(after_item: Any) -> RandomPatch:
    """Find the one `RandomPatch` of a pipeline of item transforms.

    Raises:
        OptionError: The pipeline holds none, or several.
    """
    transforms = getattr(after_item, "fs", None)
    found = [t for t in (L(after_item) if transforms is None else transforms) if isinstance(t, RandomPatch)]
    if len(found) != 1:
        raise OptionError(
            f"slides need exactly one RandomPatch in item_tfms, got {len(found)}; for example "
            f"item_tfms=RandomPatch(512, per_slide=64)"
        )
    return found[0]
