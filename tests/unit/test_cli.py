"""The `alithis` command, in this process and in processes of its own."""

import gzip
import json
import os
import pty
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
from PIL import Image

from alithis import cli
from alithis.chain.registry import Registry
from alithis.cli import terminal
from alithis.errors import SourceError
from alithis.forms import hashing
from alithis.forms.form import Form
from alithis.forms.hashing import of_bytes
from alithis.ipfs.cid import Cid
from alithis.manifest import builder, metadata
from alithis.manifest.reader import Manifest
from alithis.manifest.terms import Relation
from alithis.readers import idx_array
from alithis.storage.store import Store
from alithis.verify.target import Target
from helpers.artifacts import build, build_as_given, commitment
from helpers.commands import refused, run, run_json
from helpers.fake_chain import reverting
from helpers.paths import MNIST
from helpers.range_server import serving

PROGRAM = [str(Path(sys.executable).parent / "alithis")]
MODULE = [sys.executable, "-m", "alithis"]
NOBODY = "0x" + "11" * 20
LOWEST = "00" * 32
DEADLINE = 60.0
"""Seconds after which a process that we wait for has hung."""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty working directory, and an environment with only ALITHIS_STORE of our variables."""
    for name in ("ALITHIS_RPC", "ALITHIS_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALITHIS_STORE", str(tmp_path / "store"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def photos(place):
    """A folder of three files in two folders."""
    for name, content in (("cats/a", b"a"), ("cats/b", b"b"), ("dogs/c", b"c")):
        path = place / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place / "photos"


@pytest.fixture
def hashed(photos):
    """The folder with its manifest beside it."""
    run("manifest", photos)
    return Path("photos.alithis")


def process(*args, program=PROGRAM, **options):
    return subprocess.run(
        [*program, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        **options,
    )


def listed():
    return sorted(path.name for path in Path().iterdir())


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


def commands(command=cli.cli, path=("alithis",)):
    """All commands, groups too, with the words that name them."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


EVERY = [pytest.param(path, command, id=" ".join(path)) for path, command in commands()]


class TestHelp:
    @pytest.mark.parametrize(("path", "command"), EVERY)
    def test_help_has_a_summary_and_an_example(self, path, command):
        for option in ("--help", "-h"):
            text = run(*path[1:], option).stdout
            assert text.startswith(f"Usage: {' '.join(path)} ")
            assert re.search(r"^  Examples?:\n    alithis ", text, re.MULTILINE)
            assert not [line for line in text.splitlines() if len(line) > 100]

    @pytest.mark.parametrize(("path", "command"), EVERY)
    def test_help_explains_every_option(self, path, command):
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, param.name

    @pytest.mark.parametrize(("path", "command"), EVERY)
    def test_examples_use_existing_commands_and_options(self, path, command):
        examples = re.findall(r"^ +(alithis .*)$", command.help, re.MULTILINE)
        assert examples
        for example in examples:
            words = shlex.split(re.sub("   .*", "", example).strip())
            named, arguments = find(words)
            options = {
                option for param in named.params for option in param.opts + param.secondary_opts
            }
            assert {word for word in arguments if word.startswith("-")} <= options, example
            assert named.params, example

    def test_prints_the_version(self):
        assert re.fullmatch(r".*, version \d+\.\d+\.\d+\n", run("--version").stdout)

    def test_help_imports_no_slow_library(self):
        result = process("-X", "importtime", *MODULE[1:], "--help", program=MODULE[:1])

        loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
        assert "click" in loaded
        heavy = ("numpy", "pyarrow", "requests", "rich", "PIL", "eth_abi", "loky", "asyncio")
        assert not loaded.intersection(heavy)

    @pytest.mark.parametrize("program", [PROGRAM, MODULE], ids=["alithis", "python -m alithis"])
    def test_runs_as_a_program(self, program):
        result = process("--help", program=program)

        assert (result.returncode, result.stderr) == (0, "")
        assert "Proofs of where a machine-learning model's data came from" in result.stdout


def find(words):
    """Follow words of a command line to the command they name."""
    command, rest = cli.cli, words[1:]
    while isinstance(command, click.Group) and rest:
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


