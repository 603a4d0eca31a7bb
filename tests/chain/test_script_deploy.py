"""`ape run deploy`, in a process of its own: on the embedded chain, and on a live network.

The live network is an anvil with Calibration's chain id, which mines by the clock.
"""

import json
import os
import pty
import re
from functools import partial

import ape
import pytest
from ape_accounts.accounts import import_account_from_private_key

from alithis.chain.filecoin import filecoin_address
from alithis.chain.mint import Call
from alithis.chain.registry import Registry
from alithis.chain.rpc import HttpTransport
from alithis.errors import RefusedError, RegistryError
from alithis_ape.command import CommandError
from alithis_ape.contract import find_registry
from alithis_ape.sending import approve, unsent
from helpers.anvil import run_anvil
from helpers.registry_model import Relation
from helpers.samples import COMMITMENT
from helpers.scripts import PASSPHRASE, POOR, RICH, run_here, run_live, run_script


@pytest.fixture
def deploy(live, addresses):
    """Runs `ape run deploy` on the stand-in."""
    return partial(run_live, live, "deploy")


@pytest.fixture
def deploy_here(live, addresses):
    """Runs it in this process: where it is refused before anything is sent."""
    return partial(run_here, live, "deploy")


@pytest.fixture(scope="module")
def deployed(live, addresses):
    """What --json says of a registry on the stand-in."""
    result = run_live(live, "deploy", "--account", RICH, "--yes", "--json")
    assert result.returncode == 0, result.stderr
    assert "filecoin:calibration, chain 314159, 127.0.0.1" in result.stderr
    assert "balance  1.000000 tFIL" in result.stderr
    return json.loads(result.stdout)


def refusal(result):
    """The one line that a command that refused has said."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line == result.stderr.splitlines()[-1]
    return line.removeprefix("Error: ")


def test_deploys_on_the_embedded_chain_without_options():
    result = run_script("deploy", "--network", "filecoin")
    assert result.returncode == 0, result.stderr
    rows = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert rows["network"] == "filecoin:local"
    assert rows["registry"].startswith("0x")
    assert "filecoin" not in rows  # no such address on a chain that is not Filecoin's


def test_json_is_all_that_is_printed():
    result = run_script("deploy", "--json", "--account", "TEST::1")
    outcome = json.loads(result.stdout)
    assert outcome["deployer"] == "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
    assert outcome["filecoin_address"] is None
    assert outcome["explorer"] is None


def test_deploys_on_a_live_network(deployed, live, addresses):
    registry = deployed["registry"]
    assert Registry(HttpTransport(live.uri), registry, chain_id=314159).count() == 0
    assert deployed["filecoin_address"] == filecoin_address(registry, 314159)
    assert deployed["filecoin_address"].startswith("t410f")
    assert deployed["explorer"] == f"https://calibration.filfox.info/en/address/{registry}"
    assert deployed["deployer"] == addresses[RICH]
    receipt = live.rpc("eth_getTransactionReceipt", deployed["transaction"])
    assert int(receipt["gasUsed"], 16) == deployed["gas"]
    assert int(receipt["effectiveGasPrice"], 16) * deployed["gas"] == int(deployed["fee"])


def test_finds_the_last_deployment(deployed, live, networks):
    with networks.parse_network_choice(live.choice) as provider:
        assert find_registry(None, provider.network).address == deployed["registry"]


def test_ignores_a_deployment_that_the_chain_does_not_have(deployed, networks):
    with run_anvil() as other, networks.parse_network_choice(other.choice) as provider:
        with pytest.raises(CommandError, match="no registry is known on filecoin:calibration"):
            find_registry(None, provider.network)
        with pytest.raises(CommandError, match="there is no contract at 0x"):
            find_registry(deployed["registry"], provider.network)


def test_refuses_a_malformed_address(networks):
    with pytest.raises(RegistryError, match="'f410f' is not an address"):
        find_registry("f410f", networks.provider.network)


def test_asks_on_a_terminal_for_account_and_confirmation(deploy, live, addresses):
    def answer(*lines):
        mine, theirs = pty.openpty()
        try:
            os.write(mine, "".join(f"{line}\n" for line in lines).encode())
            return deploy(stdin=theirs)
        finally:
            os.close(mine)
            os.close(theirs)

    before = live.rpc("eth_getTransactionCount", addresses[RICH], "latest")
    declined = answer(RICH, "n")
    assert declined.returncode == 1
    assert "Aborted!" in declined.stderr
    assert live.rpc("eth_getTransactionCount", addresses[RICH], "latest") == before

    agreed = answer(RICH, "y")
    assert agreed.returncode == 0, agreed.stderr
    assert f"account  {RICH} {addresses[RICH]}" in agreed.stderr
    (registry,) = re.findall(r"registry +(0x\w{40})\n", agreed.stdout)
    assert f"filecoin address  {filecoin_address(registry, 314159)}\n" in agreed.stdout


def test_refuses_without_an_account(deploy):
    assert "Give --account or set ALITHIS_ACCOUNT" in refusal(deploy())


def test_refuses_an_unknown_account(deploy_here):
    assert "there is no account 'nobody'" in refusal(deploy_here(ALITHIS_ACCOUNT="nobody"))


@pytest.mark.parametrize("key", ["TEST::0", "imported"])
def test_refuses_an_account_whose_key_is_public(deploy, key):
    if key == "imported":
        import_account_from_private_key(key, PASSPHRASE, ape.accounts.test_accounts[3].private_key)
    assert "with a public key" in refusal(deploy("--account", key, "--yes"))


def test_refuses_a_wrong_passphrase(deploy):
    wrong = {f"APE_ACCOUNTS_{RICH}_PASSPHRASE": "wrong battery"}
    assert "wrong passphrase for account" in refusal(deploy("--account", RICH, "--yes", **wrong))


def test_refuses_an_account_that_holds_nothing(deploy, addresses):
    said = refusal(deploy("--account", POOR, "--yes"))
    assert f"{addresses[POOR]} has no FIL on filecoin:calibration" in said


def test_refuses_an_account_that_cannot_pay(deploy_here, live, addresses):
    live.rpc("anvil_setBalance", addresses[POOR], hex(10**12))
    said = refusal(deploy_here("--account", POOR, "--yes"))
    assert "has 0.000001 tFIL on filecoin:calibration, but the transaction may cost 0.0" in said
    live.rpc("anvil_setBalance", addresses[POOR], "0x0")


def test_transaction_that_would_fail_is_refused_by_the_contracts_error(deployed, live, networks):
    with networks.parse_network_choice(live.choice) as provider:
        registry = find_registry(deployed["registry"], provider.network)
        account = ape.accounts.load(RICH)
        call = Call("mintModel", (COMMITMENT, [(9, Relation.TRAINED_ON)]))
        transaction = unsent(registry, call, account)
        with pytest.raises(RefusedError, match=r"refuses: UnknownTarget\(position=0, target=9\)"):
            approve(transaction, account, "mint a model", yes=True)


def test_refuses_to_send_without_a_terminal_or_yes(deploy_here):
    said = refusal(deploy_here("--account", RICH))
    assert "--yes sends without asking" in said


def test_refuses_a_dead_endpoint(deploy_here):
    said = refusal(
        deploy_here("--account", RICH, network="filecoin:calibration:http://127.0.0.1:9")
    )
    assert "http://127.0.0.1:9" in said


def test_refuses_another_chain_than_the_named_one(deploy_here, live):
    said = refusal(deploy_here("--account", RICH, network=f"filecoin:mainnet:{live.uri}"))
    assert "314159" in said
    assert "314" in said.replace("314159", "")
