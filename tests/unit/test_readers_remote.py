"""Files elsewhere: the same data points as the same files here, over HTTP and S3."""

from __future__ import annotations

import gzip
import io
import re
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alithis.base import remote_files
from alithis.errors import ChangedError, MissingExtraError, SourceError
from alithis.forms.form import Form
from alithis.readers import open_source
from helpers.reading import assert_resumes, contents, everything, fill, read, sha256, skipped


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """One file of each family, and a folder."""
    root = tmp_path_factory.mktemp("data")
    fill(root / "photos", "train/cat/1", "train/dog/2", "test/cat/3", "test/dog/ü 4")
    (root / "photos" / "large").write_bytes(b"large " * (1 << 20))
    with tarfile.open(root / "x.tar.gz", "w:gz") as archive:
        archive.add(root / "photos" / "train", "train")
    with tarfile.open(root / "x.tar", "w") as archive:
        archive.add(root / "photos", ".")
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for number in range(50):
            archive.writestr(f"{number}", str(number))
    table = pa.table({"id": range(1000), "text": [f"text {n}" for n in range(1000)]})
    (root / "shards").mkdir()
    for number in range(3):
        pq.write_table(table.slice(number * 300, 300), root / "shards" / f"{number}.parquet")
    with pa.OSFile(str(root / "x.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table, max_chunksize=100)
    (root / "x.jsonl.gz").write_bytes(gzip.compress(b'{"a":1}\n{"a":2}\n'))
    (root / "x.csv").write_text("a,b\n1,2\n")
    (root / "list.json").write_text('{"image_sha256_hashes":{"x":"' + "00" * 32 + '"}}')
    (root / "x-idx3-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 8]))
    return root


SOURCES = [
    "photos/",
    "x.tar.gz",
    "x.tar",
    "x.zip",
    "shards/",
    "shards/1.parquet",
    "x.arrow",
    "x.jsonl.gz",
    "x.csv",
    "list.json",
    "x-idx3-ubyte",
]


class Handler(SimpleHTTPRequestHandler):
    """Files with ranges, as any real server gives them."""

    requests: list[str]

    def log_message(self, *_):
        pass

    def end_headers(self):
        if not self.path.endswith("/"):
            self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def send_head(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        self.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}")
        if wanted is None or not path.is_file():
            return super().send_head()
        start, end = map(int, wanted.groups())
        whole = path.read_bytes()
        part = whole[start : end + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)


@pytest.fixture
def http(data):
    """The URL of a server, and what it was asked."""
    handler = type("Recording", (Handler,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(data))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.requests
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def s3(data):
    """A bucket of moto's server, with the files in it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://{host}:{port}", "key": "test", "secret": "test"}
    client = boto3.client(
        "s3",
        endpoint_url=options["endpoint_url"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="bucket")
    for path in data.rglob("*"):
        if path.is_file():
            client.put_object(
                Bucket="bucket", Key=path.relative_to(data).as_posix(), Body=path.read_bytes()
            )
    client.put_object(Bucket="bucket", Key="photos/", Body=b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fsspec.config.conf, "s3", options)
        yield client
    server.stop()


@pytest.fixture
def memory(data):
    system = fsspec.filesystem("memory")
    system.put(str(data), "/data", recursive=True)
    yield system
    system.rm("/data", recursive=True)


def assert_same(url: str, local: Path, **options) -> None:
    there, here = open_source(url, **options), open_source(local, **options)
    assert (there.form, there.count) == (here.form, here.count)
    assert read(there) == read(here)
    assert there.identity != here.identity
    assert open_source(url, **options).identity == there.identity


@pytest.mark.parametrize("name", SOURCES)
class TestSameDataPoints:
    def test_http(self, data, http, name):
        assert_same(f"{http[0]}/{name}", data / name)

    def test_s3(self, data, s3, name):
        assert_same(f"s3://bucket/{name}", data / name)

    def test_memory(self, data, memory, name):
        assert_same(f"memory://data/{name}", data / name)


class TestFolder:
    def test_label_split_and_form(self, memory):
        system = memory
        system.rm("/data/photos/large")
        source = open_source(
            "memory://data/photos",
            form=Form("text"),
            label_from_folder=True,
            split_from_folder=True,
        )
        assert read(source)["test/dog/ü 4"] == (
            sha256("test/dog/ü 4".encode()),
            13,
            {"label": "dog", "split": "test"},
        )

    def test_resumes(self, memory):
        for number in range(300):
            memory.pipe(f"/data/many/{number:03}", b"%d" % number)
        source = open_source("memory://data/many")
        assert source.count == 300
        assert_resumes(source)

    def test_entries_other_than_files_are_listed(self, s3, http):
        source = open_source("s3://bucket/photos/")
        assert skipped(source) in ({}, {"": "a directory"})
        assert len(read(source)) == 5

    def test_empty_or_missing(self, s3, http, memory):
        for url in ("s3://bucket/none", "s3://nobucket/x", f"{http[0]}/none", "memory://none"):
            with pytest.raises(SourceError, match=rf"{url}: cannot be read|{url}: no files"):
                open_source(url)

    def test_file_that_is_no_text(self, memory):
        memory.pipe("/data/odd/x", b"\xff")
        with pytest.raises(SourceError, match="memory://data/odd/x: not UTF-8"):
            read(open_source("memory://data/odd", form=Form("text")))

    def test_refuses_names_that_lead_out_of_the_folder(self, memory, monkeypatch):
        monkeypatch.setattr(
            type(memory), "find", lambda *_, **__: {"/data/a/../x": {"size": 1, "type": "file"}}
        )
        with pytest.raises(SourceError, match="leads out of the folder"):
            open_source("memory://data")


class TestChanges:
    def test_file_that_changed_since_it_was_listed(self, s3):
        s3.put_object(Bucket="bucket", Key="changing.csv", Body=b"a\n1\n")
        source = open_source("s3://bucket/changing.csv")
        s3.put_object(Bucket="bucket", Key="changing.csv", Body=b"a\n2\n")
        assert open_source("s3://bucket/changing.csv").identity != source.identity
        with pytest.raises(ChangedError, match=r"changing\.csv: changed since it was opened"):
            everything(source)

    def test_file_shorter_than_its_stated_size(self, memory):
        memory.pipe("/data/some/x", b"long")
        source = open_source("memory://data/some")
        memory.pipe("/data/some/x", b"no")
        with pytest.raises(ChangedError, match="some/x: 2 bytes were received, but its size is 4"):
            everything(source)

    def test_large_file_is_fetched_in_pieces(self, http):
        url, requests = http
        source = open_source(f"{url}/x.tar")
        requests.clear()
        assert len(contents(source)) == 5
        assert sum("Range" in each or "bytes=" in each for each in requests) >= 1
        assert all(each.startswith(("GET", "HEAD")) for each in requests)

    def test_few_row_groups_are_few_bytes(self, http):
        """Parquet is read by range: one column of it, without the others."""
        url, requests = http
        source = open_source(f"{url}/shards/1.parquet", columns=("id",))
        assert len(contents(source)) == 300
        assert all("bytes=" in each or each.startswith("HEAD") for each in requests)


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("https://user:secret@host:1/a/b?X-Signature=secret#secret", "https://host:1/a/b"),
            ("s3://bucket/a", "s3://bucket/a"),
        ],
    )
    def test_secrets_are_not_shown(self, url, shown):
        assert remote_files.shown_url(url) == shown

    def test_secrets_are_in_no_error(self):
        with pytest.raises(SourceError) as caught:
            open_source("http://user:secret@127.0.0.1:1/x.csv?token=secret")
        assert "secret" not in str(caught.value)
        assert str(caught.value).startswith("http://127.0.0.1:1/x.csv: cannot be read")

    def test_missing_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "s3fs", None)
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
        with pytest.raises(MissingExtraError, match=r"s3fs is not installed: pip install"):
            remote_files.open_file_system("s3://bucket/x")

    def test_unknown_protocol(self):
        with pytest.raises(SourceError, match="nonsense://x: cannot be read: Protocol not known"):
            open_source("nonsense://x")

    def test_refuses_remote_saved_dataset(self, memory):
        with pytest.raises(SourceError, match="not a local folder"):
            open_source("memory://data/photos", kind="huggingface")
