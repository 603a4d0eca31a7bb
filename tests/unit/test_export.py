"""`alithis export`: each format read and checked by the standard's own library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alithis.chain.registry import Registry
from alithis.errors import FormatError, MissingExtraError, SourceError
from alithis.forms import form as forms
from alithis.forms import hashing as hashing_module
from alithis.forms.keyed import PublisherKey
from alithis.manifest import builder, croissant, metadata, proof
from alithis.manifest.items import item_totals, model_files
from alithis.manifest.metadata import Description
from alithis.manifest.reader import DataPoints, Manifest
from alithis.manifest.transcript import Input
from alithis.reports import cyclonedx, in_toto, model_signing
from alithis.storage.store import Store
from alithis.training.model import build_model
from alithis.verify.library import Shelf
from helpers.artifacts import build, commitment
from helpers.commands import refused, run
from helpers.families import HOSTILE, make_family, model, of, tie_to
from helpers.range_server import serving
from helpers.registry_model import Relation
from helpers.session import examples


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return make_family(tmp_path_factory.mktemp("family"))


@pytest.fixture
def shelf(family):
    return Shelf(family.store)


@pytest.fixture
def found(family, shelf):
    return of(family.tuned, shelf)


@pytest.fixture
def on_chain(registry, transport, owner, family, shelf):
    """A report from the chain: tokens 1 more, 2 base, 3 tuned; the first link is countersigned."""
    for name, links in {
        "more": [],
        "base": [],
        "tuned": [(1, Relation.TRAINED_ON), (2, Relation.FINE_TUNED_FROM)],
    }.items():
        data = Manifest.open(getattr(family, name)).metadata
        call = registry.mintDataset if data.kind == "dataset" else registry.mintModel
        call(commitment(data), links, sender=owner)
    registry.countersign(3, 0, sender=owner)
    registry.withdraw(1, "", sender=owner)
    return of(family.tuned, shelf, Registry(transport, registry.address))


def properties(component) -> dict[str, str]:
    return {each["name"]: each["value"] for each in component["properties"]}


class TestCycloneDX:
    def test_bill_is_valid_by_cyclonedxs_schema(self, found):
        cyclonedx.check(cyclonedx.bill(found))

    def test_bill_has_a_model_card(self, found):
        bill = cyclonedx.bill(found)
        component = bill["metadata"]["component"]
        assert (component["type"], component["name"]) == ("machine-learning-model", "tuned")
        assert component["licenses"] == [{"expression": "Apache-2.0"}]
        card = component["modelCard"]
        assert card["modelParameters"]["task"] == "door-classification"
        assert card["quantitativeAnalysis"]["performanceMetrics"] == [
            {"type": "accuracy", "value": "0.9"}
        ]
        names = {each["bom-ref"]: each["name"] for each in bill["components"]}
        datasets = [names[each["ref"]] for each in card["modelParameters"]["datasets"]]
        assert datasets == ["more", "holdout"]
        assert properties(component)["alithis:parameters:layers"] == "[4, 4]"

    def test_bill_lists_datasets_with_licences_and_mining_terms(self, found):
        components = {each["name"]: each for each in cyclonedx.bill(found)["components"]}
        photos = components["photos"]
        assert photos["type"] == "data"
        assert photos["licenses"] == [{"expression": "CC-BY-4.0"}]
        assert photos["data"][0]["governance"] == {"owners": [{"contact": {"name": "Grace"}}]}
        held = properties(photos)
        assert held["alithis:data-mining:plus:DataMining"] == "prohibited-training"
        assert held["alithis:trained_on:transcript"] == "2 seen, 8 unseen, 1 foreign, 9 fed in all"

    def test_bill_lists_parents_as_ancestors(self, found):
        (ancestor,) = cyclonedx.bill(found)["metadata"]["component"]["pedigree"]["ancestors"]
        assert (ancestor["type"], ancestor["name"]) == ("machine-learning-model", "base")
        assert properties(ancestor)["alithis:fine_tuned_from:grade"].startswith("stated, by ")

    def test_bill_lists_dependencies_and_files(self, found):
        bill = cyclonedx.bill(found)
        refs = {each["bom-ref"]: each["name"] for each in bill["components"]}
        refs[bill["metadata"]["component"]["bom-ref"]] = "tuned"
        needs = {
            refs[each["ref"]]: [refs[ref] for ref in each["dependsOn"]]
            for each in bill["dependencies"]
        }
        files = ["config.json", "model.safetensors"]
        assert needs == {"tuned": ["more", "holdout", "base", *files], "base": ["photos"]}

    def test_equal_reports_give_equal_bills(self, family, shelf):
        first, second = (cyclonedx.bill(of(family.tuned, shelf)) for _ in range(2))
        assert json.dumps(first) == json.dumps(second)

    def test_by_the_chain(self, on_chain, owner, chain):
        bill = cyclonedx.bill(on_chain)
        cyclonedx.check(bill)
        (more,) = [each for each in bill["components"] if each["name"] == "more"]
        held = properties(more)
        assert held["alithis:trained_on:grade"].startswith("countersigned, by ")
        assert held["alithis:mark"] == "withdrawn by its owner"
        assert held["alithis:publisher"] == owner.address
        assert properties(bill["metadata"]["component"])["alithis:chain"] == str(chain.chain_id)

    def test_bill_lists_what_is_not_known(self, family, tmp_path):
        bill = cyclonedx.bill(of(family.tuned, Shelf(Store(tmp_path / "empty"))))
        cyclonedx.check(bill)
        said = [each["value"] for each in bill["metadata"]["component"]["properties"]]
        assert any(text.startswith("What the publisher of more states") for text in said)

    def test_bill_infers_the_kind_of_artifacts_that_are_not_available(self, tmp_path, shelf):
        relations = ("trained_on", "fine_tuned_from", "distilled_from", "supersedes")
        inputs = [
            Input(relation, f"{relation} this", bytes([number]) * 32)
            for number, relation in enumerate(relations)
        ]
        bill = cyclonedx.bill(of(model(tmp_path / "m", inputs, {"w": 1}), shelf))
        cyclonedx.check(bill)
        component = bill["metadata"]["component"]
        parts = {each["name"].split()[0]: each for each in bill["components"]}
        assert [parts[relation]["type"] for relation in relations] == [
            "data",
            *["machine-learning-model"] * 3,
        ]
        assert {each["type"] for each in component["pedigree"]["ancestors"]} == {
            "machine-learning-model"
        }
        (card,) = component["modelCard"]["modelParameters"]["datasets"]
        assert card["ref"] == parts["trained_on"]["bom-ref"]
        (needs,) = bill["dependencies"]
        refs = [parts[relation]["bom-ref"] for relation in relations]
        assert [ref in needs["dependsOn"] for ref in refs] == [True, True, True, False]

    def test_model_card_leaves_out_a_superseded_dataset(self, tmp_path, family):
        newer = Input("supersedes", "photos", Manifest.open(family.photos).metadata.digest)
        bill = cyclonedx.bill(of(model(tmp_path / "m", [newer], {"w": 1}), Shelf(family.store)))
        assert bill["components"][0]["type"] == "data"
        assert bill["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"] == []

    def test_bill_has_the_hash_of_a_model_of_one_file(self, tmp_path, shelf):
        (tmp_path / "w.bin").write_bytes(b"weights")
        build_model([tmp_path / "w.bin"], tmp_path / "m", description=Description("m"))
        bill = cyclonedx.bill(of(tmp_path / "m", shelf))
        cyclonedx.check(bill)
        (hashed,) = bill["metadata"]["component"]["hashes"]
        assert hashed["content"] == bill["components"][0]["hashes"][0]["content"]

    @settings(max_examples=examples(6), suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.dictionaries(
            st.sampled_from(
                [
                    *("license", "creator", "url", "version", "description", "tdm:policy"),
                    *("plus:DataMining", "rai:personalSensitiveInformation", "fair4ml:mlTask"),
                ]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.sampled_from(HOSTILE) | st.text(),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["name", "@id", "url"]), inner, max_size=3)
                ),
                max_leaves=6,
            ),
        )
    )
    def test_bill_stays_valid_with_any_text_of_a_publisher(self, found, words):
        from dataclasses import replace

        def with_words(artifact):
            if artifact.stated is None:
                return artifact
            document = {**artifact.stated.document, **words}
            return replace(artifact, stated=replace(artifact.stated, document=document))

        known = {id(each): with_words(each) for each in found.artifacts}
        ties = tuple(
            replace(tie, source=known[id(tie.source)], target=known[id(tie.target)])
            for tie in found.ties
        )
        hostile = replace(found, model=known[id(found.model)], ties=ties)
        cyclonedx.check(cyclonedx.bill(hostile))

    def test_check_refuses_an_invalid_bill(self, found):
        bill = cyclonedx.bill(found)
        bill["metadata"]["component"]["type"] = "magic"
        with pytest.raises(FormatError, match="not valid CycloneDX"):
            cyclonedx.check(bill)

    def test_without_the_library(self, found, monkeypatch):
        cyclonedx._validator.cache_clear()
        monkeypatch.setitem(sys.modules, "cyclonedx.schema", None)
        with pytest.raises(MissingExtraError, match=r"alithis\[cyclonedx\]"):
            cyclonedx.check(cyclonedx.bill(found))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A key pair on P-256, as `openssl ecparam -genkey` makes it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    private = ec.generate_private_key(ec.SECP256R1())
    (folder / "private.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "public.pem").write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return folder


@pytest.fixture
def repository(tmp_path):
    """A model's folder whose file names sort differently as texts and as paths."""
    from safetensors.numpy import save_file

    folder = tmp_path / "repository"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b.json").write_bytes(b"{}")
    (folder / "a.txt").write_bytes(b"text")
    (folder / "twin.txt").write_bytes(b"text")
    save_file({"w": np.zeros((2, 2), np.float32)}, folder / "model.safetensors")
    (folder / ".gitattributes").write_bytes(b"*.safetensors filter=lfs")
    build_model([folder], tmp_path / "m.alithis", description=Description("m"))
    return folder


