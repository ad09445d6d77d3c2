"""Options in JSON and TOML files: read strictly, written whole."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from patchaug.core.atomic import write_text
from patchaug.errors import MissingError, OptionError

LARGEST = 2**20  # bytes; options of a thousand classes take a tenth of that


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the options of a file, by name; their values are checked later.

    Args:
        path: A file whose name ends in .json or .toml.

    Raises:
        MissingError: There is no such file.
        OptionError: It is larger than 1 MiB, not JSON or TOML, no table of options, or gives an option twice.
    """
    file = Path(path)
    if file.suffix.lower() not in (".json", ".toml"):
        raise OptionError(f"{file}: options are read from .json and .toml files, got {file.suffix or 'no suffix'!r}")
    if not file.is_file():
        raise MissingError(f"there is no file {file}; options are read from a .json or .toml file")
    with file.open("rb") as stream:
        content = stream.read(LARGEST + 1)  # what is read is what counts: a pipe or a growing file has no size
    if len(content) > LARGEST:
        raise OptionError(f"{file}: a file of options has at most {LARGEST} bytes, and this one has more")
    try:
        text = content.decode()
        values = tomllib.loads(text) if file.suffix.lower() == ".toml" else _from_json(text)
    except RecursionError:
        raise OptionError(f"{file}: too many lists or tables inside each other") from None
    except ValueError as error:  # of UTF-8, JSON, TOML, or of a number with thousands of digits
        raise OptionError(f"{file}: {error}") from None
    if isinstance(values, dict) and str(values.get("written_by", "")).startswith("patchaug options "):
        del values["written_by"]  # the signature
    if not isinstance(values, dict):
        raise OptionError(f"{file}: a file of options is a table of names and values, got a {type(values).__name__}")
    return values


def write(path: str | os.PathLike[str], values: dict[str, Any]) -> None:
    """Write options as JSON; the file appears under its name when it is whole.

    Raises:
        OptionError: The name does not end in .json.
        MissingError: The folder does not exist.
        WriteError: The file exists and is not a file of options that patchaug wrote, or cannot be written.
    """
    file = Path(path)
    if file.suffix.lower() != ".json":
        raise OptionError(f"{file}: options are saved as .json, got {file.suffix or 'no suffix'!r}")
    write_text(file, json.dumps(values, indent=2, allow_nan=False) + "\n", "options")


def _from_json(text: str) -> Any:
    return _once(json.loads(text, object_pairs_hook=_Pairs), "")


class _Pairs(list[tuple[str, Any]]):
    """The members of a JSON object, before it is known that none is given twice."""


def _once(value: Any, path: str) -> Any:
    """The value with tables in place of pairs.

    Raises:
        ValueError: A key is given twice; its path is named, as TOML's parser does.
    """
    if not isinstance(value, _Pairs):
        return [_once(item, f"{path}[{place}]") for place, item in enumerate(value)] if type(value) is list else value
    table: dict[str, Any] = {}
    for key, inner in value:
        here = f"{path}.{key}" if path else key
        if key in table:
            raise ValueError(f"{here} is given twice; keep one")
        table[key] = _once(inner, here)
    return table
