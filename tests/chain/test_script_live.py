"""A live network from end to end: deploy, mint, and verify over plain JSON-RPC."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from click.testing import CliRunner

from alithis.cli import cli
from alithis.manifest.reader import Manifest
from alithis.storage.store import Store
from helpers.anvil import Node
from helpers.manifests import write, write_model
from helpers.scripts import POOR, RICH, run_here, run_live

JSON = {"Content-Type": "application/json"}
SENDS = "eth_sendRawTransaction"


@pytest.fixture(scope="module")
def deployed(live, addresses):
    """Address of a registry on the stand-in, which Ape remembers."""
    result = run_live(live, "deploy", "--account", RICH, "--yes", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["registry"]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_a_dataset_and_a_model_are_minted_and_verified_on_a_live_network(
    live, addresses, tmp_path, store
):
    def run(command, *options):
        result = run_live(live, command, "--account", RICH, "--yes", "--json", *options)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    dataset = write(tmp_path / "rows.alithis", rows=60)
    model = write_model(tmp_path / "model.alithis", dataset)
    leaf = next(Manifest.open(dataset).leaves()).hex()

    registry = run("deploy")["registry"]
    # The registry is the one that Ape remembers.
    options = ["--store", str(store.root), "--unpublished"]
    minted = run("mint_dataset", str(dataset), *options)
    assert (minted["registry"], minted["token"]) == (registry, 1)
    assert run("mint_model", str(model), *options)["token"] == 2

    chain = ["--rpc", live.uri, "--registry", registry, "--chain", "314159"]
    result = CliRunner().invoke(
        cli, ["verify", leaf, *chain, "--store", str(store.root), "--token", "1", "--json"]
    )
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.output)["results"]
    assert (found["verdict"], found["index"], found["size"]) == ("included", 0, 60)
    assert [(model["token"], model["relation"]) for model in found["models"]] == [(2, "trained_on")]


def test_evidence_and_a_relayed_mint_on_a_live_network(live, addresses, deployed, tmp_path, store):
    def run(*command, status=0, alias=RICH):
        result = run_live(live, "registry", *command, "--account", alias, "--yes", "--json")
        assert result.returncode == status, result.stderr
        return result

    registry = ["--registry", deployed]
    dataset = write(tmp_path / "rows.alithis", rows=60)
    leaf = next(Manifest.open(dataset).leaves()).hex()

    # Who has nothing signs; who has money sends.
    mint = str(tmp_path / "mint.json")
    signed = json.loads(run("sign", str(dataset), "-o", mint, *registry, alias=POOR).stdout)
    assert (signed["publisher"], signed["chain"]) == (addresses[POOR], 314159)
    relayed = run("relay", mint, *registry)
    assert json.loads(relayed.stdout)["publisher"] == addresses[POOR]
    assert "About to relay a dataset's mint:" in relayed.stderr

    attested = run("attest", "1", leaf, "--manifest", str(dataset), *registry)
    assert json.loads(attested.stdout)["attestations"] == 1
    assert "fee" in attested.stderr

    refused = run("withdraw", "1", *registry, status=2)
    assert "the contract refuses: NotOwner(id=1" in refused.stderr
    assert "About to" not in refused.stderr
    poor = run("withdraw", "1", *registry, status=2, alias=POOR)
    assert "has no FIL on" in poor.stderr


@contextmanager
def between(node, change):
    """A proxy to a node that replaces each answer by ``change(method, answer)``."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = requests.post(node.uri, data=body, headers=JSON, timeout=10).content
            answer = change(json.loads(body)["method"], answer)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Node(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


def the_error(result):
    """Return the error, which must be one line."""
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    (said,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    return said


def test_names_the_transaction_if_the_node_stops_answering(live, addresses):
    asked = []

    def change(method, answer):
        asked.append(method)
        after = asked[asked.index(SENDS) + 1 :] if SENDS in asked else []
        return None if after else answer

    with between(live, change) as node:
        said = the_error(run_live(node, "deploy", "--account", RICH, "--yes"))

    assert "may have been sent. Look it up" in said
    sent = live.rpc("eth_getTransactionByHash", the_transaction(said))
    assert sent["from"] == addresses[RICH].lower()


def the_transaction(said):
    (name,) = re.findall("transaction (0x[0-9a-f]{64})", said)
    return name


def in_receipt(**changes):
    """Change a node's receipt of a transaction that it executed."""

    def change(method, answer):
        said = json.loads(answer)
        if method == "eth_getTransactionReceipt" and said["result"]:
            said["result"] |= changes
        return json.dumps(said).encode()

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (in_receipt(status=None), "may have been sent. Look it up"),
        (in_receipt(transactionHash="0x" + "11" * 32), "another transaction's receipt"),
        (in_receipt(status="0x0"), "ran out of gas"),
        (in_receipt(logs=[]), "was executed. Look it up"),
        (in_receipt(logs=[{"a": "\x1b[31m"}]), "was executed. Look it up"),
    ],
)
def test_names_the_transaction_if_the_receipt_is_wrong(
    live, addresses, deployed, tmp_path, change, expected
):
    """The user needs the hash to look the transaction up before sending another."""
    dataset = write(tmp_path / "rows.alithis", rows=10)
    options = ("--store", str(tmp_path / "store"), "--unpublished", "--account", RICH)
    with between(live, change) as node:
        said = the_error(run_live(node, "mint_dataset", "--yes", "--json", str(dataset), *options))

    assert expected in said
    assert "\x1b" not in said
    sent = live.rpc("eth_getTransactionByHash", the_transaction(said))
    assert sent["from"] == addresses[RICH].lower()


