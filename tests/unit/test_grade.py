"""How far a link is evidenced: all readers of links give the answers of one table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from alithis.chain.queries import Lineage, LineageEdge, LineageNode
from alithis.chain.records import Link, Record
from alithis.errors import FormatError
from alithis.lineage.drawing import Drawing
from alithis.manifest.metadata import FILE
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Grade, Kind, Relation, Scheme
from alithis.reports import gather
from alithis.server.api import Api, Query
from alithis.storage.store import Store
from alithis.verify import verdict
from alithis.verify.grade import Endpoint, evidence
from alithis.verify.library import Shelf
from alithis.verify.target import Target
from alithis.verify.tokens import verify_tokens
from helpers import javascript
from helpers.artifacts import build
from helpers.paths import VECTOR_FILES

CASES = json.loads((VECTOR_FILES / "grades.json").read_text())["cases"]
CONTENTS = [b"one", b"two", b"three"]
KEYS = ("root", "size", "seen", "unseen", "foreign", "given")
ACCOUNT = "0x" + "11" * 20


class Chain:
    """A registry with a dataset, token 1, and a model, token 2, that links to it."""

    chain_id, address = 31337, ACCOUNT

    def __init__(self, dataset: Record, model: Record, link: Link) -> None:
        self.dataset, self.model, self.link = dataset, model, link

    def pinned(self, _: int) -> Chain:
        return self

    def last_block(self) -> int:
        return 1

    def tokens(self) -> list[Record]:
        return [self.dataset, self.model]

    def record(self, token: int) -> Record:
        return self.tokens()[token - 1]

    def records(self, tokens: Sequence[int]) -> list[Record]:
        return [self.record(token) for token in tokens]

    def links(self, token: int) -> tuple[Link, ...]:
        return (self.link,) if token == 2 else ()

    def all_links(self, first: int) -> list[tuple[int, tuple[Link, ...]]]:
        return [(token, self.links(token)) for token in (1, 2) if token >= first]

    @property
    def lineage(self) -> Lineage:
        """What the index says of the two."""
        edge = LineageEdge(2, 1, self.link.relation, self.link.countersigned)
        return Lineage((2,), {each.id: node(each) for each in self.tokens()}, [edge])


class Index:
    """An index of that registry."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def lineage(self, *_: object, **__: object) -> Lineage:
        return self.chain.lineage

    def names(self, _: object) -> dict[int, str]:
        return {}


def record(id: int, manifest: Manifest, **other: Any) -> Record:
    """A token, with what its metadata states but for what the case says."""
    stated = manifest.metadata
    values = {"kind": stated.kind, "scheme": stated.scheme, "size": stated.size}
    values = {**values, "root": stated.root.hex(), **other}
    return Record(
        *(id, Kind(values["kind"]), Scheme(values["scheme"]), values["size"]),
        *(bytes.fromhex(values["root"]), stated.digest, ACCOUNT, 0),
        *(None, False, False, 0, 0, 0),
    )


def node(of: Record) -> LineageNode:
    return LineageNode(
        *(of.id, of.kind, of.scheme, of.size, of.root, of.metadata_digest),
        *(of.publisher, of.publisher, None, False, False, 0),
    )


class Case:
    """A case of the table, made real."""

    def __init__(self, case: dict[str, Any], folder: Path) -> None:
        dataset = build(folder / "photos", CONTENTS)
        model = build(folder / "model", [b"weights"], kind="model", inputs=_inputs(case, dataset))
        self.store = Store(folder / "store")
        self.metadata = None  # the model's, where it is available
        missing = case.get("missing", ())
        if "dataset" not in missing:
            self.store.put_manifest(folder / "photos")
        if "model" not in missing:
            self.store.put_manifest(folder / "model")
            self.metadata = (folder / "model" / FILE).read_bytes()
        tokens = case.get("tokens", {})
        self.chain = Chain(
            record(1, dataset, **tokens.get("dataset", {})),
            record(2, model, **tokens.get("model", {})),
            Link(1, Relation(case.get("relation", "trained_on")), case.get("countersigned", False)),
        )
        self.shelf = Shelf(self.store)
        self.grade = case["grade"]
        self.transcript = None
        if case["counts"]:
            inputs = _inputs(case, dataset)
            stated = next(each["transcript"] for each in inputs if "transcript" in each)
            self.transcript = {"given": None} | {key: stated[key] for key in KEYS if key in stated}


