"""Progress callbacks: long work reports its phase and how much is done.

The library only calls them and prints nothing. Front ends (`alithis.cli.terminal`) override them.
"""

from __future__ import annotations


class Progress:
    """Receives progress reports and ignores them."""

    def phase(self, name: str, total: int | None = None, done: int = 0, unit: str = "") -> None:
        """Start a phase of the work.

        Args:
            name: the work of this phase: ``hashing``.
            total: the number of units; None if it is not known beforehand.
            done: units that an earlier, interrupted run has done.
            unit: the name of the units, in the plural.
        """

    def advance(self, count: int) -> None:
        """Report that ``count`` more units are done."""

    def say(self, text: str) -> None:
        """Report a message of one line."""
