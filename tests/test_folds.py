"""Folds: every shard once, in order; what is on disk is not made again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from swaypoint.data.folds import Durable, InProcess, Statistic, total


def squares(shard: int) -> Statistic:
    return {"square": torch.tensor(float(shard) ** 2), "count": torch.tensor(1)}


class Counted:
    """:func:`squares`, remembering which shards it was called with; fails at one of them."""

    def __init__(self, failing: int | None = None) -> None:
        self.seen: list[int] = []
        self._failing = failing

    def __call__(self, shard: int) -> Statistic:
        if shard == self._failing:
            raise KeyboardInterrupt
        self.seen.append(shard)
        return squares(shard)


def values(statistics: object, name: str = "square") -> list[float]:
    return [float(statistic[name]) for statistic in statistics]  # type: ignore[attr-defined]


@pytest.fixture
def two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_statistics_arrive_in_the_order_of_the_shards() -> None:
    def slow_first(shard: int) -> Statistic:
        size = 400 if shard == 0 else 4
        torch.linalg.svdvals(torch.ones(size, size))
        return squares(shard)

    assert values(InProcess().map("pass", slow_first, list(range(7)))) == [n**2 for n in range(7)]


def test_a_single_shard_keeps_all_threads() -> None:
    seen = []
    list(InProcess().map("pass", lambda shard: seen.append(torch.get_num_threads()) or {}, [0]))
    assert seen == [torch.get_num_threads()]


def test_total_is_the_sum_by_name_and_skips_what_is_empty() -> None:
    sums = total([squares(1), {}, squares(2), squares(3)])
    assert sums is not None
    assert {name: float(value) for name, value in sums.items()} == {"square": 14.0, "count": 3.0}
    assert total([{}, {}]) is None


def test_an_interrupted_pass_goes_on_with_the_shards_that_are_missing(tmp_path: Path) -> None:
    first, second = Counted(failing=3), Counted()
    with pytest.raises(KeyboardInterrupt):
        list(Durable(tmp_path, "key").map("pass", first, list(range(6))))
    assert values(Durable(tmp_path, "key").map("pass", second, list(range(6)))) == [n**2 for n in range(6)]
    assert sorted(first.seen + second.seen) == list(range(6))
    assert 3 in second.seen  # another thread may have finished what comes after it


def test_passes_do_not_share_statistics(tmp_path: Path) -> None:
    fold = Durable(tmp_path, "key")
    list(fold.map("one", squares, [1]))
    assert values(fold.map("two", squares, [2])) == [4.0]


def test_another_key_makes_all_anew(tmp_path: Path) -> None:
    list(Durable(tmp_path, "one").map("pass", squares, [1, 2]))
    counted = Counted()
    list(Durable(tmp_path, "two").map("pass", counted, [1, 2]))
    assert sorted(counted.seen) == [1, 2]


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}      ", b"\xff" * 40])
def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes) -> None:
    fold = Durable(tmp_path, "key")
    list(fold.map("pass", squares, [5]))
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert values(fold.map("pass", squares, [5])) == [25.0]


def test_what_comes_back_is_bit_for_bit_what_was_made(tmp_path: Path) -> None:
    made: Tensor = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fold = Durable(tmp_path, "key")
    for _ in range(2):
        (statistic,) = fold.map("pass", lambda _: {"made": made}, [0])
        assert torch.equal(statistic["made"], made)
        assert statistic["made"].dtype == torch.float64


def test_progress_is_told_after_each_shard(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    list(Durable(tmp_path, "key", on_shard=lambda *seen: told.append(seen)).map("pass", squares, [1, 2]))
    assert told == [("pass", 1, 2), ("pass", 2, 2)]
