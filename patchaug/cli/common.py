"""What the commands share: options as flags, results for people and for machines, an end by Ctrl-C."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from patchaug.errors import OptionError
from patchaug.options.fields import PatchOptions
from patchaug.options.settings import Settings, help_of, metavar_of

Out = Annotated[Path, typer.Option(help="Folder for the results.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")]
# What a command gets as `options`: it reads file, variables and flags when it is called, perhaps with a wider `model`,
# and with values that win over all.
Options = Callable[..., Any]


def takes(
    model: type[Settings], *, without: Collection[str] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each option of a model, and `--options FILE`.

    Args:
        model: The model of options.
        without: Options that the command sets by itself.
        **defaults: Options for where nothing is said.

    Returns:
        A decorator; the command's first argument, `options`, makes the model when it is called.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]
        names = [name for name in model.model_fields if name not in without]
        file = typer.Option("--options", metavar="FILE", help="JSON or TOML file of options; flags win over it.")

        @wraps(command)
        def run(**values: Any) -> None:
            flags = {name: value for name in names if (value := values.pop(f"option_{name}")) is not None}
            source = values.pop("options_file")

            def options(model: type[Settings] = model, **overrides: Any) -> Settings:
                return model.layered(flags, file=source, defaults=defaults, **overrides)

            command(options, **values)

        hints = inspect.get_annotations(command, eval_str=True)
        parameters = [parameter.replace(annotation=hints[parameter.name]) for parameter in own]
        parameters.append(_parameter("options_file", Annotated[Path | None, file]))
        parameters += [_parameter(f"option_{name}", _flag(name, model, defaults.get(name))) for name in names]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        # What typer reads the flags from.
        vars(run).update(__signature__=inspect.Signature(parameters))
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def say(result: dict[str, Any], *lines: str, as_json: bool) -> None:
    """A command's result: one JSON object, or lines for people."""
    if as_json:
        typer.echo(json.dumps(result, allow_nan=False))
    else:
        for line in lines:
            typer.echo(line)


def require(good: bool, message: str) -> None:
    """Raise OptionError with the message where something is not as it must be."""
    if not good:
        raise OptionError(message)


def bars_wanted(as_json: bool) -> bool:
    """Whether to show bars: to people at a terminal."""
    return sys.stderr.isatty() and not as_json


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag(name: str, model: type[Settings], default: Any) -> Any:
    flag, text = f"--{name.replace('_', '-')}", help_of(name, model, default)
    panel = "Windows" if name in PatchOptions.model_fields else "Data and training"
    if model.model_fields[name].annotation is bool:
        return Annotated[bool | None, typer.Option(f"{flag}/--no-{flag[2:]}", help=text, rich_help_panel=panel)]
    return Annotated[
        str | None, typer.Option(flag, metavar=metavar_of(name, model), help=text, rich_help_panel=panel)
    ]  # read by the model, as from a file or a variable
