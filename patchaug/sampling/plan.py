"""`Plan`: the windows of all epochs, by one integer. The only file that derives random generators.

An index is epoch * len(plan) + place. Each generator comes from a key of five words,
(seed, stream, epoch, slide id, draw), each below 2^32. Fixed length and no arithmetic: were seed and index added,
seed 0 at index 1 would equal seed 1 at index 0 (grain's sampler does so). A plan has no state: an index gives the same
window in any order and in any process. An `Adaptive` plan has one, its `adaptation`, and is pure given that.
"""

from __future__ import annotations

import os
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from operator import index as as_int
from typing import Any

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.memory.anonymous import is_starting_process
from patchaug.core.validation import SEED, OnError, Small, checked_integer, checked_on_error, checked_small, sides
from patchaug.core.windows import Window
from patchaug.errors import FrameError, MissingError, OptionError, ReadError, placed
from patchaug.sampling.adaptation import adaptation_of
from patchaug.sampling.allocation import distributions_of
from patchaug.sampling.base import NO_HALO, Halo, PatchTransform, Sampler, halo_read
from patchaug.sampling.dataset_balance import DatasetDistribution, dataset_distribution
from patchaug.sampling.distributions import WindowDistribution
from patchaug.sampling.draw import Draw as Draw
from patchaug.sampling.index_requests import Indexing, prepare_indexes
from patchaug.sampling.option_table import Edge as Edge
from patchaug.sampling.plan_arguments import ReadNotes, checked_slides, plan_halo, require_order_fits, warn_of_small
from patchaug.sampling.replacement_counts import ReplacementCounts
from patchaug.sampling.slide_ids import slide_ids
from patchaug.slides.index_build import Workers
from patchaug.slides.slide import Patch, Slide

# Streams: never renumber, or old windows would move.
_WINDOWS, _ORDER, _TRANSFORMS, _REPLACED, _AUGMENT, _DATASET = range(6)
_UNMADE: dict[str, Any] = {"_distributions": None, "_over_slides": None}  # made again when a plan draws
TRIES = 8  # windows that are tried in place of one that cannot be read


