"""Errors survive pickling on the way back from a worker."""

import pickle

import pytest

from patchaug import errors

LEAVES = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.PatchaugError)]


@pytest.mark.parametrize("error", LEAVES, ids=lambda e: e.__name__)
def test_one_argument_and_whole_after_pickling(error: type) -> None:
    """Text and class survive; each leaf is a builtin error too."""
    again = pickle.loads(pickle.dumps(error("slide a, level 0")))
    assert type(again) is error and str(again) == "slide a, level 0"
    assert error is errors.PatchaugError or issubclass(error, (ValueError, OSError))


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class is drawn, with its builtin parent."""
    for error in LEAVES:
        assert error.__name__ in (errors.__doc__ or "")
        if error is not errors.PatchaugError:
            assert f"({error.__mro__[2].__name__})" in (errors.__doc__ or "")
