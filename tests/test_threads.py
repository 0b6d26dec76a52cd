"""Threads and processes change neither the order nor the results, and hide no error."""

import os
import threading
import time

import joblib
import numpy as np
import torch
from samples import refused
from threadpoolctl import threadpool_info

from emolib import threads


def blas_threads(_=None):
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_results_come_in_the_items_order():
    def late(item):
        time.sleep(0.02 if item % 2 else 0.0)
        return item**2

    assert threads.each(late, range(9)) == [item**2 for item in range(9)]
    assert threads.each(late, []) == []


def test_as_many_work_at_once_as_were_asked_for_or_as_there_are_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    for asked, expected in {"3": 3, "1": 1, "": 2, "0": 2, "4,2": 2, "many": 2}.items():
        monkeypatch.setenv("EMOLIB_JOBS", asked)
        together = threading.Barrier(expected)
        met = threads.each(lambda _, b=together: b.wait(10) >= 0, range(2 * expected))
        assert met == [True] * 2 * expected


def test_linear_algebra_inside_has_one_thread_and_its_own_again_afterwards():
    before = blas_threads()
    assert threads.each(blas_threads, [0]) == [{1}]
    assert blas_threads() == before


def test_an_error_waits_for_what_is_being_worked_on(monkeypatch):
    """A process that ends while its threads compute is aborted: its last words are C++'s."""
    monkeypatch.setenv(threads.JOBS, "2")
    began, ended, both = [], [], threading.Barrier(2)

    def work(item):
        began.append(item)
        both.wait(10)
        if item == 0:
            raise ValueError("item 0")
        time.sleep(0.2)
        ended.append(item)

    refused("item 0", threads.each, work, range(8))
    assert sorted(began) == [0, 1] and ended == [1], "the other has ended, and nothing was begun after"


def seen(item):
    return item, os.getpid(), blas_threads(), torch.get_num_threads()


def test_processes_are_apart_have_one_thread_each_and_keep_the_order():
    found = list(threads.processes(seen, range(4), 2))
    assert [item for item, *_ in found] == [0, 1, 2, 3]
    assert os.getpid() not in {process for _, process, *_ in found}
    assert all(blas == {1} and n_threads == 1 for *_, blas, n_threads in found)
    assert {process for _, process, *_ in threads.processes(seen, range(2), 1)} == {os.getpid()}


def test_a_training_of_a_small_network_has_one_thread_and_gives_the_others_back():
    torch.set_num_threads(3)

    @threads.single()
    def train():
        assert torch.get_num_threads() == 1 and blas_threads() == {1}
        raise ValueError("it fails")

    before = blas_threads()
    refused("it fails", train)
    assert torch.get_num_threads() == 3 and blas_threads() == before


def test_a_kernel_has_one_thread_that_waits_passively_unless_the_user_wants_more(monkeypatch):
    for name in threads.KERNEL:
        monkeypatch.delenv(name, raising=False)
    assert threads.environment(2) == threads.KERNEL | {"EMOLIB_JOBS": "2"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads.environment() == {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "PASSIVE"}


def test_these_tests_have_what_a_kernel_has():
    assert threads.KERNEL.keys() <= os.environ.keys()
    assert blas_threads() == {int(os.environ.get("OPENBLAS_NUM_THREADS", os.environ["OMP_NUM_THREADS"]))}


def test_the_tests_of_a_file_share_a_process(request):
    """Where pytest-xdist groups a file's tests, it adds the group to their names; else they are split up."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@test_threads.py")
