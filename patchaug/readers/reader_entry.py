"""One entry of the table of readers: which sources it takes, and with which options its openers are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from inspect import Parameter, signature
from types import FunctionType
from typing import Any, NamedTuple

from patchaug.errors import OptionError
from patchaug.readers.base import Raster

Opener = Callable[..., Raster]
# Options of annotations that an opener may leave out of its parameters, and their defaults.
OPTIONAL = {"classes": None, "outside": None, "label": "classification", "invalid": "raise", "place": None}


class HeadTest:
    """Predicate of a source and its first bytes, as `accepts` of our readers: the registry reads them once."""

    def __init__(self, test: Callable[[Any, bytes], bool]) -> None:
        self.test = test

    def __call__(self, source: Any) -> bool:
        """Return what the predicate says of a source without first bytes: a folder, or an object."""
        return self.test(source, b"")


@dataclass(frozen=True)
class Reader:
    """One entry of the table; see `register_reader`."""

    name: str
    image: Opener | None
    mask: Opener | None
    annotations: Opener | None
    suffixes: frozenset[str]
    magic: tuple[bytes, ...]
    accepts: Callable[[Any], bool] | None
    priority: int

    def opener(self, kind: str) -> Opener | None:
        """Return the opener for "image", "mask" or "annotations"; None where the reader has none."""
        opener: Opener | None = getattr(self, kind)
        return opener

    def takes(self, source: Any, head: bytes) -> bool:
        """Return whether the reader should be tried: by content, and by suffix where it names no content.

        Args:
            source: Absolute path, or the object that was passed.
            head: First bytes of the file; empty for folders and objects.
        """
        if isinstance(self.accepts, HeadTest):
            if self.accepts.test(source, head):
                return True
        elif self.accepts is not None and self.accepts(source):
            return True
        if self.magic and head.startswith(self.magic):
            return True
        by_content = self.accepts is not None or self.magic
        return not by_content and isinstance(source, str) and source.lower().endswith(tuple(self.suffixes))


class Parameters(NamedTuple):
    """Names of an opener's parameters, and whether it takes any others."""

    names: frozenset[str]
    any: bool


def parameters_of(opener: Opener) -> Parameters:
    """Return the parameters of an opener; those of a function are looked up once, for thousands of slides."""
    return _looked_up_once(opener) if type(opener) in (FunctionType, partial) else _looked_up(opener)


def _looked_up(opener: Opener) -> Parameters:
    found = signature(opener).parameters
    return Parameters(frozenset(found), any(one.kind is Parameter.VAR_KEYWORD for one in found.values()))


_looked_up_once = lru_cache(maxsize=256)(_looked_up)


def accepted(reader: Reader, opener: Opener, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that an opener takes; the newer ones of annotations only where it names them.

    Raises:
        OptionError: An option that was set is not among them.
    """
    taken, takes_any = parameters_of(opener)
    if takes_any:
        return options
    for name, default in OPTIONAL.items():
        if name not in taken and options.get(name, default) != default and name in ("outside", "label", "invalid"):
            raise OptionError(f"{name}={options[name]!r} is not an option of reader {reader.name!r}; leave it out")
    return {name: value for name, value in options.items() if name in taken or name not in OPTIONAL}
