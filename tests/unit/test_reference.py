"""References to manifests: how they are read, and which command takes which kind."""

from __future__ import annotations

import itertools
import json
import shutil
import sys

import fsspec
import pytest

from alithis.chain.registry import Registry
from alithis.cli import cli
from alithis.errors import (
    FormatError,
    IntegrityError,
    MissingExtraError,
    NotStoredError,
    StorageError,
)
from alithis.ipfs import cid
from alithis.ipfs.cid import Cid
from alithis.manifest import metadata
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Relation
from alithis.storage.fallback import FallbackGateways
from alithis.verify.reference import Reference, Resolver, open_manifest
from helpers.artifacts import commitment
from helpers.commands import refused, run
from helpers.families import make_family
from helpers.range_server import serving

DIGEST = "ab" * 32
SECRET = "https://user:secret@example.org/photos.alithis?signature=secret"


class TestParse:
    @pytest.mark.parametrize(
        ("text", "kind", "address"),
        [
            ("7", "token", "7"),
            ("007", "token", "7"),
            ("./7", "folder", "7"),
            ("7/", "folder", "7"),
            ("photos.alithis", "folder", "photos.alithis"),
            ("photos.alithis/metadata.json", "folder", "photos.alithis"),
            ("metadata.json", "folder", "."),
            ("file:///data/photos.alithis", "folder", "/data/photos.alithis"),
            ("http://h/m", "url", "http://h/m"),
            ("HTTPS://h/M", "url", "https://h/M"),
            ("s3://bucket/m", "bucket", "s3://bucket/m"),
            ("gs://bucket/m", "bucket", "gs://bucket/m"),
            (f"ipfs://f01551220{DIGEST}", "cid", f"ipfs://f01551220{DIGEST}"),
            (f"ipfs://f01551220{DIGEST}/a/b", "cid", f"ipfs://f01551220{DIGEST}/a/b"),
            (f"f01551220{DIGEST}", "cid", f"ipfs://f01551220{DIGEST}"),
            (DIGEST, "cid", f"ipfs://f01551220{DIGEST}"),
            ("0x" + DIGEST.upper(), "cid", f"ipfs://f01551220{DIGEST}"),
            ("http:x", "folder", "http:x"),
        ],
    )
    def test_kinds(self, text, kind, address):
        found = Reference.parse(text)
        assert (found.kind, found.address) == (kind, address)

    def test_a_number_is_a_token_even_if_a_folder_has_that_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "7").mkdir()
        assert Reference.parse("7").kind == "token"

    def test_a_bare_cid_is_a_folder_if_one_has_that_name(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / DIGEST).mkdir()
        assert Reference.parse(DIGEST).kind == "folder"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "the reference is empty: give a token, a folder"),
            ("0", "0: is not a token: tokens are numbered from 1"),
            (str(1 << 48), "tokens are numbered from 1 to 2"),
            ("9" * 5000, "tokens are numbered from 1 to 2"),
            ("ipfs://nothing", "nothing"),
        ],
    )
    def test_refuses(self, text, said):
        with pytest.raises(FormatError, match=said):
            Reference.parse(text)

    @pytest.mark.parametrize("url", [SECRET, SECRET.replace("https", "s3")])
    def test_secrets_are_not_shown(self, url):
        assert "secret" not in str(Reference.parse(url)) + repr(Reference.parse(url))


# -- Commands and references -----------------------------------------------------------------------

