"""Callbacks whose errors keep their text."""

from __future__ import annotations

from typing import Any

from fastai.callback.core import Callback

from patchaug.errors import PatchaugError


class PlainErrors(Callback):
    """A callback of fastai that raises errors of this package as they are, in one line."""

    def __call__(self, event_name: str) -> Any:
        """Call an event; fastai puts a line before the text of each error that it raises."""
        try:
            return super().__call__(event_name)
        except PatchaugError as error:
            raise type(error)(str(error).rpartition(":\n\t")[2]) from None
