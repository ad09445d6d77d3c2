"""Turn a bare error that follows from a wrong argument into one that names the argument.

Public functions accept objects by what they can do, so a wrong one fails somewhere inside, as an AttributeError or a
ValueError about something else. `names_arguments` costs nothing while all goes well. After such an error it compares
the arguments with their annotations, and raises an OptionError for the first that does not fit.
"""

from __future__ import annotations

import collections.abc
import inspect
import numbers
import types
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from patchaug.errors import OptionError, PatchaugError

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

_ABSTRACT = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set, collections.abc.Collection)
_SHOWN = 80  # characters of a value in an error


def names_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function: an error that follows from an argument of a wrong type names the argument.

    Errors of patchaug and TypeErrors pass through, and so do all errors of calls whose arguments fit.

    Examples:
        >>> from patchaug.core.arguments import names_arguments
        >>> @names_arguments
        ... def double(text: str) -> str:
        ...     return text.upper() * 2
        >>> double(3)
        Traceback (most recent call last):
        patchaug.errors.OptionError: double: text must be str, got int: 3
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (PatchaugError, TypeError, OSError):
            raise
        except Exception as error:
            problem = _problem(function, args, kwargs)
            if problem is None:
                raise
            raise OptionError(problem) from error

    return call


def names_arguments_of_init(cls: C) -> C:
    """Decorate a class: `names_arguments` for its `__init__`."""
    cls.__init__ = names_arguments(cls.__init__)  # type: ignore[misc]
    return cls


def _problem(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Return the first argument that does not fit its annotation as a line of text; None if all fit."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return None
    hints = _hints(function)
    called = function.__qualname__.removesuffix(".__init__")
    for name, value in bound.arguments.items():
        hint = hints.get(name, Any)
        if not _fits(value, hint):
            return f"{called}: {name} must be {_shown(hint)}, got {_described(value)}"
    return None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations that can be resolved at run time; those of type checkers alone are left out."""
    try:
        return get_type_hints(function)
    except Exception:
        found = {}
        function = inspect.unwrap(function)
        for name, text in getattr(function, "__annotations__", {}).items():
            try:
                found[name] = eval(text, getattr(function, "__globals__", {}))
            except Exception:
                continue
        return found


def _described(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = "?"
    return f"{type(value).__name__}: {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"


def _shown(hint: Any) -> str:
    """Return an annotation in short, without modules."""
    if hint is type(None):
        return "None"
    arguments, origin = get_args(hint), get_origin(hint)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_shown, arguments)))
    if origin is Annotated:
        return _shown(arguments[0])
    if origin is np.ndarray or hint is np.ndarray:
        return "an array"
    name = getattr(origin or hint, "__name__", str(hint))
    inside = [_shown(one) for one in arguments if one is not Ellipsis] if origin is not collections.abc.Callable else []
    return f"{name}[{', '.join(inside)}]" if inside and inside != ["Any"] else name


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value may be meant by an annotation; True where that is unknown."""
    if hint is Any or hint is object or isinstance(hint, (TypeVar, str)):
        return True
    arguments, origin = get_args(hint), get_origin(hint)
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Annotated:
        return _fits(value, arguments[0])
    if origin is Literal:
        return isinstance(value, (str, bytes, int)) and value in arguments
    if hint is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    if hint is bool:
        return isinstance(value, (bool, np.bool_))
    if origin is tuple and isinstance(value, (tuple, list)):
        return _fits_tuple(tuple(value), arguments)
    if origin is type:
        return isinstance(value, type)
    kind = origin or hint
    try:
        if not isinstance(value, kind):
            return False
    except TypeError:  # a protocol that is not for run time
        return not isinstance(value, type) and all(hasattr(value, name) for name in _members(kind))
    if kind in _ABSTRACT or kind in (list, set, frozenset):
        return _fits_all(value, arguments)
    return True


def _members(protocol: Any) -> set[str]:
    """Return the names that a protocol asks for."""
    kinds = [kind for kind in getattr(protocol, "__mro__", ()) if getattr(kind, "_is_protocol", False)]
    names = {name for kind in kinds for name in (*vars(kind), *getattr(kind, "__annotations__", {}))}
    return {name for name in names if not name.startswith("_")}


def _fits_tuple(value: tuple[Any, ...], arguments: tuple[Any, ...]) -> bool:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return all(_fits(one, arguments[0]) for one in value)
    return len(value) == len(arguments) and all(map(_fits, value, arguments))


def _fits_all(value: Any, arguments: tuple[Any, ...]) -> bool:
    """Return whether the elements of a list fit; a text is no list, and iterators are not looked into."""
    if isinstance(value, (str, bytes)) and arguments != (str,):
        return False
    if not arguments or not isinstance(value, (list, tuple, set, frozenset)):
        return True
    return all(_fits(one, arguments[0]) for one in list(value)[:1000])
