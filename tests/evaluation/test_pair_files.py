"""Readers of pairs and embeddings: what they read, and that each refuses broken files by name."""

import io
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serfiq_widgets.errors import BadTable, SerfiqError
from serfiq_widgets.evaluation import read_pairs
from serfiq_widgets.evaluation.pair_pickles import _parsed, read_pair_images
from serfiq_widgets.evaluation.readers import read_embedding_table

IMAGES = [b"one", b"two", b"three", b"four"]
GOOD = pickle.dumps((IMAGES, [True, False]))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_are_read_without_being_loaded(tmp_path, protocol):
    file = tmp_path / "lfw.bin"
    file.write_bytes(pickle.dumps((IMAGES, [True, False]), protocol))
    images, same = read_pair_images(file)
    assert images == IMAGES
    assert same.tolist() == [True, False]


def test_a_pickle_of_python_2_is_read(tmp_path):
    file = tmp_path / "lfw.bin"
    # ([str, str], [True]) with protocol 2: short strings of bytes
    file.write_bytes(b"\x80\x02]q\x00(U\x03\xff\xd8\xffq\x01U\x02abq\x02e]q\x03\x88a\x86q\x04.")
    images, same = read_pair_images(file)
    assert (images, same.tolist()) == ([b"\xff\xd8\xff", b"ab"], [True])


VALUES = st.recursive(
    st.binary(min_size=1, max_size=9) | st.booleans() | st.integers(-(2**40), 2**40),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)


