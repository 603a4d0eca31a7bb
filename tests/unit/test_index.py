"""The index: incremental, undone with the chain, and sceptical of the node."""

import json
import signal
import sqlite3
import subprocess
import sys

import pytest

from alithis.chain import abi
from alithis.chain import index as indices
from alithis.chain.index import Index
from alithis.chain.queries import DERIVES, Lineage
from alithis.chain.registry import Registry
from alithis.errors import (
    ChainError,
    FormatError,
    NoTokenError,
    RegistryError,
    RpcError,
    StorageError,
)
from alithis.forms import hashing
from alithis.manifest.reader import Manifest
from alithis.storage.store import Store
from helpers import commands
from helpers.artifacts import build, build_as_given, commitment
from helpers.registry_model import ClaimStatus, Kind, Relation
from helpers.samples import commitment as some
from helpers.samples import mint
from helpers.states import assert_index_tells, state_by_events
from helpers.transports import Altered


@pytest.fixture
def registry(chain):
    return chain.deploy()


@pytest.fixture
def reader(registry, transport):
    return Registry(transport, registry.address)


@pytest.fixture
def index(reader, tmp_path):
    with Index(tmp_path / "index.sqlite", reader) as opened:
        yield opened


@pytest.fixture
def family(registry, owner, accounts):
    """1 photos, 2 cleaned photos, 3 test set, 4 base model, 5 tuned, 6 distilled, 7 next photos."""
    links = {
        1: (Kind.DATASET, []),
        2: (Kind.DATASET, [(1, Relation.DERIVED_FROM)]),
        3: (Kind.DATASET, []),
        4: (Kind.MODEL, [(2, Relation.TRAINED_ON), (3, Relation.TESTED_ON)]),
        5: (Kind.MODEL, [(4, Relation.FINE_TUNED_FROM), (3, Relation.TRAINED_ON)]),
        6: (Kind.MODEL, [(5, Relation.DISTILLED_FROM), (4, Relation.DISTILLED_FROM)]),
        7: (Kind.DATASET, [(1, Relation.SUPERSEDES)]),
    }
    for id, (kind, given) in links.items():
        mint(registry, kind, some(f"{id}"), given, sender=owner)


def edges(found: Lineage):
    return [(edge.token, edge.relation.value, edge.target) for edge in found.edges]


def through(reader, change):
    return Registry(Altered(reader, change), reader.address)


