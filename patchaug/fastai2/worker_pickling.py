"""What of a loader is sent to a process that is being started: all of it, but for arrays that its slides share."""

from __future__ import annotations

import copy
from typing import Any

from fastcore.foundation import L

from patchaug.core.memory.anonymous import is_starting_process
from patchaug.data.slide_items import SharedSources
from patchaug.sampling.plan import Plan


class WorkerPickling:
    """What a loader of slides is to other processes.

    Attributes:
        plan: Its plan, or None.
    """

    plan: Plan | None

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__
        if not is_starting_process() or self.plan is None:
            return state
        given = SharedSources(state["_handles"], self.plan.slides)
        dataset = copy.copy(state["dataset"])
        if hasattr(dataset, "tls"):  # fastai's Datasets: one list for each element, over the same items
            dataset.tls = L([copy.copy(items) for items in dataset.tls], use_list=True)
            for items in dataset.tls:
                items.items = [given.swapped(item) for item in items.items]
            for copied in (dataset, *dataset.tls):
                copied.__dict__.pop("dataloaders", None)  # a method bound to what was copied, in fastai's __init__
        return {**state, "dataset": dataset, "_handles": [given.swapped(item) for item in state["_handles"]]}
