"""Ray Data's manifests: the single machine's, byte for byte."""

import gzip
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alithis.integrations import ray as ray_module
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description
from alithis.readers import open_source
from helpers import commands
from helpers.reading import fill

WORKERS = 3


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """A Ray of our own, with several workers, for all tests here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # its sockets' paths must be short
    ray.init(
        _temp_dir=folder,
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        object_store_memory=200 << 20,
    )
    yield ray
    ray.shutdown()
    shutil.rmtree(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def table(start: int, labels: pa.Array) -> pa.Table:
    """Forty rows, each text twice: the order of repeats is decided by the other columns."""
    rows = range(start, start + len(labels))
    texts = [f"text {row // 2}" if row % 7 else None for row in rows]
    return pa.table({"text": texts, "label": labels, "source": ["b", None] * (len(labels) // 2)})


def make_parquet(root: Path) -> dict:
    numbers = pa.array([7, None] * 20, pa.int64())
    for name, labels in (("a", pa.nulls(40, pa.int64())), ("b", numbers), ("c", numbers)):
        pq.write_table(table(0, labels), root / f"{name}.parquet", row_group_size=15)
    return {"column": "text", "label": "label", "keep": ("source",)}


def make_records(root: Path) -> dict:
    make_parquet(root)
    return {"columns": ("label", "text")}


def make_arrow(root: Path) -> dict:
    for name in "ab":
        rows = table(0, pa.nulls(40, pa.string()))
        with pa.ipc.new_stream(root / f"{name}.arrow", rows.schema) as writer:
            writer.write_table(rows, max_chunksize=11)
    return {"column": "text", "label": "label"}


def make_lines(root: Path) -> dict:
    lines = [json.dumps({"text": f"ü{n // 2}", "source": n % 3 or None}) for n in range(90)]
    path = root / "x.jsonl.gz"
    path.write_bytes(gzip.compress("\n\n".join(lines).encode()))
    return {"column": "text", "keep": ("source",), "at": path}


def make_samples(root: Path) -> dict:
    fill(root.parent / "members", *(f"{n:03}.{end}" for n in range(30) for end in ("txt", "cls")))
    for shard in range(4):
        with tarfile.open(root / f"{shard}.tar", "w") as archive:
            for path in sorted((root.parent / "members").iterdir())[shard * 15 :: 4]:
                archive.add(path, path.name)
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "000.txt"
            archive.addfile(link)
    return {"per_sample": False}


def make_files(root: Path) -> dict:
    fill(root, *(f"{n % 5}/{n}" for n in range(100)))
    for n in range(0, 100, 7):
        (root / f"{n % 5}" / f"{n}").write_bytes(b"the same")
    return {"label_from_folder": True, "split_from_folder": True}


def make_array(root: Path) -> dict:
    np.savez(root / "x.npz", x=np.arange(300, dtype=np.uint8).reshape(100, 3), y=np.arange(100))
    return {"column": "x", "label": "y", "at": root / "x.npz"}


MAKERS = [
    make_files,
    make_parquet,
    make_records,
    make_arrow,
    make_lines,
    make_samples,
    make_array,
]


def build_both(opened, tmp_path: Path, reopened):
    """The manifest of one machine, and Ray's; and what each passed over."""
    from alithis.forms.pool import Pool

    description = Description("some")
    with Pool(1) as pool:
        build(opened.digested(pool), tmp_path / "one", description=description, form=opened.form)
    with ray_module.presorted(reopened) as found:
        build(found, tmp_path / "ray", description=description, form=reopened.form)
    return files(tmp_path / "one"), files(tmp_path / "ray")


@pytest.mark.parametrize("make", MAKERS)
def test_manifest_is_byte_for_byte_the_same(make, tmp_path):
    (tmp_path / "data").mkdir()
    options = make(tmp_path / "data")
    where = options.pop("at", tmp_path / "data")
    opened, reopened = open_source(where, **options), open_source(where, **options)
    cuts = len(reopened.parts(12))
    assert cuts > 1 or make in (make_array, make_lines)

    one, ray = build_both(opened, tmp_path, reopened)

    assert one == ray
    assert one.keys() == {"metadata.json", "leaves", "items.parquet"}
    assert (opened.skipped.count, opened.skipped.names) == (
        reopened.skipped.count,
        reopened.skipped.names,
    )
    assert opened.skipped.count > 0 or make in (make_files, make_records, make_array)