class TestModelSigning:
    def statement(self, repository):
        return model_signing.statement(Manifest.open(repository.with_name("m.alithis")))

    def verify(self, repository, signature, keys):
        from model_signing import verifying

        verifier = verifying.Config().use_elliptic_key_verifier(public_key=keys / "public.pem")
        verifier.verify(repository, signature)

    def test_statement_equals_the_one_of_model_signing(self, repository):
        from model_signing import hashing
        from model_signing._signing import signing

        hashed = hashing.Config().set_ignored_paths(paths=[repository / ".gitattributes"])
        theirs = signing.Payload(hashed.hash(repository)).statement.pb
        ours = self.statement(repository)
        assert ours["subject"][0]["digest"]["sha256"] == theirs.subject[0].digest["sha256"]
        assert [each["name"] for each in ours["predicate"]["resources"]] == [
            each["name"] for each in theirs.predicate["resources"]
        ]
        assert ours["predicateType"] == theirs.predicate_type

    def test_signature_verifies_on_the_files(self, repository, keys, tmp_path):
        signature = tmp_path / "model.sig"
        signature.write_bytes(
            model_signing.signed(self.statement(repository), keys / "private.pem")
        )
        self.verify(repository, signature, keys)

    @pytest.mark.parametrize("change", ["altered", "added", "removed"])
    def test_signature_does_not_verify_on_changed_files(self, repository, keys, tmp_path, change):
        signature = tmp_path / "model.sig"
        signature.write_bytes(
            model_signing.signed(self.statement(repository), keys / "private.pem")
        )
        if change == "altered":
            (repository / "a.txt").write_bytes(b"other")
        elif change == "added":
            (repository / "extra.bin").write_bytes(b"x")
        else:
            (repository / "a.txt").unlink()
        with pytest.raises(ValueError, match="Signature mismatch"):
            self.verify(repository, signature, keys)

    def test_model_signings_command_verifies_the_signature(self, repository, keys, tmp_path):
        signature = tmp_path / "model.sig"
        manifest = repository.with_name("m.alithis")
        options = ["--to", "model-signing", "--key", keys / "private.pem", "-o", signature]
        run("export", manifest, *options)
        command = [sys.executable, "-m", "model_signing", "verify", "key", str(repository)]
        command += ["--signature", str(signature), "--public_key", str(keys / "public.pem")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert "Verification succeeded" in done.stdout, done.stdout + done.stderr
        assert done.returncode == 0

    def test_refuses_a_file_that_is_not_a_key(self, repository, tmp_path):
        (tmp_path / "no.pem").write_bytes(b"nothing")
        with pytest.raises(FormatError, match="not an unencrypted elliptic-curve private key"):
            model_signing.signed(self.statement(repository), tmp_path / "no.pem")
        with pytest.raises(SourceError, match="cannot be read"):
            model_signing.signed(self.statement(repository), tmp_path / "nowhere.pem")

    def test_refuses_a_key_of_another_kind(self, repository, tmp_path):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519

        (tmp_path / "ed.pem").write_bytes(
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        with pytest.raises(FormatError, match="not an unencrypted elliptic-curve private key"):
            model_signing.signed(self.statement(repository), tmp_path / "ed.pem")

    def test_without_the_library(self, repository, keys, monkeypatch):
        monkeypatch.setitem(sys.modules, "model_signing._signing", None)
        with pytest.raises(MissingExtraError, match=r"alithis\[signing\]"):
            model_signing.signed(self.statement(repository), keys / "private.pem")


def with_rows(out, rows, kind="model"):
    """Build a manifest with these paths and sizes as its items."""
    paths, sizes, types = (list(column) for column in zip(*rows, strict=True))
    digests = b"".join(hashing_module.of_bytes(path.encode()) for path in paths)
    items = [DataPoints(digests, paths, sizes, {"dtype": types, "shape": types})]
    words = Description(out.name)
    return builder.build(items, out, description=words, form=forms.BYTES, kind=kind)


class TestFilesAndTheirParts:
    def test_lists_files_that_are_named_like_parts(self, tmp_path):
        piece = 1 << 26
        rows = [
            ("big.bin", piece + 5, ""),
            ("big.bin#0", piece, ""),
            ("big.bin#1", 5, ""),
            ("big.bin#2", 5, ""),
            ("big.bin#00", piece, ""),
            ("m.safetensors", 100, ""),
            ("m.safetensors#a#b.safetensors#c", 50, "F32"),
            ("m.safetensors#run.py", 50, ""),
            ("w.bin", 9, ""),
            ("w.bin#0", 9, ""),
            ("w.bin#payload.py", 9, ""),
        ]
        opened = with_rows(tmp_path / "m", rows)
        real = ["big.bin", "big.bin#00", "big.bin#2", "m.safetensors", "m.safetensors#run.py"]
        real += ["w.bin", "w.bin#0", "w.bin#payload.py"]
        assert [file.name for file in model_files(opened)] == real
        resources = model_signing.statement(opened)["predicate"]["resources"]
        assert [each["name"] for each in resources] == real

    @pytest.mark.parametrize(
        "path", ["run.py", "w.bin#run.py", "m.safetensors", "n.safetensors#w", "m.safetensors#w#"]
    )
    def test_refuses_a_tensor_without_a_file(self, tmp_path, path):
        """A publisher could call a file a tensor to keep it off the list."""
        rows = [("w.bin", 9, ""), (path, 9, "F32")]
        if path.endswith("#"):
            rows += [("m.safetensors", 9, "F32")]
        with pytest.raises(FormatError, match="belongs to no file in its items"):
            model_files(with_rows(tmp_path / "m", rows))

    def test_refuses_two_rows_of_one_name(self, tmp_path):
        opened = with_rows(tmp_path / "m", [("w#0", 1, ""), ("w#0", 1, "")])
        with pytest.raises(FormatError, match="two files in its items have the name w#0"):
            model_files(opened)

    def test_names_of_many_hash_marks_take_linear_time(self, tmp_path):
        rows = [("#" * 4_080 + f"{number:04}", 1, "") for number in range(2_000)]
        opened = with_rows(tmp_path / "m", rows)
        begun = time.process_time()
        assert len(model_files(opened)) == 2_000
        assert time.process_time() - begun < 5

    def test_sums_large_sizes_and_refuses_negative_ones(self, tmp_path):
        large = [(f"{number}", 1 << 62, "") for number in range(5)]
        assert item_totals(with_rows(tmp_path / "large", large, "dataset")).bytes == 5 << 62
        negative = with_rows(tmp_path / "negative", [("a", -1, ""), ("b", 1, "")], "dataset")
        with pytest.raises(FormatError, match="negative: an item has a negative size"):
            item_totals(negative)


class TestInToto:
    def test_statement_is_valid_by_in_totos_library(self, found):
        from google.protobuf import json_format
        from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
        from in_toto_attestation.v1 import statement, statement_pb2

        value = in_toto.statement(found)
        parsed = json_format.Parse(json.dumps(value), statement_pb2.Statement())
        statement.Statement.copy_from_pb(parsed).validate()
        predicate = json_format.ParseDict(value["predicate"], provenance_pb2.Provenance())
        assert [each.name for each in predicate.build_definition.resolved_dependencies] == [
            *("more", "holdout", "base", "photos"),
        ]

    def test_statement_has_the_files_as_subject(self, found):
        subjects = in_toto.statement(found)["subject"]
        assert [each["name"] for each in subjects] == ["config.json", "model.safetensors"]
        assert subjects[0]["digest"]["sha256"] == found.files[0].digest.hex()

    def test_statement_names_datasets_by_the_digest_of_their_metadata(self, found, family):
        value = in_toto.statement(found)["predicate"]["buildDefinition"]
        more = value["resolvedDependencies"][0]
        digest = Manifest.open(family.more).metadata.digest.hex()
        assert more["digest"] == {"sha256": digest}
        assert more["uri"] == f"ipfs://f01551220{digest}"
        assert more["annotations"]["relation"] == "trained_on"
        assert value["externalParameters"]["parameters"] == {"rate": 0.1, "layers": [4, 4]}

    def test_statement_has_builder_and_grades_from_the_chain(self, on_chain, owner, chain):
        predicate = in_toto.statement(on_chain)["predicate"]
        assert (
            predicate["runDetails"]["builder"]["id"] == f"eip155:{chain.chain_id}:{owner.address}"
        )
        notes = [
            each["annotations"] for each in predicate["buildDefinition"]["resolvedDependencies"]
        ]
        assert (notes[0]["grade"], notes[0]["token"]) == ("countersigned", 1)
        assert notes[0]["marks"] == ["withdrawn by its owner"]

    def test_statement_has_the_training_code(self, tmp_path, shelf):
        commit = "ab" * 20
        code = {"repository": "https://example.org/code", "commit": commit, "dirty": True}
        made = of(model(tmp_path / "m", [], {"w": 1}, code=code), shelf)
        (dependency,) = in_toto.statement(made)["predicate"]["buildDefinition"][
            "resolvedDependencies"
        ]
        assert dependency == {
            "name": "code",
            "uri": f"git+https://example.org/code@{commit}",
            "digest": {"gitCommit": commit},
            "annotations": {"dirty": True},
        }

    @pytest.mark.parametrize(
        ("repository", "uri"),
        [
            ("git@example.org:a/b.git", "git+ssh://git@example.org/a/b.git@v1.0"),
            ("https://example.org/a b", "git+https://example.org/a%20b@v1.0"),
        ],
    )
    def test_statement_has_a_uri_for_code_at_a_tag(self, tmp_path, shelf, repository, uri):
        code = {"repository": repository, "commit": "v1.0"}
        made = of(model(tmp_path / "m", [], {"w": 1}, code=code), shelf)
        (dependency,) = in_toto.statement(made)["predicate"]["buildDefinition"][
            "resolvedDependencies"
        ]
        assert dependency == {"name": "code", "uri": uri}

    @pytest.mark.parametrize("repository", ["/home/alice/x", "x", 7])
    def test_statement_has_no_uri_for_code_on_a_machine(self, tmp_path, shelf, repository):
        code = {"repository": repository, "commit": "ab" * 20}
        made = of(model(tmp_path / "m", [], {"w": 1}, code=code), shelf)
        (dependency,) = in_toto.statement(made)["predicate"]["buildDefinition"][
            "resolvedDependencies"
        ]
        assert dependency == {"name": "code", "digest": {"gitCommit": "ab" * 20}}

    @pytest.mark.parametrize("commit", ["main", "AB" * 20, 7, None])
    def test_statement_leaves_out_code_without_a_commit(self, tmp_path, shelf, commit):
        made = of(model(tmp_path / "m", [], {"w": 1}, code={"commit": commit}), shelf)
        value = in_toto.statement(made)["predicate"]["buildDefinition"]
        assert value["resolvedDependencies"] == []

    def test_statement_refuses_a_model_whose_files_are_not_known(self, family, tmp_path):
        copy = shutil.copytree(family.tuned, tmp_path / "tuned")
        (copy / "items.parquet").unlink()
        with pytest.raises(FormatError, match=r"tuned: its files are not known: .*cannot be read"):
            in_toto.statement(of(copy, Shelf(Store(tmp_path / "empty"))))

    def test_statement_does_not_list_a_superseded_model_as_dependency(self, tmp_path, shelf):
        old = Input("supersedes", "old", bytes(32))
        value = in_toto.statement(of(model(tmp_path / "m", [old], {"w": 1}), shelf))
        assert value["predicate"]["buildDefinition"]["resolvedDependencies"] == []

    def test_an_input_that_is_given_twice_is_one_dependency(self, tmp_path, family):
        """Once in the record of a Run and once as an option."""
        more, base, (recorded,) = family.more, family.base, [tie_to("trained_on", family.more, [])]
        value = {"complete": True, "inputs": [recorded.as_object()]}
        (tmp_path / "run.json").write_text(json.dumps(value))
        (tmp_path / "w.bin").write_bytes(b"weights")
        options = ["--run", tmp_path / "run.json", "-o", tmp_path / "m"]
        given = (f"trained_on={more}", f"fine_tuned_from={base}", f"fine_tuned_from={base}")
        for each in (*given, f"tested_on={more}"):
            options += ["--input", each]
        run("model", tmp_path / "w.bin", *options)
        stated = in_toto.statement(of(tmp_path / "m", Shelf(family.store)))
        found = stated["predicate"]["buildDefinition"]["resolvedDependencies"]
        notes = [each["annotations"] for each in found]
        assert [each["relation"] for each in notes if "m" not in each] == [
            *("trained_on", "fine_tuned_from", "tested_on", "trained_on"),
        ]
        assert notes[0]["transcript"] == recorded.transcript.as_object()


class TestCroissant:
    def test_a_loader_reads_the_records_behind_a_gateway(self, family, tmp_path):
        import mlcroissant

        served = tmp_path / "www" / "ipfs"
        served.mkdir(parents=True)
        for cid in family.store.cids():
            (served / str(cid)).write_bytes(family.store.read_bytes(cid, 1 << 20))
        out = tmp_path / "croissant.json"
        with serving(tmp_path / "www") as server:
            run("export", family.photos, "--to", "croissant", "--gateway", server.url, "-o", out)
            records = list(mlcroissant.Dataset(jsonld=out).records("items"))
        assert sorted(each["items/path"] for each in records) == [
            f"{number:03}.png".encode() for number in range(10)
        ]

    def test_croissant_without_a_gateway_is_the_metadata_itself(self, family):
        printed = run("export", family.photos, "--to", "croissant", "--check").stdout
        assert json.loads(printed) == Manifest.open(family.photos).metadata.document

    def test_croissant_keeps_addresses_that_are_not_urls(self, family):
        document = Manifest.open(family.photos).metadata.document
        others = [{"@type": "cr:FileSet", "contentUrl": url} for url in (5, None, "https://x.y/z")]
        document = {**document, "distribution": [*document["distribution"], *others]}
        loaded = metadata.load(json.dumps(document).encode())
        found = croissant.through(loaded, "https://ipfs.io/")["distribution"]
        assert found[-3:] == others
        assert all(each["contentUrl"].startswith("https://ipfs.io/ipfs/") for each in found[:-3])

    def test_croissant_check_refuses_a_wrong_document(self, family, tmp_path):
        copy = shutil.copytree(family.photos, tmp_path / "photos")
        text = (copy / metadata.FILE).read_text().replace('"sc:Integer"', '"sc:Nothing"')
        (copy / metadata.FILE).write_text(text)
        assert croissant.judged(Manifest.open(copy).metadata)
        assert "mlcroissant" in refused("export", copy, "--to", "croissant", "--check")


class TestCommand:
    def test_writes_cyclonedx(self, family, tmp_path):
        out = tmp_path / "bill.json"
        options = ["--to", "cyclonedx", "--check", "--store", family.store.root, "-o", out]
        assert run("export", family.tuned, *options).stdout == f"{out}: written\n"
        assert json.loads(out.read_bytes())["specVersion"] == "1.6"

    def test_writes_in_toto(self, family):
        options = ["--to", "in-toto", "--store", family.store.root]
        value = json.loads(run("export", family.tuned, *options).stdout)
        assert value["predicateType"] == "https://slsa.dev/provenance/v1"

    def test_writes_an_unsigned_model_signing_statement(self, family):
        value = json.loads(run("export", family.tuned, "--to", "model-signing").stdout)
        assert value["predicate"]["serialization"]["method"] == "files"

    def test_writes_a_proof_of_each_data_point(self, family, tmp_path):
        out = tmp_path / "proofs.jsonl"
        run("export", family.photos, "--to", "proofs", "-o", out)
        data = Manifest.open(family.photos).metadata
        lines = out.read_bytes().splitlines()
        assert len(lines) == data.size
        for line in lines:
            found, subject = proof.load(line)
            found.check(data.root, data.size)
            assert subject.metadata == data.digest
        (tmp_path / "one.json").write_bytes(lines[3])
        options = ["--root", data.root.hex(), "--size", data.size]
        assert "included" in run("verify", tmp_path / "one.json", *options).stdout

    def test_refuses_to_prove_from_damaged_leaves(self, family, tmp_path):
        copy = shutil.copytree(family.photos, tmp_path / "photos")
        leaves = bytearray((copy / "leaves").read_bytes())
        leaves[-1] ^= 1
        (copy / "leaves").write_bytes(leaves)
        said = refused("export", copy, "--to", "proofs", "-o", tmp_path / "proofs.jsonl")
        assert f"not to the committed {Manifest.open(copy).metadata.root.hex()}" in said
        assert [path.name for path in tmp_path.iterdir()] == ["photos"]

    @pytest.mark.parametrize("form", ["cyclonedx", "in-toto"])
    def test_refuses_damaged_items(self, family, tmp_path, form):
        copy = shutil.copytree(family.tuned, tmp_path / "tuned")
        items = bytearray((copy / "items.parquet").read_bytes())
        items[40] ^= 1
        (copy / "items.parquet").write_bytes(items)
        options = ["--to", form, "--store", family.store.root, "-o", tmp_path / "out"]
        assert "tuned: items.parquet: SHA-256: expected" in refused("export", copy, *options)
        (copy / "items.parquet").write_bytes(items[:-1])
        assert "bytes in items.parquet: expected" in refused("export", copy, *options)
        assert not (tmp_path / "out").exists()

    def test_exports_without_files_when_items_are_not_available(self, family, tmp_path):
        copy = shutil.copytree(family.tuned, tmp_path / "tuned")
        (copy / "items.parquet").unlink()
        store = ["--store", family.store.root]
        missing = f"{copy / 'items.parquet'}: cannot be read: No such file or directory"
        said = refused("export", copy, "--to", "in-toto", *store)
        assert said == f"Error: tuned: its files are not known: {missing}\n"
        done = run("export", copy, "--to", "cyclonedx", *store)
        assert done.stderr == f"alithis: the files of tuned are not listed: {missing}\n"
        assert "file" not in [each["type"] for each in json.loads(done.stdout)["components"]]

    def test_exports_a_model_with_keyed_leaves_without_files(self, tmp_path):
        build(tmp_path / "keyed", [b"w"], key=PublisherKey(b"k" * 32), kind="model")
        done = run("export", tmp_path / "keyed", "--to", "cyclonedx", "--store", tmp_path / "store")
        assert "its leaves are not SHA-256 digests of files" in done.stderr
        assert json.loads(done.stdout)["components"] == []

    def test_exports_a_token(self, family, on_chain, registry, transport, accounts, monkeypatch):
        """Anyone can mint a copy, but that cannot prevent an export: the token's number works."""
        monkeypatch.setattr("alithis.chain.rpc.HttpTransport", lambda _: transport)
        copied = commitment(Manifest.open(family.tuned).metadata)
        registry.mintModel(copied, [], sender=accounts[1])
        options = ["--store", family.store.root, "--rpc", "x", "--registry", registry.address]
        said = refused("export", family.tuned, "--to", "in-toto", *options)
        assert "several tokens commit to it. Name one" in said
        value = json.loads(run("export", 3, "--to", "in-toto", *options).stdout)
        assert [each["name"] for each in value["subject"]] == ["config.json", "model.safetensors"]
        assert value == in_toto.statement(on_chain)
        bill = json.loads(run("export", 4, "--to", "cyclonedx", *options).stdout)
        assert properties(bill["metadata"]["component"])["alithis:token"] == "4"
        assert "is a dataset" in refused("export", 1, "--to", "in-toto", *options)
        assert "3 is a token: give --rpc" in refused("export", 3, "--to", "model-signing")
        assert "3 is a token: give --rpc" in refused("export", 3, "--to", "in-toto")

    def test_exports_a_token_whose_manifest_is_not_available(
        self, on_chain, registry, transport, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("alithis.chain.rpc.HttpTransport", lambda _: transport)
        options = ["--store", tmp_path / "empty", "--gateway", "none"]
        options += ["--rpc", "x", "--registry", registry.address]
        said = refused("export", 3, "--to", "in-toto", *options)
        assert "(token 3): its files are not known: " in said
        assert "add it with `alithis store put`" in said

    def test_refuses_wrong_options_in_one_line(self, family, tmp_path):
        photos, tuned = family.photos, family.tuned
        for said, *args in (
            ("is a dataset; --to cyclonedx needs a model", photos, "--to", "cyclonedx"),
            ("is a model; --to croissant needs a dataset", tuned, "--to", "croissant"),
            ("--key can only be used with", tuned, "--to", "in-toto", "--key", "x"),
            ("--check can only be used with", tuned, "--to", "in-toto", "--check"),
            ("--rpc and --registry go together", tuned, "--to", "in-toto", "--rpc", "http://x"),
            ("cannot be written", photos, "--to", "proofs", "-o", tmp_path / "no" / "where"),
            ("cannot be read", tmp_path, "--to", "proofs"),
            ("is not http://HOST", photos, "--to", "croissant", "--gateway", "javascript:x"),
        ):
            assert said in refused("export", *args)

    def test_reports_a_node_that_does_not_answer(self, family):
        options = ["--rpc", "http://127.0.0.1:1", "--registry", "0x" + "00" * 20]
        assert "cannot be reached" in refused(
            "export", family.tuned, "--to", "in-toto", "--store", family.store.root, *options
        )

    def test_writes_through_a_symlink_and_to_a_pipe(self, family, tmp_path):
        """A device or symlink must not be replaced by a file; /dev/full once was."""
        (tmp_path / "real").write_bytes(b"")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        run("export", family.photos, "--to", "proofs", "-o", tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real").read_bytes().count(b"\n") == 10
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
            run("export", family.photos, "--to", "proofs", "-o", tmp_path / "pipe")
            assert reader.communicate(timeout=60)[0].count(b"\n") == 10
        assert (tmp_path / "pipe").is_fifo()

    def test_keeps_the_old_file_when_writing_fails(self, family, tmp_path, monkeypatch):
        """An export that fails in the middle must not damage the existing file."""
        out = tmp_path / "proofs.jsonl"
        before = b'{"alithis": "proof"}'
        out.write_bytes(before)
        leaves = (family.photos / "leaves").read_bytes()
        copy = shutil.copytree(family.photos, tmp_path / "photos")
        (copy / "leaves").write_bytes(leaves[:-1])
        refused("export", copy, "--to", "proofs", "-o", out)
        assert out.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


FAIR4ML = "https://w3id.org/fair4ml#"
TERMS = {
    *("MLModel", "MLModelEvaluation", "legal", "ethicalSocial", "evaluatedOn", "hasEvaluation"),
    *("fineTunedFrom", "hasCO2eEmissions", "intendedUse", "mlTask", "modelCategory"),
    *("modelRisksBiasLimitations", "sharedBy", "testedOn", "trainedOn", "usageInstructions"),
    *("codeSampleSnippet", "validatedOn", "evaluatedMLModel", "evaluationDataset"),
    *("evaluationMetrics", "evaluationResults", "evaluationSoftware", "extrinsicEvaluation"),
}
"""The terms of FAIR4ML 0.1.0, as its vocabulary was published at https://w3id.org/fair4ml."""


class TestJsonLd:
    """A model's metadata, expanded by a JSON-LD processor, in the published vocabulary."""

    @pytest.fixture
    def graph(self, family):
        from rdflib import Graph

        data = (family.tuned / metadata.FILE).read_text()
        return Graph().parse(data=data, format="json-ld")

    def test_model_metadata_uses_only_terms_of_the_vocabulary(self, graph):
        used = {
            str(node).removeprefix(FAIR4ML)
            for triple in graph
            for node in triple
            if str(node).startswith("https://w3id.org/fair4ml")
        }
        assert used == {"MLModel", "trainedOn", "testedOn", "fineTunedFrom", "mlTask"}
        assert used <= TERMS

    def test_model_metadata_expands_to_the_expected_triples(self, graph, family):
        from rdflib import RDF, Literal, URIRef

        (subject,) = graph.subjects(URIRef(FAIR4ML + "trainedOn"))
        assert (subject, RDF.type, URIRef(FAIR4ML + "MLModel")) in graph
        digest = Manifest.open(family.more).metadata.digest.hex()
        more = URIRef(f"ipfs://f01551220{digest}")
        assert (subject, URIRef(FAIR4ML + "trainedOn"), more) in graph
        assert (more, RDF.type, URIRef("https://schema.org/Dataset")) in graph
        task = Literal("door-classification", lang="en")
        assert (subject, URIRef(FAIR4ML + "mlTask"), task) in graph
        name = Literal("tuned", lang="en")
        assert (subject, URIRef("https://schema.org/name"), name) in graph

    def test_model_metadata_is_valid_erc721_metadata(self, family):
        """ERC-721 requires name, description and image to be strings."""
        document = Manifest.open(family.tuned).metadata.document
        assert croissant.problems(Manifest.open(family.tuned).metadata) == []
        assert all(isinstance(document[key], str) for key in ("name", "description", "image"))

    def test_distilled_from_is_based_on(self, family, tmp_path):
        from rdflib import Graph, URIRef

        made = model(tmp_path / "m", [tie_to("distilled_from", family.base)], {"w": 1})
        graph = Graph().parse(data=(made / metadata.FILE).read_text(), format="json-ld")
        base = Manifest.open(family.base).metadata.digest.hex()
        (found,) = graph.objects(None, URIRef("https://schema.org/isBasedOn"))
        assert found == URIRef(f"ipfs://f01551220{base}")