PHOTOS, BASE = "photos", "base"
COMMANDS = {
    # command: the artifact that is named, the arguments, and what is printed if it works
    "verify": (PHOTOS, "verify door.png --manifest REF", "included"),
    "prove": (PHOTOS, "prove REF door.png", '"inclusion"'),
    "overlap": (PHOTOS, "overlap REF holdout.alithis --list", "2 shared data points"),
    "overlap, second": (PHOTOS, "overlap holdout.alithis REF", "2 shared data points"),
    "audit": (PHOTOS, "audit REF", ": sound"),
    "report": (BASE, "report REF", "trained"),
    "report --manifest": (BASE, "report base.alithis --manifest REF", "trained"),
    "export to cyclonedx": (BASE, "export REF --to cyclonedx", '"bomFormat"'),
    "export to in-toto": (BASE, "export REF --to in-toto", '"predicateType"'),
    "export to model-signing": (BASE, "export REF --to model-signing", '"predicateType"'),
    "export to croissant": (PHOTOS, "export REF --to croissant", '"@context"'),
    "export to proofs": (PHOTOS, "export REF --to proofs", '"leaf"'),
    "export --manifest": (
        PHOTOS,
        "export base.alithis --to in-toto --manifest REF",
        '"predicateType"',
    ),
    "lineage": (PHOTOS, "lineage REF", "base"),
    "lineage --manifest": (PHOTOS, "lineage 2 --manifest REF", "photos"),
    "model --input": (PHOTOS, "model door.png --input trained_on=REF", "trained_on photos"),
    "store put": (PHOTOS, "store put REF", ": stored as "),
    "store get": (PHOTOS, "store get REF -o copy", "copy: written"),
    "store export": (PHOTOS, "store export REF -o photos.car", "photos.car: "),
    "store check": (PHOTOS, "store check REF --gateway GATEWAY", "photos"),
}
REFERENCES = (
    "token",
    "token without --rpc",
    "folder named like a token",
    "folder",
    "file",
    "url",
    "bucket",
    "cid",
    "cid at a gateway",
)
NO_CHAIN = "is a token: give --rpc and --registry"
COPY_FIRST = "`alithis store get URL -o DIR` copies it into a folder"
NO_FOLDER = "is a folder; takes a token, a URL or a CID"
NOT_STORED = "is not in the store"
REFUSED = {
    **dict.fromkeys(itertools.product(COMMANDS, ["token without --rpc"]), NO_CHAIN),
    # These need a registry, whatever they are asked about.
    ("lineage", "token without --rpc"): "Missing option '--rpc'",
    ("lineage --manifest", "token without --rpc"): "Missing option '--rpc'",
    ("verify", "token"): "write --token 1 to verify against a token",
    ("verify", "token without --rpc"): "write --token 1 to verify against a token",
    ("store put", "url"): COPY_FIRST,
    ("store put", "bucket"): COPY_FIRST,
    ("store put", "cid at a gateway"): NOT_STORED,
    ("store export", "url"): COPY_FIRST,
    ("store export", "bucket"): COPY_FIRST,
    ("store export", "cid at a gateway"): NOT_STORED,
    ("store get", "folder named like a token"): NO_FOLDER,
    ("store get", "folder"): NO_FOLDER,
    ("store get", "file"): NO_FOLDER,
}


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Manifests, in folders of which two are named like tokens, on a server and in a bucket."""
    made = make_family(tmp_path_factory.mktemp("family"))
    shutil.copytree(made.photos, made.folder / "1")
    shutil.copytree(made.base, made.folder / "2")
    (made.folder / "ipfs").mkdir()
    for file in (*made.photos.rglob("*"), *made.base.rglob("*")):
        if file.is_file():
            shutil.copy(file, made.folder / "ipfs" / str(cid.of_file(file)))
    (made.folder / "door.png").write_bytes(b"image 8")
    bucket = fsspec.filesystem("memory")
    bucket.put(str(made.photos), "/bucket/photos.alithis", recursive=True)
    bucket.put(str(made.base), "/bucket/base.alithis", recursive=True)
    with serving(made.folder) as server:
        made.server = server
        yield made
    bucket.rm("/bucket", recursive=True)


@pytest.fixture
def minted(registry, transport, owner, family, monkeypatch):
    """The address of a registry with photos as token 1, and base as token 2."""
    monkeypatch.setattr("alithis.chain.rpc.HttpTransport", lambda _: transport)
    registry.mintDataset(commitment(Manifest.open(family.photos).metadata), [], sender=owner)
    links = [(1, Relation.TRAINED_ON.number)]
    registry.mintModel(commitment(Manifest.open(family.base).metadata), links, sender=owner)
    return registry.address


@pytest.fixture
def place(family, tmp_path, monkeypatch):
    """A folder to work in, with the family's manifests in it."""
    for name in ("1", "2", "photos.alithis", "base.alithis", "holdout.alithis", "door.png"):
        (tmp_path / name).symlink_to(family.folder / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALITHIS_INDEX", str(tmp_path / "index"))
    return tmp_path


@pytest.fixture
def names(family, place):
    """Return a reference of a kind to an artifact, and the options that go with it."""

    def named(kind: str, artifact: str) -> tuple[str, list[str]]:
        token = {PHOTOS: "1", BASE: "2"}[artifact]
        folder = f"{artifact}.alithis"
        digest = Manifest.open(family.folder / folder).metadata.digest
        uri = "ipfs://" + Cid.raw(digest).base16
        stored = ["--store", str(family.store.root), "--gateway", "none"]
        elsewhere = ["--store", str(place / "empty"), "--gateway", family.server.url]
        return {
            "token": (token, stored),
            "token without --rpc": (token, stored),
            "folder named like a token": (f"./{token}", stored),
            "folder": (folder, stored),
            "file": (f"{folder}/metadata.json", stored),
            "url": (f"{family.server.url}/{folder}", stored),
            "bucket": (f"memory://bucket/{folder}", stored),
            "cid": (uri, stored),
            "cid at a gateway": (uri, elsewhere),
        }[kind]

    return named


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_takes_each_reference_or_says_what_to_do(command, kind, names, minted, family):
    artifact, template, printed = COMMANDS[command]
    reference, options = names(kind, artifact)
    words = [
        word.replace("REF", reference).replace("GATEWAY", family.server.url)
        for word in template.split()
    ]
    if "--gateway" in words:
        options = options[:2]
    needs_chain = kind == "token" or command.startswith("lineage")
    chain = ["--rpc", "http://node", "--registry", minted]
    options += chain if needs_chain and kind != "token without --rpc" else []

    if said := REFUSED.get((command, kind)):
        assert said in refused(*words, *options)
    else:
        done = run(*words, *options)
        assert printed in done.stdout
        assert "Traceback" not in done.stderr


def test_the_table_has_every_command_that_takes_a_manifest():
    """A new command with the shared options is one that takes references."""
    groups = {"": cli.commands, "store ": cli.commands["store"].commands}
    taking = {
        prefix + name
        for prefix, commands in groups.items()
        for name, command in commands.items()
        if {"rpc", "store_folder", "gateways"} <= {each.name for each in command.params}
    }
    taking.discard("serve")  # which shows a registry and takes no reference
    assert taking == {
        " ".join(template.split()[: 2 if template.startswith("store") else 1])
        for _, template, _ in COMMANDS.values()
    }


# -- What is read ---------------------------------------------------------------------------------


class TestToken:
    def test_a_manifest_that_states_another_tree_than_the_token_is_refused(
        self, registry, transport, owner, family
    ):
        stated = Manifest.open(family.photos).metadata
        registry.mintDataset(commitment(stated, size=stated.size + 1), [], sender=owner)
        resolver = Resolver(
            family.store, FallbackGateways(()), lambda: Registry(transport, registry.address)
        )
        with pytest.raises(IntegrityError, match=r"token 1: size in metadata\.json: expected 11"):
            resolver.open(Reference.parse("1"))

    def test_marks_against_a_token_are_noted(self, minted, registry, owner, family, place):
        registry.withdraw(1, "why", sender=owner)
        options = ["--store", family.store.root, "--rpc", "http://node", "--registry", minted]
        assert "note: token 1: withdrawn" in run("overlap", 1, "holdout.alithis", *options).stderr

    def test_a_proof_names_the_token(self, minted, family, place):
        options = ["--store", family.store.root, "--rpc", "http://node", "--registry", minted]
        found = json.loads(run("prove", 1, "door.png", *options).stdout)["about"]
        assert (found["token"], found["registry"], found["name"]) == (1, minted, "photos")


class TestBucket:
    def test_no_manifest(self, family):
        with pytest.raises(NotStoredError, match=r"memory://bucket/x: has no metadata\.json"):
            open_manifest("memory://bucket/x")

    def test_a_file_of_another_size_than_stated(self, family):
        fsspec.filesystem("memory").copy(
            "/bucket/photos.alithis", "/bucket/cut.alithis", recursive=True
        )
        fsspec.filesystem("memory").pipe("/bucket/cut.alithis/leaves", b"short")
        with pytest.raises(IntegrityError, match="bytes in leaves: expected 320, found 5"):
            open_manifest("memory://bucket/cut.alithis").prove(bytes(32))

    def test_metadata_without_end_is_not_read_to_its_end(self, family):
        system = fsspec.filesystem("memory")
        system.pipe("/bucket/long/metadata.json", bytes(metadata.MAX_BYTES + 10))
        with pytest.raises(FormatError, match="has more than"):
            open_manifest("memory://bucket/long")

    def test_unknown_kind_of_url(self):
        with pytest.raises(StorageError, match=r"nonsense://x: cannot be opened: Protocol not"):
            open_manifest("nonsense://x")

    def test_missing_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "s3fs", None)
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
        with pytest.raises(MissingExtraError, match="s3fs is not installed: pip install"):
            open_manifest("s3://bucket/m")


