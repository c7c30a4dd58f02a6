"""A number out of its range is named, with the range; one within comes back as its type."""

import numpy as np
import pytest

from serfiq_widgets.checks import check_number, check_whole
from serfiq_widgets.errors import BadSetting


@pytest.mark.parametrize("value", [2, np.int64(7), np.uint8(10)])
def test_a_whole_number_within_comes_back_as_an_int(value):
    found = check_whole("passes", value, 2, 10)
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize("value", [1, 11, 2.0, "3", None, True, float("nan"), np.float32(3)])
def test_what_is_no_whole_number_within_is_refused(value):
    with pytest.raises(BadSetting, match=r"passes=.* is not possible: give a whole number 2 to 10"):
        check_whole("passes", value, 2, 10)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.25), np.int8(1)])
def test_a_number_within_comes_back_as_a_float(value):
    found = check_number("share", value, 0, 1)
    assert type(found) is float
    assert found == value


@pytest.mark.parametrize("value", [-0.01, 1.01, "0.5", None, True, float("nan"), float("inf"), 1j])
def test_what_is_no_number_within_is_refused(value):
    with pytest.raises(BadSetting, match=r"share=.* is not possible: give a number 0 to 1"):
        check_number("share", value, 0, 1)


def test_an_open_end_is_refused():
    with pytest.raises(BadSetting, match=r"FMR=0 .* above 0, at most 1"):
        check_number("FMR", 0, 0, 1, open_below=True)
    assert check_number("FMR", 1e-9, 0, 1, open_below=True) == 1e-9
