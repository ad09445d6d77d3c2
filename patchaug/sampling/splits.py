"""One set of options, three samplers: for training, validation and test slides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from patchaug.core.validation import OnError, checked_halo, checked_on_error
from patchaug.errors import OptionError
from patchaug.sampling import sampler_for
from patchaug.sampling.base import PatchTransform, Sampler
from patchaug.sampling.plan import Edge, Plan
from patchaug.slides.slide import Slide


class Samplers(NamedTuple):
    """The sampler of each split.

    Attributes:
        train: What `mode` says.
        valid: What `valid` says: a grid, or random windows.
        test: A grid always, since test slides are predicted whole.
        augment: What is done to the patches of training slides, or None.
        halo: Pixels around those that are read for transforms to come, where there is no `augment`.
        edge: See `Plan`.
        on_error: See `Plan`; for all splits.
    """

    train: Sampler
    valid: Sampler
    test: Sampler
    augment: PatchTransform | None = None
    halo: int = 0
    edge: Edge = "shift"
    on_error: OnError = "raise"

    def plan(self, split: str, slides: Sequence[Slide], *, seed: int, shuffle: bool) -> Plan:
        """The plan of a split: only patches of training slides are augmented.

        Raises:
            PatchaugError: See `of` and `Plan`.
        """
        sampler = self.of(split)
        if split != "train":
            return Plan(slides, sampler, seed=seed, shuffle=shuffle, on_error=self.on_error)
        return Plan(
            slides, sampler, seed=seed, shuffle=shuffle, augment=self.augment, halo=self.halo, edge=self.edge,
            on_error=self.on_error,
        )  # fmt: skip

    def of(self, split: str) -> Sampler:
        """The sampler of a split: "train", "valid" or "test".

        Raises:
            OptionError: The options ask for random windows, and the split is the test set.
        """
        if split == "test" and self.valid != self.test:
            raise OptionError(
                'valid="random" asks for random windows of a test set, which would leave pixels out; set valid="grid", '
                "or take learn.predict_slide(slide), which covers the slide whatever valid says"
            )
        return {"train": self.train, "valid": self.valid, "test": self.test}[split]


def samplers_for(
    *,
    mode: str,
    valid: str,
    augment: PatchTransform | None = None,
    halo: int | str = "auto",
    edge: Edge = "shift",
    on_error: OnError = "raise",
    **fields: Any,
) -> Samplers:
    """The samplers that a set of options asks for.

    Args:
        mode: "random", "grid" or "random-grid", for training slides.
        valid: "grid" or "random", for validation slides.
        augment: A transform of the patches of training slides.
        halo: Pixels around each of their patches; "auto" is what `augment` needs, and none without it.
        edge: "shift" or "reflect", see `Plan`.
        on_error: "raise" or "resample", see `Plan`.
        **fields: The other options, see `sampler_for`.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """
    drawn = partial(sampler_for, **fields)
    if valid not in ("grid", "random"):
        raise OptionError(f'valid must be "grid" or "random", got {valid!r}')
    grid = drawn(mode="grid")
    if halo != "auto":
        halo = checked_halo(halo)
    around = halo if isinstance(halo, int) else 0
    validation = grid if valid == "grid" else drawn(mode="random")
    chosen = checked_on_error(on_error)
    return Samplers(drawn(mode=mode), validation, grid, augment, around, edge, chosen)
