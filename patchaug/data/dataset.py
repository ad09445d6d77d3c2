"""A plan as a map-style torch dataset: for any training loop, fastai's or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from torch.utils.data import Dataset

from patchaug.augment import as_augment
from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.validation import SEED, OnError, Small
from patchaug.data.repeated_epochs import RepeatedEpochs
from patchaug.errors import OptionError
from patchaug.sampling import Grid, Sampler
from patchaug.sampling.draw import Draw
from patchaug.sampling.importance import ImportanceWeights
from patchaug.sampling.plan import Edge, Plan
from patchaug.sampling.points import Points
from patchaug.sampling.read_ahead import ReadAhead
from patchaug.slides.patch import Patch
from patchaug.slides.slide import Slide


class WeightedPatch(NamedTuple):
    """A patch with its importance weight, as a `PatchDataset` with `weights=True` returns it.

    Attributes:
        image: (height, width, channels), of the file's dtype.
        mask: Class numbers, integer, (height, width); None for a slide without mask.
        weight: Importance weight of the window; torch's loader makes float64 (n,) of a batch of them.

    Examples:
        >>> from patchaug.data.dataset import WeightedPatch
        >>> patches = PatchDataset([slide], Uniform(64, per_slide=10), weights=True)
        >>> isinstance(patches[3], WeightedPatch), patches[3].weight
        (True, 1.0)
    """

    image: Array
    mask: Array | None
    weight: float


@names_arguments_of_init
class PatchDataset(Dataset[Patch | WeightedPatch]):
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
        weights: Return a `WeightedPatch`: image, mask and the importance weight of the window. `WeightedLoss` takes
            the weights of a batch.
        max_weight: Clip weights at this number; `importance.clipping()` measures what is cut off.

    Attributes:
        plan: The windows.
        importance: Their `ImportanceWeights`, or None.

    Raises:
        PatchaugError: See `Plan` and `ImportanceWeights`.

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
        weights: bool = False,
        max_weight: float | None = None,
    ) -> None:
        self.plan = Plan(
            slides, sampler, seed=seed, shuffle=shuffle, augment=as_augment(augment, halo),
            halo=halo if isinstance(halo, int) else 0, edge=edge, on_error=on_error, small=small,
            index_cache=index_cache, index_workers=index_workers,
        )  # fmt: skip
        if max_weight is not None and not weights:
            raise OptionError(f"max_weight={max_weight} limits weights, which are off; set weights=True")
        self.importance = ImportanceWeights(self.plan, max_weight=max_weight) if weights else None
        fixed = isinstance(sampler, Points) or (isinstance(sampler, Grid) and sampler.offset == "fixed")
        same = fixed and augment is None  # in each epoch
        self._repeats = None if same else RepeatedEpochs(len(self.plan))
        self._ahead: ReadAhead | None = None

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Patch | WeightedPatch:
        """Image uint8 (height, width, channels) and mask (height, width) of an index, and its weight where asked for.

        Raises:
            ReadError: A file cannot be read there; the text holds slide, level, window, seed and index.
        """
        return self._counted(index)

    def __getitems__(self, indices: Sequence[int]) -> list[Patch | WeightedPatch]:
        """Patches of a batch, which torch's loaders ask for; slides in stores fetch it at once, and the next ones."""
        if self._ahead is None:
            self._ahead = ReadAhead(self.plan)
        self._ahead.batch(indices)
        read = self._counted if type(self).__getitem__ is PatchDataset.__getitem__ else self.__getitem__
        patches = []
        for index in indices:  # no comprehension, which would be a frame between a warning and its cause
            patches.append(read(index))  # noqa: PERF401
        return patches

    def _counted(self, index: int) -> Patch | WeightedPatch:
        draw = self.plan[index]
        if self._repeats is not None:
            self._repeats.count(draw.index)
        return self._patch(draw)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": None}  # each process has its own

    def __iter__(self) -> Iterator[Patch | WeightedPatch]:
        """The patches of epoch 0. Without this, Python's loop over indices would never end."""
        return (self._patch(self.plan[index]) for index in range(len(self)))

    def _patch(self, draw: Draw) -> Patch | WeightedPatch:
        patch = self.plan.read(draw)
        if self.importance is None:
            return patch
        return WeightedPatch(patch.image, patch.mask, self.importance(draw))