class TestUsage:
    """Every usage error is one line with exit status 2."""

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["manifes"], ". See alithis --help"),
            (["manifest"], "Missing argument 'SOURCE'. See alithis manifest --help"),
            (["manifest", "nowhere"], "Path 'nowhere' does not exist. See alithis manifest --help"),
            (["manifest", ".", "--form", "words"], "'words' is not one of 'bytes', 'pixels'"),
            (
                ["manifest", ".", "-o", "../out", "--mode", "L"],
                "--mode can only be used with --form pixels",
            ),
            (["manifest", ".", "--workers", "0"], "0 is not in the range 1<=x<=256"),
            (["verify", "-x"], ". See alithis verify --help"),
            (
                ["verify", LOWEST],
                "nothing to verify against. Give --manifest DIR or URL, or --rpc URL",
            ),
            (["verify", LOWEST, "--root", LOWEST], "--root and --size go together"),
            (["verify", LOWEST, "--size", "3"], "--root and --size go together"),
            (["verify", LOWEST, "--root", "12", "--size", "3"], "--root: is not 64 hexadecimal"),
            (
                ["verify", LOWEST, "--root", "g" * 64, "--size", "3"],
                "--root: is not 64 hexadecimal",
            ),
            (
                ["verify", LOWEST, "--root", LOWEST, "--size", "3"],
                "alone can check only proof files",
            ),
            (["verify", LOWEST, "--rpc", "http://127.0.0.1"], "--rpc and --registry go together"),
            (["verify", LOWEST, "--token", "0"], "0 is not in the range x>=1"),
            (
                ["verify", "nothing", "--manifest", "."],
                "nothing: there is no such file: give a file, or 64",
            ),
            (["store", "ge"], ". See alithis store --help"),
            (["store", "get", LOWEST], "Missing option '-o' / '--out'"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_a_usage_error_is_one_line(self, args, said):
        assert said in refused(*args)

    def test_chain_options_require_rpc_and_registry(self, hashed):
        for extra in (["--token", "1"], ["--chain", "1"], ["--rpc", "x"], ["--registry", NOBODY]):
            said = refused("verify", LOWEST, "--manifest", hashed, *extra)
            assert "--token needs --rpc and --registry" in said or "go together" in said

    def test_root_cannot_be_used_with_a_chain(self, hashed):
        chain = ["--rpc", "http://127.0.0.1:1", "--registry", NOBODY]
        said = refused("verify", LOWEST, *chain, "--root", LOWEST, "--size", 3)
        assert "can be used with --root" in said

    def test_names_cannot_send_escape_sequences(self, place):
        said = refused("verify", "\x1b[31mred\nnext", "--manifest", ".")
        assert r"\x1b[31mred next: there is no such file" in said


class TestManifest:
    def test_hashes_a_folder(self, hashed, place):
        opened = Manifest.open(hashed)
        data = opened.metadata
        assert (data.name, data.kind, data.size, data.items) == ("photos", "dataset", 3, 3)
        assert list(opened.leaves()) == sorted(map(of_bytes, [b"a", b"b", b"c"]))
        assert listing(place / hashed) == ["items.parquet", "leaves", "metadata.json"]

    def test_prints_counts_and_commitment(self, photos):
        (photos / "cats/again").write_bytes(b"a")
        lines = run("manifest", photos, "-o", "out").stdout.splitlines()

        data = Manifest.open(Path("out")).metadata
        assert re.fullmatch(r"out: 4 data points in \d+\.\d\d s", lines[0])
        assert lines[1:] == [
            "  leaves    3 distinct, 1 repeats",
            f"  root      {data.root.hex()}",
            f"  metadata  {data.digest.hex()}",
            f"  token URI ipfs://f01551220{data.digest.hex()}",
        ]

    def test_prints_json(self, photos):
        printed = run_json("manifest", photos, "-o", "out")

        data = Manifest.open(Path("out")).metadata
        assert printed == {
            "manifest": "out",
            "name": "photos",
            "items": 3,
            "size": 3,
            "root": data.root.hex(),
            "metadata": data.digest.hex(),
            "uri": f"ipfs://f01551220{data.digest.hex()}",
            "skipped": {"count": 0, "names": []},
        }

    def test_the_number_of_workers_does_not_change_the_manifest(self, photos):
        for workers in (1, 2):
            run("manifest", photos, "-o", f"by{workers}", "--workers", workers)
        for name in listing("by1"):
            assert Path("by1", name).read_bytes() == Path("by2", name).read_bytes()

    def test_writes_labels_and_description(self, photos):
        import pyarrow.parquet as pq

        words = ["--name", "Pets", "--description", "Cats and dogs.", "--license", "CC0-1.0"]
        words += ["--creator", "Ann", "--creator", "Bo", "--url", "https://example.org"]
        words += ["--data-version", "1.2", "--citation", "Ann and Bo", "--image", "ipfs://x"]
        run("manifest", photos, "-o", "out", "--label-from-folder", *words)

        document = Manifest.open(Path("out")).metadata.document
        assert document["name"] == "Pets"
        assert document["description"] == "Cats and dogs."
        assert document["license"] == "CC0-1.0"
        assert [creator["name"] for creator in document["creator"]] == ["Ann", "Bo"]
        assert document["url"] == document["external_url"] == "https://example.org"
        assert (document["version"], document["citeAs"]) == ("1.2", "Ann and Bo")
        assert document["image"] == "ipfs://x"
        rows = pq.read_table("out/items.parquet").to_pylist()
        assert {row["path"]: row["label"] for row in rows} == {
            "cats/a": "cats",
            "cats/b": "cats",
            "dogs/c": "dogs",
        }

    @pytest.mark.parametrize("packed", [False, True])
    def test_hashes_an_idx_file_with_labels(self, packed):
        images, labels = idx(np.arange(24, dtype="u1").reshape(2, 3, 4)), idx(np.array([7, 1]))
        write = (lambda data: gzip.compress(data)) if packed else bytes
        suffix = ".gz" if packed else ""
        Path("images" + suffix).write_bytes(write(images))
        Path("labels" + suffix).write_bytes(write(labels))

        printed = run_json("manifest", "images" + suffix, "--labels", "labels" + suffix)

        assert (printed["manifest"], printed["name"]) == ("images.alithis", "images")
        assert Manifest.open(Path("images.alithis")).metadata.form == Form(
            "pixels", "L", width=4, height=3
        )

    def test_hashes_pixels(self, place):
        (place / "scans").mkdir()
        Image.new("RGB", (2, 2), (9, 9, 9)).save("scans/grey.png")
        for mode, samples in (("L", bytes([9] * 4)), ("RGB", bytes([9] * 12))):
            run("manifest", "scans", "-o", mode, "--form", "pixels", "--mode", mode)
            assert list(Manifest.open(Path(mode)).leaves()) == [of_bytes(samples)]
        run("manifest", "scans", "-o", "default", "--form", "pixels")
        assert Manifest.open(Path("default")).metadata.form.mode == "RGB"

    def test_names_the_manifest_of_the_current_folder(self, photos, monkeypatch):
        monkeypatch.chdir(photos)
        assert run_json("manifest", ".", "-o", "../here.alithis")["name"] == "photos"

    def test_replaces_an_existing_manifest_only_with_force(self, hashed, photos):
        before = (hashed / "metadata.json").read_bytes()
        (photos / "new").write_bytes(b"new")

        said = refused("manifest", photos)
        assert said == (
            "Error: photos.alithis: already exists; "
            "replace it with --force (in Python: replace=True)\n"
        )
        assert (hashed / "metadata.json").read_bytes() == before

        assert run_json("manifest", photos, "--force")["items"] == 4

    def test_never_replaces_a_folder_that_is_not_a_manifest(self, photos, place):
        (place / "notes").mkdir()
        (place / "notes" / "text").write_text("mine")

        said = refused("manifest", photos, "-o", "notes", "--force")

        assert "notes: exists and is not a manifest" in said
        assert (place / "notes" / "text").read_text() == "mine"

    def test_refuses_to_write_inside_the_source(self, photos):
        for inside in ("photos/out", "photos/cats/../out"):
            said = refused("manifest", "photos", "-o", inside, "--force")
            assert f"{inside} is inside photos and would become part of it" in said
        said = refused("manifest", "photos", "-o", "photos", "--force")
        assert "-o photos: the output folder is the source" in said
        assert listing(photos) == ["cats", "cats/a", "cats/b", "dogs", "dogs/c"]

    def test_refuses_to_replace_a_folder_that_contains_the_source(self, hashed):
        (hashed / "data").mkdir()
        (hashed / "data" / "precious").write_bytes(b"one of its kind")

        said = refused("manifest", hashed / "data", "-o", hashed, "--force")

        assert "photos.alithis: exists and is not a manifest" in said
        assert (hashed / "data" / "precious").exists()

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (lambda path: path.mkdir(), "source: contains no files"),
            (
                lambda path: path.write_bytes(b"text"),
                "source: unknown type of file; name it with --type",
            ),
            (lambda path: path.write_bytes(idx(np.zeros((2, 2)))[:-1]), "cut short or damaged"),
            (lambda path: path.write_bytes(b"\x1f\x8bgzip"), "damaged gzip data"),
            (lambda path: loop(path), "leads back to a folder above it"),
            (lambda path: fifo(path), "source/pipe: not a regular file"),
            (lambda path: dangling(path), "No such file or directory"),
            (lambda path: foreign_name(path), "the name is not UTF-8; rename it"),
        ],
        ids=["empty", "text", "cut", "gzip", "loop", "fifo", "dangling", "name"],
    )
    def test_refuses_a_source_that_cannot_be_read(self, place, make, said):
        make(place / "source")
        before = listing(place)

        assert said in refused("manifest", "source", "-o", "out")
        assert listing(place) == before

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (
                ["photos", "--labels", "photos/cats/a"],
                "the option labels does not apply to the type folder",
            ),
            (["photos/cats/a", "--label-from-folder"], "unknown type of file"),
            (["photos", "--form", "pixels"], "not an image that can be decoded"),
            (["photos/cats/a", "--type", "idx"], "not an IDX file of unsigned bytes"),
            (
                ["photos/cats/a", "--type", "idx", "--form", "pixels"],
                "the option form does not apply to the type idx",
            ),
            (["photos", "--name", "two\nlines"], "name must be 1 to 200 printable characters"),
            (["photos", "--description", "x" * (300 << 10)], "at most 262144 are allowed"),
        ],
    )
    def test_refuses_invalid_options(self, photos, place, args, said):
        before = listing(place)

        assert said in refused("manifest", *args, "-o", "out")
        assert listing(place) == before

    @pytest.mark.parametrize("out", ["file/out", "file"])
    def test_reports_a_target_that_cannot_be_written(self, photos, place, out):
        (place / "file").write_text("mine")
        said = refused("manifest", photos, "-o", out)

        assert ("cannot be written" in said) or ("is not a manifest" in said)
        assert (place / "file").read_text() == "mine"
        assert not [name for name in listing(place) if "partial" in name]

    def test_creates_the_targets_parent_folder(self, photos):
        run("manifest", photos, "-o", "new/folder/out")
        assert Path("new/folder/out/metadata.json").is_file()


