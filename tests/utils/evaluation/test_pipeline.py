"""utils/evaluation/pipeline.py: order, bounds, errors, stopping."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.conftest import PATIENCE
from utils.evaluation.pipeline import in_background, prefetched


class Source:
    """Counts up; notes what was drawn of it, and in which thread."""

    def __init__(self, end: int = 10**9) -> None:
        self.end = end
        self.drawn: list[int] = []
        self.threads: set[threading.Thread] = set()

    def __iter__(self) -> Iterator[int]:
        for i in range(self.end):
            self.drawn.append(i)
            self.threads.add(threading.current_thread())
            yield i


def test_prefetched_keeps_order_and_bound_beside_its_consumer() -> None:
    source = Source(20)
    items = prefetched(source, 3)
    assert next(items) == 0
    time.sleep(0.3)
    # The one taken, three in the queue, one in the producer's hand.
    assert len(source.drawn) <= 5
    assert list(items) == list(range(1, 20))
    assert threading.current_thread() not in source.threads


def test_prefetched_hands_errors_over_after_what_came_before() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    items = prefetched(source(), 2)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(items)


def test_closing_stops_the_producer() -> None:
    source = Source()
    items = prefetched(source, 2)
    next(items)
    items.close()
    (producer,) = source.threads
    producer.join(PATIENCE)
    assert not producer.is_alive()


def test_in_background_keeps_order_with_several_threads() -> None:
    def slow_first(i: int) -> int:
        time.sleep(0.2 if i == 0 else 0)
        return i * i

    assert list(in_background(slow_first, range(6), 3, 3)) == [i * i for i in range(6)]


def test_in_background_draws_no_more_than_it_may() -> None:
    source = Source(10)
    deadline = time.monotonic() + PATIENCE

    def work(i: int) -> int:
        while len(source.drawn) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        return i

    results = in_background(work, source, 1, 3)
    assert next(results) == 0
    assert len(source.drawn) <= 5
    assert list(results) == list(range(1, 10))


def test_in_background_raises_in_turn_and_drops_the_rest() -> None:
    begun: list[int] = []

    def work(i: int) -> int:
        begun.append(i)
        if i == 1:
            raise ValueError("bad item")
        time.sleep(0.05)
        return i

    results = in_background(work, range(50), 1, 4)
    assert next(results) == 0
    with pytest.raises(ValueError, match="bad item"):
        list(results)
    assert len(begun) < 10
