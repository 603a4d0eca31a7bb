"""What everything else stands on: networks, compiler, chains, and how they are read."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import ape
import pytest
import yaml
from eth_abi import decode
from eth_utils import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

import ape_geth
from alithis.chain.registry import RpcError
from alithis.errors import TransportError
from alithis_ape.contract import container
from alithis_ape.transport import ProviderTransport
from helpers.anvil import CALIBRATION, run_anvil
from helpers.chains import per_example
from helpers.paths import ROOT
from helpers.samples import COMMITMENT
from tools import install_solc

TOTAL_SUPPLY = "0x" + keccak(text="totalSupply()")[:4].hex()
RECORD = "0x" + keccak(text="record(uint256)")[:4].hex()
NONEXISTENT = "0x" + keccak(text="ERC721NonexistentToken(uint256)")[:4].hex()
MINTED = (
    "0x" + keccak(text="Minted(uint256,bytes32,address,uint8,uint8,uint64,bytes32,uint64)").hex()
)


# -- Networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice",
    [
        "filecoin:local:test",
        "filecoin:local:foundry",
        "filecoin:local:node",
        "filecoin:calibration:node",
        "filecoin:calibration-fork:foundry",
        "filecoin:mainnet:node",
        "filecoin:mainnet-fork:foundry",
    ],
)
def test_network_is_there(networks, choice):
    assert choice in networks.get_network_choices(ecosystem_filter="filecoin")
    assert networks.get_provider_from_choice(choice).network_choice == choice


@pytest.mark.parametrize("choice", ["filecoin", "filecoin:local", "filecoin:local:test"])
def test_filecoin_alone_is_the_local_chain(networks, choice):
    assert networks.get_provider_from_choice(choice).network_choice == "filecoin:local:test"
    assert networks.default_ecosystem.name == "filecoin"


@pytest.mark.parametrize(("name", "chain_id"), [("mainnet", 314), ("calibration", 314159)])
def test_live_networks_have_filecoins_chains_and_clock(networks, name, chain_id):
    network = networks.filecoin.get_network(name)
    assert network.chain_id == chain_id
    assert not network.is_dev
    assert (network.block_time, network.required_confirmations) == (30, 1)
    assert networks.filecoin.fee_token_symbol == "FIL"


@pytest.mark.parametrize(("name", "provider"), [("mainnet", "node"), ("mainnet-fork", "foundry")])
def test_networks_have_the_providers_that_can_serve_them(networks, name, provider):
    assert networks.filecoin.get_network(name).default_provider_name == provider


@pytest.mark.parametrize("first", ["ape_geth", "ape_filecoin"])
def test_plugin_is_mended_whichever_module_comes_first(first):
    code = f"""
