"""Reading the registry from the nodes there are: Ape's embedded chain, and anvil over HTTP.

``tests/unit/test_registry.py`` has the rest, on a chain in Python that answers as these do
(``test_contract_machine.py``).
"""

import ape
import pytest

from alithis.chain.records import Link
from alithis.chain.registry import Registry
from alithis.chain.rpc import HttpTransport
from alithis.errors import ChainError, NoRegistryError, NoTokenError, RpcError
from alithis.manifest import merkle
from alithis.manifest.terms import Kind, Relation
from helpers.anvil import CALIBRATION
from helpers.samples import LEAVES

NOBODY = "0x" + "11" * 20


class TestOverHttp:
    """The same over HTTP, from a real node."""

    @pytest.fixture(scope="class")
    def over_http(self, upstream, upstream_registry):
        return Registry(HttpTransport(upstream.uri), upstream_registry, CALIBRATION)

    def test_records(self, over_http):
        dataset, model = over_http.tokens()
        assert (dataset.kind, model.kind) == (Kind.DATASET, Kind.MODEL)
        assert dataset == over_http.record(1)
        assert over_http.links(2) == (Link(1, Relation.TRAINED_ON),)
        assert over_http.linked_from(1) == ((2, Link(1, Relation.TRAINED_ON)),)
        assert over_http.owner_of(1) == dataset.publisher
        assert over_http.token_uri(1) == f"ipfs://{dataset.metadata_cid.base16}"

    def test_events(self, over_http):
        assert [event.name for event in over_http.events()] == [
            *("Minted", "Transfer"),
            *("Minted", "Linked", "Transfer"),
        ]

    def test_verify_inclusion(self, over_http):
        path = merkle.inclusion_path(b"".join(LEAVES), 3)
        assert over_http.verify_inclusion(1, LEAVES[3], 3, path)
        assert not over_http.verify_inclusion(1, LEAVES[3], 4, path)

    @pytest.mark.parametrize("id", [3, (1 << 256) - 1])
    def test_no_such_token(self, over_http, id):
        with pytest.raises(NoTokenError, match=f"has no token {id}"):
            over_http.record(id)
        with pytest.raises(NoTokenError, match=f"has no token {id}"):
            list(over_http.records([1, id]))

    def test_wrong_chain(self, upstream, upstream_registry):
        with pytest.raises(ChainError, match="serves chain 314159, not 314:"):
            Registry(HttpTransport(upstream.uri), upstream_registry, 314)

    def test_no_registry(self, upstream):
        with pytest.raises(NoRegistryError, match="there is no contract"):
            Registry(HttpTransport(upstream.uri), NOBODY)

    def test_unknown_method(self, upstream):
        with pytest.raises(RpcError, match="answered: ") as caught:
            HttpTransport(upstream.uri).request("eth_nothing", [])
        assert caught.value.code == -32601


def create(owner, code):
    """Deploys creation code, and returns the contract's address."""
    transaction = ape.networks.ethereum.create_transaction(data=bytes.fromhex(code))
    return owner.call(transaction).contract_address


@pytest.mark.parametrize(
    "code",
    ["60fe60005360016000f3", "600060005360016000f3"],
    ids=["INVALID alone", "STOP alone"],
)
def test_a_contract_without_erc165_is_no_registry(transport, owner, code):
    with pytest.raises(NoRegistryError, match="is not an Alithis registry"):
        Registry(transport, create(owner, code))


def test_a_contract_that_says_yes_to_everything_is_no_registry(upstream):
    """ERC-165: what claims the interface 0xffffffff has not understood the question."""
    agreeing, transport = "0x" + "1a" * 20, HttpTransport(upstream.uri)
    transport.request("anvil_setCode", [agreeing, "0x600160005260206000f3"])  # returns 1, always

    with pytest.raises(NoRegistryError, match="the contract is not an Alithis registry"):
        Registry(transport, agreeing)