def idx(values):
    """An IDX file of unsigned bytes."""
    values = np.asarray(values, "u1")
    shape = b"".join(axis.to_bytes(4, "big") for axis in values.shape)
    return bytes([0, 0, 8, values.ndim]) + shape + values.tobytes()


def loop(path):
    path.mkdir()
    (path / "self").symlink_to(path)


def fifo(path):
    path.mkdir()
    os.mkfifo(path / "pipe")


def dangling(path):
    path.mkdir()
    (path / "link").symlink_to("nowhere")


def foreign_name(path):
    path.mkdir()
    Path(os.fsdecode(bytes(path) + b"/\xff")).write_bytes(b"x")


# Coverage, when it measures, has something to say on the standard error of each forked worker.
ALONE = ("--workers", "1")


class TestProgress:
    @pytest.fixture
    def photos(self, photos):
        """Files too long to be guessed, so that no privacy advice is printed."""
        for path in photos.rglob("?"):
            path.write_bytes(path.read_bytes() * 100)
        return photos

    def test_shows_a_bar_on_a_terminal(self, photos):
        output, result = on_terminal("manifest", "photos", "-o", "out", *ALONE)

        assert result.returncode == 0
        assert "hashing" in output
        assert "3 of 3 data points" in output
        assert output.rstrip().endswith("\x1b[2K"), "the bar is gone in the end"
        assert output.count("\x1b[?25l") == output.count("\x1b[?25h"), "and the cursor is back"
        assert "data points in" in result.stdout
        assert "hashing" not in result.stdout

    def test_removes_the_bar_before_an_error(self, photos):
        (photos / "cats/a").unlink()
        (photos / "cats/a").symlink_to("/proc/self/mem")
        output, result = on_terminal("manifest", "photos", "-o", "out", *ALONE)

        assert result.returncode == 2
        assert output.count("\x1b[?25l") == output.count("\x1b[?25h")
        assert "Error: photos/cats/a: cannot be read" in output.splitlines()[-1]

    def test_does_not_import_pandas(self, photos):
        """Arrow imports pandas if it is installed, which takes longer than the work itself."""
        program = (
            "import sys; from alithis.cli import cli; cli(sys.argv[1:], standalone_mode=False)"
        )
        program += "; assert 'numpy' in sys.modules; assert 'pandas' not in sys.modules"
        for arguments in (("manifest", "photos", "-o", "out", *ALONE), ("audit", "out")):
            subprocess.run([sys.executable, "-c", program, *arguments], check=True)

    def test_logs_no_progress_of_quick_work(self, photos):
        result = process("manifest", "photos", "-o", "out", *ALONE)

        assert (result.returncode, result.stderr) == (0, "")

    def test_logs_progress_of_long_work(self, photos, monkeypatch):
        clock = iter(range(0, 1000, 6))
        monkeypatch.setattr(terminal, "time", SimpleNamespace(monotonic=clock.__next__))
        for number in range(40):
            (photos / f"{number:02}").write_bytes(b"%099d" % number)

        lines = run("manifest", photos, "--workers", 1).stderr.splitlines()

        assert len(lines) > 2
        state = r"\d+ of 43 data points, \d+ a second, 0:\d\d:\d\d left"
        assert all(
            re.fullmatch(f"hashing: {state}", line) for line in lines if line.startswith("hashing:")
        )


def on_terminal(*args):
    """Run the program with a terminal as its standard error; returns what that showed."""
    ours, theirs = pty.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        result = subprocess.run(
            [*PROGRAM, *args],
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
            timeout=DEADLINE,
            env=environment,
            check=False,
        )
    finally:
        os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:  # Linux says so at the end of a terminal
        pass
    os.close(ours)
    return shown.decode(), result


class TestInterruption:
    @pytest.mark.parametrize("workers", ["1", "2"])
    @pytest.mark.parametrize(
        ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
    )
    def test_an_interrupted_run_leaves_no_processes_or_files(self, place, number, status, workers):
        (place / "source").mkdir()
        for name in ("a", "b"):  # sparse: nothing on the disk, and many seconds to hash
            with (place / "source" / name).open("wb") as file:
                file.truncate(16 << 30)
        command = [*PROGRAM, "manifest", "source", "-o", "out", "--workers", workers]
        running = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            wait_for(lambda: reads(running.pid, place / "source" / "a"))
            os.killpg(running.pid, number)
            _, errors = running.communicate(timeout=DEADLINE)
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()

        assert running.returncode == status
        assert "Traceback" not in errors
        assert listing(place) == ["source", "source/a", "source/b"]
        assert not members(running.pid)

    def test_an_interruption_while_writing_leaves_no_folder(self, photos, place, monkeypatch):
        """The folder that would have become the manifest is removed."""
        seen = []

        def interrupted(*_):
            seen.extend(listing(place))
            raise KeyboardInterrupt

        monkeypatch.setattr(builder, "flush", interrupted)
        before = listing(place)

        result = run("manifest", photos, "-o", "out", status=130)

        assert result.stderr == "Error: interrupted\n"
        assert any("partial" in name for name in seen)
        assert listing(place) == before


def reads(pid, path):
    """Whether a process of a session has a file open."""
    for member in members(pid):
        try:
            if any(link.resolve() == path for link in Path(f"/proc/{member}/fd").iterdir()):
                return True
        except OSError:  # it ended
            continue
    return False


