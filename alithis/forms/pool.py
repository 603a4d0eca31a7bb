"""Worker processes, in which readers hash data points (`alithis.forms.hashing`).

Processes instead of threads: for small files and records, Python's own work takes longer than
hashing, and only one thread at a time runs Python.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from alithis.errors import SourceError

_A = TypeVar("_A")
_R = TypeVar("_R")
_ENDING = {signal.SIGINT, signal.SIGTERM}


class Pool:
    """Worker processes; a context manager. A pool of one worker uses the calling process."""

    def __init__(self, workers: int | None = None) -> None:
        """Set the number of workers; they start with the first piece of work.

        Args:
            workers: how many; by default one for each processor this process may use.

        Raises:
            SourceError: the number is less than 1.
        """
        self.workers = _processors() if workers is None else workers
        if self.workers < 1:
            raise SourceError(f"workers: {workers} is not a positive number")
        self._executor: Executor | None = None

    def __enter__(self) -> Pool:
        """Return the pool."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the workers; if an exception ended the work, without waiting for them."""
        if self._executor is None:
            return
        if kind is not None:
            _terminate_workers(self._executor)
        self._executor.shutdown()

    def map(self, work: Callable[[_A], _R], items: Iterable[_A]) -> Iterator[_R]:
        """Apply a module-level function to each item; results come in the items' order.

        At most four items per worker are read ahead, so that memory is bounded.

        Raises:
            SourceError: a worker was killed.
        """
        if self.workers == 1:
            yield from map(work, items)
            return
        if self._executor is None:
            self._executor = _executor(self.workers)
        waiting: deque[Future[_R]] = deque()
        try:
            for item in items:
                waiting.append(self._executor.submit(work, item))
                if len(waiting) >= 4 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenExecutor as error:
            raise SourceError(
                "a worker process was killed, perhaps for lack of memory; use fewer workers"
            ) from error


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _executor(workers: int) -> Executor:
    """Start worker processes: by fork where that is safe, or else in fresh interpreters.

    Each has an advantage. Two forked workers answer after 10 to 20 ms, fresh interpreters after 200
    to 250 ms (measured on 2 cores), as long as the whole command takes for 70,000 records. But a
    fork copies the locks that other threads hold, and then waits for them forever. macOS's system
    libraries have such threads, and Windows has no fork. Fresh interpreters come from loky, since
    the standard library runs the caller's main module again: a notebook has none, and a script may
    lack the ``__main__`` guard.
    """
    parent = (os.getpid(),)
    if sys.platform == "linux" and _threads() == 1:
        return _forked(workers, parent)
    from loky import ProcessPoolExecutor as FreshExecutor
    from loky.backend.context import get_context

    context = get_context("loky")
    fresh: Executor = FreshExecutor(
        workers, context=context, initializer=_begin_worker, initargs=parent
    )
    return fresh


def _forked(workers: int, parent: tuple[int]) -> Executor:
    """Fork workers. A signal waits until a worker has its own handlers: ours would raise in it."""
    fork = multiprocessing.get_context("fork")
    executor = ProcessPoolExecutor(workers, fork, initializer=_begin_fork, initargs=parent)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        executor.submit(int)  # the first task forks all workers
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return executor


def _threads() -> int:
    try:  # counts the threads of C libraries too
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return threading.active_count() + 1


def _begin_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when the parent ends.

    A worker waits for its queue, and would wait forever if the parent was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _begin_fork(parent: int) -> None:
    _begin_worker(parent)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _terminate_workers(executor: Any) -> None:
    # Public as ProcessPoolExecutor.terminate_workers from Python 3.14 on.
    for process in list((executor._processes or {}).values()):
        process.terminate()
