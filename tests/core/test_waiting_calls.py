"""Calls side by side are the calls one after the other: results, order, and the first error."""

from __future__ import annotations

import threading
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchaug.core.waiting_calls import AT_ONCE, call_each


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0, 0, 0, 1]))))
def test_results_and_errors_come_in_the_order_of_the_items(items):
    """An item says whether its call waits, and whether it fails."""

    def call(number, item):
        if item[1]:
            raise KeyError(number)
        return number, item, threading.current_thread() is threading.main_thread()

    failing = next((number for number, item in enumerate(items) if item[1]), None)
    several = sum(waits for waits, _ in items) > 1
    results, found = call_each(call, items, lambda item: item[0]), []
    with nullcontext() if failing is None else pytest.raises(KeyError, match=f"^{failing}$"):
        found.extend(iter(lambda: next(results, None), None))
    expected = [(number, item, not (several and item[0])) for number, item in enumerate(items[:failing])]
    assert found == expected


def test_those_that_wait_run_at_the_same_time_and_not_more_than_the_limit():
    running, most, lock, full = 0, 0, threading.Lock(), threading.Event()

    def call(number, item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == AT_ONCE:
                full.set()
        assert full.wait(30)  # as many as the limit are here at once
        with lock:
            running -= 1
        return number

    before = threading.active_count()
    assert list(call_each(call, range(3 * AT_ONCE), lambda item: True)) == list(range(3 * AT_ONCE))
    assert most == AT_ONCE
    assert threading.active_count() == before  # a fork that follows meets no thread


def test_after_an_error_and_where_nobody_goes_on_no_further_call_begins():
    for stop_early in (False, True):
        called, release = [], threading.Event()

        def call(number, item, called=called, release=release, fails=not stop_early):
            called.append(number)
            if number == 0:
                if fails:
                    raise KeyError(number)
                return number
            release.wait(30)
            return number

        results = call_each(call, range(100 * AT_ONCE), lambda item: True)
        if stop_early:
            assert next(results) == 0
            results.close()
        else:
            with pytest.raises(KeyError):
                next(results)
        release.set()
        for thread in threading.enumerate():
            if thread.daemon and thread.name.endswith("(work)"):
                thread.join(30)
        assert len(called) < 3 * AT_ONCE
