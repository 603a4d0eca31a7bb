"""`ape run mint_dataset` and `mint_model`: on the embedded chain, in this process."""

import json
import shutil

import pytest
from click.testing import CliRunner

from alithis.chain.registry import Registry
from alithis.ipfs.cid import Cid
from alithis.manifest import reader as manifests
from alithis.storage.hosts import open_hosts
from alithis.storage.hosts.lighthouse import Lighthouse
from alithis.storage.store import Store, local_files
from alithis.storage.upload import publish
from alithis_ape.contract import container
from alithis_ape.transport import transport
from helpers import solidity
from helpers.hosts import KEY, hosting
from helpers.manifests import write, write_model
from helpers.range_server import serving
from scripts import mint_dataset, mint_model

LOCAL = ["--network", "filecoin:local:test"]


@pytest.fixture
def registry(owner):
    """A registry for each test: a command that connects ends Ape's isolation of tests."""
    return owner.deploy(container())


@pytest.fixture
def folder(tmp_path):
    """A manifest of ten rows."""
    return write(tmp_path / "rows.alithis", rows=10)


@pytest.fixture
def run(registry, tmp_path):
    """Runs a command on the embedded chain, with a store of its own."""

    def invoke(command, *args, status=0, known=True):
        address = ["--registry", registry.address] if known else []
        options = [*LOCAL, *address, "--store", str(tmp_path / "store"), *map(str, args)]
        result = CliRunner(mix_stderr=False).invoke(command.cli, options)
        assert result.exit_code == status, result.stdout + result.stderr
        return result

    return invoke


def test_a_manifest_becomes_a_token_that_commits_to_it(run, folder, registry, owner):
    printed = json.loads(run(mint_dataset, folder, "--json").stdout)

    data = manifests.Manifest.open(folder).metadata
    record = registry.record(printed["token"])
    assert (record.root, record.size, record.metadataDigest) == (data.root, 10, data.digest)
    assert record.publisher == owner
    assert printed["uri"] == "ipfs://" + Cid.raw(data.digest).base16
    assert printed["gas"] > 21_000


def test_the_manifest_is_in_the_store_after_minting(run, folder, tmp_path):
    run(mint_dataset, folder)

    (stored,) = Store(tmp_path / "store").manifests().manifests
    assert stored.cid == Cid.raw(manifests.Manifest.open(folder).metadata.digest)


def test_a_manifest_is_minted_from_a_web_server(run, folder, registry):
    with serving(folder) as server:
        run(mint_dataset, server.url)

    assert registry.record(1).metadataDigest == manifests.Manifest.open(folder).metadata.digest


def test_a_manifest_is_minted_by_its_cid_or_its_token(run, folder, tmp_path, registry):
    cid = Store(tmp_path / "store").put_manifest(folder)
    run(mint_dataset, f"ipfs://{cid}")
    run(mint_dataset, 1, "--account", "TEST::1")

    assert registry.record(1).root == registry.record(2).root
    assert "no token 3" in run(mint_dataset, 3, status=2).stderr


def test_a_manifest_without_its_items_is_minted_from_elsewhere(run, folder, tmp_path, registry):
    (folder / "items.parquet").unlink()
    assert "is broken" in run(mint_dataset, folder, status=2).stderr

    with serving(folder) as server:
        run(mint_dataset, server.url)
    assert registry.totalSupply() == 1


def test_plain_output_names_token_transaction_gas_and_uri(run, folder):
    lines = run(mint_dataset, folder).stdout

    assert all(word in lines for word in ("token 1", "transaction 0x", "gas", "URI"))


def test_a_broken_manifest_is_refused_before_any_gas_is_spent(run, folder, registry):
    leaves = folder / "leaves"
    leaves.write_bytes(leaves.read_bytes()[:-1] + b"\0")

    error = run(mint_dataset, folder, status=2).stderr

    assert "is broken and was not minted: leaves" in error
    assert registry.totalSupply() == 0


def test_minting_the_same_commitment_again_requires_yes(run, folder, registry):
    run(mint_dataset, folder)

    refused = run(mint_dataset, folder, status=2)
    assert "is already token 1, by the same publisher" in refused.stderr
    assert registry.totalSupply() == 1

    assert json.loads(run(mint_dataset, folder, "--yes", "--json").stdout)["token"] == 2


def test_another_publisher_may_mint_the_same_commitment(run, folder, registry, accounts):
    run(mint_dataset, folder)
    run(mint_dataset, folder, "--account", "TEST::1")

    assert registry.record(2).publisher == accounts[1]


