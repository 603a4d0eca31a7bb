"""Overlap: exactly what two manifests share, even if a publisher is hostile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alithis.errors import FormatError, IntegrityError, SourceError
from alithis.forms import form as forms
from alithis.forms.form import Form
from alithis.forms.hashing import SIZE, of_bytes
from alithis.forms.keyed import PublisherKey
from alithis.manifest import merkle, metadata, overlap
from alithis.manifest.builder import build as build_manifest
from alithis.manifest.overlap import Paths, Side, require_comparable, shared
from alithis.manifest.reader import DataPoints, Manifest
from helpers.artifacts import build
from helpers.commands import refused, run, run_json
from helpers.session import examples
from helpers.strategies import leaf_sets

KEY, OTHER = PublisherKey(b"k" * SIZE), PublisherKey(b"o" * SIZE)


class Leaves:
    """The part of a manifest that a comparison uses, read in blocks of any size."""

    def __init__(self, leaves, step=1 << 20, stated=None):
        joined = b"".join(leaves)
        sha256 = of_bytes(joined) if stated is None else stated
        self.metadata = Stated(sha256, merkle.root(joined))
        self._blocks = [joined[at : at + step * SIZE] for at in range(0, len(joined), step * SIZE)]

    def blocks(self):
        return iter(self._blocks)


class Stated:
    name, scheme, form, key_check = "sample", "sha256", forms.BYTES, None

    def __init__(self, sha256, root):
        self.sha256, self.root = sha256, root

    def file(self, name):
        assert name == "leaves"
        return self


def found(left, right):
    joined = b"".join(shared(left, right))
    return [joined[at : at + SIZE] for at in range(0, len(joined), SIZE)]


class TestShared:
    @given(
        left=leaf_sets(), right=leaf_sets(), steps=st.tuples(st.integers(1, 9), st.integers(1, 9))
    )
    def test_shared_leaves_are_the_intersection(self, left, right, steps):
        """The leaves are close to each other, skewed, or equal in their first 30 bytes."""
        assert found(Leaves(left, steps[0]), Leaves(right, steps[1])) == sorted(
            set(left) & set(right)
        )

    @given(
        leaves=leaf_sets(min_size=2),
        kept=st.tuples(*[st.lists(st.booleans(), min_size=40, max_size=40)] * 2),
        steps=st.tuples(*[st.integers(1, 9)] * 2),
    )
    def test_parts_of_one_dataset_share_their_common_leaves(self, leaves, kept, steps):
        left, right = (
            [leaf for leaf, keep in zip(leaves, some, strict=False) if keep] or leaves[:1]
            for some in kept
        )
        assert found(Leaves(left, steps[0]), Leaves(right, steps[1])) == sorted(
            set(left) & set(right)
        )

    def test_leaves_of_many_blocks_are_compared(self):
        """Each side has more than a block, and every tenth leaf is in both."""
        numbers = np.random.default_rng(0).integers(0, 256, (120_000, SIZE), np.uint8)
        rows = sorted(map(bytes, numbers))
        left = [row for at, row in enumerate(rows) if at % 10 in (0, 1, 2)]
        right = [row for at, row in enumerate(rows) if at % 10 in (0, 3, 4, 5, 6, 7, 8, 9)]
        assert found(Leaves(left, 1 << 15), Leaves(right, 1 << 15)) == rows[::10]

    def test_leaves_with_equal_first_bytes_take_linear_time(self):
        """If all first bytes are equal (a hostile file), leaves are looked up in a set."""
        tied = [b"\x55" * 28 + number.to_bytes(4, "big") for number in range(1 << 15)]
        assert found(Leaves(tied[::2]), Leaves(tied[::3])) == tied[::6]


class TestDamage:
    LEAVES = tuple(bytes([number]) * SIZE for number in range(1, 7))

    @pytest.mark.parametrize("step", [1, 2, 6])
    @pytest.mark.parametrize(
        "bad",
        [
            [*LEAVES[1::-1], *LEAVES[2:]],
            [LEAVES[0], *LEAVES],
            [*LEAVES, LEAVES[-1]],
            [*LEAVES[:-2], LEAVES[-1], LEAVES[-2]],
            [b"\x01" * 31 + b"\x02", *LEAVES],
        ],
        ids=["swapped", "first twice", "last twice", "last swapped", "tied and swapped"],
    )
    def test_refuses_leaves_that_do_not_ascend(self, bad, step):
        for pair in (
            (Leaves(bad, step), Leaves(self.LEAVES)),
            (Leaves(self.LEAVES), Leaves(bad, step)),
        ):
            with pytest.raises(IntegrityError, match="ascending leaves"):
                found(*pair)

    @pytest.mark.parametrize("lowest", [True, False])
    def test_refuses_leaves_with_another_sha256(self, lowest):
        """The file is checked to its end, even if the other manifest ends first."""
        wrong = Leaves(self.LEAVES, 1, stated=bytes(SIZE))
        other = Leaves([bytes(SIZE) if lowest else b"\xff" * SIZE])
        for pair in ((wrong, other), (other, wrong)):
            with pytest.raises(IntegrityError, match="sample: SHA-256 of leaves"):
                found(*pair)

    @pytest.mark.parametrize("size", [1, 2, 5, 8, 13])
    @pytest.mark.parametrize("step", [1, 3, 4])
    def test_refuses_leaves_with_another_root(self, size, step, monkeypatch):
        """The publisher states the SHA-256 of other leaves than those it committed to."""
        monkeypatch.setattr(merkle, "_RUN", 4)
        leaves = [bytes([number]) * SIZE for number in range(1, size + 1)]
        right, wrong = Leaves(leaves, step), Leaves(leaves, step)
        assert found(right, right) == leaves
        wrong.metadata.root = merkle.root(b"\xff" * size * SIZE)
        for pair in ((wrong, right), (right, wrong)):
            with pytest.raises(IntegrityError, match="sample: root of leaves"):
                found(*pair)

    def test_tree_of_a_file_is_hashed_once(self, monkeypatch):
        """A report compares a dataset with many others; later, the file's SHA-256 is enough."""
        leaves = [of_bytes(b"once %d" % number) for number in range(5)]
        sides = Leaves(sorted(leaves)), Leaves(sorted(leaves))
        assert len(found(*sides)) == 5
        monkeypatch.delattr(merkle.TreeHasher, "update")
        assert len(found(*sides)) == 5

    def test_refuses_truncated_leaves(self, tmp_path):
        left, right = (build(tmp_path / name, [b"a", b"b"]) for name in "ab")
        (tmp_path / "a" / "leaves").write_bytes(bytes(SIZE))
        with pytest.raises(IntegrityError, match="bytes in leaves"):
            found(Manifest.open(tmp_path / "a"), right)
        assert left.metadata.size == 2


