"""Progress callbacks: long work reports its phase and how much is done.

The library calls them and prints nothing; front ends (`alithis.cli.terminal`) override them.
"""

from __future__ import annotations


class Progress:
    """Receives progress and ignores it."""

    def phase(self, name: str, total: int | None = None, done: int = 0, unit: str = "") -> None:
        """Start a phase of the work.

        Args:
            name: what is done in it.
            total: how many units there are; None if that is not known beforehand.
            done: how many an earlier, interrupted run did already.
            unit: what is counted, in the plural.
        """

    def advance(self, count: int) -> None:
        """Report that ``count`` more units are done."""

    def say(self, text: str) -> None:
        """Report something in words, on one line."""