def test_a_model_is_linked_to_the_tokens_of_its_inputs(run, folder, tmp_path, registry):
    run(mint_dataset, folder)
    run(mint_model, write_model(tmp_path / "model.alithis", folder))

    (link,) = Registry(transport(), registry.address).links(2)
    assert (link.target, link.relation) == (1, "trained_on")


def test_a_model_whose_input_has_no_token_is_refused(run, folder, tmp_path, registry):
    error = run(mint_model, write_model(tmp_path / "model.alithis", folder), status=2).stderr

    assert "trained_on rows: no token of registry" in error
    assert registry.totalSupply() == 0


def test_links_are_given_by_relation_and_token(run, folder, tmp_path, registry):
    run(mint_dataset, folder)
    newer = write(tmp_path / "newer.alithis", rows=11)
    run(mint_dataset, newer, "--link", "supersedes=1", "--link", "derived_from=1")

    links = Registry(transport(), registry.address).links(2)
    assert [(link.relation, link.target) for link in links] == [
        ("supersedes", 1),
        ("derived_from", 1),
    ]
    assert registry.record(1).supersededBy == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trained_on", "--link: write RELATION=TOKEN"),
        ("likes=1", "--link: write RELATION=TOKEN"),
        ("=1", "--link: write RELATION=TOKEN"),
        ("trained_on=x", "--link trained_on=x: x: there is no such folder"),
        ("trained_on=-1", "--link trained_on=-1: -1: there is no such folder"),
        ("trained_on=ipfs://x", "--link trained_on: "),
    ],
)
def test_a_malformed_link_is_an_error_in_one_line(run, folder, text, said):
    error = run(mint_dataset, folder, "--link", text, status=2).stderr

    assert error.startswith(f"Error: {said}")
    assert error.count("\n") == 1


def test_a_link_to_an_unknown_token_is_refused(run, folder):
    error = run(mint_dataset, folder, "--link", "derived_from=9", status=2).stderr

    assert "the registry has no token 9" in error


def test_the_contracts_refusal_is_explained(run, folder):
    run(mint_dataset, folder)
    error = run(mint_dataset, folder, "--yes", "--link", "trained_on=1", status=2).stderr

    line = error.splitlines()[-1]
    assert line.startswith("Error: the contract refuses: WrongRelation(")
    assert all(
        words in line for words in ("kind=dataset", "relation=trained_on", "targetKind=dataset")
    )


def test_asks_before_minting_the_same_data_points_with_other_metadata(run, folder, tmp_path):
    run(mint_dataset, folder)
    renamed = write(tmp_path / "renamed.alithis", rows=10)

    error = run(mint_dataset, renamed, status=2).stderr

    assert "renamed is already token 1, by the same publisher, with other metadata" in error


def test_the_user_must_choose_among_tokens_of_several_publishers(run, folder, tmp_path, registry):
    run(mint_dataset, folder)
    run(mint_dataset, folder, "--account", "TEST::1")
    made = write_model(tmp_path / "model.alithis", folder)

    error = run(mint_model, made, status=2).stderr
    assert "was minted by several publishers" in error
    assert "choose with --link trained_on=TOKEN" in error

    run(mint_model, made, "--link", "trained_on=2")
    assert [(link.target, link.relation) for link in registry.links(3)] == [(2, 1)]


@pytest.mark.parametrize(
    ("command", "other"), [(mint_model, "mint-dataset"), (mint_dataset, "mint-model")]
)
def test_each_command_refuses_the_other_kind(run, folder, tmp_path, command, other):
    given = folder if command is mint_model else write_model(tmp_path / "model.alithis")

    assert f"Use 'ape alithis {other}'" in run(command, given, status=2).stderr


def test_an_address_without_a_contract_is_refused(run, folder):
    nobody = "0x" + "11" * 20
    error = run(mint_dataset, folder, "--registry", nobody, known=False, status=2).stderr

    assert f"there is no contract at {nobody}" in error


def test_a_contract_that_is_not_a_registry_is_refused(run, folder, owner):
    other = owner.deploy(solidity.helper("GasProbe"))

    error = run(mint_dataset, folder, "--registry", other.address, known=False, status=2).stderr

    assert other.address in error
    assert "the contract is not an Alithis registry" in error


def test_an_unknown_account_is_refused(run, folder):
    assert (
        "there is no account 'nobody'"
        in run(mint_dataset, folder, "--account", "nobody", status=2).stderr
    )


