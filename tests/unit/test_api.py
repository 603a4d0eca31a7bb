"""The read API: its responses agree with the chain and the store, and its limits hold."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection

from alithis.chain.index import Index
from alithis.chain.queries import ArtifactText, TokenFilter
from alithis.chain.registry import Registry
from alithis.chain.rpc import HttpTransport
from alithis.errors import FormatError, StorageError, TransportError
from alithis.manifest import proof
from alithis.server import api, follower
from alithis.server import app as app_module
from alithis.server.follower import Follower
from alithis.storage.store import Store
from helpers import artifacts, commands
from helpers.artifacts import build
from helpers.paths import BUILT
from helpers.serving import free_port, wait_until
from helpers.session import examples
from helpers.world import World, file_digest, read_idx, world_on


@pytest.fixture(scope="module")
def world(upstream, tmp_path_factory) -> Iterator[World]:
    with world_on(upstream, tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="module")
def reader(world) -> Registry:
    return Registry(HttpTransport(world.node.uri), world.registry)


@pytest.fixture(scope="module")
def store(world, tmp_path_factory) -> Store:
    made = Store(tmp_path_factory.mktemp("store"))
    for name in world.manifests:
        if name != "shuffled":  # stores refuse it
            made.put_manifest(world.folder / f"{name}.alithis")
    return made


class Client:
    """Sends requests to the application over a socket."""

    def __init__(self, app, url):
        self.app, self.url = app, url

    def get(self, path, **params):
        return requests.get(self.url + path, timeout=30, **params)


@contextmanager
def running(reader, store, folder, transport=None) -> Iterator[Client]:
    """Run the application, with its index in a folder, and a transport to the chain."""
    registry = Registry(transport, reader.address) if transport else reader

    def open_index():
        return Index.in_folder(folder, registry)

    shown = app_module.Shown("Here", reader.chain_id, "http://127.0.0.1:1", reader.address)
    app = app_module.application(registry, open_index, store, shown, BUILT)
    listener = app_module.listen("127.0.0.1", free_port())
    running = app_module.bounded(app, app_module.Limits(rate=None))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    client = Client(app, f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        wait_until(lambda: running.started)
        yield client
    finally:
        running.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(world, reader, store, tmp_path_factory) -> Iterator[Client]:
    with running(reader, store, tmp_path_factory.mktemp("index")) as found:
        wait_until(lambda: ready(found) and listed(found)[-1]["text"])
        yield found


def ready(client) -> bool:
    return client.get("/health/ready").status_code == 200


def ask(client, path, status=200, **query):
    answer = client.get(path, params=query)
    assert answer.status_code == status, answer.text
    return answer.json()


def listed(client, **query):
    return ask(client, "/api/tokens", **query)["tokens"]


def ids(client, **query):
    return [each["token"] for each in listed(client, **query)]


class TestTokens:
    def test_all_tokens_are_listed_the_newest_first(self, client, reader, world):
        found = listed(client)
        records = list(reader.tokens())[::-1]
        assert len(found) == len(world.tokens)
        for each, record in zip(found, records, strict=True):
            assert each["token"] == record.id
            assert (each["kind"], each["scheme"]) == (record.kind, record.scheme)
            assert each["root"] == record.root.hex()
            assert each["metadataDigest"] == record.metadata_digest.hex()
            assert (each["size"], each["time"]) == (record.size, record.time)
            assert each["publisher"] == record.publisher
            assert each["supersededBy"] == record.superseded_by
            assert (each["withdrawn"], each["disordered"]) == (record.withdrawn, record.disordered)
            assert each["openClaims"] == record.open_claims

    def test_lists_come_in_pages(self, client, world):
        seen, before = [], {}
        while True:
            page = ask(client, "/api/tokens", limit=3, **before)
            assert len(page["tokens"]) <= 3
            seen += [each["token"] for each in page["tokens"]]
            if page["next"] is None:
                break
            before = {"before": page["next"]}
        assert seen == list(range(len(world.tokens), 0, -1))

    def test_every_response_states_its_block(self, client, reader):
        as_of = ask(client, "/api/tokens")["asOf"]
        assert as_of["block"] == reader.last_block()
        assert (as_of["chain"], as_of["registry"]) == (reader.chain_id, reader.address)

    @pytest.mark.parametrize(
        ("search", "names"),
        [
            ("handwritten", ["digit-reader-tuned", "digit-reader", "digits"]),
            ("HANDWRITTEN cc-by-sa-3.0", ["digits"]),
            ("digits people dataset", ["digits"]),
            ("model", ["digit-reader-tuned", "digit-reader"]),
            ("nothing like this", []),
            ("%", []),
            ("_", []),
            ("' OR 1=1 --", []),
            ("\\", []),
        ],
    )
    def test_search(self, client, world, search, names):
        assert ids(client, search=search) == [world.tokens[name] for name in names]

    def test_search_by_number_and_publisher(self, client, world):
        token = world.tokens["garden"]
        assert token in ids(client, search=f"#{token}")
        (one,) = [each for each in listed(client) if each["token"] == token]
        assert token in ids(client, search=one["publisher"].lower())
        assert token in ids(client, account=one["publisher"].lower())
        assert token not in ids(client, account="0x" + "11" * 20)

    def test_filters(self, client, world):
        tokens = world.tokens
        models = [tokens["digit-reader-tuned"], tokens["digit-reader"]]
        assert ids(client, kind="model") == models
        assert ids(client, scheme="keyed") == [tokens["letters"]]
        assert ids(client, claimed="true") == [tokens["garden"]]
        past = {tokens[name] for name in ("garden", "retired", "shuffled")}
        assert set(ids(client, current="true")) == set(tokens.values()) - past

    def test_stored_tells_whether_the_store_has_the_metadata(self, client, world):
        stored = {each["token"]: each["stored"] for each in listed(client)}
        assert stored[world.tokens["digits"]]
        assert not stored[world.tokens["shuffled"]]

    @pytest.mark.parametrize(
        "query",
        [
            "limit=0", "limit=501", "limit=x", "limit=-1", "limit=1e2", "limit=", "before=0",
            "kind=cat", "scheme=", "current=1", "account=0x12", "account=11", "unknown=1",
            "limit=1&limit=2", "search=" + "a" * 201, "search=%00", "search=%0a", "limit=%D9%A1",
            "before=99999999999999999999",
        ],
    )  # fmt: skip
    def test_invalid_queries_are_refused(self, client, query):
        answer = client.get(f"/api/tokens?{query}")
        assert answer.status_code == 400
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert set(answer.json()) == {"title", "status", "detail"}


class TestToken:
    def test_a_token_with_links_claims_and_metadata(self, client, reader, world, store):
        token = world.tokens["garden"]
        found = ask(client, f"/api/tokens/{token}")
        (claim,) = reader.claims(token)
        assert found["claims"]["count"] == 1
        assert found["claims"]["first"] == [
            {
                "number": 1,
                "leaf": claim.leaf.hex(),
                "claimant": claim.claimant,
                "time": claim.time,
                "uri": "https://example.org/mine",
                "status": "open",
                "answer": None,
            }
        ]
        assert found["owner"] == reader.owner_of(token)
        assert found["links"] == [
            {
                "token": world.tokens["garden-2"],
                "target": token,
                "relation": "supersedes",
                "grade": "stated",
            }
        ]
        stated = json.loads((world.folder / "garden.alithis" / "metadata.json").read_text())
        assert found["metadata"] == stated

    def test_grades_of_links(self, client, world):
        tuned, model = world.tokens["digit-reader-tuned"], world.tokens["digit-reader"]
        links = ask(client, f"/api/tokens/{model}")["links"]
        grades = {(link["token"], link["relation"]): link["grade"] for link in links}
        assert grades[model, "trained_on"] == "transcript"
        assert grades[tuned, "fine_tuned_from"] == "countersigned"

    def test_a_token_without_stored_metadata(self, client, world):
        found = ask(client, f"/api/tokens/{world.tokens['shuffled']}")
        assert (found["metadata"], found["text"], found["stored"]) == (None, None, False)

    @pytest.mark.parametrize("id", ["0", "99", "x", "01", "-1", "1.0", "9" * 40, "%00", "\u0661"])
    @pytest.mark.parametrize("place", ["tokens", "lineage"])
    def test_a_missing_token_is_404(self, client, place, id):
        ask(client, f"/api/{place}/{id}", 404)


class TestLineage:
    def test_lineage_equals_that_of_the_command(self, client, world, tmp_path):
        chain = ["--rpc", world.node.uri, "--registry", world.registry, "--index", tmp_path]
        manifests = [
            word
            for name in world.manifests
            if name not in ("mismatch",)
            for word in ("--manifest", world.folder / f"{name}.alithis")
        ]
        token = world.tokens["digits"]
        shown = commands.run("lineage", token, *chain, *manifests, "--format", "json").stdout
        found = ask(client, f"/api/lineage/{token}")
        del found["asOf"]
        assert found == json.loads(shown)

    def test_lineage_in_one_direction_to_a_depth(self, client, world):
        reader, tuned = world.tokens["digit-reader"], world.tokens["digit-reader-tuned"]
        digits = world.tokens["digits"]

        def around(token, **query):
            found = ask(client, f"/api/lineage/{token}", **query)
            return {each["token"] for each in found["tokens"]}

        assert around(reader) == {digits, reader, tuned}
        assert around(reader, direction="up") == {digits, reader}
        assert around(reader, direction="down") == {reader, tuned}
        assert around(digits, depth=1) == {digits, reader}
        assert around(world.tokens["garden"], derived="true") == {world.tokens["garden"]}
        assert ask(client, f"/api/lineage/{digits}", limit=2)["truncated"]


class TestVerify:
    @pytest.mark.parametrize(
        "digest",
        [file_digest("plum\n"), file_digest("Dear Ann\n"), bytes(32), b"\xff" * 32],
        ids=["in the garden", "keyed", "least", "greatest"],
    )
    def test_verdicts_equal_those_of_the_command(self, client, world, store, digest):
        chain = ["--rpc", world.node.uri, "--registry", world.registry, "--store", store.root]
        report = commands.invoke("verify", digest.hex(), *chain, "--json")
        expected = json.loads(report.stdout)["results"]
        found = ask(client, f"/api/verify/{digest.hex()}", limit=50)
        assert found["next"] is None
        assert len(found["results"]) == len(world.tokens)
        for each, wanted in zip(found["results"][::-1], expected, strict=True):
            for name in ("token", "kind", "name", "verdict", "index", "size", "root"):
                assert each[name] == wanted[name], name
            assert [step["ok"] for step in each["steps"]] == [
                step["ok"] for step in wanted["steps"]
            ]
            assert each["marks"] == wanted["marks"]

    def test_the_command_accepts_the_proofs(self, client, world, store, tmp_path):
        """Absence needs the metadata, which states the form: it is in the server's store."""
        digest = file_digest("plum\n")
        chain = ["--rpc", world.node.uri, "--registry", world.registry]
        statuses = {"included": 0, "absent": 1}
        seen = set()
        for result in ask(client, f"/api/verify/{digest.hex()}", limit=50)["results"]:
            if result["verdict"] == "unverifiable":
                assert result["proof"] is None
                continue
            file = tmp_path / "proof.json"
            file.write_text(json.dumps(result["proof"]))
            found, subject = proof.load(file.read_bytes())
            assert (found.leaf, subject.token) == (digest, result["token"])
            status = statuses[result["verdict"]]
            options = ["--store", store.root, "--json"]
            commands.run("verify", file, *chain, *options, status=status)
            seen.add(result["verdict"])
        assert seen == set(statuses)

    def test_models_that_link_to_a_dataset_with_the_file(self, client, world):
        digest = hashlib.sha256(read_idx("t10k-images")[7].tobytes()).digest()
        token = world.tokens["digits"]
        (result,) = ask(client, f"/api/verify/{digest.hex()}", token=token)["results"]
        assert result["verdict"] == "included"
        assert result["models"] == [
            {
                "token": world.tokens["digit-reader"],
                "name": "digit-reader",
                "relation": "trained_on",
                "grade": "transcript",
            }
        ]

    def test_the_folder_of_the_store_is_not_shown(self, client, store):
        assert str(store.root) not in json.dumps(ask(client, f"/api/verify/{'0' * 64}", limit=50))

    def test_verdicts_come_in_pages(self, client, world):
        first = ask(client, f"/api/verify/{'ab' * 32}", limit=4)
        rest = ask(client, f"/api/verify/{'ab' * 32}", limit=50, before=first["next"])
        tokens = [each["token"] for each in first["results"] + rest["results"]]
        assert tokens == list(range(len(world.tokens), 0, -1))
        ask(client, f"/api/verify/{'ab' * 32}", 404, token=99)

    def test_verification_stops_after_its_time_and_states_where_to_continue(
        self, client, monkeypatch
    ):
        monkeypatch.setattr(api, "_SECONDS", 1e-9)
        monkeypatch.setattr(Index, "time_limit", lambda index, _: untimed(index))
        found = ask(client, f"/api/verify/{'ab' * 32}", limit=50)
        assert len(found["results"]) == 1
        assert found["next"] == found["results"][0]["token"]

    @pytest.mark.parametrize("text", ["ab", "0x" + "ab" * 32, "g" * 64, "ab" * 33, "%00" * 64])
    def test_an_invalid_digest_is_refused(self, client, text):
        ask(client, f"/api/verify/{text}", 400)


