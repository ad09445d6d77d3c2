"""Options as text: what a flag or an environment variable says, as a value of the option's type."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo


def from_text(text: str, field: FieldInfo) -> Any:
    """Parse a text as the first reading that the option's type accepts.

    The readings, in order: JSON (`64`, `0.5`, `[256, 512]`, `{"tumor": 2}`), the text itself (`area`), `none`,
    `tumor=2,stroma=1` (a name that stands twice has a list), and `256,512` or `tumor,stroma`.

    Args:
        text: What was given.
        field: The option.

    Returns:
        The value; limits are not looked at. The text as it came where no reading fits: the model says what is wrong.
    """
    adapter = _adapter(field)
    for reading in _readings(text):
        try:
            return adapter.validate_json(json.dumps(reading), strict=True)
        except ValidationError:
            continue
    return text


def to_text(value: Any, field: FieldInfo) -> str:
    """Return a text that `from_text` parses as the value."""
    plain = isinstance(value, str) and from_text(value, field) == value
    return value if plain else json.dumps(value)


def _readings(text: str) -> Iterator[Any]:
    number = _scalar(text)
    if not isinstance(number, str) or text.startswith('"'):
        yield number
    yield text
    if text.lower() == "none":
        yield None
    parts = [part.strip() for part in text.split(",")]
    pairs = [part.rpartition("=") for part in parts]
    if all(key and sign for key, sign, _ in pairs):
        if len({key for key, _, _ in pairs}) == len(pairs):
            yield {key.strip(): _scalar(value) for key, _, value in pairs}
        else:  # a name with several values
            several: dict[str, list[Any]] = {}
            for key, _, value in pairs:
                several.setdefault(key.strip(), []).append(_scalar(value))
            yield {key: values[0] if len(values) == 1 else values for key, values in several.items()}
    yield [_scalar(part) for part in parts]
    yield parts


def _scalar(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


def _no_number(text: str) -> Any:
    raise ValueError(text)


@lru_cache(maxsize=256)
def _adapter_of(annotation: Hashable) -> TypeAdapter[Any]:
    kind: Any = annotation
    return TypeAdapter(kind)


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    kind: Any = _without_limits(field.annotation)
    return _adapter_of(kind)


def _without_limits(kind: Any) -> Any:
    """Return a type without the limits inside it, so that 0 is a number also where 1 is the least."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _without_limits(inner[0])
    if origin in (Union, UnionType):
        return Union[tuple(_without_limits(part) for part in inner)]  # noqa: UP007 - of parts that are known at run time
    if origin in (list, tuple, dict):
        return origin[tuple(_without_limits(part) for part in inner)]
    return kind
