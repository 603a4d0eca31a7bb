"""References to manifests: how they are read, and which command takes which kind."""

from __future__ import annotations

import itertools
import shutil

import fsspec
import pytest

from alithis.cli import cli
from alithis.errors import (
    FormatError,
)
from alithis.ipfs import cid
from alithis.ipfs.cid import Cid
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Relation
from alithis.verify.reference import Reference
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
            ("", "an empty reference: give a token, a folder"),
            ("0", "0: tokens are numbered from 1"),
            (str(1 << 48), "tokens are numbered from 1, in at most 48 bits"),
            ("9" * 5000, "tokens are numbered from 1, in at most 48 bits"),
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
COPY_FIRST = "alithis store get URL -o DIR copies it into a folder"
NO_FOLDER = "takes a token, a URL or a CID, not a folder"
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