import {first}, ape_filecoin, ape_geth
assert list(ape_filecoin.ecosystems()) == [ape_geth.Filecoin]
assert ape_filecoin.config_class() is ape_geth.FilecoinConfig
assert [network for _, network, _ in ape_filecoin.networks()] == ["local"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_tests_run_on_the_embedded_chain_and_keep_off_the_users_data(networks):
    assert networks.provider.network_choice == "filecoin:local:test"
    assert str(ape.config.DATA_FOLDER) == os.environ["APE_DATA_FOLDER"]
    assert not ape.config.DATA_FOLDER.is_relative_to(Path.home() / ".ape")


def test_receipt_waits_for_a_nonce_that_a_node_shows_late(registry, owner, networks, monkeypatch):
    """A public endpoint is several nodes: Ape gives up after 20 looks, Filecoin may need more."""
    late = 25
    looks, seen = [], type(networks.provider).get_nonce

    def get_nonce(self, address, block_id=None):
        looks.append(address)
        nonce = seen(self, address, block_id)
        return nonce - 1 if 1 < len(looks) <= late else nonce

    monkeypatch.setattr(type(networks.provider), "get_nonce", get_nonce)
    monkeypatch.setattr(ape_geth.time, "sleep", lambda _: None)
    receipt = registry.mintDataset(COMMITMENT, [], sender=owner)
    assert len(looks) > late
    assert not receipt.failed


# -- Programs ------------------------------------------------------------------------------------


def test_anvil_is_found_though_the_environment_is_not_activated(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    version = subprocess.run([ape_geth.find_anvil(), "--version"], capture_output=True, check=True)
    assert version.stdout.startswith(b"anvil")


def test_node_is_recent_enough():
    node = install_solc.find_node()
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    assert int(version.stdout.removeprefix("v").partition(".")[0]) >= 20


def test_anvil_that_does_not_start_is_a_failure_that_says_why():
    with (
        pytest.raises(pytest.fail.Exception, match=r"anvil ended with status 2: .*--nonsense"),
        run_anvil("--nonsense"),
    ):
        pass


def test_anvil_ends_with_the_process_that_runs_it():
    code = """
import signal
from helpers.anvil import run_anvil
with run_anvil() as node:
    print(node.uri, flush=True)
    signal.pause()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT / "tests", stdout=subprocess.PIPE
    )
    port = int(child.stdout.readline().rsplit(b":", 1)[1])
    assert _listens(port)
    child.send_signal(signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 10
    while _listens(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _listens(port)


def _listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_versions_agree():
    """ape-config.yaml names what package.json installs."""
    config = yaml.safe_load((ROOT / "ape-config.yaml").read_text())
    package = json.loads((ROOT / "package.json").read_text())
    assert config["solidity"]["version"] == package["devDependencies"]["solc"]
    version = package["dependencies"]["@openzeppelin/contracts"]
    assert config["solidity"]["import_remapping"] == [
        f"@openzeppelin/contracts=openzeppelin/{version}"
    ]


# -- solc ----------------------------------------------------------------------------------------

SOURCE = {
    "language": "Solidity",
    "sources": {
        "C.sol": {"content": "pragma solidity ^0.8.0; contract C { uint256 public x = 1; }"}
    },
    "settings": {"outputSelection": {"*": {"*": ["evm.bytecode.object"]}}},
}


@pytest.fixture
def solc(tmp_path, monkeypatch):
    """Where the compiler is installed: a folder of its own for each test."""
    monkeypatch.setenv("SOLCX_BINARY_PATH", str(tmp_path / "solcx"))
    return install_solc.target_path(install_solc.installed_version(ROOT))


@pytest.fixture
def checkout(tmp_path):
    """Another checkout, whose path a shell would split."""
    other = tmp_path / "somebody's other checkout"
    (other / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "solc.js", other / "tools")
    (other / "node_modules").symlink_to(ROOT / "node_modules")
    return other


def run_solc(solc, *options, **kwargs):
    command = [solc, *(options or ["--standard-json"])]
    return subprocess.run(
        command, input=json.dumps(SOURCE), capture_output=True, text=True, check=False, **kwargs
    )


def assert_compiles(solc):
    result = run_solc(solc)
    assert result.returncode == 0, result.stderr
    output = json.loads(result.stdout)
    assert output["contracts"]["C.sol"]["C"]["evm"]["bytecode"]["object"].startswith("60")


def test_solc_compiles_and_states_its_version(solc):
    install_solc.install(ROOT, install_solc.find_node())
    assert_compiles(solc)
    version = run_solc(solc, "--version").stdout
    assert f"Version: {install_solc.installed_version(ROOT)}+commit." in version


def test_solc_needs_nothing_on_the_path(solc):
    install_solc.install(ROOT, install_solc.find_node())
    found = {"PATH": "/usr/bin:/bin"} if shutil.which("grep", path="/usr/bin:/bin") else {}
    assert run_solc(solc, env=found).returncode == 0


def test_solc_survives_the_checkout_that_installed_it_last(solc, checkout):
    node = install_solc.find_node()
    install_solc.install(ROOT, node)
    install_solc.install(checkout, node)
    assert install_solc.candidates(solc.read_text()) == [(node, str(checkout)), (node, str(ROOT))]
    assert_compiles(solc)
    shutil.rmtree(checkout / "tools")
    assert_compiles(solc)
    install_solc.install(ROOT, node)
    assert install_solc.candidates(solc.read_text()) == [(node, str(ROOT))]


@pytest.mark.parametrize("lost", ["tools", "node_modules"])
def test_solc_whose_checkout_is_gone_says_so_and_is_mended(solc, checkout, lost):
    node = install_solc.find_node()
    install_solc.install(checkout, node)
    checkout.joinpath(lost).rename(checkout / "moved")
    result = run_solc(solc)
    assert result.returncode == 1
    assert "run 'make setup'" in result.stderr
    install_solc.install(ROOT, node)
    assert_compiles(solc)


def test_solc_whose_node_is_gone_is_mended(solc, tmp_path):
    node = tmp_path / "node"
    node.symlink_to(install_solc.find_node())
    install_solc.install(ROOT, str(node))
    node.unlink()
    assert run_solc(solc).returncode == 1
    install_solc.install(ROOT, install_solc.find_node())
    assert_compiles(solc)


@pytest.mark.parametrize("damage", [lambda text: text[:200], lambda text: text.replace("exec", "")])
def test_damaged_solc_is_mended(solc, damage):
    install_solc.install(ROOT, install_solc.find_node())
    solc.write_text(damage(solc.read_text()))
    install_solc.install(ROOT, install_solc.find_node())
    assert_compiles(solc)


def test_sound_solc_is_not_written_again(solc):
    install_solc.install(ROOT, install_solc.find_node())
    before = solc.stat()
    install_solc.install(ROOT, install_solc.find_node())
    assert (solc.stat().st_ino, solc.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_native_solc_is_left_alone(solc):
    solc.parent.mkdir()
    solc.write_bytes(b"\x7fELF native")
    assert "left alone" in install_solc.install(ROOT, install_solc.find_node())
    assert solc.read_bytes() == b"\x7fELF native"


def test_solc_reads_no_file_outside_its_base(solc, tmp_path):
    install_solc.install(ROOT, install_solc.find_node())
    (tmp_path / "Secret.sol").write_text("contract Secret {}")
    (tmp_path / "base").mkdir()
    reads = {"C.sol": {"content": 'import "../Secret.sol";'}}
    result = subprocess.run(
        [solc, "--standard-json", "--base-path", tmp_path / "base"],
        input=json.dumps({**SOURCE, "sources": reads}),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(result.stdout)["errors"]
    (error,) = [entry for entry in found if entry["severity"] == "error"]
    assert "not found" in error["message"]


# -- Isolation of examples -----------------------------------------------------------------------


def test_failing_assertion_in_an_example_fails(registry, owner):
    def example():
        with per_example():
            registry.mintDataset(COMMITMENT, [], sender=owner)
            assert registry.totalSupply() == 2

    with pytest.raises(AssertionError):
        example()
    assert registry.totalSupply() == 0


def test_failing_property_fails(registry, owner):
    @settings(max_examples=5, database=None, deadline=None)
    @given(st.booleans())
    def mints_and_fails(_):
        with per_example():
            registry.mintDataset(COMMITMENT, [], sender=owner)
            assert registry.totalSupply() == 2

    with pytest.raises(AssertionError):
        mints_and_fails()
    assert registry.totalSupply() == 0


@pytest.mark.parametrize("time", ["first", "second"])
def test_examples_do_not_end_the_isolation_of_their_test(registry, owner, time):
    assert registry.totalSupply() == 0
    with per_example():
        registry.mintDataset(COMMITMENT, [], sender=owner)
    registry.mintDataset(COMMITMENT, [], sender=owner)
    assert registry.totalSupply() == 1


class TestNamesakeOfWiderScope:
    @pytest.fixture(scope="class")
    def minted(self):
        """Mints nothing, and yet led Ape to set the other one up before its snapshot."""

    def test_mints_nothing(self, registry, minted):
        assert registry.totalSupply() == 0


class TestNamesake:
    @pytest.fixture
    def minted(self, registry, owner):
        registry.mintDataset(COMMITMENT, [], sender=owner)

    @pytest.mark.parametrize("time", ["first", "second"])
    def test_is_taken_back_after_each_test(self, registry, minted, time):
        assert registry.totalSupply() == 1


# -- The chain through a transport -----------------------------------------------------------------


@pytest.fixture(scope="module", params=["filecoin:local:test", "filecoin:local:foundry"])
def chain(request, networks, owner):
    """Two mints on Ape's embedded chain, which must answer just as a node does; and on a node."""
    with networks.parse_network_choice(request.param) as provider:
        registry = owner.deploy(container())
        receipts = [registry.mintDataset(COMMITMENT, [], sender=owner) for _ in range(2)]
        yield Chain(ProviderTransport(provider), registry, receipts)


class Chain:
    """A chain with a registry, as a transport shows it."""

    def __init__(self, transport, registry, receipts):
        self.request = transport.request
        self.registry = registry.address.lower()
        self.receipts = receipts
        self.blocks = [hex(receipt.block_number) for receipt in receipts]

    def call(self, data, *block):
        return self.request("eth_call", [{"to": self.registry, "data": data}, *block])

    def logs(self, **filter):
        return self.request("eth_getLogs", [{"address": self.registry, **filter}])


def assert_json(value):
    """Only what JSON-RPC writes: its quantities and data are lower-case hexadecimal text."""
    assert json.loads(json.dumps(value)) == value
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            assert_json(item)
    else:
        assert value is None or isinstance(value, bool) or value == value.lower()
        assert not isinstance(value, str) or value[:2] == "0x"


def test_chain_id_and_height(chain):
    assert int(chain.request("eth_chainId", []), 16) in (1337, 31337)
    assert chain.request("eth_blockNumber", []) == chain.blocks[1]


def test_code(chain):
    assert len(chain.request("eth_getCode", [chain.registry, "latest"])) > 10_000
    assert chain.request("eth_getCode", ["0x" + "12" * 20, "latest"]) == "0x"


@pytest.mark.parametrize(("block", "expected"), [((), 2), (("latest",), 2), ((0,), 1), ((1,), 2)])
def test_call_at_a_block(chain, block, expected):
    block = [chain.blocks[at] if isinstance(at, int) else at for at in block]
    result = chain.call(TOTAL_SUPPLY, *block)
    assert result == f"0x{expected:064x}"


def test_revert_carries_its_data(chain):
    with pytest.raises(RpcError) as raised:
        chain.call(f"{RECORD}{9:064x}", "latest")
    assert raised.value.code == 3
    assert raised.value.data == f"{NONEXISTENT}{9:064x}"


def test_revert_without_a_reason_has_no_data_to_carry(chain):
    with pytest.raises(RpcError) as raised:
        chain.call("0xdeadbeef", "latest")
    assert raised.value.data in ("0x", None)


def test_unknown_method(chain):
    with pytest.raises(RpcError) as raised:
        chain.request("eth_noSuchMethod", [])
    assert raised.value.code == -32601


def test_logs(chain):
    logs = chain.logs(fromBlock="earliest", topics=[MINTED])
    assert_json(logs)
    assert [log["blockNumber"] for log in logs] == chain.blocks
    for number, (log, receipt) in enumerate(zip(logs, chain.receipts, strict=True), start=1):
        assert log["address"] == chain.registry
        assert log["topics"] == [
            MINTED,
            f"0x{number:064x}",
            f"0x{COMMITMENT[0].hex()}",
            f"0x{receipt.sender[2:].lower():0>64}",
        ]
        assert log["transactionHash"] == receipt.txn_hash
        assert int(log["logIndex"], 16) == 0
        assert log["removed"] is False
        types = ["uint8", "uint8", "uint64", "bytes32", "uint64"]
        values = decode(types, bytes.fromhex(log["data"][2:]))
        assert values == (0, 0, COMMITMENT[1], COMMITMENT[3], receipt.timestamp)
        block = chain.request("eth_getBlockByNumber", [log["blockNumber"], False])
        assert log["blockHash"] == block["hash"]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, [1]),  # fromBlock and toBlock are "latest" where they are not given
        ({"fromBlock": "earliest"}, [0, 1]),
        ({"fromBlock": "0x0", "toBlock": "latest"}, [0, 1]),
        ({"fromBlock": 0, "toBlock": 0}, [0]),
        ({"fromBlock": 1}, [1]),
        ({"fromBlock": "0x0", "topics": [None, f"0x{2:064x}"]}, [1]),
        ({"fromBlock": "0x0", "topics": [[MINTED, NONEXISTENT.ljust(66, "0")]]}, [0, 1]),
        ({"fromBlock": "0x0", "topics": [MINTED, [f"0x{1:064x}", f"0x{3:064x}"]]}, [0]),
        ({"fromBlock": "0x0", "topics": [NONEXISTENT.ljust(66, "0")]}, []),
        ({"fromBlock": "0x0", "address": ["0x" + "12" * 20]}, []),
    ],
)
def test_log_filter(chain, filter, expected):
    ends = {
        end: chain.blocks[filter[end]]
        for end in ("fromBlock", "toBlock")
        if isinstance(filter.get(end), int)
    }
    logs = chain.logs(**{**filter, **ends})
    found = [log["blockNumber"] for log in logs if log["topics"][0] == MINTED]
    assert found == [chain.blocks[at] for at in expected]


