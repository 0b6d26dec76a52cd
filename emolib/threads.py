"""How many cores a process uses: small networks on one thread, independent work side by side.

A small network gains little from a second thread, and on a busy machine loses many times its own time where
that thread spins while it waits. So a kernel has one thread, waits passively, and works on several clips or
trainings at once instead.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: How many clips or processes one process works on at once, where it may not have all cores.
JOBS = "EMOLIB_JOBS"
#: What a kernel's libraries read when they are loaded. MKL and OpenBLAS follow OpenMP's number of threads.
KERNEL = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def environment(jobs: int | None = None) -> dict[str, str]:
    """Return the variables of a process that works on small networks; what the user has set stays.

    Parameters
    ----------
    jobs : int, optional; what `workers` is to return there
    """
    found = {name: os.environ.get(name, value) for name, value in KERNEL.items()}
    return found | ({JOBS: str(jobs)} if jobs else {})


def workers() -> int:
    """Return how many clips or processes to work on at once: ``EMOLIB_JOBS``, else one per core at hand."""
    import joblib

    asked = os.environ.get(JOBS, "")
    return int(asked) if asked.isdigit() and int(asked) else joblib.cpu_count()


@contextlib.contextmanager
def single() -> Iterator[None]:
    """Keep torch and linear algebra to one thread; a decorator of trainings of small networks as well.

    The last bits of what is trained then depend on no machine's number of cores.
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(before)


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return `function` of each item, in the items' order, worked on by several threads.

    It should spend its time where the interpreter is let go of: in WORLD, transforms or decoders. Items are
    taken a few ahead of those that are worked on, so that a progress bar around them moves. The linear
    algebra inside has one thread each: two layers of threads get in each other's way. What `function` raises
    first is raised here, after the items that are being worked on: a process that ends while threads compute
    is aborted, and its message lost.
    """
    import joblib
    from threadpoolctl import threadpool_limits

    failures: list[Exception] = []

    def unless_failed(item: Item) -> Any:
        try:
            return None if failures else function(item)
        except Exception as error:
            failures.append(error)

    with threadpool_limits(1, "blas"):
        found = joblib.Parallel(workers(), prefer="threads")(
            joblib.delayed(unless_failed)(item) for item in items
        )
    if failures:
        raise failures[0]
    return found


def processes(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int | None = None
) -> Iterator[Result]:
    """Yield `function` of each item, in the items' order, worked on by several processes of one thread each.

    For what holds the interpreter, such as trainings. Where one process is enough, it is this one.

    Parameters
    ----------
    function : function of one item, which a module defines
    items : iterable of plain values
    jobs : int, optional; `workers` by default
    """
    import joblib

    with joblib.parallel_config("loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(jobs or workers(), return_as="generator")
        return parallel(joblib.delayed(function)(item) for item in items)
