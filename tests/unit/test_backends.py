"""Putting manifests on hosts: stand-ins for their APIs, and moto's S3; nothing hosted is asked.

The faults stand in a table in docs/storage.md.
"""

import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import requests
from moto.server import ThreadedMotoServer

from alithis.base import http
from alithis.base.http import RetryPolicy
from alithis.base.progress import Progress
from alithis.errors import ChangedError, IntegrityError, NotStoredError, StorageError
from alithis.ipfs import car, cid
from alithis.ipfs.car import LocalFile
from alithis.storage.hosts import host as host_module
from alithis.storage.hosts import kubo as kubo_module
from alithis.storage.hosts import open_hosts
from alithis.storage.hosts.bucket import Bucket
from alithis.storage.hosts.host import read_secret
from alithis.storage.hosts.kubo import Kubo
from alithis.storage.hosts.lighthouse import Lighthouse
from alithis.storage.hosts.pinata import Pinata
from alithis.storage.store import Store, local_files
from alithis.storage.upload import missing, publish
from helpers import hosts
from helpers.artifacts import build
from helpers.commands import refused, run, run_json
from helpers.hosts import KEY, hosting

KINDS = ["kubo", "lighthouse", "pinata"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Waits are short; nothing is asked but what a test starts."""
    monkeypatch.setattr(http, "FIRST_WAIT", 0.01)
    for name in ("LIGHTHOUSE_API_KEY", "PINATA_JWT", "ALITHIS_KUBO"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def host():
    with hosting() as running:
        yield running


@pytest.fixture
def to(host, monkeypatch):
    """Opens a backend by its kind, at the stand-in."""
    for kind in (Lighthouse, Pinata):
        monkeypatch.setattr(kind, "UPLOADS", host.url)
        monkeypatch.setattr(kind, "API", host.url)
    monkeypatch.setenv("LIGHTHOUSE_API_KEY", KEY)
    monkeypatch.setenv("PINATA_JWT", KEY)

    def open_one(kind):
        (opened,) = open_hosts([f"kubo={host.url}" if kind == "kubo" else kind])
        return opened

    return open_one


def local_file(path, content, name="leaves"):
    path.write_bytes(content)
    return LocalFile(name, cid.of_file(path), path, len(content))


@pytest.fixture
def small(tmp_path):
    return local_file(tmp_path / "small", b"hello")


@pytest.fixture
def large(tmp_path):
    """A file of three chunks, which a host that is not told how cuts into ten."""
    return local_file(tmp_path / "large", os.urandom((2 << 20) + 7))


@pytest.fixture
def manifest(tmp_path):
    """A manifest of four files: leaves, two levels of tiles would be more than it needs."""
    folder = tmp_path / "photos.alithis"
    build(folder, [str(number).encode() for number in range(600)])
    return folder


def error_of(files, backend):
    (placed,) = publish(files, [backend])
    assert placed.error
    assert KEY not in placed.error
    assert "\n" not in placed.error
    return placed.error


@pytest.mark.parametrize("kind", KINDS)
class TestHosts:
    @pytest.mark.parametrize("size", [0, 5, 1 << 18, (1 << 18) + 1, (2 << 20) + 7])
    def test_an_uploaded_file_has_the_same_cid_at_the_host(self, kind, to, host, tmp_path, size):
        local = local_file(tmp_path / "file", os.urandom(size))
        backend = to(kind)

        assert not backend.has(local)
        assert backend.put(local, lambda _: None) == local.cid
        assert backend.has(local)
        assert host.files[str(local.cid)] == local.path.read_bytes()

    def test_all_files_of_a_manifest_are_sent_and_metadata_last(self, kind, to, host, manifest):
        (placed,) = publish(local_files(manifest), [to(kind)])

        assert placed.error is None
        assert placed.sent == ["items.parquet", "leaves", "metadata.json", "tiles/1"]
        assert host.uploads[-1] == str(cid.of_file(manifest / "metadata.json"))
        assert missing(local_files(manifest), to(kind)) == []

    def test_a_file_that_the_host_has_is_not_sent_again(self, kind, to, host, manifest):
        files = local_files(manifest)
        publish(files, [to(kind)])
        del host.files[str(files[1].cid)]
        host.uploads.clear()

        (placed,) = publish(files, [to(kind)])

        assert placed.sent == [files[1].name]
        assert len(placed.present) == len(files) - 1
        assert host.uploads == [str(files[1].cid)]

    def test_metadata_is_not_sent_if_a_file_is_missing(self, kind, to, host, manifest):
        host.always = hosts.status(400)

        assert "answers HTTP 400" in error_of(local_files(manifest), to(kind))
        host.always = None
        assert "metadata.json" in missing(local_files(manifest), to(kind))

    @pytest.mark.parametrize(
        "fault",
        [
            pytest.param(hosts.status(429, Retry_After="0"), id="429 with Retry-After"),
            pytest.param(hosts.status(429), id="429"),
            pytest.param(hosts.status(429, Retry_After="soon"), id="429, Retry-After no number"),
            pytest.param(hosts.status(502), id="502"),
            pytest.param(hosts.status(503), id="503"),
            pytest.param(hosts.cut, id="cut"),
            pytest.param(hosts.cut_answer, id="cut in the answer"),
        ],
    )
    def test_temporary_failures_are_retried(self, kind, to, host, large, fault):
        host.faults = [fault, fault]

        (placed,) = publish([large], [to(kind)])

        assert placed.error is None
        assert placed.sent == ["leaves"]
        assert host.files[str(large.cid)] == large.path.read_bytes()

    def test_retries_end_after_five_attempts(self, kind, to, host, small):
        host.always = hosts.status(503)

        error = error_of([small], to(kind))

        assert "answers HTTP 503" in error
        assert sum("pin/ls" not in path and "cid=" not in path for path in host.asked) == 5

    def test_a_retry_after_of_an_hour_fails_at_once(self, kind, to, host, small):
        host.always = hosts.status(429, Retry_After="3600")

        assert "answers HTTP 429 and asks us to wait 3,600 s" in error_of([small], to(kind))
        assert sum("pin/ls" not in path and "cid=" not in path for path in host.asked) == 1

    @pytest.mark.parametrize("seconds", ["9" * 5000, "1e9", "-1", ""])
    def test_an_invalid_retry_after_is_ignored(self, kind, to, host, small, seconds):
        host.faults = [hosts.status(503, Retry_After=seconds)]

        (placed,) = publish([small], [to(kind)])

        assert placed.sent == ["leaves"]

    def test_a_retry_after_date_in_the_far_future_fails_at_once(self, kind, to, host, small):
        host.always = hosts.status(503, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT")

        assert "asks us to wait" in error_of([small], to(kind))

    def test_a_host_that_times_out_is_named(self, kind, to, host, small, monkeypatch):
        monkeypatch.setattr(host_module.HttpHost, "TIMEOUT", 0.2)
        monkeypatch.setattr(host_module.HttpHost, "RETRIES", RetryPolicy(2))
        host.always = hosts.hang

        assert "sent no answer within 0.2 s" in error_of([small], to(kind))

    def test_a_host_that_cannot_be_reached_is_named(self, kind, to, host, small, monkeypatch):
        with hosting() as gone:
            pass
        for attribute in ("UPLOADS", "API"):
            for each in (Lighthouse, Pinata):
                monkeypatch.setattr(each, attribute, gone.url)
        backend = Kubo(gone.url) if kind == "kubo" else to(kind)

        assert "cannot be reached" in error_of([small], backend)

    def test_a_wrong_cid_is_an_error(self, kind, to, host, small):
        other = str(cid.of_bytes(b"jello"))
        host.always = hosts.says({"Hash": other, "data": {"cid": other, "Hash": other}})

        error = error_of([small], to(kind))

        assert error == (f"{to(kind).name}: leaves: CID: expected {small.cid}, found {other}")

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(b"<html>thanks</html>", id="HTML"),
            pytest.param(b"", id="nothing"),
            pytest.param(b"[]", id="a list"),
            pytest.param({"Hash": 7, "data": {"cid": 7, "Hash": 7}}, id="a number"),
            pytest.param({"Hash": "../x", "data": {"cid": "../x", "Hash": "../x"}}, id="a path"),
            pytest.param({"data": []}, id="no CID"),
            pytest.param(b"{" + b" " * (1 << 20) + b"}", id="oversized"),
            pytest.param(b'{"a":' * 100_000, id="deep"),
        ],
    )
    def test_unusable_answers_are_errors(self, kind, to, host, small, answer):
        host.always = hosts.says(answer)

        assert " does not answer with " in error_of([small], to(kind))

    def test_a_redirect_is_not_followed(self, kind, to, host, small):
        with hosting() as elsewhere:
            host.always = hosts.status(307, Location=f"{elsewhere.url}/api/v0/add")
            assert "answers HTTP 307, a redirect" in error_of([small], to(kind))
            assert elsewhere.asked == []

    def test_a_redirect_loop_is_one_request(self, kind, to, host, small):
        host.always = hosts.status(308, Location=f"{host.url}/api/v0/add")

        assert "a redirect" in error_of([small], to(kind))
        assert sum("pin/ls" not in path and "cid=" not in path for path in host.asked) == 1

    def test_the_key_is_in_no_error_and_no_log(self, kind, to, host, small, caplog):
        caplog.set_level(logging.DEBUG)
        for code in (400, 401, 402, 403, 404, 413, 418, 500, 503):
            host.always = hosts.status(code)
            assert f"HTTP {code}" in error_of([small], to(kind))
        assert KEY not in caplog.text

    def test_a_truncated_file_is_not_sent(self, kind, to, host, large):
        os.truncate(large.path, 100)

        with pytest.raises((ChangedError, IntegrityError)):
            to(kind).put(large, lambda _: None)
        assert host.files == {}

    def test_progress_is_subtracted_before_a_file_is_sent_again(self, kind, to, host, large):
        counts = []

        class Counting(Progress):
            def advance(self, count):
                counts.append(count)

        host.faults = [hosts.status(503), hosts.status(503)]
        publish([large], [to(kind)], Counting())

        assert sum(counts) == large.size
        assert min(counts) < 0

    def test_stop_ends_a_retry_that_waits(self, kind, to, host, small, monkeypatch):
        monkeypatch.setattr(http, "FIRST_WAIT", 60)
        backend = to(kind)
        host.always = lambda handler: (hosts.status(503)(handler), backend.stop())

        error = error_of([small], backend)  # it comes before or during the wait

        assert "HTTP 503" in error or "stopped" in error


def test_a_refused_key_names_its_variable(to, host, small, monkeypatch):
    monkeypatch.setenv("LIGHTHOUSE_API_KEY", "other")
    assert "check LIGHTHOUSE_API_KEY" in error_of([small], to("lighthouse"))
    monkeypatch.setenv("PINATA_JWT", "other")
    assert "check PINATA_JWT" in error_of([small], to("pinata"))


class TestKubo:
    def test_a_file_of_many_chunks_is_sent_as_a_car(self, to, host, large, monkeypatch):
        monkeypatch.setattr(kubo_module, "MAX_RAW_KUBO", 1 << 20)

        assert to("kubo").put(large, lambda _: None) == large.cid
        assert any("dag/import" in path for path in host.asked)

    def test_an_import_that_was_not_pinned_is_an_error(self, to, host, large, monkeypatch):
        monkeypatch.setattr(kubo_module, "MAX_RAW_KUBO", 1 << 20)
        root = {"Cid": {"/": str(large.cid)}, "PinErrorMsg": "no room"}
        host.always = hosts.says({"Root": root})

        assert "did not pin" in error_of([large], to("kubo"))

    def test_ranges_are_read_from_the_node(self, to, large):
        node = to("kubo")
        node.put(large, lambda _: None)
        content = large.path.read_bytes()

        assert node.open(large).size == large.size
        assert node.open(large).read(1 << 20, 100) == content[1 << 20 : (1 << 20) + 100]
        with pytest.raises(StorageError, match="does not return the 100 requested bytes"):
            node.open(large).read(large.size - 1, 100)

    def test_the_address_comes_from_the_environment(self, host, monkeypatch):
        monkeypatch.setenv("ALITHIS_KUBO", f"http://user:{KEY}@127.0.0.1:1")
        (node,) = open_hosts(["kubo"])
        assert node.name == "kubo 127.0.0.1:1"

    @pytest.mark.parametrize(
        ("url", "public"),
        [
            ("http://127.0.0.1:5001", False),
            ("http://localhost:5001", False),
            ("http://[::1]:5001", False),
            ("http://192.168.1.2:5001", False),
            ("http://nas.local", False),
            ("https://ipfs.example.org", True),
            ("https://8.8.8.8", True),
        ],
    )
    def test_a_node_in_a_private_network_is_not_public(self, url, public):
        assert Kubo(url).public is public

    @pytest.mark.parametrize("url", ["", "ftp://x", "file:///etc/passwd", "http://", "127.0.0.1"])
    def test_an_invalid_url_is_refused(self, url):
        with pytest.raises(StorageError, match="URL is not http"):
            Kubo(url)


class TestPeer:
    """A real IPFS peer (Helia) behind Kubo's RPC."""

    def test_a_real_peer_has_the_whole_manifest_and_gets_it_once(self, ipfs_peer, manifest):
        node = Kubo(ipfs_peer.url)
        files = local_files(manifest)

        (first,) = publish(files, [node])
        (again,) = publish(files, [node])

        assert (first.error, len(first.sent)) == (None, 4)
        assert (again.error, len(again.present)) == (None, 4)
        for local in files:
            answer = requests.get(f"{ipfs_peer.url}/ipfs/{local.cid}", timeout=60)
            assert answer.content == local.path.read_bytes()

    @pytest.mark.parametrize("node_bytes", [1 << 20, 174 << 20], ids=["as a CAR", "as it is"])
    def test_a_file_of_many_chunks(self, ipfs_peer, large, monkeypatch, node_bytes):
        monkeypatch.setattr(kubo_module, "MAX_RAW_KUBO", node_bytes)

        (placed,) = publish([large], [Kubo(ipfs_peer.url)])

        assert placed.error is None
        bytes_range = {"Range": "bytes=1048570-1048580"}
        answer = requests.get(f"{ipfs_peer.url}/ipfs/{large.cid}", headers=bytes_range, timeout=60)
        assert answer.content == large.path.read_bytes()[1048570:1048581]

    def test_a_real_peer_imports_an_exported_manifest(self, ipfs_peer, manifest, tmp_path):
        files = local_files(manifest)
        car.write(files, tmp_path / "m.car")

        with (tmp_path / "m.car").open("rb") as file:
            url = f"{ipfs_peer.url}/api/v0/dag/import"
            answer = requests.post(url, files={"file": file}, timeout=60)

        roots = [json.loads(line)["Root"]["Cid"]["/"] for line in answer.text.splitlines()]
        assert roots == [str(local.cid) for local in files]
        assert missing(files, Kubo(ipfs_peer.url)) == []


class TestKeys:
    def test_a_key_comes_from_the_environment_or_a_file(self, tmp_path, monkeypatch):
        (tmp_path / "key").write_text(f"{KEY}\n")
        monkeypatch.setenv("PINATA_JWT_FILE", str(tmp_path / "key"))
        assert read_secret("PINATA_JWT") == KEY
        monkeypatch.setenv("PINATA_JWT", "nearer")
        assert read_secret("PINATA_JWT") == "nearer"

    @pytest.mark.parametrize("name", ["lighthouse", "pinata"])
    def test_a_missing_key_is_an_error(self, name):
        with pytest.raises(StorageError, match=r"no key: set [A-Z_]+, or [A-Z_]+_FILE"):
            open_hosts([name])

    @pytest.mark.parametrize("text", ["two words", "line\r\nX-Other: 1", "ü", "x" * 5000])
    def test_an_invalid_key_is_not_shown(self, text, monkeypatch):
        monkeypatch.setenv("PINATA_JWT", text)
        with pytest.raises(StorageError, match=r"^PINATA_JWT: is not a key") as caught:
            read_secret("PINATA_JWT")
        assert text not in str(caught.value)

    def test_a_key_file_that_is_missing(self, monkeypatch):
        monkeypatch.setenv("PINATA_JWT_FILE", "gone")
        with pytest.raises(StorageError, match="PINATA_JWT_FILE: gone: cannot be read"):
            read_secret("PINATA_JWT")

    @pytest.mark.parametrize("name", ["", "ipfs", "s3:bucket", "https://example.org", "kubo:1"])
    def test_unknown_hosts_are_refused(self, name):
        with pytest.raises(StorageError, match="is not a known host"):
            open_hosts([name])


@pytest.fixture(scope="module")
def s3():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    yield f"http://{address}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch):
    """A bucket on moto's server, and its name."""
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3,
    }.items():
        monkeypatch.setenv(name, value)
    name = f"mirror-{os.urandom(4).hex()}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    return client, name


