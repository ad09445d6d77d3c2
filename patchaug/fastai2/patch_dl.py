"""`PatchDL`: fastai's loader, whose items are windows of slides rather than the slides themselves.

It hands out plain integers, epoch * n + place, from the main process; a worker turns one into a window by the plan and
holds no state. So batches are the same bytes for any number of workers, and fastai's own code, which sorts and
broadcasts indices, works on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

from fastai.data.core import TfmdDL
from fastai.data.load import DataLoader, SkipItemException
from fastai.data.transforms import ToTensor
from fastai.vision.core import AddMaskCodes
from fastai.vision.data import get_grid
from fastcore.foundation import L
from fasttransform import Pipeline
from torch.utils.data import get_worker_info

from patchaug.core.validation import checked_integer, sides
from patchaug.data.batch_memory import BatchBuffers, batch_buffers_for
from patchaug.data.isolated_rng import isolated_rng
from patchaug.data.slide_items import LazySlideItem, slides_of
from patchaug.errors import OptionError
from patchaug.fastai2.crop_halo import CropHalo
from patchaug.fastai2.random_patch import RandomPatch, pixels_of
from patchaug.fastai2.worker_pickling import WorkerPickling
from patchaug.sampling.plan import Draw, Plan
from patchaug.slides.slide import Slide


class PatchDL(WorkerPickling, TfmdDL):
    """A loader of patches; `SlideBlock` chooses it, nobody needs to name it.

    Whether it draws random windows or a grid is settled when it is made, from the split of its dataset: fastai's `tta`
    changes the split of a loader in use.

    Attributes:
        plan: The plan that turns an index into a window; None while there are no slides (an exported learner).
        epoch: Epoch of the next pass. It grows by one with each complete pass of a training loader. A validation
            loader stays at 0: its windows never change.

    `state_dict` says where a run is, in a few integers, and `load_state_dict` goes on from there with the very next
    batch, in another process and with another number of workers.
    """

    draws_windows = True  # what RandomPatch looks for

    def __init__(
        self,
        dataset: Any,
        bs: int = 64,
        shuffle: bool = False,
        num_workers: int | None = None,
        *,
        n: int | None = None,
        epoch: int = 0,
        split: str | None = None,
        plan: Plan | None = None,
        handles: list[tuple[Any, ...]] | None = None,
        **kwargs: Any,
    ) -> None:
        _require_known(kwargs)
        if n is not None:
            raise OptionError(f"n={n}: the number of patches in an epoch follows from per_slide or the grid; set that")
        # All state comes before super().__init__: Normalize without statistics asks for a batch from inside it.
        self.split = split or ("valid" if getattr(dataset, "split_idx", None) == 1 else "train")
        self.epoch = epoch
        self._first = 0  # batch that the coming pass begins with; above 0 once, in a run that goes on
        self._batch = 0  # batches handed out of this epoch
        self._slots: BatchBuffers | None = None  # where workers put the batches of the pass that is beginning
        self._noted: list[Draw] | None = None  # the draws of a batch that is to be shown
        self._handles = [tuple(dataset[i]) for i in range(len(dataset))] if handles is None else handles
        if plan is None and self._handles:
            described = random_patch(kwargs.get("after_item"))
            sampler = described.samplers.of(self.split)
            slides = slides_of(self._handles, sampler)
            plan = described.samplers.plan(self.split, slides, seed=described.seed, shuffle=shuffle)
        self.plan = None if plan is None else plan.ordered(shuffle)
        patches = 0 if plan is None else len(plan)
        if kwargs.get("drop_last") and 0 < patches < (bs or 1):
            raise OptionError(
                f"an epoch has {patches} patches, fewer than the batch size {bs}: not one batch would be trained on; "
                f"raise per_slide or lower bs"
            )
        super().__init__(dataset, bs=bs, shuffle=shuffle, num_workers=num_workers, n=patches, **kwargs)
        for transform in Pipeline(self.after_batch).fs:
            if isinstance(transform, CropHalo) and plan is not None:
                transform.size = sides(plan.sampler.size)

    def new(self, dataset: Any = None, cls: type | None = None, **kwargs: Any) -> Any:
        """A loader like this one with some arguments changed; with another dataset it makes its own plan."""
        keep: dict[str, Any] = {  # what fastai's `new` forgets
            "persistent_workers": self.fake_l.persistent_workers,
            "pin_memory_device": self.fake_l.pin_memory_device,
        }
        if dataset is None:
            keep |= {"epoch": self.epoch, "split": self.split, "plan": self.plan, "handles": self._handles}
        elif self.split != "train":
            keep["split"] = "test"  # fastai makes test loaders from the validation loader
        return super().new(dataset, cls, **{**keep, **kwargs})

    def get_idxs(self) -> list[int]:
        """The indices of the coming pass; the plan shuffles, so they are in order."""
        return list(range(self.epoch * self.n + self._first * (self.bs or 1), (self.epoch + 1) * self.n))

    def __len__(self) -> int:
        """Batches of the coming pass."""
        return super().__len__() - self._first

    def __iter__(self) -> Iterator[Any]:
        """The batches of a pass."""
        self._batch = self._first
        # Before the workers start, which is with the first batch.
        self._slots = slots = batch_buffers_for(self.fake_l.num_workers)
        for batch in super().__iter__():
            self._slots = None
            self._batch += 1
            yield batch
        del slots  # until now: batches were on their way

    def one_batch(self) -> Any:
        """The first batch of the coming pass; it does not move the state."""
        batch = self._batch
        try:
            return super().one_batch()
        finally:
            self._batch = batch

    def show_batch(
        self, b: Any = None, max_n: int = 9, ctxs: Any = None, show: bool = True, unique: bool = False, *,
        windows: bool = False, **kwargs: Any,
    ) -> Any:  # fmt: skip
        """fastai's `show_batch`; with `windows=True`, below the patches their slides, with the windows they come from.

        Patches and windows have the same numbers. A window that could not be read and was replaced (`on_error`) is
        shown where it was drawn.

        Raises:
            OptionError: `windows` is asked for a batch that is given, or for axes that are, or where a transform has
                left out patches: whose windows are not known.
        """
        usual = super().show_batch
        if not windows:
            return usual(b, max_n, ctxs, show, unique, **kwargs)
        if b is not None or ctxs is not None or unique or not show or self.plan is None:
            raise OptionError("windows=True shows the next batch of a loader on a figure of its own; leave b, ctxs, "
                              "show and unique out")  # fmt: skip
        from patchaug.viz.batch import add_slides  # matplotlib takes a while

        self._noted = draws = []
        try:
            batch = self.one_batch()  # in this process, so what it draws is noted
        finally:
            self._noted = None
        if len(batch[0]) != len(draws):
            raise OptionError(
                f"a transform has left out {len(draws) - len(batch[0])} of the batch's {len(draws)} patches, so it is "
                f"not known whose windows are left; leave windows out"
            )
        draws = draws[:max_n]
        axes = get_grid(len(draws), **{k: kwargs.pop(k) for k in ("nrows", "ncols", "figsize") if k in kwargs})
        usual(batch, max_n, axes, **kwargs)
        return add_slides(axes, [(self.slides[draw.slide], draw.window) for draw in draws])

    def after_iter(self) -> None:
        """Called after complete passes only: `one_batch` and `show_batch` do not move the epoch."""
        super().after_iter()
        if self.plan is not None:
            self.plan.tell_replaced()
        self._first = self._batch = 0
        if self.split == "train":
            self.epoch += 1

    def state_dict(self) -> dict[str, int]:
        """Where the run is: seed, epoch, batches handed out of this epoch, batch size, and windows in an epoch.

        Taken while a batch is trained on, it counts that batch as done.
        """
        return {
            "seed": 0 if self.plan is None else self.plan.seed,
            "epoch": self.epoch,
            "batch": self._batch,
            "bs": self.bs or 1,
            "windows": self.n,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a run was: the next pass is the rest of its epoch.

        Raises:
            OptionError: The state is that of a loader with another seed, batch size or number of windows, or none.
        """
        if self.plan is None:
            raise OptionError("a loader without slides has no state to load; make it from slides first")
        here = self.state_dict()
        if set(state) != set(here):
            raise OptionError(f"a state holds {', '.join(here)}; got {', '.join(map(str, state)) or 'nothing'}")
        for name in ("seed", "bs", "windows"):
            if state[name] != here[name]:
                raise OptionError(
                    f"the state was saved with {name}={state[name]}, and this loader has {here[name]}; its batches "
                    f"would be others: make the loader as in the run that was saved"
                )
        epoch = checked_integer("epoch of the state", state["epoch"], 0)
        batch = checked_integer("batch of the state", state["batch"], 0, TfmdDL.__len__(self))
        if batch == TfmdDL.__len__(self):  # saved between the last batch and the end of its epoch
            epoch, batch = epoch + 1, 0
        self.epoch, self._first, self._batch = epoch, batch, batch

    def create_item(self, index: int | None) -> tuple[Any, ...]:
        """The tuple of an index, its slides as handles that know their draw. fastai asks for None to see any item."""
        assert self.plan is not None, "a loader without slides has no items"
        draw = self.plan[self.epoch * self.n if index is None else index]
        elements = self._handles[draw.slide]
        return tuple(e.at(self.plan, draw) if isinstance(e, LazySlideItem) else e for e in elements)

    def do_item(self, index: int | None) -> Any:
        """The patch of an index, its item transforms run under the key of its draw."""
        try:
            item = self.create_item(index)
            draw = next(element.draw for element in item if isinstance(element, LazySlideItem))
            assert self.plan is not None
            assert draw is not None
            if self._reads_only and all(isinstance(element, LazySlideItem) for element in item):
                for element in item:
                    element.as_tensor = True
                # What after_item makes of it, without a search for the types of each transform.
                item = tuple(pixels_of(item, self.plan.read(draw)))
            else:
                with isolated_rng(self.plan.transform_seed(draw)):
                    item = self.after_item(item)
            if self._noted is not None:
                self._noted.append(draw)
            return item
        except SkipItemException:
            return None

    def create_batch(self, b: list[Any]) -> Any:
        """A batch of some items."""
        worker = get_worker_info()
        stacked = None if self._slots is None or worker is None else self._slots.stacked(b, worker.id)
        return super().create_batch(b) if stacked is None else stacked

    def do_batch(self, b: list[Any]) -> Any:
        """A batch of some items, ready for its way to the main process."""
        batch = super().do_batch(b)
        return batch if self._slots is None else self._slots.packed(batch)

    @property
    def _reads_only(self) -> bool:
        """Whether the item transforms only read: nothing random, nothing that would want a Pillow image."""
        # Asked for each item, since transforms may come and go.
        augments = self.plan is None or self.plan.augment is not None
        return not augments and all(type(t) in _READING for t in self.after_item.fs)

    @property
    def slides(self) -> list[Slide]:
        """The slides of this loader."""
        return [] if self.plan is None else self.plan.slides