@names_arguments_of_init
class Plan:
    """The windows of all epochs, by index; read one with `plan.read(plan[index])`.

    Args:
        slides: The slides; names, or names and folders, must differ.
        sampler: `Uniform`, `Foreground`, `Adaptive` or `Grid`.
        seed: 0 to 2^32 - 1.
        shuffle: Mix the windows of all slides anew in each epoch; else slide by slide.
        small: What to do with a slide that is smaller than the window: "raise", or "skip" it with a warning.
        on_error: What to do with a window that cannot be read: "raise", or "resample": read another window of the same
            slide in its place, the same one in each run. Replacements are warned of and counted in `replaced`.
        augment: Transform of each patch, which also determines the halo.
        halo: Pixels to read around each patch on each side where there is no `augment`. Patches come out larger by
            that; the caller transforms and crops them.
        edge: "shift" keeps windows far enough inside for the halo, so that pixels near the border are drawn less.
            "reflect" draws them all; beyond the border real pixels are mirrored, and their labels are `ignore_index`.
        index_cache: Folder that keeps indexes of labels; see `Indexing`.
        index_workers: Processes that build them, by default one a core, and this one alone where it is done in 1.5 s.

    Raises:
        OptionError: The seed, the halo, `edge` or `on_error` is out of its limits, there is no slide, or two slides
            have the same name and folders.
        WindowError, ForegroundError, LabelError: A slide, which is named, has no such windows.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Plan, Uniform, open_slide
        >>> slides = [open_slide(np.zeros((300, 400, 3), np.uint8), name="liver")]
        >>> plan = Plan(slides, Uniform(64, per_slide=10), seed=42)
        >>> len(plan)
        10
        >>> plan.read(plan[0]).image.shape
        (64, 64, 3)
    """

    def __init__(
        self,
        slides: Sequence[Slide],
        sampler: Sampler,
        *,
        seed: int = SEED,
        shuffle: bool = True,
        augment: PatchTransform | None = None,
        halo: int = 0,
        edge: Edge = "shift",
        on_error: OnError = "raise",
        small: Small = "raise",
        index_cache: str | os.PathLike[str] | None = None,
        index_workers: Workers = "auto",
    ) -> None:
        np.random  # noqa: B018 - imports it before any thread draws: a fork in the middle would wait for ever
        self.slides, self.sampler = checked_slides(slides, sampler), sampler
        self.seed, self.shuffle = checked_integer("seed", seed, 0), bool(shuffle)
        if not self.slides:
            raise OptionError("a plan needs at least one slide, got none")
        self.slide_ids = slide_ids(self.slides)
        self.augment, self.edge = augment, edge
        self._sides = sides(sampler.size)  # (height, width) of the patches
        if augment is not None:
            for slide in self.slides:
                for member in slide.members:
                    augment.require_known_labels(member)
        self.halo: Halo = plan_halo(augment, halo, edge, sampler)
        self.small = checked_small(small)
        self._over_slides: DatasetDistribution | None = None  # with balance="dataset"
        self.indexing = Indexing(index_cache, index_workers)  # type: ignore[arg-type]
        self._distributions: list[WindowDistribution] | None = self._make_distributions()
        if self.small == "skip":
            warn_of_small(self.slides, self._distributions)
        self._starts = list(accumulate((one.count for one in self._distributions), initial=0))
        if not len(self):
            raise OptionError(
                f'no slide is left: {sampler} skips all {len(self.slides)}; set empty and small to "raise" to see why'
            )
        self.on_error = checked_on_error(on_error)
        by_place = self._over_slides is not None
        self._replaced = ReplacementCounts(self._starts, by_place=by_place) if on_error == "resample" else None
        self._reported: Counter[str] = Counter()
        self.adaptation = adaptation_of(self)  # losses that the windows follow, or None
        self._order: tuple[int, Any] | None = None  # of the last epoch that was read
        self.notes: ReadNotes | None = None  # of what this worker reads

    @property
    def distributions(self) -> list[WindowDistribution]:
        """Distribution of windows on each slide."""
        if self._distributions is None:
            self._distributions = self._make_distributions()
            if self._starts != list(accumulate((one.count for one in self._distributions), initial=0)):
                raise FrameError("a slide has changed since this plan was made and pickled; make the plan again")
        return self._distributions

    def _make_distributions(self) -> list[WindowDistribution]:
        with self.indexing.keeping():
            prepare_indexes(self.sampler, self.slides, workers=self.indexing.workers)
            halo = self.halo if self.edge == "shift" else NO_HALO
            laws = distributions_of(self.sampler, self.slides, halo, small=self.small)
        self._over_slides = dataset_distribution(self.sampler, laws)
        return laws if self._over_slides is None else self._over_slides.laws

    @property
    def counts(self) -> tuple[int, ...]:
        """Windows of each slide in an epoch; with balance="dataset" its share of the uniform draws."""
        return tuple(b - a for a, b in zip(self._starts, self._starts[1:], strict=False))

    @property
    def draws_slides(self) -> bool:
        """Whether the slide of a window is drawn too, so that `counts` are not those of an epoch."""
        return self._over_slides is not None

    def __len__(self) -> int:
        return self._starts[-1]

    def __repr__(self) -> str:
        return f"Plan({len(self.slides)} slides, {self.sampler}, seed={self.seed}, {len(self)} windows an epoch)"

    def __getstate__(self) -> dict[str, Any]:
        # A worker shares the distributions; any other copy makes them anew, so that it pickles small.
        return {**self.__dict__, "_order": None, **({} if is_starting_process() else _UNMADE)}

    def __getitem__(self, index: int) -> Draw:
        """Return the draw of an index; any index from 0 on, epoch after epoch.

        Raises:
            IndexError: The index is negative, or beyond epoch 2^32.
        """
        index = as_int(index)
        epoch, place = divmod(index, len(self)) if len(self) else (0, index)
        if index < 0 or epoch >= 2**32 or not len(self):
            raise IndexError(f"index {index} is outside the plan: 0 to {len(self)} * 2^32 - 1")
        if self.shuffle:
            place = self._permutation(epoch, place)
        slide = bisect_right(self._starts, place) - 1
        draw = place - self._starts[slide]
        try:
            distribution = self.distributions[slide]
        except (ReadError, MissingError) as error:  # a worker opens the slides itself
            raise placed(error, f"seed {self.seed}, index {index}") from error
        if self._over_slides is not None:
            return Draw(index, epoch, *self._draw_of_all(epoch, place))
        if self.adaptation is not None:
            distribution = self.adaptation.at(epoch, slide)
        window, probability = distribution.draw(draw, lambda number: self._generator(_WINDOWS, epoch, slide, number))
        return Draw(index, epoch, slide, draw, window, probability)

    def _draw_of_all(self, epoch: int, place: int) -> tuple[int, int, Window, float]:
        """Return slide, number, window and probability of a draw whose slide is drawn, too."""
        assert self._over_slides is not None
        generator = np.random.default_rng([self.seed, _DATASET, epoch, 0, place])
        slide, window, probability = self._over_slides.draw(generator)
        return slide, place, window, probability

    def __iter__(self) -> Any:
        """Iterate over the draws of epoch 0."""
        return (self[index] for index in range(len(self)))

    def ordered(self, shuffle: bool) -> Plan:
        """Return a plan of the same windows, shuffled or slide by slide; it shares slides and distributions."""
        if shuffle == self.shuffle:
            return self
        plan = object.__new__(Plan)  # copy.copy would go through __getstate__, which drops the distributions
        plan.__dict__.update(self.__dict__, shuffle=shuffle, _order=None)
        return plan

    def read(self, draw: Draw) -> Patch:
        """Read image and mask of a draw, augmented where the plan does so.

        Raises:
            ReadError, MissingError: A file cannot be read there; the last line of the text holds slide, level, window,
                seed and index. With on_error="resample": no replacement could be read either.
        """
        try:
            return self._read(draw, draw.window)
        except (ReadError, MissingError) as error:
            located = type(error)(f"{error}; seed {self.seed}, index {draw.index}")
            if self._replaced is None:
                raise located from error
        return self._replacement(draw, located)

    def _replacement(self, draw: Draw, error: ReadError | MissingError) -> Patch:
        """Read another patch of the slide in place of an unreadable one; it depends only on the draw's key."""
        assert self._replaced is not None
        distribution, slide = self.distributions[draw.slide], self.slides[draw.slide]
        # One generator with a stream of its own makes all tries: the key stays five words.
        generator = self._generator(_REPLACED, draw.epoch, draw.slide, draw.draw)
        for _ in range(TRIES):
            window = distribution.redraw(
                generator, lambda number: self._generator(_WINDOWS, draw.epoch, draw.slide, number)
            )
            try:
                patch = self._read(draw, window)
            except (ReadError, MissingError):
                continue
            if not self._replaced.counts()[draw.slide]:  # the first of a slide is reported at once, the sum later
                warnings.warn(f"{slide.name}: a window was replaced by another: {error}", stacklevel=4)
            place = draw.draw if self._over_slides is not None else self._starts[draw.slide] + draw.draw
            self._replaced.add(place, draw.slide)
            return patch
        raise type(error)(f"{TRIES} windows drawn in place of this one could not be read either: {error}")

    def tell_replaced(self) -> None:
        """Warn of the windows that were replaced since the last call; loaders call this at the end of an epoch."""
        now = Counter(self.replaced)
        if new := now - self._reported:
            by_slide = ", ".join(f"{name} {count}" for name, count in sorted(new.items()))
            warnings.warn(f"{new.total()} windows could not be read and were replaced: {by_slide}", stacklevel=2)
        self._reported = now

    @property
    def replaced(self) -> dict[str, int]:
        """Number of replaced windows by slide, since the plan was made and in all workers."""
        counts = [] if self._replaced is None else self._replaced.counts()
        return {slide.name: count for slide, count in zip(self.slides, counts, strict=False) if count}

    def _read(self, draw: Draw, window: Window) -> Patch:
        """Read and augment a window under the key of a draw."""
        if self.notes is None:
            return self._patch(draw, window)
        with self.notes.reading(draw, self.slides[draw.slide]):
            return self._patch(draw, window)

    def _patch(self, draw: Draw, window: Window) -> Patch:
        slide = self.slides[draw.slide]
        if self.halo == NO_HALO:
            patch = slide.read(window, self._sides)
        else:
            height, width = self._sides
            read = halo_read(self.sampler.size, self.halo, window.width, window.height)
            size = height + 2 * self.halo[0], width + 2 * self.halo[1]
            patch = slide.read_around(window, read, size)
        if self.augment is None:
            return patch
        augment, key = self.augment, (_AUGMENT, draw.epoch, draw.slide, draw.draw)
        return patch.each(lambda part: augment(part, *self._sides, self._generator(*key)))

    def transform_seed(self, draw: Draw) -> int:
        """Return the seed, below 2^32, of the random transforms that run on the draw's patch."""
        return int(self._generator(_TRANSFORMS, draw.epoch, draw.slide, draw.draw).integers(2**32))

    def _generator(self, stream: int, epoch: int, slide: int, draw: int) -> np.random.Generator:
        # The same stream as default_rng(list of words), at half its cost.
        words = np.array((self.seed, stream, epoch, self.slide_ids[slide], draw), np.uint32)
        return np.random.Generator(np.random.PCG64(words))

    def _permutation(self, epoch: int, place: int) -> int:
        cached = self._order  # one read: another thread may put another epoch there
        if cached is None or cached[0] != epoch:
            require_order_fits(len(self))
            order = np.random.default_rng([self.seed, _ORDER, epoch, 0, 0]).permutation(len(self))
            self._order = cached = (epoch, order)
        return int(cached[1][place])
