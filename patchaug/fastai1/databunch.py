"""`SlideDataBunch`: loaders that hand out epoch * n + place from the main process, as fastai 2's `PatchDL` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from inspect import signature
from typing import Any

from fastai.core import defaults
from fastai.torch_core import data_collate
from fastai.vision.data import ImageDataBunch
from torch.utils.data import DataLoader, Sampler

from patchaug.errors import OptionError

# What a loader of fastai 1 takes, beyond what `create` takes itself.
_KNOWN = ("pin_memory", "timeout", "worker_init_fn")


class Epochs(Sampler):
    """The indices of one epoch after another; the plan shuffles, so they are in order.

    Attributes:
        epoch: Epoch of the next pass; `PatchLoader` moves it on.
    """

    def __init__(self, size: int) -> None:
        self.size, self.epoch = size, 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.size, (self.epoch + 1) * self.size))


class PatchLoader(DataLoader):
    """torch's loader; a complete pass moves the epoch, a look at one batch does not.

    Workers take indices ahead of the batches, so the sampler cannot tell the one from the other.
    """

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
        self.dataset.x.plan.tell_replaced()
        self.sampler.epoch += 1


class SlideDataBunch(ImageDataBunch):
    """The loaders of slides; `SlideItemList` makes it.

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
        """As fastai's `create`, with windows that are new in each epoch; `drop_last` is about the training loader.

        Raises:
            OptionError: An argument is unknown, or an epoch has fewer windows than a batch.
        """
        for name in dl_kwargs:
            if name not in _KNOWN:
                near = get_close_matches(name, [*signature(cls.create).parameters, *_KNOWN], n=1)
                cure = f"did you mean {near[0]}?" if near else "windows are described by patch=PatchOptions(...)"
                raise OptionError(f"there is no argument {name!r} of databunch; {cure}")
        windows = len(train_ds.items)
        if drop_last and 0 < windows < bs:
            raise OptionError(
                f"an epoch has {windows} patches, fewer than the batch size {bs}: not one batch would be trained on; "
                f"raise per_slide or lower bs"
            )
        train_ds, *others = cls._init_ds(train_ds, valid_ds, test_ds)
        common = {"num_workers": num_workers, **dl_kwargs}
        train = PatchLoader(train_ds, bs, sampler=Epochs(len(train_ds)), drop_last=drop_last, **common)
        return cls(
            train, *(DataLoader(one, val_bs or bs, **common) for one in others),
            path=path, device=device, dl_tfms=dl_tfms, collate_fn=collate_fn, no_check=no_check,
        )  # fmt: skip

    @property
    def epoch(self) -> int:
        """Epoch of the next training pass."""
        return self.train_dl.dl.sampler.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.train_dl.dl.sampler.epoch = int(value)


def _elsewhere(name: str) -> Any:
    @classmethod
    def refuse(cls: type, *args: Any, **kwargs: Any) -> None:
        raise OptionError(f"SlideDataBunch has no {name}, which would open whole pictures; start with SlideItemList")

    return refuse


for _name in ("from_folder", "from_df", "from_csv", "from_lists", "from_name_func", "from_name_re", "create_from_ll"):
    setattr(SlideDataBunch, _name, _elsewhere(_name))
