"""Which commit a script is of."""

import gc
import json
import os
import subprocess
import sys
import time

import pytest

from alithis import checkout
from alithis.checkout import Checkout

TELL = (
    "import json\nfrom alithis.checkout import Checkout\nprint(json.dumps(Checkout().as_object()))"
)


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


def told(script):
    done = subprocess.run([sys.executable, script], capture_output=True, check=True)
    assert done.stderr == b""
    return json.loads(done.stdout)


@pytest.fixture
def here(script, monkeypatch):
    """This process takes its folder for the script's, in which nothing is different."""
    git(script.parent, "add", "train.py")
    git(script.parent, "commit", "-m", "x")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script))
    return script.parent


@pytest.fixture
def stuck(tmp_path, monkeypatch):
    """A git that does not answer: the file opens once it runs, and ends when it does."""
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    command = tmp_path / "bin" / "git"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexec 3> {alive}\nexec sleep 60\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    monkeypatch.setattr(checkout, "_SECONDS", 0.3)
    return alive


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@example.org/x.git", "https://example.org/x.git"),
        ("git@example.org:x.git", "git@example.org:x.git"),
    ],
)
def test_repository(script, url, shown):
    assert told(script) == {}  # no commit yet
    git(script.parent, "remote", "add", "origin", url)
    git(script.parent, "add", "train.py")
    git(script.parent, "commit", "-m", "x")
    clean = told(script)
    assert (clean["repository"], clean["dirty"], len(clean["commit"])) == (shown, False, 40)
    script.write_text(script.read_text() + "\n")
    assert told(script) == clean | {"dirty": True}


def test_as_it_was_when_it_was_asked_about(here):
    asked = Checkout()
    asked._asked.wait(20)
    (here / "train.py").write_text("changed")
    assert asked.as_object()["dirty"] is False
    assert Checkout().as_object() == asked.as_object() | {"dirty": True}


def test_more_changes_than_a_pipe_holds(here):
    names = [f"{number}-{'x' * 200}" for number in range(1000)]
    for name in names:
        (here / name).write_text("")
    git(here, "add", ".")
    assert Checkout().as_object()["dirty"] is True


def test_a_status_that_fails(here):
    commit = Checkout().as_object()["commit"]
    (here / ".git" / "index").write_text("damaged")
    assert Checkout().as_object() == {"commit": commit, "dirty": True}


def test_no_repository_and_no_git(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "train.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert Checkout().as_object() == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Checkout().as_object() == {}


def test_no_answer(stuck):
    start, asked = time.monotonic(), Checkout()
    with stuck.open("rb") as alive:
        assert asked.as_object() == {}
        assert alive.read() == b""
    assert time.monotonic() - start < 30


def test_nobody_wants_to_know(stuck):
    start, asked = time.monotonic(), Checkout()
    with stuck.open("rb") as alive:
        del asked
        gc.collect()
        assert alive.read() == b""
    assert time.monotonic() - start < 30


def test_a_forked_child_asks_for_itself(here):
    asked = Checkout()
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.write(writer, json.dumps(asked.as_object()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert json.loads(file.read()) == asked.as_object() != {}
