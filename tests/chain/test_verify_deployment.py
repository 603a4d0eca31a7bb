"""tools/verify_deployment.py on a node: what was created from this source, and what was not."""

import importlib.util

import pytest

from alithis.chain.contract import artifact
from alithis.chain.registry import Registry
from alithis.chain.rpc import HttpTransport
from helpers.paths import ROOT
from helpers.serving import wait_until

TOOL = ROOT / "tools" / "verify_deployment.py"
BYTECODE = artifact()["bytecode"]


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("verify_deployment", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def node(upstream):
    return HttpTransport(upstream.uri)


@pytest.fixture(scope="module")
def send(node):
    """Sends a transaction from an account that the node holds; its hash, once it is mined."""
    sender = node.request("eth_accounts", [])[9]

    def sent(**fields):
        call = {"from": sender, "gas": hex(6_000_000), **fields}
        transaction = node.request("eth_sendTransaction", [call])
        wait_until(lambda: node.request("eth_getTransactionReceipt", [transaction]))
        return transaction

    return sent


def test_created_from_this_source(tool, upstream, node, send, capsys):
    transaction = send(data=BYTECODE)
    assert tool.main([upstream.uri, transaction]) == 0
    address, _, rest = capsys.readouterr().out.partition(" ")
    assert rest == "on chain 314159 was created from this source\n"
    assert Registry(node, "0x" + address[2:].lower()).count() == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"data": BYTECODE + "00"}, "bytes that are not the"),
        ({"data": BYTECODE[:-2] + "ff"}, "bytes that are not the"),
        ({"data": "0x00"}, "its creation code has 1 bytes"),
        ({"to": "0x" + "11" * 20, "data": BYTECODE}, "creates no contract itself"),
        ({"data": BYTECODE, "gas": hex(2_000_000)}, "it failed"),
    ],
    ids=["longer", "altered", "other", "call", "failed"],
)
def test_not_created_from_it(tool, upstream, send, capsys, fields, reason):
    assert tool.main([upstream.uri, send(**fields)]) == 1
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("transaction", ["0x" + "00" * 32, "0x", "latest"])
def test_no_such_transaction(tool, upstream, capsys, transaction):
    assert tool.main([upstream.uri, transaction]) == 1
    assert "no such transaction" in (said := capsys.readouterr().err) or "no transaction" in said


def test_no_node(tool, capsys):
    assert tool.main(["http://127.0.0.1:1", "0x" + "00" * 32]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
