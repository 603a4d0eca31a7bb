"""Hash a dataset on many machines: Ray Data digests its parts and sorts the data points.

The result is the single machine's, byte for byte: a `Source` is cut into parts that name and
digest their data points as the whole would, and what comes back sorted is checked against the
order that it must have. Workers open the source themselves, so that each machine of a cluster
must reach it: a shared folder, or a URL, with the credentials in its own environment.

Source: Ray's documentation of `ray.data.Dataset.map_batches` and `sort`.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from alithis.base.progress import Progress
from alithis.errors import AlithisError, MissingExtraError, SourceError
from alithis.forms.pool import Pool
from alithis.manifest.sorter import Presorted, settled, sorted_table, table_of
from alithis.readers import Skips, Source

if TYPE_CHECKING:
    import pyarrow as pa

_PARTS_PER_CPU = 4  # so that a slow part does not keep the others waiting
_MAX_PARTS = 10_000
_KNOCK = 5.0  # seconds
_POLL = 1.0  # seconds between two looks at how far the workers are


@contextmanager
def presorted(
    source: Source, *, workers: int | None = None, progress: Progress | None = None
) -> Iterator[Presorted]:
    """Digest and sort a source with Ray; what comes of it lasts as long as the block.

    The cluster is the one that RAY_ADDRESS names, or one that this process is connected to, or
    else is started on this machine and stopped at the end. What the parts passed over is in
    ``source.skipped`` then.

    Args:
        source: the data points. With a source that cannot be cut, one worker digests it.
        workers: processors to use, on a machine of ours; by default all of them.
        progress: is told how far the work is.

    Raises:
        MissingExtraError: Ray is not installed.
        SourceError: something cannot be read, there is no data point, or a worker failed.
    """
    progress = progress or Progress()
    with _connected(workers) as ray, _translated(ray):
        processors = int(ray.cluster_resources().get("CPU", 1))
        parts = source.parts(min(_PARTS_PER_CPU * processors, _MAX_PARTS))
        notes = ray.remote(_Notes).options(num_cpus=0).remote()
        progress.phase("hashing", source.count, unit="data points")
        with _reported(lambda: ray.get(notes.total.remote()), progress):
            rows = ray.data.from_items(_packed(parts), override_num_blocks=len(parts))
            digested = rows.map_batches(
                _digested, batch_size=1, batch_format="pyarrow", fn_kwargs={"notes": notes}
            )
            found = digested.sort("leaf").materialize()
        for skipped in ray.get(notes.skipped.remote()):
            source.skipped.extend(skipped)
        schema = found.schema()
        if schema is None or not found.count():
            raise SourceError("no data points: the source is empty")
        yield Presorted(found.count(), settled(schema.base_schema), _tables(found))


def _packed(parts: list[Source]) -> list[dict[str, Any]]:
    """Pickle parts for the workers.

    Raises:
        SourceError: one is tied to this process.
    """
    from ray import cloudpickle

    dumps: Callable[[Any], bytes] = cloudpickle.dumps
    try:
        return [{"part": at, "source": dumps(part)} for at, part in enumerate(parts)]
    except Exception as error:  # pickling raises nearly anything
        raise SourceError(
            f"this source cannot be sent to Ray's workers ({error}): leave --engine out"
        ) from error


def _tables(found: Any) -> Iterator[pa.Table]:
    """Yield sorted blocks; Ray has sorted them by leaf, and the rest is done here."""
    for block in found.iter_batches(batch_size=None, batch_format="pyarrow"):
        if len(block):
            yield sorted_table(block)


# -- In the workers --------------------------------------------------------------------------------


class _Notes:
    """What the workers tell beside the data points; an actor."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}
        self._skipped: dict[int, Skips] = {}

    def count(self, part: int, done: int) -> None:
        self._done[part] = done

    def finish(self, part: int, skipped: Skips) -> None:
        self._skipped[part] = skipped

    def total(self) -> int:
        return sum(self._done.values())

    def skipped(self) -> list[Skips]:
        return [self._skipped[part] for part in sorted(self._skipped)]


def _digested(batch: pa.Table, notes: Any) -> Iterator[pa.Table]:
    """Digest a part."""
    import ray
    from ray import cloudpickle

    part, done = batch["part"][0].as_py(), 0
    source: Source = cloudpickle.loads(batch["source"][0].as_py())
    with Pool(1) as pool:
        for items in source.digested(pool):
            done += len(items.paths)
            notes.count.remote(part, done)
            yield table_of(items)
    ray.get(notes.finish.remote(part, source.skipped))


# -- The cluster -----------------------------------------------------------------------------------


@contextmanager
def _connected(workers: int | None) -> Iterator[Any]:
    """Connect to a cluster, or start one; what was started is stopped."""
    # Before Ray is imported: it must not tell its makers about us, nor talk on the terminal.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    if ray.is_initialized():
        yield ray
        return
    folder = tempfile.mkdtemp(prefix="alithis-ray-", dir=_short_folder())  # its sessions' logs
    own: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False, "_temp_dir": folder}
    try:
        _start(ray, {} if os.environ.get("RAY_ADDRESS") else own)
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _start(ray: Any, options: dict[str, Any]) -> None:
    try:
        _knock(os.environ.get("RAY_ADDRESS", ""))
        with _uninterrupted():
            ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (OSError, RuntimeError, ValueError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(f"Ray cannot be started or reached: {lines[0]}") from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put an interruption off: the process crashes when a Ray that is half started is stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if asked:
            raise KeyboardInterrupt


def _knock(address: str) -> None:
    """Find out whether a cluster listens: Ray itself would wait for minutes, and not quietly.

    Raises:
        OSError: it does not.
    """
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), _KNOCK).close()


def _short_folder() -> str | None:
    """Return a folder for sockets, whose paths have 107 bytes at most; None for the usual one."""
    return "/tmp" if len(tempfile.gettempdir()) > 30 and os.path.isdir("/tmp") else None  # noqa: S108, PTH112


@contextmanager
def _translated(ray: Any) -> Iterator[None]:
    """Give a worker's own error, or one line of Ray's."""
    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        # What a worker raised comes as an instance of its own class and of Ray's, with a traceback
        # for its text; the original is inside.
        if own := _cause(error, ray.exceptions.RayError):
            raise own from None
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(f"Ray: {lines[-1]}") from error


def _cause(error: BaseException | None, wrapper: type[BaseException]) -> AlithisError | None:
    """Find an error of ours among what Ray wrapped it in."""
    for _ in range(16):
        if isinstance(error, AlithisError) and not isinstance(error, wrapper):
            return error
        error = getattr(error, "cause", None) or getattr(error, "__cause__", None)
    return None


@contextmanager
def _reported(total: Callable[[], int], progress: Progress) -> Iterator[None]:
    """Tell how far the workers are, now and then."""
    done = threading.Event()

    def poll() -> None:
        before = 0
        with suppress(Exception):  # the cluster is gone: the work itself says why
            while not done.wait(_POLL):
                now = total()
                progress.advance(now - before)
                before = now

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(2 * _POLL)
