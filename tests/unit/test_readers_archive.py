"""Archives and samples: every member is a data point, told as skipped, or stops the reader."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import stat
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from alithis.errors import ChangedError, SourceError
from alithis.forms.form import BYTES, Form
from alithis.forms.pool import Pool
from alithis.readers import folder, open_source
from helpers.reading import (
    assert_resumes,
    columns,
    contents,
    everything,
    fill,
    read,
    sha256,
    skipped,
)

FILES = {f"{'ab'[n % 2]}/{n:03}.txt": b"%d\n" % n * n for n in range(150)}


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data).to_pybytes()


PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}


def tar(members, **options) -> bytes:
    """A tar file of (name, content) or of TarInfo."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def of_type(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def zipped(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _without_entry(data: bytes, number: int = 0) -> bytes:
    """A zip without one entry in its directory; the body of that member stays."""
    end = data.rindex(b"PK\5\6")
    start = int.from_bytes(data[end + 16 : end + 20], "little")
    entries = [b"PK\1\2" + each for each in data[start:end].split(b"PK\1\2")[1:]]
    del entries[number]
    directory = b"".join(entries)
    record = bytearray(data[end:])
    record[8:12] = len(entries).to_bytes(2, "little") * 2
    record[12:16] = len(directory).to_bytes(4, "little")
    return data[:start] + directory + bytes(record)


@pytest.fixture
def write(tmp_path):
    def write(name: str, data: bytes):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


