"""Options: one line for each mistake."""

import pytest

from patchaug import OptionError, PatchOptions
from patchaug.core.memory.budget import budget


def test_options_are_values() -> None:
    """Frozen, comparable, the size may come first."""
    options = PatchOptions(512, per_slide=64, foreground=0.5)
    assert options == PatchOptions(size=512, per_slide=64, foreground=0.5) != PatchOptions(512)
    assert PatchOptions([256, 512]).size == (256, 512)
    with pytest.raises(Exception, match="frozen"):
        options.size = 3  # type: ignore[misc] - the assignment is the test


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"size": 8, "per_side": 4}, "there is no option 'per_side'; did you mean per_slide?"),
        ({"size": 8, "zzz": 4}, "there is no option 'zzz'; options are size, per_slide"),
        ({}, "option 'size' is missing"),
        ({"size": "big"}, "option 'size.*got 'big'"),
        (
            {"size": 8, "per_slide": "4"},
            "option 'per_slide' should be a valid integer, or 'area', 'tissue' or 'foreground', got '4'",
        ),
        ({"size": 8, "foreground": float("nan")}, "option .foreground. should be a finite number, got nan"),
        ({"size": 8, "foreground": 2.0}, "option .foreground. should be less than or equal to 1, got 2.0"),
        ({"size": 8, "mode": "rnd"}, "'mode' should be 'random', 'grid', 'random-grid' or 'adaptive', got 'rnd'"),
        ({"size": 8, "seed": -1}, "option 'seed' should be greater than or equal to 0, got -1"),
        ({"size": 8, "mode": "grid", "overlap": 8}, "overlap must be in 0..7, got 8"),
    ],
)
def test_mistakes_are_one_line(values: dict, text: str) -> None:
    """The key, the value, the limit or the nearest right name."""
    with pytest.raises(OptionError, match=text) as caught:
        PatchOptions(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "size"), [("8GB", 8 * 10**9), ("512 MiB", 2**29), ("0", 0), (7, 7), ("1.5kb", 1500)])
def test_budgets_are_read(text: str | int, size: int) -> None:
    """Decimal and binary units."""
    assert budget(text) == size


def test_the_automatic_budget_is_half_of_what_is_free() -> None:
    """More than nothing, less than all."""
    import psutil

    assert 0 < budget("auto") < psutil.virtual_memory().total


@pytest.mark.parametrize("text", ["much", "8XB", "-1", -1, True, 1.5])
def test_bad_budgets_are_refused(text: object) -> None:
    """With the three ways to say it."""
    with pytest.raises(OptionError, match="ram must be .auto., a number of bytes, or a size like .8GB., got"):
        budget(text)  # type: ignore[arg-type] - the wrong type is the test
