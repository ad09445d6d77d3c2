"""`ClassCodes`: names of classes, and the values of a mask file that belong to each.

A mask comes out as class numbers, 0 to n - 1 in the order of the names, whatever its file holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError

_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_RANGE = re.compile(r"(-?\d+)-(-?\d+)")
_LEAST, _MOST = -(2**63), 2**63
_FORMS = '{"background": 0, "nucleus": 255}, [1, 3] for several values, range(1, 65536), or "#ff0000" for a colour'


@dataclass(frozen=True)
class ClassCodes:
    """Names of classes and, where they are not 0 to n - 1, the values of the file that belong to each.

    Attributes:
        names: Class names; their order gives the class numbers.
        values: For each name the ranges of its values in the file; None for 0, 1, ... in order.
        colours: Whether the values are colours, 0xRRGGBB.

    Examples:
        >>> from patchaug.core.class_codes import ClassCodes
        >>> codes = ClassCodes.of({"background": 0, "nucleus": 255})
        >>> codes.names, codes.mapped(np.array([[0, 255]], np.uint8), ignore_index=None)[0].tolist()
        (('background', 'nucleus'), [[0, 1]])
    """

    names: tuple[str, ...]
    values: tuple[tuple[range, ...], ...] | None = None
    colours: bool = False

    @classmethod
    def of(cls, codes: Any) -> ClassCodes | None:
        """Parse codes: None, a list of names, or a mapping from name to value, values, range or colour.

        Raises:
            OptionError: The codes have no order, a name twice, a value for two names, or another type.
        """
        if codes is None or isinstance(codes, ClassCodes):
            return codes
        if isinstance(codes, str):
            raise OptionError(f"codes must be a list of class names, got the text {codes!r}")
        if isinstance(codes, Mapping):
            return cls._of_mapping(codes)
        if isinstance(codes, Set) or not isinstance(codes, Iterable):
            raise OptionError(
                f"codes must be a list of class names, in the order of the mask's integers, or a mapping such as "
                f"{_FORMS}; got a {type(codes).__name__}"
            )
        return cls(_checked_names([str(name) for name in codes]))

    @classmethod
    def _of_mapping(cls, codes: Mapping[Any, Any]) -> ClassCodes:
        names = _checked_names([str(name) for name in codes])
        parsed = [_parsed(name, value) for name, value in zip(names, codes.values(), strict=True)]
        kinds = {colour for _, colour in parsed}
        if len(kinds) > 1:
            raise OptionError("codes must be either all numbers or all colours, got both")
        flat = sorted(((one, name) for (ranges, _), name in zip(parsed, names, strict=True) for one in ranges),
                      key=lambda pair: pair[0].start)  # fmt: skip
        for (one, first), (other, second) in zip(flat, flat[1:], strict=False):
            if one.stop > other.start:
                raise OptionError(
                    f"codes: value {_text(other.start, True in kinds)} belongs to {first!r} and {second!r}"
                )
        return cls(names, tuple(ranges for ranges, _ in parsed), True in kinds)

    @property
    def identity(self) -> bool:
        """Whether the file's values are the class numbers."""
        return self.values is None or self.values == tuple((range(n, n + 1),) for n in range(len(self.names)))

    def as_given(self) -> list[str] | dict[str, Any]:
        """Return what `of` parses to the same codes, as JSON stores it."""
        if self.values is None:
            return list(self.names)
        return {name: self._stored(ranges) for name, ranges in zip(self.names, self.values, strict=True)}

    def _stored(self, ranges: tuple[range, ...]) -> Any:
        parts = [
            _text(one.start, self.colours) if len(one) == 1 and self.colours
            else one.start if len(one) == 1 else f"{one.start}-{one.stop - 1}"
            for one in ranges
        ]  # fmt: skip
        return parts[0] if len(parts) == 1 else parts

    @cached_property
    def _edges(self) -> tuple[Array, Array, Array]:
        """Starts, last values and class numbers of all ranges, by rising start; int64."""
        values = self.values or tuple((range(n, n + 1),) for n in range(len(self.names)))
        flat = sorted((one.start, one.stop - 1, n) for n, ranges in enumerate(values) for one in ranges)
        starts, lasts, numbers = np.array(flat, np.int64).reshape(-1, 3).T
        return starts, lasts, numbers

    def mapped(self, values: Array, ignore_index: int | None) -> tuple[Array, Array | None]:
        """Map values of a file to class numbers.

        Args:
            values: Integers of the file, any shape.
            ignore_index: Value that stays as it is, unless a class claims it.

        Returns:
            Class numbers of the same shape, in the smallest dtype; where the value is unknown (bool), None if nowhere.
        """
        table, unknown = self._table(values.dtype, ignore_index)
        if table is not None:
            out = table[values.view(f"u{values.dtype.itemsize}")]
        else:
            out = self._looked_up(values, ignore_index, unknown)
        wrong = out == unknown
        return out, wrong if wrong.any() else None

    def _numbers(self, ignore_index: int | None) -> tuple[int, np.dtype[Any]]:
        """A number that is neither a class nor `ignore_index`, and the dtype that holds them all."""
        unknown = len(self.names) + (ignore_index == len(self.names))
        least = min(0, 0 if ignore_index is None else ignore_index)
        most = max(unknown, unknown if ignore_index is None else ignore_index)
        return unknown, np.result_type(np.min_scalar_type(least), np.min_scalar_type(most))

    def _table(self, dtype: np.dtype[Any], ignore_index: int | None) -> tuple[Array | None, int]:
        """Return the class number of each value of a dtype of 8 or 16 bits, and the number for unknown values."""
        unknown, _ = self._numbers(ignore_index)
        if dtype.itemsize > 2:
            return None, unknown
        tables: dict[Any, Array] = self.__dict__.setdefault("_tables", {})
        key = (dtype.str, ignore_index)
        if key not in tables:
            every = np.arange(1 << 8 * dtype.itemsize).astype(f"u{dtype.itemsize}").view(dtype)
            tables[key] = self._looked_up(every, ignore_index, unknown)
        return tables[key], unknown

    def _looked_up(self, values: Array, ignore_index: int | None, unknown: int) -> Array:
        starts, lasts, numbers = self._edges
        _, out_dtype = self._numbers(ignore_index)
        wide = np.minimum(values, np.uint64(_MOST - 1)).astype(np.int64) if values.dtype == np.uint64 else values
        at = np.maximum(np.searchsorted(starts, wide, side="right") - 1, 0)
        out = np.where((wide >= starts[at]) & (wide <= lasts[at]), numbers[at], unknown)
        if ignore_index is not None:
            out[(out == unknown) & (values == ignore_index)] = ignore_index
        return np.asarray(out.astype(out_dtype))

    def __getstate__(self) -> dict[str, Any]:
        return {"names": self.names, "values": self.values, "colours": self.colours}


