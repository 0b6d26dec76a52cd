"""Threads change neither the order nor the results, and hide no error."""

import threading
import time

import joblib
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from emolib import threads


def test_results_come_in_the_items_order():
    def late(item):
        time.sleep(0.02 if item % 2 else 0.0)
        return item**2

    assert list(threads.each(late, range(9))) == [item**2 for item in range(9)]
    assert list(threads.each(late, [])) == []


@pytest.mark.parametrize(("asked", "expected"), [("3", 3), ("1", 1)])
def test_as_many_work_at_once_as_were_asked_for(asked, expected, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    together = threading.Barrier(expected)
    assert list(threads.each(lambda _: together.wait(10) >= 0, range(2 * expected))) == [True] * 2 * expected


@pytest.mark.parametrize("asked", ["", "0", "4,2", "many"])
def test_else_there_is_a_thread_for_each_core(asked, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    together = threading.Barrier(3)
    assert list(threads.each(lambda _: together.wait(10) >= 0, range(3))) == [True] * 3


def test_linear_algebra_inside_has_one_thread_and_its_own_again_afterwards():
    def counts(_=None):
        np.ones((2, 2)) @ np.ones((2, 2))
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    before = counts()
    assert list(threads.each(counts, [0])) == [{1}]
    assert counts() == before


def test_an_error_is_raised_where_the_results_are_read():
    def fails(item):
        if item == 2:
            raise ValueError("item 2")
        return item

    with pytest.raises(ValueError, match="item 2"):
        list(threads.each(fails, range(4)))
