"""Windows of a plan that will be read next are announced to slides in stores, which fetch them meanwhile."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence

from patchaug.errors import PatchaugError
from patchaug.sampling.base import halo_read
from patchaug.sampling.plan import Plan

BATCHES = 2  # that are read ahead, beside the one that is read now
_REMEMBERED = 4096  # indices that are not announced twice


class ReadAhead:
    """Announces windows of a plan; each process has its own. It changes no pixel, and does nothing for local slides.

    Args:
        plan: The plan.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Plan, Uniform, open_slide
        >>> from patchaug.sampling.read_ahead import ReadAhead
        >>> plan = Plan([open_slide(np.zeros((64, 64, 3), np.uint8), name="a")], Uniform(32, per_slide=4))
        >>> list(ReadAhead(plan).stream(range(4), 2))
        [0, 1, 2, 3]
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._remote = [slide.remote for slide in plan.slides]
        self.useful = any(self._remote)
        self._announced: OrderedDict[int, None] = OrderedDict()
        self._last: list[int] = []

    def announce(self, indices: Iterable[int]) -> None:
        """Start to fetch the windows of some indices; what cannot be read is left to the read that follows."""
        for index in indices:
            if index in self._announced:
                continue
            self._announced[index] = None
            if len(self._announced) > _REMEMBERED:
                self._announced.popitem(last=False)
            try:
                draw = self.plan[index]
                if self._remote[draw.slide]:
                    window = draw.window
                    halo = halo_read(self.plan.sampler.size, self.plan.halo, window.width, window.height)
                    self.plan.slides[draw.slide].read_ahead(window, halo)
            except PatchaugError:
                continue

    def batch(self, indices: Sequence[int]) -> None:
        """Announce a batch that is read now, and the next ones of this process.

        A process gets every n-th batch, so each index follows that of the batch before at one distance.

        Args:
            indices: The batch.
        """
        if not self.useful:
            return
        batch, last, self._last = list(indices), self._last, list(indices)
        self.announce(batch)
        steps = {now - before for now, before in zip(batch, last, strict=False)}
        step, length = next(iter(steps), 0), len(self.plan)
        if len(steps) == 1 and step > 0:
            for number in range(1, BATCHES + 1):
                after = [index + number * step for index in batch]
                self.announce(one for one, now in zip(after, batch, strict=True) if one // length == now // length)

    def stream(self, indices: Iterable[int], ahead: int) -> Iterator[int]:
        """Yield indices in their order, each announced before those that come up to `ahead` places earlier are read."""
        if not self.useful:
            yield from indices
            return
        waiting: deque[int] = deque()
        for index in indices:
            self.announce([index])
            waiting.append(index)
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting
