"""Ten visitors for half a minute, as benchmarks/load.py does with fifty: nobody fails."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from served import free_port

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import load  # a script beside the package

VISITORS, SECONDS, WARM = 10, 30, 2
BACK = 1.10  # of the memory before; measured 1.00 to 1.04


@pytest.fixture
def place(tmp_path):
    settings = tmp_path / "booth.toml"
    settings.write_text(f"most_visitors = {VISITORS}\ngone_s = 3\n")
    with load.house(free_port(), "--settings", str(settings)) as running:
        yield running


def gone(place):
    ends = time.monotonic() + 30
    while len(place.kernels()) != WARM and time.monotonic() < ends:
        time.sleep(0.5)
    return place.memory()


def test_ten_visitors_come_and_go(place, elsewhere):
    # What a server learns once is no growth.
    elsewhere(lambda: asyncio.run(load.load(place, VISITORS, 3)))
    before = gone(place)
    tally = elsewhere(lambda: asyncio.run(load.load(place, VISITORS, SECONDS, chaos=2)))
    after = gone(place)
    assert tally.failed == []
    assert tally.admitted >= VISITORS
    assert len(tally.moves) > VISITORS * 5
    assert tally.recovered == tally.hit
    assert after["kernels"] == WARM
    assert after["sum"] <= BACK * before["sum"]
    assert "Traceback" not in place.log.read_text()
