"""Any history of the whole contract, on the embedded chain: tests/helpers/machine.py says how.

ALITHIS_HISTORIES gives how many: `make histories` runs many more than the ordinary run.
"""

import os

from alithis.chain.contract import artifact
from helpers.machine import explore
from helpers.session import examples
from helpers.states import REPLAY, state_by_events

HISTORIES = int(os.environ.get("ALITHIS_HISTORIES", examples(3)))


def test_any_history(registry, accounts):
    explore(registry, accounts, HISTORIES)


def test_every_event_is_replayed_and_none_forgotten():
    """ERC-5267's EIP712DomainChanged is never emitted: the domain is immutable."""
    names = {entry["name"] for entry in artifact()["abi"] if entry["type"] == "event"}
    assert names - set(REPLAY) == {"EIP712DomainChanged"}
    assert set(REPLAY) <= names


def test_no_events_no_state():
    assert state_by_events([]).tokens == {}