def _inputs(case: dict[str, Any], dataset: Manifest) -> Any:
    text = json.dumps(case["inputs"])
    text = text.replace("$metadata", dataset.metadata.digest.hex())
    inputs = json.loads(text.replace("$root", dataset.metadata.root.hex()))
    others = [
        {"relation": "tested_on", "name": "other", "metadata": f"{number:064x}"}
        for number in range(case.get("others", 0))
    ]
    return others + inputs if others else inputs


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case["name"])
def case(request, tmp_path_factory) -> Case:
    return Case(request.param, tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def page() -> Iterator[javascript.Verifier]:
    with javascript.running() as verifier:
        yield verifier


def written(transcript) -> dict[str, Any] | None:
    return {"given": None} | transcript.as_object() if transcript else None


class TestTable:
    def test_rule(self, case):
        chain = case.chain
        source, target = Endpoint.of_record(chain.model), Endpoint.of_record(chain.dataset)
        statement = case.shelf.statement(chain.model.metadata_digest)
        found = evidence(
            chain.link.relation,
            source,
            target,
            statement,
            countersigned=chain.link.countersigned,
        )
        assert (found.grade, written(found.transcript)) == (case.grade, case.transcript)
        assert not (found.transcript and found.problem)

    def test_verify(self, case):
        target = Target("one", digest=bytes(32))
        (result, *_) = verify_tokens(target, case.chain, case.shelf, [1])
        if case.chain.dataset.kind != "dataset" or case.chain.model.kind != "model":
            assert result.models == ()  # a verdict names the models of datasets
            return
        (model,) = result.models
        assert (model.grade, written(model.transcript)) == (case.grade, case.transcript)
        (said,) = verdict.as_json(target, [result])["results"][0]["models"]
        assert json.loads(json.dumps(said["grade"])) == case.grade

    def test_lineage(self, case):
        (link,) = Drawing.of(case.chain.lineage, case.shelf).as_object()["links"]
        assert link["grade"] == case.grade

    def test_report(self, case):
        if case.chain.model.kind != "model":
            with pytest.raises(FormatError, match="a report is about a model"):
                gather.report(2, case.shelf, case.chain)
            return
        found = gather.report(2, case.shelf, case.chain)
        tie = found.ties[0]
        assert tie.linked
        assert (tie.grade, written(tie.transcript)) == (case.grade, case.transcript)

    def test_api(self, case):
        api = Api(case.chain, case.store, None, None)
        query = Query(Request({"type": "http", "query_string": b"", "headers": []}), ())
        (link,) = api.lineage(Index(case.chain), {"id": "2"}, query)["links"]
        assert link["grade"] == case.grade

    def test_page(self, case, page):
        def end(of):
            values = asdict(Endpoint.of_record(of))
            return values | {key: values[key].hex() for key in ("root", "metadata")}

        link = case.chain.link
        found = page.ask(
            "grade",
            link={"relation": link.relation, "countersigned": link.countersigned},
            source=end(case.chain.model),
            target=end(case.chain.dataset),
            metadata=case.metadata.hex() if case.metadata else None,
        )
        assert found == {"grade": case.grade, "transcript": case.transcript}


class TestWithoutAChain:
    """A report may rest on metadata alone: then less is known, and less contradicts."""

    @pytest.mark.parametrize(
        ("known", "root", "grade"),
        [
            (True, "$root", "transcript"),
            (True, "ab" * 32, "stated"),
            (False, "ab" * 32, "transcript"),
        ],
    )
    def test_without_a_chain_the_datasets_metadata_can_contradict(
        self, tmp_path, known, root, grade
    ):
        fed = {"root": root, "size": 3, "seen": 3, "unseen": 0, "foreign": 0}
        given = {"relation": "trained_on", "name": "photos", "metadata": "$metadata"}
        table = {"inputs": [given | {"transcript": fed}], "grade": grade, "counts": False}
        case = Case(table | {"missing": [] if known else ["dataset"]}, tmp_path)
        found = gather.report(Manifest.open(tmp_path / "model"), case.shelf)
        assert [(tie.grade, tie.linked) for tie in found.ties] == [(grade, None)]


def test_grades_ascend():
    assert list(Grade) == ["stated", "transcript", "countersigned"]
