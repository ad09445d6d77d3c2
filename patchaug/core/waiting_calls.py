"""Calls for the items of a list, in its order; those that wait for a network run several at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16


def call_each(function: Callable[[int, T], R], items: Sequence[T], waits: Callable[[T], bool]) -> Iterator[R]:
    """Yield what a function returns for each item, in the order of the items.

    Args:
        function: Called with the number of an item and the item; in another thread where the item waits. What it raises
            is raised here, at the item's turn, and ends the calls.
        items: The items.
        waits: Whether the call for an item mostly waits: such calls run at the same time, `AT_ONCE` at most.

    Examples:
        >>> from patchaug.core.waiting_calls import call_each
        >>> list(call_each(lambda number, text: text * number, ["a", "b", "c"], waits=lambda text: text != "b"))
        ['', 'b', 'cc']
    """
    waiting = [number for number, item in enumerate(items) if waits(item)]
    if len(waiting) < 2:
        yield from map(function, range(len(items)), items)
        return
    from concurrent.futures import Future

    results: dict[int, Future[R]] = {number: Future() for number in waiting}
    left = deque(results.items())

    def work() -> None:
        while True:
            try:
                number, result = left.popleft()
            except IndexError:
                return
            try:
                result.set_result(function(number, items[number]))
            except BaseException as error:
                result.set_exception(error)

    # Not an executor: the end of the program, as after Ctrl-C, would wait for requests that hang.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
    try:
        for thread in threads:
            thread.start()
        for number, item in enumerate(items):
            yield results.pop(number).result() if number in results else function(number, item)
        for thread in threads:  # they have nothing left to do; no later fork meets them
            thread.join()
    finally:
        left.clear()
