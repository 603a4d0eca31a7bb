"""Recording training data: every kind of object that `Run.use` wraps, and the log on the disk."""

import copy
import errno
import hashlib
import json
import multiprocessing
import operator
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alithis import readers
from alithis.errors import FormatError, IntegrityError, SourceError
from alithis.forms import record as canonical
from alithis.forms.form import BYTES, RECORD, SAMPLE, TEXT, Form
from alithis.forms.hashing import of_bytes
from alithis.forms.pool import Pool
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description
from alithis.manifest.reader import DataPoints, Manifest
from alithis.manifest.transcript import Transcript
from alithis.training import fed_log
from alithis.training.fed_log import FedLog, FedLogSnapshot, RunFolder
from alithis.training.run import Run
from alithis.training.wrappers import recorder
from alithis.training.wrappers.hasher import ItemHasher
from helpers import reference
from helpers.artifacts import build_as_given

TEXTS = [f"text {at}" for at in range(12)]
ROWS = [{"id": at, "text": text} for at, text in enumerate(TEXTS)]
GREY = Form("pixels", "L", width=3, height=2)
RGB = Form("pixels", "RGB")


def manifest(out, points, form=TEXT):
    digests = b"".join(of_bytes(point) for point in points)
    items = DataPoints(digests, [f"{at:03}" for at in range(len(points))], [1] * len(points))
    return build([items], out, description=Description(out.name), form=form)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """The manifest of `TEXTS`."""
    out = tmp_path_factory.mktemp("data") / "texts"
    return manifest(out, [text.encode() for text in TEXTS])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The manifest of `ROWS`."""
    out = tmp_path_factory.mktemp("data") / "records"
    return manifest(out, [canonical.record(row) for row in ROWS], RECORD)


def fed(run):
    """The numbers of a transcript: seen, unseen, foreign, given."""
    found = run.inputs()[0].transcript
    return found.seen, found.unseen, found.foreign, found.given


def png(array):
    file = BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


class TestForms:
    """A value has the digest that the readers give the same data point."""

    PICTURE = np.arange(6, dtype="u1").reshape(2, 3)
    COLOURS = np.arange(4 * 5 * 3, dtype="u1").reshape(4, 5, 3)

    @pytest.mark.parametrize(
        ("form", "value", "hashed"),
        [
            (BYTES, b"as stored", b"as stored"),
            (BYTES, memoryview(b"as stored"), b"as stored"),
            (BYTES, np.array([1, 2], ">i4"), b"\1\0\0\0\2\0\0\0"),
            (BYTES, np.float64(1), np.float64(1).tobytes()),
            (BYTES, np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.tobytes()),
            (TEXT, "e\u0301", "é".encode()),
            (TEXT, np.str_("text"), b"text"),
            (TEXT, b"\xef\xbb\xbftext", b"text"),
            (RECORD, {"b": 1, "a": None}, b'{"a":null,"b":1}'),
            (RECORD, b'{"b": 1}', b'{"b":1}'),
            (Form("record", columns=("a",)), {"a": 1, "b": 2}, b'{"a":1}'),
            (GREY, PICTURE, bytes(range(6))),
            (GREY, PICTURE[None], bytes(range(6))),
            (GREY, PICTURE[..., None], bytes(range(6))),
            (GREY, Image.fromarray(PICTURE), bytes(range(6))),
            (GREY, png(PICTURE), bytes(range(6))),
            (RGB, COLOURS, bytes(range(60))),
            (RGB, COLOURS.transpose(2, 0, 1), bytes(range(60))),
            (RGB, Image.fromarray(COLOURS), bytes(range(60))),
        ],
    )
    def test_value(self, form, value, hashed):
        assert ItemHasher(form).item(value) == hashlib.sha256(hashed).digest()
        assert ItemHasher(form).item((value, "label")) == hashlib.sha256(hashed).digest()

    def test_file(self, tmp_path):
        (tmp_path / "a.png").write_bytes(png(self.PICTURE))
        assert ItemHasher(GREY).item(tmp_path / "a.png") == of_bytes(bytes(range(6)))
        assert ItemHasher(BYTES).item(tmp_path / "a.png") == of_bytes(png(self.PICTURE))

    def test_sample(self):
        value = {"__key__": "one", "jpg": b"picture", "cls": b"3"}
        expected = {name: hashlib.sha256(value[name]).hexdigest() for name in ("jpg", "cls")}
        assert ItemHasher(SAMPLE).item(value) == of_bytes(canonical.record(expected))
        with pytest.raises(SourceError, match="bytes for each extension"):
            ItemHasher(SAMPLE).item({"jpg": self.PICTURE})

    @pytest.mark.parametrize(
        ("form", "value", "said"),
        [
            (BYTES, "text", "a str is not a data point of the form bytes; choose"),
            (BYTES, Image.fromarray(PICTURE), "a Image is not a data point"),
            (BYTES, np.array(["a"], object), "type object and shape .* do not have the same bytes"),
            (TEXT, 5, "a int is not a data point"),
            (TEXT, "\ud800", "half of a surrogate pair"),
            (TEXT, {"text": "a"}, "a dict is not a data point"),
            (RECORD, "text", "a str is not a data point"),
            (RECORD, {"a": object()}, "no canonical JSON"),
            (RECORD, {"a": np.zeros(2)}, "no canonical JSON"),
            (GREY, PICTURE / 255, r"float64 and shape \(2, 3\) is not an image"),
            (GREY, PICTURE.T, "the image is 2 x 3 pixels"),
            (GREY, Image.fromarray(PICTURE.T.copy()), "the image is 2 x 3 pixels"),
            (RGB, PICTURE, "is not an image of mode RGB"),
            (RGB, Image.new("F", (2, 2)), "mode F has no exact"),
            (GREY, None, "a NoneType is not a data point"),
        ],
    )
    def test_refuses_values_of_another_form(self, form, value, said):
        with pytest.raises(SourceError, match=said):
            ItemHasher(form).item(value)

    @pytest.mark.parametrize(
        ("point", "item"),
        [
            (None, "text 1"),
            (None, ("text 1", 0)),
            (1, [0, "text 1"]),
            ("text", {"text": "text 1", "label": 0}),
            (lambda item: item.lower(), "TEXT 1"),
        ],
    )
    def test_point(self, point, item):
        assert ItemHasher(TEXT, point).item(item) == of_bytes(b"text 1")

    @pytest.mark.parametrize(
        ("point", "item", "said"),
        [
            ("body", {"text": "a", "label": 0}, "no 'body' in a dict: its keys are text, label"),
            (2, ("a", "b"), "no 2 in a tuple"),
            ("text", 5, "no 'text' in a int"),
        ],
    )
    def test_missing_point(self, point, item, said):
        with pytest.raises(SourceError, match=said):
            ItemHasher(TEXT, point).item(item)

    @pytest.mark.parametrize(
        ("form", "point", "batch", "hashed"),
        [
            (TEXT, None, ["a", "b"], [b"a", b"b"]),
            (TEXT, None, (["a", "b"], [0, 1]), [b"a", b"b"]),
            (TEXT, "text", {"text": ["a", "b"], "label": [0, 1]}, [b"a", b"b"]),
            (TEXT, None, np.array(["a", "b"]), [b"a", b"b"]),
            (BYTES, None, np.array([[1, 2], [3, 4]], "u1"), [b"\1\2", b"\3\4"]),
            (BYTES, None, [np.array([[1], [3]], "u1"), np.array([0, 1])], [b"\1", b"\3"]),
            (GREY, None, np.stack([PICTURE, PICTURE]), [bytes(range(6))] * 2),
            (GREY, None, np.stack([PICTURE, PICTURE])[:, None], [bytes(range(6))] * 2),
            (BYTES, None, np.zeros((0, 3), "u1"), []),
        ],
    )
    def test_batch(self, form, point, batch, hashed):
        assert ItemHasher(form, point).batch(batch) == b"".join(map(of_bytes, hashed))

    @pytest.mark.parametrize("batch", [{"text": ["a"]}, 5, iter(["a"])])
    def test_refuses_other_batches(self, batch):
        with pytest.raises(SourceError, match="must be an array or a list"):
            ItemHasher(TEXT).batch(batch)


class TestFedLog:
    def digests(self, numbers):
        return b"".join(of_bytes(b"%d" % number) for number in numbers)

    def distinct(self, *logs):
        return b"".join(block.tobytes() for block in FedLogSnapshot(logs).blocks())

    @given(numbers=st.lists(st.integers(0, 40), max_size=120), step=st.integers(1, 30))
    def test_any_entries_in_runs_of_any_length(self, tmp_path_factory, numbers, step):
        folder = tmp_path_factory.mktemp("log")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fed_log, "RUN", 8)
            patch.setattr(fed_log, "_MAX_RUNS", 3)
            log = FedLog(folder)
            for start in range(0, len(numbers), step):
                some = numbers[start : start + step]
                log.add(self.digests(some), len(some))
            expected = sorted({of_bytes(b"%d" % number) for number in numbers})
            assert self.distinct(log) == b"".join(expected)
            assert FedLogSnapshot([log]).given == len(numbers)
            files = list(folder.iterdir())
        assert len(files) <= 5  # the runs are merged
        assert sum(path.stat().st_size for path in files) <= 32 * (8 + 4 * 41) + 32 * 1024 + 16

    @given(
        st.lists(
            st.binary(min_size=1, max_size=1).flatmap(
                lambda head: st.binary(max_size=1).map(lambda tail: (head * 8 + tail).ljust(32))
            )
        )
    )
    def test_digests_that_begin_alike(self, digests):
        joined = np.frombuffer(b"".join(digests), "S32")
        assert fed_log._distinct(joined).tolist() == np.unique(joined).tolist()

    def test_processes_share_a_folder(self, tmp_path):
        log = FedLog(tmp_path)
        log.add(self.digests([1]), 1)
        children = [
            multiprocessing.get_context("fork").Process(
                target=log.add, args=(self.digests([1, number]), 2)
            )
            for number in (2, 3)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert sorted(reference_rows(self.distinct(log))) == sorted(
            of_bytes(b"%d" % number) for number in (1, 2, 3)
        )
        assert FedLogSnapshot([log]).given == 5
        assert pickle.loads(pickle.dumps(log)).folder == tmp_path

    def test_threads_share_a_file(self, tmp_path):
        log = FedLog(tmp_path)

        def work(first):
            for number in range(first, first + 500):
                log.add(self.digests([number]), 1)

        threads = [threading.Thread(target=work, args=(400 * at,)) for at in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert FedLogSnapshot([log]).given == 2000
        assert len(self.distinct(log)) == 32 * 1700
        assert len(list(tmp_path.iterdir())) == 1

    def test_entries_of_a_killed_process_remain(self, tmp_path):
        child = os.fork()
        if not child:
            FedLog(tmp_path).add(self.digests([7]), 1)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert self.distinct(FedLog(tmp_path)) == of_bytes(b"7")

    def test_nothing_is_logged_after_the_folder_was_removed(self, tmp_path):
        log = FedLog(tmp_path / "gone")
        log.add(self.digests([1]), 1)
        assert not (tmp_path / "gone").exists()

    def test_full_disk(self, tmp_path, monkeypatch):
        def full(self, room):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(FedLog, "_resize", full)
        with pytest.raises(SourceError, match="No space left on device; set TMPDIR to another"):
            FedLog(tmp_path).add(self.digests([1]), 1)

    def test_many_points_in_little_memory(self, tmp_path):
        """Ten million are logged and compared in less memory than their digests take."""
        code = f"""
