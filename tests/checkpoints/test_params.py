"""The reader of MXNet's parameter files: right on sound files, kind and thrifty on broken ones."""

import contextlib
import struct
import tracemalloc

import numpy as np
import pytest
from checkpoint_files import CODES, write_params
from hypothesis import given, settings
from hypothesis import strategies as st

from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.errors import CorruptModel

SOUND = write_params(
    {"arg:a": np.arange(12, dtype="f4").reshape(3, 4), "aux:b": np.ones((2, 1, 5), "f2")}
)


@pytest.mark.parametrize("magic", [0xF993FAC8, 0xF993FAC9, 0xF993FACA])
def test_round_trip_of_every_type(magic):
    arrays = {f"arg:{code}": np.arange(6).astype(code).reshape(2, 3) for code in CODES}
    read = read_params(write_params(arrays, magic))
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "uint8", "int32", "int8", "int64"]
)
def test_reads_what_mxnet_writes(mx, tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    file = tmp_path / "x-0000.params"
    mx.nd.save(str(file), {"arg:x": mx.nd.array(array, dtype=dtype)})
    np.testing.assert_array_equal(read_params(file)["arg:x"], array)


def test_reads_the_oldest_format():
    old = struct.pack("<QQQ", 0x112, 0, 1) + struct.pack("<III", 2, 2, 2)
    old += struct.pack("<iii", 1, 0, 0) + np.arange(4, dtype="<f4").tobytes()
    old += struct.pack("<QQ", 1, 5) + b"arg:x"
    np.testing.assert_array_equal(read_params(old)["arg:x"], [[0, 1], [2, 3]])


@pytest.mark.parametrize("length", range(0, len(SOUND), 3))
def test_truncated_anywhere(length):
    with pytest.raises(CorruptModel, match="the parameters"):
        read_params(SOUND[:length])


@settings(max_examples=300)
@given(st.integers(0, len(SOUND) * 8 - 1), st.binary(max_size=40))
def test_a_flipped_bit_is_read_or_refused(bit, tail):
    broken = bytearray(SOUND)
    broken[bit // 8] ^= 1 << bit % 8
    for content in (bytes(broken), bytes(broken)[: bit // 8] + tail):
        with contextlib.suppress(CorruptModel):
            read_params(content)


def huge(count=1, dimensions=1, size=1, code=0):
    body = struct.pack("<QQQ", 0x112, 0, count)
    body += struct.pack("<Iii", 0xF993FAC9, 0, dimensions) + struct.pack("<q", size)
    return body + struct.pack("<iii", 1, 0, code) + b"\0" * 64


def with_shape(*shape):
    body = struct.pack("<QQQIii", 0x112, 0, 1, 0xF993FAC9, 0, len(shape))
    return body + struct.pack(f"<{len(shape)}q", *shape) + struct.pack("<iii", 1, 0, 0) + b"\0" * 64


@pytest.mark.parametrize(
    "content",
    [
        huge(count=2**60),
        huge(size=2**62),
        huge(size=-1),
        huge(size=0),
        with_shape(0, 2**62, 2**62),
        with_shape(2**33, 2**33, 2**33),
        huge(dimensions=2**31 - 1),
        huge(dimensions=-1),
        huge(code=99),
        huge().replace(struct.pack("<Ii", 0xF993FAC9, 0), struct.pack("<Ii", 0xF993FAC9, 1)),
        SOUND + b"tail",
        write_params({"arg:a": np.ones(3, "f4")}).replace(b"arg:a", b"\xff\xfe\xff\xfe\xff"),
        SOUND.replace(b"aux:b", b"arg:a"),
        SOUND.replace(struct.pack("<Q", 5), struct.pack("<Q", 2**60)),
    ],
    ids=[
        *("count", "size", "negative", "zero", "zero of many", "product", "dims"),
        *("negative dims", "type", "sparse", "tail", "name", "one name twice", "long name"),
    ],
)
def test_absurd_claims_cost_no_memory(content):
    tracemalloc.start()
    with pytest.raises(CorruptModel):
        read_params(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_the_error_names_the_file(tmp_path):
    file = tmp_path / "face-0000.params"
    file.write_bytes(SOUND[:50])
    with pytest.raises(CorruptModel, match=r"face-0000\.params"):
        read_params(file)
    with pytest.raises(CorruptModel, match="gone"):
        read_params(tmp_path / "gone")


def test_a_file_beyond_what_a_model_can_hold_is_not_read(tmp_path):
    file = tmp_path / "face-0000.params"
    with file.open("wb") as sparse:
        sparse.truncate(2**31)
    with pytest.raises(CorruptModel, match=r"face-0000\.params.*larger"):
        read_params(file)
