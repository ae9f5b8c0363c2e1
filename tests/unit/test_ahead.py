"""Order, bounds in number and in bytes, and errors at their own turn, with real threads."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from radar_fast.util.ahead import map_ahead


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as made:
        yield made


class Counted:
    """Results that know how many bytes of them wait: made, and not yet taken by the consumer."""

    def __init__(self) -> None:
        self.waiting = self.most = 0
        self._lock = threading.Lock()

    def make(self, size: int) -> int:
        with self._lock:
            self.waiting += size
            self.most = max(self.most, self.waiting)
        return size

    def take(self, size: int) -> None:
        with self._lock:
            self.waiting -= size


def test_results_come_in_order_and_at_most_so_many_items_are_read_ahead(pool: ThreadPoolExecutor) -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(50):
            read += 1
            yield number

    def slow(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number

    for taken, result in enumerate(map_ahead(pool, slow, items(), 8)):
        assert result == taken
        assert read <= taken + 8
    assert taken == 49


def test_bytes_that_wait_are_bounded(pool: ThreadPoolExecutor) -> None:
    counted = Counted()
    sizes = [10] * 40 + [400] + [10] * 40
    found = []
    for size in map_ahead(pool, counted.make, sizes, 16, size=lambda size: size, most=100):
        counted.take(size)
        found.append(size)
        time.sleep(0.001)
    assert found == sizes
    # Until the first is there, its size is not known: 16 of 10. Later 100, what is in work, and the large one.
    assert counted.most <= 16 * 10 + 400


def test_a_result_larger_than_the_bound_still_comes(pool: ThreadPoolExecutor) -> None:
    sizes = [1000] * 10
    assert list(map_ahead(pool, lambda size: size, sizes, 4, size=lambda size: size, most=100)) == sizes


def test_an_error_is_raised_at_its_turn_and_nothing_later_is_started(pool: ThreadPoolExecutor) -> None:
    ran: list[int] = []

    def fail(number: int) -> int:
        ran.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    results = map_ahead(pool, fail, range(1000), 4, size=lambda _: 1, most=100)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert max(ran) <= 5 + 4