@given(VALUES, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_what_is_parsed_is_what_was_pickled(value, protocol):
    assert _parsed(pickle.dumps(value, protocol)) == value


class Calls:
    """Would write a file when loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def array_file():
    file = io.BytesIO()
    np.save(file, np.arange(4))
    return file.getvalue()


BROKEN_BINS = {
    "empty": b"",
    "text": b"no pickle",
    "zeros": bytes(40),
    "jpeg": b"\xff\xd8\xff\xe0 JFIF",
    "numpy": array_file(),
    "cut": GOOD[:-8],
    "no stop": GOOD[:-1],
    "half": GOOD[: len(GOOD) // 2],
    "number": pickle.dumps(7),
    "text value": pickle.dumps("images"),
    "dict": pickle.dumps({"images": IMAGES, "same": [True]}),
    "one list": pickle.dumps([IMAGES]),
    "three": pickle.dumps((IMAGES, [True, False], [])),
    "odd": pickle.dumps((IMAGES[:3], [True, False])),
    "too many": pickle.dumps((IMAGES, [True])),
    "no pairs": pickle.dumps(([], [])),
    "empty image": pickle.dumps(([b"", b"x"], [True])),
    "numbers": pickle.dumps(([1, 2], [True])),
    "marks": pickle.dumps((IMAGES, ["yes", "no"])),
    "marks of 2": pickle.dumps((IMAGES, [1, 2])),
    "arrays": pickle.dumps(([np.zeros(3, "u1")] * 2, [True])),
    "huge length": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00abc.",
    "unknown memo": b"h\x07.",
    "append to none": b"\x80\x02K\x01K\x02a.",
    "underflow": b"\x80\x02\x86.",
}


@pytest.mark.parametrize("content", BROKEN_BINS.values(), ids=BROKEN_BINS)
def test_broken_bins_are_refused_by_name(tmp_path, content):
    file = tmp_path / "agedb_30.bin"
    file.write_bytes(content)
    with pytest.raises(BadTable, match=r"'agedb_30\.bin' is not a \.bin file"):
        read_pair_images(file)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_code_of_a_pickle_is_executed(tmp_path, protocol):
    file, mark = tmp_path / "evil.bin", tmp_path / "executed"
    file.write_bytes(pickle.dumps((IMAGES, [True, Calls(mark)]), protocol))
    with pytest.raises(BadTable, match=r"evil\.bin.*not followed"):
        read_pair_images(file)
    assert not mark.exists()


def test_a_missing_bin_is_named(tmp_path):
    with pytest.raises(BadTable, match=r"gone\.bin"):
        read_pair_images(tmp_path / "gone.bin")


def test_xqlfws_list_is_read_with_tabs_or_spaces(tmp_path):
    file = tmp_path / "xqlfw_pairs.txt"
    wanted = [("A/A_0001.jpg", "A/A_0004.jpg", True), ("A/A_0001.jpg", "B/B_0002.jpg", False)]
    for text in ("10\t300\nA\t1\t4\nA\t1\tB\t2\n", "10 300\n\nA 1 4\r\nA 1 B 2"):
        file.write_text(text)
        assert read_pairs(file) == wanted


BROKEN_LISTS = {
    "empty": b"",
    "only counts": b"10\t300\n",
    "blank": b"\n \n\t\n",
    "binary": b"\xff\xfe\x00A",
    "pickle": GOOD,
    "one word": b"A\n",
    "two words": b"A\t1\n",
    "five words": b"A\t1\tB\t2\t3\n",
    "text number": b"A\tone\t2\n",
    "second text number": b"A\t1\ttwo\n",
    "zero": b"A\t0\t2\n",
    "negative": b"A\t-1\t2\n",
    "fraction": b"A\t1.5\t2\n",
    "same image": b"A\t1\t1\n",
    "same impostor": b"A\t1\tA\t1\n",
    "no name": b"\t1\t2\n",
    "path": b"../A\t1\t2\n",
    "absolute": b"/etc/A\t1\t2\n",
    "bad later line": b"A\t1\t2\nB\t1\n",
    "counts later": b"A\t1\t2\n10\t300\n",
    "csv": b"path_a,path_b\na,b\n",
}


@pytest.mark.parametrize("content", BROKEN_LISTS.values(), ids=BROKEN_LISTS)
def test_broken_lists_are_refused_by_name(tmp_path, content):
    file = tmp_path / "xqlfw_pairs.txt"
    file.write_bytes(content)
    with pytest.raises(BadTable, match=r"'xqlfw_pairs\.txt' is not a list of pairs"):
        read_pairs(file)


def test_a_table_of_embeddings_is_read(tmp_path):
    pytest.importorskip("pandas")
    file = tmp_path / "e.csv"
    file.write_text("path,person,e0,e1\na.jpg,Ada,1,0.5\nb.jpg,Bob,2,-1\n")
    vectors, people, paths = read_embedding_table(file)
    assert vectors.tolist() == [[1, 0.5], [2, -1]]
    assert (people, paths) == (("Ada", "Bob"), ("a.jpg", "b.jpg"))
    file.write_text("person,e0,e1\n1,1,0\n")
    assert read_embedding_table(file)[1:] == (("1",), ())


BROKEN_TABLES = {
    "empty": b"",
    "blank": b"\n\n",
    "binary": bytes(range(256)),
    "pickle": GOOD,
    "header": b"person,e0,e1\n",
    "no person": b"path,e0,e1\na,1,2\n",
    "name": b"name,e0,e1\nA,1,2\n",
    "no embedding": b"person,path\nA,a\n",
    "one number": b"person,e0\nA,1\n",
    "text": b"person,e0,e1\nA,1,x\n",
    "text column": b"person,e0,e1,note\nA,1,2,hello\n",
    "empty cell": b"person,e0,e1\nA,1,\nA,1,2\n",
    "nan": b"person,e0,e1\nA,1,nan\n",
    "infinite": b"person,e0,e1\nA,1,inf\nB,1,2\n",
    "zeros": b"person,e0,e1\nA,0,0\n",
    "zeros later": b"person,e0,e1\nA,1,0\nB,0,0\n",
    "no one": b"person,e0,e1\n,1,2\nA,1,2\n",
    "twice": b"path,person,e0,e1\na,A,1,2\na,B,1,2\n",
    "numbers alone": b"1,2,3\n4,5,6\n",
    "json": b'{"person": "A", "e": [1, 2]}',
    "html": b"<html><body>404</body></html>",
}


@pytest.mark.parametrize("content", BROKEN_TABLES.values(), ids=BROKEN_TABLES)
def test_broken_tables_are_refused_by_name(tmp_path, content):
    pytest.importorskip("pandas")
    file = tmp_path / "embeddings.csv"
    file.write_bytes(content)
    with pytest.raises(SerfiqError, match=r"embeddings\.csv"):
        read_embedding_table(file)
