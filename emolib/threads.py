"""Work on many clips at once, in threads: WORLD, transforms and decoders let go of the interpreter."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import joblib
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function` of each item, in the items' order, worked on by several threads.

    As many as ``OMP_NUM_THREADS`` says, else as there are cores. The linear algebra inside has one thread
    each: two layers of threads get in each other's way. What `function` raises is raised here.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    n_threads = int(asked) if asked.isdigit() and int(asked) else joblib.cpu_count()
    with threadpool_limits(1):
        work = (joblib.delayed(function)(item) for item in items)
        yield from joblib.Parallel(n_threads, prefer="threads", return_as="generator")(work)
