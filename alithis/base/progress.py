"""What long work tells of itself: the phase it is in, how far it is, and what it has to say."""

from __future__ import annotations


class Progress:
    """Takes what work reports, and shows nothing; front ends override it."""

    def phase(self, name: str, total: int | None = None, done: int = 0, unit: str = "") -> None:
        """Note that a phase begins.

        Args:
            name: what is done in it.
            total: how much there is to do; None where only doing it tells.
            done: how much of it an earlier run has done.
            unit: what is counted.
        """

    def advance(self, count: int) -> None:
        """Note that so much more is done."""

    def say(self, text: str) -> None:
        """Take a line for whoever watches."""