import resource, hashlib, sys
import numpy as np
from pathlib import Path
from alithis.training.fed_log import FedLog, FedLogSnapshot
from alithis.manifest import merkle
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
log, before = FedLog(Path({str(tmp_path)!r})), peak()
random = np.random.default_rng(0)
for _ in range(100):
    log.add(random.bytes(32 * 100_000), 100_000)
snapshot = FedLogSnapshot([log])
total = sum(len(block) for block in snapshot.blocks())
merkle.tree(block.tobytes() for block in snapshot.blocks())
print(total, snapshot.given, (peak() - before) // 1024)
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True
        )
        total, count, grown = map(int, done.stdout.split())
        assert (total, count) == (10_000_000, 10_000_000)
        assert grown < 200  # MiB; the digests have 305, as Python's objects 1,000


class TestRunFolder:
    """The folders of runs that were killed are removed when the next run begins."""

    @pytest.fixture
    def temp(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        return tmp_path

    def start(self, temp):
        """Start a process that holds a run's folder until it is killed."""
        code = (
            "import sys, tempfile\n"
            "from alithis.training.fed_log import RunFolder\n"
            f"tempfile.tempdir = {str(temp)!r}\n"
            "folder = RunFolder()\n"
            "(folder.new() / 'digests').touch()\n"
            "print(folder.path, flush=True)\n"
            "sys.stdin.read()\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return child, Path(child.stdout.readline().strip())

    def kill(self, child):
        child.kill()
        child.communicate()

    def test_folder_of_a_killed_run_is_removed(self, temp):
        child, folder = self.start(temp)
        self.kill(child)
        assert (folder / "lock").exists()
        mine = RunFolder()
        assert list(temp.iterdir()) == [mine.path]
        mine.remove()
        assert not list(temp.iterdir())

    def test_folders_of_living_runs_stay(self, temp):
        children = [self.start(temp) for _ in range(2)]
        first = RunFolder()
        second = RunFolder()
        assert {*temp.iterdir()} == {first.path, second.path, *(each for _, each in children)}
        for child, _ in children:
            self.kill(child)
        RunFolder().remove()
        assert {*temp.iterdir()} == {first.path, second.path}
        first.remove()
        second.remove()

    def test_forked_worker_neither_removes_nor_unlocks_the_folder(self, temp):
        mine = RunFolder()
        child = os.fork()
        if not child:
            mine.remove()
            del mine
            os._exit(0)
        os.waitpid(child, 0)
        RunFolder().remove()
        assert mine.path.is_dir()
        mine.remove()

    def test_only_the_owner_can_enter_the_folder(self, temp):
        mine = RunFolder()
        assert mine.path.stat().st_mode & 0o777 == 0o700
        assert (mine.path / "lock").stat().st_mode & 0o077 == 0
        mine.remove()

    def test_folder_that_others_can_enter_is_not_touched(self, temp):
        child, folder = self.start(temp)
        self.kill(child)
        folder.chmod(0o777)
        RunFolder().remove()
        assert (folder / "lock").exists()

    def test_folder_of_another_user_is_not_touched(self, temp, monkeypatch):
        child, folder = self.start(temp)
        self.kill(child)
        monkeypatch.setattr("os.getuid", lambda: folder.stat().st_uid + 1)
        RunFolder().remove()
        assert (folder / "lock").exists()

    def test_symbolic_links_are_not_followed(self, temp, tmp_path_factory):
        victim = tmp_path_factory.mktemp("victim")
        victim.chmod(0o700)
        (victim / "lock").touch()
        (victim / "precious").write_bytes(b"data")
        (temp / "alithis-run-link").symlink_to(victim)
        inside = temp / "alithis-run-lock"
        inside.mkdir(0o700)
        (inside / "lock").symlink_to(victim / "precious")
        RunFolder().remove()
        assert (victim / "precious").read_bytes() == b"data"
        assert (inside / "lock").is_symlink()

    def test_link_inside_an_abandoned_folder_is_not_followed(self, temp, tmp_path_factory):
        victim = tmp_path_factory.mktemp("victim")
        (victim / "precious").write_bytes(b"data")
        child, folder = self.start(temp)
        self.kill(child)
        (folder / "link").symlink_to(victim)
        RunFolder().remove()
        assert not folder.exists()
        assert (victim / "precious").read_bytes() == b"data"

    def test_folder_without_a_lock_is_being_created_and_stays(self, temp):
        (temp / "alithis-run-new").mkdir(0o700)
        RunFolder().remove()
        assert (temp / "alithis-run-new").is_dir()

    def test_folder_that_was_removed_before_it_was_locked_is_created_again(self, temp, monkeypatch):
        taken = []

        def take_first(folder, lock=fed_log._lock):
            found = lock(folder)
            if not taken:  # as if another run held it, and removed the folder
                found.release()
                taken.append(folder)
            return found

        monkeypatch.setattr(fed_log, "_lock", take_first)
        mine = RunFolder()
        assert mine.path != taken[0]
        mine.remove()

    def test_file_system_without_locks(self, temp, monkeypatch):
        def refuse(self, *args, **options):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr("filelock.FileLock.acquire", refuse)
        first, second = RunFolder(), RunFolder()
        assert first.path.is_dir()
        first.remove()
        second.remove()
        assert not list(temp.iterdir())


def reference_rows(joined):
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]


class TestLists:
    def test_isinstance_accepts_the_wrapper(self, texts):
        run = Run("r")
        wrapped = run.use(TEXTS, texts)
        assert isinstance(wrapped, list)
        assert len(wrapped) == 12
        assert wrapped == TEXTS
        assert "text 3" in wrapped
        assert wrapped.index("text 3") == 3
        assert fed(run) == (0, 12, 0, 0)
        with pytest.raises(TypeError):
            hash(wrapped)

    @pytest.mark.parametrize(
        ("use", "count"),
        [
            (lambda data: data[0], 1),
            (lambda data: data[-1], 1),
            (lambda data: data[np.int64(2)], 1),
            (lambda data: data[2:5], 3),
            (lambda data: data[::-2], 6),
            (list, 12),
            (lambda data: [*data], 12),
            (lambda data: data.__add__(["more"]), 12),
            (lambda data: operator.add(["more"], data), 12),
            (lambda data: sorted(data), 12),
            (lambda data: list(reversed(data)), 12),
            (lambda data: next(iter(data)), 1),
            (lambda data: list(zip(data, range(3), strict=False)), 4),  # zip looks one ahead
            (lambda data: np.asarray(data).tolist(), 12),
        ],
    )
    def test_items_that_are_read_are_recorded(self, texts, use, count):
        run = Run("r")
        assert use(run.use(TEXTS, texts)) == use(TEXTS)
        seen, unseen, foreign, times = fed(run)
        assert (seen, unseen, foreign) == (min(count, 12), 12 - min(count, 12), 0)
        assert times >= count

    def test_slices_are_lists(self, texts):
        wrapped = Run("r").use(TEXTS, texts)
        assert type(wrapped[1:3]) is list
        assert type(Run("r").use(tuple(TEXTS), texts)[1:3]) is tuple

    def test_items_with_labels(self, texts):
        run = Run("r")
        assert run.use(list(zip(TEXTS, range(12), strict=True)), texts)[4] == ("text 4", 4)
        assert fed(run) == (1, 11, 0, 1)

    def test_rows(self, records):
        run = Run("r")
        list(run.use(ROWS, records))
        assert fed(run) == (12, 0, 0, 12)

    def test_column_of_rows(self, texts):
        run = Run("r")
        list(run.use(ROWS, texts, point="text"))
        assert fed(run) == (12, 0, 0, 12)

    def test_with_a_source(self, texts):
        run = Run("r")
        lengths = run.use([len(text) for text in TEXTS], texts, source=TEXTS)
        assert lengths[2:4] == [6, 6]
        assert lengths[-1] == 7
        assert fed(run) == (3, 9, 0, 3)

    def test_items_appended_later_are_not_returned(self, texts):
        own = list(TEXTS)
        wrapped = Run("r").use(own, texts)
        own.append("more")
        assert len(wrapped) == 12

    def test_pickled_to_another_process(self, texts):
        run = Run("r")
        wrapped = run.use(TEXTS, texts)
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            assert pool.map(wrapped.__getitem__, [0, 1, 1]) == ["text 0", "text 1", "text 1"]
        assert fed(run) == (2, 10, 0, 3)

    @pytest.mark.parametrize("count", [1, 300])
    def test_copies_record_too(self, texts, count):
        run = Run("r")
        wrapped = run.use(TEXTS * count, texts)
        for each in (wrapped, copy.copy(wrapped), copy.deepcopy(wrapped)):
            assert next(iter(each)) == "text 0"
            assert each[1:3] == TEXTS[1:3]
            assert len(list(each)) == len(TEXTS) * count
        assert fed(run) == (12, 0, 0, 3 * (1 + 2 + 12 * count))

    def test_forked_process_records_only_its_own_items(self, texts):
        run = Run("r")
        wrapped = run.use(TEXTS, texts)
        assert wrapped[:3] == TEXTS[:3]
        child = os.fork()
        if not child:
            list(map(wrapped.__getitem__, [3, 4, 4]))
            run.inputs()
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert fed(run) == (5, 7, 0, 6)

    @pytest.mark.parametrize("options", [{}, {"source": TEXTS * 100}])
    def test_interruption_during_hashing_loses_nothing(self, texts, options, monkeypatch):
        calls = []

        def interrupted(*item):
            calls.append(item)
            if len(calls) == 100:
                raise KeyboardInterrupt
            return of_bytes(item[-1].encode())

        monkeypatch.setattr(ItemHasher, "item", interrupted)
        monkeypatch.setattr(recorder, "of_ascii", lambda texts: b"".join(map(interrupted, texts)))
        run, given = Run("r"), []
        with pytest.raises(KeyboardInterrupt):
            given.extend(run.use(TEXTS * 100, texts, **options))
        monkeypatch.undo()
        assert fed(run) == (12, 0, 0, 1024)

    @pytest.mark.parametrize("options", [{}, {"source": TEXTS * 100}])
    def test_signal_handler_that_reads_the_record(self, texts, options, monkeypatch):
        run, plain, asked = Run("r"), FedLog.add, []

        def interrupted(self, digests, given):
            if not asked:
                asked.append(1)
                run.inputs()
            plain(self, digests, given)

        monkeypatch.setattr(FedLog, "add", interrupted)
        list(run.use(TEXTS * 100, texts, **options))
        assert asked
        assert fed(run) == (12, 0, 0, 1200)

    def test_item_beyond_the_source(self, texts, tmp_path):
        class Endless:
            def __len__(self):
                return 12

            def __getitem__(self, number):
                return TEXTS[number % 12]

        run = Run("r", out=tmp_path / "r")
        with (
            pytest.raises(SourceError, match="more items than the 12 data points of its source"),
            run,
        ):
            assert run.use(Endless(), texts, source=TEXTS)[12] == "text 0"
        assert json.loads((tmp_path / "r.run.json").read_text())["complete"] is False

    @pytest.mark.parametrize("options", [{}, {"source": TEXTS * 50}])
    def test_threads(self, texts, options):
        run = Run("r")
        wrapped = run.use(TEXTS * 50, texts, **options)
        threads = [threading.Thread(target=list, args=(wrapped,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert fed(run) == (12, 0, 0, 4 * 12 * 50)

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ("text", "not a str"),
            (b"bytes", "not a bytes"),
            ({"a": 1}, "not a dict"),
            (None, "not a NoneType"),
            (5, "not an int"),
            (np.zeros((0, 2, 2), "u1"), r"an array of shape \(0, 2, 2\) contains no data points"),
            (np.array(5), r"not an array of int64 and shape \(\)"),
            (datasets.DatasetDict({"a": datasets.Dataset.from_list(ROWS)}), "several splits; .* a"),
        ],
    )
    def test_refuses_other_objects(self, texts, data, said):
        with pytest.raises(SourceError, match=f"^texts: .*{said}"):
            Run("r").use(data, texts)

    def test_wrapped_twice(self, texts):
        run = Run("r")
        with pytest.raises(SourceError, match="already wrapped"):
            run.use(run.use(TEXTS, texts), texts)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"source": TEXTS[1:]}, "the source has 11 data points for 12 items"),
            ({"source": TEXTS, "batched": True}, "leave batched= out"),
            ({"source": "text 1 and 2"}, "not a str"),
            ({"source": iter(TEXTS)}, "needs numbered items"),
        ],
    )
    def test_refuses_source_that_does_not_fit(self, texts, options, said):
        with pytest.raises(SourceError, match=said):
            Run("r").use([0] * 12, texts, **options)

    @pytest.mark.parametrize("error", [None, ValueError])
    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (
                lambda source: source.clear(),
                "no longer returns a data point that was read before: IndexErr",
            ),
            (lambda source: source.__setitem__(3, None), "NoneType"),
            (
                lambda source: vars(source).update(closed=True),
                "was read before: RuntimeError: closed",
            ),
        ],
    )
    def test_source_that_fails_at_the_end(self, texts, tmp_path, spoil, said, error):
        class Source(list):
            closed = False

            def __getitem__(self, number):
                if self.closed:
                    raise RuntimeError("closed")
                return super().__getitem__(number)

        def train():
            with Run("r", out=tmp_path / "r") as run:
                list(run.use(list(range(12)), texts, source=source))
                spoil(source)
                if error:
                    raise error

        source = Source(TEXTS)
        with pytest.raises(error or SourceError) as raised:
            train()
        assert said in "".join([str(raised.value), *getattr(raised.value, "__notes__", [])])
        record = json.loads((tmp_path / "r.run.json").read_text())
        assert record["complete"] is False
        assert record["inputs"][0]["transcript"]["given"] == 12

    def test_images_for_a_manifest_of_texts(self, texts):
        with pytest.raises(SourceError, match="of the form text"):
            Run("r").use(np.zeros((3, 2, 2), "u1"), texts)


