"""Work handed to Dask: a cluster here or anywhere, one model a worker process, one GPU a worker.

Tasks are functions of this package and plain values; what they make is written by the worker, and what comes
back is small. Dask moves both with pickle between processes that trust each other, as it does by design;
nothing pickled is ever written to disk. A worker that dies costs the tasks it was in: they are done again by
another.

References
----------
Dask's scheduler: M. Rocklin (2015), "Dask: Parallel Computation with Blocked algorithms and Task Scheduling".
"""

import contextlib
import fcntl
import functools
import itertools
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import emolib
from emolib import files, threads

#: Tasks under way for each worker thread: one that runs, and one that waits so that it never idles.
AHEAD = 2
#: Of a worker here, whatever the shell asks for: as many threads as cores in each would wait for one another,
#: and the last bits of a product depend on their number.
ONE_THREAD = {
    threads.JOBS: "1",
    **threads.KERNEL,
    **{f"{library}_NUM_THREADS": "1" for library in ("MKL", "OPENBLAS", "NUMBA")},
}
_held: list[int] = []  # the lock on this process's GPU, until the process ends


@contextlib.contextmanager
def connect(scheduler: str | None, n_workers: int | None = None) -> Iterator[Any]:
    """Yield a client of a scheduler, or None where there is none to use.

    Parameters
    ----------
    scheduler : str, optional
        ``local`` starts workers on this machine, one a GPU or, without, one a core, of one thread each; an
        address such as ``tcp://host:8786`` is connected to. None, or nothing, yields None.
    n_workers : int, optional
        Of ``local``.

    Raises
    ------
    ValueError
        If the address is none, or nobody answers there.
    """
    if not scheduler:
        yield None
        return
    import distributed

    if scheduler != "local" and "://" not in scheduler:
        raise ValueError(f"scheduler {scheduler!r}; expected 'local' or an address such as tcp://host:8786")
    with contextlib.ExitStack() as stack:
        address: Any = stack.enter_context(_cluster_here(n_workers)) if scheduler == "local" else scheduler
        try:
            client = distributed.Client(address, timeout="15s", set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(
                f"no scheduler answers at {scheduler} ({str(error).splitlines()[0]}); start one with "
                f"`dask scheduler` and workers with `dask worker {scheduler}`"
            ) from None
        stack.enter_context(client)
        if not client.nthreads():
            print(f"{scheduler} has no workers yet; waiting for the first", file=sys.stderr)
        yield client


@contextlib.contextmanager
def _cluster_here(n_workers: int | None) -> Iterator[Any]:
    """Start workers that keep freed memory, and give this process's environment back as it was.

    Dask has workers hand every freed array back to the system at once, which doubles the time of work on many
    middle-sized arrays, and writes that and what else it wants of them into its own process's environment,
    where whatever is started later finds it.
    """
    import dask
    import distributed

    asked = "distributed.nanny.pre-spawn-environ"
    names = {*dask.config.get(asked), "PYTHONHASHSEED"}
    before = {name: os.environ.get(name) for name in names}
    n_workers = n_workers or len(visible_gpus()) or os.cpu_count() or 1
    options: dict[str, Any] = {"threads_per_worker": 1, "env": ONE_THREAD, "memory_limit": 0}
    options |= {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}  # seen from here alone
    try:
        with (
            dask.config.set({f"{asked}.MALLOC_TRIM_THRESHOLD_": None}),
            distributed.LocalCluster(n_workers=n_workers, **options) as cluster,
        ):
            yield cluster
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def outcomes(
    client: Any, function: Callable[..., Any], tasks: Iterable[Any]
) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Hand tasks to the workers, some ahead of those that run, and yield each as it ends.

    Parameters
    ----------
    client : distributed.Client
    function : function of the package, of one task
    tasks : iterable of plain values

    Yields
    ------
    task : as it was given
    result : function that returns what the task gave, or raises what it raised
    """
    import dask
    import distributed

    todo: Iterator[Any] = iter(tasks)
    running: dict[str, tuple[Any, Any]] = {}
    ended = distributed.as_completed(loop=client.loop)
    identity = package_digest()

    def refill() -> None:
        most = max(1, sum(client.nthreads().values())) * AHEAD
        for task in itertools.islice(todo, max(0, most - len(running))):
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
                # a task's data travel with it: scattered before, they would die with the worker that has them
                future = client.submit(_call, function, task, identity, pure=False)
            running[future.key] = (task, future)
            ended.add(future)

    try:
        refill()
        while running:
            future = next(ended)
            task, _ = running.pop(future.key)
            refill()
            yield task, functools.partial(_result, future)
    finally:
        client.cancel([future for _, future in running.values()])


def _result(future: Any) -> Any:
    import distributed

    try:
        return future.result()
    except distributed.KilledWorker as error:
        raise ValueError(
            f"a task was given up after it brought down {error.allowed_failures + 1} workers, the last "
            f"{error.last_worker.address}; do its data fit into a worker's memory?"
        ) from None
    except (distributed.CancelledError, distributed.comm.CommClosedError) as error:
        raise ValueError(f"a task was lost with its scheduler ({type(error).__name__})") from None


def _call(function: Callable[..., Any], task: Any, identity: str) -> Any:
    """Run one task on a worker, if it has the client's emolib."""
    if package_digest() != identity:
        raise ValueError(
            f"the worker on {os.uname().nodename} has another emolib ({emolib.__version__}, "
            f"{package_digest()}) than the client ({identity}), or another Python; update it and start it "
            f"anew"
        )
    return function(task)


@functools.cache
def package_digest() -> str:
    """Return a digest of the package's own code, 12 hexadecimal digits."""
    folder = Path(emolib.__file__).parent
    code = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return files.code_digest(code)[:12]


def visible_gpus() -> list[str]:
    """Return the names that CUDA_VISIBLE_DEVICES may hold in this process; asks no driver, loads no torch."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        names = [name.strip() for name in allowed.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names
    return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def claim_gpu() -> str | None:
    """Pin this process to a GPU that no other worker of this machine and job has, until the process ends.

    Returns
    -------
    gpu : str, optional; now the only one in CUDA_VISIBLE_DEVICES; None where there is none

    Raises
    ------
    ValueError
        If every GPU belongs to another worker.

    Notes
    -----
    To be called before CUDA starts in the process. A claim is a locked file in the system's temporary folder.
    The kernel lets go of it when the process dies, so that the worker that takes its place gets the same GPU.
    """
    if _held:
        return os.environ["CUDA_VISIBLE_DEVICES"]
    gpus = visible_gpus()
    if not gpus or (len(gpus) == 1 and "CUDA_VISIBLE_DEVICES" in os.environ):
        return gpus[0] if gpus else None  # there is none, or whoever started the worker has pinned it
    job = os.environ.get("SLURM_JOB_ID", "0")  # which numbers its GPUs from 0, whichever they are
    for gpu in gpus:
        claim = Path(tempfile.gettempdir(), f"emolib-gpu-{os.getuid()}-{job}-{gpu}.lock")
        handle = os.open(claim, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        _held.append(handle)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        return gpu
    raise ValueError(
        f"each of the {len(gpus)} GPUs on {os.uname().nodename} belongs to a worker; start one worker a GPU"
    )


@functools.lru_cache(maxsize=1)
def worker_encoder(name: str, layers: tuple[int, ...], device: str, precision: str) -> Any:
    """Return the encoder that this worker process holds: it is loaded once, on the worker's own GPU."""
    from emolib import encoders

    if device != "cpu":
        claim_gpu()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return encoders.load(name, layers=layers, device=device, precision=precision)  # type: ignore[arg-type]
