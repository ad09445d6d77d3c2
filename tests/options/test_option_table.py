"""Each option has one name, default and limit wherever it is given; `Foreground` has one stated exception."""

import inspect
from dataclasses import MISSING, fields

import pytest

from patchaug import Foreground, Grid, OptionError, PatchOptions, Plan, Uniform
from patchaug.sampling.option_table import OPTIONS, REQUIRED
from patchaug.sampling.splits import sampler_for, samplers_for

# The design's signature: the sampler is chosen to draw foreground, the option is off until it is asked for.
EXCEPTIONS = {("Foreground", "foreground"): 0.5}
INDEXING = ("index_cache", "index_workers")
# Options that another one switches on.
NEEDS = {"windows": {"per_slide": "area"}, "max_weight": {"weights": True}, "balance": {"foreground": 0.5}}
NOT_IN_THE_TABLE = {"ram", "offset", "channels", "series", "scale"}  # how pixels are read; what `mode` says of a grid


def test_the_options_are_the_table() -> None:
    """Names in order, defaults, help texts, units and examples; each example is accepted."""
    found = PatchOptions.model_fields
    assert [name for name in found if name not in NOT_IN_THE_TABLE] == list(OPTIONS)
    for name, option in OPTIONS.items():
        assert found[name].is_required() == (option.default is REQUIRED)
        assert option.default is REQUIRED or found[name].default == option.default
        assert (found[name].title, found[name].description) == (option.title, option.help)
        for example in option.examples:
            more = {"windows": 9} if example == "tissue" else NEEDS.get(name, {})
            PatchOptions(**{"size": 64, name: example, **more})


@pytest.mark.parametrize("sampler", [Uniform, Foreground, Grid])
def test_samplers_have_the_table_s_defaults(sampler: type) -> None:
    """And no option that the table lacks; each is explained."""
    for one in fields(sampler):
        assert f"    {one.name}: " in (inspect.getdoc(sampler) or "") + (sampler.__doc__ or "")
        if one.name in NOT_IN_THE_TABLE:
            continue
        expected = EXCEPTIONS.get((sampler.__name__, one.name), OPTIONS[one.name].default)
        assert (one.default is MISSING and expected is REQUIRED) or one.default == expected, one.name


def same_defaults(function: object, renamed: dict[str, object]) -> set[str]:
    """Compare the defaults of a signature with the table; return the names that both have."""
    parameters = inspect.signature(function).parameters  # type: ignore[arg-type]
    for name in parameters.keys() & OPTIONS.keys():
        expected = renamed.get(name, OPTIONS[name].default)
        default = parameters[name].default
        assert (expected is REQUIRED and default is inspect.Parameter.empty) or default == expected, name
    return parameters.keys() & OPTIONS.keys()


def test_plan_has_the_table_s_defaults() -> None:
    """A plan has a number of halo pixels: "auto" is resolved before."""
    assert same_defaults(Plan, {"halo": 0}) == {"seed", "halo", "edge", "on_error", "small", *INDEXING}
    shared = {"mode", "valid", "halo", "edge", "on_error", "small", "weights", "max_weight", *INDEXING}
    assert same_defaults(samplers_for, {}) == shared


def test_options_and_samplers_have_the_same_limits() -> None:
    """At each limit of the table, and one step beyond it."""
    for name, option in OPTIONS.items():
        step = 1 if isinstance(option.default, int) else 2**-20
        for limit, value in option.limits.items():
            outside = {"ge": value - step, "gt": value, "le": value + step, "lt": value}[limit]
            inside = {"ge": value, "gt": value + step, "le": value, "lt": value - step}[limit]
            given = {"ge": {}, "gt": {}, "le": {}, "lt": {"size": 2**33} if name == "overlap" else {}}[limit]
            mode = {"mode": "grid"} if name == "overlap" else NEEDS.get(name, {})
            for number, accepted in ((inside, True), (outside, False)):
                values = {"size": 8, name: number, **given, **mode}
                assert accepts(lambda values=values: PatchOptions(**values)) == accepted, values
                if name != "seed":
                    assert accepts(lambda values=values: sampler_for(**{"mode": "random", **values})) or not accepted
                    if name in ("foreground", "min_fraction", "min_valid", "level", "mpp"):
                        direct = {"size": 8, name: number}
                        assert accepts(lambda direct=direct: Foreground(**direct)) == accepted, values


def accepts(make) -> bool:
    try:
        make()
    except OptionError:
        return False
    return True


def test_unknown_options_are_refused() -> None:
    with pytest.raises(OptionError, match="there is no option 'per_side'; options are size, per_slide"):
        sampler_for(mode="random", size=8, per_side=4)


@pytest.mark.parametrize("mode", ["random", "grid", "random-grid"])
@pytest.mark.parametrize("foreground", [0.0, 0.5])
def test_the_sampler_gets_what_was_given(mode: str, foreground: float) -> None:
    """Uniform where nothing asks for foreground, else Foreground; grids by mode."""
    made = sampler_for(mode=mode, size=(8, 9), foreground=foreground, overlap=3, level=2, per_slide=5, empty="skip")
    expected = {
        ("random", 0.0): Uniform((8, 9), per_slide=5, level=2),
        ("random", 0.5): Foreground((8, 9), per_slide=5, foreground=0.5, empty="skip", level=2),
    }.get((mode, foreground), Grid((8, 9), overlap=3, offset="fixed" if mode == "grid" else "random", level=2))
    assert made == expected


def test_random_patch_has_the_table_s_defaults() -> None:
    """Same names as `PatchOptions`, but for `ram`; and `augment`, which is no option."""
    random_patch = pytest.importorskip("patchaug.fastai2.random_patch")
    assert same_defaults(random_patch.RandomPatch, {}) == set(OPTIONS)
    names = inspect.signature(random_patch.RandomPatch).parameters
    assert names.keys() - OPTIONS.keys() - {"self"} == {"augment"}
    for name in names.keys() - {"self"}:
        assert f"        {name}: " in (random_patch.RandomPatch.__doc__ or "")
