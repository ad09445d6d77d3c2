"""`SlideDataBunch`: loaders that yield indices epoch * n + place from the main process, as `PatchDL` of fastai 2."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

from fastai.core import defaults
from fastai.torch_core import data_collate
from fastai.vision.data import ImageDataBunch
from torch.utils.data import DataLoader, Sampler

from patchaug.data.loader_arguments import require_full_batch, require_known_arguments
from patchaug.errors import OptionError

# What a loader of fastai 1 takes, beyond what `create` takes itself.
_KNOWN = ("pin_memory", "timeout", "worker_init_fn")


class Epochs(Sampler):
    """Yield the indices of one epoch after another; the plan shuffles, so they are in order.

    Attributes:
        epoch: Epoch of the next pass.
    """

    def __init__(self, size: int) -> None:
        self.size, self.epoch = size, 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.size, (self.epoch + 1) * self.size))

    def end_pass(self) -> None:
        """Move to the next epoch."""
        self.epoch += 1


class PatchLoader(DataLoader):
    """Move the epoch after a complete pass of torch's loader; a single batch leaves it unchanged.

    The sampler cannot count passes itself: workers take indices ahead of the batches.
    """

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        self.dataset.x.plan.tell_replaced()
        self.sampler.end_pass()


class SlideDataBunch(ImageDataBunch):
    """Hold the loaders of slides; `SlideItemList` makes it.

    Attributes:
        epoch: Epoch of the next training pass. It grows by one with each complete pass; set it to go on where an
            earlier run stopped. Validation windows never change.
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
        train = PatchLoader(train_ds, bs, sampler=Epochs(len(train_ds)), drop_last=drop_last, **common)
        return cls(
            train, *(DataLoader(one, val_bs or bs, **common) for one in others),
            path=path, device=device, dl_tfms=dl_tfms, collate_fn=collate_fn, no_check=no_check,
        )  # fmt: skip

    @property
    def epoch(self) -> int:
        """Epoch of the next training pass."""
        return int(self.train_dl.dl.sampler.epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.train_dl.dl.sampler.epoch = int(value)


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
