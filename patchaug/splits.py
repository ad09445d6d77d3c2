"""One set of options, three samplers: for training, validation and test slides."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from patchaug.errors import OptionError
from patchaug.samplers import Sampler, sampler_for


class Samplers(NamedTuple):
    """The sampler of each split.

    Attributes:
        train: What `mode` says.
        valid: What `valid` says: a grid, or random windows.
        test: A grid always, since test slides are predicted whole.
    """

    train: Sampler
    valid: Sampler
    test: Sampler

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


def samplers_for(*, mode: str, valid: str, **fields: Any) -> Samplers:
    """The samplers that a set of options asks for.

    Args:
        mode: "random", "grid" or "random-grid", for training slides.
        valid: "grid" or "random", for validation slides.
        **fields: The other options, see `sampler_for`.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """
    drawn = partial(sampler_for, **fields)
    if valid not in ("grid", "random"):
        raise OptionError(f'valid must be "grid" or "random", got {valid!r}')
    grid = drawn(mode="grid")
    return Samplers(drawn(mode=mode), grid if valid == "grid" else drawn(mode="random"), grid)
