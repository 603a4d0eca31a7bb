"""Hash a dataset on many machines: Ray Data hashes its parts and sorts the data points.

The result is the same as on a single machine, byte for byte: a `Source` is cut into parts that name
and hash their data points as the whole source does, and the order of the sorted data points is
checked. Workers open the source themselves. Each machine of the cluster must be able to read it: a
shared folder, or a URL with the credentials in the machine's environment.

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
from alithis.base.text import first_line
from alithis.errors import AlithisError, SourceError
from alithis.forms.pool import Pool
from alithis.integrations.common import require
from alithis.manifest.sorter import Presorted, settled, sorted_table, table_of
from alithis.readers import Skips, Source

if TYPE_CHECKING:
    import pyarrow as pa

_PARTS_PER_CPU = 4  # so that one slow part does not delay the end
_MAX_PARTS = 10_000
_KNOCK = 5.0  # seconds to wait for the cluster to accept a connection
_POLL = 1.0  # seconds between two progress reports


@contextmanager
def presorted(
    source: Source, *, workers: int | None = None, progress: Progress | None = None
) -> Iterator[Presorted]:
    """Hash and sort a source with Ray; the result can be used within the ``with`` block.

    The cluster is the one that this process is connected to, or that RAY_ADDRESS names. Otherwise
    one is started on this machine and stopped at the end. ``source.skipped`` then lists what the
    parts skipped.

    Args:
        source: the data points. A source that cannot be cut is hashed by one worker.
        workers: processors to use, if a cluster is started; by default all of them.
        progress: receives the progress.

    Raises:
        MissingExtraError: Ray is not installed.
        SourceError: a file cannot be read, there are no data points, or a worker failed.
    """
    progress = progress or Progress()
    with _connected(workers) as ray, _translated(ray):
        processors = int(ray.cluster_resources().get("CPU", 1))
        parts = source.parts(min(_PARTS_PER_CPU * processors, _MAX_PARTS))
        reports = ray.remote(_Reports).options(num_cpus=0).remote()
        progress.phase("hashing", source.count, unit="data points")
        with _reported(lambda: ray.get(reports.total.remote()), progress):
            rows = ray.data.from_items(_packed(parts), override_num_blocks=len(parts))
            digested = rows.map_batches(
                _digested, batch_size=1, batch_format="pyarrow", fn_kwargs={"reports": reports}
            )
            found = digested.sort("leaf").materialize()
        for skipped in ray.get(reports.skipped.remote()):
            source.skipped.extend(skipped)
        schema = found.schema()
        if schema is None or not found.count():
            raise SourceError("no data points: the source is empty")
        yield Presorted(found.count(), settled(schema.base_schema), _tables(found))


def _packed(parts: list[Source]) -> list[dict[str, Any]]:
    """Pickle parts for the workers.

    Raises:
        SourceError: a part cannot be pickled.
    """
    from ray import cloudpickle

    dumps: Callable[[Any], bytes] = cloudpickle.dumps
    try:
        return [{"part": at, "source": dumps(part)} for at, part in enumerate(parts)]
    except Exception as error:  # pickling may raise any error
        raise SourceError(
            f"this source cannot be sent to Ray's workers ({error}): leave --engine out"
        ) from error


def _tables(found: Any) -> Iterator[pa.Table]:
    """Yield sorted blocks. Ray sorted them by leaf; equal leaves are put in order here."""
    for block in found.iter_batches(batch_size=None, batch_format="pyarrow"):
        if len(block):
            yield sorted_table(block)


# -- In the workers --------------------------------------------------------------------------------


class _Reports:
    """Collects the workers' progress and skipped entries; an actor in the cluster."""

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


def _digested(batch: pa.Table, reports: Any) -> Iterator[pa.Table]:
    """Hash a part of the source."""
    import ray
    from ray import cloudpickle

    part, done = batch["part"][0].as_py(), 0
    source: Source = cloudpickle.loads(batch["source"][0].as_py())
    with Pool(1) as pool:
        for items in source.digested(pool):
            done += len(items.paths)
            reports.count.remote(part, done)
            yield table_of(items)
    ray.get(reports.finish.remote(part, source.skipped))


# -- The cluster -----------------------------------------------------------------------------------


@contextmanager
def _connected(workers: int | None) -> Iterator[Any]:
    """Connect to a cluster, or start one and stop it at the end."""
    # Set before Ray is imported: no usage statistics, and no warnings on the terminal.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    ray = require("ray", "ray", "ray")
    require("ray.data", "ray", "ray")
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
        raise SourceError(f"Ray cannot be started or reached: {first_line(error)}") from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C: stopping Ray while it starts would crash the process."""
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
    """Check that a cluster accepts connections: Ray itself would retry for minutes.

    Raises:
        OSError: it does not.
    """
    parts = urlsplit(address if "://" in address else f"ray://{address}")
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), _KNOCK).close()


def _short_folder() -> str | None:
    """Return a folder for sockets, whose paths may have 107 bytes; None for the default one."""
    return "/tmp" if len(tempfile.gettempdir()) > 30 and os.path.isdir("/tmp") else None  # noqa: S108, PTH112


@contextmanager
def _translated(ray: Any) -> Iterator[None]:
    """Raise the error that a worker raised, or one line of Ray's error."""
    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        # A worker's error arrives as an instance of both its class and Ray's, with a traceback as
        # its text; the original is its cause.
        if own := _cause(error, ray.exceptions.RayError):
            raise own from None
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(f"Ray: {lines[-1]}") from error


def _cause(error: BaseException | None, wrapper: type[BaseException]) -> AlithisError | None:
    """Find our error among the causes of Ray's error."""
    for _ in range(16):
        if isinstance(error, AlithisError) and not isinstance(error, wrapper):
            return error
        error = getattr(error, "cause", None) or getattr(error, "__cause__", None)
    return None


@contextmanager
def _reported(total: Callable[[], int], progress: Progress) -> Iterator[None]:
    """Report the workers' progress once a second."""
    done = threading.Event()

    def poll() -> None:
        before = 0
        with suppress(Exception):  # if the cluster has stopped, the work itself raises an error
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