class TestBucket:
    def test_a_bucket_has_the_paths_of_a_gateway(self, bucket, manifest):
        client, name = bucket
        mirror = Bucket(f"s3://{name}/a/b/")
        files = local_files(manifest)

        (first,) = publish(files, [mirror])
        (again,) = publish(files, [Bucket(f"s3://{name}/a/b")])

        assert (first.error, len(first.sent)) == (None, len(files))
        assert (again.error, len(again.present)) == (None, len(files))
        found = {item["Key"] for item in client.list_objects_v2(Bucket=name)["Contents"]}
        assert found == {f"a/b/ipfs/{local.cid}" for local in files}

    def test_ranges(self, bucket, large):
        mirror = Bucket(f"s3://{bucket[1]}")
        with pytest.raises(NotStoredError):
            mirror.open(large)
        mirror.put(large, lambda _: None)
        content = large.path.read_bytes()
        assert mirror.open(large).read(1 << 20, 100) == content[1 << 20 : (1 << 20) + 100]
        with pytest.raises(StorageError, match="does not return the 100 requested bytes"):
            mirror.open(large).read(large.size - 1, 100)

    def test_a_bucket_is_read_back_and_must_have_the_cid(self, bucket, large, small):
        wrong = replace(large, cid=small.cid)
        assert f"expected {small.cid}, found {large.cid}" in error_of(
            [wrong], Bucket(f"s3://{bucket[1]}")
        )

    def test_an_object_of_another_size_is_replaced(self, bucket, small):
        client, name = bucket
        client.put_object(Bucket=name, Key=f"ipfs/{small.cid}", Body=b"hell")
        (placed,) = publish([small], [Bucket(f"s3://{name}")])
        assert placed.sent == ["leaves"]

    def test_a_missing_bucket_is_an_error(self, bucket, small):
        error = error_of([small], Bucket("s3://no-such-bucket"))
        assert error.startswith("s3://no-such-bucket: cannot be written (")

    @pytest.mark.parametrize("url", ["s3://", "s3://B", "s3://bucket/../x", "s3://k:s@bucket/x"])
    def test_an_invalid_bucket_url_is_refused(self, url):
        with pytest.raises(StorageError, match="not s3://BUCKET/PREFIX"):
            Bucket(url)

    def test_a_bucket_does_not_count_as_public(self, bucket):
        assert not Bucket(f"s3://{bucket[1]}").public


