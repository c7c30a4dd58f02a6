"""Arrays in a file come back as they were; bombs and objects are refused before they do harm."""

import io

import numpy as np
import pytest

from serfiq_widgets.archives import UNSOUND, pack_arrays, unpack_arrays
from serfiq_widgets.errors import BadTable
from serfiq_widgets.evaluation import groups, load


def test_arrays_and_words_come_back(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "names": np.array(["x", "y"])}
    content = pack_arrays(arrays, {"model": "mini", "T": 100})
    path = tmp_path / "kept.npz"
    path.write_bytes(content)
    for source in (content, path):
        found, about = unpack_arrays(source)
        assert about == {"model": "mini", "T": 100}
        assert found.keys() == arrays.keys()
        for name, values in arrays.items():
            np.testing.assert_array_equal(found[name], values)


def test_a_file_that_says_nothing_of_itself_is_read():
    file = io.BytesIO()
    np.savez(file, embeddings=np.ones((2, 3)))
    arrays, about = unpack_arrays(file.getvalue())
    assert list(arrays) == ["embeddings"]
    assert about == {}


def test_objects_are_not_read():
    file = io.BytesIO()
    np.savez(file, harm=np.array([object()], dtype=object))
    with pytest.raises(UNSOUND):
        unpack_arrays(file.getvalue())


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.npz"
    path.write_bytes(pack_arrays({"zeros": np.zeros(10_000)}, {}))
    with pytest.raises(ValueError, match="too large"):
        unpack_arrays(path, most=50_000)
    monkeypatch.setattr(unpack_arrays, "__kwdefaults__", {"key": "about", "most": 50_000})
    for read in (load, groups.load):
        with pytest.raises(BadTable, match=r"bomb\.npz.*too large"):
            read(path)
