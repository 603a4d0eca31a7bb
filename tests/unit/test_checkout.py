"""Which commit a script is of."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from alithis.training import git_info as module
from alithis.training.git_info import checkout

TELL = """
import json
from alithis.training.git_info import checkout
print(json.dumps(checkout()))
"""


def git(folder, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", folder, *name, *words], capture_output=True, check=True)


@pytest.fixture
def script(tmp_path):
    """A script in a repository without a commit."""
    git(tmp_path, "init")
    script = tmp_path / "train.py"
    script.write_text(TELL)
    return script


@pytest.fixture
def here(script, monkeypatch):
    """This process takes its folder for the script's, in which nothing is different."""
    git(script.parent, "add", "train.py")
    git(script.parent, "commit", "-m", "x")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    return script.parent


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Put a git of one's own before the real one."""

    def put(text):
        file = tmp_path / "bin" / "git"
        file.parent.mkdir()
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        monkeypatch.setenv("PATH", str(file.parent), prepend=os.pathsep)

    return put


def test_repository(script):
    def told():
        done = subprocess.run([sys.executable, script], capture_output=True, check=True)
        assert done.stderr == b""
        return json.loads(done.stdout)

    assert told() == {}  # no commit yet
    git(script.parent, "remote", "add", "origin", "git@example.org:x.git")
    git(script.parent, "add", "train.py")
    git(script.parent, "commit", "-m", "x")
    clean = told()
    assert (clean["repository"], clean["dirty"]) == ("git@example.org:x.git", False)
    assert len(clean["commit"]) == 40
    script.write_text(script.read_text() + "\n")
    assert told() == clean | {"dirty": True}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b@c.git", "https://example.org/a/b@c.git"),
        ("https://user:secret@example.org/x.git", "https://example.org/x.git"),
        ("https://user:sec@ret@example.org:8443/x", "https://example.org:8443/x"),
        ("https://example.org/x?token=secret#secret", "https://example.org/x"),
        ("hg::https://user:secret@example.org/x", "hg::https://example.org/x"),
        ("https://user:sec/ret@example.org/x", None),
        ("https://user:sec#ret@example.org/x", None),
        ("https://[bad/x", None),
        (r"C:\new\repo", None),
        ("/home/alice/secret project", None),
        ("file:///home/alice/project", None),
        ("https://example.org/x\ny", "https://example.org/xy"),
    ],
)
def test_url_is_recorded_without_its_password(here, url, shown):
    git(here, "config", "remote.origin.url", url)
    found = checkout()
    assert (found.get("repository"), found["dirty"]) == (shown, False)


def test_untracked_script_is_dirty(here, monkeypatch):
    (here / "new.py").write_text("")
    assert checkout()["dirty"] is False
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(here / "new.py"), raising=False)
    assert checkout()["dirty"] is True


def test_branch_with_an_unusual_name(here):
    git(here, "checkout", "-b", "a\u2028b")
    assert checkout()["dirty"] is False


def test_status_that_fails(here):
    commit = checkout()["commit"]
    (here / ".git" / "index").write_text("damaged")
    assert checkout() == {"commit": commit, "dirty": True}


def test_folder_outside_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys.modules["__main__"], "__file__", str(tmp_path / "train.py"), raising=False
    )
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert checkout() == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout() == {}


def test_removed_folder(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert checkout() == {}


def test_git_that_hangs(here, command, monkeypatch):
    command("exec sleep 60")
    monkeypatch.setattr(module, "_SECONDS", 0.3)
    start = time.monotonic()
    assert checkout() == {}
    assert time.monotonic() - start < 30


def test_status_that_takes_too_long(here, command, monkeypatch):
    commit = checkout()["commit"]
    command(f'case "$*" in *" status "*) exec sleep 60;; esac\nexec {shutil.which("git")} "$@"')
    monkeypatch.setattr(module, "_SECONDS", 3.0)
    assert checkout() == {"commit": commit, "dirty": True}
