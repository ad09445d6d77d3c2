"""The exceptions of patchaug.

    PatchaugError
    ├── WindowError      (ValueError)         a window that is no window, or does not fit
    ├── ForegroundError  (ValueError)         labelled pixels that the sampler needs are not there
    ├── FrameError       (ValueError)         image and mask do not show the same frame, or pixels have a wrong format
    ├── LabelError       (ValueError)         a mask holds what is no class number, or no code names
    ├── OptionError      (ValueError)         an option that is unknown or out of its limits
    ├── MissingError     (FileNotFoundError)  files that should be there are not
    ├── ReadError        (OSError)            a file that cannot be opened or read
    └── WriteError       (OSError)            a file that cannot be written

Each takes one argument, a text that says what, the value, the limit and the cure: an exception with two arguments
does not survive the way from a worker process to the main process.
"""

from __future__ import annotations


class PatchaugError(Exception):
    """Root of all errors that patchaug raises on purpose."""


class WindowError(PatchaugError, ValueError):
    """A window that is no window, or does not fit into its slide."""


class ForegroundError(PatchaugError, ValueError):
    """Labelled pixels that a sampler needs are not there."""


class FrameError(PatchaugError, ValueError):
    """Image and mask do not show the same frame, or a raster returns pixels of a wrong shape, dtype or channels."""


class LabelError(PatchaugError, ValueError):
    """A mask holds a class number that no code names, or pixels that are no integers."""


class OptionError(PatchaugError, ValueError):
    """An option that is unknown, of a wrong type, or out of its limits."""


class MissingError(PatchaugError, FileNotFoundError):
    """Files that should be there are not."""


class ReadError(PatchaugError, OSError):
    """A file that cannot be opened or read."""


class WriteError(PatchaugError, OSError):
    """A file or folder that cannot be written."""


_LINE = 250  # characters; with seed and index the last line of an error stays below 300


def placed(error: ReadError | MissingError, place: str) -> ReadError | MissingError:
    """The same error with a place at its end; in a line of its own where one line would get too long to be read."""
    text = f"{error}; {place}"
    return type(error)(text if len(text) <= _LINE else f"{error}\n{place}")
