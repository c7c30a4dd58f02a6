"""Which files of a folder are images."""

from collections import Counter

import pytest
from click.testing import CliRunner

from serfiq_widgets.cli.main import main
from serfiq_widgets.images.files import describe_skipped, find_images, same_in_two_folders
from serfiq_widgets.resources import sample_images


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_walked_in_the_order_of_their_paths(tmp_path):
    touch(tmp_path, "b/z.jpg", "a.jpg", "a/é.PNG", "b.jpg", "a/deep/x.webp", "notes.txt")
    found = find_images([tmp_path])
    assert found == sorted(found)
    assert len(found) == 5


@pytest.mark.parametrize("ending", ["jfif", "JPE", "tiff", "PGM", "heic", "jp2", "avif"])
def test_endings_of_every_format_count(tmp_path, ending):
    touch(tmp_path, f"a.{ending}")
    assert find_images([tmp_path]) == [tmp_path / f"a.{ending}"]


def test_links_to_folders_are_followed_but_not_round_in_circles(tmp_path):
    touch(tmp_path, "data/a.jpg", "people/b.jpg")
    (tmp_path / "people" / "linked").symlink_to(tmp_path / "data")
    (tmp_path / "people" / "back").symlink_to(tmp_path / "people")
    names = [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path / "people"])]
    assert names == ["people/b.jpg", "people/linked/a.jpg"]


def test_what_is_left_out_is_counted_by_reason(tmp_path):
    touch(tmp_path, "a.jpg", ".b.jpg", "._a.jpg", "Thumbs.db", "x.txt", "y.TXT", "LICENSE")
    touch(tmp_path, ".ipynb_checkpoints/a.jpg", "@eaDir/a.jpg")
    skipped = Counter()
    assert len(find_images([tmp_path], skipped)) == 1
    assert skipped == {"hidden": 3, "made by programs": 2, ".txt": 2, "without a suffix": 1}
    assert "2 .txt, 3 hidden" in describe_skipped(skipped)
    assert describe_skipped(Counter()) == ""


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path):
    touch(tmp_path, ".a", "b.txt")
    assert len(find_images([tmp_path / ".a", tmp_path / "b.txt"])) == 2


@pytest.mark.slow
def test_one_photo_under_two_people_is_found(tmp_path):
    photo, other = (path.read_bytes() for path in sample_images()[:2])
    for name, content in {"a/1": photo, "a/2": photo, "b/1": photo, "b/2": other}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.jpg").write_bytes(content)
    images = find_images([tmp_path])
    assert same_in_two_folders(images) == [(tmp_path / "a/1.jpg", tmp_path / "b/1.jpg")]
    assert same_in_two_folders([*images, tmp_path / "none.jpg"])
    for command in (
        ["calibrate", "mini", str(tmp_path), "--dry-run", "--passes", "2", "--override-reference"],
        ["evaluate", str(tmp_path), "--passes", "2"],
        ["bias", str(tmp_path), "--passes", "2"],
        ["report", str(tmp_path), "--passes", "2", "--out", str(tmp_path / "page.html")],
    ):
        said = " ".join(CliRunner().invoke(main, command).output.split())
        assert "is the same file as" in said, command
