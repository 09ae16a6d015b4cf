"""Pieces on all cores, results in order."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swaypoint.data.batches import ArrayBatches, pieces
from swaypoint.data.parallel import one_core, ordered_map

CPU = torch.device("cpu")


def test_results_come_in_order_though_later_ones_finish_first():
    second = threading.Event()

    def work(item):
        if item == 0:
            assert second.wait(10)
        if item == 1:
            second.set()
        return item

    if torch.get_num_threads() == 1:
        pytest.skip("one thread computes one piece at a time")
    assert list(ordered_map(work, range(20), CPU)) == list(range(20))


def test_workers_keep_to_one_core_when_the_caller_has_all_of_them_again():
    before, left = torch.get_num_threads(), threading.Event()
    torch.set_num_threads(3)
    try:

        def work(item):
            if item > 0:
                assert left.wait(10)
            return torch.get_num_threads()

        found = []
        for threads in ordered_map(work, range(6), CPU):
            with one_core():
                found.append(threads)
                assert torch.get_num_threads() == 1
            left.set()
        assert found == [1] * 6
        with pytest.raises(ValueError, match="stop"), one_core():
            raise ValueError("stop")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_holds_few_items_however_many_there_are():
    taken = []

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    results = ordered_map(lambda i: i, items(), CPU)
    next(results)
    assert len(taken) <= torch.get_num_threads() + 1
    results.close()


def test_an_error_reaches_the_caller_and_the_number_of_threads_stays():
    threads = torch.get_num_threads()

    def work(item):
        raise ValueError(f"piece {item}")

    with pytest.raises(ValueError, match="piece 0"):
        list(ordered_map(work, range(3), CPU))
    assert torch.get_num_threads() == threads


@given(
    points=st.integers(1, 40_000),
    batch=st.integers(200, 80_000),
    size=st.integers(200, 9_000),
    threads=st.integers(1, 9),
)
def test_pieces_are_the_points_in_order_and_as_many_for_each_thread(points, batch, size, threads):
    data = ArrayBatches(torch.arange(points).unsqueeze(1), torch.zeros(points), batch_size=batch)
    cut = list(pieces(data, size, threads))
    assert torch.cat([features for features, _, _ in cut]).flatten().tolist() == list(range(points))
    assert [int(features[0]) for features, _, _ in cut] == [offset for _, _, offset in cut]
    assert max(len(features) for features, _, _ in cut) <= size
    if batch >= points >= 1024 * threads and threads > 1:  # one batch, and enough for all
        lengths = [len(features) for features, _, _ in cut]
        largest = max(sum(lengths[thread::threads]) for thread in range(threads))
        assert largest <= points / threads + len(cut) / threads + 1  # but for a point a piece