@contextmanager
def untimed(index):
    yield index


@pytest.fixture
def api_schema(client):
    return schemathesis.openapi.from_url(f"{client.url}/api/openapi.json")


schema = schemathesis.pytest.from_fixture("api_schema")


@schema.parametrize()
@settings(max_examples=examples(25), suppress_health_check=list(HealthCheck), database=None)
def test_answers_are_as_described(case):
    lost = any(isinstance(value, list | dict | None) for value in (case.query or {}).values())
    # Lists, objects and null have no fixed form in a URL: an invalid value can become a valid one.
    case.call_and_validate(excluded_checks=[negative_data_rejection] if lost else [])


def test_the_description_names_every_route(client):
    described = set(json.loads(api.description())["paths"])
    paths = {route.path for route in client.app.routes}
    assert described == {
        path for path in paths if path.startswith(("/api/", "/health/")) and "openapi" not in path
    }


class Node:
    """A node that can be unreachable, or lie."""

    def __init__(self, reader):
        self._inner = HttpTransport(reader._transport._url)
        self.dead = False
        self.change = lambda method, answer: answer

    def request(self, method, params):
        if self.dead:
            raise TransportError("RPC endpoint node.example: cannot be reached")
        return self.change(method, self._inner.request(method, params))


@pytest.fixture
def node(reader):
    return Node(reader)


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(follower, "POLL", 0.05)
    monkeypatch.setattr(Follower.__init__, "__defaults__", (0.05,))


