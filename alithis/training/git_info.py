"""Asks git for the commit of the running script."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

_SECONDS = 10.0  # to wait for an answer
_REMOTE = (
    r"(?!file:)[\w.+:-]+://|[\w.-]+@[\w.-]+:"  # not a local path, which is of no use to others
)


def checkout() -> dict[str, Any]:
    """Describe the repository of the running script, or of the working directory.

    Returns:
        ``repository``: its URL, without passwords, if it is not a local path; ``commit``; and
        ``dirty``: whether tracked files differ from the commit, or git does not track the script.
        Empty if there is no repository, or git does not answer.
    """
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    try:
        script = Path(file).resolve() if file else None
        folder = script.parent if script else Path.cwd()
    except OSError:  # the working directory was removed
        return {}
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no") or ""
    found = re.match(r"# branch\.oid ([0-9a-f]{40,64})\n", status)
    commit = found[1] if found else _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    dirty = not found or any(not line.startswith("#") for line in status.split("\n"))
    if script and not dirty:
        dirty = _git(folder, "ls-files", "--error-unmatch", "--", script.name) is None
    url = _git(folder, "config", "--get", "remote.origin.url") or ""
    shown = public_url(url) if re.match(_REMOTE, url) else None
    repository = {"repository": shown} if shown else {}
    return repository | {"commit": commit, "dirty": dirty}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def public_url(url: str) -> str | None:
    """Return a repository's URL without a password; None if it may still contain one."""
    if "://" not in url:
        return url
    helper = re.match(r"(?:\w+::)*", url)
    assert helper
    try:
        parts = urlsplit(url[helper.end() :])
        # If a password contains a slash or a colon, its rest may be parsed as the port; reading an
        # invalid port raises ValueError.
        _ = parts.port
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    return helper[0] + urlunsplit((parts.scheme, host, parts.path, "", ""))
