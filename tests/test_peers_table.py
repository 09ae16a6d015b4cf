from __future__ import annotations

import numpy as np
import pytest
from benchmarks.peers.measuring import Limits, phrase
from benchmarks.peers.table import Row, accuracy, documents, markdown, ratio

FAILED = Row("W1", "slow", "exact, by hand", failure="stopped after 600 s")
MEASURED = Row("W1", "fast 1.0", "exact", 2.0, 4.0, 1.5e9, 2e-8, 3e-7, 0.99)


def test_a_failing_peer_is_a_row_that_says_why() -> None:
    lines = markdown([MEASURED, FAILED, Row("W2", "elsewhere")], {"W1": "W1, small"}).splitlines()
    assert lines[0] == "### W1, small"
    assert lines[4] == "| fast 1.0 | exact | 2.00 s | 4.00 | 1.50 GB | 2e-08 | 3e-07 | 0.990 |"
    assert lines[5].startswith("| slow | exact, by hand | stopped after 600 s |")
    assert {line.count("|") for line in lines[2:6]} == {9}
    assert not any("elsewhere" in line for line in lines)


def test_ratio_is_of_rounds_side_by_side() -> None:
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0
    assert np.isnan(ratio([2.0], []))


def test_errors_are_relative_and_overlap_needs_the_truth_of_all() -> None:
    truth = np.arange(1.0, 201.0)
    median, largest, shared = accuracy(truth * 1.5, truth, np.arange(200))
    assert (median, largest, shared) == (0.5, 0.5, 1.0)
    assert np.isnan(accuracy(truth, truth[:3], np.arange(3))[2])


def test_json_has_null_for_what_is_not_known() -> None:
    assert documents([FAILED])[0]["seconds"] is None


@pytest.mark.parametrize(
    ("code", "errors", "words", "limited"),
    [
        (1, "Traceback\nRuntimeError: not enough memory: you tried", "more than 16 GB", True),
        (-9, "", "signal 9", True),
        (1, "Traceback\nValueError: no\n", "fails: ValueError: no", False),
    ],
)
def test_what_a_traceback_comes_to(code: int, errors: str, words: str, limited: bool) -> None:
    said = phrase(code, errors, Limits(600, 16e9))
    assert words in said[0]
    assert said[1] is limited
