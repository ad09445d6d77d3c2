"""`PatchDL`: fastai's loader, whose items are windows of slides rather than the slides themselves.

It yields plain integers, epoch * n + place, from the main process; a worker converts one to a window by the plan and
holds no state. So batches are the same bytes for any number of workers, and fastai's own code, which sorts and
broadcasts indices, works on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from inspect import signature
from typing import Any

from fastai.data.core import TfmdDL
from fastai.data.load import DataLoader, SkipItemException
from fastai.data.transforms import ToTensor

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.stop_signals import outlive_stop_signals
from patchaug.data.batch_memory import batch_buffers_for
from patchaug.data.isolated_rng import isolated_rng
from patchaug.data.loader_arguments import batch_size_of, require_full_batch, require_known_arguments
from patchaug.data.reusable_memory import reusable_memory
from patchaug.data.run_position import RunPosition
from patchaug.data.slide_items import LazySlideItem, SlideImage, slides_of
from patchaug.data.worker_notes import worker_notes_for
from patchaug.errors import OptionError
from patchaug.fastai2.crop_halo import with_crop
from patchaug.fastai2.distributed import adapt_distributed
from patchaug.fastai2.filled_batches import FilledBatches
from patchaug.fastai2.grouped_batches import GroupedBatches
from patchaug.fastai2.lazy_items import Layout, layout_of, lazy_items_of, require_own_inputs
from patchaug.fastai2.mask_display import ClassColours
from patchaug.fastai2.pixels import pixels_of
from patchaug.fastai2.random_patch import RandomPatch, random_patch
from patchaug.fastai2.rank_batches import RankBatches
from patchaug.fastai2.run_state import RunState
from patchaug.fastai2.show_windows import show_with_windows
from patchaug.fastai2.transform_geometry import require_croppable
from patchaug.fastai2.weighted_batches import WeightedBatches
from patchaug.fastai2.worker_pickling import WorkerPickling
from patchaug.sampling.plan import Draw, Plan

_READ_ONLY = {RandomPatch, ClassColours, ToTensor}  # item transforms without randomness, all done by `pixels_of`

# Arguments of fastai's loaders, and two words that its own code passes to them, in tta and get_preds.
_KNOWN = {
    *(name for loader in (TfmdDL, DataLoader) for name in signature(loader.__init__).parameters),
    *DataLoader._methods,
    *("before_batch", "after_batch", "shuffled", "process"),
} - {"self"}


@names_arguments_of_init
class PatchDL(RunState, WorkerPickling, FilledBatches, RankBatches, WeightedBatches, GroupedBatches, TfmdDL):
    """Load patches in batches; `SlideBlock` chooses this loader.

    The split of the dataset decides between random windows and a grid, once, when the loader is made: fastai's `tta`
    changes the split of a loader in use. `state_dict` describes where a run is, in a few integers. `load_state_dict`
    continues with the very next batch, in another process and with another number of workers.

    Args:
        dataset: fastai's dataset of slides and masks.
        bs: Patches in a batch; of all processes together, where several train.
        shuffle: Mix the slides' windows anew in each epoch.
        num_workers: Processes that read; default: fastai's.
        n: Not supported: the number of patches follows from `per_slide` or the grid.
        batch_size: Another name of `bs`.
        epoch: Epoch of the first pass.
        split: "train", "valid" or "test"; default: the split of the dataset.
        plan: The windows; default: made from the slides and the `RandomPatch`.
        lazy_items: Items of the dataset, where they are known.
        layout: Kinds of an item's elements, for a loader without items.
        **kwargs: As for fastai's `TfmdDL`.

    Attributes:
        plan: The plan that converts an index to a window; None while there are no slides (an exported learner).
        epoch: Epoch of the next pass. It grows by one with each pass of a training loader, also with one that ends
            early. `one_batch`, `show_batch`, `lr_find` and predictions leave it. A validation loader stays at 0: its
            windows never change.

    Raises:
        OptionError: An argument is unknown, or an epoch has fewer patches than a batch.
        PatchaugError: A slide cannot be opened, or its windows are impossible.

    Examples:
        >>> import numpy as np
        >>> from patchaug.fastai import PatchDL, RandomPatch, SlideDataLoaders
        >>> image, mask = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8)
        >>> dls = SlideDataLoaders.from_lists(
        ...     [(image, mask)], [(image.copy(), mask)], codes=["a", "b"], item_tfms=RandomPatch(32, per_slide=8), bs=4,
        ...     num_workers=0,
        ... )
        >>> isinstance(dls.train, PatchDL), len(dls.train), dls.train.state_dict()["windows"]
        (True, 2, 8)
    """

    draws_windows = True  # read by RandomPatch

    def __init__(
        self,
        dataset: Any,
        bs: int = 64,
        shuffle: bool = False,
        num_workers: int | None = None,
        *,
        n: int | None = None,
        batch_size: int | None = None,
        epoch: int = 0,
        split: str | None = None,
        plan: Plan | None = None,
        lazy_items: list[tuple[Any, ...]] | None = None,
        layout: Layout = (),
        **kwargs: Any,
    ) -> None:
        require_known_arguments(
            (name.removeprefix("val_") for name in kwargs), _KNOWN, "dataloaders",
            otherwise="windows are described by RandomPatch, the rest by fastai",
        )  # fmt: skip
        if n is not None:
            raise OptionError(f"n={n}: the number of patches in an epoch follows from per_slide or the grid; set that")
        bs = batch_size_of(bs, batch_size)
        # All state comes before super().__init__: Normalize without statistics asks for a batch from inside it.
        self.split = split or ("valid" if getattr(dataset, "split_idx", None) else "train")
        self._position = RunPosition(epoch)
        self.lazy_items = lazy_items_of(dataset) if lazy_items is None else lazy_items
        self.layout = layout_of(self.lazy_items) or layout
        if plan is None and self.lazy_items:
            options = random_patch(kwargs.get("after_item"))
            slides = slides_of(self.lazy_items, options.samplers.of(self.split), options.samplers.indexing)
            plan = options.samplers.plan(self.split, slides, seed=options.seed, shuffle=shuffle)
        self.plan = None if plan is None else plan.ordered(shuffle)
        patches = 0 if plan is None else len(plan)
        if kwargs.get("drop_last"):
            require_full_batch(patches, bs or 1)
        kwargs["after_batch"] = with_crop(kwargs.get("after_batch"), self.plan)
        super().__init__(dataset, bs=bs, shuffle=shuffle, num_workers=num_workers, n=patches, **kwargs)
        require_croppable(self)
        adapt_distributed()

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """Make a loader like this one with some arguments changed; with another dataset it makes its own plan."""
        same: dict[str, Any] = {  # fastai's `new` forgets these
            "persistent_workers": self.fake_l.persistent_workers,
            "pin_memory_device": self.fake_l.pin_memory_device,
            "layout": self.layout,
        }
        if dataset is None:
            same |= {"epoch": self.epoch, "split": self.split, "plan": self.plan, "lazy_items": self.lazy_items}
        elif self.split != "train":
            same["split"] = "test"  # fastai makes test loaders from the validation loader
        if "batch_size" in kwargs:
            kwargs["bs"] = batch_size_of(kwargs.get("bs", 64), kwargs.pop("batch_size"))
        made = super().new(dataset, cls, **{**same, **kwargs})
        if getattr(made, "split", None) == "test":
            require_own_inputs(made.lazy_items, self.n_inp)
        return made

    def get_idxs(self) -> list[int]:
        """List the indices of the next pass; the plan shuffles, so they are in order."""
        done = self._position.first_batch * (self.bs or 1)
        return list(range(self.epoch * self.n + done, (self.epoch + 1) * self.n))

    def __len__(self) -> int:
        """Count the batches of the next pass."""
        return self._batches_of_epoch() - self._position.first_batch

    def _batches_of_epoch(self) -> int:
        return int(super().__len__())

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of a pass; a pass that ends early ends its epoch too."""
        position = self._position
        current = position.begin_pass(next_epoch=self._moves)
        buffers = None if self.has_own_methods() else batch_buffers_for(self.fake_l.num_workers)
        notes = worker_notes_for(self.fake_l.num_workers)
        try:
            with reusable_memory.kept():
                for batch in self.started(self.stepwise(super().__iter__()), buffers, notes):
                    position.count_batch(current)
                    yield batch
        except Exception as error:
            explained = None if notes is None else notes.explained(error)
            if explained is None:
                raise
            raise explained from error
        finally:
            position.leave_pass(current, next_epoch=self._moves)
        del buffers  # they live until the last batch has arrived

    def after_iter(self) -> None:
        """Move to the next epoch; fastai calls this after complete passes."""
        super().after_iter()
        if self.plan is not None:
            self.plan.tell_replaced()
        self._position.end_pass(next_epoch=self._moves)

    def one_batch(self) -> Any:
        """Return the first batch of the next pass; the position stays as it is."""
        with self.peeking():
            return super().one_batch()

    def show_batch(
        self, b: Any = None, max_n: int = 9, ctxs: Any = None, show: bool = True, unique: bool = False, *,
        windows: bool = False, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Show a batch as fastai does; `windows=True` adds the slides below the patches, with the patches' windows.

        Patches and windows have the same numbers. A window that could not be read and was replaced (`on_error`) is
        shown where it was drawn.

        Args:
            b: The batch; default: the next one.
            max_n: Patches at most.
            ctxs: Axes to draw on.
            show: False returns the decoded batch instead.
            unique: Show one item several times, under different batch transforms.
            windows: Show the windows too; b, ctxs, show and unique keep their defaults then.
            **kwargs: As for fastai's `show_batch`.

        Raises:
            OptionError: `windows` is combined with b, ctxs, show or unique, the items have several images, or a
                transform has removed patches.
        """
        show_patches = super().show_batch
        if not windows:
            return show_patches(b, max_n, ctxs, show, unique, **kwargs)
        if b is not None or ctxs is not None or unique or not show or self.plan is None:
            raise OptionError("windows=True shows the next batch of a loader on a figure of its own; leave b, ctxs, "
                              "show and unique out")  # fmt: skip
        if self.layout.count(SlideImage) > 1:
            raise OptionError("windows=True numbers one image of each item, and the items have several; leave it out")
        draws: list[Draw] = []
        self._recorded = draws
        try:
            batch = self.one_batch()  # in this process, which records the draws
        finally:
            self._recorded = None
        return show_with_windows(show_patches, batch, draws, self.slides, max_n, **kwargs)

    def wif(self) -> None:
        """Let a worker outlive Ctrl-C and SIGTERM until the main process has saved its state."""
        outlive_stop_signals()

    def create_item(self, index: int | None) -> tuple[Any, ...]:
        """Return the tuple of an index, its slides as lazy items of one window; fastai passes None for any item."""
        assert self.plan is not None, "a loader without slides has no items"
        known = self.epoch if self.adaptation is None else self.adaptation.epoch
        draw = self.plan[known * self.n if index is None else index]
        elements = self.lazy_items[draw.slide]
        return tuple(e.at(self.plan, draw) if isinstance(e, LazySlideItem) else e for e in elements)

    def do_item(self, index: int | None) -> Any:
        """Return the patch of an index, its item transforms run under the key of its draw."""
        try:
            item = self.create_item(index)
            draw = next(element.draw for element in item if isinstance(element, LazySlideItem))
            assert self.plan is not None
            assert draw is not None
            with nullcontext() if self._notes is None else self._notes.reading(draw, self.plan.slides[draw.slide]):
                item = self._read_item(item, draw)
            self.note_draw(draw)
            return item
        except SkipItemException:
            if self.ranks is not None:
                raise OptionError(
                    "a transform has left out a window, and the ranks would train on different numbers of batches; "
                    "leave out the transform, or train in one process"
                ) from None
            return None

    def _read_item(self, item: tuple[Any, ...], draw: Draw) -> Any:
        """Return the patch of a lazy item."""
        assert self.plan is not None
        if self.only_reads() and all(isinstance(element, LazySlideItem) for element in item):
            # The result of after_item, without fastai's search for the types of each transform.
            return tuple(pixels_of(item, self.plan.read(draw), as_tensor=True))
        with isolated_rng(self.plan.transform_seed(draw)):
            return self.after_item(item)

    def only_reads(self) -> bool:
        """Decide whether the item transforms only read: none is random, and none needs a Pillow image."""
        # For each item anew, since transforms may be added and removed.
        augments = self.plan is None or self.plan.augment is not None
        return not augments and all(type(t) in _READ_ONLY for t in self.after_item.fs)
