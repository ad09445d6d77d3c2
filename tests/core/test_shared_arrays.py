"""A total of windows shared out among slides, and an index shared among processes."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import patchaug
from patchaug import Foreground, OptionError, Plan, Uniform, open_slide
from patchaug.core.memory.anonymous import HAS_FILE_LOCKS, MemoryFile
from patchaug.core.memory.shared_arrays import LARGE, SharedArray
from patchaug.sampling.allocation import shared_out

ROOT = Path(patchaug.__file__).parent


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=12), st.integers(0, 500), st.randoms())
def test_shares_are_fair_and_nobody_gets_none(amounts: list[int], more: int, random) -> None:
    """The total is kept, each gets its part but for one window, or one at least, and the order does not matter."""
    total, ids = len(amounts) + more, [7 * k + 1 for k in range(len(amounts))]
    counts = shared_out(total, amounts, ids)
    assert sum(counts) == total and min(counts) >= 1
    whole = sum(amounts)
    raised = sum(1 for count in counts if count == 1)  # windows that may have been taken for those with too few
    for count, amount in zip(counts, amounts, strict=True):
        if whole and count > 1:
            assert total * amount / whole - raised - 1 <= count <= total * amount / whole + 1
    order = list(range(len(amounts)))
    random.shuffle(order)
    again = shared_out(total, [amounts[k] for k in order], [ids[k] for k in order])
    assert [again[order.index(k)] for k in range(len(amounts))] == counts


def test_slides_get_windows_by_area_or_tissue() -> None:
    """A slide four times as large gets four times as many; tissue counts where it is asked for."""
    small, large = np.full((60, 60, 3), 230, np.uint8), np.full((120, 120, 3), 230, np.uint8)
    small[:30] = large[:15, :60] = (190, 60, 150)  # 1800 px of tissue, and 900
    slides = [open_slide(small, name="small"), open_slide(large, name="large")]
    assert Plan(slides, Uniform(8, per_slide="area", windows=100)).counts == (20, 80)
    assert Plan(slides, Uniform(8, per_slide="tissue", windows=99)).counts == (66, 33)
    assert Plan(slides, Foreground(8, per_slide="tissue", windows=99, foreground=1.0)).counts == (66, 33)
    with pytest.raises(OptionError, match="windows=1 cannot be shared out among 2 slides"):
        Plan(slides, Uniform(8, per_slide="area", windows=1))


def test_a_skipped_slide_takes_no_share() -> None:
    """Windows go to the slides that have the class."""
    mask = np.zeros((60, 60), np.uint8)
    empty = open_slide(np.zeros((60, 60, 3), np.uint8), mask, name="empty")
    other = open_slide(np.zeros((60, 60, 3), np.uint8), mask + 1, name="other")
    assert Plan([empty, other], Foreground(8, per_slide="area", windows=50, empty="skip")).counts == (0, 50)


def _look(plan: Plan, results) -> None:
    """In a spawned process: what is drawn, and whose memory the index lies in."""
    runs = plan.slides[0].labels(0).runs[1]
    owned = [array.flags.owndata or array.flags.writeable for array in (runs.rows, runs.starts, runs.lasts)]
    results.put(([plan[k] for k in range(50)], any(owned)))


def test_spawned_processes_share_the_index() -> None:
    """They draw the same, from memory that is not theirs, and so does the parent afterwards."""
    mask = np.random.default_rng(0).integers(0, 2, (500, 700)).astype(np.uint8)
    slide = open_slide(np.zeros((500, 700, 3), np.uint8), mask)
    plan = Plan([slide], Foreground(32, per_slide=50), seed=1)
    before = [plan[k] for k in range(50)]
    for method in ("spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        results = context.Queue()
        children = [context.Process(target=_look, args=(plan, results)) for _ in range(2)]
        for child in children:
            child.start()
        for _ in children:
            draws, owned = results.get(timeout=100)
            assert draws == before and not owned
        for child in children:
            child.join()
    assert [plan[k] for k in range(50)] == before
    assert not slide.labels(0).runs[1].rows.flags.owndata  # one copy: the parent's has moved too


def _add_one(shared: list[SharedArray], results) -> None:
    for one in shared:
        one.array(writeable=True)[...] += 1
    results.put([bool(one.array().flags.writeable) for one in shared])


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_started_processes_write_into_one_array(method: str) -> None:
    """A small array in the heap of the standard library, and a large one in a file of its own."""
    shared = [SharedArray(np.arange(n, dtype=np.uint16)) for n in (0, 7, LARGE)]
    assert [isinstance(one.memory, MemoryFile) for one in shared] == [False, False, HAS_FILE_LOCKS]
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    for _ in range(2):
        child = context.Process(target=_add_one, args=(shared, results))
        child.start()
        assert results.get() == [False] * 3
        child.join()
    for one in shared:
        assert np.array_equal(one.array(), np.arange(one.shape[0]).astype(np.uint16) + np.uint16(2))


def test_one_file_asks_whether_a_process_is_being_started() -> None:
    """All others ask `is_starting_process`."""
    files = [path.name for path in ROOT.rglob("*.py") if "get_spawning_popen" in path.read_text(encoding="utf-8")]
    assert files == ["anonymous.py"]
