"""Command line: one file per command; errors and Ctrl-C end in one line.

Exit codes: 0 for success, 1 for failure or interruption, 2 for wrong use. Results go to stdout, messages to stderr.
"""

from __future__ import annotations

import io
import json
import sys
from importlib import import_module
from typing import Annotated

import typer

from patchaug.cli.advise import advise
from patchaug.cli.bench import bench
from patchaug.cli.check import check
from patchaug.cli.demo import demo
from patchaug.cli.evaluate import evaluate
from patchaug.cli.plain_help import PlainCommand, PlainGroup
from patchaug.cli.predict import predict
from patchaug.cli.schema import schema
from patchaug.cli.show import show
from patchaug.cli.stats import stats
from patchaug.cli.train import train
from patchaug.core.stop_signals import interrupt_on_stop_signals
from patchaug.core.validation import RENAMED
from patchaug.errors import OptionError, PatchaugError

app = typer.Typer(
    cls=PlainGroup,
    help="Train fastai on slides that are too large to be samples, without writing tiles to disk.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


_STOPPED = 130  # what typer makes of Ctrl-C


def _print_version(wanted: bool) -> None:
    """Print the version and end, if `--version` is given."""
    if wanted:
        typer.echo(f"patchaug {import_module('patchaug').__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of all commands."""


# The order of the help.
for _command in (demo, advise, train, predict, evaluate, show, check, stats, schema, bench):
    app.command(cls=PlainCommand)(_command)


def main() -> None:
    """Run the command line; report a PatchaugError in one line and exit with code 1, or 2 for wrong use."""
    interrupt_on_stop_signals()
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text of the terminal's encoding
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _require_new_names(sys.argv[1:])
        app()
    except PatchaugError as error:
        if "--json" in sys.argv:
            typer.echo(json.dumps({"error": str(error), "kind": type(error).__name__}))
        typer.echo(f"patchaug: {error}", err=True)
        sys.exit(2 if isinstance(error, OptionError) else 1)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("fastai", "torch"):
            raise
        typer.echo(
            'patchaug: this command needs fastai, which is not installed: pip install "patchaug[fastai]"', err=True
        )
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != _STOPPED:
            raise
        typer.echo("patchaug: stopped", err=True)
        sys.exit(1)


def _require_new_names(words: list[str]) -> None:
    """Raise OptionError if a flag has its old name."""
    for old, new in RENAMED.items():
        if any(word.partition("=")[0] == f"--{old}" for word in words):
            raise OptionError(f"--{old} is now called --{new.replace('_', '-')}")
