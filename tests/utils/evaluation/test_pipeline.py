"""utils/evaluation/pipeline.py: order, bounds, errors, stopping."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.conftest import PATIENCE
from utils.evaluation.pipeline import in_background, prefetched


def test_prefetched_keeps_order_and_bound() -> None:
    drawn: list[int] = []

    def source() -> Iterator[int]:
        for i in range(20):
            drawn.append(i)
            yield i

    items = prefetched(source(), 3)
    assert next(items) == 0
    time.sleep(0.3)
    # The one taken, three in the queue, one in the producer's hand.
    assert len(drawn) <= 5
    assert list(items) == list(range(1, 20))


def test_prefetched_hands_errors_over_after_what_came_before() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("disk gone")

    items = prefetched(source(), 2)
    assert next(items) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(items)


def test_prefetched_runs_beside_its_consumer() -> None:
    threads: set[int] = set()

    def source() -> Iterator[int]:
        for i in range(3):
            threads.add(threading.get_ident())
            yield i

    assert list(prefetched(source(), 1)) == [0, 1, 2]
    assert threads
    assert threading.get_ident() not in threads


def test_closing_stops_the_producer() -> None:
    producers: list[threading.Thread] = []

    def endless() -> Iterator[int]:
        producers.append(threading.current_thread())
        while True:
            yield 1

    items = prefetched(endless(), 2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    (producer,) = producers
    producer.join(PATIENCE)
    assert not producer.is_alive()


def test_prefetched_needs_room() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(prefetched([1], 0))


def test_in_background_keeps_order_with_several_threads() -> None:
    def slow_first(i: int) -> int:
        time.sleep(0.2 if i == 0 else 0)
        return i * i

    assert list(in_background(slow_first, range(6), 3, 3)) == [i * i for i in range(6)]


def test_in_background_draws_no_more_than_it_may() -> None:
    drawn: list[int] = []
    release = threading.Event()

    def source() -> Iterator[int]:
        for i in range(10):
            drawn.append(i)
            if len(drawn) == 4:
                release.set()
            yield i

    def work(i: int) -> int:
        release.wait(5)
        return i

    results = in_background(work, source(), 1, 3)
    assert next(results) == 0
    assert len(drawn) <= 5
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
