"""Pickle a loader for a worker process that is being started, without the arrays that its slides share."""

from __future__ import annotations

import copy
from typing import Any

from fastcore.foundation import L

from patchaug.core.memory.anonymous import is_starting_process
from patchaug.data.shared_sources import SharedSources
from patchaug.sampling.plan import Plan


class WorkerPickling:
    """Mixin of a loader of slides for its pickling to started workers.

    Attributes:
        plan: Its plan, or None.
        lazy_items: Its slides and masks, one tuple for each slide.
    """

    plan: Plan | None
    lazy_items: list[tuple[Any, ...]]

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__
        if not is_starting_process() or self.plan is None:
            return state
        shared = SharedSources(self.lazy_items, self.plan.slides)
        dataset = copy.copy(state["dataset"])
        if hasattr(dataset, "tls"):  # fastai's Datasets: one list for each element, over the same items
            dataset.tls = L([copy.copy(items) for items in dataset.tls], use_list=True)
            for items in dataset.tls:
                items.items = [shared.swapped(item) for item in items.items]
            for copied in (dataset, *dataset.tls):
                copied.__dict__.pop("dataloaders", None)  # a method bound to the original, set in fastai's __init__
        return {**state, "dataset": dataset, "lazy_items": [shared.swapped(item) for item in self.lazy_items]}
