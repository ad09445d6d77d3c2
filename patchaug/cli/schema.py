"""`patchaug schema`: print the options as JSON Schema."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from patchaug.options.fields import PatchOptions, TrainOptions

Whole = Annotated[bool, typer.Option("--run", help="Options of a whole run, as for `patchaug train`.")]


def schema(run: Whole = False) -> None:
    """Print the JSON Schema of the options, with titles, units, limits and examples.

    Example: patchaug schema --run > schema.json
    """
    typer.echo(json.dumps((TrainOptions if run else PatchOptions).model_json_schema(), indent=2, ensure_ascii=False))