def test_from_an_s3_server(tmp_path):
    """Each worker reads the bucket itself; moto's server is a process of its own threads."""
    import boto3
    import fsspec
    from moto.server import ThreadedMotoServer

    (tmp_path / "shards").mkdir()
    options = make_parquet(tmp_path / "shards")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket="many-machines")
        for path in (tmp_path / "shards").iterdir():
            client.upload_file(str(path), "many-machines", f"shards/{path.name}")
        fsspec.config.conf["s3"] = {"endpoint_url": endpoint, "key": "test", "secret": "test"}
        local = open_source(tmp_path / "shards", **options)
        one, ray = build_both(local, tmp_path, open_source("s3://many-machines/shards/", **options))
    finally:
        fsspec.config.conf.pop("s3", None)
        server.stop()
    assert one == ray


def invoke(*arguments):
    return commands.invoke("manifest", *arguments)


class TestCommand:
    def test_as_a_user_calls_it(self, tmp_path):
        options = make_files(tmp_path / "data")
        assert options["label_from_folder"]
        words = [tmp_path / "data", "--label-from-folder", "--name", "data", "--json"]
        one = invoke(*words, "-o", tmp_path / "one")
        ray = invoke(*words, "-o", tmp_path / "ray", "--engine", "ray")

        assert (one.exit_code, ray.exit_code) == (0, 0), ray.stderr
        assert json.loads(ray.stdout) | {"manifest": ""} == json.loads(one.stdout) | {
            "manifest": ""
        }
        assert files(tmp_path / "one") == files(tmp_path / "ray")
        assert "data points have at most 64 bytes" in ray.stderr  # as of one machine
        assert "data points have at most 64 bytes" in one.stderr

    @pytest.mark.parametrize("given", [("--key-file", "key"), ("--restart",)])
    def test_options_that_contradict_each_other(self, tmp_path, given):
        fill(tmp_path / "data", "1")
        key = [tmp_path / each if each == "key" else each for each in given]
        result = invoke(tmp_path / "data", "-o", tmp_path / "m", "--engine", "ray", *key)
        assert result.exit_code == 2
        assert "--engine ray cannot be used with --key-file" in result.stderr
        assert not (tmp_path / "key").exists()

    def test_error_in_a_worker(self, tmp_path):
        fill(tmp_path, "a.jsonl", "b.jsonl")
        (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
        (tmp_path / "b.jsonl").write_text('{"a": 1}\n{"a": \n')
        result = invoke(tmp_path / "b.jsonl", "-o", tmp_path / "m", "--engine", "ray")
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"Error: {tmp_path / 'b.jsonl'}: line 2: ")
        assert not (tmp_path / "m").exists()

    def test_source_without_data_points(self, tmp_path):
        (tmp_path / "x.jsonl").write_text("\n\n")
        result = invoke(tmp_path / "x.jsonl", "-o", tmp_path / "m", "--engine", "ray")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "no data points: the source is empty" in result.stderr

    def test_starts_its_own_ray(self, tmp_path):
        """In a process of its own: Ray is started, says nothing, and is gone after."""
        fill(tmp_path / "data", "1", "2")
        left = tmp_path / "tmp"
        left.mkdir()
        command = [sys.executable, "-m", "alithis", "manifest", "data", "--engine", "ray"]
        done = subprocess.run(
            [*command, "--workers", "1", "-o", "m"],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(left)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("m: 2 data points")
        assert "ray" not in done.stderr.lower().replace("arrays", "")
        assert not list(left.glob("alithis-ray-*"))

    @pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
    def test_unreachable_cluster(self, tmp_path, address):
        fill(tmp_path / "data", "1")
        command = [sys.executable, "-m", "alithis", "manifest", "data", "--engine", "ray"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "RAY_ADDRESS": address},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert "Ray cannot be started or reached: " in line
        assert "Connection refused" in line

    def test_without_the_extra(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "ray", None)
        fill(tmp_path / "data", "1")
        result = invoke(tmp_path / "data", "-o", tmp_path / "m", "--engine", "ray")
        assert result.exit_code == 2
        assert "pip install 'alithis[ray]'" in result.stderr


@pytest.mark.parametrize("fails", [False, True])
def test_interruption_is_delayed_until_ray_has_started(fails):
    """The process would crash: Ray does not end well when it is half started."""
    before, came_through = signal.getsignal(signal.SIGINT), False
    with pytest.raises(KeyboardInterrupt), ray_module._uninterrupted():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        came_through = True
        if fails:
            raise RuntimeError("a part of Ray was interrupted, too")
    assert came_through
    assert signal.getsignal(signal.SIGINT) is before
