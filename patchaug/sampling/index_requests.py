"""Which indexes of labels a sampler needs of its slides, all built before a plan asks for them one by one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from patchaug.core.memory.anonymous import is_starting_process
from patchaug.errors import OptionError, PatchaugError, collected
from patchaug.readers.urls import is_url
from patchaug.sampling.base import Sampler
from patchaug.slides.index_build import Workers, build_indexes, checked_workers
from patchaug.slides.index_cache import IndexCache, keeping_indexes
from patchaug.slides.index_tasks import IndexTask
from patchaug.slides.regions import Tissue
from patchaug.slides.resolution import region
from patchaug.slides.slide import Slide
from patchaug.slides.tissue import tissue_kind, tissue_task

_OF_PIXELS = ("mask", "invalid")  # kinds that `Slide.index_task` builds


@dataclass(frozen=True)
class Indexing:
    """How indexes of labels are built and kept; a pickle of it, but for a process that is being started, has no cache.

    Args:
        cache: Folder that keeps them, see `IndexCache`; None keeps none.
        workers: Number of processes that build them, see `build_indexes`.

    Raises:
        OptionError: The cache is no path, or the number of processes is below 1.
    """

    cache: str | None = None
    workers: Workers = "auto"

    def __post_init__(self) -> None:
        if self.cache is not None:
            if not isinstance(self.cache, (str, os.PathLike)) or not os.fspath(self.cache):
                raise OptionError(f"index_cache must be the path of a folder, got {self.cache!r}")
            if "\0" in os.fspath(self.cache) or is_url(self.cache):
                raise OptionError(f"index_cache must be a folder of this machine, got {self.cache!r}")
            object.__setattr__(self, "cache", os.path.abspath(self.cache))
        object.__setattr__(self, "workers", checked_workers(self.workers))

    def __getstate__(self) -> dict[str, object]:
        # A learner that is exported must not name folders of this machine.
        return {"cache": self.cache if is_starting_process() else None, "workers": self.workers}

    def __copy__(self) -> Indexing:
        return self

    def __deepcopy__(self, memo: object) -> Indexing:
        return self

    def keeping(self) -> AbstractContextManager[None]:
        """Let slides look for their indexes in the cache within a context; the folder is made and checked.

        Raises:
            MissingError, WriteError: The folder cannot be made or written.
        """
        return keeping_indexes(None if self.cache is None else IndexCache(self.cache))


def prepare_indexes(sampler: Sampler, slides: Sequence[Slide], *, workers: Workers = "auto") -> None:
    """Build the indexes that a plan of a sampler will ask for; slides and samplers that need none are left alone.

    Raises:
        PatchaugError: Slides cannot be indexed; one error names them all.
    """
    wanted: list[tuple[Slide, str, int]] = []
    for slide in slides:
        kinds = needed_kinds(sampler, slide)
        if kinds:
            try:
                level = region(slide, sampler.size, sampler.level, sampler.mpp)[0]
            except PatchaugError:  # the plan raises it, or skips the slide
                continue
            wanted += [(slide, kind, level) for kind in kinds]
    build_all(wanted, workers=workers)


def needed_kinds(sampler: Sampler, slide: Slide) -> set[str]:
    """Return which indexes a sampler needs of a slide: "mask", "invalid" and that of its tissue."""
    kinds = set()
    per_slide = getattr(sampler, "per_slide", 1)
    if getattr(sampler, "foreground", 0) or getattr(sampler, "min_fraction", 0) or per_slide == "foreground":
        kinds.add(tissue_kind(slide) if slide.mask is None else "mask")
    if per_slide == "tissue" or (isinstance(slide.region, Tissue) and getattr(sampler, "inside", 0)):
        kinds.add(tissue_kind(slide))
    if getattr(sampler, "min_valid", 0):
        kinds.add("invalid")
    return kinds


def build_all(wanted: Iterable[tuple[Slide, str, int]], *, workers: Workers = "auto") -> None:
    """Build indexes of slides in parallel, or take them from the current cache; those in memory stay.

    Args:
        wanted: Slide, kind and level of each.
        workers: Number of processes, see `build_indexes`.

    Raises:
        PatchaugError: Some cannot be built; one error names them all.
    """
    wanted = [(slide, kind, level) for slide, kind, level in wanted if not slide.has_index(kind, level)]
    # Labels of invalid pixels are ignored: what is invalid must be known first.
    first = {(id(slide), level): (slide, "invalid", level) for slide, kind, level in wanted if kind in _OF_PIXELS}
    done = [one for one in first.values() if not one[0].has_index("invalid", one[2]) and one[0].may_be_invalid]
    _build(done, workers)
    _build([one for one in wanted if one[1] != "invalid"], workers)


def _build(wanted: Sequence[tuple[Slide, str, int]], workers: Workers) -> None:
    tasks: list[IndexTask] = [
        slide.index_task(kind, level) if kind in _OF_PIXELS else tissue_task(slide, level)
        for slide, kind, level in wanted
    ]
    results = build_indexes(tasks, workers=workers)
    errors = []
    for (slide, kind, level), result in zip(wanted, results, strict=True):
        if isinstance(result, PatchaugError):
            errors.append(result)
        else:
            slide.put_index(kind, level, result)
    if errors:
        raise collected(errors, len(wanted))