def test_block(chain):
    block = chain.request("eth_getBlockByNumber", ["latest", False])
    assert_json(block)
    assert block == chain.request("eth_getBlockByNumber", [chain.blocks[1], False])
    assert block["number"] == chain.blocks[1]
    assert block["transactions"] == [chain.receipts[1].txn_hash]
    assert int(block["timestamp"], 16) == chain.receipts[1].timestamp
    assert len(block["hash"]) == len(block["parentHash"]) == 66
    assert len(block["logsBloom"]) == 2 + 512
    assert chain.request("eth_getBlockByNumber", ["0xffffff", False]) is None


def test_receipt(chain):
    receipt = chain.request("eth_getTransactionReceipt", [chain.receipts[0].txn_hash])
    assert (receipt["status"], receipt["to"]) == ("0x1", chain.registry)
    assert_json(receipt["logs"])
    assert int(receipt["gasUsed"], 16) == chain.receipts[0].gas_used


def test_node_that_is_gone(networks):
    with run_anvil() as node, networks.parse_network_choice(node.choice) as provider:
        transport = ProviderTransport(provider)
        assert transport.request("eth_chainId", []) == hex(CALIBRATION)
    with pytest.raises(TransportError, match="eth_chainId"):
        transport.request("eth_chainId", [])