class TestCommand:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))

    def test_the_report_names_what_was_sent_to_which_host(self, to, host, manifest, bucket):
        names = [f"kubo={host.url}", "lighthouse", "pinata", f"s3://{bucket[1]}"]
        options = [word for name in names for word in ("--to", name)]

        printed = run_json("store", "put", manifest, *options)

        assert [each["error"] for each in printed["hosts"]] == [None] * 4
        assert [each["public"] for each in printed["hosts"]] == [False, True, True, False]
        text = run("store", "put", manifest, *options).stdout
        assert "  lighthouse: complete (4 already there)\n" in text

    def test_a_manifest_in_the_store_is_sent_by_its_cid(self, to, host, manifest):
        stored = run_json("store", "put", manifest)["cid"]

        run("store", "put", stored, "--to", "lighthouse")

        assert len(host.files) == 4
        assert "gone: there is no such folder" in refused("store", "put", "gone")
        assert "is not in the store" in refused("store", "put", cid.of_bytes(b"no"))

    def test_files_that_a_folder_withholds_are_not_sent_from_the_store(self, to, host, manifest):
        run("store", "put", manifest)
        items = cid.of_file(manifest / "items.parquet")
        (manifest / "items.parquet").unlink()

        (placed,) = run_json("store", "put", manifest, "--to", "lighthouse")["hosts"]

        assert placed["sent"] == ["leaves", "metadata.json", "tiles/1"]
        assert Store().has(items)
        assert str(items) not in host.files

    def test_the_others_continue_if_one_host_fails(self, to, host, manifest):
        with hosting() as gone:
            pass
        result = run(
            "store", "put", manifest, "--to", f"kubo={gone.url}", "--to", "pinata", status=2
        )

        assert result.stderr.startswith(f"Error: kubo {gone.url.removeprefix('http://')} ")
        assert "cannot be reached" in result.stderr
        assert result.stderr.count("\n") == 1
        assert "  pinata: complete (4 sent)\n" in result.stdout

    def test_a_missing_key_is_reported_before_any_work(self, manifest):
        assert "LIGHTHOUSE_API_KEY" in refused("store", "put", manifest, "--to", "lighthouse")
        assert list(Store().cids()) == []

    def test_a_killed_upload_is_resumed(self, host, manifest):
        arrived = threading.Event()

        def hang(handler):
            arrived.set()
            hosts.hang(handler)

        host.faults = [None, hang, hang, hang]
        code = "from alithis.cli import main; main()"
        put = ["store", "put", str(manifest), "--to", f"kubo={host.url}"]
        with subprocess.Popen([sys.executable, "-c", code, *put]) as child:
            assert arrived.wait(60)
            while not host.uploads:
                assert child.poll() is None
            child.send_signal(signal.SIGKILL)
        before = list(host.uploads)
        host.faults = []

        (placed,) = run_json("store", "put", manifest, "--to", f"kubo={host.url}")["hosts"]

        assert len(before) == 1
        assert (len(placed["present"]), len(placed["sent"])) == (1, 3)
        assert sorted(host.uploads) == sorted(set(host.uploads))

    def test_an_interrupted_upload_ends_with_status_130(self, host, manifest):
        arrived = threading.Event()

        def hang(handler):
            arrived.set()
            hosts.hang(handler)

        host.always = hang
        code = (
            "from alithis.storage.hosts.host import HttpHost; HttpHost.TIMEOUT = 1; "
            "from alithis.cli import main; main()"
        )
        put = ["store", "put", str(manifest), "--to", f"kubo={host.url}"]
        with subprocess.Popen(
            [sys.executable, "-c", code, *put], stderr=subprocess.PIPE, text=True
        ) as child:
            assert arrived.wait(60)
            child.send_signal(signal.SIGINT)
            _, said = child.communicate(timeout=60)
        assert child.returncode == 130
        assert said.splitlines()[-1] == "Error: interrupted"

    def test_two_processes_write_the_same_store_at_once(self, manifest, tmp_path):
        code = (
            "import sys\nfrom alithis.storage.store import Store\nsys.stdin.readline()\n"
            "for _ in range(20): Store(sys.argv[1]).put_manifest(sys.argv[2])\n"
        )
        arguments = [sys.executable, "-c", code, str(tmp_path / "store"), str(manifest)]
        children = [subprocess.Popen(arguments, stdin=subprocess.PIPE) for _ in range(2)]
        for child in children:
            child.communicate(b"go\n", timeout=120)

        assert [child.returncode for child in children] == [0, 0]
        store = Store(tmp_path / "store")
        (listed,) = store.manifests().manifests
        assert store.get_manifest(listed.cid, tmp_path / "copy") == ()
        assert list((tmp_path / "store" / "incoming").iterdir()) == []

    def test_full_disk(self, tmp_path):
        build(tmp_path / "big.alithis", [b"%d" % number for number in range(40_000)])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        try:
            put = refused("store", "put", "big.alithis")
            export = refused("store", "export", "big.alithis", "-o", "big.car")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "File too large" in put
        assert "big.car: cannot be written: File too large" in export
        assert sorted(path.name for path in tmp_path.iterdir()) == ["big.alithis", "store"]
        assert json.loads(run("store", "ls", "--json").stdout)["manifests"] == []
