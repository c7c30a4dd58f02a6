"""Tables go to a file and come back as they were; what cannot be read is named."""

import pytest

from serfiq_widgets.errors import BadTable
from serfiq_widgets.tables import SUFFIXES, read_table, write_table

pd = pytest.importorskip("pandas")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_comes_back(tmp_path, suffix):
    frame = pd.DataFrame({"path": ["a.jpg", "ü, b.jpg"], "raw": [0.5, None], "faces": [1, 2]})
    write_table(frame, tmp_path / f"t{suffix}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t{suffix}"), frame)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_broken_table_is_named(tmp_path, suffix):
    (tmp_path / f"t{suffix}").write_bytes(b"" if suffix == ".csv" else b"no table")
    with pytest.raises(BadTable, match=f"t{suffix}"):
        read_table(tmp_path / f"t{suffix}")


def test_missing_tables_and_other_files_are_named(tmp_path):
    with pytest.raises(BadTable, match=r"none\.csv"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(BadTable, match=r"\.parquet"):
        read_table(tmp_path / "face.jpg")
    with pytest.raises(BadTable, match=r"t\.csv"):
        write_table(pd.DataFrame(), tmp_path / "no" / "t.csv")
