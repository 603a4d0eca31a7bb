"""Which commit the running script is of, as git tells it beside the script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

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
            if self._pid != os.getpid():  # after a fork the answers are the parent's to read
                self._ask()
            self._found = self._read()
        return self._found

    def _ask(self) -> None:
        self._pid = os.getpid()
        self._status = _asked(
            self._folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no"
        )
        self._url = _asked(self._folder, "config", "--get", "remote.origin.url")
        weakref.finalize(self, _drop, self._status, self._url)

    def _read(self) -> dict[str, Any]:
        status = _answer(self._status) or ""
        found = re.match(r"# branch\.oid ([0-9a-f]{40,64})\n", status)
        commit = found[1] if found else _answer(_asked(self._folder, "rev-parse", "HEAD"))
        if commit is None:
            return {}
        dirty = not found or any(not line.startswith("#") for line in status.splitlines())
        url = _answer(self._url)
        repository = {"repository": _public(url)} if url else {}
        return repository | {"commit": commit, "dirty": dirty}


def _asked(folder: Path, *arguments: str) -> subprocess.Popen[str] | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        return subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        )
    except (OSError, ValueError):
        return None


def _answer(process: subprocess.Popen[str] | None) -> str | None:
    """Wait for an answer; None where there is none, or none in time."""
    if process is None:
        return None
    try:
        found, _ = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        _drop(process)
        return None
    return found.strip() if process.returncode == 0 else None


def _drop(*processes: subprocess.Popen[str] | None) -> None:
    """End commands whose answers nobody wants, if they did not end by themselves."""
    for process in processes:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        if process is not None and process.stdout is not None:
            process.stdout.close()


def _public(url: str) -> str:
    """Return a repository's URL without a password in it."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
