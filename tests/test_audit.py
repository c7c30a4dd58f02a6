"""The audit without a connection: a locked version that a record lists is found, no other."""

import json
import zipfile

import pytest

pytest.importorskip("packaging")

from audit_offline import findings  # a script beside the package

LOCK = """some-package==1.10.0 ; sys_platform == 'linux' \\
    --hash=sha256:00
other==2.0 \\
    --hash=sha256:00
"""


@pytest.fixture
def ask(tmp_path):
    """Returns what is found with these records."""

    def run(*records):
        lock, archive = tmp_path / "lock.txt", tmp_path / "all.zip"
        lock.write_text(LOCK)
        with zipfile.ZipFile(archive, "w") as opened:
            for number, record in enumerate(records):
                opened.writestr(f"{number}.json", json.dumps(record))
        return findings(archive, [lock])

    return run


def record(name="Some_Package", versions=("1.9", "1.10"), ecosystem="PyPI", **more):
    entry = {"package": {"name": name, "ecosystem": ecosystem}, "versions": list(versions)}
    return {"id": "X-1", "aliases": ["CVE-1"], "summary": "a hole", "affected": [entry], **more}


def test_a_locked_version_that_a_record_lists_is_found(ask):
    assert ask(record()) == ["some-package 1.10.0: X-1 (CVE-1) a hole"]


@pytest.mark.parametrize(
    "other",
    [
        record(versions=["1.9", "1.1", "of old"]),
        record(name="package"),
        record(ecosystem="npm"),
        record(withdrawn="2020-01-01T00:00:00Z"),
    ],
)
def test_no_other_is(ask, other):
    assert ask(other, record(name="unrelated")) == []


def test_an_archive_without_records_is_no_audit(ask):
    with pytest.raises(ValueError, match="no records"):
        ask()
