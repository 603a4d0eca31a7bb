"""Bad input ends in one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import alithis
from alithis.base.remote_files import shown_url, url_problem
from alithis.errors import AlithisError, FormatError, SourceError, StorageError
from alithis.ipfs.car import Archive
from alithis.manifest.metadata import Description
from alithis.storage.hosts.host import read_secret
from alithis.storage.store import Store
from helpers.commands import refused, run


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a dataset and its manifest, where commands run."""
    monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("ALITHIS_GATEWAYS", "none")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "1").write_text("1")
    monkeypatch.chdir(tmp_path)
    run("manifest", "p", "--workers", 1)
    return tmp_path


class TestOutputOfManifest:
    def test_symbolic_links_in_a_circle(self, place):
        (place / "loop").symlink_to("loop")
        assert "loop: is a symbolic link" in refused("manifest", "p", "-o", "loop")
        said = refused("manifest", "p", "-o", "q", "--key-file", "loop")
        assert "loop: cannot be read: " in said

    def test_source_as_output(self, place):
        for out in ("p", "./p/", place / "p"):
            assert "the output folder is the source" in refused("manifest", "p", "-o", out)
        assert "is inside p" in refused("manifest", "p", "-o", "p/q")


def without_waiting(function):
    """Calls a function that must not wait for the writer of a FIFO."""
    errors: list[BaseException | None] = []

    def call():
        try:
            function()
            errors.append(None)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20)
    assert errors, "it waits for a FIFO"
    assert errors[0] is not None
    raise errors[0]


class TestFifos:
    def test_options_that_name_a_fifo(self, place, monkeypatch):
        os.mkfifo("fifo")
        for words in (
            "manifest p -o q --metadata-from fifo",
            "manifest p -o q --key-file fifo",
            "model p.alithis/leaves -o q --params fifo",
            "model p.alithis/leaves -o q --run fifo",
            "prove p.alithis p/1 --key-file fifo",
            "store import fifo",
        ):
            assert "fifo: not a regular file" in refused(*words.split())
        monkeypatch.setenv("KEY_FILE", "fifo")
        with pytest.raises(StorageError, match="KEY_FILE: fifo: not a regular file"):
            without_waiting(lambda: read_secret("KEY"))

    def test_metadata_of_a_manifest(self, place):
        (place / "p.alithis" / "metadata.json").unlink()
        os.mkfifo(place / "p.alithis" / "metadata.json")
        assert "not a regular file" in refused(
            "store", "check", "p.alithis", "--gateway", "http://127.0.0.1:9"
        )

    def test_key_of_model_signing(self, place):
        pytest.importorskip("model_signing")
        from alithis.reports import model_signing

        os.mkfifo("fifo")
        with pytest.raises(SourceError, match="fifo: not a regular file"):
            without_waiting(lambda: model_signing.signed({}, place / "fifo"))


class TestPython:
    @pytest.mark.parametrize("wrong", [None, 5, b"x", ["x"]])
    def test_manifests_of_another_type(self, wrong):
        for function in (alithis.open_manifest, alithis.report):
            with pytest.raises(FormatError, match="is not a manifest: give a Manifest, or"):
                function(wrong)
        with pytest.raises(FormatError, match="is not a manifest"):
            alithis.overlap(wrong, wrong)

    def test_an_empty_source(self, place):
        with pytest.raises(SourceError, match="the source is empty: give a folder"):
            alithis.hash_dataset("", "q")
        assert not (place / "q").exists()


class TestDescription:
    @pytest.mark.parametrize(
        "url", ["javascript:alert(1)", "ftp://x.y", "x", "http://[::1", "https://a b"]
    )
    def test_url(self, place, url):
        said = refused("manifest", "p", "-o", "q", "--url", url)
        assert "must be an http or https URL" in said
        assert "must be an http or https URL" in refused("model", "p/1", "-o", "q", "--url", url)
        assert not (place / "q").exists()

    def test_url_of_a_source_that_is_no_url_is_left_out(self):
        assert Description.composed({}, {}, {"name": "x", "url": "y"}).url is None
        assert Description.composed({}, {}, {"name": "x", "url": "http://y"}).url == "http://y"

    def test_name_of_a_folder_with_a_line_break(self, place):
        (place / "a\nb").mkdir()
        (place / "a\nb" / "1").write_text("1")
        said = refused("manifest", "a\nb", "-o", "q")
        assert r"on one line, not 'a\nb'. Use --name" in said
        run("manifest", "a\nb", "-o", "q", "--name", "ab", "--workers", 1)


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("s3://", "s3://: has no bucket; write s3://BUCKET/PATH"),
            ("s3:///x", "s3:///x: has no bucket"),
            ("gs://", "gs://: has no bucket"),
            ("http://[::1", "http://[::1: is not a valid URL"),
            ("http://u:secret@[::1/x?secret", "http://[::1: is not a valid URL"),
            ("http://", "http://: has no host; write http://HOST/PATH"),
            ("https:///x", "https:///x: has no host"),
            ("http://x:port/", "http://x:port/: is not a valid URL"),
        ],
    )
    def test_urls_that_cannot_be_right(self, place, url, said):
        assert str(url_problem(url)).startswith(said)
        assert said in refused("manifest", url, "-o", "q")
        with pytest.raises(AlithisError) as caught:
            alithis.hash_dataset(url, "q")
        assert str(caught.value).startswith(said)
        with pytest.raises(AlithisError) as caught:
            alithis.open_manifest(url)
        assert url.partition("//")[0] in str(caught.value)
        assert "secret" not in str(caught.value)
        assert "secret" not in shown_url(url)

    @pytest.mark.parametrize("url", ["s3://b", "http://[::1]/x", "memory:///x", "https://h:1/x"])
    def test_other_urls(self, url):
        assert url_problem(url) is None


@pytest.mark.parametrize("data", [b"", b"x", b"hello world, hello world", b"\xff" * 40, b"\0" * 9])
def test_a_file_that_is_not_a_car(tmp_path, data):
    (tmp_path / "x.car").write_bytes(data)
    with pytest.raises(FormatError, match=r"x\.car: is .*(not a CAR|damaged)"):
        Archive(tmp_path / "x.car")


def test_damaged_content_of_the_store_names_the_file_and_the_remedy(tmp_path):
    store = Store(tmp_path / "store")
    cid = store.put_bytes(b"content")
    path = store.path(cid)
    path.chmod(0o644)
    path.write_bytes(b"CONTENT")
    for read in (lambda: store.read_bytes(cid, 100), lambda: store.get_file(cid, tmp_path / "x")):
        with pytest.raises(AlithisError) as caught:
            read()
        assert f"{path} in the store is damaged; remove the file, and add or" in str(caught.value)
    assert not (tmp_path / "x").exists()


def test_rows_that_change_after_they_were_read_keep_the_counts_consistent(tmp_path):
    """A transcript with more distinct data points than reads contradicts itself."""
    rows = np.arange(60, dtype=np.uint8).reshape(10, 6)
    np.save(tmp_path / "x.npy", rows)
    data = alithis.hash_dataset(tmp_path / "x.npy", tmp_path / "x", workers=1)
    changing = rows.copy()
    with alithis.Run("m") as training:
        used = training.use(changing, data)
        used[:5].sum()
        changing[:] = 255 - changing
        used[5:].sum()
    (given,) = training.inputs()
    assert given.transcript is not None
    assert given.transcript.given is not None
    assert given.transcript.size <= given.transcript.given
