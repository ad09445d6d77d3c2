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

Examples:
    >>> from patchaug import PatchaugError, Uniform
    >>> try:
    ...     Uniform(0)
    ... except PatchaugError as error:
    ...     print(f"{type(error).__name__}: {error}")
    OptionError: size must be at least 1 px, got 0
"""

from __future__ import annotations

from collections.abc import Sequence


class PatchaugError(Exception):
    """Base of all errors that patchaug raises on purpose.

    Examples:
        >>> issubclass(WindowError, PatchaugError)
        True
    """


class WindowError(PatchaugError, ValueError):
    """Raised when a window is invalid, or does not fit into its slide.

    Examples:
        >>> try:
        ...     _ = slide.read(Window(500, 0, 64, 64))
        ... except WindowError:
        ...     print("the window leaves the slide")
        the window leaves the slide
    """


class ForegroundError(PatchaugError, ValueError):
    """Raised when a slide lacks the labelled pixels that a sampler needs.

    Examples:
        >>> empty = open_slide(image, mask * 0, name="empty")
        >>> try:
        ...     _ = Plan([empty], Foreground(64))
        ... except ForegroundError:
        ...     print("there is no labelled pixel")
        there is no labelled pixel
    """


class FrameError(PatchaugError, ValueError):
    """Raised when image and mask show different frames, or a raster returns a wrong shape, dtype or channels.

    Examples:
        >>> try:
        ...     _ = open_slide(image, mask[:-7], name="cut")
        ... except FrameError:
        ...     print("the sizes differ")
        the sizes differ
    """


class LabelError(PatchaugError, ValueError):
    """Raised when a mask holds a class number without a code, or pixels that are not integers.

    Examples:
        >>> try:
        ...     _ = Plan([open_slide(image, mask + 5, codes=["background", "nucleus"])], Foreground(64))
        ... except LabelError:
        ...     print("the codes do not name class 5")
        the codes do not name class 5
    """


class OptionError(PatchaugError, ValueError):
    """Raised when an option is unknown, of a wrong type, or out of its limits.

    Examples:
        >>> try:
        ...     _ = Foreground(64, foreground=1.5)
        ... except OptionError:
        ...     print("a probability is 0 to 1")
        a probability is 0 to 1
    """


class MissingError(PatchaugError, FileNotFoundError):
    """Raised when files do not exist.

    Examples:
        >>> try:
        ...     _ = open_slide("no_such_slide.tiff")
        ... except MissingError:
        ...     print("the file does not exist")
        the file does not exist
    """


class ReadError(PatchaugError, OSError):
    """Raised when a file cannot be opened or read.

    Examples:
        >>> _ = Path("broken.tiff").write_bytes(b"II*")
        >>> try:
        ...     _ = open_slide("broken.tiff")
        ... except ReadError:
        ...     print("the file is broken")
        the file is broken
    """


class WriteError(PatchaugError, OSError):
    """Raised when a file or folder cannot be written.

    Examples:
        >>> Path("options.json").mkdir()
        >>> try:
        ...     PatchOptions(64).save("options.json")
        ... except WriteError:
        ...     print("a folder has this name")
        a folder has this name
    """


def collected(errors: Sequence[PatchaugError], total: int, what: str = "slides") -> PatchaugError:
    r"""Return one error for those of several slides: how many there are, and the first of them, a line each.

    Args:
        errors: The errors, at least one.
        total: Number of slides that were looked at.
        what: What was looked at.

    Returns:
        The error itself where it is the only one; else one of their class, or of the root where classes differ.

    Examples:
        >>> collected([ReadError("a.tiff is empty"), ReadError("b.tiff is cut off")], 9)
        ReadError('2 of 9 slides cannot be used:\n- a.tiff is empty\n- b.tiff is cut off')
    """
    if len(errors) == 1:
        return errors[0]
    lines = [f"{len(errors)} of {total} {what} cannot be used:", *(f"- {error}" for error in errors[:_LISTED])]
    if len(errors) > _LISTED:
        lines.append(f"- and {len(errors) - _LISTED} more")
    kinds = {type(error) for error in errors}
    kind = kinds.pop() if len(kinds) == 1 else PatchaugError
    return kind("\n".join(lines))


_LISTED = 20  # errors of one that stands for several
_MAX_LINE = 250  # characters; with seed and index the last line of an error stays below 300


def placed(error: ReadError | MissingError, place: str) -> ReadError | MissingError:
    """Append a place to an error's text; on a line of its own where one line would be too long to read.

    Examples:
        >>> placed(ReadError("the tile is damaged"), "slide a.tiff")
        ReadError('the tile is damaged; slide a.tiff')
    """
    text = f"{error}; {place}"
    return type(error)(text if len(text) <= _MAX_LINE else f"{error}\n{place}")