def members(session):
    """The processes of a session, but for those that ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


class TestProve:
    @pytest.mark.parametrize("target", ["photos/cats/a", of_bytes(b"a").hex()])
    def test_proves_inclusion(self, hashed, target):
        result = run("prove", hashed, target, "-o", "proof.json")
        assert result.stdout == f"proof.json: proof of inclusion, leaf {of_bytes(b'a').hex()}\n"

        data = Manifest.open(hashed).metadata
        checked = run("verify", "proof.json", "--root", data.root.hex(), "--size", data.size)
        assert "included, at index" in checked.stdout

    def test_proves_absence(self, hashed):
        result = run("prove", hashed, LOWEST, "-o", "proof.json")
        assert result.stdout == f"proof.json: proof of absence, leaf {LOWEST}\n"

        data = Manifest.open(hashed).metadata
        arguments = ["proof.json", "--root", "0x" + data.root.hex(), "--size", data.size]
        alone = run("verify", *arguments, status=2).stdout
        assert "FAIL leaf       a proof of absence shows nothing without" in alone
        assert alone.endswith("give --manifest\n")
        said = run("verify", *arguments, "--manifest", hashed, status=1).stdout
        assert "absent from the committed 3 leaves" in said
        assert "; the leaves are digests in the canonical form bytes\n" in said

    def test_refuses_absence_from_leaves_out_of_order(self, place):
        leaves = sorted(of_bytes(b"%d" % number) for number in range(6))
        build_as_given(place / "hiding.alithis", [leaves[3], *leaves[:3], *leaves[4:]])
        absent = ["hiding.alithis", of_bytes(b"x").hex()]

        said = refused("prove", *absent, "-o", "proof.json")
        assert "not found, but the leaves are out of order at 0 and 1" in said
        assert "run alithis audit" in said
        assert not Path("proof.json").exists()
        checked = run("verify", absent[1], "--manifest", absent[0], status=2).stdout
        assert "FAIL position   not found, but the leaves are out of order at 0 and 1" in checked
        found = run("verify", leaves[3].hex(), "--manifest", absent[0]).stdout
        assert "included, at index 0 of 6" in found

    def test_prints_the_proof_without_out(self, hashed):
        printed = json.loads(run("prove", hashed, LOWEST).stdout)

        assert printed["alithis"] == "proof"
        assert printed["about"] == {
            "name": "photos",
            "metadata": Manifest.open(hashed).metadata.digest.hex(),
        }

    def test_a_proof_names_its_subject(self, hashed):
        names = ["--chain", 314159, "--registry", NOBODY, "--token", 7]
        about = json.loads(run("prove", hashed, LOWEST, *names).stdout)["about"]

        assert (about["chain"], about["registry"], about["token"]) == (314159, NOBODY, 7)

    def test_replaces_an_existing_proof_file_atomically(self, hashed, place):
        run("prove", hashed, of_bytes(b"a").hex(), "-o", "proof.json")
        run("prove", hashed, LOWEST, "-o", "proof.json")

        assert json.loads((place / "proof.json").read_text())["leaf"] == LOWEST
        assert not [name for name in listing(place) if "partial" in name]

    def test_refuses_what_cannot_be_proved(self, hashed, place):
        run("prove", hashed, LOWEST, "-o", "proof.json")

        assert "proof.json is already a proof file" in refused("prove", hashed, "proof.json")
        assert "registry must be an address" in refused(
            "prove", hashed, LOWEST, "--registry", "0x12"
        )
        assert "nowhere: there is no such file" in refused("prove", hashed, "nowhere")
        said = refused("prove", hashed, LOWEST, "-o", "no/proof.json")
        assert said == "Error: no/proof.json: cannot be written: No such file or directory\n"
        assert "check that photos is a manifest" in refused("prove", "photos", LOWEST)

    def test_refuses_a_manifest_with_altered_leaves(self, hashed):
        (hashed / "leaves").write_bytes(bytes(96))

        assert "alithis audit" in refused("prove", hashed, of_bytes(b"a").hex(), "-o", "out.json")
        assert not Path("out.json").exists()


class TestVerifyOffline:
    def test_reports_included(self, hashed):
        lines = run("verify", "photos/cats/a", "--manifest", hashed).stdout.splitlines()

        assert lines[0] == "photos/cats/a"
        assert re.fullmatch(r"photos: included, at index \d of 3", lines[1])
        assert [line[:17] for line in lines[2:]] == [
            "  ok   record    ",
            "  ok   metadata  ",
            "  ok   commitment",
            "  ok   leaf      ",
            "  ok   position  ",
            "  ok   path      ",
        ]

    def test_reports_absent(self, hashed):
        Path("other").write_bytes(b"other")
        result = run("verify", "other", "--manifest", hashed, status=1)

        assert "photos: absent from the committed 3 leaves" in result.stdout

    def test_prints_json(self, hashed):
        data = Manifest.open(hashed).metadata
        (result,) = run_json("verify", of_bytes(b"a").hex(), "--manifest", hashed)["results"]

        steps = result.pop("steps")
        assert {tuple(step) for step in steps} == {("step", "ok", "detail")}
        assert all(step["ok"] is True for step in steps)
        assert result == {
            "name": "photos",
            "kind": "dataset",
            "token": None,
            "verdict": "included",
            "index": list(Manifest.open(hashed).leaves()).index(of_bytes(b"a")),
            "size": 3,
            "root": data.root.hex(),
            "marks": [],
            "notes": [],
            "models": [],
        }

    def test_compares_with_a_given_root_and_size(self, hashed):
        data = Manifest.open(hashed).metadata
        arguments = ["verify", LOWEST, "--manifest", hashed, "--size", 3, "--root"]

        assert run_json(*arguments, data.root.hex(), status=1)["results"][0]["verdict"] == "absent"
        (result,) = run_json(*arguments, LOWEST, status=2)["results"]
        assert result["verdict"] == "unverifiable"
        assert result["steps"][-1]["step"] == "commitment"
        assert result["steps"][-1]["ok"] is False

    def test_verifies_against_several_manifests(self, hashed, place):
        build(place / "texts", [b"t"])
        arguments = ["--manifest", hashed, "--manifest", "texts"]

        both = run_json("verify", of_bytes(b"t").hex(), *arguments)["results"]
        assert [(one["name"], one["verdict"]) for one in both] == [
            ("photos", "absent"),
            ("texts", "included"),
        ]

    def test_altered_leaves_are_unverifiable(self, hashed):
        (hashed / "leaves").write_bytes(bytes(96))
        result = run("verify", "photos/cats/a", "--manifest", hashed, status=2)

        assert "photos: unverifiable: could not check\n" in result.stdout
        assert "\n  FAIL position   " in result.stdout

    def test_refuses_a_truncated_proof_file(self, hashed):
        """It must not be read as a data point, which would be absent."""
        run("prove", hashed, of_bytes(b"a").hex(), "-o", "proof.json")
        whole = Path("proof.json").read_bytes()
        for length in (30, len(whole) // 2, len(whole) - 2):
            Path("proof.json").write_bytes(whole[:length])
            said = refused("verify", "proof.json", "--manifest", hashed)
            assert said.startswith("Error: proof.json: looks like a damaged proof file")

    @pytest.mark.parametrize(
        ("encoding", "said"),
        [
            ("utf-8-sig", "a proof file with a byte order mark: save it as UTF-8 without one"),
            ("utf-16", "a proof file in UTF-16: save it as UTF-8"),
            ("utf-16-be", "a proof file in UTF-16: save it as UTF-8"),
            ("utf-32", "a proof file in UTF-32: save it as UTF-8"),
        ],
    )
    def test_refuses_a_proof_file_in_another_encoding(self, hashed, encoding, said):
        """PowerShell writes UTF-16. As a data point it would be absent."""
        run("prove", hashed, of_bytes(b"a").hex(), "-o", "proof.json")
        text = Path("proof.json").read_text()
        Path("proof.json").write_text(text, encoding=encoding)
        assert f"proof.json: looks like {said}; if" in refused(
            "verify", "proof.json", "--manifest", hashed
        )

    def test_refuses_a_malformed_proof_file(self, hashed):
        Path("proof.json").write_text('{"alithis": "proof", "version": 1}')
        said = refused("verify", "proof.json", "--manifest", hashed)

        assert said == "Error: proof: leaf must be 64 lower-case hexadecimal digits\n"

    def test_refuses_a_folder_without_a_manifest(self, photos):
        said = refused("verify", LOWEST, "--manifest", "photos")

        assert said.endswith("No such file or directory; check that photos is a manifest\n")

    def test_refuses_an_unknown_format_version(self, hashed):
        path = hashed / "metadata.json"
        path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 9', 1))

        said = refused("verify", LOWEST, "--manifest", hashed)
        assert "format version 9; this release reads version 1: upgrade alithis" in said

    def test_a_manifests_name_cannot_send_escape_sequences(self, hashed):
        path = hashed / "metadata.json"
        path.write_bytes(path.read_bytes().replace(b'"photos"', b'"\\u001b[31m"'))

        said = refused("verify", LOWEST, "--manifest", hashed)
        assert said.endswith(
            ": metadata.json: name must be 1 to 200 printable characters, on one line\n"
        )

    @pytest.mark.parametrize("name", ["-cat", "--help", "-"])
    def test_accepts_a_target_that_looks_like_an_option(self, photos, place, name):
        (place / name).write_bytes(b"a")
        run("manifest", photos)

        assert "included" in run("verify", "--manifest", "photos.alithis", "--", name).stdout
        assert "included" in run("verify", f"./{name}", "--manifest", "photos.alithis").stdout

    def test_accepts_a_target_whose_name_is_not_utf8(self, hashed):
        name = b"\xff\n\x1b[31m"
        Path(os.fsdecode(name)).write_bytes(b"a")
        result = process("verify", name.decode(errors="surrogateescape"), "--manifest", hashed)

        assert result.returncode == 0
        assert result.stdout.startswith("\\udcff\\n\\x1b[31m\nphotos: included")

    def test_verifies_a_digest_although_a_file_has_its_name(self, hashed):
        Path(LOWEST).write_bytes(b"a")

        assert "included" in run("verify", LOWEST, "--manifest", hashed).stdout


class TestVerifyMnist:
    """A PNG file of an image that was hashed as the row of an IDX file."""

    @pytest.fixture(scope="class")
    def images(self):
        return idx_array(MNIST / "t10k-images-idx3-ubyte")

    @pytest.fixture(scope="class")
    def mnist(self, tmp_path_factory):
        out = tmp_path_factory.mktemp("mnist") / "test"
        labels = MNIST / "t10k-labels-idx1-ubyte"
        printed = run_json(
            "manifest", MNIST / "t10k-images-idx3-ubyte", "--labels", labels, "-o", out
        )
        assert printed["items"] == 10_000
        return out

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    @pytest.mark.parametrize("index", [0, 4321, 9999])
    def test_png_of_a_hashed_image_is_included(self, mnist, images, index, mode):
        Image.fromarray(images[index]).convert(mode).save("image.png")
        (result,) = run_json("verify", "image.png", "--manifest", mnist)["results"]

        assert result["verdict"] == "included"
        assert of_bytes(images[index].tobytes()).hex() in result["steps"][3]["detail"]

    def test_png_with_a_palette_is_included(self, mnist, images):
        image = Image.fromarray(images[17]).convert("P", palette=Image.Palette.ADAPTIVE)
        image.save("image.png")
        assert Image.open("image.png").mode == "P"

        assert "included" in run("verify", "image.png", "--manifest", mnist).stdout

    def test_a_drawing_is_absent(self, mnist):
        drawing = np.zeros((28, 28), "u1")
        drawing[5:8, 8:20] = drawing[8:23, 17:20] = 255
        Image.fromarray(drawing).save("drawing.png")
        result = run("verify", "drawing.png", "--manifest", mnist, status=1)

        assert "absent from the committed 10000 leaves" in result.stdout

    def test_a_coloured_image_is_not_the_grey_one(self, mnist, images):
        coloured = np.stack([images[0]] * 3, axis=2)
        coloured[14, 14] = (200, 0, 0)
        Image.fromarray(coloured).save("image.png")
        result = run("verify", "image.png", "--manifest", mnist, status=2)

        assert "FAIL leaf       image.png: the image is RGB and cannot become L without loss" in (
            result.stdout
        )


@pytest.fixture(scope="module")
def on_chain(upstream, owner, accounts, tmp_path_factory):
    """A registry behind an RPC endpoint: 1 letters, 2 words, 3 a model trained on 1."""
    folder = tmp_path_factory.mktemp("minted")
    letters = build(folder / "letters", [b"a", b"b", b"c"])
    words = build(folder / "words", [b"one", b"two"])
    model = build(folder / "model", [b"weights"], kind="model")
    store = Store(folder / "store")
    for name in ("letters", "words", "model"):
        store.put_manifest(folder / name)
    registry = upstream.deploy()
    trained = [(1, Relation.TRAINED_ON.number)]
    for mint, manifest, links, sender in (
        (registry.mintDataset, letters, [], owner),
        (registry.mintDataset, words, [], owner),
        (registry.mintModel, model, trained, accounts[1]),
    ):
        mint(commitment(manifest.metadata), links, sender=sender)
    return SimpleNamespace(
        url=upstream.uri,
        address=registry.address,
        folder=folder,
        options=["--rpc", upstream.uri, "--registry", registry.address],
        store=["--store", str(store.root)],
        builder=accounts[1].address,
    )


class TestVerifyOnChain:
    def test_verifies_against_all_tokens(self, on_chain):
        target = of_bytes(b"a").hex()
        results = run_json("verify", target, *on_chain.options, *on_chain.store)["results"]

        assert [(one["token"], one["name"], one["kind"], one["verdict"]) for one in results] == [
            (1, "letters", "dataset", "included"),
            (2, "words", "dataset", "absent"),
            (3, "model", "model", "absent"),
        ]
        assert results[0]["models"] == [
            {
                "token": 3,
                "name": "model",
                "relation": "trained_on",
                "grade": "stated",
                "publisher": on_chain.builder,
                "transcript": None,
            }
        ]
        assert results[1]["models"] == results[2]["models"] == []

    def test_prints_text(self, on_chain):
        Path("letter").write_bytes(b"a")
        text = run("verify", "letter", *on_chain.options, *on_chain.store, "--token", 1).stdout

        assert "letters (token 1): included, at index" in text
        assert f"token 1 of registry {on_chain.address} on chain 314159, published by 0x" in text
        assert (
            f"  model model (token 3): trained_on, stated by its publisher {on_chain.builder}\n"
        ) in text

    def test_verifies_against_chosen_tokens(self, on_chain):
        chosen = ["--token", 2, "--token", 1, "--chain", 314159]
        options = [*on_chain.options, *on_chain.store, *chosen]

        both = run_json("verify", of_bytes(b"one").hex(), *options)["results"]
        assert [one["token"] for one in both] == [2, 1]
        absent = run_json("verify", LOWEST, *options, status=1)["results"]
        assert [one["verdict"] for one in absent] == ["absent", "absent"]

    def test_reads_a_tokens_manifest_from_a_url(self, on_chain, place):
        """Its metadata must have the SHA-256 that the token commits to, wherever it is."""
        shutil.copytree(on_chain.folder / "letters", place / "altered")
        path = place / "altered" / "metadata.json"
        path.write_bytes(path.read_bytes().replace(b'"letters"', b'"lettuce"'))
        options = ["verify", of_bytes(b"a").hex(), *on_chain.options, "--token", 1, "--store", "x"]

        with serving(on_chain.folder) as server:
            (found,) = run_json(*options, "--manifest", f"{server.url}/letters")["results"]
        assert (found["verdict"], found["name"]) == ("included", "letters")
        assert found["steps"][1]["detail"].endswith("as committed")
        with serving(place) as server:
            places = ["--manifest", f"{server.url}/altered", "--manifest", f"{server.url}/no"]
            told = run(*options, *places, "--json", status=2)
        assert not told.stdout
        assert "lettuce: none of the 1 tokens that would be compared commits to" in told.stderr
        with serving(place) as server:
            places = ["--manifest", f"{server.url}/no", "--manifest", on_chain.folder / "letters"]
            found, missed = run_json(*options, *places)["results"]
        assert (found["verdict"], missed["verdict"]) == ("included", "unverifiable")
        assert missed["steps"][-1]["detail"].startswith("server 127.0.0.1:")

    def test_a_named_manifest_of_no_token_is_not_left_out(self, on_chain, hashed):
        """The options may be environment variables, which the user has forgotten."""
        target = of_bytes(b"no").hex()
        environment = {"ALITHIS_RPC": on_chain.options[1], "ALITHIS_REGISTRY": on_chain.address}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            said = refused("verify", target, *on_chain.store, "--manifest", hashed)
            assert said.startswith("Error: photos: none of the 3 tokens that would be compared")
            words = ["--manifest", on_chain.folder / "words"]
            assert "--token" not in refused("verify", target, "--token", 1, *words)
            run("verify", target, *on_chain.store, *words, status=1)

    def test_prove_refuses_a_token_of_other_metadata(self, on_chain, hashed):
        words = on_chain.folder / "words"
        said = refused("prove", words, LOWEST, "--token", 1, *on_chain.options)
        assert said.startswith("Error: --token 1: commits to metadata ")
        about = json.loads(run("prove", words, LOWEST, "--token", 2, *on_chain.options).stdout)
        assert (about["about"]["token"], about["about"]["chain"]) == (2, 314159)
        options = [*on_chain.options, *on_chain.store]
        said = refused("prove", 2, LOWEST, "--token", 1, *options)
        assert said.startswith("Error: --token 1: the proof is from token 2")

    def test_prove_refuses_absence_of_a_disordered_token(self, on_chain, monkeypatch):
        record = Registry.record

        def disordered(*args):
            return replace(record(*args), disordered=True)

        monkeypatch.setattr(Registry, "record", disordered)
        options = [*on_chain.options, *on_chain.store]
        for place in ([2], [on_chain.folder / "words", "--token", 2]):
            said = refused("prove", *place, LOWEST, *options)
            assert "not found, but token 2 was proved to be out of order" in said
            run("prove", *place, of_bytes(b"one").hex(), *options)

    def test_reads_a_tokens_manifest_from_a_folder(self, on_chain):
        options = [*on_chain.options, "--token", 1]

        (result,) = run_json("verify", LOWEST, *options, status=2)["results"]
        assert result["verdict"] == "unverifiable"
        assert (
            "give its folder with --manifest, or add it with `alithis store put`"
            in result["steps"][-1]["detail"]
        )

        at_hand = ["--manifest", on_chain.folder / "letters"]
        (result,) = run_json("verify", LOWEST, *options, *at_hand, status=1)["results"]
        assert result["verdict"] == "absent"

    def test_reads_chain_options_from_the_environment(self, on_chain, monkeypatch):
        monkeypatch.setenv("ALITHIS_RPC", on_chain.url)
        monkeypatch.setenv("ALITHIS_REGISTRY", on_chain.address)
        monkeypatch.setenv("ALITHIS_STORE", on_chain.store[1])

        result = process("verify", of_bytes(b"two").hex(), "--token", 2, program=MODULE)
        assert result.returncode == 0
        assert "words (token 2): included" in result.stdout

    def test_a_given_root_overrides_the_environment(self, on_chain, monkeypatch):
        monkeypatch.setenv("ALITHIS_RPC", "http://127.0.0.1:1")
        monkeypatch.setenv("ALITHIS_REGISTRY", on_chain.address)
        data = Manifest.open(on_chain.folder / "letters").metadata
        arguments = ["--manifest", on_chain.folder / "letters", "--root", data.root.hex()]

        result = run("verify", of_bytes(b"a").hex(), *arguments, "--size", 3)
        assert "root and size as given" in result.stdout

    def test_verifies_a_proof_file(self, on_chain):
        names = ["--registry", on_chain.address, "--chain", 314159, "--token", 1]
        letters = on_chain.folder / "letters"
        run("prove", letters, of_bytes(b"b").hex(), "-o", "proof.json", *names)

        result = run("verify", "proof.json", *on_chain.options)
        assert "unnamed (token 1): included" in result.stdout

        result = run("verify", "proof.json", *on_chain.options, "--token", 2, status=2)
        assert "FAIL metadata   the proof file's token: expected 2, found 1" in result.stdout

    def test_finds_the_token_of_a_proof_file_by_its_metadata(self, on_chain):
        run("prove", on_chain.folder / "words", LOWEST, "-o", "proof.json")

        options = [*on_chain.options, *on_chain.store]
        (result,) = run_json("verify", "proof.json", *options, status=1)["results"]
        assert (result["token"], result["verdict"]) == (2, "absent")

    def test_says_that_nothing_was_checked_in_an_empty_registry(self, upstream):
        options = ["--rpc", upstream.uri, "--registry", upstream.deploy().address]

        result = run("verify", LOWEST, *options, status=2)
        assert "nothing was checked: the registry has no tokens" in result.stdout
        assert run_json("verify", LOWEST, *options, status=2)["results"] == []

    def test_reports_a_node_that_does_not_answer(self, on_chain):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            url = f"http://127.0.0.1:{port}/?key=0123456789abcdef"
            said = refused("verify", LOWEST, "--rpc", url, "--registry", on_chain.address)
        assert (
            said
            == f"Error: RPC endpoint 127.0.0.1:{port} cannot be reached, or closed the connection\n"
        )

    def test_refuses_a_malformed_rpc_url(self, on_chain):
        said = refused("verify", LOWEST, "--rpc", "nonsense", "--registry", on_chain.address)
        assert "URL is not http://HOST" in said

    def test_refuses_a_node_of_another_chain(self, on_chain):
        said = refused("verify", LOWEST, *on_chain.options, "--chain", 314)
        assert "the RPC endpoint serves chain 314159, not 314" in said

    def test_refuses_an_address_without_a_contract(self, on_chain):
        said = refused("verify", LOWEST, "--rpc", on_chain.url, "--registry", NOBODY)
        assert f"{NOBODY} on chain 314159: there is no contract" in said

    def test_refuses_a_contract_that_is_not_a_registry(self, on_chain, upstream):
        other = "0x" + "22" * 20
        upstream.codes[other] = reverting
        said = refused("verify", LOWEST, "--rpc", on_chain.url, "--registry", other)
        assert "the contract is not an Alithis registry" in said

    @pytest.mark.parametrize("address", ["0x12", "registry", "0x" + "zz" * 20])
    def test_refuses_a_malformed_address(self, on_chain, address):
        said = refused("verify", LOWEST, "--rpc", on_chain.url, "--registry", address)
        assert "is not an address" in said

    def test_refuses_an_unknown_token(self, on_chain):
        said = refused("verify", LOWEST, *on_chain.options, "--token", 99)
        assert said == "Error: the registry has no token 99\n"


class TestResuming:
    @pytest.fixture
    def broken_off(self, photos, monkeypatch):
        """A run that was interrupted after two of three files, and had time to keep them."""
        work, left = hashing._of_run, iter(range(2))

        def interrupted(run):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return work(run)

        with monkeypatch.context() as context:
            context.setattr("alithis.manifest.sorter._PATIENCE", -1.0)
            context.setattr(hashing, "_of_run", interrupted)
            result = run("manifest", photos, "-o", "out", *ALONE, status=130)
        assert result.stderr.splitlines() == [
            "2 data points are kept; run the same command to resume",
            "Error: interrupted",
        ]
        assert listed() == [".out.work", "photos"]
        return photos

    def test_the_same_command_resumes(self, broken_off):
        result = run("manifest", broken_off, "-o", "out", *ALONE)
        said = "resuming after 2 data points of an interrupted run"
        assert result.stderr.splitlines()[0] == said
        run("manifest", broken_off, "-o", "whole", *ALONE)
        for name in ("leaves", "items.parquet"):
            assert (Path("out") / name).read_bytes() == (Path("whole") / name).read_bytes()
        assert listed() == ["out", "photos", "whole"]

    def test_restart_begins_again(self, broken_off):
        result = run("manifest", broken_off, "-o", "out", "--restart", *ALONE)
        assert "broken off" not in result.stderr
        assert listed() == ["out", "photos"]

    def test_refuses_to_resume_a_changed_source(self, broken_off):
        (broken_off / "more").write_bytes(b"more")
        result = run("manifest", broken_off, "-o", "out", *ALONE)
        assert "has a different source, form, option or version: starting again" in result.stderr
        assert Manifest.open(Path("out")).metadata.items == 4


class TestAuditWithSource:
    def test_passes_if_the_source_is_unchanged(self, hashed, photos):
        lines = run("audit", hashed, "--source", photos).stdout.splitlines()
        assert lines[-1] == (
            "  ok   source        3 data points, equal to the manifest's items in the columns that "
            "both have"
        )

    def test_counts_changed_missing_and_added_data_points(self, hashed, photos):
        changed, gone, *_ = sorted(path for path in photos.rglob("*") if path.is_file())
        changed.write_bytes(b"other")
        gone.unlink()
        (photos / "new").write_bytes(b"new")
        lines = run("audit", hashed, "--source", photos, status=2).stdout.splitlines()
        names = [path.relative_to(photos).as_posix() for path in (gone, changed)]
        detail = f"1 missing from the source: {names[0]}; 1 not in the manifest: new; "
        detail += f"1 changed: {names[1]}"
        assert lines[-1] == f"  FAIL source        {detail}"

    def test_compares_an_idx_file_with_labels(self, place):
        header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 2, 2))
        Path("images").write_bytes(header + bytes(range(8)))
        Path("labels").write_bytes(b"\0\0\x08\x01\0\0\0\2\7\10")
        run("manifest", "images", "--labels", "labels", "-o", "out")
        run("audit", "out", "--source", "images", "--labels", "labels")
        Path("labels").write_bytes(b"\0\0\x08\x01\0\0\0\2\7\7")
        broken = run("audit", "out", "--source", "images", "--labels", "labels", status=2)
        assert "1 changed: images#1" in broken.stdout

    def test_checks_metadata_with_mlcroissant(self, hashed):
        run("audit", hashed, "--croissant")

    def test_reading_options_require_a_source(self, hashed):
        assert "require --source" in refused("audit", hashed, "--label-from-folder")

    def test_compares_a_column(self, place):
        lines = [json.dumps({"text": word, "n": at}) for at, word in enumerate(("a", "b", "c"))]
        Path("corpus.jsonl").write_text("\n".join(lines))
        run("manifest", "corpus.jsonl", "--column", "text", "-o", "out")
        run("audit", "out", "--source", "corpus.jsonl", "--column", "text")
        Path("corpus.jsonl").write_text("\n".join(lines[:2]))
        broken = run("audit", "out", "--source", "corpus.jsonl", "--column", "text", status=2)
        assert "1 missing from the source: corpus.jsonl#2" in broken.stdout


class TestAudit:
    def test_passes_a_sound_manifest(self, hashed):
        lines = run("audit", hashed).stdout.splitlines()

        assert lines[0] == "photos.alithis: sound"
        assert all(line.startswith("  ok   ") for line in lines[1:])
        printed = run_json("audit", hashed)
        assert printed["ok"] is True
        assert [step["step"] for step in printed["steps"]][:3] == [
            *("metadata", "document", "items.parquet")
        ]

    def test_fails_a_broken_manifest(self, hashed):
        (hashed / "leaves").write_bytes(bytes(96))

        text = run("audit", hashed, status=2).stdout
        assert text.startswith("photos.alithis: BROKEN\n")
        assert "\n  FAIL leaves        " in text
        assert run_json("audit", hashed, status=2)["ok"] is False

    def test_accepts_withheld_items_only_with_withheld(self, hashed):
        (hashed / "items.parquet").unlink()

        assert "items.parquet: missing" in run("audit", hashed, status=2).stdout
        assert "sound" in run("audit", hashed, "--withheld").stdout

    def test_refuses_a_folder_without_a_manifest(self, photos):
        assert "check that photos is a manifest" in run("audit", "photos", status=2).stdout
        assert "photos/cats/a: is a file; give a manifest's folder" in refused(
            "audit", "photos/cats/a"
        )


class TestStore:
    def test_puts_and_gets_a_manifest(self, hashed):
        data = Manifest.open(hashed).metadata
        cid = Cid.raw(data.digest)

        assert run("store", "put", hashed).stdout == f"photos.alithis: stored as {cid}\n"
        listed = run("store", "ls").stdout
        assert listed.split() == [
            *(str(cid), "dataset", "3", "leaves"),
            *(f"{sum(map(size, listing(hashed))):,}", "bytes", "photos"),
        ]
        for number, reference in enumerate(
            [cid, cid.uri, "ipfs://" + cid.base16, data.digest.hex(), "0x" + data.digest.hex()]
        ):
            out = f"out{number}"
            assert run("store", "get", reference, "-o", out).stdout == f"{out}: written\n"
            assert listing(out) == listing(hashed)
            assert "sound" in run("audit", out).stdout

    def test_prints_json(self, hashed):
        data = Manifest.open(hashed).metadata
        cid = str(Cid.raw(data.digest))

        assert run_json("store", "put", hashed) == {
            "cid": cid,
            "uri": f"ipfs://f01551220{data.digest.hex()}",
            "hosts": [],
        }
        assert run_json("store", "get", cid, "-o", "out") == {
            "manifest": "out",
            "withheld": [],
            "fetched": [],
        }
        assert run_json("store", "ls") == {
            "manifests": [
                {
                    "cid": cid,
                    "name": "photos",
                    "kind": "dataset",
                    "size": 3,
                    "bytes": sum(map(size, listing(hashed))),
                    "withheld": [],
                }
            ],
            "problems": [],
        }

    def test_stores_a_manifest_with_withheld_items(self, hashed):
        (hashed / "items.parquet").unlink()
        run("store", "put", hashed)
        cid = run_json("store", "ls")["manifests"][0]["cid"]

        said = run("store", "get", cid, "-o", "out").stdout
        assert said == "out: written; not available: items.parquet\n"
        assert run_json("store", "get", cid, "-o", "again")["withheld"] == ["items.parquet"]

    def test_says_that_the_store_is_empty(self):
        result = run("store", "ls")
        assert result.stdout == ""
        assert (
            result.stderr == "the store has no manifests. `alithis store put MANIFEST` adds one\n"
        )
        assert run_json("store", "ls") == {"manifests": [], "problems": []}

    def test_reports_problems_of_stored_manifests(self, hashed, tmp_path):
        cid = run_json("store", "put", hashed)["cid"]
        (place,) = (tmp_path / "store").rglob(f"files/*/{cid}")
        place.unlink()

        result = run("store", "ls")
        assert result.stdout == ""
        assert result.stderr.startswith(f"alithis: {cid}: {cid} is not in the store")
        assert len(run_json("store", "ls")["problems"]) == 1

    def test_finds_the_stores_folder(self, hashed, tmp_path, monkeypatch):
        run("store", "put", hashed, "--store", "here")
        assert run_json("store", "ls", "--store", "here")["manifests"]
        assert not run_json("store", "ls")["manifests"]
        monkeypatch.setenv("ALITHIS_STORE", "here")
        assert run_json("store", "ls")["manifests"]

    def test_refuses_invalid_arguments(self, hashed, place):
        cid = run_json("store", "put", hashed)["cid"]

        unknown = str(Cid.raw(bytes(32)))
        assert f"{unknown} is not in the store" in refused("store", "get", unknown, "-o", "out")
        for reference in ("nonsense", "z" * 64, "Qm" + "1" * 44):
            said = refused("store", "get", reference, "-o", "out")
            assert "CID" in said
        said = refused("store", "get", cid, "-o", hashed)
        assert said == "Error: photos.alithis: already exists. Name a new directory\n"
        assert "metadata.json" in refused("store", "put", "photos")
        assert not Path("out").exists()

    def test_refuses_an_altered_file(self, hashed):
        (hashed / "leaves").write_bytes(bytes(96))

        assert "leaves: CID: expected" in refused("store", "put", hashed)
        assert not run_json("store", "ls")["manifests"]

    def test_refuses_a_manifest_with_a_missing_file(self, hashed):
        (hashed / "leaves").unlink()

        assert "leaves" in refused("store", "put", hashed)

    def test_reports_a_folder_that_cannot_be_written(self, hashed, place):
        (place / "file").write_text("mine")

        said = refused("store", "put", hashed, "--store", "file")
        assert "cannot store photos.alithis/items.parquet in file: " in said


def size(name):
    path = Path("photos.alithis") / name
    return path.stat().st_size


class TestStatus:
    """Exit status 1 means absent, so no error may cause it."""

    def test_exit_status_of_the_program(self, hashed):
        for target, status in ((of_bytes(b"a").hex(), 0), (LOWEST, 1), ("nothing", 2)):
            result = process("verify", target, "--manifest", hashed)
            assert result.returncode == status
            assert bool(result.stdout) == (status < 2)
            assert result.stderr.count("\n") == (status == 2)

    @pytest.mark.parametrize("args", [["verify", LOWEST], ["audit"]], ids=["verify", "audit"])
    def test_a_closed_pipe_exits_with_2(self, hashed, args):
        reading, writing = os.pipe()
        os.close(reading)
        command = [*PROGRAM, *args, "--manifest"] if args[0] == "verify" else [*PROGRAM, *args]
        result = subprocess.run(
            [*command, hashed],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        os.close(writing)
        assert (result.returncode, result.stderr) == (2, "")

    def test_output_can_be_piped_to_head(self, hashed):
        script = f"{shlex.join(PROGRAM)} verify {LOWEST} --manifest photos.alithis | head -1"
        result = process("-c", script, program=["sh"])

        assert (result.returncode, result.stdout, result.stderr) == (0, f"{LOWEST}\n", "")

    def test_closed_standard_output_exits_with_2(self, hashed):
        script = f"exec {shlex.join(PROGRAM)} verify {LOWEST} --manifest photos.alithis >&-"

        assert process("-c", script, program=["sh"]).returncode == 1

    def test_escapes_characters_that_the_terminal_lacks(self, hashed):
        environment = {**os.environ, "PYTHONIOENCODING": "iso-8859-1"}
        result = process("verify", LOWEST, "--manifest", hashed, env=environment)

        assert result.returncode == 1
        assert "\\u2026 at 0" in result.stdout

    def test_a_bug_exits_with_2(self, monkeypatch, capsys, restored_handler):
        def defect(*_):
            raise RuntimeError("a defect")

        monkeypatch.setattr(cli.verify, "_show_results", defect)
        monkeypatch.setattr(metadata, "load", defect)
        monkeypatch.setattr(sys, "argv", ["alithis", "verify", LOWEST, "--manifest", "."])
        Path("metadata.json").write_text("{}")

        with pytest.raises(SystemExit) as ended:
            cli.main()

        assert ended.value.code == 2
        assert "RuntimeError: a defect" in capsys.readouterr().err

    def test_a_signal_exits_with_128_plus_its_number(self, monkeypatch, restored_handler):
        monkeypatch.setattr(cli, "cli", lambda: os.kill(os.getpid(), signal.SIGTERM))

        with pytest.raises(SystemExit) as ended:
            cli.main()

        assert ended.value.code == 128 + signal.SIGTERM

    def test_an_error_of_several_lines_becomes_one(self, monkeypatch):
        def fail(*_, **__):
            raise SourceError("first\nsecond")

        monkeypatch.setattr(Target, "parse", fail)
        assert refused("verify", "x", "--manifest", ".") == "Error: first second\n"


@pytest.fixture
def restored_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class TestMishaps:
    def test_a_damaged_image_among_many_is_an_error_in_one_line(self, place):
        """With workers, a failure used to race with the work that was still waiting."""
        folder = place / "pictures"
        folder.mkdir()
        for number in range(40):
            (folder / f"{number}.png").write_bytes(b"no image")
        program = [*PROGRAM, "manifest", str(folder), "--form", "pixels", "--workers", "2"]
        for _ in range(8):
            result = process(*program[len(PROGRAM) :])
            assert result.returncode == 2
            assert result.stderr.count("\n") == 1, result.stderr

    def test_a_full_disk_is_an_error_in_one_line(self, hashed):
        for args in (["audit", str(hashed)], ["--version"], ["--help"]):
            command = " ".join(["exec", *PROGRAM, *args, ">/dev/full"])
            result = process("-c", command, program=["sh"])
            assert result.returncode == 2
            assert result.stderr.count("\n") == 1
            assert "cannot write the output: No space left on device" in result.stderr

    def test_says_that_the_answer_is_about_a_proof_file(self, hashed, photos, place):
        posing = place / "photo.jpg"
        run("prove", hashed, "ff" * 32, "-o", posing)

        shown = run("verify", posing, "--manifest", hashed, status=1)

        about = f"the answer is about the data point of leaf {'ff' * 32}"
        assert shown.stdout.startswith(f"{posing}: a proof file; {about}\n")

    def test_refuses_an_empty_name(self, hashed):
        assert "the name is empty" in refused("verify", "", "--manifest", hashed)

    def test_refuses_a_damaged_proof_with_keys_in_another_order(self, hashed, place):
        damaged = place / "proof.json"
        damaged.write_text('{"version": 1, "alithis": "proof", "leaf"')
        assert "looks like a damaged proof file" in refused("verify", damaged, "--manifest", hashed)
