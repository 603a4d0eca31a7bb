"""Keeps an index up to date while a server runs, and knows how far it is.

A thread of its own asks the node now and then. What fails is said once, and tried again later and
later; the server goes on with what the index knows, and says up to which block that is.
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
"""Seconds between two looks at the chain."""

_WINDOWS = 25  # of the index, in one go
_SLOWEST = 300.0  # seconds between two tries
_TEXTS = 500  # metadata that is read in one go
_STOP = 3.0  # seconds to stop; what is under way is a transaction, or else nothing
_LONGEST = 2000  # characters of a description


@dataclass(frozen=True, slots=True)
class State:
    """How far the index is.

    Attributes:
        block: the last block it knows; None before it was opened.
        head: the chain's last block when it was asked last; None before that.
        tokens: how many tokens it knows.
        error: what is wrong, in one line; None where nothing is.
        asked: when the chain last answered, by the monotonic clock; None before that.
    """

    block: int | None = None
    head: int | None = None
    tokens: int = 0
    error: str | None = None
    asked: float | None = None

    @property
    def ready(self) -> bool:
        """Whether it knows all that the chain had at the last look."""
        return self.error is None and self.head is not None and self.block == self.head


class Follower:
    """Brings an index up to date, again and again."""

    def __init__(
        self,
        open_index: Callable[[], Index],
        store: Store,
        tell: Callable[[str], None],
        poll: float = POLL,
    ) -> None:
        """Choose what to follow; nothing is read yet.

        Args:
            open_index: opens the index.
            store: where metadata is looked for.
            tell: is told what goes wrong, once for each thing.
            poll: seconds between two looks.
        """
        self._open_index, self._store, self._tell, self._poll = open_index, store, tell, poll
        self._shelf = Shelf(store)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._failures = 0
        self._after = b""
        self.state = State()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a node that does not answer is not waited for."""
        self._stopping.set()
        self._thread.join(_STOP)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._open_index() as index:
                    self._follow(index)
            except Exception as error:  # whatever it is, the server goes on with what it has
                self._failed(error)
                self._stopping.wait(self._pause())

    def _follow(self, index: Index) -> None:
        while not self._stopping.is_set():
            caught_up = self._look(index)
            if not self._learn(index) and caught_up:
                self._stopping.wait(self._poll)

    def _look(self, index: Index) -> bool:
        """Read some of what is new on the chain; tell whether that was all."""
        found = index.sync(windows=_WINDOWS)
        self._failures = 0
        self.state = State(found.block, found.head, found.tokens, None, time.monotonic())
        return found.complete

    def _learn(self, index: Index) -> bool:
        """Read some metadata that the index lacks the text of; tell whether there may be more."""
        digests = index.without_text(self._after, _TEXTS)
        texts = {digest: text for digest in digests if (text := self._text(digest))}
        if texts:
            index.store_texts(texts)
        # What is not at hand is looked for again in the next round.
        self._after = digests[-1] if len(digests) == _TEXTS else b""
        return bool(self._after)

    def _text(self, digest: bytes) -> ArtifactText | None:
        try:
            return text_of(self._shelf.open(digest).metadata)
        except AlithisError:
            return None

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        # Only our own errors are words for others to read.
        words = str(error) if isinstance(error, AlithisError) else type(error).__name__
        words = words.replace("\n", " ")
        if words != self.state.error:
            self._tell(words)
        self.state = replace(self.state, error=words)

    def _pause(self) -> float:
        return min(_SLOWEST, self._poll * (1 << min(self._failures - 1, 10)))


def text_of(stated: Metadata) -> ArtifactText:
    """Return what a list shows of metadata."""

    def term(name: str) -> str | None:
        value = stated.document.get(name)
        if not isinstance(value, str) or not value.strip():
            return None
        return value[:_LONGEST].encode(errors="replace").decode()  # a lone surrogate is no text

    return ArtifactText(stated.name, term("description"), term("license"), stated.form.name)