class TestStreams:
    def test_generator(self, texts):
        run = Run("r")
        stream = run.use((text for text in TEXTS), texts)
        assert next(stream) == "text 0"
        assert list(stream) == TEXTS[1:]
        assert fed(run) == (12, 0, 0, 12)

    def test_iterable(self, texts):
        run = Run("r")
        stream = run.use(dict.fromkeys(TEXTS).keys(), texts)
        assert len(stream) == 12
        for _ in range(2):
            assert list(stream) == TEXTS
        assert fed(run) == (12, 0, 0, 24)

    def test_batches(self, texts):
        run = Run("r")
        batches = ((TEXTS[at : at + 5], [0] * 5) for at in range(0, 12, 5))
        assert [len(batch) for batch, _ in run.use(batches, texts, batched=True)] == [5, 5, 2]
        assert fed(run) == (12, 0, 0, 12)

    def test_files(self, tmp_path):
        (tmp_path / "data").mkdir()
        for text in TEXTS:
            (tmp_path / "data" / text).write_text(text)
        source = readers.folder(tmp_path / "data")
        with Pool(1) as pool:
            out = build(
                source.digested(pool), tmp_path / "m", description=Description("m"), form=BYTES
            )
        run = Run("r")
        for path in run.use((tmp_path / "data").iterdir(), out):
            path.read_text()
        assert fed(run) == (12, 0, 0, 12)

    def test_refuses_source_without_numbered_items(self, texts):
        with pytest.raises(SourceError, match="has no numbered items, so source= cannot"):
            Run("r").use(iter(TEXTS), texts, source=TEXTS)

    def test_errors_of_the_pipeline_are_not_changed(self, texts):
        def broken():
            yield "text 0"
            raise OSError("the disk is gone")

        run = Run("r")
        with pytest.raises(OSError, match="the disk is gone"):
            list(run.use(broken(), texts))
        assert fed(run) == (1, 11, 0, 1)