def codes_from_text(text: str) -> Any:
    """Parse codes of a command line: "background,nucleus", "background=0,nucleus=255", "cell=1-65535,road=#ff0000".

    A name may stand several times, for several values.

    Raises:
        OptionError: Some names have a value and some have none.
    """
    parts = [part.strip() for part in text.split(",")]
    if "=" not in text:
        return parts
    codes: dict[str, Any] = {}
    for part in parts:
        name, sign, value = part.rpartition("=")
        if not sign or not name.strip():
            raise OptionError(f"codes: {part!r} has no value, and others have; write each as name=value")
        stored: Any = int(value) if re.fullmatch(r"-?\d+", value.strip()) else value.strip()
        codes.setdefault(name.strip(), []).append(stored)
    return {name: values[0] if len(values) == 1 else values for name, values in codes.items()}


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise OptionError(f"codes must name each class once, got {', '.join(map(repr, twice))} several times")
    if not names:
        raise OptionError("codes must name at least one class, got none")
    return tuple(names)


def _parsed(name: str, value: Any) -> tuple[tuple[range, ...], bool]:
    """Return the ranges of one class, and whether they are colours."""
    several = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1)
    parts = [_one(name, part) for part in (value if several else [value])]
    if not parts or len({colour for _, colour in parts}) > 1:
        raise OptionError(f"codes: class {name!r} must have values such as {_FORMS}; got {value!r}")
    return tuple(part for part, _ in parts), parts[0][1]


def _one(name: str, value: Any) -> tuple[range, bool]:
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and _LEAST <= value < _MOST:
        return range(int(value), int(value) + 1), False
    if isinstance(value, range) and value.step == 1 and len(value) and value[0] >= _LEAST and value[-1] < _MOST:
        return value, False
    if isinstance(value, str) and _COLOUR.fullmatch(value):
        digits = value[1:] if len(value) == 7 else "".join(2 * digit for digit in value[1:])
        return range(int(digits, 16), int(digits, 16) + 1), True
    span = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if span and _LEAST <= int(span[1]) <= int(span[2]) < _MOST:
        return range(int(span[1]), int(span[2]) + 1), False
    raise OptionError(f"codes: class {name!r} must have values such as {_FORMS}; got {value!r}")


def _text(value: int, colour: bool) -> str:
    return f"#{value:06x}" if colour else str(value)