class TestCopy:
    def test_withheld_items_are_named(self, family, place):
        copy = family.folder / "withheld.alithis"
        shutil.copytree(family.photos, copy, ignore=shutil.ignore_patterns("items.parquet"))
        url = f"{family.server.url}/withheld.alithis"
        said = run("store", "get", url, "-o", "copy").stdout
        assert said == "copy: written; not available: items.parquet\n"
        assert "sound" in run("audit", "copy", "--withheld").stdout

    def test_a_damaged_file_is_not_copied(self, family, place):
        copy = family.folder / "damaged.alithis"
        shutil.copytree(family.photos, copy)
        (copy / "leaves").write_bytes(bytes(320))
        said = refused("store", "get", f"{family.server.url}/damaged.alithis", "-o", "copy")
        assert "SHA-256 of leaves" in said
        assert not (place / "copy").exists()


@pytest.mark.parametrize(
    "words",
    [
        "store put URL",
        "store export URL -o x.car",
        "model door.png --input tested=URL",
        "verify door.png --manifest URL",
        "overlap URL URL",
    ],
)
def test_secrets_in_a_url_are_in_no_error(place, words):
    url = "http://user:secret@127.0.0.1:9/m?signature=secret"
    assert "secret" not in refused(*words.replace("URL", url).split())


class TestStandardOutput:
    @pytest.mark.parametrize(
        "words",
        [
            "prove photos.alithis door.png",
            "export photos.alithis --to croissant",
            "report base.alithis",
        ],
    )
    def test_dash_prints_what_can_be_printed(self, place, family, words):
        store = ["--store", family.store.root] if "prove" not in words else []
        options = [*store, "--gateway", "none"]
        assert (
            run(*words.split(), *options, "-o", "-").stdout == run(*words.split(), *options).stdout
        )
        assert not (place / "-").exists()

    @pytest.mark.parametrize(
        "words",
        [
            "manifest door.png",
            "model door.png",
            "store get ipfs://f01551220" + "0" * 64,
            "store export photos.alithis",
        ],
    )
    def test_dash_is_refused_for_folders_and_archives(self, place, words):
        assert "-o -: a" in refused(*words.split(), "-o", "-")
        assert not (place / "-").exists()