_READING = {RandomPatch, AddMaskCodes, ToTensor}

# What fastai's loaders take, and two words that its own code hands them, in tta and get_preds.
_KNOWN = {
    *(name for loader in (TfmdDL, DataLoader) for name in signature(loader.__init__).parameters),
    *DataLoader._methods,
    *("before_batch", "after_batch", "shuffled", "process"),
} - {"self"}


def _require_known(kwargs: dict[str, Any]) -> None:
    """fastai passes over names that it does not know, such as a misspelt num_workers."""
    for name in kwargs:
        if name.removeprefix("val_") not in _KNOWN:
            near = get_close_matches(name, sorted(_KNOWN), n=1)
            cure = f"did you mean {near[0]}?" if near else "windows are described by RandomPatch, the rest by fastai"
            raise OptionError(f"there is no argument {name!r} of dataloaders; {cure}")


def random_patch(after_item: Any) -> RandomPatch:
    """The one `RandomPatch` of a pipeline of item transforms.

    Raises:
        OptionError: There is none, or there are several.
    """
    transforms = getattr(after_item, "fs", None)
    found = [t for t in (L(after_item) if transforms is None else transforms) if isinstance(t, RandomPatch)]
    if len(found) != 1:
        raise OptionError(
            f"slides need exactly one RandomPatch in item_tfms, got {len(found)}; for example "
            f"item_tfms=RandomPatch(512, per_slide=64)"
        )
    return found[0]
