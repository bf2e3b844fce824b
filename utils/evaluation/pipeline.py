"""Work that overlaps: the next items are prepared, and finished ones dealt with, in threads.

Reading, coding and measuring release Python's interpreter lock in their libraries, so threads
suffice. Queues are bounded: a few items are held, however many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetched(items: Iterable[Item], ahead: int) -> Generator[Item]:
    """The same items, produced in a thread that is up to ``ahead`` items ahead.

    An exception of ``items`` is raised here, after the items before it. Closing this generator
    stops the thread after the item at hand.
    """
    iterator = iter(items)
    end: Any = object()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        pending = deque(pool.submit(next, iterator, end) for _ in range(ahead))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(pool.submit(next, iterator, end))
                yield item
        finally:
            for future in pending:
                future.cancel()


def in_background(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, waiting: int
) -> Generator[Result]:
    """``function`` of every item, in their order, computed in ``threads`` threads.

    ``items`` are drawn in the caller's thread, ``waiting`` of them at most before the first result
    is asked for; so the caller's own work on the next item overlaps with ``function``. An exception
    of ``function`` is raised in its turn; what has not begun then is dropped.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="background") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                # Results that are there are passed on at once: a progress bar lives on them.
                while pending and (len(pending) > waiting or pending[0].done()):
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