class TestPublished:
    """`--at`, with a stand-in for Lighthouse."""

    @pytest.fixture
    def host(self, monkeypatch):
        monkeypatch.setenv("LIGHTHOUSE_API_KEY", KEY)
        with hosting() as running:
            for where in ("UPLOADS", "API"):
                monkeypatch.setattr(Lighthouse, where, running.url)
            yield running

    def test_a_manifest_that_a_public_host_has_is_minted(self, run, folder, host, registry):
        publish(local_files(folder), open_hosts(["lighthouse"]))

        run(mint_dataset, folder, "--at", "lighthouse")

        assert registry.totalSupply() == 1

    def test_a_manifest_with_a_file_missing_on_the_host_is_not_minted(
        self, run, folder, host, registry
    ):
        files = local_files(folder)
        publish(files, open_hosts(["lighthouse"]))
        (leaves,) = [file for file in files if file.name == "leaves"]
        del host.files[str(leaves.cid)]

        error = run(mint_dataset, folder, "--at", "lighthouse", status=2).stderr

        assert "lighthouse does not have leaves (`alithis store put" in error
        assert registry.totalSupply() == 0

    def test_one_of_several_hosts_is_enough(self, run, folder, host, registry):
        publish(local_files(folder), open_hosts(["lighthouse"]))

        run(mint_dataset, folder, "--at", "kubo=https://127.0.0.1:1", "--at", "lighthouse")

        assert registry.totalSupply() == 1

    def test_an_unknown_host_is_an_error_in_one_line(self, run, folder):
        error = run(mint_dataset, folder, "--at", "nowhere", status=2).stderr

        assert "'nowhere' is not a known host" in error


class TestLinks:
    def test_links_to_the_token_of_a_manifest(self, run, folder, tmp_path, registry):
        run(mint_dataset, folder)
        other = write_model(tmp_path / "model.alithis")
        run(mint_model, other, "--link", f"tested_on={folder}")

        (link,) = Registry(transport(), registry.address).links(2)
        assert (link.target, link.relation) == (1, "tested_on")

    def test_refuses_a_manifest_without_exactly_one_token(self, run, folder, tmp_path, accounts):
        other = write_model(tmp_path / "model.alithis")
        given = ("--link", f"tested_on={folder}")
        assert "commits to rows; mint it first" in run(mint_model, other, *given, status=2).stderr
        run(mint_dataset, folder)
        run(mint_dataset, folder, "--account", "TEST::1")
        error = run(mint_model, other, *given, status=2).stderr
        assert f"several tokens commit to rows: 1 by {accounts[0]}, 2 by {accounts[1]}" in error

    @pytest.mark.parametrize("given", ["tested_on", "tested_on=", "made_of=1", "tested_on=nowhere"])
    def test_refuses_a_link_that_cannot_be_read(self, run, folder, tmp_path, registry, given):
        error = run(mint_model, write_model(tmp_path / "m"), "--link", given, status=2).stderr
        assert error.startswith("Error: ")
        assert registry.totalSupply() == 0

    def test_warns_of_known_problems_of_the_target(self, run, folder, tmp_path, registry, owner):
        run(mint_dataset, folder)
        run(mint_dataset, write(tmp_path / "next.alithis", rows=11), "--link", "supersedes=1")
        registry.withdraw(1, "", sender=owner)
        told = run(mint_model, write_model(tmp_path / "m"), "--link", "trained_on=1").stderr
        assert "warning: trained_on 1: the token was withdrawn\n" in told
        assert "warning: trained_on 1: the token is superseded by token 2\n" in told

    def test_warns_of_test_data_that_was_trained_on(self, run, folder, tmp_path):
        run(mint_dataset, folder)
        run(mint_dataset, write(tmp_path / "test.alithis", rows=4))
        given = ("--link", "trained_on=1", "--link", "tested_on=2", "--json")
        result = run(mint_model, write_model(tmp_path / "m"), *given)
        assert (
            "warning: test (token 2) shares 4 data points with rows (token 1), "
            "which the model was trained on\n"
        ) in result.stderr
        assert json.loads(result.stdout)["token"] == 3

        shutil.rmtree(tmp_path / "store")
        unchecked = run(mint_model, write_model(tmp_path / "o"), *given)
        assert (
            "warning: not checked: whether token 2 (test or validation data) shares data points "
            "with token 1 (training data): "
        ) in unchecked.stderr

        clean = run(mint_model, write_model(tmp_path / "n"), "--link", "trained_on=1")
        assert "warning" not in clean.stderr
