"""Errors that follow from a wrong argument name it; errors of calls whose arguments fit stay as they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import pytest

from patchaug.core.arguments import names_arguments, names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.errors import OptionError, WindowError


class Sized(Protocol):
    """Something with a size and a method."""

    size: int

    def read(self) -> int:
        """Read."""


@names_arguments
def fails(error: Exception, value: Any = None, **kwargs: Any) -> None:
    """Raise."""
    raise error


CASES: list[tuple[Any, list[Any], list[Any]]] = [
    # annotation, values that fit, values that do not
    (int, [3, np.int64(3)], [True, 3.0, "3", None]),
    (float, [3, 3.5, np.float32(1)], [True, "x", None, 1j]),
    (bool, [True, np.bool_(False)], [1, None]),
    (str | os.PathLike[str], ["a"], [b"a", 3]),
    (Literal["a", "b"], ["a"], ["c", np.zeros(2), ["a"]]),
    (int | None, [None, 2], ["2"]),
    (tuple[float, float], [(1, 2.5), [1, 2]], [(1,), (1, 2, 3), ("a", 1), 3]),
    (tuple[int, ...], [(), (1, 2)], [("a",), 1]),
    (Sequence[int], [[1], (1, 2), []], ["text", ["a"], {1}]),
    (Sequence[str], [["a"], "text"], [[1], 3]),
    (Iterable[int], [iter("a"), [1]], ["text", ["a"], 3]),
    (Mapping[str, Any], [{"a": 1}], [[("a", 1)], None]),
    (Array, [np.zeros(3)], [[1], None]),
    (Sized, [type("A", (), {"size": 1, "read": int})()], [3, np.zeros(2), type("B", (), {"size": 1, "read": int})]),
    (Any, [3, None], []),
]


@pytest.mark.parametrize(("annotation", "good", "bad"), CASES, ids=[str(case[0]) for case in CASES])
def test_the_argument_that_does_not_fit_is_named(annotation: Any, good: list[Any], bad: list[Any]) -> None:
    """By its annotation, and only after another error."""

    @names_arguments
    def function(value: Any, fail: bool) -> Any:
        if fail:
            raise ValueError("inside")
        return value

    function.__wrapped__.__annotations__["value"] = annotation  # type: ignore[attr-defined]
    for value in good:
        with pytest.raises(ValueError, match="^inside$"):
            function(value, True)
        assert function(value, False) is value
    for value in bad:
        with pytest.raises(OptionError, match=r"function: value must be .*, got ") as caught:
            function(value, True)
        assert isinstance(caught.value.__cause__, ValueError)
        assert function(value, False) is value, "what works is never refused"


def test_errors_of_ours_and_of_the_system_pass_through() -> None:
    """Whatever the arguments are."""
    for error in (WindowError("ours"), TypeError("python's"), FileNotFoundError("the system's"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fails(error, kind=3)


def test_a_long_value_is_cut() -> None:
    """The error stays a line."""

    @names_arguments_of_init
    class Box:
        def __init__(self, side: int) -> None:
            self.side = side.bit_length()

    with pytest.raises(OptionError, match=r"Box: side must be int, got str: 'x{70,80}\.\.\.") as caught:
        Box("x" * 5000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 250
    assert Box(5).side == 3
