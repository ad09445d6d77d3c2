"""The exceptions of patchaug.

    PatchaugError
    ├── WindowError      (ValueError)         a window is invalid, or does not fit into its slide
    ├── ForegroundError  (ValueError)         a slide lacks the labelled pixels that the sampler needs
    ├── FrameError       (ValueError)         image and mask show different frames, or pixels have a wrong format
    ├── LabelError       (ValueError)         a mask holds a value that is not a class number, or has no code
    ├── OptionError      (ValueError)         an option is unknown, of a wrong type, or out of its limits
    ├── MissingError     (FileNotFoundError)  files do not exist
    ├── ReadError        (OSError)            a file cannot be opened or read
    └── WriteError       (OSError)            a file cannot be written

Each takes one argument: a text that states what is wrong, the value, the limit and the cure. Exceptions with two
arguments cannot be sent from a worker process to the main process.

Example:
    >>> from patchaug import PatchaugError, Uniform
    >>> try:
    ...     Uniform(0)
    ... except PatchaugError as error:
    ...     print(f"{type(error).__name__}: {error}")
    OptionError: size must be at least 1 px, got 0
"""

from __future__ import annotations


class PatchaugError(Exception):
    """Base of all errors that patchaug raises on purpose.

    Example:
        >>> issubclass(WindowError, PatchaugError)
        True
    """


class WindowError(PatchaugError, ValueError):
    """Raised when a window is invalid, or does not fit into its slide.

    Example:
        >>> slide.read(Window(500, 0, 64, 64))
        Traceback (most recent call last):
        WindowError: ...
    """


class ForegroundError(PatchaugError, ValueError):
    """Raised when a slide lacks the labelled pixels that a sampler needs.

    Example:
        >>> empty = open_slide(image, mask * 0, name="empty")
        >>> Plan([empty], Foreground(64))
        Traceback (most recent call last):
        ForegroundError: ...
    """


class FrameError(PatchaugError, ValueError):
    """Raised when image and mask show different frames, or a raster returns a wrong shape, dtype or channels.

    Example:
        >>> open_slide(image, mask[:-7], name="cut")
        Traceback (most recent call last):
        FrameError: ...
    """


class LabelError(PatchaugError, ValueError):
    """Raised when a mask holds a class number without a code, or pixels that are not integers.

    Example:
        >>> Plan([open_slide(image, mask + 5, codes=["background", "nucleus"])], Foreground(64))
        Traceback (most recent call last):
        LabelError: ...
    """


class OptionError(PatchaugError, ValueError):
    """Raised when an option is unknown, of a wrong type, or out of its limits.

    Example:
        >>> Foreground(64, foreground=1.5)
        Traceback (most recent call last):
        OptionError: foreground must be a probability, 0 to 1, got 1.5
    """


class MissingError(PatchaugError, FileNotFoundError):
    """Raised when files do not exist.

    Example:
        >>> open_slide("no_such_slide.tiff")
        Traceback (most recent call last):
        MissingError: ...
    """


class ReadError(PatchaugError, OSError):
    """Raised when a file cannot be opened or read.

    Example:
        >>> _ = Path("broken.tiff").write_bytes(b"II*")
        >>> open_slide("broken.tiff")
        Traceback (most recent call last):
        ReadError: ...
    """


class WriteError(PatchaugError, OSError):
    """Raised when a file or folder cannot be written.

    Example:
        >>> Path("options.json").mkdir()
        >>> PatchOptions(64).save("options.json")
        Traceback (most recent call last):
        WriteError: ...
    """


_MAX_LINE = 250  # characters; with seed and index the last line of an error stays below 300


def placed(error: ReadError | MissingError, place: str) -> ReadError | MissingError:
    """Append a place to an error's text; on a line of its own where one line would be too long to read."""
    text = f"{error}; {place}"
    return type(error)(text if len(text) <= _MAX_LINE else f"{error}\n{place}")
