"""Data points that are sorted elsewhere, as Ray sorts them (tests/frameworks/test_ray.py)."""

import pyarrow as pa
import pytest

from alithis.errors import SourceError
from alithis.forms.form import BYTES
from alithis.manifest import sorter
from alithis.manifest.builder import build
from alithis.manifest.metadata import Description
from alithis.readers.source import split_evenly


class TestPresorted:
    def rows(self, *leaves):
        leaf = pa.array([bytes([each]) * 32 for each in leaves], pa.binary(32))
        count = len(leaves)
        return pa.table({"leaf": leaf, "path": ["x"] * count, "size": pa.array([1] * count)})

    def build(self, tmp_path, *tables, rows=None):
        count = sum(map(len, tables)) if rows is None else rows
        found = sorter.Presorted(count, tables[0].schema, tables)
        build(found, tmp_path / "m", description=Description("m"), form=BYTES)

    def test_in_order(self, tmp_path):
        self.build(tmp_path, self.rows(1, 1, 2), self.rows(2), self.rows(3, 9))
        assert (tmp_path / "m" / "leaves").stat().st_size == 4 * 32

    @pytest.mark.parametrize(
        "tables", [[(1, 3, 2)], [(1, 2), (1, 3)], [(5,), (4,)]], ids=["within", "between", "single"]
    )
    def test_out_of_order(self, tmp_path, monkeypatch, tables):
        monkeypatch.setattr(sorter, "ROWS", 2)
        with pytest.raises(SourceError, match="not in the order of their leaves"):
            self.build(tmp_path, *(self.rows(*each) for each in tables))
        assert not (tmp_path / "m").exists()

    @pytest.mark.parametrize("rows", [2, 4])
    def test_other_number_of_data_points(self, tmp_path, rows):
        with pytest.raises(SourceError, match="3 sorted data points"):
            self.build(tmp_path, self.rows(1, 2, 3), rows=rows)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_parts_are_even_and_in_order(count):
    things = list(range(10))
    found = split_evenly(things, count)
    assert [each for share in found for each in share] == things
    assert len(found) <= count
    assert all(found)
