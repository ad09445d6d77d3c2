"""Validate arguments of users: an error states the argument, its value and its limit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from operator import index as as_int
from typing import Any, Literal, ParamSpec, TypeVar

from patchaug.errors import OptionError

SEED = 42  # the default of every `seed`
MAX_HALO = 2**16  # pixels
RENAMED = {"share": "foreground", "void": "ignore_index"}  # names of options before the first release

Size = int | tuple[int, int]
OnError = Literal["raise", "resample"]
Small = Literal["raise", "skip"]
Classes = Mapping[int | str, float] | Sequence[int | str]


def checked_integer(name: str, value: Any, least: int, most: int = 2**32 - 1) -> int:
    """Return a value as an int.

    Args:
        name: Name of the argument, for error messages.
        value: Anything that `operator.index` accepts, but for bool.
        least: Smallest permitted value.
        most: Largest permitted value.

    Raises:
        OptionError: The value is not an integer of least..most.
    """
    try:
        number = as_int(value)
    except TypeError:
        raise OptionError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool) or not least <= number <= most:
        raise OptionError(f"{name} must be in {least}..{most}, got {value!r}")
    return number


def checked_halo(value: Any) -> int:
    """Return a halo in pixels as an int of 0 to `MAX_HALO`.

    Raises:
        OptionError: The value is not such an integer.
    """
    return checked_integer("halo", value, 0, MAX_HALO)


def checked_on_error(value: object) -> OnError:
    """Return what to do with a window that cannot be read: "raise" or "resample".

    Raises:
        OptionError: The value is neither.
    """
    if value == "raise" or value == "resample":
        return value
    raise OptionError(f'on_error must be "raise" or "resample", got {value!r}')


def checked_small(value: object) -> Small:
    """Return what to do with a slide that is smaller than the window: "raise" or "skip".

    Raises:
        OptionError: The value is neither.
    """
    if value == "raise" or value == "skip":
        return value
    raise OptionError(f'small must be "raise" or "skip", got {value!r}')


def checked_fraction(name: str, value: object, meaning: str) -> float:
    """Return a number of 0..1 unchanged.

    Args:
        name: Name of the argument, for error messages.
        value: The number.
        meaning: What the number means, for error messages.

    Raises:
        OptionError: The value is not a number of 0..1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise OptionError(f"{name} must be {meaning}, 0 to 1, got {value!r}")
    return value


def checked_positive(name: str, value: object, unit: str) -> float:
    """Return a finite number above 0 as a float.

    Args:
        name: Name of the argument, for error messages.
        value: The number.
        unit: Its unit, for error messages.

    Raises:
        OptionError: The value is not such a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise OptionError(f"{name} must be a number of {unit} above 0, got {value!r}")
    return float(value)


def checked_mpp(mpp: float | tuple[float, float]) -> tuple[float, float]:
    """Return micrometres per pixel as (x, y).

    Raises:
        OptionError: A number is not above 0.
    """
    x, y = mpp if isinstance(mpp, (tuple, list)) else (mpp, mpp)
    unit = "micrometres per pixel"
    return checked_positive("mpp", x, unit), checked_positive("mpp", y, unit)


def checked_size(size: object) -> Size:
    """Return a side, or (height, width), of at least 1 px.

    Raises:
        OptionError: The value is neither, or below 1 px.
    """
    both = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else (size, size)
    try:
        height, width = (as_int(side) for side in both)
    except (TypeError, ValueError):
        raise OptionError(f"size must be an integer or (height, width), got {size!r}") from None
    if height < 1 or width < 1:
        raise OptionError(f"size must be at least 1 px, got {size!r}")
    return (height, width) if isinstance(size, Sequence) else height


def sides(size: Size) -> tuple[int, int]:
    """Return a size as (height, width)."""
    return (size, size) if isinstance(size, int) else size


def checked_weights(classes: Classes | None) -> dict[int | str, float]:
    """Return `classes` as a dict from class to weight; empty for None.

    Args:
        classes: Class numbers or names with equal weights, or a mapping from them to weights.

    Raises:
        OptionError: `classes` is not a list or mapping, a weight is negative or not finite, or all weights are 0.
    """
    if classes is None:
        return {}
    if isinstance(classes, str) or not isinstance(classes, (Mapping, Sequence)):
        raise OptionError(f"classes must be a list of class numbers or names, or a mapping to weights, got {classes!r}")
    weights = dict(classes) if isinstance(classes, Mapping) else dict.fromkeys(classes, 1.0)
    for key, weight in weights.items():
        if not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise OptionError(f"the weight of class {key!r} must be a number, 0 or more, got {weight!r}")
    if not any(weights.values()):
        raise OptionError(f"classes must give at least one class a weight above 0, got {classes!r}")
    return weights


P = ParamSpec("P")
R = TypeVar("R")


def refuses_old_names(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that an argument by its old name raises an OptionError that names the new one."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for old in RENAMED.keys() & kwargs.keys():
            raise OptionError(f"{old!r} is now called {RENAMED[old]!r}: write {RENAMED[old]}={kwargs[old]!r}")
        return function(*args, **kwargs)

    return call


def printable(name: str) -> str:
    r"""Return a name in which bytes that are not UTF-8 are written as \udce9, so that it can be printed and stored.

    Examples:
        >>> printable("n\udce9vus.tif")
        'n\\udce9vus.tif'
    """
    return name.encode("utf-8", "backslashreplace").decode()
