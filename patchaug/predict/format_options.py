"""Options of the formats of predictions, such as `simplify=` of GeoJSON: checked before anything is predicted."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.registry import FORMATS, open_writer

PROBABILITIES = "probabilities."  # before a format: write probabilities in place of classes
_OWN = {"self", "path", "frame", "what", "image", "ignore"}  # what predictions set themselves

FormatOptions = Mapping[str, Mapping[str, Any]]


def checked_format_options(
    given: FormatOptions | None, formats: Sequence[str], codes: Sequence[str] | None
) -> dict[str, dict[str, Any]]:
    """Return the options of each format that has some.

    Args:
        given: Options by format, such as {"geojson": {"simplify": 2.0}}.
        formats: The formats that are written.
        codes: Names of the classes, which some options name.

    Raises:
        OptionError: A format is not written, or has no such option, or the value is out of its limits.

    Examples:
        >>> from patchaug.predict.format_options import checked_format_options
        >>> checked_format_options({"geojson": {"object_type": "detection"}}, ["geojson", "csv"], ["a", "b"])
        {'geojson': {'object_type': 'detection'}}
    """
    found = {}
    for name, options in (given or {}).items():
        if name not in formats:
            raise OptionError(f"format_options has {name!r}, and the formats are {', '.join(formats)}")
        if not isinstance(options, Mapping):
            raise OptionError(f"format_options[{name!r}] must be options by name, got {options!r}")
        known = options_of(name)
        unknown = [key for key in options if key not in known]
        if unknown:
            raise OptionError(f"format {name!r} has no option {unknown[0]!r}; it has {', '.join(known) or 'none'}")
        # Whether coordinates= fits is known for each slide.
        common = {key: value for key, value in options.items() if key != "coordinates"}
        what: Any = "probabilities" if name.startswith(PROBABILITIES) else "classes"
        open_writer(_plain(name), Path(name), MapFrame("slide", 1, 1, tuple(codes or "a")), what=what, **common)
        if options:
            found[name] = dict(options)
    return found


def options_of(name: str) -> list[str]:
    """Return the names of a format's options.

    Examples:
        >>> options_of("geojson")
        ['background', 'object_type', 'coordinates', 'simplify']
    """
    options = [one for one in inspect.signature(FORMATS[_plain(name)].writer).parameters if one not in _OWN]
    return [one for one in options if not (one == "dtype" and _plain(name) == name)]


def parse_format_options(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse options as a command line gives them: numbers become numbers, and "none" becomes None.

    Args:
        texts: Each FORMAT:OPTION=VALUE.

    Raises:
        OptionError: A text is of another form, or an option comes twice.

    Examples:
        >>> parse_format_options(["geojson:simplify=2", "geojson:object_type=detection"])
        {'geojson': {'simplify': 2, 'object_type': 'detection'}}
    """
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, colon, rest = text.partition(":")
        option, equals, value = rest.partition("=")
        if not (name and colon and option and equals):
            raise OptionError(f"--format-option must be FORMAT:OPTION=VALUE, such as geojson:simplify=2, got {text!r}")
        options = found.setdefault(name, {})
        if option in options:
            raise OptionError(f"--format-option {name}:{option} comes twice")
        options[option] = _value(value)
    return found


def _value(text: str) -> Any:
    if text.casefold() == "none":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _plain(name: str) -> str:
    return name.removeprefix(PROBABILITIES)
