"""Help texts without the names of Python's types: flags have no value, and other options show what to write."""

from __future__ import annotations

from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup


class PlainCommand(TyperCommand):
    """Command whose help shows values: `--json`, not `--json <bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with values for the column of types."""
        return _with_values(super().get_params(ctx), ctx)


class PlainGroup(TyperGroup):
    """Group of commands whose own help shows values."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, with values for the column of types."""
        return _with_values(super().get_params(ctx), ctx)


def _with_values(params: list[Any], ctx: Any) -> list[Any]:
    for param in params:
        if hasattr(type(param), "display_type_rich"):  # typer 0.29 and newer
            value = (type(param).display_type_rich(param, ctx=ctx) or "").strip("<>")
            has_value = not getattr(param, "is_flag", False) and param.param_type_name != "argument"
            param.display_type_rich = partial(_shown, value if has_value else "")
    return params


def _shown(value: str, ctx: Any) -> str:
    return value