class TestChain:
    def test_new_tokens_appear(self, world, reader, store, tmp_path, hasty):
        made = build(tmp_path / "later", [b"later"])
        with running(reader, store, tmp_path / "index") as client:
            wait_until(lambda: ready(client))
            before = len(ids(client))
            snapshot = world.node.snapshot()
            try:
                minted = artifacts.commitment(made.metadata)
                world.contract.mintDataset(minted, [], sender=world.node.accounts[0])
                wait_until(lambda: len(ids(client)) == before + 1)
                assert listed(client)[0]["text"] is None
                # Its manifest is stored later.
                store.put_manifest(tmp_path / "later")
                wait_until(lambda: (listed(client)[0]["text"] or {}).get("name") == "later")
                assert listed(client)[0]["stored"]
            finally:
                world.node.restore(snapshot)
            # The chain no longer has the token, and neither has the index.
            wait_until(lambda: len(ids(client)) == before)

    def test_a_node_that_dies_while_it_serves(self, reader, store, node, tmp_path, hasty, caplog):
        caplog.set_level("INFO", "alithis.serve")
        with running(reader, store, tmp_path, node) as client:
            wait_until(lambda: ready(client))
            known = ids(client)
            node.dead = True
            wait_until(lambda: not ready(client))
            state = ask(client, "/health/ready", 503)
            assert (state["ready"], state["reachable"]) == (False, False)
            assert "node.example" not in json.dumps(state)
            assert ids(client) == known
            ask(client, "/health/live")
            node.dead = False
            wait_until(lambda: ready(client))
        faults = [record.values for record in caplog.records if record.message == "chain"]
        assert faults == [{"error": "RPC endpoint node.example: cannot be reached"}]  # once

    @pytest.mark.parametrize("lie", ["drops events", "nonsense", "another address", "no block"])
    def test_a_node_that_lies(self, reader, store, node, tmp_path, hasty, lie):
        def change(method, answer):
            if method == "eth_getLogs" and lie == "drops events":
                return answer[3:]
            if method == "eth_getLogs" and lie == "another address":
                return [log | {"address": "0x" + "11" * 20} for log in answer]
            if method == "eth_getLogs" and lie == "nonsense":
                return {"x": 1}
            if method == "eth_getBlockByNumber" and lie == "no block":
                return None
            return answer

        node.change = change
        with running(reader, store, tmp_path, node) as client:
            wait_until(lambda: error_of(client))
            assert not ready(client)
            assert ids(client) == []

    def test_a_node_that_switches_to_another_chain(self, reader, store, node, tmp_path, hasty):
        with running(reader, store, tmp_path, node) as client:
            wait_until(lambda: ready(client))
            node.change = lambda method, answer: (
                "0x0" if method == "eth_blockNumber" else
                None if method == "eth_getBlockByNumber" else answer
            )  # fmt: skip
            wait_until(lambda: ids(client) == [])


