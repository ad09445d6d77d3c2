"""Check the arguments of loaders of slides, for fastai 1 and 2 alike."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from patchaug.errors import OptionError


def require_known_arguments(names: Iterable[str], known: Iterable[str], function: str, *, otherwise: str) -> None:
    """Reject misspelt arguments, which fastai would ignore.

    Args:
        names: Names of the arguments that were passed.
        known: Names that the function accepts.
        function: Name of the function, for the error.
        otherwise: Cure where no known name is close to the unknown one.

    Raises:
        OptionError: A name is unknown; the error suggests the nearest known one.
    """
    known = sorted(known)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            cure = f"did you mean {near[0]}?" if near else otherwise
            raise OptionError(f"{function} has no argument {name!r}; {cure}")


def require_full_batch(patches: int, batch_size: int) -> None:
    """Reject a training loader that drops its only, incomplete batch.

    Args:
        patches: Patches in an epoch; 0 for a loader without slides, which is accepted.
        batch_size: Patches in a batch.

    Raises:
        OptionError: An epoch has fewer patches than a batch.
    """
    if 0 < patches < batch_size:
        raise OptionError(
            f"an epoch has {patches} patches, fewer than the batch size {batch_size}, and incomplete batches are "
            f"dropped; raise per_slide or lower bs"
        )


def batch_size_of(bs: int, batch_size: int | None, default: int = 64) -> int:
    """Return the batch size that `bs` and its alias `batch_size` ask for.

    Args:
        bs: Batch size, `default` where none was set.
        batch_size: The alias, or None.
        default: fastai's default of `bs`.

    Raises:
        OptionError: Both are set, and differ.
    """
    if batch_size is None:
        return bs
    if bs not in (default, batch_size):
        raise OptionError(f"bs={bs} and batch_size={batch_size} both set the batch size; keep bs")
    return batch_size
