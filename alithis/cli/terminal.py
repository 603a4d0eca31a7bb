"""Shows the progress of long work: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from alithis.base.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

_INTERVAL = 10.0  # seconds between two lines in a log


@contextmanager
def shown() -> Iterator[Progress]:
    """Show progress on standard error, for as long as the work lasts."""
    if not sys.stderr.isatty():  # importing Rich takes as long as hashing a small dataset
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    with RichProgress(*_columns(), console=console, transient=True) as bars:
        yield Bar(bars, console)


class Lines(Progress):
    """Prints a line every ten seconds, so nothing for quick work."""

    def __init__(self) -> None:
        """Begin the first interval."""
        self._spoken = time.monotonic()

    def phase(self, name: str, total: int | None = None, done: int = 0, unit: str = "") -> None:
        """Begin a phase."""
        self._name, self._total, self._unit = name, total, unit
        self._begun, self._first, self._done = time.monotonic(), done, done

    def advance(self, count: int) -> None:
        """Count, and print a line if the last one is ten seconds old."""
        self._done += count
        now = time.monotonic()
        if now - self._spoken > _INTERVAL:
            self._spoken = now
            self.say(f"{self._name}: {self._state(now - self._begun)}")

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(text, err=True)

    def _state(self, seconds: float) -> str:
        rate = (self._done - self._first) / max(seconds, 1e-9)
        state = f"{counted(self._done, self._total, self._unit)}, {rate:,.0f} a second"
        if self._total is None or not rate:
            return state
        left = timedelta(seconds=round(max(self._total - self._done, 0) / rate))
        return f"{state}, {left} left"


class Bar(Progress):
    """Draws a bar for the current phase."""

    def __init__(self, bars: RichProgress, console: Console) -> None:
        """Prepare without drawing.

        Args:
            bars: where bars are drawn.
            console: where lines are printed, above the bar.
        """
        self._bars, self._console = bars, console
        self._task: TaskID | None = None

    def phase(self, name: str, total: int | None = None, done: int = 0, unit: str = "") -> None:
        """Replace the bar by a new one."""
        if self._task is not None:
            self._bars.refresh()  # otherwise a quick phase disappears before it looks complete
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(name, total=total, completed=done, unit=unit)

    def advance(self, count: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.advance(self._task, count)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, highlight=False)


def counted(done: int, total: int | None, unit: str) -> str:
    """Return how much is done: ``1,000 of 2,000 data points``."""
    return " ".join(filter(None, [f"{done:,}", f"of {total:,}" if total else "", unit]))


def _columns() -> list[str | ProgressColumn]:
    from rich.progress import BarColumn, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            total = None if task.total is None else int(task.total)
            state = counted(int(task.completed), total, task.fields["unit"])
            return Text(f"{state}, {task.speed:,.0f}/s" if task.speed else state)

    return ["{task.description}", BarColumn(), Count(), TimeRemainingColumn()]
