"""Worker processes that hash."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from alithis.errors import SourceError

if TYPE_CHECKING:
    pass

_A = TypeVar("_A")
_R = TypeVar("_R")


class Pool:
    """Worker processes; a context manager. With one worker, work is done where it is asked for."""

    def __init__(self, workers: int | None = None) -> None:
        """Plan the workers; they start with the first piece of work.

        Args:
            workers: how many; by default one for each processor this process may use.

        Raises:
            SourceError: the number is not positive.
        """
        self.workers = _processors() if workers is None else workers
        if self.workers < 1:
            raise SourceError(f"workers: {workers} is not a positive number")
        self._executor: Executor | None = None

    def __enter__(self) -> Pool:
        """Return the pool."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the workers; at once, if work was broken off."""
        if self._executor is None:
            return
        if kind is not None:
            _terminate_workers(self._executor)
        self._executor.shutdown()

    def map(self, work: Callable[[_A], _R], items: Iterable[_A]) -> Iterator[_R]:
        """Apply a module-level function to each item; results come in the items' order.

        No more than a few items a worker are taken ahead of the results that were consumed.

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
            raise SourceError("a worker process was killed (out of memory?); run again") from error


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _executor(workers: int) -> Executor:
    """Start worker processes.

    A fork takes 10 ms, but one of a process with threads can deadlock: there loky starts fresh
    interpreters, which takes 100 ms and, unlike the standard library's way, does not run the
    caller's main module again (a notebook has none, a script may lack the guard).
    """
    parent = (os.getpid(),)
    if "fork" in multiprocessing.get_all_start_methods() and _threads() == 1:
        fork = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(workers, fork, initializer=_begin_worker, initargs=parent)
    from loky import ProcessPoolExecutor as FreshExecutor
    from loky.backend.context import get_context

    context = get_context("loky")
    fresh: Executor = FreshExecutor(
        workers, context=context, initializer=_begin_worker, initargs=parent
    )
    return fresh


def _threads() -> int:
    try:  # counts the threads of C libraries too
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return threading.active_count() + 1


def _begin_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it is gone: a queue alone would wait for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _terminate_workers(executor: Any) -> None:
    # Public as ProcessPoolExecutor.terminate_workers from Python 3.14 on.
    for process in list((executor._processes or {}).values()):
        process.terminate()
