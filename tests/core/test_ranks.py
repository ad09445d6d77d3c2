"""Which of several processes this is, from the environment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.ranks import Ranks, read_ranks
from patchaug.errors import OptionError


@given(st.integers(1, 100).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size))), st.booleans())
def test_what_torchrun_sets_comes_back(pair, local):
    """Without LOCAL_ variables all ranks are of this machine."""
    rank, size = pair
    environ = {"RANK": str(rank), "WORLD_SIZE": str(size)}
    if local:
        environ |= {"LOCAL_RANK": str(rank % 4), "LOCAL_WORLD_SIZE": "4"}
    assert read_ranks(environ) == Ranks(rank, size, *((rank % 4, 4) if local else (rank, size)))
    assert read_ranks(environ).is_first == (rank == 0)
    assert read_ranks({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Ranks(5, 8, 1, 8)  # as deepspeed sets


def test_without_variables_there_is_one_process(monkeypatch):
    """Also where a variable is empty, and in the environment of this process at each call."""
    assert read_ranks({}) == read_ranks({"RANK": "", "WORLD_SIZE": ""}) == Ranks()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert read_ranks().rank == 1


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 must be below WORLD_SIZE=2"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK must be an integer of at least 0, got 'x'"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE must be an integer of at least 1, got '0'"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK must be an integer of at least 0"),
        ({"LOCAL_RANK": "3"}, "LOCAL_RANK=3 must be below LOCAL_WORLD_SIZE=1"),
        ({"RANK": "3"}, "RANK=3 is set without WORLD_SIZE"),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "4", "LOCAL_WORLD_SIZE": "4"}, "LOCAL_RANK=4 must be below"),
    ],
)
def test_wrong_variables_are_refused(environ, text):
    """With name, value and limit."""
    with pytest.raises(OptionError, match=text):
        read_ranks(environ)
