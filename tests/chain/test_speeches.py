"""Failures of the lineage example on texts. tests/frameworks runs it to its end."""

from types import SimpleNamespace

import pytest

from alithis_ape.command import CommandError
from scripts import _chain, speeches


@pytest.fixture
def place(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def failing(tmp_path):
    """A Python whose programs fail."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no speeches >&2\nexit 1\n")
    program.chmod(0o755)
    return program


def test_says_how_to_install_missing_frameworks(place):
    with pytest.raises(CommandError, match=r"at .*/python\. Run 'make examples'"):
        speeches.train(place / "python", place / "data", place / "out")


def test_says_how_to_install_missing_speeches(place, failing):
    with pytest.raises(CommandError, match=r"speeches are not at .*\. Run 'make setup'"):
        speeches.train(failing, place / "nowhere", place / "out")


def test_a_training_that_fails_stops_the_example(place, failing, capfd):
    with pytest.raises(CommandError, match=r"text_classifier\.py failed with exit status 1"):
        speeches.train(failing, place / "data", place / "out")
    assert "no speeches" in capfd.readouterr().err


def test_nothing_is_minted_on_a_live_network():
    live = SimpleNamespace(is_dev=False, choice="filecoin:calibration")
    with (
        pytest.raises(CommandError, match="on local chains, not on filecoin:calibration"),
        _chain.local(live),
    ):
        pytest.fail("it goes on")