class TestSync:
    def test_state_of_a_family(self, index, reader, registry, family, owner, accounts, chain):
        registry.countersign(4, 0, sender=owner)
        registry.withdraw(3, "why", sender=owner)
        registry.transferFrom(owner, accounts[2], 5, sender=owner)
        progress = index.sync()

        assert (progress.tokens, progress.block) == (7, chain.height)
        assert progress.complete
        assert_index_tells(index, state_by_events(reader.events()))
        assert index.node(5).owner == accounts[2]
        assert index.node(3).marks == ("withdrawn",)
        assert index.node(1).marks == ("superseded by 7",)

    def test_a_second_sync_reads_only_what_is_new(
        self, index, reader, registry, family, owner, tmp_path
    ):
        index.sync()
        again = []
        with Index(
            tmp_path / "index.sqlite",
            through(reader, lambda method, answer: again.append(method) or answer),
        ) as second:
            assert second.sync().complete
            assert "eth_getLogs" not in again
            mint(registry, Kind.DATASET, some("more"), sender=owner)
            assert second.sync().tokens == 8
            assert again.count("eth_getLogs") == 1

    def test_a_window_that_another_process_stored_is_not_stored_again(
        self, index, reader, registry, family, tmp_path
    ):
        def meanwhile(method, answer):
            if method == "eth_getLogs":
                index.sync()
            return answer

        with Index(tmp_path / "index.sqlite", through(reader, meanwhile)) as slower:
            assert slower.sync().tokens == 7
            assert_index_tells(slower, state_by_events(reader.events()))

    def test_in_windows(self, index, reader, registry, family, monkeypatch, chain):
        monkeypatch.setattr(indices, "WINDOW", 3)
        first = index.sync(windows=1)
        assert not first.complete
        assert first.block == reader.deployment_block() + 2

        steps = []
        assert index.sync(report=steps.append).complete
        assert steps[0].block == first.block + 3
        assert steps[-1].block == steps[-1].head == chain.height
        assert_index_tells(index, state_by_events(reader.events()))

    def test_a_killed_sync_is_resumed(self, index, reader, family, tmp_path):
        """A process that is killed within a window leaves the windows before it."""
        script = f"""
import os, signal, sqlite3
database = sqlite3.connect({str(tmp_path / "index.sqlite")!r}, isolation_level=None)
database.execute("BEGIN IMMEDIATE")
database.execute("INSERT INTO windows VALUES (10000, x'00')")
os.kill(os.getpid(), signal.SIGKILL)
"""
        killed = subprocess.run([sys.executable, "-c", script], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert index.sync().tokens == 7

    def test_final_windows_are_merged(self, index, family, monkeypatch):
        monkeypatch.setattr(indices, "WINDOW", 1)
        monkeypatch.setattr(indices, "CONFIRMED", 2)
        index.sync()
        (count,) = index._one("SELECT count(*) FROM windows")
        assert count == 3


class TestReorganisation:
    @pytest.mark.parametrize("window", [1, 2, 2000])
    def test_taken_back(self, index, reader, registry, owner, monkeypatch, window, chain):
        monkeypatch.setattr(indices, "WINDOW", window)
        for name in "ab":
            mint(registry, Kind.DATASET, some(name), sender=owner)
        index.sync()
        snapshot = chain.snapshot()
        mint(registry, Kind.MODEL, some("c"), [(1, Relation.TRAINED_ON)], sender=owner)
        registry.withdraw(1, "", sender=owner)
        index.sync()
        assert edges(index.lineage([1])) == [(3, "trained_on", 1)]

        chain.restore(snapshot)
        mint(registry, Kind.DATASET, some("d"), sender=owner)
        progress = index.sync()

        assert progress.undone > 0
        assert_index_tells(index, state_by_events(reader.events()))
        assert edges(index.lineage([1])) == []
        assert index.node(1).marks == ()

    def test_a_shorter_chain(self, index, reader, registry, owner, chain):
        mint(registry, Kind.DATASET, some("a"), sender=owner)
        index.sync()
        snapshot = chain.snapshot()
        mint(registry, Kind.DATASET, some("b"), sender=owner)
        index.sync()
        chain.restore(snapshot)

        assert index.sync().tokens == 1
        with pytest.raises(NoTokenError, match="has no token 2; it has 1 tokens"):
            index.node(2)

    def test_a_reorganisation_during_a_read_is_an_error(self, index, reader, family, tmp_path):
        hashes = iter(range(100))

        def change(method, answer):
            if method == "eth_getBlockByNumber":
                answer["hash"] = f"0x{next(hashes):064x}"
            return answer

        with Index(tmp_path / "other.sqlite", through(reader, change)) as fickle:
            with pytest.raises(RegistryError, match="changed while it was read: try again"):
                fickle.sync()
            assert fickle._count() == 0


def forgetful(reader, recent):
    """A node that knows the events, blocks and states of the last blocks only."""

    class Forgetful:
        def __init__(self):
            self.asked = []

        def request(self, method, params):
            self.asked.append(method)
            blocks = {
                "eth_getLogs": lambda: params[0]["fromBlock"],
                "eth_getBlockByNumber": lambda: params[0],
                "eth_call": lambda: params[1],
            }
            block = blocks.get(method, lambda: "latest")()
            if block != "latest" and int(block, 16) <= reader._transport.height - recent:
                raise RpcError("bad tipset height: lookbacks of more than …", code=1)
            return reader._transport.request(method, params)

    return Registry(Forgetful(), reader.address)


class TestNodeWithoutOldBlocks:
    @pytest.fixture(autouse=True)
    def confirmed(self, monkeypatch):
        monkeypatch.setattr(indices, "CONFIRMED", 4)

    @pytest.fixture
    def busy(self, registry, family, owner, accounts, tmp_path):
        """All that a token can become; token 8 is of leaves that do not ascend."""
        leaves = [bytes([value] * 32) for value in (3, 2, 1)]
        lying = build_as_given(tmp_path / "lying", leaves)
        mint(registry, Kind.DATASET, commitment(lying.metadata), sender=owner)
        first, second = ((at, leaves[at], lying.at(at).path) for at in (0, 1))
        registry.countersign(4, 0, sender=owner)
        registry.countersign(4, 1, sender=owner)
        registry.retractCountersignature(4, 1, sender=owner)
        registry.withdraw(3, "why", sender=owner)
        registry.transferFrom(owner, accounts[2], 5, sender=owner)
        for number in (1, 2):
            registry.claim(8, leaves[0], 0, first[2], f"{number}", sender=accounts[3])
        registry.answerClaim(8, 1, ClaimStatus.REJECTED, "", sender=owner)
        registry.reportDisorder(8, *first, *second, sender=accounts[3])

    def test_state_in_place_of_events(self, reader, registry, busy, owner, tmp_path):
        node = forgetful(reader, recent=3)
        with Index(tmp_path / "index.sqlite", node) as index:
            assert index.sync().complete
            assert_index_tells(index, state_by_events(reader.events()))
            assert index.node(8).disordered
            assert index.node(8).open_claims == 1

            # What comes now is in events again.
            registry.withdraw(1, "", sender=owner)
            node._transport.asked.clear()
            assert index.sync().complete
            assert node._transport.asked.count("eth_getLogs") == 1
            assert_index_tells(index, state_by_events(reader.events()))

    def test_after_a_long_pause(self, index, reader, registry, busy, owner, tmp_path, chain):
        index.sync()
        mint(registry, Kind.DATASET, some("more"), sender=owner)
        chain.mine(8)
        with Index(tmp_path / "index.sqlite", forgetful(reader, recent=3)) as later:
            progress = later.sync()
            assert (progress.tokens, progress.undone, progress.complete) == (9, 0, True)
            assert_index_tells(later, state_by_events(reader.events()))

    def test_taken_back(self, reader, registry, busy, owner, tmp_path, chain):
        with Index(tmp_path / "index.sqlite", forgetful(reader, recent=3)) as index:
            snapshot = chain.snapshot()
            mint(registry, Kind.DATASET, some("a"), sender=owner)
            assert index.sync().tokens == 9
            chain.restore(snapshot)
            mint(registry, Kind.DATASET, some("b"), sender=owner)
            assert index.sync().complete
            assert index.tokens_with(some("a")[3]) == []
            assert_index_tells(index, state_by_events(reader.events()))

    def test_a_refusal_of_recent_blocks_is_an_error(self, reader, family, tmp_path):
        node = forgetful(reader, recent=-1)
        with Index(tmp_path / "index.sqlite", node) as index, pytest.raises(RpcError):
            index.sync()

    def test_more_claims_than_are_read(self, reader, busy, tmp_path, monkeypatch):
        monkeypatch.setattr(indices, "MAX_CLAIMS", 1)
        node = forgetful(reader, recent=3)
        with Index(tmp_path / "index.sqlite", node) as index:
            with pytest.raises(RegistryError, match="too many to read"):
                index.sync()
            assert index._count() == 0


def topic_of(name):
    topics = abi.interface()._events.items()
    return next(topic for topic, entry in topics if entry["name"] == name)


def without(name):
    """Leaves out the first event of a name."""

    def change(method, answer):
        if method == "eth_getLogs":
            answer.remove(next(log for log in answer if log["topics"][0] == topic_of(name)))
        return answer

    return change


def again(name):
    """Tells the first event of a name a second time, at the end."""

    def change(method, answer):
        if method == "eth_getLogs":
            first = next(log for log in answer if log["topics"][0] == topic_of(name))
            place = {key: answer[-1][key] for key in ("blockNumber", "blockHash")}
            answer.append(first | place | {"logIndex": "0x2710"})
        return answer

    return change


class TestMistrust:
    @pytest.mark.parametrize(
        "change", [without("Minted"), again("Minted"), again("Linked"), again("Superseded")]
    )
    def test_contradictory_events_are_refused(self, reader, family, tmp_path, change):
        with Index(tmp_path / "other.sqlite", through(reader, change)) as lied_to:
            with pytest.raises(
                RegistryError, match=r"contradict each other: use another RPC endpoint"
            ):
                lied_to.sync()
            assert lied_to._count() == 0

    def test_an_index_of_another_registry(
        self, index, reader, registry, owner, transport, tmp_path, chain
    ):
        other = chain.deploy()
        with pytest.raises(ChainError, match="is the index of registry"):
            Index(tmp_path / "index.sqlite", Registry(transport, other.address))

    def test_an_index_of_another_chain(self, index, reader, tmp_path):
        def change(method, answer):
            return "0x13a" if method == "eth_chainId" else answer

        with pytest.raises(ChainError, match=r"on chain 1337, not .* on 314"):
            Index(tmp_path / "index.sqlite", through(reader, change))

    @pytest.mark.parametrize("content", [b"no database", b"\0" * 5000])
    def test_a_file_that_is_not_an_index(self, reader, tmp_path, content):
        (tmp_path / "index.sqlite").write_bytes(content)
        with pytest.raises(FormatError, match="is not an index, or is damaged"):
            Index(tmp_path / "index.sqlite", reader)

    def test_another_database(self, reader, tmp_path):
        sqlite3.connect(tmp_path / "index.sqlite").execute("CREATE TABLE mine (x)")
        with pytest.raises((FormatError, StorageError), match=r"index\.sqlite"):
            Index(tmp_path / "index.sqlite", reader)

    def test_an_index_of_another_release(self, index, reader, tmp_path):
        index._database.execute("UPDATE about SET version = 2")
        with pytest.raises(FormatError, match=r"has format 2.*Delete the file"):
            Index(tmp_path / "index.sqlite", reader)

    def test_a_folder_that_cannot_be_written_is_an_error(self, reader, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StorageError):
            Index(tmp_path / "file" / "index.sqlite", reader)


class TestLineage:
    def test_lineage_of_what_a_token_came_from(self, index, family):
        index.sync()
        found = index.lineage([5], down=False)
        assert sorted(found.nodes) == [1, 2, 3, 4, 5]
        assert edges(found) == [
            (2, "derived_from", 1),
            (4, "trained_on", 2),
            (4, "tested_on", 3),
            (5, "fine_tuned_from", 4),
            (5, "trained_on", 3),
        ]

    def test_lineage_of_what_came_from_a_token(self, index, family):
        index.sync()
        assert sorted(index.lineage([3], up=False).nodes) == [3, 4, 5, 6]
        assert sorted(index.lineage([3], DERIVES, up=False).nodes) == [3, 5, 6]
        assert sorted(index.lineage([1], DERIVES, up=False).nodes) == [1, 2, 4, 5, 6]
        assert sorted(index.lineage([1], up=False).nodes) == [1, 2, 4, 5, 6, 7]

    def test_the_contract_agrees(self, index, reader, family):
        index.sync()
        for token in range(1, 8):
            older = set(index.lineage([token], DERIVES, down=False).nodes) - {token}
            assert older == {id for id in range(1, 8) if reader.is_derived_from(token, id)}

    def test_lineage_in_both_directions_to_a_depth(self, index, family):
        index.sync()
        assert sorted(index.lineage([4]).nodes) == [1, 2, 3, 4, 5, 6]
        assert sorted(index.lineage([4], depth=1).nodes) == [2, 3, 4, 5, 6]
        assert sorted(index.lineage([4, 7], depth=1).nodes) == [1, 2, 3, 4, 5, 6, 7]

    def test_limited(self, index, family):
        index.sync()
        found = index.lineage([6], down=False, limit=3)
        assert found.truncated
        assert len(found.nodes) == 3
        assert all(edge.target in found.nodes for edge in found.edges)
        assert not index.lineage([6], down=False, limit=6).truncated

    def test_by_metadata(self, index, family):
        index.sync()
        assert index.tokens_with(some("3")[3]) == [3]
        assert index.tokens_with(bytes(32)) == []


class TestCommand:
    @pytest.fixture
    def store(self, tmp_path):
        return Store(tmp_path / "store")

    @pytest.fixture
    def run(self, upstream, store, tmp_path, accounts):
        """A registry on a node: 1 photos, 2 a model of them whose metadata has a transcript."""
        registry = upstream.deploy()
        photos = build(tmp_path / "photos", [b"a", b"b"])
        fed = {"size": 2, "seen": 2, "unseen": 0, "foreign": 0}
        fed["root"] = photos.metadata.root.hex()
        given = {"relation": "trained_on", "name": "photos", "transcript": fed}
        given["metadata"] = photos.metadata.digest.hex()
        model = build(tmp_path / "model", [b"w"], kind="model", inputs=[given])
        links = [(1, Relation.TRAINED_ON), (1, Relation.TESTED_ON)]
        for kind, manifest, given_ in (
            (Kind.DATASET, photos, []),
            (Kind.MODEL, model, links),
        ):
            call = registry.mintDataset if kind == Kind.DATASET else registry.mintModel
            call(
                commitment(manifest.metadata),
                given_,
                sender=accounts[4],
            )
        registry.withdraw(1, "", sender=accounts[4])
        for name in ("photos", "model"):
            store.put_manifest(tmp_path / name)

        def invoke(*args, status=0):
            options = ["--rpc", upstream.uri, "--registry", registry.address]
            options += ["--store", str(store.root), "--index", str(tmp_path / "index")]
            result = commands.invoke("lineage", *options, *args)
            assert result.exit_code == status, result.output + result.stderr
            return result

        invoke.contract = registry
        return invoke

    def test_tree(self, run, accounts):
        assert run(2).stdout.splitlines() == [
            f"model (token 2): model, published by {accounts[4]}",
            "it came from",
            "├─ tested_on photos (token 1): stated, withdrawn",
            "└─ trained_on photos (token 1): transcript, withdrawn",
        ]
        assert run(1, "--down", "--derived").stdout.splitlines()[1:] == [
            "came from it",
            "└─ trained_on model (token 2): transcript",
        ]

    def test_by_manifest_and_by_file(self, run, tmp_path):
        expected = run(1).stdout
        assert run(tmp_path / "photos").stdout == expected
        (tmp_path / "file").write_bytes(b"a")
        assert run(tmp_path / "file").stdout == expected
        (tmp_path / "file").write_bytes(b"c")
        said = run(tmp_path / "file", status=2).stderr
        assert "in none of the 2 tokens that could be checked; 0 could not be checked" in said

    def test_tokens_that_could_not_be_checked_are_reported(self, run, tmp_path):
        store = Store(tmp_path / "some")
        store.put_manifest(tmp_path / "photos")
        (tmp_path / "file").write_bytes(b"a")
        for subject in (tmp_path / "file", hashing.of_bytes(b"a").hex()):
            found = run(subject, "--store", store.root)
            assert found.stdout.startswith("photos (token 1)")
            said = f"alithis: 1 tokens could not be checked for {subject}\n"
            assert found.stderr == said

    def test_which_models_and_which_datasets(self, run, accounts, tmp_path):
        """The questions that are asked of a lineage, each in one command."""
        model = f"model (token 2): model, transcript, published by {accounts[4]}\n"
        assert run(1, "--down", "--derived", "--kind", "model").stdout == model
        (tmp_path / "file").write_bytes(b"a")
        assert run(tmp_path / "file", "--down", "--kind", "model").stdout == model
        photos = f"photos (token 1): dataset, transcript, published by {accounts[4]}, withdrawn\n"
        assert run(2, "--up", "--kind", "dataset").stdout == photos
        assert run(2, "--up", "--format", "list").stdout == photos
        nothing = run(2, "--up", "--grade", "stated")
        assert (nothing.stdout, nothing.stderr) == (
            "",
            "alithis: no match; linked tokens looked at: 1\n",
        )
        refused = run(2, "--kind", "model", "--format", "dot", status=2)
        assert "cannot be used with --format dot. Use --format list" in refused.stderr

    def test_which_models_a_claim_touches(self, run, upstream, tmp_path, accounts):
        proof = Manifest.open(tmp_path / "photos").prove(hashing.of_bytes(b"a"))
        claimed = (1, proof.leaf, proof.index, proof.path, "ipfs://why")
        run.contract.claim(*claimed, sender=accounts[5])
        touched = run("1#1", "--down", "--kind", "model")
        assert touched.stdout.startswith("model (token 2): model, transcript")
        assert touched.stderr == ""
        assert "has no claim 2 against token 1" in run("1#2", status=2).stderr
        assert "has no claim 1 against token 9" in run("9#1", status=2).stderr

    def test_a_claim_where_tokens_cannot_be_checked(self, run, upstream, tmp_path, accounts):
        """The token that is claimed against is touched for certain, whatever is at hand."""
        proof = Manifest.open(tmp_path / "photos").prove(hashing.of_bytes(b"a"))
        claimed = (1, proof.leaf, proof.index, proof.path, "ipfs://why")
        run.contract.claim(*claimed, sender=accounts[5])
        touched = run("1#1", "--down", "--kind", "model", "--store", tmp_path / "empty")
        assert touched.stdout.startswith("unnamed (token 2): model, stated")
        assert "1 tokens could not be checked for the claimed data point" in touched.stderr

    def test_json(self, run):
        document = json.loads(run(2, "--format", "json").stdout)
        assert [token["name"] for token in document["tokens"]] == ["photos", "model"]
        assert document["tokens"][0]["withdrawn"] is True
        assert [link["grade"] for link in document["links"]] == ["transcript", "stated"]
        assert [token["evidence"] for token in document["tokens"]] == ["transcript", None]

    def test_pictures(self, run):
        from xml.etree import ElementTree

        assert ElementTree.fromstring(run(2, "--format", "svg").stdout).tag.endswith("svg")
        assert 't2 -.->|"tested_on, stated"| t1' in run(2, "--format", "mermaid").stdout
        assert '2 -> 1 [label="trained_on\\ntranscript"];' in run(2, "--format", "dot").stdout

    def test_an_unknown_token_is_an_error(self, run, tmp_path):
        assert "has no token 3" in run(3, status=2).stderr
        assert "there is no such folder" in run("nowhere", status=2).stderr
        build(tmp_path / "unminted", [b"x"])
        assert "no token of registry" in run(tmp_path / "unminted", status=2).stderr

    def test_an_endpoint_that_cannot_be_reached_is_an_error(self, tmp_path):
        options = ["--rpc", "http://127.0.0.1:1", "--registry", "0x" + "00" * 20]
        result = commands.invoke("lineage", "1", *options)
        assert result.exit_code == 2
        assert "cannot be reached" in result.stderr
