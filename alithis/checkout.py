"""Which commit the running script is of, as git tells it beside the script."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

# One process is started sooner than several: as lines that begin with "#", the commit and where
# it is from; others are files that differ, or the commit where git cannot tell that of any.
_ASK = """
export GIT_OPTIONAL_LOCKS=0
git status --porcelain=v2 --branch --untracked-files=no || echo "! $(git rev-parse HEAD)"
echo "# url $(git config --get remote.origin.url)"
"""
_SECONDS = 10.0  # for which an answer is waited for


class Checkout:
    """The repository that the running script is in, as it is when it is asked about.

    git looks at it while the script goes on; only who wants to know waits for what it found.
    """

    def __init__(self) -> None:
        """Ask git."""
        script = getattr(sys.modules.get("__main__"), "__file__", None)
        self._folder = Path(script).resolve().parent if script else Path.cwd()
        self._found: dict[str, Any] | None = None
        self._ask()

    def as_object(self) -> dict[str, Any]:
        """Return ``repository``, where it has one, ``commit`` and ``dirty``; nothing without git.

        ``dirty`` tells that files which git follows differ from the commit.
        """
        if self._found is None:
            if self._pid != os.getpid():  # after a fork the answer is the parent's to read
                self._ask()
            self._found = _read(_answer(self._asked)) if self._asked else {}
        return self._found

    def _ask(self) -> None:
        self._pid, self._asked = os.getpid(), None
        with suppress(OSError, ValueError):  # there is no shell, or no such folder
            self._asked = subprocess.Popen(  # noqa: S603
                ["sh", "-c", _ASK],  # noqa: S607
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                start_new_session=True,  # so that it is not interrupted with the script
            )
            weakref.finalize(self, _drop, self._asked)


def _answer(asked: subprocess.Popen[str]) -> str:
    try:
        return asked.communicate(timeout=_SECONDS)[0]
    except subprocess.TimeoutExpired:
        _drop(asked)
        return ""


def _drop(asked: subprocess.Popen[str]) -> None:
    """End a command whose answer nobody wants, with all that it started."""
    if asked.poll() is None:
        os.killpg(asked.pid, signal.SIGKILL)
        asked.wait()
    if asked.stdout:
        asked.stdout.close()


def _read(answer: str) -> dict[str, Any]:
    commit = re.search(r"^(?:# branch\.oid|!) ([0-9a-f]{40,64})$", answer, re.MULTILINE)
    if not commit:
        return {}
    url = re.search(r"^# url (.+)$", answer, re.MULTILINE)
    repository = {"repository": _public(url[1])} if url else {}
    dirty = not all(line.startswith("#") for line in answer.splitlines())
    return repository | {"commit": commit[1], "dirty": dirty}


def _public(url: str) -> str:
    """Return a repository's URL without a password in it."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