def stated(tmp_path, name, form, **options):
    items = DataPoints(of_bytes(b"x"), ["x"], [1])
    described = metadata.Description(name)
    return build_manifest([items], tmp_path / name, description=described, form=form, **options)


class TestComparable:
    @pytest.mark.parametrize(
        ("forms", "said"),
        [
            (("bytes", "pixels L"), "different canonical forms, bytes and pixels L"),
            (("pixels L", "pixels RGB"), "different canonical forms, pixels L and pixels RGB"),
            (("pixels L 8 8", "pixels L 9 8"), "images of different width, 8 and 9"),
            (("pixels L 8 8", "pixels L 8 9"), "images of different height, 8 and 9"),
            (("pixels L 8 8", "pixels L"), None),
            (("pixels L 8 8", "pixels L 8 8"), None),
        ],
    )
    def test_refuses_different_canonical_forms(self, tmp_path, forms, said):
        left, right = (
            stated(tmp_path, side, self.form(*form.split())).metadata
            for side, form in zip("ab", forms, strict=True)
        )
        if said is None:
            require_comparable(left, right)
            return
        for pair in ((left, right), (right, left)):
            with pytest.raises(FormatError, match=r"have different|hold images"):
                require_comparable(*pair)
        with pytest.raises(FormatError, match=f"a and b .*{said}"):
            require_comparable(left, right)

    @staticmethod
    def form(name, mode=None, width=None, height=None):
        return Form(name, mode, width and int(width), height and int(height))

    def test_refuses_different_schemes_and_keys(self, tmp_path):
        plain = build(tmp_path / "plain", [b"a", b"b"])
        mine = build(tmp_path / "mine", [b"a", b"b"], key=KEY)
        part = build(tmp_path / "part", [b"b", b"c"], key=KEY)
        other = build(tmp_path / "other", [b"a"], key=OTHER)

        assert found(mine, part) == [KEY.leaf(of_bytes(b"b"))]
        with pytest.raises(FormatError, match="different schemes, sha256 and keyed"):
            shared(plain, mine)
        with pytest.raises(FormatError, match="different publisher's keys"):
            shared(mine, other)


