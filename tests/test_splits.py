"""One set of options, three samplers."""

import pytest

from patchaug import Foreground, Grid, OptionError, PatchOptions, Uniform


def of(**options):
    """The samplers of some options."""
    return PatchOptions(32, **options).samplers()


def test_each_split_has_its_sampler() -> None:
    """Random windows to train, a grid to validate and to test, at the same size, level and resolution."""
    samplers = of(per_slide=5, share=0.5, overlap=3, level=1)
    assert samplers.of("train") == Foreground(32, per_slide=5, share=0.5, level=1)
    assert samplers.of("valid") == samplers.of("test") == Grid(32, overlap=3, level=1)
    assert of(mode="random-grid", mpp=0.5).train == Grid(32, offset="random", mpp=0.5)


def test_a_test_set_is_never_drawn_at_random() -> None:
    """It would leave pixels out."""
    samplers = of(valid="random", per_slide=7)
    assert samplers.of("valid") == Uniform(32, per_slide=7) and samplers.test == Grid(32)
    with pytest.raises(OptionError, match='valid="random" asks for random windows of a test set.*predict_slide'):
        samplers.of("test")
    with pytest.raises(OptionError, match="valid"):
        of(valid="every")
