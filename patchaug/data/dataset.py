"""A plan as a map-style torch dataset: for any training loop, fastai's or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from torch.utils.data import Dataset

from patchaug.augment import as_augment
from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.validation import SEED, OnError, Small
from patchaug.data.repeated_epochs import RepeatedEpochs
from patchaug.sampling import Grid, Sampler
from patchaug.sampling.plan import Edge, Plan
from patchaug.slides.patch import Patch
from patchaug.slides.slide import Slide


@names_arguments_of_init
class PatchDataset(Dataset[Patch]):
    """Patches by index: `ds[epoch * len(ds) + place]`, the same bytes in any worker, in any order.

    torch's own samplers use indices 0 to len(ds) - 1, so for them every epoch is epoch 0, which is a warning. Pass an
    `EpochSampler` to the loader instead:

        DataLoader(ds, batch_size=8, sampler=EpochSampler(ds))

    Args:
        slides: The slides, see `open_slide`.
        sampler: `Uniform`, `Foreground` or `Grid`.
        augment: A transform of albumentations, or an `Augment`.
        seed: 0 to 2^32 - 1.
        shuffle: Mix the slides' windows anew in each epoch; else slide by slide.
        halo: Pixels around each patch; "auto" is what `augment` needs. Without `augment`, patches come out larger by it
            on each side, for transforms of yours that crop them.
        edge: "shift" or "reflect", see `Plan`.
        on_error: "raise" or "resample", see `Plan`; `plan.replaced` has the counts.
        small: "raise" or "skip", see `Plan`.
        index_cache: Folder that keeps indexes of labels, see `Plan`.
        index_workers: Processes that index labels, see `Plan`.

    Raises:
        PatchaugError: See `Plan`.

    Examples:
        >>> patches = PatchDataset([slide], Uniform(64, per_slide=10))
        >>> patches[3].image.shape
        (64, 64, 3)
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        sampler: Sampler,
        *,
        augment: Any = None,
        seed: int = SEED,
        shuffle: bool = True,
        halo: int | Literal["auto"] = "auto",
        edge: Edge = "shift",
        on_error: OnError = "raise",
        small: Small = "raise",
        index_cache: str | None = None,
        index_workers: int | Literal["auto"] = "auto",
    ) -> None:
        self.plan = Plan(
            slides, sampler, seed=seed, shuffle=shuffle, augment=as_augment(augment, halo),
            halo=halo if isinstance(halo, int) else 0, edge=edge, on_error=on_error, small=small,
            index_cache=index_cache, index_workers=index_workers,
        )  # fmt: skip
        same = isinstance(sampler, Grid) and sampler.offset == "fixed" and augment is None  # in each epoch
        self._repeats = None if same else RepeatedEpochs(len(self.plan))

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Patch:
        """Image uint8 (height, width, channels) and mask (height, width) of an index.

        Raises:
            ReadError: A file cannot be read there; the text holds slide, level, window, seed and index.
        """
        draw = self.plan[index]
        if self._repeats is not None:
            self._repeats.count(draw.index)
        return self.plan.read(draw)

    def __iter__(self) -> Iterator[Patch]:
        """The patches of epoch 0. Without this, Python's loop over indices would never end."""
        return (self.plan.read(self.plan[index]) for index in range(len(self)))
