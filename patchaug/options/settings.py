"""`Settings`: a frozen model of options that flags, files and environment variables can be read into."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from patchaug.errors import OptionError, PatchaugError
from patchaug.options.files import read, write
from patchaug.options.messages import describe, flag_of, unknown_option, with_flags
from patchaug.options.parse_text import from_text

PREFIX = "PATCHAUG_"  # of environment variables


def _without_errors(schema: dict[str, Any]) -> None:
    """A schema describes the options, not what Python raises."""
    schema["description"] = schema["description"].partition("\n\nRaises:")[0]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"


class Settings(BaseModel):
    """Options, checked together and once; said once, as fields, for scripts, flags, files, environment and forms.

    Values of a later source win: defaults, file, environment, flags.

    Raises:
        OptionError: An option is unknown_option, of a wrong type, or out of its limits; one line names them all.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, json_schema_extra=_without_errors
    )

    def __init__(self, **values: Any) -> None:
        self._fill(values, {})

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Add the list of options to the docstring, which `help` shows."""
        if cls.__doc__:
            cls.__doc__ = f"{cls.__doc__.rstrip()}\n\n    Attributes:\n" + "".join(
                f"        {name}: {line}\n" for name, line in option_lines(cls)
            )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **overrides: Any) -> Self:
        """Read the options of a JSON or TOML file.

        A file of a whole run (`patchaug train` leaves one) can be read for its windows alone: what belongs to the
        training is passed over.

        Args:
            path: The file.
            **overrides: Options that win over the file's.

        Raises:
            MissingError: There is no such file.
            OptionError: It cannot be read, or holds a mistake; the text names the file and the key.
        """
        return cls.layered(file=path, environ={}, **overrides)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Read the options of environment variables such as PATCHAUG_SIZE=256.

        Args:
            environ: The variables; default: those of the process.
            **overrides: Options that win over them.

        Raises:
            OptionError: A variable PATCHAUG_... names no option, or its value is wrong.
        """
        return cls.layered(environ=environ, **overrides)

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser, *, prefix: str = "") -> None:
        """Add a flag for each option, and `--options FILE`, to a parser that may have flags of its own.

        Args:
            parser: The parser.
            prefix: Put before each flag where names would clash: "patch-" makes --patch-size.
        """
        group = parser.add_argument_group(
            cls.__name__, "each may also stand in the file of --options, or in PATCHAUG_..."
        )
        parser.set_defaults(**{_start(prefix) + "parser": parser})
        group.add_argument(f"--{prefix}options", metavar="FILE", help="JSON or TOML file of options", default=None)
        for name, field in cls.model_fields.items():
            words: dict[str, Any] = {"help": help_of(name, cls).replace("%", "%%"), "default": argparse.SUPPRESS}
            flag = flag_of(name, f"--{prefix}")
            if field.annotation is bool:
                group.add_argument(flag, action=argparse.BooleanOptionalAction, **words)
            else:
                group.add_argument(flag, metavar=metavar_of(name, cls), **words)

    @classmethod
    def from_args(
        cls, args: argparse.Namespace | Sequence[str] | None = None, *, prefix: str = "", **defaults: Any
    ) -> Self:
        """Read the options of a command line, then of its file, then of the environment.

        Args:
            args: What `parse_args` returned, where the parser has `add_arguments`; or the words of a command line;
                default: those of the process.
            prefix: As given to `add_arguments`.
            **defaults: Options for where nothing is said.

        Raises:
            SystemExit: An option is missing or wrong. argparse prints its usage, and the flag, file or variable.
        """
        parser: argparse.ArgumentParser
        if not isinstance(args, argparse.Namespace):
            parser = argparse.ArgumentParser(allow_abbrev=False)
            cls.add_arguments(parser, prefix=prefix)
            args = parser.parse_args(args)
        start = _start(prefix)
        given = {name: getattr(args, start + name) for name in cls.model_fields if hasattr(args, start + name)}
        try:
            return cls.layered(given, file=getattr(args, start + "options"), defaults=defaults, prefix=prefix)
        except PatchaugError as error:
            parser = getattr(args, start + "parser")
            parser.error(str(error))

    @classmethod
    def layered(
        cls,
        flags: Mapping[str, Any] | None = None,
        *,
        file: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        prefix: str = "",
        **overrides: Any,
    ) -> Self:
        """Combine the options of several sources; each wins over those before it: defaults, file, environment, flags.

        Args:
            flags: Options as text (or bool), by name.
            file: A JSON or TOML file.
            environ: Environment variables; default: those of the process.
            defaults: Options for where nothing is said.
            prefix: What stands before the flags' names.
            **overrides: Values that win over all.

        Raises:
            MissingError: There is no such file.
            OptionError: An option is missing or wrong; the text names the flag, file or variable.
        """
        values, origins = dict(defaults or {}), dict[str, str]()
        for name, value in read(file).items() if file is not None else ():
            if name not in cls.model_fields and name in cls._wider():
                continue
            values[name], origins[name] = value, str(file)
        for name, value in cls._variables(os.environ if environ is None else environ):
            values[name], origins[name] = value, PREFIX + name.upper()
        for name, value in (flags or {}).items():
            if name not in cls.model_fields:
                raise OptionError(unknown_option(name, cls.model_fields))
            values[name] = from_text(value, cls.model_fields[name]) if isinstance(value, str) else value
            origins[name] = flag_of(name, f"--{prefix}")
        values |= overrides
        made = cls.__new__(cls)
        origins = {name: origin for name, origin in origins.items() if name not in overrides}
        made._fill(values, origins, None if flags is None else f"--{prefix}")
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all options to a JSON file that `from_file` reads; it appears when it is whole.

        Raises:
            OptionError: The name does not end in .json.
            MissingError: There is no such folder.
        """
        write(path, self.model_dump(mode="json"))

    def _fill(self, values: dict[str, Any], origins: Mapping[str, str], flags: str | None = None) -> None:
        names = type(self).model_fields
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise OptionError(describe(error, names, origins, flags)) from None
        try:
            self._check()
        except OptionError as error:
            raise (error if flags is None else OptionError(with_flags(str(error), names, flags))) from None

    def _check(self) -> None:
        """What no single field can say; raises OptionError."""

    @classmethod
    def _wider(cls) -> set[str]:
        """Names of the options of models that hold these options and more."""
        return {name for model in _below(cls) for name in model.model_fields}

    @classmethod
    def _variables(cls, environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
        for variable, text in environ.items():
            if variable.startswith(PREFIX):
                name = variable.removeprefix(PREFIX).lower()
                if name in cls.model_fields:
                    yield name, from_text(text, cls.model_fields[name])
                elif name not in cls._wider():
                    raise OptionError(f"environment variable {variable}: {unknown_option(name, cls.model_fields)}")


def help_of(name: str, model: type[Settings], default: Any = None) -> str:
    """Return the help text of an option, with its unit and default."""
    field = model.model_fields[name]
    extra = field.json_schema_extra
    unit = f" ({extra['unit']})" if isinstance(extra, dict) and "unit" in extra else ""
    value = default if default is not None or field.is_required() else field.default
    return f"{field.description}{unit}" + ("" if value is None or value == [] else f" (default {_shown(value)})")


def option_lines(model: type[Settings]) -> list[tuple[str, str]]:
    """Return name and one line for each option of a model: the values that it takes, its meaning, unit and default."""
    return [(name, f"{metavar_of(name, model)}. {help_of(name, model)}") for name in model.model_fields]


def metavar_of(name: str, model: type[Settings]) -> str:
    """Return the placeholder of an option's value in help texts: its choices, its kind of number, or an example."""
    field = model.model_fields[name]
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "placeholder" in extra:
        return str(extra["placeholder"])
    kinds = list(dict.fromkeys(_placeholders(field.annotation)))
    if kinds:
        return "|".join(kinds)
    example = (field.examples or [name.upper()])[0]
    return ",".join(map(str, example)) if isinstance(example, list) else str(example)


def _placeholders(kind: Any) -> Iterator[str]:
    """Yield the choices of a type, "N" for integers, "X" for other numbers; nothing for texts and lists."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _placeholders(inner[0])
    elif origin is Literal:
        yield from map(str, inner)
    elif origin in (Union, UnionType) and str not in inner:
        for part in inner:
            yield from _placeholders(part)
    elif origin is tuple:
        yield ",".join(word for part in inner for word in _placeholders(part))
    elif kind in (int, float):
        yield "N" if kind is int else "X"


def _start(prefix: str) -> str:
    """Return what stands before the names of options in a Namespace."""
    return prefix.replace("-", "_")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else repr(value)


def _below(model: type[Settings]) -> Iterable[type[Settings]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _below(subclass)
