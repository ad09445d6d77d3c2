"""Shared by the commands: options as flags, and results as text or JSON."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

import typer

from patchaug.errors import OptionError
from patchaug.options.fields import DataOptions, PatchOptions
from patchaug.options.settings import Settings, help_of, metavar_of

Out = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="Folder for the results; numbered where a run has used it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


class Options(Protocol):
    """A command's `options`: reads file, variables and flags, into a wider `model` and with values that override all.

    Attributes:
        file: The file of `--options`, or None.
    """

    file: Path | None

    def __call__(self, model: Any = ..., **overrides: Any) -> Any:
        """Build the model."""


def with_options(
    model: type[Settings], *, without: Collection[str] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a flag for each option of a model to a command, and `--options FILE`.

    Args:
        model: The options model.
        without: Names of options without a flag; the command sets them.
        **defaults: Values for options that no source sets.

    Returns:
        A decorator. The command's first argument, `options`, is a function that builds the model.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]
        names = [name for name in model.model_fields if name not in without]
        file = typer.Option("--options", metavar="FILE", help="JSON or TOML file of options; flags override it.")

        @wraps(command)
        def run(**values: Any) -> None:
            flags = {name: value for name in names if (value := values.pop(f"option_{name}")) is not None}
            source = values.pop("options_file")

            def options(model: type[Settings] = model, *, file: Path | None = source, **overrides: Any) -> Settings:
                return model.layered(flags, file=file, defaults=defaults, **overrides)

            options.file = source  # type: ignore[attr-defined]
            command(cast(Options, options), **values)

        hints = inspect.get_annotations(command, eval_str=True)
        parameters = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
        parameters.append(_parameter("options_file", Annotated[Path | None, file]))
        parameters += [_parameter(f"option_{name}", _flag(name, model, defaults.get(name))) for name in names]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        # typer reads the flags from here.
        vars(run).update(__signature__=inspect.Signature(parameters))
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def print_result(result: dict[str, Any], *lines: str, as_json: bool) -> None:
    """Print the result of a command: one JSON object, or lines of text."""
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    else:
        for line in lines:
            typer.echo(line)


def require(condition: bool, message: str) -> None:
    """Raise OptionError with the message unless the condition holds."""
    if not condition:
        raise OptionError(message)


def require_picture(file: Path) -> None:
    """Raise OptionError if a file is no slide by its name: a model, options or a report."""
    cures = {
        ".pkl": f"it is a model: patchaug predict {file} slide.svs predicts a slide with it",
        ".pt": "it is the state of a run: patchaug train --resume goes on with it",
        ".pth": "it holds weights: learn.load reads them",
        ".json": "options of a run are given by --options",
        ".csv": "slides listed in a CSV are given to patchaug train by --table",
    }
    cure = cures.get(file.suffix.lower())
    require(cure is None, f"{file} is not a slide; {cure}; slides are files such as case7.svs or case7.tiff")


def number_or_text(text: str | None) -> int | str | None:
    """Return a text that is a number as this number."""
    return int(text) if text is not None and text.lstrip("-").isdecimal() else text


def bars_wanted(as_json: bool) -> bool:
    """Return True if progress bars are to be shown: stderr is a terminal, and the result is text."""
    return sys.stderr.isatty() and not as_json


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag(name: str, model: type[Settings], default: Any) -> Any:
    flag, text = f"--{name.replace('_', '-')}", help_of(name, model, default)
    panel = next(
        (title for title, part in (("Windows", PatchOptions), ("Data", DataOptions)) if name in part.model_fields),
        "Training",
    )
    if model.model_fields[name].annotation is bool:
        return Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", help=text, rich_help_panel=panel)]
    return Annotated[
        str | None, typer.Option(flag, metavar=metavar_of(name, model), help=text, rich_help_panel=panel)
    ]  # parsed by the model, as values of files and variables