def test_names_the_deployment_if_the_node_has_no_code_for_it(live, addresses):
    asked = []

    def change(method, answer):
        asked.append(method)
        return b"[]" if SENDS in asked and method == "eth_call" else answer

    with between(live, change) as node:
        said = the_error(run_live(node, "deploy", "--account", RICH, "--yes", "--json"))

    assert "was executed. Look it up" in said
    assert live.rpc("eth_getTransactionReceipt", the_transaction(said))["status"] == "0x1"


@pytest.mark.parametrize(
    ("lied_to", "lie", "expected"),
    [
        ("eth_getCode", b"<html>\x1b[31m", "unusable answer: JSONDecodeError"),
        ("eth_getBlockByNumber", b'{"jsonrpc": "2.0", "id": 1, "result": 7}', "'int' object"),
        ("eth_call", b"<html>\x1b[31m", "eth_call: no usable answer from the node"),
        ("eth_call", b"[]", "neither a result nor an error"),
        ("eth_estimateGas", b'{"id": 1, "error": {"code": "x", "data": "0xz"}}', "gives no reason"),
        (
            "eth_estimateGas",
            b'{"jsonrpc": "2.0", "id": 1, "result": "0x"}',
            "eth_estimateGas: the node's answer is unusable: 0x",
        ),
        (
            "eth_getBalance",
            b'{"jsonrpc": "2.0", "id": 1, "result": null}',
            "eth_getBalance: the node's answer is unusable: None",
        ),
        (
            "eth_maxPriorityFeePerGas",
            b'{"jsonrpc": "2.0", "id": 1, "result": "-0x5"}',
            "negative fees",
        ),
    ],
)
def test_reports_malformed_answers_of_a_node(live, deployed, lied_to, lie, expected):
    registry = ("--registry", deployed)
    with between(live, lambda method, answer: lie if method == lied_to else answer) as node:
        result = run_here(node, "registry", "revoke-nonce", *registry, "--account", RICH, "--yes")

    said = the_error(result)
    assert expected in said
    assert "\x1b" not in said


def test_sends_nothing_without_confirmation(live, deployed, tmp_path):
    dataset = write(tmp_path / "rows.alithis", rows=10)
    store = ["--store", str(tmp_path / "store"), "--unpublished"]
    result = run_live(live, "mint_dataset", str(dataset), "--account", RICH, *store)

    assert result.returncode == 2
    assert "About to mint rows:" in result.stderr
    assert "fee" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("--yes sends without asking")


def test_does_not_mint_a_manifest_without_a_public_copy(live, addresses, tmp_path):
    dataset = write(tmp_path / "rows.alithis", rows=10)
    mint = ["mint_dataset", str(dataset), "--account", RICH, "--yes"]

    nowhere = run_live(live, *mint, "--store", str(tmp_path / "store"))
    own = run_live(live, *mint, "--store", str(tmp_path / "store"), "--at", "kubo")

    assert (nowhere.returncode, own.returncode) == (2, 2)
    said = nowhere.stderr.splitlines()[-1]
    assert "no public host of the manifest is named. Give --at HOST" in said
    assert "--unpublished skips this" in said
    assert "kubo 127.0.0.1:5001 is not public" in own.stderr
    assert not (tmp_path / "store").exists()


def test_does_not_mint_the_sample_on_a_live_network(live, addresses):
    result = run_live(live, "mint_dataset", "--account", RICH, "--yes")

    assert result.returncode == 2
    assert "give a MANIFEST. The sample is only for local chains" in result.stderr
