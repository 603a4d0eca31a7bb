"""`ape run registry …`: on the embedded chain, in this process."""

import json
import os
from pathlib import Path

import ape
import pytest
from click.testing import CliRunner
from eth_account import Account

from alithis.chain import mint as signed_mint
from alithis.forms.hashing import of_bytes
from alithis.manifest import proof
from alithis.manifest.proof import Exclusion, Subject
from alithis.manifest.reader import Manifest
from alithis.storage.store import Store
from alithis_ape.contract import container
from alithis_ape.signed_mints import signable
from helpers.artifacts import build, build_as_given, commitment
from helpers.registry_model import ClaimStatus, Kind, Relation
from helpers.relaying import FIELDS, MINT_FIELDS, sign
from helpers.samples import commitment as some
from helpers.samples import mint
from helpers.solidity import helper
from scripts import registry as commands

LOCAL = ["--network", "filecoin:local:test"]
ROWS = [b"row %d" % number for number in range(300)]
LEAVES = sorted(map(of_bytes, ROWS))
LINK = {"target": 1, "relation": 0}
FOURTH = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
"""Address of TEST::3."""
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1 (SEC 2, section 2.4.1)."""


@pytest.fixture
def registry(owner):
    """A registry for each test: a command that connects ends Ape's isolation of tests."""
    return owner.deploy(container())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The manifest of the rows."""
    out = tmp_path_factory.mktemp("manifests") / "rows"
    build(out, ROWS)
    return out


@pytest.fixture
def rows(registry, folder, owner):
    """The manifest, which is token 1."""
    opened = Manifest.open(folder)
    mint(registry, Kind.DATASET, commitment(opened.metadata), sender=owner)
    return opened


@pytest.fixture
def row(tmp_path):
    (tmp_path / "row").write_bytes(ROWS[7])
    return tmp_path / "row"


@pytest.fixture
def run(registry):
    """Run a command, assert its exit status, and return its output."""

    def invoke(name, *args, status=0, sender=0, known=True):
        address = ["--registry", registry.address] if known else []
        options = [name, *LOCAL, *address, "--account", f"TEST::{sender}", *map(str, args)]
        result = CliRunner(mix_stderr=False).invoke(commands.cli, options)
        assert result.exit_code == status, result.stdout + result.stderr
        return result

    return invoke


def refused(run, registry, *args, said, **options):
    """Assert that a command fails with one line and sends no transaction."""
    height = ape.chain.blocks.height
    result = run(*args, status=2, **options)
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert said in last
    assert ape.chain.blocks.height == height
    return result.stderr


def malleable(signature):
    """Return the other valid signature for the same key and message: s negated, v flipped."""
    data = bytes.fromhex(signature.removeprefix("0x"))
    s = CURVE_ORDER - int.from_bytes(data[32:64])
    return "0x" + (data[:32] + s.to_bytes(32) + bytes([55 - data[64]])).hex()


def written(path, found, **subject):
    path.write_bytes(proof.dump(found, Subject(**subject)))
    return path


class TestAttest:
    def test_attests_a_file_of_a_manifest_on_gateways(
        self, run, rows, row, registry, monkeypatch, ipfs_peer, folder, tmp_path
    ):
        ipfs_peer.add_manifest(folder)
        monkeypatch.setenv("ALITHIS_GATEWAYS", ipfs_peer.url)
        run("attest", 1, row, "--store", tmp_path / "nothing", sender=1)
        assert registry.record(1).attestations == 1

    def test_attests_a_file(self, run, rows, row, folder, registry, accounts):
        arguments = ("attest", 1, row, "--manifest", folder, "--json")
        printed = json.loads(run(*arguments, sender=1).stdout)

        leaf = of_bytes(ROWS[7])
        assert printed["action"] == "attest"
        assert (printed["registry"], printed["token"]) == (registry.address, 1)
        assert (printed["leaf"], printed["index"]) == (leaf.hex(), LEAVES.index(leaf))
        assert printed["attestations"] == registry.record(1).attestations == 1
        (event,) = registry.provider.get_receipt(printed["transaction"]).events.filter(
            registry.Attested
        )
        assert (event.leaf, event.attester, event.index) == (leaf, accounts[1], printed["index"])
        assert json.loads(run(*arguments).stdout)["attestations"] == 2

    def test_attests_a_proof_file_without_a_manifest(self, run, rows, registry, tmp_path):
        found = written(tmp_path / "proof.json", rows.prove(LEAVES[9]), token=1)
        stderr = run("attest", 1, found, "--store", tmp_path / "empty").stderr

        assert f"leaf {LEAVES[9].hex()}, at index 9 of 300: proof checked" in stderr
        assert "attestation 1 of the token, with your address, permanently" in stderr
        assert registry.record(1).attestations == 1

    def test_attests_a_digest_of_a_stored_manifest(self, run, rows, folder, registry, tmp_path):
        Store(tmp_path / "store").put_manifest(folder)
        stdout = run("attest", 1, LEAVES[0].hex(), "--store", tmp_path / "store").stdout

        assert "attestations 1\n" in stdout
        assert "transaction  0x" in stdout

    def test_refuses_a_file_that_is_absent(self, run, rows, folder, registry):
        refused(
            run,
            registry,
            "attest",
            1,
            "ab" * 32,
            "--manifest",
            folder,
            said="is absent from token 1",
        )

    @pytest.mark.parametrize("change", ["leaf", "index", "path"])
    def test_never_sends_a_proof_that_fails(self, run, rows, registry, tmp_path, change):
        document = json.loads(proof.dump(rows.prove(LEAVES[9]), Subject()))
        if change == "leaf":
            document["leaf"] = LEAVES[10].hex()
        elif change == "index":
            document["index"] = 8
        else:
            document["inclusion"]["path"][3] = "00" * 32
        (tmp_path / "proof.json").write_text(json.dumps(document))

        said = "could not be checked against token 1 (path: "
        store = ("--store", tmp_path / "empty")
        refused(run, registry, "attest", 1, tmp_path / "proof.json", *store, said=said)

    def test_refuses_a_proof_of_another_token(self, run, rows, registry, tmp_path):
        found = written(tmp_path / "proof.json", rows.prove(LEAVES[9]), token=2)
        refused(run, registry, "attest", 1, found, said="the proof file's token")

    def test_refuses_a_proof_of_absence(self, run, rows, registry, tmp_path):
        found = written(tmp_path / "proof.json", rows.prove(bytes(32)), token=1)
        refused(run, registry, "attest", 1, found, said="a proof of absence shows nothing")

    def test_refuses_an_unknown_token(self, run, rows, registry, row):
        refused(run, registry, "attest", 2, row, said="no token 2")

    def test_refuses_without_a_manifest(self, run, rows, registry, row, tmp_path):
        refused(run, registry, "attest", 1, row, "--store", tmp_path / "empty", said="--manifest")

    def test_refuses_a_missing_file(self, run, rows, registry):
        refused(run, registry, "attest", 1, "nowhere", said="nowhere: there is no such file")


class TestClaims:
    def test_a_claim_is_filed_and_answered(self, run, rows, row, folder, registry, accounts):
        uri = "https://example.org/claim"
        arguments = ("claim", 1, row, "--uri", uri, "--manifest", folder, "--json")
        printed = json.loads(run(*arguments, sender=1).stdout)

        assert (printed["token"], printed["number"]) == (1, 1)
        filed = registry.claimOf(1, 1)
        assert (filed.leaf, filed.claimant) == (of_bytes(ROWS[7]), accounts[1])
        (event,) = registry.provider.get_receipt(printed["transaction"]).events.filter(
            registry.Claimed
        )
        assert event.uri == uri

        answered = run("answer-claim", 1, 1, "accepted", "--json")
        assert f"claim 1 against token 1, by {accounts[1]}" in answered.stderr
        assert f"about leaf {of_bytes(ROWS[7]).hex()}" in answered.stderr
        assert "is open now, and will be accepted" in answered.stderr
        printed = json.loads(answered.stdout)
        assert (printed["answer"], printed["open_claims"]) == ("accepted", 0)
        assert registry.claimOf(1, 1).status == ClaimStatus.ACCEPTED

    def test_refuses_a_claim_without_a_uri(self, run, rows, row):
        assert "--uri" in run("claim", 1, row, status=2).stderr

    @pytest.mark.parametrize("uri", ["x" * 1025, "ä" * 513, "two\nlines", "\x1b[31m"])
    def test_refuses_a_uri_that_is_too_long_or_not_printable(self, run, rows, row, uri):
        assert "at most 1024 bytes" in run("claim", 1, row, "--uri", uri, status=2).stderr

    def test_accepts_the_longest_uri(self, run, rows, row, folder, registry):
        run("claim", 1, row, "--uri", "ä" * 512, "--manifest", folder)
        assert registry.record(1).openClaims == 1

    def test_refuses_a_claim_about_a_file_that_is_absent(self, run, rows, folder, registry):
        arguments = ("claim", 1, "ab" * 32, "--uri", "x", "--manifest", folder)
        refused(run, registry, *arguments, said="is absent from token 1")

    def test_only_the_owner_can_answer(self, run, rows, row, folder, registry, accounts):
        run("claim", 1, row, "--uri", "x", "--manifest", folder)
        said = f"the contract refuses: NotOwner(id=1, owner={accounts[0]}, sender={accounts[2]})"
        refused(run, registry, "answer-claim", 1, 1, "accepted", sender=2, said=said)

    def test_refuses_answers_that_the_contract_would_refuse(self, run, rows, row, folder, registry):
        said = "there is no claim 1 against token 1; it has 0"
        refused(run, registry, "answer-claim", 1, 1, "accepted", said=said)
        run("claim", 1, row, "--uri", "x", "--manifest", folder)
        refused(run, registry, "answer-claim", 1, 1, "removed", said="NotSuperseded(id=1)")
        run("answer-claim", 1, 1, "accepted")
        said = "InvalidAnswer(id=1, number=1, status=accepted, answer=rejected)"
        refused(run, registry, "answer-claim", 1, 1, "rejected", said=said)
        assert "open" in run("answer-claim", 1, 1, "open", status=2).stderr


class TestCountersignatures:
    @pytest.fixture
    def model(self, rows, registry, accounts, owner):
        """Token 3, linked to 1 (the owner's) and 2 (another's)."""
        mint(registry, Kind.DATASET, some("other"), sender=accounts[2])
        links = [(1, Relation.TRAINED_ON), (2, Relation.TESTED_ON)]
        mint(registry, Kind.MODEL, some("model"), links, sender=accounts[1])
        return 3

    def signed(self, registry, token):
        return [link.countersigned for link in registry.links(token)]

    def test_a_link_is_confirmed_and_retracted(self, run, model, registry):
        printed = json.loads(run("countersign", model, "--json").stdout)
        assert (printed["position"], printed["relation"], printed["target"]) == (0, "trained_on", 1)
        assert self.signed(registry, model) == [True, False]

        assert json.loads(run("retract", model, 0, "--json").stdout)["position"] == 0
        assert self.signed(registry, model) == [False, False]

    def test_finds_the_only_link_to_an_own_token(self, run, model, registry):
        stderr = run("countersign", model, sender=2).stderr
        assert "confirms the link: token 3, tested_on, your token 2" in stderr
        assert self.signed(registry, model) == [False, True]
        said = f"no confirmed link to a token of {ape.accounts.test_accounts[0]}"
        refused(run, registry, "retract", model, said=said)
        run("retract", model, sender=2)

    def test_asks_for_a_position_among_several_links(self, run, model, registry, accounts):
        registry.transferFrom(accounts[2], accounts[0], 2, sender=accounts[2])
        said = "Give the position of one: 0 (trained_on 1), 1 (tested_on 2)"
        refused(run, registry, "countersign", model, said=said)
        run("countersign", model, 1)
        assert self.signed(registry, model) == [False, True]
        run("countersign", model)
        assert self.signed(registry, model) == [True, True]

    def test_refuses_links_that_do_not_exist_or_are_not_own(self, run, model, registry, accounts):
        refused(run, registry, "countersign", model, sender=3, said="no unconfirmed link")
        refused(
            run, registry, "countersign", model, 2, said="has no link 2. It has 2, counted from 0"
        )
        refused(run, registry, "countersign", model, 1, said="NotOwner(id=2")
        refused(run, registry, "retract", model, 0, said="NotCountersigned")
        run("countersign", model, 0)
        refused(run, registry, "countersign", model, 0, said="AlreadyCountersigned")
        refused(run, registry, "countersign", 9, said="no token 9")


class TestWithdraw:
    def test_the_owner_withdraws_a_token(self, run, rows, registry):
        result = run("withdraw", 1, "--uri", "https://example.org/why")
        assert "marks token 1 as withdrawn, permanently" in result.stderr
        assert "action       withdraw\n" in result.stdout
        assert registry.record(1).withdrawn
        refused(run, registry, "withdraw", 1, said="AlreadyWithdrawn(id=1)")

    def test_refuses_to_withdraw_another_owners_token(self, run, rows, registry):
        refused(run, registry, "withdraw", 1, sender=1, said="NotOwner(id=1")


class TestReportDisorder:
    @pytest.fixture
    def lying(self, registry, owner, tmp_path):
        """Token 1: its publisher hid a leaf by putting it out of order."""
        leaves = [*LEAVES[:40], *LEAVES[41:], LEAVES[40]]
        opened = build_as_given(tmp_path / "lying", leaves)
        mint(registry, Kind.DATASET, commitment(opened.metadata), sender=owner)
        return opened

    def test_proves_disorder_from_a_manifest(self, run, lying, registry, tmp_path):
        manifest = ("--manifest", tmp_path / "lying")
        printed = json.loads(run("report-disorder", 1, *manifest, "--json", sender=1).stdout)

        assert (printed["lower"]["index"], printed["upper"]["index"]) == (298, 299)
        assert printed["upper"]["leaf"] == LEAVES[40].hex()
        assert registry.record(1).disordered
        refused(run, registry, "report-disorder", 1, *manifest, said="AlreadyDisordered(id=1)")

    def test_proves_disorder_from_contradictory_proof_files(self, run, lying, registry, tmp_path):
        # The publisher denies the leaf with two neighbours; the leaf is there all the same.
        absence = Exclusion(LEAVES[40], 40, lying.at(39), lying.at(40))
        denied = written(tmp_path / "out.json", absence)
        shown = written(tmp_path / "in.json", lying.at(299))
        stderr = run("report-disorder", 1, shown, denied).stderr

        assert "marks the token as disordered permanently" in stderr
        assert registry.record(1).disordered

    def test_refuses_proofs_that_agree(self, run, lying, registry, tmp_path):
        proofs = [written(tmp_path / f"{at}.json", lying.at(at)) for at in (3, 4)]
        refused(run, registry, "report-disorder", 1, *proofs, said="do not contradict each other")

    def test_refuses_an_invalid_proof(self, run, lying, rows, registry, tmp_path):
        found = written(tmp_path / "proof.json", rows.prove(LEAVES[40]))
        refused(run, registry, "report-disorder", 1, found, said="does not hold for token 1")

    def test_refuses_a_file_that_is_not_a_proof(self, run, lying, registry, tmp_path):
        (tmp_path / "row").write_bytes(b"row")
        refused(run, registry, "report-disorder", 1, tmp_path / "row", said="not a proof file")

    def test_refuses_a_manifest_with_sorted_leaves(self, run, rows, registry, folder):
        refused(
            run,
            registry,
            *("report-disorder", 1, "--manifest", folder),
            said="the leaves of token 1 are sorted. Nothing was sent",
        )

    def test_a_damaged_local_manifest_proves_nothing(self, run, registry, owner, tmp_path):
        opened = build(tmp_path / "mine", ROWS)
        mint(registry, Kind.DATASET, commitment(opened.metadata), sender=owner)
        (tmp_path / "mine" / "leaves").write_bytes(b"".join([LEAVES[1], LEAVES[0], *LEAVES[2:]]))
        refused(
            run,
            registry,
            *("report-disorder", 1, "--manifest", tmp_path / "mine"),
            said="is not the one that token 1 commits to, so it proves nothing",
        )


class TestSignedMints:
    def test_one_account_signs_and_another_sends(self, run, registry, folder, accounts, tmp_path):
        out = tmp_path / "mint.json"
        printed = json.loads(run("sign", folder, "-o", out, "--json", sender=1).stdout)
        assert printed["publisher"] == accounts[1]
        assert (printed["signed"], printed["nonce"], printed["links"]) == (True, 0, [])

        sent = json.loads(run("relay", out, "--json", sender=2).stdout)
        data = Manifest.open(folder).metadata
        record = registry.record(sent["token"])
        assert (record.publisher, registry.ownerOf(sent["token"])) == (accounts[1], accounts[1])
        assert (record.root, record.metadataDigest) == (data.root, data.digest)
        assert sent["uri"] == registry.tokenURI(1)

        said = f"nonce 0 of {accounts[1]} was already used: the next nonce is 1"
        refused(run, registry, "relay", out, sender=2, said=said)

    def test_the_file_contains_typed_data_for_wallets(
        self, run, registry, folder, accounts, tmp_path
    ):
        run("sign", folder, "-o", tmp_path / "mint.json", sender=1)
        document = json.loads((tmp_path / "mint.json").read_text())

        typed = document["typedData"]
        names = {
            name: {each["name"]: each["type"] for each in fields}
            for name, fields in typed["types"].items()
        }
        assert names == FIELDS | {"MintDataset": MINT_FIELDS}
        data = Manifest.open(folder).metadata
        deadline = typed["message"]["deadline"]
        arguments = (Kind.DATASET, commitment(data))
        expected = sign(registry, accounts[1], *arguments, deadline=deadline)
        assert document["signature"] == f"0x{expected[-1].hex()}"

    def test_a_model_is_linked_to_its_inputs(self, run, rows, registry, tmp_path, accounts):
        given = {"relation": "trained_on", "name": "rows", "metadata": rows.metadata.digest.hex()}
        build(tmp_path / "model", [b"weights"], kind="model", inputs=[given])
        stdout = run("sign", tmp_path / "model", "-o", tmp_path / "mint.json", sender=1).stdout
        assert "link      trained_on token 1" in stdout
        assert "mints a model token" in run("relay", tmp_path / "mint.json").stderr
        (link,) = registry.links(2)
        assert (link.target, link.relation) == (1, Relation.TRAINED_ON)

    def test_a_wallets_signature_is_relayed(self, run, registry, folder, accounts, tmp_path):
        out = tmp_path / "mint.json"
        run("sign", folder, "-o", out, "--publisher", accounts[3].address, "--unsigned")
        refused(
            run,
            registry,
            "relay",
            out,
            said="is not signed. Give the wallet's signature with --signature",
        )

        request, _ = signed_mint.load(out.read_bytes(), "mint.json")
        signature = accounts[3].sign_message(signable(request)).encode_rsv().hex()
        run("relay", out, "--signature", f"0x{signature.removeprefix('0x')}")
        assert registry.record(1).publisher == accounts[3]

    @pytest.mark.parametrize("accepts", [True, False])
    def test_a_contract_can_be_the_publisher(self, run, registry, folder, owner, tmp_path, accepts):
        wallet = owner.deploy(helper("ContractWallet"), registry, 0 if accepts else 1)
        arguments = ("sign", folder, "-o", tmp_path / "mint.json", "--publisher", wallet.address)
        if accepts:
            run(*arguments, sender=4)
            run("relay", tmp_path / "mint.json")
            assert registry.record(1).publisher == wallet.address
        else:
            refused(run, registry, *arguments, sender=4, said="InvalidSignature(publisher=")

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (("--publisher", "0x" + "11" * 20), "InvalidSignature(publisher=0x1111"),
            (("--link", "supersedes=999"), "UnknownTarget(position=0, target=999)"),
            (("--link", "trained_on=0"), "tokens are numbered from 1 to 2"),
            (("--link", f"trained_on={10**30}"), "tokens are numbered from 1 to 2"),
            (("--unsigned", "--publisher", FOURTH, "--link", "trained_on=1"), "WrongRelation("),
            (("--link", "trained_on=1"), "WrongRelation("),
        ],
    )
    def test_does_not_write_a_mint_that_the_contract_would_refuse(
        self, run, rows, registry, folder, tmp_path, given, said
    ):
        out = tmp_path / "mint.json"
        arguments = ("sign", folder, "-o", out, "--yes", *given)
        refused(run, registry, *arguments, sender=1, said=said)
        assert not out.exists()

    def test_accepts_a_file_name_that_is_not_utf8(self, run, registry, folder, tmp_path):
        out = os.fsdecode(bytes(tmp_path / "mint") + b"\xff\x1b")
        stdout = run("sign", folder, "-o", out).stdout
        assert "mint\\udcff\\x1b: the mint of the dataset rows, signed" in stdout
        assert Path(out).exists()

    def test_signs_offline(self, run, registry, folder, accounts, tmp_path):
        out, place = tmp_path / "mint.json", ("--chain", ape.chain.chain_id, "--nonce", 0)
        run("sign", folder, "-o", out, *place, sender=1)
        run("relay", out)
        assert registry.record(1).publisher == accounts[1]

    @pytest.mark.parametrize(
        ("account", "said"),
        [
            ((), "no account is named to sign on chain 314"),
            (("--account", "TEST::1"), "TEST::1 is a test account with a public key"),
        ],
    )
    def test_offline_for_another_chain_refuses_a_test_account(
        self, run, registry, folder, tmp_path, account, said
    ):
        out = tmp_path / "mint.json"
        options = (*LOCAL, "--chain", "314", "--nonce", "0", "--registry", registry.address)
        arguments = ["sign", folder, "-o", out, *options, *account]
        keyfile = ape.accounts.containers["accounts"].data_folder / "some.json"
        keyfile.write_text(json.dumps(Account.encrypt("0x" + "22" * 32, "x", iterations=1)))
        try:
            result = CliRunner(mix_stderr=False).invoke(commands.cli, list(map(str, arguments)))
        finally:
            keyfile.unlink()
        assert result.exit_code == 2
        assert said in result.stderr
        assert not out.exists()

    @pytest.mark.parametrize("given", [("--chain", 10**80), ("--nonce", 2**256), ("--nonce", -1)])
    def test_refuses_numbers_out_of_range(self, run, registry, folder, tmp_path, given):
        stderr = run("sign", folder, "-o", tmp_path / "mint.json", *given, status=2).stderr
        assert "is not in the range" in stderr

    @pytest.mark.parametrize("given", [("--chain", 314), ("--nonce", 0)])
    def test_offline_requires_chain_nonce_and_registry(
        self, run, registry, folder, tmp_path, given
    ):
        arguments = ("sign", folder, "-o", tmp_path / "mint.json", *given)
        refused(run, registry, *arguments, said="all of --chain, --nonce and --registry")

    def test_offline_requires_a_link_for_each_input(self, run, rows, registry, tmp_path):
        given = {"relation": "trained_on", "name": "rows", "metadata": rows.metadata.digest.hex()}
        build(tmp_path / "model", [b"weights"], kind="model", inputs=[given])
        arguments = ("sign", tmp_path / "model", "-o", tmp_path / "mint.json")
        arguments += ("--chain", ape.chain.chain_id, "--nonce", 5)
        refused(
            run,
            registry,
            *arguments,
            said="the input rows has no token: give --link trained_on=TOKEN",
        )
        assert "trained_on token 1" in run(*arguments, "--link", "trained_on=1").stdout

    def test_refuses_a_revoked_mint(self, run, registry, folder, tmp_path, accounts):
        out = tmp_path / "mint.json"
        run("sign", folder, "-o", out, sender=1)
        assert json.loads(run("revoke-nonce", "--json", sender=1).stdout)["nonce"] == 0
        refused(run, registry, "relay", out, said="was already used: the next nonce is 1")

    def test_refuses_a_nonce_out_of_order(self, run, registry, folder, tmp_path, accounts):
        out, place = tmp_path / "mint.json", ("--chain", ape.chain.chain_id, "--nonce", 1)
        run("sign", folder, "-o", out, *place, sender=1)
        refused(run, registry, "relay", out, said="cannot be used yet: the next nonce is 0")

    def test_refuses_an_expired_mint(self, run, registry, folder, tmp_path):
        run("sign", folder, "-o", tmp_path / "mint.json", "--days", 1, sender=1)
        ape.chain.pending_timestamp += 2 * 86_400
        ape.chain.mine()
        refused(run, registry, "relay", tmp_path / "mint.json", said="the signature has expired")

    def test_refuses_a_mint_for_another_registry(self, run, registry, owner, folder, tmp_path):
        out, other = tmp_path / "mint.json", owner.deploy(container()).address
        run("sign", folder, "-o", out, "--registry", other, known=False)
        refused(run, registry, "relay", out, said=f"signed for registry {other}")

    def test_asks_before_signing_a_mint_again(self, run, rows, registry, folder, tmp_path):
        arguments = ("sign", folder, "-o", tmp_path / "mint.json")
        refused(run, registry, *arguments, said="is already token 1, by the same publisher")
        run(*arguments, "--yes")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda file: file["typedData"]["message"].update(nonce=True), "is not a mint"),
            (lambda file: file["typedData"]["domain"].update(name="Other"), "other types"),
            (lambda file: file["typedData"]["domain"].update(chainId=314), "on chain 314"),
            (lambda file: file["typedData"]["message"].update(deadline=6), "has expired"),
            (
                lambda file: file["typedData"]["message"].update(deadline=2**40),
                "the signature is not by the publisher",
            ),
            (
                lambda file: file["typedData"]["message"].update(links=[LINK] * 3000),
                "the signature is not by the publisher",
            ),
            (lambda file: file.update(version=2), "format version 1"),
            (lambda file: file.update(signature="0x" + "00" * 65), "the signature is not by"),
            (lambda file: file.update(signature="0x" + "11" * 8192), "the signature is not by"),
            (lambda file: file.update(signature="0x" + "11" * 8193), "the signature must be"),
            (lambda file: file.update(signature=malleable(file["signature"])), "InvalidSignature"),
            (
                lambda file: file.update(signature=file["signature"][:-2] + "1d"),
                "the signature is not by the publisher",
            ),
            (
                lambda file: file.update(signature="0x" + "11" * 65),
                "the signature is not by the publisher",
            ),
            (lambda file: file.update(signature="0x11"), "the signature is not by the publisher"),
        ],
        ids=range(14),
    )
    def test_refuses_a_changed_file(self, run, registry, folder, tmp_path, change, said):
        out = tmp_path / "mint.json"
        run("sign", folder, "-o", out, sender=1)
        document = json.loads(out.read_text())
        change(document)
        out.write_text(json.dumps(document))
        stderr = refused(run, registry, "relay", out, said=said)
        assert "typed data" not in stderr or f"{out}: the typed data" in stderr

    @pytest.mark.parametrize("content", [b"{", b"x" * 300_000])
    def test_refuses_a_file_that_is_not_a_signed_mint(self, run, registry, tmp_path, content):
        (tmp_path / "mint.json").write_bytes(content)
        refused(run, registry, "relay", tmp_path / "mint.json", said="mint.json")

    def test_refuses_to_sign_a_broken_manifest(self, run, registry, tmp_path):
        build(tmp_path / "rows", ROWS)
        (tmp_path / "rows" / "leaves").write_bytes(b"")
        refused(run, registry, "sign", tmp_path / "rows", "-o", tmp_path / "m", said="is broken")
        assert not (tmp_path / "m").exists()

    def test_reports_a_file_that_cannot_be_written(self, run, registry, folder, tmp_path):
        refused(
            run,
            registry,
            *("sign", folder, "-o", tmp_path / "no" / "mint.json"),
            said="cannot be written: No such file or directory",
        )

    def test_unsigned_requires_a_publisher(self, run, registry, folder, tmp_path):
        arguments = ("sign", folder, "-o", tmp_path / "m", "--unsigned")
        refused(run, registry, *arguments, said="--unsigned needs --publisher")
        refused(run, registry, *arguments, "--publisher", "0x1", said="is not an address")