class TestTar:
    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("ending", PACK)
    def test_members(self, write, ending, workers):
        source = open_source(write(f"x.tar{ending}", PACK[ending](tar(FILES.items()))))
        assert source.form == BYTES
        assert read(source, workers) == {
            name: (sha256(data), len(data), {}) for name, data in FILES.items()
        }

    @pytest.mark.parametrize("form", ["USTAR", "GNU", "PAX"])
    def test_formats_and_long_names(self, write, form):
        names = ["short", "d/" * 60 + "x" * 90, *["ünï" * 40, "n" * 900][: 2 * (form != "USTAR")]]
        data = tar(
            [(name, name.encode()) for name in names], format=getattr(tarfile, f"{form}_FORMAT")
        )
        found = contents(open_source(write("x.tar", data)))
        assert found == {name: sha256(name.encode()) for name in names}

    def test_folder_and_its_archive_have_the_same_data_points(self, tmp_path):
        fill(tmp_path / "data", "a/x", "b/y z", "ü")
        path = shutil.make_archive(str(tmp_path / "x"), "gztar", tmp_path / "data")
        assert contents(open_source(path)) == contents(folder(tmp_path / "data"))

    def test_entries_other_than_files_are_listed(self, write):
        kinds = {
            "d": (tarfile.DIRTYPE, "a directory"),
            "s": (tarfile.SYMTYPE, "a symbolic link"),
            "h": (tarfile.LNKTYPE, "a hard link"),
            "c": (tarfile.CHRTYPE, "a device"),
            "b": (tarfile.BLKTYPE, "a device"),
            "f": (tarfile.FIFOTYPE, "a FIFO"),
        }
        members = [of_type(name, kind, "x") for name, (kind, _) in kinds.items()]
        source = open_source(write("x.tar", tar([("x", b"1"), *members, ("y", b"2")])))
        assert list(contents(source)) == ["x", "y"]
        assert skipped(source) == {name: reason for name, (_, reason) in kinds.items()}

    def test_repeated_names_are_two_data_points(self, write):
        source = open_source(write("x.tar", tar([("x", b"1"), ("x", b"2"), ("./x", b"1")])))
        assert [(row[1], row[0]) for row in everything(source)] == [
            ("x", sha256(b"1")),
            ("x", sha256(b"2")),
            ("x", sha256(b"1")),
        ]

    @pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a/..", "x" * 4097])
    def test_refuses_names_other_than_relative_paths(self, write, name):
        with pytest.raises(
            SourceError, match=r"x\.tar: .*not a relative path of at most 4096 bytes"
        ):
            read(open_source(write("x.tar", tar([(name, b"")]))))

    def test_name_that_is_not_utf8(self, write):
        data = tar([("caf\udce9", b"")], format=tarfile.GNU_FORMAT, errors="surrogateescape")
        with pytest.raises(SourceError, match="the name of a member is not UTF-8"):
            read(open_source(write("x.tar", data)))

    @pytest.mark.parametrize("ending", PACK)
    @pytest.mark.parametrize(
        ("bend", "message"),
        [
            (lambda data: data[: 512 * 3], "the end mark of the archive is missing"),
            (
                lambda data: data[: 512 * 3 + 100],
                "damaged archive|end mark of the archive is missing",
            ),
            (lambda data: data[: 512 * 3 + 700], "cut short|unexpected end of data"),
            (
                lambda data: data[: 512 * 3] + b"\xff" * 512 + data[512 * 4 :],
                "members would be lost",
            ),
            (lambda data: data + data, "another archive follows"),
            (lambda data: data + b"x", "another archive follows"),
        ],
    )
    def test_damaged_archive_never_ends_early_without_an_error(self, write, ending, bend, message):
        """tarfile itself ends at each of these, as if all were well."""
        data = tar([("x", b"1" * 600), ("y", b"2" * 600)])
        with pytest.raises(SourceError, match=message):
            read(open_source(write(f"x.tar{ending}", PACK[ending](bend(data)))))

    @pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
    @pytest.mark.parametrize(
        "bend",
        [
            lambda data: data[:-5],
            lambda data: data[: len(data) // 2],
            lambda data: data + b"garbage",
            lambda data: data[:40] + bytes(20) + data[60:],
        ],
        ids=["end", "half", "more", "middle"],
    )
    def test_damaged_compression(self, write, ending, bend):
        noise = np.random.default_rng(0).bytes(5000)
        path = write(f"x.tar{ending}", bend(PACK[ending](tar([("x", noise)]))))
        with pytest.raises(SourceError, match=r"x\.tar"):
            read(open_source(path))

    @pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
    def test_compressed_in_several_streams(self, write, ending):
        data, pack = tar(FILES.items()), PACK[ending]
        packed = pack(data[:7000]) + (bytes(8) if ending == ".xz" else b"") + pack(data[7000:])
        assert len(read(open_source(write(f"x.tar{ending}", packed)))) == 150

    @pytest.mark.parametrize("ending", [".bz2", ".xz"])
    def test_damaged_second_stream_is_an_error(self, write, ending):
        """The standard library takes it for one."""
        data, pack = tar(FILES.items()), PACK[ending]
        path = write(f"x.tar{ending}", pack(data) + b"\xff" + pack(data)[1:])
        with pytest.raises(SourceError, match="damaged"):
            read(open_source(path))

    def test_sparse_member(self, write):
        info = tarfile.TarInfo("x")
        info.pax_headers = {"GNU.sparse.size": "10", "GNU.sparse.map": "0,1"}
        with pytest.raises(SourceError, match="x: sparse files are not supported"):
            read(open_source(write("x.tar", tar([info], format=tarfile.PAX_FORMAT))))

    def test_refuses_huge_header(self, write):
        """A long name, packed a thousandfold, would be read as a whole."""
        info = of_type("././@LongLink", tarfile.GNUTYPE_LONGNAME)
        info.size = 1 << 40
        data = info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
        for ending in ("", ".gz"):
            with pytest.raises(SourceError, match=r"a header of \d+ bytes; at most"):
                read(open_source(write(f"x.tar{ending}", PACK[ending](data))))

    def test_refuses_huge_member(self, write):
        info = tarfile.TarInfo("x")
        info.size = (1 << 36) + 1
        data = info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
        with pytest.raises(
            SourceError, match="x: 68719476737 bytes; a member may have at most 68719476736"
        ):
            read(open_source(write("x.tar", data)))

    def test_bomb_is_hashed_in_a_stream(self, write):
        data = gzip.compress(tar([("x", bytes(200 << 20))]))
        path = write("x.tar.gz", data)
        del data
        tracemalloc.start()
        assert len(read(open_source(path))) == 1
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 16 << 20

    def test_pixels(self, write):
        file = io.BytesIO()
        Image.new("L", (2, 1), 9).save(file, "PNG")
        data = tar([("x.png", file.getvalue()), ("README", b"no image")])
        source = open_source(write("x.tar", data), form=Form("pixels", "L"))
        with pytest.raises(SourceError, match=r"x\.tar: README: not an image"):
            read(source)
        source = open_source(write("x.tar", tar([("x.png", file.getvalue())])), form=source.form)
        assert contents(source) == {"x.png": sha256(b"\x09\x09")}

    def test_changed_since_it_was_opened(self, write):
        source = open_source(write("x.tar", tar(FILES.items())))
        os.utime(write("x.tar", tar([("x", b"")])), ns=(1, 1))
        with pytest.raises(ChangedError, match="changed since it was opened"):
            read(source)

    def test_folders_name_label_and_split(self, write):
        data = tar([("train/cat/1", b"1"), ("test/dog/2", b"2")])
        source = open_source(write("x.tar", data), label_from_folder=True, split_from_folder=True)
        assert columns(source) == [
            {"label": "cat", "split": "train"},
            {"label": "dog", "split": "test"},
        ]

    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("ending", ["", ".gz"])
    def test_resumes(self, write, ending, workers):
        members = [*FILES.items(), of_type("d", tarfile.DIRTYPE)]
        assert_resumes(open_source(write(f"x.tar{ending}", PACK[ending](tar(members)))), workers)


class TestZip:
    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize("compression", ["STORED", "DEFLATED", "BZIP2", "LZMA"])
    def test_members(self, tmp_path, compression, workers):
        path = zipped(tmp_path / "x.zip", FILES, getattr(zipfile, f"ZIP_{compression}"))
        assert read(open_source(path), workers) == {
            name: (sha256(data), len(data), {}) for name, data in FILES.items()
        }

    def test_entries_other_than_files_are_listed(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.mkdir("d")
            link = zipfile.ZipInfo("s")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "d")
            archive.writestr("x", "1")
        source = open_source(tmp_path / "x.zip")
        assert list(contents(source)) == ["x"]
        assert skipped(source) == {"d": "a directory", "s": "a symbolic link"}

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_repeated_names_are_two_data_points(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr("x", "1")
            archive.writestr("x", "2")
        rows = everything(open_source(tmp_path / "x.zip"))
        assert [row[0] for row in rows] == [sha256(b"1"), sha256(b"2")]

    @pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x"])
    def test_refuses_names_other_than_relative_paths(self, tmp_path, name):
        with pytest.raises(SourceError, match=r"x\.zip: .*not a relative path"):
            read(open_source(zipped(tmp_path / "x.zip", {name: b""})))

    def test_encrypted(self, tmp_path):
        path = zipped(tmp_path / "x.zip", {"x": b"secret"}, zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        data[6] |= 1
        data[data.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(data)
        with pytest.raises(SourceError, match="x: is encrypted"):
            read(open_source(path))

    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_wrong_checksum(self, tmp_path, compression):
        path = zipped(tmp_path / "x.zip", {"x": b"1" * 100}, compression)
        data = bytearray(path.read_bytes())
        at = data.index(b"PK\1\2") + 16
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"x\.zip: damaged archive: Bad CRC"):
            read(open_source(path))

    @pytest.mark.parametrize("size", [4, 30, 60, 100])
    def test_cut_short(self, tmp_path, size):
        path = zipped(tmp_path / "x.zip", {"x": b"1" * 100}, zipfile.ZIP_STORED)
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(SourceError, match=r"x\.zip"):
            read(open_source(path))

    def test_directory_that_points_to_another_place(self, tmp_path):
        path = zipped(tmp_path / "x.zip", {"x": b"1", "y": b"2"}, zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        at = data.rindex(b"PK\1\2") + 42
        data[at] += 1
        path.write_bytes(data)
        with pytest.raises(
            SourceError, match="x: the bytes before 33 belong to no member in the zip's directory"
        ):
            read(open_source(path))
        data[at] -= 1
        data[data.rindex(b"PK\3\4") + 3] += 1
        path.write_bytes(data)
        with pytest.raises(
            SourceError, match="y: damaged: it is not at the offset in the zip's directory"
        ):
            read(open_source(path))

    @pytest.mark.parametrize("workers", [1, 2])
    def test_refuses_two_zips_in_one_file(self, tmp_path, workers):
        one = zipped(tmp_path / "1.zip", {"x": b"1", "y": b"2"}).read_bytes()
        two = zipped(tmp_path / "2.zip", {"z": b"3"}).read_bytes()
        empty = zipped(tmp_path / "3.zip", {}).read_bytes()
        for data, said in (
            (one + two, "two zips in one file, .*members would be lost"),
            (one + empty, "two zips in one file"),
            (one + two[:-22], r"\d+ bytes follow the end of the zip, at \d+; if they are another"),
            (one + b"\n", "1 bytes follow the end of the zip"),
        ):
            path = tmp_path / "x.zip"
            path.write_bytes(data)
            with pytest.raises(SourceError, match=rf"x\.zip: {said}"):
                read(open_source(path), workers)

    def test_refuses_a_joined_zip_with_corrected_offsets(self, tmp_path):
        zipped(tmp_path / "x.zip", {"x": b"1"})
        before = (tmp_path / "x.zip").read_bytes()
        with (tmp_path / "joined.zip").open("w+b") as file:
            file.write(before)
            with zipfile.ZipFile(file, "a") as archive:  # appends, and lists the old member too
                archive.writestr("y", "2")
        assert list(contents(open_source(tmp_path / "joined.zip"))) == ["x", "y"]
        data = (tmp_path / "joined.zip").read_bytes()
        (tmp_path / "joined.zip").write_bytes(_without_entry(data))
        with pytest.raises(SourceError, match="two zips in one file, or members that"):
            read(open_source(tmp_path / "joined.zip"))

    @pytest.mark.parametrize("stub", [b"MZ" + b"\0" * 3000, b"#!/bin/sh\nunzip $0\n", b"PK"])
    def test_refuses_a_self_extracting_archive(self, tmp_path, stub):
        path = zipped(tmp_path / "x.zip", {"x": b"1"})
        path.write_bytes(stub + path.read_bytes())
        said = rf"x\.zip: {len(stub)} bytes stand before the zip, as in a self-extracting archive"
        with pytest.raises(SourceError, match=said):
            read(open_source(path))
        with path.open("wb") as file:
            file.write(stub)
            with zipfile.ZipFile(file, "w") as archive:  # offsets count from the file's beginning
                archive.writestr("x", "1")
        with pytest.raises(SourceError, match=said):
            read(open_source(path))

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @pytest.mark.parametrize("workers", [1, 2])
    def test_refuses_entries_that_share_a_body(self, tmp_path, workers):
        path = zipped(tmp_path / "x.zip", {"x": b"1" * 50, "y": b"1" * 50}, zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        at = data.rindex(b"PK\1\2") + 42
        data[at : at + 4] = bytes(4)  # the second entry points to the first body
        path.write_bytes(data)
        with pytest.raises(SourceError, match=r"x\.zip: .*overlaps with another one"):
            read(open_source(path), workers)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_refuses_bytes_between_members(self, tmp_path, workers):
        path = zipped(tmp_path / "x.zip", {"x": b"1", "y": b"2", "z": b"3"}, zipfile.ZIP_STORED)
        path.write_bytes(_without_entry(path.read_bytes(), 1))
        said = r"x\.zip: .*belong to no member in the zip's directory: damaged, or members"
        with pytest.raises(SourceError, match=said):
            read(open_source(path), workers)

    def test_reads_streamed_commented_and_empty_zips(self, tmp_path):
        class Unseekable(io.RawIOBase):
            def __init__(self):
                self.data = b""

            def writable(self):
                return True

            def write(self, data):
                self.data += bytes(data)
                return len(data)

        streamed = Unseekable()
        with zipfile.ZipFile(streamed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in FILES.items():
                archive.writestr(name, data)
            archive.comment = b"a comment"
        (tmp_path / "x.zip").write_bytes(streamed.data)
        assert contents(open_source(tmp_path / "x.zip")) == {
            name: sha256(data) for name, data in FILES.items()
        }
        with (
            zipfile.ZipFile(tmp_path / "big.zip", "w") as archive,
            archive.open("ü" * 100, "w", force_zip64=True) as member,
        ):
            member.write(b"1")
        assert list(contents(open_source(tmp_path / "big.zip"))) == ["ü" * 100]
        path = tmp_path / "x.zip"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(SourceError, match="cut short in the zip's comment"):
            read(open_source(path))
        with zipfile.ZipFile(tmp_path / "none.zip", "w"):
            pass
        assert everything(open_source(tmp_path / "none.zip")) == []

    def test_a_tar_with_a_zip_at_its_end_is_a_tar(self, tmp_path, write):
        inner = zipped(tmp_path / "x.zip", {"x": b"1"}).read_bytes()
        data = bytearray(tar([("PK.zip", inner)], format=tarfile.USTAR_FORMAT))
        data[257:265] = bytes(8)  # a header of 1979, without the magic
        data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
        assert contents(open_source(write("x.tar", bytes(data)))) == {"PK.zip": sha256(inner)}

    def test_resumes(self, tmp_path):
        assert_resumes(open_source(zipped(tmp_path / "x.zip", FILES)), 2)


SHARD = [
    ("a/1.JPG", b"one"),
    ("a/1.cls", b"0"),
    ("a/1.seg.png", b"map"),
    ("README", b"no sample"),
    ("a/2.jpg", b"two"),
    ("a/2.cls", b"1\n"),
    ("a/3.cls", b"1"),
    ("a/3.jpg", b"three"),
    ("a/1.jpg", b"one"),
    ("a/1.cls", b"0"),
]


def sample(**members: bytes) -> bytes:
    each = {name.replace("_", "."): sha256(data).hex() for name, data in sorted(members.items())}
    return sha256(json.dumps(each, separators=(",", ":"), sort_keys=True).encode())


class TestSamples:
    @pytest.mark.parametrize("options", [{"per_sample": True}, {"kind": "webdataset"}])
    def test_neighbours_of_one_key(self, write, options):
        source = open_source(write("x.tar", tar(SHARD)), **options)
        assert source.form == Form("sample")
        assert everything(source) == [
            (sample(jpg=b"one", cls=b"0", seg_png=b"map"), "a/1", 7, {}),
            (sample(jpg=b"two", cls=b"1\n"), "a/2", 5, {}),
            (sample(jpg=b"three", cls=b"1"), "a/3", 6, {}),
            (sample(jpg=b"one", cls=b"0"), "a/1", 4, {}),
        ]
        assert skipped(source) == {"README": "its name has no extension"}

    def test_keys_agree_with_webdataset(self):
        """Its own expression (webdataset/tariterators.py), on names that try it."""
        import re

        from alithis.readers.archive import _SAMPLE

        theirs = re.compile(r"^((?:.*/|)[^.]+)[.]([^/]*)$")
        for name in [
            "a.b",
            "a",
            "a/b.c.d",
            "a.b/c",
            "a.b/c.d",
            ".a",
            "d/.a",
            "a.",
            "/.b",
            "a//b.c",
        ]:
            match, other = _SAMPLE.fullmatch(name), theirs.match(name)
            assert (match and match.groups()) == (other and other.groups()), name

    def test_label_is_a_member(self, write):
        source = open_source(write("x.tar", tar(SHARD)), per_sample=True, label="cls")
        assert [each["label"] for each in columns(source)] == ["0", "1", "1", "0"]
        plain = open_source(write("y.tar", tar(SHARD)), per_sample=True)
        assert [row[0] for row in everything(source)] == [row[0] for row in everything(plain)]

    def test_one_member_of_each(self, write):
        source = open_source(
            write("x.tar", tar(SHARD)), column="seg.png", label="cls", form=Form("bytes")
        )
        assert everything(source) == [(sha256(b"map"), "a/1", 3, {"label": "0"})]
        assert skipped(source) == {
            "README": "its name has no extension",
            "a/2": "the sample has no file seg.png",
            "a/3": "the sample has no file seg.png",
            "a/1": "the sample has no file seg.png",
        }

    def test_refuses_missing_and_long_labels(self, write):
        for shard, message in [
            ([("1.jpg", b"")], "1: the sample has no file cls"),
            ([("1.jpg", b""), ("1.cls", b"\xff")], r"1\.cls: not UTF-8"),
            ([("1.jpg", b""), ("1.cls", b"x" * 4097)], r"1\.cls: 4097 bytes; at most 4096"),
        ]:
            with pytest.raises(SourceError, match=message):
                read(open_source(write("x.tar", tar(shard)), per_sample=True, label="cls"))

    def test_extension_twice(self, write):
        shard = tar([("1.jpg", b"1"), ("1.JPG", b"2")])
        with pytest.raises(SourceError, match=r"1\.JPG: its sample has this extension twice"):
            read(open_source(write("x.tar", shard), per_sample=True))

    def test_shards_of_a_folder(self, tmp_path, write):
        for number in range(3):
            write(f"train/{number}.tar", tar([(f"{number}.jpg", b"%d" % number)]))
        source = open_source(tmp_path, per_sample=True, split_from_folder=True)
        assert read(source) == {
            f"train/{n}.tar/{n}": (sample(jpg=b"%d" % n), 1, {"split": "train"}) for n in range(3)
        }
        assert list(contents(open_source(tmp_path))) == [f"train/{n}.tar/{n}.jpg" for n in range(3)]

    @pytest.mark.parametrize("workers", [1, 2])
    @pytest.mark.parametrize(
        "options", [{"per_sample": True, "label": "cls"}, {"column": "jpg"}, {}], ids=str
    )
    def test_resumes(self, tmp_path, write, options, workers):
        for number in range(3):
            shard = [
                (f"{number}{n:02}.{ext}", b"%d" % n) for n in range(40) for ext in ("jpg", "cls")
            ]
            write(f"{number}.tar", tar([*shard, ("x.cls", b"")]))
        assert_resumes(open_source(tmp_path, **options), workers)

    def test_only_wanted_members_are_hashed_again(self, write, monkeypatch):
        from alithis.readers import archive as archive_module

        hashed = []
        real = archive_module._stream
        monkeypatch.setattr(
            archive_module, "_stream", lambda *args: hashed.append(1) or real(*args)
        )
        source = open_source(write("x.tar", tar(FILES.items())))
        with Pool(1) as pool:
            assert sum(len(batch.paths) for batch in source.digested(pool, 140)) == 10
        assert len(hashed) == 10
