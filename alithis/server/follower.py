"""Keeps an index up to date while a server runs.

A thread reads the node every few seconds. An error is reported once, and the wait before the next
attempt grows. Meanwhile the server keeps responding from the index, and states its last block.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from alithis.chain.index import Index
from alithis.chain.queries import ArtifactText
from alithis.errors import AlithisError
from alithis.manifest.metadata import Metadata
from alithis.storage.store import Store
from alithis.verify.library import Shelf

POLL = 10.0
"""Seconds between two syncs."""

_WINDOWS = 25  # windows of blocks in one sync
_SLOWEST = 300.0  # the most seconds between two attempts
_TEXTS = 500  # metadata.json files to look for between two syncs
_STOP = 3.0  # seconds to stop; an interrupted transaction is rolled back
_LONGEST = 2000  # characters of a description


@dataclass(frozen=True, slots=True)
class FollowerState:
    """The state of the index.

    Attributes:
        block: the last block in the index; None before it was opened.
        head: the chain's last block at the last sync; None before the first one.
        tokens: the number of tokens in the index.
        error: the last sync's error, in one line; None if it succeeded.
        asked: when the node last responded, by the monotonic clock; None before that.
    """

    block: int | None = None
    head: int | None = None
    tokens: int = 0
    error: str | None = None
    asked: float | None = None

    @property
    def ready(self) -> bool:
        """Whether the index has everything that the chain had at the last sync."""
        return self.error is None and self.head is not None and self.block == self.head


class Follower:
    """Syncs an index repeatedly, in a thread."""

    def __init__(
        self,
        open_index: Callable[[], Index],
        store: Store,
        report: Callable[[str], None],
        poll: float = POLL,
    ) -> None:
        """Keep the sources; nothing is read yet.

        Args:
            open_index: opens the index.
            store: the store in which metadata is looked up.
            report: called with each new error.
            poll: seconds between two syncs.
        """
        self._open_index, self._report, self._poll = open_index, report, poll
        self._shelf = Shelf(store)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._failures = 0
        self._after = b""
        self.state = FollowerState()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, without waiting for a node that does not respond."""
        self._stopping.set()
        self._thread.join(_STOP)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._open_index() as index:
                    self._follow(index)
            except Exception as error:  # of any kind: the server must keep serving the index
                self._failed(error)
                self._stopping.wait(self._pause())

    def _follow(self, index: Index) -> None:
        while not self._stopping.is_set():
            caught_up = self._sync(index)
            if not self._read_texts(index) and caught_up:
                self._stopping.wait(self._poll)

    def _sync(self, index: Index) -> bool:
        """Read some new blocks; return whether the index now has all of them."""
        found = index.sync(windows=_WINDOWS)
        self._failures = 0
        self.state = FollowerState(found.block, found.head, found.tokens, None, time.monotonic())
        return found.complete

    def _read_texts(self, index: Index) -> bool:
        """Add texts from the store that the index lacks; return whether there may be more."""
        digests = index.without_text(self._after, _TEXTS)
        texts = {digest: text for digest in digests if (text := self._text(digest))}
        if texts:
            index.store_texts(texts)
        # What the store does not have yet is looked up again in the next round.
        self._after = digests[-1] if len(digests) == _TEXTS else b""
        return bool(self._after)

    def _text(self, digest: bytes) -> ArtifactText | None:
        try:
            return text_of(self._shelf.open(digest).metadata)
        except AlithisError:
            return None

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        # The message of an error that is not ours can contain secrets, such as the node's URL.
        words = str(error) if isinstance(error, AlithisError) else type(error).__name__
        words = words.replace("\n", " ")
        if words != self.state.error:
            self._report(words)
        self.state = replace(self.state, error=words)

    def _pause(self) -> float:
        return min(_SLOWEST, self._poll * (1 << min(self._failures - 1, 10)))


def text_of(stated: Metadata) -> ArtifactText:
    """Return the texts of metadata that lists show."""

    def term(name: str) -> str | None:
        value = stated.document.get(name)
        if not isinstance(value, str) or not value.strip():
            return None
        # A lone surrogate cannot be encoded.
        return value[:_LONGEST].encode(errors="replace").decode()

    return ArtifactText(stated.name, term("description"), term("license"), stated.form.name)
