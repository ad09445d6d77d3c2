"""A slide smaller than the window: an error that names the option, or no windows and a warning."""

import numpy as np
import pytest

from patchaug import Foreground, Grid, OptionError, Plan, Uniform, WindowError, open_slide

SAMPLERS = [Uniform(64, per_slide=5), Foreground(64, per_slide=5, foreground=0.5), Grid(64),
            Uniform(64, per_slide="area", windows=20)]  # fmt: skip


def slides() -> list:
    rng = np.random.default_rng(0)
    sizes = {"large": (100, 130), "small": (100, 63), "wide": (64, 200)}
    return [
        open_slide(rng.integers(0, 256, (h, w, 3), np.uint8), np.ones((h, w), np.uint8), name=name, codes=["a", "b"])
        for name, (h, w) in sizes.items()
    ]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_a_small_slide_is_skipped_on_request(sampler) -> None:
    """The windows of the others are those of a plan without it; by default it is an error."""
    with pytest.raises(WindowError, match=r"small: a window of 64 x 64 px does not fit.*small='skip'"):
        Plan(slides(), sampler)
    with pytest.warns(UserWarning, match="1 slides are smaller than the window and skipped: small"):
        plan = Plan(slides(), sampler, small="skip", seed=3, shuffle=False)
    assert plan.counts[1] == 0
    alone = Plan([slides()[0], slides()[2]], sampler, seed=3, shuffle=False)
    assert [(draw.window, draw.probability) for draw in plan] == [(draw.window, draw.probability) for draw in alone]


def test_nothing_left_and_a_wrong_value() -> None:
    with pytest.raises(OptionError, match='small must be "raise" or "skip"'):
        Plan(slides(), Uniform(64), small="pad")
    with pytest.raises(OptionError, match="no slide is left"), pytest.warns(UserWarning, match="3 slides are smaller"):
        Plan(slides(), Uniform(500), small="skip")