class TestPaths:
    @settings(max_examples=examples(25))
    @given(
        names=st.dictionaries(st.binary(max_size=3), st.integers(1, 4), min_size=1, max_size=30),
        data=st.data(),
    )
    def test_paths_are_those_of_the_items(self, tmp_path_factory, names, data):
        contents = [content for content, times in names.items() for _ in range(times)]
        out = tmp_path_factory.mktemp("paths") / "m"
        opened = build(out, contents)
        everything = sorted(set(map(of_bytes, contents)))
        asked = data.draw(st.lists(st.sampled_from(everything), unique=True).map(sorted))
        cut = data.draw(st.integers(0, len(asked)))

        paths = Paths.at(out, opened.metadata)

        assert paths.of(asked[:cut]) + paths.of(asked[cut:]) == [
            [f"{at:05}" for at, content in enumerate(contents) if of_bytes(content) == leaf]
            for leaf in asked
        ]

    def test_paths_in_several_items_files_and_batches_are_found(self, tmp_path, monkeypatch):
        monkeypatch.setattr(overlap, "_BATCH", 2)
        leaves = [bytes([number]) * SIZE for number in (1, 1, 1, 2, 3, 3, 3, 3, 4, 9)]
        for part, rows in enumerate((slice(0, 2), slice(2, 7), slice(7, 10))):
            table = {
                "leaf": pa.array(leaves[rows], pa.binary(SIZE)),
                "path": [f"p{at}" for at in range(10)][rows],
            }
            pq.write_table(pa.table(table), tmp_path / f"{part}.parquet")
        paths = Paths([tmp_path / f"{part}.parquet" for part in range(3)])

        assert paths.of([b"\x01" * SIZE, b"\x02" * SIZE]) == [["p0", "p1", "p2"], ["p3"]]
        assert paths.of([]) == []
        assert paths.of([b"\x03" * SIZE]) == [["p4", "p5", "p6", "p7"]]
        assert paths.of([b"\x05" * SIZE, b"\x09" * SIZE]) == [[], ["p9"]]

    def test_withheld_items_have_no_paths(self, tmp_path):
        opened = build(tmp_path / "m", [b"a"])
        (tmp_path / "m" / "items.parquet").unlink()
        assert Paths.at(tmp_path / "m", opened.metadata) is None
        manifest = Manifest.open(tmp_path / "m")
        side = Side(manifest, Paths.at(tmp_path / "m", manifest.metadata))
        assert side.paths_of([of_bytes(b"a")]) == [[]]

    def test_refuses_a_leaf_column_of_plain_binary(self, tmp_path):
        """Some tools write this type; no leaf would match."""
        pq.write_table(pa.table({"leaf": [bytes(SIZE)], "path": ["x"]}), tmp_path / "items")
        with pytest.raises(
            SourceError, match="column leaf has the type binary, not fixed_size_binary"
        ):
            Paths([tmp_path / "items"]).of([bytes(SIZE)])

    @pytest.mark.parametrize(
        "paths", [pa.array([1]), pa.array([b"x"]), pa.array([["x"]]), pa.array([None], pa.int8())]
    )
    def test_refuses_a_path_column_that_is_not_text(self, tmp_path, paths):
        leaves = pa.array([bytes(SIZE)], pa.binary(SIZE))
        pq.write_table(pa.table({"leaf": leaves, "path": paths}), tmp_path / "items")
        with pytest.raises(
            SourceError, match=r"items: the column path has the type .*, not string"
        ):
            Paths([tmp_path / "items"]).of([bytes(SIZE)])

    @pytest.mark.parametrize(("leaf", "path"), [(None, "x"), (bytes(SIZE), None)])
    def test_refuses_a_row_without_leaf_or_path(self, tmp_path, leaf, path):
        columns = {"leaf": pa.array([leaf], pa.binary(SIZE)), "path": pa.array([path], pa.string())}
        pq.write_table(pa.table(columns), tmp_path / "items")
        with pytest.raises(SourceError, match="a row has no leaf or no path"):
            Paths([tmp_path / "items"]).of([bytes(SIZE)])

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100])
    def test_refuses_damaged_items(self, tmp_path, content):
        (tmp_path / "items").write_bytes(content)
        with pytest.raises(SourceError, match="items: cannot be read"):
            Paths([tmp_path / "items"]).of([bytes(SIZE)])


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Build a training set of 20 data points, and a test set of 5; 2 are in both, one twice."""
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "train", [b"%d" % number for number in range(20)])
    build(tmp_path / "test", [b"19", b"7", b"7", b"x", b"y", b"z"])


@pytest.mark.usefixtures("sets")
class TestCommand:
    def test_overlap_is_counted(self):
        assert run("overlap", "train", "test").stdout == (
            "2 shared data points\n"
            "  compared: digests in the canonical form bytes, scheme sha256; "
            "only equal digests are found, not the same data in another form\n"
            "  10.0000% of the 20 in train\n  40.0000% of the 5 in test\n"
        )

    def test_overlap_is_counted_as_json(self):
        told = run_json("overlap", "test", "train")
        assert (told["shared"], told["a"]["name"], told["a"]["size"]) == (2, "test", 5)
        assert told["b"]["root"] == Manifest.open(Path("train")).metadata.root.hex()
        assert told["compared"] == {"scheme": "sha256", "form": {"name": "bytes"}}
        assert "data_points" not in told

    def test_shared_data_points_are_listed_with_paths(self):
        lines = run("overlap", "train", "test", "--list").stdout.splitlines()
        assert sorted(lines[:2]) == sorted(
            [
                f"{of_bytes(b'7').hex()}  00007  00001, 00002",
                f"{of_bytes(b'19').hex()}  00019  00000",
            ]
        )

    def test_shared_data_points_are_listed_as_json(self):
        told = run_json("overlap", "train", "test", "--list")
        assert told["data_points"] == sorted(
            [
                {"leaf": of_bytes(b"7").hex(), "a": ["00007"], "b": ["00001", "00002"]},
                {"leaf": of_bytes(b"19").hex(), "a": ["00019"], "b": ["00000"]},
            ],
            key=lambda point: point["leaf"],
        )
        assert told["shared"] == 2

    def test_empty_overlap_is_an_empty_json_list(self, tmp_path):
        build(tmp_path / "other", [b"other"])
        assert run_json("overlap", "train", "other", "--list")["data_points"] == []

    def test_list_has_no_paths_if_items_are_withheld(self):
        Path("test/items.parquet").unlink()
        lines = run("overlap", "train", "test", "--list").stdout.splitlines()
        assert f"{of_bytes(b'7').hex()}  00007  -" in lines

    def test_damaged_items_only_fail_a_list_of_paths(self):
        Path("test/items.parquet").write_bytes(b"PAR1")
        assert "2 shared data points" in run("overlap", "train", "test").stdout
        result = run("overlap", "train", "test", "--list", status=2)
        assert result.stderr.startswith("Error: test/items.parquet: cannot be read")

    def test_line_break_in_a_path_does_not_start_a_line(self, tmp_path):
        """A hostile publisher's path must not look like a line of the result."""
        data = [DataPoints(of_bytes(b"7"), ["x\n0 shared data points"], [1])]
        words = metadata.Description("posing", "")
        build_manifest(data, tmp_path / "posing", description=words, form=forms.BYTES)
        lines = run("overlap", "train", "posing", "--list").stdout.splitlines()
        assert lines[0].endswith("  x\\n0 shared data points")
        assert lines[1] == "1 shared data points"

    @pytest.mark.parametrize(("allowed", "status"), [(0, 1), (1, 1), (2, 0), (3, 0)])
    def test_exit_status_depends_on_the_allowed_overlap(self, allowed, status):
        run("overlap", "train", "test", "--fail-over", allowed, status=status)
        run("overlap", "train", "test", "--fail-over", allowed, "--json", status=status)

    def test_leaves_that_hide_the_overlap_are_refused(self):
        """The attack: a publisher hides shared data behind leaves that do not match its root."""
        other = b"".join(sorted(of_bytes(b"%d other" % number) for number in range(5)))
        body = json.loads(Path("test/metadata.json").read_bytes())
        for entry in body["distribution"]:
            if entry["name"] == "leaves":
                entry["sha256"] = of_bytes(other).hex()
        Path("test/leaves").write_bytes(other)
        Path("test/metadata.json").write_text(json.dumps(body))
        said = refused("overlap", "train", "test", "--fail-over", 0)
        assert "test: root of leaves: expected" in said

    def test_failed_comparison_has_its_own_exit_status(self, tmp_path):
        build(tmp_path / "keyed", [b"7"], key=KEY)
        said = refused("overlap", "train", "keyed", "--fail-over", 0, "--json", "--list")
        assert "different schemes" in said
        assert "nothing: there is no such folder" in refused(
            "overlap", "train", "nothing", "--fail-over", 0
        )

    def test_models_share_tensors(self, tmp_path):
        from safetensors.numpy import save_file

        from alithis.training.model import build_model

        frozen, head = np.zeros((4, 4), np.float32), np.ones(4, np.float32)
        for name, value in (("base", head), ("tuned", head * 2)):
            save_file({"frozen": frozen, "head": value}, tmp_path / f"{name}.safetensors")
            build_model(
                [tmp_path / f"{name}.safetensors"],
                tmp_path / name,
                description=metadata.Description(name),
            )
        told = run_json("overlap", "base", "tuned", "--list")
        (point,) = told["data_points"]
        assert point["leaf"] == of_bytes(frozen.tobytes()).hex()
        assert all("frozen" in path for side in "ab" for path in point[side])
        assert json.dumps(told)
