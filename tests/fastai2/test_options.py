"""Options and `RandomPatch` are one thing said twice."""

from inspect import signature

from hypothesis import given
from hypothesis import strategies as st

from patchaug import OptionError, PatchOptions
from patchaug.fastai import RandomPatch

# Values about each limit, right and wrong.
VALUES = {
    "size": [8, 0, (8, 4), (0, 8), "8"],
    "per_slide": [1, 0, 2**32, "area", "rows"],
    "windows": [None, 1, 0],
    "foreground": [0.0, 1.0, 1.1, -0.1, float("nan")],
    "classes": [None, [1], {"a": 2.0}, {1: -1.0}, "a"],
    "min_fraction": [0.0, 1.0, 1.1, float("nan")],
    "min_valid": [0.0, 1.0, 1.1, float("nan")],
    "empty": ["raise", "pad"],
    "mode": ["random", "grid", "rnd"],
    "overlap": [0, 7, 8, -1],
    "valid": ["grid", "random", "all"],
    "on_error": ["raise", "resample", "skip"],
    "small": ["raise", "skip", "pad"],
    "halo": ["auto", 0, 2**16, 2**16 + 1, -1, "none"],
    "edge": ["shift", "reflect", "pad"],
    "level": [0, -1, 2**32],
    "mpp": [None, 0.5, 0.0, float("inf")],
    "seed": [0, -1, 2**32],
}


def test_each_argument_is_an_option_with_the_same_default() -> None:
    """But for what no file can hold: the transform of `augment`."""
    arguments = signature(RandomPatch).parameters
    assert set(arguments) - set(PatchOptions.model_fields) <= {"self", "augment"}
    assert set(PatchOptions.model_fields) - set(arguments) == {"ram", "channels", "series", "scale"}  # of the blocks
    for name in set(arguments) & set(PatchOptions.model_fields) - {"size"}:
        assert PatchOptions.model_fields[name].default == arguments[name].default, name


@given(st.fixed_dictionaries({"size": st.sampled_from(VALUES["size"])}, optional={
    name: st.sampled_from(values) for name, values in VALUES.items() if name != "size"
}))  # fmt: skip
def test_options_take_what_random_patch_takes(values: dict) -> None:
    """The limits of the schema are those of the samplers, and the same windows are meant."""
    try:
        made = RandomPatch(**values)
    except OptionError:
        made = None
    try:
        options = PatchOptions(**values)
    except OptionError:
        # What counts is refused by both; what does not, such as `empty` without foreground draws, by options only.
        counts = values.get("mode", "random") == "random" and values.get("foreground", 0.0) > 0
        assert made is None or not counts
        return
    assert made is not None
    assert RandomPatch.from_options(options).samplers == made.samplers
