"""`patchaug schema`: the options as JSON Schema."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from patchaug.options.fields import PatchOptions, TrainOptions

Whole = Annotated[bool, typer.Option("--run", help="The options of a whole run, as `patchaug train` takes them.")]


def schema(run: Whole = False) -> None:
    """Print the JSON Schema of the options, to draw a form from: titles, units, limits, examples.

    Example: patchaug schema --run > schema.json
    """
    typer.echo(json.dumps((TrainOptions if run else PatchOptions).model_json_schema(), indent=2, ensure_ascii=False))
