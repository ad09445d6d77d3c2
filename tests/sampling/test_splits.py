"""One set of options, three samplers."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug import Foreground, Grid, OptionError, PatchOptions, Uniform
from patchaug.cli.split_pairs import pairs_of
from patchaug.data.item_list import validation_count
from patchaug.options.fields import TrainOptions


def of(**options):
    """The samplers of some options."""
    return PatchOptions(32, **options).samplers()


def test_each_split_has_its_sampler() -> None:
    """Random windows to train, a grid to validate and to test, at the same size, level and resolution."""
    samplers = of(per_slide=5, foreground=0.5, overlap=3, level=1)
    assert samplers.of("train") == Foreground(32, per_slide=5, foreground=0.5, level=1)
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


@given(st.integers(2, 5000), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_both_sides_get_a_slide(slides: int, share: float) -> None:
    """The share rounded down, as fastai does, where that leaves slides on both sides."""
    count = validation_count(slides, share)
    assert 1 <= count < slides and (count == int(share * slides) or count == 1)


def test_what_cannot_be_split_is_said() -> None:
    """One slide, none, and shares that leave nothing."""
    for slides, text in (
        (1, "one slide cannot be split: .* add a slide, or cut a large one"),
        (0, "there is no slide"),
    ):
        with pytest.raises(OptionError, match=text):
            validation_count(slides, 0.5)
    for share in (0.0, 1.0, -1, float("nan")):
        with pytest.raises(OptionError, match="valid_pct must lie between 0 and 1"):
            validation_count(4, share)


@pytest.mark.parametrize(("slides", "validated"), [(2, 1), (3, 1), (9, 1), (10, 2), (11, 2)])
def test_the_command_line_splits_by_the_same_number(slides: int, validated: int, tmp_path: Path) -> None:
    """At the default share, 0.2; another slide more or less moves nobody but at the edge."""
    for number in range(slides):
        (tmp_path / f"s{number}.png").touch()
        (tmp_path / f"s{number}_mask.png").touch()
    options = TrainOptions(32, images=str(tmp_path), masks=str(tmp_path), codes=["a", "b"])
    train, valid = pairs_of(options)
    assert (len(train), len(valid)) == (slides - validated, validated) and not {*train} & {*valid}
