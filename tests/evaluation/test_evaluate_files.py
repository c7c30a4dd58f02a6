"""`serfiq evaluate` on pairs and embeddings in files of other programs."""

import io
import json
import pickle

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from serfiq_widgets.cli.main import main


def run(*arguments):
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def encoded(seed):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (14, 14, 3), np.uint8)
    Image.fromarray(pixels).resize((112, 112)).save(file, "JPEG")
    return file.getvalue()


def test_a_bin_of_pairs_is_scored_and_compared(tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "agedb_30.bin"
    images = [encoded(i) for i in (0, 0, 1, 2, 3, 3, 4, 5)] + [b"broken", encoded(6)]
    file.write_bytes(pickle.dumps((images, [True, False, True, False, True])))
    result = run(file, "--aligned", "--passes", 4, "--fmr", 0.5, "--draws", 5, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["data"], record["genuine"], record["impostor"]) == ("agedb_30", 2, 2)
    (column, *_) = record["qualities"].values()
    assert record["fnmr"] == column["balanced"]["fnmr"][0] == 0  # pairs of one image
    assert "1 pairs are left out" in result.stderr
    file.write_bytes(b"no pickle")
    assert "'agedb_30.bin' is not a .bin file" in run(file).stderr


def test_a_table_of_embeddings_is_compared(tmp_path):
    pytest.importorskip("pandas")
    file = tmp_path / "e.csv"
    rows = ["a.jpg,Ada,1,0", "b.jpg,Ada,2,0.1", "c.jpg,Bob,0,1", "d.jpg,Bob,0,3"]
    file.write_text("\n".join(["path,person,e0,e1", *rows]))
    record = json.loads(run("--embeddings", file, "--fmr", 0.5, "--json", "--draws", 5).stdout)
    assert (record["people"], record["genuine"], record["impostor"]) == (2, 2, 4)
    assert "norm" in record["qualities"]