class TestHuggingFace:
    @pytest.fixture
    def data(self):
        return datasets.Dataset.from_list(ROWS)

    def test_isinstance_accepts_the_wrapper(self, data, records):
        run = Run("r")
        wrapped = run.use(data, records)
        assert isinstance(wrapped, datasets.Dataset)
        assert wrapped.column_names == ["id", "text"]
        assert wrapped.features == data.features
        assert len(wrapped) == wrapped.num_rows == 12
        assert fed(run) == (0, 12, 0, 0)

    @pytest.mark.parametrize(
        ("use", "count"),
        [
            (lambda data: data[3], 1),
            (lambda data: data[-1], 1),
            (lambda data: data[2:5], 3),
            (lambda data: data[[1, 1, 2]], 2),
            (lambda data: data[range(4)], 4),
            (lambda data: list(data), 12),
            (lambda data: [batch["id"] for batch in data.iter(5)], 12),
            (lambda data: data.__getitems__([4, 5]), 2),
            (lambda data: list(data["text"]), 12),
            (lambda data: data.to_dict(), 12),
            (lambda data: list(data.select([5, 6])), 2),
            (lambda data: data.select([5, 6])[1], 1),
            (lambda data: list(data.filter(lambda row: row["id"] > 7)), 4),
            (lambda data: list(data.shuffle(seed=1).take(5)), 5),
            (lambda data: list(data.sort("id", reverse=True).skip(10)), 2),
            (lambda data: list(data.shard(4, 1)), 3),
            (lambda data: list(data.train_test_split(0.25, seed=1)["test"]), 3),
            (lambda data: list(data.map(lambda row: {"n": len(row["text"])})), 12),
            (lambda data: data.map(lambda row: {"n": 1}, remove_columns=["text"])[2:4], 2),
            (lambda data: list(data.remove_columns("id").rename_column("text", "t").take(1)), 1),
            (lambda data: data.with_format("numpy")[7]["id"], 1),
            (lambda data: data.select([9, 8]).with_transform(lambda rows: {"n": rows["id"]})[0], 1),
        ],
    )
    def test_rows_are_known_whatever_is_made_of_them(self, data, records, use, count):
        run = Run("r")
        assert use(run.use(data, records)) == use(data)
        seen, unseen, foreign, _ = fed(run)
        assert (seen, unseen, foreign) == (count, 12 - count, 0)

    def test_rows_that_are_recorded(self, data, records):
        run = Run("r")
        shuffled = run.use(data, records).shuffle(seed=3)
        given = [shuffled[at]["id"] for at in (0, 5)]
        again = Run("r")
        again.use(data, records)[sorted(given)]
        assert run.inputs() == [
            type(each)(each.relation, each.name, each.metadata, each.transcript)
            for each in again.inputs()
        ]

    def test_column(self, data, texts):
        run = Run("r")
        run.use(data, texts, point="text")[:4]
        assert fed(run) == (4, 8, 0, 4)

    def test_times_and_bytes_are_as_the_readers_have_them(self, tmp_path):
        rows = [{"at": np.datetime64(at, "s").item(), "raw": bytes([at])} for at in range(5)]
        data = datasets.Dataset.from_list(rows)
        source = readers.dataset(data)
        with Pool(1) as pool:
            out = build(
                source.digested(pool), tmp_path / "m", description=Description("m"), form=RECORD
            )
        run = Run("r")
        list(run.use(data, out))
        assert fed(run) == (5, 0, 0, 5)

    def test_pictures(self, tmp_path):
        pictures = [np.full((2, 3), at, "u1") for at in range(4)]
        data = datasets.Dataset.from_dict(
            {"image": [{"bytes": png(each), "path": None} for each in pictures]}
        ).cast_column("image", datasets.Image())
        out = manifest(tmp_path / "m", [each.tobytes() for each in pictures], GREY)
        run = Run("r")
        assert run.use(data, out, point="image")[1]["image"].size == (3, 2)
        assert fed(run) == (1, 3, 0, 1)

    @pytest.mark.parametrize(
        ("point", "said"),
        [
            (
                None,
                "which column has the data points .their form is text.; the columns are id, text",
            ),
            ("body", "no column body; the columns are id, text"),
            ("id", "column id has the type int64, neither bytes nor text"),
            (0, "point= must be the name of a column"),
        ],
    )
    def test_missing_column(self, data, texts, point, said):
        with pytest.raises(SourceError, match=said):
            Run("r").use(data, texts, point=point)


