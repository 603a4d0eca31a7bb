"""What every suite sets up first: an environment of its own, and how long Hypothesis searches.

``pytest --hypothesis-profile=long`` runs 20 times as many examples (`make test-long`), and
``--hypothesis-profile=ci`` the same ones each time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import coverage
import pytest
from hypothesis import HealthCheck, settings

from helpers.peers import Peer, run_peer

# Nothing reaches the network, and nobody's cache: a test names the gateways that it starts.
os.environ["ALITHIS_GATEWAYS"] = "none"
os.environ["ALITHIS_CACHE"] = "none"

LONG = 20
"""How many times as many examples the long profile runs."""

# A shell that runs the suite in the background (`make test &`) has it ignore interrupts, and the
# commands that the tests interrupt would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on how fast the machine is.
_ordinary = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ordinary", _ordinary)
settings.register_profile("ci", _ordinary, derandomize=True, database=None, print_blob=True)
settings.register_profile("long", _ordinary, max_examples=LONG * _ordinary.max_examples)
settings.load_profile("ordinary")


def examples(ordinary: int) -> int:
    """Returns the number of examples in the chosen profile, given the ordinary number."""
    return ordinary * LONG if "long" in settings.get_current_profile_name() else ordinary


def pytest_sessionfinish() -> None:
    """Saves what was measured: a worker that ends slowly, for what it has open, is killed."""
    if measured := coverage.Coverage.current():
        measured.save()


@pytest.fixture(scope="session")
def ipfs_peer() -> Iterator[Peer]:
    """An IPFS peer, with a gateway and Kubo's RPC."""
    with run_peer() as peer:
        yield peer
