"""`SlideDataBunch`: loaders that yield indices epoch * n + place from the main process, as `PatchDL` of fastai 2."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any

from fastai.core import defaults
from fastai.torch_core import data_collate, to_data
from fastai.vision.data import ImageDataBunch
from torch.utils.data import Sampler

from patchaug.data.buffered_collate import UNPACK
from patchaug.data.loader_arguments import require_full_batch, require_known_arguments
from patchaug.data.patch_loader import PatchLoader
from patchaug.data.run_position import RunPosition
from patchaug.errors import OptionError

# What a loader of fastai 1 takes, beyond what `create` takes itself.
_KNOWN = ("pin_memory", "timeout", "worker_init_fn")


def _tensors_of(items: Sequence[Any]) -> tuple[Any, list[Any]]:
    """Return what makes a batch of stacked tensors, and the tensors of each item, as `data_collate` takes them."""
    data = to_data(items)
    return list, [tuple(one) for one in data] if all(isinstance(one, list) for one in data) else []


UNPACK[data_collate] = _tensors_of


class Epochs(Sampler):
    """Yield the indices of one epoch after another; the plan shuffles, so they are in order.

    Attributes:
        position: Position in the run.
    """

    def __init__(self, size: int) -> None:
        self.size, self.position = size, RunPosition()

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        epoch = self.position.epoch
        return iter(range(epoch * self.size, (epoch + 1) * self.size))


class TrainLoader(PatchLoader):
    """Move on with each pass of torch's loader; a pass that ends early ends its epoch too.

    The sampler cannot count passes itself: workers take indices ahead of the batches.
    """

    def __iter__(self) -> Iterator[Any]:
        position = self.sampler.position
        current = position.begin_pass(next_epoch=True)
        try:
            for batch in super().__iter__():
                position.count_batch(current)
                yield batch
            self.dataset.x.plan.tell_replaced()
        finally:
            position.leave_pass(current, next_epoch=True)


class SlideDataBunch(ImageDataBunch):
    """Hold the loaders of slides; `SlideItemList` makes it.

    Attributes:
        epoch: Epoch of the next training pass. It grows by one with each pass, also with one that ends early; set it to
            go on where an earlier run stopped. `one_batch`, `show_batch`, `lr_find`, `validate` and `get_preds` leave
            it. Validation windows never change.

    Examples:
        >>> from patchaug.fastai import SlideDataBunch, SlideItemList
        >>> labelled = (
        ...     SlideItemList.from_arrays([image, image], patch=PatchOptions(64, per_slide=8))
        ...     .split_by_idx([1])
        ...     .label_from_func(lambda pixels: mask, classes=["background", "nucleus"])
        ... )
        >>> data = labelled.databunch(bs=4, num_workers=0)
        >>> isinstance(data, SlideDataBunch), len(list(data.train_dl)), data.epoch
        (True, 2, 1)
    """

    @classmethod
    def create(
        cls, train_ds: Any, valid_ds: Any, test_ds: Any = None, path: Any = ".", bs: int = 64,
        val_bs: int | None = None, num_workers: int = defaults.cpus, dl_tfms: Any = None, device: Any = None,
        collate_fn: Callable[..., Any] = data_collate, no_check: bool = False, drop_last: bool = True,
        **dl_kwargs: Any,
    ) -> SlideDataBunch:  # fmt: skip
        """Make loaders as fastai's `create` does, with new windows in each epoch.

        Args:
            train_ds, valid_ds, test_ds: Slides with labels.
            path: Folder of the learner's files.
            bs: Patches in a training batch.
            val_bs: Patches in other batches; default: bs.
            num_workers: Processes that read.
            dl_tfms: Batch transforms.
            device: Device of the batches.
            collate_fn: Function that makes a batch of items.
            no_check: Skip fastai's look at the first item.
            drop_last: Drop the incomplete batch at the end of a training epoch.
            **dl_kwargs: pin_memory, timeout, worker_init_fn.

        Raises:
            OptionError: An argument is unknown, or an epoch has fewer windows than a batch.
        """
        require_known_arguments(
            dl_kwargs, [*signature(cls.create).parameters, *_KNOWN], "databunch",
            otherwise="windows are described by patch=PatchOptions(...)",
        )  # fmt: skip
        if drop_last:
            require_full_batch(len(train_ds.items), bs)
        others = [valid_ds, fixed(train_ds, valid_ds), *(() if test_ds is None else (test_ds,))]
        common = {"num_workers": num_workers, **dl_kwargs}
        train = TrainLoader(train_ds, bs, sampler=Epochs(len(train_ds)), drop_last=drop_last, **common)
        return cls(
            train, *(PatchLoader(one, val_bs or bs, **common) for one in others),
            path=path, device=device, dl_tfms=dl_tfms, collate_fn=collate_fn, no_check=no_check,
        )  # fmt: skip

    @property
    def epoch(self) -> int:
        """Epoch of the next training pass."""
        return self._run.position.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._run.position.move_to(int(value))

    @property
    def _run(self) -> Epochs:
        sampler: Epochs = self.train_dl.dl.sampler
        return sampler

    def leave_pass(self) -> None:
        """End the training pass in progress; if it has yielded a batch, the next pass is the next epoch."""
        self._run.position.leave_pass(next_epoch=True)

    @contextmanager
    def peeking(self) -> Iterator[None]:
        """Leave the run where it is, whatever passes are made within the context."""
        run = self._run
        before, run.position = run.position, replace(run.position)
        try:
            yield
        finally:
            run.position = before

    def one_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Return the first batch of the next pass, as fastai's `one_batch` does; the run stays where it is."""
        with self.peeking():
            return super().one_batch(*args, **kwargs)


def fixed(train_ds: Any, valid_ds: Any) -> Any:
    """Make fastai's dataset of training slides without training transforms: the windows of epoch 0, slide by slide.

    Args:
        train_ds: The training slides with labels.
        valid_ds: The validation slides with labels, whose transforms it takes.
    """
    return valid_ds.new(train_ds.x.without_augment(), copy.copy(train_ds.y))


def _unsupported(name: str) -> Any:
    def refuse(cls: type, *args: Any, **kwargs: Any) -> None:
        raise OptionError(f"SlideDataBunch has no {name}, which would open whole pictures; start with SlideItemList")

    return classmethod(refuse)


for _name in ("from_folder", "from_df", "from_csv", "from_lists", "from_name_func", "from_name_re", "create_from_ll"):
    setattr(SlideDataBunch, _name, _unsupported(_name))