class TestRun:
    def test_refuses_manifest_with_leaves_out_of_order(self, tmp_path):
        """Shuffled leaves must not pass for seen or unseen ones."""
        leaves = sorted(of_bytes(text.encode()) for text in TEXTS)
        run = Run("r")
        out = build_as_given(tmp_path / "lies", [leaves[1], leaves[0], *leaves[2:]])
        run.use([b"text 1"], out)[0]
        with pytest.raises(IntegrityError, match=r"leaves .* expected ascending"):
            run.inputs()

    @pytest.mark.parametrize("size", [1, 2, 7, 12])
    def test_compared_in_blocks_of_any_size(self, texts, size):
        digests = sorted(of_bytes(text.encode()) for text in [*TEXTS[3:], "foreign", "other"])
        blocks = [np.array(digests[at : at + size], "S32") for at in range(0, len(digests), size)]
        found = Transcript.of_sorted(lambda: iter(blocks), texts, 20)
        assert found == Transcript(reference.mth(digests), 11, 9, 3, 2, 20)

    def test_data_points_read_after_the_run_are_not_recorded(self, texts):
        with Run("r") as run:
            wrapped = run.use(TEXTS, texts)
            wrapped[0]
        assert wrapped[1:] == TEXTS[1:]
        assert fed(run) == (1, 11, 0, 1)

    @pytest.mark.parametrize(("fed", "warned"), [(["else"], 1), (["else", "text 1"], 0), ([], 0)])
    def test_warns_if_no_data_point_is_in_the_manifest(self, texts, tmp_path, fed, warned):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with Run("r", out=tmp_path / "r") as run:
                list(run.use(fed, texts))
        assert len(told) == warned
        for each in told:
            assert "texts: none of the 1 data points that were read is in its" in str(each.message)
            assert each.filename == __file__
        assert (tmp_path / "r.run.json").exists()

    def test_warning_does_not_hide_an_error_of_the_training(self, texts):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run = Run("r")
            with pytest.raises(KeyboardInterrupt), run:
                raise KeyboardInterrupt(run.use(["else"], texts)[0])

    def test_data_and_manifest_swapped(self, texts):
        with pytest.raises(FormatError, match=r"a list is not a manifest: call use\(data"):
            Run("r").use(texts, TEXTS)

    def test_temporary_folder_is_removed(self, texts, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        with Run("r") as run:
            run.use(np.arange(4, dtype="u1"), manifest(tmp_path / "m", [b"\0"], BYTES))[:]
            list(run.use(TEXTS, texts))
            assert len(list(tmp_path.glob("alithis-run-*/*/"))) == 2
        assert not list(tmp_path.glob("alithis-run-*"))
        run = Run("never entered")
        run.use(TEXTS, texts)[0]
        del run
        assert not list(tmp_path.glob("alithis-run-*"))

    @pytest.mark.parametrize(
        "use",
        [
            *(lambda a: a / 2.5, lambda a: 2 - a, lambda a: a - a, lambda a: a.T @ a),
            *(lambda a: 2**a, lambda a: a**2, lambda a: a % 3, lambda a: 7 // (a + 1)),
            *(lambda a: -a, lambda a: +a, lambda a: abs(a), lambda a: ~a),
            *(
                lambda a: a & 1,
                lambda a: 1 | a,
                lambda a: a ^ a,
                lambda a: a << 1,
                lambda a: 9 >> a,
            ),
            *(lambda a: a == 3, lambda a: a != a, lambda a: a > 3, lambda a: a >= 2),
            *(lambda a: divmod(a, 3)[1], lambda a: divmod(7, a + 1)[0]),
            *(lambda a: np.ones(2, "u1") * a, lambda a: np.float32(2) * a, lambda a: np.exp(a)),
            *(lambda a: np.concatenate([a, a]), lambda a: sum(a), lambda a: a.sum(axis=0)),
        ],
    )
    def test_computes_like_an_array(self, tmp_path, use):
        data = np.arange(12, dtype="u1").reshape(6, 2)
        out = manifest(tmp_path / "m", [row.tobytes() for row in data], BYTES)
        run = Run("r")
        given, expected = use(run.use(data, out)), use(data)
        assert (type(given), given.dtype) == (type(expected), expected.dtype)
        assert (given == expected).all()
        assert fed(run)[:3] == (6, 0, 0)

    @pytest.mark.parametrize(
        "write", [lambda a: a.__setitem__(0, 1), lambda a: operator.iadd(a, 1)]
    )
    def test_refuses_to_write_to_recorded_data(self, tmp_path, write):
        data = np.arange(12, dtype="u1").reshape(6, 2)
        out = manifest(tmp_path / "m", [row.tobytes() for row in data], BYTES)
        run = Run("r")
        with pytest.raises(TypeError, match="cannot be written to"):
            write(run.use(data, out))
        assert (data == np.arange(12).reshape(6, 2)).all()
        assert fed(run) == (0, 6, 0, 0)

    def test_truth_and_what_it_holds(self, tmp_path):
        data = np.arange(12, dtype="u1").reshape(6, 2)
        out = manifest(tmp_path / "m", [row.tobytes() for row in data], BYTES)
        run = Run("r")
        wrapped = run.use(data, out)
        with pytest.raises(ValueError, match="ambiguous"):
            bool(wrapped)
        assert (11 in wrapped, 12 in wrapped) == (True, False)
        assert fed(run)[:3] == (6, 0, 0)
        out = manifest(tmp_path / "one", [b"\0"], BYTES)
        one = run.use(np.zeros((1, 1), "u1"), out)
        assert (bool(one), float(one[0, 0]), len(one)) == (False, 0.0, 1)

    def test_keys_of_lists_and_fields(self, tmp_path):
        data = np.arange(12, dtype="u1").reshape(6, 2)
        out = manifest(tmp_path / "m", [row.tobytes() for row in data], BYTES)
        run = Run("r")
        wrapped = run.use(data, out)
        mask = [[True, False]] * 2 + [[False, False]] * 4
        assert wrapped[mask].tolist() == [0, 2]
        assert wrapped[[]].shape == (0, 2)
        assert fed(run) == (2, 4, 0, 2)
        fields = data.view([("a", "u1"), ("b", "u1")])[:, 0]
        assert run.use(fields, out, source=data)["b"].tolist() == data[:, 1].tolist()
        assert fed(run)[:3] == (6, 0, 0)

    def test_refuses_single_value(self, tmp_path):
        out = manifest(tmp_path / "m", [b"0"], BYTES)
        with pytest.raises(SourceError, match="this one has no rows"):
            Run("r").use(np.array(7), out, source=[b"0"])

    def test_changed_array_is_foreign(self, tmp_path):
        data = np.arange(12, dtype="u1").reshape(6, 2)
        out = manifest(tmp_path / "m", [row.tobytes() for row in data], BYTES)
        run = Run("r")
        run.use(data, out)[:3]
        data[1] += 100
        assert fed(run) == (3, 3, 1, 4)

    def test_change_in_any_part_of_a_large_array_is_found(self, tmp_path):
        data = np.random.default_rng(0).integers(0, 256, (3000, 1024), "u1")  # three MiB
        out = manifest(tmp_path / "m", [row.tobytes() for row in data], BYTES)
        run = Run("r")
        wrapped = run.use(data, out)
        wrapped[np.arange(-10, 10)], wrapped[np.array([1500, 1500])]
        assert fed(run) == (21, 2979, 0, 22)
        data[[0, 1500, 2000, 2999]] ^= 1  # row 2000 was not fed
        assert fed(run) == (21, 2979, 3, 24)
        data[0] ^= 2
        assert fed(run) == (21, 2979, 4, 25)

    @pytest.mark.parametrize("make", ["bytes", "file for reading"])
    def test_read_only_data_is_not_read_again(self, tmp_path, make):
        data = np.arange(12, dtype="u1").reshape(6, 2)
        out = manifest(tmp_path / "m", [row.tobytes() for row in data], BYTES)
        np.save(tmp_path / "data.npy", data)
        fixed = np.frombuffer(data.tobytes(), "u1").reshape(6, 2)
        if make != "bytes":
            fixed = np.load(tmp_path / "data.npy", mmap_mode="r")
        run = Run("r")
        run.use(fixed, out)[2:4]
        if make != "bytes":  # behind the back of the mapping, which docs/training.md excludes
            np.load(tmp_path / "data.npy", mmap_mode="r+")[2] = 99
        assert fed(run) == (2, 4, 0, 2)

    def test_read_only_view_of_a_writable_array_is_read_again(self, tmp_path):
        data = np.arange(12, dtype="u1").reshape(6, 2)
        out = manifest(tmp_path / "m", [row.tobytes() for row in data], BYTES)
        view = data[:]
        view.flags.writeable = False
        run = Run("r")
        run.use(view, out)[2:4]
        data[2] = 99
        assert fed(run) == (2, 4, 1, 3)

    def test_two_runs_at_once(self, texts):
        with Run("one") as one, Run("two") as two:
            first, second = one.use(TEXTS, texts), two.use(TEXTS, texts)
            first[:3], second[2:7]
        assert fed(one) == (3, 9, 0, 3)
        assert fed(two) == (5, 7, 0, 5)

    def test_record_of_a_run_that_diverged_and_crashed(self, texts, tmp_path):
        def train():
            with Run("r", out=tmp_path / "out") as run:
                run.use(TEXTS, texts)[0]
                run.log_params(layers={1: object()}, name="\ud800", rate=0.5)
                run.log_metrics(loss=float("nan"), best=float("-inf"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            train()
        record = json.loads((tmp_path / "out.run.json").read_bytes())
        assert record["complete"] is False
        assert record["metrics"] == {"loss": "nan", "best": "-inf"}
        assert record["parameters"]["rate"] == 0.5
        assert record["parameters"]["name"] == "\\ud800"
        assert record["parameters"]["layers"]["1"] == "<object object>"
        assert record["inputs"][0]["transcript"]["seen"] == 1

    def test_unreadable_weights_do_not_hide_an_error_of_the_training(self, texts, tmp_path):
        def train():
            with Run("r", out=tmp_path / "out") as run:
                run.use(TEXTS, texts)[0]
                run.save_model(tmp_path / "missing.bin")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            train()
        assert "missing.bin" in caught.value.__notes__[0]
        record = json.loads((tmp_path / "out.run.json").read_bytes())
        assert record["inputs"][0]["transcript"]["seen"] == 1

    def test_weights_that_cannot_be_read(self, tmp_path):
        with pytest.raises(SourceError, match="missing"), Run("r", out=tmp_path / "out") as run:
            run.save_model(tmp_path / "missing.bin")
        assert json.loads((tmp_path / "out.run.json").read_bytes())["complete"] is True

    def test_record_of_a_killed_run(self, texts, tmp_path):
        code = f"""
import os, signal
from alithis.training.run import Run
with Run("r", out={str(tmp_path / "out")!r}) as run:
    run.log_params(rate=0.5)
    run.log_metrics(loss=0.5)
    run.use(["text 1"], {str(tmp_path / "texts")!r})[0]
    os.kill(os.getpid(), signal.SIGKILL)
"""
        manifest(tmp_path / "texts", [text.encode() for text in TEXTS])
        done = subprocess.run([sys.executable, "-c", code], check=False)
        assert done.returncode == -signal.SIGKILL
        record = json.loads((tmp_path / "out.run.json").read_bytes())
        assert (record["complete"], record["parameters"]) == (False, {"rate": 0.5})
        assert record["metrics"] == {"loss": 0.5}
        assert [each["name"] for each in record["inputs"]] == ["texts"]
        assert "transcript" not in record["inputs"][0]

    def test_interim_record_is_removed_when_the_manifest_is_written(self, texts, tmp_path):
        (tmp_path / "weights").write_bytes(b"weights")
        with Run("r", out=tmp_path / "out") as run:
            assert (tmp_path / "out.run.json").is_file()
            run.save_model(tmp_path / "weights")
        assert Manifest.open(tmp_path / "out").metadata.name == "r"
        assert not (tmp_path / "out.run.json").exists()

    def test_record_that_cannot_be_written(self, tmp_path):
        (tmp_path / "a").write_bytes(b"")
        with pytest.raises(SourceError, match="cannot be written"), Run("r", out=tmp_path / "a/b"):
            pytest.fail("it did begin")

    def test_metrics_are_written_once_a_second(self, tmp_path, monkeypatch):
        now = 100.0
        monkeypatch.setattr("alithis.training.run.time.monotonic", lambda: now)
        metrics = []
        with Run("r", out=tmp_path / "out") as run:
            for loss in range(5):
                run.log_metrics(loss=loss)
                metrics.append(json.loads((tmp_path / "out.run.json").read_text())["metrics"])
                now += 0.4
        assert metrics == [{}, {}, {}, {"loss": 3}, {"loss": 3}]

    @pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
    def test_other_files_are_not_replaced(self, tmp_path, make):
        make(tmp_path / "out")
        with pytest.raises(SourceError, match="is not a manifest"), Run("r", out=tmp_path / "out"):
            pytest.fail("it did begin")

    def test_manifest_of_a_dataset_is_not_replaced(self, tmp_path):
        """For example, if both are named after the data."""
        place = tmp_path / "digits.alithis"
        build_as_given(place, [of_bytes(b"one"), of_bytes(b"two")])
        with (
            pytest.raises(
                SourceError, match=r"digits\.alithis: contains the manifest of a dataset"
            ),
            Run("digits", out=place),
        ):
            pytest.fail("the run began")
        assert Manifest.open(place).metadata.kind == "dataset"
        assert not (tmp_path / "digits.alithis.run.json").exists()

    def test_temporary_folder_that_cannot_be_created(self, texts, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
        with pytest.raises(SourceError, match="set TMPDIR to another"):
            Run("r").use(TEXTS, texts)

    def test_write_refuses_values_that_are_not_json(self, tmp_path):
        (tmp_path / "weights").write_bytes(b"weights")
        run = Run("r")
        run.save_model(tmp_path / "weights")
        run.log_metrics(loss=float("nan"))
        with pytest.raises(FormatError, match=r"metrics\.loss"):
            run.write(tmp_path / "out")
        assert not Path(tmp_path / "out").exists()