def error_of(client):
    return not client.get("/health/ready").json()["reachable"]


def test_any_text_of_a_publisher_can_be_returned(reader, store, tmp_path, monkeypatch):
    """A description with a lone surrogate, which UTF-8 cannot encode."""
    data = json.dumps({"name": "x", "description": "\ud800", "license": " "})
    stated = type("Stated", (), {"name": "x", "document": json.loads(data)})
    stated.form = type("Form", (), {"name": "bytes"})
    assert follower.text_of(stated).description == "?"
    assert follower.text_of(stated).license is None
    assert json.loads(api._Ascii({"document": stated.document}).body)["document"] == stated.document


class TestIndexFile:
    def test_an_index_damaged_while_it_serves(self, reader, store, tmp_path, hasty):
        with running(reader, store, tmp_path) as client:
            wait_until(lambda: ready(client))
            (file,) = tmp_path.glob("*.sqlite")
            with closing(sqlite3.connect(file)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with file.open("r+b") as opened:  # in place: SQLite has mapped the file next to it
                opened.write(b"\x5a" * file.stat().st_size)
            answer = client.get("/api/tokens/1")
            assert answer.status_code == 503
            assert answer.json()["detail"].startswith("The index cannot be read at the moment.")
            assert "Retry-After" in answer.headers
            assert client.get("/").status_code == 200  # the page does not need the index

    def test_queries_take_bounded_time(self, reader, tmp_path):
        with Index.in_folder(tmp_path, reader) as index:
            index.sync()
            with pytest.raises(StorageError, match="interrupted"), index.time_limit(-1):
                index._database.execute(
                    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
                    "SELECT count(*) FROM n"
                ).fetchone()
            assert index.find_tokens(TokenFilter(), 1)  # later queries are not interrupted

    def test_an_index_without_texts_gets_them(self, reader, tmp_path):
        with Index.in_folder(tmp_path, reader) as index:
            index.sync()
        (file,) = tmp_path.glob("*.sqlite")
        with sqlite3.connect(file) as raw:
            raw.execute("DROP TABLE texts")
        with Index.in_folder(tmp_path, reader) as index:
            assert index.without_text()
            index.store_texts(
                {each: ArtifactText("name", None, None, None) for each in index.without_text()}
            )
            assert index.without_text() == []

    def test_a_damaged_index_is_reported(self, reader, tmp_path):
        with Index.in_folder(tmp_path, reader) as index:
            index.sync()
        (file,) = tmp_path.glob("*.sqlite")
        file.write_bytes(file.read_bytes()[:4096] + b"\x5a" * 60_000)
        with (
            pytest.raises(FormatError, match="Delete the file"),
            Index.in_folder(tmp_path, reader) as index,
            index.time_limit(5),
        ):
            index.find_tokens(TokenFilter(), 100)


def test_a_busy_server_answers_503(client, monkeypatch):
    monkeypatch.setattr(api, "_WAITING", 2)
    going, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_):
        going.release()
        go_on.wait(30)
        return []

    monkeypatch.setattr(Index, "find_tokens", slow)
    statuses = []
    asking = [
        threading.Thread(target=lambda: statuses.append(client.get("/api/tokens").status_code))
        for _ in range(api._AT_ONCE + 8)
    ]
    for each in asking:
        each.start()
    for _ in range(api._AT_ONCE):
        assert going.acquire(timeout=30)
    try:
        wait_until(lambda: statuses.count(503) == 6)
        assert client.get("/health/live").status_code == 200
    finally:
        go_on.set()
        for each in asking:
            each.join(30)
    assert (statuses.count(200), statuses.count(503)) == (api._AT_ONCE + 2, 6)
